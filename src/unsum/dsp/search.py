"""Where one sound lies in another that is longer: every piece of it proposes delays, and the pieces vote.

Pieces of the sound (*windows*) are compared with block after block of what passes by, by whitened correlation.
Each proposes the few delays at which it stands out most. The delay at which most windows agree wins, so that neither
a loop nor a chorus nor one loud bang decides alone.

References
----------
.. [1] Fisher, "Statistical methods for research workers", 1925, section 21.1: combining tests of significance.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.special import gammaincc, ndtri

from unsum.dsp.correlation import whitened_spectrum
from unsum.dsp.transforms import irfft

_LONGEST_WINDOW = 1 << 15
_SHORTEST_WINDOW = 1 << 10
_FEWEST_WINDOWS = 8
_PROPOSALS = 8  # delays that a window proposes for each block
_POOL = 8  # neighbouring lags, of which only the best can be proposed
_BATCH = 4  # windows compared at once: what fits in a processor's cache
# However high its peak: one window alone must not decide, for a bang is like any other bang.
_MOST_CONVINCED = 7.0
_TOLERANCE_SECONDS = 0.004  # windows that agree so far speak of the same delay
_APART_SECONDS = 0.1  # places nearer than this to a better one are its echoes
_MOST_DRIFT = 300e-6
_WORTH_A_SLOPE = 1.15  # drift is believed for this much more evidence
_AS_GOOD = 0.99
_ENOUGH_FOR_A_LINE = 5
_SHORTLIST = 12
_LEVEL_SECONDS = 0.06
_QUIET = 1e-6  # in power, against the piece it is in: not raised any further
# Of all: a steady tone has less, and tells no more of the time than how its window fades in and out.
_FEWEST_FREQUENCIES = 0.07
_LEAST_INSIDE = 0.75
_LEAST_SOUND = 0.25  # of a window or a block, in time


@dataclass(frozen=True, slots=True)
class Place:
    """A delay at which windows agree: what is at ``t`` in the sound is at
    ``t + delay + slope * (t - pivot)`` in what passed by, in samples.

    Attributes
    ----------
    rank : the evidence for it, against that for other places
    false_alarm : how often chance would give as much, anywhere in what passed by
    votes : windows that agree
    windows : windows that lie within what passed by at that delay
    """

    delay: float
    slope: float
    pivot: float
    rank: float
    false_alarm: float
    votes: int
    windows: int


@dataclass(frozen=True, slots=True)
class Search:
    """What a search gave: places, best first; none where one of both is silent."""

    places: tuple[Place, ...]
    windows: int
    passed: int


@dataclass(frozen=True, slots=True)
class _Proposals:
    """Entry by entry: which window, which delay, how many standard deviations it stands out."""

    window: NDArray[np.intp]
    delay: NDArray[np.float64]
    height: NDArray[np.float64]


def search(
    sound: NDArray[np.float32], passing: Iterable[NDArray[np.float32]], *, sample_rate: float, max_windows: int
) -> Search:
    """Look for a sound in blocks of another that is longer, or as long.

    Parameters
    ----------
    sound : (samples,)
    passing : blocks (samples,) of any length, each read once
    max_windows : where the sound has more, as many are spread over it
    """
    window = _LONGEST_WINDOW
    while window > _SHORTEST_WINDOW and _FEWEST_WINDOWS * window > len(sound):
        window //= 2
    starts, spectra = _windows(sound, window, sample_rate, max_windows)
    heard: list[_Proposals] = []
    passed = 0
    for start, block in _overlapping(passing, window):
        passed = max(passed, start + len(block))
        spectrum = _spectrum(block, window, sample_rate, fade=window // 4) if len(starts) else None
        if spectrum is not None:
            heard.append(_proposals(spectrum, spectra, start - starts))
    if not heard:
        return Search((), len(starts), passed)
    proposals = _in_proportion(heard, lags=window)
    return Search(_places(proposals, starts, window, passed, sample_rate), len(starts), passed)


def _windows(
    sound: NDArray[np.float32], window: int, sample_rate: float, max_windows: int
) -> tuple[NDArray[np.intp], NDArray[np.complex64]]:
    """Where the windows begin, and the conjugates of their spectra (windows, bins)."""
    starts = np.arange(0, max(1, len(sound) - window // 2), window)
    shares = [_levelled(sound[s : s + window], sample_rate)[1] for s in starts]
    starts = starts[np.array(shares) >= _LEAST_SOUND]
    if len(starts) > max_windows:
        starts = starts[np.linspace(0, len(starts) - 1, max_windows).round().astype(int)]
    kept, spectra = [], []
    for start in starts:
        spectrum = _spectrum(sound[start : start + window], window, sample_rate, fade=window // 3)
        if spectrum is not None:
            kept.append(start)
            spectra.append(np.conj(spectrum))
    return np.array(kept, np.intp), np.array(spectra, np.complex64)


def _overlapping(passing: Iterable[NDArray[np.float32]], window: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Blocks of two windows, one window apart, with the time of their first sample; silence before and behind."""
    ahead, start, size = np.zeros(window, np.float32), -window, window
    parts = [ahead]
    for part in passing:
        parts.append(part)
        size += len(part)
        if size < 2 * window:
            continue
        ahead = np.concatenate(parts)
        at = 0
        while at + 2 * window <= size:
            yield start + at, ahead[at : at + 2 * window]
            at += window
        start, size = start + at, size - at
        parts = [ahead[at:]]
    ahead = np.concatenate(parts)
    for at in range(0, len(ahead), window):
        yield start + at, ahead[at : at + 2 * window]


