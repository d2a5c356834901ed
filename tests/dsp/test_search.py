"""Places of a sound in another that passes by, however it is cut and however much of it is looked at together."""

import numpy as np
import pytest
from scenes import music_like

from unsum.dsp import search as module
from unsum.dsp.pieces import cut_windows
from unsum.dsp.search import cell_length, search

RATE = 8000


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    rng = np.random.default_rng(5)
    return music_like(rng, 90 * RATE, rate=RATE, peak=0.5, quantised=False)[0].astype(np.float32)


def places(sound: np.ndarray, passing: np.ndarray, *, block: int = 9_999):
    windows = cut_windows(sound, sample_rate=RATE, max_windows=24, phases=False, grid=cell_length(RATE))
    blocks = (passing[at : at + block] for at in range(0, len(passing), block))
    return search([windows], blocks, sample_rate=RATE, phases=True)[0].places


def told(found):
    return [(one.delay, one.slope, one.rank, one.evidence.tobytes()) for one in found]


@pytest.mark.parametrize("at_once", [64, 500, 1 << 20])
def test_places_are_the_same_however_many_cells_are_looked_at_together(song, at_once, monkeypatch):
    expected = told(places(song[: 20 * RATE], song))
    assert len(expected) > 10
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", at_once)
    assert told(places(song[: 20 * RATE], song)) == expected


@pytest.mark.parametrize("behind", [0.0, 4.0])
def test_places_are_the_same_however_seldom_forgotten_cells_are_written_over(song, behind, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_CELLS", 128)
    expected = told(places(song[20 * RATE : 30 * RATE], song))
    assert len(expected) > 10
    monkeypatch.setattr(module, "_HELD_BEHIND", behind)
    assert told(places(song[20 * RATE : 30 * RATE], song)) == expected


@pytest.mark.parametrize("block", [100, 16384, 1 << 20])
def test_any_chunking_gives_the_same_places(song, block):
    assert told(places(song[: 20 * RATE], song, block=block)) == told(places(song[: 20 * RATE], song))


@pytest.mark.parametrize("start", [-7 * RATE, 0, 31 * RATE + 77, 70 * RATE])
def test_a_piece_is_found_to_two_cells_and_at_its_own_speed(song, start):
    """Where all windows say the most they may, their scores tell the place and the slope."""
    piece = np.pad(song, (7 * RATE, 0))[start + 7 * RATE :][: 24 * RATE]
    best = places(piece, song)[0]
    assert abs(best.delay - start) <= 2 * cell_length(RATE)
    assert best.slope == 0.0
