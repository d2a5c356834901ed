"""How far excerpts of a mixture are off a warp, from moment to moment, and the line and steps in that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.convolution import convolve
from unsum.dsp.delay_track import DelayTracker
from unsum.dsp.time_rows import Excerpt, Lags, render_between
from unsum.model import TimeWarp

_WINDOW_SECONDS = 0.37
_HOPS = 4  # in a window
# A clear height is above the highest that noise has among so many lags, by so many deviations.
_CLEAR_ABOVE = 1.0
_ROBUST_ROUNDS = 12
_RENDERED_SAMPLES = 1 << 17  # at a time: long excerpts are held in one row, not in work arrays of all channels
_MOST_EXCLUDED = 0.25  # share of a window
FIRST_REACH = 0.08  # seconds that a rough place may be off
_FEWEST_FRAMES = 4
_TRACKED = 0.15  # of all frames: with fewer clear ones nothing can be followed


@dataclass(frozen=True, slots=True)
class Frames:
    """What windows say of a warp.

    Attributes
    ----------
    seconds : (frames,) mixture time of their middles
    lags : (frames,) samples by which the mixture is late against the warp
    clear : (frames,) whether the window is sure enough to count
    """

    seconds: NDArray[np.float64]
    lags: NDArray[np.float64]
    clear: NDArray[np.bool_]

    @property
    def enough_clear(self) -> bool:
        """Whether so many windows are sure that they can be followed."""
        return bool(np.count_nonzero(self.clear) >= max(_FEWEST_FRAMES, _TRACKED * len(self.seconds)))

    def only_clear(self) -> "Frames":
        return Frames(self.seconds[self.clear], self.lags[self.clear], self.clear[self.clear])


def window_samples(sample_rate: int, *, seconds: float = _WINDOW_SECONDS) -> int:
    """The power of two next to so many seconds."""
    return 1 << round(np.log2(seconds * sample_rate))


def follow(
    excerpts: Sequence[Excerpt],
    warp: TimeWarp,
    *,
    sample_rate: int,
    reach_seconds: float,
    filters: NDArray[np.float64] | None = None,
    lags: Lags | None = None,
    window_seconds: float = _WINDOW_SECONDS,
    excluded: Sequence[tuple[int, int]] = (),
) -> Frames:
    """Track the delay of every excerpt against the reference under a warp, or against its image through filters.

    Parameters
    ----------
    excluded : half-open ranges of mixture samples; windows that lie in them give no frame
    """
    window = window_samples(sample_rate, seconds=window_seconds)
    hop, reach = window // _HOPS, round(reach_seconds * sample_rate)
    least = np.sqrt(2 * np.log(4 * reach)) + _CLEAR_ABOVE
    seconds, found, clear = [], [], []
    for excerpt in excerpts:
        if excerpt.mixture.shape[1] < window:
            continue
        heard, played = _two_rows(excerpt, warp, reach, filters, lags, sample_rate)
        tracker = DelayTracker(window=window, hop=hop, reach=reach)
        starts = np.arange(0, len(heard) - window + 1, hop)
        room = (len(played) - len(heard)) // 2
        counts = mostly_counting(excerpt.start + starts, window, excluded)
        for start, own in zip(starts.tolist(), counts.tolist(), strict=True):
            at = start + room - reach - tracker.centre
            # Silence leaves the path where it is, and the time from one window to the next right.
            tracker.add(
                _row_cut(heard, start, window) if own else np.zeros(window), _row_cut(played, at, window + 2 * reach)
            )
        track = tracker.finish()
        seconds.append((excerpt.start + starts[counts] + window / 2) / sample_rate)
        found.append(track.lags[counts])
        clear.append(track.heights[counts] > least)
    if not seconds:
        nothing = np.zeros(0)
        return Frames(nothing, nothing, np.zeros(0, bool))
    return Frames(np.concatenate(seconds), np.concatenate(found), np.concatenate(clear))


def mostly_counting(starts: NDArray[np.integer], window: int, excluded: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Whether of each window, (windows,), that begins at a mixture sample, only a small part is excluded."""
    out = np.zeros(len(starts), np.intp)
    for first, stop in excluded:
        out += np.maximum(np.minimum(starts + window, stop) - np.maximum(starts, first), 0)
    return out <= _MOST_EXCLUDED * window


