"""Gains, short filters and seconds-long filters: one least-squares problem at three lengths.

All lengths up to the longest of a pass share its statistics; the order is the
shortest that nothing longer beats on held-out samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import null_depth_db
from unsum.dsp.deviations import Deviations, widening_of_leverage
from unsum.dsp.linear_solvers import WORTHWHILE, solver_for
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.residuals import Residual, ResidualPass
from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.dsp.solvers import LARGEST_DENSE, FilterFit, least_squares_filters
from unsum.dsp.statistics import Statistics
from unsum.dsp.threads import available_cores
from unsum.dsp.uncertainty import measured_spread
from unsum.engine import aligned_blocks, reach_of, stacked
from unsum.estimators.gain import GainMeter
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import Problem, as_float
from unsum.progress import Progress

# A longer filter must be worth this much on samples it was not fitted to. Small: a tenth of a decibel of
# what is left is a reference 16 dB below the talk, which one hears.
WORTH_DB = 0.01
# Notes hold for a fraction of a second, so what stretches of time as long do to the filters is nearly independent.
_LEAST_STRETCH_SECONDS = 0.5
_FEWEST_STRETCHES, _MOST_STRETCHES = 8, 16
# Unknowns times channels from which on every stretch more costs memory.
_LARGE = 1 << 18
# From here on what every stretch does costs as much as the fit, and random sums of them are solved for.
_COSTLY, _RANDOM_SUMS = 1 << 15, 4
# Share of the energy of a deviation, or of what is left of a mix that is nearly silent, that further iterations must
# promise.
_ROUGHLY = 1e-3
# Share of the residual energy, 0.001 dB, that comparing lengths of filters needs to know.
_TELLING = 2e-4
# Share of what chance alone explains, that iterations for the last word on filters must promise.
_OF_CHANCE = 1e-3
# Below this the sums of large numbers no longer tell what is left; longer filters are then tried on the samples
# themselves for as long as each is better than the last by so much.
_TOLD_BY_SUMS_DB = -130.0
_DEEPER_DB = 1.0


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which references take part, and where: what every pass over the audio needs.

    Attributes
    ----------
    names : the references, in the order their channels are stacked
    warps : {name: where the mixture lies in it}
    segments : the rows that count, fitted and held out
    """

    names: tuple[str, ...]
    warps: Mapping[str, TimeWarp]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class OrderChoice:
    """Filters of the chosen length, and what they leave on held-out samples."""

    equations: NormalEquations
    held_out: NormalEquations
    fit: FilterFit
    null_db: float
    tried: tuple[tuple[int, float], ...] = ()  # taps, held-out null depth in dB


def gather(
    problem: Problem,
    alignment: Alignment,
    *,
    first_lag: int,
    n_taps: int,
    gains: GainMeter | None = None,
    progress: Progress | None = None,
) -> dict[int, NormalEquations]:
    """The normal equations of the fitted and the held-out rows, in one pass over the audio.

    Parameters
    ----------
    gains : also fed, if given
    """
    before, after = reach_of([(n_taps, first_lag)])
    statistics = Statistics(
        n_references=_rows(problem, alignment.names),
        n_channels=len(problem.mixture.channels),
        first_lag=first_lag,
        n_taps=n_taps,
        segments=alignment.segments,
        reference_start=-before,
        silent_before=True,
        silent_after=True,
    )
    blocks = aligned_blocks(problem, alignment.warps, before=before, after=after, progress=progress, what="measuring")
    for block in blocks:
        mixture, references = as_float(block.mixture, problem.mixture.bits), stacked(problem, block, alignment.names)
        statistics.add(mixture, references)
        if gains is not None and block.length:
            gains.add(block.start, mixture, references)
    return statistics.finish()


def measure_residual(
    problem: Problem, alignment: Alignment, filters: NDArray[np.float64], *, first_lag: int, part: int = FIT
) -> Residual:
    """What filters leave on the rows of one part, in one pass over the audio."""
    before, after = reach_of([(filters.shape[2], first_lag)])
    measured = ResidualPass(
        filters,
        first_lag=first_lag,
        segments=alignment.segments,
        correlate=part == FIT,
        reference_start=-before,
        silent_before=True,
        silent_after=True,
    )
    for block in aligned_blocks(problem, alignment.warps, before=before, after=after):
        measured.add(as_float(block.mixture, problem.mixture.bits), stacked(problem, block, alignment.names))
    return measured.finish()[part]


