"""One time line through several passages: pauses, cuts, a sound that recurs; put together by cutting and by cosines."""

import numpy as np
import pytest
import scenes

from unsum.engine import aligned_blocks
from unsum.estimators.clock import fit_clock
from unsum.estimators.locate import Location, Passage
from unsum.estimators.passage_ends import Handover
from unsum.estimators.passage_lines import Line, chained
from unsum.problem import ArraySource, Problem

RATE = 8000


def source(name, samples):
    return ArraySource(name, samples, RATE, ("FC",))


def located(*passages):
    """What a search tells: (start, stop, delay) in seconds, ends known to a second and delays to some milliseconds."""
    rough = tuple(Passage(a + 0.7, b - 0.6, delay + 0.003, 0.0) for a, b, delay in passages)
    longest = max(rough, key=lambda one: one.stop_seconds - one.start_seconds)
    return Location(round(longest.delay_seconds * RATE), present=True, confidence=1.0, passages=rough)


def song(rng, seconds):
    return scenes.music_like(rng, seconds * RATE, rate=RATE, quantised=False) / 32768


def under_talk(rng, mixture, db):
    talk = scenes.speech_like(rng, mixture.shape[1], rate=RATE, quantised=False)
    return mixture + talk * np.sqrt(np.sum(mixture**2) / np.sum(talk**2)) * 10 ** (-db / 20)


def jumps_in_samples(found):
    return [(jump.at_seconds * RATE, jump.skipped_seconds * RATE) for jump in found.warp.jumps]


