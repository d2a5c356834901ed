"""What an interval of one step says of the sound beneath a rounded sample."""

import numpy as np
import pytest

from unsum.dsp.rounding import interval_scores, plain_interval_scores, step_of


@pytest.mark.parametrize("softness", [1.0, 0.125, 0.01, 0.001])
def test_the_compiled_loop_judges_as_the_plain_one_does(rng, softness):
    residual = rng.uniform(-0.7, 0.7, (2, 500))
    counts = rng.random((2, 500)) < 0.9
    fast = interval_scores(residual, counts, softness=softness)
    plain = plain_interval_scores(residual, counts, softness=softness)
    # Far from the edges the loop says nothing where the plain one says next to nothing.
    np.testing.assert_allclose(fast.scores, plain.scores, atol=1e-9 / softness)
    np.testing.assert_allclose(fast.weights, plain.weights, atol=1e-9 / softness**2)
    np.testing.assert_allclose(fast.log_likelihood, plain.log_likelihood, atol=1e-6)


def test_scores_are_slopes_of_the_likelihood_and_weights_those_of_the_scores(rng):
    residual, all_of_them, softness, little = rng.uniform(-0.7, 0.7, (1, 40)), np.ones((1, 1), bool), 0.1, 1e-5
    for one in residual[0]:
        at = [
            interval_scores(np.array([[one - shift]]), all_of_them, softness=softness)
            for shift in (-little, 0.0, little)
        ]
        slope = (at[2].log_likelihood - at[0].log_likelihood) / (2 * little)
        bend = (at[2].scores[0, 0] - at[0].scores[0, 0]) / (2 * little)
        assert at[1].scores[0, 0] == pytest.approx(slope, abs=1e-5)
        assert at[1].weights[0, 0] == pytest.approx(-bend, abs=1e-4)


def test_a_sound_below_half_a_step_is_not_taken_for_silence(rng):
    sound = rng.uniform(-0.4, 0.4, (1, 2000))
    judged = interval_scores(np.rint(sound) - sound, np.ones(sound.shape, bool), softness=0.002)
    assert not np.any(judged.scores)
    assert not np.any(judged.weights)


def test_a_sound_that_is_off_is_pulled_back_by_the_samples_it_misses(rng):
    sound = 100 * rng.standard_normal((1, 20000))
    for off in (0.2, -0.2):
        judged = interval_scores(np.rint(sound) - (sound + off), np.ones(sound.shape, bool), softness=0.01)
        assert np.sign(np.sum(judged.scores)) == -np.sign(off)


def test_samples_that_do_not_count_say_nothing():
    judged = interval_scores(np.array([[3.0, -3.0]]), np.zeros((1, 2), bool), softness=0.1)
    assert judged.log_likelihood == 0
    assert not np.any(judged.scores)


@pytest.mark.parametrize(
    ("samples", "step"), [([0, 0], 1), ([256, -768], 256), ([3, 256], 1), ([-2, 6], 2), ([], 1), ([-4], 4)]
)
def test_the_step_is_the_largest_that_all_samples_keep_to(samples, step):
    assert step_of(np.array([samples], np.int64)) == step
