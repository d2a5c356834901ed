"""Mixes whose making is known are read back: fader, pan, polarity, delay, equaliser, reverb, and what cannot be told.

The mixes are made by scipy's recursive filters and numpy sums; nothing here comes from unsum.
"""

import json
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
import scenes
import scipy.signal
import soundfile

from unsum.errors import InputError
from unsum.explanation import Explanation, explain_problem, settings_of
from unsum.problem import ArraySource, Problem

RATE = 16000
STEREO = ("FL", "FR")


def peak(hz: float, gain_db: float, q: float) -> tuple[list[float], list[float]]:
    """A peaking filter as the cookbook prints it."""
    a, omega = 10 ** (gain_db / 40), 2 * np.pi * hz / RATE
    cos, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    return [1 + alpha * a, -2 * cos, 1 - alpha * a], [1 + alpha / a, -2 * cos, 1 - alpha / a]


T = TypeVar("T")


def known(value: T | None) -> T:
    """A value that has to be there."""
    assert value is not None
    return value


def integers(name: str, sound: np.ndarray, bits: int = 24) -> ArraySource:
    whole = np.floor(np.atleast_2d(sound) * 2.0 ** (bits - 1) + 0.5).astype(np.int32)
    return ArraySource(name, whole, RATE, ("FC",) if len(whole) == 1 else STEREO, bits)


def floats(name: str, sound: np.ndarray) -> ArraySource:
    return ArraySource(name, np.atleast_2d(sound), RATE, ("FC",) if np.atleast_2d(sound).shape[0] == 1 else STEREO)


def burst(rng: np.random.Generator, seconds: float, channels: int = 1) -> np.ndarray:
    """Noise that comes and goes, ending in silence long enough for what rings."""
    sound = scenes.noise_bursts(rng, round(seconds * RATE), channels=channels, rate=RATE, peak=0.3, quantised=False)
    sound[:, -4000:] = 0
    return sound


def panned(sound: np.ndarray, gain_db: float, degrees: float) -> np.ndarray:
    p = np.radians(degrees)
    return 10 ** (gain_db / 20) * np.array([[np.cos(p)], [np.sin(p)]]) * sound


@pytest.fixture(scope="module")
def mixed() -> Explanation:
    """Three tracks at 24 bit, one behind an equaliser, one inverted and late, one stereo; a fourth is not there."""
    rng = np.random.default_rng(5)
    drums, bass, other = (integers("drums", burst(rng, 8)), integers("bass", burst(rng, 8)), burst(rng, 8))
    keys, other = integers("keys", burst(rng, 8, 2)), integers("absent", other)
    sounds = {s.name: s.array * 2.0**-23 for s in (drums, bass, keys)}
    mix = panned(np.asarray(scipy.signal.lfilter(*peak(1000, 6.0, 1.4), sounds["drums"])), -6.0, 30.0)
    mix[:, 25:] -= panned(sounds["bass"][:, :-25], -3.0, 60.0)
    mix += 10 ** (-4.0 / 20) * sounds["keys"]
    return explain_problem(Problem(integers("mix", mix), (drums, bass, keys, other)))


def test_tracks_of_a_24_bit_mix_null_to_its_rounding(mixed):
    # Rounding to 24 bit is 2^-23 / sqrt 12; the mix is some -17 dBFS.
    assert mixed.analysis.null_db < -120


def test_gain_pan_polarity_and_delay_are_read_back(mixed):
    drums, bass, keys = (mixed.tracks[name] for name in ("drums", "bass", "keys"))
    assert drums.mixer.pan_degrees == pytest.approx(30.0, abs=0.001)
    assert bass.mixer.pan_degrees == pytest.approx(60.0, abs=0.001)
    assert (drums.mixer.polarity, bass.mixer.polarity, keys.mixer.polarity) == (1, -1, 1)
    assert drums.delay_samples == pytest.approx(0.0, abs=0.001)
    assert bass.delay_samples == pytest.approx(25.0, abs=0.001)
    # Where the response is flat the gain is the fader's.
    assert bass.flat.gain_db == pytest.approx(-3.0, abs=0.001)
    assert keys.flat.gain_db == pytest.approx(-4.0, abs=0.001)


