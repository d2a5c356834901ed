"""What a clock is fitted to: excerpts of the mixture with the reference beside them, a few channels of each."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.time_rows import Excerpt, Lags, needed_reference
from unsum.estimators.excerpts import Span, consecutive_excerpts, cut_excerpts
from unsum.model import TimeWarp
from unsum.problem import AudioSource
from unsum.progress import Progress

# Up to so much everything is looked at; of what is longer, so many excerpts.
WHOLE_SECONDS = 96.0
_EXCERPTS, _EXCERPT_SECONDS = 12, 8.0
_MOST_ROWS = 2_400_000  # in all excerpts: each is looked at some twenty times
_SHORTEST_SECONDS = 1.0
_CHUNK_SECONDS, _SHARED_SECONDS, _MARGIN_SECONDS = 40.0, 4.0, 0.5
_LAGS_SECONDS = -0.006, 0.0235  # of the filter in the loop
_LONGEST_FILTER = 1024
_ROWS_PER_TAP = 24
_MOST_CHANNELS = 2
_PRODUCT_SAMPLES = 1 << 16  # of which products are taken in float64 at a time
_DEPENDENT = 1e-9  # share of a channel's energy that no other explains


@dataclass(frozen=True, slots=True)
class Scene:
    """Excerpts at one rate, and the taps of the filter that is fitted along."""

    rate: int
    excerpts: tuple[Excerpt, ...]
    lags: Lags
    excluded: tuple[tuple[int, int], ...] = ()  # mixture samples that do not count

    @property
    def start(self) -> float:
        return self.excerpts[0].start / self.rate

    @property
    def stop(self) -> float:
        return self.excerpts[-1].stop / self.rate

    @property
    def everything(self) -> bool:
        """Whether the one excerpt is all there is."""
        return len(self.excerpts) == 1

    @property
    def middle(self) -> float:
        return 0.5 * (self.start + self.stop)


def read_scene(
    mixture: AudioSource,
    reference: AudioSource,
    lengths: tuple[int, int],
    start: TimeWarp,
    progress: Progress | None,
    *,
    within: tuple[int, int] | None = None,
    excluded: Sequence[tuple[int, int]] = (),
) -> Scene | None:
    """Excerpts spread over the overlap, or over what of it lies ``within`` mixture samples; None if too short.

    Parameters
    ----------
    excluded : half-open ranges of mixture samples that do not count; no excerpt is spent on them
    """
    rate = mixture.sample_rate
    first, last = overlap(lengths, start, rate)
    if within is not None:
        first, last = max(first, within[0]), min(last, within[1])
    counting = _left_of(first, last, excluded)
    if sum(b - a for a, b in counting) < _SHORTEST_SECONDS * rate:
        return None
    first, last = counting[0][0], counting[-1][1]
    ranges = _ranges(counting, rate)
    if not ranges:
        return None
    lags = lags_for(rate, sum(b - a for a, b in ranges), min(_MOST_CHANNELS, len(reference.channels)))
    spans = []
    for a, b in ranges:
        away = abs(0.5 * (a + b) - 0.5 * (first + last)) / rate
        margin = round((0.3 + 1e-3 * min(away, 60.0) + 1e-4 * max(away - 60.0, 0.0)) * rate)
        spans.append(Span(a, b, *widened(needed_reference(a, b, start, lags, sample_rate=rate), margin)))
    excerpts = cut_excerpts(mixture, reference, spans, progress=progress)
    heard, played = telling([e.mixture for e in excerpts]), telling([e.reference for e in excerpts])
    if not heard or not played:
        return None
    return Scene(
        rate,
        tuple(replace(e, mixture=_rows(e.mixture, heard), reference=_rows(e.reference, played)) for e in excerpts),
        lags,
        tuple(excluded),
    )


def _left_of(first: int, last: int, excluded: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What excluded ranges leave of another, in order."""
    out: list[tuple[int, int]] = []
    for start, stop in sorted(excluded):
        if start > first:
            out.append((first, min(start, last)))
        first = max(first, stop)
        if first >= last:
            return [(a, b) for a, b in out if b > a]
    return [(a, b) for a, b in (*out, (first, last)) if b > a]


