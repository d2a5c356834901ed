"""The lines along which a search heard references: listened to, compared, and proved.

Every line is listened to at the low rate over all of its length, in one pass over the mixture that also cuts the pieces
for the proof at the full rate. Which of them is the true one, where a sound repeats itself, the likelihood of one
response along all that reference and mixture have in common decides: the search hears beats, and repeats share those.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.search import Place, Search
from unsum.dsp.self_repeats import repeat_lags
from unsum.estimators.agreement import (
    Sound,
    Tiling,
    agreement_along,
    beyond_one_clock,
    beyond_repeats,
    onset_along,
    tiled,
)
from unsum.estimators.cutting import cut, cut_at_both_rates
from unsum.estimators.judged_line import Line, next_best
from unsum.estimators.places import Heard, in_common
from unsum.estimators.proof import MOST_WINDOWS, Plan, followed, plan, prove
from unsum.problem import AudioSource
from unsum.progress import Progress

_FEW_WINDOWS = 6  # of the proof of all passages but the surest
_RESPONSE_SECONDS = 0.032  # of a response, where lines are compared
_BESIDE_REPEATS_SECONDS = 0.064
_ROOM_SECONDS = 0.128
_MOST_REPEATS = 2
_APART_SECONDS = 0.1  # other lines than this one
_MORE = 1.02, 5.0  # times as much, and nats more, are explained by a line that takes the place of another
_FIRST_SECONDS = 0.01  # what is highest so near to the beginning is the beginning
_FOLLOWED = 2.0  # standard deviations by which windows agree on a line that is better than that of the search


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the search says of one reference, in samples of the search."""

    heard: tuple[Heard, ...]
    found: Search
    swapped: bool
    lengths: tuple[int, int] = (0, 0)  # of the reference and of the mixture
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
    low_rate = rate / factor
    plans: list[_Planned] = []
    for name, candidate in candidates.items():
        for n, low in enumerate([*candidate.heard, *candidate.rivals]):
            line = _at_full_rate(low, factor)
            where = plan(line, rate=rate, max_windows=_FEW_WINDOWS if n else MOST_WINDOWS)
            tiling, whole = tiled(low), in_common(low, *candidate.lengths)
            plans.append(_Planned(name, line, where, tiling, tiling if whole == low else tiled(whole)))
    if not plans:
        return {}
    tilings = [tiling for one in plans for tiling in one.tilings]
    full, slow = cut_at_both_rates(
        mixture,
        [(int(at), one.where.window) for one in plans if one.where for at in one.where.heard],
        [(int(at), tiling.window) for tiling in tilings if tiling for at in tiling.heard],
        factor=factor,
        progress=progress,
    )
    listened, tiles = iter(full), iter(slow)
    in_mixture = [[next(listened) for _ in one.where.heard] if one.where else [] for one in plans]
    lines: list[Line] = []
    windows: list[tuple[list[Sound], list[Sound]]] = []
    for one in plans:
        cuts = [[next(tiles) for _ in tiling.heard] if tiling else [] for tiling in one.tilings]
        along, common = cuts[0], cuts[-1]
        windows.append((along, common))
        lines.append(_judged(one, along, common, sounds[one.name], low_rate))
    out: dict[str, list[Line]] = {}
    for reference in references:
        name = reference.name
        own = [n for n, one in enumerate(plans) if one.name == name]
        chosen = [own[k] for k in _chosen([lines[n] for n in own], len(candidates[name].heard))]
        for n in chosen:
            others = [lines[k] for k in own if k not in chosen]
            lines[n] = _looked_at(plans[n], lines[n], windows[n], others, sounds[name], low_rate)
        wheres = {n: _followed(plans[n].where, lines[n], factor, rate) for n in chosen}
        wanted = [(int(at), where.played_length) for where in wheres.values() if where for at in where.played]
        played = iter(cut(reference, wanted) if wanted else [])
        for n, where in wheres.items():
            proof = None
            if where is not None:
                proof = prove(where, in_mixture[n], [next(played) for _ in where.played], rate=rate)
            out.setdefault(name, []).append(replace(lines[n], proof=proof))
    return out


