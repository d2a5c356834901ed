"""Recordings whose truth is known: sounds, sums of them, files that hold them, harm done to the files.

Nothing here comes from unsum. Sums are plain integer additions, files are written and read back by the
ffmpeg program, and packets are moved by PyAV. Audio is ``(channels, samples)``, int32 whatever the word
length, so that a 24-bit sample is a number below 2**23 and never one shifted into 32 bits.
Streams are counted among the audio streams of a file, as in ffmpeg's ``a:1``.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Audio = NDArray[Any]
Ranges = Sequence[tuple[int, int]]

# ffmpeg's names and orders, typed here once more: a slip in the table under test must not hide itself.
CHANNELS = {
    "mono": ("FC",),
    "stereo": ("FL", "FR"),
    "2.1": ("FL", "FR", "LFE"),
    "3.0": ("FL", "FR", "FC"),
    "quad": ("FL", "FR", "BL", "BR"),
    "5.0": ("FL", "FR", "FC", "BL", "BR"),
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "5.1(side)": ("FL", "FR", "FC", "LFE", "SL", "SR"),
    "7.1": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


# Sounds ---------------------------------------------------------------------------------------------


def speech_like(rng: np.random.Generator, samples: int, **how) -> Audio:
    """Noise with formants, in syllables with pauses; keywords as for :func:`sound`."""
    return sound(rng, samples, colour=_formants, shape=_syllables, **how)


def music_like(rng: np.random.Generator, samples: int, **how) -> Audio:
    """A chord over pink noise, struck twice a second; keywords as for :func:`sound`."""
    return sound(rng, samples, colour=_chord, shape=_beats, **how)


def noise_bursts(rng: np.random.Generator, samples: int, **how) -> Audio:
    """White noise that changes its level every 10 to 300 ms; keywords as for :func:`sound`."""
    return sound(rng, samples, colour=_white, shape=_bursts, **how)


def sound(
    rng: np.random.Generator,
    samples: int,
    *,
    colour: Callable[..., Audio],
    shape: Callable[..., Audio],
    channels: int = 1,
    rate: int = 48000,
    peak: float = 8000,
    silent: Ranges = (),
    quantised: bool = True,
) -> Audio:
    """Noise of a colour, its level shaped over time; never quite silent unless asked.

    Parameters
    ----------
    peak : float, in steps of the word length
        The largest absolute sample.
    silent : half-open ranges of samples
        Digital silence in every channel.
    quantised : bool
        False leaves the samples between the steps, as a recorder has them before it rounds.

    Returns
    -------
    sound : (channels, samples) int32, or float64 when not quantised
        The channels are related but none is a sum of others.
    """
    length = 1 << max(samples - 1, 15).bit_length()  # the Fourier transform is slow at prime lengths
    white = rng.standard_normal((channels + 1, length // 2 + 1, 2)).view(np.complex128)[..., 0]
    white *= colour(rng, np.fft.rfftfreq(length, 1 / rate))
    wave = np.fft.irfft(white, length)[:, :samples]
    wave = (wave[1:] + 0.7 * wave[0]) * shape(rng, samples, rate)
    for start, stop in silent:
        wave[:, start:stop] = 0.0
    wave *= peak / max(np.abs(wave).max(initial=0.0), np.finfo(float).tiny)
    return np.rint(wave).astype(np.int32) if quantised else wave


class TonalCloud:
    """Music that is known at every moment: cosines that swell and fade, to be delayed and stretched exactly.

    Parameters
    ----------
    rate : Hz; nothing sounds above 0.43 of it
    """

    def __init__(self, rng: np.random.Generator, *, rate: int, partials: int = 120, peak: float = 0.5) -> None:
        self._frequency = np.exp(rng.uniform(np.log(80.0), np.log(0.43 * rate), partials))
        self._phase = rng.uniform(0, 2 * np.pi, partials)
        self._swell = rng.uniform(0.3, 6.0, partials)  # Hz
        self._swell_phase = rng.uniform(0, 2 * np.pi, partials)
        self._level = peak / (2 * partials**0.5)

    def __call__(self, seconds: Audio) -> Audio:
        """The sound at any moments, of the same shape."""
        total = np.zeros(np.shape(seconds))
        for f, phase, swell, swell_phase in zip(
            self._frequency, self._phase, self._swell, self._swell_phase, strict=True
        ):
            loud = 1 + np.cos(2 * np.pi * swell * seconds + swell_phase)
            total += loud**4 / 8 * np.cos(2 * np.pi * f * seconds + phase)
        return self._level * total


def _white(rng: np.random.Generator, frequency: Audio) -> Audio:
    return np.ones_like(frequency)


def _formants(rng: np.random.Generator, frequency: Audio) -> Audio:
    centres = rng.uniform([300, 900, 2200], [800, 2000, 3200])
    return 0.003 + np.sum(1 / (1 + ((frequency[:, None] - centres) / 120) ** 2), axis=1)


def _chord(rng: np.random.Generator, frequency: Audio) -> Audio:
    level = 1 / np.sqrt(np.maximum(frequency, 40.0))
    for note in 110 * 2 ** (rng.choice(24, size=4, replace=False) / 12):
        off_pitch = frequency / note - np.maximum(np.rint(frequency / note), 1)
        level = level + 4 * level * np.exp(-((off_pitch * note / 3) ** 2))
    return level


def _steps(rng: np.random.Generator, samples: int, shortest: int, longest: int) -> tuple[Audio, Audio]:
    """Random lengths that together cover ``samples``, and for every sample the number of its step."""
    lengths = rng.integers(shortest, longest, size=samples // shortest + 1)
    return lengths, np.repeat(np.arange(lengths.size), lengths)[:samples]


def _bursts(rng: np.random.Generator, samples: int, rate: int) -> Audio:
    lengths, step = _steps(rng, samples, rate // 100, 3 * rate // 10)
    return (rng.choice([0.0, 0.1, 0.5, 1.0], size=lengths.size) + 1e-3)[step]


def _syllables(rng: np.random.Generator, samples: int, rate: int) -> Audio:
    lengths, step = _steps(rng, samples, rate // 12, rate // 4)
    inside = (np.arange(samples) - (np.cumsum(lengths) - lengths)[step]) / lengths[step]
    loudness = rng.uniform(0.3, 1.0, lengths.size) * (rng.random(lengths.size) < 0.75)
    return loudness[step] * np.sin(np.pi * inside) ** 2 + 3e-4


def _beats(rng: np.random.Generator, samples: int, rate: int) -> Audio:
    seconds = (np.arange(samples) % (rate // 2)) / rate
    return np.exp(-rng.uniform(2, 6) * seconds)


# Sums -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """What a recorder was given: samples in steps of the word length, integers or not yet rounded."""

    layout: str
    samples: Audio


@dataclass(frozen=True, slots=True)
class Term:
    """``gain * source``, or only some of the source's channels."""

    source: str
    gain: int = 1
    channels: tuple[str, ...] | None = None

    def __str__(self) -> str:
        chosen = f"[{','.join(self.channels)}]" if self.channels else ""
        return f"{'' if abs(self.gain) == 1 else f'{abs(self.gain)} * '}{self.source}{chosen}"


