"""Excerpts of a mixture on one time line, with the reference heard there by a warp, a few seconds at a time.

Nothing is rendered until it is looked at, and rendered again when it is looked at again: to hear a reference between
its samples costs less than what is done with it, and what is held is the excerpts alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.dsp.warp import cutoff_for, interpolate, reach
from unsum.model import TimeWarp

Audio = NDArray[np.float64]

WHITENING_ORDER = 32
# Columns that are worked on at once: many times the filters, and work arrays of some megabytes.
PIECE_COLUMNS = 1 << 17


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of the mixture, and what of the reference may be heard in it.

    Attributes
    ----------
    start : mixture sample of its first column
    mixture : (channels, samples), in float32 or float64
    reference_start : reference sample of its first column
    reference : (references, samples), in float32 or float64
        The channels of the reference, with a margin for the filter and for what is not yet known of the warp.
    """

    start: int
    mixture: NDArray[Any]
    reference_start: int
    reference: NDArray[Any]

    @property
    def stop(self) -> int:
        return self.start + self.mixture.shape[1]


@dataclass(frozen=True, slots=True)
class Lags:
    """Which taps a filter has: the first acts on the reference ``first`` samples earlier, negative later."""

    first: int
    count: int

    @property
    def before(self) -> int:
        """Samples of the reference needed ahead of a row."""
        return max(0, self.first + self.count - 1)

    @property
    def behind(self) -> int:
        return max(0, -self.first)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive columns of one excerpt.

    Attributes
    ----------
    before : columns of the references that lie ahead of the first of the mixture
    mixture : (channels, columns), zero in the margins of the excerpt
    references : (references, before + columns + behind), with as many columns more as were asked for
    seconds : (columns,) mixture time
    counting : (columns,) 1 where a column is fitted to, 0 elsewhere
    """

    before: int
    mixture: Audio
    references: Audio
    seconds: NDArray[np.float64]
    counting: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Excerpts side by side on the mixture's time line, each with a margin of silence for the reach of the filter.

    Attributes
    ----------
    warp : by which the reference is rendered
    margins : columns ahead of each excerpt, and behind it
    segments : the columns that count
    whitener : (taps,) that mixture and reference go through alike: the same filters fit, and the residual is as white
        as it makes it
    """

    excerpts: tuple[Excerpt, ...]
    warp: TimeWarp
    sample_rate: int
    margins: tuple[int, int]
    segments: tuple[Segment, ...]
    whitener: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))

    @property
    def n_columns(self) -> int:
        return sum(excerpt.mixture.shape[1] + sum(self.margins) for excerpt in self.excerpts)

    @property
    def n_channels(self) -> int:
        return len(self.excerpts[0].mixture)

    @property
    def n_references(self) -> int:
        return len(self.excerpts[0].reference)

    @property
    def n_fitted(self) -> int:
        return self._n_of(FIT)

    @property
    def n_held_out(self) -> int:
        return self._n_of(HELD_OUT)

    def _n_of(self, part: int) -> int:
        return sum(segment.stop - segment.start for segment in self.segments if segment.part == part)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Mixture time (columns,)."""
        before, behind = self.margins
        ranges = [np.arange(one.start - before, one.stop + behind) for one in self.excerpts]
        return np.concatenate(ranges) / self.sample_rate

    def counting(self, start: int, stop: int) -> NDArray[np.float64]:
        """1 for each column of a range that is fitted to, 0 for the others."""
        out = np.zeros(stop - start)
        for segment in self.segments:
            if segment.part == FIT and segment.start < stop and segment.stop > start:
                out[max(segment.start - start, 0) : segment.stop - start] = 1.0
        return out

    def pieces(self, *, before: int = 0, behind: int = 0, multiple_of: int = 1) -> Iterator[Piece]:
        """All columns in order, in pieces of a length that is such a multiple, but for the last of an excerpt.

        Parameters
        ----------
        before, behind : columns more of the references at each end
        """
        length = max(1, PIECE_COLUMNS // multiple_of) * multiple_of
        at = 0
        for excerpt in self.excerpts:
            first, last = excerpt.start - self.margins[0], excerpt.stop + self.margins[1]
            for start in range(first, last, length):
                stop = min(start + length, last)
                column = at + start - first
                yield Piece(
                    before,
                    self._whitened(partial(_cut, excerpt.mixture, excerpt.start), start, stop),
                    self._whitened(partial(self._rendered, excerpt), start - before, stop + behind),
                    np.arange(start, stop) / self.sample_rate,
                    self.counting(column, column + stop - start),
                )
            at += last - first

    def _rendered(self, excerpt: Excerpt, start: int, stop: int) -> Audio:
        return render_between(excerpt, self.warp, start, stop, sample_rate=self.sample_rate)

    def _whitened(self, samples: Callable[[int, int], Audio], start: int, stop: int) -> Audio:
        history = len(self.whitener) - 1
        if not history:
            return samples(start, stop) * self.whitener[0]
        white = scipy.signal.lfilter(self.whitener, [1.0], samples(start - history, stop), axis=1)
        return np.asarray(white)[:, history:]


def render(excerpt: Excerpt, warp: TimeWarp, *, sample_rate: int, before: int = 0, behind: int = 0) -> Audio:
    """The reference on the mixture's time line, (references, before + samples + behind)."""
    return render_between(excerpt, warp, excerpt.start - before, excerpt.stop + behind, sample_rate=sample_rate)


