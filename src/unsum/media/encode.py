"""Encoders: blocks of samples in, packets out.

FLAC comes from libFLAC (through soundfile), which at its level 8 writes smaller
files than FFmpeg's encoder at level 12 for a tenth of the work. libsndfile hands
out exactly one FLAC frame per write, so its output can be muxed as it comes.
Everything else, and FFmpeg's own FLAC levels, goes through PyAV.
"""

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable
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
    parse_streaminfo,
    streaminfo_bytes,
)
from unsum.media.frame_sink import FrameSink
from unsum.media.probe import outlive

LIBFLAC_MAX_LEVEL = 8
_LIMIT_BYTES = 4_000_000_000  # of formats that count in 32 bits: below 2**32 with room for headers
_DISK_FULL_BYTES = 1 << 20  # a write that fails with less than this free failed for that


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
        block = _libflac_block(audio)
        if block is not None:
            return _LibFlacEncoder(container, audio, block=block)
    return _FfmpegEncoder(container, audio)


def _open_libflac(sink: Any, audio: OutputAudio) -> soundfile.SoundFile:
    return soundfile.SoundFile(
        sink,
        "w",
        audio.sample_rate,
        len(audio.channels),
        {16: "PCM_16", 24: "PCM_24"}[audio.stored_bits],
        format="FLAC",
        compression_level=audio.compression_level / LIBFLAC_MAX_LEVEL,
    )


def _libflac_block(audio: OutputAudio) -> int | None:
    """Samples in every frame that libFLAC makes at this level, or None where it refuses such audio.

    Found by encoding one sample: the levels differ in it (1152 at 0 to 2, then 4096), and some sample rates are
    refused only with the first write.
    """
    sink = FrameSink()
    try:
        with _open_libflac(sink, audio) as file:
            file.write(np.zeros((1, len(audio.channels)), np.int16))
    except soundfile.LibsndfileError:
        return None
    info = parse_streaminfo(bytes(sink.header[8:]))
    return None if info is None or sink.failure else info.fixed_block


