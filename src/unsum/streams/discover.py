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

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.streams.bundles import bundled, neutral_source, stream_terms
from unsum.streams.columns import MONO, Part, groups
from unsum.streams.equations import StreamChannel
from unsum.streams.passages import DEPTHS_HELD, PassageLog
from unsum.streams.recipe import Recipe
from unsum.streams.subspaces import intersection, span
from unsum.streams.verdict import Finding, Mode, take_apart

BLOCK_SAMPLES = 2048

# A stream that follows from the others less deeply may just be faint beside them.
_APPROXIMATE_DB = -20.0

_KEEP_BYTES = 12 << 20
_BATCH_BLOCKS = 16


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
    approximate_db: float | None  # deepest relation of a stream that is in no exact one, if deep


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
        if len(self._streams) < 2:
            return _nothing("there is one audio stream only: nothing to compare it with")
        if self._floats:
            return _nothing(
                *self._float_words(),
                *self._approximate_words(),
                approximate_db=min(self._depths().values(), default=None),
            )
        if not any(log.sounding_blocks for log in self._logs):
            return _nothing("nothing sounds in any stream")
        findings = [
            take_apart(group, log, block_samples=self._block_samples)
            for group, log in zip(self._groups, self._logs, strict=True)
        ]
        missing = [text for finding in findings for text in finding.parts.missing]
        if missing:
            deepest = min(self._depths().values(), default=None)
            return _nothing(*missing, *self._approximate_words(), approximate_db=deepest)
        return self._assembled(findings)

    def _depths(self) -> dict[int, float]:
        """How deep the streams that are in no integer relation follow from the others, in dB."""
        related = {stream for log in self._logs for stream in log.related}
        depths: dict[int, float] = {}
        for log in self._logs:
            for stream, found in log.depths.items():
                # The deepest of a few blocks: one alone may be nearly silent.
                if stream not in related and len(found) == DEPTHS_HELD and found[-1] < _APPROXIMATE_DB:
                    depths[stream] = min(found[-1], depths.get(stream, 0.0))
        return depths

    def _float_words(self) -> list[str]:
        if not self._floats:
            return []
        streams = ", ".join(map(str, sorted(self._floats)))
        return [f"stream {streams} lossy or in floating point: no exact relation can be found there"]

    def _approximate_words(self) -> list[str]:
        return [
            f"stream {stream} follows from the others only approximately, to {depth:.1f} dB in its best moments: "
            "it may be lossy or resampled, or one of its sources is never silent"
            for stream, depth in sorted(self._depths().items())
        ]

    def _assembled(self, findings: list[Finding]) -> Discovery:
        bundles, assumptions = bundled(part for finding in findings for part in finding.parts.found)
        sources = [neutral_source(bundle, number) for number, bundle in enumerate(bundles)]
        whose = {part: source.name for bundle, source in zip(bundles, sources, strict=True) for part in bundle}
        columns = [
            column
            for finding in findings
            for part in finding.parts.found
            for column in _columns(whose[part], part, finding, self._block_samples)
        ]
        return Discovery(
            Recipe(tuple(sources), stream_terms(bundles, sources, self._streams)),
            "rounded" if any(finding.mode == "rounded" for finding in findings) else "exact",
            tuple(sorted(columns, key=lambda column: column.source)),
            (*assumptions, *(text for finding in findings for text in finding.assumptions)),
            (),
            None,
        )


def _nothing(*missing: str, approximate_db: float | None = None) -> Discovery:
    return Discovery(None, None, (), (), tuple(dict.fromkeys(missing)), approximate_db)


def _columns(source: str, part: Part, finding: Finding, block_samples: int) -> list[Column]:
    width = finding.group.width
    heard = [passage for space, passage in finding.passages.items() if intersection(space, span(part.columns), width)]
    return [
        Column(
            source,
            "FC" if channel == MONO else channel,
            tuple((key, gain) for key, gain in zip(finding.group.channels, column, strict=True) if gain),
            sum(passage.runs for passage in heard),
            block_samples * sum(passage.blocks for passage in heard),
            min(passage.first_sample for passage in heard),
        )
        for channel, column in zip(part.channels, part.columns, strict=True)
    ]
