"""The equation's values by themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from unsum.model import Bend, Jump, TimeWarp


def test_a_second_late_and_a_thousandth_too_fast_is_a_line_through_the_delay():
    warp = TimeWarp(1.0, 1000.0)
    assert warp.reference_time(1.0) == 0.0
    assert warp.reference_time(3.0) == pytest.approx(2.002, abs=1e-15)


def test_a_jump_counts_from_its_moment_on():
    warp = TimeWarp(jumps=(Jump(2.0, 0.5), Jump(4.0, -1.0)))
    times = np.array([1.999, 2.0, 3.999, 4.0])
    np.testing.assert_allclose(warp.reference_time(times), times + np.array([0.0, 0.5, 0.5, -0.5]), atol=1e-15)


def test_a_bend_is_the_cubic_spline_of_its_offsets():
    offsets = np.random.default_rng(1).normal(size=12)
    bend = Bend(0.25, 0.5, tuple(offsets))
    # scipy numbers its splines by knots; within the given offsets both are the same curve.
    spline = BSpline(0.25 + 0.5 * np.arange(-2, 14), offsets, 3)
    times = np.linspace(0.75, 5.2, 300)
    np.testing.assert_allclose(bend(times), spline(times), atol=1e-13)


def test_a_bend_stays_what_it_was_beyond_its_ends():
    bend = Bend(0.0, 1.0, (2.0, 3.0, 5.0))
    assert bend(-50.0) == pytest.approx(2.0)
    assert bend(50.0) == pytest.approx(5.0)


@given(samples=st.integers(-(2**31), 2**31), rate=st.sampled_from([8000, 44100, 48000, 192000]))
def test_a_delay_of_whole_samples_is_known_as_one(samples, rate):
    assert TimeWarp(samples / rate).whole_samples(rate) == samples
    assert TimeWarp((samples + 0.01) / rate).whole_samples(rate) is None


def test_a_warp_that_is_no_delay_has_no_whole_samples():
    assert TimeWarp(1.0, 0.1).whole_samples(48000) is None
    assert TimeWarp(1.0, jumps=(Jump(1.0, 0.5),)).whole_samples(48000) is None
    assert TimeWarp(1.0, bend=Bend(0.0, 1.0, (0.0,))).whole_samples(48000) is None


def test_jumps_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"10\.2 s comes behind one at 10\.6 s"):
        TimeWarp(jumps=(Jump(10.6, 0.5), Jump(10.2, -1.0)))


def test_two_jumps_at_one_moment_are_one():
    warp = TimeWarp(jumps=(Jump(2.0, 0.5), Jump(2.0, -1.0)))
    assert warp.reference_time(2.0) == 1.5


def test_jumps_by_whole_samples_leave_whole_stretches():
    warp = TimeWarp(100 / 44100, jumps=(Jump(7 / 44100, -41 / 44100), Jump(11 / 44100, 50 / 44100)))
    stretches = warp.whole_stretches(44100)
    assert stretches is not None
    assert [(one.start, one.delay_samples) for one in stretches] == [(None, 100), (7, 141), (11, 91)]
    assert warp.whole_samples(44100) is None


def test_a_jump_by_a_part_of_a_sample_leaves_no_whole_stretches():
    assert TimeWarp(0.0, jumps=(Jump(1.0, 10.5 / 8000),)).whole_stretches(8000) is None
    assert TimeWarp(0.0, clock_ppm=1.0).whole_stretches(8000) is None
