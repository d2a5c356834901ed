"""What a subtraction amounts to, and what its levels over time tell."""

import numpy as np
import pytest

from unsum.analysis import Analysis, ReferenceFinding
from unsum.metering import Levels, SubtractionMeter, measured
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.reasons import clipping_reason, level_reasons

RATE = 8000


def of(mixture: np.ndarray, reference: np.ndarray) -> tuple[Problem, Analysis]:
    problem = Problem(
        ArraySource("mix", mixture[np.newaxis], RATE, ("FC",)),
        (ArraySource("song", reference[np.newaxis], RATE, ("FC",)),),
    )
    part = Contribution(True, TimeWarp(), np.ones((1, 1, 1)), 0)
    model = MixModel(RATE, ("FC",), {"song": part})
    return problem, Analysis(model, (), {"song": ReferenceFinding(None, 1.0, "")}, 0.0, 0)


def levels_of(mixture: np.ndarray, reference: np.ndarray) -> Levels:
    problem, analysis = of(mixture, reference)
    meter = SubtractionMeter(problem, analysis)
    from unsum.engine import subtract

    for block in subtract(problem, analysis.model):
        meter.add(block)
    return meter.levels()


def test_levels_are_those_of_the_seconds(rng):
    song, talk = rng.standard_normal((2, 10 * RATE + 500)) * 0.1
    levels = levels_of(song + talk, song)
    seconds = [slice(n * RATE, (n + 1) * RATE) for n in range(11)]
    assert levels.mixture == pytest.approx([np.sum((song + talk)[s] ** 2) for s in seconds])
    assert levels.residual == pytest.approx([np.sum(talk[s] ** 2) for s in seconds])
    assert levels.images["song"] == pytest.approx([np.sum(song[s] ** 2) for s in seconds])
    assert levels.agreement["song"] == pytest.approx([np.sum((song * talk)[s]) for s in seconds])


def test_null_depth_and_image_level_are_taken_where_the_reference_sounds(rng):
    song, talk = rng.standard_normal((2, 12 * RATE)) * 0.1
    song[: 8 * RATE] = 0
    problem, analysis = of(song + talk, song)
    told = measured(problem, analysis)
    there = slice(8 * RATE, None)
    energy = np.sum((song + talk)[there] ** 2)
    assert told.null_db == pytest.approx(10 * np.log10(np.sum(talk[there] ** 2) / energy), abs=1e-6)
    assert told.references["song"].image_db == pytest.approx(10 * np.log10(np.sum(song**2) / energy), abs=1e-6)
    assert told.samples == 12 * RATE
    assert told.residual_range == pytest.approx((talk.min(), talk.max()))


def test_a_reference_that_pauses_is_told_with_the_time(rng):
    song, talk = rng.standard_normal((2, 30 * RATE)) * 0.1
    heard = song.copy()
    heard[12 * RATE : 16 * RATE] = 0
    (told,) = level_reasons(levels_of(heard + 0.3 * talk, song), mixture="mix")
    assert "00:00:12.000 to 00:00:16.000" in told


def test_a_level_that_moves_is_told_with_what_following_it_would_take(rng):
    song, talk = rng.standard_normal((2, 60 * RATE)) * 0.1
    gain = 1 + 0.3 * np.sin(2 * np.pi * np.arange(60 * RATE) / RATE / 60)
    (told,) = level_reasons(levels_of(gain * song + 0.05 * talk, song), mixture="mix")
    assert "automatic gain" in told
    left = np.mean((gain - 1) ** 2) + 0.05**2
    promised = float(told.split("take ")[1].split(" dB")[0])
    assert promised == pytest.approx(10 * np.log10(left / 0.05**2), abs=0.7)


@pytest.mark.parametrize("talk_level", [0.01, 1.0, 10.0])
def test_a_steady_level_under_talk_tells_nothing(rng, talk_level):
    song, talk = rng.standard_normal((2, 60 * RATE)) * 0.1
    assert level_reasons(levels_of(song + talk_level * talk, song), mixture="mix") == ()


def test_clipping_is_told_from_a_share_on_that_matters():
    assert clipping_reason(5, 10_000_000, mixture="mix") is None
    told = clipping_reason(30_000, 1_000_000, mixture="mix")
    assert told is not None
    assert told.startswith("3 % of the samples of mix are clipped")
