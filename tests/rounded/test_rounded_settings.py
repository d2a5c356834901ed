"""Settings of mixes that are nothing but their tracks, rounded."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from unsum.describe.eq import Band, Equalisation, flat_equaliser
from unsum.describe.filters import Form, chain_response
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.rounded.chains import Chain
from unsum.rounded.rivals import canonical_chain
from unsum.rounded.settings import RoundedSettings, settings_of_rounded_mix

RATE = 16000


def peak(samples, *, frequency_hz, gain_db, q):
    """Through a peak, with the coefficients as the cookbook prints them."""
    a, omega = 10 ** (gain_db / 40), 2 * math.pi * frequency_hz / RATE
    alpha, cos = math.sin(omega) / (2 * q), math.cos(omega)
    top, bottom = [1 + alpha * a, -2 * cos, 1 - alpha * a], [1 + alpha / a, -2 * cos, 1 - alpha / a]
    return np.asarray(lfilter(top, bottom, samples))


def song(rng, seconds=4.0):
    """A sound of some hundred steps of 16 bit with passages of less than one."""
    n = round(seconds * RATE)
    loud = np.where(np.arange(n) // (RATE // 4) % 2 == 0, 300.0, 0.5)
    return loud * np.asarray(lfilter([1.0], [1.0, -0.9], rng.standard_normal(n))) / 2**15


def equaliser(*, frequency_hz, gain_db, q, level_db=0.0, delay_samples=0.0):
    """One peak as it was read, with standard errors of some size."""
    band = Band("peak", frequency_hz, 0.1, gain_db, 0.01, q, 0.01)
    return Equalisation(
        "parametric", level_db, 0.01, 1, np.array([10 ** (level_db / 20)]), delay_samples, 0.1, (band,), 0.01, 1.0
    )


def settled(
    mixture, tracks, equalisers, *, bits: int | None = 16, first_lag=0, null_db=-200.0
) -> RoundedSettings | None:
    """Of a mix in units of the last bit, or of full scale where there is none."""
    problem = Problem(
        ArraySource("mix", mixture, RATE, ("FL", "FR")[: len(mixture)] if len(mixture) > 1 else ("FC",), bits),
        tuple(ArraySource(name, one[None], RATE, ("FC",)) for name, one in tracks.items()),
    )
    parts = {}
    for name in tracks:
        taps = np.zeros((len(mixture), 1, 64))
        taps[:, 0, round(equalisers[name].delay_samples) - first_lag] = equalisers[name].amplitudes[:, None][0]
        parts[name] = Contribution(True, TimeWarp(), taps, first_lag)
    model = MixModel(RATE, problem.mixture.channels, parts)
    return settings_of_rounded_mix(problem, model, equalisers, samples=mixture.shape[1], null_db=null_db)


def rounded(samples, bits=16):
    return np.floor(samples * 2 ** (bits - 1) + 0.5).astype(np.int64)


TRUE = {"frequency_hz": 1000.0, "gain_db": 6.0, "q": 1.5}
READ = {"frequency_hz": 1000.5, "gain_db": 6.02, "q": 1.496}


def test_bands_are_known_to_a_ten_thousandth_where_least_squares_erred_by_fiftieths_of_a_decibel(rng):
    stem = song(rng)
    mix = rounded(0.3 * peak(stem, **TRUE)[None])
    found = settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)})
    assert found is not None
    (band,) = found.equalisers["stem"].bands
    assert band.frequency_hz == pytest.approx(1000.0, abs=0.02)
    assert band.gain_db == pytest.approx(6.0, abs=2e-4)
    assert band.q == pytest.approx(1.5, abs=2e-4)
    assert found.equalisers["stem"].gain_db == pytest.approx(20 * math.log10(0.3), abs=2e-4)
    assert found.explained > 0.999


def test_stated_errors_hold():
    away = []
    for seed in range(12):
        stem = song(np.random.default_rng(seed), seconds=2.0)
        mix = rounded(0.3 * peak(stem, **TRUE)[None])
        found = settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)})
        assert found is not None
        eq = found.equalisers["stem"]
        (band,) = eq.bands
        assert band.gain_db is not None and band.gain_stderr_db is not None
        assert band.q is not None and band.q_stderr is not None
        away += [
            (band.frequency_hz - 1000) / band.frequency_stderr_hz,
            (band.gain_db - 6) / band.gain_stderr_db,
            (band.q - 1.5) / band.q_stderr,
            (eq.gain_db - 20 * math.log10(0.3)) / eq.gain_stderr_db,
        ]
    assert 0.4 < math.sqrt(np.mean(np.square(away))) < 1.6


def test_two_tracks_in_two_channels_are_settled_together(rng):
    one, two = song(rng), np.roll(song(rng), 800)
    left = 0.3 * peak(one, **TRUE) + 0.2 * np.pad(two, (7, 0))[:-7]
    right = -0.1 * peak(one, **TRUE) + 0.4 * np.pad(two, (7, 0))[:-7]
    first = equaliser(**READ, level_db=-10.0)
    second = flat_equaliser(np.array([0.2004, 0.4003]), delay_samples=7.002)
    found = settled(rounded(np.array([left, right])), {"one": one, "two": two}, {"one": first, "two": second})
    assert found is not None
    (band,) = found.equalisers["one"].bands
    assert band.gain_db == pytest.approx(6.0, abs=3e-4)
    assert found.equalisers["two"].delay_samples == pytest.approx(7.0, abs=1e-4)
    np.testing.assert_allclose(found.equalisers["two"].amplitudes, [0.2, 0.4], rtol=3e-5)
    assert found.explained > 0.999


def test_sixteen_bit_in_words_of_twenty_four_are_rounded_to_sixteen(rng):
    stem = song(rng, seconds=2.0)
    mix = rounded(0.3 * peak(stem, **TRUE)[None])
    eqs = {"stem": equaliser(**READ, level_db=-10.4)}
    narrow, wide = settled(mix, {"stem": stem}, eqs), settled(256 * mix, {"stem": stem}, eqs, bits=24)
    assert narrow is not None and wide is not None
    assert wide.equalisers["stem"].bands == narrow.equalisers["stem"].bands


def test_a_dithered_mix_is_left_to_least_squares(rng):
    stem = song(rng)
    image = 0.3 * peak(stem, **TRUE)[None]
    dither = rng.uniform(-0.5, 0.5, (2, *image.shape)).sum(axis=0) / 2**15
    assert settled(rounded(image + dither), {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)}) is None


def test_a_mix_that_was_cut_short_instead_of_rounded_is_left_to_least_squares(rng):
    stem = song(rng)
    mix = np.floor(0.3 * peak(stem, **TRUE)[None] * 2**15).astype(np.int64)
    assert settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)}) is None


def test_a_mix_with_something_else_in_it_is_left_to_least_squares(rng):
    stem = song(rng)
    mix = rounded(0.3 * peak(stem, **TRUE)[None] + 3 / 2**15 * rng.standard_normal(len(stem)))
    assert settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)}) is None


def test_a_mix_in_floating_point_has_no_steps(rng):
    stem = song(rng, seconds=1.0)
    mix = 0.3 * peak(stem, **TRUE)[None]
    assert settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)}, bits=None) is None


def test_samples_at_the_end_of_the_scale_say_nothing(rng):
    stem = 60 * song(rng, seconds=2.0)
    image = 0.3 * peak(stem, **TRUE)[None]
    mix = np.clip(rounded(image), -(2**15), 2**15 - 1)
    assert np.count_nonzero(mix == 2**15 - 1) > 50
    found = settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)})
    assert found is not None
    (band,) = found.equalisers["stem"].bands
    assert band.gain_db == pytest.approx(6.0, abs=1e-5)


def lowpass(samples, *, frequency_hz, q):
    """Through a low-pass of the second order, with the coefficients as the cookbook prints them."""
    omega = 2 * math.pi * frequency_hz / RATE
    alpha, cos = math.sin(omega) / (2 * q), math.cos(omega)
    top, bottom = [(1 - cos) / 2, 1 - cos, (1 - cos) / 2], [1 + alpha, -2 * cos, 1 - alpha]
    return np.asarray(lfilter(top, bottom, samples))


def test_a_band_that_was_not_read_is_found_where_samples_miss_it(rng):
    stem = song(rng)
    mix = rounded(0.3 * lowpass(peak(stem, **TRUE), frequency_hz=5500.0, q=0.8)[None])
    found = settled(mix, {"stem": stem}, {"stem": equaliser(**READ, level_db=-10.4)})
    assert found is not None
    first, second = found.equalisers["stem"].bands
    assert (first.type, second.type) == ("peak", "lowpass")
    assert second.frequency_hz == pytest.approx(5500.0, abs=0.5)
    assert second.q == pytest.approx(0.8, abs=1e-3)


def test_bands_that_are_the_same_by_another_name_are_named_as_equalisers_are():
    high = Chain((Form("highshelf"),), np.array([math.log(0.05), 0.2, -0.3]), 3.0, np.array([[0.5]]))
    named = canonical_chain(high, RATE)
    assert named.forms == (Form("lowshelf"),)
    axis = np.tan(np.linspace(0.01, 1.5, 50))
    before, after = (one.amplitudes[0, 0] * chain_response(one.forms, one.settings, axis)[0] for one in (high, named))
    np.testing.assert_allclose(after, before, rtol=1e-12)
