"""Whitened cross-correlation: how late one signal is against another.

References
----------
.. [1] Knapp and Carter, "The generalized correlation method for estimation of
   time delay", IEEE Trans. ASSP 24(4), 1976 (the phase transform).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Neighbours of the peak belong to it: windowing smears it by a few samples.
_PEAK_HALF_WIDTH = 8


@dataclass(frozen=True, slots=True)
class LagEstimate:
    """A whole-sample lag and how far to trust it.

    Attributes
    ----------
    lag_samples : positive: the second signal is late
    peak_to_side : height of the peak over the next best; 1 means a guess
    peak_to_noise : height of the peak in standard deviations of all the others
    """

    lag_samples: int
    peak_to_side: float
    peak_to_noise: float

    @property
    def reliable(self) -> bool:
        return self.peak_to_side > 1.5 and self.peak_to_noise > 12.0


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
        return LagEstimate(peak - self.max_lag, float(near[peak] / others.max()), float(near[peak] / deviation))
