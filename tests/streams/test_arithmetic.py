"""Sums in integers are exact, whatever the word lengths, and what does not divide is counted."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unsum.errors import UsageError
from unsum.streams.arithmetic import (
    Columns,
    Composition,
    Grid,
    StreamFormat,
    bits_needed,
    channel_extremes,
    interleaved_block,
)
from unsum.streams.equations import StreamChannel

LEFT, RIGHT = StreamChannel(0, "FL"), StreamChannel(0, "FR")
OTHER = StreamChannel(1, "FC")


def grid_of(*bits: int | None) -> Grid:
    names = [("FL", "FR"), ("FC",), ("FC",)]
    return Grid.of({n: StreamFormat(names[n], length) for n, length in enumerate(bits)})


def evaluate(grid, blocks, terms):
    form = grid.form(terms)
    return Columns(blocks, grid, grid.dtype([form])).evaluate(form)


gains = st.fractions(min_value=-5, max_value=5, max_denominator=6).filter(bool)


@given(
    lengths=st.tuples(st.sampled_from([8, 16, 24, 32]), st.sampled_from([8, 16, 24, 32])),
    weights=st.tuples(gains, gains, gains),
    data=st.data(),
)
def test_sums_of_any_word_lengths_are_exact(lengths, weights, data):
    grid = grid_of(*lengths)
    assert grid.bits == max(lengths)
    words = [st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in lengths]
    columns = {
        LEFT: data.draw(st.lists(words[0], min_size=3, max_size=3)),
        RIGHT: data.draw(st.lists(words[0], min_size=3, max_size=3)),
        OTHER: data.draw(st.lists(words[1], min_size=3, max_size=3)),
    }
    blocks = {0: np.array([columns[LEFT], columns[RIGHT]]), 1: np.array([columns[OTHER]])}
    values, odd = evaluate(grid, blocks, list(zip(columns, weights, strict=True)))
    scale = {0: 1 << (max(lengths) - lengths[0]), 1: 1 << (max(lengths) - lengths[1])}
    for n in range(3):
        exact = sum(w * x[n] * scale[key.stream] for w, (key, x) in zip(weights, columns.items(), strict=True))
        assert abs(exact - int(values[n])) <= Fraction(1, 2)
    whole = [
        sum(w * x[n] * scale[key.stream] for w, (key, x) in zip(weights, columns.items(), strict=True)).denominator
        for n in range(3)
    ]
    assert odd == sum(denominator != 1 for denominator in whole)


def test_half_a_step_goes_up_on_both_sides_of_zero():
    values, odd = evaluate(grid_of(16), {0: np.array([[-3, -2, -1, 0, 1, 2, 3], [0] * 7])}, [(LEFT, Fraction(1, 2))])
    assert values.tolist() == [-1, -1, 0, 0, 1, 1, 2]
    assert odd == 4


def test_the_articles_zoom_is_found_by_hand():
    blocks = {0: np.array([[1007], [0]], np.int16), 1: np.array([[500]], np.int16)}
    values, odd = evaluate(grid_of(16, 16), blocks, [(LEFT, 1), (OTHER, -2)])
    assert (values.tolist(), odd) == ([7], 0)


@pytest.mark.parametrize(
    ("bits", "gain", "dtype"),
    [(16, 1000, np.int32), (16, 40_000, np.int64), (24, 100, np.int32), (24, 200, np.int64), (32, 1, np.int64)],
)
def test_the_type_is_as_narrow_as_it_may_be(bits, gain, dtype):
    grid = grid_of(bits)
    top = (1 << (bits - 1)) - 1
    form = grid.form([(LEFT, gain), (RIGHT, -1)])
    assert grid.dtype([form]) == dtype
    values, _ = Columns({0: np.array([[top], [-top - 1]])}, grid, grid.dtype([form])).evaluate(form)
    assert values.tolist() == [gain * top + top + 1]


def test_numbers_that_fit_no_word_are_refused():
    grid = grid_of(32)
    with pytest.raises(UsageError, match="more than the 64 there are"):
        grid.dtype([grid.form([(LEFT, 10**10)])])


def test_floats_are_summed_in_double_and_integers_beside_them_are_scaled():
    grid = grid_of(None, 16)
    assert grid.bits is None
    blocks = {0: np.array([[0.25], [0.5]], np.float32), 1: np.array([[-16384]], np.int16)}
    values, odd = evaluate(grid, blocks, [(LEFT, 1), (RIGHT, Fraction(1, 2)), (OTHER, 1)])
    assert values.dtype == np.float64
    assert (values.tolist(), odd) == ([0.0], 0)


@pytest.mark.parametrize("gain", [1, -1, 2])
def test_the_blocks_themselves_are_never_changed(gain):
    blocks = {0: np.arange(6, dtype=np.int32).reshape(2, 3), 1: np.ones((1, 3), np.int32)}
    before = {stream: samples.copy() for stream, samples in blocks.items()}
    grid = grid_of(32, 32)
    for terms in ([(LEFT, gain)], [(LEFT, gain), (OTHER, 1)], [(OTHER, gain), (RIGHT, -1)]):
        evaluate(grid, blocks, terms)
    assert all(np.array_equal(blocks[stream], before[stream]) for stream in blocks)


def test_an_empty_form_is_no_form():
    with pytest.raises(ValueError, match="without terms"):
        evaluate(grid_of(16), {0: np.zeros((2, 3), np.int16)}, [])


@given(hnp.arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 5000))), st.booleans())
def test_extremes_are_those_of_every_channel(samples, interleaved):
    if interleaved:
        samples = np.ascontiguousarray(samples.T).T
    least, greatest = channel_extremes(samples)
    assert least.tolist() == samples.min(axis=1).tolist()
    assert greatest.tolist() == samples.max(axis=1).tolist()


@given(st.integers(-(1 << 40), 1 << 40), st.integers(-(1 << 40), 1 << 40))
def test_words_are_as_long_as_both_ends_need(a, b):
    least, greatest = min(a, b), max(a, b)
    bits = bits_needed(least, greatest)
    assert -(1 << (bits - 1)) <= least and greatest < 1 << (bits - 1)
    assert bits == 1 or least < -(1 << (bits - 2)) or greatest >= 1 << (bits - 2)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_a_source_is_composed_channel_by_channel(dtype, rng):
    """Most channels are a stream's own, one is a sum, one is another channel, one is silent."""
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    grid = Grid.of({0: StreamFormat(names, 16), 1: StreamFormat(("FC",), 16)})
    blocks = {
        0: np.ascontiguousarray(rng.integers(-9000, 9000, (500, 6), dtype=np.int16)).T,
        1: rng.integers(-9000, 9000, (1, 500), dtype=np.int16),
    }
    forms = (
        grid.form([(StreamChannel(0, "FL"), 1), (OTHER, -1)]),
        grid.form([(StreamChannel(0, "FR"), 1)]),
        grid.form([(OTHER, 1)]),
        None,
        grid.form([(StreamChannel(0, "BL"), 1)]),
        grid.form([(StreamChannel(0, "BR"), 1)]),
    )
    composition = Composition.of(names, forms, grid, dtype)
    columns = Columns(blocks, grid, grid.dtype([form for form in forms if form]))
    out, computed, odd = composition.compose(columns, blocks, 500, dtype)
    expected = blocks[0].astype(np.int32)
    expected[0] -= blocks[1][0]
    expected[2] = blocks[1][0]
    expected[3] = 0
    assert out.dtype == dtype and odd == 0
    assert np.array_equal(out, expected)
    assert list(computed) == [0] and np.array_equal(computed[0], expected[0])


def test_silence_lies_in_memory_as_encoders_want_it():
    silence = interleaved_block(3, 10, np.int16)
    assert silence.shape == (3, 10) and silence.T.flags.c_contiguous and not silence.any()
