"""Filters by exact least squares: Cholesky while the problem is small, preconditioned conjugate gradients beyond.

Both end in iterative refinement: the residual of the filters so far is measured on the samples, correlated with
the references, and solved for once more. That carries the answer past what normal equations can hold in
float64, some -140 dB where the references have weak bands, down to the rounding of the samples themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from unsum.dsp.lag_correlation import available_cores
from unsum.dsp.normal_equations import NormalEquations, NormalOperator, n_window
from unsum.dsp.residuals import Residual
from unsum.dsp.transforms import irfft, rfft
from unsum.dsp.uncertainty import filter_variance, noise_ridge
from unsum.dsp.whitening import WhitenedInverse, on_bins

ResidualFunction = Callable[[NDArray[np.float64]], Residual]

# Up to here a factored matrix is as quick as iterations; at 4096 unknowns it takes ten times as long.
LARGEST_DENSE = 1024
# Of the energy of each reference: far below any noise, far above the rounding of the matrix.
TINY_RIDGE = 1e-12
_GROWTH = 100.0
_LARGEST_RIDGE = 1e-6
# Solvers stop when this many iterations changed the residual energy by less than this share.
_PATIENCE = 20
_WORTHWHILE = 1e-5
# Share of the residual energy that a ridge may hold back.
_NOTICEABLE = 1e-2
# What normal equations know of a residual, of the energy it was before.
_KNOWN = 1e-14
# Relative energy, -294 dB: what is left is the rounding of the samples.
_ROUNDING = 4e-30
_MOST_ITERATIONS = 300
_MOST_PASSES = 6


@dataclass(frozen=True, slots=True)
class FilterFit:
    """Filters, what they leave, and how sure they are.

    Attributes
    ----------
    filters : (channels, references, n_taps)
        ``h[c, k, p]`` acts on ``r_k(n - first_lag - p)``.
    first_lag : int, samples
    mixture_energy, residual_energy : (channels,)
        On the rows fitted.
    variance : (channels, references, bins), or None if no residual was measured
        Of the response of every filter, bins from 0 to half the sample rate: ``E |H - H_true|^2``.
    density : (channels, bins), or None likewise
        Power spectral density of the residual, power of one sample in every bin.
    method : "cholesky" or "conjugate gradients"
    iterations : of conjugate gradients, all together
    passes : over the audio, to measure residuals
    ridge : relative to the energy of each reference; above ``TINY_RIDGE`` the references are nearly dependent
    spectral_ridge : (channels, references, bins), or None
        What was added for the noise that the residual shows.
    converged : bool
        Whether iterations ended because nothing was left to gain.
    """

    filters: NDArray[np.float64]
    first_lag: int
    mixture_energy: NDArray[np.float64]
    residual_energy: NDArray[np.float64]
    variance: NDArray[np.float64] | None
    density: NDArray[np.float64] | None
    method: str
    iterations: int
    passes: int
    ridge: float
    spectral_ridge: NDArray[np.float64] | None
    converged: bool

    @property
    def null_db(self) -> float:
        """Residual over mixture, all channels together; 0 for a silent mixture, -inf for nothing left."""
        mixture, residual = float(np.sum(self.mixture_energy)), float(np.sum(self.residual_energy))
        if mixture == 0:
            return 0.0
        return 10 * float(np.log10(residual / mixture)) if residual > 0 else -np.inf


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


def least_squares_filters(
    equations: NormalEquations,
    *,
    residual: ResidualFunction | None = None,
    ridge: float = TINY_RIDGE,
    spectral: bool = True,
    largest_dense: int = LARGEST_DENSE,
    max_iterations: int = _MOST_ITERATIONS,
    max_passes: int = _MOST_PASSES,
    threads: int | None = None,
) -> FilterFit:
    """Filters that leave the least energy on the rows of the equations.

    Minimises ``||y - X h||^2 + h.L h``. L is tiny at first, and is driven out by refinement wherever the
    references sound; where they do not, and between references that depend on each other, it picks the answer
    of least norm, each reference measured at its own level. In a second step L is the noise that the
    residual shows over the power of the filters, ``sigma2(f) n_taps / ||h||^2``, the prior of white taps: bins that
    the references do not reach then stay small instead of growing with the noise.

    Parameters
    ----------
    equations : NormalEquations
    residual : function, optional
        Measures on the audio what filters leave; see :func:`unsum.dsp.residuals.residual_of`. Without it there is no
        refinement, no second step and no variance.
    ridge : float
        Relative to the energy of each reference.
    spectral : bool
        Whether to take the second step when the residual calls for it.
    largest_dense : int
        Unknowns up to which the matrix is factored.
    max_iterations : of conjugate gradients for each solve
    max_passes : over the audio for refinement
    threads : all available cores if not given

    Raises
    ------
    ValueError
        If the problem is large and the equations have no spectra to precondition it with.
    """
    threads = threads or available_cores()
    n_bins = n_window(equations.n_taps) // 2 + 1
    solver = _solver(equations, ridge, None, largest_dense, max_iterations, threads)
    first = _without_ridge(equations, solver, threads)
    fit = FilterFit(
        first.filters,
        equations.first_lag,
        equations.mixture_energy,
        residual_energy=equations.residual_energy(first.filters, threads=threads),
        variance=None,
        density=None,
        method=solver.method,
        iterations=first.iterations,
        passes=0,
        ridge=solver.ridge,
        spectral_ridge=None,
        converged=first.converged,
    )
    if residual is None or not equations.n_rows:
        return fit
    fit, left = _refined(fit, solver, residual, max_passes=max_passes)
    tiny = _tiny_ridge(equations, solver.ridge)
    wanted = noise_ridge(equations, fit.filters, left.density, tiny) if spectral else None
    if wanted is not None and np.any(wanted > tiny[:, None]):
        shrunk = _solver(equations, ridge, wanted, largest_dense, max_iterations, threads)
        start = _shrunk(equations, fit.filters, wanted)
        slope = left.rhs + equations.matvec(fit.filters - start, threads=threads) - _apply_spectrum(wanted, start)
        step = shrunk(slope, left.energy)
        filters = start + step.filters
        left = residual(filters)
        fit = replace(
            fit,
            filters=filters,
            residual_energy=left.energy,
            iterations=fit.iterations + step.iterations,
            passes=fit.passes + 1,
            spectral_ridge=wanted,
            converged=fit.converged and step.converged,
        )
    total = np.broadcast_to(tiny[:, None], (len(tiny), n_bins))
    variance = filter_variance(equations, left.density, total if wanted is None else total + wanted)
    return replace(fit, variance=variance, density=left.density)


def _without_ridge(equations: NormalEquations, solver: "_Cholesky | _Gradients", threads: int) -> "Solution":
    """The solution, solved once more for what the ridge held back if that could be heard.

    It costs no pass over the audio, and one pass less is needed afterwards.
    """
    first = solver(equations.rhs, equations.mixture_energy)
    held_back = np.einsum("ckp,k->c", first.filters**2, _tiny_ridge(equations, solver.ridge))
    left = np.maximum(equations.mixture_energy - first.gain, _KNOWN * equations.mixture_energy)
    if not np.any(held_back > _NOTICEABLE * left):
        return first
    again = solver(equations.rhs - equations.matvec(first.filters, threads=threads), held_back)
    return Solution(
        first.filters + again.filters,
        first.gain + again.gain,
        first.iterations + again.iterations,
        first.converged and again.converged,
    )


def _refined(
    fit: FilterFit, solver: "_Cholesky | _Gradients", residual: ResidualFunction, *, max_passes: int
) -> tuple[FilterFit, Residual]:
    """Refine while a pass over the audio has something to gain; at least one pass is made."""
    left = residual(fit.filters)
    fit = replace(fit, residual_energy=left.energy, passes=1)
    while fit.passes < max_passes and np.any(left.energy > _ROUNDING * fit.mixture_energy):
        step = solver(left.rhs, left.energy)
        fit = replace(fit, iterations=fit.iterations + step.iterations)
        if not np.any(step.gain > _WORTHWHILE * left.energy):
            break
        filters = fit.filters + step.filters
        after = residual(filters)
        fit = replace(fit, passes=fit.passes + 1)
        better = after.energy < left.energy
        if not np.any(better):
            break
        fit = replace(
            fit,
            filters=np.where(better[:, None, None], filters, fit.filters),
            residual_energy=np.where(better, after.energy, left.energy),
            converged=step.converged,
        )
        if not np.all(better):
            # Channels that got no better keep their filters, so what was measured holds channel by channel.
            after = Residual(
                np.where(better[:, None, None], after.rhs, left.rhs),
                np.where(better, after.energy, left.energy),
                np.where(better[:, None], after.density, left.density),
                after.n_rows,
            )
        left = after
    return fit, left


def _solver(
    equations: NormalEquations,
    ridge: float,
    spectral: NDArray | None,
    largest_dense: int,
    max_iterations: int,
    threads: int,
) -> "_Cholesky | _Gradients":
    if equations.n_unknowns <= largest_dense:
        return _Cholesky(equations, ridge, spectral)
    return _Gradients(equations, ridge, spectral, max_iterations, threads)


class _Cholesky:
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
                damped[np.diag_indices_from(damped)] += np.repeat(_tiny_ridge(equations, self.ridge), n_taps)
                try:
                    factor = scipy.linalg.cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
                    break
                except np.linalg.LinAlgError:
                    if self.ridge >= _LARGEST_RIDGE:
                        raise
                    self.ridge *= _GROWTH
            self._factors.append(factor)

    def __call__(self, rhs: NDArray, energy: NDArray) -> Solution:
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


class _Gradients:
    """Solves by conjugate gradients; the operator and its approximate inverse are made once."""

    method = "conjugate gradients"

    def __init__(
        self, equations: NormalEquations, ridge: float, spectral: NDArray | None, max_iterations: int, threads: int
    ) -> None:
        self.ridge, self._threads, self._max_iterations = ridge, threads, max_iterations
        self._operator = NormalOperator(equations)
        tiny = _tiny_ridge(equations, ridge)[:, None]
        n_bins = n_window(equations.n_taps) // 2 + 1
        total = np.broadcast_to(tiny, (equations.n_references, n_bins))
        if spectral is not None:
            total = total + spectral
        self._ridge = on_bins(total, self._operator.n_fft // 2 + 1)
        # One approximate inverse serves all channels: their ridges differ only where little sounds.
        self._inverse = WhitenedInverse(equations, ridge=total if spectral is None else total.mean(axis=0))

    def __call__(self, rhs: NDArray, energy: NDArray) -> Solution:
        return conjugate_gradients(
            lambda x: self._operator(x, ridge=self._ridge, threads=self._threads),
            rhs,
            precondition=lambda x: self._inverse(x, threads=self._threads),
            energy=energy,
            max_iterations=self._max_iterations,
        )


def conjugate_gradients(
    apply: Callable[[NDArray], NDArray],
    rhs: NDArray,
    *,
    precondition: Callable[[NDArray], NDArray],
    energy: NDArray,
    tolerance: float = 1e-15,
    max_iterations: int = _MOST_ITERATIONS,
) -> Solution:
    """Solve ``A x = b`` for every channel of b (channels, references, n_taps) at once.

    Each iteration lowers the residual energy of a channel by a known amount. A channel is done when the last few
    together gained nothing worthwhile of what is left, when its preconditioned residual has fallen by
    ``tolerance``, or when rounding makes A look indefinite in the direction of search.

    Parameters
    ----------
    energy : (channels,)
        Residual energy at ``x = 0``.
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
        left = np.maximum(energy - total, _KNOWN * energy)
        settled = np.zeros_like(active)
        if len(gains) >= _PATIENCE:
            settled = np.sum(gains[-_PATIENCE:], axis=0) < _WORTHWHILE * left
        active = sound & (after > target) & ~settled
        turn = np.where(active, after / np.where(active, rz, 1.0), 0.0)
        p = z + turn[:, None, None] * p
        rz = after
    return Solution(x, total, len(gains), not np.any(active))


