"""Which moments of the mixture are fitted, which are held out, and which do not count."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from unsum.dsp.rows import HELD_OUT, Segment, split_rows
from unsum.model import TimeWarp

# A reference sounds from its first to its last sample; where a warp puts those is found on this grid.
_GRID_SECONDS = 0.01
# A quarter of the time is held out, in stretches spread over all of it.
_HELD_OUT_SHARE = 4
_PERIOD_SECONDS, _FEWEST_PERIODS, _MOST_PERIODS = 8.0, 2, 8
_MOST_STRETCHES = 24  # each costs memory
# Segments with fewer rows are not worth the memory of their edges.
_SHORTEST_SAMPLES = 1024
# As long as the filters of rooms. Ahead of it a reference may have gone on before its file begins; and were a sound cut
# off there in the history of rows that count, its bands that sound nowhere else would let filters fit anything.
_MARGIN_SAMPLES = 8192
# Leaving out more than this for the sake of clipped moments would cost more than they do.
_MOST_CLIPPED = 0.5

Range = tuple[int, int]


def split_time(
    warps: Mapping[str, TimeWarp],
    *,
    lengths: Mapping[str, int],
    total: int,
    sample_rate: int,
    clipped: Sequence[Range] = (),
    excluded: Sequence[Range] = (),
) -> tuple[Segment, ...]:
    """The rows in which a reference sounds, some of them held out.

    Parameters
    ----------
    warps, lengths : {reference: where it lies}, {reference: samples}
    total : samples of the mixture
    clipped : half-open ranges that are left out, unless they are most of it
    excluded : half-open ranges that are left out in any case

    Returns
    -------
    segments : none held out where there is too little to hold anything out
    """
    heard = [span for name, warp in warps.items() for span in spans(warp, lengths[name], total, sample_rate)]
    if not heard:
        return ()
    start, stop = min(a for a, _ in heard), max(b for _, b in heard)
    margin = min(_MARGIN_SAMPLES, (stop - start) // 32)
    start, stop = start + (margin if start > 0 else 0), stop - (margin if stop < total else 0)
    idle = _gaps(heard, start, stop)
    left_out = [*idle, *excluded]
    if _covered(clipped, start, stop) <= _MOST_CLIPPED * (stop - start):
        left_out += clipped
    # A jump must show on samples that nothing was fitted to, so some of every stretch between two are held out.
    jumps = {round(jump.at_seconds * sample_rate) for warp in warps.values() for jump in warp.jumps}
    cuts = [start, *sorted(at for at in jumps if start < at < stop), stop]
    if len(cuts) > _MOST_STRETCHES:
        cuts = [start, stop]
    fewest = _FEWEST_PERIODS if len(cuts) == 2 else 1
    held_out = [one for a, b in pairwise(cuts) for one in _held_out(a, b, sample_rate, fewest)]
    return split_rows(
        start,
        stop,
        held_out=held_out,
        excluded=left_out,
        shortest_samples=min(_SHORTEST_SAMPLES, max(1, (stop - start) // 16)),
    )


def can_be_tested(segments: Sequence[Segment]) -> bool:
    """Whether there are rows to fit and rows to test on."""
    return len({segment.part == HELD_OUT for segment in segments}) == 2


def spans(warp: TimeWarp, length: int, total: int, sample_rate: int) -> list[Range]:
    """Half-open ranges of mixture samples in which a reference of ``length`` samples sounds."""
    whole = warp.whole_samples(sample_rate)
    if whole is not None:
        first, last = max(0, whole), min(total, whole + length)
        return [(first, last)] if last > first else []
    step = max(1, round(_GRID_SECONDS * sample_rate))
    at = np.arange(0, total, step)
    where = warp.reference_time(at / sample_rate) * sample_rate
    inside = np.concatenate([[False], (where >= 0) & (where < length), [False]])
    edges = np.flatnonzero(np.diff(inside.astype(np.int8))).reshape(-1, 2)
    return [(int(a) * step, min(int(b) * step, total)) for a, b in edges]


def _gaps(heard: Sequence[Range], start: int, stop: int) -> list[Range]:
    """What lies between the spans."""
    gaps, reached = [], start
    for first, last in sorted(heard):
        if first > reached:
            gaps.append((reached, min(first, stop)))
        reached = max(reached, last)
    return gaps


def _covered(ranges: Sequence[Range], start: int, stop: int) -> int:
    return sum(max(0, min(b, stop) - max(a, start)) for a, b in ranges)


def _held_out(start: int, stop: int, rate: int, fewest: int) -> list[Range]:
    length = stop - start
    count = int(np.clip(length // (_PERIOD_SECONDS * rate), fewest, _MOST_PERIODS))
    period = length // count
    return [
        (start + n * period + period // 2, start + n * period + period // 2 + period // _HELD_OUT_SHARE)
        for n in range(count)
    ]
