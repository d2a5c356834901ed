"""A clock that runs unevenly: wow, flutter, a clock that warms up. Followed first, then fitted with the filter."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.bend_fit import SECOND_DIFFERENCE, Nodes, SplineSystem, predictor_of
from unsum.dsp.rows import FIT, HELD_OUT
from unsum.dsp.time_fit import FilterInLoop, fit_filters, newton_step, what_is_left, whitener_of
from unsum.dsp.time_rows import side_by_side
from unsum.estimators.clock_scene import Scene
from unsum.estimators.following import Frames, follow, robust_line
from unsum.model import TimeWarp

_FOLLOW_STEP = 0.25  # seconds from node to node of a bend that windows tell
_STEPS = 0.0625, 0.03125  # of one that the samples tell, as long as they gain by it
_ROUNDS = 6
_PREDICTED_ROUNDS = 4
_LONGEST_PREDICTOR, _NODES_PER_TAP = 24, 8
_LOOSE = 1.2  # a bend that is smoothed too much looks smoother than it is
_LEAST_DEVIATION = 1e-4  # samples
_WOBBLE_SAMPLES = 0.1  # second difference of nodes so close together, of what windows do not see
_SETTLED_SAMPLES = 1e-3  # nodes that move by less are where they belong
_MOST_SAMPLES = 1.0  # a step of Newton goes no farther
_FRAME_SAMPLES = 1.0  # deviation of a frame
_LINE_SAMPLES, _FEWEST_FRAMES = 0.3, 9  # deviation of a frame that lies on a line; frames that tell one
# Second difference of nodes so far apart that is not unusual, to begin with.
_CURVATURE_SAMPLES, _CURVATURE_SECONDS = 1.5, 0.125
_ROBUST_ROUNDS = 6
# On rows not fitted to, for which nodes may lie closer: so many decibels, or so much log likelihood.
_GAIN_DB, _GAIN_NATS = 0.2, 60.0
_HELD_OUT_SLICES = 0.05, 5  # every fifth twentieth of a second is kept apart


def deviation(frames: Frames) -> float:
    """How far the frames run off a straight line smoothly, in samples: what neighbours agree on.

    Off the line that most of them lie on, which those that heard something else do not tilt; and as far as any sixth
    of them does by more than neighbours scatter, since a clock may run off for a while only.
    """
    clear = frames.only_clear()
    if len(clear.lags) < _FEWEST_FRAMES:
        return 0.0
    smooth = scipy.signal.medfilt(clear.lags, 5)
    slope, (offset,) = robust_line(clear.seconds, smooth, np.zeros(len(smooth), np.intp), scale=_LINE_SAMPLES)
    rest = smooth - slope * clear.seconds - offset
    n_parts = min(6, len(rest) // _FEWEST_FRAMES)
    apart = [
        abs(float(np.median(part))) - 2 * float(np.quantile(np.abs(np.diff(lags)), 0.75))
        for part, lags in zip(np.array_split(rest, n_parts), np.array_split(clear.lags, n_parts), strict=True)
    ]
    return max(1.4826 * float(np.median(np.abs(rest))), *apart)


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
    best: TimeWarp | None = None
    for step in steps:
        before = best or warp
        nodes = Nodes.over(scene.start, scene.stop, step)
        assert before.bend is not None
        found = _newton(scene, replace(before, bend=nodes.bend(nodes.resampled(before.bend))), nodes)
        if found is None:
            break
        bent, fit = found
        against = loop(scene, best, fit.rows.whitener) if best is not None else None
        if against is not None and fit.held_out_db > against.held_out_db - _least_gain_db(fit):
            break
        best = bent
    return best or warp


def wobbles(scene: Scene, warp: TimeWarp) -> bool:
    """Whether a bend of a part of a sample, too little for windows to see, leaves less in rows not fitted to."""
    plain = loop(scene, warp, np.ones(1))
    fit = None if plain is None else loop(scene, warp, whitener_of(plain))
    if fit is None or not fit.rows.n_held_out:
        return False
    nodes = Nodes.over(scene.start, scene.stop, _STEPS[0])
    samples_per_second = scene.rate / (1 + 1e-6 * warp.clock_ppm)
    system = _system(nodes, fit, samples_per_second)
    offsets = system.solve(1 / (_WOBBLE_SAMPLES / scene.rate) ** 2)
    for _ in range(_PREDICTED_ROUNDS):
        predictor, deviation = _habit(offsets, scene.rate)
        offsets = system.solve(1 / deviation**2, predictor=predictor)
    bend = nodes.bend(offsets - np.median(offsets))
    parts = {FIT: HELD_OUT, HELD_OUT: FIT}
    swapped = tuple(replace(one, part=parts[one.part]) for one in fit.rows.segments)
    without, with_bend = np.zeros((2, len(fit.filters)))
    for one in what_is_left(replace(fit, rows=replace(fit.rows, segments=swapped))):
        image = one.slope * one.piece.counting * bend(one.piece.seconds) * samples_per_second
        without += np.sum(one.residual**2, axis=1)
        with_bend += np.sum((one.residual - image) ** 2, axis=1)
    if not np.all(with_bend > 0):
        return False
    return float(np.sum(np.log(without / with_bend))) * fit.rows.n_held_out / 2 > _GAIN_NATS


def _least_gain_db(fit: FilterInLoop) -> float:
    """What is beyond chance on the rows not fitted to: with many of them, much less than a listener hears.

    Beside another sound that is as loud, a flutter hides in a hundredth of a decibel, and all of it stays in the
    residual.
    """
    return min(_GAIN_DB, 20 / math.log(10) * _GAIN_NATS / max(fit.rows.n_held_out * fit.rows.n_channels, 1))


def _newton(scene: Scene, warp: TimeWarp, nodes: Nodes) -> tuple[TimeWarp, FilterInLoop] | None:
    """Rounds of Gauss and Newton on the nodes, and the filters that go with them."""
    assert warp.bend is not None
    offsets = np.array(warp.bend.offsets_seconds)
    speed = 1 + 1e-6 * warp.clock_ppm
    first = loop(scene, warp, np.ones(1))
    if first is None:
        return None
    whitener = whitener_of(first)
    predictor = SECOND_DIFFERENCE
    deviation = _CURVATURE_SAMPLES / scene.rate * (nodes.step / _CURVATURE_SECONDS) ** 2
    moved = np.inf
    for number in range(_ROUNDS):
        current = replace(warp, bend=nodes.bend(offsets))
        fit = loop(scene, current, whitener)
        if fit is None:
            return None
        if moved < _SETTLED_SAMPLES and number > 2:
            return current, fit
        system = _system(nodes, fit, scene.rate / speed)
        change = system.solve(1 / deviation**2, around=offsets, predictor=predictor)
        for _ in range(_PREDICTED_ROUNDS if number else 0):
            predictor, deviation = _habit(offsets + change, scene.rate)
            change = system.solve(1 / deviation**2, around=offsets, predictor=predictor)
        most = _MOST_SAMPLES / scene.rate
        change = np.clip(change - np.median(change), -most, most)
        offsets = offsets + change
        moved = float(np.sqrt(np.mean(change**2))) * scene.rate
        if not number:
            second = np.convolve(offsets, SECOND_DIFFERENCE, "valid")
            deviation = float(np.sqrt(2 * np.mean(second**2) + (_LEAST_DEVIATION / scene.rate) ** 2))
        if number == 1:
            plain = loop(scene, replace(warp, bend=nodes.bend(offsets)), np.ones(1))
            whitener = whitener_of(plain) if plain is not None else whitener
    result = replace(warp, bend=nodes.bend(offsets))
    last = loop(scene, result, whitener)
    return None if last is None else (result, last)


def _habit(offsets: NDArray[np.float64], rate: int) -> tuple[NDArray[np.float64], float]:
    """How a bend uses to go on: its predictor, and the deviation of what that leaves."""
    order = max(2, min(_LONGEST_PREDICTOR, len(offsets) // _NODES_PER_TAP))
    predictor, deviation = predictor_of(offsets - offsets.mean(), order)
    return predictor, math.hypot(_LOOSE * deviation, _LEAST_DEVIATION / rate)


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
    """The same warp with no straight line in its bend between two times: delay and clock are those of the whole.

    The line is fitted with weights that fade at both ends: a wow that is cut off there would tilt any other.
    """
    assert warp.bend is not None
    seconds, fade = _faded(warp, first, last)
    middle = 0.5 * (first + last)
    slope, level = (float(one) for one in np.polyfit(seconds - middle, warp.bend(seconds), 1, w=np.sqrt(fade)))
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


def _faded(warp: TimeWarp, first: float, last: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times between two others, closer than nodes, and the weight of each in the line of a bend."""
    assert warp.bend is not None
    seconds = np.linspace(first, last, max(16, 2 * len(warp.bend.offsets_seconds)))
    return seconds, np.hanning(len(seconds) + 2)[1:-1]


