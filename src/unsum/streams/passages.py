"""The passages of a recording: block by block, what the stream channels leave room for.

Memory does not grow with the recording: a passage is a subspace with counts, and a
bounded number of blocks of every kind of passage is kept to listen to later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unsum.streams.relations import Block, Reading, read_block
from unsum.streams.subspaces import Subspace, complement, span

# A span that fewer samples at an edge of a block make up may be an accident of their values.
EDGE_SAMPLES = 32

# How many faint blocks in a row wait for the next clear one.
_MOST_WAITING = 32

_RECENT = 3  # readings that are tried first

DEPTHS_HELD = 4


@dataclass(slots=True)
class Passage:
    """All blocks in which the same subspace was filled."""

    blocks: int = 0
    runs: int = 0
    first_sample: int = 0
    last_block: int = -2


@dataclass(slots=True)
class RoundingErrors:
    """Powers per block of the relations that hold within rounding in one subspace."""

    total: NDArray[np.float64]  # (relations,)
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    blocks: int = 0
    clear_blocks: int = 0

    @classmethod
    def of(cls, relations: int) -> "RoundingErrors":
        return cls(np.zeros(relations), np.full(relations, np.inf), np.zeros(relations))

    def add(self, powers: NDArray[np.float64], *, clear: bool) -> None:
        self.blocks += 1
        self.most = np.maximum(self.most, powers)
        if clear:  # in a fade there may be less error than rounding makes of a loud sound
            self.clear_blocks += 1
            self.total += powers
            self.least = np.minimum(self.least, powers)


@dataclass(slots=True)
class PassageLog:
    """What was seen of one group of channels, in the order of time."""

    streams: tuple[int, ...]  # of each channel of the group
    keep_bytes: int
    exact: dict[Subspace, Passage] = field(default_factory=dict)
    rounded: dict[Subspace, Passage] = field(default_factory=dict)
    errors: dict[Subspace, RoundingErrors] = field(default_factory=dict)
    kept: "KeptBlocks" = field(init=False)
    depths: dict[int, list[float]] = field(default_factory=dict)  # per stream, deepest first
    related: set[int] = field(default_factory=set)  # streams that were in an integer relation
    sounding_blocks: int = 0
    edges: int = 0
    unclear: int = 0  # blocks whose exact relations could not be told
    faint: int = 0  # blocks whose relations within rounding fit neither side of them
    _recent: list[Reading] = field(default_factory=list)
    _before: "_Steady | None" = None
    _clear: Subspace = ()
    _waiting: list[Block] = field(default_factory=list)
    _waited: int = 0

    def __post_init__(self) -> None:
        self.kept = KeptBlocks(self.keep_bytes)

    def observe(self, block: Block, *, number: int, start_sample: int) -> None:
        """Note one block of integer samples, shape (channels, samples)."""
        reading = self._read(block)
        if reading is None:
            self.edges += 1
            return
        self.sounding_blocks += reading.exact != ()
        if reading.exact is None:
            self.unclear += 1
        else:
            _count(self.exact, reading.exact, number, start_sample)
        if reading.rounded is None:
            self._wait(block)
        else:
            self._resolve_waiting(reading.rounded)
            _count(self.rounded, reading.rounded, number, start_sample)
            self._note_errors(block, reading.rounded, clear=True)
        self._keep(block, reading, number)
        self._note_depth(block, reading, number)

    def finish(self) -> None:
        """Settle what still waits for a clear block."""
        self._resolve_waiting(self._clear)

    def _keep(self, block: Block, reading: Reading, number: int) -> None:
        """Offer the block before this one if nothing starts or stops in or beside it.

        Two sources that start at the same moment share a click, though no sound.
        """
        steady = self._before is not None and self._before.number == number - 1
        steady = steady and self._before is not None and _alike(self._before.reading, reading)
        if steady and self._before is not None and self._before.block is not None:
            self.kept.offer(self._before.reading, self._before.block)
        several = max(len(reading.exact or ()), len(reading.rounded or ())) > 1
        self._before = _Steady(number, reading, block.copy() if steady and several else None)

    def _read(self, block: Block) -> Reading | None:
        """The block's reading; None where it hangs on a few samples at an edge."""
        for guess in self._recent:
            if read_block(block, guess=guess) is guess:
                reading = guess
                break
        else:
            reading = read_block(block)
        if reading in self._recent:
            self._recent.remove(reading)
        elif read_block(block[:, EDGE_SAMPLES:-EDGE_SAMPLES]) != reading:
            return None
        self._recent = [reading, *self._recent[: _RECENT - 1]]
        return reading

    def _wait(self, block: Block) -> None:
        self._waited += 1
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(block.copy())

    def _resolve_waiting(self, after: Subspace) -> None:
        """Faint blocks are fades of what sounds before or after them, or they are not understood."""
        if self._waited:
            both = span(self._clear + after)
            self.faint += self._waited - len(self._waiting)
            for block in self._waiting:
                self.faint += not self._note_errors(block, both, clear=False)
            self._waiting, self._waited = [], 0
        self._clear = after

    def _note_errors(self, block: Block, space: Subspace, *, clear: bool) -> bool:
        relations = np.array(complement(space, len(block)), dtype=float).reshape(-1, len(block))
        errors = relations @ block
        if (np.abs(errors).max(axis=1, initial=0) > np.abs(relations).sum(axis=1) / 2).any():
            return False
        held = self.errors.setdefault(space, RoundingErrors.of(len(relations)))
        held.add((errors**2).mean(axis=1), clear=clear)
        return True

    def _note_depth(self, block: Block, reading: Reading, number: int) -> None:
        """How far each stream follows from the others where no integer relation says so."""
        room = reading.rounded if reading.rounded is not None else reading.exact
        sounding = np.flatnonzero(block.any(axis=1))
        if room is not None and len(room) < len(sounding):
            for relation in complement(room, len(block)):
                self.related |= {self.streams[at] for at in sounding if relation[at] and np.count_nonzero(relation) > 1}
        elif number % 4 == 0:
            self.note_depth(block)

    def note_depth(self, block: Block) -> None:
        """Regress every stream on the others, for streams that are no integer sums."""
        powers = block @ block.T / block.shape[1]
        for stream in set(self.streams):
            own = np.array([of == stream for of in self.streams]) & (np.diag(powers) > 0)
            others = np.array([of != stream for of in self.streams]) & (np.diag(powers) > 0)
            if not own.any() or not others.any():
                continue
            shared = powers[np.ix_(others, own)]
            gains = np.linalg.lstsq(powers[np.ix_(others, others)], shared, rcond=1e-12)[0]
            left = 1.0 - (gains * shared).sum(axis=0) / np.diag(powers)[own]
            found = self.depths.setdefault(stream, [])
            found.append(float(10 * np.log10(max(left.min(), 1e-20))))
            found.sort()
            del found[DEPTHS_HELD:]


