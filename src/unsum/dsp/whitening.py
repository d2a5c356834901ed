"""An approximate inverse of the normal matrix that knows where the rows begin and end.

References span more than 100 dB from their loudest band to their weakest. A circulant approximation of R mixes
them up at the boundary of the taps: the loud band leaks, and the solver stalls. So each reference is first
whitened by linear prediction, at the boundary with predictors of lower order, as the inverse Cholesky factor W of
an autoregressive model is built [1]_; what fine structure is left has little range, and a circulant C of the
whitened cross-spectra handles it::

    R^-1  ~  B^T W C^-1 W^T B

Two channels that are nearly alike, or tracks and their bus, differ by a sound far weaker than they are, with a
spectrum of its own. The basis B makes it a reference of its own: each reference at unit level, and those that are
strongly correlated turned to their principal axes, as left and right become middle and side.

References
----------
.. [1] Kay, "Modern Spectral Estimation", Prentice Hall, 1988, section 6.3.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from unsum.dsp.kernels import joined, pair_rows, split
from unsum.dsp.normal_equations import NormalEquations, fft_length
from unsum.dsp.threads import share_out
from unsum.dsp.transforms import WORTH_A_THREAD, irfft, rfft

_ORDER = 1024
# Of a whitened spectrum's peak. Below it the averaged spectra tell more about their windows than about R.
_FLOOR = 1e-2
# Relative energy below which a predictor would only model the rounding of the correlations.
_LEAST_INNOVATION = 1e-15
# White noise under what a short predictor whitens, as a share of its energy.
_CLICK = 1e-7
# Windows that overlap by three quarters tell little alone; with fewer, chance makes references look alike.
_WINDOWS_PER_REFERENCE = 8
# References are turned together from this correlation on.
_ALIKE = 0.3
_BINS_AT_ONCE = 4096


class WhitenedInverse:
    """Multiplies by the approximate inverse; positive definite.

    Parameters
    ----------
    equations : with spectra
    ridge : (references, bins)
        What is added to the diagonal of R, as :class:`NormalOperator` takes it.
    order : of the linear predictors
    """

    def __init__(self, equations: NormalEquations, *, ridge: NDArray, order: int = _ORDER) -> None:
        from unsum.dsp._kernels_numba import hermitian_multiply, lower_multiply, lower_transposed_multiply

        if equations.spectra is None:
            raise ValueError("the normal equations have no spectra; gather them with spectra=True")
        self._multiply = hermitian_multiply
        self._lower, self._lower_transposed = lower_multiply, lower_transposed_multiply
        n_references, n_taps = equations.n_references, equations.n_taps
        self._n_taps, self._order = n_taps, min(order, max(n_taps // 2, 1), n_taps - 1)
        spectra = joined(equations.spectra.pairs) * (equations.n_rows / max(equations.spectra.n_windows, 1))
        n_bins = spectra.shape[1]
        k, j = pair_rows(n_references)
        self._basis = decorrelating(irfft(spectra)[:, 0], n_references)
        ridge = on_bins(ridge, n_bins)
        if self._basis is not None:
            spectra = _turned(spectra, self._basis)
            ridge = self._basis**2 @ ridge
        spectra[k == j] += ridge
        # A silent reference has no spectrum of its own; any positive one will do.
        powers = np.maximum(spectra[k == j].real, np.finfo(float).tiny)
        self._corner = np.zeros((n_references, self._order, self._order))
        whitener = np.empty((n_references, self._order + 1))
        for one in range(n_references):
            predictors, innovation = levinson(irfft(powers[one]), self._order)
            scaled = predictors / np.sqrt(innovation)[:, None]
            whitener[one] = scaled[self._order]
            for column in range(self._order):
                m = self._order - 1 - column
                self._corner[one, column:, column] = scaled[m, : m + 1]
        response = rfft(whitener, 2 * (n_bins - 1))
        white = response[k] * spectra * np.conj(response[j])
        white[k == j] = np.abs(response) ** 2 * powers
        if equations.spectra.n_windows < _WINDOWS_PER_REFERENCE * n_references:
            white[k != j] = 0.0
        self._circulant = split(_inverted(np.conj(white), n_references))
        self._n_circulant = 2 * (n_bins - 1)
        self._n_filter = fft_length(n_taps)
        self._whitener = rfft(whitener, self._n_filter)

    def __call__(self, residuals: NDArray, *, threads: int = 1) -> NDArray[np.float64]:
        """Approximate solutions for right-hand sides (channels, references, n_taps)."""
        if self._basis is not None:
            turned = self._solved(np.einsum("kl,clp->ckp", self._basis, residuals), threads)
            return np.einsum("kl,ckp->clp", self._basis, turned)
        return self._solved(residuals, threads)

    def _solved(self, residuals: NDArray, threads: int) -> NDArray[np.float64]:
        n_channels, n_references, _ = residuals.shape
        if n_channels * n_references * self._n_circulant < WORTH_A_THREAD:
            threads = 1
        white = np.empty((n_channels, n_references, self._n_circulant // 2 + 1), complex)

        def whiten(first: int, last: int) -> None:
            white[:, first:last] = rfft(self._whitened(residuals[:, first:last], first, last), self._n_circulant)

        share_out(whiten, n_references, threads=threads)
        solved = np.empty_like(white)
        for one, out in zip(white, solved, strict=True):
            self._multiply(self._circulant, one, out)
        coloured = np.empty(residuals.shape)

        def colour(first: int, last: int) -> None:
            x = irfft(solved[:, first:last], self._n_circulant)[..., : self._n_taps]
            coloured[:, first:last] = self._coloured(x, first, last)

        share_out(colour, n_references, threads=threads)
        return coloured

    def _whitened(self, x: NDArray, first: int, last: int) -> NDArray[np.float64]:
        """``W^T x`` of some references: predictors look forward, and with lower order where the taps end."""
        inner = self._n_taps - self._order
        spectra = np.conj(self._whitener[first:last]) * rfft(x, self._n_filter)
        out = irfft(spectra, self._n_filter)[..., : self._n_taps]
        self._lower_transposed(self._corner[first:last], x[..., inner:], out[..., inner:])
        return out

    def _coloured(self, x: NDArray, first: int, last: int) -> NDArray[np.float64]:
        """``W x`` of some references."""
        inner = self._n_taps - self._order
        early = x.copy()
        early[..., inner:] = 0.0
        out = irfft(self._whitener[first:last] * rfft(early, self._n_filter), self._n_filter)[..., : self._n_taps]
        self._lower(self._corner[first:last], x[..., inner:], out[..., inner:])
        return out


def decorrelating(products: NDArray, n_references: int) -> NDArray[np.float64] | None:
    """A basis (references, references) in which those that are alike are no longer; None where none are.

    Parameters
    ----------
    products : (pairs,)
        Inner products of the references, in the order of `pair_rows`.
    """
    covariance = np.zeros((n_references, n_references))
    k, j = pair_rows(n_references)
    covariance[k, j] = covariance[j, k] = products
    level = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    scale = np.divide(1.0, level, out=np.ones_like(level), where=level > 0)
    correlation = covariance * np.outer(scale, scale)
    alike = np.abs(correlation) > _ALIKE
    np.fill_diagonal(alike, True)
    count, member = connected_components(alike, directed=False)
    if count == n_references:
        return None
    basis = np.diag(scale)
    for one in range(count):
        group = np.flatnonzero(member == one)
        if len(group) > 1:
            axes = np.linalg.eigh(correlation[np.ix_(group, group)])[1]
            basis[np.ix_(group, group)] = axes.T * scale[group]
    return basis


def _turned(pairs: NDArray, basis: NDArray) -> NDArray[np.complex128]:
    """Spectra (pairs, bins) of the references in another basis."""
    k, j = pair_rows(len(basis))
    out = np.empty_like(pairs)
    for start in range(0, pairs.shape[1], _BINS_AT_ONCE):
        bins = slice(start, start + _BINS_AT_ONCE)
        matrix = np.empty((len(basis), len(basis), pairs[:, bins].shape[1]), complex)
        matrix[j, k] = np.conj(pairs[:, bins])
        matrix[k, j] = pairs[:, bins]
        turned = np.tensordot(basis, matrix, 1)
        out[:, bins] = np.einsum("kmb,lm->klb", turned, basis)[k, j]
    return out


def predictor_of(rows: NDArray[np.float64], *, order: int = 32) -> NDArray[np.float64]:
    """The prediction filter (order + 1,) that whitens rows (channels, samples), all of them together.

    Just 1 where all are silent.
    """
    correlation = np.zeros(order + 1)
    for row in rows:
        for lag in range(order + 1):
            correlation[lag] += float(row[lag:] @ row[: len(row) - lag])
    if not correlation[0] > 0:
        return np.concatenate([[1.0], np.zeros(order)])
    correlation[0] *= 1 + _CLICK
    return levinson(correlation, order)[0][order]


def levinson(autocorrelation: NDArray, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear predictors of every order up to ``order`` and the energy each leaves (Levinson and Durbin).

    Returns
    -------
    predictors : (order + 1, order + 1)
        Row m holds ``1, a_1 ... a_m`` of order m, then zeros.
    innovation : (order + 1,)
    """
    predictors = np.zeros((order + 1, order + 1))
    innovation = np.empty(order + 1)
    predictors[0, 0], innovation[0] = 1.0, autocorrelation[0]
    for m in range(1, order + 1):
        before = predictors[m - 1, :m]
        reflection = -float(before @ autocorrelation[m:0:-1]) / innovation[m - 1]
        left = innovation[m - 1] * (1 - reflection * reflection)
        if not left > _LEAST_INNOVATION * autocorrelation[0]:
            predictors[m], innovation[m] = predictors[m - 1], innovation[m - 1]
            continue
        predictors[m, :m] = before
        predictors[m, 1 : m + 1] += reflection * before[::-1]
        innovation[m] = left
    return predictors, innovation


def on_bins(spectrum: NDArray, n_bins: int) -> NDArray[np.float64]:
    """A spectrum (rows, bins) from 0 to half the sample rate, interpolated to another number of bins."""
    if spectrum.shape[-1] == n_bins:
        return spectrum
    at = np.linspace(0, 1, n_bins)
    have = np.linspace(0, 1, spectrum.shape[-1])
    return np.array([np.interp(at, have, row) for row in spectrum.reshape(-1, spectrum.shape[-1])]).reshape(
        *spectrum.shape[:-1], n_bins
    )


def _inverted(pairs: NDArray, n_references: int) -> NDArray[np.complex128]:
    """Inverse, as pairs, of the Hermitian matrices (pairs, bins), each diagonal kept above its floor."""
    k, j = pair_rows(n_references)
    pairs[k == j] += _FLOOR * np.real(pairs[k == j]).max(axis=1, keepdims=True)
    matrices = np.empty((pairs.shape[1], n_references, n_references), complex)
    matrices[:, k, j] = pairs.T
    matrices[:, j, k] = np.conj(pairs.T)
    return np.linalg.inv(matrices)[:, k, j].T.astype(complex)
