"""Gains that are simple numbers, so that integers can be subtracted from integers."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

# What a mixer or a recorder does exactly: as it is, turned over, halved, doubled.
SIMPLE_GAINS = tuple(
    Fraction(sign * n, d) for sign in (1, -1) for n, d in ((1, 1), (1, 2), (1, 4), (2, 1), (3, 1), (4, 1))
)


def simple_gains(
    gains: NDArray[np.float64], *, tolerance: float, reference_channels: Mapping[str, int]
) -> dict[str, dict[tuple[int, int], Fraction]] | None:
    """The matrix of gains as simple numbers, or None where it is none.

    Parameters
    ----------
    gains : (mixture channels, all reference channels)
    tolerance : how far a gain may be off and still be meant
    reference_channels : {reference: channels}, in the order they are stacked
    """
    found: dict[str, dict[tuple[int, int], Fraction]] = {}
    row = 0
    for name, channels in reference_channels.items():
        matrix: dict[tuple[int, int], Fraction] = {}
        for d in range(channels):
            for c in range(gains.shape[0]):
                value = gains[c, row + d]
                if abs(value) <= tolerance:
                    continue
                near = min(SIMPLE_GAINS, key=lambda gain, value=value: abs(float(gain) - value))
                if abs(float(near) - value) > tolerance:
                    return None
                matrix[c, d] = near
        row += channels
        found[name] = matrix
    return found


def gain_matrix(
    gains: Mapping[str, Mapping[tuple[int, int], Fraction]], *, n_channels: int, reference_channels: Mapping[str, int]
) -> NDArray[np.float64]:
    """Simple gains as filters of one tap, (mixture channels, all reference channels, 1)."""
    filters = np.zeros((n_channels, sum(reference_channels.values()), 1))
    row = 0
    for name, channels in reference_channels.items():
        for (c, d), gain in gains[name].items():
            filters[c, row + d, 0] = float(gain)
        row += channels
    return filters
