"""When a reference is not heard though it should be: muted, faded, gone; and when that is only a bad fit."""

import functools

import numpy as np
import pytest
import scenes
import scipy.signal

from unsum.engine import aligned_blocks, subtract
from unsum.estimators.presence import silenced, silences, silent_frames, with_silences
from unsum.estimators.presence_ends import refined_ends
from unsum.model import Bend, Contribution, Jump, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem

RATE = 8000


def problem_of(mixture, reference):
    return Problem(
        ArraySource("mix", np.rint(mixture).astype(np.int32), RATE, ("FC",), 16),
        (ArraySource("song", np.rint(reference).astype(np.int32), RATE, ("FC",), 16),),
    )


def model_of(filters, warp=None, first_lag=0):
    part = Contribution(
        present=True, warp=warp or TimeWarp(), filters=np.reshape(filters, (1, 1, -1)), first_lag=first_lag
    )
    return MixModel(RATE, ("FC",), {"song": part})


def found(problem, model):
    lengths = {"song": problem.references[0].samples or 0}
    return silences(problem, model, lengths=lengths).get("song", ())


def song_and_talk(rng, seconds, db=0.0):
    song = scenes.music_like(rng, seconds * RATE, rate=RATE, quantised=False)
    talk = scenes.speech_like(rng, seconds * RATE, rate=RATE, quantised=False)
    return song, talk * np.sqrt(np.sum(song**2) / np.sum(talk**2)) * 10 ** (-db / 20)


def test_states_are_told_apart_by_hand():
    saved = np.array([5.0, 5, -40, -40, 5, 5, -3, -3, 5])
    assert silent_frames(saved, least_gain=50).tolist() == [False, False, True, True, *5 * [False]]
    assert not silent_frames(saved, least_gain=90).any()
    assert silent_frames(-saved[2:4], least_gain=50).tolist() == [False, False]
    assert not len(silent_frames(np.zeros(0)))


@pytest.mark.parametrize("db", [0.0, -10.0])
def test_a_muted_stretch_is_found_and_its_ends_to_some_milliseconds(rng, db):
    song, talk = song_and_talk(rng, 16, db)
    first, stop = 5 * RATE + 123, 10 * RATE + 77
    room = rng.standard_normal(200) * np.exp(-np.arange(200) / 30)
    played = song.copy()
    played[:, first:stop] = 0
    heard = np.convolve(played[0], room)[: song.shape[1]][None]
    scale = np.sqrt(np.sum(played**2) / np.sum(heard**2))
    problem, model = problem_of(scale * heard + talk, song), model_of(scale * room)
    ((a, b),) = found(problem, model)
    assert abs(a - first) < 0.05 * RATE and abs(b - stop) < 0.05 * RATE
    exact = refined_ends(problem, silenced(model, {"song": ((a, b),)}, samples=song.shape[1]))
    ends = [jump.at_seconds for jump in exact.contributions["song"].warp.jumps]
    within = 0.01 if db == 0 else 0.1
    assert np.abs(np.array(ends) - np.array([first, stop]) / RATE).max() < within
    left = np.concatenate([block.residual for block in subtract(problem, exact)], axis=1)
    assert isinstance(problem.mixture, ArraySource)
    quiet = slice(first + round(within * RATE) + len(room), stop - round(within * RATE))
    assert np.array_equal(left[:, quiet], problem.mixture.array[:, quiet])


def test_a_reference_that_sounds_throughout_has_no_silence(rng):
    song, talk = song_and_talk(rng, 12, -10)
    assert found(problem_of(song + talk, song), model_of([1.0])) == ()


def test_a_filter_that_is_half_wrong_is_no_silence(rng):
    song, talk = song_and_talk(rng, 12, 0)
    wrong = 0.9 * rng.standard_normal(200) / np.sqrt(200)
    wrong[0] += 1.0
    assert found(problem_of(song + talk, song), model_of(wrong)) == ()


def test_filters_that_are_only_error_where_talk_covers_the_song_make_no_silence_in_its_pauses(rng):
    """The song is dull, the talk bright: above 1 kHz the filter is 20 dB louder than what it should find there."""
    seconds = 20
    song = scenes.music_like(rng, seconds * RATE, rate=RATE, quantised=False)
    bright = scipy.signal.butter(6, 1000, "highpass", fs=RATE, output="sos")
    song -= 0.97 * scipy.signal.sosfiltfilt(bright, song)
    noise = scenes.noise_bursts(rng, seconds * RATE, rate=RATE, quantised=False)
    talk = 10 * np.asarray(scipy.signal.sosfilt(bright, noise))
    talk[:, 8 * RATE : 10 * RATE] = 0
    error = np.asarray(scipy.signal.sosfilt(bright, rng.standard_normal(200))) / 2
    error[0] += 1.0
    problem, model = problem_of(song + talk, song), model_of(error)
    pause = slice(8 * RATE + 400, 10 * RATE)
    left = next(iter(subtract(problem, model))).residual[:, pause]
    assert np.sum(left**2) < 0.5 * np.sum(song[:, pause] ** 2)  # it helps there all the same
    assert found(problem, model) == ()


