"""Steps in a track, and the sample of a change: by hand, and against the cost written out."""

import numpy as np

from unsum.dsp.jumps import Stretch, change_point, continuous_stretches, splice_point


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


def test_a_reference_that_is_cut_ahead_of_a_filter_is_found_on_its_sample(rng):
    one, other = rng.standard_normal((2, 2, 900))
    filters = rng.standard_normal((2, 2, 40)) * np.exp(-np.arange(40) / 10)
    whitener = np.array([1.0, -0.6])

    def image(reference):
        rows = [[np.convolve(r, h)[:900] for r, h in zip(reference, row, strict=True)] for row in filters]
        return np.roll(np.sum(rows, axis=1), -3, axis=1)

    def left(place):
        return mixture - image(np.concatenate([one[:, :place], other[:, place:]], axis=1))

    mixture = image(np.concatenate([one[:, :456], other[:, 456:]], axis=1)) + 0.5 * rng.standard_normal((2, 900))
    found = splice_point(left(400), one - other, filters, whitener, first_lag=-3, first=400, last=520)
    costs = [sum(float(np.sum(np.convolve(row, whitener)[:900] ** 2)) for row in left(n)) for n in range(400, 521)]
    assert found == 400 + int(np.argmin(costs))
    assert abs(found - 456) <= 1


def test_a_reference_that_does_not_change_goes_over_at_the_first_place(rng):
    same = np.zeros((1, 100))
    found = splice_point(
        rng.standard_normal((1, 100)), same, np.ones((1, 1, 3)), np.ones(1), first_lag=0, first=20, last=80
    )
    assert found == 20
