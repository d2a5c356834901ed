"""Time warps from a rough place: sounds that are stretched exactly, buffers that are lost, clocks that agree."""

import math

import numpy as np
import pytest
import scenes
import soundfile

from unsum.errors import InputError
from unsum.estimators.clock import fit_clock, fit_warp
from unsum.estimators.clock_jumps import with_jumps
from unsum.estimators.clock_scene import read_scene
from unsum.estimators.following import FIRST_REACH, follow
from unsum.estimators.locate import Location, locate_reference
from unsum.model import Jump, TimeWarp
from unsum.problem import ArraySource

RATE = 8000
SECONDS = 10


def cloud(rng, partials=500):
    """A sum of cosines as a function of time: it can be heard at any speed without a resampler."""
    frequency, phase, size = rng.uniform(60, 3000, partials), rng.uniform(0, 7, partials), rng.uniform(0.2, 1, partials)

    def at(seconds):
        waves = np.zeros_like(seconds)
        for f, p, s in zip(frequency, phase, size, strict=True):
            waves += s * np.cos(2 * np.pi * f * seconds + p)
        return waves / np.sqrt(partials)

    return at


def played(rng, reference_time, *, seconds=SECONDS):
    """The reference (1, samples), and the mixture that hears it at those times."""
    sound = cloud(rng)
    reference = sound(np.arange((seconds + 4) * RATE) / RATE)[None]
    return reference, sound(reference_time(np.arange(seconds * RATE) / RATE))[None]


def filtered(rng, mixture):
    taps = rng.standard_normal(60) * np.exp(-np.arange(60) / 8)
    taps[0] = 3.0
    return np.apply_along_axis(lambda row: np.convolve(row, taps)[: mixture.shape[1]], 1, mixture)


def like(rng, mixture, db):
    """Another sound, so many dB below the mixture."""
    other = scenes.speech_like(rng, mixture.shape[1], rate=RATE, quantised=False)
    return other * math.sqrt(np.sum(mixture**2) / np.sum(other**2)) * 10 ** (-db / 20)


def at_middle(true, ppm=0.0, off=0.0):
    """A rough start: right in the middle, but for ``off`` seconds."""
    middle = SECONDS / 2
    return TimeWarp(middle - true(middle) / (1 + 1e-6 * ppm) + off, ppm)


@pytest.mark.parametrize(("ppm", "db"), [(7.5, 60), (-120, 0), (900, 10)])
def test_an_even_drift_is_found_through_a_filter_that_nobody_knows(rng, ppm, db):
    true = TimeWarp(-1.5, ppm)
    reference, mixture = played(rng, true.reference_time)
    mixture = filtered(rng, mixture)
    mixture += like(rng, mixture, db)
    start = at_middle(true.reference_time, off=0.004)
    found = fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(round(start.delay_seconds * RATE) / RATE))
    assert found.kind == "drift"
    assert abs(found.warp.clock_ppm - ppm) < max(5 * found.clock_stderr_ppm, 1e-3)
    assert found.clock_stderr_ppm < 0.1
    assert found.null_db < found.null_db_before - 0.5


@pytest.mark.parametrize("seed", range(4))
def test_a_clock_that_agrees_stays_a_whole_number_of_samples(seed):
    rng = np.random.default_rng(seed)
    reference = scenes.music_like(rng, 12 * RATE, rate=RATE).astype(np.int64)
    mixture = reference[:, 1234 : 1234 + 9 * RATE] + scenes.speech_like(rng, 9 * RATE, rate=RATE)
    found = fit_warp(mixture / 32768, reference / 32768, sample_rate=RATE, start=TimeWarp(-1234 / RATE))
    assert found.kind == "steady"
    assert found.warp.whole_samples(RATE) == -1234
    assert abs(found.delay_samples + 1234) < 4 * found.delay_stderr_samples + 1e-3
    assert abs(found.clock_ppm) < 5 * found.clock_stderr_ppm


def test_a_clock_that_agrees_stays_steady_through_a_filter(rng):
    reference = scenes.music_like(rng, 12 * RATE, rate=RATE, quantised=False)
    mixture = filtered(rng, reference[:, 700 : 700 + 9 * RATE])
    found = fit_warp(mixture + like(rng, mixture, 0), reference, sample_rate=RATE, start=TimeWarp(-700 / RATE))
    assert found.kind == "steady"
    assert found.warp == TimeWarp(-700 / RATE)


