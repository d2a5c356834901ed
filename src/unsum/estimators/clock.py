"""From a rough place to the exact time warp: the simplest one that the audio supports.

First the warp is followed roughly, window by window. Then it is fitted together with a short filter by least
squares, step by step: no difference of the clocks, an even one, jumps, a bend. Each must show on samples that it was
not fitted to that it is better than what is simpler; a clock that runs evenly is never bent to fit noise.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.time_fit import (
    FilterInLoop,
    Lags,
    fit_filters,
    newton_step,
    side_by_side,
    whitener_of,
)
from unsum.errors import InputError
from unsum.estimators.clock_bend import deviation, fit_bend, followed_bend, loop
from unsum.estimators.clock_jumps import LEAST_JUMP, around, stretches, with_jumps
from unsum.estimators.clock_scene import WHOLE_SECONDS, Scene, consecutive_scenes, read_scene
from unsum.estimators.delay import fractional_delay
from unsum.estimators.following import Frames, follow, robust_line, window_samples
from unsum.estimators.locate import Location
from unsum.model import Jump, TimeWarp
from unsum.problem import ArraySource, AudioSource

Progress = Callable[[float, float, str], None]
# All of the overlap, scene after scene, read where the warp that is then known says.
Everything = Callable[[Callable[[], TimeWarp]], Iterator[Scene]]

STEADY, DRIFT, JUMPS, BENT = "steady", "drift", "jumps", "bent"

_FIRST_REACH, _REACH = 0.08, 0.03  # seconds
_FEWEST_FRAMES = 4
_TRACKED = 0.15  # of all frames: with fewer clear ones nothing can be followed
_ROUNDS = 4
_GROUPS = 10  # of windows, of which each is left out once
_NEWTON_ROUNDS = 8
_HELD_OUT_EVERY = 4
_RAW_DEVIATION, _SHARP_DEVIATION = 2.0, 0.3  # samples off a straight line, by windows against reference and image
_ELSEWHERE = 0.08  # share of frames that may lie off the line before it counts as jumping
_LOOSE_JUMP = 12.0  # samples
_LONG_RUN = 0.06  # share of the frames
_JUMPS_GAIN_DB, _BEND_GAIN_DB = 0.1, 0.2  # of the null on rows not fitted to
_SIGNIFICANT = 5.0  # standard errors
_BETTER_DB = 0.02  # of the null on held-out rows, whitened: what a step must gain


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The warp, how sure it is, and what speaks for it.

    Attributes
    ----------
    warp : the simplest that the audio supports
    kind : "steady" (whole samples, no difference of clocks), "drift", "jumps" or "bent"
    delay_samples : where sample 0 of the reference lies in the mixture, to a fraction of a sample; a filter is
        taken out as far as its phase is not that of a delay
    delay_stderr_samples, clock_stderr_ppm : standard errors; infinite where the audio does not tell
    clock_ppm : as measured, also where it is too little to matter
    null_db_before, null_db : with no more than a whole number of samples, and with the warp; through a short
        filter, on samples not fitted to
    remarks : what a person should know, in words
    """

    warp: TimeWarp
    kind: str
    delay_samples: float
    delay_stderr_samples: float
    clock_ppm: float
    clock_stderr_ppm: float
    null_db_before: float
    null_db: float
    remarks: tuple[str, ...] = ()


def fit_clock(
    mixture: AudioSource, reference: AudioSource, location: Location, *, progress: Progress | None = None
) -> ClockEstimate:
    """Find the exact warp of a reference whose place is known roughly.

    Parameters
    ----------
    mixture, reference : at the same sample rate
    location : of the reference in the mixture; must be present
    progress : called with (samples done, samples expected, what); may raise to stop

    Raises
    ------
    InputError
        If the sample rates differ or the reference is not present.
    """
    rate = mixture.sample_rate
    if reference.sample_rate != rate:
        raise InputError(
            f"{reference.name} is at {reference.sample_rate} Hz, {mixture.name} at {rate} Hz; resample one first"
        )
    if not location.present:
        raise InputError(f"{reference.name} was not found in {mixture.name}; there is no clock to fit")
    lengths = _length(mixture), _length(reference)
    start, within, told = _rough_warp(location, lengths, rate)
    scene = read_scene(mixture, reference, lengths, start, progress, within=within)

    def everything(warp: Callable[[], TimeWarp]) -> Iterator[Scene]:
        assert scene is not None
        return consecutive_scenes(mixture, reference, lengths, scene, warp, progress=progress, within=within)

    found = _fit(scene, start, rate, everything)
    return replace(found, remarks=(*found.remarks, *told)) if told else found


