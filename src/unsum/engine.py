"""Mixture and references on one time line, pulled block by block; images and residual of a model.

Everything is a ``for`` over blocks; nothing seeks. Progress is a callback
``(done, total, what)``, and raising `Cancelled` from it stops the work.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.convolution import ImageStream
from unsum.errors import InputError
from unsum.model import MixModel
from unsum.problem import AudioSource, Problem, as_float

BLOCK_SAMPLES = 1 << 16

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True, slots=True)
class AlignedAudio:
    """The same stretch of mixture time of everything.

    Attributes
    ----------
    start : mixture sample at which it begins
    mixture : (channels, samples) as it came
    references : {name: (channels, samples)} as they came, silent outside the reference
    """

    start: int
    mixture: NDArray[Any]
    references: Mapping[str, NDArray[Any]]

    @property
    def length(self) -> int:
        return self.mixture.shape[1]


@dataclass(frozen=True, slots=True)
class Subtracted:
    """A block of the mixture taken apart.

    Attributes
    ----------
    residual : (channels, samples), in the mixture's own units: integers where it is integer PCM
    images : {name: (channels, samples)} float64, full scale 1; empty where a subtraction was exact
    """

    start: int
    mixture: NDArray[Any]
    residual: NDArray[Any]
    images: Mapping[str, NDArray[np.float64]]


class _Shifted:
    """A source read as if it began at another sample: silence before it and behind it."""

    def __init__(self, source: AudioSource, delay_samples: int) -> None:
        self._blocks = source.blocks()
        self._rows = len(source.channels)
        self._silence = max(0, delay_samples)
        self._skip = max(0, -delay_samples)
        self._rest: NDArray[Any] | None = None

    def read(self, length: int) -> NDArray[Any]:
        parts: list[NDArray[Any]] = []
        missing = length
        if self._silence:
            n = min(self._silence, missing)
            parts.append(np.zeros((self._rows, n), np.int16))
            self._silence -= n
            missing -= n
        while missing:
            block = self._rest if self._rest is not None else next(self._blocks, None)
            self._rest = None
            if block is None:
                parts.append(np.zeros((self._rows, missing), np.int16))
                break
            if self._skip:
                n = min(self._skip, block.shape[1])
                block, self._skip = block[:, n:], self._skip - n
            n = min(missing, block.shape[1])
            parts.append(block[:, :n])
            if n < block.shape[1]:
                self._rest = block[:, n:]
            missing -= n
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def aligned_blocks(
    problem: Problem,
    delays: Mapping[str, int],
    *,
    block_samples: int = BLOCK_SAMPLES,
    progress: Progress | None = None,
    what: str = "",
) -> Iterator[AlignedAudio]:
    """Mixture and references on the mixture's time line.

    Parameters
    ----------
    delays : {reference: samples} where sample 0 of a reference lies in the mixture; only these are read
    progress : called with samples done, samples expected, ``what``
    """
    readers = {
        reference.name: _Shifted(reference, delays[reference.name])
        for reference in problem.references
        if reference.name in delays
    }
    start, total = 0, problem.mixture.samples or 0
    for mixture in _rechunked(problem.mixture, block_samples):
        references = {name: reader.read(mixture.shape[1]) for name, reader in readers.items()}
        yield AlignedAudio(start, mixture, references)
        start += mixture.shape[1]
        if progress is not None:
            progress(start, max(total, start), what)


def _rechunked(source: AudioSource, block_samples: int) -> Iterator[NDArray[Any]]:
    """Blocks of one length: decoders give far shorter ones than transforms like."""
    parts: list[NDArray[Any]] = []
    held = 0
    for block in source.blocks():
        while block.shape[1]:
            n = min(block_samples - held, block.shape[1])
            parts.append(block[:, :n])
            block, held = block[:, n:], held + n
            if held == block_samples:
                yield np.concatenate(parts, axis=1)
                parts, held = [], 0
    if held:
        yield np.concatenate(parts, axis=1)


def stacked(problem: Problem, aligned: AlignedAudio, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Some references of a block on top of each other, (all their channels, samples), full scale 1."""
    by_name = {reference.name: reference for reference in problem.references}
    return np.concatenate([as_float(aligned.references[name], by_name[name].bits) for name in names])


def subtract(problem: Problem, model: MixModel, *, progress: Progress | None = None) -> Iterator[Subtracted]:
    """Take the images of all present references out of the mixture, block by block.

    Where every contribution has exact gains, integers are subtracted from integers.
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
    delays = {name: round(model.contributions[name].warp.delay_seconds * model.sample_rate) for name in model.present}
    blocks = aligned_blocks(problem, delays, progress=progress, what="subtracting")
    if not model.present:
        return _untouched(blocks)
    if all(model.contributions[name].exact_gains for name in model.present):
        return _subtract_exactly(problem, model, blocks)
    return _subtract_filtered(problem, model, blocks)


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
    assert bits is not None
    gains = {name: model.contributions[name].exact_gains for name in model.present}
    scales = {reference.name: bits - (reference.bits or bits) for reference in problem.references}
    for block in blocks:
        residual = exact_difference(block.mixture, block.references, gains, scales)
        yield Subtracted(block.start, block.mixture, residual, {})


def _subtract_filtered(problem: Problem, model: MixModel, blocks: Iterator[AlignedAudio]) -> Iterator[Subtracted]:
    names = model.present
    by_name = {reference.name: reference for reference in problem.references}
    streams = {
        name: ImageStream(model.contributions[name].filters, first_lag=model.contributions[name].first_lag)
        for name in names
    }
    waiting: list[AlignedAudio] = []
    images: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    end = 0
    for block in blocks:
        waiting.append(block)
        end = block.start + block.length
        for name, stream in streams.items():
            images[name].append(stream.add(as_float(block.references[name], by_name[name].bits))[0])
        yield from _ready(problem, waiting, images)
    for name, stream in streams.items():
        images[name].append(stream.finish(end)[0])
    yield from _ready(problem, waiting, images)


def _ready(
    problem: Problem, waiting: list[AlignedAudio], images: dict[str, list[NDArray[np.float64]]]
) -> Iterator[Subtracted]:
    """The waiting blocks whose images are complete."""
    joined = {name: np.concatenate(parts, axis=1) for name, parts in images.items()}
    bits = problem.mixture.bits
    while waiting and all(image.shape[1] >= waiting[0].length for image in joined.values()):
        block = waiting.pop(0)
        own = {name: image[:, : block.length] for name, image in joined.items()}
        joined = {name: image[:, block.length :] for name, image in joined.items()}
        wide = as_float(block.mixture, bits) - np.sum(list(own.values()), axis=0)
        if bits is not None:
            residual: NDArray[Any] = np.floor(wide * 2.0 ** (bits - 1) + 0.5).astype(np.int64)
        else:
            residual = wide.astype(block.mixture.dtype)
        yield Subtracted(block.start, block.mixture, residual, own)
    for name, image in joined.items():
        images[name][:] = [image]
