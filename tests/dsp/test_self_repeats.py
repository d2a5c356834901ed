"""After how long a sound comes again: noise that is repeated on purpose, and noise that is not."""

import numpy as np
import pytest

from unsum.dsp.self_repeats import repeat_lags

RATE = 8000


@pytest.mark.parametrize("seconds", [0.5, 1.5, 4.0])
def test_a_loop_comes_again_after_each_of_its_bars(rng, seconds):
    bar = rng.standard_normal(round(seconds * RATE))
    loop = np.tile(bar, 1 + 20 * RATE // len(bar))[: 20 * RATE]
    assert repeat_lags(loop, sample_rate=RATE, most=2) == [len(bar), 2 * len(bar)]


def test_a_loop_under_a_tune_that_never_repeats_is_heard(rng):
    bar = rng.standard_normal(2 * RATE)
    assert repeat_lags(np.tile(bar, 10) + 0.5 * rng.standard_normal(20 * RATE), sample_rate=RATE, most=1) == [2 * RATE]


def test_a_verse_that_comes_twice_is_one_repeat(rng):
    verse, bridge = rng.standard_normal(6 * RATE), rng.standard_normal(3 * RATE)
    assert repeat_lags(np.concatenate([verse, bridge, verse]), sample_rate=RATE, most=4) == [9 * RATE]


@pytest.mark.parametrize("seconds", [0, 0.1, 0.4, 20])
def test_what_never_repeats_has_no_repeats(rng, seconds):
    assert repeat_lags(rng.standard_normal(round(seconds * RATE)), sample_rate=RATE, most=4) == []


def test_silence_does_not_repeat():
    assert repeat_lags(np.zeros(5 * RATE), sample_rate=RATE, most=4) == []


def test_of_an_hour_a_minute_is_looked_at(rng):
    """All of it would take seconds; the minute in the middle tells."""
    bar = rng.standard_normal(3 * RATE)
    middle = np.tile(bar, 20)
    ends = rng.standard_normal(600 * RATE)
    assert repeat_lags(np.concatenate([ends, middle, ends]), sample_rate=RATE, most=1) == [len(bar)]
