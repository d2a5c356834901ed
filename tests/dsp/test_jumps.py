"""Steps in a track, and the sample of a change: by hand, and against the cost written out."""

import numpy as np

from unsum.dsp.jumps import Stretch, change_point, continuous_stretches


def test_a_track_is_cut_where_it_steps():
    seconds = np.arange(12.0)
    lags = np.array([0.0, 0, 0, 0, 50, 50, 50, 50, 50, 50, 50, 50])
    assert continuous_stretches(seconds, lags, step=3, fewest=3) == [Stretch(0, 4), Stretch(4, 12)]


def test_a_wild_frame_cuts_nothing():
    lags = np.array([0.0, 0, 0, 0, 80, 0, 0, 0, 0])
    assert continuous_stretches(np.arange(9.0), lags, step=3, fewest=3) == [Stretch(0, 9)]


def test_a_slope_is_no_step_where_it_is_allowed():
    seconds = np.arange(10.0)
    assert len(continuous_stretches(seconds, 5 * seconds, step=1, fewest=3, steepest=5.0)) == 1


def test_no_frames_have_no_stretches():
    assert continuous_stretches(np.zeros(0), np.zeros(0), step=1, fewest=3) == []


def test_the_change_is_where_the_whitened_cost_is_least(rng):
    before, after = rng.standard_normal((2, 2, 60))
    before[:, 25:] += 3
    after[:, :25] -= 3
    whitener = np.array([1.0, -0.7, 0.2])
    costs = []
    for j in range(61):
        left = np.concatenate([before[:, :j], after[:, j:]], axis=1)
        costs.append(sum(float(np.sum(np.convolve(row, whitener) ** 2)) for row in left))
    found = change_point(before, after, whitener)
    assert found.at == int(np.argmin(costs))


def test_a_change_without_noise_is_found_on_its_sample(rng):
    one, other = rng.standard_normal((2, 1, 4000))
    mixture = np.concatenate([one[:, :1234], other[:, 1234:]], axis=1)
    found = change_point(mixture - one, mixture - other, np.ones(1))
    assert (found.at, found.doubt) == (1234, 0)


def test_where_nothing_changes_nothing_is_gained(rng):
    noise = rng.standard_normal((1, 4000))
    assert change_point(noise, noise + 2 * rng.standard_normal((1, 4000)), np.ones(1)).gain < 10
