"""From a recording and references to a new file without them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unsum.analysis import Analysis
from unsum.engine import subtract
from unsum.errors import UsageError
from unsum.media.decode import CopiedPacket, DecodedFrame, DecodeReport, read_frames
from unsum.media.encode import AUDIO_FILES, OutputAudio, output_codec
from unsum.media.probe import Recording, parse_address, probe
from unsum.media.remux import CONTAINERS, RemuxWriter, reserve_output
from unsum.media.source import FileSource, open_source
from unsum.media.stems import StemWriter
from unsum.media.stored import DoesNotFit, as_stored
from unsum.metering import SubtractionMeter
from unsum.problem import AudioSource, Problem, ResampledSource
from unsum.progress import Progress
from unsum.reasons import with_reasons

Writer = RemuxWriter | StemWriter

# Decoded lossy audio is far coarser than this; images are float and need no more.
_FLOAT_AS_BITS = 24


@dataclass(frozen=True, slots=True)
class Removal:
    """What was found and written.

    Attributes
    ----------
    output : the mixture without the references, None where nothing was written
    images : {reference: file} with what each reference sounds like in the mixture
    """

    problem: Problem
    analysis: Analysis
    output: Path | None
    images: Mapping[str, Path]


def open_problem(mixture: str | Path, references: Sequence[str | Path]) -> tuple[Problem, Recording]:
    """The sources of a removal, and the file the mixture is in.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    recording = probe(parse_address(mixture).path)
    source = open_source(mixture)
    opened = [open_source(reference) for reference in references]
    counts = [one.name for one in opened]
    # Two files of one name are told apart by their place in the call.
    named = [replace(o, name=f"{o.name} ({n + 1})") if counts.count(o.name) > 1 else o for n, o in enumerate(opened)]
    return Problem.at_one_rate(source, named), recording


def output_path(recording: Recording, *, output: Path | None, out_dir: Path | None) -> Path:
    """``NAME.unsum.EXT`` beside the input unless told otherwise; lossy audio files become FLAC.

    Raises
    ------
    UsageError
        If the suffix names no format that can be written.
    """
    if output is None:
        return (out_dir or recording.path.parent) / f"{recording.path.stem}.unsum{output_suffix(recording)}"
    if output.suffix.lower() not in CONTAINERS and output.suffix.lower() not in AUDIO_FILES:
        known = ", ".join([*CONTAINERS, *AUDIO_FILES])
        raise UsageError(f"cannot write '{output.suffix or output}' files; give a name with one of {known}")
    return output


def output_suffix(recording: Recording) -> str:
    """The format a changed copy of a recording is written in unless told otherwise."""
    suffix = recording.path.suffix.lower()
    has_video = any(other.startswith("video") for other in recording.others)
    if suffix in AUDIO_FILES or (has_video and suffix in CONTAINERS):
        return suffix
    return ".mkv" if has_video else ".flac"


