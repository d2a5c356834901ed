"""Where references lie in the mixture: searched at a low rate, proved at the full one, or refused.

Of a reference and the mixture, the shorter is cut into windows and the longer passes by, both in mono at some 8 kHz.
What is found there must show itself again at the full rate, in windows that were cut elsewhere, before it counts as
present. Where nothing is found, other speeds are tried.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.pieces import cut_windows
from unsum.dsp.search import Search, cell_length, search
from unsum.errors import UsageError
from unsum.estimators.agreement import agreement_along, tiled
from unsum.estimators.cutting import cut_at_both_rates
from unsum.estimators.judged_line import FALSE_ALARM, Line
from unsum.estimators.lines import Candidate, prove_lines
from unsum.estimators.location import Location, Passage, clock_ppm_of, delay_in_the_middle, passages_of
from unsum.estimators.mono import decimated, search_factor
from unsum.estimators.places import Heard, heard_stretches, rivals
from unsum.estimators.proof import FALSE_PROOF
from unsum.estimators.speeds import find_speeds
from unsum.problem import AudioSource
from unsum.progress import Progress

__all__ = ["Location", "Passage", "late_beginnings", "locate_reference", "locate_references"]

MIN_SECONDS = 0.25  # less than this is no sound to search for
MOST_PERCENT = 25.0  # that a speed may be off

_AMBIGUOUS = 1.15
_MOST_RIVALS = 12
_SPEEDS_UNASKED_SECONDS = 300
_ALL_WINDOWS_SECONDS = 900  # in longer mixtures fewer windows are looked for
_LEAST_WINDOWS = 24
_BLOCK_SAMPLES = 1 << 16
_SPARE_SAMPLES = 1 << 16  # beyond what is expected: a block, where the announced length is rounded
_LATE_SECONDS = 0.5  # what begins less late is no other repeat
_LATE_NATS = 20.0  # that must be explained where a late track ends
_MOST_EXPECTED = 1 << 27  # samples, some hours: a header may announce anything


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
    speed: float | str | None = None,
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
    speed : percent by which the references were played faster than they were recorded, known to some 0.3
        "auto" tries all up to 6 % off where nothing is found at their own, and "own" tries no other. All speeds take
        some 20 ms for each second of the mixture and each reference, so None is "auto" where the mixture lasts five
        minutes or less, and "own" with a remark where it lasts longer.
    progress : called with (samples done, samples expected, what); may raise to stop

    Raises
    ------
    InputError
        If a floating point sample is not a number.
    UsageError
        If the speed is a word that is not known, or not from -25 to 25 percent.
    ValueError
        If the sample rates differ.
    """
    rate = mixture.sample_rate
    _check_speed(speed)
    for reference in references:
        if reference.sample_rate != rate:
            raise ValueError(
                f"{reference.name} is at {reference.sample_rate} Hz, {mixture.name} at {rate} Hz; resample one first"
            )
    factor = search_factor(rate)
    sounds = {
        reference.name: _whole(decimated(reference, factor), expected=(reference.samples or 0) // factor)
        for reference in references
    }
    candidates, length = _search(mixture, sounds, rate / factor, factor, max_windows, progress)
    missing = {name: sounds[name] for name, one in candidates.items() if not one.heard and not one.reason}
    if isinstance(speed, Real):
        missing = {name: sounds[name] for name, one in candidates.items() if not one.reason}
    long = length > _SPEEDS_UNASKED_SECONDS * rate / factor
    wanted = speed not in (None, "own") or (speed is None and not long)
    if wanted and missing:
        found = find_speeds(
            lambda down: decimated(mixture, down * factor, progress=progress),
            missing,
            length=length,
            sample_rate=rate / factor,
            speed=float(speed) / 100 if isinstance(speed, Real) else None,
        )
        for name in missing:
            # What the search heard at normal speed was chance: nothing to compare with.
            normal = replace(candidates[name].found, places=())
            if name in found:
                candidates[name] = replace(candidates[name], heard=(found[name],), found=normal, rivals=())
    proofs = prove_lines(mixture, references, sounds, candidates, factor, progress=progress)
    located = {name: _concluded(one, proofs.get(name, []), rate, factor) for name, one in candidates.items()}
    if speed is None and long:
        untried = {name for name in missing if not located[name].present}
        return {name: _with_untried_speeds(one) if name in untried else one for name, one in located.items()}
    return located


def _check_speed(speed: float | str | None) -> None:
    if speed is None or speed in ("auto", "own"):
        return
    if isinstance(speed, bool | str) or not isinstance(speed, Real) or not abs(speed) <= MOST_PERCENT:
        raise UsageError(
            f"{speed!r} is no speed; give percent from -{MOST_PERCENT:g} to {MOST_PERCENT:g}, "
            "or 'auto' to try all, or 'own' to try no other"
        )


def late_beginnings(
    mixture: AudioSource, references: Sequence[AudioSource], *, progress: Progress | None = None
) -> dict[str, Location]:
    """Those of some tracks that begin later than the mixture, though they may fit there too, as a loop does.

    A loop that begins at 12 s is heard along both lines nearly all the time. Alone its first 12 s tell, which only the
    start of the mixture can hold, and its last 12 s, which only what lies behind its end can: the line along which
    these are heard is the true one.
    """
    located = locate_references(mixture, references, speed="own", progress=progress)
    rate, factor = mixture.sample_rate, search_factor(mixture.sample_rate)
    late = [
        reference
        for reference in references
        if located[reference.name].present and located[reference.name].delay_samples >= _LATE_SECONDS * rate
    ]
    if not late:
        return {}
    sounds = [_whole(decimated(one, factor), expected=(one.samples or 0) // factor) for one in late]
    total = (mixture.samples or 0) / factor
    plans = []
    for reference, sound in zip(late, sounds, strict=True):
        delay, size = located[reference.name].delay_samples / factor, float(len(sound))
        ahead = Heard(0.0, min(delay, size), 0.0, 0.0, 0.0, 0.0, 1.0)
        behind = Heard(max(delay, size), min(delay + size, total), delay, 0.0, 0.0, 0.0, 1.0)
        plans.append([tiled(line) if line.stop > line.start else None for line in (ahead, behind)])
    wanted = [(int(at), tiling.window) for pair in plans for tiling in pair if tiling for at in tiling.heard]
    pieces = iter(cut_at_both_rates(mixture, [], wanted, factor=factor)[1] if wanted else [])
    out = {}
    for reference, sound, pair in zip(late, sounds, plans, strict=True):
        ahead, behind = (
            agreement_along(one, [next(pieces) for _ in one.heard], sound, sample_rate=rate / factor).explained
            if one
            else 0.0
            for one in pair
        )
        if behind > max(ahead, _LATE_NATS):
            out[reference.name] = located[reference.name]
    return out


def _with_untried_speeds(one: Location) -> Location:
    told = "other speeds than its own were not tried, as the mixture is long; the speed auto tries them"
    return replace(one, remarks=(*one.remarks, told))


def _whole(blocks: Iterable[NDArray[np.float32]], *, expected: int) -> NDArray[np.float32]:
    """All blocks as one (samples,); they are never held twice where no more than expected come."""
    out, size = np.empty(min(max(expected, 0), _MOST_EXPECTED) + _SPARE_SAMPLES, np.float32), 0
    for block in blocks:
        if size + len(block) > len(out):
            out = np.concatenate([out[:size], np.empty(max(len(out), len(block)), np.float32)])
        out[size : size + len(block)] = block
        size += len(block)
    return out[:size]


def _until(blocks: Iterator[NDArray[np.float32]], samples: int) -> Iterator[NDArray[np.float32]]:
    """The first blocks, with as many samples at least, leaving the others."""
    size = 0
    while size < samples and (block := next(blocks, None)) is not None:
        size += len(block)
        yield block


def _search(
    mixture: AudioSource,
    sounds: Mapping[str, NDArray[np.float32]],
    rate: float,
    factor: int,
    max_windows: int,
    progress: Progress | None,
) -> tuple[dict[str, Candidate], int]:
    """Stretches in which each reference may be heard, at the search rate, or why there are none; the mixture's length.

    The cost grows with windows times length, so that long mixtures are searched with fewer windows.
    """
    longest = max(map(len, sounds.values()), default=0)
    passing = decimated(mixture, factor, progress=progress)
    first = _whole(_until(passing, longest + 1), expected=min(longest, (mixture.samples or 0) // factor))
    grid = cell_length(rate)
    expected = (mixture.samples or 0) / mixture.sample_rate
    fewer = round(max_windows * _ALL_WINDOWS_SECONDS / max(expected, _ALL_WINDOWS_SECONDS))
    how = {"sample_rate": rate, "max_windows": max(fewer, min(max_windows, _LEAST_WINDOWS)), "grid": grid}
    out: dict[str, Candidate] = {}
    length = len(first)
    nothing = Search((), cut_windows(np.zeros(0, np.float32), phases=False, **how), 0)
    for name, sound in sounds.items():
        for called, samples in ((name, len(sound)), (mixture.name, length)):
            if samples < MIN_SECONDS * rate:
                short = f"{called} is {samples / rate:.3f} s long; less than {MIN_SECONDS} s cannot be placed"
                out.setdefault(name, Candidate((), nothing, False, reason=short))
        if not np.any(sound):
            out.setdefault(name, Candidate((), nothing, False, reason=f"{name} is silent"))
    # Where the head is all there is of the mixture, longer references pass by its windows.
    longer = [name for name in sounds if name not in out and length <= len(sounds[name])]
    shorter = [name for name in sounds if name not in out and name not in longer]
    if longer:
        pieces = cut_windows(first, phases=True, **how)
        if not shorter:
            first = np.zeros(0, np.float32)  # an hour is not held twice while the other is searched
        for name in longer:
            sound = sounds[name]
            blocks = (sound[at : at + _BLOCK_SAMPLES] for at in range(0, len(sound), _BLOCK_SAMPLES))
            found = search([pieces], blocks, sample_rate=rate, phases=False)[0]
            out[name] = _candidate(found, True, len(sounds[name]), length)
    if shorter:
        windows = [cut_windows(sounds[name], phases=False, **how) for name in shorter]
        for name, found in zip(
            shorter, search(windows, chain([first], passing), sample_rate=rate, phases=True), strict=True
        ):
            out[name] = _candidate(found, False, len(sounds[name]), found.passed)
            length = found.passed
    return {name: out[name] for name in sounds}, length


def _candidate(found: Search, swapped: bool, reference_length: int, mixture_length: int) -> Candidate:
    if not found.places:
        return Candidate(
            (), found, swapped, reason="nothing in it stands out: silence, steady tones, or no sound in common"
        )
    how = {"swapped": swapped, "reference_length": reference_length, "mixture_length": mixture_length}
    heard = heard_stretches(found, false_alarm=FALSE_ALARM, **how)
    others = rivals(found, heard, most=_MOST_RIVALS, **how)
    return Candidate(tuple(heard), found, swapped, (reference_length, mixture_length), rivals=tuple(others))


def _concluded(candidate: Candidate, lines: Sequence[Line], rate: int, factor: int) -> Location:
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
    side, other = candidate.side, candidate.next_best
    if sure[0].certain:
        side, other = sure[0].side, sure[0].next_best
    ppm = clock_ppm_of(proof.slope)
    passages = passages_of(proved, rate)
    remarks = []
    if side < _AMBIGUOUS and other is not None:
        remarks.append(
            f"it fits almost as well at {other[0] * factor / rate:.3f} s: a loop or a repeat; the place that explains "
            "most was taken"
        )
    if len(passages) > 1:
        starts = ", ".join(f"{passage.start_seconds:.1f}" for passage in passages)
        remarks.append(f"heard in {len(passages)} passages, from {starts} s on")
    if abs(ppm) >= 1000:
        remarks.append(f"played at {100 + ppm / 1e4:.2f} % of its speed")
    return Location(
        delay_samples=delay_in_the_middle(line, proof),
        present=True,
        confidence=1 - chance,
        polarity=proof.polarity,
        peak_to_side=side,
        votes=proof.votes,
        windows=proof.windows,
        clock_ppm=ppm,
        remarks=tuple(remarks),
        passages=passages,
    )


def _refused(false_alarm: float, side: float, votes: int, windows: int, remark: str) -> Location:
    return Location(
        0,
        present=False,
        # What chance gives every time is surely absent; what is just not enough may be either.
        confidence=1 - 0.5 * min(1.0, math.log(max(false_alarm, 1e-300)) / math.log(FALSE_ALARM)),
        peak_to_side=side,
        votes=votes,
        windows=windows,
        remarks=(remark,),
    )
