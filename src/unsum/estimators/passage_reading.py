"""What is read of passages of a reference, from one reading of both sounds: from within each, and around its ends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unsum.dsp.time_fit import Excerpt, needed_reference
from unsum.estimators.clock_scene import lags_for, telling, widened
from unsum.estimators.excerpts import Span, cut_excerpts
from unsum.estimators.locate import Passage
from unsum.estimators.passage_ends import EDGE_SECONDS
from unsum.estimators.passage_lines import Line
from unsum.problem import AudioSource
from unsum.progress import Progress

_TOTAL_SECONDS, _EXCERPT_SECONDS = 96.0, 8.0
_MARGIN_SECONDS = 0.4
_PAD_SECONDS, _PAD_SHARE = 1.0, 0.15  # what is left out at the ends of a passage, which are known roughly


@dataclass(frozen=True, slots=True)
class Cut:
    """What was read of one passage: from within it, and around its ends."""

    within: tuple[Excerpt, ...]
    begin: Excerpt
    end: Excerpt


def rough_line(passage: Passage, ppm: float) -> Line:
    """The line of a passage, at the clock of the longest one: that of a short one is no better than a guess."""
    middle = 0.5 * (passage.start_seconds + passage.stop_seconds)
    place = (middle - passage.delay_seconds) * (1 + 1e-6 * ppm)
    return Line(passage.start_seconds, passage.stop_seconds, middle, place)


def read_passages(
    mixture: AudioSource,
    reference: AudioSource,
    lines: Sequence[Line],
    ppm: float,
    lengths: tuple[int, int],
    progress: Progress | None,
) -> list[Cut]:
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
    return [Cut(tuple(next(chosen) for _ in range(count)), next(chosen), next(chosen)) for count in counts]


def _ranges(line: Line, share: float) -> list[tuple[float, float]]:
    """What is looked at within a passage: all but its ends, or excerpts spread over it."""
    length = line.stop - line.start
    pad = min(_PAD_SECONDS, _PAD_SHARE * length)
    first, last = line.start + pad, line.stop - pad
    wanted = share * length
    if wanted >= last - first or last - first <= _EXCERPT_SECONDS:
        return [(first, last)]
    count = max(1, min(round(wanted / _EXCERPT_SECONDS), int((last - first) // _EXCERPT_SECONDS)))
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
