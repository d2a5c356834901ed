"""Climbs without the silences of what plays: when they are asked for, and what they say."""

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import scenes

from unsum import hearing
from unsum.ladder import analyse
from unsum.problem import ArraySource, Problem
from unsum.retry import Settings

RATE = 8000
FIRST, STOP = 6 * RATE + 40, 11 * RATE


@pytest.fixture
def muted(rng) -> Problem:
    """A song at half its level through a short filter, mute for five seconds, under talk."""
    song = scenes.music_like(rng, 18 * RATE, rate=RATE, peak=8000)
    played = song.astype(float)
    played[:, FIRST:STOP] = 0
    heard = np.convolve(played[0], [0.5, 0.0, 0.2])[: song.shape[1]]
    talk = scenes.speech_like(rng, song.shape[1], rate=RATE, peak=4000)
    mixture = np.rint(heard + talk).astype(np.int32)
    return Problem(ArraySource("mix", mixture, RATE, ("FC",), 16), (ArraySource("song", song, RATE, ("FC",), 16),))


def test_a_mute_is_told_with_its_times_by_the_rung_that_begins_anew(muted):
    analysis = analyse(muted, max_rung="clock", speed="own", max_taps=32)
    anew = [step for step in analysis.steps if step.begins == "without where it is not heard"]
    assert anew
    (said,) = [remark for step in anew[:1] for remark in step.remarks if "is not heard from" in remark]
    first, stop = (
        float(word) for word in said.removeprefix("song is not heard from ").removesuffix(" s").split(" to ")
    )
    assert (first, stop) == pytest.approx((FIRST / RATE, STOP / RATE), abs=0.05)
    at = [jump.at_seconds for jump in analysis.model.contributions["song"].warp.jumps]
    assert at == pytest.approx([FIRST / RATE, STOP / RATE], abs=0.02)


def test_below_the_rung_of_clocks_silences_are_not_asked_for(muted):
    analysis = analyse(muted, max_rung="fir", speed="own", max_taps=32)
    assert not any(step.begins for step in analysis.steps)
    assert not analysis.model.contributions["song"].warp.jumps


@pytest.mark.parametrize(
    ("settings", "null_db"),
    [
        (Settings("reverb", None, (), False, None), -10.0),  # tracks of a mix share its clock
        (Settings("fir", None, (), True, None), -10.0),
        (Settings("reverb", None, (), True, None), -math.inf),  # nothing is left
    ],
)
def test_where_there_is_no_question_the_climb_stays_as_it_is(settings, null_db, monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError("looked for silences")

    monkeypatch.setattr(hearing, "followed_elsewhere", never)
    climb = cast(Any, SimpleNamespace(best=SimpleNamespace(null_db=null_db)))
    assert hearing.where_heard(cast(Any, None), cast(Any, None), climb, settings, {}, {}) is climb
