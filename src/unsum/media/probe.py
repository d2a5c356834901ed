"""What a file holds: its streams, their layouts and true formats, without decoding it whole."""

import ctypes
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import av.logging
from av import AudioLayout
from av import AudioStream as AVStream
from av.container import InputContainer
from av.error import FFmpegError

from unsum.errors import InputError, UsageError
from unsum.layouts import LAYOUTS, layout_name
from unsum.media.flac import parse_streaminfo
from unsum.media.promised import samples_promised_by_wav

# Worker threads must never reach FFmpeg's logger: its callback needs the interpreter.
av.logging.set_level(av.logging.PANIC)

LOSSY_PCM = {"pcm_alaw", "pcm_mulaw", "pcm_vidc"}
# Packets that may go by before the first one of a WavPack stream.
_HEADER_PACKETS = 10_000
LOSSLESS_CODECS = {"alac", "ape", "flac", "mlp", "shorten", "tak", "truehd", "tta", "wavpack", "wmalossless"}


@dataclass(frozen=True, slots=True)
class AudioStream:
    """One audio stream of a file.

    Attributes
    ----------
    number : counted among the audio streams, from 0, as in ``FILE#a:1``
    container_index : counted among all streams of the file
    channels : names of the channels, in the order they are stored
    bits : true word length of integer samples; None for floating point
    lossless : whether the codec gives back what went in
    start_seconds : the container's time of the first packet
    bits_per_second : of the coded stream, None where the header does not tell
    profile : of the codec, such as ``LC``; empty where there is none
    encoder : what wrote the stream, else the file, by its own tag
    promised_samples : by the header, to the sample; None where it does not tell so exactly
    """

    number: int
    container_index: int
    codec: str
    sample_rate: int
    channels: tuple[str, ...]
    bits: int | None
    lossless: bool
    start_seconds: Fraction
    title: str
    language: str
    default: bool
    bits_per_second: int | None = None
    profile: str = ""
    encoder: str = ""
    promised_samples: int | None = None

    @property
    def layout(self) -> str:
        return layout_name(self.channels)


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and its streams, as its header tells; ``others`` are video, subtitles, attachments."""

    path: Path
    container: str
    duration_seconds: float | None
    size_bytes: int
    audio: tuple[AudioStream, ...]
    others: tuple[str, ...]

    @property
    def copyable(self) -> tuple[int, ...]:
        """Container indices of all streams that can be copied.

        Data streams cannot: Matroska has none, and in MP4 they are mostly the chapters, which the muxer writes anew.
        """
        audio = {stream.container_index for stream in self.audio}
        rest = [index for index in range(len(self.audio) + len(self.others)) if index not in audio]
        data = {index for index, kind in zip(rest, self.others, strict=True) if kind.startswith("data")}
        return tuple(sorted((audio | set(rest)) - data))


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``; ``channels`` None means all."""

    path: Path
    stream: int | None = None
    channels: tuple[str, ...] | None = None


def parse_address(text: str | Path) -> StreamAddress:
    """Split a file name from the stream and channels asked for.

    A file whose name itself ends like an address is taken as the file it is.
    """
    text = str(text)
    exists = _exists(text)
    match = re.fullmatch(r"(.+)#a:(\d+)(?:\[([A-Za-z0-9,\s]+)\])?", text, flags=re.DOTALL)
    if match is None or exists:
        if match is None and re.search(r"#a:[^/\\]*$", text) and not exists:
            raise UsageError(f"cannot read the stream address in '{text}'; write FILE#a:1 or FILE#a:1[FL,FR]")
        return StreamAddress(Path(text))
    channels = None
    if match[3]:
        channels = tuple(name.strip() for name in match[3].split(","))
    return StreamAddress(Path(match[1]), int(match[2]), channels)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # a name too long, or a folder that may not be looked into: opening it tells which
        return False


def container_url(path: Path) -> str:
    """A name FFmpeg takes as a file, also where it looks like a protocol or an option."""
    return f"file:{path}"


