"""Does the spectrum break off, as lossy encoders and resamplers leave it?

An encoder short of bits leaves out everything above some frequency. What remains
ends within a few percent of that frequency, far steeper than any instrument, room or
microphone does. Only such an edge is reported, and only where the band
below it is filled and the band above it is not.
"""

import numpy as np
from numpy.typing import NDArray

from unsum.inspection.findings import LowPass

N_FFT = 4096
_HOP = 8192
_ALL_BLOCKS, _THEN_EVERY = 64, 4

# A digital low-pass, and nothing else, falls by this much within a sixteenth of an octave.
SURE_DROP_DB = 24.0
# Nearer to half the sample rate the edge is the converter's or the resampler's own; lower
# down, the last partial of a dull sound may look like one.
_HIGHEST, _LOWEST_HZ = 0.92, 3000.0
_FEWEST_FRAMES = 12


class SpectrumMeter:
    """Mean power spectrum of a stream, from samples of its blocks.

    Parameters
    ----------
    sample_rate : Hz
    """

    def __init__(self, *, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._window = np.hanning(N_FFT + 1)[:-1]
        self._power = np.zeros(N_FFT // 2 + 1)
        self._frames = 0
        self._blocks = 0

    def observe(self, samples: NDArray[np.float64], missing: tuple[tuple[int, int], ...]) -> None:
        """Take a block, (channels, samples); ``missing`` are ranges that hold no sound."""
        self._blocks += 1
        if self._blocks > _ALL_BLOCKS and self._blocks % _THEN_EVERY:
            return
        for start in range(0, samples.shape[1] - N_FFT + 1, _HOP):
            if any(a < start + N_FFT and b > start for a, b in missing):
                continue
            frame = samples[:, start : start + N_FFT]
            if frame.any():
                spectrum = np.fft.rfft(frame * self._window)
                self._power += np.einsum("ij,ij->j", spectrum.real, spectrum.real)
                self._power += np.einsum("ij,ij->j", spectrum.imag, spectrum.imag)
                self._frames += 1

    def low_pass(self) -> LowPass | None:
        """The edge of the spectrum, None unless it is beyond doubt."""
        if self._frames < _FEWEST_FRAMES:
            return None
        return find_low_pass(self._power / self._frames, sample_rate=self.sample_rate)


def find_low_pass(power: NDArray[np.float64], *, sample_rate: int) -> LowPass | None:
    """The frequency above which nothing is left.

    Parameters
    ----------
    power : (bins,)
        Mean power from 0 to half the sample rate.

    Returns
    -------
    low_pass : LowPass or None
        The edge with the greatest drop, if that is at least ``SURE_DROP_DB``.
    """
    if not power.any():
        return None
    level_db = 10 * np.log10(np.maximum(power, power.max() * 1e-20))
    level_db = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(level_db, 4, mode="edge"), 9), axis=1)
    last = len(level_db) - 1
    best, best_drop, floor_db, edge_db = 0, 0.0, 0.0, 0.0
    lowest = _LOWEST_HZ / (sample_rate / 2) * last
    if lowest > _HIGHEST * last:
        return None
    for edge in np.unique(np.geomspace(lowest, _HIGHEST * last, 256).astype(int)):
        below = level_db[int(0.9 * edge) : int(0.985 * edge) + 1]
        wide = level_db[int(0.6 * edge) : int(0.985 * edge) + 1]
        above = level_db[int(1.03 * edge) + 1 : int(0.99 * last)]
        top = float(np.percentile(above, 95))
        # A few partials are no filled band: most bins must stand above what is behind the edge.
        drop = min(float(np.percentile(below, 20)), float(np.percentile(wide, 10)) + 5.0) - top
        if drop > best_drop:
            best, best_drop, floor_db, edge_db = int(edge), drop, top, float(np.percentile(below, 20))
    if best_drop < SURE_DROP_DB:
        return None
    middle = (floor_db + edge_db) / 2
    quiet = level_db < middle
    crossing = int(0.9 * best)
    while not quiet[crossing : crossing + max(4, crossing // 32)].all():
        crossing += 1
    return LowPass(crossing / last * sample_rate / 2, best_drop)
