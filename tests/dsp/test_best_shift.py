"""At which repeat a sound is heard: truth by construction, under noise that hides the difference from the ear."""

import numpy as np
import pytest
from scipy.signal import lfilter

from unsum.dsp.best_shift import best_shift

HOW = {"frame": 128, "floor": 0.0, "apart": 160}


def song(rng, *, own: float) -> np.ndarray:
    """Ten bars of 4000 samples that differ by sounds of an RMS of ``own``."""
    bar = np.asarray(lfilter([1.0], [1.0, -0.9], rng.standard_normal((1, 4000))))
    return np.tile(bar, 10) + own * rng.standard_normal((1, 40_000))


@pytest.mark.parametrize("seems", [12_000, 8_000, 20_000, 12_001])
def test_a_piece_is_heard_at_its_own_repeat_under_louder_sound(seems, rng):
    played = song(rng, own=0.5)
    heard = played[:, 12_000:24_000] + 4 * rng.standard_normal((1, 12_000))
    assert best_shift(heard, 0.7 * played, seems, **HOW) == 12_000 - seems


def test_what_is_alike_stays_where_it_seems(rng):
    played = song(rng, own=0.0)
    heard = played[:, 12_000:24_000] + rng.standard_normal((1, 12_000))
    assert best_shift(heard, played, 8_000, **HOW) == 0


@pytest.mark.parametrize("image", [0.0, 1.0])
def test_what_is_not_heard_stays_where_it_seems(image, rng):
    assert best_shift(rng.standard_normal((2, 12_000)), image * np.repeat(song(rng, own=0.5), 2, 0), 4_000, **HOW) == 0


def test_an_image_as_long_as_the_sound_has_one_place(rng):
    played = song(rng, own=0.5)[:, :12_000]
    assert best_shift(played + rng.standard_normal((1, 12_000)), played, 0, **HOW) == 0


@pytest.mark.parametrize(("length", "here"), [(4_001, 0), (3_000, 1_001), (3_000, -1)])
def test_a_sound_that_reaches_beyond_its_image_is_refused(length, here, rng):
    with pytest.raises(ValueError, match=f"{length} samples from sample {here} on do not lie within an image of 4000"):
        best_shift(rng.standard_normal((1, length)), rng.standard_normal((1, 4000)), here, **HOW)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["heard", "image"])
def test_samples_that_are_no_numbers_are_refused(bad, which, rng):
    sounds = {"heard": rng.standard_normal((1, 2000)), "image": rng.standard_normal((1, 4000))}
    sounds[which][0, 700] = bad
    with pytest.raises(ValueError, match="not finite"):
        best_shift(sounds["heard"], sounds["image"], 0, **HOW)