@dataclass(frozen=True, slots=True)
class Equation:
    """What one stream is a sum of."""

    layout: str
    terms: tuple[Term, ...]

    def __str__(self) -> str:
        signed = "".join(f" {'-' if term.gain < 0 else '+'} {term}" for term in self.terms)
        return signed.removeprefix(" + ").lstrip()


def mix(
    equations: Sequence[Equation],
    sources: Mapping[str, Source],
    *,
    rounded: bool = False,
    saturate: bool = False,
    bits: int = 16,
) -> list[Audio]:
    """The streams of a recording: for every channel, the sum of what goes there.

    A source's channels go to the stream's channels of the same name; a mono source goes to FL and FR, or
    to the only channel of a mono stream.

    Parameters
    ----------
    rounded : bool
        False adds integers, and the sums are exact. True adds as a recorder does: in float32, or in
        float64 above 24 bits, with one rounding at the end. The truth is then the unrounded source.
    saturate : bool
        Hold sums beyond full scale at full scale. Without it they are an error.

    Returns
    -------
    streams : list of (channels, samples) int32

    Raises
    ------
    OverflowError
        If a sum does not fit in ``bits`` and ``saturate`` is False.
    """
    number = _float_type(bits) if rounded else np.dtype(np.int64)
    lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    streams = []
    for total in _sums(equations, sources, number):
        if not saturate and (total.min(initial=0) < lowest - 0.5 or total.max(initial=0) >= highest + 0.5):
            raise OverflowError(f"a sum reaches {np.abs(total).max():.0f}, full scale is {highest}")
        # np.rint in float64 from here on, because float32 has no 2**31 - 1.
        whole = np.rint(total.astype(np.float64)) if rounded else total
        streams.append(np.clip(whole, lowest, highest).astype(np.int32))
    return streams


