"""Every n-th sample of what lies below the new Nyquist frequency, block after block.

y[n] = sum over k of taps[k] * x[n * factor + k - half]
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import scipy.signal
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_HALF = 10  # samples of the new rate on either side that a filter reaches
_CUTOFF = 0.9  # of the new Nyquist frequency


def decimated(blocks: Iterable[NDArray[np.float32]], factor: int) -> Iterator[NDArray[np.float32]]:
    """Blocks (samples,) at the lower rate, sample 0 first, ``ceil(length / factor)`` samples in all.

    Parameters
    ----------
    blocks : (samples,) each, of any length
    factor : how many samples make one; at 1 they pass as they are
    """
    if factor == 1:
        yield from blocks
        return
    half = _HALF * factor
    taps = np.asarray(scipy.signal.firwin(2 * half + 1, _CUTOFF / factor), np.float32)
    rest = np.zeros(half, np.float32)
    for block in chain(blocks, [np.zeros(half, np.float32)]):
        rest = np.concatenate([rest, block])
        count = max(0, (len(rest) - 2 * half - 1) // factor + 1)
        if count:
            # Only the samples that stay are computed.
            yield sliding_window_view(rest, len(taps))[: count * factor : factor] @ taps
            rest = rest[count * factor :]
