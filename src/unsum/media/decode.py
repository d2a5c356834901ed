"""Decoded audio of several streams in one pass, every frame with its place in time.

Integer PCM stays integer, in units of its own last bit; floating point stays float.
Nothing seeks: a file is read from its start, and the packets of streams that are
not decoded pass through untouched, for copying.
"""

import heapq
import math
import struct
from collections import deque
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import AudioFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.media.flac import first_sample, parse_streaminfo
from unsum.media.probe import AudioStream, open_input, outlive
from unsum.media.timeline import LONGEST_JUMP_SECONDS, Discontinuity, StreamClock

# Some containers only estimate their duration; what matters is that one wrong timestamp cannot fill a disk.
_DURATION_MARGIN_SECONDS = 60.0

_DTYPES: dict[str, Any] = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}


def sample_dtype(stream: AudioStream) -> np.dtype:
    """The type a stream's samples arrive in."""
    if stream.bits is None:
        return np.dtype(np.float64 if "f64" in stream.codec else np.float32)
    return np.dtype(np.int16 if stream.bits <= 16 else np.int32 if stream.bits <= 32 else np.int64)


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """Some decoded audio of one stream.

    ``samples`` has the shape (channels, samples); its memory may be interleaved.
    ``start`` counts samples from the container's time zero.
    """

    stream: int
    start: int
    samples: NDArray
    seconds: float


@dataclass(frozen=True, slots=True)
class CopiedPacket:
    """A packet of a stream that is not decoded."""

    packet: Packet
    container_index: int
    seconds: float


@dataclass(slots=True)
class DecodeReport:
    """What went wrong while reading; grows as the file is read.

    Attributes
    ----------
    breaks : holes and overlaps
    errors : (stream, seconds, reason) of what could not be decoded
    primings : {stream: samples} that its codec put before the audio, dropped while decoding
    paddings : {stream: samples} that its codec put behind the audio, dropped while decoding
    packet_bytes : {stream: bytes} of its packets
    lengths : {stream: samples} from its first to its last, holes between them included
    """

    breaks: list[Discontinuity] = field(default_factory=list)
    errors: list[tuple[int, float, str]] = field(default_factory=list)
    primings: dict[int, int] = field(default_factory=dict)
    paddings: dict[int, int] = field(default_factory=dict)
    packet_bytes: dict[int, int] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    position_bytes: int = 0


def read_frames(
    path: Path,
    streams: Collection[AudioStream],
    *,
    copy: Collection[int] = (),
    report: DecodeReport,
    threads: bool = False,
    separate: bool = False,
) -> Generator[DecodedFrame | CopiedPacket]:
    """Decode streams of a file, in the order the container stores them.

    Parameters
    ----------
    path : the file
    streams : which audio streams to decode
    copy : container indices of the streams whose packets are wanted as they are
    report : filled while reading
    threads : decode on all cores; costs a little more work in total
    separate : read each stream through a demuxer of its own, merged by time. For
        files whose streams are not interleaved, which one pass could not align in
        bounded memory.

    Raises
    ------
    InputError
        If the file cannot be opened, or breaks off so that nothing more can be read.
    """
    if not separate:
        yield from _read(path, streams, copy=copy, report=report, threads=threads)
        return
    passes = [_read(path, [stream], copy=(), report=report, threads=threads) for stream in streams]
    if copy:
        passes.append(_read(path, (), copy=copy, report=report, threads=False))
    yield from heapq.merge(*passes, key=lambda item: item.seconds)


def _read(
    path: Path,
    streams: Collection[AudioStream],
    *,
    copy: Collection[int],
    report: DecodeReport,
    threads: bool,
) -> Generator[DecodedFrame | CopiedPacket]:
    with open_input(path) as container:
        decoders = {s.container_index: _StreamDecoder(container, s, report, threads=threads) for s in streams}
        copied = frozenset(copy)
        wanted = {*decoders, *copied}
        for stream in container.streams:
            if stream.index not in wanted and stream.type in ("video", "audio", "subtitle", "data"):
                stream.discard = Discard.all
        tick_seconds = {index: float(container.streams[index].time_base or 0) for index in wanted}
        demuxed = container.demux(*[container.streams[index] for index in sorted(wanted)])
        while True:
            try:
                packet = next(demuxed)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                raise InputError(f"{path} cannot be read on behind byte {report.position_bytes}: {error}") from error
            report.position_bytes = max(report.position_bytes, packet.pos or 0)
            index = packet.stream.index  # stream_index is not set on the flushing packets
            decoder = decoders.get(index)
            if decoder is not None:
                yield from decoder.decode(packet)
            if (
                index in copied and packet.size
            ):  # an empty packet is the demuxer's end mark; packets without dts are real
                stamp = packet.dts if packet.dts is not None else packet.pts
                yield CopiedPacket(packet, index, (stamp or 0) * tick_seconds[index])


