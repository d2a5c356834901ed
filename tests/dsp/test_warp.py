"""Sounds between their samples: sums of cosines are known there without a resampler."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsum.dsp import _warp_numba as compiled
from unsum.dsp import warp as plain
from unsum.dsp.warp import interpolate, interpolate_slope, kernel_table, reach
from unsum.errors import InputError

SAMPLES = 3000
# Far enough from both ends for any kernel used here.
INSIDE = (200.0, 2800.0)


def cosine(frequency: float, at: np.ndarray, phase: float = 0.3) -> np.ndarray:
    """One row of a cosine of amplitude 1, its frequency over the sample rate, at positions in samples."""
    return np.cos(2 * np.pi * frequency * at + phase)[np.newaxis]


def error_db(got: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(np.sum((got - truth) ** 2) / np.sum(truth**2)))


@pytest.mark.parametrize(
    ("frequency", "allowed_db"),
    [*((f, -130) for f in (0.0, 1e-4, 0.013, 0.1, 0.25, 0.33, 0.37, 0.4)), *((f, -110) for f in (0.41, 0.427, 0.44))],
)
def test_a_cosine_between_its_samples_is_still_the_cosine(rng, frequency, allowed_db):
    at = rng.uniform(*INSIDE, 4000)
    assert error_db(interpolate(cosine(frequency, np.arange(SAMPLES)), at), cosine(frequency, at)) < allowed_db


@pytest.mark.parametrize("ppm", [1, 100, -100, 1000, 60_000, -60_000])
def test_a_chord_played_too_fast_or_slow_is_the_chord_at_that_speed(rng, ppm):
    speed = 1 + ppm * 1e-6
    at = np.arange(INSIDE[0], INSIDE[1], speed)
    tones = rng.uniform(0.0005, 0.4 / max(1.0, speed), 40)
    phases = rng.uniform(0, 2 * np.pi, 40)
    chord, truth = (
        np.sum([cosine(f, t, q) for f, q in zip(tones, phases, strict=True)], axis=0) for t in (np.arange(SAMPLES), at)
    )
    assert error_db(interpolate(chord, at, cutoff=min(1.0, 1 / speed)), truth) < -130


@pytest.mark.parametrize("speed", [1.06, 1.5, 3.0, 10.0])
def test_what_would_come_back_as_an_alias_is_silent(speed):
    # 80 zero crossings on either side fade within 0.06 of the rate that results.
    at = np.arange(600.0, 2400.0, speed)
    for frequency in np.linspace(0.56 / speed, 0.5, 5) if 0.56 / speed < 0.5 else []:
        heard = interpolate(cosine(frequency, np.arange(SAMPLES)), at, cutoff=1 / speed)
        assert np.sqrt(np.mean(heard**2)) < 10 ** (-110 / 20)
    kept = cosine(0.4 / speed, at)
    assert error_db(interpolate(cosine(0.4 / speed, np.arange(SAMPLES)), at, cutoff=1 / speed), kept) < -130


@pytest.mark.parametrize("frequency", [0.05, 0.2, 0.4])
def test_the_slope_is_that_of_the_cosine(rng, frequency):
    at = rng.uniform(*INSIDE, 2000)
    omega = 2 * np.pi * frequency
    truth = -omega * np.sin(omega * at + 0.3)[np.newaxis]
    assert error_db(interpolate_slope(cosine(frequency, np.arange(SAMPLES)), at), truth) < -115


@pytest.mark.parametrize("cutoff", [1.0, 0.7])
def test_the_slope_is_the_derivative_of_what_is_interpolated(rng, cutoff):
    noise = rng.standard_normal((2, 400))
    at = rng.uniform(-60, 460, 500)
    step = 1e-6
    before, after = (interpolate(noise, at + d, cutoff=cutoff) for d in (-step, step))
    slope = interpolate_slope(noise, at, cutoff=cutoff)
    # Two values of about 1, each rounded to 1e-16, over 2e-6.
    np.testing.assert_allclose(slope, (after - before) / (2 * step), atol=1e-8)


def test_on_the_samples_stand_the_samples(rng):
    noise = rng.standard_normal((3, 200))
    # The sinc of a whole number is zero up to the rounding of pi.
    np.testing.assert_allclose(interpolate(noise, np.arange(200.0)), noise, atol=1e-14)


@given(seed=st.integers(0, 2**16), speed=st.floats(0.5, 1.0), first=st.integers(-(10**9), 10**9))
def test_any_chunking_gives_the_same_values_to_the_last_bit(seed, speed, first):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, 700))
    at = first + 300 * rng.random() + np.arange(150) * speed
    together = interpolate(noise, at, first=first)
    start = 0
    for stop in [*np.sort(rng.integers(0, 150, 5)), 150]:
        if stop > start:
            left = int(np.floor(at[start])) - reach()
            right = int(np.floor(at[stop - 1])) + reach() + 1
            window = noise[:, max(0, left - first) : right - first]
            part = interpolate(np.asfortranarray(window), at[start:stop], first=max(left, first))
            assert np.array_equal(part, together[:, start:stop])
            start = stop


def test_before_and_behind_the_sound_it_is_silent(rng):
    noise = rng.standard_normal((1, 100))
    far = np.array([-1e300, -1e9, -reach() - 0.5, 99 + reach() + 0.5, 1e9, 1e300])
    assert not interpolate(noise, far).any()
    # Within the kernel's reach of the ends it is what zeros around the sound would give.
    near = np.linspace(-reach(), 99 + reach(), 777)
    surrounded = np.concatenate([np.zeros((1, 500)), noise, np.zeros((1, 500))], axis=1)
    assert np.array_equal(interpolate(noise, near), interpolate(surrounded, near, first=-500))


def test_a_single_sample_becomes_a_kernel_around_it():
    at = 0.25 + np.arange(-60, 60)
    heard = interpolate(np.array([[1.0]]), at)[0]
    assert np.sum(heard) == pytest.approx(1.0, abs=1e-6)  # a constant stays a constant
    close = np.abs(at) < 3
    np.testing.assert_allclose(heard[close], np.sinc(at[close]), atol=0.01)
    assert not heard[np.abs(at) > reach()].any()


def test_channels_do_not_mix(rng):
    noise = rng.standard_normal((5, 300))
    at = rng.uniform(0, 300, 100)
    for row, alone in zip(interpolate(noise, at), noise, strict=True):
        assert np.array_equal(row, interpolate(alone[np.newaxis], at)[0])


@pytest.mark.parametrize(("n_samples", "n_positions"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_in_or_nothing_asked_is_no_error(n_samples, n_positions):
    heard = interpolate(np.ones((2, n_samples)), np.arange(1.0 * n_positions))
    assert heard.shape == (2, n_positions)
    assert n_samples or not heard.any()


@pytest.mark.parametrize("slope", [False, True])
@pytest.mark.parametrize("cutoff", [1.0, 0.6])
def test_the_compiled_loop_is_the_plain_one(rng, cutoff, slope):
    samples = rng.standard_normal((3, 400))
    table = kernel_table(cutoff, slope=slope)
    # Some lie outside; a hair below a whole number, the fraction rounds to 1.
    at = np.concatenate(
        [rng.uniform(-300, 700, 300), np.arange(40.0, 60), [100 - 1e-14, np.nextafter(101, 0), -1e-300]]
    )
    expected, got = np.full((2, 3, len(at)), np.nan)
    plain.evaluate(samples, 10, at, table, expected)
    compiled.evaluate(samples, 10, at, table, got)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    assert expected.any() and not expected.all()


def test_a_position_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="check the warp"):
        interpolate(np.ones((1, 10)), np.array([1.0, np.nan]))


@pytest.mark.parametrize("cutoff", [0.0, -1.0, 1.01, 1e-3, np.nan])
def test_a_cutoff_beyond_the_band_is_refused(cutoff):
    with pytest.raises(InputError, match="cutoff"):
        interpolate(np.ones((1, 10)), np.array([1.0]), cutoff=cutoff)


def test_samples_without_channels_are_refused():
    with pytest.raises(InputError, match=r"\(channels, samples\)"):
        interpolate(np.ones(10), np.array([1.0]))
