"""What one response explains: noise through known rooms, at known levels; tones and loops that agree by chance."""

import math

import numpy as np
import pytest
import scipy.signal

from unsum.dsp.response_likelihood import ResponseLikelihood, response_likelihood

RATE = 8000.0
WINDOW = 4096
WINDOWS = 12


def windows(sound):
    return sound[: WINDOWS * WINDOW].reshape(WINDOWS, WINDOW)


def judged(heard, played, *, taps=128, begins=(-200, 200), most_drift=0.0):
    time = np.arange(WINDOWS, dtype=float) * WINDOW
    return response_likelihood(
        windows(heard), windows(played), time, sample_rate=RATE, taps=taps, begins=begins, most_drift=most_drift
    )


def white(rng):
    return rng.standard_normal(WINDOWS * WINDOW + 1000)


def room(rng, *, taps=400, decay=80):
    response = rng.standard_normal(taps) * np.exp(-np.arange(taps) / decay)
    return response / np.sqrt(np.sum(response**2))


def later(sound, by):
    return np.concatenate([np.zeros(by), sound])[: len(sound)]


def test_sounds_that_share_nothing_explain_nothing(rng):
    assert max(judged(white(rng), white(rng), most_drift=3e-4).nats for _ in range(30)) < 5


@pytest.mark.parametrize("late", [0, 37, 150])
def test_a_sound_20_db_below_noise_in_a_room_is_explained_where_it_begins(rng, late):
    played = white(rng)
    response = room(rng)
    response[0] = 0.6  # the direct sound
    heard = later(scipy.signal.fftconvolve(played, response)[: len(played)], late) + 10 * white(rng)
    found = judged(heard, played)
    assert found.nats > 40
    assert abs(found.lag - late) <= 24  # 3 ms


def test_it_begins_with_the_direct_sound_though_reflections_be_louder(rng):
    played = white(rng)
    response = np.zeros(300)
    response[[0, 150, 170, 190, 210, 230]] = 0.7, 1, -1, 1, -1, 1
    heard = scipy.signal.fftconvolve(played, response)[: len(played)] + 4 * white(rng)
    assert judged(heard, played, taps=96).lag > 100
    assert judged(heard, played, taps=256).lag in range(-8, 9)


def test_a_sample_of_white_noise_under_white_noise_is_worth_half_its_snr(rng):
    """All samples together, but for what a fading window holds less and one unknown tap costs."""
    played, snr = white(rng), 0.02
    found = judged(played + white(rng) / math.sqrt(snr), played, taps=4, begins=(-2, 2))
    samples = WINDOWS * WINDOW * 0.9 * (0.9 - 60 / 4000)  # what fades, and what is beyond the band
    assert found.nats == pytest.approx(samples * snr / 2, rel=0.3)


def test_pauses_of_a_loud_sound_tell_what_its_mean_level_hides(rng):
    played, loud = white(rng), 10 * white(rng)
    gate = np.repeat(np.arange(len(loud) // 2048 + 1) % 2, 2048)[: len(loud)] * (1 - 0.05) + 0.05
    even = loud * np.sqrt(np.mean(gate**2))
    assert judged(played + loud * gate, played).nats > 3 * judged(played + even, played).nats


def test_clocks_that_differ_are_followed(rng):
    """Sums of cosines are turned to another clock exactly."""
    time = np.arange(WINDOWS * WINDOW) / RATE
    frequency, phase = rng.uniform(100, 3000, 300), rng.uniform(0, 2 * np.pi, 300)

    def cloud(t):
        return np.sum([np.cos(2 * np.pi * f * t + p) for f, p in zip(frequency, phase, strict=True)], axis=0)

    ppm = -150.0
    pivot = time[-1] / 2
    heard = cloud(time - 1e-6 * ppm * (time - pivot))
    noise = 10 * np.sqrt(150) * rng.standard_normal(len(time))
    found = judged(heard + noise, cloud(time), most_drift=3e-4)
    assert found.slope == pytest.approx(1e-6 * ppm, abs=20e-6)
    assert found.nats > judged(heard + noise, cloud(time)).nats + 20


def test_one_window_has_no_slope(rng):
    played = white(rng)[:WINDOW][None]
    heard = played + white(rng)[:WINDOW]
    found = response_likelihood(
        heard, played, np.array([5000.0]), sample_rate=RATE, taps=64, begins=(-20, 20), most_drift=3e-4
    )
    assert found.nats > 40 and found.slope == 0.0


@pytest.mark.parametrize("length", [WINDOW - 1, WINDOW + 4])
def test_windows_whose_frames_do_not_meet_are_refused(length):
    sound = np.ones((2, length))
    with pytest.raises(ValueError, match=f"{length} samples; cut them to a multiple of 8"):
        response_likelihood(sound, sound, np.arange(2.0), sample_rate=RATE, taps=64, begins=(-9, 9), most_drift=0.0)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_steady_tones_of_one_pitch_are_no_evidence(rng, count):
    """They agree for as long as they sound, though it was chance once."""
    time = np.arange(WINDOWS * WINDOW) / RATE
    pitches = rng.uniform(200, 2000, count)

    def notes():
        out = sum(np.cos(2 * np.pi * f * time + rng.uniform(0, 6)) for f in pitches)
        return out + 0.05 * rng.standard_normal(len(time))

    assert judged(notes(), notes(), most_drift=3e-4).nats < 60


def test_clicks_at_the_same_moments_are_no_evidence(rng):
    clicks = np.zeros(WINDOWS * WINDOW)
    clicks[500 :: WINDOW // 2] = 100.0
    quiet = [clicks * rng.choice([-1, 1], len(clicks)) + white(rng)[: len(clicks)] for _ in range(2)]
    assert judged(*quiet).nats < 60


def test_the_level_of_either_changes_nothing(rng):
    played = white(rng)
    heard = played + 3 * white(rng)
    one = judged(heard, played)
    for a, b in ((1e-4, 1.0), (1.0, 1e4), (-30.0, 1e-3)):
        other = judged(a * heard, b * played)
        assert other.lag == one.lag and other.nats == pytest.approx(one.nats, rel=1e-6)


def test_it_begins_nowhere_else_than_it_may(rng):
    played = white(rng)
    heard = later(played, 100) + white(rng)
    assert judged(heard, played, begins=(-200, 40)).lag < 40
    assert judged(heard, played, begins=(90, 110)).lag in range(90, 110)


def test_silence_explains_nothing(rng):
    sound, silence = white(rng), np.zeros(WINDOWS * WINDOW + 1000)
    assert judged(sound, silence) == ResponseLikelihood(0.0)
    assert judged(silence, sound) == ResponseLikelihood(0.0)


def test_windows_that_are_silent_do_not_hide_what_others_hear(rng):
    played = white(rng)
    heard = played + 3 * white(rng)
    all_of_it = judged(heard, played).nats
    heard[: 4 * WINDOW] = 0.0
    assert judged(heard, played).nats > 0.4 * all_of_it
