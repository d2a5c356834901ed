"""A source as the search hears it: one channel, at a low rate."""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.problem import AudioSource, as_float

SEARCH_RATE = 8000  # the search runs at this rate or somewhat above

Progress = Callable[[float, float, str], None]


def search_factor(sample_rate: int) -> int:
    """How many samples of the full rate make one of the search."""
    return max(1, sample_rate // SEARCH_RATE)


def mono(source: AudioSource) -> Iterator[NDArray[np.float32]]:
    """One channel out of all, no two with the same weight: a channel turned over must not silence another."""
    weights = 0.8 ** np.arange(len(source.channels))
    for block in source.blocks():
        yield (weights @ as_float(block, source.bits)).astype(np.float32)


def decimated(
    source: AudioSource, factor: int, *, progress: Progress | None = None, passes: tuple[int, int] = (0, 1)
) -> Iterator[NDArray[np.float32]]:
    """Blocks of every ``factor``-th sample, sample 0 first, of what is below the new Nyquist frequency.

    Parameters
    ----------
    passes : which pass over the source this is, of how many, for ``progress``
    """
    half = 10 * factor if factor > 1 else 0
    taps = np.asarray(scipy.signal.firwin(2 * half + 1, 0.9 / factor), np.float32) if half else np.ones(1, np.float32)
    rest = np.zeros(half, np.float32)
    done = 0
    for block in chain(mono(source), [np.zeros(half, np.float32)]):
        done += len(block)
        if progress is not None:
            total = max(source.samples or 0, done)
            progress(passes[0] * total + done, passes[1] * total, "locating")
        rest = np.concatenate([rest, block])
        count = max(0, (len(rest) - 2 * half - 1) // factor + 1)
        if count:
            used = rest[: (count - 1) * factor + 2 * half + 1]
            yield np.asarray(scipy.signal.upfirdn(taps, used, down=factor), np.float32)[2 * half // factor :][:count]
            rest = rest[count * factor :]
