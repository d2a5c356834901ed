"""Images of references through filters, against numpy's plain convolution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from oracle import images

from unsum.dsp import convolution
from unsum.dsp.convolution import ImageStream, convolve
from unsum.errors import InputError


def test_the_case_worked_by_hand():
    # An echo of half the level, two samples late, and one sample early all in all.
    echo = np.array([[[1.0, 0.0, 0.5]]])
    np.testing.assert_allclose(
        convolve(np.array([[1.0, 2, 3]]), echo, first_lag=-1, n_samples=6), [[2, 3.5, 1, 1.5, 0, 0]], atol=1e-14
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=integers(0, 2**16),
    n_channels=integers(1, 3),
    n_references=integers(1, 3),
    n_taps=integers(1, 40),
    first_lag=integers(-60, 60),
    n_samples=integers(0, 120),
)
def test_images_are_plain_convolutions(seed, n_channels, n_references, n_taps, first_lag, n_samples):
    rng = np.random.default_rng(seed)
    references = rng.standard_normal((n_references, int(rng.integers(0, 100)) + 1))
    filters = rng.standard_normal((n_channels, n_references, n_taps))
    np.testing.assert_allclose(
        convolve(references, filters, first_lag=first_lag, n_samples=n_samples),
        images(references, filters, first_lag, n_samples),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("n_taps", [5, 3000, 65_537, 150_000])
@pytest.mark.parametrize("first_lag", [-700, 0, 90_000])
def test_long_filters_are_plain_convolutions(rng, n_taps, first_lag):
    references = rng.standard_normal((2, 200_000))
    filters = rng.standard_normal((1, 2, n_taps))
    found = convolve(references, filters, first_lag=first_lag, n_samples=260_000)
    spectra = np.fft.rfft(references, 1 << 19) * np.fft.rfft(filters[0], 1 << 19)
    whole = np.fft.irfft(spectra.sum(axis=0))  # of 524288 samples: nothing wraps
    expected = np.zeros(260_000)
    start = max(0, first_lag)
    expected[start:] = np.concatenate([whole, np.zeros(1000)])[start - first_lag : 260_000 - first_lag]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-13 * np.sqrt(n_taps) * 1e2)


@pytest.mark.parametrize("n_taps", [40, 65_540])
@pytest.mark.parametrize("block", [1, 7, 509, 65_536, 199_999])
def test_any_chunking_gives_the_same_images(rng, block, n_taps):
    n_samples = 200_000 if block > 7 else 2000
    references = rng.standard_normal((2, n_samples))
    filters = rng.standard_normal((1, 2, n_taps))
    stream = ImageStream(filters, first_lag=-33)
    blocks = [stream.add(references[:, at : at + block]) for at in range(0, n_samples, block)]
    found = np.concatenate([*blocks, stream.finish(n_samples + 50)], axis=-1)[0]
    np.testing.assert_array_equal(found, convolve(references, filters, first_lag=-33, n_samples=n_samples + 50))


@pytest.mark.parametrize(("longest", "n_taps"), [(16, 100), (16, 16), (16, 17), (16, 32)])
def test_partitions_add_up_to_the_whole_filter(rng, monkeypatch, longest, n_taps):
    monkeypatch.setattr(convolution, "_LONGEST_PARTITION", longest)
    references, filters = rng.standard_normal((2, 333)), rng.standard_normal((2, 2, n_taps))
    for first_lag in (-40, 0, 40):
        np.testing.assert_allclose(
            convolve(references, filters, first_lag=first_lag, n_samples=400),
            images(references, filters, first_lag, 400),
            rtol=0,
            atol=1e-12,
        )


def test_images_start_where_asked(rng):
    references, filters = rng.standard_normal((1, 30_000)), rng.standard_normal((1, 1, 300))
    whole = convolve(references, filters, first_lag=12, n_samples=40_000)
    stream = ImageStream(filters, first_lag=12, start=1_010_000, reference_start=1_000_000)
    part = np.concatenate([stream.add(references), stream.finish(1_040_000)], axis=-1)
    np.testing.assert_allclose(part[0], whole[:, 10_000:], rtol=0, atol=1e-12)


def test_references_of_one_group_share_an_image(rng):
    references, filters = rng.standard_normal((3, 900)), rng.standard_normal((2, 3, 20))
    stream = ImageStream(filters, groups=[1, 0, 1])
    found = np.concatenate([stream.add(references), stream.finish(900)], axis=-1)
    assert found.shape == (2, 2, 900) == (stream.n_images, 2, 900)
    np.testing.assert_allclose(found[0], convolve(references[1:2], filters[:, 1:2]), atol=1e-12)
    np.testing.assert_allclose(found[1], convolve(references[::2], filters[:, ::2]), atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=0), convolve(references, filters), atol=1e-12)
    with pytest.raises(ValueError, match="2 groups for 3 references"):
        ImageStream(filters, groups=[0, 1])


def test_silence_stays_silence_and_nothing_comes_of_nothing():
    assert not convolve(np.zeros((1, 50)), np.ones((1, 1, 5))).any()
    assert convolve(np.zeros((1, 0)), np.ones((2, 1, 5))).shape == (2, 0)
    np.testing.assert_allclose(convolve(np.full((1, 1), 3.0), np.full((1, 1, 1), -2.0)), [[-6.0]])


def test_samples_that_are_not_finite_are_refused():
    stream = ImageStream(np.ones((1, 1, 3)))
    with pytest.raises(InputError, match="reference channel 0 has nan at sample 2"):
        stream.add(np.array([[0.0, 1.0, np.nan]]))
    stream.finish(0)
    with pytest.raises(ValueError, match="new stream"):
        stream.add(np.zeros((1, 3)))
