"""What speaks for a line at the low rate: loops with and without a tune, under noise, at known places."""

import numpy as np
import pytest

from unsum.estimators.agreement import beyond_repeats, onset_along, tiled
from unsum.estimators.judged_line import Line
from unsum.estimators.places import Heard, in_common

RATE = 8000
BAR = 12_000


def loop(rng, *, tune):
    """Bars of noise, 20 s of them, and a tune of noise over them that never repeats."""
    bar = rng.standard_normal(BAR)
    return (np.tile(bar, 20 * RATE // BAR + 1)[: 20 * RATE] + tune * rng.standard_normal(20 * RATE)).astype(np.float32)


def along(mixture, reference, delay):
    """The windows of a line, and their tiling."""
    line = Heard(0.0, 0.0, float(delay), 0.0, 0.0, 0.0, 1.0)
    tiling = tiled(in_common(line, len(reference), len(mixture)))
    assert tiling is not None
    return tiling, [mixture[at : at + tiling.window] for at in tiling.heard.tolist()]


def judged(mixture, reference, delay, *, taps=256):
    tiling, windows = along(mixture, reference, delay)
    onset = onset_along(tiling, windows, reference, sample_rate=RATE, taps=taps)
    beyond = beyond_repeats(
        tiling, windows, reference, sample_rate=RATE, taps=taps, lag=onset.lag, repeats=[BAR, 2 * BAR]
    )
    return onset, beyond


def mixed(rng, reference, delay, *, level_db):
    mixture = rng.standard_normal(60 * RATE).astype(np.float32)
    gain = 10 ** (level_db / 20) / float(np.sqrt(np.mean(reference**2)))
    mixture[delay : delay + len(reference)] += gain * reference
    return mixture


def test_the_true_place_of_a_loop_under_a_tune_explains_more_than_any_other_bar(rng):
    reference = loop(rng, tune=0.5)
    mixture = mixed(rng, reference, 17 * RATE, level_db=-15)
    here, beyond = judged(mixture, reference, 17 * RATE)
    there, behind = judged(mixture, reference, 17 * RATE + BAR)
    assert here.nats > there.nats > 100
    assert beyond > 100 > 0 > behind


def test_no_bar_of_a_bare_loop_explains_more_than_another(rng):
    reference = loop(rng, tune=0.0)
    mixture = mixed(rng, reference, 17 * RATE, level_db=-15)
    onset, beyond = judged(mixture, reference, 17 * RATE)
    assert onset.nats > 500 and abs(beyond) < 40


def test_a_line_lies_where_the_response_begins(rng):
    reference = loop(rng, tune=1.0)
    mixture = mixed(rng, reference, 17 * RATE, level_db=-10)
    onset, _ = judged(mixture, reference, 17 * RATE - 150)
    assert onset.line.delay == pytest.approx(17 * RATE, abs=16) and onset.lag == pytest.approx(150, abs=16)


def test_only_where_the_line_is_looked_for_it_is_found(rng):
    reference = loop(rng, tune=1.0)
    mixture = mixed(rng, reference, 17 * RATE, level_db=-10)
    tiling, windows = along(mixture, reference, 17 * RATE - 150)
    found = onset_along(tiling, windows, reference, sample_rate=RATE, taps=64, about=(-100, 20))
    assert -100 <= found.lag < 20


def test_a_reference_without_repeats_has_none_to_be_told_from(rng):
    reference = loop(rng, tune=1.0)
    tiling, windows = along(mixed(rng, reference, 17 * RATE, level_db=-10), reference, 17 * RATE)
    assert beyond_repeats(tiling, windows, reference, sample_rate=RATE, taps=64, lag=0, repeats=[]) == np.inf
    # Nor one that comes again so late that hardly a window is left.
    late = [len(reference) - 2 * RATE]
    assert beyond_repeats(tiling, windows, reference, sample_rate=RATE, taps=64, lag=0, repeats=late) == np.inf


@pytest.mark.parametrize(("nats", "beyond", "certain"), [(300, np.inf, True), (300, 5, False), (20, np.inf, False)])
def test_what_explains_much_and_more_than_its_repeats_is_certain(rng, nats, beyond, certain):
    heard = Heard(0.0, 8.0 * RATE, 0.0, 0.0, 0.0, 0.0, 0.5)
    onset, _ = judged(rng.standard_normal(60 * RATE).astype(np.float32), loop(rng, tune=1.0), 0)
    line = Line(heard, None, None, type(onset)(nats, heard, 0), beyond)
    assert (line.certain, line.likely, line.proved) == (certain, certain, False)  # nothing is proved at the full rate
