"""Where sounds lie in another that passes by: every piece of a sound scores every delay, and the pieces add up.

Pieces of a sound (*windows*) are correlated with block after block of what passes. Each scores every cell of delays;
what a score is worth is told by the window's scores elsewhere. A delay at which many windows, or enough of them in a
row, say more than chance does is a place, so that neither a loop nor a chorus nor one loud bang decides alone. Only the
delays that some window has yet to reach are held: memory does not grow with what passes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import tee

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from unsum.dsp.evidence import EVEN_NATS, best_stretch, chance_of_stretch, chance_of_sum, nats, score_levels
from unsum.dsp.excess import excess_sums
from unsum.dsp.pieces import Windows, overlapping, piece_spectrum
from unsum.dsp.ranks import ranks
from unsum.dsp.threads import available_cores, share_out
from unsum.dsp.transforms import irfft

CELL_SECONDS = 0.016  # at the least; a place is known to two cells
MOST_DRIFT = 300e-6
_BATCH = 4  # windows compared at once: what fits in a processor's cache
_MOST_PLACES = 48
_PLACES_A_CHUNK = 16
_CHUNK_CELLS = 1024
_CELLS_AT_ONCE = 4096  # of all windows: what fits in a processor's second cache
_SAMPLED = 4096  # scores of a window from which it is told what chance gives
_APART_CELLS = 4
_LEAST_INSIDE = 0.75
_HELD_BEHIND = 0.125  # of all cells that are held: forgotten ones ahead of them, so that few are moved


@dataclass(frozen=True, slots=True)
class Place:
    """A delay at which windows agree: what is at ``t`` in the sound is at
    ``t + delay + slope * (t - pivot)`` in what passed by, in samples, to within two cells.

    Attributes
    ----------
    rank : nats of evidence for it
    false_alarm : how often chance would give as much, anywhere in what passed by
    evidence : (windows,)
        What each window says, in nats; nan where it lies outside of what passed, or in silence.
    """

    delay: float
    slope: float
    pivot: float
    rank: float
    false_alarm: float
    evidence: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Search:
    """What a search gave: places, best first; none where one of both is silent."""

    places: tuple[Place, ...]
    windows: Windows
    passed: int


def cell_length(sample_rate: float) -> int:
    """Samples in a cell, a power of two."""
    return 1 << math.ceil(math.log2(CELL_SECONDS * sample_rate))


def search(
    sounds: Sequence[Windows],
    passing: Iterable[NDArray[np.float32]],
    *,
    sample_rate: float,
    phases: bool,
    most_drift: float = MOST_DRIFT,
) -> list[Search]:
    """Look for sounds in another.

    Parameters
    ----------
    sounds : windows that begin at multiples of `cell_length`
    passing : blocks (samples,) of any length, each read once
    phases : whether what passes is the noisy sound of both
    most_drift : the greatest difference of clocks that is looked for
    """
    cell = cell_length(sample_rate)
    tallies = [_Tally(sound, cell, most_drift) for sound in sounds]
    lengths = sorted({sound.length for sound in sounds})
    passed = 0
    streams = tee(passing, len(lengths)) if len(lengths) > 1 else (passing,)
    # The longest blocks first: what the others have yet to read is then no more than two of them.
    rounds = [overlapping(stream, length) for stream, length in zip(streams, lengths, strict=True)]
    reached = [-length for length in lengths]
    going = set(range(len(lengths)))
    while going:
        n = min(going, key=lambda k: reached[k])
        item = next(rounds[n], None)
        if item is None:
            going.remove(n)
            continue
        start, block = item
        reached[n] = start + len(block)
        passed = max(passed, start + len(block))
        length = lengths[n]
        spectrum = piece_spectrum(block, length, sample_rate=sample_rate, fade=length // 4, phases=phases)
        for tally in tallies:
            if tally.sound.length == length:
                tally.take(start, len(block), spectrum)
    return [Search(tally.places(passed), tally.sound, passed) for tally in tallies]


class _Tally:
    """Scores of one sound's windows for the delays that are not yet heard by all of them."""

    def __init__(self, sound: Windows, cell: int, most_drift: float) -> None:
        self.sound, self.cell = sound, cell
        n, length = len(sound.starts), sound.length
        self.per_block = length // cell
        middle = sound.starts + length / 2
        self.pivot = float(middle.mean()) if n else 0.0
        reach = float(np.abs(middle - self.pivot).max()) if n else 0.0
        steps = int(most_drift * reach / (cell / 2)) if most_drift else 0
        self.slopes = np.linspace(-most_drift, most_drift, 2 * steps + 1) if steps else np.zeros(1)
        self.turns = np.rint(self.slopes[:, None] * (middle - self.pivot) / cell).astype(int)
        self.margin = int(np.abs(self.turns).max(initial=0)) + _APART_CELLS
        self.last_start = int(sound.starts[-1]) if n else 0
        self.origin = (-length - self.last_start) // cell - self.margin
        # From the oldest cell that some slope may yet reach to the newest of the first window, and a margin.
        self.held = self.last_start // cell + _CHUNK_CELLS + 3 * (self.per_block + self.margin)
        self.behind = 0  # columns of the buffer that are forgotten already
        self.buffer = np.full((n, self.held + int(_HELD_BEHIND * self.held)), -1.0, np.float32)
        self.sampled = np.full((n, _SAMPLED), -1.0, np.float32)
        self.stride, self.count, self.seen = 1, 0, 0
        self.cells_scored = 0
        self.found: list[_Found] = []

    def take(self, start: int, size: int, spectrum: NDArray[np.complex64] | None) -> None:
        """The next block of what passes, from sample ``start`` on."""
        length, cell, n = self.sound.length, self.cell, len(self.sound.starts)
        if not n:
            return
        if spectrum is not None:
            # A window that hangs over an end meets that end: an onset, which is like any other onset.
            inside = np.arange(self.per_block) * cell + start
            valid = inside >= -(1 - _LEAST_INSIDE) * length
            if size < 2 * length:
                valid &= inside + cell + _LEAST_INSIDE * length <= start + size
            scores = np.empty((n, self.per_block), np.float32)

            def share(first: int, last: int) -> None:
                for at in range(first * _BATCH, min(last * _BATCH, n), _BATCH):
                    rows = slice(at, at + _BATCH)
                    correlation = irfft(spectrum * self.sound.spectra[rows], 2 * length)[:, :length]
                    scores[rows] = excess_sums(np.asarray(correlation, np.float32), cell=cell)

            share_out(share, -(-n // _BATCH), threads=available_cores())
            scores[:, ~valid] = -1.0
            columns = (start - self.sound.starts) // cell - self.origin + self.behind
            for row, at in enumerate(columns.tolist()):
                self.buffer[row, at : at + self.per_block] = scores[row]
            self._sample(scores)
            if self.seen % self.stride == 0:
                self.count += 1
            self.seen += 1
            self.cells_scored += int(valid.sum())
        ready = (start + length - self.last_start) // cell - self.origin
        if ready >= _CHUNK_CELLS + 2 * self.margin:
            self._settle(ready)

    def _sample(self, scores: NDArray[np.float32]) -> None:
        """Keep pairs of cells of some blocks, evenly spread over all blocks so far."""
        each = self.per_block // 2
        if self.seen % self.stride:
            return
        if (self.count + 1) * each > _SAMPLED:
            kept = self.sampled[:, : self.count * each].reshape(len(self.sampled), self.count, each)[:, ::2]
            self.count = kept.shape[1]
            self.sampled[:, : self.count * each] = kept.reshape(len(self.sampled), -1)
            self.sampled[:, self.count * each :] = -1.0
            self.stride *= 2
        pairs = scores[:, : 2 * each].reshape(len(scores), each, 2)
        whole = np.where(pairs.min(axis=2) >= 0, pairs.sum(axis=2), -1.0)
        self.sampled[:, self.count * each : (self.count + 1) * each] = whole

    def _levels(self) -> list[NDArray[np.float64]]:
        """What chance scores, for each window."""
        each = self.per_block // 2
        return [score_levels(row) for row in self.sampled[:, : max(1, self.count) * each]]

    def _settle(self, ready: int) -> None:
        """Find places among cells below ``ready``, and forget those that no slope reaches from above."""
        first, stop = self.margin, ready - 1 - self.margin
        if stop <= first:
            return
        scores = self.buffer[:, self.behind : self.behind + ready]
        levels, every = self._levels(), np.arange(len(scores))[:, None]
        peaks: list[list[tuple[NDArray, ...]]] = [[] for _ in self.turns]
        for begin in range(first, stop, _CELLS_AT_ONCE):
            end = min(begin + _CELLS_AT_ONCE, stop)
            # Some more on both sides, so that no peak is taken for one that is none; and what the slopes reach.
            low, high = max(first, begin - _APART_CELLS), min(stop, end + _APART_CELLS)
            pairs = _pairs(scores[:, low - self.margin : high + self.margin + 1])
            evidence = np.stack([nats(row, level) for row, level in zip(pairs, levels, strict=True)])
            evidence[pairs < 0] = -1.0
            for turn, of_turn in zip(self.turns, peaks, strict=True):
                rank = ranks(evidence, turn, first=self.margin, stop=self.margin + high - low)
                is_peak = (rank >= scipy.ndimage.maximum_filter1d(rank, 2 * _APART_CELLS + 1)) & (rank > 0)
                own = np.flatnonzero(is_peak[begin - low : end - low]) + begin - low
                own = own[np.argsort(-rank[own], kind="stable")[:_PLACES_A_CHUNK]]
                said = pairs[every, own + self.margin + turn[:, None]].sum(axis=0)
                of_turn.append((rank[own], said, own + low))
        found = list(self.found)
        for number, of_turn in enumerate(peaks):
            rank, said, at = (np.concatenate(parts) for parts in zip(*of_turn, strict=True))
            best = np.lexsort((-said, -rank))[:_PLACES_A_CHUNK]
            found += [_Found(float(rank[k]), float(said[k]), self.origin + int(at[k]), number) for k in best]
        self.found = [one if one.scores is not None else self._with_scores(one) for one in _thinned(found)]
        self._forget(stop - first)

    def _with_scores(self, one: "_Found") -> "_Found":
        at = one.at - self.origin + self.behind + self.turns[one.turn]
        return replace(one, scores=_pairs(self.buffer[np.arange(len(at))[:, None], at[:, None] + [0, 1]])[:, 0])

    def _forget(self, cells: int) -> None:
        """Drop the oldest cells. They are written over when so many are dropped that moving the others is worth it."""
        self.origin += cells
        self.behind += cells
        if self.behind + self.held > self.buffer.shape[1]:
            kept = max(0, self.buffer.shape[1] - self.behind)
            for row in self.buffer:
                row[:kept] = row[self.behind :]
                row[kept:] = -1.0
            self.behind = 0

    def places(self, passed: int) -> tuple[Place, ...]:
        """What was found, best first, judged by all scores."""
        n = len(self.sound.starts)
        if not n or not self.cells_scored:
            return ()
        self._settle(self.held)
        levels = self._levels()
        trials = max(1.0, (passed + self.last_start) / self.cell) * len(self.slopes)
        if not self.found:
            return ()
        scores = np.stack([one.scores for one in self.found if one.scores is not None], axis=1)
        said = np.stack([nats(row, level) for row, level in zip(scores, levels, strict=True)], axis=1)
        said[scores.T < 0] = np.nan
        found = []
        for one, evidence in zip(self.found, said, strict=True):
            chance, rank = judge(evidence, places=trials)
            slope = float(self.slopes[one.turn])
            found.append(Place((one.at + 1) * self.cell, slope, self.pivot, rank, chance, evidence))
        found.sort(key=lambda place: -place.rank)
        apart: list[Place] = []
        for one in found:
            if all(abs(one.delay - other.delay) > _APART_CELLS * self.cell for other in apart):
                apart.append(one)
        return tuple(apart)


def judge(evidence: NDArray[np.float64], *, places: float) -> tuple[float, float]:
    """How often chance gives as much in one of so many places, and the nats of it at one place."""
    heard = evidence[np.isfinite(evidence)]
    if not len(heard):
        return 1.0, 0.0
    gain, total = best_stretch(np.nan_to_num(evidence, nan=EVEN_NATS)).gain, float(heard.sum())
    chance = 2 * min(
        chance_of_stretch(gain, windows=len(heard), places=places),
        chance_of_sum(total, windows=len(heard), places=places),
    )
    at_one = min(
        chance_of_stretch(gain, windows=len(heard), places=1.0), chance_of_sum(total, windows=len(heard), places=1.0)
    )
    return min(1.0, chance), -math.log(max(at_one, 1e-300))


@dataclass(frozen=True, slots=True)
class _Found:
    """A place among the cells, ``turn`` by its number, with the scores (windows,) that its windows gave there.

    Where all windows say as much as they may, ranks are alike, and what they score together tells which is best.
    """

    rank: float
    together: float
    at: int
    turn: int
    scores: NDArray[np.float32] | None = None


def _pairs(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """What neighbouring cells (windows, cells) score together, (windows, cells - 1); -1 where one is not heard."""
    one, other = scores[:, :-1], scores[:, 1:]
    return np.where(np.minimum(one, other) >= 0, one + other, np.float32(-1.0))


def _thinned(found: list[_Found]) -> list[_Found]:
    """The best that lie apart, best first."""
    at = np.array([one.at for one in found])
    left = np.lexsort(([-one.together for one in found], [-one.rank for one in found]))
    kept: list[_Found] = []
    while len(left) and len(kept) < _MOST_PLACES:
        kept.append(found[left[0]])
        left = left[np.abs(at[left] - at[left[0]]) > _APART_CELLS]
    return kept
