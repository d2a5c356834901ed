"""Echoes of sox and ffmpeg, and of exact exponentials, are read back; rooms and equalisers are none."""

import math
import shutil
import subprocess

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal

from unsum.describe.echo import describe_echo, echo_words

RATE = 44_100
N_TAPS = 16_384
OMEGA = np.pi * np.arange(N_TAPS + 1) / N_TAPS
DEVIATION = 1e-4


def later(samples):
    return np.exp(-1j * OMEGA * samples)


def noisy(taps, rng, deviation=DEVIATION):
    """Filters (paths, 1, taps) with noise of that deviation in every response, and its variance."""
    taps = np.atleast_2d(taps)
    noise = deviation / math.sqrt(taps.shape[1]) * rng.standard_normal(taps.shape)
    return (taps + noise)[:, None], np.full((len(taps), 1, taps.shape[1] + 1), deviation**2)


def taps_of(response):
    return np.fft.irfft(response, 2 * N_TAPS)[..., :N_TAPS]


def test_repeats_are_read_with_their_delays_and_levels(rng):
    shape = later(100.3) * (1 + 0.4 * later(5292.25) - 0.25 * later(7000.5))
    filters, variance = noisy(taps_of(np.array([0.5, -0.3])[:, None] * shape), rng)
    echo = describe_echo(filters, variance, sample_rate=RATE, first_lag=-64)
    assert echo is not None
    assert echo.feedback is None
    first, second = echo.repeats
    assert first.delay_seconds * RATE == pytest.approx(5292.25, abs=0.001)
    assert second.delay_seconds * RATE == pytest.approx(7000.5, abs=0.001)
    assert first.level_db == pytest.approx(20 * math.log10(0.4), abs=0.01)
    assert (first.polarity, second.polarity) == (1, -1)
    assert echo.direct.amplitudes == pytest.approx([0.5, -0.3], abs=1e-4)
    assert echo.direct.delay_samples == pytest.approx(36.3, abs=1e-3)
    assert echo.direct.polarity == 1


@pytest.mark.parametrize("feedback", [0.6, -0.8])
def test_a_line_that_feeds_itself_is_told_by_its_feedback(rng, feedback):
    # Taps that end hold some of its repeats, so that the sum is finite here, too.
    repeats = sum(feedback**k * later(100 + 2205.25 * (k + 1)) for k in range(7))
    filters, variance = noisy(taps_of(0.5 * later(100) + 0.2 * repeats), rng)
    echo = describe_echo(filters, variance, sample_rate=RATE)
    assert echo is not None
    assert echo.feedback == pytest.approx(feedback, abs=1e-3)
    (first,) = echo.repeats
    assert first.delay_seconds * RATE == pytest.approx(2205.25, abs=0.001)
    assert first.level_db == pytest.approx(20 * math.log10(0.4), abs=0.01)
    assert ("each inverted" in echo_words(echo)[1]) == (feedback < 0)


def test_ninety_five_of_a_hundred_intervals_hold():
    shape = later(100.3) * (1 + 0.3 * later(900.4))
    held = []
    for seed in range(30):
        filters, variance = noisy(taps_of(shape), np.random.default_rng(seed), deviation=0.03)
        echo = describe_echo(filters, variance, sample_rate=RATE)
        assert echo is not None
        (one,) = echo.repeats
        held.append(abs(one.delay_seconds * RATE - 900.4) < 1.96 * one.delay_stderr_seconds * RATE)
        held.append(abs(one.level_db - 20 * math.log10(0.3)) < 1.96 * one.level_stderr_db)
    assert np.mean(held) >= 0.86


OTHERS = [
    ("sox", ["echo", "0.8", "0.9", "60", "0.4", "90", "0.3"], [60.0, 90.0]),
    ("ffmpeg", ["aecho=0.8:0.9:60|90:0.5|0.25"], [60.0, 90.0]),
]


def impulse_through(program, settings, folder):
    """What a program makes of one impulse (samples,): its response."""
    source, target = folder / "impulse.wav", folder / "out.wav"
    impulse = np.zeros(N_TAPS, np.float32)
    impulse[100] = 0.5
    scipy.io.wavfile.write(source, RATE, impulse)
    if program == "sox":
        command = ["sox", "-D", source, "-b", "32", "-e", "floating-point", target, *settings]
    else:
        command = ["ffmpeg", "-v", "error", "-i", source, "-af", *settings, "-c:a", "pcm_f32le", target]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    out = scipy.io.wavfile.read(target)[1].astype(float)
    return np.pad(out, (0, N_TAPS))[:N_TAPS]


@pytest.mark.parametrize(("program", "settings", "asked"), OTHERS)
def test_echoes_of_other_programs_are_recognised(rng, tmp_path, program, settings, asked):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    response = impulse_through(program, settings, tmp_path)
    heard = np.flatnonzero(np.abs(response) > 1e-3)
    filters, variance = noisy(response, rng, deviation=1e-5)
    echo = describe_echo(filters, variance, sample_rate=RATE)
    assert echo is not None
    assert len(echo.repeats) == len(asked) == len(heard) - 1
    for repeat, milliseconds, at in zip(echo.repeats, asked, heard[1:], strict=True):
        assert 1000 * repeat.delay_seconds == pytest.approx(milliseconds, abs=0.05)
        level = 20 * math.log10(abs(response[at] / response[heard[0]]))
        assert repeat.level_db == pytest.approx(level, abs=0.01)


def test_a_room_is_no_echo(rng):
    at = np.arange(N_TAPS)
    for seconds in (0.1, 0.4):
        room = rng.standard_normal(N_TAPS) * np.exp(-6.9 * at / (seconds * RATE)) * 0.05
        room[:200] = 0.0
        room[100] = 0.8
        assert describe_echo(*noisy(room, rng), sample_rate=RATE) is None


def test_an_equaliser_is_no_echo(rng):
    impulse = np.zeros(N_TAPS)
    impulse[100] = 0.7
    peak = scipy.signal.iirpeak(400.0, 5.0, fs=RATE)
    for ringing in (impulse, impulse + scipy.signal.lfilter(*peak, impulse)):
        assert describe_echo(*noisy(ringing, rng), sample_rate=RATE) is None


def test_noise_and_silence_are_no_echo(rng):
    assert describe_echo(*noisy(np.zeros(N_TAPS), rng), sample_rate=RATE) is None
    silent = np.zeros((1, 1, N_TAPS)), np.zeros((1, 1, N_TAPS + 1))
    assert describe_echo(*silent, sample_rate=RATE) is None


def test_repeats_far_louder_than_the_direct_sound_are_no_echo(rng):
    filters = np.zeros((1, 1, 1024))
    filters[0, 0, [10, 300, 500]] = 0.15, 1.0, -0.4
    assert describe_echo(filters, np.full((1, 1, 513), 1e-10), sample_rate=16000) is None
