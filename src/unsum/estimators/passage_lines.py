"""Passages of a reference as straight lines, and one warp along all of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

from unsum.estimators.passage_ends import Handover
from unsum.model import Jump, TimeWarp

_SAME_SECONDS = 1e-6  # of a jump: less than a sample at any rate
AHEAD_SECONDS = 1.0  # so far before its first sample a reference is surely not heard


@dataclass(frozen=True, slots=True)
class Line:
    """A passage: from when to when it is heard, and where the reference is at some moment in it, in seconds.

    A change of the clock turns the line about that moment.
    """

    start: float
    stop: float
    pivot: float
    place: float

    def warp(self, clock_ppm: float) -> TimeWarp:
        return TimeWarp(self.pivot - self.place / (1 + 1e-6 * clock_ppm), clock_ppm)

    def turning_about(self, pivot: float, clock_ppm: float) -> "Line":
        return replace(self, pivot=pivot, place=self.place + (pivot - self.pivot) * (1 + 1e-6 * clock_ppm))


def chained(lines: Sequence[Line], clock_ppm: float, handovers: Sequence[Handover]) -> TimeWarp:
    """One warp along all lines, silent where a handover leaves a gap; a line that others leave no time is left out."""
    speed = 1 + 1e-6 * clock_ppm
    first = lines[0].warp(clock_ppm)
    jumps: list[Jump] = []
    for line, change in _lasting(lines, in_order(handovers)):
        if change.starts > change.stops:
            silent = -(change.starts - change.stops) * speed - AHEAD_SECONDS
            here = float(replace(first, jumps=tuple(jumps)).reference_time(change.stops))
            jumps.append(Jump(change.stops, silent - here))
        # From delay to delay, not from place to place: whole samples stay whole.
        total = (first.delay_seconds - line.warp(clock_ppm).delay_seconds) * speed
        skipped = total - sum(jump.skipped_seconds for jump in jumps)
        if abs(skipped) > _SAME_SECONDS:
            jumps.append(Jump(change.starts, skipped))
    return replace(first, jumps=tuple(jumps))


def _lasting(lines: Sequence[Line], handovers: Sequence[Handover]) -> Iterator[tuple[Line, Handover]]:
    """Of all lines behind the first, those that last, each with the handover to it."""
    if not handovers:
        return
    stops = handovers[0].stops
    until = [*(change.stops for change in handovers[1:]), inf]
    for line, change, end in zip(lines[1:], handovers, until, strict=True):
        if end > change.starts:
            yield line, Handover(min(stops, change.starts), change.starts)
            stops = end


def in_order(handovers: Iterable[Handover]) -> list[Handover]:
    """Handovers none of which comes ahead of the one before: each is found alone, and a short passage has two near."""
    out: list[Handover] = []
    for one in handovers:
        least = out[-1].starts if out else -inf
        out.append(Handover(max(one.stops, least), max(one.starts, least)))
    return out


def owners(lines: Sequence[Line], seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    """The passage that each moment lies in, or nearest to."""
    return np.searchsorted([0.5 * (one.stop + other.start) for one, other in pairwise(lines)], seconds)