@pytest.mark.parametrize("pause", [3 * RATE + 17, 60 * RATE])
def test_a_pause_of_the_player_is_silence_and_then_goes_on(rng, pause):
    sound = song(rng, 30)
    stops = 12 * RATE + 345
    mixture = np.concatenate([sound[:, :stops], np.zeros((1, pause)), sound[:, stops:]], axis=1)
    total = mixture.shape[1] / RATE
    where = located((0.0, stops / RATE, 0.0), ((stops + pause) / RATE, total, pause / RATE))
    found = fit_clock(source("mix", under_talk(rng, mixture, 10)), source("song", sound), where)
    assert found.kind == "jumps"
    assert found.warp.delay_seconds == 0.0
    (at, _), (on, _) = jumps_in_samples(found)
    assert abs(at - stops) < 60
    assert abs(on - stops - pause) < 60
    silent, after = found.warp.reference_time(np.array([(stops + pause // 2) / RATE, total - 1]))
    assert silent < 0
    assert abs(after - (total - 1 - pause / RATE)) * RATE < 1e-6
    assert any("not heard" in one for one in found.remarks)


def test_a_cut_goes_over_at_once(rng):
    sound = song(rng, 40)
    mixture = np.concatenate([sound[:, : 12 * RATE], sound[:, 20 * RATE + 11 :]], axis=1)
    where = located((0.0, 12.0, 0.0), (12.0, mixture.shape[1] / RATE, -8.0 - 11 / RATE))
    found = fit_clock(source("mix", under_talk(rng, mixture, 10)), source("song", sound), where)
    ((at, skipped),) = jumps_in_samples(found)
    assert abs(at - 12 * RATE) < 20
    assert abs(skipped - 8 * RATE - 11) < 1e-6


def test_a_jingle_that_recurs_is_silent_in_between(rng):
    jingle = song(rng, 5)
    starts = [3 * RATE + 5, 14 * RATE + 77, 33 * RATE + 1]
    mixture = np.zeros((1, 45 * RATE))
    for start in starts:
        mixture[:, start : start + 5 * RATE] += 0.7 * jingle
    where = located(*((a / RATE, a / RATE + 5, a / RATE) for a in starts))
    problem = Problem(source("mix", under_talk(rng, mixture, 0)), (source("jingle", jingle),))
    found = fit_clock(problem.mixture, problem.references[0], where)
    aligned = np.concatenate(
        [block.references["jingle"] for block in aligned_blocks(problem, {"jingle": found.warp})], axis=1
    )
    np.testing.assert_allclose(0.7 * aligned, mixture, atol=1e-5)


def test_all_passages_share_one_clock_and_their_delays_are_told_to_a_fraction_of_a_sample(rng):
    cloud = scenes.TonalCloud(rng, rate=RATE)
    ppm, delays, edges = 60.0, np.array([-0.5, 4.0 + 0.37 / RATE, 11.0 - 0.21 / RATE]), [10.0, 20.0]
    seconds = np.arange(30 * RATE) / RATE
    mixture = cloud((seconds - delays[np.searchsorted(edges, seconds, side="right")]) * (1 + 1e-6 * ppm))[None]
    reference = cloud(np.arange(34 * RATE) / RATE)[None]
    # A search tells the delay in the middle of a passage.
    middles = np.array([5.0, 15.0, 25.0])
    told = delays - (middles - delays) * ppm * 1e-6
    where = located((0.0, 10.0, told[0]), (10.0, 20.0, told[1]), (20.0, 30.0, told[2]))
    found = fit_clock(source("mix", under_talk(rng, mixture, 20)), source("song", reference), where)
    assert abs(found.warp.clock_ppm - ppm) < max(4 * found.clock_stderr_ppm, 0.01)
    wanted = (middles - delays) * (1 + 1e-6 * ppm)
    np.testing.assert_allclose((found.warp.reference_time(middles) - wanted) * RATE, 0, atol=0.02)
    assert [round(jump.at_seconds, 1) for jump in found.warp.jumps] == edges


def test_a_passage_that_is_not_there_is_left_out_and_told(rng):
    sound = song(rng, 40)
    mixture = np.concatenate([sound[:, : 12 * RATE], sound[:, 20 * RATE :], 0.02 * song(rng, 10)], axis=1)
    where = located((0.0, 12.0, 0.0), (12.0, 32.0, -8.0), (32.0, 42.0, 30.0))
    found = fit_clock(source("mix", under_talk(rng, mixture, 20)), source("song", sound), where)
    assert len(found.warp.jumps) == 1
    assert any("1 of 3 passages" in one for one in found.remarks)


def test_where_no_passage_can_be_followed_the_clock_is_unknown(rng):
    where = located((0.0, 10.0, 0.0), (10.0, 20.0, -3.0))
    found = fit_clock(source("mix", rng.standard_normal((1, 20 * RATE))), source("song", song(rng, 30)), where)
    assert found.clock_stderr_ppm == np.inf
    assert not found.warp.jumps


def test_silence_is_unknown_too(rng):
    where = located((0.0, 10.0, 0.0), (10.0, 20.0, -3.0))
    found = fit_clock(source("mix", np.zeros((1, 20 * RATE))), source("song", song(rng, 30)), where)
    assert found.clock_stderr_ppm == np.inf


def test_lines_are_chained_by_hand():
    lines = [Line(0.0, 10.0, 5.0, 4.0), Line(13.0, 20.0, 16.0, 12.0)]  # delays 1 and 4
    at_once, apart = (chained(lines, 0.0, [Handover(10.0, on)]) for on in (10.0, 13.0))
    assert at_once.reference_time(9.0) == 8.0
    assert at_once.reference_time(11.0) == 7.0
    assert apart.reference_time(9.0) == 8.0
    assert apart.reference_time(12.9) < -1.0
    assert apart.reference_time(15.0) == 11.0


def test_a_passage_with_a_jump_of_its_own_is_told(rng):
    sound = song(rng, 40)
    mixture = np.concatenate([sound[:, : 8 * RATE], sound[:, 8 * RATE + 90 : 16 * RATE], sound[:, 22 * RATE :]], axis=1)
    where = located((0.0, 16.0, 0.0), (16.0, mixture.shape[1] / RATE, -6.0 - 90 / RATE))
    found = fit_clock(source("mix", under_talk(rng, mixture, 10)), source("song", sound), where)
    assert any("does not run evenly from 0.7" in one for one in found.remarks)


def test_a_passage_that_its_neighbours_leave_no_time_is_left_out():
    lines = [Line(0.0, 10.0, 5.0, 4.0), Line(10.3, 10.5, 10.4, 8.4), Line(11.0, 20.0, 15.0, 12.0)]  # delays 1, 2, 3
    warp = chained(lines, 0.0, [Handover(10.6, 10.6), Handover(10.2, 10.2)])
    assert [jump.at_seconds for jump in warp.jumps] == [10.6]
    assert warp.reference_time(10.5) == pytest.approx(9.5, abs=1e-12)
    assert warp.reference_time(12.0) == pytest.approx(9.0, abs=1e-12)


def test_passages_on_one_line_are_one():
    lines = [Line(0.0, 5.0, 2.0, 1.0), Line(5.0, 9.0, 7.0, 6.0), Line(10.0, 20.0, 15.0, 12.0)]  # delays 1, 1, 3
    warp = chained(lines, 0.0, [Handover(5.0, 5.0), Handover(9.5, 9.5)])
    assert [(jump.at_seconds, jump.skipped_seconds) for jump in warp.jumps] == [(9.5, -2.0)]


def test_what_is_excluded_bends_no_passage(rng):
    cloud = scenes.TonalCloud(rng, rate=RATE)
    seconds = np.arange(36 * RATE) / RATE
    delays = np.where(seconds < 16, -0.5, 4.0)
    true = seconds - delays
    # From second 24 on another tape, which another clock plays.
    mixture = cloud(np.where(seconds < 24, true, 20.0 + (seconds - 24) * (1 - 2e-4)))[None]
    reference = cloud(np.arange(36 * RATE) / RATE)[None]
    where = located((0.0, 16.0, -0.5), (16.0, 36.0, 4.0))
    sources = source("mix", under_talk(rng, mixture, 30)), source("song", reference)
    found = fit_clock(*sources, where, excluded=[(24 * RATE, 36 * RATE)])
    assert len(found.warp.jumps) == 1
    assert not any("evenly" in one for one in found.remarks)
    assert abs(found.clock_ppm) < max(5 * found.clock_stderr_ppm, 0.5)
