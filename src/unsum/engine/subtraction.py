"""Images and residual of a model, block by block: the mixture less what its references sound like in it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.convolution import ImageStream
from unsum.engine.aligned import AlignedAudio, aligned_blocks, with_bits
from unsum.errors import InputError
from unsum.model import MixModel
from unsum.problem import AudioSource, PassedOn, Problem, as_float
from unsum.progress import Progress

_NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Subtracted:
    """A block of the mixture taken apart.

    Attributes
    ----------
    residual : (channels, samples), in the mixture's own units: integers where it is integer PCM
    images : {name: (channels, samples)} float64, full scale 1
    """

    start: int
    mixture: NDArray[Any]
    residual: NDArray[Any]
    images: Mapping[str, NDArray[np.float64]]


def subtract(problem: Problem, model: MixModel, *, progress: Progress | None = None) -> Iterator[Subtracted]:
    """Take the images of all present references out of the mixture, block by block.

    Where every contribution has exact gains and lies at whole samples, integers are subtracted from integers.
    Otherwise the sum of the images is subtracted in float64, and an integer mixture is
    rounded back to its own grid once.

    Raises
    ------
    InputError
        If the model does not fit the problem.
    """
    missing = [name for name in model.present if name not in {reference.name for reference in problem.references}]
    if missing:
        raise InputError(f"the model has {', '.join(missing)}, which is not among the references; name the same files")
    if model.sample_rate != problem.mixture.sample_rate:
        raise InputError(
            f"the model is at {model.sample_rate} Hz but {problem.mixture.name} at {problem.mixture.sample_rate} Hz; "
            "its filters hold at their own rate only: fit a model at this one"
        )
    warps = {name: model.contributions[name].warp for name in model.present}
    if not model.present:
        return _untouched(aligned_blocks(problem, {}, progress=progress, what="subtracting"))
    whole = all(warp.whole_stretches(model.sample_rate) is not None for warp in warps.values())
    if whole and all(model.contributions[name].exact_gains for name in model.present):
        return _subtract_exactly(problem, model, aligned_blocks(problem, warps, progress=progress, what="subtracting"))
    before, after = reach_of((part.n_taps, part.first_lag) for part in map(model.contributions.__getitem__, warps))
    blocks = aligned_blocks(problem, warps, before=before, after=after, progress=progress, what="subtracting")
    return _subtract_filtered(problem, model, blocks, before)


def reach_of(filters: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Samples before and behind the mixture that filters of so many taps and such a first lag need of a reference."""
    ends = [(first_lag, first_lag + n_taps - 1) for n_taps, first_lag in filters]
    return max(0, *(last for _, last in ends)), max(0, *(-first for first, _ in ends))


def _untouched(blocks: Iterator[AlignedAudio]) -> Iterator[Subtracted]:
    for block in blocks:
        yield Subtracted(block.start, block.mixture, block.mixture, {})


def exact_difference(
    mixture: NDArray[Any],
    references: Mapping[str, NDArray[Any]],
    gains: Mapping[str, Mapping[tuple[int, int], Fraction]],
    scales: Mapping[str, int],
) -> NDArray[np.int64]:
    """``mixture - sum of gains * references`` in integers, (channels, samples).

    Parameters
    ----------
    scales : {name: left shift} that brings a reference to the mixture's word length; negative shifts the mixture
    """
    total = mixture.astype(np.int64)
    for name, matrix in gains.items():
        for (c, d), gain in matrix.items():
            wide = references[name][d].astype(np.int64) * gain.numerator
            shift = scales[name]
            wide = wide << shift if shift >= 0 else wide
            divisor = gain.denominator << max(0, -shift)
            total[c] -= wide if divisor == 1 else (2 * wide + divisor) // (2 * divisor)
    return total


def _subtract_exactly(problem: Problem, model: MixModel, blocks: Iterator[AlignedAudio]) -> Iterator[Subtracted]:
    bits = problem.mixture.bits
    gains = {name: model.contributions[name].exact_gains for name in model.present}
    if bits is None:
        yield from _subtract_floats(gains, blocks)
        return
    scales = {reference.name: bits - (reference.bits or bits) for reference in problem.references}
    for block in blocks:
        residual = exact_difference(block.mixture, block.references, gains, scales)
        nothing = np.zeros_like(block.mixture)
        images = {
            name: as_float(-exact_difference(nothing, block.references, {name: matrix}, scales), bits)
            for name, matrix in gains.items()
        }
        yield Subtracted(block.start, block.mixture, residual, images)