def _float_type(bits: int) -> np.dtype:
    return np.dtype(np.float32 if bits <= 24 else np.float64)


def _sums(equations: Sequence[Equation], sources: Mapping[str, Source], number: np.dtype) -> Iterator[Audio]:
    """Each stream's sums in one type of number, before rounding and saturation.

    They count in steps of the word length rather than in fractions of full scale: the two differ by a
    power of two, which changes no rounding of a float.
    """
    samples = next(iter(sources.values())).samples.shape[1]
    for equation in equations:
        total = np.zeros((len(CHANNELS[equation.layout]), samples), number)
        for term in equation.terms:
            source = sources[term.source]
            for here, there in routes(term, source.layout, equation.layout):
                total[there] += number.type(term.gain) * source.samples[here].astype(number)
        yield total


def routes(term: Term, source_layout: str, stream_layout: str) -> list[tuple[int, int]]:
    """Which row of the source is added to which row of the stream."""
    to = CHANNELS[stream_layout]
    if source_layout == "mono":
        return [(0, 0)] if stream_layout == "mono" else [(0, to.index("FL")), (0, to.index("FR"))]
    names = CHANNELS[source_layout]
    return [(names.index(name), to.index(name)) for name in term.channels or names]


def recipe_text(equations: Sequence[Equation], sources: Mapping[str, Source]) -> str:
    """The recipe, in TOML, that says what :func:`mix` did."""
    return "\n".join(
        ["[sources]"]
        + [f'{name} = {{ layout = "{source.layout}" }}' for name, source in sources.items()]
        + ["", "[streams]"]
        + [f'{number} = "{equation}"' for number, equation in enumerate(equations)]
        + [""]
    )


def determined_channels(equations: Sequence[Equation], sources: Mapping[str, Source]) -> dict[tuple[str, str], bool]:
    """For every (source, channel): does one combination of stream channels give it?

    It does when its unit row adds nothing to the rank of the equations.
    """
    unknowns = [(name, channel) for name, source in sources.items() for channel in CHANNELS[source.layout]]
    rows = []
    for equation in equations:
        block = np.zeros((len(CHANNELS[equation.layout]), len(unknowns)))
        for term in equation.terms:
            layout = sources[term.source].layout
            for here, there in routes(term, layout, equation.layout):
                block[there, unknowns.index((term.source, CHANNELS[layout][here]))] += term.gain
        rows.append(block)
    matrix = np.concatenate(rows)
    rank = np.linalg.matrix_rank(matrix)
    unit = np.eye(len(unknowns))
    return {
        unknown: bool(np.linalg.matrix_rank(np.vstack([matrix, unit[column]])) == rank)
        for column, unknown in enumerate(unknowns)
    }


# Files ----------------------------------------------------------------------------------------------

SUBTITLES = "1\n00:00:00,200 --> 00:00:00,900\nGood morning\n\n2\n00:00:01,000 --> 00:00:01,400\nQuiet, please\n"
_PIPE = object()  # stands for the next raw stream among ffmpeg's arguments
ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis"}


