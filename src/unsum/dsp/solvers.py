"""Filters by exact least squares: Cholesky while the problem is small, preconditioned conjugate gradients beyond.

Both end in iterative refinement: the residual of the filters so far is measured on the samples, correlated with
the references, and solved for once more. That carries the answer past what normal equations can hold in
float64, some -140 dB where the references have weak bands, down to the rounding of the samples themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.deviations import Deviations
from unsum.dsp.linear_solvers import (
    KNOWN,
    WORTHWHILE,
    Cholesky,
    ConjugateGradients,
    Solution,
    apply_spectrum,
    solver_for,
    tiny_ridge,
)
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.residuals import Residual
from unsum.dsp.threads import available_cores
from unsum.dsp.transforms import irfft, rfft
from unsum.dsp.uncertainty import filter_variance, noise_ridge

Solver = Cholesky | ConjugateGradients
ResidualFunction = Callable[[NDArray[np.float64]], Residual]

# Up to here a factored matrix is as quick as iterations; at 4096 unknowns it takes ten times as long.
LARGEST_DENSE = 1024
# Of the energy of each reference: far below any noise, far above the rounding of the matrix.
TINY_RIDGE = 1e-12
# Share of the residual energy that a ridge may hold back.
_NOTICEABLE = 1e-2
# Relative energy, -294 dB: what is left is the rounding of the samples.
_ROUNDING = 4e-30
_MOST_ITERATIONS = 300
_MOST_PASSES = 6
# Iterations that ended at their limit and took no more than this share off what was left are not gone on with.
_CREEPING = 0.5
# The second step is repeated while it changes the size of a filter by more than this share.
_MOST_ROUNDS = 5
_SAME_SIZE = 0.05


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
    variance : (channels, references, bins), or None if no residual was measured or the equations have no spectra
        Of the response of every filter, bins from 0 to half the sample rate: ``E |H - H_true|^2``.
    density : (channels, bins), or None if no residual was measured
        Power spectral density of the residual, power of one sample in every bin.
    method : "cholesky" or "conjugate gradients"
    iterations : of conjugate gradients, all together
    passes : over the audio, to measure residuals
    ridge : relative to the energy of each reference; above ``TINY_RIDGE`` the references are nearly dependent
    spectral_ridge : (channels, references, bins), or None
        What was added for the noise that the residual shows.
    converged : bool
        Whether iterations ended because nothing was left to gain.
    correlation : (channels, channels, bins), or None
        Of the errors of one reference's responses in two channels; see `unsum.dsp.uncertainty.Spread`.
    deviations : or None
        What stretches of time did to the filters.
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
    correlation: NDArray[np.complex128] | None = None
    deviations: Deviations | None = None

    @property
    def null_db(self) -> float:
        """Residual over mixture, all channels together; 0 for a silent mixture, -inf for nothing left."""
        mixture, residual = float(np.sum(self.mixture_energy)), float(np.sum(self.residual_energy))
        if mixture == 0:
            return 0.0
        return 10 * float(np.log10(residual / mixture)) if residual > 0 else -np.inf


def least_squares_filters(
    equations: NormalEquations,
    *,
    residual: ResidualFunction | None = None,
    start: NDArray[np.float64] | None = None,
    ridge: float = TINY_RIDGE,
    spectral: bool = True,
    largest_dense: int = LARGEST_DENSE,
    max_iterations: int = _MOST_ITERATIONS,
    max_passes: int = _MOST_PASSES,
    worthwhile: float = WORTHWHILE,
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
        refinement, no second step and no variance; without spectra in the equations no second step and no variance.
    start : (channels, references, n_taps), optional
        Filters that are near the answer, as those of fewer taps or rows are: what they leave takes fewer iterations.
        A matrix that is factored, of up to ``largest_dense`` unknowns, needs none: it gives its answer as if there
        were no start.
    ridge : float
        Relative to the energy of each reference.
    spectral : bool
        Whether to take the second step when the residual calls for it.
    largest_dense : int
        Unknowns up to which the matrix is factored.
    max_iterations : of conjugate gradients for each solve
    max_passes : over the audio for refinement
    worthwhile : share of the residual energy that further iterations must promise
        To compare lengths of filters, less will do than for the last word.
    threads : all available cores if not given

    Raises
    ------
    ValueError
        If the problem is large and the equations have no spectra to precondition it with.
    """
    threads = threads or available_cores()
    solve_with = partial(
        solver_for,
        equations,
        ridge=ridge,
        largest_dense=largest_dense,
        max_iterations=max_iterations,
        worthwhile=worthwhile,
        threads=threads,
    )
    solver = solve_with()
    first = _first_filters(equations, solver, start, measured=residual is not None, threads=threads)
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
    fit, left = _refined(fit, solver, residual, max_passes=max_passes, worthwhile=worthwhile)
    if equations.spectra is None:
        return replace(fit, density=left.density)
    tiny = tiny_ridge(equations, solver.ridge)
    if spectral:
        fit, left = _shrunk_by_noise(
            fit,
            left,
            equations,
            residual,
            tiny,
            lambda wanted: solve_with(spectral=wanted),
            threads=threads,
        )
    total = np.broadcast_to(tiny[:, None], (len(tiny), left.density.shape[1]))
    if fit.spectral_ridge is not None:
        total = total + fit.spectral_ridge
    return replace(fit, variance=filter_variance(equations, left.density, total), density=left.density)


