"""Climbs along other warps: what they are given, and when there is nothing in them."""

import numpy as np
import pytest
import scenes

from unsum.estimators.fir import empty_contribution
from unsum.estimators.listening import Listening
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.retry import Settings, alignment_of, along, climb_along, excluded_samples, lengths_of, samples_of

RATE = 8000
SETTINGS = Settings("gain", None, (), True, None)


def problem_of(mixture: np.ndarray, reference: np.ndarray) -> Problem:
    sources = [
        Listening(ArraySource(name, samples, RATE, ("FC",), bits=16))
        for name, samples in (("mix", mixture), ("song", reference))
    ]
    return Problem(sources[0], (sources[1],))


def model_of(problem: Problem, delay_seconds: float) -> MixModel:
    part = Contribution(True, TimeWarp(delay_seconds), empty_contribution(problem, "song").filters)
    return MixModel(RATE, ("FC",), {"song": part})


@pytest.fixture
def late(rng) -> Problem:
    song = scenes.music_like(rng, 6 * RATE, rate=RATE, peak=8000)
    talk = scenes.speech_like(rng, 6 * RATE, rate=RATE, peak=4000)
    talk[:, RATE:] += song[:, :-RATE]
    return problem_of(talk, song)


def test_a_climb_along_the_right_warp_says_why_it_began(late):
    climb = climb_along(late, model_of(late, 1.0), SETTINGS, why="after all")
    assert climb is not None
    assert [step.begins for step in climb.steps] == ["after all", *[""] * (len(climb.steps) - 1)]
    assert climb.best.model.contributions["song"].exact_gains == {(0, 0): 1}


def test_along_a_wrong_warp_nothing_helps_and_there_is_no_climb(late):
    assert climb_along(late, model_of(late, 2.7), SETTINGS, why="in vain") is None


def test_where_nothing_can_be_held_out_there_is_no_climb(late):
    all_of_it = Settings("gain", None, ((0.0, 100.0),), True, None)
    assert climb_along(late, model_of(late, 1.0), all_of_it, why="in vain") is None
    assert climb_along(late, model_of(late, 50.0), SETTINGS, why="behind the end") is None


def test_what_is_excluded_is_in_no_row(late):
    alignment = alignment_of(late, model_of(late, 1.0), [(2.0, 2.5)])
    first, stop = 2 * RATE, round(2.5 * RATE)
    assert alignment.segments
    assert all(segment.stop <= first or segment.start >= stop for segment in alignment.segments)
    assert excluded_samples([(2.0, 2.5)], RATE) == [(first, stop)]


def test_lengths_are_those_that_were_heard_of_the_names_asked_for(late):
    assert lengths_of(late, ["song"]) == {"song": 6 * RATE}
    assert lengths_of(late, []) == {}
    assert samples_of(late) == 6 * RATE


def test_only_the_warps_of_the_other_model_are_taken(late):
    filters = np.full((1, 1, 3), 0.5)
    one = MixModel(RATE, ("FC",), {"song": Contribution(True, TimeWarp(1.0), filters, -1)})
    moved = along(one, model_of(late, 2.0)).contributions["song"]
    assert moved.warp == TimeWarp(2.0)
    assert moved.first_lag == -1
    assert np.array_equal(moved.filters, filters)
