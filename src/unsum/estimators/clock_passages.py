"""One time line for a reference that is heard in several passages: a pause of the player, a cut, a sound that recurs.

Every passage has a delay of its own; all share one clock and one filter, and are fitted together. Between two of them
either the reference goes over at once, or it is not heard for a while: then the warp points ahead of its beginning.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.time_fit import (
    Excerpt,
    FilterInLoop,
    Lags,
    image_slope,
    needed_reference,
    newton_step,
    residual_rows,
    whitener_of,
)
from unsum.estimators.clock_estimate import JUMPS, ClockEstimate
from unsum.estimators.clock_even import BETTER_DB, HELD_OUT_EVERY, PLAIN, SIGNIFICANT, even_loop, runs_evenly
from unsum.estimators.clock_fraction import fraction_left
from unsum.estimators.clock_scene import Scene, clipped, lags_for, telling, widened
from unsum.estimators.excerpts import Span, cut_excerpts
from unsum.estimators.following import FIRST_REACH, follow, robust_line
from unsum.estimators.locate import Passage
from unsum.estimators.passage_ends import EDGE_SECONDS, Handover, hand_over
from unsum.model import Jump, TimeWarp
from unsum.problem import AudioSource

Progress = Callable[[float, float, str], None]

_TOTAL_SECONDS, _EXCERPT_SECONDS, _SHORTEST_SECONDS = 96.0, 8.0, 0.8
_MARGIN_SECONDS = 0.4
_PAD_SECONDS, _PAD_SHARE = 1.0, 0.15  # what is left out at the ends of a passage, which are known roughly
_REACH = 0.03
_FOLLOW_ROUNDS, _NEWTON_ROUNDS = 3, 8
_SETTLED_SAMPLES = 1e-3
_MOST_SAMPLES = 1.0  # a step of Newton goes no farther
_WHOLE_SAMPLES, _WHOLE_STDERRS = 0.02, 4.0
_AHEAD_SECONDS = 1.0  # so far before its first sample a reference is surely not heard
_BLOCK_SECONDS = 0.25
_DEVIATION = 2.0  # samples off a straight line that windows may lie
_CLEAR_SECONDS = 0.03  # a filter hears both sides of an end for so long


@dataclass(frozen=True, slots=True)
class Line:
    """A passage: from when to when it is heard, and where the reference is at some moment in it, in seconds.

    A change of the clock turns the line about that moment.
    """

    start: float
    stop: float
    pivot: float
    place: float

    def warp(self, clock_ppm: float) -> TimeWarp:
        return TimeWarp(self.pivot - self.place / (1 + 1e-6 * clock_ppm), clock_ppm)

    def turning_about(self, pivot: float, clock_ppm: float) -> "Line":
        return replace(self, pivot=pivot, place=self.place + (pivot - self.pivot) * (1 + 1e-6 * clock_ppm))


@dataclass(frozen=True, slots=True)
class _Cut:
    """What was read of one passage: from within it, and around its ends."""

    within: tuple[Excerpt, ...]
    begin: Excerpt
    end: Excerpt


@dataclass(frozen=True, slots=True)
class _Fit:
    """Lines and clock that leave least, and how sure they are."""

    lines: tuple[Line, ...]
    clock_ppm: float
    clock_stderr_ppm: float
    offset_stderrs: NDArray[np.float64]  # samples
    whitener: NDArray[np.float64]

    @property
    def warp(self) -> TimeWarp:
        """One warp through all of them that goes over half way between two."""
        at = [0.5 * (one.stop + other.start) for one, other in pairwise(self.lines)]
        return chained(self.lines, self.clock_ppm, [Handover(t, t) for t in at])


def chained(lines: Sequence[Line], clock_ppm: float, handovers: Sequence[Handover]) -> TimeWarp:
    """One warp along all lines, silent where a handover leaves a gap."""
    speed = 1 + 1e-6 * clock_ppm
    first = lines[0].warp(clock_ppm)
    jumps: list[Jump] = []
    for line, change in zip(lines[1:], in_order(handovers), strict=True):
        if change.starts > change.stops:
            silent = -(change.starts - change.stops) * speed - _AHEAD_SECONDS
            here = float(replace(first, jumps=tuple(jumps)).reference_time(change.stops))
            jumps.append(Jump(change.stops, silent - here))
        # From delay to delay, not from place to place: whole samples stay whole.
        total = (first.delay_seconds - line.warp(clock_ppm).delay_seconds) * speed
        jumps.append(Jump(change.starts, total - sum(jump.skipped_seconds for jump in jumps)))
    return replace(first, jumps=tuple(jumps))


def fit_passages(
    mixture: AudioSource,
    reference: AudioSource,
    passages: Sequence[Passage],
    lengths: tuple[int, int],
    *,
    excluded: Sequence[tuple[int, int]] = (),
    progress: Progress | None = None,
) -> ClockEstimate | None:
    """One warp for passages of a reference; None where fewer than two of them can be followed.

    Parameters
    ----------
    passages : two or more, in order of time
    lengths : samples of the mixture and of the reference
    excluded : half-open ranges of mixture samples that tell nothing of the clock
    """
    excluded = tuple(excluded)
    rate = mixture.sample_rate
    longest = max(passages, key=lambda one: one.stop_seconds - one.start_seconds)
    ppm = longest.clock_ppm
    lines = [_rough(one, ppm) for one in passages]
    cuts = _read(mixture, reference, lines, ppm, lengths, progress)
    if not cuts:
        return None
    kept, lines, ppm, uneven = _followed(cuts, lines, ppm, rate, excluded)
    if len(kept) < 2:
        return None
    cuts = [cuts[n] for n in kept]
    excerpts = tuple(excerpt for cut in cuts for excerpt in cut.within)
    rough = _Fit(tuple(lines), ppm, math.inf, np.full(len(lines), math.inf), PLAIN)
    ends = _ends(cuts, rough, lengths, Scene(rate, excerpts, _lags(excerpts, rate), excluded))
    scene = None if ends is None else _between(cuts, ends, rate, excluded)
    drifting = None if scene is None else _newton(scene, lines, ppm)
    if scene is None or drifting is None:
        return None
    steady = replace(drifting, lines=_on_whole_samples(drifting, rate), clock_ppm=0.0)
    before, after = (
        even_loop(scene, one.warp, drifting.whitener, held_out_every=HELD_OUT_EVERY) for one in (steady, drifting)
    )
    if before is None or after is None:
        return None
    earned = (
        abs(drifting.clock_ppm) > SIGNIFICANT * drifting.clock_stderr_ppm
        and after.held_out_db < before.held_out_db - BETTER_DB
    )
    chosen = drifting if earned else steady
    handovers = _ends(cuts, chosen, lengths, scene)
    if handovers is None:
        return None
    told = [_in_words([line.warp(chosen.clock_ppm) for line in chosen.lines], handovers)]
    lost = len(passages) - len(kept)
    if lost:
        told.append(f"{lost} of {len(passages)} passages could not be followed and are left out")
    told += [
        f"the clock does not run evenly from {one.start:.1f} to {one.stop:.1f} s; that is left as it is"
        for one, bad in zip(chosen.lines, uneven, strict=True)
        if bad
    ]
    return _concluded(scene, chosen, drifting, handovers, tuple(told), earned=earned)


def _ends(cuts: Sequence[_Cut], fit: _Fit, lengths: tuple[int, int], scene: Scene) -> list[Handover] | None:
    """Where each passage goes over into the next, by the filter of all of them; None where nothing sounds."""
    plain = even_loop(scene, fit.warp, PLAIN)
    if plain is None:
        return None
    whitener, ways = whitener_of(plain), [line.warp(fit.clock_ppm) for line in fit.lines]
    return in_order(
        hand_over(
            one.end,
            other.begin,
            *pair,
            plain,
            whitener,
            reference_seconds=lengths[1] / scene.rate,
            sample_rate=scene.rate,
        )
        for (one, other), pair in zip(pairwise(cuts), pairwise(ways), strict=True)
    )


def in_order(handovers: Iterable[Handover]) -> list[Handover]:
    """Handovers none of which comes ahead of the one before: each is found alone, and a short passage has two near."""
    out: list[Handover] = []
    for one in handovers:
        least = out[-1].starts if out else -math.inf
        out.append(Handover(max(one.stops, least), max(one.starts, least)))
    return out


def _between(cuts: Sequence[_Cut], ends: Sequence[Handover], rate: int, excluded: tuple[tuple[int, int], ...]) -> Scene:
    """What was read of the passages without what turned out to belong to none, or to another."""
    starts = [-math.inf, *(one.starts + _CLEAR_SECONDS for one in ends)]
    stops = [*(one.stops - _CLEAR_SECONDS for one in ends), math.inf]
    excerpts: list[Excerpt] = []
    for cut, first, last in zip(cuts, starts, stops, strict=True):
        whole = Scene(rate, cut.within, Lags(0, 1))
        part = clipped(whole, max(first, whole.start), min(last, whole.stop))
        excerpts += cut.within if part is None else part.excerpts
    return Scene(rate, tuple(excerpts), _lags(excerpts, rate), excluded)


def _concluded(
    scene: Scene, chosen: _Fit, drifting: _Fit, handovers: Sequence[Handover], told: tuple[str, ...], *, earned: bool
) -> ClockEstimate:
    warp = chained(chosen.lines, chosen.clock_ppm, handovers)
    fraction, fraction_stderr = fraction_left(scene, chosen.warp)
    delay = warp.delay_seconds * scene.rate + fraction
    if earned:
        warp = replace(warp, delay_seconds=delay / scene.rate)
    longest = max(chosen.lines, key=lambda one: one.stop - one.start)
    alone = even_loop(scene, longest.warp(0.0), PLAIN, held_out_every=HELD_OUT_EVERY)
    both = even_loop(scene, chosen.warp, PLAIN, held_out_every=HELD_OUT_EVERY)
    lever = (chosen.lines[0].pivot - warp.delay_seconds) * scene.rate * 1e-6 * drifting.clock_stderr_ppm
    return ClockEstimate(
        warp,
        JUMPS,
        delay,
        math.hypot(fraction_stderr, lever if earned else 0.0),
        drifting.clock_ppm,
        drifting.clock_stderr_ppm,
        alone.held_out_db if alone else 0.0,
        both.held_out_db if both else 0.0,
        told,
    )


def _in_words(ways: Sequence[TimeWarp], handovers: Sequence[Handover]) -> str:
    told = []
    for (one, other), change in zip(pairwise(ways), handovers, strict=True):
        ends, goes_on = float(one.reference_time(change.stops)), float(other.reference_time(change.starts))
        silence = change.starts - change.stops
        if silence > 0:
            told.append(f"silent from {change.stops:.3f} to {change.starts:.3f} s, then on from its {goes_on:.3f} s")
        elif goes_on < 0:
            told.append(f"heard from its beginning at {other.delay_seconds:.3f} s")
        else:
            told.append(f"at {change.starts:.3f} s from its {ends:.3f} s to its {goes_on:.3f} s")
    return f"{len(ways)} passages: " + "; ".join(told)


# Reading --------------------------------------------------------------------------------------------


def _rough(passage: Passage, ppm: float) -> Line:
    """The line of a passage, at the clock of the longest one: that of a short one is no better than a guess."""
    middle = 0.5 * (passage.start_seconds + passage.stop_seconds)
    place = (middle - passage.delay_seconds) * (1 + 1e-6 * ppm)
    return Line(passage.start_seconds, passage.stop_seconds, middle, place)


def _read(
    mixture: AudioSource,
    reference: AudioSource,
    lines: Sequence[Line],
    ppm: float,
    lengths: tuple[int, int],
    progress: Progress | None,
) -> list[_Cut]:
    """Excerpts of every passage and its ends, from one reading; empty where one of the sounds is silent."""
    rate = mixture.sample_rate
    lags = lags_for(rate, lengths[0], len(reference.channels))
    share = _TOTAL_SECONDS / sum(one.stop - one.start for one in lines)
    margin = round(_MARGIN_SECONDS * rate)

    def span(first: float, last: float, line: Line) -> Span:
        a, b = max(0, round(first * rate)), min(lengths[0], round(last * rate))
        return Span(a, b, *widened(needed_reference(a, b, line.warp(ppm), lags, sample_rate=rate), margin))

    spans: list[Span] = []
    counts: list[int] = []
    for n, line in enumerate(lines):
        ranges = _ranges(line, share)
        counts.append(len(ranges))
        spans += [span(a, b, line) for a, b in ranges]
        begin = _edge(lines[n - 1], line)[1] if n else (line.start, line.start + 1.0)
        end = _edge(line, lines[n + 1])[0] if n + 1 < len(lines) else (line.stop - 1.0, line.stop)
        spans += [span(*begin, line), span(*end, line)]
    excerpts = cut_excerpts(mixture, reference, spans, progress=progress)
    heard, played = telling([e.mixture for e in excerpts]), telling([e.reference for e in excerpts])
    if not heard or not played:
        return []
    chosen = iter([replace(e, mixture=e.mixture[heard], reference=e.reference[played]) for e in excerpts])
    return [_Cut(tuple(next(chosen) for _ in range(count)), next(chosen), next(chosen)) for count in counts]


def _ranges(line: Line, share: float) -> list[tuple[float, float]]:
    """What is looked at within a passage: all but its ends, or excerpts spread over it."""
    length = line.stop - line.start
    pad = min(_PAD_SECONDS, _PAD_SHARE * length)
    first, last = line.start + pad, line.stop - pad
    wanted = share * length
    if wanted >= last - first or last - first <= _EXCERPT_SECONDS:
        return [(first, last)]
    count = max(1, round(wanted / _EXCERPT_SECONDS))
    if count == 1:
        return [(line.pivot - 0.5 * _EXCERPT_SECONDS, line.pivot + 0.5 * _EXCERPT_SECONDS)]
    return [(at, at + _EXCERPT_SECONDS) for at in np.linspace(first, last - _EXCERPT_SECONDS, count).tolist()]


def _edge(one: Line, other: Line) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where one passage may end, and where the next may begin; the same stretch where they are close together."""
    first = max(one.start, one.stop - EDGE_SECONDS)
    last = min(other.stop, other.start + EDGE_SECONDS)
    if other.start - one.stop <= 2 * EDGE_SECONDS:
        return (first, last), (first, last)
    return (first, one.stop + EDGE_SECONDS), (other.start - EDGE_SECONDS, last)


