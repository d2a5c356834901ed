"""Samples of streams as numbers that can be compared: their type, and the grid they share."""

import numpy as np
from numpy.typing import NDArray

from unsum.streams.arithmetic import Grid


def on_grid(rows: NDArray, grid: Grid, stream: int) -> NDArray:
    """Samples of a stream of the grid, (channels, samples), in steps of the grid; equal values are equal numbers.

    In floating point full scale is 1.
    """
    bits = grid.formats[stream].bits
    if grid.bits is None:
        return rows.astype(np.float64) * (1.0 if bits is None else 2.0 ** (1 - bits))
    wide = np.int16 if grid.bits <= 16 else np.int32 if grid.bits <= 32 else np.int64
    scale = grid.scale(stream)
    rows = rows.astype(wide, copy=False)
    return rows if scale == 1 else rows * wide(scale)


def without_infinities(rows: NDArray) -> tuple[NDArray, int]:
    """The samples with 0 for those that are no number, and how many those are."""
    if rows.dtype.kind != "f":
        return rows, 0
    finite = np.isfinite(rows)
    return (rows, 0) if finite.all() else (np.where(finite, rows, 0), int(np.count_nonzero(~finite)))
