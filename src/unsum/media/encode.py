"""Encoders: blocks of samples in, packets out.

FLAC comes from libFLAC (through soundfile), which at its level 8 writes smaller
files than FFmpeg's encoder at level 12 for a tenth of the work. libsndfile hands
out exactly one FLAC frame per write, so its output can be muxed as it comes.
Everything else, and FFmpeg's own FLAC levels, goes through PyAV.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import soundfile
from av import AudioFrame, AudioLayout
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from unsum.errors import OutputError, UsageError
from unsum.layouts import layout_name
from unsum.media.flac import (
    LAYOUTS_BY_COUNT,
    StreamInfo,
    header_only_file,
    is_frame,
    parse_streaminfo,
    streaminfo_bytes,
)
from unsum.media.probe import outlive

LIBFLAC_MAX_LEVEL = 8
LIBFLAC_BLOCK = 4096
_WAV_LIMIT_BYTES = 4_000_000_000  # below 2**32 with room for headers


@dataclass(frozen=True, slots=True)
class OutputAudio:
    """How one audio stream is to be written.

    Attributes
    ----------
    channels : names of the channels, as `layouts` has them
    bits : word length of the integer samples that will come; None for floating point
    stored_bits : word length in the file, at least ``bits``
    codec : "flac", "alac", "wavpack" or "pcm"
    compression_level : 0..8 libFLAC's, 9..12 FFmpeg's
    """

    title: str
    channels: tuple[str, ...]
    sample_rate: int
    bits: int | None
    stored_bits: int
    codec: str = "flac"
    language: str = ""
    default: bool = False
    compression_level: int = LIBFLAC_MAX_LEVEL


def output_codec(container: str, *, channels: tuple[str, ...], bits: int | None) -> str:
    """The lossless codec a container carries best.

    FLAC where the container has it and 24 bits are enough; WavPack for longer
    words in Matroska; ALAC in MP4 and MOV, which editors read there; plain PCM else.
    """
    if container == "matroska":
        return "pcm" if bits is None else "flac" if bits <= 24 else "wavpack" if bits <= 32 else "pcm"
    if bits is not None and bits <= 24 and layout_name(channels) in ("mono", "stereo", "5.1"):
        return "alac"
    return "flac" if container == "mp4" and bits is not None and bits <= 24 else "pcm"


class Encoder(Protocol):
    """Something that turns (channels, samples) into packets of one output stream."""

    stream: Any

    def encode(self, samples: NDArray) -> Iterable[Packet]: ...

    def finish(self) -> Iterable[Packet]: ...


def add_audio(container: OutputContainer, audio: OutputAudio) -> Encoder:
    """Add a stream to a container that is not yet written to, and make its encoder."""
    layout = layout_name(audio.channels)
    if outlive(AudioLayout(layout)):
        raise OutputError(f"{audio.title}: no file takes channels in the order {layout}; list them in the usual order")
    if audio.codec == "flac" and audio.compression_level <= LIBFLAC_MAX_LEVEL and audio.stored_bits <= 24:
        return _LibFlacEncoder(container, audio)
    return _FfmpegEncoder(container, audio)


class _FrameSink:
    """The file libsndfile thinks it writes: keeps the header, hands on the frames."""

    def __init__(self) -> None:
        self.header = bytearray()
        self.frames: list[bytes] = []
        self._position = 0
        self._header_done = False

    def write(self, data: bytes) -> int:
        data = bytes(data)
        if not self._header_done and is_frame(data):
            self._header_done = True
        if self._position < len(self.header) or not self._header_done:
            if self._position > len(self.header):
                raise ValueError("libsndfile wrote a header with a hole in it")
            self.header[self._position : self._position + len(data)] = data
        elif is_frame(data):
            self.frames.append(data)
        else:
            raise ValueError("libsndfile wrote something that is no FLAC frame")
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            self._position = offset
        elif whence == io.SEEK_CUR:
            self._position += offset
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        pass


class _LibFlacEncoder:
    def __init__(self, container: OutputContainer, audio: OutputAudio) -> None:
        self.shift = audio.stored_bits - (audio.bits or 0)
        stored = audio.stored_bits
        self.left_justify = 0 if stored == 16 else 32 - stored
        self.sink: Any = _FrameSink()
        self.file = soundfile.SoundFile(
            self.sink,
            "w",
            audio.sample_rate,
            len(audio.channels),
            {16: "PCM_16", 24: "PCM_24"}[stored],
            format="FLAC",
            compression_level=audio.compression_level / LIBFLAC_MAX_LEVEL,
        )
        self.info = StreamInfo(LIBFLAC_BLOCK, LIBFLAC_BLOCK, audio.sample_rate, len(audio.channels), stored)
        with av.open(io.BytesIO(header_only_file(self.info, channels=audio.channels)), format="flac") as header:
            self.stream = container.add_stream_from_template(header.streams.audio[0])
        self.stream.time_base = self.time_base = Fraction(1, audio.sample_rate)
        self.position = 0
        self.samples = 0

    def encode(self, samples: NDArray) -> Iterable[Packet]:
        self.samples += samples.shape[1]
        dtype = np.int16 if self.left_justify == 0 else np.int32
        interleaved = np.ascontiguousarray(samples.T, dtype=dtype)
        if self.shift + self.left_justify:
            interleaved = interleaved << dtype(self.shift + self.left_justify)
        self.file.write(interleaved)
        return self._packets()

    def _packets(self) -> list[Packet]:
        frames, self.sink.frames = self.sink.frames, []
        packets = []
        for frame in frames:
            packet = Packet(frame)
            packet.pts = packet.dts = self.position
            duration = min(LIBFLAC_BLOCK, self.samples - self.position)
            packet.duration = duration
            packet.time_base = self.time_base
            packet.stream = self.stream
            packet.is_keyframe = True
            packets.append(packet)
            self.position += duration
        return packets

    def finish(self) -> Iterable[Packet]:
        self.file.close()
        packets = self._packets()
        final = parse_streaminfo(bytes(self.sink.header[8:]))
        if final is None or final.samples != self.samples or self.position != self.samples:
            raise OutputError(
                f"libFLAC closed a stream of {self.samples} samples as {final.samples if final else 'nothing'}; "
                "use --compression-level 9 or above for FFmpeg's encoder"
            )
        return [*packets, _new_extradata(self.stream, streaminfo_bytes(final), self.samples)]


def _new_extradata(stream: Any, streaminfo: bytes, pts: int) -> Packet:
    """An empty packet that makes the muxer complete the stream's header with length and MD5."""
    context = av.CodecContext.create("flac", "w")
    context.sample_rate, context.layout, context.format = stream.codec_context.sample_rate, "mono", "s16"
    silence = AudioFrame.from_ndarray(np.zeros((1, 16), np.int16), format="s16", layout="mono")
    silence.sample_rate, silence.pts = context.sample_rate, 0
    # PyAV makes no side data of its own: borrow a piece of the right kind and size.
    last = [*context.encode(silence), *context.encode(None)][-1]
    extradata = last.get_sidedata("new_extradata")
    extradata.update(streaminfo)
    packet = Packet(0)
    packet.set_sidedata(extradata)
    packet.pts = packet.dts = pts
    packet.time_base = stream.time_base
    packet.stream = stream
    return packet