def _lags(excerpts: Sequence[Excerpt], rate: int) -> Lags:
    return lags_for(rate, sum(one.mixture.shape[1] for one in excerpts), len(excerpts[0].reference))


# Fitting --------------------------------------------------------------------------------------------


def _followed(
    cuts: Sequence[_Cut],
    lines: Sequence[Line],
    ppm: float,
    rate: int,
    excluded: Sequence[tuple[int, int]],
) -> tuple[list[int], list[Line], float, list[bool]]:
    """Passages that windows can follow, their lines, the clock that all share, and which of them run unevenly."""
    uneven: list[bool] = []
    kept, lines, reach = list(range(len(lines))), list(lines), FIRST_REACH
    for _ in range(_FOLLOW_ROUNDS):
        frames = [
            follow(cuts[n].within, line.warp(ppm), sample_rate=rate, reach_seconds=reach, excluded=excluded)
            for n, line in zip(kept, lines, strict=True)
        ]
        sure = [k for k, one in enumerate(frames) if one.enough_clear]
        if not sure:
            return [], [], ppm, []
        kept, lines, frames = [kept[k] for k in sure], [lines[k] for k in sure], [frames[k].only_clear() for k in sure]
        seconds = np.concatenate([one.seconds - line.pivot for one, line in zip(frames, lines, strict=True)])
        groups = np.repeat(np.arange(len(frames)), [len(one.seconds) for one in frames])
        slope, late = robust_line(seconds, np.concatenate([one.lags for one in frames]), groups, scale=0.3)
        half = 0.5 * max(line.stop - line.start for line in lines)
        if abs(slope) * half > 0.75:
            ppm -= 1e6 * slope / rate
        speed = 1 + 1e-6 * ppm
        lines = [replace(one, place=one.place - x / rate * speed) for one, x in zip(lines, late.tolist(), strict=True)]
        reach = _REACH
        whole = [Scene(rate, cuts[n].within, Lags(0, 1)) for n in kept]
        uneven = [not runs_evenly(one, frame, _DEVIATION) for one, frame in zip(whole, frames, strict=True)]
    return kept, lines, ppm, uneven


