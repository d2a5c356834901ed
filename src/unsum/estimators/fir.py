"""Gains, short filters and seconds-long filters: one least-squares problem at three lengths.

All lengths up to the longest of a pass share its statistics; the order is the
shortest that nothing longer beats on held-out samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import null_depth_db
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.residuals import Residual, ResidualPass
from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.dsp.solvers import FilterFit, least_squares_filters
from unsum.dsp.statistics import Statistics
from unsum.engine import Progress, aligned_blocks, reach_of, stacked
from unsum.estimators.gain import GainMeter
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import Problem, as_float

# A longer filter must be worth this much on samples it was not fitted to. Small: a tenth of a decibel of
# what is left is a reference 16 dB below the talk, which one hears.
WORTH_DB = 0.01
# Share of the residual energy, 0.001 dB, that comparing lengths of filters needs to know.
_TELLING = 2e-4
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
) -> OrderChoice:
    """The shortest of some filters within `WORTH_DB` of the best on held-out rows.

    Where nearly nothing is left, as of mixes in floating point, the equations cannot tell one length from another:
    the filters are then refined and judged on the audio.

    Parameters
    ----------
    equations : {part: equations} of one pass
    candidates : (first_lag, n_taps), in growing order; each within the lags of the pass
    """
    fitted, held = equations[FIT], equations[HELD_OUT]
    choices: list[OrderChoice] = []
    deep: list[OrderChoice] = []
    for first_lag, n_taps in candidates:
        small = fitted.restrict(first_lag=first_lag, n_taps=n_taps)
        test = held.restrict(first_lag=first_lag, n_taps=n_taps)
        fit = least_squares_filters(small, worthwhile=_TELLING)
        left = float(np.sum(test.residual_energy(fit.filters)))
        choice = OrderChoice(small, test, fit, null_depth_db(left, float(np.sum(test.mixture_energy))))
        if choice.null_db < _TOLD_BY_SUMS_DB:
            choice = _judged_on_audio(problem, alignment, choice)
            deep.append(choice)
        choices.append(choice)
        if len(deep) > 1 and not deep[-1].null_db < deep[-2].null_db - _DEEPER_DB:
            break
    tried = tuple((choice.equations.n_taps, choice.null_db) for choice in choices)
    if len(deep) > 1:
        return replace(choices[-2] if deep[-2].null_db <= deep[-1].null_db + _DEEPER_DB else choices[-1], tried=tried)
    best = min(choice.null_db for choice in choices)
    return replace(next(choice for choice in choices if choice.null_db <= best + WORTH_DB), tried=tried)


def _judged_on_audio(problem: Problem, alignment: Alignment, choice: OrderChoice) -> OrderChoice:
    """The filters refined on the samples they are fitted to, and judged on the held-out samples themselves."""
    first_lag = choice.equations.first_lag

    def residual(filters: NDArray[np.float64]) -> Residual:
        return measure_residual(problem, alignment, filters, first_lag=first_lag)

    fit = least_squares_filters(choice.equations, residual=residual)
    left = measure_residual(problem, alignment, fit.filters, first_lag=first_lag, part=HELD_OUT)
    depth = null_depth_db(float(np.sum(left.energy)), float(np.sum(choice.held_out.mixture_energy)))
    return replace(choice, fit=fit, null_db=depth)


def refine(problem: Problem, alignment: Alignment, choice: OrderChoice) -> FilterFit:
    """The chosen filters once more, on the rows fitted and held out together, refined on the audio itself."""
    everything = replace(
        alignment, segments=tuple(Segment(segment.start, segment.stop, FIT) for segment in alignment.segments)
    )
    both = choice.equations + choice.held_out

    def residual(filters: NDArray[np.float64]) -> Residual:
        return measure_residual(problem, everything, filters, first_lag=both.first_lag)

    return least_squares_filters(both, residual=residual)


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