@pytest.mark.parametrize("db", [-10, 10])
def test_bands_without_the_song_do_not_outweigh_those_that_have_it(rng, db):
    """A dull song beside white noise: above 1 kHz any gain is chance."""
    seconds, first, stop = 24, 10 * RATE, 16 * RATE
    dull = scipy.signal.butter(12, 1000, fs=RATE, output="sos")
    song = scipy.signal.sosfiltfilt(dull, scenes.music_like(rng, seconds * RATE, rate=RATE, quantised=False))
    noise = rng.standard_normal(song.shape)
    noise *= np.sqrt(np.sum(song**2) / np.sum(noise**2)) * 10 ** (db / 20)
    played = song.copy()
    played[:, first:stop] = 0
    ((a, b),) = found(problem_of(played + noise, song), model_of([1.0]))
    assert abs(a - first) < 0.2 * RATE and abs(b - stop) < 0.2 * RATE


def test_what_comes_and_goes_all_the_time_is_left_alone(rng):
    song, talk = song_and_talk(rng, 12, 0)
    played = song * (np.arange(song.shape[1]) // RATE % 2)
    assert found(problem_of(played + talk, song), model_of([1.0])) == ()


def test_a_song_that_sets_in_late_and_ends_early_is_silent_to_the_ends_of_the_mixture(rng):
    song, talk = song_and_talk(rng, 16, 0)
    played = song.copy()
    played[:, : 4 * RATE], played[:, 12 * RATE :] = 0, 0
    total = song.shape[1]
    (first, a), (b, last) = found(problem_of(played + talk, song), model_of([1.0]))
    assert (first, last) == (0, total)
    assert abs(a - 4 * RATE) < 0.05 * RATE and abs(b - 12 * RATE) < 0.05 * RATE
    warp = with_silences(TimeWarp(), [(first, a), (b, last)], samples=total, sample_rate=RATE)
    assert warp.delay_seconds == 0.0
    assert [jump.at_seconds for jump in warp.jumps] == [0.0, a / RATE, b / RATE]


def test_any_chunking_finds_the_same_silence(rng, monkeypatch):
    song, talk = song_and_talk(rng, 10, 0)
    played = song.copy()
    played[:, 3 * RATE : 6 * RATE] = 0
    problem, model = problem_of(played + talk, song), model_of([1.0])
    whole = found(problem, model)
    shorter = functools.partial(aligned_blocks, block_samples=4001)
    monkeypatch.setattr("unsum.engine.subtraction.aligned_blocks", shorter)
    assert [block.mixture.shape[1] for block in subtract(problem, model)][:2] == [4001, 4001]
    assert found(problem, model) == whole


def test_silence_and_an_absent_image_tell_nothing(rng):
    nothing = np.zeros((1, 4 * RATE))
    assert found(problem_of(nothing, nothing), model_of([1.0])) == ()
    assert found(problem_of(nothing + 100, nothing), model_of([1.0])) == ()


def test_a_silence_over_jumps_takes_them_in_and_goes_on_where_they_led():
    warp = TimeWarp(1.0, 0.0, jumps=(Jump(4.0, 2.0), Jump(9.0, -1.0)))
    quiet = with_silences(warp, [(3 * RATE, 6 * RATE)], samples=20 * RATE, sample_rate=RATE)
    assert (quiet.reference_time(np.array([3.0, 3.9, 4.1, 5.999])) < -0.9).all()
    for t in (0.0, 2.999, 6.0, 8.9, 9.5):
        assert quiet.reference_time(t) == pytest.approx(warp.reference_time(t), abs=1e-12)
    assert quiet.whole_stretches(RATE) is not None


def test_a_bent_warp_is_silenced_too():
    warp = TimeWarp(0.5, 30.0, bend=Bend(0.0, 1.0, (0.0, 1e-3, -1e-3, 0.0)))
    quiet = with_silences(warp, [(2 * RATE, 5 * RATE)], samples=10 * RATE, sample_rate=RATE)
    assert (quiet.reference_time(np.linspace(2.0, 4.999, 50)) < -0.9).all()
    assert quiet.reference_time(7.0) == pytest.approx(warp.reference_time(7.0), abs=1e-12)


@pytest.mark.parametrize("lost", [-441, 441, 3 * RATE + 1])
def test_a_jump_some_samples_off_is_put_on_its_sample(rng, lost):
    song, talk = song_and_talk(rng, 12, 0)
    at = 5 * RATE + 61
    mixture = np.concatenate([song[:, :at], song[:, at + lost :]], axis=1)
    mixture = mixture + np.resize(talk, mixture.shape)
    rough = TimeWarp(jumps=(Jump((at + 90) / RATE, lost / RATE),))
    exact = refined_ends(problem_of(mixture, song), model_of([1.0], rough))
    assert round(exact.contributions["song"].warp.jumps[0].at_seconds * RATE) == at
