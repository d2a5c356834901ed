"""Excerpts of a mixture with what of the reference may be heard in them, read from the start of both, never sought."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.time_rows import Excerpt
from unsum.dsp.track import Track
from unsum.problem import AudioSource, as_float
from unsum.progress import Progress

# A player that goes back by less than this finds the reference still held; farther back it is read anew.
_HELD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Span:
    """Samples ``start .. stop`` of the mixture and ``reference_start .. reference_stop`` of the reference."""

    start: int
    stop: int
    reference_start: int
    reference_stop: int


def cut_excerpts(
    mixture: AudioSource, reference: AudioSource, spans: Sequence[Span], *, progress: Progress | None = None
) -> list[Excerpt]:
    """Spans in the order given, from one reading of each source; silent outside the sources.

    They are held in float32, which has every sample of 24 bits or fewer as it is.
    """
    heard = _cut(mixture, [(span.start, span.stop) for span in spans], progress)
    played = _cut(reference, [(span.reference_start, span.reference_stop) for span in spans], progress)
    return [
        Excerpt(span.start, one, span.reference_start, other)
        for span, one, other in zip(spans, heard, played, strict=True)
    ]


def _cut(
    source: AudioSource, ranges: Sequence[tuple[int, int]], progress: Progress | None
) -> list[NDArray[np.float32]]:
    pieces = [np.zeros((len(source.channels), stop - start), np.float32) for start, stop in ranges]
    last = max(stop for _, stop in ranges)
    done = 0
    for block in source.blocks():
        end = done + block.shape[1]
        for (start, stop), piece in zip(ranges, pieces, strict=True):
            a, b = max(start, done), min(stop, end)
            if a < b:
                piece[:, a - start : b - start] = as_float(block[:, a - done : b - done], source.bits)
        done = end
        if progress is not None:
            progress(min(done, last), last, "following the clock")
        if done >= last:
            break
    return pieces


class Player:
    """Reads a source at places that mostly go forward, holding no more than half a minute of it."""

    def __init__(self, source: AudioSource) -> None:
        self._source = source
        self._held = round(_HELD_SECONDS * source.sample_rate)
        self._rewind()

    def _rewind(self) -> None:
        self._blocks = self._source.blocks()
        self._track = Track(self._source.name, len(self._source.channels), 0)
        self.ended = False

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Samples ``start .. stop`` (channels, samples), silent outside the source."""
        if max(start, 0) < self._track.start:
            self._rewind()
        while self._track.stop < stop and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            self._track.append(self._track.checked(as_float(block, self._source.bits)))
            self._track.forget(min(start, self._track.stop) - self._held)
        return self._track.read(start, stop).copy()

    @property
    def samples(self) -> int:
        """How many samples were read so far."""
        return self._track.stop


def consecutive_excerpts(
    mixture: AudioSource,
    reference: AudioSource,
    *,
    start: int,
    stop: int,
    chunk: int,
    overlap: int,
    place: Callable[[int, int], tuple[int, int]],
    progress: Progress | None = None,
) -> Iterator[Excerpt]:
    """Excerpts of ``chunk`` samples one after the other, each with some of the one before, in one reading.

    Parameters
    ----------
    start, stop : mixture samples; a mixture that ends before just ends
    overlap : samples of each excerpt that the one before had too
    place : (start, stop) of an excerpt -> the reference samples it needs; asked when the excerpt is due
    """
    heard, played = Player(mixture), Player(reference)
    at = start
    while at < stop:
        end = min(at + chunk, stop)
        samples = heard.read(at, end)
        if heard.ended:
            samples = samples[:, : max(0, heard.samples - at)]
        if samples.shape[1] <= (overlap if at > start else 0):
            return
        first, last = place(at, at + samples.shape[1])
        yield Excerpt(at, samples, first, played.read(first, last))
        if progress is not None:
            progress(end - start, stop - start, "following the clock")
        if heard.ended or end == stop:
            return
        at = end - overlap
