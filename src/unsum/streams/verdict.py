"""Are the parts that the passages suggest the sources? Taken apart, then doubted.

The relations may hold exactly or within rounding, and either way a source may hide:
one as faint as rounding, or one that sounds only while two others do.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unsum.streams.columns import MONO, Group, Part, Parts, find_parts
from unsum.streams.likeness import SHARED_PEAK, faintest_shared_db, shared_peak
from unsum.streams.passages import Passage, PassageLog
from unsum.streams.subspaces import Subspace, complement, intersection, span

Mode = Literal["exact", "rounded"]

# A span that is seen once may be an accident of a few samples in the middle of a block.
_LEAST_BLOCKS = 2

# Two sources that sound together for less are not compared well enough to rule out a third.
_LEAST_JOINT_SAMPLES = 48_000

_NOT_WHOLE = "the sources would be no whole numbers, so there is at least one source more"


@dataclass(frozen=True, slots=True)
class Finding:
    """A group of channels taken apart, or why not."""

    group: Group
    parts: Parts
    mode: Mode
    passages: Mapping[Subspace, Passage]
    assumptions: tuple[str, ...] = ()


def take_apart(group: Group, log: PassageLog, *, block_samples: int) -> Finding:
    """The parts of a group: from exact relations, or else from those within rounding."""
    exact = _in_mode(group, log, "exact", block_samples)
    if not exact.parts.missing:
        return exact
    rounded = _in_mode(group, log, "rounded", block_samples)
    # Sources that are no whole numbers are no whole numbers because of rounding, or because
    # there is one source more: only errors of rounding elsewhere speak for the first.
    if _NOT_WHOLE in exact.parts.missing[0] and not any(held.most.any() for held in log.errors.values()):
        return exact
    if not rounded.parts.missing:
        return rounded
    # Both failed: the reasons are those of the reading that more blocks speak for.
    in_steps = sum(passage.blocks for space, passage in log.rounded.items() if space not in log.exact)
    return rounded if in_steps > log.sounding_blocks // 2 else exact


def _in_mode(group: Group, log: PassageLog, mode: Mode, block_samples: int) -> Finding:
    passages = log.exact if mode == "exact" else log.rounded
    counts = {space: passage.blocks for space, passage in passages.items()}
    parts = find_parts(group, counts, least_blocks=_LEAST_BLOCKS)
    missing, assumptions = parts.missing, ()
    # Exactly, a few blocks with thin or odd contents mean nothing; a faint sound does.
    left_out, allowed = (log.unclear, 2 + log.sounding_blocks // 50) if mode == "exact" else (log.faint, 0)
    if not missing and left_out > allowed:
        missing = (f"{left_out} of {log.sounding_blocks} blocks do not tell what sounds in them",)
    if not missing and mode == "rounded" and not _is_rounding(log, parts, group.width):
        missing = ("relations hold to within rounding, but their errors are not those of rounding",)
    if not missing:
        missing, assumptions = _doubts(group, parts, log, mode, block_samples)
    if missing and not parts.missing:
        missing = tuple(f"{group.label(MONO)}: {text}" for text in missing)
    return Finding(group, Parts(parts.found, missing), mode, passages, assumptions)


def _is_rounding(log: PassageLog, parts: Parts, width: int) -> bool:
    """Whether the relations are as far off as rounding once per stream makes them.

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
        if (errors.most > 1.6 * due).any():
            return False
        clear = errors.clear_blocks
        too_little = (errors.least == 0) & (due > 0) | (errors.total < 0.3 * due * clear)
        if clear and too_little.any():
            return False
    return True


def _doubts(
    group: Group, parts: Parts, log: PassageLog, mode: Mode, block_samples: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whether two of the parts may hide a third source: what is missing, what is assumed."""
    passages = log.exact if mode == "exact" else log.rounded
    heard: Counter[tuple[int, int]] = Counter()
    for space, passage in passages.items():
        sounding = [parts.found.index(part) for part in parts.sounding(space, group.width)]
        heard.update(dict.fromkeys(combinations(sounding, 2), passage.blocks))
    compared: dict[tuple[int, int], list[tuple[_Signals, _Signals]]] = {pair: [] for pair in heard}
    for reading, blocks in log.kept:
        space = reading.exact if mode == "exact" else reading.rounded
        sounding = parts.sounding(space or (), group.width)
        if len(sounding) < 2:
            continue
        signals = _recovered(sounding, blocks, rounded=mode == "rounded")
        if mode == "exact" and any(np.abs(s.values - np.rint(s.values)).max() > 1e-3 for s in signals):
            return (_NOT_WHOLE,), ()
        for one, other in combinations(range(len(sounding)), 2):
            pair = parts.found.index(sounding[one]), parts.found.index(sounding[other])
            compared[pair].append((signals[one], signals[other]))
    missing, assumptions = [], []
    for (one, other), signals in compared.items():
        names = f"the source in {parts.found[one]} and the one in {parts.found[other]}"
        blocks = sum(first.values.shape[1] for first, _ in signals)
        if blocks * block_samples < _LEAST_JOINT_SAMPLES:
            missing.append(
                f"{names} sound together for {heard[one, other] * block_samples} samples only, "
                "too short to rule out a third source that sounds just then"
            )
        elif (peak := _shared_peak(signals)) > SHARED_PEAK:
            missing.append(
                f"{names} share a sound at the very same sample ({peak:.0f} times chance), so there may "
                "be a third source that sounds only together with both"
            )
        else:
            faintest = -faintest_shared_db(blocks, block_samples)
            assumptions.append(
                f"no third source sounds only while {names} both sound: "
                f"one less than about {faintest:.0f} dB below them would have been noticed"
            )
    return tuple(missing), tuple(assumptions)


@dataclass(frozen=True, slots=True)
class _Signals:
    """The channels of one part in some blocks, recovered through the columns that were found."""

    values: NDArray[np.float64]  # (channels, blocks, samples)
    noise: float  # most power that rounding of the streams may have left in a channel


def _recovered(sounding: tuple[Part, ...], blocks: NDArray[np.float64], *, rounded: bool) -> list[_Signals]:
    columns = np.array([column for part in sounding for column in part.columns], dtype=float).T
    inverse = np.linalg.pinv(columns)
    values = np.moveaxis(inverse @ blocks, 1, 0)
    noise = (inverse**2).sum(axis=1) / 12 if rounded else np.zeros(len(inverse))
    ends = np.cumsum([len(part.columns) for part in sounding])[:-1]
    return [
        _Signals(part, float(power.max()))
        for part, power in zip(np.split(values, ends), np.split(noise, ends), strict=True)
    ]


def _shared_peak(signals: list[tuple[_Signals, _Signals]]) -> float:
    """The highest over all pairs of channels."""
    ones = np.concatenate([one.values for one, _ in signals], axis=1)
    others = np.concatenate([other.values for _, other in signals], axis=1)
    floors = max(one.noise for one, _ in signals), max(other.noise for _, other in signals)
    return max(shared_peak(one, other, one_floor=floors[0], other_floor=floors[1]) for one in ones for other in others)