def later(warp: TimeWarp, seconds: float) -> TimeWarp:
    """The same warp heard so much later.

    Its bend is heard later, too: a delay by the filter behind it moved the bend as it moved everything else.
    """
    assert warp.bend is not None
    bend = replace(warp.bend, start_seconds=warp.bend.start_seconds + seconds)
    return replace(warp, delay_seconds=warp.delay_seconds + seconds, bend=bend)


def line_stderr_ppm(scene: Scene, fit: FilterInLoop, warp: TimeWarp) -> float:
    """The standard error of the clock of a bent warp without a line in its bend.

    What the residual says of a straight line, which the fading weights know less well; and what the bend itself may
    tilt a line of that length, as often as its spectrum has it.
    """
    assert warp.bend is not None
    step = newton_step(
        fit,
        lambda seconds: (seconds - scene.middle)[None] * 1e-6,
        sample_rate=scene.rate,
        speed=1 + 1e-6 * warp.clock_ppm,
    )
    if step is None:
        return math.inf
    seconds, fade = _faded(warp, scene.start, scene.stop)
    away = seconds - scene.middle
    lever = fade * away / np.sum(fade * away**2)  # times the bend: its slope
    noise = float(step.covariance[0, 0]) * float(np.sum(lever**2) * np.sum(away**2))
    power = np.abs(np.fft.fft(fade * warp.bend(seconds))) ** 2 / np.sum(fade**2)
    tilt = float(np.mean(power * np.abs(np.fft.fft(lever)) ** 2))
    return math.sqrt(noise + 1e12 * tilt)


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