def test_an_equaliser_is_read_back_with_the_fader_beside_it(mixed):
    eq = mixed.tracks["drums"].eq
    (band,) = eq.bands
    assert (eq.kind, band.type) == ("parametric", "peak")
    assert band.frequency_hz == pytest.approx(1000, rel=1e-4)
    assert band.gain_db == pytest.approx(6.0, abs=0.001)
    assert band.q == pytest.approx(1.4, rel=1e-3)
    assert mixed.tracks["drums"].fader_db == pytest.approx(-6.0, abs=0.001)
    assert mixed.tracks["keys"].fader_db == pytest.approx(-4.0, abs=0.001)
    assert known(mixed.tracks["bass"].eq).kind == "flat"


def test_a_stereo_track_keeps_its_width(mixed):
    paths = mixed.tracks["keys"].paths
    assert paths.width == pytest.approx(1.0, abs=1e-3)
    assert paths.balance_db == pytest.approx(0.0, abs=1e-2)
    assert not paths.crossed


def test_a_track_that_is_not_in_the_mix_is_told_as_absent(mixed):
    assert not mixed.tracks["absent"].present
    assert mixed.analysis.references["absent"].reason


def test_images_and_residual_are_all_of_the_mix(mixed):
    share = sum(10 ** (track.mixer.image_db / 10) for track in mixed.tracks.values() if track.present)
    assert share == pytest.approx(1.0, abs=0.1)  # the tracks are unrelated, but for chance


def test_a_sum_of_integers_leaves_nothing(rng):
    tracks = [integers(name, burst(rng, 4)) for name in "ab"]
    mix = ArraySource("mix", tracks[0].array + 2 * tracks[1].array, RATE, ("FC",), 24)
    found = explain_problem(Problem(mix, tuple(tracks)))
    assert found.analysis.null_db == -np.inf
    assert known(found.tracks["b"].mixer).gain_db == pytest.approx(20 * np.log10(2), abs=1e-9)
    assert known(found.tracks["b"].mixer).pan_degrees is None


def test_a_mono_sound_in_a_stereo_file_is_read_as_any_other_stereo_track(rng):
    """Both channels alike: how much of which went where is no question, and the fader is the fader."""
    twice = np.repeat(burst(rng, 6), 2, axis=0)
    wide = burst(rng, 6, 2)
    mix = 10 ** (3.0 / 20) * twice + 10 ** (-5.0 / 20) * wide + 1e-5 * rng.standard_normal(wide.shape)
    found = explain_problem(Problem(floats("mix", mix), (floats("twice", twice), floats("wide", wide))))
    assert known(found.tracks["twice"].mixer).gain_db == pytest.approx(3.0, abs=0.01)
    assert known(found.tracks["twice"].mixer).pan_degrees == pytest.approx(45.0, abs=0.01)
    assert known(found.tracks["wide"].mixer).gain_db == pytest.approx(-5.0, abs=0.01)
    assert found.analysis.model.contributions["twice"].filters.shape[:2] == (2, 2)
    assert known(found.tracks["twice"].paths).width == pytest.approx(1.0, abs=1e-3)


def test_a_bus_among_the_tracks_is_named_with_what_it_is_made_of(rng):
    one, two = burst(rng, 6), burst(rng, 6)
    bus = floats("bus", one + two)
    mix = one + 0.5 * two + 1e-5 * rng.standard_normal(one.shape)
    found = explain_problem(Problem(floats("mix", mix), (floats("one", one), floats("two", two), bus)))
    (told,) = [limit for limit in found.analysis.limits if "bus" in limit and "cannot be told apart" in limit]
    assert "one and two" in told
    assert found.analysis.null_db < -60


def test_other_pan_laws_can_be_asked_for(rng):
    track = burst(rng, 4)
    left, right = 0.75, 0.25  # a linear knob at 22.5 degrees
    mix = np.concatenate([left * track, right * track]) + 1e-6 * rng.standard_normal((2, track.shape[1]))
    found = explain_problem(Problem(floats("mix", mix), (floats("track", track),)), law="linear")
    assert known(found.tracks["track"].mixer).pan_degrees == pytest.approx(22.5, abs=0.001)
    assert known(found.tracks["track"].mixer).gain_db == pytest.approx(0.0, abs=0.001)


