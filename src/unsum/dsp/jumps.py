"""Jumps in a delay: where a track steps, and on which sample a signal changes from one hypothesis to the other."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.signal
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames ``start .. stop`` of a track in which it runs on without a step."""

    start: int
    stop: int


def continuous_stretches(
    seconds: NDArray, lags: NDArray, *, step: float, fewest: int, steepest: float = 0.0
) -> list[Stretch]:
    """The stretches of a track between its steps; what is too short to be sure of belongs to none.

    Parameters
    ----------
    seconds, lags : (frames,)
    step : the least that counts as a step
    fewest : frames that a stretch must have
    steepest : how much the lag may change in a second without a step
    """
    if not len(lags):
        return []
    allowed = step + steepest * np.diff(seconds)
    cuts = np.flatnonzero(np.abs(np.diff(lags)) > allowed) + 1
    edges = [0, *cuts.tolist(), len(lags)]
    long = [Stretch(a, b) for a, b in pairwise(edges) if b - a >= fewest]
    # Two stretches that go on at the same lag across a few wild frames are one.
    joined: list[Stretch] = []
    for one in long:
        if joined:
            before = joined[-1]
            last = float(np.median(lags[max(before.start, before.stop - fewest) : before.stop]))
            first = float(np.median(lags[one.start : one.start + fewest]))
            gap = float(seconds[one.start] - seconds[before.stop - 1])
            if abs(first - last) <= step + steepest * gap:
                joined[-1] = Stretch(before.start, one.stop)
                continue
        joined.append(one)
    return joined


@dataclass(frozen=True, slots=True)
class Change:
    """Where a signal changes from one hypothesis to the other.

    Attributes
    ----------
    at : first sample that the second explains
    doubt : how far away from it a sample may be that is nearly as likely
    gain : log likelihood over that of no change at all
    """

    at: int
    doubt: int
    gain: float


def change_point(
    before: NDArray[np.float64], after: NDArray[np.float64], whitener: NDArray[np.float64], *, confidence: float = 4.0
) -> Change:
    """The sample from which on ``after`` is the residual.

    Minimises ``||a * e_j||**2`` over j, where ``e_j`` is ``before`` up to sample j and ``after`` from there on, and a
    the whitener. From one j to the next a single sample changes, by D, so that the cost changes by
    ``2 D (r * e_j)(j) + D**2 r(0)`` with r the autocorrelation of a: running sums, whatever the whitener.

    Parameters
    ----------
    before, after : (channels, samples), residuals under the hypothesis that holds before, and after
    whitener : (taps,), of the residual under the right one
    confidence : -log likelihood that still counts as nearly as likely
    """
    order = len(whitener) - 1
    r = np.correlate(whitener, whitener, "full")[order:]
    n = before.shape[1]
    cost = np.zeros(n + 1)
    for one, other in zip(before, after, strict=True):
        past = np.convolve(one, np.concatenate([[0.0], r[1:]]))[:n]
        future = np.convolve(other[::-1], r)[:n][::-1]
        difference = one - other
        cost[1:] += np.cumsum(2 * difference * (past + future) + difference**2 * r[0])
    at = int(cost.argmin())
    white = [np.convolve(one, whitener)[order:n] for one in (*before[:, :at], *after[:, at:]) if len(one) > 2 * order]
    floor = max(1e-24 * float(np.mean(before**2) + np.mean(after**2)), 1e-100)
    variance = max(float(np.mean([np.mean(one**2) for one in white])) if white else 0.0, floor)
    near = np.flatnonzero(cost <= cost[at] + 2 * confidence * variance)
    gain = (min(float(cost[0]), float(cost[-1])) - float(cost[at])) / (2 * variance)
    return Change(at, int(max(near[-1] - at, at - near[0])), gain)


def splice_point(
    residual: NDArray[np.float64],
    difference: NDArray[np.float64],
    filters: NDArray[np.float64],
    whitener: NDArray[np.float64],
    *,
    first_lag: int,
    first: int,
    last: int,
) -> int:
    """The sample at which a reference goes over into another ahead of the filter that both pass.

    From one candidate to the next a single sample of the reference changes, by d, and with it the image by
    ``d * filter``: the cost of every candidate follows from the one before in as many steps as there are taps.

    Parameters
    ----------
    residual : (channels, samples), where the reference goes over at ``first``
    difference : (references, samples), the reference ahead of the place less the one behind it
    filters : (channels, references, taps)
    whitener : (taps,), of the residual
    first, last : candidates, as samples of the residual

    Returns
    -------
    at : first sample at which the second reference is heard
    """
    shaped = scipy.signal.oaconvolve(filters, whitener[None, None], axes=2)
    left = scipy.signal.oaconvolve(residual, whitener[None], axes=1)[:, : residual.shape[1]]
    n_taps, cost, least, at = shaped.shape[2], 0.0, 0.0, first
    for n in range(first, last):
        change = np.tensordot(shaped, difference[:, n], axes=(1, 0))
        a, b = max(n + first_lag, 0), min(n + first_lag + n_taps, left.shape[1])
        if a < b:
            own, part = change[:, a - n - first_lag : b - n - first_lag], left[:, a:b]
            cost += float(np.vdot(own, own) - 2 * np.vdot(own, part))
            part -= own
        if cost < least:
            least, at = cost, n + 1
    return at