def _dots(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    return np.einsum("ckp,ckp->c", a, b)


def _tiny_ridge(equations: NormalEquations, ridge: float) -> NDArray[np.float64]:
    """Diagonal (references,) relative to the energy of each reference; a silent one gets that of the loudest."""
    energy = equations.reference_energy
    loudest = float(energy.max(initial=0.0))
    return ridge * np.where(energy > 0, energy, loudest or 1.0)


def _shrunk(equations: NormalEquations, filters: NDArray, ridge: NDArray) -> NDArray[np.float64]:
    """Filters with what the ridge forbids taken out, band by band: a start that is not far from the end.

    Where references are silent a fit of noise is large beyond measure, and iterations would not take it back.
    """
    assert equations.spectra is not None
    signal = equations.n_rows * equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T
    n_fft = 2 * (ridge.shape[-1] - 1)
    return irfft(rfft(filters, n_fft) * (signal / (signal + ridge)), n_fft)[..., : filters.shape[-1]]


def _dense_spectrum(spectrum: NDArray, n_taps: int) -> NDArray[np.float64]:
    """Block-diagonal matrix of the Toeplitz matrices with these spectra (references, bins)."""
    lags = irfft(spectrum)[:, :n_taps]
    return np.asarray(scipy.linalg.block_diag(*[scipy.linalg.toeplitz(one) for one in lags]))


def _apply_spectrum(spectrum: NDArray, filters: NDArray) -> NDArray[np.float64]:
    """The same matrices times filters (channels, references, n_taps)."""
    n_fft = 2 * (spectrum.shape[-1] - 1)
    return irfft(spectrum * rfft(filters, n_fft), n_fft)[..., : filters.shape[-1]]
