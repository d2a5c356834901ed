"""The ends of what is heard once more, to the sample, with the filters that were fitted to all of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unsum.dsp.time_fit import Lags, needed_reference
from unsum.engine import ResidualSource
from unsum.estimators.excerpts import Span, cut_excerpts
from unsum.estimators.passage_ends import Ends, Heard, ends_of, exactly, heard, silent_beside
from unsum.estimators.presence import spans_between, stretches
from unsum.model import Contribution, Jump, MixModel, TimeWarp
from unsum.problem import AudioSource, Problem

_BESIDE_SECONDS = 0.5
_MOST_AT_ONCE = 24  # excerpts held in memory
_MOST_JUMPS = 192
_SAME_SECONDS = 1e-6  # less than a sample at any rate


@dataclass(frozen=True, slots=True)
class _Place:
    """A jump, and the warps of the stretches on both sides; None where one is silent."""

    number: int
    sample: int
    first: int
    stop: int
    before: TimeWarp | None
    after: TimeWarp | None


def refined_ends(problem: Problem, model: MixModel) -> MixModel:
    """The model with every jump on the sample at which the audio goes over, as its filters tell."""
    contributions = dict(model.contributions)
    for reference in problem.references:
        part = contributions[reference.name]
        if not part.present or not 0 < len(part.warp.jumps) <= _MOST_JUMPS:
            continue
        others = {name: one for name, one in contributions.items() if name != reference.name and one.present}
        mixture = problem.mixture
        if others:
            rest = replace(problem, references=tuple(r for r in problem.references if r.name in others))
            mixture = ResidualSource(rest, replace(model, contributions=others))
        warp = _refined(mixture, reference, part, problem.mixture.samples)
        contributions[reference.name] = replace(part, warp=warp)
    return replace(model, contributions=contributions)


def _refined(mixture: AudioSource, reference: AudioSource, part: Contribution, samples: int | None) -> TimeWarp:
    rate = mixture.sample_rate
    ends = ends_of(part, mixture)
    total = samples if samples is not None else sum(block.shape[1] for block in mixture.blocks())
    places = _places(part.warp, total, rate)
    found: dict[int, int] = {}
    for first in range(0, len(places), _MOST_AT_ONCE):
        group = places[first : first + _MOST_AT_ONCE]
        sides = [_spans(place, ends.lags, rate) for place in group]
        excerpts = iter(cut_excerpts(mixture, reference, [span for pair in sides for span in pair]))
        for place in group:
            one, other = next(excerpts), next(excerpts)
            before = None if place.before is None else heard(one, place.before, ends)
            after = None if place.after is None else heard(other, place.after, ends)
            found[place.number] = _moment(before, after, place, ends)
    return _moved(part.warp, found, rate)


def _moment(before: Heard | None, after: Heard | None, place: _Place, ends: Ends) -> int:
    known = before if before is not None else after
    assert known is not None
    nothing = silent_beside(known)
    return exactly(before or nothing, after or nothing, place.sample - place.first, ends)


def _moved(warp: TimeWarp, found: dict[int, int], rate: int) -> TimeWarp:
    """The warp with jumps at other samples, in order of time."""
    jumps: list[Jump] = []
    for number, jump in enumerate(warp.jumps):
        at = found[number] / rate if number in found else jump.at_seconds
        jumps.append(replace(jump, at_seconds=max(at, jumps[-1].at_seconds if jumps else at)))
    return replace(warp, jumps=tuple(_settled(jumps)))


def _settled(jumps: Sequence[Jump]) -> list[Jump]:
    """Jumps at one moment as one, and none where they undo each other."""
    out: list[Jump] = []
    for jump in jumps:
        one = jump
        if out and jump.at_seconds - out[-1].at_seconds < _SAME_SECONDS:
            before = out.pop()
            one = replace(before, skipped_seconds=before.skipped_seconds + jump.skipped_seconds)
        if abs(one.skipped_seconds) > _SAME_SECONDS:
            out.append(one)
    return out


def _places(warp: TimeWarp, samples: int, rate: int) -> list[_Place]:
    """The jumps whose moment is a question: something is heard on one side, and not only from its first sample on."""
    sections = spans_between(warp, samples, rate)
    ways: Sequence[TimeWarp | None] = [
        way if float(way.reference_time(stop)) > 0 else None
        for way, (_, stop) in zip(stretches(warp), sections, strict=True)
    ]
    around = round(_BESIDE_SECONDS * rate)
    out: list[_Place] = []
    for number, jump in enumerate(warp.jumps):
        before, after = ways[number], ways[number + 1]
        sample = round(jump.at_seconds * rate)
        if (before is None and after is None) or not 0 < sample < samples:
            continue
        if before is None and after is not None and float(after.reference_time(jump.at_seconds)) <= 0:
            continue  # it begins by itself
        # A filter hears both sides of a jump: what lies at the next one is no longer of this one.
        low = max(0, sample - around, round(sections[number][0] * rate))
        high = min(samples, sample + around, round(sections[number + 1][1] * rate))
        if min(sample - low, high - sample) >= 0.05 * rate:
            out.append(_Place(number, sample, low, high, before, after))
    return out


def _spans(place: _Place, lags: Lags, rate: int) -> tuple[Span, Span]:
    ways = [way or other for way, other in ((place.before, place.after), (place.after, place.before))]
    out = []
    for way in ways:
        assert way is not None
        need = needed_reference(place.first, place.stop, way, lags, sample_rate=rate)
        out.append(Span(place.first, place.stop, *need))
    return out[0], out[1]
