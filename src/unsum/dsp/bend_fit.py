"""A bend of the time line by Gauss and Newton: nodes of a cubic B-spline, all at once, in linear time.

    minimise  sum_n (e(n) - g(n) sum_i c_i B_i(t_n))**2 + stiffness * sum_i (c_i - 2 c_i+1 + c_i+2)**2

with e the residual and g how fast the image changes with time. Four nodes meet in a sample, so that the matrix has
seven diagonals [1]_. The penalty on the second differences keeps the bend smooth where nothing sounds.

References
----------
.. [1] Eilers and Marx, "Flexible smoothing with B-splines and penalties", Statistical Science 11(2), 1996.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from unsum.model import Bend

_DEGREE = 3
_LEAST_DIAGONAL = 1e-12


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where the nodes of a bend lie: ``start + i * step`` seconds."""

    start: float
    step: float
    count: int

    @classmethod
    def over(cls, first: float, last: float, step: float) -> "Nodes":
        """Nodes that carry a bend between two times, with what its ends need beyond them; at multiples of the step."""
        start = int(np.floor(first / step))
        return cls((start - 2) * step, step, int(np.ceil(last / step)) - start + 5)

    def bend(self, offsets: NDArray[np.float64]) -> Bend:
        return Bend(self.start, self.step, tuple(float(one) for one in offsets))

    def weights(self, seconds: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The first of the four nodes at each time, and the weights (4, n) of all of them."""
        where = (seconds - self.start) / self.step
        node = np.clip(np.floor(where), 1, self.count - 3).astype(np.intp)
        u = np.clip(where - node, 0.0, 1.0)
        weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, 3 * u**2 * (1 - u) + 3 * u + 1, u**3]) / 6
        return node - 1, weights

    def resampled(self, bend: Bend) -> NDArray[np.float64]:
        """The offsets at these nodes that give the values of another bend there."""
        return self.through(bend(self.start + self.step * np.arange(self.count, dtype=np.float64)))

    def through(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The offsets of the bend that has these values at the nodes."""
        bands = np.full((2, self.count), 1 / 6)
        bands[1] = 4 / 6
        bands[1, [0, -1]] = 5 / 6  # the first and the last offset go on for ever
        return scipy.linalg.solveh_banded(bands, values)


class SplineSystem:
    """The normal equations of a bend, summed up over as many pieces as there are."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._bands = np.zeros((_DEGREE + 1, nodes.count))  # upper form: row 3 is the diagonal
        self._rhs = np.zeros(nodes.count)

    def add(self, seconds: NDArray, slope: NDArray, residual: NDArray, *, weight: float = 1.0) -> None:
        """Rows ``residual = slope * bend(seconds)``; each array (n,)."""
        first, spline = self.nodes.weights(seconds)
        power, product = weight * slope**2, weight * slope * residual
        count = self.nodes.count
        for a in range(_DEGREE + 1):
            self._rhs += np.bincount(first + a, product * spline[a], count)
            for b in range(a, _DEGREE + 1):
                self._bands[_DEGREE - (b - a)] += np.bincount(first + b, power * spline[a] * spline[b], count)

    def solve(self, stiffness: float, *, around: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The offsets; with ``around`` the penalty is on its second differences and those of the answer together."""
        bands, rhs = self._bands.copy(), self._rhs.copy()
        n = self.nodes.count
        second = np.array([1.0, -2.0, 1.0])
        for a in range(3):
            for b in range(a, 3):
                bands[_DEGREE - (b - a), b : n - 2 + b] += stiffness * second[a] * second[b]
        if around is not None:
            bent = np.convolve(around, second, "valid")
            for a in range(3):
                rhs[a : n - 2 + a] -= stiffness * second[a] * bent
        bands[_DEGREE] += _LEAST_DIAGONAL * max(float(bands[_DEGREE].max()), np.finfo(float).tiny)
        return scipy.linalg.solveh_banded(bands, rhs)