def _shrunk_by_noise(
    fit: FilterFit,
    left: Residual,
    equations: NormalEquations,
    residual: ResidualFunction,
    tiny: NDArray,
    solver: Callable[[NDArray], Solver],
    *,
    threads: int,
) -> tuple[FilterFit, Residual]:
    """The second step: solve again with the ridge that the noise asks for, until the filters keep their size.

    Filters that grew in silent bands make a poor prior of themselves; those of the next round a better one.
    """
    filters, wanted, iterations, converged = fit.filters, None, 0, fit.converged
    for rounds in range(_MOST_ROUNDS):
        ridge = noise_ridge(equations, filters, left.density, tiny)
        if not np.any(ridge > tiny[:, None]):
            break
        wanted = ridge
        start = _shrunk(equations, filters, wanted)
        slope, energy = _with_ridge(start, wanted, fit, left, equations, threads)
        if rounds:  # filters that were fitted with a ridge are often nearer than they are without what it forbids
            as_they_are = _with_ridge(filters, wanted, fit, left, equations, threads)
            nearer = as_they_are[1] < energy
            start = np.where(nearer[:, None, None], filters, start)
            slope = np.where(nearer[:, None, None], as_they_are[0], slope)
            energy = np.minimum(as_they_are[1], energy)
        step = solver(wanted)(slope, energy)
        before, filters = filters, start + step.filters
        iterations += step.iterations
        converged &= step.converged
        sizes = np.linalg.norm(before, axis=2), np.linalg.norm(filters, axis=2)
        if np.all(np.abs(sizes[1] - sizes[0]) <= _SAME_SIZE * sizes[0]):
            break
    if wanted is None:
        return fit, left
    left = residual(filters)
    fit = replace(
        fit,
        filters=filters,
        residual_energy=left.energy,
        iterations=fit.iterations + iterations,
        passes=fit.passes + 1,
        spectral_ridge=wanted,
        converged=converged,
    )
    return fit, left


def _with_ridge(
    filters: NDArray, ridge: NDArray, fit: FilterFit, left: Residual, equations: NormalEquations, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half the negative slope of what a fit with a ridge minimises, and its value (channels,), at some filters.

    From what the filters of a fit were measured to leave. Iterations are worth what they take off that value: filters
    without what the ridge forbids may leave ten times as much as those of the fit.
    """
    away = fit.filters - filters
    image, held = equations.matvec(away, threads=threads), apply_spectrum(ridge, filters)
    return left.rhs + image - held, left.energy + np.sum(away * (2 * left.rhs + image) + filters * held, axis=(1, 2))


def _first_filters(
    equations: NormalEquations, solver: Solver, start: NDArray[np.float64] | None, *, measured: bool, threads: int
) -> Solution:
    """The answer of the normal equations; a start that will be measured on the audio is taken as it is."""
    if start is None or solver.method == "cholesky":
        return _without_ridge(equations, solver, threads)
    if measured:
        return Solution(start, np.zeros(len(start)), 0, True)
    left = equations.residual_energy(start, threads=threads)
    step = solver(equations.rhs - equations.matvec(start, threads=threads), left, KNOWN * equations.mixture_energy)
    return replace(step, filters=start + step.filters)


def _without_ridge(equations: NormalEquations, solver: Solver, threads: int) -> Solution:
    """The solution, solved once more for what the ridge held back if that could be heard.

    It costs no pass over the audio, and one pass less is needed afterwards.
    """
    least = KNOWN * equations.mixture_energy
    first = solver(equations.rhs, equations.mixture_energy, least)
    held_back = np.einsum("ckp,k->c", first.filters**2, tiny_ridge(equations, solver.ridge))
    left = np.maximum(equations.mixture_energy - first.gain, least)
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
    fit: FilterFit, solver: Solver, residual: ResidualFunction, *, max_passes: int, worthwhile: float
) -> tuple[FilterFit, Residual]:
    """Refine while a pass over the audio has something to gain; at least one pass is made."""
    left = residual(fit.filters)
    fit = replace(fit, residual_energy=left.energy, passes=1)
    while fit.passes < max_passes and np.any(left.energy > _ROUNDING * fit.mixture_energy):
        step = solver(left.rhs, left.energy)
        fit = replace(fit, iterations=fit.iterations + step.iterations)
        if not np.any(step.gain > worthwhile * left.energy):
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
        creeping = not step.converged and not np.any(step.gain > _CREEPING * left.energy)
        if not np.all(better):
            # Channels that got no better keep their filters, so what was measured holds channel by channel.
            after = Residual(
                np.where(better[:, None, None], after.rhs, left.rhs),
                np.where(better, after.energy, left.energy),
                np.where(better[:, None], after.density, left.density),
                after.n_rows,
            )
        left = after
        if creeping:
            break
    return fit, left


def _shrunk(equations: NormalEquations, filters: NDArray, ridge: NDArray) -> NDArray[np.float64]:
    """Filters with what the ridge forbids taken out, band by band: a start that is not far from the end.

    Where references are silent a fit of noise is large beyond measure, and iterations would not take it back.
    """
    assert equations.spectra is not None
    signal = equations.n_rows * equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T
    n_fft = 2 * (ridge.shape[-1] - 1)
    total = signal + ridge
    kept = np.divide(signal, total, out=np.zeros_like(total), where=total > 0)  # a silent reference keeps nothing
    return irfft(rfft(filters, n_fft) * kept, n_fft)[..., : filters.shape[-1]]
