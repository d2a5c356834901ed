"""Streams that are late with the same time stamps are found out by what they share."""

import numpy as np
import pytest
import scenes

from unsum.streams.equations import mixing_equations
from unsum.streams.offsets import WINDOW, OffsetMeter, any_channels, shared_channels
from unsum.streams.recipe import parse_recipe

MAX_LAG = 4000
WINDOWS = 3
SAMPLES = WINDOWS * WINDOW + 2 * MAX_LAG


def cut(signals, lag):
    """Windows of signals that are late by some samples."""
    first = MAX_LAG - lag
    return np.atleast_2d(signals)[:, first : first + WINDOWS * WINDOW]


def observe(pairs, streams):
    """The offsets that some windows of streams tell, {stream: (channels, samples)}."""
    names = {n: tuple("ABCDEFGH"[: len(samples)]) for n, samples in streams.items()}
    meter = OffsetMeter(pairs, names, max_lag=MAX_LAG)
    windows = 0
    while windows < WINDOWS and not meter.settled:
        span = slice(windows * WINDOW, (windows + 1) * WINDOW)
        meter.observe({n: samples[:, span] for n, samples in streams.items()})
        windows += 1
    return meter.offsets(names), meter


def every_pair(*streams):
    return {(a, b): ("A", "A") for a in streams for b in streams if a < b}


@pytest.fixture
def sources(rng):
    return [
        scenes.speech_like(rng, SAMPLES)[0],
        scenes.music_like(rng, SAMPLES)[0],
        scenes.noise_bursts(rng, SAMPLES)[0],
    ]


@pytest.mark.parametrize("lag", [1, -1, 480, 960, -3999])
def test_one_late_stream_among_three_is_found(lag, sources):
    zoom, desktop, voice = sources
    streams = {0: cut(2 * desktop + zoom, lag), 1: cut(voice + desktop + zoom, 0), 2: cut(desktop + zoom, 0)}
    found, meter = observe(every_pair(0, 1, 2), streams)
    assert found.late == {0: lag, 1: 0, 2: 0}
    assert not found.unknown and meter.settled


def test_what_was_subtracted_is_found_too(sources):
    zoom, desktop, _ = sources
    found, _ = observe(every_pair(0, 1), {0: cut(desktop - zoom, 0), 1: cut(zoom, 77)})
    assert found.late == {0: 0, 1: 77}


def test_where_all_keep_different_time_the_first_stream_tells_it(sources):
    zoom, desktop, voice = sources
    streams = {0: cut(desktop - zoom, 720), 1: cut(zoom + voice, 0), 2: cut(zoom + desktop + voice, 2028)}
    found, _ = observe(every_pair(0, 1, 2), streams)
    assert found.late == {0: 0, 1: -720, 2: 1308}


def test_time_is_what_most_streams_keep(sources):
    zoom, desktop, voice = sources
    lags = {0: 900, 1: 250, 2: 250, 3: 250, 4: -30}
    mixes = [zoom + desktop, zoom, zoom + voice, desktop + zoom, zoom - voice]
    found, _ = observe(every_pair(*range(5)), {n: cut(mix, lags[n]) for n, mix in enumerate(mixes)})
    assert found.late == {0: 650, 1: 0, 2: 0, 3: 0, 4: -280}


def test_streams_are_tied_together_through_others(sources):
    zoom, desktop, voice = sources
    streams = {0: cut(zoom, 0), 1: cut(zoom + desktop, 11), 2: cut(desktop + voice, 0), 3: cut(voice, 0)}
    pairs = {(0, 1): ("A", "A"), (1, 2): ("A", "A"), (2, 3): ("A", "A")}
    found, _ = observe(pairs, streams)
    assert found.late == {0: 0, 1: 11, 2: 0, 3: 0}


def test_streams_that_share_nothing_keep_their_time_stamps_and_are_named(sources):
    zoom, desktop, voice = sources
    found, meter = observe(every_pair(0, 1, 2), {0: cut(zoom, 0), 1: cut(zoom + desktop, 0), 2: cut(voice, 300)})
    assert found.late == {0: 0, 1: 0, 2: 0}
    assert found.unknown == (2,) and not meter.settled


def test_two_groups_without_a_tie_are_not_taken_for_one(sources):
    zoom, desktop, _ = sources
    streams = {0: cut(zoom, 0), 1: cut(zoom, 0), 2: cut(desktop, 40), 3: cut(desktop, 45), 4: cut(zoom, 0)}
    found, _ = observe(every_pair(*range(5)), streams)
    assert found.late[3] - found.late[2] == 5
    assert found.unknown == (2, 3)


def test_a_silent_stream_tells_nothing(sources):
    zoom, _, _ = sources
    found, _ = observe(every_pair(0, 1), {0: cut(zoom, 0), 1: np.zeros((1, WINDOWS * WINDOW), np.int16)})
    assert found.late == {0: 0, 1: 0}
    assert len(found.unknown) == 1


def test_the_channels_compared_have_most_in_common():
    recipe = parse_recipe("""
        [sources]
        zoom = "mono"
        desktop = "5.1"
        [streams]
        0 = "desktop + zoom"
        1 = "desktop[LFE] + zoom"
        2 = "zoom[FR]"
    """)
    surround = scenes.CHANNELS["5.1"]
    pairs = shared_channels(mixing_equations(recipe, {0: surround, 1: surround, 2: surround}))
    assert pairs[0, 1] == ("LFE", "LFE")
    assert pairs[1, 2][1] == "FR" and pairs[1, 2][0] in ("FL", "FR")
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}


def test_without_a_recipe_channels_of_one_name_are_compared():
    assert any_channels({0: ("FL", "FR"), 1: ("FC",), 2: ("FR", "FC")}) == {
        (0, 1): ("FL", "FC"),
        (0, 2): ("FR", "FR"),
        (1, 2): ("FC", "FC"),
    }
