"""References that skip, beside others and in many channels: each is followed by itself, and all come out to the bit."""

import numpy as np
import scenes

from unsum.engine import subtract
from unsum.ladder import analyse
from unsum.layouts import LAYOUTS
from unsum.problem import ArraySource, Problem

RATE = 8000


def source(name: str, samples: np.ndarray, layout: str) -> ArraySource:
    return ArraySource(name, samples, RATE, LAYOUTS[layout], bits=16)


def skipping(song: np.ndarray, at_seconds: float, skipped_seconds: float) -> np.ndarray:
    """A song that goes on elsewhere from a moment on."""
    at = round(at_seconds * RATE)
    return np.concatenate([song[:, :at], song[:, at + round(skipped_seconds * RATE) :]], axis=1)


def residual(problem: Problem, analysis) -> np.ndarray:
    return np.concatenate([block.residual for block in subtract(problem, analysis.model)], axis=1)


def differs_at(problem: Problem, analysis, truth: np.ndarray) -> np.ndarray:
    """Seconds at which some channel of what is left is not the truth."""
    return np.flatnonzero((residual(problem, analysis) != truth).any(axis=0)) / RATE


def test_two_songs_that_skip_at_their_own_moments_come_out_bit_for_bit(rng):
    """One of them in stereo; the moment of a skip may be some samples off where its own sounds are soft."""
    one = scenes.music_like(rng, 16 * RATE, channels=2, rate=RATE, peak=6000)
    other = scenes.music_like(rng, 16 * RATE, rate=RATE, peak=6000)
    heard = skipping(one, 5.0, 3.125), skipping(other, 8.5, 4.0)
    talk = scenes.speech_like(rng, 13 * RATE, channels=2, rate=RATE, peak=4000)
    mixture = talk.copy()
    for part in heard:
        mixture[:, : part.shape[1]] += part
    references = source("one", one, "stereo"), source("other", other, "mono")
    problem = Problem(source("mix", mixture, "stereo"), references)
    analysis = analyse(problem, speed="own", max_taps=16)
    jumps = {name: part.warp.jumps for name, part in analysis.model.contributions.items()}
    told = {name: [(round(j.at_seconds, 2), round(j.skipped_seconds, 9)) for j in own] for name, own in jumps.items()}
    assert told == {"one": [(5.0, 3.125)], "other": [(8.5, 4.0)]}
    off = differs_at(problem, analysis, talk)
    assert np.all(np.min(np.abs(np.subtract.outer(off, [5.0, 8.5])), axis=1, initial=np.inf) < 0.002)


def test_a_stereo_song_that_skips_comes_out_of_eight_channels_bit_for_bit(rng):
    song = scenes.music_like(rng, 12 * RATE, channels=2, rate=RATE, peak=6000)
    heard = skipping(song, 6.0, -2.5)
    talk = scenes.speech_like(rng, heard.shape[1], channels=8, rate=RATE, peak=4000)
    mixture = talk.copy()
    mixture[[0, 5]] += heard
    problem = Problem(source("mix", mixture, "7.1"), (source("song", song, "stereo"),))
    analysis = analyse(problem, speed="own", max_taps=16)
    (jump,) = analysis.model.contributions["song"].warp.jumps
    assert (round(jump.at_seconds, 2), round(jump.skipped_seconds, 9)) == (6.0, -2.5)
    assert np.all(np.abs(differs_at(problem, analysis, talk) - 6.0) < 0.002)