def render_between(excerpt: Excerpt, warp: TimeWarp, start: int, stop: int, *, sample_rate: int) -> Audio:
    """The reference at mixture samples ``start .. stop``; only what is needed of it is looked at."""
    whole = warp.whole_samples(sample_rate)
    if whole is not None:
        return _cut(excerpt.reference, excerpt.reference_start + whole, start, stop)
    positions = warp.reference_time(np.arange(start, stop) / sample_rate) * sample_rate - excerpt.reference_start
    cutoff = cutoff_for(warp)
    if not len(positions):
        return np.zeros((len(excerpt.reference), 0))
    first = max(0, int(np.floor(positions.min())) - reach(cutoff))
    last = max(first, int(np.ceil(positions.max())) + reach(cutoff) + 1)
    return interpolate(excerpt.reference[:, first:last].astype(float), positions, first=first, cutoff=cutoff)


def side_by_side(
    excerpts: Sequence[Excerpt],
    warp: TimeWarp,
    lags: Lags,
    *,
    sample_rate: int,
    whitener: NDArray[np.float64] | None = None,
    excluded: Sequence[tuple[int, int]] = (),
    held_out_every: int = 0,
    held_out_seconds: float = 1.0,
) -> Rows:
    """Rows of all the excerpts under one warp.

    Parameters
    ----------
    whitener : (taps,) of no more than `WHITENING_ORDER` and one; white already if not given
    excluded : half-open ranges of mixture samples that do not count
    held_out_every : every so many-th slice is kept apart, to test on; 0: none is
    held_out_seconds : how long a slice is
    """
    before, behind = lags.before + WHITENING_ORDER, lags.behind
    slice_samples = max(1, round(held_out_seconds * sample_rate))
    segments = []
    at = 0
    for excerpt in excerpts:
        first = min(excerpt.start + WHITENING_ORDER, excerpt.stop)  # the whitener has no history there
        for start, stop, part in _parts(first, excerpt.stop, excluded, held_out_every, slice_samples):
            segments.append(Segment(at + before + start - excerpt.start, at + before + stop - excerpt.start, part))
        at += before + excerpt.mixture.shape[1] + behind
    white = np.ones(1) if whitener is None else whitener
    return Rows(tuple(excerpts), warp, sample_rate, (before, behind), tuple(segments), white)


def needed_reference(start: int, stop: int, warp: TimeWarp, lags: Lags, *, sample_rate: int) -> tuple[int, int]:
    """The reference samples that rows ``start .. stop`` of the mixture need under a warp."""
    ends = np.array([start - lags.before - WHITENING_ORDER, stop + lags.behind]) / sample_rate
    inside = np.linspace(ends[0], ends[1], 33)
    places = warp.reference_time(inside) * sample_rate
    side = reach(cutoff_for(warp)) + 2
    return int(np.floor(places.min())) - side, int(np.ceil(places.max())) + side


def _parts(
    start: int, stop: int, excluded: Sequence[tuple[int, int]], held_out_every: int, slice_samples: int
) -> list[tuple[int, int, int]]:
    """(start, stop, part) of the rows that count, cut at excluded ones and into slices."""
    edges = {start, stop}
    if held_out_every:
        edges |= set(range(start - start % slice_samples + slice_samples, stop, slice_samples))
    for a, b in excluded:
        edges |= {min(max(a, start), stop), min(max(b, start), stop)}
    ordered = sorted(edges)
    parts: list[tuple[int, int, int]] = []
    for a, b in pairwise(ordered):
        if any(a < y and b > x for x, y in excluded):
            continue
        held = held_out_every and (a // slice_samples) % held_out_every == held_out_every - 1
        part = HELD_OUT if held else FIT
        if parts and parts[-1][1] == a and parts[-1][2] == part:
            parts[-1] = (parts[-1][0], b, part)
        else:
            parts.append((a, b, part))
    return parts


def _cut(rows: NDArray[np.floating], origin: int, start: int, stop: int) -> Audio:
    """Columns ``start .. stop`` of rows that begin at column ``origin``; silent outside."""
    out = np.zeros((len(rows), stop - start))
    a, b = max(start, origin), min(stop, origin + rows.shape[1])
    if a < b:
        out[:, a - start : b - start] = rows[:, a - origin : b - origin]
    return out
