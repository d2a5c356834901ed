"""When a reference that runs along is not heard: muted for a while, faded in late, out early, paused after all.

Once its filters are known, every short frame tells whether its image explains what is heard there, or only adds a
ghost of itself. Where many say the second, one after the other, the reference is silent.

Filters that were fitted under talk are right where the reference is loud, and nothing but error in bands where the talk
covers it. Where the talk pauses, those bands are a ghost too. So each band first counts for as much as the audio
confirms of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.code_length import band_edges, energy_floor, frame_samples, gain_terms, nats_saved
from unsum.dsp.transforms import irfft, rfft
from unsum.engine import subtract
from unsum.estimators.passage_ends import LEAST_GAIN
from unsum.estimators.passage_lines import AHEAD_SECONDS
from unsum.estimators.split import spans
from unsum.model import Jump, MixModel, TimeWarp
from unsum.problem import Problem, as_float
from unsum.progress import Progress

Range = tuple[int, int]

SHORTEST_SECONDS = 0.5  # of a silence that counts, where the reference would sound
# What seems to come and go more often is not muted but badly followed: a clock that jumps, a loudspeaker that distorts.
_SECONDS_PER_SILENCE = 10.0
# A gain so sure to be below this is no misfit: a filter whose errors are as loud as it is gives one half.
_HARDLY_THERE, _DEVIATIONS = 0.4, 2.0
_FRAMES_TOGETHER = 8  # hang together


def silences(
    problem: Problem, model: MixModel, *, lengths: Mapping[str, int], progress: Progress | None = None
) -> dict[str, tuple[Range, ...]]:
    """Half-open ranges of mixture samples in which a reference of a model is not heard, though the model has it sound.

    Known to a few hundredths of a second; one that begins with the sound of the reference begins at sample 0, one that
    ends with it ends with the mixture. A reference that is left with no sound at all has none, nor one that seems to
    come and go all the time.

    Parameters
    ----------
    lengths : {reference: samples}
    """
    found, confirmed, samples = _told(problem, model, lengths, progress)
    parts = dict(model.contributions)
    for name in found:
        if not parts[name].exact_gains:
            parts[name] = replace(parts[name], filters=_shaped(parts[name].filters, confirmed[name], model.sample_rate))
    if found:
        found, *_ = _told(problem, replace(model, contributions=parts), lengths, progress)
    most = 1 + samples / model.sample_rate / _SECONDS_PER_SILENCE
    return {name: ranges for name, ranges in found.items() if ranges != ((0, samples),) and len(ranges) <= most}


def _told(
    problem: Problem, model: MixModel, lengths: Mapping[str, int], progress: Progress | None
) -> tuple[dict[str, tuple[Range, ...]], dict[str, NDArray[np.float64]], int]:
    """The silences of references, how much of the image of each the audio confirms by band, and samples in all."""
    rate, bits = problem.mixture.sample_rate, problem.mixture.bits
    frame = frame_samples(rate)
    remaining = _Frames(frame)
    tracks = {name: _Frames(frame) for name in model.present}
    told: dict[str, list[NDArray[np.float64]]] = {name: [] for name in model.present}
    by_band = {name: np.zeros((2, len(band_edges(frame)) - 1)) for name in model.present}
    energy, samples = 0.0, 0
    for block in subtract(problem, model, progress=progress):
        mixture, left = as_float(block.mixture, bits), as_float(block.residual, bits)
        energy += float(np.vdot(mixture, mixture))
        samples += block.mixture.shape[1]
        floor = energy_floor(bits, len(mixture), energy / max(samples, 1))
        rest = remaining.add(left)
        own = _energies(rest, frame)
        for name, track in tracks.items():
            image = track.add(block.images[name])
            heard, played = _energies(rest + image, frame), _energies(image, frame)
            saved = nats_saved(heard, own, frame=frame, floor=floor)
            terms = np.array(gain_terms(heard, own, played, frame=frame))
            by_band[name] += terms.sum(axis=1)
            told[name].append(np.stack([saved, *terms.sum(axis=2)]))
    found: dict[str, tuple[Range, ...]] = {}
    for name, parts in told.items():
        table = np.concatenate([np.zeros((3, 0)), *parts], axis=1)
        # Where only its filter rings on, nothing is asked.
        sounding = spans(model.contributions[name].warp, lengths[name], samples, rate)
        table[:, ~_within(sounding, table.shape[1], frame)] = 0.0
        if ranges := _ranges(table, frame, samples, rate):
            found[name] = ranges
    return found, {name: _confirmed(*by_band[name]) for name in found}, samples


def _confirmed(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains (bands,) from 0 to 1 with which an image is heard, beside the highest of them.

    How loud all of an image is beside its reference is not asked: it may be silent half of the time. In a band that
    other sound fills, the gain is chance and may be any number.
    """
    gains = np.clip(numerator / np.maximum(denominator, np.finfo(float).tiny), 0.0, 1.0)
    return gains / max(float(np.max(gains)), np.finfo(float).tiny)


