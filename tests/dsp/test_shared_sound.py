"""What one sound explains of another: noise through filters, mixed at known levels; loops that repeat themselves."""

import math

import numpy as np
import pytest
import scipy.signal

from unsum.dsp.shared_sound import SharedSound, shared_sound

WINDOW = 2048
# In and out over a third each.
FADED = np.interp(np.arange(WINDOW), [0, WINDOW / 3, 2 * WINDOW / 3, WINDOW], [0.0, 1.0, 1.0, 0.0])


def spectra(sound, n_windows=12):
    """Of windows side by side, padded to twice their length."""
    pieces = sound[: n_windows * WINDOW].reshape(n_windows, WINDOW) * FADED
    return np.fft.rfft(pieces, 2 * WINDOW)


def judged(heard, played, late=0.0, *, taps=64, near=16, n_windows=12):
    return shared_sound(
        spectra(heard, n_windows), spectra(played, n_windows), np.full(n_windows, late), taps=taps, near=near
    )


def white(rng, n_windows=12):
    return rng.standard_normal(n_windows * WINDOW)


def test_sounds_that_share_nothing_explain_nothing(rng):
    found = [judged(white(rng), white(rng)) for _ in range(100)]
    nats = np.array([one.nats for one in found])
    assert abs(nats.mean()) < 6  # of 64 taps, each of which explains one nat by chance
    assert nats.max() < 40
    assert max(one.standing for one in found) < 4
    assert np.mean([one.repeats for one in found]) < 1.1


def test_white_noise_under_white_noise_is_worth_what_information_theory_says(rng):
    """Each sample tells ``log(1 + SNR) / 2`` nats, and a window that fades holds two thirds of its samples."""
    played = white(rng, 40)
    for snr in (0.1, 1.0):
        found = judged(played + rng.standard_normal(len(played)) / math.sqrt(snr), played, n_windows=40)
        samples = len(played) * np.mean(FADED**2) ** 2 / np.mean(FADED**4)
        assert found.nats == pytest.approx(samples * math.log1p(snr) / 2, rel=0.15)


def test_a_sound_that_came_by_a_short_path_stands_out_and_one_that_came_late_does_not(rng):
    played = white(rng)
    heard = scipy.signal.lfilter([0, 0, 0, 1.0, 0.5, -0.3], [1.0], played) + 3 * rng.standard_normal(len(played))
    near, far = judged(heard, played), judged(heard, played, -400.0)
    assert near.standing > 6 and near.nats > 100
    assert far.standing < 4 and far.nats < 40


def test_windows_that_come_late_each_in_its_own_way_are_put_in_step(rng):
    played = white(rng)
    heard = np.concatenate([np.roll(played[k * WINDOW : (k + 1) * WINDOW], 20 * k) for k in range(12)])
    put = shared_sound(spectra(heard), spectra(played), np.arange(0.0, 240.0, 20.0), taps=64, near=16)
    left = judged(heard, played)
    assert put.nats > 3 * left.nats


def test_the_place_where_the_tune_over_a_loop_agrees_too_explains_more_than_its_repeat(rng):
    bar = rng.standard_normal(3 * WINDOW)
    backing, tune = np.tile(bar, 5), 0.5 * white(rng, 15)
    song = backing + tune
    heard = song[: 12 * WINDOW] + 3 * white(rng)
    right, repeat = judged(heard, song), judged(heard, song[3 * WINDOW :])
    assert right.nats > 1.15 * repeat.nats


def test_two_loops_of_one_length_are_one_witness_heard_again_and_again(rng):
    one, other = (np.tile(rng.standard_normal(WINDOW), 12) for _ in range(2))
    found = judged(one, other)
    assert found.repeats == pytest.approx(12, rel=0.01)
    assert found.standing < 5


def test_polarity_and_level_do_not_matter(rng):
    played = white(rng)
    heard = played + white(rng)
    both = judged(heard, played), judged(-0.001 * heard, 1000 * played)
    assert both[0].nats == pytest.approx(both[1].nats)
    assert both[0].standing == pytest.approx(both[1].standing)


def test_silent_windows_do_not_count(rng):
    played = white(rng)
    heard = played + white(rng)
    heard[5 * WINDOW :] = 0.0
    assert judged(heard, played).nats == pytest.approx(judged(heard, played, n_windows=5).nats)
    assert judged(np.zeros_like(played), played) == SharedSound(0.0, 0.0, 1.0)