@dataclass(frozen=True, slots=True)
class _Planned:
    """A line at the full rate, with where to listen: for the proof, along the line, and to all that is in common."""

    name: str
    line: Heard
    where: Plan | None
    tiling: Tiling | None
    common: Tiling | None

    @property
    def tilings(self) -> tuple[Tiling | None, ...]:
        """Both, or one where they are the same."""
        return (self.tiling,) if self.common is self.tiling else (self.tiling, self.common)


def _judged(where: _Planned, along: Sequence[Sound], common: Sequence[Sound], sound: Sound, rate: float) -> Line:
    """A line with what its windows say, and what all windows say that mixture and reference have in common."""
    told, onset = None, None
    if where.tiling:
        told = agreement_along(where.tiling, along, sound, sample_rate=rate)
    if where.common:
        onset = onset_along(where.common, common, sound, sample_rate=rate, taps=round(_RESPONSE_SECONDS * rate))
    return Line(where.line, told, None, onset)


def _looked_at(
    where: _Planned,
    line: Line,
    windows: tuple[Sequence[Sound], Sequence[Sound]],
    others: Sequence[Line],
    sound: Sound,
    rate: float,
) -> Line:
    """A line that was chosen, with where its sound begins, and what tells it from its repeats and from other lines.

    Of what is heard for a while only, all that both have in common would tell too little.
    """
    if line.onset is None:
        return line
    tiling, heard, short = where.common, windows[1], line.onset
    if where.tiling is not None and where.tiling is not where.common:
        taps = round(_RESPONSE_SECONDS * rate)
        alone = onset_along(where.tiling, windows[0], sound, sample_rate=rate, taps=taps)
        if alone.nats > short.nats:
            tiling, heard, short = where.tiling, windows[0], alone
    line = replace(line, onset=short)
    if tiling is None or not line.explains:
        return line
    # A short response may fit reflections better than what comes first, but never what comes ahead of that.
    room = round(_ROOM_SECONDS * rate)
    about = short.lag - room, short.lag + 1
    found = onset_along(tiling, heard, sound, sample_rate=rate, taps=room, about=about)
    return replace(
        line,
        onset=replace(found, nats=short.nats),
        beyond_repeats=beyond_repeats(
            tiling,
            heard,
            sound,
            sample_rate=rate,
            taps=round(_BESIDE_REPEATS_SECONDS * rate),
            lag=found.lag,
            repeats=repeat_lags(sound, sample_rate=rate, most=_MOST_REPEATS),
        ),
        next_best=next_best(found.line, others, apart=_APART_SECONDS * rate),
        clock_nats=beyond_one_clock(
            tiling, heard, sound, sample_rate=rate, taps=round(_RESPONSE_SECONDS * rate), onset=short
        ),
    )


def _followed(where: Plan | None, one: Line, factor: int, rate: int) -> Plan | None:
    """The plan along the line on which one response begins, or on which the windows agree, where they surely do.

    What is highest tells the sample, where it comes first; in a room it may be a reflection, and what comes first is
    known to some milliseconds.
    """
    if where is None:
        return where
    agree = None
    if one.along is not None and one.along.agreement.height >= _FOLLOWED:
        agree = _at_full_rate(one.along.line, factor)
    if one.certain and one.onset is not None:
        first = _at_full_rate(one.onset.line, factor)
        if agree is not None and abs(agree.delay_at(first.pivot) - first.delay) <= _FIRST_SECONDS * rate:
            # Slopes of windows that agree are less sure than that of one response.
            own = replace(first, delay=agree.delay_at(first.pivot))
            first = own if one.clock_certain else agree
        return followed(where, first, factor=factor, sure=True, clock_sure=one.clock_certain)
    return where if agree is None else followed(where, agree, factor=factor)


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
    if best is None or best < n_heard or lines[best].explained <= _MORE[0] * first + _MORE[1]:
        return passages or ([] if best is None else [best])
    kept = [n for n in passages if n and _apart(lines[n].line, lines[best].line)]
    return [best, *kept]


def _apart(one: Heard, other: Heard) -> bool:
    """Whether two stretches share less than half of the first."""
    return min(one.stop, other.stop) - max(one.start, other.start) < 0.5 * (one.stop - one.start)
