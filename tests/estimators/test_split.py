"""Fitted, held out, left out."""

from hypothesis import given
from hypothesis import strategies as st

from unsum.dsp.rows import FIT, HELD_OUT
from unsum.estimators.split import can_be_tested, spans, split_time
from unsum.model import Jump, TimeWarp

RATE = 8000


def rows(segments, part):
    return sum(s.stop - s.start for s in segments if s.part == part)


@given(delay=st.integers(-5 * RATE, 25 * RATE), length=st.integers(2 * RATE, 30 * RATE))
def test_rows_lie_where_the_reference_sounds_and_a_quarter_is_held_out(delay, length):
    total = 30 * RATE
    first, last = max(0, delay), min(total, delay + length)
    segments = split_time({"a": TimeWarp(delay / RATE)}, lengths={"a": length}, total=total, sample_rate=RATE)
    if last - first < RATE:
        return
    assert all(first <= s.start < s.stop <= last for s in segments)
    assert can_be_tested(segments)
    held, fitted = rows(segments, HELD_OUT), rows(segments, FIT)
    assert 0.2 < held / (held + fitted) < 0.3


def test_a_reference_that_does_not_reach_the_mixture_has_no_rows():
    assert split_time({"a": TimeWarp(40.0)}, lengths={"a": RATE}, total=30 * RATE, sample_rate=RATE) == ()


def test_the_time_between_two_references_does_not_count():
    warps = {"a": TimeWarp(1.0), "b": TimeWarp(20.0)}
    segments = split_time(warps, lengths={"a": 4 * RATE, "b": 4 * RATE}, total=30 * RATE, sample_rate=RATE)
    assert not any(s.start < 20 * RATE and s.stop > 5 * RATE for s in segments)


def test_clipped_moments_are_left_out_unless_they_are_most_of_it():
    few, many = [(RATE, 2 * RATE)], [(n * RATE, n * RATE + 6000) for n in range(30)]
    common = {"warps": {"a": TimeWarp()}, "lengths": {"a": 30 * RATE}, "total": 30 * RATE, "sample_rate": RATE}
    without = split_time(**common)
    assert not any(s.start < 2 * RATE and s.stop > RATE for s in split_time(**common, clipped=few))
    assert split_time(**common, clipped=many) == without


def test_excluded_moments_are_left_out_however_many():
    segments = split_time(
        {"a": TimeWarp()}, lengths={"a": 30 * RATE}, total=30 * RATE, sample_rate=RATE, excluded=[(0, 20 * RATE)]
    )
    assert min(s.start for s in segments) == 20 * RATE


def test_a_pause_of_the_player_is_no_part_of_the_span():
    # Ten seconds are heard, then the player jumps before its beginning for five seconds' worth of silence.
    warp = TimeWarp(jumps=(Jump(10.0, -15.0),))
    assert spans(warp, 30 * RATE, 30 * RATE, RATE) == [(0, 10 * RATE), (15 * RATE, 30 * RATE)]


def test_a_clock_that_runs_fast_ends_the_reference_earlier():
    (span,) = spans(TimeWarp(0.0, 50_000.0), 21 * RATE, 30 * RATE, RATE)
    assert abs(span[1] - 20 * RATE) <= 80


def test_some_of_every_stretch_between_jumps_is_held_out():
    warp = TimeWarp(3.0, jumps=(Jump(8.0, 0.02), Jump(20.5, 0.02)))
    segments = split_time({"song": warp}, lengths={"song": 30 * 8000}, total=32 * 8000, sample_rate=8000)
    for first, stop in ((3.1, 8.0), (8.0, 20.5), (20.5, 32.0)):
        held = [s for s in segments if s.part == HELD_OUT and s.start >= first * 8000 and s.stop <= stop * 8000]
        assert sum(s.stop - s.start for s in held) > 0.15 * (stop - first) * 8000
