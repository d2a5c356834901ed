"""Which channel holds which: the gain of one in the other, and how deep it cancels.

For two channels ``x`` and ``y`` the gain ``g = <x, y> / <x, x>`` leaves the least energy
in ``y - g x``; that energy is ``(1 - r**2) <y, y>`` with ``r`` their correlation. So the sums
of products of all channels, collected in one pass, tell every gain and every null
depth. They do not tell "bit-identical": that is seen by comparing every sample.
"""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from unsum.inspection.findings import Containment
from unsum.inspection.samples import on_grid
from unsum.streams.arithmetic import Grid
from unsum.streams.assembly import AlignedBlock
from unsum.streams.equations import StreamChannel

LARGEST_RATIO = 64  # exact gains are told up to 64 and down to 1/64
# What 1 - r**2 can be told from zero by, in float64.
DEEPEST_DB = -140.0
_CHUNK = 4096
_PROBES = 16


class ContainmentMeter:
    """Collects products and compares samples of all channels of some streams.

    Parameters
    ----------
    grid : the word length all streams are brought to
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.keys = [StreamChannel(s, name) for s, form in grid.formats.items() for name in form.channels]
        count = len(self.keys)
        self._stream_of = np.array([key.stream for key in self.keys])
        self._several = len(grid.formats) > 1
        self._products = np.zeros((count, count))
        # Energy of channel i while the stream of channel j is there too.
        self._energy_beside = np.zeros((count, count))
        self._sounding_chunks = np.zeros((count, count), np.int64)
        self._equal_chunks = np.zeros((count, count), np.int64)
        # Pairs that may still be copies of each other: None until both have sounded.
        self._ratios: dict[tuple[int, int], Fraction | None] = dict.fromkeys(combinations(range(count), 2))

    def observe(self, block: AlignedBlock, rows: Mapping[int, NDArray]) -> None:
        """Take an aligned block; ``rows`` are its samples, {stream: (channels, samples)}, contiguous."""
        values = {stream: on_grid(samples, self.grid, stream) for stream, samples in rows.items()}
        for start, stop, present in block.passages():
            at = [i for i, key in enumerate(self.keys) if key.stream in present]
            columns = [row[start:stop] for stream in self.grid.formats if stream in present for row in values[stream]]
            sounding = [bool(column.any()) for column in columns]
            self._compare(at, columns, sounding)
            if self._several and any(sounding):
                heard = [i for i, sounds in zip(at, sounding, strict=True) if sounds]
                loud = [column for column, sounds in zip(columns, sounding, strict=True) if sounds]
                self._multiply(heard, at, loud)
                self._count_chunks(heard, at, loud)

    def _compare(self, at: list[int], columns: list[NDArray], sounding: list[bool]) -> None:
        here = {i: n for n, i in enumerate(at)}
        exact = np.float64 if self.grid.bits is None else np.int64
        for pair, ratio in list(self._ratios.items()):
            one, other = here.get(pair[0]), here.get(pair[1])
            if one is None or other is None or not (sounding[one] or sounding[other]):
                continue
            x, y = columns[one], columns[other]
            if ratio is None and sounding[one]:
                ratio = _ratio(x, y)
            if sounding[one] and sounding[other] and ratio is not None and _proportional(x, y, ratio, exact):
                self._ratios[pair] = ratio
            else:
                del self._ratios[pair]

    def _multiply(self, heard: list[int], at: list[int], loud: list[NDArray]) -> None:
        matrix = np.array(loud, np.float64)
        products = matrix @ matrix.T
        self._products[np.ix_(heard, heard)] += products
        self._energy_beside[np.ix_(heard, at)] += products.diagonal()[:, None]

    def _count_chunks(self, heard: list[int], at: list[int], loud: list[NDArray]) -> None:
        """Chunks in which a channel sounds, and in which two are equal at every sample."""
        length = len(loud[0])
        size = min(_CHUNK, length)
        chunks = np.array([column[: length // size * size].reshape(-1, size) for column in loud])
        sounds = np.asarray(chunks.any(axis=2))
        self._sounding_chunks[np.ix_(heard, at)] += sounds.sum(axis=1)[:, None]
        # A few samples tell nearly all unequal chunks apart; the rest is compared in full.
        probes = chunks[:, :, :: max(1, size // _PROBES)]
        for one, other in combinations(range(len(heard)), 2):
            if self._stream_of[heard[one]] == self._stream_of[heard[other]]:
                continue
            candidates = np.flatnonzero((probes[one] == probes[other]).all(axis=1) & sounds[one])
            if len(candidates):
                equal = int((chunks[one, candidates] == chunks[other, candidates]).all(axis=1).sum())
                self._equal_chunks[heard[one], heard[other]] += equal

    def copies(self) -> dict[tuple[StreamChannel, StreamChannel], Fraction]:
        """``{(x, y): g}`` of all pairs with ``y = g x`` at every sample; silent channels are left out."""
        return {
            (self.keys[one], self.keys[other]): ratio
            for (one, other), ratio in self._ratios.items()
            if ratio is not None
        }

    def containments(self) -> tuple[Containment, ...]:
        """Every pair of sounding channels of different streams, and copies within a stream; deepest first."""
        found = sorted(self._pairs(), key=lambda pair: -math.inf if pair.null_db is None else pair.null_db)
        return tuple(found)

    def _pairs(self) -> Iterator[Containment]:
        for one, other in combinations(range(len(self.keys)), 2):
            ratio = self._ratios.get((one, other))
            x, y = self.keys[one], self.keys[other]
            if ratio is not None:
                if abs(ratio) > 1:
                    yield Containment(x, y, float(ratio), ratio, None, float(ratio == 1))
                else:
                    # y = p/q x: told from the louder channel, unless the two are equally loud.
                    turn = abs(ratio) < 1
                    inner, outer, gain = (y, x, 1 / ratio) if turn else (x, y, ratio)
                    yield Containment(inner, outer, float(gain), gain, None, float(ratio == 1))
                continue
            energy_x, energy_y = self._energy_beside[one, other], self._energy_beside[other, one]
            if x.stream == y.stream or not energy_x or not energy_y:
                continue
            product = self._products[one, other]
            rest = max(1.0 - product * product / (energy_x * energy_y), 10 ** (DEEPEST_DB / 10))
            together = max(self._sounding_chunks[one, other], self._sounding_chunks[other, one])
            share = float(self._equal_chunks[one, other] / together) if together else 0.0
            forward, backward = product / energy_x, product / energy_y
            # Both directions cancel equally deep. The gain of a sound in a sum with others comes out as it
            # was set, the gain of the sum in the sound does not: prefer a plain ratio, else quieter in louder.
            if (_plainness(forward), energy_x) <= (_plainness(backward), energy_y):
                inner, outer, gain = x, y, forward
            else:
                inner, outer, gain = y, x, backward
            yield Containment(inner, outer, float(gain), None, 10 * math.log10(rest), share)


def _ratio(x: NDArray, y: NDArray) -> Fraction | None:
    """``y / x`` where ``x`` is loudest, if that is a ratio of small whole numbers."""
    at = int(np.abs(x.astype(np.float64)).argmax())
    if x.dtype.kind == "f":
        ratio = Fraction(float(y[at]) / float(x[at])).limit_denominator(LARGEST_RATIO)
    else:
        ratio = Fraction(int(y[at]), int(x[at]))
    return ratio if ratio and max(abs(ratio.numerator), ratio.denominator) <= LARGEST_RATIO else None


def _proportional(x: NDArray, y: NDArray, ratio: Fraction, exact: type) -> bool:
    for part in (slice(0, None, 997), slice(None)):
        if ratio == 1:
            equal = np.array_equal(x[part], y[part])
        else:
            left, right = y[part].astype(exact) * ratio.denominator, x[part].astype(exact) * ratio.numerator
            equal = np.array_equal(left, right)
        if not equal:
            return False
    return True


def _plainness(gain: float) -> float:
    """0 where a gain lies within a hundredth of 1, 2, 3, 4 or their inverses; else 1."""
    size = abs(gain)
    near = size if size >= 1 else 1 / max(size, 1e-9)
    return 0.0 if 0.99 < near < 4.05 and abs(near - round(near)) < 0.01 * near else 1.0
