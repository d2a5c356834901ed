"""The inner loop of ``warp.py``, compiled: weights once per position for all channels; other threads run meanwhile."""

import numba
import numpy as np


# Sums may be taken in any order, so that the taps run several at once. The number of taps is fixed,
# and with it the order: a position gives the same value in whatever block it comes.
@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def evaluate(samples, first, positions, table, out):
    n_phases, _, n_taps = table.shape
    n_channels = samples.shape[0]
    n_places = samples.shape[1] - n_taps + 1
    weights = np.empty(n_taps)
    for m in range(positions.shape[0]):
        whole = np.floor(positions[m])
        at = whole - first
        if not 0 <= at < n_places:
            for c in range(n_channels):
                out[c, m] = 0.0
            continue
        phase = (positions[m] - whole) * n_phases
        segment = min(int(phase), n_phases - 1)
        u = phase - segment
        c0, c1, c2, c3 = table[segment, 0], table[segment, 1], table[segment, 2], table[segment, 3]
        for k in range(n_taps):
            weights[k] = c0[k] + u * (c1[k] + u * (c2[k] + u * c3[k]))
        left = int(at)
        for c in range(n_channels):
            row = samples[c, left : left + n_taps]
            total = 0.0
            for k in range(n_taps):
                total += weights[k] * row[k]
            out[c, m] = total
