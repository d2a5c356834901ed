"""Gains that are simple numbers, so that integers can be subtracted from integers.

Whether a gain *is* a simple number or only near one is a question of how sure it is. Sounds in the mixture that are
no reference move the fitted gains by chance, and how far is told by fitting them again without each stretch of time
(the jackknife [1]_): music and speech are far from white, so that no formula for independent samples holds.

References
----------
.. [1] Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.rows import Segment

# What a mixer or a recorder does exactly: as it is, turned over, halved, doubled.
SIMPLE_GAINS = tuple(
    Fraction(sign * n, d) for sign in (1, -1) for n, d in ((1, 1), (1, 2), (1, 4), (2, 1), (3, 1), (4, 1))
)
_STRETCHES = 32
_FEWEST_TELLING = 4.0  # stretches of equal energy that tell of a reference
# A fitted gain so many standard errors from a simple number may still be it, but not further off than this.
_DEVIATIONS = 5.0
_FURTHEST = 0.12
# Rounding of the mixture to its grid moves a gain, too: by less than this.
_NEAREST = 1e-3
# Relative to the largest: what of a matrix of sums is only rounding.
_RANK = 1e-12


@dataclass(frozen=True, slots=True)
class Gains:
    """Gains at lag 0 and how sure they are.

    Attributes
    ----------
    value, stderr : (mixture channels, all reference channels)
        Infinite standard errors where too few stretches of time tell of them; 0 for a silent reference.
    """

    value: NDArray[np.float64]
    stderr: NDArray[np.float64]


class GainMeter:
    """Fits gains, and fits them again without each of some stretches, from sums of products at lag 0.

    Parameters
    ----------
    n_channels, n_references : rows of the mixture and of the references
    segments : the rows that count, of whatever part
    """

    def __init__(self, *, n_channels: int, n_references: int, segments: Sequence[Segment]) -> None:
        self._segments = tuple(segments)
        self._first = min((segment.start for segment in segments), default=0)
        last = max((segment.stop for segment in segments), default=1)
        self._length = max(1, -(-(last - self._first) // _STRETCHES))
        self._squares = np.zeros((_STRETCHES, n_references, n_references))
        self._products = np.zeros((_STRETCHES, n_channels, n_references))

    def add(self, start: int, mixture: NDArray[np.float64], references: NDArray[np.float64]) -> None:
        """Take samples of both, (channels, samples) and (references, samples), from mixture time ``start`` on."""
        stop = start + mixture.shape[1]
        for segment in self._segments:
            a, b = max(segment.start, start), min(segment.stop, stop)
            while a < b:
                which = (a - self._first) // self._length
                end = min(b, self._first + (which + 1) * self._length)
                x, r = mixture[:, a - start : end - start], references[:, a - start : end - start]
                self._squares[which] += r @ r.T
                self._products[which] += x @ r.T
                a = end

    def gains(self) -> Gains:
        """The least-squares gains of all rows."""
        used = np.flatnonzero(np.trace(self._squares, axis1=1, axis2=2))
        squares, products = self._squares[used].sum(axis=0), self._products[used].sum(axis=0)
        value = _solved(squares, products)
        if len(used) < 3:
            return Gains(value, np.full_like(value, np.inf))
        without = np.array([_solved(squares - self._squares[n], products - self._products[n]) for n in used])
        spread = np.sum((without - without.mean(axis=0)) ** 2, axis=0)
        stderr = np.sqrt(spread * (len(used) - 1) / len(used))
        # Of a reference that sounds in one or two stretches, how they differ tells nothing.
        energy = np.diagonal(self._squares[used], axis1=1, axis2=2)
        total = energy.sum(axis=0)
        telling = np.divide(total**2, np.sum(energy**2, axis=0), out=np.full(len(total), np.inf), where=total > 0)
        stderr[:, telling < _FEWEST_TELLING] = np.inf
        return Gains(value, stderr)


def _solved(squares: NDArray[np.float64], products: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gains of least norm: nothing for silent references, equal shares for equal ones."""
    scale = np.sqrt(np.maximum(squares.diagonal(), 0.0))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    unit = squares * np.outer(inverse, inverse)
    return (products * inverse) @ np.linalg.pinv(unit, rcond=_RANK, hermitian=True) * inverse


def simple_gains(
    gains: Gains, *, reference_channels: Mapping[str, int]
) -> dict[str, dict[tuple[int, int], Fraction]] | None:
    """The matrix of gains as simple numbers, or None where one of them is none.

    Parameters
    ----------
    reference_channels : {reference: channels}, in the order they are stacked
    """
    found: dict[str, dict[tuple[int, int], Fraction]] = {}
    row = 0
    tolerance = np.clip(_DEVIATIONS * gains.stderr, _NEAREST, _FURTHEST)
    for name, channels in reference_channels.items():
        matrix: dict[tuple[int, int], Fraction] = {}
        for d in range(channels):
            for c in range(len(gains.value)):
                value, within = gains.value[c, row + d], tolerance[c, row + d]
                if abs(value) <= within:
                    continue
                near = min(SIMPLE_GAINS, key=lambda gain, value=value: abs(float(gain) - value))
                if abs(float(near) - value) > within:
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
