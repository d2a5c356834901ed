"""The pass over a recording: decode, align, combine, check, encode, all block by block."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from unsum.media.decode import CopiedPacket, DecodeReport
from unsum.media.probe import AudioStream
from unsum.recovery.aligned import aligned_items
from unsum.recovery.meters import CheckMeter, ClippingMeter, RangeList
from unsum.streams.arithmetic import Columns, Grid, LinearForm, bits_needed, channel_extremes, interleaved_block
from unsum.streams.assembly import AlignedBlock
from unsum.streams.recipe import Equations, Source, SourceChannel, StreamChannel
from unsum.streams.solve import Solution, solve


@dataclass(frozen=True, slots=True)
class Algebra:
    """What is to be computed: the same for the whole file, but for holes.

    ``quietest``: prefer the combinations of least rounding noise.
    """

    equations: Equations
    sources: tuple[Source, ...]
    grid: Grid
    quietest: bool

    def solution(self, streams: frozenset[int]) -> Solution:
        return solve(self.equations, quietest=self.quietest, streams=streams)


@dataclass(slots=True)
class SourceMeter:
    """What one source needs, block by block."""

    least: int | float = 0
    greatest: int | float = 0
    odd_samples: int = 0
    gaps: RangeList = field(default_factory=RangeList)


@dataclass(slots=True)
class PassResult:
    """What a pass over the file found."""

    samples: int
    checks: list[CheckMeter]
    clipping: ClippingMeter
    sources: dict[str, SourceMeter]
    report: DecodeReport
    digests: list[Mapping[int, int] | None]
    missing: dict[int, RangeList]


@dataclass(frozen=True, slots=True)
class _Passage:
    """The algebra of passages in which certain streams are present."""

    forms: Mapping[str, tuple[LinearForm | None, ...]]
    complete: frozenset[str]
    whole: Mapping[str, int | None]  # a source most of whose channels are those of one stream
    checks: tuple[CheckMeter, ...]
    dtype: np.dtype


class Untangler:
    """Turns aligned blocks into sources, and measures on the way.

    Parameters
    ----------
    algebra : Algebra
    written : names of the sources that are to be given out, each with the
        sample type it is given in
    """

    def __init__(self, algebra: Algebra, *, written: Sequence[str], sample_rate: int) -> None:
        self.algebra = algebra
        self.streams = frozenset(algebra.grid.formats)
        self.written = [source for source in algebra.sources if source.name in written]
        solution = algebra.solution(self.streams)
        self.meters = {check.terms: CheckMeter(check, algebra.grid) for check in solution.checks}
        self.clipping = ClippingMeter(sample_rate, algebra.grid.formats)
        self.sources = {source.name: SourceMeter() for source in self.written}
        self.missing = {stream: RangeList() for stream in self.streams}
        self._passages: dict[frozenset[int], _Passage] = {}
        bits = algebra.grid.bits
        self.output_dtype = np.dtype(np.float64 if bits is None else np.int16 if bits <= 16 else np.int32)

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
        extremes = {stream: channel_extremes(channels) for stream, channels in samples.items()}
        clipped = {}
        for stream, channels in samples.items():
            mask = self.clipping.observe(start, stream, channels, extremes[stream])
            if mask is not None:
                clipped[stream] = mask
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
            source.name: self._source(source, plan, start, length, samples, columns, extremes)
            for source in self.written
        }

    def _source(
        self,
        source: Source,
        plan: _Passage,
        start: int,
        length: int,
        samples: Mapping[int, NDArray],
        columns: Columns,
        extremes: Mapping[int, tuple[NDArray, NDArray]],
    ) -> NDArray:
        meter = self.sources[source.name]
        if source.name not in plan.complete:
            meter.gaps.add(start, start + length)
        grid, bits = self.algebra.grid, self.algebra.grid.bits
        whole = plan.whole[source.name]
        if whole is not None:
            out = samples[whole].copy(order="K")
        else:
            out = interleaved_block(len(source.channels), length, self.output_dtype)
        for c, form in enumerate(plan.forms[source.name]):
            if form is None:
                if whole is not None:
                    out[c] = 0
                continue
            key = form.passes_through
            if key is not None:
                channel = grid.formats[key.stream].channels.index(key.channel)
                least, greatest = (edge[channel] for edge in extremes[key.stream])
                if whole is None:
                    out[c] = samples[key.stream][channel] if grid.bits is not None else columns[key]
            else:
                values, odd = columns.evaluate(form)
                meter.odd_samples += odd
                least, greatest = values.min(), values.max()
                if bits is not None and bits_needed(int(least), int(greatest)) > bits and out.dtype.itemsize < 8:
                    out = out.astype(np.int64, order="K")
                out[c] = values
            if bits is None:
                meter.least, meter.greatest = min(meter.least, float(least)), max(meter.greatest, float(greatest))
            else:
                meter.least, meter.greatest = min(meter.least, int(least)), max(meter.greatest, int(greatest))
        return out

    def _plan(self, present: frozenset[int]) -> _Passage:
        grid = self.algebra.grid
        solution = self.algebra.solution(present)
        forms: dict[str, tuple[LinearForm | None, ...]] = {}
        complete, whole = set(), {}
        recorded = {unknown for row in self.algebra.equations.rows.values() for unknown in row}
        for source in self.written:
            keys = [SourceChannel(source.name, channel) for channel in source.channels]
            combinations = [solution.determined.get(key) for key in keys]
            forms[source.name] = tuple(None if c is None else grid.form(c.terms) for c in combinations)
            if all(c is not None or key not in recorded for key, c in zip(keys, combinations, strict=True)):
                complete.add(source.name)
            whole[source.name] = self._whole_stream(source, forms[source.name])
        checks = tuple(self.meters.setdefault(check.terms, CheckMeter(check, grid)) for check in solution.checks)
        every = [form for channels in forms.values() for form in channels if form] + [m.form for m in checks]
        return _Passage(forms, frozenset(complete), whole, checks, grid.dtype(every))

    def _whole_stream(self, source: Source, forms: Sequence[LinearForm | None]) -> int | None:
        """The stream whose block can be copied whole, because the source's channels are mostly its own."""
        grid = self.algebra.grid
        votes: dict[int, int] = {}
        for channel, form in zip(source.channels, forms, strict=True):
            key = form.passes_through if form else None
            if key is not None and key.channel == channel and grid.formats[key.stream].channels == source.channels:
                votes[key.stream] = votes.get(key.stream, 0) + 1
        for stream, count in votes.items():
            direct = all(
                form is None or (key := form.passes_through) is None or key == StreamChannel(stream, channel)
                for channel, form in zip(source.channels, forms, strict=True)
            )
            same_type = grid.formats[stream].bits == grid.bits and grid.bits is not None
            if direct and same_type and 2 * count >= len(forms):
                return stream
        return None


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
    on_sources: Callable[[dict[str, NDArray]], None],
    on_block: Callable[[int, DecodeReport], None],
) -> PassResult:
    """Read a file once from end to end.

    ``on_packet`` gets the packets to copy, ``on_sources`` the untangled sources,
    ``on_block`` the samples done so far; any of them may raise to stop.
    """
    report = DecodeReport()
    kept: list[Mapping[int, int] | None] = []
    done = 0
    items = aligned_items(path, streams, origin=origin, offsets=offsets, report=report, copy=copy, separate=separate)
    try:
        for item in items:
            if isinstance(item, CopiedPacket):
                on_packet(item)
                continue
            if digests:
                kept.append(None if item.missing else block_digests(item.samples))
            on_sources(untangler.feed(item))
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
    )


def block_digests(samples: Mapping[int, NDArray]) -> dict[int, int]:
    """A checksum of every stream's block: equal blocks have equal ones."""
    return {stream: crc32(np.ascontiguousarray(channels.T)) for stream, channels in samples.items()}


def remix_forms(equations: Equations, grid: Grid) -> dict[StreamChannel, LinearForm | None]:
    """Every stream channel as a form in source channels, which stand as streams of the given grid."""
    order = {name: n for n, name in enumerate(dict.fromkeys(u.source for u in equations.unknowns))}
    forms: dict[StreamChannel, LinearForm | None] = {}
    for key, row in equations.rows.items():
        terms = [(StreamChannel(order[u.source], u.channel), Fraction(gain)) for u, gain in row.items()]
        forms[key] = grid.form(terms) if terms else None
    return forms
