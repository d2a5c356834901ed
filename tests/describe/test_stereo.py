"""Balance, width and paths of stereo strips made with known ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, sampled_from

from unsum.describe.stereo import StereoPaths, describe_stereo, stereo_words


def stereo(matrix, **options) -> StereoPaths:
    found = describe_stereo("song", np.asarray(matrix, float)[:, :, None], **options)
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(
    width=floats(0, 2),
    balance_db=floats(-20, 20),
    gain_db=floats(-30, 10),
    flipped=sampled_from([1, -1]),
    lag=sampled_from([0, 5]),
)
def test_width_and_balance_of_a_stereo_strip_come_back(width, balance_db, gain_db, flipped, lag):
    a, b = (1 + width) / 2, (1 - width) / 2
    gains = 10 ** (gain_db / 20) * np.diag([1.0, flipped * 10 ** (balance_db / 20)])
    filters = np.zeros((2, 2, 16))
    filters[:, :, lag] = gains @ np.array([[a, b], [b, a]])
    found = describe_stereo("song", filters, power=np.ones((2, 9)))
    assert found is not None
    assert found.width == pytest.approx(width, abs=1e-6)
    assert found.balance_db == pytest.approx(balance_db, abs=1e-9)
    assert not found.crossed
    # Of a fold to mono one cannot say which side is inverted, only that they are unlike.
    assert found.opposite == (flipped < 0)
    assert found.limits == ()


def test_the_four_paths_are_told_and_those_that_are_none():
    found = stereo([[1.0, 0.01], [0.0, 0.5]])
    assert found.paths_db[0] == pytest.approx((0, -40))
    assert found.paths_db[1][0] is None
    assert found.paths_db[1][1] == pytest.approx(-6.0206, abs=1e-4)
    assert found.paths_stderr_db == ((None, None), (None, None))
    assert stereo_words(found)[-1] == "right into left at -40.0 dB of the main path"


def test_exchanged_channels_have_a_negative_width():
    found = stereo([[0, 1], [1, 0]])
    assert found.crossed
    assert not found.opposite
    assert found.width == pytest.approx(-1)
    assert stereo_words(found) == ("left and right are exchanged", "in balance", "width 100.0 %")
    leaky = stereo([[0.1, 1], [1, 0]])
    assert stereo_words(leaky)[-1] == "left into left at -20.0 dB of the main path"


def test_a_fold_to_mono_has_no_width_and_crosses_nothing():
    found = stereo([[0.5, 0.5], [0.5, 0.5]])
    assert found.width == pytest.approx(0, abs=1e-7)
    assert not found.crossed


def test_what_a_stereo_strip_lacks_is_said():
    side = stereo([[0.5, -0.5], [-0.5, 0.5]])
    assert side.width is None
    assert side.limits == ("song: only its side passes, no mid: no width",)
    left = stereo([[1.0, 0.0], [0.0, 0.0]])
    assert left.balance_db is None
    assert left.limits == ("song: nothing of it is in the right: no balance",)
    assert describe_stereo("song", np.zeros((2, 2, 8))) is None
    with pytest.raises(ValueError, match="two channels into two"):
        describe_stereo("song", np.ones((2, 1, 8)))


def test_noise_alone_is_no_cross_path(rng):
    filters = np.zeros((2, 2, 256))
    filters[0, 0, 20] = filters[1, 1, 20] = 1.0
    filters += 1e-3 * rng.standard_normal(filters.shape)
    variance = np.full((2, 2, 129), 256 * 1e-6)
    found = describe_stereo("song", filters, variance=variance)
    assert found is not None
    assert found.paths_db[0][1] is None
    assert found.paths_db[1][0] is None
    (unknown,) = [describe_stereo("song", filters)]
    assert unknown is not None
    assert unknown.paths_db[0][1] == pytest.approx(-36, abs=2)


def test_errors_of_a_stereo_strip_are_those_of_repeated_noise(rng):
    n_taps, deviation = 64, 1e-3
    true = np.zeros((2, 2, n_taps))
    true[:, :, 9] = [[0.8, 0.1], [0.05, 0.6]]
    variance = np.full((2, 2, 33), n_taps * deviation**2)
    values, told = [], []
    for _ in range(200):
        found = describe_stereo("song", true + deviation * rng.standard_normal(true.shape), variance=variance)
        assert found is not None
        values.append((found.paths_db[0][1], found.paths_db[1][1], found.balance_db, found.width))
        stderr = found.paths_stderr_db
        told.append((stderr[0][1], stderr[1][1], found.balance_stderr_db, found.width_stderr))
    assert np.std(values, axis=0) == pytest.approx(np.mean(told, axis=0), rel=0.2)


def test_noise_that_both_sides_share_moves_no_balance(rng):
    n_taps = 256
    filters = np.zeros((2, 2, n_taps))
    filters[0, 0, 9] = filters[1, 1, 9] = 1.0
    filters[0, 1, 9] = filters[1, 0, 9] = 1.0
    variance = np.full((2, 2, n_taps + 1), 1e-4)
    moved = []
    for _ in range(200):
        # One error for both channels of the mixture, another for each channel of the reference.
        noise = 0.01 / math.sqrt(n_taps) * rng.standard_normal((1, 2, n_taps))
        paths = describe_stereo("song", filters + noise, variance=variance)
        assert paths is not None and paths.balance_db is not None
        moved.append(paths.balance_db)
    together = np.ones((2, 2, n_taps + 1), complex)
    alike = describe_stereo("song", filters, variance=variance, correlation=together)
    apart = describe_stereo("song", filters, variance=variance)
    assert alike is not None and apart is not None
    assert alike.balance_stderr_db is not None and apart.balance_stderr_db is not None
    assert np.std(moved) < 0.1 * apart.balance_stderr_db
    assert alike.balance_stderr_db < 0.1 * apart.balance_stderr_db


def test_a_codec_makes_balance_and_width_less_sure():
    filters = np.zeros((2, 2, 256))
    filters[0, 0, 9] = filters[1, 1, 9] = 1.0
    variance = np.full((2, 2, 257), 1e-6)
    sure = describe_stereo("song", filters, variance=variance)
    lossy = describe_stereo("song", filters, variance=variance, unsure=np.full((2, 2, 257), 0.01))
    assert sure is not None and lossy is not None
    assert sure.balance_stderr_db is not None and lossy.balance_stderr_db is not None
    assert sure.width_stderr is not None and lossy.width_stderr is not None
    # One percent of either channel, and of mid and side.
    assert lossy.balance_stderr_db == pytest.approx(0.01 * math.sqrt(2) * 20 / math.log(10), rel=0.05)
    assert lossy.width_stderr == pytest.approx(0.01, rel=0.3)