def open_input(path: Path) -> InputContainer:
    """Open a file for reading.

    Raises
    ------
    InputError
        If there is no such file, it may not be read, or FFmpeg does not know what it is.
    """
    try:
        if not path.exists():
            raise InputError(f"no such file: {path}")
        if path.is_dir():
            raise InputError(f"{path} is a folder; name the files in it")
        size_bytes = path.stat().st_size
        if path.is_file() and size_bytes == 0:
            raise InputError(f"{path} is empty (0 bytes); is the recording still being written, or was it lost?")
    except OSError as error:
        raise InputError(f"{path} cannot be looked at: {error.strerror}; check its name and its folder") from error
    try:
        return av.open(container_url(path), metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"{path} may not be read; check its permissions") from error
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path} cannot be read ({size_bytes} bytes): {reason}; is it a media file, and whole?"
        ) from error


def probe(path: str | Path) -> Recording:
    """Describe a file from its header.

    Raises
    ------
    InputError
        If it cannot be read or holds no audio.
    """
    path = Path(path)
    with open_input(path) as container:
        size_bytes = max(container.size, 0)  # a pipe has none
        writer = _tag(container.metadata, "encoder")
        audio = tuple(_audio_stream(path, n, stream, writer) for n, stream in enumerate(container.streams.audio))
        if any(stream.codec == "wavpack" for stream in audio):
            audio = _with_wavpack_headers(container, audio)
        audio = tuple(
            replace(stream, promised_samples=_promised_samples(path, container, stream.container_index))
            for stream in audio
        )
        others = tuple(
            f"{stream.type} {stream.codec_context.name}" if stream.codec_context else stream.type
            for stream in container.streams
            if stream.type != "audio"
        )
        if not audio:
            raise InputError(
                f"{path} holds no audio ({', '.join(others) or 'no streams at all'}); name a file that does"
            )
        return Recording(
            path=path,
            container=container.format.name,
            duration_seconds=None if container.duration is None else container.duration / av.time_base,
            size_bytes=size_bytes,
            audio=audio,
            others=others,
        )


def _audio_stream(path: Path, number: int, stream: AVStream, writer: str) -> AudioStream:
    context = stream.codec_context
    layout = context.layout  # once: see outlive
    outlive(layout)
    if not context.sample_rate or not layout.nb_channels:
        raise InputError(
            f"{path}: audio stream {number} ({context.name}) has no sample rate or channels in its header; "
            "the file is damaged, or its codec is unknown"
        )
    bits, lossless = _word_length(stream)
    start = stream.start_time
    return AudioStream(
        number=number,
        container_index=stream.index,
        codec=context.name,
        sample_rate=context.sample_rate,
        channels=_channel_names(layout),
        bits=bits,
        lossless=lossless,
        start_seconds=Fraction(0) if start is None else start * Fraction(stream.time_base or 0),
        title=stream.metadata.get("title", stream.metadata.get("name", "")),  # MP4 calls it name
        language=stream.metadata.get("language", ""),
        default=bool(stream.disposition & 1),
        bits_per_second=_bits_per_second(stream),
        profile=context.profile or "",
        encoder=_tag(stream.metadata, "encoder") or writer,
    )


def _promised_samples(path: Path, container: InputContainer, index: int) -> int | None:
    """What the header of a file of one stream promises; in a container, streams may end before it."""
    if container.format.name == "flac":
        info = parse_streaminfo(container.streams[index].codec_context.extradata)
        return info.samples or None if info is not None else None
    if container.format.name == "wav" and path.is_file():  # a pipe can be read but once
        with suppress(OSError):
            return samples_promised_by_wav(path)
    return None


def _bits_per_second(stream: AVStream) -> int | None:
    """By the codec's header, else by the statistics that Matroska muxers may leave as tags."""
    if stream.codec_context.bit_rate:
        return stream.codec_context.bit_rate
    told = _tag(stream.metadata, "BPS")
    return int(told) if told.isdecimal() and int(told) else None