def test_a_fader_that_moves_and_a_pan_that_turns_are_followed_frame_by_frame(rng):
    one, two = burst(rng, 8), burst(rng, 8)
    at = np.arange(one.shape[1]) / RATE
    fader_db = np.where(at < 3.0, 0.0, -6.0)
    place = np.radians(np.clip(10 + 10 * at, 10, 80))
    mix = panned(10 ** (fader_db / 20) * one, -2.0, 45.0) + np.array([np.cos(place), np.sin(place)]) * two
    mix += 1e-5 * rng.standard_normal(mix.shape)
    tracks = (floats("one", one), floats("two", two))
    found = explain_problem(Problem(floats("mix", mix), tracks), window_seconds=0.5)
    one_found, two_found = (known(found.tracks[name].automation) for name in ("one", "two"))
    away = np.abs(one_found.seconds - 3.0) > 0.25
    wanted = np.where(one_found.seconds < 3.0, -2.0, -8.0)
    assert np.count_nonzero(away) > 20
    np.testing.assert_allclose(one_found.gain_db[away], wanted[away], atol=0.1)
    np.testing.assert_allclose(one_found.pan_degrees[away], 45.0, atol=1.0)
    # Within a frame the pan turns by 5 degrees, which counts as it is loud.
    np.testing.assert_allclose(two_found.pan_degrees, np.clip(10 + 10 * two_found.seconds, 10, 80), atol=2.5)


def test_the_errors_of_frames_hold_what_moves_within_them(rng):
    one, two = burst(rng, 10), burst(rng, 10)
    at = np.arange(one.shape[1]) / RATE
    mix = panned(10 ** (0.3 * np.sin(2 * np.pi * at / 8)) * one, -2.0, 45.0) + panned(two, -5.0, 60.0)
    found = explain_problem(Problem(floats("mix", mix), (floats("one", one), floats("two", two))), window_seconds=1.0)
    moving, still = (known(found.tracks[name].automation) for name in ("one", "two"))
    wanted = -2.0 + 6.0 * np.sin(2 * np.pi * moving.seconds / 8)
    # Two halves tell an error but roughly.
    assert np.mean(np.abs(moving.gain_db - wanted) / moving.gain_stderr_db < 4) > 0.75
    assert np.mean(np.abs(still.gain_db + 5.0) / still.gain_stderr_db < 4) > 0.75
    assert np.median(still.gain_stderr_db) < 0.2 * np.median(moving.gain_stderr_db)


def test_a_window_that_cannot_tell_the_tracks_apart_is_refused(rng):
    track = burst(rng, 3)
    problem = Problem(floats("mix", 0.5 * track), (floats("track", track),))
    with pytest.raises(InputError, match="give one of"):
        explain_problem(problem, window_seconds=0.001)
    with pytest.raises(InputError, match="longer than the mixture"):
        explain_problem(problem, window_seconds=60.0)


def test_nothing_is_made_up_where_no_track_is_in_the_mix(rng):
    found = explain_problem(Problem(floats("mix", burst(rng, 4)), (floats("track", burst(rng, 4)),)))
    assert not found.tracks["track"].present
    assert found.analysis.null_db == 0.0
    assert found.shared_reverbs == ()


def test_filters_are_no_longer_than_asked_for(mixed, rng):
    track = burst(rng, 4)
    echo = np.zeros(2000)
    echo[[0, 1500]] = 1.0, 0.5
    mix = scipy.signal.fftconvolve(track, echo[None], axes=1)[:, : track.shape[1]]
    mix += 1e-6 * rng.standard_normal(mix.shape)
    problem = Problem(floats("mix", mix), (floats("track", track),))
    short = explain_problem(problem, max_taps=256)
    assert short.analysis.model.contributions["track"].n_taps <= 256
    assert explain_problem(problem).analysis.null_db < -60 < short.analysis.null_db


