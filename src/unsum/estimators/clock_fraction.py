"""What is left of the delay below one sample once a warp is known, and how sure that is."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import running_mean
from unsum.dsp.time_fit import Lags, side_by_side
from unsum.dsp.transforms import irfft, rfft
from unsum.estimators.clock_scene import Scene
from unsum.estimators.delay import fractional_delay
from unsum.estimators.following import mostly_counting, window_samples
from unsum.model import TimeWarp

_LEVEL_BINS = 33  # neighbouring frequencies over which the level of a sound is taken
_GROUPS = 10  # of windows, of which each is left out once


def fraction_left(scene: Scene, warp: TimeWarp) -> tuple[float, float]:
    """What is left of the delay, by the phases of all frequencies, in samples, and its standard error.

    A warp may be off by as much as the filter in the loop makes up for: what is whole of that is taken out first.
    """
    heard, played = _windows(scene, warp)
    if not len(heard):
        return 0.0, math.inf
    most = max(scene.lags.before, scene.lags.behind)
    whole = _peak(heard, played, most)
    if whole:
        heard, played = _windows(scene, replace(warp, delay_seconds=warp.delay_seconds + whole / scene.rate))
    pairs = [(c, d, fractional_delay(one, other)) for c, one in enumerate(heard) for d, other in enumerate(played)]
    c, d, best = min(pairs, key=lambda pair: pair[2].stderr)
    if not best.reliable:
        return 0.0, math.inf
    return whole + best.delay_samples, max(best.stderr, _jackknifed(heard[c], played[d]))


def _windows(scene: Scene, warp: TimeWarp) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mixture and reference in windows of a second, (channels, windows, samples)."""
    window = window_samples(scene.rate, seconds=1.0)
    heard, played = [], []
    for excerpt in scene.excerpts:
        one = side_by_side([excerpt], warp, Lags(0, 1), sample_rate=scene.rate)
        segment = one.segments[0]
        starts = np.arange(segment.start, segment.stop - window + 1, window)
        at = np.rint(one.seconds[starts] * scene.rate).astype(np.intp)
        for start in starts[mostly_counting(at, window, scene.excluded)].tolist():
            heard.append(one.mixture[:, start : start + window])
            played.append(one.references[:, start : start + window])
    if not heard:
        return np.zeros((0, 0, window)), np.zeros((0, 0, window))
    return np.stack(heard, axis=1), np.stack(played, axis=1)


def _peak(heard: NDArray[np.float64], played: NDArray[np.float64], most: int) -> int:
    """The whole lag within ``most`` samples at which the whitened correlation of any two channels stands out most."""
    length = heard.shape[2]
    fade = np.hanning(length)
    spectra = [
        rfft(rows.reshape(-1, length) * fade, 2 * length).reshape(*rows.shape[:2], -1) for rows in (heard, played)
    ]
    levels = [running_mean(np.sum(np.abs(one) ** 2, axis=1).sum(axis=0), _LEVEL_BINS) for one in spectra]
    level = np.sqrt(levels[0] * levels[1])
    lags = np.arange(-most, most + 1)
    best, found = 0.0, 0
    for one in spectra[0]:
        for other in spectra[1]:
            cross = np.sum(one * np.conj(other), axis=0)
            cross = np.divide(cross, level, out=np.zeros_like(cross), where=level > 0)
            near = np.abs(irfft(cross, 2 * length)[lags % (2 * length)])
            if float(near.max()) > best:
                best, found = float(near.max()), int(lags[near.argmax()])
    return found


def _jackknifed(heard: NDArray[np.float64], played: NDArray[np.float64]) -> float:
    """The standard error that the spread of the delay tells when one group of windows after another is left out."""
    groups = np.arange(len(heard)) * min(_GROUPS, len(heard)) // len(heard)
    count = int(groups[-1]) + 1
    if count < 3:
        return 0.0
    without = [fractional_delay(heard[groups != g], played[groups != g]).delay_samples for g in range(count)]
    return math.sqrt((count - 1) * float(np.var(without)))
