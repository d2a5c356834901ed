"""Fades beside silences: found where they are, never where a song is cut off, never where it sounds throughout."""

import functools

import numpy as np
import pytest
import scenes

from unsum.engine import aligned_blocks
from unsum.estimators.fades import fades
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem

RATE = 8000
SECONDS = 40


def scene(rng, level_along_time, *, talk_db: float = -3.0) -> tuple[Problem, MixModel]:
    """A song whose level moves, talk so loud beside it, and the model of the song at the level of least squares."""
    song = scenes.music_like(rng, SECONDS * RATE, rate=RATE, quantised=False)
    talk = scenes.speech_like(rng, SECONDS * RATE, rate=RATE, quantised=False)
    talk *= np.sqrt(np.mean(song**2) / np.mean(talk**2)) * 10 ** (talk_db / 20)
    heard = level_along_time(np.arange(SECONDS * RATE) / RATE) * song
    scale = 20_000 / np.abs(heard + talk).max()
    mixture, reference = (np.rint(scale * one).astype(np.int32) for one in (heard + talk, song))
    gain = float(np.sum(heard * song) / np.sum(song**2))
    sources = [ArraySource(n, s, RATE, ("FC",), 16) for n, s in (("mix", mixture), ("song", reference))]
    # Two taps, as one alone with a simple gain would be no filter.
    part = Contribution(True, TimeWarp(), np.array([[[gain, 0.0]]]))
    return Problem(sources[0], (sources[1],)), MixModel(RATE, ("FC",), {"song": part})


def found(problem: Problem, model: MixModel, *quiet: tuple[float, float]) -> list[tuple[float, float, bool]]:
    ranges = [(round(a * RATE), round(b * RATE)) for a, b in quiet]
    told = fades(problem, model, {"song": ranges}).get("song", ())
    return [(fade.start_seconds, fade.stop_seconds, fade.out) for fade in told]


@pytest.mark.parametrize("talk_db", [-10.0, 0.0, 6.0])
def test_a_song_that_fades_in_and_out_has_both_with_their_times(talk_db, rng):
    problem, model = scene(rng, lambda t: np.clip(t / 6, 0, 1) * np.clip((38 - t) / 10, 0, 1), talk_db=talk_db)
    (start, stop, out), (again, end, last) = found(problem, model, (0.0, 2.2), (34.3, 40.0))
    assert (out, last) == (False, True)
    assert [start, stop, again, end] == pytest.approx([0, 6, 28, 38], abs=1.0 if talk_db <= 0 else 2.0)


@pytest.mark.parametrize("talk_db", [-30.0, -3.0, 10.0])
@pytest.mark.parametrize(("start", "stop"), [(15.0, 25.0), (30.0, 40.0), (0.0, 9.3), (19.8, 21.1)])
def test_a_mute_a_late_beginning_and_an_early_end_are_no_fades(start, stop, talk_db, rng):
    problem, model = scene(rng, lambda t: ((t < start) | (t >= stop)).astype(float), talk_db=talk_db)
    # The ends of silences are known to some hundredths of a second.
    assert found(problem, model, (start and start + 0.08, stop - 0.08)) == []


def test_beside_a_second_silence_a_fade_ends_where_that_begins(rng):
    problem, model = scene(rng, lambda t: np.clip((20 - t) / 6, 0, 1) + (t >= 24) * (t < 31))
    ((start, stop, out),) = found(problem, model, (17.3, 24.0), (31.0, 40.0))
    assert out
    assert (start, stop) == pytest.approx((14, 20), abs=1.0)


def test_without_silences_nothing_is_asked(rng):
    problem, model = scene(rng, lambda t: np.clip((38 - t) / 30, 0, 1))
    assert fades(problem, model, {}) == {}
    assert fades(problem, model, {"song": ()}) == {}


def test_any_chunking_finds_the_same_fades(rng, monkeypatch):
    problem, model = scene(rng, lambda t: np.clip((38 - t) / 10, 0, 1))
    whole = found(problem, model, (34.3, 40.0))
    assert whole
    monkeypatch.setattr(
        "unsum.engine.subtraction.aligned_blocks", functools.partial(aligned_blocks, block_samples=4001)
    )
    assert found(problem, model, (34.3, 40.0)) == whole


def test_a_silent_mixture_has_no_fades():
    nothing = np.zeros((1, 4 * RATE), np.int32)
    sources = [ArraySource(name, nothing, RATE, ("FC",), 16) for name in ("mix", "song")]
    model = MixModel(RATE, ("FC",), {"song": Contribution(True, TimeWarp(), np.ones((1, 1, 2)))})
    assert found(Problem(sources[0], (sources[1],)), model, (2.0, 4.0)) == []