@pytest.fixture(scope="module")
def sent() -> Explanation:
    """Two tracks sent to one reverb of 0.4 s, a third one dry."""
    rng = np.random.default_rng(11)
    seconds = np.arange(round(0.45 * RATE)) / RATE
    tail = 10 ** (-3 * seconds / 0.4) * rng.standard_normal((2, len(seconds))) * 0.05
    tail[:, : round(0.005 * RATE)] = 0
    tracks = [burst(rng, 24) for _ in range(3)]
    mix = panned(tracks[0], 0.0, 40.0) + panned(tracks[1], -3.0, 55.0) + panned(tracks[2], -3.0, 45.0)
    for track, send in ((tracks[0], 1.0), (tracks[1], 0.5)):
        mix += send * scipy.signal.fftconvolve(track, tail, axes=1)[:, : mix.shape[1]]
    mix += 1e-6 * rng.standard_normal(mix.shape)
    names = ("guitar", "voice", "bass")
    return explain_problem(Problem(floats("mix", mix), tuple(floats(n, t) for n, t in zip(names, tracks, strict=True))))


def test_a_reverb_is_read_with_its_time(sent):
    for name in ("guitar", "voice"):
        room = known(sent.tracks[name].room)
        assert room.rt60.seconds == pytest.approx(0.4, rel=0.05)
        assert room.pre_delay_seconds == pytest.approx(0.005, abs=0.001)
    assert sent.tracks["bass"].room is None


def test_an_equaliser_is_not_claimed_of_a_track_behind_a_reverb(sent):
    assert sent.tracks["guitar"].eq is None
    assert any("cannot be told" in limit for limit in sent.tracks["guitar"].limits)


def test_tracks_that_share_a_reverb_are_found(sent):
    (shared,) = sent.shared_reverbs
    assert set(shared.names) == {"guitar", "voice"}
    assert shared.send_db[1] == pytest.approx(20 * np.log10(0.5), abs=0.5)


def test_real_tracks_are_read_as_the_project_file_says(audio_root):
    """Eight seconds of LMMS's own mixdown: faders, all pans in the centre, no effects; some tracks begin later."""
    folder = audio_root / "multitrack" / "reggae_try"
    truth = {t["dry"]: t["gain_left"] for t in json.loads((folder / "truth.json").read_text())["tracks"]}

    def recording(name: str) -> ArraySource:
        samples, rate = soundfile.read(folder / name, frames=8 * 44100, dtype="int32", always_2d=True)
        return ArraySource(name, samples.T.astype(np.int32) >> 8, rate, STEREO, 24)

    problem = Problem(recording("mix.flac"), tuple(recording(name) for name in truth))
    found = explain_problem(problem, max_taps=64)
    assert found.analysis.null_db < -118
    present = [name for name, track in found.tracks.items() if track.present]
    assert len(present) >= 5
    for name in present:
        mixer = known(found.tracks[name].mixer)
        assert mixer.gain_db == pytest.approx(20 * np.log10(truth[name]), abs=0.02)
        assert mixer.pan_degrees == pytest.approx(45.0, abs=0.1)
    for reference in problem.references:
        if reference.name not in present:
            assert not any(block.any() for block in reference.blocks())


def test_tracks_that_pause_are_followed_where_they_sound(rng):
    one, two = burst(rng, 6), burst(rng, 6)
    one[:, : 2 * RATE] = 0
    two[:, 2 * RATE :] = 0
    mix = 0.5 * one + 0.25 * two
    found = explain_problem(
        Problem(integers("mix", mix), (integers("one", one), integers("two", two))), window_seconds=0.5
    )
    for name, start, stop, gain in (("one", 1.7, 6.0, 0.5), ("two", 0.0, 2.3, 0.25)):
        curves = known(found.tracks[name].automation)
        assert start <= curves.seconds.min() <= curves.seconds.max() <= stop
        np.testing.assert_allclose(curves.gain_db, 20 * np.log10(gain), atol=0.01)


