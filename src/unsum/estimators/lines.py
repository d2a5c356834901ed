"""What speaks for the lines along which a search heard references, and which of them are proved.

Every line is listened to at the low rate over all of its length, in one pass over the mixture that also cuts the pieces
for the proof at the full rate. How sure a presence is, search and windows and full rate say together, however much one
of them says what another said [1]_.

References
----------
.. [1] Vovk and Wang, "Combining p-values via averaging", Biometrika 107(4), 2020: ``e`` times their geometric mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.search import Place, Search
from unsum.estimators.agreement import Along, Tiling, agreement_along, tiled
from unsum.estimators.places import Heard
from unsum.estimators.proof import (
    FALSE_PROOF,
    MOST_WINDOWS,
    Plan,
    Proof,
    cut,
    cut_at_both_rates,
    followed,
    plan,
    prove,
)
from unsum.problem import AudioSource
from unsum.progress import Progress

FALSE_ALARM = 1e-4
# Standard deviations by which windows together stand out where a sound is: 27 to 37 in songs at their own level, less
# than 6 where two unrelated loops run in step.
_BEYOND_CHANCE = 10.0
_FEW_WINDOWS = 6  # of the proof of all passages but the surest
# Nats: of windows that agree, and of these and the search together; less is asked for where a response stands out.
_LEAST = 4.0, 20.0
_LEAST_STANDING_OUT = 3.0, 18.0
_STANDS_WELL = 6.0
# Of sounds that are there, 20 dB below an hour of others, a common response stood out by 6.3 to 21, and 160 to 1800
# nats were explained; of those that are not, 2.9 to 5.7 and, in another loop at the same tempo, up to 190.
_STANDS_OUT = 6.5
_EXPLAINS = 200.0
_HEARD_AT_ALL = 0.02
_REPEATS = 2.0
_MORE = 1.02  # times as much is explained by a line that takes the place of another
_FOLLOWED = 2.0  # standard deviations by which windows agree on a line that is better than that of the search


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the search says of one reference, in samples of the search."""

    heard: tuple[Heard, ...]
    found: Search
    swapped: bool
    reason: str = ""
    rivals: tuple[Heard, ...] = ()

    @property
    def side(self) -> float:
        """Evidence for the best place over that for the next that is no other passage."""
        best, other = self._best, self.next_best
        if best is None or other is None or other[1] <= 0:
            return math.inf
        return max(1.0, float(np.nansum(best.evidence)) / other[1])

    @property
    def next_best(self) -> tuple[float, float] | None:
        """Delay in mixture time, and the evidence, of the place with most that is no passage."""
        sign = -1 if self.swapped else 1
        taken = {one.delay for one in self.heard}
        others = [place for place in self.found.places if place is not self._best and sign * place.delay not in taken]
        most = max(others, key=lambda place: float(np.nansum(place.evidence)), default=None)
        return None if most is None else (sign * most.delay, float(np.nansum(most.evidence)))

    @property
    def _best(self) -> Place | None:
        sign = -1 if self.swapped else 1
        first = [place for place in self.found.places if self.heard and sign * place.delay == self.heard[0].delay]
        return next(iter([*first, *self.found.places]), None)


def chance_together(chances: Sequence[float]) -> float:
    """How often chance gives all that several tests say, whether or not one depends on another [1]_."""
    return min(1.0, math.e * math.exp(float(np.mean(np.log(np.maximum(chances, 1e-300))))))


@dataclass(frozen=True, slots=True)
class Line:
    """A line in samples of the full rate, with what its windows say together, and what the full rate says."""

    line: Heard
    along: Along | None
    proof: Proof | None

    @property
    def explained(self) -> float:
        return self.along.explained if self.along else 0.0

    @property
    def likely(self) -> bool:
        """Whether chance cannot explain what search and windows say together."""
        if self.along is None:
            return self.line.false_alarm <= FALSE_ALARM
        agreement, shared = self.along.agreement, self.along.shared
        if agreement.height >= _BEYOND_CHANCE and self.line.false_alarm <= FALSE_ALARM:
            return True  # however much the music repeats itself
        if shared.repeats >= _REPEATS and shared.standing < _STANDS_OUT:
            return False  # two loops in step: the windows are one witness, heard again and again
        if shared.standing >= _STANDS_OUT and self.along.explained >= _EXPLAINS * shared.repeats:
            return self.line.false_alarm <= _HEARD_AT_ALL
        together = agreement.nats - math.log(max(self.line.false_alarm, 1e-300))
        least = _LEAST_STANDING_OUT if shared.standing >= _STANDS_WELL else _LEAST
        return agreement.nats >= least[0] and together >= least[1]

    @property
    def chance(self) -> float:
        """How often chance gives all of this together, whether or not one thing depends on another."""
        chances = [self.line.false_alarm]
        if self.along is not None:
            chances.append(self.along.agreement.chance)
        if self.proof is not None:
            chances.append(self.proof.false_alarm)
        return chance_together(chances)

    @property
    def proved(self) -> bool:
        return self.likely and self.proof is not None and self.proof.votes > 0 and self.proof.false_alarm < FALSE_PROOF


