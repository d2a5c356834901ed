"""The passages of a song of repeats that skips: it is alike wherever it goes on, so that nothing falls silent.

At a low rate and through the filter that is known, every few seconds of the mixture are compared with all places
around the one that the warp tells. Of the places that some of them prefer, and silence, the likeliest is then followed
from frame to frame.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.best_path import best_path
from unsum.dsp.best_shift import best_shift
from unsum.dsp.code_length import band_energies, energy_floor, frame_samples, nats_saved
from unsum.engine import ResidualSource
from unsum.estimators.location import Passage
from unsum.estimators.mono import decimated, search_factor
from unsum.estimators.passage_ends import LEAST_GAIN, SHORTEST_SILENCE
from unsum.estimators.presence import spans_between, stretches
from unsum.estimators.repeats import APART_SECONDS, REACH_SECONDS
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, AudioSource, Problem
from unsum.progress import Progress

Mono = NDArray[np.float32]

_PIECE_SECONDS = 5.0  # they follow one another by half of it
_MOST_PLACES = 24
_SAME_SECONDS = 0.002  # two delays that are one
_FRAMES_TOGETHER = 8  # a step of the path
_STEPS_AT_ONCE = 256
_SHORTEST_SECONDS = 0.5  # a change of place that counts


def likeliest_passages(
    mixture: AudioSource,
    reference: AudioSource,
    part: Contribution,
    found: Sequence[Passage] = (),
    *,
    length: int,
    progress: Progress | None = None,
) -> tuple[Passage, ...]:
    """All passages of a reference, in order of time, where some are clearly heard at other places than its warp tells.

    None where its warp is right, or all right but for silences.

    Parameters
    ----------
    mixture : without the other references
    part : how the reference is heard; its warp must not bend
    found : passages that are known already
    length : samples of the reference
    """
    factor = search_factor(mixture.sample_rate)
    along = _Along(_heard_alone(mixture, reference, part, length, factor), part.warp, mixture.sample_rate / factor)
    preferred, samples = _other_delays(decimated(mixture, factor, progress=progress), along, mixture.bits)
    known = [along.delay(way) for way in stretches(part.warp)]
    delays = list(known)
    for delay in [*map(along.delay_of, found), *preferred]:
        if min(abs(delay - other) for other in delays) > _SAME_SECONDS and len(delays) < len(known) + _MOST_PLACES:
            delays.append(delay)
    if len(delays) == len(known):
        return ()
    gained = _gained(decimated(mixture, factor, progress=progress), along, delays, mixture.bits)
    path = best_path(np.concatenate([np.zeros((1, gained.shape[1])), gained]), price=LEAST_GAIN)
    step = _FRAMES_TOGETHER * along.frame / 2 / along.rate
    passages = list(_runs(path, step, along, delays))
    spans = list(zip(known, spans_between(part.warp, samples, round(along.rate)), strict=True))
    return tuple(passages) if any(_elsewhere(one, along, spans) for one in passages) else ()


@dataclass(frozen=True, slots=True)
class _Along:
    """All of a reference as the mixture would hear it, at the clock of the mixture and the low rate, and its warp."""

    image: Mono
    warp: TimeWarp
    rate: float

    @property
    def speed(self) -> float:
        return 1 + 1e-6 * self.warp.clock_ppm

    @property
    def reach(self) -> int:
        return round(REACH_SECONDS * self.rate)

    @property
    def frame(self) -> int:
        return frame_samples(round(self.rate))

    def delay(self, way: TimeWarp) -> float:
        """Mixture time, in seconds, at which the image begins along a warp without jumps."""
        return -float(way.reference_time(0.0)) / self.speed

    def delay_of(self, passage: Passage) -> float:
        """Mixture time, in seconds, at which the image begins along a passage, whose delay holds in its middle."""
        middle = 0.5 * (passage.start_seconds + passage.stop_seconds)
        return middle - (middle - passage.delay_seconds) / self.speed

    def place(self, start: int, size: int) -> int:
        """Where in the image some samples of the mixture begin, by the stretch that sounds in or nearest to them."""
        end = len(self.image) / self.rate
        ways = zip(stretches(self.warp), spans_between(self.warp, start + size, round(self.rate)), strict=True)
        sounding = [
            (delay, max(first, delay), min(last, delay + end))
            for delay, (first, last) in ((self.delay(way), span) for way, span in ways)
        ]
        middle = (start + size / 2) / self.rate
        delay, *_ = min(sounding, key=lambda one: (one[2] <= one[1], max(one[1] - middle, middle - one[2], 0.0)))
        return start - round(delay * self.rate)

    def cut(self, first: int, size: int) -> NDArray[np.float64]:
        """Samples of the image (1, size), silent outside."""
        out = np.zeros((1, size))
        a, b = max(0, first), max(0, min(len(self.image), first + size))
        out[0, a - first : max(a, b) - first] = self.image[a : max(a, b)]
        return out


def _heard_alone(mixture: AudioSource, reference: AudioSource, part: Contribution, length: int, factor: int) -> Mono:
    """All of a reference through its filters, on its own time line at the clock of the mixture."""
    clock = TimeWarp(0.0, part.warp.clock_ppm)
    samples = round(length / (1 + 1e-6 * clock.clock_ppm)) + part.n_taps
    silence = np.broadcast_to(np.zeros((len(mixture.channels), 1)), (len(mixture.channels), samples))
    problem = Problem(ArraySource(mixture.name, silence, mixture.sample_rate, mixture.channels), (reference,))
    model = MixModel(mixture.sample_rate, mixture.channels, {reference.name: replace(part, warp=clock, exact_gains={})})
    # What is left of silence is the image, turned over.
    return -np.concatenate([np.zeros(0, np.float32), *decimated(ResidualSource(problem, model), factor)])


def _other_delays(blocks: Iterable[Mono], along: _Along, bits: int | None) -> tuple[list[float], int]:
    """Delays that pieces of the mixture prefer to that of the warp, the most preferred first; the mixture's length."""
    size = 2 * round(_PIECE_SECONDS * along.rate / 2)
    found: list[float] = []
    samples = 0
    for start, heard in _pieces(blocks, size):
        samples = start + size
        place = along.place(start, size)
        if not heard.any():
            continue
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
    return [found[n] for n in np.argsort(-near.sum(axis=0), kind="stable")], samples