def test_the_delay_is_told_to_a_fraction_of_a_sample(rng):
    true = TimeWarp(-1.5 + 0.37 / RATE, 0.0)
    reference, mixture = played(rng, true.reference_time)
    mixture = mixture + like(rng, mixture, 20)
    found = fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(-1.5))
    assert found.warp.whole_samples(RATE) == -1.5 * RATE
    assert abs(found.delay_samples - true.delay_seconds * RATE) < 0.02


@pytest.mark.parametrize("speed", [-17000.0, 33000.0, 42708.0])
def test_the_speed_of_a_record_is_found_to_a_millionth(rng, speed):
    true = TimeWarp(-1.5, speed)
    reference, mixture = played(rng, true.reference_time)
    mixture = filtered(rng, mixture)
    mixture += like(rng, mixture, 20)
    start = at_middle(true.reference_time, ppm=speed + 70)
    found = fit_warp(mixture, reference, sample_rate=RATE, start=start)
    assert found.kind == "drift"
    assert abs(found.warp.clock_ppm - speed) < 1


def test_wow_is_bent_straight(rng):
    def true(seconds):
        return seconds + 1.5 + 1e-3 / (2 * np.pi * 0.5) * np.sin(2 * np.pi * 0.5 * seconds)

    reference, mixture = played(rng, true)
    mixture = filtered(rng, mixture)
    mixture += like(rng, mixture, 50)
    found = fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(-1.5))
    assert found.kind == "bent"
    seconds = np.arange(RATE, (SECONDS - 1) * RATE) / RATE
    assert np.std(found.warp.reference_time(seconds) - true(seconds)) * RATE < 0.01
    assert found.null_db < found.null_db_before - 20


def test_lost_buffers_are_found_to_the_sample(rng):
    sound = scenes.music_like(rng, 16 * RATE, rate=RATE, quantised=False)
    image = filtered(rng, sound[:, RATE:])
    lost = [(20000, 20080), (50000, 50441)]
    mixture = np.concatenate([image[:, :20000], image[:, 20080:50000], image[:, 50441:90000]], axis=1)
    mixture += like(rng, mixture, 30)
    found = fit_warp(mixture, sound, sample_rate=RATE, start=TimeWarp(-1.0))
    assert found.kind == "jumps"
    assert found.remarks
    at = [round(jump.at_seconds * RATE) for jump in found.warp.jumps]
    np.testing.assert_allclose(at, [20000, 50000 - 80], atol=2)
    np.testing.assert_allclose(
        [jump.skipped_seconds * RATE for jump in found.warp.jumps], [b - a for a, b in lost], atol=0.01
    )


def test_a_repeated_buffer_in_a_long_recording_is_found_between_the_excerpts(rng, monkeypatch):
    monkeypatch.setattr("unsum.estimators.clock_scene.WHOLE_SECONDS", 20.0)
    monkeypatch.setattr("unsum.estimators.clock_scene._EXCERPTS", 3)
    monkeypatch.setattr("unsum.estimators.clock_scene._EXCERPT_SECONDS", 4.0)
    sound = scenes.music_like(rng, 34 * RATE, rate=RATE, quantised=False)
    mixture = np.concatenate([sound[:, RATE : 9 * RATE], sound[:, 9 * RATE - 300 : 31 * RATE]], axis=1)
    mixture = filtered(rng, mixture)
    mixture += like(rng, mixture, 20)
    found = fit_warp(mixture, sound, sample_rate=RATE, start=TimeWarp(-1.0))
    assert found.kind == "jumps"
    (jump,) = found.warp.jumps
    assert abs(jump.at_seconds * RATE - 8 * RATE) < 80  # the filter rings over the place
    assert abs(jump.skipped_seconds * RATE + 300) < 0.1


def test_an_unrelated_reference_tells_nothing(rng):
    mixture, reference = rng.standard_normal((2, 1, 6 * RATE))
    found = fit_warp(mixture, reference, sample_rate=RATE, start=TimeWarp(0.0))
    assert found.kind == "steady"
    assert found.warp == TimeWarp(0.0)
    assert found.clock_stderr_ppm == math.inf
    assert found.remarks


