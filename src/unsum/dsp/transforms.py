"""Fourier transforms of real rows, on several threads, at lengths that are quick."""

from collections.abc import Callable
from typing import cast

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from unsum.dsp.threads import share_out

# Below so many samples a thread costs more than it saves.
WORTH_A_THREAD = 1 << 19


def rfft(rows: NDArray, n_fft: int | None = None, *, threads: int = 1) -> NDArray[np.complex128]:
    """One-sided spectra (..., bins) of rows (..., samples), padded with zeros to ``n_fft``."""
    length = n_fft or rows.shape[-1]
    return _row_by_row(scipy.fft.rfft, rows, length, length // 2 + 1, complex, threads)


def irfft(spectra: NDArray, n_fft: int | None = None, *, threads: int = 1) -> NDArray[np.float64]:
    """The rows (..., n_fft) again; an even number of samples if not given."""
    length = n_fft or 2 * (spectra.shape[-1] - 1)
    return _row_by_row(scipy.fft.irfft, spectra, length, length, float, threads)


def fast_length(least: int) -> int:
    """The shortest quick length that is even, so that the last bin is Nyquist's."""
    return 2 * cast(int, scipy.fft.next_fast_len(max(-(-least // 2), 1), real=True))


def _row_by_row(transform: Callable, rows: NDArray, n_fft: int, n_out: int, dtype: type, threads: int) -> NDArray:
    shape = rows.shape[:-1]
    n_rows = int(np.prod(shape))
    if threads < 2 or n_rows < 2 or n_rows * n_fft < WORTH_A_THREAD:
        return transform(rows, n_fft)
    flat, out = rows.reshape(n_rows, rows.shape[-1]), np.empty((n_rows, n_out), dtype)

    def share(first: int, last: int) -> None:
        out[first:last] = transform(flat[first:last], n_fft)

    share_out(share, n_rows, threads=threads)
    return out.reshape(*shape, n_out)
