"""One time line for a reference that is heard in several passages: a pause of the player, a cut, a sound that recurs.

Every passage has a delay of its own; all share one clock and one filter, and are fitted together. Between two of them
either the reference goes over at once, or it is not heard for a while: then the warp points ahead of its beginning.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from unsum.dsp.time_fit import Excerpt, Lags
from unsum.estimators.clock_estimate import JUMPS, ClockEstimate
from unsum.estimators.clock_even import BETTER_DB, HELD_OUT_EVERY, PLAIN, SIGNIFICANT, even_loop
from unsum.estimators.clock_fraction import fraction_left
from unsum.estimators.clock_scene import Scene, clipped
from unsum.estimators.locate import Passage
from unsum.estimators.passage_ends import Ends, Handover, ends_of, hand_over
from unsum.estimators.passage_fit import PassageFit, fit_lines, followed_passages, lags_of, on_whole_samples
from unsum.estimators.passage_lines import chained, in_order
from unsum.estimators.passage_reading import Cut, read_passages, rough_line
from unsum.model import Contribution, TimeWarp
from unsum.problem import AudioSource
from unsum.progress import Progress

_CLEAR_SECONDS = 0.03  # a filter hears both sides of an end for so long


def fit_passages(
    mixture: AudioSource,
    reference: AudioSource,
    passages: Sequence[Passage],
    lengths: tuple[int, int],
    *,
    excluded: Sequence[tuple[int, int]] = (),
    known: Contribution | None = None,
    progress: Progress | None = None,
) -> ClockEstimate | None:
    """One warp for passages of a reference; None where fewer than two of them can be followed.

    Parameters
    ----------
    passages : two or more, in order of time
    lengths : samples of the mixture and of the reference
    excluded : half-open ranges of mixture samples that tell nothing of the clock
    known : filters that tell where passages end, better than those that are fitted to excerpts
    """
    excluded = tuple(excluded)
    rate = mixture.sample_rate
    filters = None if known is None else ends_of(known, mixture)
    longest = max(passages, key=lambda one: one.stop_seconds - one.start_seconds)
    ppm = longest.clock_ppm
    lines = [rough_line(one, ppm) for one in passages]
    cuts = read_passages(mixture, reference, lines, ppm, lengths, progress)
    if not cuts:
        return None
    kept, lines, ppm, uneven = followed_passages(cuts, lines, ppm, rate, excluded)
    if len(kept) < 2:
        return None
    cuts = [cuts[n] for n in kept]
    excerpts = tuple(excerpt for cut in cuts for excerpt in cut.within)
    rough = PassageFit(tuple(lines), ppm, math.inf, np.full(len(lines), math.inf), PLAIN)
    ends = _ends(cuts, rough, lengths, Scene(rate, excerpts, lags_of(excerpts, rate), excluded), mixture.bits, filters)
    scene = None if ends is None else _between(cuts, ends, rate, excluded)
    drifting = None if scene is None else fit_lines(scene, lines, ppm)
    if scene is None or drifting is None:
        return None
    steady = replace(drifting, lines=on_whole_samples(drifting, rate), clock_ppm=0.0)
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
    handovers = _ends(cuts, chosen, lengths, scene, mixture.bits, filters)
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
    found = _concluded(scene, chosen, drifting, handovers, tuple(told), earned=earned)
    return replace(found, uneven=any(uneven))


def _ends(
    cuts: Sequence[Cut],
    fit: PassageFit,
    lengths: tuple[int, int],
    scene: Scene,
    bits: int | None,
    known: Ends | None,
) -> list[Handover] | None:
    """Where each passage goes over into the next, by the filter of all of them; None where nothing sounds."""
    if known is None:
        plain = even_loop(scene, fit.warp, PLAIN)
        if plain is None:
            return None
        known = Ends(scene.rate, plain.filters, plain.lags, bits)
    ways = [line.warp(fit.clock_ppm) for line in fit.lines]
    return in_order(
        hand_over(one.end, other.begin, *pair, known, reference_seconds=lengths[1] / scene.rate)
        for (one, other), pair in zip(pairwise(cuts), pairwise(ways), strict=True)
    )


def _between(cuts: Sequence[Cut], ends: Sequence[Handover], rate: int, excluded: tuple[tuple[int, int], ...]) -> Scene:
    """What was read of the passages without what turned out to belong to none, or to another."""
    starts = [-math.inf, *(one.starts + _CLEAR_SECONDS for one in ends)]
    stops = [*(one.stops - _CLEAR_SECONDS for one in ends), math.inf]
    excerpts: list[Excerpt] = []
    for cut, first, last in zip(cuts, starts, stops, strict=True):
        whole = Scene(rate, cut.within, Lags(0, 1))
        part = clipped(whole, max(first, whole.start), min(last, whole.stop))
        excerpts += cut.within if part is None else part.excerpts
    return Scene(rate, tuple(excerpts), lags_of(excerpts, rate), excluded)


def _concluded(
    scene: Scene,
    chosen: PassageFit,
    drifting: PassageFit,
    handovers: Sequence[Handover],
    told: tuple[str, ...],
    *,
    earned: bool,
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
            told.append(f"not heard from {change.stops:.3f} to {change.starts:.3f} s, then on from its {goes_on:.3f} s")
        elif goes_on < 0:
            told.append(f"heard from its beginning at {other.delay_seconds:.3f} s")
        else:
            told.append(f"at {change.starts:.3f} s from its {ends:.3f} s to its {goes_on:.3f} s")
    return f"{len(ways)} passages: " + "; ".join(told)