def _two_rows(
    excerpt: Excerpt,
    warp: TimeWarp,
    reach: int,
    filters: NDArray[np.float64] | None,
    lags: Lags | None,
    sample_rate: int,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """One row of the mixture, and one of what is to be found in it with a margin on both sides."""
    room = 3 * reach  # the track may leave the reach, and its centre go along
    first, last = excerpt.start - room, excerpt.stop + room
    if filters is None or lags is None:
        one = np.empty(last - first, np.float32)
        for start in range(first, last, _RENDERED_SAMPLES):
            stop = min(start + _RENDERED_SAMPLES, last)
            played = render_between(excerpt, warp, start, stop, sample_rate=sample_rate)
            one[start - first : stop - first] = _one_of(played)
        return _one_of(excerpt.mixture), one
    image = np.empty((len(filters), last - first), np.float32)
    for start in range(first, last, _RENDERED_SAMPLES):
        stop = min(start + _RENDERED_SAMPLES, last)
        played = render_between(excerpt, warp, start - lags.before, stop + lags.behind, sample_rate=sample_rate)
        heard = convolve(played, filters, first_lag=lags.first, n_samples=lags.before + stop - start)
        image[:, start - first : stop - first] = heard[:, lags.before :]
    energies = [np.sum(rows**2, axis=1, dtype=float) for rows in (image, excerpt.mixture)]
    best = int(np.argmax(energies[0] / np.maximum(energies[1], 1e-300)))
    return excerpt.mixture[best], image[best]


def _one_of(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """One row out of all, no two with the same weight: a channel turned over must not silence another."""
    return (0.8 ** np.arange(len(rows))).astype(rows.dtype) @ rows


def _row_cut(row: NDArray[np.floating], start: int, length: int) -> NDArray[np.float64]:
    out = np.zeros(length)
    a, b = max(start, 0), min(start + length, len(row))
    if a < b:
        out[a - start : b - start] = row[a:b]
    return out


def robust_line(
    seconds: NDArray, values: NDArray, groups: NDArray[np.intp], *, scale: float
) -> tuple[float, NDArray[np.float64]]:
    """One slope and an offset for each group, by reweighted least squares that outliers do not move.

    Parameters
    ----------
    groups : (n,) group of each value, counted from 0
    scale : deviation of a good value

    Returns
    -------
    slope, per second; offsets at second 0, one for each group
    """
    n_groups = int(groups.max(initial=-1)) + 1
    offsets = np.zeros(n_groups)
    slope = _pairwise_slope(seconds, values, groups)
    width = np.inf
    for number in range(_ROBUST_ROUNDS):
        for g in range(n_groups):
            own = groups == g
            offsets[g] = np.median(values[own] - slope * seconds[own]) if number < 2 else offsets[g]
        rest = values - slope * seconds - offsets[groups]
        width = max(scale, 1.5 * float(np.median(np.abs(rest))))
        weight = 1 / (1 + (rest / (2 * width)) ** 2) ** 2
        design = np.concatenate([(seconds - seconds.mean())[:, None], np.eye(n_groups)[groups]], axis=1)
        root = np.sqrt(weight)[:, None]
        solved = np.linalg.lstsq(design * root, values * root[:, 0], rcond=None)[0]
        slope, offsets = float(solved[0]), solved[1:] - solved[0] * seconds.mean()
    return slope, offsets


def _pairwise_slope(seconds: NDArray, values: NDArray, groups: NDArray[np.intp]) -> float:
    """Median slope of pairs far apart within a group: a start that a third of wild values does not move."""
    slopes = []
    for g in range(int(groups.max(initial=-1)) + 1):
        own = np.flatnonzero(groups == g)
        apart = max(1, len(own) // 3)
        if len(own) > apart:
            a, b = own[:-apart], own[apart:]
            gap = seconds[b] - seconds[a]
            slopes.append(np.divide(values[b] - values[a], gap, out=np.zeros(len(gap)), where=gap > 0))
    return float(np.median(np.concatenate(slopes))) if slopes else 0.0