def choose_order(
    problem: Problem,
    alignment: Alignment,
    equations: Mapping[int, NormalEquations],
    candidates: Sequence[tuple[int, int]],
    near: FilterFit | None = None,
) -> OrderChoice:
    """The shortest of some filters within `WORTH_DB` of the best on held-out rows.

    Where nearly nothing is left, as of mixes in floating point, the equations cannot tell one length from another:
    the filters are then refined and judged on the audio.

    Parameters
    ----------
    equations : {part: equations} of one pass
    candidates : (first_lag, n_taps), in growing order; each within the lags of the pass
    near : shorter filters of an earlier pass, from which large problems start
    """
    fitted, held = equations[FIT], equations[HELD_OUT]
    choices: list[OrderChoice] = []
    deep: list[OrderChoice] = []
    for first_lag, n_taps in candidates:
        small = fitted.restrict(first_lag=first_lag, n_taps=n_taps)
        test = held.restrict(first_lag=first_lag, n_taps=n_taps)
        start = _padded(choices[-1].fit, small) if choices else near and _padded(near, small)
        choice = None if deep and start is not None else _judged_by_sums(small, test, start)
        if choice is None or choice.null_db < _TOLD_BY_SUMS_DB:
            choice = _judged_on_audio(problem, alignment, small, test, choice.fit.filters if choice else start)
            deep.append(choice)
        small.release()
        test.release()
        choices.append(choice)
        if len(deep) > 1 and not deep[-1].null_db < deep[-2].null_db - _DEEPER_DB:
            break
    tried = tuple((choice.equations.n_taps, choice.null_db) for choice in choices)
    if len(deep) > 1:
        deeper = deep[-1].null_db < deep[-2].null_db - _DEEPER_DB
        return replace(deep[-1] if deeper else deep[-2], tried=tried)
    best = min(choice.null_db for choice in choices)
    return replace(next(choice for choice in choices if choice.null_db <= best + WORTH_DB), tried=tried)


def _padded(fit: FilterFit, equations: NormalEquations) -> NDArray[np.float64] | None:
    """Filters with silence around them, as long as those of the equations; None where they are others or longer."""
    if fit.filters.shape[:2] != equations.rhs.shape[:2]:
        return None
    before = fit.first_lag - equations.first_lag
    after = equations.n_taps - before - fit.filters.shape[2]
    return np.pad(fit.filters, ((0, 0), (0, 0), (before, after))) if min(before, after) >= 0 else None


def _judged_by_sums(
    equations: NormalEquations, held_out: NormalEquations, start: NDArray[np.float64] | None
) -> OrderChoice:
    """The filters as the equations have them, and what those of the held-out samples say they leave."""
    fit = least_squares_filters(equations, start=start, worthwhile=_TELLING)
    left = float(np.sum(held_out.residual_energy(fit.filters)))
    return OrderChoice(equations, held_out, fit, null_depth_db(left, float(np.sum(held_out.mixture_energy))))


def _judged_on_audio(
    problem: Problem,
    alignment: Alignment,
    equations: NormalEquations,
    held_out: NormalEquations,
    start: NDArray[np.float64] | None,
) -> OrderChoice:
    """The filters refined on the samples they are fitted to, and judged on the held-out samples themselves."""
    first_lag = equations.first_lag

    def residual(filters: NDArray[np.float64]) -> Residual:
        return measure_residual(problem, alignment, filters, first_lag=first_lag)

    fit = least_squares_filters(equations, residual=residual, start=start, spectral=False, worthwhile=_ROUGHLY)
    left = measure_residual(problem, alignment, fit.filters, first_lag=first_lag, part=HELD_OUT)
    depth = null_depth_db(float(np.sum(left.energy)), float(np.sum(held_out.mixture_energy)))
    return OrderChoice(equations, held_out, fit, depth)


def refine(problem: Problem, alignment: Alignment, choice: OrderChoice) -> FilterFit:
    """The chosen filters once more, on the rows fitted and held out together, refined on the audio itself.

    Their variance is what the residual of each stretch of time does to them; see `unsum.dsp.uncertainty` and
    `unsum.dsp.deviations`.
    """
    both = _all_rows(problem, alignment, choice)
    stretches = _stretches(problem, alignment, both)
    by_stretch: list[Residual] = []

    def residual(filters: NDArray[np.float64]) -> Residual:
        by_stretch[:] = _residual_by_stretch(problem, stretches, filters, first_lag=both.first_lag)
        return _joined(by_stretch)

    worthwhile = max(WORTHWHILE, _OF_CHANCE * both.n_unknowns / max(both.n_rows, 1))
    fit = least_squares_filters(both, residual=residual, start=choice.fit.filters, worthwhile=worthwhile)
    if fit.variance is None or len(by_stretch) < _FEWEST_STRETCHES:
        return fit
    moved = _deviations(both, fit, by_stretch)
    spread = measured_spread(fit.variance, moved.filters)
    return replace(fit, variance=spread.variance, correlation=spread.correlation, deviations=moved)


def _all_rows(problem: Problem, alignment: Alignment, choice: OrderChoice) -> NormalEquations:
    """The equations of the rows fitted and held out together.

    Every segment costs an iteration two transforms or more: of large problems they are gathered once more, with what is
    fitted and what is held out side by side in one.
    """
    both = choice.equations + choice.held_out
    if both.n_unknowns * both.n_channels < _LARGE:
        return both
    joined: list[Segment] = []
    for one in sorted(alignment.segments, key=lambda segment: segment.start):
        if joined and joined[-1].stop == one.start:
            joined[-1] = Segment(joined[-1].start, one.stop)
        else:
            joined.append(Segment(one.start, one.stop))
    whole = replace(alignment, segments=tuple(joined))
    return gather(problem, whole, first_lag=both.first_lag, n_taps=both.n_taps)[FIT]


