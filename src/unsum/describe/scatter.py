"""Whether a sound comes along one path or along many, as in a room: there it has no one delay, but a first sound."""

import numpy as np
from numpy.typing import NDArray

from unsum.describe.room import direct_arrival

# As far apart as a foot of way: equalisers keep nearly all within it.
_NEAR_SECONDS = 0.001
_MANY = 0.2


def comes_along_many_paths(
    filters: NDArray[np.float64], *, sample_rate: int, variance: NDArray[np.float64] | None = None
) -> bool:
    """Whether a good part of the energy of some filters arrives elsewhere than with most of it.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    variance : (mixture channels, reference channels, bins)
        Of their responses; the energy that it makes is no path.
    """
    return scattered_share(filters, sample_rate=sample_rate, variance=variance) > _MANY


def first_of_many_paths(
    filters: NDArray[np.float64], *, first_lag: int, sample_rate: int, variance: NDArray[np.float64] | None = None
) -> int | None:
    """The lag in samples at which the direct sound peaks in the loudest of some filters; None where it is all there is.

    Parameters
    ----------
    filters, variance : as above
    first_lag : of tap 0
    """
    if not comes_along_many_paths(filters, sample_rate=sample_rate, variance=variance):
        return None
    n_taps = filters.shape[2]
    noise = np.zeros(filters.shape[:2]) if variance is None else variance.mean(axis=2) / n_taps
    energy = np.sum(filters**2, axis=2) - n_taps * noise
    loudest = np.unravel_index(int(np.argmax(energy)), energy.shape)
    return first_lag + direct_arrival(filters[loudest], float(noise[loudest]), sample_rate)


def scattered_share(
    filters: NDArray[np.float64], *, sample_rate: int, variance: NDArray[np.float64] | None = None
) -> float:
    """Share of the energy of some filters that lies further than a millisecond from where most of it is; 0..1."""
    n_taps = filters.shape[2]
    energy = np.sum(filters**2, axis=(0, 1))
    if variance is not None:
        energy = energy - float(variance.mean(axis=2).sum()) / n_taps
    total = float(energy.sum())
    if total <= 0:
        return 0.0
    summed = np.concatenate([[0.0], np.cumsum(energy)])
    near = round(_NEAR_SECONDS * sample_rate)
    at = np.arange(n_taps)
    around = summed[np.minimum(at + near + 1, n_taps)] - summed[np.maximum(at - near, 0)]
    return min(max(1 - float(around.max()) / total, 0.0), 1.0)