def fit_warp(
    mixture: NDArray[np.float64], reference: NDArray[np.float64], *, sample_rate: int, start: TimeWarp
) -> ClockEstimate:
    """Find the exact warp between arrays, from a rough one.

    Parameters
    ----------
    mixture : (channels, samples)
    reference : (channels, samples)
    start : good to some 30 ms at the middle of the overlap
    """
    heard = ArraySource("mixture", np.asarray(mixture, np.float64), sample_rate, _numbered(mixture))
    played = ArraySource("reference", np.asarray(reference, np.float64), sample_rate, _numbered(reference))
    lengths = heard.samples, played.samples
    scene = read_scene(heard, played, lengths, start, None)

    def everything(warp: Callable[[], TimeWarp]) -> Iterator[Scene]:
        assert scene is not None
        return consecutive_scenes(heard, played, lengths, scene, warp)

    return _fit(scene, start, sample_rate, everything)


def _numbered(rows: NDArray) -> tuple[str, ...]:
    return tuple(str(n) for n in range(len(rows)))


def _length(source: AudioSource) -> int:
    return source.samples if source.samples is not None else sum(block.shape[1] for block in source.blocks())


def _rough_warp(
    location: Location, lengths: tuple[int, int], rate: int
) -> tuple[TimeWarp, tuple[int, int] | None, tuple[str, ...]]:
    """The warp that a location tells, the mixture samples in which it holds, and what is to be said of it.

    A delay holds in the middle of what is heard, or of the longest passage where there are several.
    """
    if len(location.passages) > 1:
        longest = max(location.passages, key=lambda one: one.stop_seconds - one.start_seconds)
        ends = longest.start_seconds, longest.stop_seconds
        told = (
            f"the clock is that of the longest of {len(location.passages)} passages, "
            f"{ends[0]:.1f} to {ends[1]:.1f} s; the others need a warp of their own",
        )
        within = round(ends[0] * rate), round(ends[1] * rate)
        return _about(0.5 * (ends[0] + ends[1]), longest.delay_seconds, longest.clock_ppm), within, told
    delay = location.delay_samples / rate
    if not location.clock_ppm:
        return TimeWarp(delay), None, ()
    if location.passages:
        first, last = location.passages[0].start_seconds, location.passages[0].stop_seconds
    else:
        speed = 1 + 1e-6 * location.clock_ppm
        first, last = max(0.0, delay), min(lengths[0] / rate, delay + lengths[1] / rate / speed)
    return _about(0.5 * (first + last), delay, location.clock_ppm), None, ()


def _about(middle: float, delay_seconds: float, clock_ppm: float) -> TimeWarp:
    """The warp with this clock whose delay at the middle is this."""
    return TimeWarp(middle - (middle - delay_seconds) / (1 + 1e-6 * clock_ppm), clock_ppm)


# The climb ------------------------------------------------------------------------------------------


def _fit(scene: Scene | None, start: TimeWarp, rate: int, everything: Everything) -> ClockEstimate:
    if scene is None:
        return _unknown(start, rate, "too little of both sounds together to tell the clocks")
    frames, warp = _followed(scene, start)
    if warp is None:
        return _unknown(start, rate, "no window of the excerpts agrees clearly with the reference")
    steady = _nearest_steady(scene, start, warp)
    if _runs_evenly(scene, frames, _RAW_DEVIATION):
        even = _even(scene, steady, warp)
        if even is None:
            return _unknown(start, rate, "the reference is silent in all excerpts")
        sharp = _sharply(scene, even.warp)
        if sharp is None or _runs_evenly(scene, sharp, _SHARP_DEVIATION):
            return even
        frames, warp = sharp, even.warp
    else:
        even = None
    return _uneven(scene, frames, steady, warp, even, everything)


