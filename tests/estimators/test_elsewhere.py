"""Where a song plays on when it is silent at its own place: found in the gap, beside what is known."""

import numpy as np
import pytest
import scenes

from unsum.estimators.elsewhere import heard_elsewhere, with_passages, worth_searching
from unsum.estimators.location import Passage
from unsum.model import Jump, TimeWarp
from unsum.problem import ArraySource

RATE = 8000


def source(name: str, samples: np.ndarray, channels: tuple[str, ...] = ("FC",)) -> ArraySource:
    return ArraySource(name, samples, RATE, channels, bits=16)


def test_a_passage_in_a_gap_is_found_with_its_times_in_the_whole(rng):
    """The song is silent from 10 to 20 s; there it goes on, but 6.25 s further in."""
    song = scenes.music_like(rng, 40 * RATE, rate=RATE, peak=8000)
    left = scenes.speech_like(rng, 30 * RATE, rate=RATE, peak=4000)
    first, stop, ahead = 10 * RATE, 20 * RATE, round(6.25 * RATE)
    left[:, first:stop] += song[:, first + ahead : stop + ahead]
    (found,) = heard_elsewhere(source("left", left), source("song", song), TimeWarp(), [(first, stop)])
    assert found.delay_seconds == pytest.approx(-6.25, abs=1 / RATE)
    assert 10 <= found.start_seconds < 11.5
    assert 18.5 < found.stop_seconds <= 20


def test_the_place_where_it_was_not_heard_is_no_other_place(rng):
    song = scenes.music_like(rng, 6 * RATE, rate=RATE, peak=8000)
    assert heard_elsewhere(source("left", song), source("song", song), TimeWarp(), [(2 * RATE, 5 * RATE)]) == ()


def test_in_a_gap_with_other_sounds_nothing_is_found(rng):
    song = scenes.music_like(rng, 6 * RATE, rate=RATE, peak=8000)
    talk = scenes.speech_like(rng, 6 * RATE, rate=RATE, peak=8000)
    assert heard_elsewhere(source("left", talk), source("song", song), TimeWarp(), [(2 * RATE, 5 * RATE)]) == ()
    assert heard_elsewhere(source("left", talk), source("song", song), TimeWarp(), []) == ()


def test_what_is_known_and_what_was_found_stand_in_order_of_time():
    # Silent from 10 to 20 s, and then on as if nothing had been.
    warp = TimeWarp(2.0, jumps=(Jump(10.0, -1000.0), Jump(20.0, 1000.0)))
    between = Passage(11.0, 19.0, -3.0, 0.0)
    found = with_passages(warp, [between], samples=40 * RATE, length=30 * RATE, sample_rate=RATE)
    assert [(one.start_seconds, one.stop_seconds, one.delay_seconds) for one in found] == [
        (2.0, 10.0, 2.0),
        (11.0, 19.0, -3.0),
        (20.0, 32.0, 2.0),
    ]


def test_a_stretch_that_is_too_short_to_be_placed_is_no_passage():
    warp = TimeWarp(0.0, jumps=(Jump(0.2, -1000.0), Jump(20.0, 1000.0)))
    (only,) = with_passages(warp, [], samples=30 * RATE, length=30 * RATE, sample_rate=RATE)
    assert (only.start_seconds, only.stop_seconds) == (20.0, 30.0)


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_the_longest_silences_that_memory_holds_are_searched_in_order_of_time(channels):
    whole = 240 * 48_000 * 2 // channels  # samples that may be held
    mixture = source("mix", np.zeros((channels, 1), np.int32), tuple(f"C{n}" for n in range(channels)))
    third = whole // 3
    ranges = [(0, 100), (1000, 1000 + third), (10 * whole, 10 * whole + third + 1), (2 * whole, 3 * whole + 1)]
    assert worth_searching(ranges, mixture) == [ranges[1], ranges[2]]
    longer = (20 * whole, 20 * whole + third + 2)
    assert worth_searching([*ranges, longer], mixture) == [ranges[2], longer]
    assert worth_searching([], mixture) == []