def _ranges(counting: Sequence[tuple[int, int]], rate: int) -> list[tuple[int, int]]:
    """All from the first sample that counts to the last, all that counts, or excerpts spread over that."""
    first, last = counting[0][0], counting[-1][1]
    if last - first <= WHOLE_SECONDS * rate:
        return [(first, last)]
    lengths = np.array([b - a for a, b in counting])
    if lengths.sum() <= WHOLE_SECONDS * rate:
        return [(a, b) for a, b in counting if b - a >= _SHORTEST_SECONDS * rate]
    length = min(round(_EXCERPT_SECONDS * rate), _MOST_ROWS // _EXCERPTS)
    before = np.cumsum(lengths) - lengths  # what counts, ahead of each
    starts = np.linspace(0, lengths.sum() - length, _EXCERPTS)
    own = np.searchsorted(before, starts, side="right") - 1
    at = [counting[n][0] + int(start - before[n]) for n, start in zip(own.tolist(), starts.tolist(), strict=True)]
    return [(a, a + length) for a in at]


def widened(ends: tuple[int, int], margin: int) -> tuple[int, int]:
    return ends[0] - margin, ends[1] + margin


def overlap(lengths: tuple[int, int], warp: TimeWarp, rate: int) -> tuple[int, int]:
    """Mixture samples at which the warp lies within the reference."""
    grid = np.linspace(0, lengths[0], 4097)
    place = warp.reference_time(grid / rate) * rate
    inside = np.flatnonzero((place >= 0) & (place <= lengths[1]))
    if not len(inside):
        return 0, 0
    # Between grid points the ends are found on the straight line, which a margin of the filter forgives.
    speed = 1 + 1e-6 * warp.clock_ppm
    a, b = int(inside[0]), int(inside[-1])
    first = grid[a] - place[a] / speed if a else 0
    last = grid[b] + (lengths[1] - place[b]) / speed if b < len(grid) - 1 else lengths[0]
    return max(0, math.ceil(first)), min(lengths[0], math.floor(last))


def lags_for(rate: int, n_rows: int, n_references: int) -> Lags:
    first, last = (round(seconds * rate) for seconds in _LAGS_SECONDS)
    count = min(last - first, _LONGEST_FILTER // n_references, max(16, n_rows // (_ROWS_PER_TAP * n_references)))
    return Lags(-max(8, min(-first, count // 4)), count)


def telling(rows: Sequence[NDArray[np.floating]]) -> list[int]:
    """The loudest few channels, none of which the ones before it explain."""
    total = np.zeros((len(rows[0]), len(rows[0])))
    for one in rows:
        for start in range(0, one.shape[1], _PRODUCT_SAMPLES):
            part = one[:, start : start + _PRODUCT_SAMPLES].astype(float)
            total += part @ part.T
    kept: list[int] = []
    for channel in np.argsort(-np.diag(total), kind="stable"):
        own = float(total[channel, channel])
        if own <= 0 or len(kept) == _MOST_CHANNELS:
            break
        if kept:
            alike = total[np.ix_(kept, [channel])]
            left = own - float((alike.T @ np.linalg.lstsq(total[np.ix_(kept, kept)], alike, rcond=None)[0])[0, 0])
            if left < _DEPENDENT * own:
                continue
        kept.append(int(channel))
    return sorted(kept)


def _rows(rows: NDArray[np.floating], kept: Sequence[int]) -> NDArray[np.floating]:
    """Some of the rows; all of them are not copied."""
    return rows if list(kept) == list(range(len(rows))) else rows[list(kept)]


def clipped(scene: Scene, first: float, last: float) -> Scene | None:
    """The excerpts between two times, in seconds; None where that leaves too little."""
    parts = []
    for excerpt in scene.excerpts:
        a = max(excerpt.start, math.ceil(first * scene.rate))
        b = min(excerpt.stop, math.floor(last * scene.rate))
        if b - a >= 0.5 * scene.rate:
            inside = excerpt.mixture[:, a - excerpt.start : b - excerpt.start]
            parts.append(replace(excerpt, start=a, mixture=inside))
    return replace(scene, excerpts=tuple(parts)) if parts else None


def consecutive_scenes(
    mixture: AudioSource,
    reference: AudioSource,
    lengths: tuple[int, int],
    pattern: Scene,
    warp: Callable[[], TimeWarp],
    *,
    progress: Progress | None = None,
    within: tuple[int, int] | None = None,
) -> Iterator[Scene]:
    """All of the overlap in one reading, scene after scene with some seconds of the one before.

    Parameters
    ----------
    pattern : whose taps they take, and what is excluded
    warp : what is known when a scene is due: it tells which part of the reference to read
    within : mixture samples beyond which nothing is read
    """
    rate = mixture.sample_rate
    first, last = overlap(lengths, warp(), rate)
    if within is not None:
        first, last = max(first, within[0]), min(last, within[1])
    margin = round(_MARGIN_SECONDS * rate)

    def place(start: int, stop: int) -> tuple[int, int]:
        return widened(needed_reference(start, stop, warp(), pattern.lags, sample_rate=rate), margin)

    for excerpt in consecutive_excerpts(
        mixture,
        reference,
        start=first,
        stop=last,
        chunk=round(_CHUNK_SECONDS * rate),
        overlap=round(_SHARED_SECONDS * rate),
        place=place,
        progress=progress,
    ):
        heard, played = telling([excerpt.mixture]), telling([excerpt.reference])
        if heard and played:
            own = replace(excerpt, mixture=_rows(excerpt.mixture, heard), reference=_rows(excerpt.reference, played))
            yield replace(pattern, excerpts=(own,))
