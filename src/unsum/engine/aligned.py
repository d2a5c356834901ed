"""Mixture and references on one time line, pulled block by block.

Everything is a ``for`` over blocks; nothing seeks. Progress is a callback
``(done, total, what)``, and raising `Cancelled` from it stops the work.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.warp import cutoff_for, interpolate, reach
from unsum.engine.read_ahead import read_ahead
from unsum.model import TimeWarp, WholeStretch
from unsum.problem import AudioSource, Problem, as_float
from unsum.progress import Progress

BLOCK_SAMPLES = 1 << 16
# A jump farther back reads the reference from its start once more.
LONGEST_HELD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class AlignedAudio:
    """The same stretch of mixture time of everything.

    Attributes
    ----------
    start : mixture sample at which it begins
    mixture : (channels, samples) as it came
    references : {name: (channels, samples)}, silent outside the reference
        As they came where the warp is whole samples from jump to jump; otherwise float64 with full scale 1.
    """

    start: int
    mixture: NDArray[Any]
    references: Mapping[str, NDArray[Any]]

    @property
    def length(self) -> int:
        return self.mixture.shape[1]


class _Held:
    """A source read from its start towards its end, of which the last stretch is held.

    What lies farther back is read from the start once more: no seek is trusted.
    """

    def __init__(self, source: AudioSource, held_samples: int) -> None:
        self._source, self._held_samples = source, held_samples
        self._reopen()

    def _reopen(self) -> None:
        self._blocks = self._source.blocks()
        self._held: deque[tuple[int, NDArray[Any]]] = deque()  # first sample, block
        self._reached = 0

    def between(self, start: int, stop: int) -> NDArray[Any]:
        """The samples start <= n < stop as they came, (channels, stop - start); silence outside the source."""
        first = self._held[0][0] if self._held else self._reached
        if max(0, start) < min(first, stop):
            self._reopen()
        self._read_on(start, stop)
        rows = len(self._source.channels)
        parts = [np.zeros((rows, min(stop, 0) - start), np.int16)] if start < 0 else []
        for at, block in self._held:
            if at < stop and start < at + block.shape[1]:
                parts.append(block[:, max(0, start - at) : stop - at])
        behind = stop - max(start, 0, self._reached)
        if behind > 0 or not parts:
            parts.append(np.zeros((rows, max(0, behind)), np.int16))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _read_on(self, start: int, stop: int) -> None:
        self._let_go(start)
        while self._reached < stop and (block := next(self._blocks, None)) is not None:
            self._held.append((self._reached, block))
            self._reached += block.shape[1]
            self._let_go(start)

    def _let_go(self, start: int) -> None:
        while self._held and self._held[0][0] + self._held[0][1].shape[1] <= start - self._held_samples:
            self._held.popleft()


class _Shifted:
    """A source read as if it began at another sample, or at another one after every jump: silence around it."""

    def __init__(self, source: AudioSource, warp: TimeWarp, stretches: Sequence[WholeStretch], start: int) -> None:
        self._held = _Held(source, ceil(_longest_return(warp) * source.sample_rate))
        # None is known of what lies ahead of the mixture: a jump at its first sample holds there, too.
        self._starts = [one.start for one in stretches if one.start is not None]
        self._starts = [at if at > 0 else start for at in self._starts]
        self._delays = [one.delay_samples for one in stretches]
        self._at = start

    def read(self, length: int) -> NDArray[Any]:
        start, stop = self._at, self._at + length
        self._at = stop
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right").tolist()
        edges = [start, *self._starts[first:last], stop]
        parts = [
            self._held.between(a - delay, b - delay)
            for (a, b), delay in zip(pairwise(edges), self._delays[first : last + 1], strict=True)
            if b > a
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


class _Warped:
    """A source read along a warp, in float64 with full scale 1: silence before it and behind it.

    Between two jumps the sound is evaluated from the reference alone, so that at a jump it goes over from one
    sample to the next, as it did where a buffer was dropped.
    """

    def __init__(self, source: AudioSource, warp: TimeWarp, start: int) -> None:
        self._rate, self._bits, self._cutoff = source.sample_rate, source.bits, cutoff_for(warp)
        self._between_jumps = replace(warp, jumps=())
        self._jumps_at = [jump.at_seconds if jump.at_seconds > 0 else -inf for jump in warp.jumps]
        self._skipped = np.cumsum([0.0, *(jump.skipped_seconds for jump in warp.jumps)])
        self._held = _Held(source, ceil(_longest_return(warp) * source.sample_rate))
        self._at = start

    def read(self, length: int) -> NDArray[np.float64]:
        times = np.arange(self._at, self._at + length) / self._rate
        self._at += length
        where = self._between_jumps.reference_time(times)
        pieces = np.split(where, np.searchsorted(times, self._jumps_at))
        return np.concatenate(
            [
                self._evaluated((piece + skipped) * self._rate)
                for piece, skipped in zip(pieces, self._skipped, strict=True)
                if len(piece)
            ],
            axis=1,
        )

    def _evaluated(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        side = reach(self._cutoff)
        start, stop = floor(positions.min()) - side, floor(positions.max()) + side + 1
        samples = as_float(*with_bits(self._held.between(start, stop), self._bits))
        if not samples.any():
            return np.zeros((len(samples), len(positions)))
        return interpolate(samples, positions, first=start, cutoff=self._cutoff)


def _longest_return(warp: TimeWarp) -> float:
    """How far its jumps lead back into what was heard, in seconds; none farther than `LONGEST_HELD_SECONDS`."""
    if not warp.jumps:
        return 0.0
    skipped = np.array([jump.skipped_seconds for jump in warp.jumps])
    straight = replace(warp, jumps=())
    before = straight.reference_time(np.array([jump.at_seconds for jump in warp.jumps])) + np.cumsum(skipped) - skipped
    after = before + skipped
    back = np.maximum.accumulate(before) - after
    # A place ahead of the first sample is silence, for which nothing need be held.
    held = (back <= LONGEST_HELD_SECONDS) & (after >= 0)
    return max(0.0, float(np.max(back, where=held, initial=0.0)))


def with_bits(block: NDArray[Any], bits: int | None) -> tuple[NDArray[Any], int | None]:
    """A block of a source with the word length it has now: none where a warp made it floating point."""
    return block, bits if block.dtype.kind in "iu" else None


def aligned_blocks(
    problem: Problem,
    warps: Mapping[str, TimeWarp],
    *,
    before: int = 0,
    after: int = 0,
    block_samples: int = BLOCK_SAMPLES,
    progress: Progress | None = None,
    what: str = "",
) -> Iterator[AlignedAudio]:
    """Mixture and references on the mixture's time line.

    Parameters
    ----------
    warps : {reference: where the mixture lies in it}; only these are read
        Whole samples, from jump to jump, leave a reference as it came, integers included.
    before, after : samples of the references wanted from before the mixture begins and from behind its end
        They come as blocks of their own, with no samples of the mixture: what was playing before the recording
        began rings on in a room, and filters that look ahead need what follows.
    progress : called with samples done, samples expected, ``what``
    """
    readers = {
        reference.name: _reader(reference, warps[reference.name], -before)
        for reference in problem.references
        if reference.name in warps
    }
    nothing = np.zeros((len(problem.mixture.channels), 0), np.int16)
    if before:
        yield AlignedAudio(-before, nothing, {name: reader.read(before) for name, reader in readers.items()})
    start, total = 0, problem.mixture.samples or 0
    for mixture in read_ahead(_rechunked(problem.mixture, block_samples)):
        references = {name: reader.read(mixture.shape[1]) for name, reader in readers.items()}
        yield AlignedAudio(start, mixture, references)
        start += mixture.shape[1]
        if progress is not None:
            progress(start, max(total, start), what)
    if after:
        yield AlignedAudio(start, nothing, {name: reader.read(after) for name, reader in readers.items()})


def _reader(reference: AudioSource, warp: TimeWarp, start: int) -> "_Shifted | _Warped":
    stretches = warp.whole_stretches(reference.sample_rate)
    if stretches is None:
        return _Warped(reference, warp, start)
    return _Shifted(reference, warp, stretches, start)


def _rechunked(source: AudioSource, block_samples: int) -> Iterator[NDArray[Any]]:
    """Blocks of one length: decoders give far shorter ones than transforms like."""
    parts: list[NDArray[Any]] = []
    held = 0
    for block in source.blocks():
        while block.shape[1]:
            n = min(block_samples - held, block.shape[1])
            parts.append(block[:, :n])
            block, held = block[:, n:], held + n
            if held == block_samples:
                yield np.concatenate(parts, axis=1)
                parts, held = [], 0
    if held:
        yield np.concatenate(parts, axis=1)


def stacked(problem: Problem, aligned: AlignedAudio, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Some references of a block on top of each other, (all their channels, samples), full scale 1."""
    by_name = {reference.name: reference for reference in problem.references}
    return np.concatenate([as_float(*with_bits(aligned.references[name], by_name[name].bits)) for name in names])
