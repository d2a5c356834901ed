"""Frames of several streams become aligned blocks: the same ones however the frames were cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsum.streams.assembly import AlignedBlock, Assembler, NotInterleavedError

BLOCK = 64


def ramp(stream: int, start: int, length: int, *, channels: int) -> np.ndarray:
    """Samples that tell where they are from: no two of a stream's first 30 000 are equal."""
    return (np.arange(start, start + length) + 1000 * np.arange(channels)[:, None] + stream + 1).astype(np.int16)


def frames_of(stream, ranges, cuts, *, channels):
    """The samples of some ranges of a stream's time, cut into frames at some places."""
    frames = []
    for start, stop in ranges:
        edges = [start, *sorted(cut for cut in set(cuts) if start < cut < stop), stop]
        frames += [(stream, a, ramp(stream, a, b - a, channels=channels)) for a, b in pairwise(edges)]
    return frames


def assemble(frames, formats, **how):
    assembler = Assembler(formats, **{"origin": 0, "offsets": {}, "max_lead": None, "block": BLOCK} | how)
    blocks = [block for stream, start, samples in frames for block in assembler.put(stream, start, samples)]
    return blocks + list(assembler.finish())


def in_order_of_time(frames):
    return sorted(frames, key=lambda frame: frame[1])


ranges = st.lists(st.integers(0, 500), min_size=2, max_size=6, unique=True).map(
    lambda edges: [(a, b) for a, b in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False)]
)
cuts = st.lists(st.integers(0, 500), max_size=12)


@settings(max_examples=60)
@given(st.lists(st.tuples(ranges, cuts, cuts), min_size=1, max_size=3), st.lists(st.integers(-40, 40), min_size=3))
def test_any_chunking_gives_the_same_blocks(streams, offsets):
    formats = {n: (n + 1, np.dtype(np.int16)) for n in range(len(streams))}
    shift = dict(enumerate(offsets[: len(streams)]))
    results = []
    for kind in (1, 2):
        frames = []
        for n, (spans, *both) in enumerate(streams):
            frames += frames_of(n, spans, both[kind - 1], channels=n + 1)
        for max_lead in (None, 10_000):
            results.append(assemble(in_order_of_time(frames), formats, offsets=shift, max_lead=max_lead))
    expected = {n: np.zeros((n + 1, 600), np.int16) for n in formats}
    present = {n: np.zeros(600, bool) for n in formats}
    for n, (spans, *_) in enumerate(streams):
        for start, stop in spans:
            first, last = max(0, start + shift[n]), max(0, stop + shift[n])
            expected[n][:, first:last] = ramp(n, first - shift[n], last - first, channels=n + 1)
            present[n][first:last] = True
    end = max((int(np.flatnonzero(here)[-1]) + 1 for here in present.values() if here.any()), default=0)
    for blocks in results:
        assert [block.start for block in blocks] == list(range(0, end, BLOCK))
        assert sum(block.length for block in blocks) == end
        for block in blocks:
            span = slice(block.start, block.start + block.length)
            for n in formats:
                assert np.array_equal(block.samples[n], expected[n][:, span])
                gone = np.zeros(block.length, bool)
                for start, stop in block.missing.get(n, ()):
                    gone[start:stop] = True
                assert np.array_equal(~gone, present[n][span])


def test_the_passages_of_a_block_are_those_in_which_the_same_streams_sound():
    silence = {n: np.zeros((1, 10), np.int16) for n in (0, 1, 2)}
    block = AlignedBlock(0, 10, silence, {1: ((2, 5),), 2: ((0, 3), (9, 10))})
    assert list(block.passages()) == [
        (0, 2, {0, 1}),
        (2, 3, {0}),
        (3, 5, {0, 2}),
        (5, 9, {0, 1, 2}),
        (9, 10, {0, 1}),
    ]
    assert list(AlignedBlock(0, 10, silence, {}).passages()) == [(0, 10, {0, 1, 2})]


def test_the_time_line_begins_at_its_origin():
    formats = {0: (1, np.dtype(np.int16)), 1: (1, np.dtype(np.int16))}
    frames = [(0, 1000, ramp(0, 0, 100, channels=1)), (1, 990, ramp(1, 0, 100, channels=1))]
    (first, second) = assemble(frames, formats, origin=1000, max_lead=10_000)
    assert (first.start, second.start, second.length) == (0, 64, 36)
    assert np.array_equal(first.samples[0], ramp(0, 0, 64, channels=1))
    assert np.array_equal(first.samples[1], ramp(1, 10, 64, channels=1))
    assert second.missing == {1: ((26, 36),)}


def test_what_comes_twice_is_taken_once():
    formats = {0: (2, np.dtype(np.int32))}
    frames = [(0, 0, np.full((2, 50), 1)), (0, 20, np.full((2, 60), 2)), (0, 10, np.full((2, 20), 3))]
    (first, second) = assemble(frames, formats)
    whole = np.concatenate([first.samples[0], second.samples[0]], axis=1)
    assert whole[0].tolist() == [1] * 50 + [2] * 30
    assert not first.missing and not second.missing


@pytest.mark.parametrize("max_lead", [None, 1000])
def test_a_stream_that_never_comes_is_missing_everywhere(max_lead):
    formats = {0: (1, np.dtype(np.int16)), 1: (1, np.dtype(np.int16))}
    (block,) = assemble([(0, 0, ramp(0, 0, 50, channels=1))], formats, max_lead=max_lead)
    assert block.missing == {1: ((0, 50),)}
    assert not block.samples[1].any()


def test_streams_one_after_another_do_not_fill_the_memory():
    formats = {0: (1, np.dtype(np.int16)), 1: (1, np.dtype(np.int16))}
    assembler = Assembler(formats, origin=0, offsets={}, max_lead=500, block=BLOCK)
    with pytest.raises(NotInterleavedError):
        for start in range(0, 1000, 100):
            assert not list(assembler.put(0, start, np.zeros((1, 100), np.int16)))


def test_in_order_of_time_a_stream_that_ended_holds_nobody_up():
    formats = {0: (1, np.dtype(np.int16)), 1: (1, np.dtype(np.int16))}
    far = 10_000_000  # a time line that begins late must not be waited for
    assembler = Assembler(formats, origin=far, offsets={1: 30}, max_lead=None, block=BLOCK)
    assert not list(assembler.put(1, far, np.ones((1, 100), np.int16)))
    given_out = 0
    for start in range(0, 6400, 100):
        given_out += len(list(assembler.put(0, far + start, np.ones((1, 100), np.int16))))
        assert start - given_out * BLOCK <= 3 * BLOCK
    assert len(list(assembler.finish())) + given_out == 100


def test_no_frames_make_no_blocks():
    assert assemble([], {0: (1, np.dtype(np.int16))}) == []
