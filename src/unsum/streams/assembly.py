"""Frames of several streams, as they come, put together on one time line.

Out come blocks in which every stream has the same samples of time. Where a
stream has nothing (it starts later, ends sooner, lost packets) its block holds
zeros and says so: what is missing is never mistaken for silence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BLOCK_SAMPLES = 32768


class NotInterleavedError(Exception):
    """One stream ran further ahead of another than bounded memory allows."""


@dataclass(frozen=True, slots=True)
class AlignedBlock:
    """The same stretch of time of every stream.

    Attributes
    ----------
    start : samples since the beginning of the time line
    samples : {stream: (channels, samples)}, interleaved in memory
    missing : {stream: [(start, stop), ...]} ranges inside the block, half open
    """

    start: int
    length: int
    samples: Mapping[int, NDArray]
    missing: Mapping[int, tuple[tuple[int, int], ...]]

    def passages(self) -> Iterator[tuple[int, int, frozenset[int]]]:
        """Stretches of the block in which the same streams are present: (start, stop, streams)."""
        streams = frozenset(self.samples)
        if not self.missing:
            yield 0, self.length, streams
            return
        edges = sorted({0, self.length, *(edge for ranges in self.missing.values() for r in ranges for edge in r)})
        for start, stop in pairwise(edges):
            gone = {s for s, ranges in self.missing.items() if any(a <= start < b for a, b in ranges)}
            yield start, stop, streams - gone


class Assembler:
    """Collects placed frames and gives aligned blocks of a constant length.

    Parameters
    ----------
    formats : {stream: (channels, dtype)}
    origin : container time, in samples, at which the time line begins
    offsets : {stream: samples} added to a stream's own time
    max_lead : samples one stream may be ahead of another before `NotInterleavedError`;
        None where frames come in order of time, so that a stream that is behind has a hole
    """

    def __init__(
        self,
        formats: Mapping[int, tuple[int, np.dtype]],
        *,
        origin: int,
        offsets: Mapping[int, int],
        max_lead: int | None,
        block: int = BLOCK_SAMPLES,
    ) -> None:
        self.origin = origin
        self._formats = formats
        self._shift = {stream: offsets.get(stream, 0) - origin for stream in formats}
        self._max_lead = max_lead
        self._block = block
        self._buffers: dict[int, dict[int, NDArray]] = {stream: {} for stream in formats}
        self._tails = dict.fromkeys(formats, 0)
        self._holes: dict[int, list[tuple[int, int]]] = {stream: [] for stream in formats}
        self._emitted = 0

    def put(self, stream: int, start: int, samples: NDArray) -> Iterator[AlignedBlock]:
        """Take the next frame of a stream; give the blocks that are complete now."""
        position = start + self._shift[stream]
        if position < 0:  # before the time line begins
            samples, position = samples[:, -position:], 0
        filled = max(self._tails[stream], self._emitted)
        if position < filled:
            samples, position = samples[:, filled - position :], filled
        if samples.shape[1] == 0:
            return
        if position > self._tails[stream]:
            self._holes[stream].append((self._tails[stream], position))
        self._store(stream, position, samples)
        self._tails[stream] = position + samples.shape[1]
        if self._max_lead is None:
            # In order of time nothing older than this frame can come any more, of any stream.
            reach = start + min(self._shift.values()) - self._block
        else:
            reach = min(self._tails.values())
            if self._tails[stream] - reach > self._max_lead + self._block:
                raise NotInterleavedError
        while self._emitted + self._block <= reach:
            yield self._emit(self._block)

    def finish(self) -> Iterator[AlignedBlock]:
        """The rest: as long as the longest stream."""
        end = max(self._tails.values(), default=0)
        while self._emitted < end:
            yield self._emit(min(self._block, end - self._emitted))

    def _store(self, stream: int, position: int, samples: NDArray) -> None:
        channels, dtype = self._formats[stream]
        buffers, done, length = self._buffers[stream], 0, samples.shape[1]
        while done < length:
            index, offset = divmod(position + done, self._block)
            buffer = buffers.get(index)
            if buffer is None:
                # Not zeroed: every stretch that no frame fills is a hole, and zeroed when it leaves.
                buffer = buffers[index] = np.empty((self._block, channels), dtype)
            n = min(self._block - offset, length - done)
            buffer[offset : offset + n] = samples[:, done : done + n].T
            done += n

    def _emit(self, length: int) -> AlignedBlock:
        start, stop = self._emitted, self._emitted + length
        index = start // self._block
        blocks, missing = {}, {}
        for stream, (channels, dtype) in self._formats.items():
            buffer = self._buffers[stream].pop(index, None)
            if buffer is None:
                buffer = np.zeros((length, channels), dtype)
            ranges = self._missing(stream, start, stop)
            for a, b in ranges:
                buffer[a:b] = 0
            if ranges:
                missing[stream] = tuple(ranges)
            blocks[stream] = buffer[:length].T
        self._emitted = stop
        return AlignedBlock(start, length, blocks, missing)

    def _missing(self, stream: int, start: int, stop: int) -> list[tuple[int, int]]:
        holes = self._holes[stream]
        while holes and holes[0][1] <= start:
            holes.pop(0)
        ranges = [(max(a, start) - start, min(b, stop) - start) for a, b in holes if a < stop and b > start]
        tail = self._tails[stream]
        if tail < stop:
            ranges.append((max(tail, start) - start, stop - start))
        return ranges
