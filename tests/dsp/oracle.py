"""Least squares written out: every row of the convolution matrix, one number after another."""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.rows import Segment


def design(references: NDArray, first_lag: int, n_taps: int, segments: list[Segment]) -> NDArray:
    """Rows (rows, references * n_taps) of the segments; references silent outside what is given."""
    rows = np.concatenate([np.arange(segment.start, segment.stop) for segment in segments])
    at = rows[:, None] - first_lag - np.arange(n_taps)
    inside = (at >= 0) & (at < references.shape[1])
    columns = [np.where(inside, one[np.clip(at, 0, len(one) - 1)], 0.0) for one in references]
    return np.concatenate(columns, axis=1)


def targets(mixture: NDArray, segments: list[Segment]) -> NDArray:
    """The mixture (channels, rows) in the rows of the segments."""
    return np.concatenate([mixture[:, segment.start : segment.stop] for segment in segments], axis=1)


def images(references: NDArray, filters: NDArray, first_lag: int, n_samples: int) -> NDArray:
    """The image (channels, n_samples) by numpy's plain convolution; references silent outside what is given."""
    n_channels, n_references, _ = filters.shape
    total = np.zeros((n_channels, n_samples))
    for c in range(n_channels):
        for k in range(n_references):
            full = np.convolve(references[k], filters[c, k])  # at mixture time first_lag + index
            start, stop = max(0, first_lag), min(n_samples, first_lag + len(full))
            if stop > start:
                total[c, start:stop] += full[start - first_lag : stop - first_lag]
    return total


def coloured(rng: np.random.Generator, n_rows: int, n_samples: int, pole: float = 0.95) -> NDArray:
    """Noise with 20 log10((1 + pole) / (1 - pole)) dB between its loudest and its weakest frequency."""
    white = rng.standard_normal((n_rows, n_samples + 200))
    out = white.copy()
    for n in range(1, out.shape[1]):
        out[:, n] += pole * out[:, n - 1]
    return out[:, 200:]