def _subtract_floats(
    gains: Mapping[str, Mapping[tuple[int, int], Fraction]], blocks: Iterator[AlignedAudio]
) -> Iterator[Subtracted]:
    """Without filters there is no rounding but that of the sample format itself."""
    for block in blocks:
        images = {name: np.zeros(block.mixture.shape) for name in gains}
        for name, matrix in gains.items():
            for (c, d), gain in matrix.items():
                images[name][c] += float(gain) * block.references[name][d]
        wide = block.mixture.astype(np.float64) - np.sum(list(images.values()), axis=0)
        yield Subtracted(block.start, block.mixture, wide.astype(block.mixture.dtype), images)


def _subtract_filtered(
    problem: Problem, model: MixModel, blocks: Iterator[AlignedAudio], before: int
) -> Iterator[Subtracted]:
    names = model.present
    by_name = {reference.name: reference for reference in problem.references}
    streams = {
        name: ImageStream(part.filters, first_lag=part.first_lag, reference_start=-before)
        for name, part in ((name, model.contributions[name]) for name in names)
    }
    silences = {name: _Silences(part.n_taps, part.first_lag, -before) for name, part in model.contributions.items()}
    waiting: list[AlignedAudio] = []
    images: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    end = 0
    for block in blocks:
        if block.length:
            waiting.append(block)
            end = block.start + block.length
        for name, stream in streams.items():
            silences[name].add(block.references[name])
            images[name].append(stream.add(as_float(*with_bits(block.references[name], by_name[name].bits)))[0])
        yield from _ready(problem, waiting, images, silences)
    for name, stream in streams.items():
        images[name].append(stream.finish(end)[0])
    yield from _ready(problem, waiting, images, silences)


def _ready(
    problem: Problem,
    waiting: list[AlignedAudio],
    images: dict[str, list[NDArray[np.float64]]],
    silences: "Mapping[str, _Silences]",
) -> Iterator[Subtracted]:
    """The waiting blocks whose images are complete."""
    joined = {name: np.concatenate(parts, axis=1) for name, parts in images.items()}
    bits = problem.mixture.bits
    while waiting and all(image.shape[1] >= waiting[0].length for image in joined.values()):
        block = waiting.pop(0)
        own = {name: image[:, : block.length] for name, image in joined.items()}
        for name, image in own.items():
            image[:, silences[name].within(block.start, block.start + block.length)] = 0.0
        joined = {name: image[:, block.length :] for name, image in joined.items()}
        wide = as_float(block.mixture, bits) - np.sum(list(own.values()), axis=0)
        if bits is not None:
            residual: NDArray[Any] = np.floor(wide * 2.0 ** (bits - 1) + 0.5).astype(np.int64)
        else:
            residual = wide.astype(block.mixture.dtype)
        yield Subtracted(block.start, block.mixture, residual, own)
    for name, image in joined.items():
        images[name][:] = [image]


class _Silences:
    """Where an image is silent because all that its filter reaches of the reference is.

    Transforms leave rounding there, which would change what no reference is heard in.
    """

    def __init__(self, n_taps: int, first_lag: int, reference_start: int) -> None:
        self._first_lag, self._last_lag = first_lag, first_lag + n_taps - 1
        self._at = reference_start
        self._last = _NEVER  # sample of the reference that was not zero
        self._sounded = np.full(0, self._last)  # the last one as it was at each of the samples held

    def add(self, reference: NDArray[Any]) -> None:
        n = np.arange(self._at, self._at + reference.shape[1])
        sounded = np.maximum.accumulate(np.where(reference.any(axis=0), n, self._last))
        self._at += len(n)
        self._last = int(sounded[-1]) if len(n) else self._last
        self._sounded = np.concatenate([self._sounded, sounded])

    def within(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Whether the image is silent, (stop - start,); what lies ahead of ``start`` is forgotten."""
        n = np.arange(start, stop)
        newest = n - self._first_lag  # the last sample of the reference that each needs
        oldest_held = self._at - len(self._sounded)
        held = np.clip(newest - oldest_held, -1, len(self._sounded))
        # Ahead of the first that was read there is nothing, behind the last one silence.
        last = np.concatenate([[_NEVER], self._sounded, [self._last]])[held + 1]
        self._sounded = self._sounded[max(0, min(stop - self._first_lag - oldest_held, len(self._sounded))) :]
        return last < n - self._last_lag


@dataclass(frozen=True, slots=True)
class ResidualSource(PassedOn):
    """What a model leaves of its mixture, as a source of its own."""

    problem: Problem
    model: MixModel

    @property
    def source(self) -> AudioSource:
        return self.problem.mixture

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The residual in the mixture's own units."""
        for block in subtract(self.problem, self.model):
            yield block.residual
