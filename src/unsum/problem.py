"""What is given: a mixture and references, and the checks before any work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError

_ARRAY_BLOCK = 1 << 16


class AudioSource(Protocol):
    """Audio that can be read from its start, as often as needed.

    Attributes
    ----------
    name : how it is called in reports; unique within a problem
    channels : names of the channels, as `layouts` has them
    bits : word length of integer samples; None for floating point, full scale 1
    lossless : False behind a lossy codec
    samples : expected length, or None if only reading tells
    """

    @property
    def name(self) -> str: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def bits(self) -> int | None: ...
    @property
    def lossless(self) -> bool: ...
    @property
    def samples(self) -> int | None: ...

    def blocks(self) -> Iterator[NDArray[Any]]:
        """(channels, samples) blocks of any length, from the first sample on; integers in units of their last bit."""
        ...


class PassedOn:
    """What a source made of another one has in common with it: all but its blocks, unless it says otherwise.

    Attributes
    ----------
    source : what it is made of
    """

    __slots__ = ()
    source: AudioSource

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def sample_rate(self) -> int:
        return self.source.sample_rate

    @property
    def channels(self) -> tuple[str, ...]:
        return self.source.channels

    @property
    def bits(self) -> int | None:
        return self.source.bits

    @property
    def lossless(self) -> bool:
        return self.source.lossless

    @property
    def samples(self) -> int | None:
        return self.source.samples


@dataclass(frozen=True, slots=True)
class ArraySource:
    """An array in memory as a source.

    Parameters
    ----------
    array : (channels, samples)
        Integers in units of the last of ``bits`` bits, or floating point with ``bits`` None.
    """

    name: str
    array: NDArray[Any]
    sample_rate: int
    channels: tuple[str, ...]
    bits: int | None = None
    lossless: bool = True

    def __post_init__(self) -> None:
        if self.array.ndim != 2 or self.array.shape[0] != len(self.channels):
            raise InputError(
                f"{self.name}: an array of shape {self.array.shape} for {len(self.channels)} channels; "
                "give it as (channels, samples)"
            )
        if (self.array.dtype.kind in "iu") == (self.bits is None):
            raise InputError(
                f"{self.name}: samples of type {self.array.dtype}; name the bits of integers, and only of them"
            )

    @property
    def samples(self) -> int:
        return self.array.shape[1]

    def blocks(self) -> Iterator[NDArray[Any]]:
        for start in range(0, self.array.shape[1], _ARRAY_BLOCK):
            yield self.array[:, start : start + _ARRAY_BLOCK]


@dataclass(frozen=True, slots=True)
class Problem:
    """A mixture and the references that may be in it, all at the mixture's sample rate."""

    mixture: AudioSource
    references: tuple[AudioSource, ...]

    @classmethod
    def at_one_rate(cls, mixture: AudioSource, references: Sequence[AudioSource]) -> "Problem":
        """The problem with every reference resampled to the mixture's rate where it has another."""
        rate = mixture.sample_rate
        return cls(mixture, tuple(r if r.sample_rate == rate else ResampledSource(r, rate) for r in references))

    def __post_init__(self) -> None:
        if not self.references:
            raise InputError("no reference; name at least one sound to look for")
        names = [reference.name for reference in self.references]
        if len(set(names)) < len(names):
            raise InputError(f"references with the same name ({', '.join(names)}); name each once")
        for reference in self.references:
            if reference.sample_rate != self.mixture.sample_rate:
                raise InputError(
                    f"{reference.name} is at {reference.sample_rate} Hz but {self.mixture.name} at "
                    f"{self.mixture.sample_rate} Hz; resample the reference first"
                )


@dataclass(frozen=True, slots=True)
class ResampledSource(PassedOn):
    """A source at another sample rate, in floating point; soxr at its highest quality."""

    source: AudioSource
    sample_rate: int = field()  # not by default that of the source

    @property
    def bits(self) -> None:
        return None

    @property
    def samples(self) -> int | None:
        known = self.source.samples
        return None if known is None else round(known * self.sample_rate / self.source.sample_rate)

    def blocks(self) -> Iterator[NDArray[Any]]:
        import soxr

        stream = soxr.ResampleStream(
            self.source.sample_rate, self.sample_rate, len(self.channels), dtype="float64", quality="VHQ"
        )
        for block in self.source.blocks():
            out = stream.resample_chunk(np.ascontiguousarray(as_float(block, self.source.bits).T))
            if len(out):
                yield out.reshape(-1, len(self.channels)).T
        last = stream.resample_chunk(np.zeros((0, len(self.channels))), last=True)
        if len(last):
            yield last.reshape(-1, len(self.channels)).T


def as_float(block: NDArray[Any], bits: int | None) -> NDArray[np.float64]:
    """Samples with full scale 1, float64.

    Raises
    ------
    InputError
        If a floating point sample is not a number.
    """
    values = block.astype(np.float64)
    if bits is not None:
        values *= 2.0 ** (1 - bits)
    elif not np.isfinite(values).all():
        raise InputError("the samples hold NaN or infinity; repair or leave out that file")
    return values