def _newton(scene: Scene, lines: Sequence[Line], ppm: float) -> _Fit | None:
    """Places of all lines and their clock by Gauss and Newton."""
    found = _Fit(tuple(lines), ppm, math.inf, np.full(len(lines), math.inf), PLAIN)
    half = 0.5 * max(line.stop - line.start for line in lines)
    for number in range(_NEWTON_ROUNDS):
        fit = even_loop(scene, found.warp, found.whitener)
        if fit is None:
            return None
        speed = 1 + 1e-6 * found.clock_ppm
        offsets = _offsets(fit, found.lines, scene.rate)
        # About these moments, clock and places have nothing to do with each other.
        turning = [
            one.turning_about(pivot, found.clock_ppm)
            for one, pivot in zip(found.lines, offsets.pivots.tolist(), strict=True)
        ]
        step = newton_step(fit, _Turning(turning), sample_rate=scene.rate, speed=speed)
        if step is None:
            return None
        most = 1e6 * _MOST_SAMPLES / scene.rate / half
        change, stderr = float(np.clip(step.change[0], -most, most)), float(np.sqrt(step.covariance[0, 0]))
        found = replace(
            found,
            lines=tuple(
                replace(one, place=one.place + x / scene.rate * speed)
                for one, x in zip(turning, offsets.moves.tolist(), strict=True)
            ),
            clock_ppm=found.clock_ppm + change,
            clock_stderr_ppm=stderr,
            offset_stderrs=offsets.stderrs,
        )
        small = max(_SETTLED_SAMPLES, 0.05 * float(np.min(offsets.stderrs)))
        if number >= 2 and float(np.max(np.abs(offsets.moves))) < small and abs(change) < 0.05 * stderr + 1e-9:
            break
        if number in (0, 2):
            plain = even_loop(scene, found.warp, PLAIN)
            if plain is not None:
                found = replace(found, whitener=whitener_of(plain))
    return found


