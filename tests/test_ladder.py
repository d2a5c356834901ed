"""From arrays to an analysis: what is found, what is kept, what is left alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scenes
from scipy.signal import lfilter

from unsum.engine import subtract
from unsum.errors import InputError
from unsum.estimators.clock import ClockEstimate
from unsum.ladder import analyse
from unsum.model import TimeWarp
from unsum.problem import ArraySource, Problem

RATE = 16000


def source(name: str, samples: np.ndarray, *, bits: int | None = 16) -> ArraySource:
    names = ("FC",) if len(samples) == 1 else ("FL", "FR")
    return ArraySource(name, samples, RATE, names, bits=bits)


def residual(problem: Problem, analysis) -> np.ndarray:
    return np.concatenate([block.residual for block in subtract(problem, analysis.model)], axis=1)


@pytest.mark.parametrize("delay", [0, 12_345, -7_001])
def test_a_sum_of_integers_is_taken_apart_bit_for_bit(delay, rng):
    song = scenes.music_like(rng, 12 * RATE, channels=2, rate=RATE, peak=9000)
    talk = scenes.speech_like(rng, 12 * RATE, channels=2, rate=RATE, peak=9000)
    mixture = talk.copy()
    first, last = max(0, delay), min(12 * RATE, 12 * RATE + delay)
    mixture[:, first:last] += song[:, first - delay : last - delay]
    problem = Problem(source("mix", mixture), (source("song", song),))
    analysis = analyse(problem)
    assert analysis.model.contributions["song"].exact_gains == {(0, 0): 1, (1, 1): 1}
    assert round(analysis.model.contributions["song"].warp.delay_seconds * RATE) == delay
    assert np.array_equal(residual(problem, analysis), talk)


def test_the_mixture_itself_leaves_digital_silence(rng):
    song = scenes.music_like(rng, 8 * RATE, channels=2, rate=RATE, peak=9000)
    problem = Problem(source("mix", song), (source("song", song),))
    analysis = analyse(problem)
    assert analysis.null_db == -math.inf
    assert not residual(problem, analysis).any()


def test_an_unrelated_reference_leaves_every_bit(rng):
    song = scenes.music_like(rng, 8 * RATE, channels=2, rate=RATE, peak=9000)
    talk = scenes.speech_like(rng, 8 * RATE, channels=2, rate=RATE, peak=9000)
    problem = Problem(source("talk", talk), (source("song", song),))
    analysis = analyse(problem)
    assert analysis.nothing_found
    assert np.array_equal(residual(problem, analysis), talk)


def test_a_filtered_song_is_found_late_and_taken_down_to_the_talk(rng):
    song = scenes.music_like(rng, 20 * RATE, channels=1, rate=RATE, peak=9000)
    talk = scenes.speech_like(rng, 20 * RATE, channels=1, rate=RATE, peak=1500)
    room = rng.standard_normal(60) * np.exp(-np.arange(60) / 12)
    heard = np.zeros(20 * RATE)
    heard[4000:] = np.convolve(song[0], 0.5 * room / np.abs(room).sum() * 3)[: 20 * RATE - 4000]
    mixture = np.rint(heard + talk[0])[np.newaxis].astype(np.int32)
    problem = Problem(source("mix", mixture), (source("song", song),))
    analysis = analyse(problem)
    assert analysis.model.present == ("song",)
    assert [step.rung for step in analysis.steps if step.kept][-1] == "fir"
    left = residual(problem, analysis)[0, 8000:-8000] - talk[0, 8000:-8000]
    depth = 10 * np.log10(np.mean(left.astype(float) ** 2) / np.mean(heard[8000:-8000] ** 2))
    assert depth < -28.0


def test_images_and_residual_add_up_to_the_mixture(rng):
    song = scenes.music_like(rng, 12 * RATE, channels=2, rate=RATE, peak=9000)
    talk = scenes.speech_like(rng, 12 * RATE, channels=2, rate=RATE, peak=4000)
    mixture = (talk + np.rint(0.3721 * song)).astype(np.int32)
    problem = Problem(source("mix", mixture), (source("song", song),))
    analysis = analyse(problem)
    for block in subtract(problem, analysis.model):
        total = block.images["song"] * 2.0**15 + block.residual
        assert np.abs(total - block.mixture).max() <= 0.5 + 1e-6


def test_two_references_are_taken_out_together(rng):
    song = scenes.music_like(rng, 12 * RATE, channels=2, rate=RATE, peak=6000)
    jingle = scenes.noise_bursts(rng, 12 * RATE, channels=2, rate=RATE, peak=6000)
    talk = scenes.speech_like(rng, 12 * RATE, channels=2, rate=RATE, peak=6000)
    mixture = (song + jingle + talk).astype(np.int32)
    problem = Problem(source("mix", mixture), (source("song", song), source("jingle", jingle)))
    analysis = analyse(problem)
    assert np.array_equal(residual(problem, analysis), talk)


def test_not_a_number_is_refused(rng):
    song = scenes.music_like(rng, 4 * RATE, channels=1, rate=RATE, peak=9000) / 32768.0
    song[0, 1000] = np.nan
    clean = np.nan_to_num(song)
    with pytest.raises(InputError, match=r"song: channel FC holds nan at 0\.062 s"):
        analyse(Problem(source("mix", clean, bits=None), (source("song", song, bits=None),)))


def test_references_of_another_rate_are_resampled(rng):
    song = ArraySource("song", scenes.music_like(rng, 8 * 44100, channels=1, rate=44100, peak=9000), 44100, ("FC",), 16)
    problem = Problem.at_one_rate(source("mix", np.zeros((1, RATE), np.int32)), [song])
    blocks = list(problem.references[0].blocks())
    assert abs(sum(block.shape[1] for block in blocks) - 8 * RATE) <= 2


def test_an_array_without_its_word_length_is_refused():
    with pytest.raises(InputError, match="name the bits of integers"):
        ArraySource("x", np.zeros((1, 10), np.int16), RATE, ("FC",))


def test_a_place_that_is_some_samples_off_is_mended_by_the_filter_and_exact_again(rng, monkeypatch):
    song = scenes.music_like(rng, 12 * RATE, channels=1, rate=RATE, peak=9000)
    talk = scenes.speech_like(rng, 12 * RATE, channels=1, rate=RATE, peak=900)
    mixture = talk.copy()
    mixture[:, 3000:] += song[:, :-3000]
    problem = Problem(source("mix", mixture), (source("song", song),))
    from unsum import ladder

    found = ladder.locate_references

    def a_little_late(*arguments, **keywords):
        return {
            name: replace(location, delay_samples=location.delay_samples + 23)
            for name, location in found(*arguments, **keywords).items()
        }

    monkeypatch.setattr(ladder, "locate_references", a_little_late)
    monkeypatch.setattr(ladder, "fit_clock", lambda mixture, reference, location, **how: steady(location.delay_samples))
    assert np.array_equal(residual(problem, analyse(problem)), talk)


def steady(delay_samples: int) -> ClockEstimate:
    return ClockEstimate(TimeWarp(delay_samples / RATE), "steady", delay_samples, math.inf, 0.0, math.inf, 0.0, 0.0)


@pytest.mark.parametrize("unknown_level", [0.1, 1e-5])
def test_a_track_that_is_not_in_the_mix_is_hardly_ever_heard_there(unknown_level):
    present = 0
    for seed in range(12):
        white = np.random.default_rng(seed).standard_normal((3, 5 * RATE))
        coloured = 0.05 * np.asarray(lfilter([1.0], [1.0, -0.8], white))
        mixture = 0.5 * coloured[:1] + unknown_level * coloured[1:2]
        tracks = (source("a", coloured[:1], bits=None), source("b", coloured[2:], bits=None))
        analysis = analyse(Problem(source("mix", mixture, bits=None), tracks), together=True)
        assert analysis.model.contributions["a"].present
        present += analysis.model.contributions["b"].present
    assert present <= 1


@pytest.mark.parametrize("what", ["pause", "cut", "lost buffers", "mute"])
def test_a_sum_of_integers_is_taken_apart_bit_for_bit_over_jumps(what, rng):
    song = scenes.music_like(rng, 24 * RATE, rate=RATE, peak=9000)
    at = 9 * RATE + 123
    played = {
        "pause": [song[:, :at], np.zeros((1, 4 * RATE + 7), np.int32), song[:, at:]],
        "cut": [song[:, :at], song[:, at + 5 * RATE + 31 :]],
        "lost buffers": [song[:, :at], song[:, at + 441 : 16 * RATE], song[:, 16 * RATE + 512 :]],
        "mute": [song[:, :at], np.zeros((1, 6 * RATE + 1), np.int32), song[:, at + 6 * RATE + 1 :]],
    }
    heard = np.concatenate(played[what], axis=1)
    talk = scenes.speech_like(rng, heard.shape[1], rate=RATE, peak=9000)
    problem = Problem(source("mix", heard + talk), (source("song", song),))
    analysis = analyse(problem)
    assert analysis.model.contributions["song"].exact_gains == {(0, 0): 1}
    assert np.array_equal(residual(problem, analysis), talk)


@pytest.mark.parametrize("skips", [((7.0, 0.5),), ((5.0, 0.4), (10.0, -0.8)), ((6.0, 2.1), (12.5, -1.3))])
def test_a_song_of_repeats_that_skips_is_followed_and_taken_out_bit_for_bit(skips, rng):
    """Two seconds after each other are nearly alike, so that every passage fits at several places."""
    bars = np.tile(scenes.music_like(rng, 2 * RATE, rate=RATE, peak=6000), 10)
    song = bars + scenes.music_like(rng, 20 * RATE, rate=RATE, peak=2000)
    at, parts = 0, []
    for seconds, skipped in skips:
        stop = round(seconds * RATE)
        parts.append(song[:, at:stop])
        at = stop + round(skipped * RATE)
    heard = np.concatenate([np.zeros((1, 52_017), np.int32), *parts, song[:, at:]], axis=1)
    talk = scenes.speech_like(rng, heard.shape[1] + 2 * RATE, rate=RATE, peak=9000)
    mixture = talk.copy()
    mixture[:, : heard.shape[1]] += heard
    problem = Problem(source("mix", mixture), (source("song", song),))
    analysis = analyse(problem)
    assert len(analysis.model.contributions["song"].warp.jumps) == len(skips)
    assert np.array_equal(residual(problem, analysis), talk)


def test_a_muted_song_is_not_subtracted_where_it_is_not_heard(rng):
    song = scenes.music_like(rng, 30 * RATE, rate=RATE, peak=9000)
    first, stop = 9 * RATE + 123, 18 * RATE
    room = rng.standard_normal(300) * np.exp(-np.arange(300) / 40)
    played = song.copy()
    played[:, first:stop] = 0
    heard = np.convolve(played[0], room / np.sqrt(np.sum(room**2)))[: song.shape[1]][None]
    talk = scenes.speech_like(rng, song.shape[1], rate=RATE, peak=9000)
    mixture = np.rint(heard + talk).astype(np.int32)
    problem = Problem(source("mix", mixture), (source("song", song),))
    analysis = analyse(problem)
    left = residual(problem, analysis)
    quiet, loud = slice(first + RATE, stop - RATE // 10), np.r_[RATE : first - 100, stop + 400 : 29 * RATE]
    assert np.array_equal(left[:, quiet], mixture[:, quiet])
    depth = np.sum((left - talk)[:, loud].astype(float) ** 2) / np.sum(heard[:, loud] ** 2)
    assert 10 * np.log10(depth) < -18


def test_an_echo_on_one_of_four_tracks_is_found_in_six_seconds(rng):
    tracks = np.rint(3000 * rng.standard_normal((4, 6 * RATE)))
    echo = np.concatenate([np.zeros(960), tracks[0, :-960]])
    mixture = np.rint(tracks.sum(axis=0, keepdims=True) + 0.3 * echo)
    problem = Problem(
        source("mix", mixture.astype(np.int32)),
        tuple(source(f"track {n}", one[None].astype(np.int32)) for n, one in enumerate(tracks)),
    )
    analysis = analyse(problem, together=True)
    part = analysis.model.contributions["track 0"]
    assert part.filters[0, 0, 960 - part.first_lag] == pytest.approx(0.3, abs=1e-4)
    assert analysis.null_db < -70


@pytest.mark.parametrize("begins_seconds", [0, 12])
def test_a_loop_that_is_shorter_than_its_mix_lies_where_it_begins(begins_seconds, rng):
    """It fits two seconds earlier and later nearly as well: only its ends tell."""
    rate, seconds = 16000, 40
    loop = scenes.music_like(rng, 2 * rate, rate=rate, peak=6000)
    stem = np.tile(loop, 10)
    pad = scenes.music_like(rng, seconds * rate, rate=rate, peak=4000)
    mixture = pad.copy()
    first = begins_seconds * rate
    mixture[:, first : first + stem.shape[1]] += stem
    tracks = tuple(ArraySource(name, one, rate, ("mono",), bits=16) for name, one in (("loop", stem), ("pad", pad)))
    problem = Problem(ArraySource("mix", mixture, rate, ("mono",), bits=16), tracks)
    analysis = analyse(problem, together=True)
    assert analysis.model.present == ("loop", "pad")
    assert analysis.model.contributions["loop"].warp.delay_seconds == begins_seconds
    assert not np.any(residual(problem, analysis))


def test_the_clock_of_a_muted_song_is_fitted_to_what_is_heard_of_it_and_every_step_is_told(rng):
    music = scenes.TonalCloud(rng, rate=RATE, peak=0.4)
    t = np.arange(40 * RATE) / RATE
    heard = music((t - 0.5) * (1 + 40e-6)) * ((t < 10) | (t >= 18)) * (t >= 0.5)
    talk = 0.02 * np.asarray(lfilter([1.0], [1.0, -0.9], rng.standard_normal(len(t))))
    mixture, song = (np.rint(x * 2**15).astype(np.int32)[None] for x in (heard + talk, music(t)))
    analysis = analyse(Problem(source("mix", mixture), (source("song", song),)))
    warp, sure = analysis.model.contributions["song"].warp, analysis.references["song"].clock_stderr_ppm
    assert sure is not None
    assert abs(warp.clock_ppm - 40) < 4 * sure
    assert sorted(round(jump.at_seconds, 1) for jump in warp.jumps) == [10.0, 18.0]
    assert "clock" in [step.rung for step in analysis.steps]
    assert any("song is not heard from 10.0" in remark for step in analysis.steps for remark in step.remarks)


TOO_SHORT = "the audio is too short to tell filters of more than"


def test_the_audio_is_too_short_for_a_longer_filter_only_where_rows_are_lacking(rng):
    song = scenes.music_like(rng, 12 * RATE, rate=RATE, peak=9000)
    room = rng.standard_normal(8000) * np.exp(-np.arange(8000) / 2500)
    heard = np.convolve(song[0], 0.2 * room / np.sqrt(np.sum(room**2)))[: song.shape[1]]
    whole = np.rint(heard + 9 * rng.standard_normal(len(heard))).astype(np.int32)[None]

    def limits(seconds: int, max_rung: str) -> str:
        mix, reference = whole[:, : seconds * RATE], song[:, : seconds * RATE]
        problem = Problem(source("mix", mix), (source("song", reference),))
        analysis = analyse(problem, together=True, max_rung=max_rung)
        assert analysis.model.present
        return " ".join(analysis.limits)

    assert TOO_SHORT not in limits(12, "fir")  # which was asked for
    assert TOO_SHORT not in limits(12, "reverb")
    assert f"{TOO_SHORT} 128 ms" in limits(2, "reverb")
    assert f"{TOO_SHORT} 780 ms" in limits(3, "reverb")  # longer ones than of rooms were tried, and helped
