"""Fewer samples of the same sound."""

import numpy as np
import pytest

from unsum.dsp.decimation import decimated


@pytest.mark.parametrize("factor", [2, 5, 6])
def test_low_tones_stay_in_place_and_high_ones_vanish(factor):
    t = np.arange(6000)
    low, high = (np.cos(2 * np.pi * f / factor * t + 0.3).astype(np.float32) for f in (0.3, 0.7))
    kept, gone = (np.concatenate(list(decimated([tone], factor))) for tone in (low, high))
    inside = slice(40, -40)
    np.testing.assert_allclose(kept[inside], low[::factor][inside], atol=0.01)
    assert np.abs(gone[inside]).max() < 0.01


@pytest.mark.parametrize("samples", [0, 1, 5, 6, 7, 1001])
def test_every_started_sample_counts(samples):
    assert sum(map(len, decimated([np.ones(samples, np.float32)], 6))) == -(-samples // 6)


def test_at_factor_one_blocks_pass_as_they_are():
    block = np.ones(3, np.float32)
    assert [one is block for one in decimated([block], 1)] == [True]
