"""Pieces of a source, at its own rate and as the search hears it, all from one reading."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unsum.estimators.mono import TappedSource, decimated
from unsum.problem import AudioSource
from unsum.progress import Progress


def cut(source: AudioSource, wanted: Sequence[tuple[int, int]]) -> list[NDArray]:
    """Pieces (channels, length) of (start, length), in the order asked for, read in one pass; silent outside."""
    return cut_at_both_rates(source, wanted, [], factor=1)[0]


def cut_at_both_rates(
    source: AudioSource,
    wanted: Sequence[tuple[int, int]],
    low: Sequence[tuple[int, int]],
    *,
    factor: int,
    progress: Progress | None = None,
) -> tuple[list[NDArray], list[NDArray[np.float32]]]:
    """Pieces as they are, (channels, length), and pieces (length,) as the search hears them, read in one pass.

    Parameters
    ----------
    wanted : (start, length) of each, in samples
    low : (start, length) of each, in samples of the search
    progress : called with (samples done, samples expected, what); may raise to stop
    """
    full = _Pieces(wanted, len(source.channels))
    slow = _Pieces(low, 0)
    tapped = TappedSource(source, full.take)
    if low:
        for block in decimated(tapped, factor, progress=progress):
            slow.take(block)
            if slow.done >= slow.last and full.done >= full.last:
                break
    else:
        for _ in tapped.blocks():
            if full.done >= full.last:
                break
    return full.pieces(), slow.pieces()


class _Pieces:
    """Pieces that are cut out of blocks that pass."""

    def __init__(self, wanted: Sequence[tuple[int, int]], n_channels: int) -> None:
        self.wanted, self.n_channels = wanted, n_channels
        self.last = max((start + length for start, length in wanted), default=0)
        self.done = 0
        self._cut: list[NDArray | None] = [None] * len(wanted)
        self._order = sorted(range(len(wanted)), key=lambda n: wanted[n][0])

    def take(self, block: NDArray) -> None:
        stop = self.done + block.shape[-1]
        for n in self._order:
            start, length = self.wanted[n]
            if start >= stop:
                break
            a, b = max(start, self.done), min(start + length, stop)
            if a < b:
                piece = self._cut[n]
                if piece is None:
                    piece = self._cut[n] = np.zeros((*block.shape[:-1], length), block.dtype)
                piece[..., a - start : b - start] = block[..., a - self.done : b - self.done]
        self.done = stop
        while self._order and sum(self.wanted[self._order[0]]) <= stop:
            self._order.pop(0)

    def pieces(self) -> list[NDArray]:
        shape = (self.n_channels,) if self.n_channels else ()
        return [
            np.zeros((*shape, length), np.float32) if piece is None else piece
            for piece, (_, length) in zip(self._cut, self.wanted, strict=True)
        ]
