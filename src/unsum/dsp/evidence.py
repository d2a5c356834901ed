"""How much windows of a sound say for a place, against what they say everywhere else.

Each window scores every place. Its scores elsewhere tell what chance gives, whatever the music: a score becomes the
negative logarithm of how often as much is reached (*evidence*, in nats), which chance spreads like an exponential
variable of mean 1. What windows in a row say then adds up in two known ways: by sums over all of them [1]_, and by the
best stretch of them, as matches of sequences are judged [2]_.

References
----------
.. [1] Fisher, "Statistical methods for research workers", 1925, section 21.1: combining tests of significance.
.. [2] Karlin and Altschul, "Methods for assessing the statistical significance of molecular sequence features by using
   general scoring schemes", PNAS 87, 1990.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

# Of all scores of a window, so many are higher; behind the last the tail goes on as it did between the last two.
_SHARES = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01])
_NATS = -np.log(_SHARES)
# However high its score: one window alone must not decide, for a bang is like any other bang.
MOST_NATS = 9.0
# A stretch gains by a window that says more than this, and loses by one that says less.
EVEN_NATS = 2.0
# exp(-decay * EVEN_NATS) = 1 - decay: how fast the best stretch of exponential variables gets rare.
_DECAY = 0.79681
# Stretches of 12 windows were a tenth as frequent as windows * exp(-decay * gain); this is twice that.
_BEGINNINGS = 0.2


@dataclass(frozen=True, slots=True)
class Stretch:
    """Windows ``first`` to ``stop`` (half open) that speak for a place, and the nats they gain together."""

    first: int
    stop: int
    gain: float


def score_levels(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The scores (levels,) that certain shares of all reach, from all to one in 100; negative ones do not count."""
    heard = scores[scores >= 0]
    return np.asarray(np.quantile(heard, 1 - _SHARES) if len(heard) else np.arange(len(_SHARES)), np.float64)


def nats(scores: NDArray[np.floating], levels: NDArray[np.float64], *, most: float = MOST_NATS) -> NDArray[np.float64]:
    """Evidence of scores, of any shape, where ``levels`` are those of the same window; 0 for negative scores."""
    levels = np.maximum.accumulate(levels + 1e-9 * np.arange(len(levels)))
    inside = np.interp(scores, levels, _NATS)
    rise = (_NATS[-1] - _NATS[-2]) / max(levels[-1] - levels[-2], 0.05 * levels[-1], 1e-9)
    beyond = np.maximum(scores - levels[-1], 0.0) * rise
    return np.where(scores >= 0, np.minimum(inside + beyond, most), 0.0)


def best_stretch(evidence: NDArray[np.float64]) -> Stretch:
    """The windows in a row that gain most over what is even."""
    best, first, total = Stretch(0, 0, 0.0), 0, 0.0
    for n, gain in enumerate(np.asarray(evidence) - EVEN_NATS):
        if total <= 0:
            first, total = n, 0.0
        total += float(gain)
        if total > best.gain:
            best = Stretch(first, n + 1, total)
    return best


def chance_of_stretch(gain: float, *, windows: int, places: float) -> float:
    """How often chance gives a stretch of so many windows such a gain, in one of so many places [2]_."""
    return min(1.0, places * _BEGINNINGS * max(windows, 1) * math.exp(-_DECAY * gain))


def chance_of_sum(total: float, *, windows: int, places: float) -> float:
    """How often chance gives all windows together such evidence, in one of so many places [1]_."""
    return float(min(1.0, places * gammaincc(max(windows, 1), total)))