def find_ffmpeg() -> str | None:
    """The ffmpeg on the PATH, else the one that the wheel imageio-ffmpeg carries, else None."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        return None


def run_ffmpeg(ffmpeg: str, *arguments: object, **how) -> bytes:
    """Standard output of an ffmpeg run.

    Raises
    ------
    RuntimeError
        With ffmpeg's own words, if it fails.
    """
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, **how)
    if done.returncode:
        raise RuntimeError(f"ffmpeg failed ({done.returncode}): {done.stderr.decode(errors='replace')}")
    return done.stdout


def write_recording(
    path: Path,
    streams: Sequence[Audio],
    *,
    ffmpeg: str,
    layouts: str | Sequence[str],
    rate: int | Sequence[int] = 48000,
    bits: int | Sequence[int] = 16,
    codec: str | Sequence[str] = "flac",
    level: int = 5,
    start_ms: Sequence[float] = (),
    titles: Sequence[str] = (),
    languages: Sequence[str] = (),
    title: str | None = None,
    video: bool = False,
    chapters: Sequence[tuple[float, float, str]] = (),
    subtitle: bool = False,
    attachment: tuple[str, bytes] | None = None,
) -> Path:
    """Write streams to one file; the suffix of ``path`` says which container.

    Parameters
    ----------
    streams : each (channels, samples), integers of ``bits``, or floats within -1 and 1
    layouts, rate, bits, codec : one for all streams, or one each
        A codec is ``flac``, ``pcm``, ``alac``, ``wavpack``, ``aac``, ``mp3``, ``opus``, ``vorbis`` or the
        name of an encoder of ffmpeg. ffmpeg's FLAC holds no 32 bits: take ``pcm`` there.
    start_ms : one each
        When each stream starts on the container's clock.
    video : bool
        A small H.264 picture as long as the longest stream, with B-frames: its first packets come out of
        Matroska without a decoding time.
    chapters : (start_seconds, stop_seconds, title)
    subtitle : bool
        :data:`SUBTITLES` as a text stream.
    attachment : (name, contents)
        Matroska only.
    """
    streams = [stream if stream.dtype.kind == "f" else stream.astype(np.int64) for stream in streams]
    per_stream = zip(
        streams,
        _each(layouts, streams),
        _each(rate, streams),
        _each(bits, streams),
        _each(codec, streams),
        strict=True,
    )
    inputs: list[object] = []
    outputs: list[object] = []
    raws: list[bytes] = []
    longest = 1.0
    for number, (stream, layout, hertz, width, kind) in enumerate(per_stream):
        raw, pcm = _raw_pcm(stream, width)
        raws.append(raw)
        longest = max(longest, stream.shape[1] / hertz)
        inputs += ["-f", pcm, "-ar", hertz, "-ch_layout", layout, "-i", _PIPE]
        outputs += ["-map", f"{number}:a", f"-c:a:{number}", _encoder(kind, width, stream.dtype)]
        if kind not in ENCODERS and kind != "pcm":
            outputs += [f"-compression_level:a:{number}", level]
            outputs += [f"-bits_per_raw_sample:a:{number}", 24] if width == 24 else []
        outputs += [f"-metadata:s:a:{number}", f"title={titles[number]}"] if titles else []
        outputs += [f"-metadata:s:a:{number}", f"language={languages[number]}"] if languages else []
    count = len(raws)
    with tempfile.TemporaryDirectory() as folder:
        if video:
            inputs += ["-f", "lavfi", "-i", f"testsrc2=size=160x90:rate=25:duration={longest}"]
            outputs += ["-map", f"{count}:v", "-c:v", "libx264", "-preset", "ultrafast", "-bf", 2, "-g", 25]
            outputs += ["-pix_fmt", "yuv420p", "-threads", 1]
            count += 1
        if subtitle:
            Path(folder, "words.srt").write_text(SUBTITLES, encoding="utf-8")
            inputs += ["-i", Path(folder, "words.srt")]
            text = "mov_text" if path.suffix in (".mp4", ".mov") else "srt"
            outputs += ["-map", f"{count}:s", "-c:s", text]
            count += 1
        if chapters:
            marks = "".join(
                f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start * 1000:.0f}\nEND={stop * 1000:.0f}\ntitle={name}\n"
                for start, stop, name in chapters
            )
            Path(folder, "chapters.txt").write_text(f";FFMETADATA1\n{marks}", encoding="utf-8")
            inputs += ["-f", "ffmetadata", "-i", Path(folder, "chapters.txt")]
            outputs += ["-map_chapters", count]
        if attachment:
            name, contents = attachment
            Path(folder, name).write_bytes(contents)
            outputs += ["-attach", Path(folder, name), "-metadata:s:t:0", "mimetype=application/octet-stream"]
            outputs += ["-metadata:s:t:0", f"filename={name}"]
        outputs += ["-metadata", f"title={title}"] if title is not None else []
        # "file:", or a colon in a name is read as a protocol; -strict, or there is no FLAC in MP4.
        whole = Path(folder, f"whole{path.suffix}") if any(start_ms) else path
        _run_with_pipes(ffmpeg, [*inputs, *outputs, "-strict", -2, f"file:{whole}"], raws)
        if any(start_ms):  # not -itsoffset: FFmpeg 9 forgets it where the sound is encoded
            shift_timestamps(whole, path, offsets_ms=dict(enumerate(start_ms)))
    return path


def _run_with_pipes(ffmpeg: str, arguments: Sequence[object], raws: Sequence[bytes]) -> None:
    """Run ffmpeg with a pipe, fed by a thread, for each ``_PIPE`` among the arguments."""
    pipes = [os.pipe() for _ in raws]
    names = iter([f"pipe:{read_end}" for read_end, _ in pipes])
    feeds = zip(pipes, raws, strict=True)
    writers = [threading.Thread(target=_feed, args=(write_end, raw)) for (_, write_end), raw in feeds]
    for writer in writers:
        writer.start()
    try:
        arguments = [next(names) if argument is _PIPE else argument for argument in arguments]
        run_ffmpeg(ffmpeg, *arguments, pass_fds=[read_end for read_end, _ in pipes])
    finally:
        for read_end, _ in pipes:
            os.close(read_end)
        for writer in writers:
            writer.join()


def _each(value: Any, streams: Sequence[Audio]) -> Sequence[Any]:
    return [value] * len(streams) if isinstance(value, str | int) else value


def _raw_pcm(stream: Audio, bits: int) -> tuple[bytes, str]:
    interleaved = np.ascontiguousarray(stream.T)
    if stream.dtype.kind == "f":
        return interleaved.astype("<f4").tobytes(), "f32le"
    limit = 1 << (bits - 1)
    if interleaved.size and not -limit <= interleaved.min() <= interleaved.max() < limit:
        raise OverflowError(f"samples from {interleaved.min()} to {interleaved.max()} do not fit in {bits} bits")
    if bits == 16:
        return interleaved.astype("<i2").tobytes(), "s16le"
    return (interleaved << (32 - bits)).astype("<i4").tobytes(), "s32le"


def _encoder(codec: str, bits: int, dtype: np.dtype) -> str:
    if codec == "pcm":
        return "pcm_f32le" if dtype.kind == "f" else f"pcm_s{bits}le"
    return ENCODERS.get(codec, codec)


def _feed(write_end: int, data: bytes) -> None:
    # When ffmpeg stops early its exit status says so; the broken pipe adds nothing.
    with suppress(BrokenPipeError), open(write_end, "wb", buffering=0) as pipe:
        left = memoryview(data)
        while left:
            left = left[pipe.write(left) :]


def decode_pcm(path: Path, *, ffmpeg: str, stream: int = 0, bits: int = 16) -> Audio:
    """One audio stream as the ffmpeg program decodes it: every sample there is, and no others.

    Returns
    -------
    samples : (channels, samples) int32
        Words of ``bits``. Holes are not filled and starts not aligned.
    """
    with av.open(str(path)) as container:
        channels = container.streams.audio[stream].codec_context.channels
    pcm = "s16le" if bits == 16 else "s32le"
    raw = run_ffmpeg(ffmpeg, "-i", f"file:{path}", "-map", f"0:a:{stream}", "-f", pcm, "pipe:1")
    samples = np.frombuffer(raw, "<i2" if bits == 16 else "<i4").reshape(-1, channels).T
    words = samples.astype(np.int32) >> (0 if bits == 16 else 32 - bits)
    if bits == 24 and np.any(samples & 0xFF):
        raise ValueError(f"stream {stream} of {path} uses more than 24 bits; decode it with bits=32")
    return words


def packet_fingerprints(path: Path) -> list[list[tuple[int | None, int, str]]]:
    """For every stream of a file, of any kind: (time stamp, size, MD5) of each packet.

    Time stamps are in the stream's own time base.
    """
    with av.open(str(path)) as container:
        found: list[list[tuple[int | None, int, str]]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                found[packet.stream.index].append((packet.pts, packet.size, hashlib.md5(bytes(packet)).hexdigest()))
    return found


def probe_json(path: Path) -> dict[str, Any] | None:
    """What ffprobe says of the container, its streams and chapters; None where there is no ffprobe."""
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return None
    command = [
        ffprobe,
        "-v",
        "error",
        "-of",
        "json",
        "-show_format",
        "-show_streams",
        "-show_chapters",
        f"file:{path}",
    ]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


# Harm -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples ``start`` to ``stop`` of an audio stream, as it was before the harm."""

    stream: int
    start: int
    stop: int


