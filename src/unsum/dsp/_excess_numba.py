"""The sums of :mod:`unsum.dsp.excess`, compiled."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def excess_sums(correlation: NDArray, cell: int, threshold: float) -> NDArray:
    n_rows, length = correlation.shape
    n_cells = length // cell
    out = np.full((n_rows, n_cells), np.float32(-1.0))
    for row in range(n_rows):
        power = np.float32(0.0)
        for n in range(length):
            power += correlation[row, n] * correlation[row, n]
        if power <= 0:
            continue
        scale = np.float32(length) / power
        least = np.float32(threshold)
        for k in range(n_cells):
            total = np.float32(0.0)
            for n in range(k * cell, (k + 1) * cell):
                total += max(correlation[row, n] * correlation[row, n] * scale - least, np.float32(0.0))
            out[row, k] = total
    return out
