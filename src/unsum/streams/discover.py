"""Find the recipe of a recording from its audio alone.

A recorder that sums sources makes streams between which exact integer relations hold
whenever some of the sources are digitally silent. The relations of every passage say
in which subspace the stream channels move there; from all passages together follow
the columns of the mixing matrix, that is, which streams share which sources. Names
cannot be found, nor the scale of a source beyond coprime integer gains, and two sources
that always go to the same streams with the same gains are one.

What the audio does not settle is said in words; it is never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.layouts import layout_name
from unsum.streams.columns import MONO, Group, Part, Parts, find_parts, groups
from unsum.streams.likeness import SHARED_PEAK, faintest_shared_db, shared_peak
from unsum.streams.passages import Passage, PassageLog
from unsum.streams.recipe import Recipe, Source, StreamChannel, Term
from unsum.streams.subspaces import Subspace, complement, intersection, span

Mode = Literal["exact", "rounded"]

BLOCK_SAMPLES = 2048

# A span that is seen once may be an accident of a few samples in the middle of a block.
_LEAST_BLOCKS = 2

# Two sources that sound together for less are not compared well enough to rule out a third.
_LEAST_JOINT_BLOCKS = 8

# A stream that follows the others to less than this is not called a copy of them.
_APPROXIMATE_DB = -20.0

_KEEP_BYTES = 12 << 20
_BATCH_BLOCKS = 16
_CHANNEL_ORDER = "FL FR FC LFE BL BR BC SL SR".split()


@dataclass(frozen=True, slots=True)
class Column:
    """One channel of a source that was found, and what speaks for it."""

    source: str
    channel: str
    gains: tuple[tuple[StreamChannel, int], ...]  # coprime
    passages: int  # stretches with one combination of sources in which it sounds
    samples: int  # in them
    first_sample: int

    def __str__(self) -> str:
        return f"{self.source}.{self.channel}: " + ", ".join(f"{gain} in {key}" for key, gain in self.gains)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the audio says about how its streams were summed."""

    recipe: Recipe | None
    exact: Mode | None  # whether the relations hold exactly or within rounding
    columns: tuple[Column, ...]
    assumptions: tuple[str, ...]  # what the recipe says that the audio alone does not prove
    missing: tuple[str, ...]  # what cannot be told; empty if there is a recipe
    approximate_db: float | None  # depth of the deepest relation, where none is exact


@dataclass(frozen=True, slots=True)
class _Finding:
    """A group of channels taken apart, or why not."""

    parts: Parts
    mode: Mode
    passages: Mapping[Subspace, Passage]
    width: int
    assumptions: tuple[str, ...] = ()


