"""One streaming pass from audio to normal equations, the same numbers for any chunking."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.lag_correlation import BlockGrid, LagCorrelator
from unsum.dsp.normal_equations import NormalEquations, n_window
from unsum.dsp.rows import Piece, RowFeed, Segment
from unsum.dsp.threads import available_cores
from unsum.dsp.windowed_spectra import WindowedSpectra

# With windows side by side a sound cut off between two goes unseen, and the solver takes twice the iterations or
# more; four windows over a sample instead of two save a sixth of them and cost more than that.
_OVERLAP = 2


class Statistics:
    """Gathers the normal equations of every part in one pass over the audio.

    Feed it with :meth:`add` in blocks of any length, then call :meth:`finish`. Keywords as for :class:`RowFeed`,
    and:

    Parameters
    ----------
    spectra : bool
        Also average the spectra of the references, which large problems and uncertainties need.
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
        self._first_lag, threads = first_lag, threads or available_cores()
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
        self._parts = {
            number: _Part(
                LagCorrelator(grid, n_channels, n_references, pairs=True, threads=threads),
                WindowedSpectra(n_references, n_window(n_taps), overlap=_OVERLAP, pairs=True, threads=threads)
                if spectra
                else None,
                n_channels,
                threads,
            )
            for number in {segment.part for segment in segments}
        }

    def add(self, mixture: NDArray | None = None, references: NDArray | None = None) -> None:
        """Take the next samples of the mixture (channels, samples) and of the references (references, samples).

        The two may differ in length, and either may be left out: each goes on where it ended.

        Raises
        ------
        InputError
            If the number of rows is not the one announced, or a sample is not finite.
        """
        for _ in self._feed.add(mixture, references):
            self._take()

    def finish(self) -> dict[int, NormalEquations]:
        """The normal equations of every part that was announced."""
        self._feed.finish()
        self._take()
        return {number: part.equations(self._first_lag) for number, part in self._parts.items()}

    def _take(self) -> None:
        for piece in self._feed.ready():
            self._parts[piece.part].add(piece)


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
    kept = (pairs + n_channels * n_references) * bins + rows * n_references * junction_bins + pairs * window_bins
    edges = 2 * 8 * n_segments * n_references * n_taps
    passing = grid.blocks_per_piece * rows * (2 * bins + 4 * junction_bins)
    return 16 * (n_parts * kept + passing) + edges


class _Part:
    """What one part gathers."""

    def __init__(
        self, correlations: LagCorrelator, windows: WindowedSpectra | None, n_channels: int, threads: int
    ) -> None:
        self._correlations, self._windows, self._threads = correlations, windows, threads
        self._n_rows = 0
        self._energy = np.zeros(n_channels)
        self._edges: list[tuple[NDArray, NDArray]] = []
        self._head = self._tail = np.empty((0, 0))

    def add(self, piece: Piece) -> None:
        grid, overlap = self._correlations.grid, self._correlations.grid.overlap
        spectra = grid.spectra(piece.references, threads=self._threads)
        self._correlations.add(piece.references, spectra, piece.mixture, first=piece.first)
        if self._windows:
            self._windows.add(piece.references, first=piece.first, last=piece.last)
        self._n_rows += piece.n_rows
        self._energy += np.einsum("cn,cn->c", piece.mixture, piece.mixture)
        if piece.first:
            self._head = self._tail = piece.references[:, :0]
        if self._head.shape[1] < overlap:
            self._head = np.concatenate([self._head, piece.references[:, :overlap]], axis=1)[:, :overlap]
        recent = np.concatenate([self._tail, piece.references[:, -overlap or piece.references.shape[1] :]], axis=1)
        self._tail = recent[:, max(0, recent.shape[1] - overlap) :]
        if piece.last:
            self._edges.append((self._head, self._tail))

    def equations(self, first_lag: int) -> NormalEquations:
        rhs = self._correlations.crossed()
        _, n_references, n_taps = rhs.shape
        return NormalEquations(
            first_lag,
            n_taps,
            self._n_rows,
            correlations=self._correlations.pairs(),
            rhs=rhs,
            mixture_energy=self._energy,
            edges=np.array(self._edges).reshape(len(self._edges), 2, n_references, n_taps - 1),
            spectra=self._windows.result() if self._windows else None,
        )
