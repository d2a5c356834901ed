"""What speaks for a line at the low rate: loops with and without a tune, under noise, at known places."""

from dataclasses import replace

import numpy as np
import pytest

from unsum.estimators.agreement import Onset, beyond_one_clock, beyond_repeats, onset_along, tiled
from unsum.estimators.judged_line import Line, next_best
from unsum.estimators.places import Heard, in_common
from unsum.estimators.proof import Proof

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


@pytest.mark.parametrize("ppm", [-120, 0, 80])
def test_one_response_tells_whether_clocks_differ(rng, ppm):
    """At the nearest sample, each: no clock of a computer is nearer."""
    reference = loop(rng, tune=1.0)
    at = np.arange(round(len(reference) / (1 + 1e-6 * ppm)))
    heard = reference[np.minimum(np.rint(at * (1 + 1e-6 * ppm)).astype(int), len(reference) - 1)]
    mixture = mixed(rng, heard, 17 * RATE, level_db=-10)
    tiling, windows = along(mixture, reference, 17 * RATE)
    onset = onset_along(tiling, windows, reference, sample_rate=RATE, taps=256)
    more = beyond_one_clock(tiling, windows, reference, sample_rate=RATE, taps=256, onset=onset)
    assert onset.line.slope == pytest.approx(-1e-6 * ppm, abs=15e-6)
    line = Line(onset.line, None, None, onset, clock_nats=more)
    assert line.certain and line.clock_certain == bool(ppm)
    assert more > 100 if ppm else more < 5


HEARD = Heard(0.0, 8.0 * RATE, 0.0, 0.0, 0.0, 0.0, 0.5)


@pytest.mark.parametrize(("nats", "beyond", "certain"), [(300, np.inf, True), (300, 5, False), (20, np.inf, False)])
def test_what_explains_much_and_more_than_its_repeats_is_certain(nats, beyond, certain):
    line = Line(HEARD, None, None, Onset(nats, HEARD, 0), beyond, clock_nats=30.0)
    assert (line.certain, line.clock_certain, line.likely, line.proved) == (certain, certain, certain, False)


@pytest.mark.parametrize(("votes", "used", "false_alarm"), [(0, 4, 1.0), (1, 4, 1.0), (9, 9, 1e-9)])
def test_what_is_certain_needs_no_votes_but_a_place(votes, used, false_alarm):
    """That the full rate heard it too is asked of other lines only."""
    proof = Proof(0, 0.0, 0.0, 1, votes, 9, false_alarm, used)
    certain = Line(HEARD, None, proof, Onset(300.0, HEARD, 0))
    assert certain.proved
    assert not replace(certain, proof=replace(proof, used=0)).proved
    likely = Line(replace(HEARD, false_alarm=1e-9), None, proof)
    assert likely.likely and likely.proved == (votes == 9)


def test_lines_are_apart_where_they_are_so_at_the_same_time():
    """Of another slope and pivot, the same line has another delay, and other lines may have the same."""
    here = replace(HEARD, delay=1000.0, slope=2e-4, pivot=0.0)
    same = replace(here, delay=here.delay_at(9e6), pivot=9e6)
    other = replace(here, pivot=9e6)
    lines = [Line(one, None, None, Onset(nats, one, 0)) for one, nats in ((same, 300.0), (other, 80.0))]
    assert next_best(here, lines, apart=800.0) == (pytest.approx(-800.0), 80.0)
    assert next_best(here, lines[:1], apart=800.0) is None
    assert next_best(here, [Line(other, None, None)], apart=800.0) is None
