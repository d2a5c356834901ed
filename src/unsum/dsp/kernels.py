"""The inner loops over frequency, in plain numpy: what they compute, and the oracle of the compiled ones.

Spectra that stay (sums, filters) are *split*: ``(..., 2, bins)``, real parts then imaginary parts, one-sided;
compiled loops run several bins at once on them. Spectra that come from a transform are complex, ``(..., bins)``.
A pair of rows (k, l) with k <= l stands for both orders, since one is the conjugate of the other; pairs are
counted (0, 0), (0, 1) ... (1, 1), (1, 2) ... as by :func:`pair_rows`.
"""

import numpy as np
from numpy.typing import NDArray

Spectra = NDArray[np.complex128]
SplitSpectra = NDArray[np.float64]


def pair_rows(n_rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows k and l of every pair, k <= l, in the order of the pairs."""
    return np.triu_indices(n_rows)


def split(spectra: Spectra) -> SplitSpectra:
    """Real and imaginary parts: (..., 2, bins) of (..., bins)."""
    return np.stack([spectra.real, spectra.imag], axis=-2)


def joined(spectra: SplitSpectra) -> Spectra:
    """The complex spectra again: (..., bins) of (..., 2, bins)."""
    return spectra[..., 0, :] + 1j * spectra[..., 1, :]


def accumulate_products(
    totals: SplitSpectra,
    rows: Spectra,
    others: Spectra,
    later: NDArray[np.intp],
    earlier: NDArray[np.intp],
    first: int,
    last: int,
) -> None:
    """``totals[q] += sum over blocks of x[later[q]] * conj(x[earlier[q]])`` in the bins ``first .. last``.

    ``x`` is the rows and, counted on, the others of a block; the blocks are added one after the other.
    """
    bins = slice(first, last)
    for block in range(len(rows)):
        x = np.concatenate([rows[block, :, bins], others[block, :, bins]])
        totals[..., bins] += split(x[later] * np.conj(x[earlier]))


def hermitian_multiply(pairs: SplitSpectra, rows: Spectra, out: Spectra) -> None:
    """``out[k] = sum over l of S[k, l] * rows[l]`` in every bin, for the Hermitian S held as ``pairs``."""
    out[:] = 0
    for (k, j), one in zip(np.transpose(pair_rows(len(rows))), joined(pairs), strict=True):
        out[k] += one * rows[j]
        if j != k:
            out[j] += np.conj(one) * rows[k]


def filter_multiply(filters: SplitSpectra, history: Spectra, newest: int, out: Spectra) -> None:
    """``out[c] = sum over d, k of filters[d, c, k] * history[(newest - d) mod length, k]`` in every bin."""
    out[:] = 0
    for d in range(len(filters)):
        out += np.sum(joined(filters[d]) * history[(newest - d) % len(history)], axis=1)


def lower_multiply(triangles: NDArray, rows: NDArray, out: NDArray) -> None:
    """``out[c, k] += L[k] @ rows[c, k]`` for lower triangular L (references, order, order)."""
    out += np.einsum("kij,ckj->cki", np.tril(triangles), rows)


def lower_transposed_multiply(triangles: NDArray, rows: NDArray, out: NDArray) -> None:
    """``out[c, k] = rows[c, k] @ L[k]`` for lower triangular L (references, order, order)."""
    out[:] = np.einsum("kij,cki->ckj", np.tril(triangles), rows)