class _Steady(NamedTuple):
    """The block before; with its samples if the same sounded in the one before that."""

    number: int
    reading: Reading
    block: Block | None


def _alike(one: Reading, other: Reading) -> bool:
    return (one.exact is not None and one.exact == other.exact) or (
        one.rounded is not None and one.rounded == other.rounded
    )


def _count(passages: dict[Subspace, Passage], space: Subspace, number: int, start_sample: int) -> None:
    if space not in passages:
        passages[space] = Passage(first_sample=start_sample)
    passage = passages[space]
    passage.blocks += 1
    passage.runs += passage.last_block != number - 1
    passage.last_block = number


class KeptBlocks:
    """A bounded sample of the blocks of every reading, spread evenly over time."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._held: dict[Reading, list[NDArray[np.signedinteger]]] = {}
        self._offered: dict[Reading, int] = {}
        self._every: dict[Reading, int] = {}

    def offer(self, reading: Reading, block: Block) -> None:
        """Keep the block if its turn has come; make room by keeping every second one."""
        count = self._offered.get(reading, 0)
        self._offered[reading] = count + 1
        every = self._every.setdefault(reading, 1)
        if count % every:
            return
        copy = block.astype(np.int32 if np.abs(block).max() > 32767 else np.int16)
        self._held.setdefault(reading, []).append(copy)
        self._bytes += copy.nbytes
        while self._bytes > self._most_bytes:
            longest = max(self._held, key=lambda reading: len(self._held[reading]))
            self._bytes -= sum(block.nbytes for block in self._held[longest][1::2])
            self._held[longest] = self._held[longest][::2]
            self._every[longest] *= 2

    def __iter__(self) -> Iterator[tuple[Reading, NDArray[np.float64]]]:
        """Each reading with its blocks, shape (blocks, channels, samples)."""
        for reading, blocks in self._held.items():
            yield reading, np.stack(blocks).astype(np.float64)
