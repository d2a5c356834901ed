"""Where references lie in the mixture: searched at a low rate, proved at the full one, or refused.

Of a reference and the mixture, the shorter is cut into windows and the longer passes by, both in mono at some 8 kHz.
What is found there must show itself again at the full rate, in windows that were cut elsewhere, before it counts as
present. Where nothing is found, other speeds are tried. How sure a presence is, search and windows and full rate say
together, however much one of them says what another said [1]_.

References
----------
.. [1] Vovk and Wang, "Combining p-values via averaging", Biometrika 107(4), 2020: ``e`` times their geometric mean.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.agreement import Agreement
from unsum.dsp.pieces import cut_windows
from unsum.dsp.search import Place, Search, cell_length, search
from unsum.estimators.agreement import Tiling, agreement_along, tiled
from unsum.estimators.mono import Progress, decimated, search_factor
from unsum.estimators.places import Heard, heard_stretches, rivals
from unsum.estimators.proof import FALSE_PROOF, MOST_WINDOWS, Plan, Proof, cut, cut_at_both_rates, plan, prove
from unsum.estimators.speeds import find_speeds
from unsum.problem import AudioSource

MIN_SECONDS = 0.25  # less than this is no sound to search for

_FALSE_ALARM = 1e-4
# Standard deviations by which windows together stand out where a sound is: 27 to 37 in songs at their own level, less
# than 6 where two unrelated loops run in step.
_BEYOND_CHANCE = 10.0
_AMBIGUOUS = 1.15
_FEW_WINDOWS = 6  # of the proof of all passages but the surest
_MOST_RIVALS = 8
_SPEEDS_UNASKED_SECONDS = 300
_ALL_WINDOWS_SECONDS = 900  # in longer mixtures fewer windows are looked for
_LEAST_WINDOWS = 24
# Nats: of windows that agree, and of these and the search together.
_LEAST_AGREEMENT = 4.0
_TOGETHER = 20.0
_MORE = 1.02  # times as much is explained by a line that takes the place of another
_SAME_LINE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of the mixture in which the reference is heard at one delay.

    Attributes
    ----------
    start_seconds, stop_seconds : in mixture time, known to about a window of the search, two seconds at most
    delay_seconds : as in `Location`, in the middle of the stretch
    clock_ppm : how much faster it was played than recorded, roughly
    """

    start_seconds: float
    stop_seconds: float
    delay_seconds: float
    clock_ppm: float


@dataclass(frozen=True, slots=True)
class Location:
    """Where sample 0 of a reference lies in mixture time, and what speaks for it.

    Attributes
    ----------
    delay_samples : at the mixture's rate; negative: the mixture begins within the reference.
        Where the clocks differ, the delay in the middle of what was heard.
    present : False where nothing, or not enough, was found; the delay then means nothing
    confidence : that it is present, or absent, as stated; 0..1
    polarity : -1 where it is heard turned over
    peak_to_side : evidence for this place over that for the next best; 1 means a guess
    votes : windows of the proof that hear it there, of ``windows`` that were listened to
    clock_ppm : how much faster the reference was played than recorded, roughly; 0 where that cannot be told from none
    remarks : what a person should know, in words
    passages : in order of time, without overlap; several where the player paused or jumped, or the sound comes again
    """

    delay_samples: int
    present: bool
    confidence: float
    polarity: int = 1
    peak_to_side: float = 1.0
    votes: int = 0
    windows: int = 0
    clock_ppm: float = 0.0
    remarks: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
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


def locate_reference(
    mixture: AudioSource, reference: AudioSource, *, max_windows: int = 64, progress: Progress | None = None
) -> Location:
    """Find where sample 0 of the reference lies in mixture time: `locate_references` of one."""
    return locate_references(mixture, [reference], max_windows=max_windows, progress=progress)[reference.name]


