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
    tried: tuple[tuple[int, float], ...]  # taps, held-out null depth in dB


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
    equations: Mapping[int, NormalEquations],
    candidates: Sequence[tuple[int, int]],
) -> OrderChoice:
    """The shortest of some filters within `WORTH_DB` of the best on held-out rows.

    Parameters
    ----------
    equations : {part: equations} of one pass
    candidates : (first_lag, n_taps), in growing order; each within the lags of the pass
    """
    fitted, held = equations[FIT], equations[HELD_OUT]
    choices = []
    for first_lag, n_taps in candidates:
        small = fitted.restrict(first_lag=first_lag, n_taps=n_taps)
        test = held.restrict(first_lag=first_lag, n_taps=n_taps)
        fit = least_squares_filters(small, worthwhile=_TELLING)
        left = float(np.sum(test.residual_energy(fit.filters)))
        depth = null_depth_db(left, float(np.sum(test.mixture_energy)))
        choices.append((small, test, fit, depth))
    best = min(choice[3] for choice in choices)
    small, test, fit, depth = next(choice for choice in choices if choice[3] <= best + WORTH_DB)
    tried = tuple((choice[0].n_taps, choice[3]) for choice in choices)
    return OrderChoice(small, test, fit, depth, tried)


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
