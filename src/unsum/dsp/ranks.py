"""How much windows say together for each place, when all of them are turned to one slope.

    rank = max(decay * gain of the best stretch of windows - log(windows), -log(chance of all their nats))

See :mod:`unsum.dsp.evidence` for both chances. Where ``n`` windows are heard, with ``x`` nats in all, the second is::

    gammaincc(n, x) = exp(-x) * (1 + x + x**2 / 2! + ... + x**(n - 1) / (n - 1)!)
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from unsum.dsp.evidence import EVEN_NATS

STRETCH_DECAY = 0.8
LEAST_CHANCE = 1e-300


def ranks(evidence: NDArray[np.float64], turn: NDArray[np.intp], *, first: int, stop: int) -> NDArray[np.float64]:
    """Nats for the places ``first .. stop``, (stop - first,); 0 where no window is heard.

    Parameters
    ----------
    evidence : (windows, cells) nats, negative where a window is not heard
    turn : (windows,)
        Cells by which the evidence of each window for a place lies behind that place.
    """
    from unsum.dsp import _ranks_numba

    low, high = first + int(turn.min(initial=0)), stop + int(turn.max(initial=0))
    if low < 0 or high > evidence.shape[1]:
        raise ValueError(
            f"cells {low} to {high} are asked for, of {evidence.shape[1]}; hand over as many more as windows turn"
        )
    return _ranks_numba.ranks(evidence, turn, first, stop, EVEN_NATS, STRETCH_DECAY, LEAST_CHANCE)


def plain_ranks(evidence: NDArray[np.float64], turn: NDArray[np.intp], *, first: int, stop: int) -> NDArray[np.float64]:
    """The same in plain numpy."""
    turned = np.stack([row[first + t : stop + t] for row, t in zip(evidence, turn, strict=True)])
    heard = turned >= 0
    count, total = heard.sum(axis=0), np.where(heard, turned, 0.0).sum(axis=0)
    run = best = np.zeros(stop - first)
    for gain in np.where(heard, turned - EVEN_NATS, 0.0):
        run = np.maximum(run + gain, 0.0)
        best = np.maximum(best, run)
    by_stretch = STRETCH_DECAY * best - np.log(np.maximum(count, 1))
    by_all = -np.log(np.maximum(gammaincc(np.maximum(count, 1), total), LEAST_CHANCE))
    return np.where(count > 0, np.maximum(by_stretch, by_all), 0.0)
