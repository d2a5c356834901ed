"""The climb without the silences of what plays: where a reference is clearly not heard, nothing is fitted to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unsum.climb import EXACT_LOSES_DB, RUNGS, Climb
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.fades import fades
from unsum.estimators.locate import Location
from unsum.estimators.presence import silenced, silences
from unsum.estimators.presence_ends import refined_ends
from unsum.estimators.split import Range
from unsum.model import MixModel
from unsum.problem import Problem
from unsum.retry import Settings, along, climb_along, excluded_samples, lengths_of, samples_of
from unsum.skips import followed_elsewhere

# Silences are looked for so often, each time with filters that were fitted without those found before.
_MOST_PRESENCE_LOOKS = 2
# Ends that move by less need no other filters; silences may cost this much of what is left where the references sound.
_ENDS_MOVE_SECONDS, _NO_WORSE = 0.1, 1.02


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
    climb, quiet = followed_elsewhere(problem, model, climb, settings, locations, clocks)
    known = climb.best.model
    lengths = lengths_of(problem, known.present)
    before: Mapping[str, Sequence[Range]] = {}
    for look in range(_MOST_PRESENCE_LOOKS):
        # Filters that were fitted to silence are too weak: once it is left out, they tell its ends again, and better.
        sounding = along(climb.best.model, known)
        if look:
            quiet = silences(problem, sounding, lengths=lengths, progress=settings.progress)
        if not quiet:
            break
        if not before:
            known = _timed_without(problem, known, quiet, settings, locations, clocks)
            sounding = along(climb.best.model, known)
        timed = refined_ends(problem, silenced(sounding, quiet, samples=samples_of(problem)))
        if _nearly_the_same(quiet, before, round(_ENDS_MOVE_SECONDS * model.sample_rate)):
            climb.go_over(timed)
            break
        again = climb_along(problem, along(model, timed), settings, why="without where it is not heard")
        if again is None or again.energy_left(again.best.model) > _NO_WORSE * again.energy_left(climb.best.model):
            break
        first = replace(again.steps[0], remarks=(*again.steps[0].remarks, *_in_words(quiet, model.sample_rate)))
        again.steps = [*climb.steps, first, *again.steps[1:]]
        climb, before = again, quiet
    if before:
        climb.limits += _faded(problem, along(climb.best.model, known), before, settings)
    if any(part.warp.jumps for part in climb.best.model.contributions.values()):
        climb.go_over(refined_ends(problem, climb.best.model))
        return _exactly_from_jump_to_jump(problem, climb, settings)
    return climb


def _timed_without(
    problem: Problem,
    known: MixModel,
    quiet: Mapping[str, Sequence[Range]],
    settings: Settings,
    locations: Mapping[str, Location],
    clocks: dict[str, ClockEstimate],
) -> MixModel:
    """The model along clocks that silences no longer bend; replaces those in ``clocks``."""
    parts = dict(known.contributions)
    for reference in problem.references:
        name = reference.name
        clock = clocks.get(name)
        if name not in quiet or clock is None or clock.warp.jumps or parts[name].warp != clock.warp:
            continue
        found = fit_clock(
            problem.mixture,
            reference,
            locations[name],
            excluded=[*excluded_samples(settings.exclude, known.sample_rate), *quiet[name]],
            progress=settings.progress,
        )
        if not found.warp.jumps and math.isfinite(found.delay_stderr_samples):
            clocks[name] = found
            parts[name] = replace(parts[name], warp=found.warp)
    return replace(known, contributions=parts)


def _nearly_the_same(
    ranges: Mapping[str, Sequence[Range]], others: Mapping[str, Sequence[Range]], samples: int
) -> bool:
    """Whether references are silent in the same ranges, to so many samples."""
    if ranges.keys() != others.keys() or any(len(own) != len(others[name]) for name, own in ranges.items()):
        return False
    ends = [(np.ravel(own), np.ravel(others[name])) for name, own in ranges.items()]
    return all(bool(np.all(np.abs(one - other) <= samples)) for one, other in ends)


def _in_words(quiet: Mapping[str, Sequence[Range]], rate: int) -> list[str]:
    return [
        f"{name} is not heard from {start / rate:.3f} to {stop / rate:.3f} s"
        for name, ranges in quiet.items()
        for start, stop in ranges
    ]


def _faded(
    problem: Problem, sounding: MixModel, quiet: Mapping[str, Sequence[Range]], settings: Settings
) -> tuple[str, ...]:
    """What to say of references that fall silent by and by: softer is not silent.

    Parameters
    ----------
    sounding : the model in which they sound also where they are silent
    """
    return tuple(
        f"{name} fades {'out' if fade.out else 'in'} from about {fade.start_seconds:.1f} to {fade.stop_seconds:.1f} s: "
        "where it is louder than about half it is taken out at its full level, where it is softer it is left in"
        for name, each in fades(problem, sounding, quiet, progress=settings.progress).items()
        for fade in each
    )


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
    again = climb_along(
        problem, replace(model, contributions=empty), replace(settings, max_rung="exact"), why="from jump to jump"
    )
    if again is None or again.best.null_db >= climb.best.null_db + EXACT_LOSES_DB:
        return climb
    again.go_over(refined_ends(problem, again.best.model))
    again.steps = [*climb.steps, *again.steps]
    return again
