"""Which sources the streams determine, and the exact combination that gives each.

The streams are known sums of unknown sources, ``x = A u`` with rational ``A``. An
unknown ``u_j`` is determined where some combination ``y`` of rows has ``y A = e_j``;
there are several as soon as rows depend on one another, and every dependency
``y A = 0`` is a check of the recipe against the audio. Elimination is in integers
and exact. Rows and unknowns that never meet are solved apart, which keeps it small.
"""

import math
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from unsum.streams.elimination import Coefficients, Vector, combination_of, coprime, eliminate, known, shortest
from unsum.streams.equations import Equations, SourceChannel, StreamChannel
from unsum.streams.recipe import format_sum, scaled

Row = Mapping[SourceChannel, Fraction]
Terms = tuple[tuple[StreamChannel, Fraction], ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """A weighted sum of stream channels, ``2*s2.FL - s0.FL``."""

    terms: Terms  # nonzero, the positive ones first

    def __str__(self) -> str:
        return format_sum(scaled(gain, str(channel)) for channel, gain in self.terms)

    @property
    def noise_gain(self) -> float:
        """Power of independent unit noise in each stream channel, as it comes out."""
        return float(sum(gain * gain for _, gain in self.terms))

    @property
    def streams(self) -> frozenset[int]:
        return frozenset(channel.stream for channel, _ in self.terms)


@dataclass(frozen=True, slots=True)
class Check:
    """A combination of stream channels that vanishes whatever the sources are."""

    terms: tuple[tuple[StreamChannel, int], ...]  # coprime, the first one positive
    # False where only stream channels that are the same sum are compared: that holds even if
    # each stream was mixed in float and rounded once, so it cannot tell the two apart.
    shows_rounding: bool

    def __str__(self) -> str:
        return format_sum(scaled(gain, str(channel)) for channel, gain in self.terms) + " = 0"

    @property
    def streams(self) -> frozenset[int]:
        return frozenset(channel.stream for channel, _ in self.terms)


@dataclass(frozen=True, slots=True)
class Solution:
    """What the streams tell about the sources."""

    determined: Mapping[SourceChannel, Combination]
    undetermined: Mapping[SourceChannel, str]  # why not, in words
    # What is known about the undetermined all the same: sums of them, and what gives each.
    sums: tuple[tuple[Row, Combination], ...]
    checks: tuple[Check, ...]  # a basis of all that must vanish
    rebuilt: frozenset[int]  # streams that are sums of determined unknowns alone


def _noise(combination: Combination) -> float:
    """Power of the rounding noise of the streams, and of the result's own where it must be rounded again."""
    divides = any(gain.denominator > 1 for _, gain in combination.terms)
    return combination.noise_gain + divides


def rounding_bound(terms: Iterable[tuple[StreamChannel, Fraction | int]]) -> float:
    """How far a combination may be off, in LSB, if each stream was rounded once to its grid."""
    return float(sum(abs(gain) for _, gain in terms) * Fraction(1, 2))


def solve(equations: Equations, *, quietest: bool = False, streams: Collection[int] | None = None) -> Solution:
    """Which unknowns the streams determine, and how.

    Parameters
    ----------
    equations : Equations
    quietest : bool
        False: of all combinations that give an unknown, the one with the fewest terms,
        then the smallest numbers, then the least noise. True: that one or the one of least
        noise, whichever is quieter once its fractions are rounded, for a recorder that
        mixes in float and rounds once, and so leaves an error of up to half an LSB in each
        stream, independent of the other streams. Stream channels that are the same sum
        carry the same error; one of them is used.
    streams : collection of stream numbers, optional
        The streams that this passage of the file has; all by default.

    Returns
    -------
    Solution
        ``rebuilt`` also counts streams that are missing here but whose sources are known.
    """
    rows = {key: row for key, row in equations.rows.items() if streams is None or key.stream in streams}
    solved: dict[SourceChannel, Combination] = {}
    reasons = {unknown: _absence(unknown, equations) for unknown in equations.unknowns}
    sums: list[tuple[Row, Combination]] = []
    checks = [Check(((key, 1),), shows_rounding=False) for key, row in rows.items() if not row]
    for component in _components(rows, equations.unknowns):
        vectors = list(component.directions)
        targets, nullity = known(vectors)
        found, circuits = shortest(vectors, targets, n_circuits=nullity)
        mine: list[Row] = []
        for target, candidates in zip(targets, found, strict=True):
            combination = _simplest(component, target, candidates)
            if quietest:
                combination = min(combination, _quietest(component, target), key=_noise)
            row = {unknown: Fraction(x) for unknown, x in zip(component.unknowns, target, strict=True) if x}
            if len(row) == 1:
                solved[next(iter(row))] = combination
            else:
                mine.append(row)
                sums.append((row, combination))
        reasons |= _ambiguities(mine, equations)
        checks += _checks(component, circuits)
    unknown_streams = {key.stream for key, row in equations.rows.items() if not row.keys() <= solved.keys()}
    order = {key: i for i, key in enumerate(rows)}
    return Solution(
        determined={unknown: solved[unknown] for unknown in equations.unknowns if unknown in solved},
        undetermined={unknown: text for unknown, text in reasons.items() if unknown not in solved},
        sums=tuple(sums),
        checks=tuple(sorted(checks, key=lambda check: (len(check.terms), order[check.terms[0][0]]))),
        rebuilt=frozenset(key.stream for key in equations.rows) - unknown_streams,
    )


# --- components: rows and unknowns that hang together ---


@dataclass(frozen=True, slots=True)
class _Component:
    unknowns: tuple[SourceChannel, ...]
    rows: Mapping[StreamChannel, Row]
    # Rows that are multiples of one another are interchangeable: each coprime vector with its
    # multiples (row = factor * vector). Elimination and search see only the vectors.
    directions: Mapping[Vector, Terms]

    def position(self, key: StreamChannel) -> int:
        return list(self.rows).index(key)

    def channels(self, vector: Vector) -> set[str]:
        return {unknown.channel for unknown, x in zip(self.unknowns, vector, strict=True) if x}


def _components(rows: Mapping[StreamChannel, Row], unknowns: Sequence[SourceChannel]) -> Iterator[_Component]:
    holders: dict[SourceChannel, list[StreamChannel]] = {}
    for key, row in rows.items():
        for unknown in row:
            holders.setdefault(unknown, []).append(key)
    seen: set[StreamChannel] = set()
    for start, row in rows.items():
        if not row or start in seen:
            continue
        seen.add(start)
        waiting, members = [start], set()
        while waiting:
            members.add(key := waiting.pop())
            near = {other for unknown in rows[key] for other in holders[unknown]} - seen
            seen |= near
            waiting += near
        mine = {key: row for key, row in rows.items() if key in members}
        held = tuple(unknown for unknown in unknowns if any(unknown in row for row in mine.values()))
        directions: dict[Vector, list[tuple[StreamChannel, Fraction]]] = {}
        for key, row in mine.items():
            vector, factor = coprime([row.get(unknown, Fraction(0)) for unknown in held])
            directions.setdefault(vector, []).append((key, factor))
        yield _Component(held, mine, {vector: tuple(group) for vector, group in directions.items()})


# --- from vectors back to stream channels ---


def _simplest(component: _Component, target: Vector, candidates: Iterable[Coefficients]) -> Combination:
    """The candidate with the smallest numbers, then the least noise, then rows of its own channel."""
    own = component.channels(target)

    def cost(terms: Terms) -> tuple[object, ...]:
        keys = [key for key, _ in terms]
        return (
            sum(_size(gain) for _, gain in terms),
            sum(gain * gain for _, gain in terms),
            sum(key.channel not in own for key in keys),
            sorted(key.stream for key in keys),
            sorted(component.position(key) for key in keys),
        )

    return Combination(min((_terms(component, candidate, own) for candidate in candidates), key=cost))


def _terms(component: _Component, coefficients: Coefficients, own: Collection[str] = ()) -> Terms:
    """Vectors' coefficients as stream channels', each vector by whichever of its rows is simplest."""

    def cost(term: tuple[StreamChannel, Fraction]) -> tuple[object, ...]:
        key, gain = term
        return _size(gain), abs(gain), key.channel not in own, component.position(key)

    groups = list(component.directions.values())
    return _ordered(
        component, (min(((key, x / factor) for key, factor in groups[i]), key=cost) for i, x in coefficients.items())
    )


def _ordered(component: _Component, terms: Iterable[tuple[StreamChannel, Fraction]]) -> Terms:
    return tuple(sorted(terms, key=lambda term: (term[1] < 0, component.position(term[0]))))


def _size(gain: Fraction) -> int:
    return abs(gain.numerator) + gain.denominator


def _quietest(component: _Component, target: Vector) -> Combination:
    """The combination ``y`` of least norm that gives the target.

    It lies in the column space, ``y = A w`` with ``(A^T A) w = target``.
    """
    own = component.channels(target)
    distinct: dict[tuple[Vector, Fraction], tuple[StreamChannel, Fraction]] = {}
    for vector, group in component.directions.items():
        for key, factor in sorted(group, key=lambda member: member[0].channel not in own):
            distinct.setdefault((vector, abs(factor)), (key, factor))
    scale = math.lcm(*(factor.denominator for _, factor in distinct.values()))
    rows = {key: [int(factor * scale) * x for x in vector] for (vector, _), (key, factor) in distinct.items()}
    n = len(target)
    gram = [tuple(sum(row[i] * row[j] for row in rows.values()) for j in range(n)) for i in range(n)]
    weights = combination_of(target, eliminate(gram)[0], n)
    assert weights is not None, "the rows of A and of A^T A have the same span"
    gains = {key: scale * sum(map(operator.mul, weights, row), Fraction(0)) for key, row in rows.items()}
    return Combination(_ordered(component, ((key, gain) for key, gain in gains.items() if gain)))


def _checks(component: _Component, circuits: Iterable[Vector]) -> Iterator[Check]:
    for group in component.directions.values():
        # Rows of equal size first: they round alike, so that check is exact for any recorder.
        members = sorted(group, key=lambda member: abs(member[1]))
        for i, (key, factor) in enumerate(members[1:], start=1):
            other, base = next((m for m in members[:i] if abs(m[1]) == abs(factor)), members[0])
            yield _check(component, ((other, factor), (key, -base)))
    for circuit in circuits:
        yield _check(component, _terms(component, {i: Fraction(x) for i, x in enumerate(circuit) if x}))


def _check(component: _Component, terms: Terms) -> Check:
    channels = list(dict.fromkeys(key.channel for key in component.rows))
    ordered = sorted(terms, key=lambda term: (channels.index(term[0].channel), term[0].stream))
    gains, _ = coprime([gain for _, gain in ordered])
    # Equal sums, and exact opposites, round alike: what they leave of one another is no rounding.
    left: dict[frozenset[tuple[SourceChannel, Fraction]], Fraction] = {}
    for key, gain in ordered:
        row = component.rows[key]
        sign = 1 if row[min(row)] > 0 else -1
        same = frozenset((unknown, sign * x) for unknown, x in row.items())
        left[same] = left.get(same, Fraction(0)) + sign * gain
    return Check(
        tuple((key, gain) for (key, _), gain in zip(ordered, gains, strict=True)),
        shows_rounding=any(left.values()),
    )


# --- what is not determined, in words ---


def _absence(unknown: SourceChannel, equations: Equations) -> str:
    streams = sorted({key.stream for key, row in equations.rows.items() if unknown in row})
    if not streams:
        return "appears in no stream"
    many = len(streams) > 1
    numbers = _listed(list(map(str, streams)))
    return f"appears only in stream{'s' * many} {numbers}, which {'are' if many else 'is'} missing here"


def _ambiguities(sums: Sequence[Row], equations: Equations) -> dict[SourceChannel, str]:
    """For each unknown in the sums, why they do not tell it apart from others."""
    groups: list[list[Row]] = []
    for row in sums:
        touching = [group for group in groups if any(row.keys() & other.keys() for other in group)]
        groups = [group for group in groups if group not in touching]
        groups.append([*(other for group in touching for other in group), row])
    reasons = {}
    for group in groups:
        members = [unknown for unknown in equations.unknowns if any(unknown in row for row in group)]
        names = _listed([equations.label(unknown) for unknown in members])
        texts = [_sum_text(row, equations) for row in group]
        gains = set(group[0].values())
        if len(group) > 1:
            text = f"{names} cannot be told apart: only {_listed(texts)} are known"
        elif len(gains) == 1:
            text = f"{names} appear only as their sum"
        elif len(members) == 2 and gains == {1, -1}:
            text = f"{names} appear only as their difference {texts[0]}"
        else:
            text = f"{names} appear only as {texts[0]}"
        reasons |= dict.fromkeys(members, text)
    return reasons


def _sum_text(row: Row, equations: Equations) -> str:
    ordered = sorted(row.items(), key=lambda item: (item[1] < 0, -abs(item[1])))
    return format_sum(scaled(gain, equations.label(unknown)) for unknown, gain in ordered)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
