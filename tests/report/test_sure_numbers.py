"""No more digits than are sure, and errors beside what is not."""

import numpy as np
import pytest

from unsum.describe.mixer import Mixer
from unsum.describe.scatter import first_of_many_paths, scattered_share
from unsum.describe.timing import Timing
from unsum.report.sure import arrival_words, pan_column, strip_words, sure_digits, sure_number


@pytest.mark.parametrize(
    ("stderr", "digits"),
    [(None, 3), (0.0, 3), (float("inf"), 3), (1e-9, 3), (0.001, 3), (0.002, 2), (0.05, 1), (0.3, 0), (7.0, 0)],
)
def test_the_last_digit_is_no_finer_than_the_error(stderr, digits):
    assert sure_digits(stderr, 3) == digits


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (-8.784, 1e-4, "-8.78"),
        (-8.784, 0.03, "-8.8"),
        (-8.784, 0.4, "-9"),
        (-8.784, 2.6, "-9±3"),
        (-0.0004, 1e-4, "0.00"),
        (-0.3, 0.5, "0"),
    ],
)
def test_a_gain_has_the_digits_that_are_sure(value, stderr, shown):
    assert sure_number(value, stderr, 2) == shown


@pytest.mark.parametrize(
    ("degrees", "stderr", "column", "words"),
    [
        (45.0, None, "C", "in the centre"),
        (45.02, 0.01, "C", "in the centre, ± 0.01 degrees"),
        (47.0, 3.2, "R 2±3", "2 ± 3.2 degrees right of the centre"),
        (45.3, 3.2, "C±3", "in the centre, ± 3.2 degrees"),
        (33.06, 0.02, "L 11.9", "11.9 ± 0.02 degrees left of the centre"),
        (33.06, 0.4, "L 12", "11.9 ± 0.4 degrees left of the centre"),
        (0.0, 0.01, "L 45.0", "hard left"),
        (90.0, None, "R 45.0", "hard right"),
    ],
)
def test_a_pan_is_told_as_sure_as_it_is(degrees, stderr, column, words):
    mixer = Mixer(-6.0, 1, degrees, image_db=-9.0, gain_stderr_db=0.1, pan_stderr_degrees=stderr)
    assert pan_column(mixer) == column
    assert strip_words(mixer) == ("at -6.00 ± 0.1 dB", words, "its image is 9.0 dB below the mixture")


def test_without_a_pan_there_are_no_words_of_one():
    assert pan_column(Mixer(-6.0, -1, None)) == "-"
    assert strip_words(Mixer(-6.0, -1, None)) == ("at -6.00 dB", "polarity inverted")
    assert strip_words(Mixer(None, None, None)) == ("nothing of it passes",)


def test_along_many_paths_the_first_is_told_and_no_error_of_it():
    timing = Timing(1.2501, 0.0, 48000, delay_stderr_seconds=0.1 / 48000)
    assert arrival_words(timing, 1.250625) == (
        "heard along many paths, as in a room, the first about 1.2506 s (60030 samples) later than in the reference",
        "both clocks agree",
    )
    assert arrival_words(timing, None)[0].endswith("(60004.800 samples ± 0.1) later than in the reference")


# Scatter ---------------------------------------------------------------------------------------------


def test_a_room_scatters_and_one_path_does_not(rng):
    rate = 48000
    room = rng.standard_normal((2, 1, 8192)) * np.exp(-np.arange(8192) / 1500)
    one = np.zeros((2, 2, 8192))
    one[0, 0, 40], one[1, 1, 45] = 0.5, -0.3  # 0.1 ms apart
    room[..., :40] = 0
    room[1, 0, 40] = 5.0
    assert first_of_many_paths(room, first_lag=-10, sample_rate=rate) == 30
    assert first_of_many_paths(one, first_lag=-10, sample_rate=rate) is None
    assert scattered_share(one, sample_rate=rate) == 0.0
    assert scattered_share(np.zeros((1, 1, 16)), sample_rate=rate) == 0.0


def test_an_echo_by_hand():
    filters = np.zeros((1, 1, 2000))
    filters[0, 0, 10], filters[0, 0, 1500] = 2.0, 1.0
    assert scattered_share(filters, sample_rate=48000) == pytest.approx(0.2)
    filters[0, 0, 1500] = 1.01
    assert first_of_many_paths(filters, first_lag=3, sample_rate=48000) == 13


def test_the_noise_of_estimation_is_no_path(rng):
    taps, tap_variance = 4096, 1e-3
    filters = np.sqrt(tap_variance) * rng.standard_normal((1, 1, taps))
    filters[0, 0, 200] += 1.0
    variance = np.full((1, 1, 65), taps * tap_variance)
    assert first_of_many_paths(filters, first_lag=0, sample_rate=48000) is not None
    assert scattered_share(filters, sample_rate=48000, variance=variance) < 0.15
    assert first_of_many_paths(filters, first_lag=0, sample_rate=48000, variance=variance) is None
