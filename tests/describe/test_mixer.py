"""Gain, polarity and pan of filters made with known ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, sampled_from

from unsum.describe.mixer import Mixer, describe_mixer, mixer_words
from unsum.describe.pan import PAN_LAWS, pan_gains
from unsum.model import Contribution, TimeWarp

STEREO = ("FL", "FR")
PINK = 1 / (1 + np.arange(65))[None]


def contribution(filters, first_lag: int = 0) -> Contribution:
    return Contribution(True, TimeWarp(), np.asarray(filters, float), first_lag)


def panned(gain: float, pan_degrees: float, shape=(1.0,)) -> Contribution:
    p = math.radians(pan_degrees)
    return contribution(gain * np.array([math.cos(p), math.sin(p)])[:, None, None] * np.asarray(shape))


@settings(max_examples=60, deadline=None)
@given(
    gain_db=floats(-60, 20),
    pan=floats(0, 90),
    polarity=sampled_from([1, -1]),
    power=sampled_from([None, PINK]),
    taps=sampled_from([1, 7, 300]),
)
def test_gain_polarity_and_pan_of_the_equal_power_law_come_back(gain_db, pan, polarity, power, taps):
    shape = np.zeros(taps)
    shape[taps // 2] = polarity
    found = describe_mixer("voice", panned(10 ** (gain_db / 20), pan, shape), channels=STEREO, power=power)
    assert found.gain_db == pytest.approx(gain_db, abs=1e-9)
    assert found.pan_degrees == pytest.approx(pan, abs=1e-6)
    assert found.polarity == polarity
    assert found.limits == ()


def test_unity_to_both_sides_is_three_decibels_in_the_centre():
    found = describe_mixer("voice", contribution(np.ones((2, 1, 1))), channels=STEREO)
    assert found.gain_db == pytest.approx(10 * math.log10(2))
    assert found.pan_degrees == pytest.approx(45)


def test_a_stereo_reference_that_passes_unchanged_has_no_gain_whatever_its_balance():
    filters = np.eye(2)[:, :, None]
    found = describe_mixer("song", contribution(filters), channels=STEREO, power=np.array([[1.0, 1.0], [9.0, 1.0]]))
    assert found.gain_db == pytest.approx(0, abs=1e-12)
    assert found.pan_degrees == pytest.approx(45)


def test_the_balance_of_a_stereo_reference_is_its_pan():
    filters = np.diag([1.0, 0.5])[:, :, None]
    found = describe_mixer("song", contribution(filters), channels=STEREO)
    assert found.pan_degrees == pytest.approx(math.degrees(math.atan(0.5)))


def test_a_mono_mixture_has_no_pan_and_needs_no_excuse():
    found = describe_mixer("song", contribution([[[-0.5]]]), channels=("FC",))
    assert (found.pan_degrees, found.limits) == (None, ())
    assert found.gain_db == pytest.approx(-6.0206, abs=1e-4)
    assert found.polarity == -1


def test_what_no_pan_law_gives_is_said():
    opposite = describe_mixer("song", contribution([[[1.0]], [[-1.0]]]), channels=STEREO)
    assert opposite.pan_degrees is None
    assert opposite.limits == ("song: left and right have opposite polarity; no pan law gives that",)
    surround = describe_mixer("song", contribution(np.ones((3, 1, 1))), channels=("FL", "FR", "LFE"))
    assert surround.pan_degrees is None
    assert "FL FR LFE" in surround.limits[0]


def test_silent_filters_have_no_gain():
    found = describe_mixer("song", contribution(np.zeros((2, 1, 4))), channels=STEREO, image_db=None)
    assert (found.gain_db, found.polarity, found.pan_degrees) == (None, None, None)
    assert mixer_words(found) == ("nothing of it passes",)
    assert "zero" in found.limits[0]


def test_bands_in_which_the_reference_is_silent_do_not_count():
    taps = np.arange(256)
    # Loud, but only near half the sample rate.
    whistle = 100 * np.hanning(256) * (-1.0) ** taps
    filters = (0.5 * (taps == 128) + whistle)[None, None]
    dark = (np.arange(129) < 64)[None].astype(np.float64)
    found = describe_mixer("song", contribution(filters), channels=("FC",), power=dark)
    assert found.gain_db == pytest.approx(-6.02, abs=0.01)
    white = describe_mixer("song", contribution(filters), channels=("FC",))
    assert white.gain_db == pytest.approx(50, abs=30)


def test_noise_in_the_silent_side_does_not_move_a_hard_pan(rng):
    filters = np.zeros((2, 1, 512))
    filters[0, 0, 64] = 1.0
    filters[1, 0] = 1e-3 * rng.standard_normal(512)
    variance = np.full((2, 1, 257), 512 * 1e-6)
    found = describe_mixer("song", contribution(filters), channels=STEREO, variance=variance)
    assert found.pan_degrees is not None
    assert found.pan_stderr_degrees is not None
    assert found.pan_degrees < 3 * found.pan_stderr_degrees < 1.5
    assert describe_mixer("song", contribution(filters), channels=STEREO).pan_degrees == pytest.approx(1.3, abs=0.1)


@pytest.mark.parametrize("power", [None, PINK])
def test_a_side_that_comes_later_keeps_its_place(power):
    filters = np.zeros((2, 1, 64))
    filters[0, 0, 10] = -1.0
    filters[1, 0, 13] = -0.5
    found = describe_mixer("song", contribution(filters), channels=STEREO, power=power)
    assert found.pan_degrees == pytest.approx(math.degrees(math.atan(0.5)))
    filters[1] *= -1
    assert describe_mixer("song", contribution(filters), channels=STEREO, power=power).pan_degrees is None


def test_sides_that_share_nothing_have_the_pan_of_their_energies(rng):
    room = rng.standard_normal((2, 1, 2000)) * np.array([2.0, 1.0])[:, None, None]
    found = describe_mixer("song", contribution(room), channels=STEREO)
    assert found.pan_degrees == pytest.approx(math.degrees(math.atan(0.5)), abs=1.5)


def test_a_trace_of_the_other_polarity_in_the_silent_side_is_no_matter():
    found = describe_mixer("song", contribution([[[1.0]], [[-1e-6]]]), channels=STEREO)
    assert found.pan_degrees == pytest.approx(0, abs=1e-4)
    assert found.limits == ()


def test_filters_below_their_noise_have_no_gain():
    variance = np.full((1, 1, 9), 4.0)
    found = describe_mixer("song", contribution([[[1.0]]]), channels=("FC",), variance=variance)
    assert found.gain_db is None
    assert "no louder than their noise" in found.limits[0]


@pytest.mark.parametrize("pan", [0.0, 20.0, 45.0])
@pytest.mark.parametrize("power", [None, PINK])
def test_standard_errors_are_those_of_repeated_noise(rng, pan, power):
    n_taps, deviation = 64, 1e-3
    shape = np.zeros(n_taps)
    shape[[10, 12]] = 1.0, 0.4
    true = panned(0.5, pan, shape)
    variance = np.full((2, 1, 33), n_taps * deviation**2)
    gains, pans = [], []
    for _ in range(300):
        noisy = contribution(true.filters + deviation * rng.standard_normal(true.filters.shape))
        found = describe_mixer("song", noisy, channels=STEREO, power=power, variance=variance)
        gains.append(found.gain_db)
        pans.append(found.pan_degrees)
    told = describe_mixer("song", true, channels=STEREO, power=power, variance=variance)
    # The filters that are known are noisy too: the error told for one of them is what counts.
    assert found.gain_stderr_db == pytest.approx(np.std(gains), rel=0.2)
    assert told.gain_db == pytest.approx(np.mean(gains), abs=0.05)
    spread = math.sqrt(np.mean((np.array(pans) - pan) ** 2))
    # At a hard pan the errors are those of a root, far from normal.
    assert found.pan_stderr_degrees == pytest.approx(spread, rel=0.2 if pan else 0.5)


def test_filters_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="filters for 2 mixture channels"):
        describe_mixer("song", contribution(np.ones((2, 1, 1))), channels=("FC",))


def test_the_strip_in_words():
    assert mixer_words(Mixer(-6.0, -1, 33.0, image_db=-9.3, gain_stderr_db=0.001)) == (
        "at -6.00 ± 0.001 dB",
        "polarity inverted",
        "12.0 degrees left of the centre",
        "its image is 9.3 dB below the mixture",
    )
    assert mixer_words(Mixer(0.0, 1, 45.0))[1:] == ("in the centre",)
    assert mixer_words(Mixer(0.0, 1, 90.0))[1:] == ("hard right",)
    assert mixer_words(Mixer(0.0, 1, None, image_db=2.0))[1:] == ("its image is 2.0 dB above the mixture",)


@pytest.mark.parametrize("law", sorted(PAN_LAWS))
@pytest.mark.parametrize("pan", [0.0, 20.0, 45.0, 90.0])
def test_knob_and_fader_come_back_by_the_law_of_the_desk(law, pan):
    filters = 0.5 * np.array(pan_gains(pan, law=law))[:, None, None]
    found = describe_mixer("voice", contribution(filters), channels=STEREO, law=law)
    assert found.pan_degrees == pytest.approx(pan, abs=1e-6)
    assert found.gain_db == pytest.approx(20 * math.log10(0.5), abs=1e-9)
    assert found.pan_law == law


@pytest.mark.parametrize("law", sorted(PAN_LAWS))
def test_a_stereo_reference_that_passes_unchanged_has_no_gain_by_any_law(law):
    found = describe_mixer("song", contribution(np.eye(2)[:, :, None]), channels=STEREO, law=law)
    assert found.gain_db == pytest.approx(0, abs=1e-9)
    assert found.pan_degrees == pytest.approx(45)


def test_a_balance_knob_turned_down_to_the_left_costs_no_gain():
    filters = np.diag([1.0, 0.5])[:, :, None]
    found = describe_mixer("song", contribution(filters), channels=STEREO, law="balance")
    assert found.gain_db == pytest.approx(0, abs=1e-9)
    assert found.pan_degrees == pytest.approx(22.5)
    assert mixer_words(found)[1] == "22.5 degrees left of the centre by the balance law"


def test_no_law_is_told_where_there_is_no_pan():
    found = describe_mixer("song", contribution([[[0.5]]]), channels=("FC",), law="linear")
    assert found.gain_db == pytest.approx(-6.0206, abs=1e-4)
    assert found.pan_law == "equal-power"
    with pytest.raises(ValueError, match="no pan law"):
        describe_mixer("song", contribution([[[0.5]]]), channels=("FC",), law="loud")


@pytest.mark.parametrize("law", ["linear", "compromise", "square-root", "balance"])
def test_the_error_of_a_pan_is_that_of_its_law(rng, law):
    n_taps, deviation = 64, 1e-3
    true = np.zeros((2, 1, n_taps))
    true[:, 0, 10] = pan_gains(30, law=law)
    variance = np.full((2, 1, 33), n_taps * deviation**2)
    pans, found = [], None
    for _ in range(200):
        noisy = contribution(true + deviation * rng.standard_normal(true.shape))
        found = describe_mixer("song", noisy, channels=STEREO, variance=variance, law=law)
        pans.append(found.pan_degrees)
    assert found is not None
    assert found.pan_stderr_degrees == pytest.approx(np.std(pans), rel=0.2)


def test_alike_channels_that_share_a_gain_are_as_loud_as_they_sound():
    # Left and right hold the same sound, and least squares shares its gain of 1.5 out among both.
    filters = np.full((2, 2, 1), 0.75)
    energies = np.array([2.0, 2.0]), np.array([1.5**2 * 2.0] * 2)
    mixer = describe_mixer("snare", contribution(filters), channels=("FL", "FR"), energies=energies)
    assert mixer.gain_db == pytest.approx(20 * math.log10(1.5))
    assert mixer.pan_degrees == pytest.approx(45.0)


@pytest.mark.parametrize("noise_degrees", [30.0, 75.0])
def test_errors_that_both_sides_share_are_told_as_such(rng, noise_degrees):
    # A stranger panned elsewhere moves both sides at once: at the same place it changes the gain and leaves the pan.
    truth, angle = panned(0.5, 30.0, np.eye(1, 64, 8)[0]), math.radians(noise_degrees)
    sides = np.array([math.cos(angle), math.sin(angle)])
    size = 1e-3
    variance = np.broadcast_to((size * sides[:, None, None]) ** 2 * 64, (2, 1, 65))
    found, apart = [], []
    for _ in range(300):
        moved = truth.filters + size * sides[:, None, None] * rng.standard_normal(64)
        how = {"channels": STEREO, "variance": variance}
        found.append(describe_mixer("voice", contribution(moved), **how, correlation=np.ones((2, 2, 65), complex)))
        apart.append(describe_mixer("voice", contribution(moved), **how))
    for value, stderr in (("gain_db", "gain_stderr_db"), ("pan_degrees", "pan_stderr_degrees")):
        spread = np.std([getattr(one, value) for one in found])
        told, unaware = (np.median([getattr(one, stderr) for one in many]) for many in (found, apart))
        assert told == pytest.approx(spread, rel=0.12, abs=1e-4)
        assert abs(unaware - spread) > 0.12 * spread


@pytest.mark.parametrize("pan", [25.0, 38.0, 43.0, 60.0])
def test_a_pan_is_unsure_by_what_an_encoder_takes_from_middle_and_side(pan):
    # The same energy is lost of the middle and of the side: a share of each that is the greater the weaker it is.
    lost, off_centre = 1e-3, math.radians(pan - 45)
    middle, side = math.cos(off_centre), math.sin(off_centre)
    turned = math.atan2(side * max(1 - lost / side**2, 0.0), middle * (1 - lost / middle**2))
    channels = np.array([math.cos(math.radians(pan)), math.sin(math.radians(pan))])
    filters = contribution(channels[:, None, None])
    how = {"channels": STEREO, "power": PINK, "variance": np.zeros((2, 1, 65))}
    # What is lost of each channel is told relative to that channel.
    unsure = np.broadcast_to((lost / channels**2)[:, None, None], (2, 1, 65))
    stderr = describe_mixer("voice", filters, unsure=unsure, **how).pan_stderr_degrees
    assert stderr is not None and stderr > 0.9 * abs(math.degrees(turned - off_centre))
    assert describe_mixer("voice", filters, **how).pan_stderr_degrees == pytest.approx(0, abs=1e-6)
