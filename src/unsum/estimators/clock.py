"""From a rough place to the exact time warp: the simplest one that the audio supports.

First the warp is followed roughly, window by window. Then it is fitted together with a short filter by least
squares, step by step: no difference of the clocks, an even one, jumps, a bend. Each must show on samples that it was
not fitted to that it is better than what is simpler; a clock that runs evenly is never bent to fit noise.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.estimators.clock_bend import (
    deviation,
    fit_bend,
    followed_bend,
    later,
    line_stderr_ppm,
    loop,
    without_line,
    wobbles,
)
from unsum.estimators.clock_estimate import BENT, DRIFT, JUMPS, ClockEstimate, unknown
from unsum.estimators.clock_even import PLAIN, fit_even, followed, moved, nearest_steady, runs_evenly, sharply
from unsum.estimators.clock_fraction import fraction_left
from unsum.estimators.clock_jumps import around, with_jumps
from unsum.estimators.clock_long_bend import fit_long_bend
from unsum.estimators.clock_passages import fit_passages
from unsum.estimators.clock_scene import Scene, consecutive_scenes, read_scene
from unsum.estimators.clock_survey import Everything, surveyed
from unsum.estimators.following import Frames
from unsum.estimators.locate import Location
from unsum.model import Jump, TimeWarp
from unsum.problem import ArraySource, AudioSource
from unsum.progress import Progress

_RAW_DEVIATION, _SHARP_DEVIATION = 2.0, 0.3  # samples off a straight line, by windows against reference and image
_JUMPS_GAIN_DB, _BEND_GAIN_DB = 0.1, 0.2  # of the null on rows not fitted to


def fit_clock(
    mixture: AudioSource,
    reference: AudioSource,
    location: Location,
    *,
    excluded: Sequence[tuple[int, int]] = (),
    progress: Progress | None = None,
) -> ClockEstimate:
    """Find the exact warp of a reference whose place is known roughly.

    Parameters
    ----------
    mixture, reference : at the same sample rate
    location : of the reference in the mixture; must be present
    excluded : half-open ranges of mixture samples that tell nothing of the clock
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
    if len(location.passages) > 1:
        joined = fit_passages(mixture, reference, location.passages, lengths, excluded=excluded, progress=progress)
        if joined is not None:
            return joined
    found = None
    for start, within, told in _rough_warps(location, lengths, rate):
        scene = read_scene(mixture, reference, lengths, start, progress, within=within, excluded=excluded)

        def everything(
            warp: Callable[[], TimeWarp], scene: Scene | None = scene, within: tuple[int, int] | None = within
        ) -> Iterator[Scene]:
            assert scene is not None
            return consecutive_scenes(mixture, reference, lengths, scene, warp, progress=progress, within=within)

        fitted = _fit(scene, start, rate, everything)
        fitted = replace(fitted, remarks=(*fitted.remarks, *told))
        if math.isfinite(fitted.delay_stderr_samples):
            return fitted
        found = found or fitted
    assert found is not None
    return found


def fit_warp(
    mixture: NDArray[np.float64],
    reference: NDArray[np.float64],
    *,
    sample_rate: int,
    start: TimeWarp,
    excluded: Sequence[tuple[int, int]] = (),
) -> ClockEstimate:
    """Find the exact warp between arrays, from a rough one.

    Parameters
    ----------
    mixture : (channels, samples)
    reference : (channels, samples)
    start : good to some 30 ms at the middle of the overlap
    excluded : half-open ranges of mixture samples that tell nothing of the clock
    """
    heard = ArraySource("mixture", np.asarray(mixture, np.float64), sample_rate, _numbered(mixture))
    played = ArraySource("reference", np.asarray(reference, np.float64), sample_rate, _numbered(reference))
    lengths = heard.samples, played.samples
    scene = read_scene(heard, played, lengths, start, None, excluded=excluded)

    def everything(warp: Callable[[], TimeWarp]) -> Iterator[Scene]:
        assert scene is not None
        return consecutive_scenes(heard, played, lengths, scene, warp)

    return _fit(scene, start, sample_rate, everything)


def _numbered(rows: NDArray) -> tuple[str, ...]:
    return tuple(str(n) for n in range(len(rows)))


def _length(source: AudioSource) -> int:
    return source.samples if source.samples is not None else sum(block.shape[1] for block in source.blocks())


def _rough_warps(
    location: Location, lengths: tuple[int, int], rate: int
) -> Iterator[tuple[TimeWarp, tuple[int, int] | None, tuple[str, ...]]]:
    """The warps that a location tells, the mixture samples in which they hold, and what is to be said of them.

    A delay holds in the middle of what is heard, or of a passage where there are several: then the longest comes
    first, and the others in case that it cannot be followed.
    """
    if len(location.passages) > 1:
        longest_first = sorted(location.passages, key=lambda one: one.start_seconds - one.stop_seconds)
        for number, one in enumerate(longest_first):
            which = "the longest" if number == 0 else "one"
            told = (
                f"the clock is that of {which} of {len(location.passages)} passages, "
                f"{one.start_seconds:.1f} to {one.stop_seconds:.1f} s; the others need a warp of their own",
            )
            within = round(one.start_seconds * rate), round(one.stop_seconds * rate)
            yield _about(0.5 * (one.start_seconds + one.stop_seconds), one.delay_seconds, one.clock_ppm), within, told
        return
    delay = location.delay_samples / rate
    if not location.clock_ppm:
        yield TimeWarp(delay), None, ()
        return
    if location.passages:
        first, last = location.passages[0].start_seconds, location.passages[0].stop_seconds
    else:
        speed = 1 + 1e-6 * location.clock_ppm
        first, last = max(0.0, delay), min(lengths[0] / rate, delay + lengths[1] / rate / speed)
    yield _about(0.5 * (first + last), delay, location.clock_ppm), None, ()
    # Buffers that were lost one after the other look like another clock to the search.
    yield TimeWarp(delay), None, ()