def _runs_evenly(scene: Scene, frames: Frames, deviation_samples: float) -> bool:
    """Whether the frames lie on one straight line, all but a few of them."""
    clear = frames.only_clear()
    levels = [
        (float(np.median(clear.lags[run.start : run.stop])), run.stop - run.start)
        for run in stretches(clear, sample_rate=scene.rate)
    ]
    elsewhere = sum(count for level, count in levels if abs(level - np.median(clear.lags)) > LEAST_JUMP)
    return elsewhere < _ELSEWHERE * len(clear.lags) and deviation(frames) < deviation_samples


def _sharply(scene: Scene, warp: TimeWarp) -> Frames | None:
    """The frames against the image through a filter, whose peaks are sharp; None where it cannot be fitted."""
    fit = _loop(scene, warp, _PLAIN)
    if fit is None:
        return None
    return follow(
        scene.excerpts, warp, sample_rate=scene.rate, reach_seconds=_REACH, filters=fit.filters, lags=scene.lags
    )


def _uneven(
    scene: Scene,
    frames: Frames,
    steady: TimeWarp,
    warp: TimeWarp,
    even: ClockEstimate | None,
    everything: Everything,
) -> ClockEstimate:
    """Jumps, or a bend, or both, whichever the audio supports."""
    if even is None:
        even = _even(scene, steady, warp)
        if even is None:
            return _unknown(steady, scene.rate, "the reference is silent in all excerpts")
    best = even
    jumping = with_jumps(scene, warp, frames) if scene.everything else _surveyed(scene, warp, everything)
    if jumping is not None:
        apart = replace(scene, excluded=tuple(around(jumping.jumps, scene)))
        fitted = _even(apart, _without_drift(apart, jumping), jumping)
        if fitted is not None and fitted.null_db < even.null_db - _JUMPS_GAIN_DB:
            names = _in_words(fitted.warp.jumps, scene.rate)
            best = replace(fitted, kind=JUMPS, null_db_before=even.null_db_before, remarks=(names,))
            sharp = _sharply(apart, best.warp)
            if sharp is None or deviation(sharp) < _SHARP_DEVIATION:
                return best
    if not scene.everything:
        told = f"the clocks do not run evenly, and a bend is fitted to no more than {WHOLE_SECONDS:.0f} s: cut it"
        return replace(best, remarks=(*best.remarks, told))
    bent = fit_bend(scene, followed_bend(scene, warp, frames))
    against = loop(scene, best.warp, _PLAIN)
    tested = loop(scene, bent, _PLAIN)
    if tested is None or against is None or tested.held_out_db > against.held_out_db - _BEND_GAIN_DB:
        told = "the clocks do not run evenly, but neither jumps nor a bend explain it"
        return replace(best, remarks=(*best.remarks, told)) if best is even else best
    fraction, fraction_stderr = _fraction(scene, bent)
    bent = replace(bent, delay_seconds=bent.delay_seconds + fraction / scene.rate)
    # Rate and bend share one straight line; the rate is that of the whole, the bend what is left.
    return ClockEstimate(
        bent,
        BENT,
        bent.delay_seconds * scene.rate,
        fraction_stderr,
        bent.clock_ppm,
        math.inf,
        even.null_db_before,
        tested.held_out_db,
    )