@pytest.mark.parametrize("samples", [1, 4000])
def test_what_is_too_short_tells_nothing(rng, samples):
    sound = rng.standard_normal((1, samples))
    found = fit_warp(sound, sound, sample_rate=RATE, start=TimeWarp(0.0))
    assert found.warp == TimeWarp(0.0)
    assert "too little" in found.remarks[0]


def test_silence_tells_nothing():
    silence = np.zeros((1, 6 * RATE))
    assert fit_warp(silence, silence, sample_rate=RATE, start=TimeWarp(0.0)).clock_stderr_ppm == math.inf


def test_a_sample_that_is_not_a_number_is_refused(rng):
    sound = rng.standard_normal((1, 6 * RATE))
    spoilt = sound.copy()
    spoilt[0, 777] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit_warp(spoilt, sound, sample_rate=RATE, start=TimeWarp(0.0))


def test_dual_mono_and_a_silent_channel_change_nothing(rng):
    true = TimeWarp(-1.5, 50.0)
    reference, mixture = played(rng, true.reference_time)
    mixture = mixture + like(rng, mixture, 10)
    start = TimeWarp(round(at_middle(true.reference_time).delay_seconds * RATE) / RATE)
    one = fit_warp(mixture, reference, sample_rate=RATE, start=start)
    doubled = np.concatenate([reference, 0 * reference, reference])
    two = fit_warp(mixture, doubled, sample_rate=RATE, start=start)
    assert abs(one.warp.clock_ppm - two.warp.clock_ppm) < 0.05 * one.clock_stderr_ppm + 1e-3


def test_a_reference_that_is_absent_or_at_another_rate_is_refused(rng):
    sound = rng.standard_normal((1, RATE))
    mixture = ArraySource("mixture", sound, RATE, ("FC",))
    with pytest.raises(InputError, match="not found"):
        fit_clock(mixture, mixture, Location(0, present=False, confidence=1.0))
    with pytest.raises(InputError, match="resample"):
        fit_clock(mixture, ArraySource("r", sound, 44100, ("FC",)), Location(0, present=True, confidence=1.0))


@pytest.mark.parametrize(
    ("name", "ppm", "gain_db"), [("9mkqhv", 126.0, 14.0), ("yw9vi7", 0.0, 0.0), ("fi0kr", 0.0, 0.0)]
)
def test_a_real_clock_is_found_and_one_that_agrees_left_alone(audio_root, name, ppm, gain_db):
    sources = []
    for part in ("mic", "played"):
        path = audio_root / "echo" / f"farend_singletalk_{name}_{part}.flac"
        if not path.exists():
            pytest.skip(f"{path.name} is not among the real audio")
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        sources.append(ArraySource(part, np.ascontiguousarray(samples.T), rate, ("FC",), 16))
    found = fit_clock(sources[0], sources[1], locate_reference(sources[0], sources[1]))
    assert abs(found.warp.clock_ppm - ppm) < 2
    assert found.null_db <= found.null_db_before - gain_db


def test_the_delay_is_true_where_the_place_was_rough(rng):
    # A start that the filter makes up for stays as it is; the delay that is told must not lean on it.
    true = TimeWarp(-1.5 + 20.37 / RATE, 0.0)
    reference, mixture = played(rng, true.reference_time)
    found = fit_warp(mixture + like(rng, mixture, 10), reference, sample_rate=RATE, start=TimeWarp(-1.5))
    assert abs(found.delay_samples - true.delay_seconds * RATE) < max(4 * found.delay_stderr_samples, 0.005)


def two_clocks(rng, seconds, changes):
    """A mixture (1, samples) that runs at +50 ppm, and at -200 ppm from second ``changes`` on; its reference."""

    def true(t):
        first, then = 1 + 50e-6, 1 - 200e-6
        return 1.5 + np.minimum(t, changes) * first + np.maximum(t - changes, 0.0) * then

    reference, mixture = played(rng, true, seconds=seconds)
    return mixture + like(rng, mixture, 20), reference