def drop_packets(src: Path, dst: Path, *, stream: int, start_s: float, length_s: float) -> Lost:
    """Copy a file without one audio stream's packets in a stretch; every other packet byte for byte.

    A packet is left out when it starts within the stretch on the container's clock.
    """

    def is_lost(audio: int | None, packet: av.Packet) -> bool:
        return audio == stream and start_s <= _seconds(packet) < start_s + length_s

    lost = [(start, stop) for audio, start, stop in _copy_packets(src, dst, leave_out=is_lost) if audio == stream]
    if not lost:
        raise ValueError(f"stream {stream} of {src} has no packet between {start_s} and {start_s + length_s} s")
    return Lost(stream, lost[0][0], lost[-1][1])


def shift_timestamps(src: Path, dst: Path, *, offsets_ms: Mapping[int, float]) -> None:
    """Copy a file with some audio streams moved on the container's clock; no sample changes."""
    _copy_packets(src, dst, offsets_ms=offsets_ms)


def _seconds(packet: av.Packet) -> float:
    assert packet.pts is not None
    return float(packet.pts * Fraction(packet.time_base))


def _copy_packets(
    src: Path,
    dst: Path,
    *,
    leave_out: Callable[[int | None, av.Packet], bool] = lambda audio, packet: False,
    offsets_ms: Mapping[int, float] | None = None,
) -> list[tuple[int, int, int]]:
    """Copy packet for packet; returns (audio stream, start, stop) in samples for each packet left out."""
    offsets_ms = offsets_ms or {}
    left_out = []
    with av.open(str(src)) as source, av.open(str(dst), "w") as copy:
        audio_number = {stream.index: number for number, stream in enumerate(source.streams.audio)}
        position = dict.fromkeys(audio_number.values(), 0)
        copies = {}
        for stream in source.streams:
            made: Any = copy.add_stream_from_template(stream)
            made.metadata.update(stream.metadata)
            if stream.type != "attachment":
                made.disposition = stream.disposition
            copies[stream.index] = made
        copy.metadata.update(source.metadata)
        copy.set_chapters(source.chapters())
        for packet in source.demux():
            # A missing decoding time is no sign of an empty packet: B-frame video starts with such ones.
            if packet.size == 0:
                continue
            audio = audio_number.get(packet.stream.index)
            if audio is not None:
                start = position[audio]
                position[audio] += sum(frame.samples for frame in packet.decode())  # type: ignore[union-attr]
                if leave_out(audio, packet):
                    left_out.append((audio, start, position[audio]))
                    continue
                moved = round(Fraction(offsets_ms.get(audio, 0)) / 1000 / Fraction(packet.time_base))
                packet.pts = None if packet.pts is None else packet.pts + moved
                packet.dts = None if packet.dts is None else packet.dts + moved
            packet.stream = copies[packet.stream.index]
            copy.mux(packet)
    return left_out


