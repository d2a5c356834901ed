"""Bends: without a straight line in them, and through recordings that are longer than what is looked at at once."""

import numpy as np
import pytest
import scenes

from unsum.dsp.bend_fit import Nodes
from unsum.estimators.clock import fit_warp
from unsum.estimators.clock_bend import deviation, later, without_line
from unsum.estimators.following import Frames
from unsum.model import Bend, TimeWarp

RATE = 8000


def test_taking_the_line_out_of_a_bend_changes_no_time(rng):
    offsets = 1e-3 * rng.standard_normal(60) + 0.02 + 4e-4 * np.arange(60)
    warp = TimeWarp(1.5, 120.0, Bend(-1.0, 0.25, tuple(offsets.tolist())))
    apart = without_line(warp, 0.0, 12.0)
    seconds = np.linspace(0, 12, 999)
    np.testing.assert_allclose(apart.reference_time(seconds), warp.reference_time(seconds), atol=1e-12)
    assert apart.bend is not None
    grid = np.linspace(0, 12, 120)
    fading = np.sin(np.pi * (np.arange(120) + 1) / 121)
    np.testing.assert_allclose(np.polyfit(grid, apart.bend(grid), 1, w=fading), 0, atol=1e-9)


def test_a_bend_is_delayed_with_what_it_bends(rng):
    warp = TimeWarp(1.5, 120.0, Bend(-1.0, 0.25, tuple((1e-3 * rng.standard_normal(60)).tolist())))
    seconds = np.linspace(0, 12, 999)
    np.testing.assert_allclose(
        later(warp, 0.01).reference_time(seconds + 0.01), warp.reference_time(seconds), atol=1e-12
    )


def test_a_wow_cut_off_anywhere_does_not_tilt_the_clock():
    nodes = Nodes.over(0.0, 40.0, 0.0625)
    times = nodes.start + nodes.step * np.arange(nodes.count)
    wow = nodes.bend(nodes.through(1e-3 / np.pi * np.sin(np.pi * times)))
    apart = without_line(TimeWarp(-1.5, -17000.0, wow), 0.0, 39.6)
    assert abs(apart.clock_ppm + 17000) < 0.02  # a line with even weights: 0.8


@pytest.fixture
def shaken(rng):
    """A reference, and what is heard of it 50 ppm fast, with or without a flutter of a twelfth of a sample."""
    cloud = scenes.TonalCloud(rng, rate=RATE)
    reference = cloud(np.arange(18 * RATE) / RATE)[None]

    def heard(depth):
        t = np.arange(14 * RATE) / RATE
        times = (t + 1.5) * (1 + 50e-6) + depth / (12 * np.pi) * np.sin(12 * np.pi * t)
        return np.convolve(cloud(times), [0.8, 0.3, -0.2, 0.1])[None, : 14 * RATE]

    return reference, heard


def test_a_flutter_too_small_for_windows_is_bent_straight(rng, shaken):
    reference, heard = shaken
    mixture = heard(4e-4)
    mixture = mixture + 0.01 * np.std(mixture) * rng.standard_normal(mixture.shape)
    found = fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(-1.5))
    assert found.kind == "bent"
    assert found.null_db < found.null_db_before - 6
    assert abs(found.clock_ppm - 50) < 0.02


@pytest.mark.parametrize("seed", range(2))
def test_an_even_clock_is_not_bent_to_the_talk_on_it(seed, shaken):
    reference, heard = shaken
    mixture = heard(0.0)
    talk = scenes.speech_like(np.random.default_rng(seed), mixture.shape[1], rate=RATE, quantised=False)
    mixture = mixture + talk * np.sqrt(np.sum(mixture**2) / np.sum(talk**2))
    assert fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(-1.5)).kind == "drift"


def test_a_tape_longer_than_one_look_is_bent_straight_section_by_section(rng, monkeypatch):
    monkeypatch.setattr("unsum.estimators.clock_scene.WHOLE_SECONDS", 15.0)
    monkeypatch.setattr("unsum.estimators.clock_scene._EXCERPTS", 4)
    monkeypatch.setattr("unsum.estimators.clock_scene._EXCERPT_SECONDS", 4.0)
    monkeypatch.setattr("unsum.estimators.clock_scene._CHUNK_SECONDS", 14.0)
    monkeypatch.setattr("unsum.estimators.clock_scene._SHARED_SECONDS", 3.0)
    cloud = scenes.TonalCloud(rng, rate=RATE)

    def true(t):
        return (t + 1.5) * (1 - 5e-4) + 1e-3 / np.pi * np.sin(np.pi * t) + 0.01 * np.sin(2 * np.pi * t / 50)

    reference = cloud(np.arange(34 * RATE) / RATE)[None]
    mixture = np.convolve(cloud(true(np.arange(30 * RATE) / RATE)), [0.8, 0.3, -0.2, 0.1])[None, : 30 * RATE]
    talk = scenes.speech_like(rng, mixture.shape[1], rate=RATE, quantised=False)
    mixture = mixture + talk * np.sqrt(np.sum(mixture**2) / np.sum(talk**2))
    found = fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(-1.5, -500.0))
    assert found.kind == "bent"
    seconds = np.arange(RATE, 29 * RATE) / RATE
    assert np.std(found.warp.reference_time(seconds) - true(seconds)) * RATE < 0.05
    # What swings slower than the recording is long tilts its line, and the stated error knows.
    assert abs(found.clock_ppm + 500) < 3 * found.clock_stderr_ppm
    assert found.clock_stderr_ppm < 500


def frames_of(lags):
    return Frames(0.1 * np.arange(len(lags), dtype=np.float64), np.asarray(lags, np.float64), np.ones(len(lags), bool))


def test_windows_that_hear_something_else_do_not_tilt_the_line_of_the_others(rng):
    lags = -72 + 0.1 * rng.standard_normal(256)
    lags[216:240] += rng.uniform(0, 40, 24)  # under loud talk, which agrees with nothing
    lags[:12] += 15
    assert deviation(frames_of(lags)) < 0.3


def test_a_clock_that_runs_off_for_a_while_only_is_seen(rng):
    lags = 0.1 * rng.standard_normal(240)
    lags[180:] += 0.05 * np.arange(60)
    assert deviation(frames_of(lags)) > 0.4
    assert deviation(frames_of(2 * np.sin(np.arange(240) / 5))) > 1.0
