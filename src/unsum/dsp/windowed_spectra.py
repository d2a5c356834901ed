"""Averaged spectra of tapered windows: no loud band leaks into a silent one."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from unsum.dsp.kernels import SplitSpectra, joined, pair_rows
from unsum.dsp.lag_correlation import sum_products
from unsum.dsp.transforms import rfft

_WINDOWS_AT_ONCE_BYTES = 1 << 21
# Side lobes below -110 dB: music has that much between its loudest band and its weakest.
_KAISER_BETA = 14.0


@dataclass(frozen=True, slots=True)
class AveragedSpectra:
    """Sums over windows of ``X_k conj(X_l)``, each window scaled to the power of one sample.

    Attributes
    ----------
    pairs : (pairs, 2, bins), split
    n_windows : how many were summed
    """

    pairs: SplitSpectra
    n_windows: int

    def __add__(self, other: "AveragedSpectra") -> "AveragedSpectra":
        return AveragedSpectra(self.pairs + other.pairs, self.n_windows + other.n_windows)

    def matrix(self) -> NDArray[np.complex128]:
        """Power spectral density (bins, rows, rows), power of one sample in every bin.

        Row k, column l holds ``conj(X_k) X_l``, as the normal equations have it.
        """
        n_rows = int(np.sqrt(2 * len(self.pairs)))
        k, j = pair_rows(n_rows)
        density = np.empty((self.pairs.shape[2], n_rows, n_rows), complex)
        density[:, j, k] = joined(self.pairs).T / max(self.n_windows, 1)
        density[:, k, j] = np.conj(density[:, j, k])
        return density

    def at_bins(self, n_bins: int) -> "AveragedSpectra":
        """The same on fewer bins, each the weighted mean of its neighbours, so that powers stay positive."""
        have = self.pairs.shape[2]
        if n_bins >= have:
            return self
        at = np.arange(have) * ((n_bins - 1) / (have - 1))
        low = np.minimum(at.astype(int), n_bins - 2)
        share = at - low
        weight = np.bincount(low, 1 - share, n_bins) + np.bincount(low + 1, share, n_bins)
        flat = self.pairs.reshape(-1, have)
        coarse = [np.bincount(low, (1 - share) * x, n_bins) + np.bincount(low + 1, share * x, n_bins) for x in flat]
        return AveragedSpectra((np.array(coarse) / weight).reshape(*self.pairs.shape[:2], n_bins), self.n_windows)


class WindowedSpectra:
    """Sums the spectra of overlapping windows of every segment, on a grid that begins with it.

    Parameters
    ----------
    n_rows : int
    n_samples : in a window
    overlap : int
        Windows that cover a sample. One is enough for a mean; with two no sound is lost between them.
    pairs : bool
        Whether to sum the products of different rows too.
    threads : int
    """

    def __init__(self, n_rows: int, n_samples: int, *, overlap: int, pairs: bool, threads: int) -> None:
        self._threads = threads
        self._n_samples, self._hop = n_samples, max(1, n_samples // overlap)
        self._taper = _unit_taper(n_samples)
        self._rows = pair_rows(n_rows) if pairs else (np.arange(n_rows), np.arange(n_rows))
        self._totals = np.zeros((len(self._rows[0]), 2, n_samples // 2 + 1))
        self._n_windows = 0
        self._held = np.zeros((n_rows, 0))
        self._none_in_segment = True

    def add(self, samples: NDArray, *, first: bool, last: bool) -> None:
        """Take in the next samples (rows, samples) of a segment."""
        if first:
            self._held, self._none_in_segment = samples[:, :0], True
        held = np.concatenate([self._held, samples], axis=1)
        n_samples, hop = self._n_samples, self._hop
        n_windows = max(0, (held.shape[1] - n_samples) // hop + 1)
        at_once = max(1, _WINDOWS_AT_ONCE_BYTES // (8 * n_samples * len(held)))
        for start in range(0, n_windows, at_once):
            stop = min(start + at_once, n_windows)
            windows = sliding_window_view(held, n_samples, axis=1)[:, start * hop : stop * hop : hop]
            self._take(windows[:, : stop - start].swapaxes(0, 1) * self._taper)
        if last and not n_windows and self._none_in_segment and held.shape[1]:
            short = np.zeros((1, len(held), n_samples))
            short[0, :, : held.shape[1]] = held * _unit_taper(held.shape[1])
            self._take(short)
        self._none_in_segment &= n_windows == 0
        self._held = held[:, n_windows * hop :].copy()

    def _take(self, windows: NDArray) -> None:
        spectra = rfft(windows, threads=self._threads)
        sum_products(self._totals, spectra, spectra[:, :0], *self._rows, threads=self._threads)
        self._n_windows += len(windows)

    def result(self) -> AveragedSpectra:
        """What was summed so far."""
        return AveragedSpectra(self._totals, self._n_windows)


def _unit_taper(n_samples: int) -> NDArray[np.float64]:
    """A taper of unit energy, so that a window has the power of one sample in every bin."""
    taper = np.kaiser(n_samples, _KAISER_BETA)
    return taper / np.sqrt(np.sum(taper**2))
