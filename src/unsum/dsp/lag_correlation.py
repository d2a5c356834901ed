"""Correlations at the lags of a filter, summed over blocks on a fixed grid.

Pairs of samples less than ``n_taps`` apart lie in one block or in two neighbours. The former come from one transform
of the padded block, the latter from short transforms of the end of one block and the beginning of the next.
Threads share bins and rows, never a sum: their number changes no result.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.kernels import joined, pair_rows
from unsum.dsp.transforms import fast_length, irfft, rfft

# Transforms longer than this fall out of the cache and cost up to twice as much for each sample.
_LONGEST_FFT = 1 << 16
_SHORTEST_FFT = 1 << 13
_PIECE_SAMPLES = 1 << 17
# Below this many multiplications a thread costs more than it saves.
_WORTH_A_THREAD = 1 << 17


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BlockGrid:
    """Lengths of blocks, pieces and transforms that suit a number of taps."""

    def __init__(self, n_taps: int) -> None:
        self.n_taps, self.overlap = n_taps, n_taps - 1
        longest = max(_LONGEST_FFT, 4 * n_taps)
        self.n_fft = fast_length(min(max(16 * n_taps, _SHORTEST_FFT), longest))
        self.block_samples = self.n_fft - self.overlap
        self.junction_fft = fast_length(2 * self.overlap)
        self.blocks_per_piece = max(1, _PIECE_SAMPLES // self.block_samples)
        self.piece_samples = self.blocks_per_piece * self.block_samples

    def spectra(self, rows: NDArray, *, threads: int) -> NDArray[np.complex128]:
        """Spectra (blocks, rows, bins) of the padded blocks of a piece (rows, samples)."""
        n_rows, n_samples = rows.shape
        n_blocks = -(-n_samples // self.block_samples)
        blocks = np.zeros((n_blocks, n_rows, self.n_fft))
        for b in range(n_blocks):
            part = rows[:, b * self.block_samples : (b + 1) * self.block_samples]
            blocks[b, :, : part.shape[1]] = part
        return rfft(blocks, threads=threads)


class LagCorrelator:
    """Correlates references with each other, ``T_kl(m) = sum_t u_k(t + m) u_l(t)``, and channels with each reference.

    Parameters
    ----------
    grid : of blocks
    n_channels, n_references : int
    pairs : bool
        Whether to correlate references with each other, or only the channels with each.
    threads : int
    """

    def __init__(self, grid: BlockGrid, n_channels: int, n_references: int, *, pairs: bool, threads: int) -> None:
        self.grid, self._threads = grid, threads
        self._shape = n_channels, n_references
        # In one block a pair of references serves both orders; across two blocks each order has its own lags.
        self._pairs = pair_rows(n_references) if pairs else (np.empty(0, int), np.empty(0, int))
        every = np.indices((n_channels, n_references)).reshape(2, -1)
        self._crossed = every[0], every[1]
        later = np.arange(n_references if pairs else 0)
        self._ordered = np.repeat(later, n_references), np.tile(np.arange(n_references), len(later))
        bins, junction_bins = grid.n_fft // 2 + 1, grid.junction_fft // 2 + 1
        self._pair_totals = np.zeros((len(self._pairs[0]), 2, bins))
        self._cross_totals = np.zeros((len(every[0]), 2, bins))
        self._pair_junctions = np.zeros((len(self._ordered[0]), 2, junction_bins))
        self._cross_junctions = np.zeros((len(every[0]), 2, junction_bins))
        self._last = np.zeros((n_references, grid.overlap))  # the end of the piece before

    def add(self, references: NDArray, reference_spectra: NDArray, channels: NDArray, *, first: bool) -> None:
        """Take in the next piece of a segment.

        Parameters
        ----------
        references, channels : (rows, samples)
        reference_spectra : of the references, by :meth:`BlockGrid.spectra`
        first : whether the segment begins here, so that nothing comes before
        """
        totals = (self._pair_totals, self._cross_totals)
        later = (reference_spectra, self.grid.spectra(channels, threads=self._threads))
        for total, spectra, rows in zip(totals, later, (self._pairs, self._crossed), strict=True):
            sum_products(total, spectra, reference_spectra, rows, threads=self._threads)
        if self.grid.overlap:
            self._add_junctions(references, channels, first=first)

    def _add_junctions(self, references: NDArray, channels: NDArray, *, first: bool) -> None:
        grid, overlap = self.grid, self.grid.overlap
        n_samples = references.shape[1]
        starts = range(0, n_samples, grid.block_samples)
        if first:
            self._last[:] = 0.0
        # The end of each block and, placed after it, the beginning of the next: products at lags above zero.
        ends = np.zeros((len(starts), len(references), grid.junction_fft))
        for b, at in enumerate(starts):
            ends[b, :, :overlap] = references[:, at - overlap : at] if b else self._last
        ends_spectra = rfft(ends, threads=self._threads)
        junctions = (self._pair_junctions, self._cross_junctions)
        for total, rows, later in zip(junctions, (self._ordered, self._crossed), (references, channels), strict=True):
            if not len(total):
                continue
            begins = np.zeros((len(starts), len(later), grid.junction_fft))
            for b, at in enumerate(starts):
                part = later[:, at : at + overlap]
                begins[b, :, overlap : overlap + part.shape[1]] = part
            sum_products(total, rfft(begins, threads=self._threads), ends_spectra, rows, threads=self._threads)
        self._last = np.concatenate([self._last, references[:, -overlap:]], axis=1)[:, -overlap:]

    def pairs(self) -> NDArray[np.float64]:
        """Correlations (pairs, 2 * n_taps - 1) of the references, lags from ``1 - n_taps``."""
        grid, n_taps, overlap = self.grid, self.grid.n_taps, self.grid.overlap
        n_references = self._shape[1]
        lags = np.empty((len(self._pair_totals), 2 * n_taps - 1))
        for total, out in zip(self._pair_totals, lags, strict=True):
            wrapped = irfft(joined(total), grid.n_fft)
            out[overlap:] = wrapped[:n_taps]
            out[:overlap] = wrapped[grid.n_fft - overlap :]
        if overlap and len(lags):
            for q, (k, j) in enumerate(np.transpose(self._pairs)):
                above, below = (
                    irfft(joined(self._pair_junctions[i]), grid.junction_fft)[1:n_taps]
                    for i in (k * n_references + j, j * n_references + k)
                )
                lags[q, n_taps:] += above
                lags[q, :overlap] += below[::-1]
        return lags

    def crossed(self) -> NDArray[np.float64]:
        """Correlations (channels, references, n_taps) ``sum_t y_c(t) u_k(t - p)``."""
        grid, n_taps = self.grid, self.grid.n_taps
        lags = np.empty((len(self._cross_totals), n_taps))
        for inside, across, out in zip(self._cross_totals, self._cross_junctions, lags, strict=True):
            out[:] = irfft(joined(inside), grid.n_fft)[:n_taps]
            if grid.overlap:
                out[1:] += irfft(joined(across), grid.junction_fft)[1:n_taps]
        return lags.reshape(*self._shape, n_taps)


def sum_products(
    totals: NDArray, later: NDArray, earlier: NDArray, rows: tuple[NDArray, NDArray], *, threads: int
) -> None:
    """Add products of spectra (blocks, rows, bins) to split totals; each thread has bins of its own."""
    from unsum.dsp._kernels_numba import accumulate_products

    n_bins = totals.shape[-1]
    if threads < 2 or len(totals) * len(later) * n_bins < _WORTH_A_THREAD:
        if len(totals):
            accumulate_products(totals, later, earlier, *rows, 0, n_bins)
        return
    cuts = np.linspace(0, n_bins, threads + 1).astype(int)
    _in_threads(
        lambda start, stop: accumulate_products(totals, later, earlier, *rows, start, stop), cuts[:-1], cuts[1:]
    )


def _in_threads(work: Callable[[int, int], None], starts: NDArray, stops: NDArray) -> None:
    with ThreadPoolExecutor(len(starts)) as pool:
        for _ in pool.map(work, starts, stops):
            pass
