"""How deep do two files cancel: the difference as a number, per octave band, and over time."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import LagEstimate, WhitenedCorrelation
from unsum.errors import InputError
from unsum.inspection.bands import BandMeter
from unsum.inspection.samples import on_grid, without_infinities
from unsum.media.decode import DecodedFrame, DecodeReport, read_frames, sample_dtype
from unsum.media.probe import AudioStream, parse_address, probe
from unsum.media.promised import shortfall_words
from unsum.progress import Progress
from unsum.streams.arithmetic import Grid, StreamFormat
from unsum.streams.assembly import Assembler

_BLOCK = 1 << 16
_LAG_WINDOW = 1 << 20
_LONGEST_LAG_SECONDS = 16.0
_SHORTEST = 1024  # samples; fewer have no lags enough to tell a peak from
# A peak that towers less over all other lags is a guess.
_PEAK_TO_SIDE, _PEAK_TO_NOISE = 1.5, 12.0
_FAINTEST = 1e-3  # amplitude against the mean of the spectrum


@dataclass(frozen=True, slots=True)
class NullSide:
    """One of the two signals.

    Attributes
    ----------
    name : as it was given
    channels : those compared, in this order
    samples : length, missing packets counted as silence
    missing_samples, errors : from the decoder
    """

    name: str
    stream: AudioStream
    channels: tuple[str, ...]
    samples: int
    missing_samples: int
    errors: int

    @property
    def seconds(self) -> float:
        return self.samples / self.stream.sample_rate


@dataclass(frozen=True, slots=True)
class BandNull:
    """An octave band; ``null_db`` is None where the first signal or the difference has nothing there."""

    centre_hz: float
    null_db: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of the comparison, or what is left of it at the end.

    ``null_db`` is None where either is zero, ``difference_dbfs`` (RMS) where nothing differs.
    """

    start_seconds: float
    null_db: float | None
    difference_dbfs: float | None


