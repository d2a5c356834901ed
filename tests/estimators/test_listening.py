"""What a reading tells along the way."""

import numpy as np
import pytest

from unsum.estimators.listening import Listening
from unsum.problem import ArraySource

RATE = 8000


def source(samples: np.ndarray, bits: int | None = 16) -> Listening:
    return Listening(ArraySource("x", samples, RATE, ("FL", "FR")[: len(samples)], bits=bits))


def test_length_and_level_are_known_after_one_reading(rng):
    samples = rng.integers(-20000, 20000, (2, 200_000))
    listening = source(samples)
    read = np.concatenate(list(listening.blocks()), axis=1)
    assert np.array_equal(read, samples)
    heard = listening.heard()
    assert heard.samples == 200_000
    assert heard.energy == pytest.approx(np.sum((samples / 32768.0) ** 2, axis=1))
    assert heard.clipped == ()


def test_a_reading_that_was_broken_off_tells_nothing_false(rng):
    listening = source(rng.integers(-20000, 20000, (1, 200_000)))
    next(iter(listening.blocks()))
    assert listening.heard().samples == 200_000


def test_clipped_samples_a_moment_apart_are_one_stretch():
    samples = np.zeros((2, 10 * RATE), np.int32)
    samples[0, [1000, 1100]] = 32767
    samples[1, 40_000] = -32768
    heard = source(samples).heard()
    assert heard.clipped == ((1000, 1101), (40_000, 40_001))
    assert heard.n_clipped == 3


def test_clipped_samples_across_the_edge_of_a_block_are_one_stretch():
    samples = np.zeros((1, 1 << 17), np.int32)
    samples[0, (1 << 16) - 2 : (1 << 16) + 2] = 32767
    assert source(samples).heard().clipped == (((1 << 16) - 2, (1 << 16) + 2),)


def test_many_clipped_places_become_few_stretches_that_hold_them_all():
    samples = np.zeros((1, 2000 * RATE // 10), np.int16)
    at = np.arange(0, samples.shape[1], 3 * RATE // 10)
    samples[0, at] = 32767
    heard = source(samples).heard()
    assert len(heard.clipped) == 64
    assert all(any(a <= n < b for a, b in heard.clipped) for n in at)


def test_floating_point_has_no_end_of_the_scale():
    assert source(np.full((1, 1000), 1.0), bits=None).heard().clipped == ()
