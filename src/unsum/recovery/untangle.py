"""The pass over a recording: decode, align, combine, check, encode, all block by block."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from unsum.media.decode import CopiedPacket, DecodeReport
from unsum.media.probe import AudioStream
from unsum.recovery.algebra import Algebra
from unsum.recovery.aligned import aligned_items
from unsum.recovery.meters import CheckMeter, ClippingMeter, RangeList
from unsum.streams.arithmetic import Columns, Composition, Grid, LinearForm, channel_extremes
from unsum.streams.assembly import AlignedBlock
from unsum.streams.equations import Equations, SourceChannel, StreamChannel
from unsum.streams.recipe import Source
from unsum.streams.solve import Terms


@dataclass(slots=True)
class SourceMeter:
    """What one source needs, block by block."""

    least: int | float = 0
    greatest: int | float = 0
    odd_samples: int = 0
    gaps: RangeList = field(default_factory=RangeList)


def odd_sums(equations: Equations, sources: Mapping[str, SourceMeter]) -> bool:
    """Whether sources come out between whole samples although the recipe adds whole ones."""
    whole = all(gain.denominator == 1 for row in equations.rows.values() for gain in row.values())
    return whole and any(meter.odd_samples for meter in sources.values())


@dataclass(slots=True)
class PassResult:
    """What a pass over the file found."""

    samples: int
    checks: list[CheckMeter]
    clipping: ClippingMeter
    sources: dict[str, SourceMeter]
    report: DecodeReport
    digests: list["BlockDigest"]
    missing: dict[int, RangeList]
    not_finite: Mapping[int, int]  # samples of each float stream that are no numbers, taken as silence
    combinations: dict[str, set[Terms]]


@dataclass(frozen=True, slots=True)
class _Passage:
    """The algebra of passages in which certain streams are present."""

    compositions: Mapping[str, Composition]
    complete: frozenset[str]
    checks: tuple[CheckMeter, ...]
    dtype: np.dtype


class Untangler:
    """Turns aligned blocks into sources, and measures on the way.

    Parameters
    ----------
    algebra : Algebra
    written : names of the sources that are to be given out
    """

    def __init__(self, algebra: Algebra, *, written: Sequence[str], sample_rate: int) -> None:
        self.algebra = algebra
        self.streams = frozenset(algebra.grid.formats)
        self.written = [source for source in algebra.sources if source.name in written]
        solution = algebra.solution(self.streams)
        self.meters = {check.terms: CheckMeter(check, algebra.grid, algebra.equations) for check in solution.checks}
        # Every combination that was used somewhere: where streams are missing, others serve.
        self.combinations: dict[str, set[Terms]] = {source.name: set() for source in self.written}
        self.clipping = ClippingMeter(sample_rate, algebra.grid.formats)
        self.sources = {source.name: SourceMeter() for source in self.written}
        self.missing = {stream: RangeList() for stream in self.streams}
        self.not_finite: dict[int, int] = {}
        self._passages: dict[frozenset[int], _Passage] = {}
        bits = algebra.grid.bits
        self.output_dtype = np.dtype(np.float64 if bits is None else np.int16 if bits <= 16 else np.int32)
        self._largest = math.inf if bits is None else (1 << (8 * self.output_dtype.itemsize - 1)) - 1

    @property
    def rounding_seen(self) -> bool:
        """Whether something only holds because the recorder rounded its sums."""
        return any(meter.nonzero for meter in self.meters.values()) or odd_sums(self.algebra.equations, self.sources)

    def feed(self, block: AlignedBlock) -> dict[str, NDArray]:
        """The written sources of one block, {name: (channels, samples)}."""
        for stream, ranges in block.missing.items():
            for start, stop in ranges:
                self.missing[stream].add(block.start + start, block.start + stop)
        parts = []
        for start, stop, present in block.passages():
            samples = {s: block.samples[s][:, start:stop] for s in present} if block.missing else block.samples
            parts.append(self._passage(block.start + start, stop - start, samples, present))
        if len(parts) == 1:
            return parts[0]
        return {source.name: np.concatenate([part[source.name].T for part in parts]).T for source in self.written}

    def _passage(
        self, start: int, length: int, samples: Mapping[int, NDArray], present: frozenset[int]
    ) -> dict[str, NDArray]:
        plan = self._passages.get(present)
        if plan is None:
            plan = self._passages[present] = self._plan(present)
        samples = {stream: self._finite(stream, channels) for stream, channels in samples.items()}
        extremes = {stream: channel_extremes(channels) for stream, channels in samples.items()}
        clipped: dict[StreamChannel, NDArray[np.bool_]] = {}
        for stream, channels in samples.items():
            clipped |= self.clipping.observe(start, stream, channels, extremes[stream])
        columns = Columns(samples, self.algebra.grid, plan.dtype)
        for meter in plan.checks:
            if meter.single is not None:
                least, greatest = extremes[meter.single.stream]
                channel = self.algebra.grid.formats[meter.single.stream].channels.index(meter.single.channel)
                if least[channel] == greatest[channel] == 0:
                    meter.observe_silence(length)
                    continue
            meter.observe(start, columns, clipped)
        return {
            source.name: self._source(source, plan, start, length, samples, columns, extremes, clipped)
            for source in self.written
        }

    def _finite(self, stream: int, samples: NDArray) -> NDArray:
        """Samples of a float stream with silence for what is no number; integers as they are."""
        if samples.dtype.kind != "f":
            return samples
        wrong = ~np.isfinite(samples)
        count = int(np.count_nonzero(wrong))
        if not count:
            return samples
        self.not_finite[stream] = self.not_finite.get(stream, 0) + count
        return np.where(wrong, samples.dtype.type(0), samples)

    def _source(
        self,
        source: Source,
        plan: _Passage,
        start: int,
        length: int,
        samples: Mapping[int, NDArray],
        columns: Columns,
        extremes: Mapping[int, tuple[NDArray, NDArray]],
        clipped: Mapping[StreamChannel, NDArray[np.bool_]],
    ) -> NDArray:
        meter = self.sources[source.name]
        if source.name not in plan.complete:
            meter.gaps.add(start, start + length)
        composition = plan.compositions[source.name]
        # Clipped sums need not divide, whatever the recorder does.
        used = {key for form in composition.forms if form for key, _ in form.terms} & clipped.keys()
        ignore = np.logical_or.reduce([clipped[key] for key in used]) if used else None
        out, computed, odd = composition.compose(columns, samples, length, self.output_dtype, ignore=ignore)
        meter.odd_samples += odd
        number = int if self.algebra.grid.bits is not None else float
        for c, form in enumerate(composition.forms):
            if form is None:
                continue
            if c in computed:
                least, greatest = computed[c].min(), computed[c].max()
            else:
                key = form.terms[0][0]
                least, greatest = (edge[columns.channel(key)] for edge in extremes[key.stream])
            meter.least, meter.greatest = min(meter.least, number(least)), max(meter.greatest, number(greatest))
        if meter.greatest > self._largest or meter.least < -self._largest - 1:
            # More than the words of the streams hold: give out what they really are.
            out = out.astype(np.int64, order="K")
            for c, values in computed.items():
                out[c] = values
        return out

    def _plan(self, present: frozenset[int]) -> _Passage:
        grid = self.algebra.grid
        solution = self.algebra.solution(present)
        compositions: dict[str, Composition] = {}
        complete = set()
        recorded = {unknown for row in self.algebra.equations.rows.values() for unknown in row}
        for source in self.written:
            keys = [SourceChannel(source.name, channel) for channel in source.channels]
            combinations = [solution.determined.get(key) for key in keys]
            self.combinations[source.name] |= {c.terms for c in combinations if c is not None}
            forms = tuple(None if c is None else grid.form(c.terms) for c in combinations)
            compositions[source.name] = Composition.of(source.channels, forms, grid, self.output_dtype)
            if all(c is not None or key not in recorded for key, c in zip(keys, combinations, strict=True)):
                complete.add(source.name)
        equations = self.algebra.equations
        checks = tuple(
            self.meters.setdefault(check.terms, CheckMeter(check, grid, equations)) for check in solution.checks
        )
        every = [form for c in compositions.values() for form in c.forms if form] + [m.form for m in checks]
        return _Passage(compositions, frozenset(complete), checks, grid.dtype(every))


def run_pass(
    path: Path,
    streams: tuple[AudioStream, ...],
    untangler: Untangler,
    *,
    origin: int,
    offsets: Mapping[int, int],
    separate: bool,
    copy: Sequence[int],
    digests: bool,
    on_packet: Callable[[CopiedPacket], None],
    on_sources: Callable[[AlignedBlock, dict[str, NDArray]], None],
    on_block: Callable[[int, DecodeReport], None],
) -> PassResult:
    """Read a file once from end to end.

    ``on_packet`` gets the packets to copy, ``on_sources`` the untangled sources,
    ``on_block`` the samples done so far; any of them may raise to stop.
    """
    report = DecodeReport()
    kept: list[BlockDigest] = []
    done = 0
    items = aligned_items(path, streams, origin=origin, offsets=offsets, report=report, copy=copy, separate=separate)
    try:
        for item in items:
            if isinstance(item, CopiedPacket):
                on_packet(item)
                continue
            if digests:
                whole = whole_passages(item)
                kept.append(BlockDigest(whole, checksums(item.samples, whole)))
            on_sources(item, untangler.feed(item))
            done = item.start + item.length
            on_block(done, report)
    finally:
        items.close()
    return PassResult(
        samples=done,
        checks=list(untangler.meters.values()),
        clipping=untangler.clipping,
        sources=untangler.sources,
        report=report,
        digests=kept,
        missing=untangler.missing,
        combinations=untangler.combinations,
        not_finite=untangler.not_finite,
    )


@dataclass(frozen=True, slots=True)
class BlockDigest:
    """Where in a block no stream is missing, and a checksum of every stream there."""

    passages: tuple[tuple[int, int], ...]
    checksums: Mapping[int, int]


def whole_passages(block: AlignedBlock) -> tuple[tuple[int, int], ...]:
    """The stretches of a block in which every stream is present."""
    return tuple((start, stop) for start, stop, present in block.passages() if len(present) == len(block.samples))


def checksums(samples: Mapping[int, NDArray], passages: Sequence[tuple[int, int]]) -> dict[int, int]:
    """A checksum of some passages of every stream: equal samples have equal ones."""
    sums = dict.fromkeys(samples, 0)
    for start, stop in passages:
        for stream, channels in samples.items():
            sums[stream] = crc32(np.ascontiguousarray(channels.T[start:stop]).data, sums[stream])
    return sums


def remix_forms(equations: Equations, grid: Grid) -> dict[StreamChannel, LinearForm | None]:
    """Every stream channel as a form in source channels, which stand as streams of the given grid."""
    order = {name: n for n, name in enumerate(dict.fromkeys(u.source for u in equations.unknowns))}
    forms: dict[StreamChannel, LinearForm | None] = {}
    for key, row in equations.rows.items():
        terms = [(StreamChannel(order[u.source], u.channel), Fraction(gain)) for u, gain in row.items()]
        forms[key] = grid.form(terms) if terms else None
    return forms
