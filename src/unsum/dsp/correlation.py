"""Whitened cross-correlation: how late one signal is against another.

References
----------
.. [1] Knapp and Carter, "The generalized correlation method for estimation of
   time delay", IEEE Trans. ASSP 24(4), 1976: the phase transform, and the weights
   of maximum likelihood.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# Neighbours of the peak belong to it: windowing smears it by a few samples.
_PEAK_HALF_WIDTH = 8
# Frequencies over which coherence is averaged, some 50 Hz at the windows in use.
_COHERENCE_BINS = 129
_MOST_COHERENT = 0.9999


@dataclass(frozen=True, slots=True)
class LagEstimate:
    """A whole-sample lag and how far to trust it.

    Attributes
    ----------
    lag_samples : positive: the second signal is late
    peak_to_side : height of the peak over the next best; 1 means a guess
    peak_to_noise : height of the peak in standard deviations of all the others
    fraction : how far from that whole number the frequencies that agree put the lag
    stderr : standard error of ``fraction``, samples; infinite where there is no peak to refine
    """

    lag_samples: int
    peak_to_side: float
    peak_to_noise: float
    fraction: float = 0.0
    stderr: float = math.inf

    @property
    def stands_out(self) -> bool:
        return self.peak_to_side > 1.5 and self.peak_to_noise > 12.0

    @property
    def reliable(self) -> bool:
        """Whether the lag is this whole number of samples, and neither a guess nor its neighbour."""
        return self.stands_out and self.stderr < 0.1 and abs(self.fraction) < 0.1 + 3 * self.stderr


class WhitenedCorrelation:
    """Sums the whitened cross-spectra of window after window of two signals.

    The phase transform weighs all frequencies alike, so that equal samples in two
    sums stand out as one sharp peak however loud the rest is [1]_.

    Parameters
    ----------
    window : samples per window
    max_lag : greatest lag looked for, below ``window``
    """

    def __init__(self, *, window: int, max_lag: int) -> None:
        if not 0 < max_lag < window:
            raise ValueError(f"max_lag {max_lag} must lie between 0 and the window, {window} samples")
        self.window, self.max_lag = window, max_lag
        self._sum = np.zeros(window + 1, complex)
        self._windows = 0

    @staticmethod
    def spectrum(signal: NDArray) -> NDArray[np.complex128]:
        """Spectrum of one window (samples,), padded so that no lag wraps around."""
        return np.fft.rfft(np.asarray(signal, np.float64), 2 * len(signal))

    def add(self, first: NDArray[np.complex128], second: NDArray[np.complex128]) -> None:
        """Take in the spectra of the same window of both signals."""
        cross = second * np.conj(first)
        magnitude = np.abs(cross)
        floor = magnitude.max() * 1e-15
        if floor > 0:
            self._sum += cross / np.maximum(magnitude, floor)
            self._windows += 1

    def estimate(self) -> LagEstimate:
        """The lag on all windows so far."""
        correlation = np.fft.irfft(self._sum, 2 * self.window)
        near = np.abs(np.concatenate([correlation[-self.max_lag :], correlation[: self.max_lag + 1]]))
        peak = int(near.argmax())
        others = np.delete(
            near, np.arange(max(0, peak - _PEAK_HALF_WIDTH), min(len(near), peak + _PEAK_HALF_WIDTH + 1))
        )
        deviation = float(np.sqrt(np.mean(others**2)))
        if deviation == 0:
            return LagEstimate(0, 1.0, 0.0)
        lag = peak - self.max_lag
        coarse = LagEstimate(lag, float(near[peak] / others.max()), float(near[peak] / deviation))
        if not coarse.stands_out:
            return coarse
        fraction, stderr = self._refined(lag, sign=1.0 if correlation[lag] > 0 else -1.0)
        return replace(coarse, lag_samples=lag + round(fraction), fraction=fraction - round(fraction), stderr=stderr)

    def _refined(self, lag: int, *, sign: float) -> tuple[float, float]:
        """What is left of the lag by the slope of the phase, weighted by likelihood, and its standard error.

        Where what the signals share is loud at low frequencies only, the peak is broad and
        the noise of all others can move its top to a neighbour. The frequencies at which
        the signals agree know better: the phase of each tells the lag, as exactly as it is
        coherent [1]_.
        """
        frequency = np.pi * np.arange(len(self._sum)) / self.window  # radians a sample
        phasor = sign * self._sum * np.exp(1j * frequency * lag) / max(self._windows, 1)
        share = _smoothed(phasor, _COHERENCE_BINS)
        # Neighbouring bins of a padded window tell half as much as they are many.
        looks = max(2.0, self._windows * _COHERENCE_BINS / 2)
        coherence = np.clip((np.abs(share) ** 2 - 1 / looks) / (1 - 1 / looks), 0.0, _MOST_COHERENT)
        # Not their own phase but its distance from a lag of zero: bins in opposite phase share something else.
        weight = np.where(np.real(share) > 0, coherence / (1 - coherence), 0.0)
        information = float(np.sum(weight * frequency**2))
        if information == 0:
            return 0.0, math.inf
        fraction = -float(np.sum(weight * frequency * np.angle(share))) / information
        return fraction, float(1 / np.sqrt(max(self._windows, 1) * information))


def _smoothed(values: NDArray, count: int) -> NDArray:
    """Running mean over ``count`` neighbours, an odd number; fewer at the edges."""
    sums = np.concatenate([[0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - count // 2, 0), np.minimum(at + count // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
