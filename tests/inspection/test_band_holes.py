"""Empty cells of the treble are counted as they were put there."""

import numpy as np
import pytest

from unsum.inspection.band_holes import HoleMeter

RATE = 48000
CELL = 1024


def share_of(sound: np.ndarray, *, edge_hz: float = 20_000) -> float | None:
    meter = HoleMeter(sample_rate=RATE)
    for start in range(0, sound.shape[1], 64 * CELL):
        meter.observe(sound[:, start : start + 64 * CELL], ())
    return meter.share(edge_hz=edge_hz)


@pytest.mark.parametrize("channels", [1, 2])
def test_every_fifth_cell_switched_off_is_a_fifth(rng, channels):
    noise = rng.standard_normal((channels, 256 * CELL))
    on = np.arange(noise.shape[1]) // CELL % 5 > 0
    assert share_of(noise * on) == pytest.approx(1 / 5, abs=0.005)
    assert share_of(noise) == 0


def test_a_band_that_is_off_for_longer_than_its_neighbourhood_is_no_hole(rng):
    noise = rng.standard_normal((1, 256 * CELL))
    # 24 cells off in the middle of every block: of these only the first and last four lie near sound.
    on = (np.arange(noise.shape[1]) // CELL + 44) % 64 >= 24
    assert share_of(noise * on) == pytest.approx(8 / 64, abs=0.04)


def test_only_the_band_below_the_edge_counts(rng):
    spectrum = np.fft.rfft(rng.standard_normal((1, 256 * CELL)))
    frequency = np.fft.rfftfreq(256 * CELL, 1 / RATE)
    low = np.fft.irfft(spectrum * (frequency < 10_000))
    high = np.fft.irfft(spectrum * (frequency >= 10_000))
    on = np.arange(low.shape[1]) // CELL % 2
    assert share_of(low + on * high, edge_hz=9_000) == 0
    whole = share_of(low + on * high, edge_hz=20_000)
    assert whole is not None
    assert 0.25 < whole < 0.4  # half of the time in somewhat more than half of the band


def test_hardly_any_sound_gives_no_share():
    assert share_of(np.zeros((1, 1))) is None
    assert share_of(np.ones((1, 5 * CELL))) is None
    assert share_of(np.ones((1, 256 * CELL)), edge_hz=4_000) is None
    assert share_of(np.zeros((2, 256 * CELL))) == 0
