"""Which repeat a passage is, with and without a clock of its own, and the warps along passages."""

import numpy as np
import pytest
import scenes

from unsum.estimators.likeliest import likeliest_passages
from unsum.estimators.location import Passage
from unsum.estimators.passage_lines import Line, chained
from unsum.estimators.repeats import at_their_repeats, warp_along
from unsum.model import Contribution, Jump, TimeWarp
from unsum.problem import ArraySource

RATE = 16000
PLAIN = np.ones((1, 1, 1))


def source(name: str, samples: np.ndarray) -> ArraySource:
    return ArraySource(name, np.rint(samples).astype(np.int32)[None], RATE, ("FC",), bits=16)


class Song:
    """Bars of two seconds that are alike but for a soft tune over them, at any speed: sums of cosines."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._bar = scenes.TonalCloud(rng, rate=RATE, peak=6000.0, partials=40)
        self._tune = scenes.TonalCloud(rng, rate=RATE, peak=2500.0, partials=40)

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        return self._bar(seconds % 2.0) + self._tune(seconds)


@pytest.mark.parametrize(("ppm", "bars_off"), [(0.0, -4), (1000.0, 3)])
def test_a_passage_goes_to_its_own_repeat_whatever_the_clock(ppm, bars_off, rng):
    song, speed = Song(rng), 1 + 1e-6 * ppm
    true = TimeWarp(1.5, ppm)
    t = np.arange(24 * RATE) / RATE
    mixture = song(true.reference_time(t)) + scenes.speech_like(rng, len(t), rate=RATE, peak=5000)[0]
    middle = 14.0
    there = float(true.reference_time(middle))
    seems = Passage(8.0, 20.0, middle - there + 2.0 * bars_off, ppm)
    part = Contribution(True, TimeWarp(0.0, ppm), PLAIN)
    (found,) = at_their_repeats(
        source("mix", mixture), source("song", song(np.arange(30 * RATE) / RATE)), [seems], part
    )
    assert found.delay_seconds == pytest.approx(middle - there, abs=1.5 * speed / RATE)


def test_passages_that_go_on_at_the_same_place_are_one_with_the_delay_of_its_middle(rng):
    song, true = Song(rng), TimeWarp(1.5, 1000.0)
    t = np.arange(24 * RATE) / RATE
    ends = [(2.0, 8.0), (8.0, 22.0)]
    passages = [Passage(a, b, (a + b) / 2 - float(true.reference_time((a + b) / 2)), 1000.0) for a, b in ends]
    mixture, reference = source("mix", song(true.reference_time(t))), source("song", song(t))
    (found,) = at_their_repeats(mixture, reference, passages, Contribution(True, TimeWarp(0.0, 1000.0), PLAIN))
    assert (found.start_seconds, found.stop_seconds) == (2.0, 22.0)
    assert found.delay_seconds == pytest.approx(12.0 - float(true.reference_time(12.0)), abs=1e-4)


def test_one_passage_alone_has_a_warp_without_jumps():
    assert warp_along([Passage(3.0, 9.0, 1.25, 0.0)]) == TimeWarp(1.25)
    assert chained([Line(0.0, 9.0, 5.0, 4.0)], 0.0, []) == TimeWarp(1.0)


def test_between_two_passages_there_is_silence_only_where_there_is_a_pause():
    passages = [Passage(0.0, 5.0, 1.0, 0.0), Passage(5.02, 9.0, 0.5, 0.0), Passage(12.0, 15.0, 3.5, 0.0)]
    warp = warp_along(passages)
    assert warp.jumps[0] == Jump(5.01, 0.5)
    assert warp.reference_time(np.array([4.0, 6.0, 13.0])).tolist() == pytest.approx([3.0, 5.5, 9.5])
    assert np.all(warp.reference_time(np.array([9.1, 11.9])) < 0)


@pytest.mark.parametrize("seconds", [3.0, 10.0, 12.4])
def test_a_warp_that_is_right_to_its_end_is_left_as_it_is(seconds, rng):
    song, true = Song(rng), TimeWarp(0.5)
    t = np.arange(round(seconds * RATE)) / RATE
    mixture = song(true.reference_time(t)) * (t >= 0.5) + scenes.speech_like(rng, len(t), rate=RATE, peak=5000)[0]
    elsewhere = Passage(1.0, 2.0, -7.3, 0.0)
    reference = song(np.arange(24 * RATE) / RATE)
    found = likeliest_passages(
        source("mix", mixture),
        source("song", reference),
        Contribution(True, true, PLAIN),
        [elsewhere],
        lengths=(len(t), len(reference)),
    )
    assert found == ()


def test_the_path_finds_both_sides_of_a_skip_and_the_pause_between(rng):
    song = Song(rng)
    t = np.arange(22 * RATE) / RATE
    heard = np.where(t < 11.0, song(t), np.where(t < 14.0, 0.0, song(t - 3.7)))
    mixture = heard + scenes.speech_like(rng, len(t), rate=RATE, peak=5000)[0]
    reference = song(np.arange(24 * RATE) / RATE)
    found = likeliest_passages(
        source("mix", mixture),
        source("song", reference),
        Contribution(True, TimeWarp(0.0), PLAIN),
        lengths=(len(t), len(reference)),
    )
    first, second = found
    assert (first.delay_seconds, second.delay_seconds) == pytest.approx((0.0, 3.7), abs=1e-3)
    assert (first.stop_seconds, second.start_seconds) == pytest.approx((11.0, 14.0), abs=0.1)


def test_in_long_mixtures_the_pieces_that_are_explained_least_are_compared(rng, monkeypatch):
    monkeypatch.setattr("unsum.estimators.likeliest._MOST_PIECES", 2)
    song = Song(rng)
    t = np.arange(22 * RATE) / RATE
    heard = np.where(t < 13.0, song(t), song(t + 1.3))
    mixture = heard + scenes.speech_like(rng, len(t), rate=RATE, peak=5000)[0]
    reference = song(np.arange(24 * RATE) / RATE)
    found = likeliest_passages(
        source("mix", mixture),
        source("song", reference),
        Contribution(True, TimeWarp(0.0), PLAIN),
        lengths=(len(t), len(reference)),
    )
    assert [one.delay_seconds for one in found] == pytest.approx([0.0, -1.3], abs=1e-3)
