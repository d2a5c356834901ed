"""The places of several passages of a reference and the clock they share, fitted together with one filter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.time_fit import Excerpt, FilterInLoop, Lags, image_slope, newton_step, residual_rows, whitener_of
from unsum.estimators.clock_even import PLAIN, even_loop, runs_evenly
from unsum.estimators.clock_scene import Scene, lags_for
from unsum.estimators.following import FIRST_REACH, follow, robust_line
from unsum.estimators.passage_ends import Handover
from unsum.estimators.passage_lines import Line, chained, owners
from unsum.estimators.passage_reading import Cut
from unsum.model import TimeWarp

_REACH = 0.03
_FOLLOW_ROUNDS, _NEWTON_ROUNDS = 3, 8
_SETTLED_SAMPLES = 1e-3
_MOST_SAMPLES = 1.0  # a step of Newton goes no farther
_WHOLE_SAMPLES, _WHOLE_STDERRS = 0.02, 4.0
_BLOCK_SECONDS = 0.25
_DEVIATION = 2.0  # samples off a straight line that windows may lie


@dataclass(frozen=True, slots=True)
class PassageFit:
    """Lines and clock that leave least, and how sure they are."""

    lines: tuple[Line, ...]
    clock_ppm: float
    clock_stderr_ppm: float
    offset_stderrs: NDArray[np.float64]  # samples
    whitener: NDArray[np.float64]

    @property
    def warp(self) -> TimeWarp:
        """One warp through all of them that goes over half way between two."""
        at = [0.5 * (one.stop + other.start) for one, other in pairwise(self.lines)]
        return chained(self.lines, self.clock_ppm, [Handover(t, t) for t in at])


def lags_of(excerpts: Sequence[Excerpt], rate: int) -> Lags:
    return lags_for(rate, sum(one.mixture.shape[1] for one in excerpts), len(excerpts[0].reference))


def followed_passages(
    cuts: Sequence[Cut],
    lines: Sequence[Line],
    ppm: float,
    rate: int,
    excluded: Sequence[tuple[int, int]],
) -> tuple[list[int], list[Line], float, list[bool]]:
    """Passages that windows can follow, their lines, the clock that all share, and which of them run unevenly."""
    uneven: list[bool] = []
    kept, lines, reach = list(range(len(lines))), list(lines), FIRST_REACH
    for _ in range(_FOLLOW_ROUNDS):
        frames = [
            follow(cuts[n].within, line.warp(ppm), sample_rate=rate, reach_seconds=reach, excluded=excluded)
            for n, line in zip(kept, lines, strict=True)
        ]
        sure = [k for k, one in enumerate(frames) if one.enough_clear]
        if not sure:
            return [], [], ppm, []
        kept, lines, frames = [kept[k] for k in sure], [lines[k] for k in sure], [frames[k].only_clear() for k in sure]
        seconds = np.concatenate([one.seconds - line.pivot for one, line in zip(frames, lines, strict=True)])
        groups = np.repeat(np.arange(len(frames)), [len(one.seconds) for one in frames])
        slope, late = robust_line(seconds, np.concatenate([one.lags for one in frames]), groups, scale=0.3)
        half = 0.5 * max(line.stop - line.start for line in lines)
        if abs(slope) * half > 0.75:
            ppm -= 1e6 * slope / rate
        speed = 1 + 1e-6 * ppm
        lines = [replace(one, place=one.place - x / rate * speed) for one, x in zip(lines, late.tolist(), strict=True)]
        reach = _REACH
        whole = [Scene(rate, cuts[n].within, Lags(0, 1)) for n in kept]
        uneven = [not runs_evenly(one, frame, _DEVIATION) for one, frame in zip(whole, frames, strict=True)]
    return kept, lines, ppm, uneven


def fit_lines(scene: Scene, lines: Sequence[Line], ppm: float) -> PassageFit | None:
    """Places of all lines and their clock by Gauss and Newton."""
    found = PassageFit(tuple(lines), ppm, math.inf, np.full(len(lines), math.inf), PLAIN)
    half = 0.5 * max(line.stop - line.start for line in lines)
    for number in range(_NEWTON_ROUNDS):
        fit = even_loop(scene, found.warp, found.whitener)
        if fit is None:
            return None
        speed = 1 + 1e-6 * found.clock_ppm
        offsets = _offsets(fit, found.lines, scene.rate)
        # About these moments, clock and places have nothing to do with each other.
        turning = [
            one.turning_about(pivot, found.clock_ppm)
            for one, pivot in zip(found.lines, offsets.pivots.tolist(), strict=True)
        ]
        step = newton_step(fit, _Turning(turning), sample_rate=scene.rate, speed=speed)
        if step is None:
            return None
        most = 1e6 * _MOST_SAMPLES / scene.rate / half
        change, stderr = float(np.clip(step.change[0], -most, most)), float(np.sqrt(step.covariance[0, 0]))
        found = replace(
            found,
            lines=tuple(
                replace(one, place=one.place + x / scene.rate * speed)
                for one, x in zip(turning, offsets.moves.tolist(), strict=True)
            ),
            clock_ppm=found.clock_ppm + change,
            clock_stderr_ppm=stderr,
            offset_stderrs=offsets.stderrs,
        )
        small = max(_SETTLED_SAMPLES, 0.05 * float(np.min(offsets.stderrs)))
        if number >= 2 and float(np.max(np.abs(offsets.moves))) < small and abs(change) < 0.05 * stderr + 1e-9:
            break
        if number in (0, 2):
            plain = even_loop(scene, found.warp, PLAIN)
            if plain is not None:
                found = replace(found, whitener=whitener_of(plain))
    return found


@dataclass(frozen=True, slots=True)
class _Turning:
    """How far a millionth of speed moves what is heard at each moment, every line about its own pivot."""

    lines: Sequence[Line]

    def __call__(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        pivots = np.array([line.pivot for line in self.lines])
        return (seconds - pivots[owners(self.lines, seconds)])[None] * 1e-6


@dataclass(frozen=True, slots=True)
class _Offsets:
    """By how many samples each line lies too early in the reference, standard errors, and the moments that tell it."""

    moves: NDArray[np.float64]
    stderrs: NDArray[np.float64]
    pivots: NDArray[np.float64]


def _offsets(fit: FilterInLoop, lines: Sequence[Line], rate: int) -> _Offsets:
    """What the residual says of every line, the filter as it is."""
    residual, slope = residual_rows(fit), image_slope(fit)
    power = np.maximum(np.mean(residual**2, axis=1, keepdims=True), np.finfo(float).tiny)
    counting = np.zeros(residual.shape[1], bool)
    for segment in fit.rows.segments:
        counting[segment.start : segment.stop] = True
    score = np.sum(slope * residual / power, axis=0) * counting
    share = np.sum(slope**2 / power, axis=0) * counting
    owner = owners(lines, fit.rows.seconds)
    block = max(1, round(_BLOCK_SECONDS * rate))
    moves, stderrs = np.zeros(len(lines)), np.full(len(lines), math.inf)
    pivots = np.array([line.pivot for line in lines])
    for n in range(len(lines)):
        own = owner == n
        information = float(np.sum(share[own]))
        if information <= 0:
            continue
        moves[n] = float(np.sum(score[own])) / information
        pivots[n] = float(np.sum(share[own] * fit.rows.seconds[own])) / information
        rest = np.add.reduceat(score[own] - moves[n] * share[own], np.arange(0, np.count_nonzero(own), block))
        stderrs[n] = math.sqrt(float(np.sum(rest**2))) / information
    return _Offsets(np.clip(moves, -_MOST_SAMPLES, _MOST_SAMPLES), stderrs, pivots)


def on_whole_samples(fit: PassageFit, rate: int) -> tuple[Line, ...]:
    """The lines of a clock that agrees: a player that pauses goes on with a whole sample, as far as can be told."""
    delays = np.array([line.warp(0.0).delay_seconds * rate for line in fit.lines])
    surest = int(np.argmin(fit.offset_stderrs))
    apart = delays - delays[surest]
    near = np.abs(apart - np.rint(apart)) < np.maximum(_WHOLE_SAMPLES, _WHOLE_STDERRS * fit.offset_stderrs)
    settled = round(delays[surest]) + np.where(near, np.rint(apart), apart)
    return tuple(
        replace(line, place=line.pivot - at / rate) for line, at in zip(fit.lines, settled.tolist(), strict=True)
    )