def _levelled(piece: NDArray[np.float32], sample_rate: float) -> tuple[NDArray[np.float32], float]:
    """The piece with its loudness evened out, so that pauses of a voice tell of the music beneath; share of sound."""
    power = scipy.ndimage.uniform_filter1d(piece.astype(np.float64) ** 2, max(1, round(_LEVEL_SECONDS * sample_rate)))
    mean = float(power.mean()) if len(power) else 0.0
    if mean <= 0:
        return piece, 0.0
    floor = _QUIET * mean
    return (piece / np.sqrt(np.maximum(power, 0) + floor)).astype(np.float32), float(np.mean(power > 100 * floor))


def _spectrum(
    piece: NDArray[np.float32], window: int, sample_rate: float, *, fade: int
) -> NDArray[np.complex64] | None:
    """Phases of a levelled piece, padded to two windows; None where there is hardly any sound or but a tone."""
    levelled, share = _levelled(piece, sample_rate)
    if share * len(piece) < _LEAST_SOUND * window:
        return None
    band = 60 / sample_rate, 0.45
    spectrum = whitened_spectrum(levelled, 2 * window, fade=min(fade, len(piece) // 2), band=band)
    return spectrum if np.count_nonzero(spectrum) >= _FEWEST_FREQUENCIES * len(spectrum) else None


def _proposals(block: NDArray[np.complex64], windows: NDArray[np.complex64], delays: NDArray[np.intp]) -> _Proposals:
    """What each window proposes for one block; ``delays`` are those of lag 0."""
    n = len(windows)
    length = block.shape[0] - 1  # lags at which a window lies within the block
    lag, height = np.empty((n, _PROPOSALS)), np.empty((n, _PROPOSALS))
    for first in range(0, n, _BATCH):
        rows = slice(first, first + _BATCH)
        correlation = irfft(windows[rows] * block, 2 * length)[:, :length]
        deviation = np.sqrt(np.mean(correlation**2, axis=1, keepdims=True))
        size = np.abs(correlation).reshape(len(correlation), length // _POOL, _POOL)
        best = size.max(axis=2)
        pool = np.argpartition(best, -_PROPOSALS, axis=1)[:, -_PROPOSALS:]
        within = np.take_along_axis(size, pool[:, :, None], axis=1).argmax(axis=2)
        lag[rows] = pool * _POOL + within
        height[rows] = np.take_along_axis(best, pool, axis=1) / np.maximum(deviation, np.finfo(np.float32).tiny)
    return _Proposals(np.repeat(np.arange(n), _PROPOSALS), (lag + delays[:, None]).ravel(), height.ravel())


def _in_proportion(heard: list[_Proposals], *, lags: int) -> _Proposals:
    """All of them; where even a window's last proposals stand out more than noise has it, in proportion lower.

    Few or tonal frequencies do that: their correlation is no normal deviate.
    """
    window = np.concatenate([one.window for one in heard])
    height = np.stack([one.height.reshape(-1, _PROPOSALS) for one in heard])
    usual = np.median(height.min(axis=2), axis=0)
    by_chance = float(ndtri(1 - _PROPOSALS / (2 * lags)))
    height /= np.maximum(usual / by_chance, 1.0)[None, :, None]
    return _Proposals(window, np.concatenate([one.delay for one in heard]), height.ravel())


def evidence(height: NDArray, *, chances: float) -> NDArray[np.float64]:
    """``-log`` of how often the best of so many normal deviates is as high, ``2 chances exp(-height**2 / 2)``."""
    convinced = np.minimum(height, _MOST_CONVINCED)
    return np.maximum(convinced**2 / 2 - math.log(2 * chances), 0.0)


def false_alarm(evidences: NDArray, *, windows: int, places: float) -> float:
    """How often chance gives windows such evidence in one of so many places [1]_."""
    return float(min(1.0, places * gammaincc(max(windows, 1), float(np.sum(evidences)))))


def _places(
    proposals: _Proposals, starts: NDArray[np.intp], window: int, passed: int, sample_rate: float
) -> tuple[Place, ...]:
    tolerance = _TOLERANCE_SECONDS * sample_rate
    span = float(starts[-1] - starts[0])
    chances = 2 * tolerance
    proof = evidence(proposals.height, chances=chances)
    # Above what convinces, a little more for more: at a repeat fewer windows are as sure.
    rank = proof + np.where(proof > 0, 4 * np.log(np.maximum(proposals.height / _MOST_CONVINCED, 1.0)), 0.0)
    # A window that hangs over an end meets that end: an onset, which is like any other onset.
    at = starts[proposals.window] + proposals.delay
    inside = np.minimum(at + window, passed) - np.maximum(at, 0)
    telling = np.flatnonzero((proof > 0) & (inside >= _LEAST_INSIDE * window))
    if not len(telling):
        return ()
    window_of, delay = proposals.window[telling], proposals.delay[telling]
    rank, proof = rank[telling], proof[telling]
    middle = starts + window / 2
    pivot = float(middle.mean())
    n_slopes = 1 + 2 * int(_MOST_DRIFT * span / tolerance)  # none but 0 where drift stays within tolerance
    slopes = np.linspace(-_MOST_DRIFT, _MOST_DRIFT, n_slopes) if n_slopes > 1 else np.zeros(0)
    trials = n_slopes * (passed + span + window) / tolerance
    width = 2 * tolerance + _MOST_DRIFT * span
    found: list[Place] = []
    for centre in _shortlist(delay, window_of, rank, width):
        near = np.flatnonzero(np.abs(delay - centre) <= width)
        slope, (place, total) = 0.0, _densest(delay[near], window_of[near], rank[near], tolerance)
        for trial in slopes:
            straight = delay[near] - trial * (middle[window_of[near]] - pivot)
            other, sum_there = _densest(straight, window_of[near], rank[near], tolerance)
            if sum_there > total * (_WORTH_A_SLOPE if slope == 0 else 1.0):
                slope, place, total = float(trial), other, sum_there
        agree = near[np.abs(delay[near] - slope * (middle[window_of[near]] - pivot) - place) <= tolerance]
        votes = np.unique(window_of[agree])
        strongest = _best_of_each(window_of[agree], proof[agree], len(starts))
        best_of_each = agree[proof[agree] >= strongest[window_of[agree]]]
        place, slope = _line(middle[window_of[best_of_each]] - pivot, delay[best_of_each], place, slope)
        middles = middle + place
        fits = np.minimum(middles + window / 2, passed) - np.maximum(middles - window / 2, 0) >= _LEAST_INSIDE * window
        within = np.union1d(np.flatnonzero(fits), votes)
        chance = false_alarm(strongest, windows=len(within), places=trials)
        found.append(Place(place, slope, pivot, total, chance, len(votes), len(within)))
    # A loop fits everywhere alike; then the least shift is the best guess.
    most = max(place.rank for place in found)
    found.sort(key=lambda place: (0.0, abs(place.delay)) if place.rank >= _AS_GOOD * most else (1.0, -place.rank))
    apart: list[Place] = []
    for one in found:
        if all(abs(one.delay - other.delay) > _APART_SECONDS * sample_rate for other in apart):
            apart.append(one)
    return tuple(apart)


def _line(time: NDArray, delay: NDArray, place: float, slope: float) -> tuple[float, float]:
    """The straight line through what the windows say, where it is one; what it was before, where it is not."""
    if len(time) < _ENOUGH_FOR_A_LINE or np.ptp(time) == 0:
        return place, slope
    spread = time - time.mean()
    fitted = float(np.sum(spread * delay) / np.sum(spread**2))
    rest = delay - delay.mean() - fitted * spread
    error = max(float(rest.std()), 0.3) / math.sqrt(float(np.sum(spread**2)))  # a lag is a whole number
    if abs(fitted) < 5 * error:
        return place, slope
    return float(delay.mean() - fitted * time.mean()), fitted


def _shortlist(delay: NDArray, window: NDArray, rank: NDArray, width: float) -> list[float]:
    """Centres of the bins, two interleaved sets of them, in which the windows' best add up to most."""
    scored: list[tuple[float, float]] = []
    for shift in (0.0, 0.5):
        bins = np.floor(delay / width + shift).astype(np.int64)
        order = np.lexsort((window, bins))
        key = np.stack([bins[order], window[order]])
        fresh = np.flatnonzero(np.any(np.diff(key, axis=1, prepend=-(1 << 62)), axis=0))
        best = np.maximum.reduceat(rank[order], fresh)
        owner = key[0, fresh]
        begin = np.flatnonzero(np.diff(owner, prepend=-(1 << 62)))
        total = np.add.reduceat(best, begin)
        top = np.argsort(-total)[:_SHORTLIST]
        scored += [(float(total[i]), (float(owner[begin[i]]) + 0.5 - shift) * width) for i in top]
    return [centre for _, centre in sorted(scored, reverse=True)]


def _densest(delay: NDArray, window: NDArray, rank: NDArray, tolerance: float) -> tuple[float, float]:
    """The delay within whose tolerance the windows' best add up to most, and that sum."""
    place, most = 0.0, -1.0
    for centre in delay[np.argsort(-rank)[:24]]:
        near = np.abs(delay - centre) <= tolerance
        total = float(_best_of_each(window[near], rank[near], int(window.max()) + 1).sum())
        if total > most:
            most = total
            place = float(np.average(delay[near], weights=rank[near] ** 2))
    return place, most


def _best_of_each(window: NDArray[np.intp], value: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    best = np.zeros(count)
    np.maximum.at(best, window, value)
    return best
