"""Where a reference plays on while it is not heard at its own place: the player skipped, or someone cut the song."""

from collections.abc import Iterable, Sequence

from unsum.estimators.cutting import cut
from unsum.estimators.locate import MIN_SECONDS, Passage, locate_reference
from unsum.estimators.presence import spans_between, stretches
from unsum.estimators.split import Range
from unsum.model import TimeWarp
from unsum.problem import ArraySource, AudioSource

# What is searched is held in memory, so many samples of all channels together: four minutes of stereo at 48 kHz. In a
# longer silence, the search of the whole mixture had every chance.
_MOST_VALUES = 240 * 48_000 * 2
# A place so near to that where it was not heard is no other place.
_SAME_SECONDS = 0.001


def heard_elsewhere(
    left: AudioSource, reference: AudioSource, warp: TimeWarp, ranges: Sequence[Range]
) -> tuple[Passage, ...]:
    """Passages of a reference in stretches of the mixture in which it is not heard where its warp has it.

    Parameters
    ----------
    left : the mixture without all that is known to be in it
    warp : of the reference
    ranges : half-open, of mixture samples; held in memory, so that they should be some of `worth_searching`
    """
    rate = left.sample_rate
    found: list[Passage] = []
    for (start, stop), piece in zip(ranges, cut(left, [(a, b - a) for a, b in ranges]), strict=True):
        source = ArraySource(left.name, piece, rate, left.channels, left.bits, left.lossless)
        location = locate_reference(source, reference)
        ahead = start / rate
        for one in location.passages if location.present else ():
            first, last = ahead + max(0.0, one.start_seconds), min(ahead + one.stop_seconds, stop / rate)
            middle, delay = 0.5 * (first + last), ahead + one.delay_seconds
            if abs(middle - float(warp.reference_time(middle)) - delay) > _SAME_SECONDS:
                found.append(Passage(first, last, delay, one.clock_ppm))
    return tuple(found)


def with_passages(
    warp: TimeWarp, found: Sequence[Passage], *, samples: int, length: int, sample_rate: int
) -> tuple[Passage, ...]:
    """All passages of a reference, in order of time: the stretches of a warp in which it sounds, and those found.

    Parameters
    ----------
    warp : silent wherever something was found
    samples, length : of the mixture and of the reference
    """
    out = list(found)
    for way, (start, stop) in zip(stretches(warp), spans_between(warp, samples, sample_rate), strict=True):
        ends = way.delay_seconds + length / sample_rate / (1 + 1e-6 * way.clock_ppm)
        first, last = max(start, way.delay_seconds), min(stop, ends)
        if last - first >= MIN_SECONDS:
            middle = 0.5 * (first + last)
            out.append(Passage(first, last, middle - float(way.reference_time(middle)), way.clock_ppm))
    return tuple(sorted(out, key=lambda one: one.start_seconds))


def worth_searching(silences: Iterable[Range], source: AudioSource) -> list[Range]:
    """Those that may be held in memory together, the longest first to be chosen, in order of time.

    None of them longer than all that may be held, or shorter than what can be placed.
    """
    out: list[Range] = []
    room = _MOST_VALUES // len(source.channels)
    for start, stop in sorted(silences, key=lambda pair: pair[0] - pair[1]):
        if MIN_SECONDS * source.sample_rate <= stop - start <= room:
            out.append((start, stop))
            room -= stop - start
    return sorted(out)