def _shaped(filters: NDArray[np.float64], gains: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Filters (..., taps) through gains (bands,) that turn no phase."""
    n_taps = filters.shape[-1]
    n_fft = 2 * max(n_taps, frame_samples(sample_rate))
    edges = band_edges(frame_samples(sample_rate)) / frame_samples(sample_rate)
    at = np.interp(np.arange(n_fft // 2 + 1) / n_fft, 0.5 * (edges[1:] + edges[:-1]), gains)
    return irfft(rfft(filters, n_fft) * at, n_fft)[..., :n_taps]


def _within(sounding: Sequence[Range], count: int, frame: int) -> NDArray[np.bool_]:
    """Whether of each frame (frames,) all lies in one of some ranges of samples."""
    half = frame // 2
    inside = np.zeros(count, bool)
    for start, stop in sounding:
        inside[-(-start // half) : max(0, (stop - frame) // half + 1)] = True
    return inside


class _Frames:
    """Spectra of short frames, half a frame apart, of what comes in blocks of any length.

    Single precision is some 140 dB under the loudest of a frame, and what lies 120 dB under the mixture tells nothing.
    """

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._window = np.hanning(frame + 1)[:-1].astype(np.float32)
        self._rest: NDArray[np.float32] | None = None

    def add(self, rows: NDArray[np.float64]) -> NDArray[np.complex64]:
        """(channels, frames, bins) of the frames that are complete."""
        half, single = self._frame // 2, rows.astype(np.float32)
        joined = single if self._rest is None else np.concatenate([self._rest, single], axis=1)
        count = max(0, joined.shape[1] // half - 1)
        self._rest = joined[:, count * half :]
        if not count:
            return np.zeros((len(rows), 0, half + 1), np.complex64)
        frames = np.lib.stride_tricks.sliding_window_view(joined, self._frame, axis=1)[:, ::half]
        return rfft(frames[:, :count] * self._window, self._frame).astype(np.complex64, copy=False)


def _energies(spectra: NDArray[np.complex64], frame: int) -> NDArray[np.float64]:
    """Energies (frames, bands) of all channels together, as those of `unsum.dsp.code_length.band_energies`."""
    edges = band_edges(frame)
    power = np.sum(spectra.real**2 + spectra.imag**2, axis=0)
    return np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1).astype(np.float64)


def _ranges(table: NDArray[np.float64], frame: int, samples: int, rate: int) -> tuple[Range, ...]:
    """Stretches that are better off without the image, as samples.

    Parameters
    ----------
    table : (3, frames) nats that the image saves; numerator and denominator of its gain
    """
    half = frame // 2
    sounds = np.flatnonzero(table[2] > 0)
    if not len(sounds):
        return ()
    silent = silent_frames(table[0])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8))).reshape(-1, 2)
    out: list[Range] = []
    near = SHORTEST_SECONDS * rate / half
    for a, b in edges.tolist():
        lasting = np.count_nonzero(table[2, a:b]) * half >= SHORTEST_SECONDS * rate
        if not lasting or not _surely_absent(table[1, a:b], table[2, a:b]):
            continue
        # There is nothing to be heard ahead of the first sound and behind the last: a silence goes on to there.
        start = 0 if a - sounds[0] < near else a * half + half // 2
        stop = samples if sounds[-1] - b < near else b * half + half // 2
        out.append((start, stop))
    return tuple(out)


def _surely_absent(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> bool:
    """Whether the image is heard with a gain that is surely far below 1 where it should be heard: no bad fit of it."""
    total = float(denominator.sum())
    if total <= 0:
        return False
    gain = float(numerator.sum()) / total
    blocks = np.arange(0, len(numerator), _FRAMES_TOGETHER)
    rest = np.add.reduceat(numerator - gain * denominator, blocks)
    stderr = float(np.sqrt(np.sum(rest**2))) / total
    return gain + _DEVIATIONS * stderr < _HARDLY_THERE


def silent_frames(saved: NDArray[np.float64], *, least_gain: float = LEAST_GAIN) -> NDArray[np.bool_]:
    """The likeliest frames (frames,) in which nothing is heard, where every silence must gain so many nats.

    Parameters
    ----------
    saved : (frames,) nats that the image saves
    """
    n = len(saved)
    # Two states, and the price of a silence paid where it begins: the best score of each, and where it came from.
    came = np.zeros((2, n), bool)  # from the other state
    heard, silent = 0.0, -least_gain
    for k, nats in enumerate(saved.tolist()):
        came[0, k], came[1, k] = silent > heard, heard - least_gain > silent
        heard, silent = max(heard, silent), max(silent, heard - least_gain) - nats
    out = np.zeros(n, bool)
    state = silent > heard
    for k in range(n - 1, -1, -1):
        out[k] = state
        if came[int(state), k]:
            state = not state
    return out


def with_silences(warp: TimeWarp, ranges: Sequence[Range], *, samples: int, sample_rate: int) -> TimeWarp:
    """The warp along which the reference is silent in ranges of mixture samples, and elsewhere where it was."""
    jumps = list(warp.jumps)
    for first, stop in ranges:
        start, end = first / sample_rate, stop / sample_rate
        along = replace(warp, jumps=tuple(jumps))
        before = [jump for jump in jumps if jump.at_seconds < start]
        inside = [jump for jump in jumps if start <= jump.at_seconds <= end]
        behind = [jump for jump in jumps if jump.at_seconds > end]
        # Where it would be at the end of the silence, had it not jumped in it.
        passed = float(replace(along, jumps=tuple(before)).reference_time(end))
        ahead = -passed - AHEAD_SECONDS
        back = sum(jump.skipped_seconds for jump in inside) - ahead
        jumps = [*before, Jump(start, ahead), *([Jump(end, back)] if stop < samples else []), *behind]
    return replace(warp, jumps=tuple(jumps))


def silenced(model: MixModel, found: Mapping[str, Sequence[Range]], *, samples: int) -> MixModel:
    """The model with its references silent where they are not heard, its filters as they were."""
    contributions = dict(model.contributions)
    for name, ranges in found.items():
        part = contributions[name]
        warp = with_silences(part.warp, ranges, samples=samples, sample_rate=model.sample_rate)
        contributions[name] = replace(part, warp=warp)
    return replace(model, contributions=contributions)


def stretches(warp: TimeWarp) -> list[TimeWarp]:
    """What a warp is from jump to jump: one without jumps for each stretch."""
    speed = 1 + 1e-6 * warp.clock_ppm
    skipped = np.cumsum([0.0, *(jump.skipped_seconds for jump in warp.jumps)])
    return [replace(warp, delay_seconds=warp.delay_seconds - s / speed, jumps=()) for s in skipped.tolist()]


def spans_between(warp: TimeWarp, samples: int, sample_rate: int) -> list[tuple[float, float]]:
    """From when to when, in seconds of the mixture, each stretch of a warp holds."""
    at = [0.0, *(jump.at_seconds for jump in warp.jumps), samples / sample_rate]
    return list(pairwise(at))
