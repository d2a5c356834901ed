"""Where a recording jumps in the reference: dropped and repeated buffers, to the sample."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.convolution import convolve
from unsum.dsp.jumps import Stretch, change_point, continuous_stretches
from unsum.dsp.time_fit import Excerpt, FilterInLoop, fit_filters, render, side_by_side, whitener_of
from unsum.estimators.clock_scene import Scene, clipped
from unsum.estimators.following import Frames, follow
from unsum.model import Jump, TimeWarp

Audio = NDArray[np.float64]

# The least change of a delay that counts as a jump, in samples, and the frames that must confirm either side.
LEAST_JUMP = 3.0
_FEWEST_FRAMES = 5
_REACH = 0.1
_AROUND_SECONDS = 0.45  # windows see a jump so much before it and after
_LEAST_GAIN = 60.0  # log likelihood by which a jump must explain what lies around it


def longest_stretch(frames: Frames, *, sample_rate: int) -> Stretch | None:
    """The longest run of clear frames without a step; None where there is none."""
    clear = frames.only_clear()
    found = stretches(clear, sample_rate=sample_rate)
    return max(found, key=lambda one: clear.seconds[one.stop - 1] - clear.seconds[one.start]) if found else None


def stretches(clear: Frames, *, sample_rate: int, step: float = LEAST_JUMP) -> list[Stretch]:
    """Runs of clear frames between steps."""
    return continuous_stretches(clear.seconds, clear.lags, step=step, fewest=_FEWEST_FRAMES)


def filter_of_stretch(scene: Scene, warp: TimeWarp, first: float, last: float) -> FilterInLoop | None:
    """The filter fitted where nothing jumps, between two times."""
    part = clipped(scene, first, last)
    if part is None:
        return None
    rows = side_by_side(part.excerpts, warp, scene.lags, sample_rate=scene.rate, excluded=scene.excluded)
    return fit_filters(rows, scene.lags)


def with_jumps(scene: Scene, warp: TimeWarp, frames: Frames) -> TimeWarp | None:
    """The warp with the jumps of a scene whose clock is even but for them; None where it has none.

    Parameters
    ----------
    warp : even, and right within the longest stretch
    frames : that followed it
    """
    clear = frames.only_clear()
    longest = longest_stretch(frames, sample_rate=scene.rate)
    if longest is None:
        return None
    lag = float(np.median(clear.lags[longest.start : longest.stop]))
    base = replace(warp, delay_seconds=warp.delay_seconds + round(lag) / scene.rate)
    fit = filter_of_stretch(scene, base, clear.seconds[longest.start], clear.seconds[longest.stop - 1])
    if fit is None:
        return None
    # Against the image the peaks are sharp: a filter's own echoes no longer pass for steps.
    again = follow(
        scene.excerpts,
        base,
        sample_rate=scene.rate,
        reach_seconds=_REACH,
        filters=fit.filters,
        lags=scene.lags,
        excluded=scene.excluded,
    ).only_clear()
    runs = stretches(again, sample_rate=scene.rate)
    levels = [round(float(np.median(again.lags[run.start : run.stop]))) for run in runs]
    whitener = whitener_of(fit)
    if not runs:
        return None
    jumps: list[Jump] = []
    speed = 1 + 1e-6 * warp.clock_ppm
    level = levels[0]
    for (one, _), (other, after) in pairwise(zip(runs, levels, strict=True)):
        if abs(after - level) < LEAST_JUMP:
            continue
        first = float(again.seconds[one.stop - 1]) - _AROUND_SECONDS
        last = float(again.seconds[other.start]) + _AROUND_SECONDS
        at = _exactly(scene, base, fit, whitener, first, last, level, after)
        if at is not None:
            # A buffer that was lost makes the mixture early: it goes on later in the reference.
            jumps.append(Jump(at / scene.rate, (level - after) / scene.rate * speed))
            level = after
    if not jumps:
        return None
    # A scene has some seconds of the one before: what is new in it may lie ahead of what is known.
    every = tuple(sorted((*warp.jumps, *jumps), key=lambda jump: jump.at_seconds))
    return replace(base, delay_seconds=base.delay_seconds + levels[0] / scene.rate, jumps=every)


def _exactly(
    scene: Scene, base: TimeWarp, fit: FilterInLoop, whitener: Audio, first: float, last: float, before: int, after: int
) -> int | None:
    """The mixture sample at which it jumps from one lag to the other; None where nothing shows it does."""
    part = clipped(scene, first, last)
    if part is None or len(part.excerpts) != 1:
        return None
    excerpt = part.excerpts[0]
    ends = [_residual(excerpt, base, fit, lag, scene.rate) for lag in (before, after)]
    change = change_point(ends[0], ends[1], whitener)
    return excerpt.start + change.at if change.gain > _LEAST_GAIN else None


def _residual(excerpt: Excerpt, base: TimeWarp, fit: FilterInLoop, lag: int, rate: int) -> Audio:
    """What is left of an excerpt that is heard so many samples later than the warp says."""
    lags = fit.lags
    warp = replace(base, delay_seconds=base.delay_seconds + lag / rate)
    played = render(excerpt, warp, sample_rate=rate, before=lags.before, behind=lags.behind)
    image = convolve(played, fit.filters, first_lag=lags.first, n_samples=played.shape[1])
    return excerpt.mixture - image[:, lags.before : lags.before + excerpt.mixture.shape[1]]


def around(jumps: Sequence[Jump], scene: Scene) -> list[tuple[int, int]]:
    """Mixture samples at which a filter hears both sides of a jump."""
    reach = max(scene.lags.before, scene.lags.behind) + 64
    at = [round(jump.at_seconds * scene.rate) for jump in jumps]
    return [(sample - reach, sample + reach) for sample in at]
