"""How late one signal is against another: to the sample, whatever else is in either."""

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from unsum.dsp.correlation import LagEstimate, WhitenedCorrelation

WINDOW = 1 << 14
MAX_LAG = 2000


def lag_between(first, second, *, windows=1, window=WINDOW):
    correlation = WhitenedCorrelation(window=window, max_lag=MAX_LAG)
    for n in range(windows):
        span = slice(n * window, (n + 1) * window)
        correlation.add(WhitenedCorrelation.spectrum(first[span]), WhitenedCorrelation.spectrum(second[span]))
    return correlation.estimate()


def late(signal, lag):
    """The same signal, heard ``lag`` samples later."""
    return np.roll(signal, lag)


@settings(max_examples=30, deadline=None)
@given(lag=st.integers(-MAX_LAG, MAX_LAG), gain=st.sampled_from([1.0, -1.0, 0.01, 3.0]), seed=st.integers(0, 999))
def test_a_lag_is_found_to_the_sample_under_other_sound(lag, gain, seed):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(WINDOW + 2 * MAX_LAG)
    mine, yours = (scenes.speech_like(rng, len(shared), peak=2, quantised=False)[0] for _ in "ab")
    first = (shared + mine)[MAX_LAG:-MAX_LAG]
    second = (gain * (late(shared, lag) + 0.5 * yours))[MAX_LAG:-MAX_LAG]
    found = lag_between(first, second)
    assert found.lag_samples == lag
    assert found.reliable


@pytest.mark.parametrize("seed", range(8))
def test_a_shared_sound_of_low_notes_is_not_taken_for_its_neighbour(seed):
    """What the two share is below 1 kHz, where its peak is broad; white noise would move the top of it."""
    rng = np.random.default_rng(seed)
    length = 6 * WINDOW
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[np.fft.rfftfreq(length, 1 / 48000) > 1000] = 0
    shared = np.fft.irfft(spectrum, length)
    shared /= shared.std()
    first = shared + 0.3 * rng.standard_normal(length)
    second = late(shared, 37) + 0.3 * rng.standard_normal(length)
    found = lag_between(first, second, windows=6)
    # A guess may be wrong, but it must not be sold as more.
    assert found.lag_samples == 37 or not found.reliable
    assert abs(found.lag_samples + found.fraction - 37) < 5 * max(found.stderr, 0.01)


def test_most_shared_sounds_of_low_notes_are_told_with_certainty():
    reliable = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shared = scenes.speech_like(rng, 6 * WINDOW, quantised=False)[0]
        mine, yours = (scenes.noise_bursts(rng, 6 * WINDOW, quantised=False, peak=2000)[0] for _ in "ab")
        found = lag_between(shared + mine, late(shared, -5) + yours, windows=6)
        assert found.lag_samples == -5 or not found.reliable
        reliable += found.reliable
    assert reliable >= 6


def test_a_lag_between_two_samples_is_no_whole_lag():
    rng = np.random.default_rng(3)
    length = 4 * WINDOW
    spectrum = np.fft.rfft(rng.standard_normal(length))
    half = np.exp(-2j * np.pi * np.fft.rfftfreq(length) * 10.4)
    first, second = np.fft.irfft(spectrum, length), np.fft.irfft(spectrum * half, length)
    found = lag_between(first, second, windows=4)
    assert found.lag_samples + found.fraction == pytest.approx(10.4, abs=0.02)
    assert not found.reliable


@pytest.mark.parametrize("seed", range(10))
def test_unrelated_sounds_are_reported_unreliable(seed):
    rng = np.random.default_rng(seed)
    speech, music = scenes.speech_like(rng, 3 * WINDOW)[0], scenes.music_like(rng, 3 * WINDOW)[0]
    assert not lag_between(speech, music, windows=3).reliable


def test_silence_tells_nothing():
    rng = np.random.default_rng(4)
    silence, noise = np.zeros(WINDOW), rng.standard_normal(WINDOW)
    for first, second in [(silence, silence), (silence, noise), (noise, silence)]:
        found = lag_between(first, second)
        assert found == LagEstimate(0, 1.0, 0.0) and not found.reliable


def test_equal_signals_have_no_lag():
    noise = np.random.default_rng(5).integers(-9000, 9000, WINDOW)
    found = lag_between(noise, noise)
    assert found.lag_samples == 0 and found.reliable and abs(found.fraction) < 1e-9


def test_more_windows_find_what_one_does_not():
    rng = np.random.default_rng(6)
    shared, mine, yours = rng.standard_normal((3, 40 * WINDOW))
    first, second = 0.15 * shared + mine, 0.15 * late(shared, 123) + yours
    assert not lag_between(first, second).reliable
    found = lag_between(first, second, windows=40)
    assert found.lag_samples == 123 and found.reliable


@pytest.mark.parametrize("max_lag", [0, -1, 64, 100])
def test_a_lag_longer_than_the_window_is_refused(max_lag):
    with pytest.raises(ValueError, match="must lie between 0 and the window, 64 samples"):
        WhitenedCorrelation(window=64, max_lag=max_lag)
