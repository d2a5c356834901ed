"""The climb with references followed to where they skip: in what a silence leaves, the same song may play on."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from itertools import pairwise

from unsum.climb import Climb
from unsum.dsp.rows import HELD_OUT
from unsum.engine import ResidualSource
from unsum.estimators.clock import fit_clock
from unsum.estimators.clock_estimate import JUMPS, ClockEstimate
from unsum.estimators.clock_passages import fit_passages
from unsum.estimators.elsewhere import heard_elsewhere, with_passages, worth_searching
from unsum.estimators.likeliest import likeliest_passages
from unsum.estimators.location import Location, Passage
from unsum.estimators.presence import silenced, silences
from unsum.estimators.presence_ends import refined_ends
from unsum.estimators.repeats import at_their_repeats, warp_along
from unsum.estimators.split import Range, spans
from unsum.model import Contribution, MixModel
from unsum.problem import AudioSource, Problem
from unsum.retry import Settings, along, climb_along, excluded_samples, lengths_of, samples_of

_WHY = "followed to where it skips"
# So often a reference is looked for where it was silent; each time filters and silences are better known.
_MOST_SEARCHES = 4
# So far from a silence or a jump it may show that the reference has skipped.
_BESIDE_SECONDS = 10.0
# A reference is one of repeats where the evidence for its place is less than this of that for the next best.
_REPEATS = 2.0
# What is found so surely has only to be no worse on held-out rows.
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

    Replaces the clocks of those that skip, where that is kept. A reference whose clock bends is left as it is.

    Parameters
    ----------
    model : without filters
    """
    lengths = lengths_of(problem, climb.best.model.present)
    doubted = {name for name in lengths if locations[name].peak_to_side < _REPEATS or clocks[name].uneven}
    given = {name: _other_passages(locations[name], climb.best.model.contributions[name]) for name in lengths}
    quiet = silences(problem, climb.best.model, lengths=lengths, progress=settings.progress)
    searched: dict[str, set[Range]] = {name: set() for name in lengths}
    for _ in range(_MOST_SEARCHES):
        found = climb.best.model
        unheard = {
            name: _joined({*quiet.get(name, ()), *_between(problem, found, name, length)}) - searched[name]
            for name, length in lengths.items()
        }
        suspect = {
            name: None if name in doubted else ranges
            for name, ranges in _doubtful(found, unheard).items()
            if (ranges or given[name] or name in doubted) and found.contributions[name].warp.bend is None
        }
        if not suspect:
            break
        chosen = {name: worth_searching(unheard[name], problem.mixture) for name in suspect}
        searched = {name: ranges.union(chosen.get(name, ())) for name, ranges in searched.items()}
        fitted = _clocks_elsewhere(problem, found, quiet, chosen, given, suspect, settings)
        moved = _along_clocks(problem, found, fitted)
        again = None if moved is None else climb_along(problem, along(model, moved), settings, why=_WHY)
        if again is None or not _is_better(again, found):
            break
        clocks |= fitted
        given = dict.fromkeys(lengths, ())
        again.steps = [*climb.steps, *again.steps]
        climb, quiet = again, {}
        if climb.best.null_db == -math.inf:
            break
        quiet = silences(problem, climb.best.model, lengths=lengths, progress=settings.progress)
    return climb, quiet


def _other_passages(location: Location, part: Contribution) -> tuple[Passage, ...]:
    """The passages of a search, where the clock could follow but one of them."""
    return location.passages if len(location.passages) > 1 and not part.warp.jumps else ()


def _is_better(climb: Climb, model: MixModel) -> bool:
    """Whether a climb leaves less than a model does, and no more of what it was not fitted to.

    A short passage may have no held-out rows at all.
    """
    new, old = climb.energies_left(climb.best.model), climb.energies_left(model)
    return sum(new.values()) < sum(old.values()) and new[HELD_OUT] <= _NO_WORSE * old[HELD_OUT]


def _between(problem: Problem, model: MixModel, name: str, length: int) -> list[Range]:
    """The ranges between those in which a reference sounds by its warp."""
    sounding = spans(model.contributions[name].warp, length, samples_of(problem), model.sample_rate)
    return [(before, after) for (_, before), (after, _) in pairwise(sounding)]


