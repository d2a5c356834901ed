"""From a problem to an analysis: where the references are, whose clock they follow, and the rungs.

Every rung is judged by the null depth it reaches on samples it was not fitted to.
One that does not help there is undone. Before any of them, exact subtraction is
tried, and it wins where nothing fitted does better: then the result is the
missing signal, bit for bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from unsum.analysis import Analysis, ReferenceFinding, Step
from unsum.climb import EXACT_LOSES_DB, RUNGS, Climb
from unsum.dsp.transforms import rfft
from unsum.echoes import with_late_echoes
from unsum.engine import ResidualSource
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.fir import Alignment, empty_contribution
from unsum.estimators.late_echo import folded
from unsum.estimators.listening import Listening
from unsum.estimators.locate import Location, late_beginnings, locate_references
from unsum.estimators.split import can_be_tested
from unsum.hearing import where_heard
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import AudioSource, Problem
from unsum.progress import Progress
from unsum.retry import Settings, alignment_of, excluded_samples, lengths_of, samples_of

# Once the loudest are taken out, softer ones may be heard; each time at least one more.
_MOST_LOOKS = 3
# A track is heard if its response is so many standard deviations above what noise makes of it.
_SURE_DEVIATIONS = 5.0
# Share of a filter's energy from which on it is a gain and a delay.
_ONE_TAP = 0.95


def analyse(
    problem: Problem,
    *,
    max_rung: str = "reverb",
    max_taps: int | None = None,
    exclude: Sequence[tuple[float, float]] = (),
    speed: float | str | None = None,
    together: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """Find how each reference went into the mixture.

    Parameters
    ----------
    max_rung : the last rung to try, one of `RUNGS`
    max_taps : of the longest filter to try; as many as the audio can tell if not given
    exclude : ranges of mixture time in seconds that nothing is fitted to
    speed : at which the references were played, as `locate_references` takes it
    together : the references are the tracks of a mix
        They begin with it and share its clock unless they cannot be heard so; only those are searched for.

    Returns
    -------
    analysis : Analysis
        With no reference present in its model where none was found; never worse than the mixture itself.
    """
    settings = Settings(max_rung, max_taps, tuple(exclude), not together, progress)
    problem = Problem(Listening(problem.mixture), tuple(Listening(reference) for reference in problem.references))
    if together:
        return _tracks(problem, settings)
    located = locate_references(problem.mixture, problem.references, speed=speed, progress=progress)
    return _searched(problem, dict(located), settings)


def _searched(problem: Problem, locations: dict[str, Location], settings: Settings) -> Analysis:
    """The analysis with the references where they were found, and with softer ones that are heard beneath those."""
    clocks: dict[str, ClockEstimate] = {}
    analysis = _climbed(problem, locations, clocks, settings)
    for _ in range(_MOST_LOOKS - 1):
        missing = [reference for reference in problem.references if not locations[reference.name].present]
        if not missing or not analysis.model.present:
            break
        heard = _beneath(problem, analysis.model, missing, settings.progress)
        if not heard:
            break
        locations |= heard
        analysis = _climbed(problem, locations, clocks, settings)
    return analysis


def _tracks(problem: Problem, settings: Settings) -> Analysis:
    """The analysis of tracks that begin with their mix, but for those that are not heard there or clearly later."""
    locations = {reference.name: _at_the_start(reference) for reference in problem.references}
    locations |= _begun_late(problem, [r for r in problem.references if locations[r.name].present], settings.progress)
    analysis = _climbed(problem, locations, {}, settings)
    unheard = [name for name in analysis.model.present if not _is_heard(analysis, name)]
    unheard = unheard or ([] if analysis.model.present else [n for n, one in locations.items() if one.present])
    if not unheard:
        return analysis
    found = analysis.model
    parts = {
        name: replace(part, present=part.present and name not in unheard) for name, part in found.contributions.items()
    }
    missing = [reference for reference in problem.references if reference.name in unheard]
    heard = _beneath(problem, replace(found, contributions=parts), missing, settings.progress)
    nowhere = Location(0, present=False, confidence=0.99, remarks=("it is not heard in the mixture",))
    return _climbed(problem, locations | dict.fromkeys(unheard, nowhere) | heard, {}, settings)


def _begun_late(problem: Problem, references: Sequence[AudioSource], progress: Progress | None) -> dict[str, Location]:
    """Where tracks lie that leave room in the mix to begin later, and do."""
    lengths, room = lengths_of(problem, [one.name for one in references]), samples_of(problem)
    shorter = [one for one in references if lengths[one.name] < room]
    return late_beginnings(problem.mixture, shorter, progress=progress) if shorter else {}


def _at_the_start(reference: AudioSource) -> Location:
    assert isinstance(reference, Listening)
    if not np.any(reference.heard().energy):
        return Location(0, present=False, confidence=1.0, remarks=(f"{reference.name} is silent",))
    return Location(0, present=True, confidence=1.0, remarks=("begins with the mixture",))


def _is_heard(analysis: Analysis, name: str) -> bool:
    """Whether the filters of a reference are surely more than what noise makes of them.

    The energy of noise in a response has the mean ``sum w V`` and the variance ``r sum w^2 (2 |H|^2 V + V^2)`` with the
    reference's spectrum w, the response's variance V and the r neighbouring bins that one tap makes alike.
    """
    response = analysis.responses.get(name)
    if response is None:  # no filters were fitted: simple gains are there or not
        return bool(analysis.model.contributions[name].exact_gains)
    filters = analysis.model.contributions[name].filters
    n_fft = 2 * (response.variance.shape[2] - 1)
    energy = np.abs(rfft(filters, n_fft)) ** 2
    weights = response.power / np.maximum(response.power.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    above = float(np.sum(weights * (energy - response.variance)))
    each = 2 * energy * response.variance + response.variance**2
    return above > _SURE_DEVIATIONS * math.sqrt(n_fft / filters.shape[2] * float(np.sum(weights**2 * each)))


def _beneath(
    problem: Problem, model: MixModel, missing: Sequence[AudioSource], progress: Progress | None
) -> dict[str, Location]:
    """Where references are heard once those of a model are taken out."""
    softer = locate_references(ResidualSource(problem, model), missing, speed="own", progress=progress)
    return {name: location for name, location in softer.items() if location.present}


def _climbed(
    problem: Problem, locations: Mapping[str, Location], clocks: dict[str, ClockEstimate], settings: Settings
) -> Analysis:
    """The analysis with the references at the places that were found; fills in the clocks that are not known yet."""
    model = MixModel(
        problem.mixture.sample_rate,
        problem.mixture.channels,
        {name: _located(problem, name, location) for name, location in locations.items()},
    )
    findings = {name: _finding(location) for name, location in locations.items()}
    if not model.present:
        return Analysis(model, (), findings, 0.0, problem.mixture.samples or 0)
    alignment = alignment_of(problem, model, settings.exclude)
    if not can_be_tested(alignment.segments):
        return _nothing(problem, model, findings, (), "too short to test what is fitted on other samples")
    if settings.own_clocks and RUNGS.index(settings.max_rung) >= RUNGS.index("clock"):
        for reference in problem.references:
            name = reference.name
            if locations[name].present and name not in clocks:
                clocks[name] = fit_clock(
                    problem.mixture,
                    reference,
                    locations[name],
                    excluded=excluded_samples(settings.exclude, model.sample_rate),
                    progress=settings.progress,
                )
    findings = {name: _timed(finding, clocks.get(name)) for name, finding in findings.items()}
    climb = _climb(problem, model, alignment, _warped(problem, model, clocks, settings.exclude), settings)
    # Filters may be good where a reference plays, and yet no help in all, as long as it is subtracted from its pauses.
    if any(step.kept for step in climb.steps) or climb.suppose_the_nearest():
        climb = where_heard(problem, model, climb, settings, locations, clocks)
    if not any(step.kept for step in climb.steps):
        why = "nothing that was fitted helped on samples it was not fitted to"
        return _nothing(problem, model, findings, tuple(climb.steps), why)
    climb.limits += _uneven(climb.best.model, clocks)
    # Tracks of a mix have delays behind them; of a song in a room, what comes so late is no echo of it.
    wanted = not settings.own_clocks and RUNGS.index(settings.max_rung) >= RUNGS.index("reverb")
    climb, echoes = with_late_echoes(climb) if wanted else (climb, ())
    analysis = climb.conclude({name: _timed(finding, clocks.get(name)) for name, finding in findings.items()})
    return folded(analysis, echoes) if echoes else analysis


def _uneven(model: MixModel, clocks: Mapping[str, ClockEstimate]) -> tuple[str, ...]:
    """What to say of references whose clock is known to run off the line along which they were followed."""
    return tuple(
        f"the clock of {name} does not run evenly against the mixture's, and neither jumps nor a bend explain it: "
        "where it runs off, it is not taken out, and a copy at the wrong time may be added"
        for name in model.present
        if name in clocks and clocks[name].uneven
    )


def _climb(
    problem: Problem,
    model: MixModel,
    alignment: Alignment,
    warped: tuple[MixModel, Alignment] | None,
    settings: Settings,
) -> Climb:
    """All rungs, and exact subtraction once more where the place was a few samples off."""
    if warped is not None:
        # Both are judged on the same rows: those in which the references sound by their own clocks.
        alignment = replace(alignment, segments=warped[1].segments)
    climb = Climb(problem, model, alignment, settings.progress)
    climb.all_rungs(settings.max_rung, max_taps=settings.max_taps, warped=warped)
    nearer = _nearer(climb.best.model) if warped is None and any(step.kept for step in climb.steps) else None
    if nearer is not None:
        # One tap does nearly all, but not at lag 0: the place was a few samples off, and exact subtraction missed it.
        there = alignment_of(problem, nearer, settings.exclude)
        again = Climb(problem, nearer, there, settings.progress)
        if can_be_tested(there.segments):
            again.all_rungs("exact")
        if again.steps and again.steps[0].kept and again.best.null_db < climb.best.null_db + EXACT_LOSES_DB:
            first = replace(again.steps[0], begins="some samples nearer")
            again.steps = [*climb.steps, first, *again.steps[1:]]
            return again
    return climb


def _nearer(model: MixModel) -> MixModel | None:
    """The model with its references moved to where their filters put them; None where nothing moves or much spreads."""
    parts = dict(model.contributions)
    moved = False
    for name in model.present:
        part = parts[name]
        energy = np.sum(part.filters**2, axis=(0, 1))
        peak = int(np.argmax(energy))
        if energy[peak] < _ONE_TAP * energy.sum():
            return None
        lag = part.first_lag + peak
        moved |= lag != 0
        delay = part.warp.delay_seconds + lag / model.sample_rate
        empty = np.zeros((*part.filters.shape[:2], 1))
        parts[name] = replace(part, warp=TimeWarp(delay), filters=empty, first_lag=0, exact_gains={})
    return replace(model, contributions=parts) if moved else None


def _nothing(
    problem: Problem, model: MixModel, findings: Mapping[str, ReferenceFinding], steps: tuple[Step, ...], why: str
) -> Analysis:
    """The analysis of a mixture that is best left as it is."""
    absent = replace(model, contributions={name: empty_contribution(problem, name) for name in model.contributions})
    told = {
        name: replace(finding, reason=why) if name in model.present else finding for name, finding in findings.items()
    }
    return Analysis(absent, steps, told, 0.0, problem.mixture.samples or 0)


def _located(problem: Problem, name: str, location: Location) -> Contribution:
    empty = empty_contribution(problem, name)
    if not location.present:
        return empty
    return replace(empty, present=True, warp=TimeWarp(location.delay_samples / problem.mixture.sample_rate))


def _finding(location: Location) -> ReferenceFinding:
    reason = "; ".join(location.remarks) or ("found" if location.present else "not found")
    return ReferenceFinding(None, location.confidence, reason)


def _timed(finding: ReferenceFinding, clock: ClockEstimate | None) -> ReferenceFinding:
    """The finding with how sure delay and clock are."""
    if clock is None or not math.isfinite(clock.delay_stderr_samples):
        return finding
    sure = clock.clock_stderr_ppm if math.isfinite(clock.clock_stderr_ppm) else None
    return replace(finding, delay_stderr_samples=clock.delay_stderr_samples, clock_stderr_ppm=sure)


def _warped(
    problem: Problem, model: MixModel, clocks: Mapping[str, ClockEstimate], exclude: Sequence[tuple[float, float]]
) -> tuple[MixModel, Alignment] | None:
    """The model on the time lines that the clocks give; None where all run evenly."""
    rate = model.sample_rate
    if all(clock.warp.whole_samples(rate) is not None for clock in clocks.values()):
        return None
    contributions = dict(model.contributions)
    for name, clock in clocks.items():
        if clock.warp.whole_samples(rate) is None:
            contributions[name] = replace(contributions[name], warp=clock.warp)
    timed = replace(model, contributions=contributions)
    alignment = alignment_of(problem, timed, exclude)
    return (timed, alignment) if can_be_tested(alignment.segments) else None
