"""The ranks of :mod:`unsum.dsp.ranks`, compiled: a tile of places at a time, whose sums stay in the first cache."""

import math

import numba
import numpy as np
from numpy.typing import NDArray

_TILE = 256


@numba.njit(cache=True, nogil=True)
def ranks(
    evidence: NDArray, turn: NDArray, first: int, stop: int, even: float, decay: float, least_chance: float
) -> NDArray:
    n_windows = evidence.shape[0]
    out = np.empty(stop - first)
    run, best, total, damped = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    chance, power, count = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    for begin in range(first, stop, _TILE):
        width = min(_TILE, stop - begin)
        run[:], best[:], total[:], count[:] = 0.0, 0.0, 0.0, 0.0
        for row in range(n_windows):
            said = evidence[row, begin + turn[row] : begin + turn[row] + width]
            for k in range(width):
                heard = said[k] >= 0
                now = run[k] + (said[k] - even if heard else 0.0)
                now = now if now > 0.0 else 0.0
                run[k] = now
                best[k] = now if now > best[k] else best[k]
                total[k] += said[k] if heard else 0.0
                count[k] += 1.0 if heard else 0.0
        # The series from its last term on, each time damped by its share of exp(-x), so that none overflows.
        for k in range(width):
            damped[k] = math.exp(-total[k] / max(count[k], 1.0))
            chance[k] = power[k] = damped[k]
        for n in range(n_windows - 1, 0, -1):
            for k in range(width):
                inside = n < count[k]
                power[k] = power[k] * damped[k] if inside else power[k]
                chance[k] = power[k] + chance[k] * damped[k] * total[k] / n if inside else chance[k]
        for k in range(width):
            by_all = -math.log(max(chance[k], least_chance))
            by_stretch = decay * best[k] - math.log(max(count[k], 1.0))
            rank = by_stretch if by_stretch > by_all else by_all
            out[begin - first + k] = rank if count[k] > 0 else 0.0
    return out
