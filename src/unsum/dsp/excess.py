"""What a correlation holds above its own noise, in cells of many lags.

    score[k] = sum over the lags of cell k of max(c**2 / mean(c**2) - threshold, 0)

A dry sound is one high peak, a sound in a room hundreds of low ones within some 50 ms: the sum hears both.
"""

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 5.0  # of a variance: one lag in 40 of plain noise is above


def excess_sums(correlation: NDArray[np.float32], *, cell: int) -> NDArray[np.float32]:
    """Scores of each row's cells.

    Parameters
    ----------
    correlation : (rows, lags)
    cell : lags in a cell; what is left over at the end counts for the noise only

    Returns
    -------
    scores : (rows, lags // cell)
        -1 throughout in a row of nothing but zeros.
    """
    from unsum.dsp import _excess_numba

    return _excess_numba.excess_sums(np.ascontiguousarray(correlation, np.float32), cell, THRESHOLD)


def plain_excess_sums(correlation: NDArray[np.float32], *, cell: int) -> NDArray[np.float32]:
    """The same in plain numpy."""
    c = np.asarray(correlation, np.float64)
    power = np.mean(c**2, axis=1, keepdims=True)
    n_cells = c.shape[1] // cell
    height = c[:, : n_cells * cell] ** 2 / np.where(power > 0, power, 1.0)
    sums = np.maximum(height - THRESHOLD, 0.0).reshape(len(c), n_cells, cell).sum(axis=2)
    return np.where(power > 0, sums, -1.0).astype(np.float32)
