"""Sums of stream channels on blocks of samples, in integers end to end.

All integer streams are brought to one grid, the finest word length among them;
combinations with fractions are divided once, at the end, and what does not
divide is counted. Floating point streams are summed in float64, full scale 1.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unsum.errors import UsageError
from unsum.streams.equations import StreamChannel

_EXTREMES_ROW = 4096


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """Channels of a stream, and its word length; ``bits`` None is floating point."""

    channels: tuple[str, ...]
    bits: int | None


@dataclass(frozen=True, slots=True)
class LinearForm:
    """``(sum of weights * columns) / divisor``, with integer weights on the common grid."""

    terms: tuple[tuple[StreamChannel, int], ...]
    divisor: int

    @property
    def passes_through(self) -> StreamChannel | None:
        """The one channel this form is, or None."""
        if self.divisor == 1 and len(self.terms) == 1 and self.terms[0][1] == 1:
            return self.terms[0][0]
        return None


@dataclass(frozen=True, slots=True)
class Grid:
    """The word length that all streams of a recording are brought to; None is floating point."""

    formats: Mapping[int, StreamFormat]
    bits: int | None

    @classmethod
    def of(cls, formats: Mapping[int, StreamFormat]) -> "Grid":
        lengths = [form.bits for form in formats.values()]
        known = [bits for bits in lengths if bits is not None]
        return cls(formats, None if len(known) < len(lengths) else max(known))

    def scale(self, stream: int) -> int:
        """What one LSB of a stream is on the grid."""
        bits = self.formats[stream].bits
        return 1 if self.bits is None or bits is None else 1 << (self.bits - bits)

    def form(self, terms: Iterable[tuple[StreamChannel, Fraction | int]]) -> LinearForm:
        """Compile exact rational terms."""
        pairs = [(key, Fraction(gain)) for key, gain in terms]
        divisor = math.lcm(1, *(gain.denominator for _, gain in pairs))
        return LinearForm(tuple((key, int(gain * divisor) * self.scale(key.stream)) for key, gain in pairs), divisor)

    def dtype(self, forms: Iterable[LinearForm]) -> np.dtype:
        """The narrowest type in which none of the forms can overflow.

        Raises
        ------
        UsageError
            If no integer type is wide enough.
        """
        if self.bits is None:
            return np.dtype(np.float64)
        largest = 1 << (self.bits - 1)
        for form in forms:
            reach = sum(abs(weight) << ((self.formats[key.stream].bits or 1) - 1) for key, weight in form.terms)
            largest = max(largest, 2 * reach + 2 * form.divisor)
        if largest >= 1 << 63:
            raise UsageError(
                f"sums of these {self.bits}-bit streams need {largest.bit_length() + 1} bits, "
                "more than the 64 there are; use smaller numbers in the recipe"
            )
        return np.dtype(np.int32 if largest < 1 << 31 else np.int64)


class Columns:
    """The channels of one block as contiguous arrays, converted once each."""

    def __init__(self, blocks: Mapping[int, NDArray], grid: Grid, dtype: np.dtype) -> None:
        self._blocks = blocks
        self._grid = grid
        self._dtype = dtype
        self._columns: dict[StreamChannel, NDArray] = {}

    def __getitem__(self, key: StreamChannel) -> NDArray:
        column = self._columns.get(key)
        if column is None:
            form = self._grid.formats[key.stream]
            column = self._blocks[key.stream][self.channel(key)].astype(self._dtype)
            if self._dtype.kind == "f" and form.bits is not None:
                column *= 2.0 ** (1 - form.bits)
            self._columns[key] = column
        return column

    def channel(self, key: StreamChannel) -> int:
        return self._grid.formats[key.stream].channels.index(key.channel)

    def raw(self, key: StreamChannel) -> NDArray:
        """A channel as it came; in floating point as the columns have it."""
        return self[key] if self._dtype.kind == "f" else self._blocks[key.stream][self.channel(key)]

    def evaluate(self, form: LinearForm, *, ignore: NDArray[np.bool_] | None = None) -> tuple[NDArray, int]:
        """The value of a form for every sample, and how many samples, but for those to ignore, did not divide."""
        total = None
        for key, weight in form.terms:
            column = self[key]
            if total is None:
                total = column * self._dtype.type(weight) if weight != 1 else column.copy()
            elif weight == 1:
                total += column
            elif weight == -1:
                total -= column
            else:
                total += column * self._dtype.type(weight)
        if total is None:
            raise ValueError("a form without terms has no length; silence is made by the caller")
        if form.divisor == 1:
            return total, 0
        if self._dtype.kind == "f":
            return total / form.divisor, 0
        left = total % form.divisor
        odd = int(np.count_nonzero(left if ignore is None else left[~ignore]))
        # floor(x + 1/2): ties fall the same way in every block.
        return (2 * total + form.divisor) // (2 * form.divisor), odd


@dataclass(frozen=True, slots=True)
class Composition:
    """All channels of one output block as forms; None is silence.

    ``whole`` names a stream whose block can be copied in one go, because most of
    the output's channels are its own.
    """

    forms: tuple[LinearForm | None, ...]
    whole: int | None

    @classmethod
    def of(
        cls, channels: tuple[str, ...], forms: tuple[LinearForm | None, ...], grid: Grid, dtype: DTypeLike
    ) -> "Composition":
        votes: dict[int, int] = {}
        for channel, form in zip(channels, forms, strict=True):
            key = form.passes_through if form else None
            if key is not None and key.channel == channel and grid.formats[key.stream].channels == channels:
                votes[key.stream] = votes.get(key.stream, 0) + 1
        stream = max(votes, key=lambda s: votes[s], default=None)
        if stream is None or 2 * votes[stream] < len(channels) or grid.bits is None:
            return cls(forms, None)
        narrow = (grid.formats[stream].bits or 64) <= 16
        return cls(forms, stream if narrow == (np.dtype(dtype) == np.int16) else None)

    def compose(
        self,
        columns: Columns,
        blocks: Mapping[int, NDArray],
        length: int,
        dtype: DTypeLike,
        *,
        ignore: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray, dict[int, NDArray], int]:
        """The output block; the computed channels by index, as wide integers; samples that did not divide."""
        if self.whole is not None:
            out = blocks[self.whole].copy(order="K")
        else:
            out = interleaved_block(len(self.forms), length, dtype)
        computed: dict[int, NDArray] = {}
        odd = 0
        for c, form in enumerate(self.forms):
            if form is None:
                if self.whole is not None:
                    out[c] = 0
                continue
            key = form.passes_through
            if key is None:
                computed[c], rest = columns.evaluate(form, ignore=ignore)
                odd += rest
                out[c] = computed[c]
            elif key.stream != self.whole or columns.channel(key) != c:
                out[c] = columns.raw(key)
        return out, computed, odd


def channel_extremes(samples: NDArray) -> tuple[NDArray, NDArray]:
    """Least and greatest sample of every channel, in one pass at the speed of memory.

    Parameters
    ----------
    samples : (channels, samples), at least one sample
        Fastest when its memory is interleaved, as decoders leave it.
    """
    interleaved = samples.T
    length, channels = interleaved.shape
    if not interleaved.flags.c_contiguous:
        return samples.min(axis=1), samples.max(axis=1)
    # Rows of many frames let the reduction run along contiguous memory.
    frames = max(1, _EXTREMES_ROW // channels)
    whole = length // frames * frames
    parts = [interleaved[whole:]] if whole < length else []
    least, greatest = [part.min(axis=0) for part in parts], [part.max(axis=0) for part in parts]
    if whole:
        rows = interleaved[:whole].reshape(-1, frames * channels)
        least.append(rows.min(axis=0).reshape(frames, channels).min(axis=0))
        greatest.append(rows.max(axis=0).reshape(frames, channels).max(axis=0))
    return np.min(least, axis=0), np.max(greatest, axis=0)


def interleaved_block(channels: int, samples: int, dtype: DTypeLike) -> NDArray:
    """Silence of shape (channels, samples) whose memory is interleaved, as encoders want it."""
    return np.zeros((samples, channels), dtype).T


def bits_needed(least: int, greatest: int) -> int:
    """Word length of a signed integer that holds both."""
    return max((end if end >= 0 else -end - 1).bit_length() for end in (least, greatest)) + 1
