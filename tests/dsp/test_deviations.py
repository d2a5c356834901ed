"""What stretches of time did to filters, as a measure of what is read from them."""

import numpy as np
import pytest
import scipy.stats

from unsum.dsp.deviations import Deviations, widening_of_leverage
from unsum.dsp.residuals import residual_of
from unsum.dsp.rows import Segment

BINS = 9


def deviations(filters, *, freedom: float = 1e9, widening: float = 1.0) -> Deviations:
    shape = (*filters.shape[1:3], BINS)
    return Deviations(filters, np.full(shape, widening), np.zeros(shape), freedom)


def test_few_stretches_widen_intervals_as_student_says(rng):
    filters = rng.standard_normal((3, 2, 1, 8))
    for freedom in (4, 14):
        (first, *_) = deviations(filters, freedom=freedom).responses(BINS)
        by = scipy.stats.t(freedom).ppf(0.975) / scipy.stats.norm.ppf(0.975)
        np.testing.assert_allclose(first, by * np.fft.rfft(filters[0], 16), rtol=1e-9)
    (first, *_) = deviations(filters, widening=2.0).responses(BINS)
    np.testing.assert_allclose(first, 2 * np.fft.rfft(filters[0], 16), rtol=1e-6)


def test_paths_are_told_as_channels_of_one_reference(rng):
    filters = rng.standard_normal((3, 2, 4, 8))
    whole = deviations(filters)
    paths = whole.of_paths(np.array([1, 0, 1]), np.array([0, 2, 3]))
    np.testing.assert_array_equal(paths.filters[:, :, 0], filters[:, [1, 0, 1], [0, 2, 3]])
    assert paths.widening.shape == paths.steady.shape == (3, 1, BINS)
    np.testing.assert_array_equal(whole.of(slice(1, 3)).filters, filters[:, :, 1:3])


def test_widened_deviations_are_as_large_as_leaving_out_one_stretch_after_another_moves_the_answer(rng):
    # A gain by least squares from ten stretches, of which one tells half of all and another a fifth.
    energy = np.array([0.5, 0.2, *[0.3 / 8] * 8])
    plain, widened, left_out = [], [], []
    for _ in range(4000):
        crossed = np.sqrt(energy) * rng.standard_normal(10)  # what noise of one unit adds to the equation of a stretch
        gain = crossed.sum()
        moved = crossed - energy * gain  # by the residual of each stretch
        by = widening_of_leverage(energy[:, None, None], np.ones((1, 1, 1)))[0, 0, 0]
        plain.append(np.sum(moved**2))
        widened.append(np.sum((by * moved) ** 2))
        without = (gain - crossed) / (1 - energy)
        left_out.append(np.sum((without - gain) ** 2))
    assert np.mean(widened) == pytest.approx(np.mean(left_out), rel=0.05)
    # The gain itself has a variance of one.
    assert np.mean(plain) < 0.75
    assert np.mean(widened) > 1


def test_what_a_ridge_tells_is_no_stretchs_own():
    power = np.array([1.0, 0.0])[:, None, None]
    told, held = (widening_of_leverage(power, np.full((1, 1, 1), known))[0, 0, 0] for known in (1.0, 1e-6))
    assert told > 5
    assert held == pytest.approx(1, abs=1e-5)


def test_deviations_from_references_that_are_silent_stay_as_they_are():
    assert np.all(widening_of_leverage(np.zeros((8, 2, BINS)), np.ones((2, 2, BINS))) == 1)


def test_the_power_of_references_is_told_stretch_by_stretch(rng):
    sound = rng.standard_normal((1, 40_000))
    sound[:, 20_000:] *= 0.1
    segments = [Segment(100, 20_000, 0), Segment(20_100, 40_000, 1)]
    how = {"segments": segments, "power": True}
    loud, soft = (residual_of(np.zeros((1, 40_000)), sound, np.zeros((1, 1, 64)), part=part, **how) for part in (0, 1))
    assert loud.power is not None and soft.power is not None
    assert loud.power.shape == (1, loud.density.shape[1])
    assert np.median(soft.power / loud.power) == pytest.approx(0.01, rel=0.1)
    plain = residual_of(np.zeros((1, 40_000)), sound, np.zeros((1, 1, 64)), segments=segments)
    assert plain.power is None
    np.testing.assert_array_equal(plain.density, loud.density)