def _about(middle: float, delay_seconds: float, clock_ppm: float) -> TimeWarp:
    """The warp with this clock whose delay at the middle is this."""
    return TimeWarp(middle - (middle - delay_seconds) / (1 + 1e-6 * clock_ppm), clock_ppm)


# The climb ------------------------------------------------------------------------------------------


def _fit(scene: Scene | None, start: TimeWarp, rate: int, everything: Everything) -> ClockEstimate:
    if scene is None:
        return unknown(start, rate, "too little of both sounds together to tell the clocks")
    frames, warp = followed(scene, start)
    if warp is None:
        return unknown(start, rate, "no window of the excerpts agrees clearly with the reference")
    steady = nearest_steady(scene, start, warp)
    if runs_evenly(scene, frames, _RAW_DEVIATION):
        even = fit_even(scene, steady, warp)
        if even is None:
            return unknown(start, rate, "the reference is silent in all excerpts")
        sharp = sharply(scene, even.warp)
        if sharp is None:
            return even
        if runs_evenly(scene, sharp, _SHARP_DEVIATION):
            # Excerpts of long files lie too far apart for a bend between them to mean anything.
            shaking = even.kind == DRIFT and scene.everything and wobbles(scene, even.warp)
            return (shaking and _bent(scene, sharp, even.warp, even, even, everything)) or even
        frames, warp = sharp, even.warp
    else:
        even = None
    return _uneven(scene, frames, steady, warp, even, everything)


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
        even = fit_even(scene, steady, warp)
        if even is None:
            return unknown(steady, scene.rate, "the reference is silent in all excerpts")
    best = even
    jumping = with_jumps(scene, warp, frames) if scene.everything else surveyed(scene, warp, everything)
    if jumping is not None:
        apart = replace(scene, excluded=(*scene.excluded, *around(jumping.jumps, scene)))
        fitted = fit_even(apart, _without_drift(apart, jumping), jumping)
        if fitted is not None and fitted.null_db < even.null_db - _JUMPS_GAIN_DB:
            names = _in_words(fitted.warp.jumps, scene.rate)
            best = replace(fitted, kind=JUMPS, null_db_before=even.null_db_before, remarks=(names,))
            sharp = sharply(apart, best.warp)
            if sharp is None or deviation(sharp) < _SHARP_DEVIATION:
                return best
    bent = _bent(scene, frames, warp, best, even, everything)
    if bent is not None:
        return bent
    told = "the clocks do not run evenly, but neither jumps nor a bend explain it"
    return replace(best, remarks=(*best.remarks, told), uneven=True) if best is even else best


def _bent(
    scene: Scene, frames: Frames, warp: TimeWarp, best: ClockEstimate, even: ClockEstimate, everything: Everything
) -> ClockEstimate | None:
    """The clock that runs unevenly, from a warp that frames were followed with; None where the best is as good."""
    bent = fit_bend(scene, followed_bend(scene, warp, frames)) if scene.everything else fit_long_bend(warp, everything)
    against = loop(scene, best.warp, PLAIN)
    tested = None if bent is None else loop(scene, bent, PLAIN)
    if bent is None or tested is None or against is None or tested.held_out_db > against.held_out_db - _BEND_GAIN_DB:
        return None
    bent = without_line(bent, scene.start, scene.stop)
    fraction, fraction_stderr = fraction_left(scene, bent)
    bent = later(bent, fraction / scene.rate)
    stderr = line_stderr_ppm(scene, tested, bent)
    return ClockEstimate(
        bent,
        BENT,
        bent.delay_seconds * scene.rate,
        math.hypot(fraction_stderr, (scene.middle - bent.delay_seconds) * scene.rate * 1e-6 * stderr),
        bent.clock_ppm,
        stderr,
        even.null_db_before,
        tested.held_out_db,
    )


def _without_drift(scene: Scene, warp: TimeWarp) -> TimeWarp:
    """The same jumps at the same speed, in whole samples."""
    straight = moved(warp, scene, ppm=-warp.clock_ppm)
    # At another speed they were no whole samples, and no reference that jumps by a part of one is subtracted exactly.
    whole = [
        replace(jump, skipped_seconds=round(jump.skipped_seconds * scene.rate) / scene.rate) for jump in warp.jumps
    ]
    return replace(straight, jumps=tuple(whole))


def _in_words(jumps: Sequence[Jump], rate: int) -> str:
    told = [
        f"{abs(j.skipped_seconds) * rate:.0f} samples {'lost' if j.skipped_seconds > 0 else 'too many'} "
        f"at {j.at_seconds:.3f} s"
        for j in jumps[:8]
    ]
    return f"{len(jumps)} jump{'s' if len(jumps) > 1 else ''}: " + ", ".join(told)
