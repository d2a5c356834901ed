"""Errors of what is read from filters beside sounds that move whole bands of them at once."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal

from unsum.describe.eq import describe_eq
from unsum.describe.flat import flat_gain
from unsum.describe.mixer import describe_mixer
from unsum.describe.stereo import describe_stereo
from unsum.describe.timing import describe_timing
from unsum.dsp.deviations import Deviations
from unsum.model import Contribution, TimeWarp

RATE, TAPS, BINS = 44100, 256, 257
POWER = 1 / (1 + np.arange(BINS)[None] / 8)
LINES = (0.031, 0.075, 0.113, 0.27, 0.55, 0.9)  # of half the sample rate


def moves(channels: int, columns: int, size: float) -> np.ndarray:
    """What a tonal instrument in the middle does: lines that ring through all taps, alike in all paths."""
    at = np.arange(TAPS)
    lines = [size * np.cos(np.pi * line * at + phase) for line in LINES for phase in (0.0, math.pi / 2)]
    ramp = np.linspace(1.0, 0.6, channels * columns).reshape(channels, columns)
    return np.array([ramp[:, :, None] * line for line in lines])


def equalised(gain: float, angle: float) -> np.ndarray:
    """A peak of 6 dB at 1 kHz, panned: (2, 1, taps)."""
    w0, a = 2 * math.pi * 1000 / RATE, 10 ** (6 / 40)
    alpha = math.sin(w0) / 2
    b = np.array([1 + alpha * a, -2 * math.cos(w0), 1 - alpha * a]) / (1 + alpha / a)
    poles = np.array([1 + alpha / a, -2 * math.cos(w0), 1 - alpha / a]) / (1 + alpha / a)
    taps = gain * np.asarray(scipy.signal.lfilter(b, poles, np.eye(1, TAPS, 16)[0]))
    return np.array([math.cos(angle) * taps, math.sin(angle) * taps])[:, None]


def repeated(
    rng, truth: np.ndarray, moved: np.ndarray, read: Callable, trials: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How values scatter, what is told from deviations, and once from the variance of bins alone: (values,) each.

    Parameters
    ----------
    read : filters, variance, deviations -> pairs of a value and its standard error
    """
    variance = np.sum(np.abs(np.fft.rfft(moved, 2 * (BINS - 1))) ** 2, axis=0) + 1e-12
    ones = np.ones(variance.shape)
    shown = Deviations(moved, ones, 1e-12 * ones, freedom=1e9)
    found, told = [], []
    for _ in range(trials):
        filters = truth + np.tensordot(rng.standard_normal(len(moved)), moved, axes=1)
        values = np.array(read(filters, variance, shown))
        found.append(values[:, 0])
        told.append(values[:, 1])
    return np.std(found, axis=0), np.median(told, axis=0), np.array(read(truth, variance, None))[:, 1]


def test_the_delay_is_as_sure_as_deviations_show_it(rng):
    def read(filters, variance, shown):
        part = Contribution(True, TimeWarp(), filters, -16)
        one = describe_timing(part, sample_rate=RATE, power=POWER, variance=variance, deviations=shown)
        assert one.delay_stderr_seconds is not None
        return [(one.delay_samples, one.delay_stderr_seconds * RATE)]

    spread, told, _ = repeated(rng, equalised(0.5, 0.6), moves(2, 1, 1e-4), read, 200)
    assert told == pytest.approx(spread, rel=0.15)


def test_gain_and_pan_are_as_sure_as_deviations_show_them(rng):
    def read(filters, variance, shown):
        part = Contribution(True, TimeWarp(), filters, -16)
        how = {"channels": ("FL", "FR"), "power": POWER, "variance": variance, "deviations": shown}
        one = describe_mixer("voice", part, **how)
        return [(one.gain_db, one.gain_stderr_db), (one.pan_degrees, one.pan_stderr_degrees)]

    spread, told, by_bins = repeated(rng, equalised(0.5, 0.6), moves(2, 1, 1e-4), read, 200)
    assert told == pytest.approx(spread, rel=0.15)
    # Without knowing that both sides are moved together the pan would be told much too unsure.
    assert by_bins[1] > 1.5 * spread[1]


