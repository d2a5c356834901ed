"""Which rungs run, in which order, and when one is kept.

Every rung is judged by the null depth it reaches on samples it was not fitted to.
One that does not help there is undone. Before any of them, subtraction in integers
is tried, and it wins where nothing fitted does better: then the result is the
missing signal, bit for bit.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis, ReferenceFinding, Step, null_depth_db
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.rows import FIT, HELD_OUT, split_rows
from unsum.engine import Progress, subtract
from unsum.estimators.fir import (
    Alignment,
    OrderChoice,
    choose_order,
    empty_contribution,
    gather,
    measure_residual,
    refine,
    with_filters,
)
from unsum.estimators.gain import gain_matrix, simple_gains
from unsum.estimators.locate import Location, locate_reference
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import Problem, as_float

RUNGS = ("exact", "gain", "fir", "reverb")

# A rung is kept if it gains this much on held-out samples.
KEPT_DB = 0.02
# Integers win unless something fitted is better by more than this: independent sounds on top
# of them make any fit a little worse than the truth, never better.
EXACT_LOSES_DB = 0.01
SHORT_LAG = -64
SHORT_TAPS = 512
LONG_TAPS = (2048, 8192, 32768, 65536)
# A filter needs this many fitted rows for each of its taps.
_ROWS_PER_TAP = 16
_GAIN_TOLERANCE = 0.02
_CLIP_JOIN_SAMPLES = 4800
_MOST_CLIPPED = 64


def analyse(problem: Problem, *, max_rung: str = "reverb", progress: Progress | None = None) -> Analysis:
    """Find how each reference went into the mixture.

    Parameters
    ----------
    max_rung : the last rung to try, one of `RUNGS`

    Returns
    -------
    analysis : Analysis
        With no reference present in its model where none was found; never worse than the mixture itself.
    """
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
    alignment = _alignment(problem, model, progress)
    if not any(segment.part == HELD_OUT for segment in alignment.segments):
        absent = replace(model, contributions={n: empty_contribution(problem, n) for n in model.contributions})
        return Analysis(absent, (), findings, 0.0, 0, limits=("too short to test what is fitted on other samples",))
    climb = _Climb(problem, model, alignment, progress)
    climb.short_rungs(max_rung)
    if RUNGS.index(max_rung) >= RUNGS.index("reverb"):
        climb.long_rung()
    return climb.conclude(findings)


class _Climb:
    """Rung after rung on one problem."""

    def __init__(self, problem: Problem, model: MixModel, alignment: Alignment, progress: Progress | None) -> None:
        self.problem, self.model, self.alignment, self.progress = problem, model, alignment, progress
        self.steps: list[Step] = []
        self.depth = 0.0
        self.choice: OrderChoice | None = None
        self.channels = {r.name: len(r.channels) for r in problem.references if r.name in alignment.names}

    def short_rungs(self, max_rung: str) -> None:
        """Integers, gains and short filters, all from one pass over the audio."""
        equations = gather(self.problem, self.alignment, first_lag=SHORT_LAG, n_taps=SHORT_TAPS, progress=self.progress)
        gain = choose_order(equations, [(0, 1)])
        exact = self._exact(equations, gain)
        if exact is not None:
            self._judge("exact", exact[0], exact[1], None)
        if max_rung == "exact":
            return
        self._judge("gain", gain.null_db, with_filters(self.problem, self.model, self.alignment, gain.fit), gain)
        if max_rung == "gain":
            return
        fir = choose_order(equations, _short_orders(equations[FIT].n_rows, sum(self.channels.values())))
        taps = ", ".join(f"{n} taps {depth:.2f} dB" for n, depth in fir.tried)
        self._judge("fir", fir.null_db, with_filters(self.problem, self.model, self.alignment, fir.fit), fir, taps)

    def long_rung(self) -> None:
        """Filters of up to seconds, each four times as long as the last, while that helps."""
        if self.choice is None or self.choice.fit.filters.shape[2] < SHORT_TAPS // 2:
            return  # a shorter filter was enough
        for n_taps in LONG_TAPS:
            if self.choice.equations.n_rows < _ROWS_PER_TAP * n_taps * len(self.alignment.names):
                return
            equations = gather(self.problem, self.alignment, first_lag=SHORT_LAG, n_taps=n_taps, progress=self.progress)
            longer = choose_order(equations, [(SHORT_LAG, n_taps // 2), (SHORT_LAG, n_taps)])
            before = self.depth
            model = with_filters(self.problem, self.model, self.alignment, longer.fit)
            self._judge("reverb", longer.null_db, model, longer, f"{longer.fit.filters.shape[2]} taps")
            if self.depth > before - 2 * KEPT_DB:
                return

    def _exact(self, equations: Mapping[int, NormalEquations], gain: OrderChoice) -> tuple[float, MixModel] | None:
        bits = self.problem.mixture.bits
        references = [r for r in self.problem.references if r.name in self.alignment.names]
        if bits is None or any(r.bits is None or r.bits > bits for r in references):
            return None
        simple = simple_gains(gain.fit.filters[..., 0], tolerance=_GAIN_TOLERANCE, reference_channels=self.channels)
        if simple is None or not all(simple.values()):
            return None
        filters = gain_matrix(simple, n_channels=len(self.problem.mixture.channels), reference_channels=self.channels)
        test = equations[HELD_OUT].restrict(first_lag=0, n_taps=1)
        left = float(np.sum(test.residual_energy(filters)))
        if left < 1e-9 * float(np.sum(test.mixture_energy)):
            # Too deep for the difference of large numbers: measure it on the samples.
            left = float(
                np.sum(measure_residual(self.problem, self.alignment, filters, first_lag=0, part=HELD_OUT).energy)
            )
        contributions = dict(self.model.contributions)
        row = 0
        for name, gains in simple.items():
            own = filters[:, row : row + self.channels[name]]
            row += self.channels[name]
            contributions[name] = replace(self.model.contributions[name], filters=own, first_lag=0, exact_gains=gains)
        depth = null_depth_db(left, float(np.sum(test.mixture_energy)))
        return depth, replace(self.model, contributions=contributions)

    def _judge(self, rung: str, depth: float, model: MixModel, choice: OrderChoice | None, remark: str = "") -> None:
        is_exact = any(part.exact_gains for part in self.model.contributions.values())
        better = self.depth - depth
        needed = EXACT_LOSES_DB if is_exact else KEPT_DB
        kept = not math.isnan(better) and better > needed  # nan: both leave nothing
        self.steps.append(Step(rung, kept, self.depth, depth, (remark,) if remark else ()))
        if kept:
            self.model, self.depth, self.choice = model, depth, choice

    def conclude(self, findings: Mapping[str, ReferenceFinding]) -> Analysis:
        """Refine what was kept on all samples, and measure what it leaves."""
        if not any(step.kept for step in self.steps):
            names = self.model.contributions
            nothing = replace(
                self.model, contributions={name: empty_contribution(self.problem, name) for name in names}
            )
            told = {
                name: replace(finding, reason="nothing that was fitted helped on samples it was not fitted to")
                for name, finding in findings.items()
            }
            return Analysis(nothing, tuple(self.steps), told, 0.0, 0)
        if self.choice is not None:
            fit = refine(self.problem, self.alignment, self.choice)
            self.model = with_filters(self.problem, self.model, self.alignment, fit)
        energies, samples, reach = _image_energies(self.problem, self.model, self.alignment, self.progress)
        told = {
            name: replace(
                finding, image_db=null_depth_db(energies[name], energies["mixture"]) if name in energies else None
            )
            for name, finding in findings.items()
        }
        depth = null_depth_db(energies["residual"], energies["mixture"])
        return Analysis(self.model, tuple(self.steps), told, depth, samples, reach)


def _short_orders(n_rows: int, n_references: int) -> list[tuple[int, int]]:
    """(first lag, taps), the shortest first; no longer than the rows can tell."""
    orders = [(-2, 5), (-8, 17), (-16, 48), (-32, 128), (SHORT_LAG, 256), (SHORT_LAG, SHORT_TAPS)]
    return [order for order in orders if n_rows >= _ROWS_PER_TAP * order[1] * n_references] or orders[:1]


def _located(problem: Problem, name: str, location: Location) -> Contribution:
    empty = empty_contribution(problem, name)
    if not location.present:
        return empty
    return replace(empty, present=True, warp=TimeWarp(location.delay_samples / problem.mixture.sample_rate))


def _finding(location: Location) -> ReferenceFinding:
    reason = "; ".join(location.remarks) or ("found" if location.present else "not found")
    return ReferenceFinding(None, location.confidence, reason)


def _alignment(problem: Problem, model: MixModel, progress: Progress | None) -> Alignment:
    """The rows in which a reference sounds, without clipped ones, some held out."""
    rate = model.sample_rate
    names = model.present
    delays = {name: round(model.contributions[name].warp.delay_seconds * rate) for name in names}
    lengths, clipped, total = _lengths(problem, names, progress)
    spans = sorted((max(0, delays[n]), min(total, delays[n] + lengths[n])) for n in names)
    start, stop = spans[0][0], max(span[1] for span in spans)
    # The first and last taps of a reference that begins or ends in full sound have no history.
    margin = min(SHORT_TAPS, (stop - start) // 8)
    start, stop = start + (margin if start > 0 else 0), stop - (margin if stop < total else 0)
    idle = [(a[1], b[0]) for a, b in pairwise(spans) if a[1] < b[0]]
    held = _held_out(start, stop, rate)
    segments = split_rows(start, stop, held_out=held, excluded=[*idle, *clipped], shortest_samples=2 * SHORT_TAPS)
    return Alignment(names, delays, segments)


def _held_out(start: int, stop: int, rate: int) -> list[tuple[int, int]]:
    """A quarter of the time, in stretches spread over all of it."""
    length = stop - start
    count = int(np.clip(length // (8 * rate), 2, 8))
    period = length // count
    return [(start + n * period + period // 2, start + n * period + period // 2 + period // 4) for n in range(count)]


def _lengths(
    problem: Problem, names: tuple[str, ...], progress: Progress | None
) -> tuple[dict[str, int], list[tuple[int, int]], int]:
    """Samples of each reference, the clipped stretches of the mixture, and its length."""
    lengths = {}
    for reference in problem.references:
        if reference.name in names:
            lengths[reference.name] = sum(block.shape[1] for block in reference.blocks())
    clipped: list[tuple[int, int]] = []
    total = 0
    bits = problem.mixture.bits
    for block in problem.mixture.blocks():
        at = _clipped_samples(block, bits)
        for run in np.split(at, np.flatnonzero(np.diff(at) > _CLIP_JOIN_SAMPLES) + 1) if len(at) else []:
            first, last = total + int(run[0]), total + int(run[-1]) + 1
            if clipped and first - clipped[-1][1] <= _CLIP_JOIN_SAMPLES:
                clipped[-1] = (clipped[-1][0], last)
            else:
                clipped.append((first, last))
        total += block.shape[1]
        if progress is not None:
            progress(total, max(total, problem.mixture.samples or 0), "reading")
    # Too many clipped places to leave out one by one: the fit has to live with them.
    return lengths, clipped if len(clipped) <= _MOST_CLIPPED else [], total


def _clipped_samples(block: NDArray, bits: int | None) -> NDArray[np.intp]:
    if bits is None:
        return np.zeros(0, np.intp)
    top = (1 << (bits - 1)) - 1
    return np.flatnonzero(((block >= top) | (block <= -top - 1)).any(axis=0))


def _image_energies(
    problem: Problem, model: MixModel, alignment: Alignment, progress: Progress | None
) -> tuple[dict[str, float], int, tuple[float, float]]:
    """Energies of mixture, residual and each image where a reference sounds; the length; the residual's range."""
    first = min(segment.start for segment in alignment.segments)
    last = max(segment.stop for segment in alignment.segments)
    bits = problem.mixture.bits
    energies = dict.fromkeys(("mixture", "residual", *model.present), 0.0)
    samples = 0
    least = greatest = 0.0
    for block in subtract(problem, model, progress=progress):
        a, b = max(first - block.start, 0), min(last - block.start, block.mixture.shape[1])
        samples = block.start + block.mixture.shape[1]
        least, greatest = min(least, float(block.residual.min())), max(greatest, float(block.residual.max()))
        if b <= a:
            continue
        mixture = as_float(block.mixture[:, a:b], bits)
        residual = as_float(block.residual[:, a:b], bits)
        energies["mixture"] += float(np.sum(mixture**2))
        energies["residual"] += float(np.sum(residual**2))
        for name, image in block.images.items():
            energies[name] += float(np.sum(image[:, a:b] ** 2))
        if not block.images and len(model.present) == 1:
            energies[model.present[0]] += float(np.sum((mixture - residual) ** 2))
    if len(model.present) > 1 and all(part.exact_gains for part in model.contributions.values() if part.present):
        for name in model.present:
            energies.pop(name)
    return energies, samples, (least, greatest)
