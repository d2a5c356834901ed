"""What may be left of a reference, against remnants that are known because they were put there."""

import numpy as np
import pytest

from unsum.analysis import Remnant
from unsum.remnant import MomentMeter

RATE = 8000
SECONDS = 40


def remnant_of(residual: np.ndarray, image: np.ndarray, *, unknowns: int = 0, block: int | None = None) -> Remnant:
    meter = MomentMeter(["song"], sample_rate=RATE)
    length = residual.shape[-1]
    for start in range(0, length, block or length):
        part = slice(start, start + (block or length))
        meter.add(np.atleast_2d(residual)[:, part], {"song": np.atleast_2d(image)[:, part]})
    return meter.remnants({"song": unknowns})["song"]


@pytest.fixture
def sounds(rng):
    """A song, and talk 10 dB above it that pauses for 0.3 s in every 1.5 s."""
    song, talk = rng.standard_normal((2, SECONDS * RATE)) * 0.1
    speaking = np.arange(SECONDS * RATE) / RATE % 1.5 > 0.3
    return song, 10**0.5 * talk * speaking


@pytest.mark.parametrize("depth_db", [-12, -20, -40])
def test_pauses_of_the_talk_show_how_far_down_the_song_is(sounds, depth_db):
    song, talk = sounds
    found = remnant_of(talk + 10 ** (depth_db / 20) * song, song)
    assert found.in_pauses_db == pytest.approx(depth_db, abs=0.3)
    # Over all of it the talk hides that: 10 dB above the song, four fifths of the time.
    assert found.overall_db == pytest.approx(10 * np.log10(8), abs=0.5)


def test_under_talk_without_a_pause_no_depth_is_claimed(rng):
    song, talk = rng.standard_normal((2, SECONDS * RATE)) * 0.1
    found = remnant_of(3 * talk + 0.001 * song, song)
    assert found.in_pauses_db is not None
    assert found.in_pauses_db > 7


def test_what_is_left_is_never_less_than_the_remnant_that_is_there(rng):
    # A remnant that comes and goes: the bound is of the very moments it was measured in.
    song, talk = rng.standard_normal((2, SECONDS * RATE)) * 0.1
    fading = 10 ** (np.linspace(-40, -10, SECONDS * RATE) / 20)
    speaking = np.arange(SECONDS * RATE) / RATE % 1.0 > 0.3
    found = remnant_of(talk * speaking + fading * song, song)
    quietest = 10 * np.log10(np.mean(fading[: SECONDS * RATE // 5] ** 2))
    assert found.in_pauses_db is not None
    assert quietest < found.in_pauses_db < -10


def test_moments_are_not_chosen_for_the_remnant_in_them(rng):
    # A remnant that is louder in every other moment, and no other sound at all: the figure is that of all of it.
    song = rng.standard_normal(SECONDS * RATE) * 0.1
    gain = np.where(rng.random(SECONDS * 20) < 0.5, 0.1, 0.01).repeat(RATE // 20)
    found = remnant_of(gain * song, song)
    assert found.in_pauses_db == pytest.approx(found.overall_db, abs=3)
    assert found.in_pauses_db == pytest.approx(10 * np.log10(0.5 * 0.01), abs=3)


def test_nothing_left_in_the_pauses_is_nothing(sounds):
    song, talk = sounds
    assert remnant_of(talk, song).in_pauses_db == -np.inf


def test_chance_meetings_are_those_of_least_squares(rng):
    # What a fit to nothing but talk makes of the song, taken from the fit itself.
    n, taps, channels = 8000, 200, 8
    song, talk = rng.standard_normal(n + taps), rng.standard_normal((channels, n))
    columns = np.lib.stride_tricks.sliding_window_view(song, taps)[1:]
    fitted, *_ = np.linalg.lstsq(columns, talk.T, rcond=None)
    image = (columns @ fitted).T
    found = remnant_of(talk - image, np.tile(song[taps:], (channels, 1)), unknowns=taps)
    assert found.fit_db == pytest.approx(10 * np.log10(np.mean(image**2) / np.mean(song[taps:] ** 2)), abs=0.5)


def test_without_a_fit_there_is_no_chance(sounds):
    song, talk = sounds
    assert remnant_of(talk, song).fit_db is None


@pytest.mark.parametrize("block", [13, 399, 400, 401, 65536])
def test_any_chunking_gives_the_same_remnant(sounds, block):
    song, talk = (sound[: 6 * RATE + 7] for sound in sounds)
    left = talk + 0.1 * song
    whole, parts = remnant_of(left, song, unknowns=3), remnant_of(left, song, unknowns=3, block=block)
    for field in ("overall_db", "in_pauses_db", "fit_db"):
        assert getattr(parts, field) == pytest.approx(getattr(whole, field), abs=1e-9)


def test_all_channels_count_together(sounds):
    song, talk = sounds
    both = remnant_of(np.stack([talk + 0.1 * song, 0.1 * song]), np.stack([song, song]))
    assert both.in_pauses_db == pytest.approx(-20, abs=0.3)
    assert both.overall_db == pytest.approx(10 * np.log10(4), abs=0.5)


def test_moments_in_which_the_song_pauses_tell_nothing(sounds):
    song, talk = sounds
    song = song.copy()
    song[SECONDS * RATE // 2 :] = 0
    found = remnant_of(talk + 0.1 * song, song)
    assert found.in_pauses_db == pytest.approx(-20, abs=0.3)


def test_too_few_moments_give_no_figure_for_the_pauses(sounds):
    song, talk = (sound[:RATE] for sound in sounds)
    assert remnant_of(talk + 0.1 * song, song).in_pauses_db is None


def test_a_song_that_is_never_heard_has_no_remnant(rng):
    meter = MomentMeter(["song"], sample_rate=RATE)
    assert meter.remnants({"song": 0}) == {}
    meter.add(rng.standard_normal((1, 3000)), {"song": np.zeros((1, 3000))})
    assert meter.remnants({"song": 0}) == {}


def test_less_than_one_moment_is_not_counted(rng):
    meter = MomentMeter(["song"], sample_rate=RATE)
    meter.add(rng.standard_normal((1, 1)), {"song": np.ones((1, 1))})
    assert meter.remnants({"song": 0}) == {}