class RelationFinder:
    """Is fed the aligned streams of a recording from start to end, then asked for the recipe.

    Parameters
    ----------
    stream_channels : {audio stream number: channel names}
    block_samples : int
        Length of the blocks that are looked at. They lie on a fixed grid, so that any
        chunking of the feed gives the same answer.
    """

    def __init__(self, stream_channels: Mapping[int, tuple[str, ...]], *, block_samples: int = BLOCK_SAMPLES) -> None:
        if not 256 <= block_samples <= 8192:
            raise InputError(f"blocks of {block_samples} samples; take 256 to 8192")
        self._streams = {stream: tuple(names) for stream, names in sorted(stream_channels.items())}
        self._block_samples = block_samples
        self._groups = groups(self._streams)
        keys = [StreamChannel(stream, name) for stream, names in self._streams.items() for name in names]
        self._rows = [[keys.index(key) for key in group.channels] for group in self._groups]
        self._logs = [
            PassageLog(tuple(key.stream for key in group.channels), _KEEP_BYTES // (1 if at == 0 else 6))
            for at, group in enumerate(self._groups)
        ]
        self._batch = np.zeros((len(keys), _BATCH_BLOCKS * block_samples))
        self._usable = np.zeros(_BATCH_BLOCKS * block_samples, dtype=bool)
        self._batch_start = 0
        self._position = 0
        self._floats: set[int] = set()

    def observe(
        self,
        start_sample: int,
        blocks: Mapping[int, NDArray[np.number]],
        *,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take in the next samples of all streams.

        Parameters
        ----------
        start_sample : int
            On the common time line; not before the end of what was fed last. What is
            left out between is not looked at.
        blocks : {audio stream number: (channels, samples)}
            Integers of up to 32 bits; float for a stream that is not integer PCM.
        valid : (samples,)
            False where a sample is missing or at full scale; such a block is left out.

        Raises
        ------
        InputError
            If streams are missing, shapes do not fit, or time runs backwards.
        """
        samples = self._check(start_sample, blocks, valid)
        self._position = start_sample
        length = len(self._usable)
        done = 0
        while done < samples:
            if self._position >= self._batch_start + length:
                self._flush()
                self._batch_start = self._position - self._position % length
            at = self._position - self._batch_start
            step = min(samples - done, length - at)
            row = 0
            for stream, names in self._streams.items():
                self._batch[row : row + len(names), at : at + step] = blocks[stream][:, done : done + step]
                row += len(names)
            self._usable[at : at + step] = True if valid is None else valid[done : done + step]
            done += step
            self._position += step

    def _check(
        self,
        start_sample: int,
        blocks: Mapping[int, NDArray[np.number]],
        valid: NDArray[np.bool_] | None,
    ) -> int:
        if set(blocks) != set(self._streams):
            raise InputError(f"blocks of streams {sorted(blocks)}, but the file has {sorted(self._streams)}")
        if start_sample < self._position:
            raise InputError(f"block starts at sample {start_sample}, before {self._position}; feed in order of time")
        samples = next(iter(blocks.values())).shape[-1] if blocks else 0
        for stream, block in blocks.items():
            if block.shape != (len(self._streams[stream]), samples):
                raise InputError(
                    f"stream {stream}: block of shape {block.shape}, not "
                    f"({len(self._streams[stream])}, {samples}); cut all streams to one stretch"
                )
            if not np.issubdtype(block.dtype, np.integer):
                if not np.isfinite(block).all():
                    raise InputError(f"stream {stream}: samples that are no numbers; mark them as not valid")
                self._floats.add(stream)
        if valid is not None and valid.shape != (samples,):
            raise InputError(f"{valid.shape} validity flags for {samples} samples; give one for each")
        return samples

    def _flush(self) -> None:
        n = self._block_samples
        blocks = len(self._usable) // n
        usable = self._usable.reshape(blocks, n).all(axis=1)
        for at in np.flatnonzero(usable):
            start = self._batch_start + int(at) * n
            whole = self._batch[:, at * n : (at + 1) * n]
            for rows, log in zip(self._rows, self._logs, strict=True):
                if self._floats:
                    log.note_depth(whole[rows])
                else:
                    log.observe(whole[rows], number=start // n, start_sample=start)
        self._usable[:] = False

    def conclude(self) -> Discovery:
        """What the samples fed so far say; to be asked once, at the end."""
        self._flush()
        for log in self._logs:
            log.finish()
        approximate = self._approximate()
        if approximate is not None:
            return approximate
        if len(self._streams) < 2:
            return _nothing("there is one audio stream only: nothing to compare it with")
        if not any(log.sounding_blocks for log in self._logs):
            return _nothing("nothing sounds in any stream")
        findings = [
            _take_apart(group, log, self._block_samples) for group, log in zip(self._groups, self._logs, strict=True)
        ]
        missing = tuple(text for finding in findings for text in finding.parts.missing)
        if missing:
            return Discovery(None, None, (), (), tuple(dict.fromkeys(missing)), None)
        return self._assemble(findings)

    def _approximate(self) -> Discovery | None:
        """The answer for streams that follow each other, but in no integer relation."""
        related = {stream for log in self._logs for stream in log.related}
        depths = {
            stream: log.depths[stream][-1]
            for log in self._logs
            for stream in log.depths
            if stream not in related and len(log.depths[stream]) >= 4
        }
        if self._floats or any(depth < _APPROXIMATE_DB for depth in depths.values()):
            words = [f"stream {stream} is not integer PCM" for stream in sorted(self._floats)]
            words += [
                f"stream {stream} follows the others only approximately, to {depth:.1f} dB"
                for stream, depth in sorted(depths.items())
                if depth < _APPROXIMATE_DB
            ]
            return Discovery(None, None, (), (), tuple(words), min(depths.values(), default=None))
        return None

    def _assemble(self, findings: list[_Finding]) -> Discovery:
        bundles, assumptions = _bundle([(part, finding) for finding in findings for part in finding.parts.found])
        sources, columns = [], []
        streams: dict[int, list[Term]] = {stream: [] for stream in self._streams}
        for number, bundle in enumerate(bundles):
            name = chr(ord("a") + number) if number < 26 else f"source{number + 1}"
            channels = [channel for part, _ in bundle for channel in part.channels]
            single = len(channels) == 1
            channels.sort(key=lambda channel: [*_CHANNEL_ORDER, channel].index(channel))
            title = "in " + _heard_in(bundle)
            sources.append(Source(name, "mono" if single else layout_name(tuple(channels)), title))
            for stream, names in self._streams.items():
                streams[stream] += _terms(name, bundle, stream, names, whole=set(channels))
            for part, finding in bundle:
                columns += _columns(name, part, finding, self._groups, self._block_samples)
        modes = {finding.mode for finding in findings}
        return Discovery(
            Recipe(tuple(sources), {stream: tuple(terms) for stream, terms in streams.items()}),
            "rounded" if "rounded" in modes else "exact",
            tuple(columns),
            (*assumptions, *(text for finding in findings for text in finding.assumptions)),
            (),
            None,
        )


def _nothing(why: str) -> Discovery:
    return Discovery(None, None, (), (), (why,), None)


def _take_apart(group: Group, log: PassageLog, block_samples: int) -> _Finding:
    """The parts of a group: from exact relations, or else from those within rounding."""
    exact = _in_mode(group, log, "exact", block_samples)
    if not exact.parts.missing:
        return exact
    rounded = _in_mode(group, log, "rounded", block_samples)
    if not rounded.parts.missing:
        return rounded
    # Both failed: the reasons are those of the reading that more blocks speak for.
    in_steps = sum(passage.blocks for space, passage in log.rounded.items() if space not in log.exact)
    return rounded if in_steps > log.sounding_blocks // 2 else exact


def _in_mode(group: Group, log: PassageLog, mode: Mode, block_samples: int) -> _Finding:
    passages = log.exact if mode == "exact" else log.rounded
    counts = {space: passage.blocks for space, passage in passages.items()}
    parts = find_parts(group, counts, least_blocks=_LEAST_BLOCKS)
    missing, assumptions = list(parts.missing), ()
    where = " and ".join(dict.fromkeys(key.channel for key in group.channels))
    left_out = log.unclear if mode == "exact" else log.faint
    if not missing and left_out > (2 + log.sounding_blocks // 50 if mode == "exact" else 0):
        missing.append(f"{where}: {left_out} of {log.sounding_blocks} blocks do not tell what sounds in them")
    if not missing and mode == "rounded":
        missing += [f"{where}: {text}" for text in _not_rounding(log, parts, group.width)]
    if not missing:
        shared, assumptions = _shared_sounds(parts, log, group.width, mode, block_samples)
        missing += [f"{where}: {text}" for text in shared]
    return _Finding(Parts(parts.found, tuple(missing)), mode, passages, group.width, tuple(assumptions))


def _not_rounding(log: PassageLog, parts: Parts, width: int) -> list[str]:
    """Errors of relations that rounding once per stream would not make.

    Streams with equal contents round alike, others independently: drawing random
    contents gives the power that each error should have.
    """
    random = np.random.default_rng(0)
    for space, errors in log.errors.items():
        basis = [row for part in parts.found for row in intersection(space, span(part.columns), width)]
        relations = np.array(complement(space, width), dtype=float).reshape(-1, width)
        if not len(relations) or not basis:
            continue
        contents = np.array(basis, dtype=float).T @ random.uniform(-1e4, 1e4, (len(basis), 16384))
        due = ((relations @ (np.rint(contents) - contents)) ** 2).mean(axis=1)
        due[due < 1e-6] = 0.0
        clear = errors.clear_blocks
        if (errors.most > 1.6 * due).any() or (
            clear and ((errors.least == 0) & (due > 0) | (errors.total < 0.3 * due * clear)).any()
        ):
            return ["the relations hold to within rounding, but their errors are not those of rounding"]
    return []


def _shared_sounds(
    parts: Parts, log: PassageLog, width: int, mode: Mode, block_samples: int
) -> tuple[list[str], list[str]]:
    """Pairs of parts that may hide a third source, and how faint one could hide in the others."""
    passages = log.exact if mode == "exact" else log.rounded
    together: dict[tuple[int, int], list[tuple[NDArray[np.float64], ...]]] = {}
    floors: dict[tuple[int, int], tuple[float, float]] = {}
    for reading, blocks in log.kept:
        space = reading.exact if mode == "exact" else reading.rounded
        sounding = parts.sounding(space or (), width)
        if len(sounding) < 2:
            continue
        matrix = np.array([column for part in sounding for column in part.columns], dtype=float).T
        inverse = np.linalg.pinv(matrix)
        recovered = np.einsum("jc,bct->jbt", inverse, blocks)
        if mode == "exact" and np.abs(recovered - np.rint(recovered)).max() > 1e-3:
            return ["the sources would not be whole numbers, so there is at least one more"], []
        noise = (inverse**2).sum(axis=1) / 12 * (mode == "rounded")
        ends = np.cumsum([len(part.columns) for part in sounding])
        slices = [slice(end - len(part.columns), end) for end, part in zip(ends, sounding, strict=True)]
        for first, one in enumerate(sounding):
            for second, other in enumerate(sounding[:first]):
                pair = parts.found.index(other), parts.found.index(one)
                together.setdefault(pair, []).append((recovered[slices[second]], recovered[slices[first]]))
                before = floors.get(pair, (0.0, 0.0))
                floors[pair] = (
                    max(before[0], float(noise[slices[second]].max())),
                    max(before[1], float(noise[slices[first]].max())),
                )
    missing, assumptions = [], []
    heard_together = {
        (a, b): sum(
            passage.blocks
            for space, passage in passages.items()
            if {a, b} <= {parts.found.index(part) for part in parts.sounding(space, width)}
        )
        for b in range(len(parts.found))
        for a in range(b)
    }
    for (a, b), heard in heard_together.items():
        if not heard:
            continue
        names = f"the source in {_listed(parts.found[a])} and the one in {_listed(parts.found[b])}"
        passages_of = together.get((a, b), [])
        blocks = sum(one.shape[1] for one, _ in passages_of)
        if blocks < _LEAST_JOINT_BLOCKS:
            missing.append(
                f"{names} sound together for {heard} blocks of {block_samples} samples only, "
                "too short to rule out a third source that sounds just then"
            )
            continue
        ones = np.concatenate([one for one, _ in passages_of], axis=1)
        others = np.concatenate([other for _, other in passages_of], axis=1)
        peak = max(
            shared_peak(one, other, one_floor=floors[a, b][0], other_floor=floors[a, b][1])
            for one in ones
            for other in others
        )
        if peak > SHARED_PEAK:
            missing.append(
                f"{names} share a sound at the very same sample ({peak:.0f} times chance), so there may "
                "be a third source that sounds only together with both"
            )
        else:
            faintest = faintest_shared_db(blocks, block_samples)
            assumptions.append(
                f"no third source sounds only while {names} both sound; it would have been noticed "
                f"down to about {faintest:.0f} dB below them"
            )
    return missing, assumptions


def _bundle(
    found: list[tuple[Part, _Finding]],
) -> tuple[list[list[tuple[Part, _Finding]]], list[str]]:
    """Parts that are taken for one source: surround channels with the pair they sound with."""
    bundles = [[entry] for entry in found if set(entry[0].channels) <= {"FL", "FR", MONO}]
    surrounds: dict[tuple[tuple[int, int], ...], list[tuple[Part, _Finding]]] = {}
    for entry in found:
        if not set(entry[0].channels) <= {"FL", "FR", MONO}:
            surrounds.setdefault(entry[0].gains, []).append(entry)
    hosts: dict[int, list[list[tuple[Part, _Finding]]]] = {}
    alone = []
    for entries in surrounds.values():
        streams = set(entries[0][0].streams)
        pairs = [
            at
            for at, bundle in enumerate(bundles)
            if bundle[0][0].channels == ("FL", "FR") and streams <= set(bundle[0][0].streams)
        ]
        if len(pairs) == 1:
            hosts.setdefault(pairs[0], []).append(entries)
        else:
            alone.append(entries)
    assumptions = []
    for at, guests in hosts.items():
        names = [part.channels[0] for entries in guests for part, _ in entries]
        if len(set(names)) < len(names):
            alone += guests  # a source has no channel twice
            continue
        host = bundles[at][0][0]
        bundles[at] += [entry for entries in guests for entry in entries]
        assumptions.append(
            f"{', '.join(names)} belong to the FL and FR that sound in {_listed(host)}: "
            "no other pair is in the streams they sound in"
        )
    assumptions += [
        f"{', '.join(part.channels[0] for part, _ in entries)} in {_listed(entries[0][0])} are one source: "
        "they go to the same streams"
        for entries in alone
        if len(entries) > 1
    ]
    bundles += alone
    bundles.sort(key=lambda bundle: (bundle[0][0].gains, bundle[0][0].channels))
    return bundles, assumptions


def _terms(
    name: str,
    bundle: list[tuple[Part, _Finding]],
    stream: int,
    stream_channels: tuple[str, ...],
    *,
    whole: set[str],
) -> list[Term]:
    by_gain: dict[int, list[str]] = {}
    for part, _ in bundle:
        if gain := dict(part.gains).get(stream):
            by_gain.setdefault(gain, []).extend(part.channels)
    terms = []
    for gain, channels in by_gain.items():
        everything = set(channels) == whole and (len(whole) > 1 or channels == [MONO])
        channels.sort(key=lambda channel: [*_CHANNEL_ORDER, channel].index(channel))
        terms.append(Term(Fraction(gain), name, None if everything else tuple(channels)))
    return terms


def _columns(
    name: str, part: Part, finding: _Finding, all_groups: tuple[Group, ...], block_samples: int
) -> list[Column]:
    heard = [
        passage for space, passage in finding.passages.items() if intersection(space, span(part.columns), finding.width)
    ]
    group = next(
        group for group in all_groups if group.width == finding.width and set(part.channels) <= set(group.kinds)
    )
    return [
        Column(
            name,
            "FC" if channel == MONO else channel,
            tuple((key, gain) for key, gain in zip(group.channels, column, strict=True) if gain),
            sum(passage.runs for passage in heard),
            block_samples * sum(passage.blocks for passage in heard),
            min(passage.first_sample for passage in heard),
        )
        for channel, column in zip(part.channels, part.columns, strict=True)
    ]


def _heard_in(bundle: list[tuple[Part, _Finding]]) -> str:
    streams = sorted({stream for part, _ in bundle for stream in part.streams})
    return _joined(streams)


def _listed(part: Part) -> str:
    return _joined(part.streams)


def _joined(streams: list[int] | tuple[int, ...]) -> str:
    if len(streams) == 1:
        return f"stream {streams[0]} only"
    return f"streams {', '.join(map(str, streams[:-1]))} and {streams[-1]}"
