"""Which rows of a least-squares problem count, and the samples that each of them needs.

A row is a moment n of the mixture: ``y(n)`` beside ``u(n), u(n - 1) ... u(n - n_taps + 1)``, where
``u(n) = r(n - first_lag)`` is the reference as late as the first tap makes it. Rows are given in segments;
a clipped or excluded passage is the gap between two of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.track import Track

FIT = 0
HELD_OUT = 1

# Longer blocks are taken in slices: what is buffered stays small when hours come in one call.
_SLICE_SAMPLES = 1 << 18


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows that count, and the part of the problem they belong to.

    Attributes
    ----------
    start, stop : samples of mixture time, half open
    part : ``FIT``, ``HELD_OUT`` or any other whole number; parts are kept apart
    """

    start: int
    stop: int
    part: int = FIT


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive samples of one segment, its rows and the history before them.

    Attributes
    ----------
    part : the part of the segment
    references : (references, samples), each as late as the first tap makes it
    mixture : (channels, samples), zero where the references are only history
    n_rows : how many of the samples are rows
    first, last : whether the segment begins or ends with this piece
    """

    part: int
    references: NDArray[np.float64]
    mixture: NDArray[np.float64]
    n_rows: int
    first: bool
    last: bool


def split_rows(
    start: int,
    stop: int,
    *,
    held_out: Sequence[tuple[int, int]] = (),
    excluded: Sequence[tuple[int, int]] = (),
    shortest_samples: int = 1,
) -> tuple[Segment, ...]:
    """Segments of the rows ``start .. stop``: held out where asked, to be fitted elsewhere.

    Parameters
    ----------
    held_out, excluded : half-open ranges of mixture time; an excluded row belongs to no segment
    shortest_samples : int
        Segments with fewer rows are left out: each costs memory for its edges, so that a passage
        with a clipped sample every few milliseconds is better left out whole.
    """
    changes: dict[int, list[int]] = {start: [0, 0], stop: [0, 0]}
    for which, spans in enumerate((held_out, excluded)):
        for span in spans:
            first, last = (min(max(edge, start), stop) for edge in span)
            if last > first:
                changes.setdefault(first, [0, 0])[which] += 1
                changes.setdefault(last, [0, 0])[which] -= 1
    segments: list[Segment] = []
    covered = [0, 0]
    for a, b in pairwise(sorted(changes)):
        covered = [before + change for before, change in zip(covered, changes[a], strict=True)]
        if covered[1]:
            continue
        part = HELD_OUT if covered[0] else FIT
        if segments and segments[-1].stop == a and segments[-1].part == part:
            segments[-1] = Segment(segments[-1].start, b, part)
        else:
            segments.append(Segment(a, b, part))
    return tuple(segment for segment in segments if segment.stop - segment.start >= shortest_samples)


class RowFeed:
    """Cuts mixture and references into the pieces of each segment, the same ones for any chunking.

    Parameters
    ----------
    n_channels, n_references : rows of the arrays that will come
    first_lag : int, samples
        Of the filters; negative: the mixture may hold a reference before the reference itself has it.
    n_taps : int
    segments : in order, none overlapping another
    piece_samples : samples in every piece but the last of a segment
    mixture_start, reference_start : mixture time of the first sample that will come
    silent_before, silent_after : bool
        Whether the references are silent before their first sample and after their last. If not, rows
        that need samples from there are left out.
    """

    def __init__(
        self,
        *,
        n_channels: int,
        n_references: int,
        first_lag: int,
        n_taps: int,
        segments: Sequence[Segment],
        piece_samples: int,
        mixture_start: int = 0,
        reference_start: int = 0,
        silent_before: bool = False,
        silent_after: bool = False,
    ) -> None:
        if n_taps < 1 or n_channels < 1 or n_references < 1:
            raise ValueError(
                f"{n_references} references, {n_channels} channels, {n_taps} taps: give at least one of each"
            )
        for one, other in pairwise(segments):
            if other.start < one.stop:
                raise ValueError(
                    f"segment {other.start}..{other.stop} begins before {one.start}..{one.stop} ends; "
                    "sort them and cut what overlaps"
                )
        self._history = n_taps - 1
        self._piece_samples = piece_samples
        self._silent_before, self._silent_after = silent_before, silent_after
        self._mixture = Track("mixture", n_channels, mixture_start)
        # On the time line of u: every reference as late as the first tap makes it.
        self._references = Track("reference", n_references, reference_start + first_lag)
        first_row = max(mixture_start, mixture_start if silent_before else self._references.stop + self._history)
        self._segments = [
            Segment(max(segment.start, first_row), segment.stop, segment.part)
            for segment in segments
            if segment.stop > max(segment.start, first_row)
        ]
        self._at: int | None = None  # where in the present segment, None before its first piece
        self._finished = False

    def add(self, mixture: NDArray | None = None, references: NDArray | None = None) -> Iterator[None]:
        """Take the next samples of either or both, in slices; after each, pieces may be ready.

        Raises
        ------
        InputError
            If the number of rows is not the one announced, or a sample is not finite.
        """
        if self._finished:
            raise ValueError("finish() was called; start a new pass for more samples")
        mixture = self._mixture.checked(mixture)
        references = self._references.checked(references)
        return self._slices(mixture, references)

    def _slices(self, mixture: NDArray, references: NDArray) -> Iterator[None]:
        for start in range(0, max(mixture.shape[1], references.shape[1]), _SLICE_SAMPLES):
            self._references.append(references[:, start : start + _SLICE_SAMPLES])
            self._mixture.append(mixture[:, start : start + _SLICE_SAMPLES])
            yield

    def finish(self) -> None:
        """No more samples will come: what is left of the segments is ready."""
        self._finished = True

    def ready(self) -> Iterator[Piece]:
        """Pieces that can be cut from what has come so far."""
        yield from self._cut()
        self._forget()

    def _cut(self) -> Iterator[Piece]:
        known = self._mixture.stop
        if not (self._finished and self._silent_after):
            known = min(known, self._references.stop)
        while self._segments:
            segment = self._segments[0]
            stop = min(segment.stop, known) if self._finished else segment.stop
            if stop <= segment.start:
                if not self._finished:
                    return
                self._segments.pop(0)
                self._at = None
                continue
            first = self._at is None
            at = segment.start - self._history if first else self._at
            assert at is not None
            end = min(at + self._piece_samples, stop)
            if end > known:
                return
            row = min(max(at, segment.start), end)
            mixture = self._mixture.read(row, end)
            if row > at:
                mixture = np.concatenate([np.zeros((len(mixture), row - at)), mixture], axis=1)
            piece = Piece(
                segment.part,
                references=self._references.read(at, end),
                mixture=mixture,
                n_rows=end - row,
                first=first,
                last=end == stop,
            )
            if piece.last:
                self._segments.pop(0)
                self._at = None
            else:
                self._at = end
            self._forget()
            yield piece

    def _forget(self) -> None:
        # The next segment may need history from before the end of the one that is being cut.
        following = self._segments[0 if self._at is None else 1 :][:1]
        needed = [segment.start - self._history for segment in following]
        if self._at is not None:
            needed.append(self._at)
        self._references.forget(min(needed, default=self._references.stop))
        self._mixture.forget(min(needed, default=self._mixture.stop))