def test_what_is_excluded_tells_nothing_of_the_clock(rng):
    mixture, reference = two_clocks(rng, 40, 24.0)
    sources = ArraySource("mixture", mixture, RATE, ("FC",)), ArraySource("reference", reference, RATE, ("FC",))
    where = Location(round(-1.5 * RATE), present=True, confidence=1.0)
    found = fit_clock(*sources, where, excluded=[(24 * RATE, 40 * RATE)])
    assert found.kind == "drift"
    assert abs(found.warp.clock_ppm - 50) < max(5 * found.clock_stderr_ppm, 0.01)
    assert found.null_db < -15


def test_what_is_excluded_in_the_middle_tells_nothing_either(rng):
    true = TimeWarp(-1.5, 50.0)
    reference, mixture = played(rng, true.reference_time, seconds=20)
    mixture[:, 6 * RATE : 13 * RATE] = cloud(rng)(1.507 + np.arange(7 * RATE) / RATE * 0.9996)
    mixture[:, 6 * RATE : 13 * RATE] += np.roll(reference[:, 8 * RATE : 15 * RATE], 60)
    mixture = mixture + like(rng, mixture, 20)
    start = TimeWarp(-1.5)
    found = fit_warp(mixture, reference, sample_rate=RATE, start=start, excluded=[(6 * RATE, 13 * RATE)])
    assert found.kind == "drift"
    assert abs(found.warp.clock_ppm - 50) < max(5 * found.clock_stderr_ppm, 0.01)


def test_excerpts_of_a_long_recording_are_spread_over_what_counts(rng, monkeypatch):
    monkeypatch.setattr("unsum.estimators.clock_scene.WHOLE_SECONDS", 12.0)
    monkeypatch.setattr("unsum.estimators.clock_scene._EXCERPTS", 3)
    monkeypatch.setattr("unsum.estimators.clock_scene._EXCERPT_SECONDS", 4.0)
    mixture, reference = two_clocks(rng, 40, 24.0)
    how = {"sample_rate": RATE, "start": TimeWarp(-1.5)}
    found = fit_warp(mixture, reference, excluded=[(24 * RATE, 40 * RATE)], **how)
    assert found.kind == "drift"
    assert abs(found.warp.clock_ppm - 50) < max(5 * found.clock_stderr_ppm, 0.01)
    few = fit_warp(mixture, reference, excluded=[(6 * RATE, 20 * RATE), (23 * RATE, 40 * RATE)], **how)
    assert abs(few.warp.clock_ppm - 50) < max(5 * few.clock_stderr_ppm, 0.01)


def test_where_all_is_excluded_nothing_is_told(rng):
    sound = cloud(rng)(np.arange(6 * RATE) / RATE)[None]
    found = fit_warp(sound, sound, sample_rate=RATE, start=TimeWarp(0.0), excluded=[(-5, 3 * RATE), (2 * RATE, 10**9)])
    assert "too little" in found.remarks[0]


def test_jumps_of_two_looks_are_in_order_of_time(rng):
    """One jump is known from before, and another is found ahead of it."""
    sound = scenes.music_like(rng, 16 * RATE, rate=RATE, quantised=False)
    mixture = np.concatenate([sound[:, RATE:40000], sound[:, 40090:70000], sound[:, 70200:96000]], axis=1)
    mixture = mixture + like(rng, mixture, 30)
    known = TimeWarp(-1.0, jumps=(Jump((70000 - 90 - RATE) / RATE, 200 / RATE),))
    lengths = mixture.shape[1], sound.shape[1]
    sources = ArraySource("mixture", mixture, RATE, ("FC",)), ArraySource("reference", sound, RATE, ("FC",))
    scene = read_scene(*sources, lengths, known, None)
    assert scene is not None
    frames = follow(scene.excerpts, known, sample_rate=RATE, reach_seconds=FIRST_REACH)
    found = with_jumps(scene, known, frames)
    assert found is not None
    np.testing.assert_allclose([jump.at_seconds * RATE for jump in found.jumps], [32000, 61910], atol=3)
    np.testing.assert_allclose([jump.skipped_seconds * RATE for jump in found.jumps], [90, 200], atol=0.01)