class _FfmpegEncoder:
    def __init__(self, container: OutputContainer, audio: OutputAudio) -> None:
        stored, layout = audio.stored_bits, layout_name(audio.channels)
        options = {}
        if audio.codec == "pcm":
            name = f"pcm_f{stored}le" if audio.bits is None else f"pcm_s{stored}le"
            self.format = {16: "s16", 24: "s32", 32: "s32"}[stored] if audio.bits else {32: "flt", 64: "dbl"}[stored]
        else:
            if audio.bits is None:
                raise UsageError(f"{audio.codec} holds no floating point samples; use pcm")
            name = audio.codec
            self.format = ("s16" if stored == 16 else "s32") + ("" if name == "flac" else "p")
            if name == "flac":
                options["compression_level"] = str(audio.compression_level)
        try:
            stream: Any = container.add_stream(name, rate=audio.sample_rate, options=options)
            context = stream.codec_context
            context.layout = layout
            context.format = self.format
            context.time_base = stream.time_base = Fraction(1, audio.sample_rate)
            if stored == 24 and audio.codec != "pcm":
                context.options = {**options, "bits_per_raw_sample": "24"}
            context.open()
        except (FFmpegError, ValueError) as error:
            raise OutputError(f"{name} cannot hold {layout} at {stored} bits: {error}; choose another codec") from error
        self.stream, self.context = stream, context
        self.layout, self.sample_rate = layout, audio.sample_rate
        self.planar = self.format.endswith("p")
        self.dtype = {"s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}[
            self.format.removesuffix("p")
        ]
        self.shift = 0
        if audio.bits is not None:
            self.shift = (16 if self.dtype is np.int16 else 32) - audio.bits
        self.samples = 0

    def encode(self, samples: NDArray) -> Iterable[Packet]:
        values = samples.astype(self.dtype)
        if self.shift:
            values <<= self.dtype(self.shift)
        # Filled by hand: AudioFrame.from_ndarray fails on eight planes, because PyAV counts nine there.
        frame = AudioFrame(format=self.format, layout=self.layout, samples=samples.shape[1])
        planes = values if self.planar else values.T.reshape(1, -1)
        for plane, row in zip(frame.planes, planes, strict=False):
            plane.update(row.tobytes())
        frame.sample_rate, frame.pts = self.sample_rate, self.samples
        frame.time_base = Fraction(1, self.sample_rate)
        self.samples += samples.shape[1]
        return self.stream.encode(frame)

    def finish(self) -> Iterable[Packet]:
        return self.stream.encode(None)


