"""Whether windows of two sounds agree on *how* one went into the other, and not just on when.

The correlations of all windows are added up with their signs along straight lines::

    peak[k] = max over slopes of (sum over windows of c_n[k + slope * t_n])**2 / (windows * variance[k])

What went one way into the other gives each window the same response and the sum grows with the number of windows; what
merely beats in time, onset by onset, gives each another. By chance a peak is a chi-square variable of one degree of
freedom. Where both sounds repeat themselves chance repeats itself too: then all lags have such peaks, and those far
from the place tell how much that is; where hardly any lag is far, all but those next to the peak do. Only lags at which
the clean sound is like itself are left out of this, for there a true match has its side peaks.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.special import chdtrc, chdtri

_LOUDEST = 8.0  # standard deviations: no window alone makes a peak
_VARIANCE_LAGS = 256
_NEIGHBOURS = 16  # lags around a side peak that belong to it
_SIDE_PEAK = 3.0  # of the height that chance gives: one that is foreseen so high is left out
_STEP = 0.7  # lags at the ends by which two slopes differ
_MOST_SLOPES = 400
_LEAST_FAR = 4  # of all far lags one in so many is used in any case
_FEWEST_FAR = 8  # of all lags one in so many must be far to tell what repeats


@dataclass(frozen=True, slots=True)
class Agreement:
    """What windows say together.

    Attributes
    ----------
    chance : how often chance agrees as well, anywhere near the place
    height : standard deviations by which the windows stand out at the highest peak, one with another and with their
        signs, however loud they are
    lag, slope : where that peak is: in a window at time ``t`` at ``lag + slope * (t - mean of t)``
    """

    chance: float
    height: float = 0.0
    lag: int = 0
    slope: float = 0.0

    @property
    def nats(self) -> float:
        return -math.log(max(self.chance, 1e-300))


def agreement(
    correlations: NDArray[np.floating],
    own: NDArray[np.floating],
    time: NDArray[np.float64],
    *,
    near: int,
    guard: int,
    most_drift: float,
) -> Agreement:
    """Judge correlations of windows along a line.

    Parameters
    ----------
    correlations : (windows, lags)
        Lag 0 is in the middle; rows of zeros do not count.
    own : (windows, lags)
        Those of the clean sound with itself.
    time : (windows,) in samples
    near : lags on either side of 0 at which the sound may be
    guard : further lags that may hold its reverberation
    most_drift : slopes up to this are tried
    """
    power = np.mean(np.square(correlations, dtype=np.float64), axis=1)
    heard = power > 0
    n_windows, lags = int(heard.sum()), correlations.shape[1]
    if n_windows < 2:
        return Agreement(1.0)
    rows = (correlations[heard] / np.sqrt(power[heard])[:, None]).astype(np.float32)
    time = time[heard] - time[heard].mean()
    steps = min(_MOST_SLOPES // 2, math.ceil(most_drift * float(np.abs(time).max()) / _STEP))
    slopes = np.linspace(-most_drift, most_drift, 2 * steps + 1)
    bounded = np.clip(rows, -_LOUDEST, _LOUDEST)
    variance = np.maximum(scipy.ndimage.uniform_filter1d(np.mean(bounded**2, axis=0), _VARIANCE_LAGS), 1.0)
    peaks = _highest(bounded, time, slopes)[0] / variance
    middle = lags // 2
    close = np.arange(max(0, middle - near), min(lags, middle + near))
    at = int(close[peaks[close].argmax()])
    chance_peaks = chdtri(1, 1 / (lags * len(slopes)))
    repeated = np.mean(own[heard] / np.maximum(np.abs(own[heard]).max(axis=1, keepdims=True), 1e-30), axis=0)
    foreseen = peaks[at] * scipy.ndimage.maximum_filter1d(repeated**2, 2 * _NEIGHBOURS + 1)
    foreseen = np.roll(foreseen, at - middle)
    lag = np.arange(lags)
    far = np.flatnonzero(np.abs(lag - middle) >= near + guard)
    if len(far) * _FEWEST_FAR < lags:
        far = np.flatnonzero(np.abs(lag - at) >= min(guard, lags // _FEWEST_FAR))
    free = far[foreseen[far] < _SIDE_PEAK * chance_peaks / 10]
    if len(free) < len(far) // _LEAST_FAR:
        free = far[np.argsort(foreseen[far])[: len(far) // _LEAST_FAR]]
    inflated = max(1.0, float(peaks[free].max(initial=0.0)) / chance_peaks)
    chance = len(close) * len(slopes) * float(chdtrc(1, peaks[at] / inflated))
    around = slice(max(0, middle - near), middle + near)
    highest, along = _highest(rows, time, slopes, around)
    top = int(highest.argmax())
    height = math.sqrt(float(highest[top]) / n_windows)
    return Agreement(min(1.0, chance), height, around.start + top - middle, float(slopes[along[top]]))


def _highest(
    rows: NDArray[np.float32], time: NDArray[np.float64], slopes: NDArray[np.float64], around: slice = slice(None)
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The highest squared sum of rows (windows, lags) over all slopes, at the lags asked for, and on which slope."""
    turns = np.rint(slopes[:, None] * time).astype(int)
    margin = int(np.abs(turns).max(initial=0))
    padded = np.pad(rows, ((0, 0), (margin, margin)))
    first, stop, _ = around.indices(rows.shape[1])
    best, along = np.full(stop - first, -1.0, np.float32), np.zeros(stop - first, np.intp)
    # Slopes that turn all windows alike are one; the least of them, where there is a choice.
    for number in _unlike(turns):
        total = np.zeros(stop - first, np.float32)
        for row, by in zip(padded, turns[number], strict=True):
            total += row[margin + first + by : margin + stop + by]
        total *= total
        higher = total > best
        along[higher] = number
        np.maximum(best, total, out=best)
    return best.astype(np.float64) / len(rows), along


def _unlike(turns: NDArray[np.intp]) -> list[int]:
    """The rows (slopes, windows) that differ from one another, those that turn least first."""
    order = np.argsort(np.abs(turns).sum(axis=1), kind="stable")
    first = np.unique(turns[order], axis=0, return_index=True)[1]
    return [int(order[n]) for n in np.sort(first)]