def corrupt_bytes(src: Path, dst: Path, *, stream: int, at_s: float) -> Lost:
    """Copy a file with bytes flipped inside the one audio packet that sounds at a moment.

    The container stays whole. The samples returned are those of the packet.
    """
    with av.open(str(src)) as container:
        position = 0
        chosen = None
        for packet in container.demux(container.streams.audio[stream]):
            if packet.size == 0:
                continue
            if _seconds(packet) > at_s and chosen:
                break
            start, position = position, position + sum(frame.samples for frame in packet.decode())  # type: ignore
            chosen = (bytes(packet), Lost(stream, start, position))
    if chosen is None:
        raise ValueError(f"stream {stream} of {src} has no packet")
    payload, lost = chosen
    whole = src.read_bytes()
    if whole.count(payload) != 1:
        raise ValueError(f"the packet at {at_s} s is in {src} {whole.count(payload)} times; choose another moment")
    # Behind the frame's header, and in the middle: the frame is still recognised, its contents are not.
    middle = whole.index(payload) + len(payload) // 2
    harmed = bytearray(whole)
    for place in range(middle, middle + min(16, len(payload) // 4)):
        harmed[place] ^= 0x5A
    dst.write_bytes(harmed)
    return lost


def truncate(src: Path, dst: Path, *, fraction: float) -> None:
    """Copy the first part of a file's bytes."""
    whole = src.read_bytes()
    dst.write_bytes(whole[: round(len(whole) * fraction)])


# Random recordings ----------------------------------------------------------------------------------

LEAD_SAMPLES = 1000  # sources begin this long before an unshifted stream does, and end as long after it


@dataclass(frozen=True, slots=True)
class Scene:
    """A recording and all there is to know about it.

    Sample ``i`` of stream ``k`` is the sum of sample ``LEAD_SAMPLES - late_samples[k] + i`` of the sources.
    """

    equations: tuple[Equation, ...]
    sources: Mapping[str, Source]  # not rounded where `rounded` is true
    streams: tuple[Audio, ...]  # as a file holds them: shifted, rounded, saturated; no hole yet
    clipped: tuple[NDArray[np.bool_], ...]  # (channels, samples) of each stream: the sum was beyond full scale
    rate: int
    bits: int
    rounded: bool
    late_samples: tuple[int, ...]  # positive: heard later in this stream, with the same time stamps
    silent: Mapping[str, tuple[tuple[int, int], ...]]  # passages of each source, in samples of the source
    hole: tuple[int, float, float] | None  # stream, start and length in seconds

    @property
    def recipe(self) -> str:
        return recipe_text(self.equations, self.sources)

    @property
    def layouts(self) -> list[str]:
        return [equation.layout for equation in self.equations]


def source_beside_stream(scene: Scene, name: str, stream: int) -> Audio:
    """A source on the time line of a stream: sample 0 of both is the same moment.

    Returns
    -------
    samples : (channels, samples)
        int32, or float64 in steps of the word length where the scene is rounded.
    """
    start = LEAD_SAMPLES - scene.late_samples[stream]
    return scene.sources[name].samples[:, start : start + scene.streams[stream].shape[1]]


def random_scene(
    rng: np.random.Generator,
    *,
    seconds: tuple[float, float] = (4.0, 8.0),
    rounded: bool | None = None,
    late: bool | None = None,
    hole: bool | None = None,
    saturated: bool | None = None,
) -> Scene:
    """A recording of 2 to 6 streams, each a random sum of 2 to 5 sources.

    What is not asked for or forbidden is drawn: one in three is rounded, one in two has late streams, one
    in six a hole, one in six saturates. Not every source can be told apart; :func:`determined_channels`
    knows which.
    """
    drawn = rng.random(4) < (1 / 3, 1 / 2, 1 / 6, 1 / 6)
    asked = (rounded, late, hole, saturated)
    rounded, late, hole, saturated = (bool(d) if a is None else a for d, a in zip(drawn, asked, strict=True))
    bits = int(rng.choice([16, 24, 32], p=[0.6, 0.25, 0.15]))
    rate = int(rng.choice([48000, 44100], p=[0.85, 0.15]))
    samples = int(rng.uniform(*seconds) * rate)
    layouts = _random_layouts(rng, bits)
    sources, silent = _random_sources(rng, layouts, samples + 2 * LEAD_SAMPLES, rate)
    equations = _random_equations(rng, layouts, sources)
    # The loudest sum decides how loud the sources may be.
    loudest_source = max(np.abs(source.samples).max() for source in sources.values())
    loudest_sum = max(np.abs(total).max() for total in _sums(equations, sources, np.dtype(float)))
    full_scale = float(1 << (bits - 1))
    if saturated:
        gain = full_scale * min(rng.uniform(1.1, 1.4) / loudest_sum, 0.98 / loudest_source)
    else:
        gain = full_scale * rng.uniform(0.3, 0.9) / max(loudest_sum, loudest_source)
    for name, source in sources.items():
        # On the recorder's own grid, so that the truth is what it was given and not what it made of it.
        scaled = (source.samples * gain).astype(_float_type(bits)).astype(np.float64)
        sources[name] = Source(source.layout, scaled if rounded else np.rint(scaled).astype(np.int32))
    held = mix(equations, sources, rounded=rounded, saturate=saturated, bits=bits)
    totals = _sums(equations, sources, np.dtype(float))
    beyond = [(total >= full_scale - 0.5) | (total < -full_scale - 0.5) for total in totals]
    shifts = rng.integers(-LEAD_SAMPLES, LEAD_SAMPLES + 1, size=len(layouts))
    shifts *= late & (rng.random(len(layouts)) < 0.5)
    if late and not shifts.any():
        shifts[-1] = rng.integers(1, LEAD_SAMPLES + 1)
    # Streams need not stop together.
    short = rng.integers(0, 2000, size=len(layouts)) * (rng.random() < 0.2)
    cuts = [slice(LEAD_SAMPLES - d, LEAD_SAMPLES - d + samples - e) for d, e in zip(shifts, short, strict=True)]
    lost = (int(rng.integers(len(layouts))), float(rng.uniform(1, 2)), float(rng.uniform(0.2, 0.8)))
    return Scene(
        equations=tuple(equations),
        sources=sources,
        streams=tuple(stream[:, cut] for stream, cut in zip(held, cuts, strict=True)),
        clipped=tuple(mask[:, cut] for mask, cut in zip(beyond, cuts, strict=True)),
        rate=rate,
        bits=bits,
        rounded=rounded,
        late_samples=tuple(map(int, shifts)),
        silent=silent,
        hole=lost if hole else None,
    )


def _random_layouts(rng: np.random.Generator, bits: int) -> list[str]:
    common = ["mono", "stereo", "5.1", "7.1"]
    if bits < 32:  # Matroska keeps no loudspeaker names for PCM: 32 bits have the layouts nobody doubts
        common += ["3.0", "quad", "5.0"]
    weights = np.array([4.0 if name in ("stereo", "7.1") else 1.0 for name in common])
    count = int(rng.integers(2, 7))
    first = str(rng.choice(common, p=weights / weights.sum()))
    if rng.random() < 0.7:
        return [first] * count
    return [first] + [str(rng.choice([first, *common])) for _ in range(count - 1)]


def _fits(source_layout: str, stream_layout: str) -> bool:
    return source_layout == "mono" or set(CHANNELS[source_layout]) <= set(CHANNELS[stream_layout])


def _random_sources(
    rng: np.random.Generator, layouts: Sequence[str], samples: int, rate: int
) -> tuple[dict[str, Source], dict[str, tuple[tuple[int, int], ...]]]:
    """Sources of any level, not rounded, and their silent passages."""
    possible = ("mono", "stereo", "quad", "5.1", "7.1")
    possible = [name for name in possible if any(_fits(name, to) for to in layouts)]
    names = ("zoom", "voice", "desktop", "game", "music")[: rng.integers(2, 6)]
    chosen = [str(rng.choice(possible)) for _ in names]
    if not all(any(_fits(name, to) for name in chosen) for to in layouts):
        chosen[0] = "mono"  # goes anywhere, so that no stream stays empty
    sources, silent = {}, {}
    for name, layout in zip(names, chosen, strict=True):
        silent[name] = _random_passages(rng, samples, rate)
        like = (speech_like, music_like, noise_bursts)[rng.integers(3)]
        how = {"channels": len(CHANNELS[layout]), "rate": rate, "silent": silent[name], "quantised": False}
        sources[name] = Source(layout, like(rng, samples, peak=rng.uniform(0.2, 1.0), **how))
    return sources, silent


def _random_passages(rng: np.random.Generator, samples: int, rate: int) -> tuple[tuple[int, int], ...]:
    starts = rng.integers(0, samples, size=rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3]))
    return tuple((int(start), min(samples, int(start + rng.uniform(0.4, 1.5) * rate))) for start in starts)


