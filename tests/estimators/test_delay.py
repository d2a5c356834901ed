"""Delays below one sample: sums of cosines can be delayed exactly, without a resampler."""

import math

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from unsum.errors import InputError
from unsum.estimators.delay import DelayEstimate, fractional_delay

RATE = 48000
WINDOW = 1 << 15


def cloud(rng, windows=6, partials=400):
    """A function of time in samples: partials that are different in every window, so that no two repeat."""
    frequency = 2 * np.pi * rng.uniform(60, 12000, (windows, partials)) / RATE
    phase, size = rng.uniform(0, 2 * np.pi, (2, windows, partials))

    def at(delay):
        t = np.arange(WINDOW) - delay
        waves = np.zeros((windows, WINDOW))
        for f, p, s in zip(frequency.T, phase.T, size.T, strict=True):
            waves += s[:, None] * np.cos(f[:, None] * t + p[:, None])
        return waves

    return at


def cut(signal, hop=WINDOW):
    return np.stack([signal[start : start + WINDOW] for start in range(0, len(signal) - WINDOW + 1, hop)])


@settings(max_examples=6, deadline=None)
@given(delay=st.floats(-3.5, 3.5), gain=st.sampled_from([1.0, -0.2, 5.0]), seed=st.integers(0, 999))
def test_a_delay_without_noise_is_found_to_a_ten_thousandth_of_a_sample(delay, gain, seed):
    sound = cloud(np.random.default_rng(seed), windows=2, partials=150)
    found = fractional_delay(gain * sound(delay), sound(0.0))
    assert found.reliable
    assert abs(found.delay_samples - delay) < 1e-4
    assert found.polarity == np.sign(gain)


def test_the_stated_error_is_the_error_at_0_db():
    rng = np.random.default_rng(7)
    sound = cloud(rng)
    late, played = sound(0.4), sound(0.0)
    found = [fractional_delay(late + late.std() * rng.standard_normal(late.shape), played) for _ in range(12)]
    off = np.array([(one.delay_samples - 0.4) / one.stderr for one in found])
    assert max(abs(one.delay_samples - 0.4) for one in found) < 0.02
    assert 0.4 < np.sqrt(np.mean(off**2)) < 1.7


def test_real_music_at_0_db_is_placed_to_a_fiftieth_of_a_sample(audio_root):
    music, rate = soundfile.read(audio_root / "pairs/viper/viper_b.ogg", frames=30 * 44100, always_2d=True)
    played = music[:, 0]
    spectrum = np.fft.rfft(played)
    late = np.fft.irfft(spectrum * np.exp(-2j * np.pi * np.fft.rfftfreq(len(played)) * 0.37), len(played))
    assert rate == 44100
    clean = fractional_delay(cut(late), cut(played))
    noise = late.std() * np.random.default_rng(1).standard_normal(len(late))
    noisy = fractional_delay(cut(late + noise), cut(played))
    assert abs(clean.delay_samples - 0.37) < 1e-4
    assert abs(noisy.delay_samples - 0.37) < 0.02 and noisy.reliable


def test_the_spread_is_that_of_leaving_out_each_group_of_windows():
    rng = np.random.default_rng(9)
    sound = cloud(rng, windows=9, partials=200)
    late, played = sound(0.4), sound(0.0)
    late = late + late.std() * rng.standard_normal(late.shape)
    left = [np.delete(np.arange(9), slice(n, n + 3)) for n in (0, 3, 6)]
    without = [fractional_delay(late[kept], played[kept]).delay_samples for kept in left]
    found = fractional_delay(late, played, groups=3)
    assert found.spread == pytest.approx(math.sqrt(2 * np.var(without)), rel=0.02)
    assert found.delay_samples == pytest.approx(fractional_delay(late, played).delay_samples, abs=1e-9)
    assert fractional_delay(late, played).spread == fractional_delay(late[:2], played[:2], groups=9).spread == 0


def test_one_pass_tells_how_sure_the_delay_can_be():
    rng = np.random.default_rng(10)
    sound = cloud(rng)
    late, played = sound(0.4), sound(0.0)
    late = late + late.std() * rng.standard_normal(late.shape)
    assert fractional_delay(late, played, passes=1).stderr == pytest.approx(
        fractional_delay(late, played).stderr, rel=0.1
    )


def test_unrelated_sounds_are_reported_unreliable():
    rng = np.random.default_rng(2)
    reliable = [
        fractional_delay(rng.standard_normal((8, WINDOW)), rng.standard_normal((8, WINDOW))).reliable for _ in range(6)
    ]
    assert not any(reliable)


def test_silence_tells_nothing():
    silence, noise = np.zeros((2, WINDOW)), np.random.default_rng(3).standard_normal((2, WINDOW))
    for mixture, reference in [(silence, silence), (silence, noise), (noise, silence)]:
        assert fractional_delay(mixture, reference) == DelayEstimate(0.0, math.inf, 1, 0.0)


def test_windows_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 64\), reference windows of shape \(2, 65\); cut both"):
        fractional_delay(np.zeros((2, 64)), np.zeros((2, 65)))