@dataclass(frozen=True, slots=True)
class NullFinding:
    """The difference ``a - b``.

    Attributes
    ----------
    compared_samples : length of the part that both have
    bits : word length of the grid both were brought to; None for floating point
    lag_samples : how much later the second is, taken out before comparing; None if not asked for or not found
    null_db : energy of the difference against that of ``a``; None if either is zero
    differing : samples that differ, counted over all channels
    first_difference_seconds : from the start of the compared part
    peak_lsb : in steps of the grid; None for floating point
    """

    a: NullSide
    b: NullSide
    compared_samples: int
    bits: int | None
    lag_samples: int | None
    null_db: float | None
    differing: int
    first_difference_seconds: float | None
    peak_dbfs: float | None
    peak_lsb: int | None
    bands: tuple[BandNull, ...]
    moments: tuple[Moment, ...]
    remarks: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether all samples that both have are equal in value."""
        return self.compared_samples > 0 and self.differing == 0

    def reaches(self, min_null_db: float) -> bool:
        """Whether the null is at least that deep; the sign of ``min_null_db`` does not matter."""
        return self.identical or (self.null_db is not None and self.null_db <= -abs(min_null_db))


def null_files(
    a: str | PathLike[str], b: str | PathLike[str], *, align: bool = False, progress: Progress | None = None
) -> NullFinding:
    """Subtract one signal from another, sample by sample.

    Parameters
    ----------
    a, b : ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``
        Sample 0 is the first decoded sample of each.
    align : bool
        Find the whole-sample lag between the two and take it out first.
    progress : called with (samples done, samples in all, what); may raise to stop

    Raises
    ------
    InputError
        If one cannot be read, or sample rates or channel counts differ.
    """
    sides = (_Side(a), _Side(b))
    _check(*sides)
    remarks = [remark for side in sides for remark in side.remarks]
    lag = None
    if align:
        found = _find_lag(sides)
        if found is None:
            remarks.append(
                "no lag stands out in the beginning, so the two were compared as they are; "
                "they may hold different sounds, or be further apart than "
                f"{_LONGEST_LAG_SECONDS:.0f} s"
            )
        else:
            lag = found.lag_samples
            if abs(found.fraction) > 0.1 + 3 * found.stderr:
                remarks.append(
                    f"the lag is not whole: {lag + found.fraction:.2f} samples; {lag} were taken out, "
                    "which limits how deep the two cancel"
                )
    skips = (max(0, -(lag or 0)), max(0, lag or 0))
    meter = _DifferenceMeter(sides)
    blocks = [side.blocks(skip=skip) for side, skip in zip(sides, skips, strict=True)]
    expected = sides[0].expected_samples
    for one, other in zip_longest(*blocks):
        if one is not None and other is not None:
            length = min(one.shape[1], other.shape[1])
            meter.observe(one[:, :length], other[:, :length])
            if progress is not None:
                progress(meter.samples, max(expected, meter.samples), "null")
    return meter.finding(lag, remarks)


class _Side:
    """One signal: where it is, and a way to read it."""

    def __init__(self, given: str | PathLike[str]) -> None:
        address = parse_address(Path(given) if isinstance(given, PathLike) else given)
        recording = probe(address.path)
        number = address.stream or 0
        if number >= len(recording.audio):
            raise InputError(
                f"{address.path} has {len(recording.audio)} audio streams, counted from a:0; there is no a:{number}"
            )
        self.name = str(given)
        self.path = address.path
        self.stream = stream = recording.audio[number]
        self.channels = stream.channels if address.channels is None else address.channels
        unknown = [name for name in self.channels if name not in stream.channels]
        if unknown:
            raise InputError(
                f"{address.path}#a:{number} has no channel {', '.join(unknown)}; it has {', '.join(stream.channels)}"
            )
        self.remarks = []
        if address.stream is None and len(recording.audio) > 1:
            self.remarks.append(
                f"{address.path.name} has {len(recording.audio)} audio streams; the first was taken: "
                f"name another as {address.path.name}#a:1"
            )
        self.expected_samples = int((recording.duration_seconds or 0) * stream.sample_rate)
        self.report = DecodeReport()
        self.samples = 0

    def blocks(self, *, skip: int = 0) -> Generator[NDArray, None, None]:
        """Blocks (channels, samples) of the channels asked for, without the first ``skip`` samples."""
        self.report, self.samples = DecodeReport(), skip
        number = self.stream.number
        rows = [self.stream.channels.index(name) for name in self.channels]
        assembler = None
        for frame in read_frames(self.path, [self.stream], report=self.report, threads=True):
            if not isinstance(frame, DecodedFrame):
                continue
            if assembler is None:
                assembler = Assembler(
                    {number: (len(self.stream.channels), sample_dtype(self.stream))},
                    origin=frame.start,
                    offsets={number: -skip},
                    max_lead=_BLOCK,
                    block=_BLOCK,
                )
            for block in assembler.put(number, frame.start, frame.samples):
                self.samples += block.length
                yield block.samples[number][rows]
        for block in assembler.finish() if assembler is not None else ():
            self.samples += block.length
            yield block.samples[number][rows]

    def shortfall(self) -> str | None:
        """What its header promises beyond what was there when it was last read, in words."""
        there = self.report.lengths.get(self.stream.number, 0)
        short = shortfall_words(self.stream.promised_samples, there, sample_rate=self.stream.sample_rate)
        return short and f"{self.name} is truncated: {short}"

    def finding(self) -> NullSide:
        return NullSide(
            name=self.name,
            stream=self.stream,
            channels=self.channels,
            samples=self.samples,
            missing_samples=sum(max(0, each.samples) for each in self.report.breaks),
            errors=len(self.report.errors),
        )


def _check(a: _Side, b: _Side) -> None:
    if a.stream.sample_rate != b.stream.sample_rate:
        raise InputError(
            f"{a.name} has {a.stream.sample_rate} Hz but {b.name} has {b.stream.sample_rate} Hz: "
            "their samples are not at the same times; resample one of them first"
        )
    if len(a.channels) != len(b.channels):
        raise InputError(
            f"{a.name} has {len(a.channels)} channels ({', '.join(a.channels)}) but {b.name} has "
            f"{len(b.channels)} ({', '.join(b.channels)}); choose as many of each, "
            f"as in FILE#a:{a.stream.number}[{a.channels[0]}]"
        )


def _find_lag(sides: Sequence[_Side]) -> LagEstimate | None:
    """The lag between the beginnings of two signals, None if none stands out; common silence is passed over."""
    blocks = [side.blocks() for side in sides]
    kept: list[list[NDArray]] = [[], []]
    taken = 0
    for pair in zip_longest(*blocks):
        if not taken and not any(block is not None and block.any() for block in pair):
            continue
        for signal, block in zip(kept, pair, strict=True):
            signal.append(block if block is not None else np.zeros((len(sides[0].channels), 0), np.int8))
        taken += _BLOCK
        if taken >= _LAG_WINDOW:
            break
    for each in blocks:
        each.close()
    if not taken:
        return None
    one, other = (np.concatenate(signal, axis=1) for signal in kept)
    # The channel in which both sound most: another may hold nothing of one of them.
    channel = int(np.argmax([_energy(x) * _energy(y) for x, y in zip(one, other, strict=True)]))
    window = max(one.shape[1], other.shape[1])
    if window < _SHORTEST:
        return None
    longest = int(_LONGEST_LAG_SECONDS * sides[0].stream.sample_rate)
    correlation = WhitenedCorrelation(window=window, max_lag=min(longest, window - 1))
    spectra = []
    for signal in (one, other):
        padded = np.zeros(window)
        padded[: signal.shape[1]] = without_infinities(signal[channel])[0]
        spectrum = correlation.spectrum(padded)
        # Where an encoder left nothing, its own traces would agree with each other, at their own lag.
        size = np.abs(spectrum)
        spectrum[size < _FAINTEST * np.sqrt(np.mean(size**2))] = 0
        spectra.append(spectrum)
    correlation.add(*spectra)
    found = correlation.estimate()
    return found if found.peak_to_side > _PEAK_TO_SIDE and found.peak_to_noise > _PEAK_TO_NOISE else None


def _energy(samples: NDArray) -> float:
    samples = without_infinities(samples)[0].astype(np.float64)
    return float(np.einsum("i,i->", samples, samples))


@dataclass(slots=True)
class _DifferenceMeter:
    """Watches blocks of both signals side by side."""

    sides: tuple[_Side, _Side]
    samples: int = 0
    differing: int = 0
    peak: float = 0.0
    first: int | None = None
    not_finite: int = 0
    _seconds: list[NDArray] = field(default_factory=list)  # [energy of a, energy of the difference, samples]

    grid: Grid = field(init=False)
    bands: BandMeter = field(init=False)

    def __post_init__(self) -> None:
        # The sides may be two streams of one file, or the same one twice: they are told apart as 0 and 1.
        formats = {n: StreamFormat(side.stream.channels, side.stream.bits) for n, side in enumerate(self.sides)}
        self.grid = Grid.of(formats)
        rate = self.sides[0].stream.sample_rate
        self.bands = BandMeter(sample_rate=rate, channels=len(self.sides[0].channels))

    def observe(self, one: NDArray, other: NDArray) -> None:
        """Take the next block of each, (channels, samples), of equal length."""
        values = []
        for n, block in enumerate((one, other)):
            block, no_numbers = without_infinities(block)
            self.not_finite += no_numbers
            values.append(on_grid(block, self.grid, n))
        unequal = values[0] != values[1]
        reference = values[0].astype(np.float64)
        difference = reference - values[1]
        full_scale = 1.0 if self.grid.bits is None else float(1 << (self.grid.bits - 1))
        signal, rest = reference / full_scale, difference / full_scale
        if unequal.any():
            self.differing += int(np.count_nonzero(unequal))
            self.peak = max(self.peak, float(np.abs(difference).max()))
            if self.first is None:
                self.first = self.samples + int(unequal.any(axis=0).argmax())
        self._add_seconds(signal, rest)
        self.bands.observe(signal, rest)
        self.samples += one.shape[1]

    def _add_seconds(self, signal: NDArray, rest: NDArray) -> None:
        rate = self.sides[0].stream.sample_rate
        start, length = self.samples, signal.shape[1]
        edges = [0, *range(-start % rate or rate, length, rate)]
        energies = [np.add.reduceat(np.einsum("ij,ij->j", each, each), edges) for each in (signal, rest)]
        counts = np.diff([*edges, length])
        for n, at in enumerate(edges):
            second = (start + at) // rate
            if second == len(self._seconds):
                self._seconds.append(np.zeros(3))
            self._seconds[second] += energies[0][n], energies[1][n], counts[n]

    def finding(self, lag: int | None, remarks: Sequence[str]) -> NullFinding:
        a, b = self.sides
        sums = np.sum(self._seconds, axis=0) if self._seconds else np.zeros(3)
        full_scale = 1.0 if self.grid.bits is None else float(1 << (self.grid.bits - 1))
        rate, channels = a.stream.sample_rate, len(a.channels)
        all_remarks = [*remarks, *(short for side in self.sides if (short := side.shortfall()))]
        if self.not_finite:
            all_remarks.append(f"{self.not_finite} samples are no number (NaN or infinite); compared as 0")
        if a.channels != b.channels:
            all_remarks.append(f"channels were paired in order: {', '.join(a.channels)} with {', '.join(b.channels)}")
        return NullFinding(
            a=a.finding(),
            b=b.finding(),
            compared_samples=self.samples,
            bits=self.grid.bits,
            lag_samples=lag,
            null_db=_ratio_db(sums[1], sums[0]),
            differing=self.differing,
            first_difference_seconds=None if self.first is None else self.first / rate,
            peak_dbfs=20 * math.log10(self.peak / full_scale) if self.peak else None,
            peak_lsb=None if self.grid.bits is None else round(self.peak),
            bands=tuple(
                BandNull(centre, _ratio_db(rest, signal)) for centre, (signal, rest) in self.bands.powers().items()
            ),
            moments=tuple(
                Moment(float(second), _ratio_db(rest, signal), _ratio_db(rest, count * channels))
                for second, (signal, rest, count) in enumerate(self._seconds)
            ),
            remarks=tuple(all_remarks),
        )


def _ratio_db(part: float, whole: float) -> float | None:
    return 10 * math.log10(part / whole) if part > 0 and whole > 0 else None