def test_balance_width_and_levels_of_paths_are_as_sure_as_deviations_show_them(rng):
    truth = np.zeros((2, 2, TAPS))
    truth[:, :, 16] = [[0.5, 0.1], [0.08, 0.4]]

    def read(filters, variance, shown):
        one = describe_stereo("keys", filters, power=np.repeat(POWER, 2, axis=0), variance=variance, deviations=shown)
        assert one is not None
        level = one.paths_db[0][1], one.paths_stderr_db[0][1]
        return [(one.balance_db, one.balance_stderr_db), (one.width, one.width_stderr), level]

    spread, told, _ = repeated(rng, truth, moves(2, 2, 1e-4), read, 200)
    assert told == pytest.approx(spread, rel=0.2)


def test_the_flat_gain_is_as_sure_as_deviations_show_it(rng):
    truth = np.zeros((1, 1, TAPS))
    truth[..., 16] = 0.5

    def read(filters, variance, shown):
        one = flat_gain(filters, sample_rate=RATE, power=POWER, variance=variance, deviations=shown)
        assert one is not None
        return [(one.gain_db, one.stderr_db)]

    spread, told, _ = repeated(rng, truth, moves(1, 1, 1e-6), read, 60)
    # Which bands are nearest to each other is chosen by the noise as well.
    assert 0.5 < float(told[0] / spread[0]) < 2.5


def test_every_setting_of_an_equaliser_is_as_sure_as_deviations_show_it(rng):
    def read(filters, variance, shown):
        responses = np.fft.rfft(filters[:, 0], 2 * (BINS - 1))
        one = describe_eq(responses, variance[:, 0], POWER[0], sample_rate=RATE, n_taps=TAPS, deviations=shown)
        (band,) = one.bands
        return [
            (one.gain_db, one.gain_stderr_db),
            (one.delay_samples, one.delay_stderr_samples),
            (band.frequency_hz, band.frequency_stderr_hz),
            (band.gain_db, band.gain_stderr_db),
            (band.q, band.q_stderr),
        ]

    spread, told, _ = repeated(rng, equalised(0.5, 0.6), moves(2, 1, 2e-5), read, 40)
    assert told == pytest.approx(spread, rel=0.4)


def test_of_a_lossy_mix_stretches_of_time_make_no_setting_surer_than_its_bins():
    filters, moved = equalised(0.5, 0.6), moves(2, 1, 1e-7)
    responses = np.fft.rfft(filters[:, 0], 2 * (BINS - 1))
    variance = np.full((2, BINS), 1e-5)
    shown = Deviations(moved, np.ones((2, 1, BINS)), np.full((2, 1, BINS), 1e-12), freedom=15)

    def stderr(**how) -> float:
        (band,) = describe_eq(responses, variance, POWER[0], sample_rate=RATE, n_taps=TAPS, **how).bands
        return band.frequency_stderr_hz

    unsure = np.full((2, BINS), 1e-4)
    assert stderr(deviations=shown) < 0.3 * stderr()
    assert stderr(deviations=shown, unsure=unsure) >= 0.999 * stderr(unsure=unsure)


@pytest.mark.parametrize("what", ["delay", "gain"])
def test_where_no_stretch_shows_anything_steady_noise_holds(what):
    still = np.zeros((8, 2, 1, TAPS))
    variance = np.full((2, 1, BINS), 1e-6)
    shown = Deviations(still, np.ones(variance.shape), variance, freedom=7)
    part = Contribution(True, TimeWarp(), equalised(0.5, 0.6), -16)

    def stderr(**how):
        if what == "delay":
            return describe_timing(part, sample_rate=RATE, power=POWER, variance=variance, **how).delay_stderr_seconds
        return describe_mixer(
            "voice", part, channels=("FL", "FR"), power=POWER, variance=variance, **how
        ).gain_stderr_db

    assert stderr(deviations=shown) == pytest.approx(stderr())
