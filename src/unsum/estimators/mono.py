"""A source as the search hears it: one channel, at a low rate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.decimation import decimated as decimated_blocks
from unsum.problem import AudioSource, PassedOn, as_float
from unsum.progress import Progress

SEARCH_RATE = 8000  # the search runs at this rate or somewhat above


def search_factor(sample_rate: int) -> int:
    """How many samples of the full rate make one of the search."""
    return max(1, sample_rate // SEARCH_RATE)


@dataclass(frozen=True, slots=True)
class TappedSource(PassedOn):
    """A source whose blocks are shown to somebody else on their way."""

    source: AudioSource
    show: Callable[[NDArray[Any]], None]

    def blocks(self) -> Iterator[NDArray[Any]]:
        for block in self.source.blocks():
            self.show(block)
            yield block


def mono(source: AudioSource) -> Iterator[NDArray[np.float32]]:
    """One channel out of all, no two with the same weight: a channel turned over must not silence another.

    Raises
    ------
    InputError
        If a floating point sample is not a number.
    """
    scale = 1.0 if source.bits is None else 2.0 ** (1 - source.bits)
    weights = (scale * 0.8 ** np.arange(len(source.channels))).astype(np.float32)
    for block in source.blocks():
        if source.bits is None:
            as_float(block, None)  # refuses what is not a number
        yield weights @ block.astype(np.float32)


def decimated(
    source: AudioSource, factor: int, *, progress: Progress | None = None, passes: tuple[int, int] = (0, 1)
) -> Iterator[NDArray[np.float32]]:
    """Blocks of every ``factor``-th sample, sample 0 first, of what is below the new Nyquist frequency.

    Parameters
    ----------
    passes : which pass over the source this is, of how many, for ``progress``
    """
    return decimated_blocks(_told(source, progress, passes), factor)


def _told(source: AudioSource, progress: Progress | None, passes: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    done = 0
    for block in mono(source):
        done += len(block)
        if progress is not None:
            total = max(source.samples or 0, done)
            progress(passes[0] * total + done, passes[1] * total, "locating")
        yield block
