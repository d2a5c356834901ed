"""Fourier transforms of real rows, on several threads, at lengths that are quick."""

from typing import cast

import numpy as np
import scipy.fft
from numpy.typing import NDArray


def rfft(rows: NDArray, n_fft: int | None = None, *, threads: int = 1) -> NDArray[np.complex128]:
    """One-sided spectra (..., bins) of rows (..., samples), padded with zeros to ``n_fft``."""
    return cast("NDArray[np.complex128]", scipy.fft.rfft(rows, n_fft, workers=threads))


def irfft(spectra: NDArray, n_fft: int | None = None, *, threads: int = 1) -> NDArray[np.float64]:
    """The rows (..., n_fft) again; an even number of samples if not given."""
    return cast("NDArray[np.float64]", scipy.fft.irfft(spectra, n_fft, workers=threads))


def fast_length(least: int) -> int:
    """The shortest quick length that is even, so that the last bin is Nyquist's."""
    return 2 * cast(int, scipy.fft.next_fast_len(max(-(-least // 2), 1), real=True))
