"""One linear solve with the normal matrix: factored while it is small, by conjugate gradients beyond."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from unsum.dsp.normal_equations import NormalEquations, n_window
from unsum.dsp.transforms import irfft, rfft
from unsum.dsp.whitening import WhitenedInverse, on_bins

# A ridge that rounding makes too small grows by this factor, from here to there.
_GROWTH = 100.0
_SMALLEST_RIDGE, _LARGEST_RIDGE = 1e-14, 1e-6
# Iterations stop when those to come promise less than this share of the residual energy: by the trend of the last
# few, read with caution, or because so many together gained no more.
WORTHWHILE = 1e-5
_TREND, _FALLING, _SAFETY = 4, 0.95, 10.0
_PATIENCE = 20
# What normal equations know of a residual, of the energy it was before.
KNOWN = 1e-14
_MOST_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class Solution:
    """Answer of one linear solve.

    Attributes
    ----------
    filters : (channels, references, n_taps)
    gain : (channels,)
        Energy by which they lower the residual, as the normal equations see it.
    iterations : int
    converged : bool
    """

    filters: NDArray[np.float64]
    gain: NDArray[np.float64]
    iterations: int
    converged: bool


def solver_for(
    equations: NormalEquations,
    *,
    ridge: float,
    spectral: NDArray | None = None,
    largest_dense: int,
    max_iterations: int = _MOST_ITERATIONS,
    worthwhile: float = WORTHWHILE,
    threads: int = 1,
) -> "Cholesky | ConjugateGradients":
    """The solver that suits the size of a problem.

    Parameters
    ----------
    ridge : relative to the energy of each reference
    spectral : (channels, references, bins), more of it
    largest_dense : unknowns up to which the matrix is factored
    max_iterations, worthwhile, threads : of conjugate gradients
    """
    if equations.n_unknowns <= largest_dense:
        return Cholesky(equations, ridge, spectral)
    return ConjugateGradients(equations, ridge, spectral, max_iterations, worthwhile, threads)


class Cholesky:
    """Solves with the matrix factored; raises the ridge where rounding leaves it indefinite."""

    method = "cholesky"

    def __init__(self, equations: NormalEquations, ridge: float, spectral: NDArray | None) -> None:
        self._shape = equations.rhs.shape
        matrix = equations.dense()
        n_taps = equations.n_taps
        shared = spectral is None
        self._factors = []
        for c in range(1 if shared else equations.n_channels):
            total = matrix if shared else matrix + _dense_spectrum(spectral[c], n_taps)
            self.ridge = ridge
            while True:
                damped = total.copy()
                damped[np.diag_indices_from(damped)] += np.repeat(tiny_ridge(equations, self.ridge), n_taps)
                try:
                    factor = scipy.linalg.cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
                    break
                except np.linalg.LinAlgError:
                    if self.ridge >= _LARGEST_RIDGE:
                        raise
                    self.ridge = max(self.ridge * _GROWTH, _SMALLEST_RIDGE)
            self._factors.append(factor)

    def __call__(self, rhs: NDArray, energy: NDArray, least: NDArray | None = None) -> Solution:
        """Solve for right-hand sides (channels, references, n_taps)."""
        flat = rhs.reshape(len(rhs), -1)
        if len(self._factors) == 1:
            solved = scipy.linalg.cho_solve(self._factors[0], flat.T, check_finite=False).T
        else:
            solved = np.array(
                [
                    scipy.linalg.cho_solve(factor, one, check_finite=False)
                    for factor, one in zip(self._factors, flat, strict=True)
                ]
            )
        filters = np.ascontiguousarray(solved).reshape(self._shape)
        return Solution(filters, np.sum(filters * rhs, axis=(1, 2)), 0, True)


class ConjugateGradients:
    """Solves by conjugate gradients; the operator and its approximate inverse are made once."""

    method = "conjugate gradients"

    def __init__(
        self,
        equations: NormalEquations,
        ridge: float,
        spectral: NDArray | None,
        max_iterations: int,
        worthwhile: float,
        threads: int,
    ) -> None:
        self.ridge, self._threads, self._max_iterations = ridge, threads, max_iterations
        self._worthwhile = worthwhile
        self._operator = equations.operator()
        tiny = tiny_ridge(equations, ridge)[:, None]
        n_bins = n_window(equations.n_taps) // 2 + 1
        total = np.broadcast_to(tiny, (equations.n_references, n_bins))
        if spectral is not None:
            total = total + spectral
        self._ridge = on_bins(total, self._operator.n_fft // 2 + 1)
        # One approximate inverse serves all channels: their ridges differ only where little sounds.
        self._inverse = WhitenedInverse(equations, ridge=total if spectral is None else total.mean(axis=0))

    def __call__(self, rhs: NDArray, energy: NDArray, least: NDArray | None = None) -> Solution:
        """Solve for right-hand sides (channels, references, n_taps) of residuals with this energy (channels,).

        Parameters
        ----------
        least : energy (channels,) that no iteration is made for
        """
        return conjugate_gradients(
            lambda x: self._operator(x, ridge=self._ridge, threads=self._threads),
            rhs,
            precondition=lambda x: self._inverse(x, threads=self._threads),
            energy=energy,
            least=least,
            max_iterations=self._max_iterations,
            worthwhile=self._worthwhile,
        )


def conjugate_gradients(
    apply: Callable[[NDArray], NDArray],
    rhs: NDArray,
    *,
    precondition: Callable[[NDArray], NDArray],
    energy: NDArray,
    least: NDArray | None = None,
    tolerance: float = 1e-15,
    max_iterations: int = _MOST_ITERATIONS,
    worthwhile: float = WORTHWHILE,
) -> Solution:
    """Solve ``A x = b`` for every channel of b (channels, references, n_taps) at once.

    Each iteration lowers the residual energy of a channel by a known amount. A channel is done when the last few
    together gained nothing worthwhile of what is left, when its preconditioned residual has fallen by
    ``tolerance``, or when rounding makes A look indefinite in the direction of search.

    Parameters
    ----------
    energy : (channels,)
        Residual energy at ``x = 0``.
    least : (channels,)
        What further iterations must promise in any case.
    worthwhile : share of what is left that further iterations must promise
    """
    x, r = np.zeros_like(rhs), rhs.copy()
    z = precondition(r)
    p = z.copy()
    rz = _dots(r, z)
    target = tolerance**2 * np.abs(rz)
    gains: list[NDArray] = []
    total = np.zeros(len(rhs))
    active = rz > 0
    while np.any(active) and len(gains) < max_iterations:
        q = apply(p)
        curvature = _dots(p, q)
        sound = active & (curvature > 0)
        step = np.where(sound, rz / np.where(sound, curvature, 1.0), 0.0)
        x += step[:, None, None] * p
        r -= step[:, None, None] * q
        z = precondition(r)
        after = _dots(r, z)
        gains.append(step * rz)
        total += gains[-1]
        left = np.maximum(energy - total, KNOWN * energy)
        needed = worthwhile * left if least is None else np.maximum(worthwhile * left, least)
        active = sound & (after > target) & (_promised(gains) > needed)
        turn = np.where(active, after / np.where(active, rz, 1.0), 0.0)
        p = z + turn[:, None, None] * p
        rz = after
    return Solution(x, total, len(gains), not np.any(active))


def _promised(gains: list[NDArray]) -> NDArray[np.float64]:
    """What iterations to come may still gain: as if the gains went on to fall as they did, or not at all."""
    if len(gains) < 2 * _TREND:
        return np.full_like(gains[0], np.inf)
    recent, before = np.sum(gains[-_TREND:], axis=0), np.sum(gains[-2 * _TREND : -_TREND], axis=0)
    ratio = np.minimum(recent / np.maximum(before, np.finfo(float).tiny), _FALLING)
    falling = _SAFETY * recent * ratio / (1 - ratio)
    if len(gains) < _PATIENCE:
        return falling
    return np.minimum(falling, np.sum(gains[-_PATIENCE:], axis=0))


def _dots(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    return np.einsum("ckp,ckp->c", a, b)


def tiny_ridge(equations: NormalEquations, ridge: float) -> NDArray[np.float64]:
    """Diagonal (references,) relative to the energy of each reference; a silent one gets that of the loudest."""
    energy = equations.reference_energy
    loudest = float(energy.max(initial=0.0))
    return ridge * np.where(energy > 0, energy, loudest or 1.0)


def _dense_spectrum(spectrum: NDArray, n_taps: int) -> NDArray[np.float64]:
    """Block-diagonal matrix of the Toeplitz matrices with these spectra (references, bins)."""
    lags = irfft(spectrum)[:, :n_taps]
    return np.asarray(scipy.linalg.block_diag(*[scipy.linalg.toeplitz(one) for one in lags]))


def apply_spectrum(spectrum: NDArray, filters: NDArray) -> NDArray[np.float64]:
    """Toeplitz matrices with these spectra (channels, references, bins) times filters, tap by tap."""
    n_fft = 2 * (spectrum.shape[-1] - 1)
    return irfft(spectrum * rfft(filters, n_fft), n_fft)[..., : filters.shape[-1]]
