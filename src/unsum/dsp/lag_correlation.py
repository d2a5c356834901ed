"""Correlations at the lags of a filter, summed over blocks on a fixed grid.

Pairs of samples less than ``n_taps`` apart lie in one block or in two neighbours. The former come from one transform
of the padded block, the latter from short transforms of the end of one block and the beginning of the next.
Threads share bins and rows, never a sum: their number changes no result.
"""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.kernels import joined, pair_rows
from unsum.dsp.threads import share_out
from unsum.dsp.transforms import fast_length, irfft, rfft

# Transforms longer than this fall out of the cache and cost up to twice as much for each sample.
_LONGEST_FFT = 1 << 16
_SHORTEST_FFT = 1 << 13
_PIECE_SAMPLES = 1 << 16
# Below this many multiplications a thread costs more than it saves.
_WORTH_A_THREAD = 1 << 20


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
        self._padded: dict[int, NDArray[np.float64]] = {}  # blocks by number of rows, their ends always zero

    def spectra(self, rows: NDArray, *, threads: int) -> NDArray[np.complex128]:
        """Spectra (blocks, rows, bins) of the padded blocks of a piece (rows, samples)."""
        n_rows, n_samples = rows.shape
        n_blocks = -(-n_samples // self.block_samples)
        if n_rows not in self._padded:
            self._padded[n_rows] = np.zeros((self.blocks_per_piece, n_rows, self.n_fft))
        blocks = self._padded[n_rows][:n_blocks]
        for b in range(n_blocks):
            part = rows[:, b * self.block_samples : (b + 1) * self.block_samples]
            blocks[b, :, : part.shape[1]] = part
            blocks[b, :, part.shape[1] : self.block_samples] = 0.0
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
        # Rows are the references and, counted on, the channels. In one block a pair of references serves both
        # orders; across two blocks, ends of references and after them beginnings of rows, each order has its own lags.
        k, j = pair_rows(n_references) if pairs else (np.empty(0, int), np.empty(0, int))
        channel, reference = np.indices((n_channels, n_references)).reshape(2, -1)
        self._n_pairs = len(k)
        self._inside = np.concatenate([k, n_references + channel]), np.concatenate([j, reference])
        n_begins = n_channels + (n_references if pairs else 0)
        begin, end = np.indices((n_begins, n_references)).reshape(2, -1)
        self._across = n_references + begin, end
        self._totals = np.zeros((len(self._inside[0]), 2, grid.n_fft // 2 + 1))
        self._junctions = np.zeros((len(begin), 2, grid.junction_fft // 2 + 1))
        self._last = np.zeros((n_references, grid.overlap))  # the end of the piece before

    def add(self, references: NDArray, reference_spectra: NDArray, channels: NDArray, *, first: bool) -> None:
        """Take in the next piece of a segment.

        Parameters
        ----------
        references, channels : (rows, samples)
        reference_spectra : of the references, by :meth:`BlockGrid.spectra`
        first : whether the segment begins here, so that nothing comes before
        """
        spectra = self.grid.spectra(channels, threads=self._threads)
        sum_products(self._totals, reference_spectra, spectra, *self._inside, threads=self._threads)
        if self.grid.overlap:
            self._add_junctions(references, channels, first=first)

    def _add_junctions(self, references: NDArray, channels: NDArray, *, first: bool) -> None:
        grid, overlap = self.grid, self.grid.overlap
        if first:
            self._last[:] = 0.0
        at_blocks = range(0, references.shape[1], grid.block_samples)
        # The end of each block and, placed after it, the beginning of the next: products at lags above zero.
        ends = np.zeros((len(at_blocks), len(references), grid.junction_fft))
        begins = np.zeros((len(at_blocks), len(self._across[0]) // len(references), grid.junction_fft))
        for b, at in enumerate(at_blocks):
            ends[b, :, :overlap] = references[:, at - overlap : at] if b else self._last
            for rows, later in ((references, begins[b, : -len(channels)]), (channels, begins[b, -len(channels) :])):
                part = rows[: len(later), at : at + overlap]
                later[:, overlap : overlap + part.shape[1]] = part
        spectra = rfft(ends, threads=self._threads), rfft(begins, threads=self._threads)
        sum_products(self._junctions, *spectra, *self._across, threads=self._threads)
        self._last = np.concatenate([self._last, references[:, -overlap:]], axis=1)[:, -overlap:]

    def pairs(self) -> NDArray[np.float64]:
        """Correlations (pairs, 2 * n_taps - 1) of the references, lags from ``1 - n_taps``."""
        grid, n_taps, overlap = self.grid, self.grid.n_taps, self.grid.overlap
        lags = np.empty((self._n_pairs, 2 * n_taps - 1))
        for out, k, j, total in zip(lags, *self._inside, self._totals, strict=False):
            wrapped = irfft(joined(total), grid.n_fft)
            out[overlap:] = wrapped[:n_taps]
            out[:overlap] = wrapped[grid.n_fft - overlap :]
            if overlap:
                out[n_taps:] += self._across_blocks(k, j)
                out[:overlap] += self._across_blocks(j, k)[::-1]
        return lags

    def crossed(self) -> NDArray[np.float64]:
        """Correlations (channels, references, n_taps) ``sum_t y_c(t) u_k(t - p)``."""
        (n_channels, n_references), grid = self._shape, self.grid
        lags = np.empty((n_channels * n_references, grid.n_taps))
        first_channel = len(self._junctions) // n_references - n_channels
        for i, (out, total) in enumerate(zip(lags, self._totals[self._n_pairs :], strict=True)):
            out[:] = irfft(joined(total), grid.n_fft)[: grid.n_taps]
            if grid.overlap:
                out[1:] += self._across_blocks(first_channel + i // n_references, i % n_references)
        return lags.reshape(n_channels, n_references, grid.n_taps)

    def _across_blocks(self, begin: int, end: int) -> NDArray[np.float64]:
        """Lags 1 ... n_taps - 1 of pairs that lie in two blocks."""
        total = self._junctions[begin * self._shape[1] + end]
        return irfft(joined(total), self.grid.junction_fft)[1 : self.grid.n_taps]


def sum_products(
    totals: NDArray, rows: NDArray, others: NDArray, later: NDArray, earlier: NDArray, *, threads: int
) -> None:
    """Add products of spectra (blocks, rows, bins) to split totals; each thread has bins of its own."""
    from unsum.dsp._kernels_numba import accumulate_products

    n_bins = totals.shape[-1]
    if len(totals) * len(rows) * n_bins < _WORTH_A_THREAD:
        threads = 1
    share_out(
        lambda first, last: accumulate_products(totals, rows, others, later, earlier, first, last),
        n_bins,
        threads=threads,
    )
