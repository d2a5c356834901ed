"""Stretches of the mixture in which a reference is heard, out of the places that a search found for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.evidence import EVEN_NATS, best_stretch
from unsum.dsp.search import Place, Search, judge

Time = TypeVar("Time", float, NDArray[np.floating])

_MOST_PASSAGES = 16
_MISSED = 0.01  # a reference goes on where so many windows in a row may well say nothing
_SAYS_LITTLE = 1.5  # nats
_AS_GOOD = 0.99
_MOST_AT_AN_END = 5.0  # nats
_RIVAL = 0.5  # of the rank of the best
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

    def delay_at(self, reference_time: Time) -> Time:
        return self.delay + self.slope * (reference_time - self.pivot)

    def reference_time(self, mixture_time: float) -> float:
        return (mixture_time - self.delay + self.slope * self.pivot) / (1 + self.slope)


def in_common(line: Heard, reference_length: int, mixture_length: int) -> Heard:
    """All of a line along which there is both reference and mixture."""
    first, last = line.delay_at(0.0), reference_length + line.delay_at(float(reference_length))
    return replace(line, start=max(0.0, first), stop=min(float(mixture_length), last))


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
    lengths = reference_length, mixture_length
    for _ in range(_MOST_PASSAGES):
        judged = [judge(one, places=max(1.0, trial / 2)) for one, trial in zip(free, trials, strict=True)]
        sure = [n for n, (chance, _) in enumerate(judged) if chance <= false_alarm]
        if not sure:
            break
        most = max(judged[n][1] for n in sure)
        n = next(n for n in sure if judged[n][1] >= _AS_GOOD * most)
        first, stop = _extent(free[n])
        one = _stretch(places[n], free[n], (first, stop), left[n], swapped=swapped, window=window, lengths=lengths)
        a, b = one.start, one.stop
        for other in heard:
            a = max(a, other.stop) if other.start <= a < other.stop else a
            b = min(b, other.start) if other.start < b <= other.stop else b
        if b > a:
            heard.append(replace(one, start=a, stop=b, rank=judged[n][1], false_alarm=judged[n][0]))
        for evidence, at in zip(free, left, strict=True):
            evidence[(np.minimum(at + window, b) - np.maximum(at, a) > window / 2) & np.isfinite(evidence)] = 0.0
        free[n][first:stop] = np.where(np.isfinite(free[n][first:stop]), 0.0, np.nan)
    return _joined(heard)


def rivals(
    found: Search, heard: Sequence[Heard], *, swapped: bool, reference_length: int, mixture_length: int, most: int
) -> list[Heard]:
    """Other lines that may be as good: where a sound repeats itself, evidence by windows is no judge among repeats."""
    sign = -1 if swapped else 1
    taken = {(one.delay, one.slope) for one in heard}
    least = _RIVAL * max((place.rank for place in found.places), default=0.0)
    out = []
    for place in sorted(found.places, key=lambda place: -place.rank):
        if len(out) == most or place.rank < least:
            break
        if (sign * place.delay, sign * place.slope) in taken:
            continue
        at = _in_mixture_time(place, found, swapped=swapped)
        extent = _extent(place.evidence)
        one = _stretch(
            place,
            place.evidence,
            extent,
            at,
            swapped=swapped,
            window=found.windows.length,
            lengths=(reference_length, mixture_length),
        )
        if one.stop > one.start:
            out.append(one)
    return out


def _stretch(
    place: Place,
    evidence: NDArray[np.float64],
    extent: tuple[int, int],
    at: NDArray[np.float64],
    *,
    swapped: bool,
    window: int,
    lengths: tuple[int, int],
) -> Heard:
    """Windows ``extent`` of a place as a stretch of mixture time; all of the overlap where no window is beyond."""
    delay, slope, pivot = place.delay, place.slope, place.pivot
    if swapped:
        delay, slope, pivot = -delay, -slope, pivot + delay
    line = Heard(0.0, 0.0, delay, slope, pivot, place.rank, place.false_alarm)
    first, stop = extent
    a, b = float(at[first]), float(at[stop - 1]) + window
    if first == 0 or not np.isfinite(evidence[:first]).any():
        a = -math.inf
    if stop == len(at) or not np.isfinite(evidence[stop:]).any():
        b = math.inf
    all_of_it = in_common(line, *lengths)
    return replace(line, start=max(a, all_of_it.start), stop=min(b, all_of_it.stop))


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
