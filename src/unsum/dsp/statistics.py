"""One streaming pass from audio to normal equations, the same numbers for any chunking.

Each segment is cut into blocks on a grid of its own. Pairs of samples less than ``n_taps`` apart lie in one block
or in two neighbours; the former come from one transform of the padded block, the latter from transforms of
the end of one and the beginning of the next. Threads share the bins and the rows, never a sum: their number
changes no result.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from unsum.dsp.kernels import joined, pair_rows
from unsum.dsp.normal_equations import NormalEquations, ReferenceSpectra, n_window
from unsum.dsp.rows import Piece, RowFeed, Segment

# Transforms longer than this fall out of the cache and cost twice as much for each sample.
_LONGEST_FFT = 1 << 18
_SHORTEST_FFT = 1 << 13
_PIECE_SAMPLES = 1 << 17
_WINDOWS_AT_ONCE_BYTES = 1 << 25
# Side lobes below -110 dB: music has that much between its loudest band and its weakest.
_KAISER_BETA = 14.0
_OVERLAP = 4
# Below this many multiplications a thread costs more than it saves.
_WORTH_A_THREAD = 1 << 17


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Statistics:
    """Gathers the normal equations of every part in one pass over the audio.

    Feed it with :meth:`add` in blocks of any length, then call :meth:`finish`. Keywords as for :class:`RowFeed`,
    and:

    Parameters
    ----------
    spectra : bool
        Also average the spectra of the references, which preconditioning and uncertainties need.
    threads : int, optional
        All available cores if not given.
    """

    def __init__(
        self,
        *,
        n_references: int,
        n_channels: int,
        first_lag: int,
        n_taps: int,
        segments: Sequence[Segment],
        spectra: bool = True,
        threads: int | None = None,
        mixture_start: int = 0,
        reference_start: int = 0,
        silent_before: bool = False,
        silent_after: bool = False,
    ) -> None:
        self._first_lag, self._n_taps = first_lag, n_taps
        self._n_channels, self._n_references = n_channels, n_references
        self._with_spectra, self._threads = spectra, threads or available_cores()
        self._grid = BlockGrid(n_taps)
        self._feed = RowFeed(
            n_channels=n_channels,
            n_references=n_references,
            first_lag=first_lag,
            n_taps=n_taps,
            segments=segments,
            piece_samples=self._grid.piece_samples,
            mixture_start=mixture_start,
            reference_start=reference_start,
            silent_before=silent_before,
            silent_after=silent_after,
        )
        self._parts = {segment.part: self._new_part() for segment in segments}

    def _new_part(self) -> "_Part":
        rows = self._n_channels, self._n_references
        correlations = LagCorrelator(self._grid, *rows, pairs=True, threads=self._threads)
        windows = (
            WindowedSpectra(self._n_references, n_window(self._n_taps), threads=self._threads)
            if self._with_spectra
            else None
        )
        return _Part(correlations, windows)

    def add(self, mixture: NDArray | None = None, references: NDArray | None = None) -> None:
        """Take the next samples of the mixture (channels, samples) and of the references (references, samples).

        The two may differ in length, and either may be left out: each goes on where it ended.

        Raises
        ------
        InputError
            If the number of rows is not the one announced, or a sample is not finite.
        """
        for _ in self._feed.add(mixture, references):
            for piece in self._feed.ready():
                self._parts[piece.part].add(piece)

    def finish(self) -> dict[int, NormalEquations]:
        """The normal equations of every part that was announced."""
        self._feed.finish()
        for piece in self._feed.ready():
            self._parts[piece.part].add(piece)
        return {number: part.equations(self._first_lag, self._n_taps) for number, part in self._parts.items()}


def gather_statistics(
    mixture: NDArray,
    references: NDArray,
    *,
    first_lag: int = 0,
    n_taps: int,
    segments: Sequence[Segment] | None = None,
    **keywords,
) -> dict[int, NormalEquations]:
    """The normal equations of arrays: mixture (channels, samples), references (references, samples).

    Without segments every row is fitted. Further keywords as for :class:`Statistics`.

    Raises
    ------
    InputError
        If an array has other than two dimensions, or a sample is not finite.
    """
    if segments is None:
        start = keywords.get("mixture_start", 0)
        segments = (Segment(start, start + np.shape(mixture)[-1]),)
    gathered = Statistics(
        n_references=len(references),
        n_channels=len(mixture),
        first_lag=first_lag,
        n_taps=n_taps,
        segments=segments,
        **keywords,
    )
    gathered.add(mixture, references)
    return gathered.finish()


def statistics_bytes(*, n_references: int, n_channels: int, n_taps: int, n_segments: int = 1, n_parts: int = 1) -> int:
    """Memory that a pass needs at most, roughly; the length of the audio does not enter."""
    grid = BlockGrid(n_taps)
    bins, junction_bins, window_bins = grid.n_fft // 2 + 1, grid.junction_fft // 2 + 1, n_window(n_taps) // 2 + 1
    pairs, rows = n_references * (n_references + 1) // 2, n_references + n_channels
    kept = (
        (pairs + n_channels * n_references) * bins
        + (rows * n_references if n_taps > 1 else 0) * junction_bins
        + pairs * window_bins
    )
    edges = 2 * 8 * n_segments * n_references * n_taps
    passing = grid.blocks_per_piece * (rows * (bins + 2 * junction_bins) + rows * grid.n_fft)
    return 16 * (n_parts * kept + passing) + edges


class BlockGrid:
    """Lengths of blocks, pieces and transforms that suit a number of taps."""

    def __init__(self, n_taps: int) -> None:
        overlap = n_taps - 1
        longest = max(_LONGEST_FFT, 4 * n_taps)
        self.n_taps, self.overlap = n_taps, overlap
        self.n_fft = scipy.fft.next_fast_len(min(max(8 * n_taps, _SHORTEST_FFT), longest), real=True)
        self.block_samples = self.n_fft - overlap
        self.junction_fft = scipy.fft.next_fast_len(max(2 * overlap, 1), real=True)
        self.blocks_per_piece = max(1, _PIECE_SAMPLES // self.block_samples)
        self.piece_samples = self.blocks_per_piece * self.block_samples


class LagCorrelator:
    """Correlations at lags below ``n_taps`` between the rows of successive pieces of segments.

    Parameters
    ----------
    grid : of blocks
    n_channels, n_references : int
    pairs : bool
        Whether to correlate references with each other, or only the mixture with each.
    """

    def __init__(self, grid: BlockGrid, n_channels: int, n_references: int, *, pairs: bool, threads: int) -> None:
        from unsum.dsp._kernels_numba import accumulate_products

        self._accumulate, self._threads = accumulate_products, threads
        self._grid = grid
        self._shape = n_channels, n_references
        k, j = pair_rows(n_references) if pairs else (np.empty(0, int), np.empty(0, int))
        # Rows of a block: the references, then the channels. In one block a pair serves both orders.
        crossed = np.indices((n_channels, n_references)).reshape(2, -1)
        self._n_pairs = len(k)
        self._inside = np.concatenate([k, n_references + crossed[0]]), np.concatenate([j, crossed[1]])
        later = np.arange(0 if pairs else n_references, n_references + n_channels)
        across = np.repeat(later, n_references), np.tile(np.arange(n_references), len(later))
        self._across = across
        self._totals = np.zeros((len(self._inside[0]), 2, grid.n_fft // 2 + 1))
        self._junctions = np.zeros((len(across[0]), 2, grid.junction_fft // 2 + 1))
        self._last = np.zeros((n_references, grid.overlap))  # the end of the piece before

    def add(self, piece: Piece) -> None:
        """Take in the next piece; the first of a segment has nothing before it."""
        grid, n_samples = self._grid, piece.references.shape[1]
        n_references = self._shape[1]
        rows = np.concatenate([piece.references, piece.mixture])
        n_blocks = -(-n_samples // grid.block_samples)
        blocks = np.zeros((n_blocks, len(rows), grid.n_fft))
        for b in range(n_blocks):
            part = rows[:, b * grid.block_samples : (b + 1) * grid.block_samples]
            blocks[b, :, : part.shape[1]] = part
        self._sum(self._totals, blocks, blocks, self._inside)
        if not grid.overlap:
            return
        if piece.first:
            self._last[:] = 0.0
        # The end of each block and, after it, the beginning of the next: their products are at lags above zero.
        ends = np.zeros((n_blocks, n_references, grid.junction_fft))
        starts = np.zeros((n_blocks, len(rows), grid.junction_fft))
        for b in range(n_blocks):
            at = b * grid.block_samples
            ends[b, :, : grid.overlap] = piece.references[:, at - grid.overlap : at] if b else self._last
            part = rows[:, at : at + grid.overlap]
            starts[b, :, grid.overlap : grid.overlap + part.shape[1]] = part
        self._sum(self._junctions, starts, ends, self._across)
        self._last = np.concatenate([self._last, piece.references[:, -grid.overlap :]], axis=1)[:, -grid.overlap :]

    def _sum(self, totals: NDArray, later: NDArray, earlier: NDArray, rows: tuple[NDArray, NDArray]) -> None:
        spectra = scipy.fft.rfft(later, workers=self._threads)
        others = spectra if later is earlier else scipy.fft.rfft(earlier, workers=self._threads)
        over_bins(self._accumulate, totals, spectra, others, *rows, threads=self._threads)

    def results(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Correlations (pairs, 2 * n_taps - 1) and right-hand side (channels, references, n_taps)."""
        (n_channels, n_references), grid = self._shape, self._grid
        n_taps, overlap = grid.n_taps, grid.overlap
        rhs = np.empty((n_channels, n_references, n_taps))
        correlations = np.empty((self._n_pairs, 2 * n_taps - 1))
        flat = rhs.reshape(-1, n_taps)
        for q, total in enumerate(self._totals):
            lags = scipy.fft.irfft(joined(total), grid.n_fft)
            if q < self._n_pairs:
                correlations[q, overlap:] = lags[:n_taps]
                correlations[q, :overlap] = lags[grid.n_fft - overlap :]
            else:
                flat[q - self._n_pairs] = lags[:n_taps]
        if not overlap:
            return correlations, rhs
        k, j = pair_rows(n_references)
        number = np.zeros((n_references, n_references), int)
        number[k, j] = np.arange(len(k))
        for later, earlier, total in zip(*self._across, self._junctions, strict=True):
            lags = scipy.fft.irfft(joined(total), grid.junction_fft)[1:n_taps]
            if later >= n_references:
                rhs[later - n_references, earlier, 1:] += lags
                continue
            # The later sample belongs to the first reference of the pair: a lag above zero; else one below.
            if later <= earlier:
                correlations[number[later, earlier], n_taps:] += lags
            if later >= earlier:
                correlations[number[earlier, later], :overlap] += lags[::-1]
        return correlations, rhs