def _surveyed(scene: Scene, warp: TimeWarp, everything: Everything) -> TimeWarp | None:
    """The warp with the jumps of all of a long recording, found scene after scene; None where it has none."""
    known = [warp]  # the last is asked for when the next scene is read
    first: TimeWarp | None = None
    for one in everything(lambda: known[-1]):
        frames = follow(one.excerpts, known[-1], sample_rate=scene.rate, reach_seconds=_FIRST_REACH)
        clear = frames.only_clear()
        if len(clear.lags) < max(_FEWEST_FRAMES, _TRACKED * len(frames.seconds)):
            continue
        if first is None:
            lag = float(np.median(clear.lags))
            first = replace(warp, delay_seconds=warp.delay_seconds + lag / scene.rate)
            known.append(first)
            frames = replace(frames, lags=frames.lags - lag)
        found = None if _runs_evenly(one, frames, math.inf) else with_jumps(one, known[-1], frames)
        if found is not None:
            if not known[-1].jumps:
                first = replace(found, jumps=())
            known.append(found)
    jumps = known[-1].jumps
    return replace(first, jumps=jumps) if first is not None and jumps else None


def _without_drift(scene: Scene, warp: TimeWarp) -> TimeWarp:
    """The same jumps at the same speed, in whole samples."""
    return _moved(warp, scene, ppm=-warp.clock_ppm)


def _in_words(jumps: Sequence[Jump], rate: int) -> str:
    told = [
        f"{abs(j.skipped_seconds) * rate:.0f} samples {'lost' if j.skipped_seconds > 0 else 'too many'} "
        f"at {j.at_seconds:.3f} s"
        for j in jumps[:8]
    ]
    return f"{len(jumps)} jump{'s' if len(jumps) > 1 else ''}: " + ", ".join(told)


def _unknown(start: TimeWarp, rate: int, remark: str) -> ClockEstimate:
    delay = start.delay_seconds * rate
    warp = start if start.whole_samples(rate) is not None or start.clock_ppm else TimeWarp(round(delay) / rate)
    return ClockEstimate(warp, STEADY, delay, math.inf, start.clock_ppm, math.inf, 0.0, 0.0, (remark,))


def _followed(scene: Scene, start: TimeWarp) -> tuple[Frames, TimeWarp | None]:
    """The straight line through what the windows say, refined until it stays."""
    warp, reach = start, _FIRST_REACH
    frames = follow(scene.excerpts, warp, sample_rate=scene.rate, reach_seconds=reach)
    for _ in range(_ROUNDS):
        clear = frames.only_clear()
        if len(clear.seconds) < max(_FEWEST_FRAMES, _TRACKED * len(frames.seconds)):
            return frames, None
        groups, largest = _groups(clear, scene)
        used = groups >= 0
        slope, offsets = robust_line(clear.seconds[used], clear.lags[used], groups[used], scale=0.3)
        at_middle = float(offsets[largest] + slope * scene.middle)
        moves = abs(slope) * 0.5 * (scene.stop - scene.start)
        if moves < 0.75 and abs(at_middle) < 0.004 * scene.rate:
            break
        warp = _moved(warp, scene, ppm=-1e6 * slope / scene.rate if moves > 0.75 else 0.0, lag=at_middle)
        reach = _REACH
        frames = follow(scene.excerpts, warp, sample_rate=scene.rate, reach_seconds=reach)
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


def _moved(warp: TimeWarp, scene: Scene, *, ppm: float = 0.0, lag: float = 0.0) -> TimeWarp:
    """The warp with another clock, and heard so many samples later, both at the middle of the scene."""
    middle = scene.middle
    speed = 1 + 1e-6 * (warp.clock_ppm + ppm)
    there = (middle - warp.delay_seconds) * (1 + 1e-6 * warp.clock_ppm)
    delay = middle - there / speed + lag / scene.rate
    if warp.clock_ppm + ppm == 0:
        delay = round(delay * scene.rate) / scene.rate
    return replace(warp, delay_seconds=delay, clock_ppm=warp.clock_ppm + ppm)


def _loop(scene: Scene, warp: TimeWarp, whitener: NDArray, *, held_out_every: int = 0) -> FilterInLoop | None:
    rows = side_by_side(
        scene.excerpts,
        warp,
        scene.lags,
        sample_rate=scene.rate,
        held_out_every=held_out_every,
        excluded=scene.excluded,
    )
    return fit_filters(rows.whitened(whitener), scene.lags)


_PLAIN = np.ones(1)