def _stretches(problem: Problem, alignment: Alignment, equations: NormalEquations) -> Alignment:
    """The rows cut into stretches of time of the same length, each a part of its own."""
    n_rows = sum(segment.stop - segment.start for segment in alignment.segments)
    count = n_rows // round(_LEAST_STRETCH_SECONDS * problem.mixture.sample_rate)
    large = equations.n_unknowns * equations.n_channels > _LARGE
    count = max(1, min(count, _FEWEST_STRETCHES if large else _MOST_STRETCHES))
    length = -(-n_rows // count)
    segments, done = [], 0
    for segment in sorted(alignment.segments, key=lambda one: one.start):
        start = segment.start
        while start < segment.stop:
            stop = min(segment.stop, start + length - done % length)
            segments.append(Segment(start, stop, done // length))
            done += stop - start
            start = stop
    return replace(alignment, segments=tuple(segments))


def _residual_by_stretch(
    problem: Problem, stretches: Alignment, filters: NDArray[np.float64], *, first_lag: int
) -> list[Residual]:
    before, after = reach_of([(filters.shape[2], first_lag)])
    measured = ResidualPass(
        filters,
        first_lag=first_lag,
        segments=stretches.segments,
        reference_start=-before,
        silent_before=True,
        silent_after=True,
        power=True,
    )
    for block in aligned_blocks(problem, stretches.warps, before=before, after=after):
        measured.add(as_float(block.mixture, problem.mixture.bits), stacked(problem, block, stretches.names))
    return list(measured.finish().values())


def _joined(parts: Sequence[Residual]) -> Residual:
    """The residual of all stretches together."""
    n_rows = sum(part.n_rows for part in parts)
    return Residual(
        np.sum([part.rhs for part in parts], axis=0),
        np.sum([part.energy for part in parts], axis=0),
        np.sum([part.density * part.n_rows for part in parts], axis=0) / max(n_rows, 1),
        n_rows,
    )


def _deviations(equations: NormalEquations, fit: FilterFit, parts: Sequence[Residual]) -> Deviations:
    """What the residual of every stretch does to the filters.

    Of large problems, random sums of them: each has the same covariance as all of them have together.
    """
    assert fit.variance is not None and fit.density is not None and equations.spectra is not None
    whole = np.sum([part.rhs for part in parts], axis=0) / sum(part.n_rows for part in parts)
    scores = np.array([part.rhs - part.n_rows * whole for part in parts])
    scores *= math.sqrt(len(parts) / (len(parts) - 1))
    solver = solver_for(
        equations,
        ridge=fit.ridge,
        spectral=fit.spectral_ridge,
        largest_dense=LARGEST_DENSE,
        worthwhile=_ROUGHLY,
        threads=available_cores(),
    )
    freedom = float(len(parts) - 1)  # one went into the mean
    if equations.n_unknowns * equations.n_channels > _COSTLY:
        signs = np.random.default_rng(len(parts)).choice([-1.0, 1.0], (_RANDOM_SUMS, len(parts)))
        # The sums have something in common, and so fewer degrees of freedom than there are of them (Satterthwaite).
        centred = signs - signs.mean(axis=1, keepdims=True)
        common = centred @ centred.T
        freedom = float(np.trace(common) ** 2 / np.sum(common**2))
        scores = np.tensordot(signs / math.sqrt(_RANDOM_SUMS), scores, axes=1)
    # Of what a deviation explains of the residual, which is about its own share of the energy, or more.
    explained = equations.n_unknowns / max(equations.n_rows, 1) * fit.residual_energy
    filters = np.array([solver(score, explained, _ROUGHLY * explained).filters for score in scores])
    signal = equations.n_rows * equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T
    noise = equations.n_taps * fit.density[:, None]
    known = np.divide(signal * fit.variance, noise, out=np.ones_like(fit.variance), where=noise > 0)
    power = np.array([part.power for part in parts])
    return Deviations(filters, widening_of_leverage(power, np.minimum(known, 1.0)), fit.variance, freedom)


def with_filters(problem: Problem, model: MixModel, alignment: Alignment, fit: FilterFit) -> MixModel:
    """The model with the filters of a fit, shared out among its references."""
    contributions = dict(model.contributions)
    row = 0
    sizes = {reference.name: len(reference.channels) for reference in problem.references}
    for name in alignment.names:
        own = fit.filters[:, row : row + sizes[name]]
        row += sizes[name]
        contributions[name] = replace(model.contributions[name], filters=own, first_lag=fit.first_lag, exact_gains={})
    return replace(model, contributions=contributions)


def _rows(problem: Problem, names: Sequence[str]) -> int:
    return sum(len(reference.channels) for reference in problem.references if reference.name in names)


def empty_contribution(problem: Problem, name: str) -> Contribution:
    """A reference that contributes nothing."""
    channels = next(len(reference.channels) for reference in problem.references if reference.name == name)
    return Contribution(present=False, filters=np.zeros((len(problem.mixture.channels), channels, 1)))
