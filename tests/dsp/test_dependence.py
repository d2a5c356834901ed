"""References that others make up are named, and only those."""

import numpy as np
import pytest
from oracle import coloured

from unsum.dsp.dependence import dependent_references
from unsum.dsp.rows import FIT
from unsum.dsp.statistics import gather_statistics

NAMES = ["bass", "drums", "bus 2", "voice", "all"]


def found(references, **how):
    return dependent_references(gather_statistics(references[:1], references, n_taps=128)[FIT], **how)


@pytest.mark.parametrize("pole", [0.0, 0.98])
def test_copies_and_sums_are_said_in_few_words(rng, pole):
    tracks = coloured(rng, 4, 20_000, pole)
    tracks[2] = 0.5 * np.roll(tracks[0], 7)
    references = np.vstack([tracks, tracks[1] + tracks[3] - 2 * tracks[0]])
    copy, total = sorted(found(references), key=lambda one: one.reference)
    assert copy.in_words(NAMES) == "bass and bus 2 are the same signal to -140 dB: only their sum is known"
    assert copy.others == (0,)
    assert total.reference == 4
    assert total.others == (0, 1, 3)
    assert "all is the sum of bass, drums and voice to -1" in total.in_words(NAMES)


def test_the_null_vector_filters_the_references_to_nothing(rng):
    tracks = coloured(rng, 2, 20_000, 0.9)
    references = np.vstack([tracks, np.convolve(tracks[0], [0.2, 1, -0.4])[None, :20_000] + 3 * tracks[1]])
    (one,) = found(references)
    assert not one.one_tap
    assert "a filtered sum of bass and drums" in one.in_words(NAMES)
    total = sum(np.convolve(x, h, "valid") for x, h in zip(references, one.filters, strict=True))
    share = np.sum(total**2) / np.sum(references[one.reference] ** 2)
    assert 10 * np.log10(share) < -120


def test_a_copy_with_noise_is_known_by_its_depth(rng):
    tracks = coloured(rng, 2, 30_000, 0.9)
    copy = tracks[0] + 1e-4 * np.std(tracks[0]) * rng.standard_normal(30_000)
    (one,) = found(np.vstack([tracks, copy]))
    assert (one.reference, one.others) == (2, (0,))
    assert abs(one.depth_db + 80) < 1
    assert not found(np.vstack([tracks, copy]), threshold_db=-90)


def test_independent_silent_and_short_references_depend_on_nothing(rng):
    assert found(coloured(rng, 4, 20_000, 0.99)) == ()
    assert found(np.vstack([coloured(rng, 1, 5000), np.zeros((2, 5000))])) == ()
    assert found(rng.standard_normal((3, 140))) == ()


@pytest.mark.parametrize(("noise_db", "named"), [(-64.0, True), (-56.0, False)])
def test_a_bus_among_many_tracks_is_named_if_it_is_one_to_60_db(noise_db, named, rng):
    tracks = coloured(rng, 11, 30_000, 0.98)
    bus = tracks[1] + 0.5 * np.roll(tracks[4], 3) - tracks[7]
    noise = rng.standard_normal(bus.shape[-1]) * np.std(bus) * 10 ** (noise_db / 20)
    depends = found(np.vstack([tracks, bus + noise]), n_taps=16)
    assert [(one.reference, one.others) for one in depends] == ([(11, (1, 4, 7))] if named else [])
