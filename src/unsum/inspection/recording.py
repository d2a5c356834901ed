"""One file, read once from its start to its end: every stream measured, and all against each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.inspection.containment import ContainmentMeter
from unsum.inspection.findings import Containment, FileFinding, StreamFinding
from unsum.inspection.streams import StreamMeter
from unsum.media.decode import DecodedFrame, DecodeReport, read_frames, sample_dtype
from unsum.media.probe import AudioStream, Recording, probe
from unsum.media.promised import shortfall_words
from unsum.progress import Progress
from unsum.streams.arithmetic import Grid, StreamFormat
from unsum.streams.assembly import AlignedBlock, Assembler, NotInterleavedError
from unsum.streams.offsets import WINDOW, OffsetMeter, any_channels

MAX_LAG_SECONDS = 0.5
MAX_LEAD_SECONDS = 15.0
# The time line begins that much before the header says: some codecs give priming samples, and
# a late stream is moved forward.
_MARGIN_SECONDS = 1.0
# Lags that are still open after many windows are looked for in fewer and fewer of them.
_EVERY_WINDOW, _THEN_EVERY = 16, 16


def inspect_file(path: str | PathLike[str], *, progress: Progress | None = None) -> FileFinding:
    """Measure every audio stream of a file, and which holds which.

    Parameters
    ----------
    path : any file the media layer reads
    progress : called with (bytes read, bytes in all, what); may raise to stop

    Returns
    -------
    finding : FileFinding
        A file that breaks off is described as far as it could be read.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no audio.
    """
    recording = probe(Path(path))
    try:
        return _inspect(recording, progress, separate=False)
    except NotInterleavedError:
        return _inspect(recording, progress, separate=True)


def _inspect(recording: Recording, progress: Progress | None, *, separate: bool) -> FileFinding:
    meters = {stream.number: StreamMeter(stream) for stream in recording.audio}
    groups = _groups(recording.audio)
    watchers = [_GroupWatch(streams) for streams in groups.values()]
    reading = _Reading(recording, progress, separate=separate)

    for group, block in reading.blocks(groups.values(), offsets={}):
        rows = {stream: np.ascontiguousarray(samples) for stream, samples in block.samples.items()}
        for stream, values in rows.items():
            rows[stream] = meters[stream].observe(block.start, values, block.missing.get(stream, ()))
        watchers[group].observe(block, rows)
    if not any(meter.samples for meter in meters.values()):
        _check_readable(recording, reading)

    late: dict[int, int | None] = {}
    containments: list[Containment] = []
    for watcher in watchers:
        lags, pairs = watcher.late(), watcher.containment.containments()
        if any(lags.values()):
            again = _contained_again(recording, watcher.streams, lags, progress, separate=separate)
            lags, pairs = _believed(lags, pairs, again)
        late |= lags
        containments += pairs
    containments.sort(key=lambda pair: float("-inf") if pair.null_db is None else pair.null_db)
    streams = tuple(
        _stream_finding(
            meters[stream.number],
            reading.report,
            origin=_origin(groups[stream.sample_rate]),
            late=late.get(stream.number),
        )
        for stream in recording.audio
    )
    return FileFinding(
        recording=recording,
        streams=streams,
        containments=tuple(containments),
        remarks=tuple(_remarks(recording, groups, reading.report, max(map(_end_seconds, streams)))),
        broken_off=reading.broken_off,
    )


def _groups(streams: Sequence[AudioStream]) -> Mapping[int, list[AudioStream]]:
    """Streams that can be compared sample by sample: {sample rate: streams}."""
    groups: dict[int, list[AudioStream]] = {}
    for stream in streams:
        groups.setdefault(stream.sample_rate, []).append(stream)
    return groups


def _contained_again(
    recording: Recording,
    streams: Sequence[AudioStream],
    late: Mapping[int, int | None],
    progress: Progress | None,
    *,
    separate: bool,
) -> Sequence[Containment]:
    """Containments with the measured lags taken out: only late streams cost a second reading."""
    containment = ContainmentMeter(_grid(streams))
    offsets = {stream: -(lag or 0) for stream, lag in late.items()}
    for _, block in _Reading(recording, progress, separate=separate).blocks([streams], offsets=offsets):
        containment.observe(block, {s: np.ascontiguousarray(samples) for s, samples in block.samples.items()})
    return containment.containments()


def _grid(streams: Sequence[AudioStream]) -> Grid:
    return Grid.of({stream.number: StreamFormat(stream.channels, stream.bits) for stream in streams})


@dataclass(slots=True)
class _Reading:
    """One pass over a file."""

    recording: Recording
    progress: Progress | None
    separate: bool
    report: DecodeReport
    broken_off: str | None

    def __init__(self, recording: Recording, progress: Progress | None, *, separate: bool) -> None:
        self.recording, self.progress, self.separate = recording, progress, separate
        self.report = DecodeReport()
        self.broken_off = None

    def blocks(
        self, groups: Iterable[Sequence[AudioStream]], *, offsets: Mapping[int, int]
    ) -> Iterator[tuple[int, AlignedBlock]]:
        """Aligned blocks, (number of the group, block); where the file breaks off, they end and say so."""
        groups = list(groups)
        group_of = {stream.number: n for n, streams in enumerate(groups) for stream in streams}
        assemblers = [self._assembler(streams, offsets) for streams in groups]
        wanted = [stream for streams in groups for stream in streams]
        frames = read_frames(self.recording.path, wanted, report=self.report, threads=True, separate=self.separate)
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                break
            except InputError as error:
                self.broken_off = str(error)
                break
            if isinstance(frame, DecodedFrame):
                group = group_of[frame.stream]
                for block in assemblers[group].put(frame.stream, frame.start, frame.samples):
                    if self.progress is not None:
                        size = self.recording.size_bytes
                        self.progress(min(self.report.position_bytes, size), size, "inspect")
                    yield group, block
        for group, assembler in enumerate(assemblers):
            for block in assembler.finish():
                yield group, block

    def _assembler(self, streams: Sequence[AudioStream], offsets: Mapping[int, int]) -> Assembler:
        rate = streams[0].sample_rate
        return Assembler(
            {stream.number: (len(stream.channels), sample_dtype(stream)) for stream in streams},
            origin=_origin(streams),
            offsets=offsets,
            max_lead=None if self.separate else int(MAX_LEAD_SECONDS * rate),
            block=WINDOW,
        )


def _origin(streams: Sequence[AudioStream]) -> int:
    rate = streams[0].sample_rate
    return round((min(stream.start_seconds for stream in streams) - _MARGIN_SECONDS) * rate)


class _GroupWatch:
    """Streams of one sample rate: their lags and their containments."""

    def __init__(self, streams: Sequence[AudioStream]) -> None:
        self.streams = streams
        self.containment = ContainmentMeter(_grid(streams))
        channels = {stream.number: stream.channels for stream in streams}
        self._pairs = any_channels(channels)
        self._offsets = OffsetMeter(self._pairs, channels, max_lag=int(MAX_LAG_SECONDS * streams[0].sample_rate))
        self._windows = 0

    def observe(self, block: AlignedBlock, rows: Mapping[int, NDArray]) -> None:
        self.containment.observe(block, rows)
        if not self._pairs or block.length < WINDOW or block.missing:
            return
        if sum(bool(values.any()) for values in rows.values()) < 2:
            return
        self._windows += 1
        if (self._windows <= _EVERY_WINDOW or self._windows % _THEN_EVERY == 0) and not self._offsets.settled:
            self._offsets.observe(rows)

    def late(self) -> dict[int, int | None]:
        """How late each stream is; None where that cannot be told."""
        if not self._pairs:
            return {}
        offsets = self._offsets.offsets([stream.number for stream in self.streams])
        return {stream: None if stream in offsets.unknown else late for stream, late in offsets.late.items()}


def _believed(
    lags: Mapping[int, int | None], before: Sequence[Containment], after: Sequence[Containment]
) -> tuple[dict[int, int | None], list[Containment]]:
    """Keep those lags that make something cancel better once they are taken out; the others are not known."""
    doubted = {
        stream
        for stream, lag in lags.items()
        if lag and not _cancels_better(_deepest(before, stream), _deepest(after, stream))
    }
    pairs = [pair for pair in before if {pair.inner.stream, pair.outer.stream} & doubted]
    pairs += [pair for pair in after if not {pair.inner.stream, pair.outer.stream} & doubted]
    return {stream: None if stream in doubted else lag for stream, lag in lags.items()}, pairs


def _deepest(pairs: Sequence[Containment], stream: int) -> float:
    """What is left of the energy, at best, when something is taken from this stream or it from others."""
    left = [
        0.0 if pair.null_db is None else 10 ** (pair.null_db / 10)
        for pair in pairs
        if pair.inner.stream != pair.outer.stream and stream in (pair.inner.stream, pair.outer.stream)
    ]
    return min(left, default=1.0)


def _cancels_better(before: float, after: float) -> bool:
    return after < 0.9 * before or 1 - after > 1.1 * (1 - before)


def _check_readable(recording: Recording, reading: "_Reading") -> None:
    if reading.broken_off is not None:
        raise InputError(reading.broken_off)
    if errors := reading.report.errors:
        raise InputError(
            f"nothing in {recording.path} could be decoded: {len(errors)} packets failed, "
            f"the first with '{errors[0][2]}'; the file is damaged"
        )


def _stream_finding(meter: StreamMeter, report: DecodeReport, *, origin: int, late: int | None) -> StreamFinding:
    stream, found = meter.stream, meter.measures()
    start = stream.start_seconds if meter.first is None else (meter.first + origin) / stream.sample_rate
    return StreamFinding(
        stream=stream,
        samples=found.samples,
        start_seconds=float(start),
        late_samples=late,
        true_bits=found.true_bits,
        channels=found.channels,
        full_scale=found.full_scale,
        quiet_share=found.quiet_share,
        not_finite=found.not_finite,
        breaks=tuple(each for each in report.breaks if each.stream == stream.number),
        errors=tuple((seconds, reason) for number, seconds, reason in report.errors if number == stream.number),
        low_pass=found.low_pass,
        hole_share=found.hole_share,
        codec_frames=found.codec_frames,
        bits_per_second=_bits_per_second(stream, report, found.samples),
        priming_samples=report.primings.get(stream.number, 0),
    )


def _bits_per_second(stream: AudioStream, report: DecodeReport, samples: int) -> float | None:
    """By the header where it tells, else from the size of the packets."""
    if stream.bits_per_second is not None:
        return float(stream.bits_per_second)
    size_bytes = report.packet_bytes.get(stream.number, 0)
    return 8 * size_bytes * stream.sample_rate / samples if size_bytes and samples else None


def _end_seconds(stream: StreamFinding) -> float:
    return stream.start_seconds + stream.seconds if stream.samples else 0.0


def _remarks(
    recording: Recording, groups: Mapping[int, Sequence[AudioStream]], report: DecodeReport, end_seconds: float
) -> Iterator[str]:
    if len(groups) > 1:
        each = "; ".join(
            f"{rate} Hz: " + ", ".join(f"a:{stream.number}" for stream in streams) for rate, streams in groups.items()
        )
        yield f"streams of different sample rates were not compared with each other ({each})"
    for stream in recording.audio:
        there = report.lengths.get(stream.number, 0)
        if short := shortfall_words(stream.promised_samples, there, sample_rate=stream.sample_rate):
            yield f"truncated: {short}"
    if any(stream.promised_samples is not None for stream in recording.audio):
        return
    said = recording.duration_seconds
    # Where there is a picture, the length is the picture's.
    if said is not None and not recording.others and abs(said - end_seconds) > 0.1 + 0.01 * said:
        yield f"the header says {said:.3f} s, but the sound ends at {end_seconds:.3f} s"
