"""Elimination among small integer vectors: what spans what, and by the fewest of them.

Exact: rows stay integers, divided by their common factors.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations

# How long to look for the shortest combinations among rows that hang together: sets of rows
# looked at, and sets eliminated. Beyond it any exact combination will do.
MOST_SUBSETS = 20_000
MOST_ELIMINATIONS = 2_000

Vector = tuple[int, ...]  # coefficients, one per unknown of a component


def coprime(values: Sequence[Fraction | int]) -> tuple[Vector, Fraction]:
    """Coprime integers, the first nonzero one positive, and the factor that gives the values back."""
    denominator = math.lcm(*(x.denominator for x in values))
    integers = [int(x * denominator) for x in values]
    divisor = math.gcd(*integers) or 1
    if next((x for x in integers if x), 1) < 0:
        divisor = -divisor
    return tuple(x // divisor for x in integers), Fraction(divisor, denominator)


# --- elimination in integers ---

# A row of an echelon: the vector, then which combination of the given vectors it is, then one
# place for a target. Paired with its pivot; a row is zero at the pivots of the rows before it.
Echelon = list[tuple[int, list[int]]]


def _reduced(row: list[int], echelon: Echelon) -> list[int]:
    for pivot, other in echelon:
        if row[pivot]:
            a, b = other[pivot], row[pivot]
            row = [a * x - b * y for x, y in zip(row, other, strict=True)]
    divisor = math.gcd(*row)
    return [x // divisor for x in row] if divisor > 1 else row


def eliminate(vectors: Sequence[Vector]) -> tuple[Echelon, list[list[int]]]:
    """The echelon of the vectors, and a dependency for each that depends on those before it."""
    echelon: Echelon = []
    dependencies = []
    size = len(vectors)
    for i, vector in enumerate(vectors):
        row = _reduced([*vector, *(int(i == k) for k in range(size + 1))], echelon)
        pivot = next((p for p in range(len(vector)) if row[p]), None)
        if pivot is None:
            dependencies.append(row[-size - 1 : -1])
        else:
            echelon.append((pivot, row))
    return echelon, dependencies


def combination_of(target: Vector, echelon: Echelon, size: int) -> list[Fraction] | None:
    """The target as a combination of the echelon's ``size`` vectors; None if it is not one."""
    row = _reduced([*target, *[0] * size, 1], echelon)
    if any(row[: len(target)]):
        return None
    return [Fraction(-x, row[-1]) for x in row[len(target) : -1]]


# --- the shortest combinations and dependencies ---

Coefficients = Mapping[int, Fraction]  # {number of the vector: coefficient}


def known(vectors: Sequence[Vector]) -> tuple[list[Vector], int]:
    """What the vectors span, as simply as it can be said, and how many depend on the others.

    First a unit vector for each unknown that is determined; then sums of the rest.
    """
    echelon, dependencies = eliminate(vectors)
    n = len(vectors[0])
    units = [tuple(int(i == j) for i in range(n)) for j in range(n)]
    determined = [unit for unit in units if combination_of(unit, echelon, len(vectors)) is not None]
    rest = [not any(unit[j] for unit in determined) for j in range(n)]
    sums = _short_basis([tuple(x * kept for x, kept in zip(vector, rest, strict=True)) for vector in vectors])
    return determined + sums, len(dependencies)


def shortest(
    vectors: Sequence[Vector], targets: Sequence[Vector], *, n_circuits: int
) -> tuple[list[list[Coefficients]], list[Vector]]:
    """The shortest combinations that give each target, and a basis of short dependencies.

    A shortest combination uses each of its vectors, and its vectors are independent; so does
    a shortest dependency but for one vector. Sets of growing size are looked through, and an
    unknown that just one vector of the set holds rules most of them out.
    """
    masks = [_mask(vector) for vector in vectors]
    found: list[list[Coefficients]] = [[] for _ in targets]
    circuits: list[Vector] = []
    subsets = eliminations = 0
    for size in range(1, len(vectors) + 1 if n_circuits else 1):  # else each combination is the only one
        open_targets = [(i, _mask(target)) for i, target in enumerate(targets) if not found[i]]
        if not open_targets and len(circuits) == n_circuits:
            break
        dependent: list[Vector] = []
        for subset in combinations(range(len(vectors)), size):
            once = ever = 0
            for i in subset:
                once = (once & ~masks[i]) | (masks[i] & ~ever)
                ever |= masks[i]
            subsets += 1
            if subsets > MOST_SUBSETS or eliminations > MOST_ELIMINATIONS:
                break
            fitting = [i for i, mask in open_targets if not once & ~mask and not mask & ~ever]
            if not fitting and (once or len(circuits) == n_circuits):
                continue
            eliminations += 1
            echelon, dependencies = eliminate([vectors[i] for i in subset])
            if dependencies:
                if len(dependencies) == 1 and all(dependencies[0]):
                    whole = dict(zip(subset, dependencies[0], strict=True))
                    dependent.append(tuple(whole.get(i, 0) for i in range(len(vectors))))
                continue
            for i in fitting:
                coefficients = combination_of(targets[i], echelon, size)
                if coefficients and all(coefficients):
                    found[i].append(dict(zip(subset, coefficients, strict=True)))
        circuits = _independent([*circuits, *sorted(dependent, key=lambda c: sum(map(abs, c)))])
        if subsets > MOST_SUBSETS or eliminations > MOST_ELIMINATIONS:
            break
    sparse = sorted(range(len(vectors)), key=lambda i: masks[i].bit_count())
    echelon, dependencies = eliminate([vectors[i] for i in sparse])
    for i, target in enumerate(targets):
        if not found[i]:
            coefficients = combination_of(target, echelon, len(vectors))
            assert coefficients is not None, "the targets are in the span of the vectors"
            found[i].append({k: x for k, x in zip(sparse, coefficients, strict=True) if x})
    place = [sparse.index(i) for i in range(len(vectors))]
    circuits = _independent([*circuits, *(tuple(d[p] for p in place) for d in dependencies)])
    return found, circuits


def _mask(vector: Vector) -> int:
    return sum(1 << i for i, x in enumerate(vector) if x)


def _independent(vectors: Sequence[Vector]) -> list[Vector]:
    """Those that do not depend on the ones before them."""
    kept: list[Vector] = []
    echelon: Echelon = []
    for vector in vectors:
        row = _reduced(list(vector), echelon)
        if any(row):
            echelon.append((next(p for p, x in enumerate(row) if x), row))
            kept.append(vector)
    return kept


def _short_basis(vectors: Sequence[Vector]) -> list[Vector]:
    """Short vectors with the same span: of them and their sums with one unknown eliminated."""
    primitive = dict.fromkeys(coprime(vector)[0] for vector in vectors if any(vector))
    eliminated = {}
    for a, b in combinations(primitive, 2):
        for x, y in zip(a, b, strict=True):
            if x and y:
                eliminated[coprime([y * p - x * q for p, q in zip(a, b, strict=True)])[0]] = None

    def length(vector: Vector) -> tuple[int, int, int]:
        return sum(x != 0 for x in vector), sum(x < 0 for x in vector), sum(map(abs, vector))

    return _independent(sorted([*primitive, *(v for v in eliminated if any(v))], key=length))