class _StreamDecoder:
    """Packets of one stream in, placed frames out."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        report: DecodeReport,
        *,
        threads: bool,
    ) -> None:
        self.stream = stream
        self.report = report
        longest = LONGEST_JUMP_SECONDS
        if container.duration is not None and container.duration > 0:
            longest = min(longest, container.duration / av.time_base + _DURATION_MARGIN_SECONDS)
        self.clock = StreamClock(stream=stream.number, sample_rate=stream.sample_rate, longest_jump_seconds=longest)
        self.clock.breaks = report.breaks
        source = container.streams[stream.container_index]
        # Typed loosely: PyAV's stubs know a stream of unknown kind only.
        self.context: Any = source.codec_context
        context = self.context
        self.tick_seconds = float(source.time_base or 0)
        context.thread_type = "AUTO" if threads else "NONE"
        if threads:
            context.thread_count = 2
        self.threads = threads
        self.waiting: AudioFrame | None = None
        self.reached: int | None = None  # one behind the last sample handed out
        self.numbered = False
        self.fixed_block = None
        # Numbers of FLAC frames on their way through the decoder, with their timestamps.
        self.numbers: deque[tuple[int | None, int | None]] = deque()
        if stream.codec == "flac":
            # Without this FFmpeg hands out frames whose checksum is wrong.
            context.options = {"err_detect": "crccheck+explode"}
            info = parse_streaminfo(context.extradata)
            self.numbered = True
            self.fixed_block = info.fixed_block if info else None

    def decode(self, packet: Packet) -> Iterator[DecodedFrame]:
        if self.numbered and packet.size:
            self.numbers.append((packet.pts, first_sample(bytes(memoryview(packet)[:16]), self.fixed_block)))
        if packet.size:
            sizes = self.report.packet_bytes
            sizes[self.stream.number] = sizes.get(self.stream.number, 0) + packet.size
            self._note_trimming(packet)
            for frame in self._frames(packet) or ():
                yield from self._after(frame)
            return
        # A decoder with threads still holds frames, and what is wrong with one of them must not cost the others.
        while (frames := self._frames(None)) is not None:
            for frame in frames:
                yield from self._after(frame)
        yield from self._after(None)

    def _frames(self, packet: Packet | None) -> list[AudioFrame] | None:
        """What the decoder gives for a packet, or at the end for None; None when it has given everything."""
        try:
            frames = self.context.decode(packet)
        except EOFError:
            return None
        except (FFmpegError, OSError, ValueError) as error:
            self.report.errors.append(
                (self.stream.number, self._error_seconds(packet), getattr(error, "strerror", None) or str(error))
            )
            return []
        for frame in frames:
            outlive(frame.layout)
        return frames

    def _error_seconds(self, packet: Packet | None) -> float:
        # Threads tell of an error when a later packet is given: it lies behind what was decoded last.
        if packet is not None and packet.pts is not None and not self.threads:
            return packet.pts * self.tick_seconds
        waiting = self.waiting
        if waiting is None:
            return self.clock.end / self.stream.sample_rate
        begin = self.clock.end / self.stream.sample_rate if waiting.pts is None else waiting.pts * self.tick_seconds
        return begin + waiting.samples / self.stream.sample_rate

    def _note_trimming(self, packet: Packet) -> None:
        """Add up what the container asks the decoder to drop, as AAC and Opus need."""
        if not packet.has_sidedata("skip_samples"):
            return
        start, end = struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))
        for dropped, samples in ((self.report.primings, start), (self.report.paddings, end)):
            if samples:
                dropped[self.stream.number] = dropped.get(self.stream.number, 0) + samples

    def _after(self, frame: AudioFrame | None) -> Iterator[DecodedFrame]:
        """Place the frame before this one, now that it is known how time goes on; None: it was the last."""
        waiting, self.waiting = self.waiting, frame
        if waiting is not None:
            after = math.nan
            if frame is not None:
                after = None if frame.pts is None else frame.pts * self.tick_seconds
            yield from self._place(waiting, next_seconds=after)

    def _place(self, frame: AudioFrame, *, next_seconds: float | None) -> Iterator[DecodedFrame]:
        if frame.sample_rate != self.stream.sample_rate or frame.layout.nb_channels != len(self.stream.channels):
            raise InputError(
                f"audio stream {self.stream.number} changes inside the file: from {self.stream.sample_rate} Hz, "
                f"{len(self.stream.channels)} channels to {frame.sample_rate} Hz, {frame.layout.nb_channels} "
                "channels; cut it there first"
            )
        number = None
        while self.numbers:
            pts, candidate = self.numbers.popleft()
            if pts == frame.pts:
                number = candidate
                break
        seconds = None if frame.pts is None else frame.pts * self.tick_seconds
        start = self.clock.place(seconds=seconds, samples=frame.samples, number=number, next_seconds=next_seconds)
        self.report.lengths[self.stream.number] = self.clock.end - (self.clock.start or 0)
        samples = _samples(frame, self.stream.bits)
        if self.reached is not None and self.reached > start:  # the same stretch came twice: the first one stays
            overlap = min(self.reached - start, samples.shape[1])
            samples, start = samples[:, overlap:], start + overlap
        self.reached = max(start + samples.shape[1], self.reached or start)
        if samples.shape[1]:
            yield DecodedFrame(self.stream.number, start, samples, start / self.stream.sample_rate)


def _samples(frame: AudioFrame, bits: int | None) -> NDArray:
    """(channels, samples) of a frame, integers in units of the last of ``bits`` bits."""
    name = frame.format.name
    channels, length = frame.layout.nb_channels, frame.samples
    dtype = _DTYPES[name.removesuffix("p")]
    planes: NDArray[Any]
    if frame.format.is_planar and channels > 1:
        # PyAV counts one plane too many where there are eight: only the first ones are of this frame.
        planes = np.stack([np.frombuffer(memoryview(plane), dtype, count=length) for plane in frame.planes[:channels]])
    else:
        planes = np.frombuffer(memoryview(frame.planes[0]), dtype, count=length * channels).reshape(length, channels).T
    if dtype is np.uint8:
        return planes.astype(np.int16) - np.int16(128)
    if dtype is np.int32 and bits is not None and bits < 32:
        return planes >> np.int32(32 - bits)
    if dtype is np.int16 and bits is not None and bits < 16:
        return planes >> np.int16(16 - bits)
    return planes
