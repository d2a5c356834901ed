"""Clocks that run evenly but for jumps that are known: the same, or so many parts in a million apart."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.time_fit import FilterInLoop, fit_filters, newton_step, whitener_of
from unsum.dsp.time_rows import side_by_side
from unsum.estimators.clock_bend import deviation
from unsum.estimators.clock_estimate import DRIFT, STEADY, ClockEstimate
from unsum.estimators.clock_fraction import fraction_left
from unsum.estimators.clock_jumps import LEAST_JUMP, stretches
from unsum.estimators.clock_scene import Scene
from unsum.estimators.following import FIRST_REACH, Frames, follow, robust_line
from unsum.model import TimeWarp

_REACH = 0.03  # seconds
_ROUNDS = 4
_NEWTON_ROUNDS = 8
HELD_OUT_EVERY = 4
_ELSEWHERE = 0.08  # share of frames that may lie off the line before it counts as jumping
_LOOSE_JUMP = 12.0  # samples
_LONG_RUN = 0.06  # share of the frames
SIGNIFICANT = 5.0  # standard errors
BETTER_DB = 0.02  # of the null on held-out rows, whitened: what a step must gain
PLAIN = np.ones(1)


def followed(scene: Scene, start: TimeWarp) -> tuple[Frames, TimeWarp | None]:
    """The straight line through what the windows say, refined until it stays."""
    warp, reach = start, FIRST_REACH
    frames = follow(scene.excerpts, warp, sample_rate=scene.rate, reach_seconds=reach, excluded=scene.excluded)
    for _ in range(_ROUNDS):
        clear = frames.only_clear()
        if not frames.enough_clear:
            return frames, None
        groups, largest = _groups(clear, scene)
        used = groups >= 0
        slope, offsets = robust_line(clear.seconds[used], clear.lags[used], groups[used], scale=0.3)
        at_middle = float(offsets[largest] + slope * scene.middle)
        moves = abs(slope) * 0.5 * (scene.stop - scene.start)
        if moves < 0.75 and abs(at_middle) < 0.004 * scene.rate:
            break
        warp = moved(warp, scene, ppm=-1e6 * slope / scene.rate if moves > 0.75 else 0.0, lag=at_middle)
        reach = _REACH
        frames = follow(scene.excerpts, warp, sample_rate=scene.rate, reach_seconds=reach, excluded=scene.excluded)
    return frames, warp


def _groups(clear: Frames, scene: Scene) -> tuple[NDArray[np.intp], int]:
    """Frames between jumps share an offset: the group of each, -1 for none, and the largest group."""
    groups = np.full(len(clear.lags), -1, np.intp)
    runs = [
        run
        for run in stretches(clear, sample_rate=scene.rate, step=_LOOSE_JUMP)
        if run.stop - run.start >= _LONG_RUN * len(groups)
    ]
    if not runs:
        return np.zeros(len(groups), np.intp), 0
    for number, run in enumerate(runs):
        groups[run.start : run.stop] = number
    return groups, int(np.argmax([run.stop - run.start for run in runs]))


def moved(warp: TimeWarp, scene: Scene, *, ppm: float = 0.0, lag: float = 0.0) -> TimeWarp:
    """The warp with another clock, and heard so many samples later, both at the middle of the scene."""
    middle = scene.middle
    speed = 1 + 1e-6 * (warp.clock_ppm + ppm)
    there = (middle - warp.delay_seconds) * (1 + 1e-6 * warp.clock_ppm)
    delay = middle - there / speed + lag / scene.rate
    if warp.clock_ppm + ppm == 0:
        delay = round(delay * scene.rate) / scene.rate
    return replace(warp, delay_seconds=delay, clock_ppm=warp.clock_ppm + ppm)


def runs_evenly(scene: Scene, frames: Frames, deviation_samples: float) -> bool:
    """Whether the frames lie on one straight line, all but a few of them."""
    clear = frames.only_clear()
    levels = [
        (float(np.median(clear.lags[run.start : run.stop])), run.stop - run.start)
        for run in stretches(clear, sample_rate=scene.rate)
    ]
    elsewhere = sum(count for level, count in levels if abs(level - np.median(clear.lags)) > LEAST_JUMP)
    return elsewhere < _ELSEWHERE * len(clear.lags) and deviation(frames) < deviation_samples


def sharply(scene: Scene, warp: TimeWarp) -> Frames | None:
    """The frames against the image through a filter, whose peaks are sharp; None where it cannot be fitted."""
    fit = even_loop(scene, warp, PLAIN)
    if fit is None:
        return None
    return follow(
        scene.excerpts,
        warp,
        sample_rate=scene.rate,
        reach_seconds=_REACH,
        filters=fit.filters,
        lags=scene.lags,
        excluded=scene.excluded,
    )


def even_loop(scene: Scene, warp: TimeWarp, whitener: NDArray, *, held_out_every: int = 0) -> FilterInLoop | None:
    rows = side_by_side(
        scene.excerpts,
        warp,
        scene.lags,
        sample_rate=scene.rate,
        whitener=whitener,
        held_out_every=held_out_every,
        excluded=scene.excluded,
    )
    return fit_filters(rows, scene.lags)


def fit_even(scene: Scene, steady: TimeWarp, warp: TimeWarp) -> ClockEstimate | None:
    """Clocks that run evenly but for jumps that are known: the same, or so many parts in a million apart."""
    found = _newton(scene, warp)
    if found is None:
        return None
    drifting, stderr, whitener = found
    before = even_loop(scene, steady, whitener, held_out_every=HELD_OUT_EVERY)
    after = even_loop(scene, drifting, whitener, held_out_every=HELD_OUT_EVERY)
    if before is None or after is None:
        return None
    earned = (
        abs(drifting.clock_ppm - steady.clock_ppm) > SIGNIFICANT * stderr
        and after.held_out_db < before.held_out_db - BETTER_DB
    )
    chosen, kind = (drifting, DRIFT) if earned else (steady, STEADY)
    fraction, fraction_stderr = fraction_left(scene, chosen)
    measured = chosen.delay_seconds * scene.rate + fraction
    if earned:
        chosen = replace(chosen, delay_seconds=measured / scene.rate)
    lever = (scene.middle - chosen.delay_seconds) * scene.rate * 1e-6 * stderr
    plain = [even_loop(scene, one, PLAIN, held_out_every=HELD_OUT_EVERY) for one in (steady, chosen)]
    depths = [one.held_out_db if one is not None else 0.0 for one in plain]
    return ClockEstimate(
        chosen,
        kind,
        measured,
        math.hypot(fraction_stderr, lever if earned else 0.0),
        drifting.clock_ppm,
        stderr,
        depths[0],
        depths[1],
    )


def nearest_steady(scene: Scene, start: TimeWarp, warp: TimeWarp) -> TimeWarp:
    """The whole delay that fits best in the middle: the one given where that is within the filter's reach."""
    here = scene.middle - warp.reference_time(scene.middle)
    given = round(start.delay_seconds * scene.rate)
    if start.clock_ppm == 0 and abs(here * scene.rate - given) <= min(-scene.lags.first, scene.lags.count) / 2:
        return TimeWarp(given / scene.rate)
    return TimeWarp(round(here * scene.rate) / scene.rate)


def _newton(scene: Scene, warp: TimeWarp) -> tuple[TimeWarp, float, NDArray] | None:
    """The even clock that leaves least, its standard error in ppm, and what whitens the residual."""
    whitener: NDArray = PLAIN
    stderr = math.inf
    for number in range(_NEWTON_ROUNDS):
        fit = even_loop(scene, warp, whitener)
        if fit is None:
            return None
        step = newton_step(
            fit,
            lambda seconds: (seconds - scene.middle)[None] * 1e-6,
            sample_rate=scene.rate,
            speed=1 + 1e-6 * warp.clock_ppm,
        )
        if step is None:
            return None
        change, stderr = float(step.change[0]), float(np.sqrt(step.covariance[0, 0]))
        # More than a sample at the ends is beyond what the slope of a wave can tell.
        most = 1e6 / scene.rate / (0.5 * (scene.stop - scene.start))
        warp = moved(warp, scene, ppm=float(np.clip(change, -most, most)))
        if number >= 2 and abs(change) < 0.05 * stderr + 1e-9:
            break
        if number in (0, 2):
            plain = even_loop(scene, warp, PLAIN)
            if plain is not None:
                whitener = whitener_of(plain)
    return warp, stderr, whitener
