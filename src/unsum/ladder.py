"""From a problem to an analysis: where the references are, whose clock they follow, and the rungs.

Every rung is judged by the null depth it reaches on samples it was not fitted to.
One that does not help there is undone. Before any of them, exact subtraction is
tried, and it wins where nothing fitted does better: then the result is the
missing signal, bit for bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unsum.analysis import Analysis, ReferenceFinding, Step
from unsum.climb import RUNGS, Climb
from unsum.engine import Progress, ResidualSource
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.fir import Alignment, empty_contribution
from unsum.estimators.listening import Listening
from unsum.estimators.locate import Location, locate_references
from unsum.estimators.split import can_be_tested, split_time
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import Problem

# Once the loudest are taken out, softer ones may be heard; each time at least one more.
_MOST_LOOKS = 3


def analyse(
    problem: Problem,
    *,
    max_rung: str = "reverb",
    exclude: Sequence[tuple[float, float]] = (),
    progress: Progress | None = None,
) -> Analysis:
    """Find how each reference went into the mixture.

    Parameters
    ----------
    max_rung : the last rung to try, one of `RUNGS`
    exclude : ranges of mixture time in seconds that nothing is fitted to

    Returns
    -------
    analysis : Analysis
        With no reference present in its model where none was found; never worse than the mixture itself.
    """
    problem = Problem(Listening(problem.mixture), tuple(Listening(reference) for reference in problem.references))
    locations = dict(locate_references(problem.mixture, problem.references, progress=progress))
    clocks: dict[str, ClockEstimate] = {}
    for look in range(_MOST_LOOKS):
        analysis = _climbed(problem, locations, clocks, max_rung, exclude, progress)
        missing = [reference for reference in problem.references if not locations[reference.name].present]
        if not missing or not analysis.model.present or look == _MOST_LOOKS - 1:
            break
        residual = ResidualSource(problem, analysis.model)
        softer = locate_references(residual, missing, speeds=False, progress=progress)
        heard = {name: location for name, location in softer.items() if location.present}
        if not heard:
            break
        locations |= heard
    return analysis


def _climbed(
    problem: Problem,
    locations: Mapping[str, Location],
    clocks: dict[str, ClockEstimate],
    max_rung: str,
    exclude: Sequence[tuple[float, float]],
    progress: Progress | None,
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
    alignment = _alignment(problem, model, exclude)
    if not can_be_tested(alignment.segments):
        return _nothing(problem, model, findings, (), "too short to test what is fitted on other samples")
    if RUNGS.index(max_rung) >= RUNGS.index("clock"):
        for reference in problem.references:
            name = reference.name
            if locations[name].present and name not in clocks:
                clocks[name] = fit_clock(problem.mixture, reference, locations[name], progress=progress)
    findings = {name: _timed(finding, clocks.get(name)) for name, finding in findings.items()}
    warped = _warped(problem, model, clocks, exclude)
    if warped is not None:
        # Both are judged on the same rows: those in which the references sound by their own clocks.
        alignment = replace(alignment, segments=warped[1].segments)
    climb = Climb(problem, model, alignment, progress)
    climb.all_rungs(max_rung, warped=warped)
    if not any(step.kept for step in climb.steps):
        why = "nothing that was fitted helped on samples it was not fitted to"
        return _nothing(problem, model, findings, tuple(climb.steps), why)
    return climb.conclude(findings)


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
    alignment = _alignment(problem, timed, exclude)
    return (timed, alignment) if can_be_tested(alignment.segments) else None


def _alignment(problem: Problem, model: MixModel, exclude: Sequence[tuple[float, float]]) -> Alignment:
    rate = model.sample_rate
    names = model.present
    warps = {name: model.contributions[name].warp for name in names}
    mixture = problem.mixture
    assert isinstance(mixture, Listening)
    lengths = {r.name: r.heard().samples for r in problem.references if isinstance(r, Listening) and r.name in names}
    segments = split_time(
        warps,
        lengths=lengths,
        total=mixture.heard().samples,
        sample_rate=rate,
        clipped=mixture.heard().clipped,
        excluded=[(round(a * rate), round(b * rate)) for a, b in exclude],
    )
    return Alignment(names, warps, segments)
