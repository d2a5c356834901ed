"""Stretches of the mixture in which a reference is heard, out of the places that a search found for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.evidence import EVEN_NATS, best_stretch
from unsum.dsp.search import Place, Search, judge

_MOST_PASSAGES = 16
_MISSED = 0.01  # a reference goes on where so many windows in a row may well say nothing
_SAYS_LITTLE = 1.5  # nats
_AS_GOOD = 0.99
_MOST_AT_AN_END = 5.0  # nats
_CLEARLY = 1.0  # nats over even that a window needs to lengthen a stretch


@dataclass(frozen=True, slots=True)
class Heard:
    """A stretch of mixture time in which the reference is heard along one line, in samples of the search.

    Reference time ``r`` is mixture time ``r + delay + slope * (r - pivot)``.
    """

    start: float
    stop: float
    delay: float
    slope: float
    pivot: float
    rank: float
    false_alarm: float

    def delay_at(self, reference_time: float) -> float:
        return self.delay + self.slope * (reference_time - self.pivot)

    def reference_time(self, mixture_time: float) -> float:
        return (mixture_time - self.delay + self.slope * self.pivot) / (1 + self.slope)


def best_first(places: Sequence[Place]) -> list[Place]:
    """Places by rank; a loop fits everywhere alike, and then the least shift is the best guess."""
    most = max((place.rank for place in places), default=0.0)
    return sorted(
        places, key=lambda place: (0.0, abs(place.delay)) if place.rank >= _AS_GOOD * most else (1.0, -place.rank)
    )


def heard_stretches(
    found: Search, *, swapped: bool, reference_length: int, mixture_length: int, false_alarm: float
) -> list[Heard]:
    """Stretches that do not overlap, the surest first.

    Parameters
    ----------
    swapped : whether the windows are pieces of the mixture, and the reference passed by
    reference_length, mixture_length : in samples of the search
    false_alarm : what may be chance more often than this is none
    """
    window = found.windows.length
    places = best_first(found.places)
    trials = [place.false_alarm / max(math.exp(-place.rank), 1e-300) for place in places]
    heard: list[Heard] = []
    left = [_in_mixture_time(place, found, swapped=swapped) for place in places]
    free = [np.array(place.evidence) for place in places]
    for _ in range(_MOST_PASSAGES):
        judged = [judge(one, places=max(1.0, trial / 2)) for one, trial in zip(free, trials, strict=True)]
        sure = [n for n, (chance, _) in enumerate(judged) if chance <= false_alarm]
        if not sure:
            break
        most = max(judged[n][1] for n in sure)
        n = next(n for n in sure if judged[n][1] >= _AS_GOOD * most)
        starts = left[n]
        first, stop = _extent(free[n])
        line = places[n]
        delay, slope, pivot = line.delay, line.slope, line.pivot
        if swapped:
            delay, slope, pivot = -delay, -slope, pivot + delay
        begin = Heard(0.0, 0.0, delay, slope, pivot, judged[n][1], judged[n][0])
        a, b = float(starts[first]), float(starts[stop - 1]) + window
        if first == 0 or not np.isfinite(free[n][:first]).any():
            a = -math.inf
        if stop == len(starts) or not np.isfinite(free[n][stop:]).any():
            b = math.inf
        ends = begin.delay_at(0.0), reference_length + begin.delay_at(reference_length)
        a, b = max(a, 0.0, ends[0]), min(b, float(mixture_length), ends[1])
        for other in heard:
            a = max(a, other.stop) if other.start <= a < other.stop else a
            b = min(b, other.start) if other.start < b <= other.stop else b
        if b > a:
            heard.append(replace(begin, start=a, stop=b))
        for evidence, at in zip(free, left, strict=True):
            evidence[(np.minimum(at + window, b) - np.maximum(at, a) > window / 2) & np.isfinite(evidence)] = 0.0
        free[n][first:stop] = np.where(np.isfinite(free[n][first:stop]), 0.0, np.nan)
    return _joined(heard)


def _in_mixture_time(place: Place, found: Search, *, swapped: bool) -> NDArray[np.float64]:
    starts = found.windows.starts.astype(np.float64)
    if swapped:
        return starts
    return starts + place.delay + place.slope * (starts + found.windows.length / 2 - place.pivot)


def _extent(evidence: NDArray[np.float64]) -> tuple[int, int]:
    """Windows of the best stretch, and those beside it that may have been drowned."""
    # No window alone carries a stretch over others that hear nothing.
    known = np.minimum(np.nan_to_num(evidence, nan=EVEN_NATS), _MOST_AT_AN_END)
    best = best_stretch(known - _CLEARLY)
    if best.stop == best.first:
        return 0, len(evidence)
    inside = evidence[best.first : best.stop]
    weak = float(np.sum(inside < _SAYS_LITTLE) + 1) / (np.sum(np.isfinite(inside)) + 2)
    reach = math.log(_MISSED) / math.log(min(weak, 0.999))
    first = 0 if np.isfinite(evidence[: best.first]).sum() <= reach else best.first
    stop = len(evidence) if np.isfinite(evidence[best.stop :]).sum() <= reach else best.stop
    return first, stop


def _joined(heard: list[Heard]) -> list[Heard]:
    """Neighbours along the same line are one: something loud hid the reference for a while."""
    out: list[Heard] = []
    for one in sorted(heard, key=lambda item: item.start):
        if out and out[-1].delay == one.delay and out[-1].slope == one.slope:
            surer = max(out[-1], one, key=lambda item: item.rank)
            out[-1] = replace(surer, start=out[-1].start, stop=one.stop)
        else:
            out.append(one)
    return sorted(out, key=lambda item: -item.rank)