class WindowedSpectra:
    """Sums the cross-spectra of tapered, overlapping windows of every segment.

    All windows count: a hard cut between two windows that were skipped would stall the solver.
    """

    def __init__(self, n_rows: int, n_samples: int, *, threads: int) -> None:
        from unsum.dsp._kernels_numba import accumulate_products

        self._accumulate, self._threads = accumulate_products, threads
        self._n_samples, self._hop = n_samples, max(1, n_samples // _OVERLAP)
        self._taper = _unit_taper(n_samples)
        self._rows = pair_rows(n_rows)
        self._totals = np.zeros((len(self._rows[0]), 2, n_samples // 2 + 1))
        self._n_windows = 0
        self._held = np.zeros((n_rows, 0))
        self._any_in_segment = False

    def add(self, samples: NDArray, *, first: bool, last: bool) -> None:
        """Take in the next samples (rows, samples) of a segment."""
        if first:
            self._held, self._any_in_segment = samples[:, :0], False
        held = np.concatenate([self._held, samples], axis=1)
        n_samples, hop = self._n_samples, self._hop
        n_windows = (held.shape[1] - n_samples) // hop + 1 if held.shape[1] >= n_samples else 0
        at_once = max(1, _WINDOWS_AT_ONCE_BYTES // (8 * n_samples * len(held)))
        for start in range(0, n_windows, at_once):
            stop = min(start + at_once, n_windows)
            windows = np.stack([held[:, w * hop : w * hop + n_samples] for w in range(start, stop)])
            self._take(windows * self._taper)
        if last and not n_windows and not self._any_in_segment:
            short = np.zeros((1, len(held), n_samples))
            short[0, :, : held.shape[1]] = held * _unit_taper(held.shape[1])
            self._take(short)
        self._any_in_segment |= n_windows > 0
        self._held = held[:, n_windows * hop :]

    def _take(self, windows: NDArray) -> None:
        spectra = scipy.fft.rfft(windows, workers=self._threads)
        over_bins(self._accumulate, self._totals, spectra, spectra, *self._rows, threads=self._threads)
        self._n_windows += len(windows)

    def result(self) -> ReferenceSpectra:
        return ReferenceSpectra(self._totals, self._n_windows)


class _Part:
    """What one part gathers."""

    def __init__(self, correlations: LagCorrelator, windows: WindowedSpectra | None) -> None:
        self._correlations, self._windows = correlations, windows
        self._n_rows = 0
        self._energy: NDArray | float = 0.0
        self._edges: list[tuple[NDArray, NDArray]] = []
        self._head = self._tail = np.empty((0, 0))

    def add(self, piece: Piece) -> None:
        self._correlations.add(piece)
        if self._windows:
            self._windows.add(piece.references, first=piece.first, last=piece.last)
        self._n_rows += piece.n_rows
        self._energy = self._energy + np.sum(piece.mixture**2, axis=1)
        overlap = self._correlations._grid.overlap
        if piece.first:
            self._head = self._tail = piece.references[:, :0]
        if self._head.shape[1] < overlap:
            self._head = np.concatenate([self._head, piece.references], axis=1)[:, :overlap]
        self._tail = np.concatenate([self._tail, piece.references[:, max(0, piece.references.shape[1] - overlap) :]], 1)
        self._tail = self._tail[:, self._tail.shape[1] - overlap :] if self._tail.shape[1] > overlap else self._tail
        if piece.last:
            self._edges.append((self._head, self._tail))

    def equations(self, first_lag: int, n_taps: int) -> NormalEquations:
        correlations, rhs = self._correlations.results()
        n_channels, n_references, _ = rhs.shape
        edges = np.array(self._edges).reshape(len(self._edges), 2, n_references, n_taps - 1)
        return NormalEquations(
            first_lag,
            n_taps,
            self._n_rows,
            correlations=correlations,
            rhs=rhs,
            mixture_energy=np.zeros(n_channels) + self._energy,
            edges=edges,
            spectra=self._windows.result() if self._windows else None,
        )


def over_bins(
    accumulate: Callable, totals: NDArray, later: NDArray, earlier: NDArray, *rows: NDArray, threads: int
) -> None:
    """Run a loop over bins on several threads; each has bins of its own."""
    n_bins = totals.shape[-1]
    if threads < 2 or totals.shape[0] * len(later) * n_bins < _WORTH_A_THREAD:
        accumulate(totals, later, earlier, *rows, 0, n_bins)
        return
    cuts = np.linspace(0, n_bins, threads + 1).astype(int)

    def share(start: int, stop: int) -> None:
        accumulate(totals, later, earlier, *rows, start, stop)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(share, cuts[:-1], cuts[1:]):
            pass


def _unit_taper(n_samples: int) -> NDArray[np.float64]:
    """A taper of unit energy, so that a window has the power of one sample in every bin."""
    taper = np.kaiser(n_samples, _KAISER_BETA)
    return taper / np.sqrt(np.sum(taper**2))
