"""Echoes that come later than any filter reaches: found, fitted beside their tracks, and told."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from unsum import echoes
from unsum.analysis import Analysis, Response
from unsum.climb import Climb
from unsum.dsp.deviations import Deviations
from unsum.engine import subtract
from unsum.estimators.late_echo import LateEcho, folded, with_echoes
from unsum.estimators.listening import Listening
from unsum.explanation import explain_problem
from unsum.ladder import analyse
from unsum.model import Contribution, Jump, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.retry import alignment_of

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


def test_an_image_has_what_a_sound_and_its_echo_have_in_common(rng):
    lag = 9600
    tracks = noises(rng, 4, 7)
    tracks[1] += late(tracks[1], lag)  # half alike so much later
    image = tracks[1] + 0.5 * late(tracks[1], lag)
    problem = mixed((tracks.sum(axis=0) - tracks[1] + image)[None], tracks)
    energies = analyse(problem, together=True).responses["track 1"].energies
    assert energies is not None
    ratio = np.sum(image**2) / np.sum(tracks[1] ** 2)
    assert ratio > 1.6  # and not 1 + 0.5 ** 2
    assert energies[1][0] / energies[0][0] == pytest.approx(ratio, rel=0.02)


def made_up(monkeypatch, echo: LateEcho) -> None:
    monkeypatch.setattr(echoes, "late_echoes", lambda *_, known=(), **__: () if known else (echo,))


def test_an_echo_that_is_not_kept_is_told_by_its_cause(rng, monkeypatch):
    tracks = noises(rng, 2, 4)
    problem = mixed((tracks.sum(axis=0) + 1e3 * rng.standard_normal(tracks.shape[1]))[None], tracks)
    made_up(monkeypatch, LateEcho("track 1", 8000))

    def told(max_taps: int | None = None) -> str:
        (limit,) = [one for one in analyse(problem, together=True, max_taps=max_taps).limits if "echo is heard" in one]
        assert "track 1 again 250.0 ms later" in limit
        return limit

    assert told(8002).endswith("but filters of 8002 taps end before it does")
    monkeypatch.setattr(Climb, "orders_within", lambda *_: [])
    assert told().endswith("but the audio is too short to tell it")


def test_what_takes_nothing_off_is_no_echo_and_not_told_as_one(rng, monkeypatch):
    tracks = noises(rng, 2, 4)
    problem = mixed((tracks.sum(axis=0) + 1e3 * rng.standard_normal(tracks.shape[1]))[None], tracks)
    made_up(monkeypatch, LateEcho("track 1", 8000))
    analysis = analyse(problem, together=True)
    assert not any("echo" in limit for limit in analysis.limits)
    (tried,) = [step for step in analysis.steps if any("later" in remark for remark in step.remarks)]
    assert not tried.kept
    # Beside the few taps that suffice without it, and no more.
    assert tried.remarks[0].count("taps") == 1


def test_an_echo_that_helps_too_little_is_told_by_its_cause(rng, monkeypatch):
    tracks = noises(rng, 2, 4)
    noise = 1e5 * rng.standard_normal(tracks.shape[1])
    problem = mixed((tracks.sum(axis=0) + 2e-3 * late(tracks[1], 8000) + noise)[None], tracks)
    made_up(monkeypatch, LateEcho("track 1", 8000))
    (limit,) = [one for one in analyse(problem, together=True).limits if "echo is heard" in one]
    assert limit.endswith("did not help on samples they were not fitted to")


def climbed(problem: Problem, jumping: str | None = None) -> Climb:
    """All rungs with all tracks from the start; one of them may pause from 3 s to 4 s."""
    problem = Problem(Listening(problem.mixture), tuple(Listening(track) for track in problem.references))
    pause = TimeWarp(jumps=(Jump(3.0, -1e4), Jump(4.0, 1e4)))
    parts = {
        track.name: Contribution(
            present=True, warp=pause if track.name == jumping else TimeWarp(), filters=np.zeros((1, 1, 1))
        )
        for track in problem.references
    }
    model = MixModel(RATE, problem.mixture.channels, parts)
    climb = Climb(problem, model, alignment_of(problem, model, ()), None)
    climb.all_rungs("reverb")
    return climb


@pytest.fixture
def pausing(rng) -> Problem:
    """Track 0 pauses, track 2 has an echo."""
    tracks = noises(rng, 3, 10)
    played = tracks[0].copy()
    played[3 * RATE : 4 * RATE] = 0.0
    mixture = played + tracks[1] + tracks[2] + 0.5 * late(tracks[2], 20000)
    return mixed((mixture + 1e3 * rng.standard_normal(len(played)))[None], tracks)


def test_a_track_that_pauses_does_not_hide_the_echo_of_another(pausing, monkeypatch):
    paused = LateEcho("track 0", 8000)
    sought = echoes.late_echoes
    monkeypatch.setattr(echoes, "late_echoes", lambda *given, **how: (paused, *sought(*given, **how)))
    climb, found = echoes.with_late_echoes(climbed(pausing, "track 0"))
    assert found == (LateEcho("track 2", 20000),)
    (limit,) = [one for one in climb.limits if "echo is heard" in one]
    assert "(track 0 again 250.0 ms later)" in limit
    assert limit.endswith("filters are not fitted again to a track that jumps or pauses")


def test_a_climb_beside_another_goes_on_upon_the_same_rows(pausing):
    climb = climbed(pausing)
    echo = LateEcho("track 2", 20000)
    again = climb.beside(*with_echoes(climb.problem, climb.best.model, climb.alignment, [echo]))
    assert again.alignment.segments == climb.alignment.segments
    assert again.best.null_db == climb.best.null_db and again.gain_equations is climb.gain_equations
    assert list(again.channels) == [*climb.channels, echo.name]
    again.fit("reverb", again.orders_within(512))
    assert again.steps[-1].kept and len(again.steps) == len(climb.steps) + 1


def test_stretches_of_time_move_a_track_and_its_echoes_together(rng):
    moved, n_bins = rng.standard_normal((3, 2, 1, 8)), 9
    ones = np.ones((2, 1, n_bins))

    def response(scale: float) -> Response:
        return Response(ones[0], ones, deviations=Deviations(scale * moved, scale * ones, ones, freedom=2))

    empty = Contribution(True, filters=np.ones((2, 1, 8)))
    echo = LateEcho("drums", 100)
    parts = {"drums": empty, echo.name: empty}
    responses = {"drums": response(1.0), echo.name: response(3.0)}
    model = MixModel(RATE, ("FL", "FR"), parts)
    found = folded(Analysis(model, (), {}, -60.0, 1000, responses=responses), [echo]).responses["drums"]
    assert found.deviations is not None and found.deviations.freedom == 2
    expected = np.zeros((3, 2, 1, 108))
    expected[..., :8], expected[..., 100:] = moved, 3 * moved
    np.testing.assert_array_equal(found.deviations.filters, expected)
    # As unsure as the one of both whose stretches tell least.
    assert np.all(found.deviations.widening == 3)
    assert found.deviations.steady.shape == found.variance.shape
