"""Which of its repeats each passage of a song is, at the full rate, through the filter that is known."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.best_shift import best_shift
from unsum.dsp.time_fit import Excerpt, needed_reference
from unsum.dsp.time_rows import render_between
from unsum.estimators.cutting import cut
from unsum.estimators.location import Passage
from unsum.estimators.passage_ends import SHORTEST_SILENCE, Ends, Handover, ends_of
from unsum.estimators.passage_lines import AHEAD_SECONDS, chained
from unsum.estimators.passage_reading import rough_line
from unsum.model import Contribution, TimeWarp
from unsum.problem import AudioSource, as_float

REACH_SECONDS = 60.0  # a repeat that lies farther off is the search's to tell
APART_SECONDS = 0.02  # two places that are compared: tones are alike a period later
_MOST_SECONDS = 16.0  # of a passage
_MOST_VALUES = 1 << 24  # of an image that is held in memory, some times over
_SAME_SECONDS = 0.0002  # two delays that are one


def at_their_repeats(
    mixture: AudioSource, reference: AudioSource, passages: Sequence[Passage], part: Contribution
) -> tuple[Passage, ...]:
    """Passages at the places around theirs that explain most; where none explains clearly more, as they are.

    Parameters
    ----------
    mixture : without the other references
    part : how the reference is heard: its filters
    """
    rate = mixture.sample_rate
    ends = ends_of(part, mixture)
    ranges = [_compared(one, rate) for one in passages]
    pieces = cut(mixture, [(start, stop - start) for start, stop in ranges])
    out: list[Passage] = []
    for one, (start, stop), piece in zip(passages, ranges, pieces, strict=True):
        heard = as_float(piece, mixture.bits)
        image, here = _image_around(start, stop - start, one, reference, ends)
        behind = best_shift(
            heard,
            image,
            here,
            frame=ends.frame,
            floor=ends.silent_energy(heard),
            apart=max(1, round(APART_SECONDS * rate)),
        )
        # A delay is a difference of times in the reference, which runs at its own speed.
        moved = behind / rate * (1 + 1e-6 * one.clock_ppm)
        _append(out, replace(one, delay_seconds=one.delay_seconds - moved))
    return tuple(out)


def warp_along(passages: Sequence[Passage]) -> TimeWarp:
    """One warp along passages at clocks that agree, in whole samples as far as their delays are.

    Where there is a pause between two of them, it is silent.
    """
    lines = [rough_line(one, 0.0) for one in passages]
    handovers = []
    for one, other in pairwise(passages):
        if other.start_seconds - one.stop_seconds > SHORTEST_SILENCE:
            handovers.append(Handover(one.stop_seconds, other.start_seconds))
        else:
            middle = 0.5 * (one.stop_seconds + other.start_seconds)
            handovers.append(Handover(middle, middle))
    return chained(lines, 0.0, handovers)


def _append(passages: list[Passage], one: Passage) -> None:
    """One more, or a longer last one where that goes on at the same place."""
    if passages:
        last = passages[-1]
        near = one.start_seconds - last.stop_seconds < AHEAD_SECONDS
        if near and abs(one.delay_seconds - _delay_at(_middle(one), last)) <= _SAME_SECONDS:
            longer = replace(last, stop_seconds=one.stop_seconds)
            passages[-1] = replace(longer, delay_seconds=_delay_at(_middle(longer), last))
            return
    passages.append(one)


def _middle(passage: Passage) -> float:
    return 0.5 * (passage.start_seconds + passage.stop_seconds)


def _delay_at(seconds: float, passage: Passage) -> float:
    """The delay at a moment on the line of a passage, whose own holds in its middle."""
    return passage.delay_seconds - (seconds - _middle(passage)) * 1e-6 * passage.clock_ppm


def _compared(passage: Passage, rate: int) -> tuple[int, int]:
    """The samples in the middle of a passage, whose ends are known roughly."""
    middle = _middle(passage)
    half = 0.5 * min(0.9 * (passage.stop_seconds - passage.start_seconds), _MOST_SECONDS)
    return round((middle - half) * rate), round((middle + half) * rate)


def _image_around(
    start: int, length: int, passage: Passage, reference: AudioSource, ends: Ends
) -> tuple[NDArray[np.float64], int]:
    """The reference as the mixture would hear it at all places around a passage, and where in that it seems to be."""
    rate, lags = ends.rate, ends.lags
    middle = _middle(passage)
    delay = middle - (middle - passage.delay_seconds) / (1 + 1e-6 * passage.clock_ppm)
    warp = TimeWarp(delay, passage.clock_ppm)
    slack = round(AHEAD_SECONDS * rate)
    most = max(slack, min(round(REACH_SECONDS * rate), (_MOST_VALUES // len(ends.filters) - length) // 2))
    place = round(float(warp.reference_time(start / rate)) * rate)
    before, behind = min(most, max(slack, place + slack)), most
    if reference.samples is not None:
        behind = min(most, max(slack, reference.samples - place - length + slack))
    first, stop = start - before, start + length + behind
    need = needed_reference(first, stop, warp, lags, sample_rate=rate)
    played = as_float(cut(reference, [(need[0], need[1] - need[0])])[0], reference.bits)
    excerpt = Excerpt(first, np.zeros((1, stop - first), np.float32), need[0], played)
    rendered = render_between(excerpt, warp, first - lags.before, stop + lags.behind, sample_rate=rate)
    return ends.image(rendered, stop - first), before
