"""Whitened cross-correlation: how late one signal is against another.

References
----------
.. [1] Knapp and Carter, "The generalized correlation method for estimation of
   time delay", IEEE Trans. ASSP 24(4), 1976: the phase transform, and the weights
   of maximum likelihood.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

# Neighbours of the peak belong to it: windowing smears it by a few samples.
_PEAK_HALF_WIDTH = 8
# Frequencies over which coherence is averaged, some 50 Hz at the windows in use.
_COHERENCE_BINS = 129
_MOST_COHERENT = 0.9999
# So many neighbouring bins of a padded window that fades in and out tell as much as one of their own.
_BINS_A_LOOK = 3.25
# Coherence is exponentially distributed by chance: this many times its mean in one of 3000 looks.
_CHANCE = 8.0
# Frequencies so far below the loudest, in power, hold the rounding of a file and no sound.
_EMPTY = 1e-7
# What stands out in time by more standard deviations than this is an impulse.
_IMPULSE = 2.5


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
    polarity : -1 where the second signal is the first turned over
    """

    lag_samples: int
    peak_to_side: float
    peak_to_noise: float
    fraction: float = 0.0
    stderr: float = math.inf
    polarity: int = 1

    @property
    def stands_out(self) -> bool:
        return self.peak_to_side > 1.5 and self.peak_to_noise > 9.0

    @property
    def reliable(self) -> bool:
        """Whether the lag is this whole number of samples, and neither a guess nor its neighbour."""
        return self.stands_out and abs(self.fraction) + 2 * self.stderr < 0.2


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
        """Spectrum of one window (samples,), padded so that no lag wraps around.

        The window fades in and out: whitened, the edges that it would cut into both
        signals at the same places look like a sound that both have with no lag.
        """
        return np.fft.rfft(signal * _fade(len(signal)), 2 * len(signal))

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
        sign = 1 if correlation[lag] > 0 else -1
        coarse = LagEstimate(lag, float(near[peak] / others.max()), float(near[peak] / deviation), polarity=sign)
        if not coarse.stands_out:
            return coarse
        fraction, stderr = self._refined(lag, sign=sign)
        # A peak that towers over its neighbours by so many deviations is as good as this standard error.
        above = float(near[peak] - near[[max(peak - 1, 0), min(peak + 1, len(near) - 1)]].max())
        if stderr * above > deviation / math.sqrt(2):
            fraction, stderr = 0.0, deviation / math.sqrt(2) / max(above, deviation)
        return replace(coarse, lag_samples=lag + round(fraction), fraction=fraction - round(fraction), stderr=stderr)

    def _refined(self, lag: int, *, sign: int) -> tuple[float, float]:
        """What is left of the lag by the slope of the phase, weighted by likelihood, and its standard error.

        Where what the signals share is loud at low frequencies only, the peak is broad and
        the noise of all others can move its top to a neighbour. The frequencies at which
        the signals agree know better: the phase of each tells the lag, as exactly as it is
        coherent [1]_.
        """
        frequency = np.pi * np.arange(len(self._sum)) / self.window  # radians a sample
        phasor = sign * self._sum * np.exp(1j * frequency * lag) / max(self._windows, 1)
        share = running_mean(phasor, _COHERENCE_BINS)
        looks = max(2.0, self._windows * _COHERENCE_BINS / _BINS_A_LOOK)
        coherence = np.minimum((np.abs(share) ** 2 - 1 / looks) / (1 - 1 / looks), _MOST_COHERENT)
        # Only where they agree by more than chance, and not in opposite phase: that is something else they share.
        agree = (coherence > _CHANCE / looks) & (np.real(share) > 0)
        weight = np.where(agree, coherence / (1 - coherence), 0.0)
        information = float(np.sum(weight * frequency**2))
        if information == 0:
            return 0.0, math.inf
        fraction = -float(np.sum(weight * frequency * np.angle(share))) / information
        return fraction, math.sqrt(_BINS_A_LOOK / 2 / (self._windows * information))


def whitened_spectrum(
    signal: NDArray, n_fft: int, *, fade: int, band: tuple[float, float] = (0.0, 0.5)
) -> NDArray[np.complex64]:
    """Phases of a piece of sound: a spectrum of ones, zeros where there is no sound.

    Frequencies that a lossy codec emptied hold nothing but rounding; they get no vote. Whitened, a click or an onset
    is an impulse, and one impulse is like any other: what stands out in time is cut down to the rest. The product of
    one such spectrum with the conjugate of another is their whitened cross-spectrum.

    Parameters
    ----------
    signal : (samples,)
        What is shorter than ``n_fft`` is padded behind.
    fade : samples over which it fades in and out
    band : lowest and highest frequency that count, in cycles a sample

    Returns
    -------
    phases : (n_fft // 2 + 1,)
    """
    import scipy.fft  # here, because recover uses this module and runs without scipy

    piece = np.array(signal, np.float32)
    ramp = np.hanning(2 * fade + 1)[:fade].astype(np.float32)
    piece[:fade] *= ramp
    piece[len(piece) - fade :] *= ramp[::-1]
    spectrum = cast(NDArray[np.complex64], scipy.fft.rfft(piece, n_fft))
    magnitude = np.abs(spectrum)
    level = running_mean(magnitude.astype(np.float64) ** 2, n_fft // 512 | 1)
    frequency = np.arange(len(spectrum)) / n_fft
    heard = (level > _EMPTY * level.max(initial=0)) & (frequency >= band[0]) & (frequency <= band[1]) & (magnitude > 0)
    whitened = np.divide(spectrum, magnitude, out=np.zeros_like(spectrum), where=heard)
    wave = cast(NDArray[np.float32], scipy.fft.irfft(whitened, n_fft))
    limit = _IMPULSE * float(np.sqrt(np.sum(wave**2) / len(piece)))
    limited = cast(NDArray[np.complex64], scipy.fft.rfft(np.clip(wave, -limit, limit), n_fft))
    return np.where(heard, limited, 0)


@lru_cache(maxsize=2)
def _fade(samples: int) -> NDArray[np.float64]:
    return np.hanning(samples)


def running_mean(values: NDArray, count: int) -> NDArray:
    """Running mean over ``count`` neighbours, an odd number; fewer at the edges."""
    sums = np.concatenate([[0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - count // 2, 0), np.minimum(at + count // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
