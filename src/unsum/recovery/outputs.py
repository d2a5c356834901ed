"""What is written, under which names, in which formats."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from unsum.errors import OutputError, UsageError
from unsum.media.encode import AUDIO_FILES, OutputAudio, output_codec
from unsum.media.probe import AudioStream, Recording
from unsum.media.remux import CONTAINERS, RemuxWriter
from unsum.media.stems import StemWriter
from unsum.streams.recipe import Source

# A float32 holds integers of 24 bits and a sign.
_FLOAT32_BITS = 25


def output_path(recording: Path, *, output: Path | None, out_dir: Path | None) -> Path:
    """Where the result goes: ``NAME.unsum.EXT`` beside the input unless told otherwise.

    Raises
    ------
    UsageError
        If the suffix names no format that can be written.
    """
    suffix = recording.suffix.lower() if recording.suffix.lower() in CONTAINERS else ".mkv"
    if output is None:
        return (out_dir or recording.parent) / f"{recording.stem}.unsum{suffix}"
    if output.suffix.lower() not in CONTAINERS and not writes_stems(output):
        known = ", ".join([*CONTAINERS, *AUDIO_FILES])
        raise UsageError(f"cannot write '{output.suffix}' files; write one of {known}")
    return output


def writes_stems(output: Path) -> bool:
    """Whether this is an audio file, of which every source gets one of its own."""
    return output.suffix.lower() in AUDIO_FILES


def written_paths(output: Path, sources: Sequence[Source]) -> tuple[Path, ...]:
    """The files of a run: the output itself, or ``NAME.SOURCE.EXT`` for each source."""
    if not writes_stems(output):
        return (output,)
    return tuple(output.with_name(f"{output.stem}.{source.name}{output.suffix}") for source in sources)


# Lossy audio is far coarser than this when it is decoded.
_LOSSY_BITS = 24


def written_bits(streams: Sequence[AudioStream], bits: int | None) -> int | None:
    """Word length that sources are written with unless they need more; None is floating point."""
    return _LOSSY_BITS if bits is None and not any(stream.lossless for stream in streams) else bits


def output_audio(
    sources: Sequence[Source],
    streams: Sequence[AudioStream],
    output: Path,
    *,
    bits: int | None,
    grown: Mapping[str, int],
    compression_level: int,
) -> tuple[OutputAudio, ...]:
    """How each source is written.

    Parameters
    ----------
    sources : the sources that are written
    streams : the streams they come from; their common language is kept
    bits : word length of the streams; None is floating point
    grown : sources whose samples need longer words, and how long

    Raises
    ------
    OutputError
        If a source is louder than full scale and the container holds no floating point that players know.
    """
    languages = {stream.language for stream in streams}
    language = languages.pop() if len(languages) == 1 else ""
    words = written_bits(streams, bits)
    described = []
    for n, source in enumerate(sources):
        needs = grown.get(source.name, words)
        # Louder than full scale: only floating point keeps both the level and every bit.
        floating = words is None or needs is None or needs > words
        if floating and CONTAINERS.get(output.suffix.lower()) == "mp4":
            raise OutputError(
                f"{source.name} needs floating point, which few players read in {output.suffix}; write .mkv with -o"
            )
        if needs is None or floating:
            stored = 32 if needs is None or needs <= _FLOAT32_BITS else 64
            codec = "pcm"
        else:
            stored = 16 if needs <= 16 else 24 if needs <= 24 else 32
            container = CONTAINERS.get(output.suffix.lower(), "matroska")
            codec = output_codec(container, channels=source.channels, bits=needs)
        described.append(
            OutputAudio(
                title=source.title,
                channels=source.channels,
                sample_rate=streams[0].sample_rate,
                bits=None if floating else words,
                stored_bits=stored,
                codec=codec,
                language=language,
                default=n == 0,
                compression_level=compression_level,
            )
        )
    return tuple(described)


def stored_as(audio: OutputAudio, output: Path) -> str:
    """The format in words: ``FLAC 16 bit``."""
    kind = output.suffix[1:] if writes_stems(output) else audio.codec
    return f"{kind.upper()} {audio.stored_bits} bit{'' if audio.bits is not None else ' float'}"


def copied_indices(recording: Recording, replaced: Collection[int]) -> list[int]:
    """Container indices of all streams that are copied: not the replaced ones."""
    return [index for index in recording.copyable if index not in replaced]


def open_writer(
    recording: Recording,
    output: Path,
    *,
    partials: Sequence[Path],
    sources: Sequence[Source],
    audio: Sequence[OutputAudio],
    replaced: Collection[int],
    start_seconds: float,
) -> RemuxWriter | StemWriter:
    """Start writing: a copy of the recording with its streams replaced, or stems.

    Parameters
    ----------
    partials : temporary names, one for each of `written_paths`
    replaced : container indices of the streams that the sources stand for
    """
    if writes_stems(output):
        seconds = recording.duration_seconds or 0.0
        return StemWriter(
            written_paths(output, sources),
            partials=partials,
            audio=audio,
            expected_samples=int(seconds * audio[0].sample_rate),
        )
    return RemuxWriter(
        output,
        partial=partials[0],
        source=recording.path,
        copy=copied_indices(recording, replaced),
        audio=audio,
        position=new_stream_position(recording, replaced),
        start_seconds=start_seconds,
    )


def new_stream_position(recording: Recording, replaced: Collection[int]) -> int:
    """How many copied streams come before the new ones: they stand where the first replaced one was."""
    first = min(replaced, default=min(stream.container_index for stream in recording.audio))
    return sum(index < first for index in copied_indices(recording, replaced))


def source_addresses(
    recording: Recording,
    output: Path,
    *,
    partials: Sequence[Path],
    sources: Sequence[Source],
    replaced: Collection[int],
) -> dict[str, tuple[Path, int]]:
    """{source: (file under its temporary name, audio stream number)} of what was written."""
    if writes_stems(output):
        return {source.name: (partial, 0) for source, partial in zip(sources, partials, strict=True)}
    audio = {stream.container_index for stream in recording.audio}
    before = copied_indices(recording, replaced)[: new_stream_position(recording, replaced)]
    first = sum(index in audio for index in before)
    return {source.name: (partials[0], first + n) for n, source in enumerate(sources)}
