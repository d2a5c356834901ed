"""The loop of :mod:`unsum.dsp.rounding`, compiled."""

import math

import numba
from numpy.typing import NDArray

# Farther inside than so many times the softness nothing is felt of an edge.
REACH = 25.0


@numba.njit(cache=True, nogil=True)
def interval_scores(residual: NDArray, counts: NDArray, softness: float, scores: NDArray, weights: NDArray) -> float:
    n_rows, length = residual.shape
    inside = math.log1p(-math.exp(-1 / softness))
    total = 0.0
    for row in range(n_rows):
        for n in range(length):
            scores[row, n] = weights[row, n] = 0.0
            if not counts[row, n]:
                continue
            r = residual[row, n]
            near, far = (abs(r) - 0.5) / softness, (-abs(r) - 0.5) / softness
            total += inside
            if near < -REACH:
                continue
            decay, faint = math.exp(-abs(near)), math.exp(far)
            beyond = 1 / (1 + decay) if near > 0 else decay / (1 + decay)
            opposite = faint / (1 + faint)
            scores[row, n] = (beyond - opposite) / softness * (1.0 if r > 0 else -1.0)
            weights[row, n] = (beyond * (1 - beyond) + opposite * (1 - opposite)) / softness**2
            total -= max(near, 0.0) + math.log1p(decay) + math.log1p(faint)
    return total
