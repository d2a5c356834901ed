"""Sums of what stands out of a correlation: the compiled loop against the plain one, and cases by hand."""

import numpy as np
import pytest

from unsum.dsp.excess import THRESHOLD, excess_sums, plain_excess_sums


@pytest.mark.parametrize(("lags", "cell"), [(1024, 128), (1000, 64), (64, 64), (7, 2), (3, 8)])
def test_compiled_and_plain_sums_agree(rng, lags, cell):
    rows = rng.standard_normal((3, lags)).astype(np.float32) * np.array([[1e-6], [1.0], [1e4]], np.float32)
    np.testing.assert_allclose(excess_sums(rows, cell=cell), plain_excess_sums(rows, cell=cell), rtol=1e-4, atol=1e-4)


def test_one_peak_counts_by_its_height_over_the_variance():
    row = np.zeros((1, 100), np.float32)
    row[0, 30] = -4.0  # the mean square is 16 / 100: its height is 100 variances
    assert excess_sums(row, cell=25)[0] == pytest.approx([0, 100 - THRESHOLD, 0, 0])


def test_silence_scores_nothing():
    assert np.all(excess_sums(np.zeros((2, 64), np.float32), cell=16) == -1)
