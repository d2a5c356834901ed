"""Windows that agree on how a sound went into another, and windows that merely beat in time."""

import numpy as np
import pytest

from unsum.dsp.agreement import agreement

HOW = {"near": 100, "guard": 50, "most_drift": 0.0}
LAGS = 1024


def rows(rng, n_windows, response, *, level):
    """Correlations that are noise with one response of some standard deviations, 20 lags late."""
    out = rng.standard_normal((n_windows, LAGS))
    out[:, LAGS // 2 + 20 : LAGS // 2 + 20 + len(response)] += level * np.asarray(response)
    return out


def alone(n_windows):
    """A sound that is like itself at no other lag."""
    out = np.zeros((n_windows, LAGS))
    out[:, LAGS // 2] = 1.0
    return out


def judged(correlations, **how):
    time = np.arange(len(correlations), dtype=np.float64) * 1000
    return agreement(correlations, alone(len(correlations)), time, **{**HOW, **how})


def test_chance_agrees_about_as_often_as_is_said(rng):
    found = [judged(rng.standard_normal((12, LAGS))).chance for _ in range(400)]
    assert np.mean(np.array(found) < 0.05) < 0.08
    assert min(found) > 1e-5


def test_a_response_too_low_to_be_seen_in_one_window_is_heard_by_all_together(rng):
    assert judged(rows(rng, 20, [1.0], level=2.0)).nats > 15


def test_windows_that_beat_in_time_but_each_in_its_own_way_do_not_agree(rng):
    """Twice the noise around the place: an onset on an onset."""
    correlations = rng.standard_normal((20, LAGS))
    correlations[:, LAGS // 2 - 100 : LAGS // 2 + 100] *= 2
    assert judged(correlations).nats < 4


def test_two_loops_in_step_say_the_same_again_and_again_and_that_is_chance(rng):
    assert judged(np.repeat(rng.standard_normal((1, LAGS)), 20, axis=0)).nats < 4


def test_clocks_that_differ_are_followed(rng):
    correlations = rng.standard_normal((20, LAGS))
    for n, row in enumerate(correlations):
        row[LAGS // 2 + round(0.002 * 1000 * (n - 9.5))] += 3
    assert judged(correlations, most_drift=0.003).nats > 15
    assert judged(correlations).nats < 5


@pytest.mark.parametrize("slope", [0.0, 0.002])
def test_the_line_on_which_windows_agree_is_told(rng, slope):
    correlations = rng.standard_normal((21, LAGS))
    for n, row in enumerate(correlations):
        row[LAGS // 2 - 31 + round(slope * 1000 * (n - 10))] += 6
    found = judged(correlations, most_drift=0.003)
    assert found.lag == -31
    assert found.slope == pytest.approx(slope, abs=0.7 / 10_000)
    assert found.height == pytest.approx(6, abs=1.5)


@pytest.mark.parametrize("n_windows", [0, 1])
def test_one_window_alone_agrees_with_nobody(rng, n_windows):
    found = judged(rows(rng, n_windows, [1.0], level=50))
    assert (found.chance, found.height) == (1.0, 0.0)


def test_silent_windows_do_not_count():
    assert judged(np.zeros((5, LAGS))).chance == 1.0


@pytest.mark.parametrize(("near", "guard"), [(768, 256), (512, 256), (384, 128)])
def test_a_pulse_train_in_every_window_is_chance_however_few_lags_are_far(rng, near, guard):
    correlations = rng.standard_normal((12, 2048))
    correlations[:, 30::97] += 3.0
    own = np.zeros((12, 2048))
    own[:, 1024] = 1.0
    time = np.arange(12, dtype=np.float64) * 2000
    assert agreement(correlations, own, time, near=near, guard=guard, most_drift=0.0).chance > 0.01


def test_a_response_is_heard_though_few_lags_are_far(rng):
    assert judged(rows(rng, 20, [1.0], level=2.0), near=400, guard=111).nats > 15
