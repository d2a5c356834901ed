"""Which rungs run, in which order, and when one is kept.

Every rung is judged by the null depth it reaches on samples it was not fitted to.
One that does not help there is undone. Before any of them, subtraction in integers
is tried, and it wins where nothing fitted does better: then the result is the
missing signal, bit for bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unsum.analysis import Analysis, ReferenceFinding, Response, Step, null_depth_db
from unsum.dsp.dependence import dependent_references
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.rows import FIT, HELD_OUT
from unsum.engine import Progress, subtract
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.fir import (
    Alignment,
    OrderChoice,
    choose_order,
    empty_contribution,
    gather,
    refine,
    with_filters,
)
from unsum.estimators.gain import gain_matrix, simple_gains
from unsum.estimators.listening import Listening
from unsum.estimators.locate import Location, locate_reference
from unsum.estimators.split import can_be_tested, split_time
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import Problem, as_float

RUNGS = ("exact", "gain", "fir", "clock", "reverb")

# A rung is kept if it gains this much on held-out samples.
KEPT_DB = 0.02
# Integers win unless something fitted is better by more than this: independent sounds on top
# of them make any fit a little worse than the truth, never better.
EXACT_LOSES_DB = 0.01

Order = tuple[int, int]  # first lag, taps
# A filter needs this many fitted rows for each of its taps.
_ROWS_PER_TAP = 16
_SHORT_ORDERS: tuple[Order, ...] = ((-2, 5), (-8, 17), (-16, 48), (-32, 128), (-64, 256), (-64, 512))
# Taps behind the arrival of the sound; ahead of it go `_LEAD_SECONDS`: in a room the strongest path is not the first.
_ROOM_TAPS = (1024, 2048, 4096, 8192)
_LONG_TAPS = (32768, 65536)
_LEAD_SECONDS = 0.03
# Beyond so many unknowns the middle orders are not tried one by one.
_MANY_UNKNOWNS = 1 << 17
_GAIN_TOLERANCE = 0.02
# Share of the energy below which the difference of large numbers is not trusted.
_CANCELLED = 1e-9


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
    locations = {
        reference.name: locate_reference(problem.mixture, reference, progress=progress)
        for reference in problem.references
    }
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
    clocks = _clocks(problem, locations, progress) if RUNGS.index(max_rung) >= RUNGS.index("clock") else {}
    findings = {name: _timed(finding, clocks.get(name)) for name, finding in findings.items()}
    warped = _warped(problem, model, clocks, exclude)
    if warped is not None:
        # Both are judged on the same rows: those in which the references sound by their own clocks.
        alignment = replace(alignment, segments=warped[1].segments)
    climb = _Climb(problem, model, alignment, progress)
    climb.all_rungs(max_rung, warped=warped)
    if not any(step.kept for step in climb.steps):
        why = "nothing that was fitted helped on samples it was not fitted to"
        return _nothing(problem, model, findings, tuple(climb.steps), why)
    return climb.conclude(findings)


@dataclass(frozen=True, slots=True)
class _State:
    """The best so far: what it leaves of the held-out samples in dB, and the fit it came from."""

    model: MixModel
    null_db: float
    choice: OrderChoice | None


class _Climb:
    """Rung after rung on one problem."""

    def __init__(self, problem: Problem, model: MixModel, alignment: Alignment, progress: Progress | None) -> None:
        self.problem, self.alignment, self.progress = problem, alignment, progress
        self.base = model  # what is located and timed, without filters
        self.steps: list[Step] = []
        self.best = _State(model, 0.0, None)
        self.channels = {r.name: len(r.channels) for r in problem.references if r.name in alignment.names}
        self.limits: tuple[str, ...] = ()

    def all_rungs(self, max_rung: str, *, warped: tuple[MixModel, Alignment] | None) -> None:
        """Integers, gains and filters up to a room's, all from one pass; seconds-long ones where those help.

        Parameters
        ----------
        warped : the model and alignment with the clocks that were found, None where all of them agree
        """
        last = RUNGS.index(max_rung)
        n_rows = sum(s.stop - s.start for s in self.alignment.segments if s.part == FIT)
        rooms = self._orders(n_rows, _room_orders(self.problem)) if last >= RUNGS.index("reverb") else []
        short = self._orders(n_rows, _SHORT_ORDERS)
        equations = self._gathered(short if warped else short + rooms)
        self.limits = self._dependences(equations[FIT])
        gain = choose_order(equations, [(0, 1)])
        exact = self._exact(equations, gain)
        if exact is not None:
            self._judge("exact", *exact, None)
            if self.best.null_db == -math.inf:
                return
        if last >= RUNGS.index("gain"):
            self._judge("gain", *self._filtered(gain), gain)
        if last >= RUNGS.index("fir"):
            self._fitted("fir", equations, short)
        if warped is not None:
            equations = self._timed(warped, short + rooms)
        if rooms:
            self._fitted("reverb", equations, rooms)
            self._seconds_long(n_rows)

    def _gathered(self, orders: Sequence[Order]) -> dict[int, NormalEquations]:
        first_lag = min(0, *(lag for lag, _ in orders))
        stop = max(lag + taps for lag, taps in orders)
        return gather(
            self.problem, self.alignment, first_lag=first_lag, n_taps=stop - first_lag, progress=self.progress
        )

    def _timed(self, warped: tuple[MixModel, Alignment], orders: list[Order]) -> dict[int, NormalEquations]:
        """The equations with the clocks corrected, or without where that does not help."""
        straight = self.base, self.alignment
        self.base, self.alignment = warped
        equations = self._gathered(orders)
        self._fitted("clock", equations, [order for order in orders if order in _SHORT_ORDERS])
        if self.steps[-1].kept:
            return equations
        self.base, self.alignment = straight
        return self._gathered(orders)

    def _orders(self, n_rows: int, orders: Sequence[Order]) -> list[Order]:
        """Those that the rows can tell, the shortest first; one at least if they are short ones."""
        n_references = sum(self.channels.values())
        known = [order for order in orders if n_rows >= _ROWS_PER_TAP * order[1] * n_references]
        many = [order for order in known if order[1] * n_references > _MANY_UNKNOWNS]
        known = [order for order in known if order not in many[1:]]
        return known or list(orders[:1] if orders is _SHORT_ORDERS else [])

    def _fitted(self, rung: str, equations: Mapping[int, NormalEquations], orders: list[Order]) -> None:
        choice = choose_order(equations, orders)
        taps = ", ".join(f"{n} taps {depth:.2f} dB" for n, depth in choice.tried)
        self._judge(rung, *self._filtered(choice), choice, taps)

    def _seconds_long(self, n_rows: int) -> None:
        """Filters of seconds, each longer than the last, while the longest so far was the best."""
        lead = round(_LEAD_SECONDS * self.problem.mixture.sample_rate)
        for n_taps in _LONG_TAPS:
            longest = self.best.choice.fit.filters.shape[2] if self.best.choice else 0
            if longest < n_taps // 8 or n_rows < _ROWS_PER_TAP * n_taps * sum(self.channels.values()):
                return
            equations = gather(
                self.problem, self.alignment, first_lag=-lead, n_taps=lead + n_taps, progress=self.progress
            )
            self._fitted("reverb", equations, [(-lead, lead + n_taps // 2), (-lead, lead + n_taps)])
            if not self.steps[-1].kept:
                return

    def _filtered(self, choice: OrderChoice) -> tuple[float, MixModel]:
        return choice.null_db, with_filters(self.problem, self.base, self.alignment, choice.fit)

    def _exact(self, equations: Mapping[int, NormalEquations], gain: OrderChoice) -> tuple[float, MixModel] | None:
        bits = self.problem.mixture.bits
        references = [r for r in self.problem.references if r.name in self.alignment.names]
        if bits is None or any(r.bits is None or r.bits > bits for r in references):
            return None
        rate = self.problem.mixture.sample_rate
        if any(warp.whole_samples(rate) is None for warp in self.alignment.warps.values()):
            return None
        simple = simple_gains(gain.fit.filters[..., 0], tolerance=_GAIN_TOLERANCE, reference_channels=self.channels)
        if simple is None or not all(simple.values()):
            return None
        filters = gain_matrix(simple, n_channels=len(self.problem.mixture.channels), reference_channels=self.channels)
        contributions = dict(self.base.contributions)
        row = 0
        for name, gains in simple.items():
            own = filters[:, row : row + self.channels[name]]
            row += self.channels[name]
            contributions[name] = replace(contributions[name], filters=own, first_lag=0, exact_gains=gains)
        model = replace(self.base, contributions=contributions)
        test = equations[HELD_OUT].restrict(first_lag=0, n_taps=1)
        mixture, left = float(np.sum(test.mixture_energy)), float(np.sum(test.residual_energy(filters)))
        if left < _CANCELLED * mixture:
            left = self._measured(model)
        return null_depth_db(left, mixture), model

    def _measured(self, model: MixModel) -> float:
        """Energy of the residual on held-out samples, by subtracting: exact where sums of large numbers are not."""
        held = [segment for segment in self.alignment.segments if segment.part == HELD_OUT]
        energy = 0.0
        for block in subtract(self.problem, model):
            for segment in held:
                a, b = max(segment.start - block.start, 0), segment.stop - block.start
                if a < min(b, block.residual.shape[1]):
                    energy += float(np.sum(as_float(block.residual[:, a:b], self.problem.mixture.bits) ** 2))
        return energy

    def _judge(self, rung: str, depth: float, model: MixModel, choice: OrderChoice | None, remark: str = "") -> None:
        before = self.best.null_db
        is_exact = any(part.exact_gains for part in self.best.model.contributions.values())
        better = before - depth
        needed = EXACT_LOSES_DB if is_exact else KEPT_DB
        kept = not math.isnan(better) and better > needed  # nan: both leave nothing
        self.steps.append(Step(rung, kept, before, depth, (remark,) if remark else ()))
        if kept:
            self.best = _State(model, depth, choice)

    def _dependences(self, equations: NormalEquations) -> tuple[str, ...]:
        """References that others make up; the channels of one reference may well be alike."""
        if len(self.channels) < 2:
            return ()
        owners = [name for name, count in self.channels.items() for _ in range(count)]
        found = dependent_references(equations)
        between = [one for one in found if any(owners[other] != owners[one.reference] for other in one.others)]
        return tuple(dict.fromkeys(one.in_words(owners) for one in between))

    def conclude(self, findings: Mapping[str, ReferenceFinding]) -> Analysis:
        """Refine what was kept on all samples."""
        model, choice = self.best.model, self.best.choice
        responses: dict[str, Response] = {}
        null_db = self.best.null_db
        if choice is not None:
            fit = refine(self.problem, self.alignment, choice)
            model = with_filters(self.problem, model, self.alignment, fit)
            null_db = fit.null_db
            assert fit.variance is not None and choice.equations.spectra is not None
            power = choice.equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T
            row = 0
            for name, count in self.channels.items():
                own = slice(row, row + count)
                responses[name] = Response(power[own], fit.variance[:, own])
                row += count
        return Analysis(
            model,
            tuple(self.steps),
            findings,
            null_db,
            self.problem.mixture.samples or 0,
            limits=self.limits,
            responses=responses,
        )


def _room_orders(problem: Problem) -> tuple[Order, ...]:
    lead = round(_LEAD_SECONDS * problem.mixture.sample_rate)
    return tuple((-lead, lead + n) for n in _ROOM_TAPS)


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


def _clocks(problem: Problem, locations: Mapping[str, Location], progress: Progress | None) -> dict[str, ClockEstimate]:
    """The clock of every reference that is present."""
    return {
        reference.name: fit_clock(problem.mixture, reference, locations[reference.name], progress=progress)
        for reference in problem.references
        if locations[reference.name].present
    }


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
