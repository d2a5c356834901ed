"""On which sample a passage of a reference ends, and the next begins: with silence between them, or without."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.convolution import convolve
from unsum.dsp.jumps import change_point, splice_point
from unsum.dsp.time_fit import Excerpt, FilterInLoop, render
from unsum.model import TimeWarp

Audio = NDArray[np.float64]

EDGE_SECONDS = 2.5  # the ends of a passage are known so well
_LEAST_GAIN = 60.0  # log likelihood by which a silence between two passages must explain what lies there
_SHORTEST_SILENCE = 0.1  # seconds; less is no pause of a player


@dataclass(frozen=True, slots=True)
class Handover:
    """Mixture time, in seconds, at which one passage stops and at which the next starts; never before."""

    stops: float
    starts: float


@dataclass(frozen=True, slots=True)
class _Heard:
    """A stretch of the mixture beside a reference on its time line, with a margin for the filter."""

    start: int
    mixture: Audio
    reference: Audio


def hand_over(
    end: Excerpt,
    begin: Excerpt,
    one: TimeWarp,
    other: TimeWarp,
    fit: FilterInLoop,
    whitener: Audio,
    *,
    reference_seconds: float,
    sample_rate: int,
) -> Handover:
    """From one passage to the next.

    Parameters
    ----------
    end, begin : around the end of the first and the beginning of the second, with the reference as each needs it;
        the same stretch of the mixture where the two lie close together
    one, other : the warps along the passages
    fit : of the filter, in passages
    whitener : of the residual
    reference_seconds : length of the reference
    """
    speed = 1 + 1e-6 * one.clock_ppm
    runs_out, sets_in = one.delay_seconds + reference_seconds / speed, other.delay_seconds
    natural_end = runs_out * sample_rate <= end.stop
    natural_begin = sets_in * sample_rate >= begin.start
    if natural_end and natural_begin and runs_out <= sets_in:
        return Handover(_ceiling(runs_out, sample_rate), _ceiling(runs_out, sample_rate))
    together = (end.start, end.stop) == (begin.start, begin.stop)
    first, second = _heard(end, one, fit, sample_rate), _heard(begin, other, fit, sample_rate)
    if natural_end and not natural_begin:
        at = _starts(second, fit, whitener) / sample_rate
        return Handover(at, at)
    if natural_begin and not natural_end:
        at = _stops(first, fit, whitener) / sample_rate
        return Handover(at, at)
    if not together:
        return Handover(_stops(first, fit, whitener) / sample_rate, _starts(second, fit, whitener) / sample_rate)
    direct = _goes_over(first, second, fit, whitener)
    stops, starts = _stops(first, fit, whitener), _starts(second, fit, whitener)
    if starts - stops > _SHORTEST_SILENCE * sample_rate:
        at_once = _cost(first, second, direct, direct, fit, whitener)
        apart = _cost(first, second, stops, starts, fit, whitener)
        n_rows = first.mixture.size
        if (at_once - apart) / (2 * max(apart, 1e-300) / n_rows) > _LEAST_GAIN:
            return Handover(stops / sample_rate, starts / sample_rate)
    return Handover(direct / sample_rate, direct / sample_rate)


def _ceiling(seconds: float, rate: int) -> float:
    return math.ceil(seconds * rate) / rate


def _heard(excerpt: Excerpt, warp: TimeWarp, fit: FilterInLoop, rate: int) -> _Heard:
    lags = fit.lags
    played = render(excerpt, warp, sample_rate=rate, before=lags.before, behind=lags.behind)
    return _Heard(excerpt.start, excerpt.mixture, played)


def _silent(like: _Heard) -> _Heard:
    return _Heard(like.start, like.mixture, np.zeros_like(like.reference))


def _stops(heard: _Heard, fit: FilterInLoop, whitener: Audio) -> int:
    return _goes_over(heard, _silent(heard), fit, whitener)


def _starts(heard: _Heard, fit: FilterInLoop, whitener: Audio) -> int:
    return _goes_over(_silent(heard), heard, fit, whitener)


def _goes_over(before: _Heard, after: _Heard, fit: FilterInLoop, whitener: Audio) -> int:
    """The mixture sample from which on the second reference is heard instead of the first.

    A recording that was cut tells it by its residuals; where the player went over, the filter rings on, and the
    reference has to be cut ahead of it. Whichever explains more of what lies around is believed.
    """
    ends = [_left(one, one.reference, fit) for one in (before, after)]
    rough = change_point(ends[0], ends[1], whitener).at
    n, ahead, around = before.mixture.shape[1], fit.lags.before, 2 * fit.lags.count
    first, last = max(0, rough - around), min(n, rough + around)
    near = slice(max(0, first - around), min(n, last + around))
    at = near.start + splice_point(
        _left(before, _spliced(before, after, first, fit), fit)[:, near],
        (before.reference - after.reference)[:, ahead : ahead + n][:, near],
        fit.filters,
        whitener,
        first_lag=fit.lags.first,
        first=first - near.start,
        last=last - near.start,
    )
    cut = np.concatenate([ends[0][:, :rough], ends[1][:, rough:]], axis=1)
    rung = _left(before, _spliced(before, after, at, fit), fit)
    return before.start + (at if _energy(rung, whitener) < _energy(cut, whitener) else rough)


def _spliced(before: _Heard, after: _Heard, at: int, fit: FilterInLoop) -> Audio:
    place = fit.lags.before + at
    return np.concatenate([before.reference[:, :place], after.reference[:, place:]], axis=1)


def _energy(residual: Audio, whitener: Audio) -> float:
    white = scipy.signal.oaconvolve(residual, whitener[None], axes=1)
    return float(np.sum(white[:, len(whitener) : residual.shape[1]] ** 2))


def _left(heard: _Heard, reference: Audio, fit: FilterInLoop) -> Audio:
    image = convolve(reference, fit.filters, first_lag=fit.lags.first, n_samples=reference.shape[1])
    return heard.mixture - image[:, fit.lags.before : fit.lags.before + heard.mixture.shape[1]]


def _cost(first: _Heard, second: _Heard, stops: int, starts: int, fit: FilterInLoop, whitener: Audio) -> float:
    """Energy of the whitened residual where one is heard up to a sample and the other from another on."""
    ahead = fit.lags.before - first.start
    spliced = np.zeros_like(first.reference)
    spliced[:, : ahead + stops] = first.reference[:, : ahead + stops]
    spliced[:, ahead + starts :] = second.reference[:, ahead + starts :]
    return _energy(_left(first, spliced, fit), whitener)