def test_a_lossy_mix_is_read_with_wider_intervals(rng):
    # A codec may have taken of a track what noise it left; noise that was only added cannot.
    track = burst(rng, 6.0)
    image = panned(np.asarray(scipy.signal.lfilter(*peak(1000.0, 6.0, 1.0), track)), -3.0, 30.0)
    mix = image + 10 ** (-20 / 20) * np.std(image) * rng.standard_normal(image.shape)
    reference = integers("track", track)
    sure, unsure = (
        explain_problem(Problem(replace(floats("mix", mix), lossless=lossless), (reference,)), max_taps=512)
        for lossless in (True, False)
    )
    for found in (sure, unsure):
        (band,) = known(found.tracks["track"].eq).bands
        assert abs(known(band.gain_db) - 6) < 3 * known(band.gain_stderr_db)
    narrow, wide = (known(found.tracks["track"].mixer) for found in (sure, unsure))
    assert known(wide.gain_stderr_db) > 1.5 * known(narrow.gain_stderr_db)
    (narrow_band,), (wide_band,) = (known(found.tracks["track"].eq).bands for found in (sure, unsure))
    assert known(wide_band.gain_stderr_db) > 1.5 * known(narrow_band.gain_stderr_db)


def test_what_a_codec_takes_of_a_track_is_told_by_its_noise_however_that_comes_and_goes(rng):
    track = burst(rng, 8.0)
    loud = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0], track.shape[-1] // 8 + 1)[: track.shape[-1]]
    track = track * loud
    image = panned(track, -3.0, 30.0)
    steady = 10 ** (-20 / 20) * np.std(image) * rng.standard_normal(image.shape)
    coming_and_going = steady * loud / np.sqrt(np.mean(loud))
    wider = []
    for noise in (steady, coming_and_going):
        narrow, wide = (
            known(explain_problem(problem, max_taps=256).tracks["track"].mixer)
            for problem in (
                Problem(replace(floats("mix", image + noise), lossless=lossless), (integers("track", track),))
                for lossless in (True, False)
            )
        )
        wider.append(known(wide.gain_stderr_db) ** 2 - known(narrow.gain_stderr_db) ** 2)
    assert wider[1] == pytest.approx(wider[0], rel=0.3)


def test_noise_in_the_mix_makes_the_sides_of_a_panned_track_no_different_paths(rng):
    track = burst(rng, 6.0)
    image = panned(track, -3.0, 30.0)
    mix = image + 10 ** (-20 / 20) * np.std(image) * rng.standard_normal(image.shape)
    found = explain_problem(Problem(floats("mix", mix), (integers("track", track),)))
    assert not any("paths differ" in limit for limit in found.tracks["track"].limits)
    assert abs(known(found.tracks["track"].fader_db) + 3) < 0.1


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_lossy_mono_mix_is_unsure_of_a_stereo_track_of_equal_channels_by_the_one_that_it_has(rng):
    track = burst(rng, 6.0)
    mix = 0.5 * track + 10 ** (-20 / 20) * 0.5 * np.std(track) * rng.standard_normal(track.shape)
    lossy = replace(floats("mix", mix), lossless=False)
    one, two = (
        known(explain_problem(Problem(lossy, (integers("track", sound),)), max_taps=256).tracks["track"].mixer)
        for sound in (track, np.repeat(track, 2, axis=0))
    )
    assert known(one.gain_db) == pytest.approx(-6.02, abs=0.1)
    assert known(two.gain_db) == pytest.approx(known(one.gain_db), abs=1e-6)
    assert known(two.gain_stderr_db) == pytest.approx(known(one.gain_stderr_db), rel=1e-6)


def test_a_codec_counts_by_the_variance_where_what_is_left_is_not_known(rng):
    track = burst(rng, 6.0)
    mix = 0.5 * track + 10 ** (-20 / 20) * 0.5 * np.std(track) * rng.standard_normal(track.shape)
    lossy = replace(floats("mix", mix), lossless=False)
    analysis = explain_problem(Problem(lossy, (integers("track", track),)), max_taps=256).analysis
    response = replace(analysis.responses["track"], left=None)
    without = replace(analysis, responses={"track": response})
    by_noise, by_variance = (settings_of(one, "track", lossless=False)[1] for one in (analysis, without))
    sure = settings_of(without, "track", lossless=True)[1]
    assert known(by_variance.gain_stderr_db) > 1.5 * known(sure.gain_stderr_db)
    assert known(by_variance.gain_stderr_db) == pytest.approx(known(by_noise.gain_stderr_db), rel=0.3)