def _tag(metadata: dict[str, str], name: str) -> str:
    """A tag whatever the case of its name, on one line; empty where there is none."""
    return next((" ".join(value.split()) for key, value in metadata.items() if key.lower() == name.lower()), "")


def outlive(layout: AudioLayout) -> bool:
    """Whether a layout lists its channels one by one; if so, keep PyAV from ever releasing it.

    PyAV copies such a list by reference and frees it once for each copy, which ends the process.
    """
    listed = "channels (" in layout.name
    if listed:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return listed


def _channel_names(layout: AudioLayout) -> tuple[str, ...]:
    names = tuple(channel.name for channel in layout.channels)
    known = len(set(names)) == len(names) and not any(name in ("NONE", "UNK", "UNSD", "") for name in names)
    if known and len(names) == layout.nb_channels:
        return names
    # PCM in Matroska has a channel count and no names: take FFmpeg's own default for the count.
    by_count = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    if layout.nb_channels in by_count:
        return LAYOUTS[by_count[layout.nb_channels]]
    return tuple(f"C{n}" for n in range(layout.nb_channels))


def _word_length(stream: AVStream) -> tuple[int | None, bool]:
    context = stream.codec_context
    codec, sample_format = context.name, context.format.name if context.format else ""
    lossless = codec in LOSSLESS_CODECS or (codec.startswith("pcm_") and codec not in LOSSY_PCM)
    if sample_format.startswith(("flt", "dbl")):
        return None, lossless
    if pcm := re.fullmatch(r"pcm_[us](8|16|24|32|64)(le|be)?(_planar)?", codec):
        return int(pcm[1]), True
    info = parse_streaminfo(context.extradata) if codec == "flac" else None
    if info is not None:
        return info.bits, True
    extradata = context.extradata
    if codec == "alac" and extradata and len(extradata) >= 18:
        # ALACSpecificConfig, behind the 12 bytes of its atom header where that is kept.
        return extradata[17] if len(extradata) >= 36 else extradata[5], True
    if codec == "tta" and extradata and extradata[:4] == b"TTA1" and len(extradata) >= 10:
        return struct.unpack_from("<H", extradata, 8)[0], True
    if codec in ("mlp", "truehd"):
        # The format ends at 24 bits; FFmpeg decodes them into the upper three bytes of four.
        return 16 if sample_format.startswith("s16") else 24, True
    # APE, TAK and WMA Lossless come out as four bytes too, and PyAV does not tell how many of their bits are used:
    # 32 is always enough, with zeros below the last true bit.
    return {"u8": 8, "s16": 16, "s32": 32, "s64": 64}.get(sample_format.removesuffix("p"), 32), lossless


def _with_wavpack_headers(container: InputContainer, audio: tuple[AudioStream, ...]) -> tuple[AudioStream, ...]:
    """WavPack tells its word length only in its packets: read one of each stream.

    A stream without any near the beginning keeps what its header says.
    """
    waiting = {stream.container_index: stream for stream in audio if stream.codec == "wavpack"}
    told = {}
    # What is wrong with the packets is told when they are read.
    with suppress(FFmpegError, OSError):
        for packet in islice(container.demux(), _HEADER_PACKETS):  # all streams, or the others' were not counted
            stream = waiting.pop(packet.stream.index, None)
            if stream is not None and (header := wavpack_word_length(bytes(packet))):
                bits, lossless = header
                told[stream.number] = replace(stream, bits=stream.bits and bits, lossless=lossless)
            if not waiting:
                break
    return tuple(told.get(stream.number, stream) for stream in audio)


def wavpack_word_length(packet: bytes) -> tuple[int, bool] | None:
    """Bits per sample and whether lossless, from the header of a WavPack block."""
    if packet[:4] != b"wvpk" or len(packet) < 32:
        return None
    (flags,) = struct.unpack_from("<I", packet, 24)
    return 8 * ((flags & 3) + 1) - (flags >> 13 & 31), not flags & 8
