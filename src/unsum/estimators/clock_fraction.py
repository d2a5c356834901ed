"""What is left of the delay below one sample once a warp is known, and how sure that is."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import running_mean
from unsum.dsp.time_rows import Excerpt, render
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
    if not heard.size:
        return 0.0, math.inf
    most = max(scene.lags.before, scene.lags.behind)
    whole = _peak(heard, played, most)
    if whole:
        del heard, played  # or there would be two of each
        heard, played = _windows(scene, replace(warp, delay_seconds=warp.delay_seconds + whole / scene.rate))
    pairs = [(one, other) for one in heard for other in played]
    one, other = min(pairs, key=lambda pair: fractional_delay(*pair, passes=1).stderr)
    best = fractional_delay(one, other, groups=_GROUPS)
    return (whole + best.delay_samples, max(best.stderr, best.spread)) if best.reliable else (0.0, math.inf)


def _windows(scene: Scene, warp: TimeWarp) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mixture and reference in windows of a second, (channels, windows, samples)."""
    window = window_samples(scene.rate, seconds=1.0)
    cut: list[Excerpt] = []
    for excerpt in scene.excerpts:
        starts = np.arange(excerpt.start, excerpt.stop - window + 1, window)
        for start in starts[mostly_counting(starts, window, scene.excluded)].tolist():
            at = start - excerpt.start
            cut.append(replace(excerpt, start=start, mixture=excerpt.mixture[:, at : at + window]))
    heard, played = (
        np.zeros((len(rows), len(cut), window), np.float32)
        for rows in (scene.excerpts[0].mixture, scene.excerpts[0].reference)
    )
    for n, one in enumerate(cut):
        heard[:, n], played[:, n] = one.mixture, render(one, warp, sample_rate=scene.rate)
    return heard, played


def _peak(heard: NDArray[np.floating], played: NDArray[np.floating], most: int) -> int:
    """The whole lag within ``most`` samples at which the whitened correlation of any two channels stands out most."""
    length = heard.shape[2]
    fade = np.hanning(length)
    cross = np.zeros((len(heard), len(played), length + 1), complex)
    powers = np.zeros((2, length + 1))
    for n in range(heard.shape[1]):
        one, other = (rfft(rows[:, n] * fade, 2 * length) for rows in (heard, played))
        cross += one[:, None] * np.conj(other)
        powers += [np.sum(np.abs(spectra) ** 2, axis=0) for spectra in (one, other)]
    level = np.sqrt(running_mean(powers[0], _LEVEL_BINS) * running_mean(powers[1], _LEVEL_BINS))
    lags = np.arange(-most, most + 1)
    best, found = 0.0, 0
    for one in cross.reshape(-1, length + 1):
        white = np.divide(one, level, out=np.zeros_like(one), where=level > 0)
        near = np.abs(irfft(white, 2 * length)[lags % (2 * length)])
        if float(near.max()) > best:
            best, found = float(near.max()), int(lags[near.argmax()])
    return found
