"""Excerpts for the clock: what they hold, and which channels of it."""

import numpy as np
import pytest

from unsum.estimators.clock_scene import telling
from unsum.estimators.excerpts import Span, cut_excerpts
from unsum.problem import ArraySource, as_float


@pytest.mark.parametrize("bits", [16, 24])
def test_excerpts_hold_integer_samples_as_they_are(rng, bits):
    top = 1 << (bits - 1)
    samples = rng.integers(-top, top, (2, 5000))
    samples[:, :2] = [[-top, top - 1], [1, -1]]
    source = ArraySource("a", samples, 8000, ("FL", "FR"), bits)
    one, other = cut_excerpts(source, source, [Span(0, 3000, -100, 2000), Span(2500, 6000, 4000, 5000)])
    np.testing.assert_array_equal(one.mixture, as_float(samples[:, :3000], bits))
    np.testing.assert_array_equal(one.reference[:, 100:], as_float(samples[:, :2000], bits))
    np.testing.assert_array_equal(other.mixture[:, :2500], as_float(samples[:, 2500:], bits))
    assert not np.any(one.reference[:, :100])
    assert not np.any(other.mixture[:, 2500:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_channels_that_others_explain_are_left_out(rng, dtype):
    left, right = rng.standard_normal((2, 100_000)) * [[1.0], [0.5]]
    rows = np.stack([0 * left, left, -0.25 * left, right, 1e-3 * right]).astype(dtype)
    assert telling([rows[:, :70_000], rows[:, 70_000:]]) == [1, 3]
    assert telling([rows[:1]]) == []


def test_a_channel_that_differs_a_little_tells_too(rng):
    left = rng.standard_normal(200_000)
    rows = np.stack([left, left + 1e-3 * rng.standard_normal(200_000)]).astype(np.float32)
    assert telling([rows]) == [0, 1]
