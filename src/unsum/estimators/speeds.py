"""References that were played faster or slower: a pitch fader, a film at 25 frames for 24, a tired cassette.

A few short pieces of the shorter of both are looked for at every speed of a grid, below 2 kHz: short and low, so that
a speed between two of the grid is heard by both. The best are tried again on a finer grid, where they were found.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.pieces import Windows, cut_windows
from unsum.dsp.search import MOST_DRIFT, Search, cell_length, search
from unsum.estimators.places import Heard, heard_stretches

MOST_SPEED = 0.0625
_STEP = 0.002
_FINE_STEPS = 9  # on either side of a speed of the grid
_LONGEST = 1 << 12  # samples of a window at half the rate of the search
_PIECES = 5
_FALSE_ALARM = 1e-4
_BEST = 3
_AROUND_SECONDS = 3.0
_WORTH_A_LOOK = 0.5  # as often as chance gives as much at all speeds together
_SHORTEST_SECONDS = 8.0  # less tells no speed from another

Sound = NDArray[np.float32]


def find_speeds(
    mixture: Callable[[int], Iterable[Sound]],
    sounds: Mapping[str, Sound],
    *,
    length: int,
    sample_rate: float,
    speed: float | None = None,
) -> dict[str, Heard]:
    """Where references are heard at another speed, in samples of the search; without those that are not.

    Parameters
    ----------
    mixture : blocks (samples,) of it from its start, at the rate of the search over the number given
    sounds : references (samples,) by name
    length : of the mixture, in samples of the search
    speed : how much faster than recorded, where that is known to two steps of the grid; all are tried if not given
    """
    grid = _grid(speed)
    out: dict[str, Heard] = {}
    for name, sound in sounds.items():
        if min(length, len(sound)) < _SHORTEST_SECONDS * sample_rate:
            continue
        if length <= len(sound):
            first = np.concatenate([np.zeros(0, np.float32), *mixture(1)])
            halved = _halved(sound)
            found = _one(
                first, True, lambda halved=halved: [halved], lambda a, b, s=sound: s[a:b], len(sound), sample_rate, grid
            )
        else:
            found = _one(
                sound, False, lambda: mixture(2), lambda a, b: _stretch(mixture(1), a, b), length, sample_rate, grid
            )
        if found is not None:
            out[name] = found
    return out


def _grid(speed: float | None) -> NDArray[np.floating]:
    """The speeds that are tried, less 1."""
    if speed is not None:
        return speed + _STEP * np.arange(-1, 2)
    speeds = np.arange(-MOST_SPEED, MOST_SPEED + _STEP / 2, _STEP)
    return speeds[np.abs(speeds) > 2 * MOST_DRIFT]


def _one(
    turned: Sound,
    swapped: bool,
    passing: Callable[[], Iterable[Sound]],
    stretch: Callable[[int, int], Sound],
    length: int,
    rate: float,
    speeds: NDArray[np.floating],
) -> Heard | None:
    """The line along which one is heard; ``turned`` is the shorter of both, tried at every speed."""
    low = _halved(turned)
    windows = [_windows(_at_speed(low, speed, swapped), rate / 2, _PIECES, swapped, _LONGEST) for speed in speeds]
    found = search(windows, passing(), sample_rate=rate / 2, phases=not swapped, most_drift=0.7 * _STEP)
    likely = [
        (place.rank, float(speed), 2 * place.delay)
        for speed, one in zip(speeds, found, strict=True)
        for place in one.places[:2]
        if place.false_alarm * len(speeds) < _WORTH_A_LOOK
    ]
    best: tuple[float, float, int, Search] | None = None
    around = round(_AROUND_SECONDS * rate)
    for _, coarse, delay in sorted(likely, reverse=True)[:_BEST]:
        first = max(0, int(delay) - around)
        slowest = coarse - _STEP if not swapped else coarse + _STEP
        near = stretch(first, int(delay) + round(len(turned) * _ratio(slowest, swapped)) + around)
        for step in range(-_FINE_STEPS, _FINE_STEPS + 1):
            speed = coarse + step * 0.7 * _STEP / _FINE_STEPS
            fine = _windows(_at_speed(turned, speed, swapped), rate, 64, swapped, 1 << 14)
            one = search([fine], [near], sample_rate=rate, phases=not swapped)[0]
            if one.places and (best is None or one.places[0].rank > best[0]):
                best = one.places[0].rank, speed, first, one
    if best is None:
        return None
    _, speed, first, one = best
    trials = len(speeds) * _FINE_STEPS * max(1.0, length / max(one.passed, 1))
    size = round(len(turned) * _ratio(speed, swapped))
    heard = heard_stretches(
        one,
        swapped=swapped,
        reference_length=one.passed if swapped else size,
        mixture_length=size if swapped else one.passed,
        false_alarm=_FALSE_ALARM / trials,
    )
    return _at_own_speed(heard[0], speed, first, swapped) if heard else None


def _at_own_speed(line: Heard, speed: float, first: int, swapped: bool) -> Heard:
    """The line between the sounds as they are, of that between one at another speed and a stretch of the other."""
    at_zero, steep = line.delay - line.slope * line.pivot, 1 + line.slope
    if swapped:  # the mixture was slowed to the reference: t * (1 + speed) = (r - first) * steep + at_zero
        slope = steep / (1 + speed) - 1
        delay = (at_zero - first * steep) / (1 + speed)
        return replace(
            line, start=line.start / (1 + speed), stop=line.stop / (1 + speed), delay=delay, slope=slope, pivot=0.0
        )
    slope = steep / (1 + speed) - 1
    return replace(
        line, start=line.start + first, stop=line.stop + first, delay=at_zero + first, slope=slope, pivot=0.0
    )


def _ratio(speed: float, swapped: bool) -> float:
    return 1 + speed if swapped else 1 / (1 + speed)


def _at_speed(sound: Sound, speed: float, swapped: bool) -> Sound:
    """A reference as it sounds when it is played faster; a mixture slowed down as much."""
    return np.asarray(scipy.signal.resample(sound, max(1, round(len(sound) * _ratio(speed, swapped)))), np.float32)


def _windows(sound: Sound, rate: float, pieces: int, swapped: bool, longest: int) -> Windows:
    return cut_windows(
        sound, sample_rate=rate, max_windows=pieces, phases=swapped, grid=cell_length(rate), longest=longest
    )


def _halved(sound: Sound) -> Sound:
    return np.asarray(scipy.signal.resample_poly(sound, 1, 2), np.float32)


def _stretch(blocks: Iterable[Sound], first: int, stop: int) -> Sound:
    """Samples from ``first`` to ``stop`` of what passes."""
    kept, done = [np.zeros(0, np.float32)], 0
    for block in blocks:
        a, b = max(first - done, 0), min(stop - done, len(block))
        if a < b:
            kept.append(block[a:b])
        done += len(block)
        if done >= stop:
            break
    return np.concatenate(kept)