def _random_equations(
    rng: np.random.Generator, layouts: Sequence[str], sources: Mapping[str, Source]
) -> list[Equation]:
    fits = {
        name: [stream for stream, layout in enumerate(layouts) if _fits(source.layout, layout)]
        for name, source in sources.items()
    }
    terms: list[list[Term]] = [[] for _ in layouts]
    for name, source in sources.items():
        # Every source is heard somewhere.
        heard = {int(rng.choice(fits[name]))} | {stream for stream in fits[name] if rng.random() < 0.45}
        for stream in sorted(heard):
            gain = int(rng.choice([1, 2, -1, 3], p=[0.8, 0.12, 0.05, 0.03]))
            front = ("FL", "FR") if len(CHANNELS[source.layout]) > 2 else None
            kind = rng.random()
            if front and kind < 0.2:
                terms[stream].append(Term(name, gain, front))
            else:
                terms[stream].append(Term(name, gain))
                if front and kind < 0.35:  # the article's mistake: the front pair once more
                    terms[stream].append(Term(name, 1, front))
    for stream, found in enumerate(terms):
        if not found:
            found.append(Term(str(rng.choice([name for name in sources if stream in fits[name]]))))
        rng.shuffle(found)  # type: ignore[arg-type]
    return [Equation(layout, tuple(found)) for layout, found in zip(layouts, terms, strict=True)]


def write_scene(scene: Scene, path: Path, *, ffmpeg: str) -> Lost | None:
    """Write a scene as Matroska; returns the samples its hole took, if it has one."""
    codec = "pcm" if scene.bits == 32 else "flac"
    how: dict[str, Any] = {"ffmpeg": ffmpeg, "layouts": scene.layouts, "rate": scene.rate, "bits": scene.bits}
    if scene.hole is None:
        write_recording(path, scene.streams, codec=codec, **how)
        return None
    stream, start_s, length_s = scene.hole
    with tempfile.TemporaryDirectory() as folder:
        whole = write_recording(Path(folder, "whole.mkv"), scene.streams, codec=codec, **how)
        return drop_packets(whole, path, stream=stream, start_s=start_s, length_s=length_s)
