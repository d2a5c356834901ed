"""Linear subspaces of small rational vectors, exactly.

A subspace is written as its reduced row echelon basis, every row scaled to coprime
integers: equal subspaces are equal tuples, so they can be counted in a dictionary.
The vectors here have one coordinate per stream channel, a dozen or so; plain Python
integers are exact and fast enough.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import gcd

Vector = tuple[int, ...]
Subspace = tuple[Vector, ...]


def coprime(vector: Sequence[int]) -> Vector:
    """The vector divided by its greatest common divisor, its first nonzero entry positive."""
    divisor = gcd(*vector) or 1
    first = next((entry for entry in vector if entry), 1)
    divisor = divisor if first > 0 else -divisor
    return tuple(entry // divisor for entry in vector)


def span(vectors: Iterable[Sequence[int]]) -> Subspace:
    """The subspace that the vectors span.

    Fraction-free Gauss-Jordan elimination; every row is made coprime on the way, so
    that the integers stay short.
    """
    rows = [list(map(int, vector)) for vector in vectors]
    width = len(rows[0]) if rows else 0
    rank = 0
    for column in range(width):
        pivot = next((at for at in range(rank, len(rows)) if rows[at][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = list(coprime(rows[pivot])), rows[rank]
        lead = rows[rank]
        for at, row in enumerate(rows):
            if at != rank and (factor := row[column]):
                mixed = [lead[column] * there - factor * here for there, here in zip(row, lead, strict=True)]
                divisor = gcd(*mixed) or 1
                rows[at] = [entry // divisor for entry in mixed]
        rank += 1
    return tuple(coprime(row) for row in rows[:rank])


@lru_cache(maxsize=4096)
def complement(space: Subspace, width: int) -> Subspace:
    """All vectors that are orthogonal to the subspace.

    Relations that hold between channels and the columns that sound are each other's
    complement: ``relation . column = 0``.
    """
    pivots = [next(at for at, entry in enumerate(row) if entry) for row in space]
    found = []
    for free in sorted(set(range(width)) - set(pivots)):
        scale = 1
        for row, pivot in zip(space, pivots, strict=True):
            scale = scale * row[pivot] // gcd(scale, row[pivot])
        vector = [0] * width
        vector[free] = scale
        for row, pivot in zip(space, pivots, strict=True):
            vector[pivot] = -scale * row[free] // row[pivot]
        found.append(vector)
    return span(found)


@lru_cache(maxsize=16384)
def intersection(one: Subspace, other: Subspace, width: int) -> Subspace:
    """The vectors that lie in both."""
    if not one or not other:
        return ()
    return complement(span(complement(one, width) + complement(other, width)), width)


def contains(space: Subspace, other: Subspace) -> bool:
    """Whether every vector of ``other`` lies in ``space``."""
    return len(span(space + other)) == len(space)


def closed_under_intersection(spaces: Iterable[Subspace], width: int, *, limit: int) -> set[Subspace] | None:
    """The subspaces with all their intersections, or None if there would be more than ``limit``."""
    closed: set[Subspace] = set()
    waiting = [space for space in set(spaces) if space]
    while waiting:
        space = waiting.pop()
        if space in closed:
            continue
        for other in tuple(closed):
            met = intersection(space, other, width)
            if met and met not in closed:
                waiting.append(met)
        closed.add(space)
        if len(closed) > limit:
            return None
    return closed