def _joined(ranges: Set[Range]) -> set[Range]:
    """The same ranges, those that overlap as one."""
    out: list[Range] = []
    for start, stop in sorted(ranges):
        if out and start < out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return set(out)


def _doubtful(model: MixModel, unheard: Mapping[str, Set[Range]]) -> dict[str, list[Range]]:
    """What lies around silences, and around jumps: there a reference may have skipped elsewhere."""
    rate = model.sample_rate
    beside = round(_BESIDE_SECONDS * rate)
    out = {}
    for name, ranges in unheard.items():
        jumps = [round(jump.at_seconds * rate) for jump in model.contributions[name].warp.jumps]
        out[name] = [(a - beside, b + beside) for a, b in [*sorted(ranges), *((at, at) for at in jumps)]]
    return out


def _along_clocks(problem: Problem, model: MixModel, clocks: Mapping[str, ClockEstimate]) -> MixModel | None:
    """The model along other clocks, with jumps where the audio goes over; None where nothing changes."""
    parts = {
        name: replace(part, warp=clocks[name].warp) if name in clocks else part
        for name, part in model.contributions.items()
    }
    moved = refined_ends(problem, replace(model, contributions=parts)) if clocks else model
    same = all(moved.contributions[name].warp == part.warp for name, part in model.contributions.items())
    return None if same else moved


def _clocks_elsewhere(
    problem: Problem,
    model: MixModel,
    quiet: Mapping[str, Sequence[Range]],
    unheard: Mapping[str, Sequence[Range]],
    given: Mapping[str, Sequence[Passage]],
    suspect: Mapping[str, Sequence[Range] | None],
    settings: Settings,
) -> dict[str, ClockEstimate]:
    """The clocks of references that are heard at other places than the model has them.

    Parameters
    ----------
    quiet : {reference: ranges} in which it is silent by what is heard
    unheard : {reference: ranges} in which it is searched
    given : {reference: passages} that are known already
    suspect : {reference: ranges} in which it may be heard elsewhere without falling silent; None for everywhere
    """
    samples, lengths = samples_of(problem), lengths_of(problem, model.present)
    silent = silenced(model, quiet, samples=samples)
    left = ResidualSource(problem, silent)
    out: dict[str, ClockEstimate] = {}
    for reference in problem.references:
        name = reference.name
        if name not in suspect:
            continue
        part = model.contributions[name]
        others = {
            other: replace(one, present=one.present and other != name) for other, one in silent.contributions.items()
        }
        alone = ResidualSource(problem, replace(model, contributions=others))
        both = samples, lengths[name]
        found = (*given[name], *heard_elsewhere(left, reference, part.warp, unheard[name]))
        passages = likeliest_passages(
            alone, reference, part, found, lengths=both, suspect=suspect[name], progress=settings.progress
        )
        if not passages and len(found) > len(given[name]):
            known = silent.contributions[name].warp
            passages = with_passages(
                known, found[len(given[name]) :], samples=samples, length=both[1], sample_rate=model.sample_rate
            )
        if passages:
            passages = at_their_repeats(alone, reference, passages, part)
            clock = _clock_along(alone, reference, part, passages, both, settings)
            out |= {} if clock is None else {name: clock}
    return out


def _clock_along(
    mixture: AudioSource,
    reference: AudioSource,
    part: Contribution,
    passages: Sequence[Passage],
    lengths: tuple[int, int],
    settings: Settings,
) -> ClockEstimate | None:
    """One clock for passages of a reference; None where it cannot be told.

    Parameters
    ----------
    mixture : without the other references
    part : whose filters tell where passages end
    lengths : samples of the mixture and of the reference
    """
    rate = mixture.sample_rate
    excluded, progress = excluded_samples(settings.exclude, rate), settings.progress
    if len(passages) == 1:
        (only,) = passages
        delay = round(only.delay_seconds * rate)
        place = Location(delay, present=True, confidence=1.0, clock_ppm=only.clock_ppm, passages=(only,))
        return fit_clock(mixture, reference, place, excluded=excluded, progress=progress)
    if part.warp.clock_ppm:
        return fit_passages(mixture, reference, passages, lengths, excluded=excluded, known=part, progress=progress)
    # Passages of a second are too short to be followed; their places are known all the same.
    warp = warp_along(passages)
    return ClockEstimate(warp, JUMPS, warp.delay_seconds * rate, math.inf, 0.0, math.inf, 0.0, 0.0)
