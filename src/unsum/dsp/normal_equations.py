"""The normal equations of an exact multi-reference filter fit, small whatever the length of the audio.

With ``u_k(n) = r_k(n - first_lag)`` every row n of a part says ``y_c(n) = sum_k sum_p h[c, k, p] u_k(n - p)``.
The matrix of those rows, X, enters only as ``R = X^T X``, and R is known from few numbers [1]_::

    R = Toeplitz(T) - (products of rows before each segment) - (products of rows after it)

T holds the correlations of the samples of each segment, taken as silent elsewhere; the rows before and after are
those that silence would add, and they need only the first and last ``n_taps - 1`` samples of the segment.

References
----------
.. [1] Kailath, Kung and Morf, "Displacement ranks of matrices and linear equations", J. Math. Anal. Appl. 68, 1979.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.kernels import pair_rows, split
from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.dsp.windowed_spectra import AveragedSpectra

# Edge blocks transformed at once: their spectra would not fit in memory together when there are many segments. Those of
# filters of seconds just do, and made anew for every iteration they would cost more than all the rest.
_EDGES_AT_ONCE_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """``R h = b`` of the exact least-squares problem on the rows of one part; two parts can be added.

    Attributes
    ----------
    first_lag, n_taps : int, samples
        ``h[c, k, p]`` acts on ``r_k(n - first_lag - p)``.
    n_rows : how many rows the part has
    correlations : (pairs, 2 * n_taps - 1)
        ``T_kl(m) = sum_t u_k(t + m) u_l(t)`` for m = -(n_taps - 1) ... n_taps - 1, summed over segments.
    rhs : (channels, references, n_taps)
        b: mixture against reference.
    mixture_energy : (channels,)
    edges : (segments, 2, references, n_taps - 1)
        The first and the last samples of u in every segment.
    spectra : averaged spectra of the references, None if they were not asked for
    """

    first_lag: int
    n_taps: int
    n_rows: int
    correlations: NDArray[np.float64]
    rhs: NDArray[np.float64]
    mixture_energy: NDArray[np.float64]
    edges: NDArray[np.float64]
    spectra: AveragedSpectra | None = None
    # Spectra of the correlations, made when first needed: restricting a problem should cost no more than it must.
    _operator: "list[NormalOperator]" = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def n_references(self) -> int:
        return self.rhs.shape[1]

    @property
    def n_channels(self) -> int:
        return self.rhs.shape[0]

    @property
    def n_unknowns(self) -> int:
        """Filter taps for each channel of the mixture."""
        return self.n_references * self.n_taps

    @property
    def reference_energy(self) -> NDArray[np.float64]:
        """Energy of each reference in its segments (references,)."""
        k, j = pair_rows(self.n_references)
        return self.correlations[k == j, self.n_taps - 1]

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        """The problem with the rows of both."""
        mine = (self.first_lag, self.n_taps, self.rhs.shape)
        theirs = (other.first_lag, other.n_taps, other.rhs.shape)
        if mine != theirs:
            raise ValueError(f"first lag, taps, shape are {mine} and {theirs}: only equal ones can be added")
        return NormalEquations(
            self.first_lag,
            self.n_taps,
            self.n_rows + other.n_rows,
            correlations=self.correlations + other.correlations,
            rhs=self.rhs + other.rhs,
            mixture_energy=self.mixture_energy + other.mixture_energy,
            edges=np.concatenate([self.edges, other.edges]),
            spectra=self.spectra + other.spectra if self.spectra and other.spectra else None,
        )

    def matvec(self, filters: NDArray, *, threads: int = 1) -> NDArray[np.float64]:
        """``R h`` for filters (..., references, n_taps), exact, at a cost that no length of audio changes."""
        return self.operator()(filters, threads=threads)

    def operator(self) -> "NormalOperator":
        """What multiplies by R, made when first asked for and kept."""
        if not self._operator:
            self._operator.append(NormalOperator(self))
        return self._operator[0]

    def release(self) -> None:
        """Let go of what multiplies by R, which holds several times the memory of the equations."""
        self._operator.clear()

    def residual_energy(self, filters: NDArray, *, threads: int = 1) -> NDArray[np.float64]:
        """Energy that filters (channels, references, n_taps) leave in the rows, for each channel.

        ``yy - 2 h b + h R h``: three large numbers that cancel, good down to some -140 dB of the mixture.
        """
        change = self.matvec(filters, threads=threads) - 2 * self.rhs
        return np.maximum(self.mixture_energy + np.sum(filters * change, axis=(1, 2)), 0.0)

    def restrict(self, *, first_lag: int, n_taps: int) -> "NormalEquations":
        """The problem with fewer lags on the same rows, from the same pass.

        Raises
        ------
        ValueError
            If lags are asked for that were not gathered.
        """
        skipped = first_lag - self.first_lag
        beyond = self.n_taps - skipped - n_taps
        if skipped < 0 or beyond < 0 or n_taps < 1:
            raise ValueError(
                f"lags {first_lag}..{first_lag + n_taps} are not within the gathered "
                f"{self.first_lag}..{self.first_lag + self.n_taps}; gather more in the pass"
            )
        if not skipped and not beyond:
            return self
        middle, reach = self.n_taps - 1, n_taps - 1
        correlations = self.correlations[:, middle - reach : middle + n_taps].copy()
        head, tail = self.edges[:, 0], self.edges[:, 1]
        # What leaves the window is the pairs of samples with at least one among those dropped.
        correlations -= _lag_products(head[..., : beyond + reach], reach) - _lag_products(
            head[..., beyond : beyond + reach], reach
        )
        stop = self.n_taps - 1 - skipped
        correlations -= _lag_products(tail[..., stop - reach :], reach) - _lag_products(
            tail[..., stop - reach : stop], reach
        )
        edges = np.stack([head[..., beyond : beyond + reach], tail[..., stop - reach : stop]], axis=1)
        return NormalEquations(
            first_lag,
            n_taps,
            self.n_rows,
            correlations=correlations,
            rhs=np.ascontiguousarray(self.rhs[:, :, skipped : skipped + n_taps]),
            mixture_energy=self.mixture_energy,
            edges=edges,
            spectra=self.spectra.at_bins(n_window(n_taps) // 2 + 1) if self.spectra else None,
        )

    def dense(self) -> NDArray[np.float64]:
        """R itself (unknowns, unknowns), taps fastest: for small problems, ``8 * n_unknowns**2`` bytes.

        Down its diagonals R changes by one row of each segment that enters and one that leaves.
        """
        n_references, n_taps = self.n_references, self.n_taps
        matrix = np.empty((n_references, n_taps, n_references, n_taps))
        impulses = np.zeros((n_references, n_references, n_taps))
        impulses[np.arange(n_references), np.arange(n_references), 0] = 1.0
        first = self.matvec(impulses)  # first[l, k, i] = R[(k, i), (l, 0)]
        matrix[:, :, :, 0] = first.transpose(1, 2, 0)
        matrix[:, 0] = first
        # entering[k, i] = u_k(start - 1 - i) and leaving[k, i] = u_k(stop - 1 - i), for every segment
        change = np.concatenate([self.edges[:, 0, :, ::-1], self.edges[:, 1, :, ::-1]])
        sign = np.repeat([1.0, -1.0], len(self.edges))
        for i in range(n_taps - 1):
            row = np.tensordot(change[:, :, i] * sign[:, None], change, axes=(0, 0))
            matrix[:, i + 1, :, 1:] = matrix[:, i, :, :-1] + row
        return matrix.reshape(self.n_unknowns, self.n_unknowns)


class NormalOperator:
    """Multiplies by R: two transforms for each reference and four for each segment, of some ``2 * n_taps`` samples."""

    def __init__(self, equations: NormalEquations) -> None:
        from unsum.dsp._kernels_numba import hermitian_multiply

        self._multiply = hermitian_multiply
        n_taps = equations.n_taps
        self.n_taps, self.n_fft = n_taps, fft_length(n_taps)
        wrapped = np.zeros((len(equations.correlations), self.n_fft))
        wrapped[:, :n_taps] = equations.correlations[:, n_taps - 1 :]
        if n_taps > 1:
            wrapped[:, 1 - n_taps :] = equations.correlations[:, : n_taps - 1]
        # (R h)_k(i) = sum_l sum_j T_kl(j - i) h_l(j): a correlation, hence the conjugate.
        self.pairs = split(np.conj(rfft(wrapped)))
        self._edges = equations.edges if n_taps > 1 else equations.edges[:0]
        edge_bytes = 16 * (self.n_fft // 2 + 1) * 2 * equations.n_references
        self._at_once = max(1, _EDGES_AT_ONCE_BYTES // edge_bytes)
        self._kept = self._edge_spectra(0) if len(self._edges) <= self._at_once else None

    def __call__(self, filters: NDArray, *, ridge: NDArray | None = None, threads: int = 1) -> NDArray[np.float64]:
        """``(R + ridge) h`` for filters (..., references, n_taps); ridge (references, bins) of :func:`fft_length`."""
        shape = filters.shape
        filters = filters.reshape(-1, *shape[-2:])
        spectra = rfft(filters, self.n_fft, threads=threads)
        product = np.empty_like(spectra)
        for one, out in zip(spectra, product, strict=True):
            self._multiply(self.pairs, one, out)
        if ridge is not None:
            product += ridge * spectra
        for start in range(0, len(self._edges), self._at_once):
            edges = self._edge_spectra(start) if self._kept is None else self._kept
            for one, out in zip(spectra, product, strict=True):
                rows = irfft(np.einsum("sekf,kf->sef", edges, one), self.n_fft, threads=threads)
                # Rows before a segment are those its first samples begin, rows after it those its last ones end.
                rows[:, 0, self.n_taps - 1 :] = 0.0
                rows[:, 1, : self.n_taps - 1] = 0.0
                rows[:, 1, 2 * self.n_taps - 2 :] = 0.0
                out -= np.conj(np.einsum("sekf,sef->kf", edges, np.conj(rfft(rows, threads=threads))))
        return irfft(product, self.n_fft, threads=threads)[..., : self.n_taps].reshape(shape)

    def _edge_spectra(self, start: int) -> NDArray[np.complex128]:
        return rfft(self._edges[start : start + self._at_once], self.n_fft)


def fft_length(n_taps: int) -> int:
    """Transform length at which no lag of the filters wraps onto another; even, so that its last bin is Nyquist's."""
    return fast_length(2 * n_taps)


def n_window(n_taps: int) -> int:
    """Samples in a window of the averaged spectra: twice the filters, and enough to see a bass note."""
    return fast_length(max(2 * n_taps, 256))


def _lag_products(blocks: NDArray, reach: int) -> NDArray[np.float64]:
    """Correlations (pairs, 2 * reach + 1) of short blocks (segments, references, samples), summed over segments."""
    n_samples = blocks.shape[2]
    k, j = pair_rows(blocks.shape[1])
    if not n_samples or not len(blocks):
        return np.zeros((len(k), 2 * reach + 1))
    n_fft = fast_length(n_samples + reach)
    total = np.zeros((len(k), n_fft // 2 + 1), complex)
    for block in blocks:
        spectra = rfft(block, n_fft)
        total += spectra[k] * np.conj(spectra[j])
    wrapped = irfft(total, n_fft)
    return np.concatenate([wrapped[:, n_fft - reach :], wrapped[:, : reach + 1]], axis=1)