def _even(scene: Scene, steady: TimeWarp, warp: TimeWarp) -> ClockEstimate | None:
    """Clocks that run evenly but for jumps that are known: the same, or so many parts in a million apart."""
    found = _newton(scene, warp)
    if found is None:
        return None
    drifting, stderr, whitener = found
    before = _loop(scene, steady, whitener, held_out_every=_HELD_OUT_EVERY)
    after = _loop(scene, drifting, whitener, held_out_every=_HELD_OUT_EVERY)
    if before is None or after is None:
        return None
    earned = (
        abs(drifting.clock_ppm - steady.clock_ppm) > _SIGNIFICANT * stderr
        and after.held_out_db < before.held_out_db - _BETTER_DB
    )
    chosen, kind = (drifting, DRIFT) if earned else (steady, STEADY)
    fraction, fraction_stderr = _fraction(scene, chosen)
    measured = chosen.delay_seconds * scene.rate + fraction
    if earned:
        chosen = replace(chosen, delay_seconds=measured / scene.rate)
    lever = (scene.middle - chosen.delay_seconds) * scene.rate * 1e-6 * stderr
    plain = [_loop(scene, one, _PLAIN, held_out_every=_HELD_OUT_EVERY) for one in (steady, chosen)]
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


def _nearest_steady(scene: Scene, start: TimeWarp, warp: TimeWarp) -> TimeWarp:
    """The whole delay that fits best in the middle: the one given where that is within the filter's reach."""
    here = scene.middle - warp.reference_time(scene.middle)
    given = round(start.delay_seconds * scene.rate)
    if start.clock_ppm == 0 and abs(here * scene.rate - given) <= min(-scene.lags.first, scene.lags.count) / 2:
        return TimeWarp(given / scene.rate)
    return TimeWarp(round(here * scene.rate) / scene.rate)


def _newton(scene: Scene, warp: TimeWarp) -> tuple[TimeWarp, float, NDArray] | None:
    """The even clock that leaves least, its standard error in ppm, and what whitens the residual."""
    whitener: NDArray = _PLAIN
    stderr = math.inf
    for number in range(_NEWTON_ROUNDS):
        fit = _loop(scene, warp, whitener)
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
        warp = _moved(warp, scene, ppm=float(np.clip(change, -most, most)))
        if number >= 2 and abs(change) < 0.05 * stderr + 1e-9:
            break
        if number in (0, 2):
            plain = _loop(scene, warp, _PLAIN)
            if plain is not None:
                whitener = whitener_of(plain)
    return warp, stderr, whitener


def _fraction(scene: Scene, warp: TimeWarp) -> tuple[float, float]:
    """What is left of the delay below one sample, by the phases of all frequencies, and its standard error."""
    window = window_samples(scene.rate, seconds=1.0)
    heard, played = [], []
    for excerpt in scene.excerpts:
        one = side_by_side([excerpt], warp, Lags(0, 1), sample_rate=scene.rate)
        segment = one.segments[0]
        for start in range(segment.start, segment.stop - window + 1, window):
            heard.append(one.mixture[:, start : start + window])
            played.append(one.references[:, start : start + window])
    if not heard:
        return 0.0, math.inf
    m, r = np.stack(heard, axis=1), np.stack(played, axis=1)
    pairs = [(c, d, fractional_delay(one, other)) for c, one in enumerate(m) for d, other in enumerate(r)]
    c, d, best = min(pairs, key=lambda pair: pair[2].stderr)
    if not best.reliable:
        return 0.0, math.inf
    return best.delay_samples, max(best.stderr, _jackknifed(m[c], r[d]))


def _jackknifed(heard: NDArray[np.float64], played: NDArray[np.float64]) -> float:
    """The standard error that the spread of the delay tells when one group of windows after another is left out."""
    groups = np.arange(len(heard)) * min(_GROUPS, len(heard)) // len(heard)
    count = int(groups[-1]) + 1
    if count < 3:
        return 0.0
    without = [fractional_delay(heard[groups != g], played[groups != g]).delay_samples for g in range(count)]
    return math.sqrt((count - 1) * float(np.var(without)))
