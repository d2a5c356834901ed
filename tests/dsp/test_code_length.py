"""Which of two residuals explains more, by numbers that can be worked out by hand."""

import numpy as np
import pytest

from unsum.dsp.code_length import band_edges, band_energies, frame_samples, gain_terms, nats_saved

FRAME = 256


def energies(rows):
    return band_energies(np.atleast_2d(rows), frame=FRAME)


@pytest.mark.parametrize("rate, samples", [(8000, 128), (16000, 256), (44100, 1024), (96000, 2048)])
def test_a_frame_is_about_twenty_milliseconds(rate, samples):
    assert frame_samples(rate) == samples


@pytest.mark.parametrize("frame", [64, 128, 256, 1024, 4096])
def test_bands_cover_all_bins_but_the_first_and_none_is_narrow(frame):
    edges = band_edges(frame)
    assert edges[0] == 1 and edges[-1] == frame // 2
    assert np.diff(edges).min() >= 5


def test_energies_of_bands_add_up_to_those_of_the_windowed_frames(rng):
    rows = rng.standard_normal((2, 10 * FRAME))
    window = np.hanning(FRAME + 1)[:-1]
    first = np.abs(np.fft.rfft(rows[:, :FRAME] * window)) ** 2
    np.testing.assert_allclose(energies(rows)[0].sum(), first[:, 1 : FRAME // 2].sum(), rtol=1e-12)


def test_half_the_energy_saves_so_many_nats_in_every_frame(rng):
    rows = rng.standard_normal((1, 20 * FRAME))
    saved = nats_saved(energies(rows), energies(rows / np.sqrt(2)), frame=FRAME, floor=0.0)
    np.testing.assert_allclose(saved, 0.5 * np.log(2) * (FRAME // 2 - 1), rtol=1e-9)


def test_what_is_below_the_rounding_saves_nothing(rng):
    rows = 1e-6 * rng.standard_normal((1, 20 * FRAME))
    saved = nats_saved(energies(rows), energies(0 * rows), frame=FRAME, floor=1e-6)
    assert np.abs(saved).max() < 1e-2


def test_silence_in_both_tells_nothing_and_in_one_a_bounded_number():
    nothing, something = energies(np.zeros(10 * FRAME)), energies(np.ones(10 * FRAME) * np.arange(10 * FRAME) % 7.0)
    assert not nats_saved(nothing, nothing, frame=FRAME, floor=0.0).any()
    assert np.isfinite(nats_saved(something, nothing, frame=FRAME, floor=0.0)).all()


def test_the_gain_is_one_where_an_image_is_heard_and_none_where_it_is_not(rng):
    image, other = rng.standard_normal((2, 1, 400 * FRAME))
    for heard in (1.0, 0.0):
        mixture = heard * image + 3 * other
        parts = energies(mixture), energies(mixture - image), energies(image)
        numerator, denominator = gain_terms(*parts, frame=FRAME)
        assert abs(numerator.sum() / denominator.sum() - heard) < 0.2


def test_what_is_shorter_than_a_frame_has_none():
    assert energies(np.ones(FRAME - 1)).shape[0] == 0
