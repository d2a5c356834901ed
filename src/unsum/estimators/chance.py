"""What a change of filters may gain on held-out samples by chance, because other sounds happen to be alike."""

import math
from collections.abc import Mapping

import numpy as np

from unsum.estimators.fir import OrderChoice
from unsum.model import MixModel

# Twice two standard deviations of a chance meeting, of sounds whose samples tell a hundredth of what white ones would.
_CHANCE = 40.0


def by_chance_db(choice: OrderChoice, model: MixModel, channels: Mapping[str, int]) -> float:
    """What other sounds may make a change of the filters look better by, on held-out samples.

    A change of the images by d meets what is left, u, with ``2 <u, d>``: by chance about
    ``2 sqrt(c |u|^2 |d|^2 / n)`` in n rows, with c for sounds that are far from white.

    Parameters
    ----------
    choice : the filters
    model : those before them
    channels : {reference: channels}, in the order in which they are stacked
    """
    held = choice.held_out
    start = held.first_lag
    change = choice.fit.filters.copy()
    row = 0
    for name, count in channels.items():
        part = model.contributions[name]
        first, stop = part.first_lag - start, part.first_lag - start + part.n_taps
        if first < 0 or stop > held.n_taps:
            return 0.0  # a shorter filter: what it leaves out is seen at once
        change[:, row : row + count, first:stop] -= part.filters
        row += count
    moved = float(np.sum(change * held.matvec(change)))
    left = float(np.sum(held.mixture_energy)) * 10 ** (choice.null_db / 10)
    if not left > 0 or not moved > 0:
        return 0.0
    chance = _CHANCE * math.sqrt(left * moved / (held.n_rows * len(change)))
    return 10 * math.log10(1 + chance / left)
