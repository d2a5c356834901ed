"""Delays read off filters whose delay is known by construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, sampled_from

from unsum.describe.timing import Timing, describe_timing, jump_words, on_bins, strongest_arrival, timing_words
from unsum.model import Contribution, Jump, TimeWarp

RATE = 48000
N_TAPS = 512
PINK = 1 / (1 + np.arange(257))[None]


@settings(max_examples=40, deadline=None)
@given(
    delay=floats(-50, 50),
    gain=sampled_from([1.0, -1.0, 0.01, -3.0]),
    power=sampled_from([None, np.ones((1, 300)), PINK]),
)
def test_delay_and_polarity_of_a_pure_delay_are_read_off(delay, gain, power):
    taps = np.arange(2 * N_TAPS)
    # Windowed about the peak, so that the window keeps the symmetry and with it the delay.
    window = np.cos(np.pi * np.clip((taps - N_TAPS - delay) / N_TAPS, -0.5, 0.5)) ** 4
    filters = gain * np.sinc(taps - N_TAPS - delay) * window
    found = strongest_arrival(filters[None, None], first_lag=-64, power=power)
    assert found is not None
    assert found.polarity == np.sign(gain)
    assert abs(found.lag_samples - (N_TAPS + delay - 64)) < 1e-4


def test_a_whole_delay_is_exact_and_negative_lags_stay_negative():
    filters = np.zeros((2, 1, 128))
    filters[1, 0, 3] = -0.5
    found = strongest_arrival(filters, first_lag=-64, power=PINK)
    assert found is not None
    assert found.lag_samples == pytest.approx(-61, abs=1e-9)
    assert found.polarity == -1


def test_one_tap_is_no_delay():
    found = strongest_arrival(np.full((1, 1, 1), -2.0), first_lag=0)
    assert found is not None
    assert found.lag_samples == pytest.approx(0, abs=1e-12)
    assert found.polarity == -1


def test_the_direct_sound_counts_and_not_the_room(rng):
    room = 0.05 * rng.standard_normal(4096) * np.exp(-np.arange(4096) / 800)
    room[:40] = 0
    room[40] = 1.0
    found = strongest_arrival(room[None, None], first_lag=0, power=np.ones((1, 64)))
    assert found is not None
    assert abs(found.lag_samples - 40) < 0.1


def test_silence_arrives_nowhere():
    assert strongest_arrival(np.zeros((2, 2, 8)), first_lag=0) is None
    assert strongest_arrival(np.ones((1, 1, 8)), first_lag=0, power=np.zeros((1, 9))) is None


def test_a_silent_reference_channel_does_not_count():
    filters = np.zeros((1, 2, 16))
    filters[0, 0, 2] = 100.0
    filters[0, 1, 9] = -1.0
    found = strongest_arrival(filters, first_lag=0, power=np.array([np.zeros(9), np.ones(9)]))
    assert found is not None
    assert (round(found.lag_samples), found.polarity) == (9, -1)


def test_power_for_other_channels_is_refused():
    with pytest.raises(ValueError, match="2 reference channels"):
        strongest_arrival(np.ones((1, 2, 8)), first_lag=0, power=np.ones((1, 9)))


def test_warp_and_filter_delay_add_up():
    filters = np.zeros((1, 1, 9))
    filters[0, 0, 6] = 1.0
    heard = Contribution(True, TimeWarp(1.5, 12.0), filters, first_lag=-4)
    timing = describe_timing(heard, sample_rate=RATE, delay_stderr_samples=0.024)
    assert timing.delay_samples == pytest.approx(1.5 * RATE + 2)
    assert timing.delay_stderr_seconds == pytest.approx(5e-7)
    assert timing.clock_ppm == 12.0


def test_bins_between_are_interpolated():
    assert np.allclose(on_bins(np.array([[0.0, 1.0, 4.0]]), 5), [[0, 0.5, 1, 2.5, 4]])


@pytest.mark.parametrize(
    ("timing", "delay", "clock"),
    [
        (Timing(0.0, 0.0, RATE), "in time with the mixture: no delay", "both clocks agree"),
        (
            Timing(0.73123456, 12.41, RATE, 1e-6, 0.002),
            "heard 0.731235 s (35099.259 samples ± 0.048) later than in the reference",
            "played 12.41 ± 0.002 ppm faster than recorded (44.7 ms an hour)",
        ),
        (
            Timing(-0.25, -300.0, 8000),
            "heard 0.250000 s (2000.000 samples) earlier than in the reference",
            "played 300 ppm slower than recorded (1.08 s an hour)",
        ),
        (Timing(0.0, 0.001, RATE, clock_stderr_ppm=0.002), None, "both clocks agree to 0.002 ppm"),
        (Timing(0.0, 41_000.0, RATE), None, "played 4.1000 % faster than recorded"),
        (Timing(0.0, -17_000.25, RATE, 1e-6, 0.02), None, "played 1.7000250 % slower than recorded"),
    ],
)
def test_delay_and_clock_in_words(timing, delay, clock):
    words = timing_words(timing)
    assert delay is None or words[0] == delay
    assert words[1] == clock


def test_the_stated_error_of_the_delay_is_the_one_that_noise_on_the_taps_makes(rng):
    n_taps, noise = 64, 0.003
    pulse = np.sinc(np.arange(n_taps) - 20.3) * np.kaiser(n_taps, 6)
    power = np.linspace(1.0, 0.2, 129)[np.newaxis]
    variance = np.full((1, 1, 129), n_taps * noise**2)
    found = [
        describe_timing(
            Contribution(True, TimeWarp(), (pulse + noise * rng.standard_normal(n_taps))[None, None], 0),
            sample_rate=48000,
            power=power,
            variance=variance,
        )
        for _ in range(300)
    ]
    spread = np.std([timing.delay_samples for timing in found])
    stated = np.mean([(timing.delay_stderr_seconds or 0.0) * 48000 for timing in found])
    assert stated == pytest.approx(spread, rel=0.2)


def test_jumps_in_words_tell_what_is_heard():
    # Three buffers lost, one repeated, then the player pauses for three seconds and goes on.
    warp = TimeWarp(0.0, jumps=(Jump(5.0, 0.009), Jump(6.0, -0.009), Jump(10.0, -20.0), Jump(13.0, 17.0)))
    assert jump_words(warp, sample_rate=49_000) == (
        (5.0, "441.0 samples (9.000 ms) of it are skipped"),
        (6.0, "441.0 samples (9.000 ms) of it are heard again"),
        (10.0, "it is not heard from here on"),
        (13.0, "it goes on from its own 10.000 s"),
    )


def test_a_sound_that_is_heard_twice_is_told_to_begin_again():
    twice = TimeWarp(3.3, jumps=(Jump(21.3, -24.6),))
    assert [(pytest.approx(at), words) for at, words in jump_words(twice, sample_rate=48000)] == [
        (21.3, "it is not heard from here on"),
        (27.9, "it is heard from its beginning"),
    ]


def test_what_was_not_heard_before_does_not_fall_silent():
    late = TimeWarp(3.0, jumps=(Jump(0.0, -9.0), Jump(4.0, 9.0)))
    assert jump_words(late, sample_rate=48000) == ((4.0, "it is heard from its own 1.000 s"),)