def locate_references(
    mixture: AudioSource,
    references: Sequence[AudioSource],
    *,
    max_windows: int = 64,
    speeds: bool | None = None,
    progress: Progress | None = None,
) -> Mapping[str, Location]:
    """Find where sample 0 of each reference lies in mixture time.

    The mixture is read once for the search of all references and once for the proof of all that were found; where
    other speeds have to be tried, several times more for each reference. It is never held whole unless it is the
    shorter; the references are, in mono at some 8 kHz. Either may be the longer one, and a reference may begin before
    the mixture or end behind it.

    Parameters
    ----------
    mixture, references : at the same sample rate; names differ
    max_windows : at most so many pieces of the shorter one are looked for; fewer are faster and hear less
    speeds : whether to try speeds up to 6 % off where nothing is found. That takes some 20 ms for each second of the
        mixture and each reference, so None does it where the mixture lasts five minutes or less, and remarks it
        where it does not.
    progress : called with (samples done, samples expected, what); may raise to stop

    Raises
    ------
    InputError
        If a floating point sample is not a number.
    ValueError
        If the sample rates differ.
    """
    rate = mixture.sample_rate
    for reference in references:
        if reference.sample_rate != rate:
            raise ValueError(
                f"{reference.name} is at {reference.sample_rate} Hz, {mixture.name} at {rate} Hz; resample one first"
            )
    factor = search_factor(rate)
    sounds = {reference.name: _whole(decimated(reference, factor)) for reference in references}
    candidates, length = _search(mixture, sounds, rate / factor, factor, max_windows, progress)
    missing = {name: sounds[name] for name, one in candidates.items() if not one.heard and not one.reason}
    wanted = length <= _SPEEDS_UNASKED_SECONDS * rate / factor if speeds is None else speeds
    if wanted and missing:
        found = find_speeds(
            lambda down: decimated(mixture, down * factor, progress=progress),
            missing,
            length=length,
            sample_rate=rate / factor,
        )
        for name, heard in found.items():
            # What the search heard at normal speed was chance: nothing to compare with.
            normal = replace(candidates[name].found, places=())
            candidates[name] = replace(candidates[name], heard=(heard,), found=normal, rivals=())
    proofs = _prove(mixture, references, sounds, candidates, factor)
    located = {name: _concluded(one, proofs.get(name, []), rate, factor) for name, one in candidates.items()}
    if speeds is None and not wanted:
        untried = {name for name in missing if not located[name].present}
        return {name: _with_untried_speeds(one) if name in untried else one for name, one in located.items()}
    return located


def _with_untried_speeds(one: Location) -> Location:
    return replace(one, remarks=(*one.remarks, "other speeds than its own were not tried, as the mixture is long"))


