"""How sure filters are, from what every stretch of time does to them."""

import numpy as np
import pytest

from unsum.dsp.uncertainty import measured_spread

N_TAPS, BINS = 256, 257


def deviations(rng, channels: int, count: int, size: float) -> list[np.ndarray]:
    """White changes of one filter (channels, 1, taps), whose squares add up to size squared in every bin."""
    return list(size / np.sqrt(count * N_TAPS) * rng.standard_normal((count, channels, 1, N_TAPS)))


def test_deviations_as_large_as_the_formula_says_leave_the_variance_as_it_is(rng):
    variance = np.full((1, 1, BINS), 0.04)
    spread = measured_spread(variance, deviations(rng, 1, 16, 0.2))
    assert np.all(spread.variance >= variance)
    assert np.median(spread.variance / variance) < 1.3


def test_larger_deviations_widen_the_variance_by_as_much(rng):
    variance = np.full((1, 1, BINS), 0.04)
    spread = measured_spread(variance, deviations(rng, 1, 16, 2.0))
    assert np.median(spread.variance / variance) == pytest.approx(100, rel=0.3)


def test_what_is_unknown_in_one_band_is_no_doubt_in_another(rng):
    variance = np.full((1, 1, BINS), 1e-12)
    variance[..., 200:] = 1.0
    whole = np.fft.irfft(np.where(np.arange(BINS) < 200, 1e-6, 1.0) * rng.standard_normal((16, 1, 1, BINS)))
    (known, unknown) = (measured_spread(variance, list(whole)).variance[0, 0, bins] for bins in (100, 250))
    assert known < 1e-9
    assert unknown > 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sound_in_both_channels_moves_their_filters_together(rng, sign):
    one = deviations(rng, 1, 16, 0.2)
    both = [np.concatenate([part, 3 * sign * part]) for part in one]
    spread = measured_spread(np.full((2, 1, BINS), 0.04), both)
    assert np.allclose(spread.correlation[0, 0], 1)
    assert np.allclose(spread.correlation[0, 1], sign)
    apart = measured_spread(np.full((2, 1, BINS), 0.04), deviations(rng, 2, 16, 0.2))
    assert abs(np.mean(apart.correlation[0, 1])) < 0.15


def test_filters_that_nothing_moves_are_as_sure_as_the_formula_says():
    variance = np.full((2, 3, BINS), 1e-8)
    spread = measured_spread(variance, [np.zeros((2, 3, N_TAPS))] * 8)
    assert np.array_equal(spread.variance, variance)
    assert np.all(np.isfinite(spread.correlation))
