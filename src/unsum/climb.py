"""The rungs: integers, gains, filters, clocks, rooms; each kept only if it helps on samples it was not fitted to."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis, ReferenceFinding, Response, Step, null_depth_db
from unsum.dsp.dependence import dependent_references
from unsum.dsp.deviations import Deviations
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.rows import FIT, HELD_OUT
from unsum.engine import subtract
from unsum.estimators.chance import by_chance_db
from unsum.estimators.fir import Alignment, OrderChoice, choose_order, gather, refine, with_filters
from unsum.estimators.gain import GainMeter, Gains, gain_matrix, simple_gains
from unsum.estimators.orders import (
    LONG_SECONDS,
    ROOM_TAPS,
    ROWS_PER_TAP,
    SHORT_ORDERS,
    Order,
    ahead_of_the_end,
    lead_samples,
    long_is_told,
    orders_told,
    room_orders,
)
from unsum.model import MixModel
from unsum.problem import Problem, as_float
from unsum.progress import Progress

RUNGS = ("exact", "gain", "fir", "clock", "reverb")

# A rung is kept if it gains this much on held-out samples.
KEPT_DB = 0.02
# Exact subtraction wins unless something fitted is better by more than this: gains do not come that near to simple
# numbers by chance, while long filters predict a little of anything tonal.
EXACT_LOSES_DB = 0.1

_NEAR_ROUNDING_DB, _MOST_TAKEN = 1.0, 0.5
# What is left is worth a word where it is louder than this.
_TOLD_DB = -60.0
# An echo that is heard in what the best filters leave takes about that much off what others leave, not several times.
_HOPELESS_DB = 10 * math.log10(4)
# Share of the energy below which the difference of large numbers is not trusted.
_CANCELLED = 1e-9


@dataclass(frozen=True, slots=True)
class _State:
    """The best so far: what it leaves of the held-out samples in dB, and the fit it came from."""

    model: MixModel
    null_db: float
    choice: OrderChoice | None


class Climb:
    """Rung after rung on one problem."""

    def __init__(self, problem: Problem, model: MixModel, alignment: Alignment, progress: Progress | None) -> None:
        self.problem, self.alignment, self.progress = problem, ahead_of_the_end(problem, alignment), progress
        self.max_taps = math.inf
        self.base = model  # what is located and timed, without filters
        self.steps: list[Step] = []
        self.best = _State(model, 0.0, None)
        self._nearest: _State | None = None  # of what was not kept, what leaves least
        self.channels = {r.name: len(r.channels) for r in problem.references if r.name in alignment.names}
        self.limits: tuple[str, ...] = ()
        self.echoes: Mapping[str, Sequence[str]] = {}  # {reference: those that are the same once more, later}
        self._longest: Order = (0, 1)  # the longest filter tried
        self._left: dict[int, float] = {}  # {taps: what filters so long last left of held-out samples, in dB}
        self._cut_short = False  # whether a longer one of rooms was due, and the rows are too few for it

    def all_rungs(
        self,
        max_rung: str,
        *,
        max_taps: int | None = None,
        warped: tuple[MixModel, Alignment] | None = None,
    ) -> None:
        """Integers, gains and filters up to a room's, all from one pass; seconds-long ones where those help.

        Parameters
        ----------
        max_taps : of the longest filter; any length if not given
        warped : the model and alignment with the clocks that were found, None where all of them agree
        """
        last = RUNGS.index(max_rung)
        self.max_taps = math.inf if max_taps is None else max_taps
        long = list(room_orders(self.problem))
        if max_taps is not None and max_taps > SHORT_ORDERS[-1][1]:
            long = sorted([*long, (SHORT_ORDERS[-1][0], max_taps)], key=lambda order: order[1])
        n_rows = sum(s.stop - s.start for s in self.alignment.segments if s.part == FIT)
        rooms = self._orders(n_rows, long) if last >= RUNGS.index("reverb") else []
        short = self._orders(n_rows, SHORT_ORDERS)
        self._longest = (rooms or short or [(0, 1)])[-1]
        due = max([n_taps for _, n_taps in long if n_taps <= self.max_taps], default=0)
        needed = ROWS_PER_TAP * due * sum(self.channels.values())
        self._cut_short = last >= RUNGS.index("reverb") and n_rows < needed
        meter = self._meter()
        equations = self._gathered(short if warped else short + rooms, meter)
        self.limits = self._dependences(equations[FIT])
        self.gain_equations = equations[FIT].restrict(first_lag=0, n_taps=1)
        gain = choose_order(self.problem, self.alignment, equations, [(0, 1)])
        exact = self._exact(equations, meter.gains())
        if exact is not None:
            self._judge("exact", *exact, None)
            if self.best.null_db == -math.inf:
                return
        if last >= RUNGS.index("gain"):
            self._judge("gain", *self._filtered(gain), gain)
        if last >= RUNGS.index("fir") and short:
            self._fitted("fir", equations, short)
        if warped is not None and short:
            equations = self._timed(warped, short + rooms)
            if self.best.null_db == -math.inf:
                return
        if rooms:
            self._fitted("reverb", equations, rooms)
            self._seconds_long(n_rows)

    def _meter(self) -> GainMeter:
        return GainMeter(
            n_channels=len(self.problem.mixture.channels),
            n_references=sum(self.channels.values()),
            segments=self.alignment.segments,
        )

    def _gathered(self, orders: Sequence[Order], gains: GainMeter | None = None) -> dict[int, NormalEquations]:
        first_lag = min([0, *(lag for lag, _ in orders)])
        stop = max([1, *(lag + taps for lag, taps in orders)])
        return gather(
            self.problem,
            self.alignment,
            first_lag=first_lag,
            n_taps=stop - first_lag,
            gains=gains,
            progress=self.progress,
        )

    def _timed(self, warped: tuple[MixModel, Alignment], orders: list[Order]) -> dict[int, NormalEquations]:
        """The equations with the clocks corrected, or without where that does not help."""
        straight = self.base, self.alignment
        self.base, self.alignment = warped[0], ahead_of_the_end(self.problem, warped[1])
        meter = self._meter()
        equations = self._gathered(orders, meter)
        known = len(self.steps)
        exact = self._exact(equations, meter.gains())
        if exact is not None:  # from jump to jump by whole samples
            self._judge("exact", *exact, None)
            if self.best.null_db == -math.inf:
                return equations
        self._fitted("clock", equations, [order for order in orders if order in SHORT_ORDERS])
        if any(step.kept for step in self.steps[known:]):
            self.gain_equations = equations[FIT].restrict(first_lag=0, n_taps=1)
            return equations
        self.base, self.alignment = straight
        return self._gathered(orders)

    def _orders(self, n_rows: int, orders: Sequence[Order]) -> list[Order]:
        """Those that the rows can tell, the shortest first; of very large ones only the longest."""
        within = [order for order in orders if order[1] <= self.max_taps]
        return orders_told(within, n_rows, sum(self.channels.values()))

    def fit(self, rung: str, orders: list[Order], remark: str = "") -> None:
        """Filters of one of these orders, in growing order, if they are better than the best so far."""
        self._fitted(rung, self._gathered(orders), orders, remark)

    def spectra(self) -> NDArray[np.float64]:
        """Power spectra (references, bins) of the references where they are fitted."""
        equations = self.best.choice.equations if self.best.choice else self.gain_equations
        assert equations.spectra is not None
        return equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T

    def orders_within(self, n_taps: float) -> list[Order]:
        """Those of filters with no more taps that the rows can tell, the shortest first."""
        n_rows = sum(s.stop - s.start for s in self.alignment.segments if s.part == FIT)
        orders = [order for order in (*SHORT_ORDERS, *room_orders(self.problem)) if order[1] <= n_taps]
        return self._orders(n_rows, orders)

    def hopeful(self, orders: Sequence[Order]) -> list[Order]:
        """Those that may do better than the best with a track more: the others leave far more without it."""
        return [order for order in orders if self._left.get(order[1], -math.inf) < self.best.null_db + _HOPELESS_DB]

    def _fitted(
        self, rung: str, equations: Mapping[int, NormalEquations], orders: list[Order], remark: str = ""
    ) -> None:
        near = None if rung == "clock" or self.best.choice is None else self.best.choice.fit
        choice = choose_order(self.problem, self.alignment, equations, orders, near)
        self._left = {**self._left, **dict(choice.tried)}
        taps = ", ".join(f"{n} taps {depth:.2f} dB" for n, depth in choice.tried)
        self._judge(rung, *self._filtered(choice), choice, f"{remark}: {taps}" if remark else taps)

    def _seconds_long(self, n_rows: int) -> None:
        """Filters of seconds, each longer than the last, while the longest so far was the best."""
        lead = lead_samples(self.problem)
        tried = 0
        for seconds in LONG_SECONDS:
            n_taps = round(seconds * self.problem.mixture.sample_rate)
            longest = self.best.choice.fit.filters.shape[2] if self.best.choice else 0
            if longest < max(tried, n_taps // 8) or not self._can_be_told(n_taps, n_rows) or self.at_rounding():
                return
            orders = [(-lead, lead + n) for n in (n_taps // 2, n_taps) if lead + n > tried]
            self.fit("reverb", orders)
            tried = lead + n_taps
            self._longest = orders[-1]
            if not self.steps[-1].kept:
                return

    def _can_be_told(self, n_taps: int, n_rows: int) -> bool:
        """Whether filters with so many taps behind the arrival of the sound may be tried."""
        told = long_is_told(self.problem, self.alignment, n_taps, n_rows, sum(self.channels.values()))
        return told and lead_samples(self.problem) + n_taps <= self.max_taps

    def at_rounding(self) -> bool:
        """Whether nothing is left but the rounding of the mixture to its word length."""
        choice, bits = self.best.choice, self.problem.mixture.bits
        if choice is None or bits is None:
            return False
        held = choice.held_out
        rounding = 4.0 ** (1 - bits) / 12 * held.n_rows
        # Filters fitted to rounding as well leave more of it where they were not: by the share of the rows they took.
        taken = min(choice.equations.n_unknowns / max(choice.equations.n_rows, 1), _MOST_TAKEN)
        floor_db = null_depth_db(rounding / (1 - taken), float(np.mean(held.mixture_energy)))
        return self.best.null_db < floor_db + _NEAR_ROUNDING_DB

    def _filtered(self, choice: OrderChoice) -> tuple[float, MixModel]:
        return choice.null_db, with_filters(self.problem, self.base, self.alignment, choice.fit)

    def _exact(self, equations: Mapping[int, NormalEquations], gains: Gains) -> tuple[float, MixModel] | None:
        """What simple gains leave, and the model that has them; None where the gains are no simple numbers."""
        bits = self.problem.mixture.bits
        references = [r for r in self.problem.references if r.name in self.alignment.names]
        if any((r.bits is None) != (bits is None) or (r.bits or 0) > (bits or 0) for r in references):
            return None
        rate = self.problem.mixture.sample_rate
        if any(warp.whole_stretches(rate) is None for warp in self.alignment.warps.values()):
            return None
        simple = simple_gains(gains, reference_channels=self.channels)
        if simple is None or not all(simple.values()):
            return None
        filters = gain_matrix(simple, n_channels=len(self.problem.mixture.channels), reference_channels=self.channels)
        contributions = dict(self.base.contributions)
        row = 0
        for name, matrix in simple.items():
            own = filters[:, row : row + self.channels[name]]
            row += self.channels[name]
            contributions[name] = replace(contributions[name], filters=own, first_lag=0, exact_gains=matrix)
        model = replace(self.base, contributions=contributions)
        test = equations[HELD_OUT].restrict(first_lag=0, n_taps=1)
        mixture, left = float(np.sum(test.mixture_energy)), float(np.sum(test.residual_energy(filters)))
        if left < _CANCELLED * mixture:
            left = self.energy_left(model)
        if left and not all(source.lossless for source in (self.problem.mixture, *references)):
            return None  # what a codec has been at is never exact, unless it is the very same
        return null_depth_db(left, mixture), model

    def energy_left(self, model: MixModel) -> float:
        """Energy of the residual on held-out samples, by subtracting: exact where sums of large numbers are not."""
        return self.energies_left(model)[HELD_OUT]

    def energies_left(self, model: MixModel) -> dict[int, float]:
        """Energy of the residual on samples {part: energy}, those fitted and those held out, by subtracting."""
        energies = {FIT: 0.0, HELD_OUT: 0.0}
        for block in subtract(self.problem, model):
            for segment in self.alignment.segments:
                a, b = max(segment.start - block.start, 0), segment.stop - block.start
                if segment.part in energies and a < min(b, block.residual.shape[1]):
                    rows = as_float(block.residual[:, a:b], self.problem.mixture.bits)
                    energies[segment.part] += float(np.sum(rows**2))
        return energies

    def _judge(self, rung: str, depth: float, model: MixModel, choice: OrderChoice | None, remark: str = "") -> None:
        before = self.best.null_db
        is_exact = any(part.exact_gains for part in self.best.model.contributions.values())
        better = before - depth
        needed = EXACT_LOSES_DB if is_exact else KEPT_DB
        if choice is not None and (rung != "clock" or self.best.choice is None):
            needed = max(needed, by_chance_db(choice, self.best.model, self.channels))
        kept = not math.isnan(better) and better > needed  # nan: both leave nothing
        self.steps.append(Step(rung, kept, before, depth, (remark,) if remark else ()))
        if kept:
            self.best = _State(model, depth, choice)
        elif choice is not None and (self._nearest is None or depth < self._nearest.null_db):
            self._nearest = _State(model, depth, choice)

    def suppose_the_nearest(self) -> bool:
        """Take what came nearest to being kept as if it had been; False where no filters were fitted."""
        if self._nearest is not None:
            self.best = self._nearest
        return self._nearest is not None

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
        null_db = self.best.null_db
        if choice is not None:
            fit = refine(self.problem, self.alignment, choice)
            model = with_filters(self.problem, model, self.alignment, fit)
            null_db, equations, variance = fit.null_db, choice.equations, fit.variance
            correlation, left, deviations = fit.correlation, fit.density, fit.deviations
        else:
            equations, variance, correlation, left, deviations = self.gain_equations, None, None, None, None
        return Analysis(
            model,
            tuple(self.steps),
            findings,
            null_db,
            self.problem.mixture.samples or 0,
            limits=(*self.limits, *self._too_short(choice)),
            responses=self._responses(equations, model, variance, correlation, left, deviations),
        )

    def _too_short(self, choice: OrderChoice | None) -> tuple[str, ...]:
        """What to say where a longer filter than the best may be due, and the audio is too short to tell it."""
        if choice is None or not self._cut_short or choice.fit.filters.shape[2] < self._longest[1]:
            return ()
        if self.best.null_db < _TOLD_DB or self.max_taps < ROOM_TAPS[-1]:
            return ()
        first_lag, n_taps = self._longest
        milliseconds = 1000 * (first_lag + n_taps) / self.problem.mixture.sample_rate
        return (
            f"the audio is too short to tell filters of more than {milliseconds:.0f} ms: an echo or a reverb beyond "
            "that stays in what is left",
        )

    def beside(self, problem: Problem, model: MixModel, alignment: Alignment) -> "Climb":
        """A climb that goes on where this one is, on the same rows, with further references behind its own.

        Nothing of the further ones is measured before its first `fit`.
        """
        again = copy.copy(self)
        again.problem, again.alignment, again.base = problem, alignment, model
        again.best, again.steps = replace(self.best, model=model), list(self.steps)
        again.channels = {r.name: len(r.channels) for r in problem.references if r.name in alignment.names}
        return again

    def go_over(self, model: MixModel) -> None:
        """Take the warps of a model, whose jumps were moved by a few samples, with the filters as they are."""
        self.best = replace(self.best, model=model)
        warps = {name: model.contributions[name].warp for name in self.alignment.names}
        self.alignment = replace(self.alignment, warps=warps)

    def _responses(
        self,
        equations: NormalEquations,
        model: MixModel,
        variance: NDArray[np.float64] | None,
        correlation: NDArray[np.complex128] | None,
        left: NDArray[np.float64] | None,
        deviations: Deviations | None,
    ) -> dict[str, Response]:
        """How far the filters of a model can be trusted; without a variance they are exact."""
        assert equations.spectra is not None
        power = equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T
        # One tap has no history: only the rows themselves count, as they do for the image.
        energy = equations.restrict(first_lag=max(0, equations.first_lag), n_taps=1).reference_energy
        found: dict[str, Response] = {}
        stops = np.cumsum(list(self.channels.values())).tolist()
        columns = {one: slice(stop - self.channels[one], stop) for one, stop in zip(self.channels, stops, strict=True)}
        for name, own in columns.items():
            alone = np.zeros_like(equations.rhs)
            for one in (name, *self.echoes.get(name, ())):  # an image has its echoes, and what they have in common
                alone[:, columns[one]] = model.contributions[one].filters
            image = np.einsum("ckp,ckp->c", alone, equations.matvec(alone))
            sure = np.zeros((len(image), *power[own].shape)) if variance is None else variance[:, own]
            energies = energy[own], np.maximum(image, 0.0)
            moved = None if deviations is None else deviations.of(own)
            found[name] = Response(power[own], sure, energies, correlation, left, moved)
        return found
