"""Climbs without the silences of what plays: when they are asked for, and what they say."""

import math
import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import scenes

from unsum import hearing, ladder
from unsum.estimators.clock_estimate import ClockEstimate
from unsum.estimators.presence import silences
from unsum.ladder import analyse
from unsum.model import TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.removal import Removal
from unsum.report.removal import removal_text
from unsum.retry import Settings, lengths_of

RATE = 8000
FIRST, STOP = 6 * RATE + 40, 11 * RATE


@pytest.fixture(autouse=True)
def one_place_and_one_clock(monkeypatch):
    """Clocks and skips are what other tests are of; here clocks agree, and nothing is heard elsewhere."""

    def steady(mixture, reference, location, **_: object) -> ClockEstimate:
        delay = location.delay_samples
        return ClockEstimate(TimeWarp(delay / RATE), "steady", delay, math.inf, 0.0, math.inf, 0.0, 0.0)

    def nowhere_else(problem, _model, climb, settings, *_: object):
        lengths = lengths_of(problem, climb.best.model.present)
        return climb, silences(problem, climb.best.model, lengths=lengths, progress=settings.progress)

    monkeypatch.setattr(hearing, "followed_elsewhere", nowhere_else)
    for module in (ladder, hearing):
        monkeypatch.setattr(module, "fit_clock", steady)


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
    assert not any("fades" in limit for limit in analysis.limits)
    at = [jump.at_seconds for jump in analysis.model.contributions["song"].warp.jumps]
    assert at == pytest.approx([FIRST / RATE, STOP / RATE], abs=0.02)


def test_below_the_rung_of_clocks_silences_are_not_asked_for(muted):
    analysis = analyse(muted, max_rung="fir", speed="own", max_taps=32)
    assert not any(step.begins for step in analysis.steps)
    assert not analysis.model.contributions["song"].warp.jumps


def test_a_song_that_fades_out_is_told_as_that_and_not_as_silent(rng):
    song = scenes.music_like(rng, 24 * RATE, rate=RATE, peak=8000)
    t = np.arange(song.shape[1]) / RATE
    talk = scenes.speech_like(rng, song.shape[1], rate=RATE, peak=4000)
    mixture = np.rint(0.8 * song * np.clip((19 - t) / 8, 0, 1) + talk).astype(np.int32)
    problem = Problem(ArraySource("mix", mixture, RATE, ("FC",), 16), (ArraySource("song", song, RATE, ("FC",), 16),))
    analysis = analyse(problem, max_rung="clock", speed="own", max_taps=32)
    (told,) = [limit for limit in analysis.limits if "fades" in limit]
    found = re.match(r"song fades out from about (\S+) to (\S+) s: ", told)
    assert found is not None, told
    assert [float(end) for end in found.groups()] == pytest.approx([11.0, 19.0], abs=1.5)
    text = " ".join(removal_text(Removal(problem, analysis, None, {})).split())
    assert "it is not heard, or too soft to be taken out, from here on" in text
    assert "it is not heard from here on" not in text
    assert "it is heard from its beginning" not in text  # which would be behind the end


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