@dataclass(frozen=True, slots=True)
class _Turning:
    """How far a millionth of speed moves what is heard at each moment, every line about its own pivot."""

    lines: Sequence[Line]

    def __call__(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        pivots = np.array([line.pivot for line in self.lines])
        return (seconds - pivots[_owners(self.lines, seconds)])[None] * 1e-6


def _owners(lines: Sequence[Line], seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    """The passage that each moment lies in, or nearest to."""
    return np.searchsorted([0.5 * (one.stop + other.start) for one, other in pairwise(lines)], seconds)


@dataclass(frozen=True, slots=True)
class _Offsets:
    """By how many samples each line lies too early in the reference, standard errors, and the moments that tell it."""

    moves: NDArray[np.float64]
    stderrs: NDArray[np.float64]
    pivots: NDArray[np.float64]


def _offsets(fit: FilterInLoop, lines: Sequence[Line], rate: int) -> _Offsets:
    """What the residual says of every line, the filter as it is."""
    residual, slope = residual_rows(fit), image_slope(fit)
    power = np.maximum(np.mean(residual**2, axis=1, keepdims=True), np.finfo(float).tiny)
    counting = np.zeros(residual.shape[1], bool)
    for segment in fit.rows.segments:
        counting[segment.start : segment.stop] = True
    score = np.sum(slope * residual / power, axis=0) * counting
    share = np.sum(slope**2 / power, axis=0) * counting
    owner = _owners(lines, fit.rows.seconds)
    block = max(1, round(_BLOCK_SECONDS * rate))
    moves, stderrs = np.zeros(len(lines)), np.full(len(lines), math.inf)
    pivots = np.array([line.pivot for line in lines])
    for n in range(len(lines)):
        own = owner == n
        information = float(np.sum(share[own]))
        if information <= 0:
            continue
        moves[n] = float(np.sum(score[own])) / information
        pivots[n] = float(np.sum(share[own] * fit.rows.seconds[own])) / information
        rest = np.add.reduceat(score[own] - moves[n] * share[own], np.arange(0, np.count_nonzero(own), block))
        stderrs[n] = math.sqrt(float(np.sum(rest**2))) / information
    return _Offsets(np.clip(moves, -_MOST_SAMPLES, _MOST_SAMPLES), stderrs, pivots)


def _on_whole_samples(fit: _Fit, rate: int) -> tuple[Line, ...]:
    """The lines of a clock that agrees: a player that pauses goes on with a whole sample, as far as can be told."""
    delays = np.array([line.warp(0.0).delay_seconds * rate for line in fit.lines])
    surest = int(np.argmin(fit.offset_stderrs))
    apart = delays - delays[surest]
    near = np.abs(apart - np.rint(apart)) < np.maximum(_WHOLE_SAMPLES, _WHOLE_STDERRS * fit.offset_stderrs)
    settled = round(delays[surest]) + np.where(near, np.rint(apart), apart)
    return tuple(
        replace(line, place=line.pivot - at / rate) for line, at in zip(fit.lines, settled.tolist(), strict=True)
    )
