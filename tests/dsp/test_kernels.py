"""The compiled loops against the plain ones."""

import numpy as np
import pytest

from unsum.dsp import _kernels_numba as compiled
from unsum.dsp import kernels as plain


def complex_noise(rng: np.random.Generator, *shape: int):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("n_bins", [1, 5, 256, 700])
def test_compiled_products_are_the_plain_ones(rng, n_bins):
    rows, others = complex_noise(rng, 3, 4, n_bins), complex_noise(rng, 3, 2, n_bins)
    index = np.array([0, 3, 5, 4]), np.array([0, 1, 1, 5])
    expected, got = rng.standard_normal((2, 4, 2, n_bins))
    got[:] = expected
    plain.accumulate_products(expected, rows, others, *index, 1, n_bins)
    compiled.accumulate_products(got, rows, others, *index, 1, n_bins)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_compiled_hermitian_product_is_the_plain_one_and_the_matrix_one(rng, n_rows):
    n_bins = 300
    k, j = plain.pair_rows(n_rows)
    matrices = complex_noise(rng, n_bins, n_rows, n_rows)
    matrices += np.conj(matrices.swapaxes(1, 2))
    pairs = plain.split(np.ascontiguousarray(matrices[:, k, j].T))
    rows = complex_noise(rng, n_rows, n_bins)
    expected, got = np.empty_like(rows), np.empty_like(rows)
    plain.hermitian_multiply(pairs, rows, expected)
    compiled.hermitian_multiply(pairs, rows, got)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got, np.einsum("fkl,lf->kf", matrices, rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("newest", [0, 2])
def test_compiled_filters_are_the_plain_ones(rng, newest):
    filters = plain.split(complex_noise(rng, 3, 2, 4, 300))
    history = complex_noise(rng, 3, 4, 300)
    expected, got = np.empty((2, 2, 300), complex)
    plain.filter_multiply(filters, history, newest, expected)
    compiled.filter_multiply(filters, history, newest, got)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 7, 130])
def test_compiled_triangular_products_are_the_plain_ones(rng, order):
    triangles, rows = rng.standard_normal((2, order, order)), rng.standard_normal((3, 2, order))
    for name in ("lower_multiply", "lower_transposed_multiply"):
        expected = rng.standard_normal(rows.shape)
        got = expected.copy()
        getattr(plain, name)(triangles, rows, expected)
        getattr(compiled, name)(triangles, rows, got)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
