"""A bend of the time line by Gauss and Newton: nodes of a cubic B-spline, all at once, in linear time.

    minimise  sum_n (e(n) - g(n) sum_i c_i B_i(t_n))**2 + stiffness * sum_i (sum_j p_j c_i+j)**2

with e the residual and g how fast the image changes with time. Four nodes meet in a sample, so that the matrix has
few diagonals [1]_. The penalty on second differences, p = (1, -2, 1), keeps the bend smooth where nothing sounds. What
turns wobbles as it turns: once a bend is known roughly, a predictor of its own nodes takes their place [2]_, which
costs a wow little and noise much, however close the nodes lie.

References
----------
.. [1] Eilers and Marx, "Flexible smoothing with B-splines and penalties", Statistical Science 11(2), 1996.
.. [2] Marple, "A new autoregressive spectrum analysis algorithm", IEEE Trans. ASSP 28(4), 1980: forward and backward
   prediction alike.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from unsum.model import Bend

_DEGREE = 3
_LEAST_DIAGONAL = 1e-12
SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])


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
        self._bands = np.zeros((_DEGREE + 1, nodes.count))  # row d: the d-th diagonal below the main one
        self._rhs = np.zeros(nodes.count)

    def add(self, seconds: NDArray, slope: NDArray, residual: NDArray, *, weight: float = 1.0) -> None:
        """Rows ``residual = slope * bend(seconds)``; each array (n,)."""
        first, spline = self.nodes.weights(seconds)
        power, product = weight * slope**2, weight * slope * residual
        count = self.nodes.count
        for a in range(_DEGREE + 1):
            self._rhs += np.bincount(first + a, product * spline[a], count)
            for b in range(a, _DEGREE + 1):
                self._bands[b - a] += np.bincount(first + a, power * spline[a] * spline[b], count)

    def solve(
        self,
        stiffness: float,
        *,
        around: NDArray[np.float64] | None = None,
        predictor: NDArray[np.float64] = SECOND_DIFFERENCE,
    ) -> NDArray[np.float64]:
        """The offsets; with ``around`` the penalty is on those and the answer together.

        Parameters
        ----------
        predictor : (taps,), of which the answer should leave little
        """
        n, order = self.nodes.count, len(predictor) - 1
        bands = np.zeros((max(order, _DEGREE) + 1, n))
        bands[: _DEGREE + 1] = self._bands
        for a in range(order + 1):
            for b in range(a, order + 1):
                bands[b - a, a : n - order + a] += stiffness * predictor[a] * predictor[b]
        rhs = self._rhs
        if around is not None:
            left = np.correlate(around, predictor, "valid")
            rhs = rhs - stiffness * np.convolve(left, predictor)
        bands[0] += _LEAST_DIAGONAL * max(float(bands[0].max()), np.finfo(float).tiny)
        return scipy.linalg.solveh_banded(bands, rhs, lower=True)


def predictor_of(values: NDArray[np.float64], order: int) -> tuple[NDArray[np.float64], float]:
    """What foretells each value from those before it, and each from those behind it, with the least error.

    Returns
    -------
    predictor : (order + 1,); ``np.correlate(values, predictor, "valid")`` is the error
    deviation : of the error, for the freedom that the predictor took
    """
    rows = np.lib.stride_tricks.sliding_window_view(values, order + 1)
    both = np.concatenate([rows, rows[:, ::-1]])
    taps, *_ = np.linalg.lstsq(both[:, :order], both[:, order], rcond=_LEAST_DIAGONAL)
    predictor = np.append(-taps, 1.0)
    free = max(1 - order / len(rows), 0.5)
    return predictor, float(np.sqrt(np.mean((both @ predictor) ** 2) / free))
