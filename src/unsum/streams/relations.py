"""The integer relations that hold between stream channels in a block of samples.

A relation is a vector ``y`` of small integers with ``sum_i y[i] * x[i, t] = 0`` for
every sample ``t`` of the block. A recorder that adds integers makes relations that hold
exactly. One that mixes in float and rounds each stream once leaves an error of up to
half a step per stream, so ``abs(sum_i y[i] * x[i, t]) <= sum(abs(y)) / 2``.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unsum.streams.subspaces import Subspace, complement, span

Block = NDArray[np.float64]  # (channels, samples), holding integers below 2**32

# A rounding error has a power of 1/12; a unit vector across streams that round alike
# sees up to (number of streams)/12. What lies between these two powers may be rounding
# or a very faint source: such a block is left out instead of guessed.
ROUNDING_POWER = 0.6
SOUNDING_POWER = 10.0

# Relations are products of mixing gains such as 1, 2, 3 and 1/2.
LARGEST_COEFFICIENT = 256
LARGEST_DENOMINATOR = 64

_PRIME = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Reading:
    """What a block's relations leave room for.

    Both are subspaces of the stream channels: the span of the columns that sound.
    None means that the block does not tell.
    """

    exact: Subspace | None
    rounded: Subspace | None  # relations within rounding hold; never larger than `exact`


def read_block(block: Block, *, guess: Reading | None = None) -> Reading:
    """The subspaces in which a block moves.

    Parameters
    ----------
    block : (channels, samples)
    guess : Reading
        Usually that of the block before. It only saves time: it is kept if the
        block proves it, and the answer is the same without it.
    """
    if guess is not None and _is_proven(block, guess):
        return guess
    sounding = block.any(axis=1)
    rows = np.flatnonzero(sounding)
    if len(rows) <= 1:
        only = tuple(tuple(int(row == at) for at in range(len(block))) for row in rows)
        return Reading(only, only)
    part = block[rows]
    exact = _exact_span(part)
    if exact is not None and _clearly_independent(part[list(_free_rows(exact, len(part)))]):
        rounded = exact
    else:
        rounded = _rounded_span(part)
    return Reading(_widened(exact, rows, len(block)), _widened(rounded, rows, len(block)))


@dataclass(frozen=True, slots=True)
class _Proof:
    """A reading as matrices: what to evaluate to see whether a block agrees."""

    relations: NDArray[np.float64]  # (relations, channels), those within rounding
    bounds: NDArray[np.float64]  # (relations,)
    exactly: NDArray[np.bool_]  # (relations,), which of them hold exactly
    free: list[int]  # channels that must be independent


@lru_cache(maxsize=1024)
def _proof(guess: Reading, channels: int) -> _Proof | None:
    if guess.exact is None or guess.rounded is None:
        return None
    relations = complement(guess.rounded, channels)
    exact = complement(guess.exact, channels)
    exactly = np.array([relation in exact for relation in relations], dtype=bool)
    if span(relation for relation, holds in zip(relations, exactly, strict=True) if holds) != exact:
        return None  # the exact ones are combinations of several that do not hold exactly
    matrix = np.array(relations, dtype=float).reshape(len(relations), channels)
    free = list(_free_rows(guess.rounded, channels))
    return _Proof(matrix, np.abs(matrix).sum(axis=1) / 2, exactly, free)


def _free_rows(space: Subspace, channels: int) -> tuple[int, ...]:
    """Channels that are independent of each other if, and only if, the space is filled."""
    return tuple(next(at for at, entry in enumerate(row) if entry) for row in space)


def _is_proven(block: Block, guess: Reading) -> bool:
    proof = _proof(guess, len(block))
    if proof is None or not _clearly_independent(block[proof.free]):
        return False
    if not len(proof.relations):
        return True
    errors = proof.relations @ block
    worst = np.maximum(errors.max(axis=1), -errors.min(axis=1))
    if (worst[proof.exactly] > 0).any() or (worst > proof.bounds).any():
        return False
    inexact = errors[~proof.exactly]
    return not len(inexact) or _smallest_power(inexact) > 1e-3


def _smallest_power(rows: Block) -> float:
    """Least mean power of any unit combination of the rows, less what float64 cannot see."""
    powers = np.linalg.eigvalsh(rows @ rows.T / rows.shape[1])
    return float(powers[0] - 1e-12 * powers[-1])


def _clearly_independent(rows: Block) -> bool:
    """Whether no relation holds between the rows, not even within rounding."""
    return not len(rows) or _smallest_power(rows) > SOUNDING_POWER


def _widened(space: Subspace | None, rows: NDArray[np.intp], channels: int) -> Subspace | None:
    if space is None:
        return None
    wide = np.zeros((len(space), channels), dtype=int)
    if space:
        wide[:, rows] = space
    return tuple(tuple(map(int, vector)) for vector in wide)


@lru_cache(maxsize=64)
def _probe(samples: int, columns: int) -> NDArray[np.float64]:
    """Random weights under which a block of many samples keeps its relations and gets no others."""
    return np.random.default_rng(samples).integers(-63, 64, (samples, columns)).astype(float)


def _exact_span(block: Block) -> Subspace | None:
    """Complement of the relations that hold exactly.

    The relations are guessed modulo a prime from random sums over time. There are at
    least as many guesses as true relations, so if each guess holds on every sample
    there are no others.
    """
    channels, samples = block.shape
    # Below 2**53 whatever the samples are: 2**32 * 2**6 * 2**13.
    sums = block @ _probe(samples, channels + 4)
    rows = np.mod(sums.astype(np.int64), _PRIME).T
    rank, pivots = 0, []
    for column in range(channels):
        at = rank + int(np.argmax(rows[rank:, column] != 0))
        if not rows[at, column]:
            continue
        lead = rows[at] * pow(int(rows[at, column]), -1, _PRIME) % _PRIME
        rows[at] = rows[rank]
        rows = (rows - rows[:, column, None] * lead) % _PRIME
        rows[rank] = lead
        pivots.append(column)
        rank += 1
    free = [column for column in range(channels) if column not in pivots]
    if not free:
        return span(np.eye(channels, dtype=int))
    relations = _small_integers(-rows[:rank, free].T % _PRIME, pivots, free)
    if relations is None or (relations @ block).any():
        return None
    return complement(span(relations), channels)


def _small_integers(weights: NDArray[np.int64], pivots: list[int], free: list[int]) -> NDArray[np.float64] | None:
    """Relations ``free[k] + sum_j weights[k, j] * pivots[j]``, from residues to short integers."""
    relations = np.zeros((len(free), len(pivots) + len(free)))
    for at, (channel, residues) in enumerate(zip(free, weights, strict=True)):
        for denominator in range(1, LARGEST_DENOMINATOR + 1):
            scaled = residues * denominator % _PRIME
            scaled = np.where(scaled > _PRIME // 2, scaled - _PRIME, scaled)
            if not len(scaled) or np.abs(scaled).max() <= LARGEST_COEFFICIENT:
                relations[at, pivots] = scaled
                relations[at, channel] = denominator
                break
        else:
            return None
    return relations


def _rounded_span(block: Block) -> Subspace | None:
    """Complement of the relations that hold within rounding, None if a faint sound blurs them."""
    channels, samples = block.shape
    directions, sizes, _ = np.linalg.svd(block, full_matrices=False)
    powers = sizes**2 / samples
    quiet = powers < ROUNDING_POWER
    if (powers[~quiet] < SOUNDING_POWER).any():
        return None
    basis = directions[:, quiet].T.copy()
    pivots = []
    for row in range(len(basis)):
        column = int(np.argmax(np.abs(basis[row])))
        pivots.append(column)
        basis[row] /= basis[row, column]
        others = np.arange(len(basis)) != row
        basis[others] -= basis[others, column, None] * basis[row]
    for at, row in enumerate(basis):
        for denominator in range(1, LARGEST_DENOMINATOR + 1):
            scaled = row * denominator
            # Farther off than noise in the estimate can be and nearer than chance comes.
            if np.abs(scaled - np.rint(scaled)).max() < 0.02 * min(denominator, 8):
                basis[at] = np.rint(scaled)
                break
        else:
            return None
    space = complement(span(basis.astype(int)), channels)
    if len(space) != channels - len(basis):
        return None
    relations = np.array(complement(space, channels), dtype=float).reshape(-1, channels)
    if np.abs(relations).max(initial=0) > LARGEST_COEFFICIENT:
        return None
    errors = np.abs(relations @ block).max(axis=1, initial=0)
    return space if (errors <= np.abs(relations).sum(axis=1) / 2).all() else None
