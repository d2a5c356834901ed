"""The passages of a song of repeats that skips: it is alike wherever it goes on, so that nothing falls silent.

At a low rate and through the filter that is known, every few seconds of the mixture are compared with all places
around the one that the warp tells. Of the places that some of them prefer, and silence, the likeliest is then followed
from frame to frame.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.best_path import best_path
from unsum.dsp.best_shift import best_shift
from unsum.dsp.code_length import band_energies, energy_floor, frame_samples, nats_saved
from unsum.dsp.warp import interpolate, reach
from unsum.engine import ResidualSource
from unsum.estimators.location import Passage
from unsum.estimators.mono import decimated, search_factor
from unsum.estimators.passage_ends import LEAST_GAIN
from unsum.estimators.presence import spans_between, stretches
from unsum.estimators.repeats import APART_SECONDS, REACH_SECONDS
from unsum.estimators.split import Range
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, AudioSource, Problem
from unsum.progress import Progress

Mono = NDArray[np.float32]

_PIECE_SECONDS = 5.0  # they follow one another by half of it
_MOST_PIECES = 160  # five minutes and more; of longer mixtures those that are explained least
_MOST_PLACES = 24
_SAME_SECONDS = 0.002  # two delays that are one
_FRAMES_TOGETHER = 8  # a step of the path
_STEPS_AT_ONCE = 256
_SHORTEST_SECONDS = 0.5  # of a passage
_ENDS_SECONDS = 0.2  # by which the ends of a passage may differ from those of a warp


def likeliest_passages(
    mixture: AudioSource,
    reference: AudioSource,
    part: Contribution,
    found: Sequence[Passage] = (),
    *,
    lengths: tuple[int, int],
    suspect: Sequence[Range] | None = None,
    progress: Progress | None = None,
) -> tuple[Passage, ...]:
    """All passages of a reference, in order of time, if some are clearly heard at other places than its warp tells.

    None if its warp is right, or all right but for silences.

    Parameters
    ----------
    mixture : without the other references
    part : how the reference is heard; its warp must not bend
    found : passages that are known already
    lengths : samples of the mixture and of the reference
    suspect : half-open ranges of mixture samples in which other places are sought; all of it if not given
    """
    rate, factor = mixture.sample_rate, search_factor(mixture.sample_rate)
    along = _along(_heard_alone(mixture, reference, part, lengths[1], factor), part.warp, lengths[0], rate, factor)
    if not along.sounding:
        return ()
    if suspect is not None:
        seconds = [(a / rate, b / rate) for a, b in suspect]
    elif lengths[0] > _MOST_PIECES * _PIECE_SECONDS / 2 * rate:
        seconds = _least_explained(decimated(mixture, factor), along, mixture.bits)
    else:
        seconds = [(0.0, math.inf)]
    preferred = _other_delays(decimated(mixture, factor, progress=progress), along, mixture.bits, seconds)
    known = [delay for delay, _, _ in along.sounding]
    delays = list(known)
    for delay in [*map(along.delay_of, found), *preferred]:
        if min(abs(delay - other) for other in delays) > _SAME_SECONDS and len(delays) < len(known) + _MOST_PLACES:
            delays.append(delay)
    if len(delays) == 1:
        return ()
    gained = _gained(decimated(mixture, factor, progress=progress), along, delays, mixture.bits)
    path = best_path(np.concatenate([np.zeros((1, gained.shape[1])), gained]), price=LEAST_GAIN)
    step = _FRAMES_TOGETHER * along.frame / 2 / along.rate
    passages = list(_runs(path, step, along, delays))
    return tuple(passages) if any(_elsewhere(one, along) for one in passages) else ()


@dataclass(frozen=True, slots=True)
class _Along:
    """All of a reference as the mixture would hear it, at the clock of the mixture and the low rate, and its warp.

    Attributes
    ----------
    image : (samples,)
    sounding : (delay, first, last) in seconds of the mixture, of each stretch of the warp that sounds
        Where the image would begin, and from when to when it is heard.
    clock_ppm : of the warp
    rate : samples a second, the low ones
    """

    image: Mono
    sounding: tuple[tuple[float, float, float], ...]
    clock_ppm: float
    rate: float

    @property
    def speed(self) -> float:
        return 1 + 1e-6 * self.clock_ppm

    @property
    def reach(self) -> int:
        return round(REACH_SECONDS * self.rate)

    @property
    def piece(self) -> int:
        """Samples of a piece; even."""
        return 2 * round(_PIECE_SECONDS * self.rate / 2)

    @property
    def frame(self) -> int:
        return frame_samples(round(self.rate))

    def delay_of(self, passage: Passage) -> float:
        """Mixture time, in seconds, at which the image begins along a passage, whose delay holds in its middle."""
        middle = 0.5 * (passage.start_seconds + passage.stop_seconds)
        return middle - (middle - passage.delay_seconds) / self.speed

    def place(self, start: int, size: int) -> int:
        """Where in the image some samples of the mixture begin, by the stretch that sounds in or nearest to them."""
        middle = (start + size / 2) / self.rate
        delay, *_ = min(self.sounding, key=lambda one: max(one[1] - middle, middle - one[2], 0.0))
        return start - round(delay * self.rate)

    def between(self, first: float, size: int) -> NDArray[np.float64]:
        """The image (1, size) from between two samples on: half a sample off, high bands are left as they are."""
        start, stop = (math.floor(first) + side for side in (-reach(), size + reach() + 1))
        return interpolate(self.cut(start, stop - start), first + np.arange(size), first=start)

    def cut(self, first: int, size: int) -> NDArray[np.float64]:
        """Samples of the image (1, size), silent outside."""
        out = np.zeros((1, size))
        a, b = max(0, first), max(0, min(len(self.image), first + size))
        out[0, a - first : max(a, b) - first] = self.image[a : max(a, b)]
        return out


def _along(image: Mono, warp: TimeWarp, samples: int, rate: int, factor: int) -> _Along:
    """An image and its warp, in a mixture of so many samples at its own rate."""
    low, speed = rate / factor, 1 + 1e-6 * warp.clock_ppm
    sounding = []
    for way, (start, stop) in zip(stretches(warp), spans_between(warp, samples, rate), strict=True):
        delay = -float(way.reference_time(0.0)) / speed
        first, last = max(start, delay), min(stop, delay + len(image) / low)
        if first < last:
            sounding.append((delay, first, last))
    return _Along(image, tuple(sounding), warp.clock_ppm, low)


def _heard_alone(mixture: AudioSource, reference: AudioSource, part: Contribution, length: int, factor: int) -> Mono:
    """All of a reference through its filters, on its own time line at the clock of the mixture."""
    clock = TimeWarp(0.0, part.warp.clock_ppm)
    samples = round(length / (1 + 1e-6 * clock.clock_ppm)) + part.n_taps
    silence = np.broadcast_to(np.zeros((len(mixture.channels), 1)), (len(mixture.channels), samples))
    problem = Problem(ArraySource(mixture.name, silence, mixture.sample_rate, mixture.channels), (reference,))
    model = MixModel(mixture.sample_rate, mixture.channels, {reference.name: replace(part, warp=clock, exact_gains={})})
    # What is left of silence is the image, turned over.
    turned = (-block for block in decimated(ResidualSource(problem, model), factor))
    return np.concatenate([np.zeros(0, np.float32), *turned])


def _other_delays(
    blocks: Iterable[Mono], along: _Along, bits: int | None, suspect: Sequence[tuple[float, float]]
) -> list[float]:
    """Delays that pieces of the mixture prefer to that of the warp, the most preferred first.

    Parameters
    ----------
    suspect : ranges of seconds that pieces must touch
    """
    found: list[float] = []
    for start, heard in _pieces(blocks, along.piece):
        size = len(heard)
        first, last = start / along.rate, (start + size) / along.rate
        if not heard.any() or not any(a < last and first < b for a, b in suspect):
            continue
        place = along.place(start, size)
        behind = best_shift(
            heard[None].astype(float),
            along.cut(place - along.reach, size + 2 * along.reach),
            along.reach,
            frame=along.frame,
            floor=energy_floor(bits, 1, float(np.mean(heard**2))),
            apart=round(APART_SECONDS * along.rate),
        )
        if abs(behind) > _SAME_SECONDS * along.rate:
            found.append((start - place - behind) / along.rate)
    near = np.abs(np.subtract.outer(found, found)) < _SAME_SECONDS
    return [found[n] for n in np.argsort(-near.sum(axis=0), kind="stable")]


def _least_explained(blocks: Iterable[Mono], along: _Along, bits: int | None) -> list[tuple[float, float]]:
    """The middles, in seconds, of the pieces in which the image explains least of what it would if it fitted."""
    share: list[tuple[float, float]] = []
    for start, heard in _pieces(blocks, along.piece):
        sound, image = heard[None].astype(float), along.cut(along.place(start, len(heard)), len(heard))
        how = {"frame": along.frame, "floor": energy_floor(bits, 1, float(np.mean(sound**2)))}
        without, played, left = (band_energies(one, frame=along.frame) for one in (sound, image, sound - image))
        possible = float(nats_saved(without + played, without, **how).sum())
        if possible > LEAST_GAIN:
            middle = (start + len(heard) / 2) / along.rate
            share.append((float(nats_saved(without, left, **how).sum()) / possible, middle))
    return [(middle, middle) for _, middle in sorted(share)[:_MOST_PIECES]]


def _pieces(blocks: Iterable[Mono], size: int) -> Iterator[tuple[int, Mono]]:
    """(start, piece) of ``size`` samples, half of each the second half of the one before; the last ends at the end.

    What is shorter is one piece of all there is.
    """
    held, start = np.zeros(0, np.float32), 0
    last = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= size:
            last = held[:size]
            yield start, last
            held, start = held[size // 2 :], start + size // 2
    if not len(last):
        yield 0, held
    elif len(held) > size // 2:
        joined = np.concatenate([last[: size // 2], held])
        yield start - size // 2 + len(joined) - size, joined[-size:]


def _gained(blocks: Iterable[Mono], along: _Along, delays: Sequence[float], bits: int | None) -> NDArray[np.float64]:
    """Nats (delays, steps) that the image saves at each delay, of some frames together."""
    half = along.frame // 2
    step = _FRAMES_TOGETHER * half
    size = _STEPS_AT_ONCE * step
    table: list[NDArray[np.float64]] = []
    held, start = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= size + half:
            table.append(_nats(held[: size + half], start, along, delays, bits))
            held, start = held[size:], start + size
    rest = (len(held) - half) // step * step
    if rest > 0:
        table.append(_nats(held[: rest + half], start, along, delays, bits))
    return np.concatenate([np.zeros((len(delays), 0)), *table], axis=1)


def _nats(heard: Mono, start: int, along: _Along, delays: Sequence[float], bits: int | None) -> NDArray[np.float64]:
    sound = heard[None].astype(float)
    floor = energy_floor(bits, 1, float(np.mean(sound**2)))
    without = band_energies(sound, frame=along.frame)
    saved = []
    for delay in delays:
        left = sound - along.between(start - delay * along.rate, len(heard))
        saved.append(nats_saved(without, band_energies(left, frame=along.frame), frame=along.frame, floor=floor))
    return np.array(saved).reshape(len(delays), -1, _FRAMES_TOGETHER).sum(axis=2)


def _runs(path: NDArray[np.intp], step: float, along: _Along, delays: Sequence[float]) -> Iterator[Passage]:
    """The passages of a path in which state 0 is silence."""
    if not len(path):
        return
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    for first, last in pairwise(edges):
        if path[first] == 0:
            continue
        delay = delays[path[first] - 1]
        start, stop = max(first * step, delay), min(last * step, delay + len(along.image) / along.rate)
        if stop - start >= _SHORTEST_SECONDS:
            middle = 0.5 * (start + stop)
            yield Passage(start, stop, middle - (middle - delay) * along.speed, along.clock_ppm)


def _elsewhere(passage: Passage, along: _Along) -> bool:
    """Whether a passage is for some time where the warp does not have it."""
    delay = along.delay_of(passage)
    there = sum(
        max(0.0, min(passage.stop_seconds, last) - max(passage.start_seconds, first))
        for known, first, last in along.sounding
        if abs(known - delay) <= _SAME_SECONDS
    )
    return passage.stop_seconds - passage.start_seconds - there > _ENDS_SECONDS