def prove_lines(
    mixture: AudioSource,
    references: Sequence[AudioSource],
    sounds: Mapping[str, NDArray[np.float32]],
    candidates: Mapping[str, Candidate],
    factor: int,
    *,
    progress: Progress | None = None,
) -> dict[str, list[Line]]:
    """Every line with what speaks for it, the best first; one pass over the mixture, one over each reference."""
    rate = mixture.sample_rate
    plans: list[tuple[str, Heard, Plan | None, Tiling | None]] = []
    for name, candidate in candidates.items():
        for n, low in enumerate([*candidate.heard, *candidate.rivals]):
            line = _at_full_rate(low, factor)
            where = plan(line, rate=rate, max_windows=_FEW_WINDOWS if n else MOST_WINDOWS)
            plans.append((name, line, where, tiled(low)))
    if not plans:
        return {}
    full, slow = cut_at_both_rates(
        mixture,
        [(int(at), p.window) for _, _, p, _ in plans if p for at in p.heard],
        [(int(at), t.window) for *_, t in plans if t for at in t.heard],
        factor=factor,
        progress=progress,
    )
    listened, tiles = iter(full), iter(slow)
    in_mixture = [[next(listened) for _ in p.heard] if p else [] for _, _, p, _ in plans]
    agreements = [
        agreement_along(t, [next(tiles) for _ in t.heard], sounds[name], sample_rate=rate / factor) if t else None
        for name, _, _, t in plans
    ]
    out: dict[str, list[Line]] = {}
    for reference in references:
        name = reference.name
        own = [n for n, (whose, *_) in enumerate(plans) if whose == name]
        lines = [Line(plans[n][1], agreements[n], None) for n in own]
        chosen = _chosen(lines, len(candidates[name].heard))
        wheres = {k: _followed(plans[own[k]][2], lines[k], factor) for k in chosen}
        wanted = [(int(at), p.played_length) for p in wheres.values() if p for at in p.played]
        played = iter(cut(reference, wanted) if wanted else [])
        for k in chosen:
            where, proof = wheres[k], None
            if where is not None:
                proof = prove(where, in_mixture[own[k]], [next(played) for _ in where.played], rate=rate)
            out.setdefault(name, []).append(replace(lines[k], proof=proof))
    return out


def _followed(where: Plan | None, one: Line, factor: int) -> Plan | None:
    """The plan along the line on which the windows agree, where they surely do."""
    if where is None or one.along is None or one.along.agreement.height < _FOLLOWED:
        return where
    return followed(where, _at_full_rate(one.along.line, factor), factor=factor)


def _at_full_rate(line: Heard, factor: int) -> Heard:
    return replace(
        line,
        start=line.start * factor,
        stop=line.stop * factor,
        delay=line.delay * factor,
        pivot=line.pivot * factor,
    )


def _chosen(lines: Sequence[Line], n_heard: int) -> list[int]:
    """The lines to prove: those of the search, but the one that explains most in the place of the first.

    The first ``n_heard`` are those of the search, the others their rivals.
    """
    likely = [n for n, one in enumerate(lines) if one.likely]
    best = max(likely, key=lambda n: lines[n].explained, default=None)
    passages = list(range(n_heard))
    first = lines[0].explained if n_heard and lines[0].likely else 0.0
    if best is None or best < n_heard or lines[best].explained <= _MORE * first:
        return passages or ([] if best is None else [best])
    kept = [n for n in passages if n and _apart(lines[n].line, lines[best].line)]
    return [best, *kept]


def _apart(one: Heard, other: Heard) -> bool:
    """Whether two stretches share less than half of the first."""
    return min(one.stop, other.stop) - max(one.start, other.start) < 0.5 * (one.stop - one.start)
