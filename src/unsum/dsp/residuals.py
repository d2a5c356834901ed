"""What filters leave of the mixture, measured on the samples themselves.

Normal equations know a residual only as the difference of large numbers. One more pass over the audio gives its
energy, its spectrum and its correlation with every reference to the last bit, which is what refinement needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.kernels import split
from unsum.dsp.lag_correlation import BlockGrid, LagCorrelator, sum_products
from unsum.dsp.normal_equations import n_window
from unsum.dsp.rows import FIT, Piece, RowFeed, Segment
from unsum.dsp.threads import available_cores
from unsum.dsp.transforms import irfft, rfft
from unsum.dsp.windowed_spectra import AveragedSpectra, WindowedSpectra


@dataclass(frozen=True, slots=True)
class Residual:
    """The residual ``e = y - X h`` on the rows of one part.

    Attributes
    ----------
    rhs : (channels, references, n_taps)
        ``X^T e``: what is left to explain.
    energy : (channels,)
    density : (channels, bins)
        Power spectral density of e, power of one sample in every bin; bins from 0 to half the sample rate.
    n_rows : int
    power : (references, bins), or None if it was not asked for
        Energy of the references around every bin of the density; on no scale but that of the parts to each other.
    """

    rhs: NDArray[np.float64]
    energy: NDArray[np.float64]
    density: NDArray[np.float64]
    n_rows: int
    power: NDArray[np.float64] | None = None


class ResidualPass:
    """Measures the residual of every part in one pass; fed and finished as :class:`Statistics` is.

    Parameters
    ----------
    filters : (channels, references, n_taps)
    first_lag, segments, threads, mixture_start, reference_start, silent_before, silent_after
        As for the pass that gathered the normal equations, so that the rows are the same.
    correlate : bool
        Whether to correlate the residual with the references; its ``rhs`` is zero otherwise.
    power : bool
        Whether to sum the power of the references as well.
    """

    def __init__(
        self,
        filters: NDArray,
        *,
        first_lag: int,
        segments: Sequence[Segment],
        correlate: bool = True,
        power: bool = False,
        threads: int | None = None,
        mixture_start: int = 0,
        reference_start: int = 0,
        silent_before: bool = False,
        silent_after: bool = False,
    ) -> None:
        n_channels, n_references, n_taps = filters.shape
        threads = threads or available_cores()
        grid = BlockGrid(n_taps)
        self._feed = RowFeed(
            n_channels=n_channels,
            n_references=n_references,
            first_lag=first_lag,
            n_taps=n_taps,
            segments=segments,
            piece_samples=grid.piece_samples,
            mixture_start=mixture_start,
            reference_start=reference_start,
            silent_before=silent_before,
            silent_after=silent_after,
        )
        responses = split(rfft(filters, grid.n_fft, threads=threads))[None]
        self._parts = {
            number: _Part(
                responses,
                LagCorrelator(grid, n_channels, n_references, pairs=False, threads=threads),
                WindowedSpectra(n_channels, n_window(n_taps), overlap=1, pairs=False, threads=threads),
                correlate=correlate,
                power=power,
                threads=threads,
            )
            for number in {segment.part for segment in segments}
        }

    def add(self, mixture: NDArray | None = None, references: NDArray | None = None) -> None:
        """Take the next samples of either or both.

        Raises
        ------
        InputError
            If the number of rows is not that of the filters, or a sample is not finite.
        """
        for _ in self._feed.add(mixture, references):
            self._take()

    def finish(self) -> dict[int, Residual]:
        """The residual of every part that was announced."""
        self._feed.finish()
        self._take()
        return {number: part.residual() for number, part in self._parts.items()}

    def _take(self) -> None:
        for piece in self._feed.ready():
            self._parts[piece.part].add(piece)


def residual_of(
    mixture: NDArray,
    references: NDArray,
    filters: NDArray,
    *,
    first_lag: int = 0,
    segments: Sequence[Segment] | None = None,
    part: int = FIT,
    **keywords,
) -> Residual:
    """The residual of arrays: mixture (channels, samples), references (references, samples).

    Without segments every row counts. Further keywords as for :class:`ResidualPass`.
    """
    if segments is None:
        start = keywords.get("mixture_start", 0)
        segments = (Segment(start, start + np.shape(mixture)[-1], part),)
    measured = ResidualPass(filters, first_lag=first_lag, segments=segments, **keywords)
    measured.add(mixture, references)
    return measured.finish()[part]


class _Part:
    """The residual of one part, block by block on the grid of the correlations: one transform serves both."""

    def __init__(
        self,
        responses: NDArray,
        correlations: LagCorrelator,
        windows: WindowedSpectra,
        *,
        correlate: bool,
        power: bool,
        threads: int,
    ) -> None:
        from unsum.dsp._kernels_numba import filter_multiply

        self._multiply = filter_multiply
        self._responses, self._correlations, self._windows = responses, correlations, windows
        self._correlate, self._threads = correlate, threads
        n_channels = responses.shape[1]
        self._energy = np.zeros(n_channels)
        self._n_rows = 0
        n_references = responses.shape[2] if power else 0
        self._references = np.arange(n_references)
        self._power = np.zeros((n_references, 2, correlations.grid.n_fft // 2 + 1))
        self._ringing = np.zeros((n_channels, correlations.grid.overlap))  # of the block before, into the next

    def add(self, piece: Piece) -> None:
        grid = self._correlations.grid
        spectra = grid.spectra(piece.references, threads=self._threads)
        if len(self._references):
            pairs = self._references, self._references
            sum_products(self._power, spectra, spectra[:, :0], *pairs, threads=self._threads)
        if piece.first:
            self._ringing = np.zeros_like(self._ringing)
        residual = piece.mixture.copy()
        at_rows = piece.mixture.shape[1] - piece.n_rows
        images = np.empty((len(spectra), len(residual), spectra.shape[-1]), complex)
        for one, image in zip(spectra, images, strict=True):
            self._multiply(self._responses, one[None], 0, image)
        for b, samples in enumerate(irfft(images, grid.n_fft, threads=self._threads)):
            samples[:, : grid.overlap] += self._ringing
            self._ringing = samples[:, grid.block_samples :]
            part = residual[:, b * grid.block_samples : (b + 1) * grid.block_samples]
            part -= samples[:, : part.shape[1]]
        residual[:, :at_rows] = 0.0
        if self._correlate:
            self._correlations.add(piece.references, spectra, residual, first=piece.first)
        rows = residual[:, at_rows:]
        self._windows.add(rows, first=piece.first, last=piece.last)
        self._energy += np.einsum("cn,cn->c", rows, rows)
        self._n_rows += piece.n_rows

    def residual(self) -> Residual:
        windows = self._windows.result()
        density = windows.pairs[:, 0] / max(windows.n_windows, 1)
        power = None
        if len(self._references):
            power = AveragedSpectra(self._power, 1).at_bins(density.shape[1]).pairs[:, 0]
        return Residual(self._correlations.crossed(), self._energy, density, self._n_rows, power)