# Suffixes of plain audio files, with libsndfile's names of their formats.
AUDIO_FILES = {".wav": "WAVEX", ".rf64": "RF64", ".w64": "W64", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF"}


# libsndfile's sf_command and its numbers for the loudspeakers.
_SET_CHANNEL_MAP = 0x1101
_CHANNEL_MAP = {
    "FL": 2, "FR": 3, "FC": 4, "BC": 8, "BL": 9, "BR": 10, "LFE": 11, "FLC": 12, "FRC": 13, "SL": 14, "SR": 15,
}  # fmt: skip


def _name_channels(file: soundfile.SoundFile, channels: tuple[str, ...]) -> None:
    """Write the loudspeakers into a WAV's header: libsndfile's own idea of 7.1 has none at the sides."""
    library, ffi = soundfile._snd, soundfile._ffi  # the package itself does not offer the command
    numbers = ffi.new("int[]", [_CHANNEL_MAP[channel] for channel in channels])
    if not library.sf_command(file._file, _SET_CHANNEL_MAP, numbers, ffi.sizeof(numbers)):
        raise OSError(f"libsndfile cannot name the channels {layout_name(channels)}")


class SoundFileWriter:
    """One audio file of its own: WAV (RF64 above 4 GB), FLAC or AIFF through libsndfile.

    ``expected_samples`` decides between WAV and RF64 before the first byte is written.
    """

    def __init__(self, path: Path, audio: OutputAudio, *, suffix: str, expected_samples: int) -> None:
        if suffix not in AUDIO_FILES:
            raise UsageError(f"cannot write '{suffix}' files; known: {', '.join(AUDIO_FILES)}")
        kind = AUDIO_FILES[suffix]
        stored_bytes = audio.stored_bits // 8 * len(audio.channels) * expected_samples
        if kind == "WAVEX" and stored_bytes > _WAV_LIMIT_BYTES:
            kind = "RF64"
        if kind == "FLAC" and audio.stored_bits > 24:
            raise UsageError(f"FLAC holds up to 24 bits but {audio.title} needs {audio.stored_bits}; write .wav")
        subtype = f"PCM_{audio.stored_bits}"
        if audio.bits is None:
            subtype = {32: "FLOAT", 64: "DOUBLE"}[audio.stored_bits]
        level: dict[str, Any] = (
            {"compression_level": min(1.0, audio.compression_level / LIBFLAC_MAX_LEVEL)} if kind == "FLAC" else {}
        )
        if kind == "FLAC" and layout_name(audio.channels) not in LAYOUTS_BY_COUNT:
            raise UsageError(
                f"a FLAC file of {len(audio.channels)} channels cannot say that {audio.title} is "
                f"{layout_name(audio.channels)}; write .wav or .mkv"
            )
        try:
            self.file = soundfile.SoundFile(
                path, "w", audio.sample_rate, len(audio.channels), subtype, format=kind, **level
            )
            if kind in ("WAVEX", "RF64"):
                _name_channels(self.file, audio.channels)
        except (soundfile.LibsndfileError, OSError) as error:
            raise OutputError(f"cannot write {path}: {error}; check the folder and its free space") from error
        self.audio = audio
        self.dtype: Any = np.int16 if audio.stored_bits == 16 else np.int32
        if audio.bits is None:
            self.dtype = np.float32 if audio.stored_bits == 32 else np.float64

    def write(self, samples: NDArray) -> None:
        interleaved = np.ascontiguousarray(samples.T, dtype=self.dtype)
        if self.audio.bits is not None:
            interleaved = interleaved << self.dtype(np.iinfo(self.dtype).bits - self.audio.bits)
        self.file.write(interleaved)

    def close(self) -> None:
        self.file.close()
