"""How much of the treble is empty for moments, as encoders short of bits leave it, and gated sounds too."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

_CELL_SECONDS, _CELL_HZ = 0.0232, 170.0
_LOWEST_HZ = 4000.0
# What the low-pass itself takes away is no hole.
_BELOW_EDGE = 0.95
_HOLE_DB = -40.0
_CELLS_EITHER_SIDE = 4
_FEWEST_CELLS = 1000
_ALL_BLOCKS, _THEN_EVERY = 64, 4


class HoleMeter:
    """Counts cells of time and frequency that lie 40 dB below the strongest within four cells before or after.

    Parameters
    ----------
    sample_rate : Hz
    """

    def __init__(self, *, sample_rate: int) -> None:
        self._n_fft = 2 ** round(math.log2(_CELL_SECONDS * sample_rate))
        self._bin_hz = sample_rate / self._n_fft
        self._bins = max(1, round(_CELL_HZ / self._bin_hz))
        self._bands = self._n_fft // 2 // self._bins
        self._window = np.hanning(self._n_fft + 1)[:-1]
        self._holes = np.zeros(self._bands, np.int64)
        self._cells = 0
        self._blocks = 0

    def observe(self, samples: NDArray[np.float64], missing: tuple[tuple[int, int], ...]) -> None:
        """Take a block, (channels, samples); one with ``missing`` ranges is left out."""
        self._blocks += 1
        if missing or (self._blocks > _ALL_BLOCKS and self._blocks % _THEN_EVERY):
            return
        frames = samples.shape[1] // self._n_fft
        if frames <= 2 * _CELLS_EITHER_SIDE:
            return
        cut = samples[:, : frames * self._n_fft].reshape(len(samples), frames, self._n_fft)
        spectra = np.fft.rfft(cut * self._window)[..., 1 : 1 + self._bands * self._bins]
        power = (spectra.real**2 + spectra.imag**2).reshape(len(samples), frames, self._bands, self._bins).sum(axis=3)
        strongest = maximum_filter1d(power, 2 * _CELLS_EITHER_SIDE + 1, axis=1)
        self._holes += np.sum(power < 10 ** (_HOLE_DB / 10) * strongest, axis=(0, 1))
        self._cells += len(samples) * frames

    def share(self, *, edge_hz: float) -> float | None:
        """Holes among all cells from 4 kHz to just below ``edge_hz``, 0..1; None if that is too few to tell."""
        first = math.ceil(_LOWEST_HZ / self._bin_hz / self._bins)
        last = math.floor(_BELOW_EDGE * edge_hz / self._bin_hz / self._bins)
        cells = self._cells * max(0, last - first)
        return float(self._holes[first:last].sum()) / cells if cells >= _FEWEST_CELLS else None
