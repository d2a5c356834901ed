"""What chance gives: evidence must be as rare as it says."""

import math

import numpy as np
import pytest

from unsum.dsp.evidence import (
    MOST_NATS,
    best_stretch,
    chance_of_stretch,
    chance_of_sum,
    nats,
    score_levels,
)


def test_evidence_of_chance_is_spread_like_an_exponential_variable(rng):
    """Scores of any law: as many reach n nats as exp(-n) says."""
    for scores in (rng.gamma(20, 1, 20_000), rng.chisquare(3, 20_000), rng.lognormal(0, 0.5, 20_000)):
        told = nats(rng.permutation(scores), score_levels(scores))
        for level in (0.5, 1, 2, 4):
            assert np.mean(told > level) == pytest.approx(math.exp(-level), rel=0.15)


def test_one_window_says_no_more_than_the_most_however_high_it_scores():
    levels = score_levels(np.arange(1000.0))
    assert nats(np.array([1e9]), levels)[0] == MOST_NATS
    assert nats(np.array([-1.0]), levels)[0] == 0


def test_the_best_stretch_is_the_one_counted_by_hand():
    found = best_stretch(np.array([0.0, 5.0, 1.0, 6.0, 0.0, 0.0, 0.0, 3.0]))
    assert (found.first, found.stop, found.gain) == (1, 4, 6.0)
    nothing = best_stretch(np.ones(4))
    assert (nothing.first, nothing.stop, nothing.gain) == (0, 0, 0.0)


def test_stretches_and_sums_of_chance_are_as_rare_as_is_said(rng):
    """In 40000 trials of 12 windows: never more often than stated, and not ten times rarer."""
    trials = rng.exponential(size=(40_000, 12))
    gains = np.array([best_stretch(row).gain for row in trials])
    for gain in (3.0, 5.0, 7.0):
        stated = chance_of_stretch(gain, windows=12, places=1)
        assert 0.1 * stated < np.mean(gains >= gain) <= stated
    for total in (18.0, 22.0, 26.0):
        assert np.mean(trials.sum(axis=1) >= total) == pytest.approx(
            chance_of_sum(total, windows=12, places=1), rel=0.25
        )


def test_many_places_make_chance_more_likely_and_never_more_than_certain():
    assert chance_of_sum(30, windows=5, places=100) == pytest.approx(100 * chance_of_sum(30, windows=5, places=1))
    assert chance_of_stretch(1, windows=5, places=1e9) == chance_of_sum(1, windows=5, places=1e9) == 1
