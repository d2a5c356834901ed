"""Pan laws: their gains by hand and by the programs that have them, and the way back."""

import math
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, just, one_of, sampled_from

from unsum.describe.pan import PAN_LAWS, pan_gains, pan_law, pan_position

LAWS = sampled_from(sorted(PAN_LAWS))
# Below the least normal number there are no digits left to be right to.
AMPLITUDES = one_of(just(0.0), floats(1e-200, 1e6))


def degrees(left: float, right: float, law: str) -> float:
    found = pan_position(left, right, law=law)
    assert found is not None
    return found.pan_degrees


@settings(max_examples=200, deadline=None)
@given(law=LAWS, pan=floats(0, 90), gain_db=floats(-120, 40))
def test_place_and_gain_come_back_by_every_law(law, pan, gain_db):
    gain = 10 ** (gain_db / 20)
    left, right = (gain * side for side in pan_gains(pan, law=law))
    found = pan_position(left, right, law=law)
    assert found is not None
    assert found.pan_degrees == pytest.approx(pan, abs=1e-9)
    assert found.gain == pytest.approx(gain, rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(law=LAWS, left=AMPLITUDES, right=AMPLITUDES)
def test_any_two_amplitudes_have_a_place_by_every_law(law, left, right):
    found = pan_position(left, right, law=law)
    if found is None:
        assert left == right == 0
        return
    again = [found.gain * side for side in pan_gains(found.pan_degrees, law=law)]
    # The knob is a number near 90 at the right: it moves the weaker side by no less than the root of its last digit.
    assert again == pytest.approx([left, right], rel=1e-6, abs=1e-7 * max(left, right))


@given(law=LAWS, pan=floats(0, 90))
def test_the_sides_are_mirror_images(law, pan):
    assert pan_gains(pan, law=law) == pytest.approx(pan_gains(90 - pan, law=law)[::-1], abs=2e-8)


@pytest.mark.parametrize("law", sorted(PAN_LAWS))
def test_every_law_leaves_the_ends_alone(law):
    assert pan_gains(0, law=law) == pytest.approx((1, 0), abs=1e-15)
    assert pan_gains(90, law=law) == pytest.approx((0, 1), abs=1e-15)
    assert degrees(0.5, 0, law) == 0
    assert degrees(0, 0.5, law) == 90
    assert degrees(0.3, 0.3, law) == pytest.approx(45, abs=1e-12)


@pytest.mark.parametrize(
    ("law", "centre_db"),
    [
        ("equal-power", -3.0103),
        ("square-root", -3.0103),
        ("compromise", -4.5154),
        ("linear", -6.0206),
        ("balance", 0.0),
        ("ardour", -3.0),
    ],
)
def test_laws_are_known_by_their_centre(law, centre_db):
    assert pan_law(law).centre_db == pytest.approx(centre_db, abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "law"),
    [
        ("-3 dB", "equal-power"),
        ("-4.5dB", "compromise"),
        ("-6 dB", "linear"),
        ("0 dB", "balance"),
        ("Linear", "linear"),
    ],
)
def test_a_centre_level_names_a_law_too(asked, law):
    assert pan_law(asked).name == law


@pytest.mark.parametrize(
    ("law", "pan", "left", "right"),
    [
        ("equal-power", 30, math.sqrt(3) / 2, 0.5),
        ("square-root", 22.5, math.sqrt(0.75), 0.5),
        ("linear", 22.5, 0.75, 0.25),
        ("compromise", 30, math.sqrt(2 / 3 * math.sqrt(3) / 2), math.sqrt(1 / 3 * 0.5)),
        ("balance", 22.5, 1.0, 0.5),
        ("balance", 67.5, 0.5, 1.0),
    ],
)
def test_gains_worked_by_hand(law, pan, left, right):
    assert pan_gains(pan, law=law) == pytest.approx((left, right))


def test_gains_of_ardour_as_it_renders_them():
    # Ardour 7, a mono track at gain 0.25 with its knob at 20 %, exported as floating point and measured.
    left, right = (0.25 * side for side in pan_gains(18, law="ardour"))
    assert 20 * math.log10(left) == pytest.approx(-12.64, abs=0.005)
    assert 20 * math.log10(right) == pytest.approx(-21.59, abs=0.005)


@pytest.mark.parametrize("percent", [-80, -25, 0, 60])
def test_the_balance_knob_of_ffmpeg_is_read_by_the_balance_law(ffmpeg, percent):
    ones = np.ones((1, 2), "<f8")
    how = ["-f", "f64le", "-ar", "48000", "-ac", "2", "-i", "-"]
    knob = ["-af", f"stereotools=balance_out={percent / 100}", "-f", "f64le", "-"]
    done = subprocess.run(
        [ffmpeg, "-loglevel", "error", *how, *knob], input=ones.tobytes(), capture_output=True, check=True
    )
    left, right = np.frombuffer(done.stdout, "<f8")
    found = pan_position(left, right, law="balance")
    assert found is not None
    assert (found.pan_degrees - 45) / 45 * 100 == pytest.approx(percent, abs=1e-5)
    assert found.gain == pytest.approx(1)


def test_one_place_reads_differently_by_other_laws():
    places = {law: degrees(1.0, 0.5, law) for law in PAN_LAWS}
    assert places["equal-power"] == pytest.approx(26.565, abs=1e-3)
    assert places["linear"] == pytest.approx(30)
    assert places["square-root"] == pytest.approx(18)
    assert places["balance"] == pytest.approx(22.5)
    assert places["equal-power"] < places["compromise"] < places["linear"]


def test_silence_has_no_place():
    assert pan_position(0.0, 0.0) is None


def test_what_is_no_pan_is_refused():
    with pytest.raises(ValueError, match="polarity"):
        pan_position(1.0, -0.5)
    with pytest.raises(ValueError, match="polarity"):
        pan_position(math.nan, 0.5)
    with pytest.raises(ValueError, match="from 0"):
        pan_gains(91)
    with pytest.raises(ValueError, match=r"compromise or -4\.5dB"):
        pan_law("-2.5dB")
