"""How sure filters are, from what every stretch of time does to them."""

import numpy as np
import pytest

from unsum.dsp.uncertainty import _summed, measured_spread

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


def test_what_is_sure_beside_an_edge_is_not_made_doubtful_by_it(rng):
    # As above the band of a codec: the formula's variance falls off a cliff, that of the filters by a little less.
    variance = np.full((1, 1, BINS), 1e-4)
    variance[..., 128:] = 1e-14
    size = np.sqrt(np.where(np.arange(BINS) < 130, 1e-4, 1e-14) / 8)
    parts = np.fft.irfft(size * rng.standard_normal((16, 1, 1, BINS)))[..., :N_TAPS]
    spread = measured_spread(variance, list(parts))
    assert np.max(spread.variance[0, 0, :120] / variance[0, 0, :120]) < 10


def test_loud_bins_leave_the_correlation_of_weak_ones_between_one_and_minus_one():
    variance = np.ones((2, 1, BINS))
    variance[..., 100:130] = 1e-16
    for seed in range(40):
        parts = np.random.default_rng(seed).standard_normal((8, 2, 1, N_TAPS))
        correlation = measured_spread(variance, list(parts)).correlation
        assert np.all(np.abs(correlation) <= 1 + 1e-12)


def test_sums_over_neighbours_lose_nothing_beside_what_is_loud(rng):
    values = rng.random(1000) * np.where(np.arange(1000) < 500, 1e20, 1.0)
    start = rng.integers(0, 1000, 200)
    stop = np.minimum(start + rng.integers(0, 300, 200), 1000)
    expected = [float(np.sum(values[a:b])) for a, b in zip(start, stop, strict=True)]
    np.testing.assert_allclose(_summed(values, start, stop), expected, rtol=1e-12)
