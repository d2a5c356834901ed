"""The climb without the silences of what plays: where a reference is clearly not heard, nothing is fitted to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unsum.climb import EXACT_LOSES_DB, RUNGS, Climb
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.fir import Alignment
from unsum.estimators.listening import Listening
from unsum.estimators.locate import Location
from unsum.estimators.presence import silenced, silences
from unsum.estimators.presence_ends import refined_ends
from unsum.estimators.split import can_be_tested, split_time
from unsum.model import MixModel
from unsum.problem import Problem
from unsum.progress import Progress

# Silences are looked for so often, each time with filters that were fitted without those found before.
_MOST_PRESENCE_LOOKS = 2
# Ends that move by less need no other filters; silences may cost this much of what is left where the references sound.
_ENDS_MOVE_SECONDS, _NO_WORSE = 0.1, 1.02


@dataclass(frozen=True, slots=True)
class Settings:
    """What the caller asks for."""

    max_rung: str
    max_taps: int | None
    exclude: tuple[tuple[float, float], ...]
    own_clocks: bool
    progress: Progress | None


def where_heard(
    problem: Problem,
    model: MixModel,
    climb: Climb,
    settings: Settings,
    locations: Mapping[str, Location],
    clocks: dict[str, ClockEstimate],
) -> Climb:
    """The climb, or another one with its references silent where they are clearly not heard.

    Clocks that were fitted to such silences are fitted again, without them.
    """
    if not settings.own_clocks or RUNGS.index(settings.max_rung) < RUNGS.index("clock"):
        return climb
    if climb.best.null_db == -math.inf:
        return climb
    lengths = lengths_of(problem, climb.best.model.present)
    known = climb.best.model
    before: Mapping[str, Sequence[tuple[int, int]]] = {}
    for _ in range(_MOST_PRESENCE_LOOKS):
        # Filters that were fitted to silence are too weak: once it is left out, they tell its ends again, and better.
        sounding = _along(climb.best.model, known)
        quiet = silences(problem, sounding, lengths=lengths, progress=settings.progress)
        if not quiet:
            break
        if not before:
            known = _timed_without(problem, known, quiet, settings, locations, clocks)
            sounding = _along(climb.best.model, known)
        timed = refined_ends(problem, silenced(sounding, quiet, samples=samples_of(problem)))
        if _nearly_the_same(quiet, before, round(_ENDS_MOVE_SECONDS * model.sample_rate)):
            climb.go_over(timed)
            break
        again = _climb_along(problem, _along(model, timed), settings)
        if again is None or again.energy_left(again.best.model) > _NO_WORSE * again.energy_left(climb.best.model):
            break
        first = replace(again.steps[0], remarks=(*again.steps[0].remarks, *_in_words(quiet, model.sample_rate)))
        again.steps = [*climb.steps, first, *again.steps[1:]]
        climb, before = again, quiet
    if any(part.warp.jumps for part in climb.best.model.contributions.values()):
        climb.go_over(refined_ends(problem, climb.best.model))
        return _exactly_from_jump_to_jump(problem, climb, settings)
    return climb


def _timed_without(
    problem: Problem,
    known: MixModel,
    quiet: Mapping[str, Sequence[tuple[int, int]]],
    settings: Settings,
    locations: Mapping[str, Location],
    clocks: dict[str, ClockEstimate],
) -> MixModel:
    """The model along clocks that silences no longer bend; replaces those in ``clocks``."""
    parts = dict(known.contributions)
    rate = known.sample_rate
    for reference in problem.references:
        name = reference.name
        clock = clocks.get(name)
        if name not in quiet or clock is None or clock.warp.jumps or parts[name].warp != clock.warp:
            continue
        excluded = [(round(a * rate), round(b * rate)) for a, b in settings.exclude]
        found = fit_clock(
            problem.mixture,
            reference,
            locations[name],
            excluded=[*excluded, *quiet[name]],
            progress=settings.progress,
        )
        if not found.warp.jumps and math.isfinite(found.delay_stderr_samples):
            clocks[name] = found
            parts[name] = replace(parts[name], warp=found.warp)
    return replace(known, contributions=parts)


def _nearly_the_same(
    ranges: Mapping[str, Sequence[tuple[int, int]]], others: Mapping[str, Sequence[tuple[int, int]]], samples: int
) -> bool:
    """Whether references are silent in the same ranges, to so many samples."""
    if ranges.keys() != others.keys() or any(len(own) != len(others[name]) for name, own in ranges.items()):
        return False
    ends = [(np.ravel(own), np.ravel(others[name])) for name, own in ranges.items()]
    return all(bool(np.all(np.abs(one - other) <= samples)) for one, other in ends)


def _in_words(quiet: Mapping[str, Sequence[tuple[int, int]]], rate: int) -> list[str]:
    return [
        f"{name} is not heard from {start / rate:.3f} to {stop / rate:.3f} s"
        for name, ranges in quiet.items()
        for start, stop in ranges
    ]


def _exactly_from_jump_to_jump(problem: Problem, climb: Climb, settings: Settings) -> Climb:
    """Exact subtraction once more: with jumps some samples off, filters had been better."""
    model = climb.best.model
    parts = [model.contributions[name] for name in model.present]
    rate = model.sample_rate
    if all(part.exact_gains for part in parts) or any(part.warp.whole_stretches(rate) is None for part in parts):
        return climb
    empty = {
        name: replace(part, exact_gains={}, filters=0 * part.filters[:, :, :1], first_lag=0)
        for name, part in model.contributions.items()
    }
    again = _climb_along(problem, replace(model, contributions=empty), replace(settings, max_rung="exact"))
    if again is None or again.best.null_db >= climb.best.null_db + EXACT_LOSES_DB:
        return climb
    again.go_over(refined_ends(problem, again.best.model))
    again.steps = [*climb.steps, *again.steps]
    return again


def _along(model: MixModel, other: MixModel) -> MixModel:
    """A model with its references along the warps of another."""
    parts = {name: replace(part, warp=other.contributions[name].warp) for name, part in model.contributions.items()}
    return replace(model, contributions=parts)


def _climb_along(problem: Problem, model: MixModel, settings: Settings) -> Climb | None:
    """The rungs with references along the warps of a model; None where none of them helps."""
    alignment = alignment_of(problem, model, settings.exclude)
    if not can_be_tested(alignment.segments):
        return None
    climb = Climb(problem, model, alignment, settings.progress)
    climb.all_rungs(settings.max_rung, max_taps=settings.max_taps)
    return climb if any(step.kept for step in climb.steps) else None


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
        excluded=[(round(a * rate), round(b * rate)) for a, b in exclude],
    )
    return Alignment(names, warps, segments)
