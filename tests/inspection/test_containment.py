"""Which channel holds which: gains, depths and exact copies, against sums made here."""

from fractions import Fraction

import numpy as np
import pytest

from unsum.inspection.containment import ContainmentMeter
from unsum.streams.arithmetic import Grid, StreamFormat
from unsum.streams.assembly import Assembler
from unsum.streams.equations import StreamChannel


def noise(rng: np.random.Generator, samples: int = 30_000, peak: int = 8000) -> np.ndarray:
    return rng.integers(-peak, peak + 1, samples).astype(np.int32)


def measure(streams, *, bits: int | dict[int, int | None] = 16, block=4096, starts=None):
    """Containments of ``{stream: (channels, samples)}``, cut into blocks."""
    word_of = bits if isinstance(bits, dict) else dict.fromkeys(streams, bits)
    names = {s: ("FL", "FR", "FC", "LFE")[: len(rows)] for s, rows in streams.items()}
    grid = Grid.of({s: StreamFormat(names[s], word_of[s]) for s in streams})
    meter = ContainmentMeter(grid)
    assembler = Assembler(
        {s: (len(rows), rows.dtype) for s, rows in streams.items()},
        origin=0,
        offsets={},
        max_lead=10**9,
        block=block,
    )

    def take(blocks):
        for each in blocks:
            meter.observe(each, {s: np.ascontiguousarray(rows) for s, rows in each.samples.items()})

    for s, rows in streams.items():
        take(assembler.put(s, (starts or {}).get(s, 0), rows))
    take(assembler.finish())
    return meter.containments()


def pair_of(found, inner: tuple[int, str], outer: tuple[int, str]):
    return next(p for p in found if p.inner == StreamChannel(*inner) and p.outer == StreamChannel(*outer))


def test_a_sum_holds_its_part_with_the_gain_it_was_given(rng):
    part, other = noise(rng), noise(rng)
    found = measure({0: part[None], 1: (2 * part + other)[None]}, bits=24)
    pair = pair_of(found, (0, "FL"), (1, "FL"))
    assert pair.gain == pytest.approx(2.0, abs=0.03)
    assert pair.null_db == pytest.approx(10 * np.log10(1 / 5), abs=0.2)  # one of five parts of the energy is left
    assert pair.exact_gain is None
    assert not pair.bit_identical


def test_an_equal_channel_of_another_stream_is_bit_identical(rng):
    sound = noise(rng)
    (pair,) = measure({0: sound[None], 1: sound[None]})
    assert pair.bit_identical
    assert pair.null_db is None
    assert pair.identical_share == 1.0


def test_one_differing_step_in_one_sample_is_no_longer_identical(rng):
    sound = noise(rng)
    other = sound.copy()
    other[-1] += 1
    (pair,) = measure({0: sound[None], 1: other[None]})
    assert not pair.bit_identical
    assert pair.exact_gain is None
    assert pair.null_db is not None
    assert pair.null_db < -100


@pytest.mark.parametrize("ratio", [Fraction(-1), Fraction(2), Fraction(3, 2), Fraction(-5, 3)])
def test_a_plain_ratio_is_told_exactly(rng, ratio):
    base = noise(rng, peak=1000)
    x, y = base * ratio.denominator, base * ratio.numerator
    (pair,) = measure({0: x[None], 1: y[None]})
    assert pair.exact_gain == ratio
    assert pair.inner == StreamChannel(0, "FL")


def test_half_of_a_channel_is_told_as_twice_the_other(rng):
    base = noise(rng)
    (pair,) = measure({0: (2 * base)[None], 1: base[None]})
    assert (pair.inner, pair.outer, pair.exact_gain) == (StreamChannel(1, "FL"), StreamChannel(0, "FL"), Fraction(2))


def test_a_copy_in_a_longer_word_is_identical_in_value(rng):
    sound = noise(rng)
    (pair,) = measure({0: sound[None], 1: (sound * 256)[None]}, bits={0: 16, 1: 24})
    assert pair.bit_identical


def test_an_integer_stream_and_its_floating_point_copy_are_identical_in_value(rng):
    sound = noise(rng)
    (pair,) = measure({0: sound[None], 1: (sound / 32768).astype(np.float32)[None]}, bits={0: 16, 1: None})
    assert pair.bit_identical


def test_copies_within_a_stream_are_found_and_mere_likeness_is_not(rng):
    left, right = noise(rng), noise(rng)
    stereo = np.stack([left, left + right // 100, -left, np.zeros_like(left)])
    (pair,) = measure({0: stereo})
    assert (pair.inner.channel, pair.outer.channel, pair.exact_gain) == ("FL", "FC", Fraction(-1))


def test_silent_channels_make_no_pairs(rng):
    found = measure({0: np.stack([noise(rng), np.zeros(30_000, np.int32)]), 1: np.zeros((1, 30_000), np.int32)})
    assert not found


def test_the_share_of_the_time_in_which_two_channels_are_equal_is_told(rng):
    one = noise(rng, 40 * 4096)
    other = one.copy()
    other[10 * 4096 :] += noise(rng, 30 * 4096)
    (pair,) = measure({0: one[None], 1: other[None]}, block=65536)
    assert pair.identical_share == pytest.approx(0.25)


@pytest.mark.parametrize("block", [4096, 8192, 65536])
def test_any_blocks_give_the_same_gains(rng, block):
    part, other = noise(rng), noise(rng)
    (pair,) = measure({0: part[None], 1: (part + other)[None]}, bits=24, block=block)
    (whole,) = measure({0: part[None], 1: (part + other)[None]}, bits=24, block=1 << 20)
    assert pair.gain == pytest.approx(whole.gain, rel=1e-12)
    assert pair.null_db == pytest.approx(whole.null_db, abs=1e-9)


def test_what_only_one_stream_has_is_not_held_against_the_pair(rng):
    sound = noise(rng)
    (pair,) = measure({0: sound[None], 1: sound[None, 10_000:20_000]}, starts={1: 10_000})
    assert pair.bit_identical


def test_unrelated_sounds_hardly_cancel(rng):
    (pair,) = measure({0: noise(rng)[None], 1: noise(rng)[None]})
    assert pair.null_db is not None
    assert -0.1 < pair.null_db <= 0
    assert pair.identical_share == 0
