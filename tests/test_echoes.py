"""Echoes that come later than any filter reaches: found, fitted beside their tracks, and told."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from unsum.engine import subtract
from unsum.explanation import explain_problem
from unsum.ladder import analyse
from unsum.problem import ArraySource, Problem

RATE = 32000


def source(name: str, samples: np.ndarray) -> ArraySource:
    names = ("FC",) if len(samples) == 1 else ("FL", "FR")
    return ArraySource(name, np.rint(samples).astype(np.int32), RATE, names, bits=24)


def late(samples: np.ndarray, lag: int) -> np.ndarray:
    return np.concatenate([np.zeros(lag), samples[:-lag]])


def noises(rng: np.random.Generator, count: int, seconds: float) -> np.ndarray:
    """Tracks (count, samples) of whole numbers, louder at low frequencies as music is."""
    white = rng.standard_normal((count, round(seconds * RATE)))
    slow = np.cumsum(white, axis=1)
    brown = slow - np.array([np.convolve(one, np.full(1024, 1 / 1024), "same") for one in slow])
    return np.rint(2e5 * (white + brown))


def mixed(mixture: np.ndarray, tracks: np.ndarray) -> Problem:
    return Problem(source("mix", mixture), tuple(source(f"track {n}", one[None]) for n, one in enumerate(tracks)))


def test_an_echo_of_300_ms_on_one_of_six_tracks_is_found_in_seven_seconds(rng):
    tracks = noises(rng, 6, 7)
    lag = 9600
    mixture = np.array([tracks.sum(axis=0) + 0.25 * late(tracks[2], lag), tracks[3] - 0.25 * late(tracks[2], lag)])
    found = explain_problem(mixed(mixture, tracks))
    echo = found.tracks["track 2"].echo
    assert echo is not None and len(echo.repeats) == 1
    # The echo is in both channels, its track in one: as loud as 0.25 times the square root of 2.
    assert echo.repeats[0].delay_seconds == pytest.approx(0.3, abs=1e-6)
    assert echo.repeats[0].level_db == pytest.approx(20 * np.log10(0.25 * np.sqrt(2)), abs=0.001)
    assert all(track.echo is None and track.eq is not None for name, track in found.tracks.items() if name != "track 2")
    assert found.analysis.null_db < -110
    assert set(found.analysis.model.contributions) == set(found.tracks)


def test_late_echoes_of_two_tracks_and_two_of_one_are_all_found(rng):
    tracks = noises(rng, 4, 7)
    mixture = tracks.sum(axis=0) + 0.5 * late(tracks[0], 8000) + 0.2 * late(tracks[0], 30000)
    mixture -= 0.3 * late(tracks[3], 12345)
    problem = mixed(mixture[None], tracks)
    analysis = analyse(problem, together=True)
    first, last = (analysis.model.contributions[f"track {n}"] for n in (0, 3))
    heard = {lag: first.filters[0, 0, lag - first.first_lag] for lag in (0, 8000, 30000)}
    assert heard == pytest.approx({0: 1.0, 8000: 0.5, 30000: 0.2}, abs=1e-4)
    assert last.filters[0, 0, 12345 - last.first_lag] == pytest.approx(-0.3, abs=1e-4)
    left = np.concatenate([block.residual for block in subtract(problem, analysis.model)], axis=1)
    assert np.sqrt(np.mean(left.astype(float) ** 2)) < 1.0


def test_a_late_echo_of_sox_is_read_as_it_was_set(rng, tmp_path):
    if shutil.which("sox") is None:
        pytest.skip("no sox")
    tracks = noises(rng, 3, 7) / 2**23
    dry, wet = tmp_path / "dry.wav", tmp_path / "wet.wav"
    soundfile.write(dry, tracks[1], RATE, subtype="DOUBLE")
    # Gain in, gain out, milliseconds, decay: the echo is 6.02 dB below the direct sound.
    effect = ["echo", "0.8", "1.0", "450", "0.4"]
    subprocess.run(["sox", "-D", str(dry), "-b", "64", "-e", "floating-point", str(wet), *effect], check=True)
    heard = soundfile.read(wet)[0][: tracks.shape[1]]
    mixture = 2**23 * (tracks[0] + heard + tracks[2])
    found = explain_problem(mixed(mixture[None], 2**23 * tracks))
    echo = found.tracks["track 1"].echo
    assert echo is not None and len(echo.repeats) == 1
    assert echo.repeats[0].delay_seconds == pytest.approx(0.45, abs=1e-5)
    assert echo.repeats[0].level_db == pytest.approx(-6.02, abs=0.01)


def test_no_echo_is_made_up_where_something_else_plays(rng):
    tracks = noises(rng, 4, 7)
    mixture = tracks[:3].sum(axis=0) + 0.5 * tracks[3]
    analysis = analyse(mixed(mixture[None], tracks[:3]), together=True)
    assert max(part.n_taps for part in analysis.model.contributions.values()) < 3000
    assert not any("later" in remark for step in analysis.steps for remark in step.remarks)
    assert not any("echo" in limit for limit in analysis.limits)
