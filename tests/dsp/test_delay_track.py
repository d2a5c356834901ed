"""The path of a delay: noise that is moved by whole samples has a delay that nobody needs to estimate."""

import numpy as np
import pytest

from unsum.dsp.delay_track import DelayTracker

WINDOW, HOP, REACH = 2048, 512, 300


def tracked(mixture, reference, *, at=0):
    """The track of a mixture against a reference whose sample ``at`` met the mixture's first."""
    padded = np.pad(reference, 4 * REACH)
    tracker = DelayTracker(window=WINDOW, hop=HOP, reach=REACH)
    for start in range(0, len(mixture) - WINDOW + 1, HOP):
        first = start + at + 4 * REACH - REACH - tracker.centre
        tracker.add(mixture[start : start + WINDOW], padded[first : first + WINDOW + 2 * REACH])
    return tracker.finish()


@pytest.mark.parametrize("delay", [-250, -1, 0, 1, 77, 250])
def test_a_delay_of_whole_samples_is_followed_in_every_window(rng, delay):
    sound = rng.standard_normal(20000)
    track = tracked(sound[1000 - delay : 15000 - delay], sound, at=1000)
    np.testing.assert_allclose(track.lags, delay, atol=0.1)
    assert track.heights.min() > 8


def test_a_jump_is_followed_under_noise_as_loud(rng):
    sound = rng.standard_normal(60000)
    mixture = np.concatenate([sound[1000:25000], sound[25150:55000]])
    track = tracked(mixture + rng.standard_normal(len(mixture)), sound, at=1000)
    middle = HOP * np.arange(len(track.lags)) + WINDOW / 2
    np.testing.assert_allclose(track.lags[middle < 24000 - WINDOW], 0, atol=0.5)
    np.testing.assert_allclose(track.lags[middle > 24000 + WINDOW], -150, atol=0.5)


def test_the_centre_goes_along_with_jumps_that_add_up_beyond_the_reach(rng):
    sound = rng.standard_normal(120000)
    cuts = [sound[1000 + 200 * n + 20000 * n : 1000 + 200 * n + 20000 * (n + 1)] for n in range(5)]
    track = tracked(np.concatenate(cuts), sound, at=1000)
    assert abs(track.lags[-1] + 800) < 0.5


def test_a_long_track_is_settled_on_the_way_and_stays_the_same(rng, monkeypatch):
    sound = rng.standard_normal(60000)
    mixture = sound[1000:50000] + 2 * rng.standard_normal(49000)
    whole = tracked(mixture, sound, at=1000)
    monkeypatch.setattr("unsum.dsp.delay_track._KEPT_FRAMES", 24)
    np.testing.assert_array_equal(tracked(mixture, sound, at=1000).lags, whole.lags)


def test_silence_has_no_height(rng):
    track = tracked(np.zeros(8000), rng.standard_normal(8000))
    np.testing.assert_array_equal(track.heights, 0)


def test_an_unrelated_sound_stands_out_no_more_than_chance_has_it(rng):
    track = tracked(rng.standard_normal(30000), rng.standard_normal(30000))
    assert np.median(track.heights) < 5