def _pieces(blocks: Iterable[Mono], size: int) -> Iterator[tuple[int, Mono]]:
    """(start, piece) of ``size`` samples, half of each the second half of the one before; a rest at the end is left."""
    held, start = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= size:
            yield start, held[:size]
            held, start = held[size // 2 :], start + size // 2


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
        left = sound - along.cut(start - round(delay * along.rate), len(heard))
        saved.append(nats_saved(without, band_energies(left, frame=along.frame), frame=along.frame, floor=floor))
    return np.array(saved).reshape(len(delays), -1, _FRAMES_TOGETHER).sum(axis=2)


def _runs(path: NDArray[np.intp], step: float, along: _Along, delays: Sequence[float]) -> Iterator[Passage]:
    """The passages of a path in which state 0 is silence."""
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    for first, last in pairwise(edges):
        if path[first] == 0:
            continue
        delay = delays[path[first] - 1]
        start, stop = max(first * step, delay), min(last * step, delay + len(along.image) / along.rate)
        if stop - start >= _SHORTEST_SECONDS:
            middle = 0.5 * (start + stop)
            yield Passage(start, stop, middle - (middle - delay) * along.speed, along.warp.clock_ppm)


def _elsewhere(passage: Passage, along: _Along, spans: Sequence[tuple[float, tuple[float, float]]]) -> bool:
    """Whether a passage is for some time where the warp does not have it."""
    delay = along.delay_of(passage)
    there = sum(
        max(0.0, min(passage.stop_seconds, stop) - max(passage.start_seconds, start))
        for known, (start, stop) in spans
        if abs(known - delay) <= _SAME_SECONDS
    )
    return passage.stop_seconds - passage.start_seconds - there > SHORTEST_SILENCE + _SHORTEST_SECONDS
