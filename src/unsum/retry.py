"""One more climb: what the caller asks of all of them, and the rungs along other warps than those first found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unsum.climb import Climb
from unsum.estimators.fir import Alignment
from unsum.estimators.listening import Listening
from unsum.estimators.split import Range, can_be_tested, split_time
from unsum.model import MixModel
from unsum.problem import Problem
from unsum.progress import Progress


@dataclass(frozen=True, slots=True)
class Settings:
    """What the caller asks for."""

    max_rung: str
    max_taps: int | None
    exclude: tuple[tuple[float, float], ...]
    own_clocks: bool
    progress: Progress | None


def along(model: MixModel, other: MixModel) -> MixModel:
    """A model with its references along the warps of another."""
    parts = {name: replace(part, warp=other.contributions[name].warp) for name, part in model.contributions.items()}
    return replace(model, contributions=parts)


def climb_along(problem: Problem, model: MixModel, settings: Settings, *, why: str) -> Climb | None:
    """The rungs with references along the warps of a model; None where none of them helps.

    Parameters
    ----------
    why : they begin anew, in words that follow "once more"
    """
    alignment = alignment_of(problem, model, settings.exclude)
    if not can_be_tested(alignment.segments):
        return None
    climb = Climb(problem, model, alignment, settings.progress)
    climb.all_rungs(settings.max_rung, max_taps=settings.max_taps)
    if not any(step.kept for step in climb.steps):
        return None
    climb.steps[0] = replace(climb.steps[0], begins=why)
    return climb


def lengths_of(problem: Problem, names: Sequence[str]) -> dict[str, int]:
    """Samples of some references of a problem whose sources are `Listening`."""
    return {r.name: r.heard().samples for r in problem.references if isinstance(r, Listening) and r.name in names}


def samples_of(problem: Problem) -> int:
    """Samples of the mixture of a problem whose sources are `Listening`."""
    assert isinstance(problem.mixture, Listening)
    return problem.mixture.heard().samples


def alignment_of(problem: Problem, model: MixModel, exclude: Sequence[tuple[float, float]]) -> Alignment:
    """The references of a model along its warps, and the rows in which they sound but for some seconds."""
    rate = model.sample_rate
    names = model.present
    warps = {name: model.contributions[name].warp for name in names}
    mixture = problem.mixture
    assert isinstance(mixture, Listening)
    segments = split_time(
        warps,
        lengths=lengths_of(problem, names),
        total=mixture.heard().samples,
        sample_rate=rate,
        clipped=mixture.heard().clipped,
        excluded=excluded_samples(exclude, rate),
    )
    return Alignment(names, warps, segments)


def excluded_samples(exclude: Sequence[tuple[float, float]], rate: int) -> list[Range]:
    """Ranges of seconds as ranges of samples."""
    return [(round(first * rate), round(last * rate)) for first, last in exclude]
