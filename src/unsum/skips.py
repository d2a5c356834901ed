"""The climb with references followed to where they skip: in what a silence leaves, the same song may play on."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from itertools import pairwise

from unsum.climb import Climb
from unsum.engine import ResidualSource
from unsum.estimators.clock_estimate import JUMPS, ClockEstimate
from unsum.estimators.clock_passages import fit_passages
from unsum.estimators.elsewhere import heard_elsewhere, with_passages
from unsum.estimators.likeliest import likeliest_passages
from unsum.estimators.location import Location
from unsum.estimators.presence import silenced, silences
from unsum.estimators.presence_ends import refined_ends
from unsum.estimators.repeats import at_their_repeats, warp_along
from unsum.estimators.split import Range, spans
from unsum.model import MixModel
from unsum.problem import Problem
from unsum.retry import Settings, along, climb_along, excluded_samples, lengths_of, samples_of

_WHY = "followed to where it skips"
# So often a reference is looked for where it was silent; each time filters and silences are better known.
_MOST_SEARCHES = 4
# A reference is one of repeats where the evidence for its place is less than this of that for the next best.
_REPEATS = 2.0
# What is found so surely has only to be no worse on held-out rows, few of which a short passage may have.
_NO_WORSE = 1.0001


def followed_elsewhere(
    problem: Problem,
    model: MixModel,
    climb: Climb,
    settings: Settings,
    locations: Mapping[str, Location],
    clocks: dict[str, ClockEstimate],
) -> tuple[Climb, Mapping[str, Sequence[Range]]]:
    """The climb along warps that follow references where they skip to, and where they are silent even so.

    Replaces the clocks of those that skip.

    Parameters
    ----------
    model : without filters
    """
    lengths = lengths_of(problem, climb.best.model.present)
    quiet = silences(problem, climb.best.model, lengths=lengths, progress=settings.progress)
    searched: dict[str, set[Range]] = {name: set() for name in lengths}
    for _ in range(_MOST_SEARCHES):
        new = {
            name: {*quiet.get(name, ()), *_between(problem, climb.best.model, name, length)} - searched[name]
            for name, length in lengths.items()
        }
        repeating = {name for name in lengths if locations[name].peak_to_side < _REPEATS}
        skipping = {name for name in lengths if new[name] or climb.best.model.contributions[name].warp.jumps}
        if not repeating and not skipping:
            break
        searched = {name: searched[name] | ranges for name, ranges in new.items()}
        moved = _with_other_places(problem, climb.best.model, quiet, new, repeating | skipping, settings, clocks)
        again = climb_along(problem, along(model, moved), settings, why=_WHY) if moved is not None else None
        if again is None or again.energy_left(again.best.model) > _NO_WORSE * again.energy_left(climb.best.model):
            break
        again.steps = [*climb.steps, *again.steps]
        climb, quiet = again, {}
        if climb.best.null_db == -math.inf:
            break
        quiet = silences(problem, climb.best.model, lengths=lengths, progress=settings.progress)
    return climb, quiet


def _between(problem: Problem, model: MixModel, name: str, length: int) -> list[Range]:
    """The ranges between those in which a reference sounds by its warp."""
    sounding = spans(model.contributions[name].warp, length, samples_of(problem), model.sample_rate)
    return [(before, after) for (_, before), (after, _) in pairwise(sounding)]


def _with_other_places(
    problem: Problem,
    model: MixModel,
    quiet: Mapping[str, Sequence[Range]],
    searched: Mapping[str, Set[Range]],
    suspects: Set[str],
    settings: Settings,
    clocks: dict[str, ClockEstimate],
) -> MixModel | None:
    """The model along warps with what is found of references in some ranges; None where nothing is.

    Parameters
    ----------
    quiet, searched : {reference: ranges} in which it is silent by what is heard, and that are searched for it
    suspects : references that may be heard elsewhere where they do not fall silent
    """
    samples, lengths, rate = samples_of(problem), lengths_of(problem, model.present), model.sample_rate
    silent = silenced(model, quiet, samples=samples)
    parts = dict(model.contributions)
    moved = False
    for reference in problem.references:
        name = reference.name
        part = parts[name]
        if name not in suspects or part.warp.bend is not None:
            continue
        others = {other: replace(one, present=one.present and other != name) for other, one in parts.items()}
        alone = ResidualSource(problem, replace(model, contributions=others))
        found = heard_elsewhere(ResidualSource(problem, silent), reference, part.warp, sorted(searched[name]))
        passages = likeliest_passages(alone, reference, part, found, length=lengths[name], progress=settings.progress)
        if not passages and found:
            known = silent.contributions[name].warp
            passages = with_passages(known, found, samples=samples, length=lengths[name], sample_rate=rate)
        if not passages:
            continue
        passages = at_their_repeats(alone, reference, passages, part)
        both = samples, lengths[name]
        if part.warp.clock_ppm == 0:
            clock = replace(clocks[name], warp=warp_along(passages), kind=JUMPS)
        else:
            excluded = excluded_samples(settings.exclude, rate)
            clock = fit_passages(
                alone, reference, passages, both, excluded=excluded, known=part, progress=settings.progress
            )
        if clock is not None:
            clocks[name] = clock
            parts[name] = replace(part, warp=clock.warp)
            moved = True
    found = refined_ends(problem, replace(model, contributions=parts)) if moved else model
    same = all(found.contributions[name].warp == part.warp for name, part in model.contributions.items())
    return None if same else found
