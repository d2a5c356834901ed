"""What is measured while the blocks go by: checks, clipping, gaps, peaks."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.recovery.findings import CheckFinding, ClippedRange
from unsum.streams.arithmetic import Columns, Grid, StreamFormat
from unsum.streams.equations import Equations, StreamChannel
from unsum.streams.solve import Check

# Integer streams either fulfil an equation or do not. Streams in floating point or from
# a lossy codec never do exactly: they contradict it where less than this is cancelled.
FLOAT_NULL_DB = -90.0
LOSSY_NULL_DB = -10.0

_JOIN_SECONDS = 0.1


def recorder_error(key: StreamChannel, *, equations: Equations, grid: Grid, mixed_in_float32: bool = True) -> float:
    """How far a stream channel may be from its sum, in its own LSB, if the recorder mixed in float and rounded once.

    Half an LSB for the rounding. float32 has 24 significant bits, so each operation on numbers below full
    scale adds up to 2**(bits - 26) LSB: nothing to speak of at 16 bits, a quarter of an LSB at 24.
    """
    bits = grid.formats[key.stream].bits
    if bits is None or not mixed_in_float32:
        return 0.5
    return 0.5 + _operations(key, equations) * 2.0 ** (bits - 26)


def _operations(key: StreamChannel, equations: Equations) -> int:
    """Additions and multiplications that can round, where a gain of 2 may have been made by adding twice."""
    gains = [abs(gain) for gain in equations.rows[key].values()]
    products = sum(gain.numerator & (gain.numerator - 1) != 0 or gain.denominator != 1 for gain in gains)
    return max(0, sum(map(math.ceil, gains)) + products - 1)


def _energy(signal: NDArray[np.float64]) -> float:
    # einsum, not a dot product: BLAS would wake threads that fight the encoders for the cores.
    return float(np.einsum("i,i->", signal, signal))


class CheckMeter:
    """One redundant equation, block by block."""

    def __init__(self, check: Check, grid: Grid, equations: Equations) -> None:
        self.check = check
        self.form = grid.form(check.terms)
        self.single = check.terms[0][0] if len(check.terms) == 1 else None
        errors = {key: recorder_error(key, equations=equations, grid=grid) for key, _ in self.form.terms}
        self.allowed = sum(abs(weight) * errors[key] for key, weight in self.form.terms)
        # What rounding alone can do, without the noise of float32 sums.
        self.allowed_rounding = sum(abs(weight) for _, weight in self.form.terms) / 2
        # Equal sums round alike, but for sums of three and more: float depends on the order of additions.
        if not check.shows_rounding and all(_operations(key, equations) < 2 for key in errors):
            self.allowed = self.allowed_rounding = 0.0
        self.samples = 0
        self.nonzero = 0
        self.failing = 0
        # Errors where a stream is clipped: not held against the recipe, but told.
        self.clipped_errors = 0
        self.clipped_max = 0.0
        self.max_error = 0.0
        self.error_energy = 0.0
        self.term_energy = 0.0
        self.first_failure: int | None = None

    def observe(self, start: int, columns: Columns, clipped: Mapping[StreamChannel, NDArray[np.bool_]]) -> None:
        """Evaluate on the next block; samples where a stream is clipped are not held against it."""
        error, _ = columns.evaluate(self.form)
        self.samples += len(error)
        for key, weight in self.form.terms:
            column = columns[key].astype(np.float64)
            self.term_energy += weight * weight * _energy(column)
        if not error.any():
            return
        self.error_energy += _energy(error.astype(np.float64))
        for key, _ in self.form.terms:
            if key in clipped:
                excused = np.abs(error[clipped[key]])
                self.clipped_errors += int(np.count_nonzero(excused))
                self.clipped_max = max(self.clipped_max, float(excused.max(initial=0)))
                error[clipped[key]] = 0
        magnitude = np.abs(error)
        self.nonzero += int(np.count_nonzero(magnitude))
        self.max_error = max(self.max_error, float(magnitude.max()))
        beyond = np.flatnonzero(magnitude > self.allowed)
        if len(beyond):
            self.failing += len(beyond)
            if self.first_failure is None:
                self.first_failure = start + int(beyond[0])

    def observe_silence(self, samples: int) -> None:
        """A check of one channel, where the block is known to be silent."""
        self.samples += samples

    @property
    def null_db(self) -> float | None:
        if self.error_energy == 0 or self.term_energy == 0:
            return None
        return 10 * math.log10(self.error_energy / self.term_energy)

    def finding(self, sample_rate: int) -> CheckFinding:
        failed = self.first_failure
        return CheckFinding(
            equation=str(self.check),
            exact=self.nonzero == 0 and self.clipped_errors == 0,
            null_db=self.null_db,
            max_error_lsb=max(self.max_error, self.clipped_max),
            allowed_lsb=self.allowed,
            failing_samples=self.failing,
            clipped_errors=self.clipped_errors,
            first_failure_seconds=None if failed is None else failed / sample_rate,
        )


@dataclass(slots=True)
class _Stretch:
    """Samples at full scale in one stream, near each other."""

    stream: int
    start: int
    stop: int
    samples: int
    channels: set[str]


class ClippingMeter:
    """Samples at full scale, joined to ranges."""

    def __init__(self, sample_rate: int, formats: Mapping[int, StreamFormat]) -> None:
        self.sample_rate = sample_rate
        self.counts: dict[StreamChannel, int] = {}
        self._formats = formats
        self._join = int(_JOIN_SECONDS * sample_rate)
        self._done: list[_Stretch] = []
        self._latest: dict[int, _Stretch] = {}

    def observe(
        self, start: int, stream: int, samples: NDArray, extremes: tuple[NDArray, NDArray]
    ) -> dict[StreamChannel, NDArray[np.bool_]]:
        """A mask (samples,) of the clipped samples of every channel of a block that has some."""
        form = self._formats[stream]
        if form.bits is None:
            return {}
        top, bottom = (1 << (form.bits - 1)) - 1, -(1 << (form.bits - 1))
        masks = {}
        for c in np.flatnonzero((extremes[1] >= top) | (extremes[0] <= bottom)):
            key = StreamChannel(stream, form.channels[c])
            masks[key] = (samples[c] == top) | (samples[c] == bottom)
            self.counts[key] = self.counts.get(key, 0) + int(np.count_nonzero(masks[key]))
        if masks:
            self._note(start, stream, masks)
        return masks

    def _note(self, start: int, stream: int, masks: Mapping[StreamChannel, NDArray[np.bool_]]) -> None:
        counts = np.sum(list(masks.values()), axis=0)
        at = np.flatnonzero(counts)
        for run in np.split(at, np.flatnonzero(np.diff(at) > self._join) + 1):
            first, last = int(run[0]), int(run[-1]) + 1
            channels = {key.channel for key, mask in masks.items() if mask[first:last].any()}
            new = _Stretch(stream, start + first, start + last, int(counts[run].sum()), channels)
            latest = self._latest.get(stream)
            if latest is not None and new.start - latest.stop <= self._join:
                latest.stop, latest.samples = new.stop, latest.samples + new.samples
                latest.channels |= channels
            else:
                self._latest[stream] = new
                self._done.append(new)

    def findings(self, sources_of: Mapping[StreamChannel, Collection[str]]) -> tuple[ClippedRange, ...]:
        """The ranges, with the sources that each touches."""
        rate = self.sample_rate
        return tuple(
            ClippedRange(
                stream=stretch.stream,
                start_seconds=stretch.start / rate,
                stop_seconds=stretch.stop / rate,
                samples=stretch.samples,
                sources=tuple(
                    dict.fromkeys(
                        name
                        for channel in sorted(stretch.channels)
                        for name in sources_of.get(StreamChannel(stretch.stream, channel), ())
                    )
                ),
            )
            for stretch in sorted(self._done, key=lambda one: (one.stream, one.start))
        )


class RangeList:
    """Ranges of samples, in order, joined where they touch."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], stop)
        else:
            self.ranges.append((start, stop))

    def seconds(self, sample_rate: int) -> tuple[tuple[float, float], ...]:
        return tuple((a / sample_rate, b / sample_rate) for a, b in self.ranges)

    @property
    def samples(self) -> int:
        return sum(b - a for a, b in self.ranges)
