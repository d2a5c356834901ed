"""The fader behind an equaliser: gains of responses that are flat in places."""

import math

import numpy as np
import pytest
import scipy.signal

from unsum.describe.flat import flat_gain
from unsum.describe.mixer import describe_mixer
from unsum.model import Contribution, TimeWarp


def equalised(gain: float, *bands, n_taps: int = 8192, rate: int = 48000) -> np.ndarray:
    """The taps (1, 1, taps) of peaks (frequency, q, linear gain) of an analogue-style equaliser."""
    taps = np.zeros(n_taps)
    taps[0] = gain
    for hz, q, boost in bands:
        b, a = scipy.signal.iirpeak(hz, q, fs=rate)
        taps = taps + (boost - 1) * np.asarray(scipy.signal.lfilter(b, a, taps))
    return taps[None, None]


def test_the_fader_shows_where_the_equaliser_is_flat():
    filters = equalised(0.5, (200, 2, 2.0), (3000, 4, 0.4))
    found = flat_gain(filters, sample_rate=48000)
    assert found is not None
    assert found.gain_db == pytest.approx(20 * math.log10(0.5), abs=0.01)
    assert found.stderr_db is None
    assert 1 < found.octaves < 9
    # The norm holds the equaliser too.
    strip = describe_mixer("song", Contribution(True, TimeWarp(), filters, 0), channels=("FC",))
    assert strip.gain_db is not None
    assert abs(strip.gain_db - found.gain_db) > 0.05


def test_a_plain_gain_is_flat_throughout_and_on_the_scale_of_the_strip():
    filters = np.zeros((2, 1, 512))
    filters[:, 0, 0] = 0.7 * math.cos(math.radians(20)), 0.7 * math.sin(math.radians(20))
    found = flat_gain(filters, sample_rate=48000)
    assert found is not None
    assert found.gain_db == pytest.approx(20 * math.log10(0.7), abs=1e-9)
    # In the bass many twelfths of an octave hold no bin of so short a filter.
    assert found.octaves > 6


def test_the_error_of_the_flat_gain_is_that_of_repeated_noise(rng):
    filters, deviation = equalised(0.5, (1000, 1, 3.0), n_taps=1024), 2e-4
    variance = np.full((1, 1, 65), 1024 * deviation**2)
    gains, told = [], []
    for _ in range(60):
        noisy = filters + deviation * rng.standard_normal(filters.shape)
        found = flat_gain(noisy, sample_rate=48000, variance=variance)
        assert found is not None
        gains.append(found.gain_db)
        told.append(found.stderr_db)
    # The wings of the peak are within a tenth of a decibel too, and choose themselves by their noise.
    assert np.mean(gains) == pytest.approx(20 * math.log10(0.5), abs=0.06)
    assert 0.5 < np.std(gains) / np.mean(told) < 3


def test_bands_in_which_the_reference_is_silent_are_not_flat():
    filters = equalised(0.5, (100, 1, 3.0), n_taps=4096)
    below = (np.arange(2049) * 24000 / 2048 < 250)[None].astype(float)
    assert flat_gain(filters, sample_rate=48000, power=below) is None
    assert flat_gain(filters, sample_rate=48000) is not None
    assert flat_gain(filters, sample_rate=48000, power=np.zeros((1, 9))) is None


def test_a_room_is_flat_nowhere(rng):
    taps = rng.standard_normal(8192) * np.exp(-np.arange(8192) / 2000)
    assert flat_gain(taps[None, None], sample_rate=48000) is None
