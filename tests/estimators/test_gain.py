"""Gains, how sure they are, and whether they are simple numbers."""

from fractions import Fraction

import numpy as np
import pytest
import scenes

from unsum.dsp.rows import Segment
from unsum.estimators.gain import GainMeter, Gains, simple_gains

RATE = 8000


def measured(mixture: np.ndarray, references: np.ndarray, block: int = 1 << 20) -> Gains:
    n = mixture.shape[1]
    meter = GainMeter(n_channels=len(mixture), n_references=len(references), segments=(Segment(0, n),))
    for start in range(0, n, block):
        meter.add(start, mixture[:, start : start + block], references[:, start : start + block])
    return meter.gains()


def test_the_gains_are_those_of_least_squares(rng):
    references, mixture = rng.standard_normal((3, 5000)), rng.standard_normal((2, 5000))
    expected = np.linalg.lstsq(references.T, mixture.T, rcond=None)[0].T
    assert measured(mixture, references).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("block", [1, 7, 999, 5000])
def test_any_chunking_gives_the_same_gains(rng, block):
    references, mixture = rng.standard_normal((2, 5000)), rng.standard_normal((1, 5000))
    whole, cut = measured(mixture, references), measured(mixture, references, block)
    assert cut.value == pytest.approx(whole.value, rel=1e-12)
    assert cut.stderr == pytest.approx(whole.stderr, rel=1e-6)


def test_the_stated_error_is_the_one_that_talk_makes():
    values, stated = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        song = scenes.music_like(rng, 10 * RATE, channels=1, rate=RATE, peak=9000).astype(float)
        talk = scenes.speech_like(rng, 10 * RATE, channels=1, rate=RATE, peak=9000).astype(float)
        found = measured(song + talk, song)
        values.append(found.value[0, 0])
        stated.append(found.stderr[0, 0])
    deviations = (np.array(values) - 1) / np.array(stated)
    assert np.mean(np.abs(deviations) < 2) > 0.85
    assert np.max(np.abs(deviations)) < 5


def test_an_uncertain_gain_near_a_simple_number_may_be_it():
    near = Gains(np.array([[1.06, 0.03]]), np.array([[0.02, 0.02]]))
    assert simple_gains(near, reference_channels={"song": 2}) == {"song": {(0, 0): Fraction(1)}}


def test_a_sure_gain_near_a_simple_number_is_another_number():
    sure = Gains(np.array([[1.01]]), np.array([[1e-4]]))
    assert simple_gains(sure, reference_channels={"song": 1}) is None


def test_a_gain_is_not_simple_only_because_nothing_is_known_of_it():
    unknown = Gains(np.array([[0.75]]), np.array([[np.inf]]))
    assert simple_gains(unknown, reference_channels={"song": 1}) is None


def test_a_silent_reference_has_no_gain(rng):
    song = rng.standard_normal((1, 5000))
    found = measured(song, np.concatenate([song, np.zeros((1, 5000))]))
    assert found.value == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-12)
    assert simple_gains(found, reference_channels={"song": 1, "nothing": 1}) == {"song": {(0, 0): 1}, "nothing": {}}


def test_a_reference_that_sounds_only_at_the_end_is_heard(rng):
    late = np.zeros((1, 8000))
    late[:, 7000:] = rng.standard_normal(1000)
    talk = 0.01 * rng.standard_normal((1, 8000))
    found = simple_gains(measured(late + talk, late), reference_channels={"late": 1})
    assert found == {"late": {(0, 0): 1}}