def _whole(blocks: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _search(
    mixture: AudioSource,
    sounds: Mapping[str, NDArray[np.float32]],
    rate: float,
    factor: int,
    max_windows: int,
    progress: Progress | None,
) -> tuple[dict[str, _Candidate], int]:
    """Stretches in which each reference may be heard, at the search rate, or why there are none; the mixture's length.

    The cost grows with windows times length, so that long mixtures are searched with fewer windows.
    """
    longest = max(map(len, sounds.values()), default=0)
    passing = decimated(mixture, factor, progress=progress)
    head: list[NDArray[np.float32]] = []
    size = 0
    while size <= longest and (block := next(passing, None)) is not None:
        head.append(block)
        size += len(block)
    first = _whole(iter(head))
    grid = cell_length(rate)
    expected = (mixture.samples or 0) / mixture.sample_rate
    fewer = round(max_windows * _ALL_WINDOWS_SECONDS / max(expected, _ALL_WINDOWS_SECONDS))
    how = {"sample_rate": rate, "max_windows": max(fewer, min(max_windows, _LEAST_WINDOWS)), "grid": grid}
    out: dict[str, _Candidate] = {}
    length = len(first)
    nothing = Search((), cut_windows(np.zeros(0, np.float32), phases=False, **how), 0)
    for name, sound in sounds.items():
        for called, samples in ((name, sound), (mixture.name, first)):
            if len(samples) < MIN_SECONDS * rate:
                short = f"{called} is {len(samples) / rate:.3f} s long; less than {MIN_SECONDS} s cannot be placed"
                out.setdefault(name, _Candidate((), nothing, False, short))
        if not np.any(sound):
            out.setdefault(name, _Candidate((), nothing, False, f"{name} is silent"))
    # Where the head is all there is of the mixture, longer references pass by its windows.
    longer = [name for name in sounds if name not in out and size <= len(sounds[name])]
    shorter = [name for name in sounds if name not in out and name not in longer]
    if longer:
        pieces = cut_windows(first, phases=True, **how)
        for name in longer:
            found = search([pieces], [sounds[name]], sample_rate=rate, phases=False)[0]
            out[name] = _candidate(found, True, len(sounds[name]), len(first))
    if shorter:
        windows = [cut_windows(sounds[name], phases=False, **how) for name in shorter]
        for name, found in zip(
            shorter, search(windows, chain([first], passing), sample_rate=rate, phases=True), strict=True
        ):
            out[name] = _candidate(found, False, len(sounds[name]), found.passed)
            length = found.passed
    return {name: out[name] for name in sounds}, length


def _candidate(found: Search, swapped: bool, reference_length: int, mixture_length: int) -> _Candidate:
    if not found.places:
        return _Candidate((), found, swapped, "nothing in it stands out: silence, steady tones, or no sound in common")
    how = {"swapped": swapped, "reference_length": reference_length, "mixture_length": mixture_length}
    heard = heard_stretches(found, false_alarm=_FALSE_ALARM, **how)
    return _Candidate(tuple(heard), found, swapped, rivals=tuple(rivals(found, heard, most=_MOST_RIVALS, **how)))


def chance_together(chances: Sequence[float]) -> float:
    """How often chance gives all that several tests say, whether or not one depends on another [1]_."""
    return min(1.0, math.e * math.exp(float(np.mean(np.log(np.maximum(chances, 1e-300))))))


@dataclass(frozen=True, slots=True)
class _Line:
    """A line in samples of the full rate, with what its windows say together, and what the full rate says."""

    line: Heard
    agreement: Agreement | None
    proof: Proof | None

    @property
    def explained(self) -> float:
        return self.agreement.explained if self.agreement else 0.0

    @property
    def likely(self) -> bool:
        """Whether chance cannot explain what search and windows say together."""
        if self.agreement is None:
            return self.line.false_alarm <= _FALSE_ALARM
        searched = -math.log(max(self.line.false_alarm, 1e-300))
        if self.agreement.height >= _BEYOND_CHANCE and self.line.false_alarm <= _FALSE_ALARM:
            return True  # however much the music repeats itself
        return self.agreement.nats >= _LEAST_AGREEMENT and self.agreement.nats + searched >= _TOGETHER

    @property
    def chance(self) -> float:
        """How often chance gives all of this together, whether or not one thing depends on another."""
        chances = [self.line.false_alarm]
        if self.agreement is not None:
            chances.append(self.agreement.chance)
        if self.proof is not None:
            chances.append(self.proof.false_alarm)
        return chance_together(chances)

    @property
    def proved(self) -> bool:
        return self.likely and self.proof is not None and self.proof.votes > 0 and self.proof.false_alarm < FALSE_PROOF


def _prove(
    mixture: AudioSource,
    references: Sequence[AudioSource],
    sounds: Mapping[str, NDArray[np.float32]],
    candidates: Mapping[str, _Candidate],
    factor: int,
) -> dict[str, list[_Line]]:
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
    )
    listened, tiles = iter(full), iter(slow)
    in_mixture = [[next(listened) for _ in p.heard] if p else [] for _, _, p, _ in plans]
    agreements = [
        agreement_along(t, [next(tiles) for _ in t.heard], sounds[name], sample_rate=rate / factor) if t else None
        for name, _, _, t in plans
    ]
    out: dict[str, list[_Line]] = {}
    for reference in references:
        name = reference.name
        own = [n for n, (whose, *_) in enumerate(plans) if whose == name]
        lines = [_Line(plans[n][1], agreements[n], None) for n in own]
        chosen = _chosen(lines, len(candidates[name].heard))
        wanted = [(int(at), p.played_length) for k in chosen if (p := plans[own[k]][2]) for at in p.played]
        played = iter(cut(reference, wanted) if wanted else [])
        for k in chosen:
            where = plans[own[k]][2]
            proof = None
            if where is not None:
                proof = prove(where, in_mixture[own[k]], [next(played) for _ in where.played], rate=rate)
            out.setdefault(name, []).append(replace(lines[k], proof=proof))
    return out


def _at_full_rate(line: Heard, factor: int) -> Heard:
    return replace(
        line,
        start=line.start * factor,
        stop=line.stop * factor,
        delay=line.delay * factor,
        pivot=line.pivot * factor,
    )


def _chosen(lines: Sequence[_Line], n_heard: int) -> list[int]:
    """The lines to prove: those of the search, but the one that explains most in the place of the first.

    The first ``n_heard`` are those of the search, the others their rivals.
    """
    likely = [n for n, one in enumerate(lines) if one.likely]
    best = max(likely, key=lambda n: lines[n].explained, default=None)
    passages = list(range(n_heard))
    if best is None or best < n_heard or (n_heard and lines[best].explained <= _MORE * lines[0].explained):
        return passages or ([] if best is None else [best])
    kept = [n for n in passages if n and _apart(lines[n].line, lines[best].line)]
    return [best, *kept]