class _LibFlacEncoder:
    def __init__(self, container: OutputContainer, audio: OutputAudio, *, block: int) -> None:
        self.shift = audio.stored_bits - (audio.bits or 0)
        stored = audio.stored_bits
        self.left_justify = 0 if stored == 16 else 32 - stored
        self.sink: Any = FrameSink()
        self.file = _open_libflac(self.sink, audio)
        self.block = block
        info = StreamInfo(block, block, audio.sample_rate, len(audio.channels), stored)
        with av.open(io.BytesIO(header_only_file(info, channels=audio.channels)), format="flac") as header:
            self.stream = container.add_stream_from_template(header.streams.audio[0])
        self.stream.time_base = self.time_base = Fraction(1, audio.sample_rate)
        self.position = 0
        self.samples = 0
        self.frames = 0

    def encode(self, samples: NDArray) -> Iterable[Packet]:
        self.samples += samples.shape[1]
        dtype = np.int16 if self.left_justify == 0 else np.int32
        interleaved = np.ascontiguousarray(samples.T, dtype=dtype)
        if self.shift + self.left_justify:
            interleaved = interleaved << dtype(self.shift + self.left_justify)
        self._do(self.file.write, interleaved)
        return self._packets()

    def _do(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except soundfile.LibsndfileError as error:
            raise self._failure(str(error)) from error
        if self.sink.failure:
            raise self._failure(self.sink.failure)

    def _failure(self, reason: str) -> OutputError:
        return OutputError(
            f"libFLAC failed within the first {self.samples} samples: {reason}; "
            "use --compression-level 9 or above for FFmpeg's encoder"
        )

    def _packets(self) -> list[Packet]:
        frames, self.sink.frames = self.sink.frames, []
        packets = []
        for frame in frames:
            packet = Packet(frame)
            packet.pts = packet.dts = self.position
            duration = min(self.block, self.samples - self.position)
            packet.duration = duration
            packet.time_base = self.time_base
            packet.stream = self.stream
            packet.is_keyframe = True
            packets.append(packet)
            self.position += duration
        self.frames += len(packets)
        return packets

    def finish(self) -> Iterable[Packet]:
        self._do(self.file.close)
        packets = self._packets()
        final = parse_streaminfo(bytes(self.sink.header[8:]))
        frames = -(-self.samples // self.block)
        if final is None or (final.samples, final.fixed_block, self.frames) != (self.samples, self.block, frames):
            told = f"{final.samples} in {self.frames} frames of {final.fixed_block}" if final else "nothing"
            raise self._failure(f"it closed them as {told}, where {frames} frames of {self.block} were due")
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
_RF64_AUTO_DOWNGRADE = 0x1210
_CHANNEL_MAP = {
    "FL": 2, "FR": 3, "FC": 4, "BC": 8, "BL": 9, "BR": 10, "LFE": 11, "FLC": 12, "FRC": 13, "SL": 14, "SR": 15,
}  # fmt: skip


def _name_channels(file: soundfile.SoundFile, channels: tuple[str, ...]) -> None:
    """Write the loudspeakers into a WAV's header: libsndfile's own idea of 7.1 has none at the sides."""
    library, ffi = soundfile._snd, soundfile._ffi  # the package itself does not offer the command
    numbers = ffi.new("int[]", [_CHANNEL_MAP[channel] for channel in channels])
    if not library.sf_command(file._file, _SET_CHANNEL_MAP, numbers, ffi.sizeof(numbers)):
        raise OSError(f"libsndfile cannot name the channels {layout_name(channels)}")


def _becomes_wav(file: soundfile.SoundFile) -> bool:
    """Have an RF64 closed as a plain WAV if it stays below 4 GB; False where libsndfile cannot."""
    library, ffi = soundfile._snd, soundfile._ffi
    return bool(library.sf_command(file._file, _RF64_AUTO_DOWNGRADE, ffi.NULL, 1))


class SoundFileWriter:
    """One audio file of its own: WAV (RF64 above 4 GB), FLAC or AIFF through libsndfile.

    FLAC files have libFLAC's levels alone: 9 to 12, which are FFmpeg's, are written as 8.

    Parameters
    ----------
    expected_samples : AIFF ends at 4 GB, so that more than that is refused at once; 0: not known

    Raises
    ------
    OutputError
        If the file cannot be made or, while writing, outgrows its format.
    OSError
        While writing: if the disk is full or fails.
    """

    def __init__(self, path: Path, audio: OutputAudio, *, suffix: str, expected_samples: int = 0) -> None:
        if suffix not in AUDIO_FILES:
            raise UsageError(f"cannot write '{suffix}' files; known: {', '.join(AUDIO_FILES)}")
        kind = AUDIO_FILES[suffix]
        self.audio, self.suffix, self.path = audio, suffix, path
        self.limited = kind == "AIFF"
        self.samples = 0
        self._check_size(expected_samples)
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
        how: Any = (audio.sample_rate, len(audio.channels), subtype)
        try:
            self.file = soundfile.SoundFile(path, "w", *how, format="RF64" if kind == "WAVEX" else kind, **level)
            if kind == "WAVEX" and not _becomes_wav(self.file):
                # What was asked for is a WAV: it stays one, and ends at 4 GB with an error that says so.
                self.file.close()
                self.file = soundfile.SoundFile(path, "w", *how, format=kind)
                self.limited = True
                self._check_size(expected_samples)
            if kind in ("WAVEX", "RF64"):
                _name_channels(self.file, audio.channels)
        except OutputError:
            raise
        except (soundfile.LibsndfileError, OSError) as error:
            raise OutputError(f"cannot write {path}: {error}; check the folder and its free space") from error
        self.dtype: Any = np.int16 if audio.stored_bits == 16 else np.int32
        if audio.bits is None:
            self.dtype = np.float32 if audio.stored_bits == 32 else np.float64

    def write(self, samples: NDArray) -> None:
        interleaved = np.ascontiguousarray(samples.T, dtype=self.dtype)
        if self.audio.bits is not None:
            interleaved = interleaved << self.dtype(np.iinfo(self.dtype).bits - self.audio.bits)
        self.samples += samples.shape[1]
        self._check_size(self.samples)
        self._do(self.file.write, interleaved)

    def close(self) -> None:
        self._do(self.file.close)

    def _check_size(self, samples: int) -> None:
        stored_bytes = samples * len(self.audio.channels) * self.audio.stored_bits // 8
        if self.limited and stored_bytes > _LIMIT_BYTES:
            larger = ".rf64 or .w64" if self.suffix == ".wav" else ".wav or .w64"
            raise OutputError(
                f"{self.audio.title} has {stored_bytes / 1e9:.1f} GB or more and {self.suffix} ends at 4 GB; "
                f"write {larger}"
            )

    def _do(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except soundfile.LibsndfileError as error:
            raise self._system_error(str(error)) from error

    def _system_error(self, reason: str) -> OSError:
        """What is behind libsndfile's "System error", as far as it can be told."""
        file = self.file._file
        if file is not None:
            told: Any = soundfile._ffi.string(soundfile._snd.sf_strerror(file))
            reason = told.decode(errors="replace")
        full = os.strerror(errno.ENOSPC)
        if full in reason or shutil.disk_usage(self.path.parent).free < _DISK_FULL_BYTES:
            return OSError(errno.ENOSPC, full)
        return OSError(errno.EIO, reason)
