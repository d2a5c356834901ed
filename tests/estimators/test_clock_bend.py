"""Bends: without a straight line in them, and through recordings that are longer than what is looked at at once."""

import numpy as np
import scenes

from unsum.estimators.clock import fit_warp
from unsum.estimators.clock_bend import without_line
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
    np.testing.assert_allclose(np.polyfit(grid, apart.bend(grid), 1), 0, atol=1e-9)


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
    assert 0 < found.clock_stderr_ppm < 1