def _apart(one: Heard, other: Heard) -> bool:
    """Whether two stretches share less than half of the first."""
    return min(one.stop, other.stop) - max(one.start, other.start) < 0.5 * (one.stop - one.start)


def _concluded(candidate: _Candidate, lines: Sequence[_Line], rate: int, factor: int) -> Location:
    """One location out of the lines that were proved."""
    if candidate.reason:
        return Location(0, present=False, confidence=1.0, remarks=(candidate.reason,))
    if not lines:
        best = candidate.found.places[0]
        votes, windows = int(np.sum(np.nan_to_num(best.evidence) >= 3)), int(np.isfinite(best.evidence).sum())
        remark = f"{votes} of {windows} windows agree on a place, no more than chance gives"
        return _refused(best.false_alarm, candidate.side, votes, windows, remark)
    sure = [one for one in lines if one.proved]
    proved = [(one.line, one.proof) for one in sure if one.proof is not None]
    if not proved:
        one = lines[0]
        if one.proof is None:
            remark = "the two overlap for too short a time to be sure"
            return _refused(one.line.false_alarm, candidate.side, 0, 0, remark)
        votes, windows = one.proof.votes, one.proof.windows
        remark = f"{votes} of {windows} windows at the full rate confirm the place, too few"
        if one.proof.false_alarm < FALSE_PROOF:
            remark = f"{votes} of {windows} windows are heard at the same time, but each in another way, as by chance"
        return _refused(one.line.false_alarm, candidate.side, votes, windows, remark)
    (line, proof), chance = proved[0], sure[0].chance
    ppm = _ppm(proof.slope)
    passages = _passages(proved, rate)
    remarks = []
    if candidate.side < _AMBIGUOUS and candidate.next_best is not None:
        other = candidate.next_best[0] * factor / rate
        remarks.append(
            f"it fits almost as well at {other:.3f} s: a loop or a repeat; the place that explains most was taken"
        )
    if len(passages) > 1:
        starts = ", ".join(f"{passage.start_seconds:.1f}" for passage in passages)
        remarks.append(f"heard in {len(passages)} passages, from {starts} s on")
    if abs(ppm) >= 1000:
        remarks.append(f"played at {100 + ppm / 1e4:.2f} % of its speed")
    elif abs(ppm) >= 1:
        remarks.append(f"the clocks differ by about {ppm:.0f} ppm")
    return Location(
        delay_samples=_delay_in_the_middle(line, proof),
        present=True,
        confidence=1 - chance,
        polarity=proof.polarity,
        peak_to_side=candidate.side,
        votes=proof.votes,
        windows=proof.windows,
        clock_ppm=ppm,
        remarks=tuple(remarks),
        passages=passages,
    )


def _delay_in_the_middle(line: Heard, proof: Proof) -> int:
    """The delay in the middle of the stretch in which it is heard."""
    ahead = (line.start + line.stop) / 2 - (proof.reference_time + proof.delay_samples)
    return proof.delay_samples + round(proof.slope * ahead / (1 + proof.slope))


def _ppm(slope: float) -> float:
    """How much faster it was played, of what mixture time gains on reference time."""
    return 1e6 * (1 / (1 + slope) - 1) if slope else 0.0


def _passages(proved: Sequence[tuple[Heard, Proof]], rate: int) -> tuple[Passage, ...]:
    """In order of time; those that the full rate puts on the same line are one."""
    out: list[Passage] = []
    for line, proof in sorted(proved, key=lambda item: item[0].start):
        one = Passage(line.start / rate, line.stop / rate, _delay_in_the_middle(line, proof) / rate, _ppm(proof.slope))
        drift = abs(one.stop_seconds - out[-1].start_seconds) * 3e-4 if out else 0.0
        if out and abs(out[-1].delay_seconds - one.delay_seconds) <= _SAME_LINE_SECONDS + drift:
            longer = max(out[-1], one, key=lambda passage: passage.stop_seconds - passage.start_seconds)
            out[-1] = replace(longer, start_seconds=out[-1].start_seconds, stop_seconds=one.stop_seconds)
        else:
            out.append(one)
    return tuple(out)


def _refused(false_alarm: float, side: float, votes: int, windows: int, remark: str) -> Location:
    return Location(
        0,
        present=False,
        # What chance gives every time is surely absent; what is just not enough may be either.
        confidence=1 - 0.5 * min(1.0, math.log(max(false_alarm, 1e-300)) / math.log(_FALSE_ALARM)),
        peak_to_side=side,
        votes=votes,
        windows=windows,
        remarks=(remark,),
    )
