"""From a recording and references to a new file without them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis
from unsum.engine import Progress, subtract
from unsum.errors import UsageError
from unsum.media.decode import CopiedPacket, DecodedFrame, DecodeReport, read_frames
from unsum.media.encode import AUDIO_FILES, OutputAudio, output_codec
from unsum.media.probe import Recording, parse_address, probe
from unsum.media.remux import CONTAINERS, RemuxWriter, reserve_output
from unsum.media.source import FileSource, open_source
from unsum.media.stems import StemWriter
from unsum.problem import Problem

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
    suffix = recording.path.suffix.lower()
    if output is None:
        has_video = any(other.startswith("video") for other in recording.others)
        if suffix not in AUDIO_FILES and not (has_video and suffix in CONTAINERS):
            suffix = ".mkv" if has_video else ".flac"
        return (out_dir or recording.path.parent) / f"{recording.path.stem}.unsum{suffix}"
    if output.suffix.lower() not in CONTAINERS and output.suffix.lower() not in AUDIO_FILES:
        known = ", ".join([*CONTAINERS, *AUDIO_FILES])
        raise UsageError(f"cannot write '{output.suffix or output}' files; give a name with one of {known}")
    return output


def write_removal(
    problem: Problem,
    recording: Recording,
    analysis: Analysis,
    *,
    output: Path,
    images: bool = False,
    add: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Removal:
    """Subtract and write: the residual, and each image where asked for.

    Parameters
    ----------
    images : also write what each reference sounds like in the mixture
    add : keep the original stream beside the cleaned one

    Raises
    ------
    OutputExistsError, OutputError
        As they say; nothing is left half written.
    """
    mixture = problem.mixture
    assert isinstance(mixture, FileSource)
    model = analysis.model
    image_paths = _image_paths(output, model.present) if images else {}
    inputs = [mixture.path, *(source.path for source in problem.references if isinstance(source, FileSource))]
    partials: list[Path] = []
    try:
        for path in (output, *image_paths.values()):
            partials.append(reserve_output(path, overwrite=overwrite, inputs=inputs))
        audio = _residual_format(mixture, analysis)
        with ExitStack() as stack:
            writer = stack.enter_context(_open(output, partials[0], recording, mixture, audio, add=add))
            stems = {
                name: stack.enter_context(_open_image(path, partial, name, audio, analysis.samples))
                for (name, path), partial in zip(image_paths.items(), partials[1:], strict=True)
            }
            packets = _Packets(recording, writer, mixture, add=add)
            start = float(mixture.stream.start_seconds)
            for item in subtract(problem, model, progress=progress):
                packets.copy_until(start + item.start / mixture.sample_rate)
                writer.write(0, _as_stored(item.residual, mixture.bits, audio))
                for name, stem in stems.items():
                    image = item.images.get(name)
                    if image is None:  # an exact subtraction: the image is the difference
                        image = (item.mixture.astype(np.float64) - item.residual) * _step(mixture.bits)
                    stem.write(0, image.astype(np.float32))
            packets.copy_until(math.inf)
            for each in (writer, *stems.values()):
                each.complete()
            for each in (writer, *stems.values()):
                each.publish()
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    return Removal(problem, analysis, output, image_paths)


class _Packets:
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


def _image_paths(output: Path, names: Sequence[str]) -> dict[str, Path]:
    suffix = output.suffix if output.suffix.lower() in (".wav", ".rf64", ".w64") else ".wav"
    return {name: output.with_name(f"{output.stem}.{Path(name).stem}{suffix}") for name in names}


def _step(bits: int | None) -> float:
    return 1.0 if bits is None else 2.0 ** (1 - bits)


def _residual_format(mixture: FileSource, analysis: Analysis) -> OutputAudio:
    """How the residual is written: as the mixture is, unless something would clip."""
    bits = mixture.bits
    least, greatest = analysis.residual_range
    if bits is None and not mixture.lossless and max(-least, greatest) < 1.0:
        stored: int | None = _FLOAT_AS_BITS
    elif bits is not None and least >= -(1 << (bits - 1)) and greatest < 1 << (bits - 1):
        stored = bits
    else:
        stored = None
    return OutputAudio(
        title=mixture.stream.title,
        channels=mixture.channels,
        sample_rate=mixture.sample_rate,
        bits=stored,
        stored_bits=32 if stored is None else 16 if stored <= 16 else 24 if stored <= 24 else 32,
        language=mixture.stream.language,
        default=mixture.stream.default,
    )


def _as_stored(residual: NDArray[Any], bits: int | None, audio: OutputAudio) -> NDArray[Any]:
    """The residual in the units of its output stream."""
    if audio.bits is None:
        return residual if bits is None else residual * _step(bits)
    if bits is None:
        return np.floor(residual.astype(np.float64) * 2.0 ** (audio.bits - 1) + 0.5).astype(np.int32)
    return residual


def _open(
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


def _open_image(path: Path, partial: Path, name: str, audio: OutputAudio, samples: int) -> StemWriter:
    image = replace(audio, title=name, bits=None, stored_bits=32)
    return StemWriter([path], partials=[partial], audio=[image], expected_samples=samples)
