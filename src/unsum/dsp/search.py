"""Where sounds lie in another that passes by: every piece of a sound scores every delay, and the pieces add up.

Pieces of a sound (*windows*) are correlated with block after block of what passes. Each scores every cell of delays;
what a score is worth is told by the window's scores elsewhere. A delay at which many windows, or enough of them in a
row, say more than chance does is a place, so that neither a loop nor a chorus nor one loud bang decides alone. Only the
delays that some window has yet to reach are held: memory does not grow with what passes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.special import gammaincc

from unsum.dsp.evidence import EVEN_NATS, best_stretch, chance_of_stretch, chance_of_sum, nats, score_levels
from unsum.dsp.excess import excess_sums
from unsum.dsp.pieces import Windows, overlapping, piece_spectrum
from unsum.dsp.transforms import irfft

CELL_SECONDS = 0.016  # at the least; a place is known to two cells
MOST_DRIFT = 300e-6
_BATCH = 8  # windows compared at once: what fits in a processor's cache
_MOST_PLACES = 48
_PLACES_A_CHUNK = 16
_CHUNK_CELLS = 1024
_SAMPLED = 4096  # scores of a window from which it is told what chance gives
_APART_CELLS = 4
_LEAST_INSIDE = 0.75
_STRETCH_DECAY = 0.8


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
        span = self.last_start // cell + 2 * self.per_block + 2 * self.margin
        self.scores = np.full((n, 2 * (span + _CHUNK_CELLS + self.per_block)), -1.0, np.float32)
        self.sampled = np.full((n, _SAMPLED), -1.0, np.float32)
        self.stride, self.count, self.seen = 1, 0, 0
        self.cells_scored = 0
        self.found: list[tuple[float, int, int, NDArray[np.float32]]] = []

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
            for first in range(0, n, _BATCH):
                rows = slice(first, first + _BATCH)
                correlation = irfft(spectrum * self.sound.spectra[rows], 2 * length)[:, :length]
                scores = excess_sums(np.asarray(correlation, np.float32), cell=cell)
                scores[:, ~valid] = -1.0
                for row, one in enumerate(scores, first):
                    at = (start - int(self.sound.starts[row])) // cell - self.origin
                    self.scores[row, at : at + self.per_block] = one
                self._sample(rows, scores)
            if self.seen % self.stride == 0:
                self.count += 1
            self.seen += 1
            self.cells_scored += int(valid.sum())
        ready = (start + length - self.last_start) // cell - self.origin
        if ready >= _CHUNK_CELLS + 2 * self.margin:
            self._settle(ready)

    def _sample(self, rows: slice, scores: NDArray[np.float32]) -> None:
        """Keep pairs of cells of some blocks, evenly spread over all blocks so far."""
        each = self.per_block // 2
        if self.seen % self.stride:
            return
        if (self.count + 1) * each > _SAMPLED and rows.start == 0:
            kept = self.sampled[:, : self.count * each].reshape(len(self.sampled), self.count, each)[:, ::2]
            self.count = kept.shape[1]
            self.sampled[:, : self.count * each] = kept.reshape(len(self.sampled), -1)
            self.sampled[:, self.count * each :] = -1.0
            self.stride *= 2
        pairs = scores[:, : 2 * each].reshape(len(scores), each, 2)
        whole = np.where(pairs.min(axis=2) >= 0, pairs.sum(axis=2), -1.0)
        self.sampled[rows, self.count * each : (self.count + 1) * each] = whole

    def _levels(self) -> list[NDArray[np.float64]]:
        """What chance scores, for each window."""
        each = self.per_block // 2
        return [score_levels(row) for row in self.sampled[:, : max(1, self.count) * each]]

    def _settle(self, ready: int) -> None:
        """Find places among cells below ``ready``, and forget those that no slope reaches from above."""
        scores = self.scores[:, :ready]
        pairs = np.where(np.minimum(scores[:, :-1], scores[:, 1:]) >= 0, scores[:, :-1] + scores[:, 1:], -1.0)
        levels = self._levels()
        evidence = np.stack([nats(row, level) for row, level in zip(pairs, levels, strict=True)])
        first, stop = self.margin, pairs.shape[1] - self.margin
        if stop > first:
            for turn_number, turn in enumerate(self.turns):
                there = np.stack([row[first + t : stop + t] for row, t in zip(evidence, turn, strict=True)])
                heard = np.stack([row[first + t : stop + t] >= 0 for row, t in zip(pairs, turn, strict=True)])
                rank = _ranks(there, heard)
                peaks = np.flatnonzero(
                    (rank >= scipy.ndimage.maximum_filter1d(rank, 2 * _APART_CELLS + 1)) & (rank > 0)
                )
                for k in peaks[np.argsort(-rank[peaks])[:_PLACES_A_CHUNK]]:
                    at = first + k
                    own = pairs[np.arange(len(pairs)), at + turn]
                    self.found.append((float(rank[k]), self.origin + int(at), turn_number, own))
            self.found = _thinned(self.found)
        kept = self.scores.shape[1] - (stop - first)
        self.scores[:, :kept] = self.scores[:, stop - first :].copy()
        self.scores[:, kept:] = -1.0
        self.origin += stop - first

    def places(self, passed: int) -> tuple[Place, ...]:
        """What was found, best first, judged by all scores."""
        n = len(self.sound.starts)
        if not n or not self.cells_scored:
            return ()
        self._settle(self.scores.shape[1])
        levels = self._levels()
        trials = max(1.0, (passed + self.last_start) / self.cell) * len(self.slopes)
        if not self.found:
            return ()
        scores = np.stack([own for *_, own in self.found], axis=1)
        said = np.stack([nats(row, level) for row, level in zip(scores, levels, strict=True)], axis=1)
        said[scores.T < 0] = np.nan
        found = []
        for (_, at, turn, _), evidence in zip(self.found, said, strict=True):
            chance, rank = judge(evidence, places=trials)
            found.append(Place((at + 1) * self.cell, float(self.slopes[turn]), self.pivot, rank, chance, evidence))
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


def _ranks(evidence: NDArray[np.float64], heard: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Nats for each column (windows, cells), of the best stretch or of all, whichever says more."""
    n_cells = evidence.shape[1]
    run, best, count, total = np.zeros(n_cells), np.zeros(n_cells), heard.sum(axis=0), evidence.sum(axis=0)
    for row, there in zip(evidence, heard, strict=True):
        run = np.maximum(run + np.where(there, row - EVEN_NATS, 0.0), 0.0)
        best = np.maximum(best, run)
    by_stretch = _STRETCH_DECAY * best - np.log(np.maximum(count, 1))
    by_all = -np.log(np.maximum(gammaincc(np.maximum(count, 1), total), 1e-300))
    return np.where(count > 0, np.maximum(by_stretch, by_all), 0.0)


def _thinned(found: list[tuple[float, int, int, NDArray[np.float32]]]) -> list:
    kept: list = []
    for one in sorted(found, key=lambda item: -item[0]):
        if all(abs(one[1] - other[1]) > _APART_CELLS for other in kept):
            kept.append(one)
            if len(kept) == _MOST_PLACES:
                break
    return kept
