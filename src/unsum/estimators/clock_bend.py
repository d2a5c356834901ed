"""A clock that runs unevenly: wow, flutter, a clock that warms up. Followed first, then fitted with the filter."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.bend_fit import Nodes, SplineSystem
from unsum.dsp.time_fit import FilterInLoop, fit_filters, newton_step, what_is_left, whitener_of
from unsum.dsp.time_rows import side_by_side
from unsum.estimators.clock_scene import Scene
from unsum.estimators.following import Frames, follow
from unsum.model import TimeWarp

_FOLLOW_STEP = 0.25  # seconds from node to node of a bend that windows tell
_STEPS = 0.125, 0.0625, 0.03125  # of one that the samples tell, as long as they gain by it
_ROUNDS = 6
_SETTLED_SAMPLES = 1e-3  # nodes that move by less are where they belong
_MOST_SAMPLES = 1.0  # a step of Newton goes no farther
_FRAME_SAMPLES = 1.0  # deviation of a frame
_CURVATURE_SAMPLES = 1.5  # second difference of nodes that is not unusual, to begin with
_ROBUST_ROUNDS = 6
_GAIN_DB = 0.2  # on rows not fitted to, for which nodes may lie closer
_HELD_OUT_SLICES = 0.05, 5  # every fifth twentieth of a second is kept apart


def deviation(frames: Frames) -> float:
    """How far the frames run off a straight line smoothly, in samples: what neighbours agree on."""
    clear = frames.only_clear()
    if len(clear.lags) < 9:
        return 0.0
    smooth = scipy.signal.medfilt(clear.lags, 5)
    trend = np.polynomial.Polynomial.fit(clear.seconds, smooth, 1)(clear.seconds)
    rest = smooth - trend
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))


def followed_bend(scene: Scene, warp: TimeWarp, frames: Frames) -> TimeWarp:
    """The warp bent as the windows say, in a few rounds: each renders anew and looks at what is left."""
    nodes = Nodes.over(scene.start, scene.stop, _FOLLOW_STEP)
    offsets = np.zeros(nodes.count)
    stiffness = 0.05
    for number in range(3):
        clear = frames.only_clear()
        moved = _smooth(nodes, clear, scene, stiffness)
        offsets = offsets + moved
        bent = replace(warp, bend=nodes.bend(offsets))
        if number == 2:
            return bent
        fit = loop(scene, bent, np.ones(1))
        if fit is None:
            return bent
        frames = follow(
            scene.excerpts,
            bent,
            sample_rate=scene.rate,
            reach_seconds=0.006,
            filters=fit.filters,
            lags=scene.lags,
            window_seconds=0.19,
            excluded=scene.excluded,
        )
        stiffness = 0.01
    return replace(warp, bend=nodes.bend(offsets))


def _smooth(nodes: Nodes, clear: Frames, scene: Scene, stiffness: float) -> NDArray[np.float64]:
    """Offsets in seconds of a spline through the frames, which wild ones do not move."""
    late = -clear.lags
    weight = np.ones(len(late))
    offsets = np.zeros(nodes.count)
    width = np.inf
    for _ in range(_ROBUST_ROUNDS):
        system = SplineSystem(nodes)
        root = np.sqrt(weight)
        system.add(clear.seconds, root, root * late)
        offsets = system.solve(stiffness)
        rest = late - nodes.bend(offsets)(clear.seconds)
        width = max(_FRAME_SAMPLES, 1.5 * float(np.median(np.abs(rest))))
        weight = 1 / (1 + (rest / (2 * width)) ** 2) ** 2
    return offsets / scene.rate


def fit_bend(scene: Scene, warp: TimeWarp, *, steps: Sequence[float] = _STEPS) -> TimeWarp:
    """The bend that leaves least, from one that is right to a few samples.

    Nodes come closer, ``steps`` seconds apart, for as long as rows between the fitted ones gain by it.
    """
    assert warp.bend is not None
    best, depth = warp, np.inf
    for step in steps:
        nodes = Nodes.over(scene.start, scene.stop, step)
        bends = replace(best, bend=nodes.bend(nodes.resampled(best.bend or warp.bend)))
        found = _newton(scene, bends, nodes)
        if found is None:
            break
        after = found[1]
        if after > depth - _GAIN_DB:
            break
        best, depth = found[0], after
    return best


def _newton(scene: Scene, warp: TimeWarp, nodes: Nodes) -> tuple[TimeWarp, float] | None:
    """Rounds of Gauss and Newton on the nodes, and the null on rows not fitted to."""
    assert warp.bend is not None
    offsets = np.array(warp.bend.offsets_seconds)
    speed = 1 + 1e-6 * warp.clock_ppm
    first = loop(scene, warp, np.ones(1))
    if first is None:
        return None
    whitener = whitener_of(first)
    curvature = _CURVATURE_SAMPLES / scene.rate * (nodes.step / _STEPS[0]) ** 2
    moved = np.inf
    for number in range(_ROUNDS):
        current = replace(warp, bend=nodes.bend(offsets))
        fit = loop(scene, current, whitener)
        if fit is None:
            return None
        if moved < _SETTLED_SAMPLES and number > 2:
            return current, fit.held_out_db
        system = _system(nodes, fit, scene.rate / speed)
        change = system.solve(1 / curvature**2, around=offsets)
        most = _MOST_SAMPLES / scene.rate
        change = np.clip(change - np.median(change), -most, most)
        offsets = offsets + change
        moved = float(np.sqrt(np.mean(change**2))) * scene.rate
        second = np.convolve(offsets, [1.0, -2.0, 1.0], "valid")
        curvature = float(np.sqrt(2 * np.mean(second**2) + (1e-4 / scene.rate) ** 2))
        if number == 1:
            plain = loop(scene, replace(warp, bend=nodes.bend(offsets)), np.ones(1))
            whitener = whitener_of(plain) if plain is not None else whitener
    result = replace(warp, bend=nodes.bend(offsets))
    last = loop(scene, result, whitener)
    return None if last is None else (result, last.held_out_db)


def _system(nodes: Nodes, fit: FilterInLoop, samples_per_second: float) -> SplineSystem:
    """What the rows that are fitted say of every node, each channel as sure as it is quiet."""
    power = np.zeros(len(fit.filters))
    for one in what_is_left(fit):
        power += np.sum(one.residual**2, axis=1)
    power /= max(fit.rows.n_fitted, 1)
    weights = 1 / np.maximum(power, max(1e-12 * float(power.max()), np.finfo(float).tiny))
    system = SplineSystem(nodes)
    for one in what_is_left(fit):
        counting = one.piece.counting > 0
        seconds = one.piece.seconds[counting]
        for residual, slope, weight in zip(one.residual, one.slope * samples_per_second, weights, strict=True):
            system.add(seconds, slope[counting], residual[counting], weight=float(weight))
    return system


def without_line(warp: TimeWarp, first: float, last: float) -> TimeWarp:
    """The same warp with no straight line in its bend between two times: delay and clock are those of the whole."""
    assert warp.bend is not None
    seconds = np.linspace(first, last, max(16, 2 * len(warp.bend.offsets_seconds)))
    middle = 0.5 * (first + last)
    slope, level = (float(one) for one in np.polyfit(seconds - middle, warp.bend(seconds), 1))
    speed = 1 + 1e-6 * warp.clock_ppm
    start, step = warp.bend.start_seconds, warp.bend.step_seconds
    nodes = start + step * np.arange(len(warp.bend.offsets_seconds))
    offsets = np.array(warp.bend.offsets_seconds) - level - slope * (nodes - middle)
    return replace(
        warp,
        delay_seconds=(warp.delay_seconds * speed - level + slope * middle) / (speed + slope),
        clock_ppm=warp.clock_ppm + 1e6 * slope,
        bend=replace(warp.bend, offsets_seconds=tuple(offsets.tolist())),
    )


def line_stderr_ppm(scene: Scene, fit: FilterInLoop, warp: TimeWarp) -> float:
    """The standard error of the clock of a bent warp, from what its residual says of a straight line."""
    step = newton_step(
        fit,
        lambda seconds: (seconds - scene.middle)[None] * 1e-6,
        sample_rate=scene.rate,
        speed=1 + 1e-6 * warp.clock_ppm,
    )
    return math.inf if step is None else float(np.sqrt(step.covariance[0, 0]))


def loop(scene: Scene, warp: TimeWarp, whitener: NDArray) -> FilterInLoop | None:
    """The best filters for one warp, tested on slices between those fitted to."""
    seconds, every = _HELD_OUT_SLICES
    rows = side_by_side(
        scene.excerpts,
        warp,
        scene.lags,
        sample_rate=scene.rate,
        whitener=whitener,
        held_out_every=every,
        held_out_seconds=seconds,
        excluded=scene.excluded,
    )
    return fit_filters(rows, scene.lags)