def write_removal(
    problem: Problem,
    recording: Recording,
    analysis: Analysis,
    *,
    output: Path,
    images: bool = False,
    image_paths: Mapping[str, Path] | None = None,
    add: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Removal:
    """Subtract and write: the residual, and each image where asked for.

    Parameters
    ----------
    images : also write what each reference sounds like in the mixture
    image_paths : {reference: file}, to write them under other names than those beside the output
    add : keep the original stream beside the cleaned one

    Raises
    ------
    OutputExistsError, OutputError
        As they say; nothing is left half written.
    """
    mixture = problem.mixture
    assert isinstance(mixture, FileSource)
    if image_paths is None:
        image_paths = images_beside(output, analysis.model.present) if images else {}

    def attempt(stored: int | None, *, clip: bool = False) -> Analysis:
        return _write(
            problem,
            recording,
            analysis,
            audio=output_format(mixture, stored),
            output=output,
            images=image_paths,
            add=add,
            clip=clip,
            overwrite=overwrite,
            progress=progress,
        )

    bits = word_length(mixture)
    holds_floats = output.suffix.lower() != ".flac" and CONTAINERS.get(output.suffix.lower()) != "mp4"
    if bits is None and not holds_floats:
        bits = _FLOAT_AS_BITS
    try:
        measured = attempt(bits)
    except DoesNotFit:
        # What is louder than the mixture's own scale is written in floating point, where the format holds that.
        measured = attempt(None) if holds_floats else attempt(bits, clip=True)
    limits = (*measured.limits, *damage_of((mixture, *problem.references)))
    return Removal(problem, replace(measured, limits=limits), output, image_paths)


def _write(
    problem: Problem,
    recording: Recording,
    analysis: Analysis,
    *,
    audio: OutputAudio,
    output: Path,
    images: Mapping[str, Path],
    add: bool,
    clip: bool,
    overwrite: bool,
    progress: Progress | None,
) -> Analysis:
    """Write residual and images in one pass, and give the analysis with what was measured on the way."""
    mixture = problem.mixture
    assert isinstance(mixture, FileSource)
    inputs = [mixture.path, *_paths(problem.references)]
    meter = SubtractionMeter(problem, analysis)
    n_clipped = 0
    partials: list[Path] = []
    try:
        for path in (output, *images.values()):
            partials.append(reserve_output(path, overwrite=overwrite, inputs=inputs))
        with ExitStack() as stack:
            writer = stack.enter_context(open_output(output, partials[0], recording, mixture, audio, add=add))
            stems = {
                name: stack.enter_context(open_image(path, partial, name, audio, mixture.samples or 0))
                for (name, path), partial in zip(images.items(), partials[1:], strict=True)
            }
            packets = Packets(recording, writer, mixture, add=add)
            start = float(mixture.stream.start_seconds)
            for item in subtract(problem, analysis.model, progress=progress):
                meter.add(item)
                packets.copy_until(start + item.start / mixture.sample_rate)
                stored, beyond = as_stored(item.residual, mixture.bits, audio, clip=clip)
                n_clipped += beyond
                writer.write(0, stored)
                for name, stem in stems.items():
                    stem.write(0, item.images[name].astype(np.float32))
            packets.copy_until(math.inf)
            for each in (writer, *stems.values()):
                each.complete()
            for each in (writer, *stems.values()):
                each.publish()
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    told = with_reasons(problem, meter.analysis(analysis), meter.levels())
    if not n_clipped:
        return told
    clipped = (
        f"{n_clipped} samples of what is left are beyond full scale and clipped in {output.name}; "
        "floating point would hold them: write .wav or .mkv"
    )
    return replace(told, limits=(*told.limits, clipped))


def damage_of(sources: Sequence[AudioSource]) -> tuple[str, ...]:
    """What of the files behind some sources could not be read, or is not there, by the last reading of each."""
    return tuple(told for file in files_of(sources) if (told := file.damage()))


def files_of(sources: Sequence[AudioSource]) -> list[FileSource]:
    """The files behind some sources."""
    files = [source.source if isinstance(source, ResampledSource) else source for source in sources]
    return [file for file in files if isinstance(file, FileSource)]


def _paths(sources: Sequence[AudioSource]) -> list[Path]:
    return [file.path for file in files_of(sources)]


class Packets:
    """The packets of all streams that are copied, handed over in step with the audio."""

    def __init__(self, recording: Recording, writer: Writer, mixture: FileSource, *, add: bool) -> None:
        self._writer = writer
        self._items: Iterator[CopiedPacket | DecodedFrame] = iter(())
        if isinstance(writer, RemuxWriter):
            copy = _copied(recording, mixture, add=add)
            self._items = read_frames(recording.path, [], copy=copy, report=DecodeReport())
        self._next = next(self._items, None)

    def copy_until(self, seconds: float) -> None:
        while isinstance(self._next, CopiedPacket) and self._next.seconds <= seconds:
            self._writer.copy_packet(self._next.packet, self._next.container_index)
            self._next = next(self._items, None)


def _copied(recording: Recording, mixture: FileSource, *, add: bool) -> list[int]:
    """Container indices of the streams that are copied: all but the cleaned one."""
    return [n for n in recording.copyable if add or n != mixture.stream.container_index]


def images_beside(output: Path, names: Sequence[str]) -> dict[str, Path]:
    """``OUTPUT.REFERENCE.wav`` for each reference; with its own suffix too where that alone tells two apart."""
    suffix = output.suffix if output.suffix.lower() in (".wav", ".rf64", ".w64") else ".wav"
    stems = [Path(name).stem for name in names]
    short = {name: name if stems.count(stem) > 1 else stem for name, stem in zip(names, stems, strict=True)}
    return {name: output.with_name(f"{output.stem}.{short[name]}{suffix}") for name in names}


def word_length(mixture: FileSource) -> int | None:
    """The bits the residual is written with as long as it fits; None for floating point."""
    return _FLOAT_AS_BITS if mixture.bits is None and not mixture.lossless else mixture.bits


def output_format(mixture: FileSource, bits: int | None) -> OutputAudio:
    """How a residual, or what is added to one, is written: as the mixture is, but for its word length."""
    return OutputAudio(
        title=mixture.stream.title,
        channels=mixture.channels,
        sample_rate=mixture.sample_rate,
        bits=bits,
        stored_bits=32 if bits is None else 16 if bits <= 16 else 24 if bits <= 24 else 32,
        language=mixture.stream.language,
        default=mixture.stream.default,
    )


def open_output(
    output: Path, partial: Path, recording: Recording, mixture: FileSource, audio: OutputAudio, *, add: bool
) -> Writer:
    if output.suffix.lower() in AUDIO_FILES:
        return StemWriter([output], partials=[partial], audio=[audio], expected_samples=mixture.samples or 0)
    replaced = mixture.stream.container_index
    copy = _copied(recording, mixture, add=add)
    codec = output_codec(CONTAINERS[output.suffix.lower()], channels=audio.channels, bits=audio.bits)
    title = f"{audio.title} (cleaned)".strip() if add else audio.title
    return RemuxWriter(
        output,
        partial=partial,
        source=recording.path,
        copy=copy,
        audio=[replace(audio, codec=codec, title=title)],
        position=sum(n < replaced for n in copy),
        start_seconds=float(mixture.stream.start_seconds),
    )


def open_image(path: Path, partial: Path, name: str, audio: OutputAudio, samples: int) -> StemWriter:
    image = replace(audio, title=name, bits=None, stored_bits=32)
    return StemWriter([path], partials=[partial], audio=[image], expected_samples=samples)
