"""Frames find their place: jitter is none of their business, holes and overlaps are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsum.errors import InputError
from unsum.media.timeline import Discontinuity, StreamClock

RATE = 48000


def matroska(samples: int) -> float:
    """A moment as Matroska writes it down: to the millisecond."""
    return round(samples / RATE * 1000) / 1000


def place_all(frames, *, numbered: bool):
    """Places of frames given as (first sample on the recorder's clock, length), with Matroska's time stamps."""
    clock = StreamClock(stream=3, sample_rate=RATE)
    places = [
        clock.place(seconds=matroska(start), samples=length, number=start if numbered else None)
        for start, length in frames
    ]
    return places, clock


@given(st.integers(0, 10 * RATE), st.integers(200, 9000), st.integers(1, 80), st.booleans())
def test_millisecond_time_stamps_leave_no_gap_between_frames(start, length, count, numbered):
    places, clock = place_all([(start + n * length, length) for n in range(count)], numbered=numbered)
    assert places == [places[0] + n * length for n in range(count)]
    assert abs(places[0] - start) <= RATE / 2000
    assert not clock.breaks


@given(st.integers(1, 50), st.integers(1, 30), st.sampled_from([1024, 4096, 4608]), st.booleans())
def test_a_hole_of_lost_frames_is_known_to_the_sample(before, lost, length, numbered):
    frames = [(n * length, length) for n in range(before)]
    frames += [(n * length, length) for n in range(before + lost, before + lost + 5)]
    places, clock = place_all(frames, numbered=numbered)
    assert places == [start for start, _ in frames]
    (hole,) = clock.breaks
    reason = "frame numbers" if numbered else "whole frames missing"
    assert hole == Discontinuity(3, before * length, lost * length, True, reason)


def test_frame_numbers_tell_the_hole_where_frames_vary():
    frames = [(0, 4096), (4096, 1152), (5248, 4096), (20000, 512), (20512, 4096)]
    places, clock = place_all(frames, numbered=True)
    assert places == [start for start, _ in frames]
    assert [(b.at, b.samples, b.exact) for b in clock.breaks] == [(9344, 20000 - 9344, True)]


def test_without_numbers_the_hole_between_varying_frames_is_not_called_exact():
    frames = [(0, 128), (128, 1024), (1152, 1024), (2176, 128), (2304, 1024), (3328 + 12800, 1024)]
    places, clock = place_all(frames, numbered=False)
    (hole,) = clock.breaks
    assert not hole.exact
    assert abs(hole.samples - 12800) <= 48 and places[-1] == 3328 + hole.samples


def test_a_first_frame_cut_short_by_priming_does_not_spoil_the_measure():
    frames = [(0, 648), (648, 960), (1608, 960), (2568 + 5 * 960, 960)]
    _, clock = place_all(frames, numbered=False)
    assert [(b.samples, b.exact) for b in clock.breaks] == [(5 * 960, True)]


@pytest.mark.parametrize("numbered", [True, False])
def test_frames_that_come_twice_are_an_overlap(numbered):
    frames = [(n * 4096, 4096) for n in (0, 1, 2, 1, 2, 3)]
    places, clock = place_all(frames, numbered=numbered)
    assert places == [start for start, _ in frames]
    (overlap,) = clock.breaks
    assert (overlap.samples, overlap.at, overlap.exact) == (-2 * 4096, 3 * 4096, True)


def test_a_jump_of_the_clock_without_a_lost_frame_is_told_as_such():
    clock = StreamClock(stream=0, sample_rate=RATE)
    clock.place(seconds=0.0, samples=4096, number=0)
    assert clock.place(seconds=matroska(4096 + 9600), samples=4096, number=4096) == pytest.approx(13696, abs=48)
    (jump,) = clock.breaks
    assert not jump.exact and "no frame is missing" in jump.reason


def test_frames_without_time_stamps_follow_one_another():
    clock = StreamClock(stream=0, sample_rate=RATE)
    assert [clock.place(seconds=None, samples=100) for _ in range(3)] == [0, 100, 200]
    assert clock.place(seconds=None, samples=100, number=None) == 300
    assert not clock.breaks


def test_frame_numbers_alone_tell_a_hole_where_there_are_no_time_stamps():
    clock = StreamClock(stream=0, sample_rate=RATE)
    clock.place(seconds=None, samples=4096, number=0)
    assert clock.place(seconds=None, samples=4096, number=12288) == 12288
    assert [(b.samples, b.exact) for b in clock.breaks] == [(8192, True)]


def test_a_slow_clock_is_no_hole():
    """Time stamps that drift by 100 ppm against the samples are not taken for lost audio."""
    clock = StreamClock(stream=0, sample_rate=RATE)
    places = [clock.place(seconds=n * 4096 * 1.0001 / RATE, samples=4096) for n in range(2000)]
    assert places == [n * 4096 for n in range(2000)]
    assert not clock.breaks


def test_a_wrong_time_of_a_single_frame_is_not_a_gap():
    """As Ogg Vorbis has them where its block size changes."""
    clock = StreamClock(stream=0, sample_rate=48000)
    stamps = [0, 1024, 2048 + 36736, 3072, 4096]
    after = [*stamps[1:], None]
    starts = [
        clock.place(seconds=stamp / 48000, samples=1024, next_seconds=float("nan") if next_ is None else next_ / 48000)
        for stamp, next_ in zip(stamps, after, strict=True)
    ]
    assert starts == [0, 1024, 2048, 3072, 4096]
    assert clock.breaks == []


def test_a_jump_that_lasts_is_a_gap():
    clock = StreamClock(stream=0, sample_rate=48000)
    stamps = [0, 1024, 2048 + 9600, 3072 + 9600]
    after = [*stamps[1:], float("nan")]
    starts = [
        clock.place(seconds=stamp / 48000, samples=1024, next_seconds=next_ / 48000)
        for stamp, next_ in zip(stamps, after, strict=True)
    ]
    assert starts == stamps


def place_with_stamps(stamps, *, numbers):
    """Places of frames of 4096 samples, each told the next one's time stamp, as decoding does."""
    clock = StreamClock(stream=0, sample_rate=RATE)
    places = [
        clock.place(seconds=stamp / RATE, samples=4096, number=number, next_seconds=after / RATE)
        for stamp, number, after in zip(stamps, numbers, [*stamps[1:], float("nan")], strict=True)
    ]
    return places, clock


@pytest.mark.parametrize("wrong", [1, 3, 7])
@pytest.mark.parametrize("by", [-3000, 9600, 480_000])
def test_a_wrong_time_of_a_numbered_frame_costs_no_audio(wrong, by):
    right = [n * 4096 for n in range(8)]
    stamps = [start + by * (n == wrong) for n, start in enumerate(right)]
    places, clock = place_with_stamps(stamps, numbers=right)
    assert places == right
    assert clock.breaks == []


@pytest.mark.parametrize("by", [-3000, 9600])
def test_a_wrong_time_just_behind_a_hole_leaves_the_hole_exact(by):
    right = [0, 4096, 5 * 4096, 6 * 4096, 7 * 4096]
    places, clock = place_with_stamps([0, 4096, 5 * 4096 + by, 6 * 4096, 7 * 4096], numbers=right)
    assert places == right
    assert [(b.samples, b.exact) for b in clock.breaks] == [(3 * 4096, True)]


def test_a_jump_of_numbered_frames_that_lasts_is_kept():
    stamps = [0, 4096, 8192 + 9600, 12288 + 9600]
    places, clock = place_with_stamps(stamps, numbers=[0, 4096, 8192, 12288])
    assert places == stamps
    assert [(b.samples, b.exact) for b in clock.breaks] == [(9600, False)]


@pytest.mark.parametrize(("limit", "jump"), [(86400, 86402), (86400, -90000), (100, 101)])
def test_a_jump_that_cannot_be_is_refused_with_its_place(limit, jump):
    clock = StreamClock(stream=2, sample_rate=RATE, longest_jump_seconds=limit)
    clock.place(seconds=200_000.0, samples=4096)
    place = f"audio stream 2 jumps by \\{jump:+d}.0 s at {200_000 + 4096 / RATE:.3f} s"
    with pytest.raises(InputError, match=place):
        clock.place(seconds=200_000.0 + 4096 / RATE + jump, samples=4096)
