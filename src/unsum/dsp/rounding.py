"""What rounding tells of the sound beneath it: not a value with noise, but an interval of one step.

A sample rounded to y says ``|y - z| <= 1/2`` of the sound z, in steps, and says it just as well where all of z lies
below one step, which least squares takes for silence. What keeps to N such intervals is known to 1/N, not to
1/sqrt(N) [1]_ [2]_. Sums of intervals have corners, though, and nothing but zero inside them. So the edges are taken
as soft, as those of a sound with logistic noise of scale s added before it is rounded [3]_::

    P(y | z) = F((r + 1/2) / s) - F((r - 1/2) / s),   r = y - z,   F(x) = 1 / (1 + exp(-x))

whose logarithm is concave in z and comes apart into two edges. With s far above the step this is least squares; with
s towards zero only samples near an edge count, and what is beyond one.

References
----------
.. [1] Thao and Vetterli, "Deterministic analysis of oversampled A/D conversion and decoding improvement based on
   consistent estimates", IEEE Trans. Signal Processing 42(3), 1994.
.. [2] Goyal, Vetterli and Thao, "Quantized overcomplete expansions in R^N: analysis, synthesis, and algorithms",
   IEEE Trans. Information Theory 44(1), 1998.
.. [3] Gustafsson and Karlsson, "Statistical results for system identification based on quantized observations",
   Automatica 45(12), 2009.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class IntervalScores:
    """How intervals judge a sound.

    Attributes
    ----------
    scores : (channels, samples)
        Slope of the logarithm of the likelihood by the sound: positive where the sound should be higher.
    weights : (channels, samples)
        How steeply that falls off: the negative second derivative.
    log_likelihood : of all samples together; 0 at best
    """

    scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    log_likelihood: float


def interval_scores(residual: NDArray[np.float64], counts: NDArray[np.bool_], *, softness: float) -> IntervalScores:
    """Judge what a sound leaves of its rounded samples.

    Parameters
    ----------
    residual : (channels, samples)
        Rounded samples less the sound, in steps: within half a step where the sound is right.
    counts : (channels, samples)
        Samples that say something; the others get zeros.
    softness : of the edges, in steps
    """
    from unsum.dsp import _rounding_numba

    scores, weights = np.empty(residual.shape), np.empty(residual.shape)
    total = _rounding_numba.interval_scores(residual, counts, softness, scores, weights)
    return IntervalScores(scores, weights, total)


def plain_interval_scores(
    residual: NDArray[np.float64], counts: NDArray[np.bool_], *, softness: float
) -> IntervalScores:
    """The same in plain numpy."""
    above, below = (residual - 0.5) / softness, -(residual + 0.5) / softness
    up, down = 0.5 * (1 + np.tanh(0.5 * above)), 0.5 * (1 + np.tanh(0.5 * below))
    each = np.log1p(-np.exp(-1 / softness)) - np.logaddexp(0, above) - np.logaddexp(0, below)
    return IntervalScores(
        np.where(counts, (up - down) / softness, 0.0),
        np.where(counts, (up * (1 - up) + down * (1 - down)) / softness**2, 0.0),
        float(np.sum(each[counts])),
    )


def step_of(samples: NDArray[np.integer]) -> int:
    """The step that all integer samples keep to, a power of two: 256 for 16 bits in words of 24; 1 for silence."""
    used = int(np.bitwise_or.reduce(samples, axis=None)) if samples.size else 0
    return used & -used or 1
