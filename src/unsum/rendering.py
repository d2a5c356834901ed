"""From references and a model to what they sound like in the mixture: image by image, summed, or put back."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.engine import AlignedAudio, Subtracted, aligned_blocks, subtract
from unsum.errors import InputError, RefusedError, UsageError
from unsum.media.encode import AUDIO_FILES, OutputAudio, output_codec
from unsum.media.probe import Recording, probe
from unsum.media.remux import CONTAINERS, RemuxWriter, reserve_output
from unsum.media.source import FileSource
from unsum.media.stems import StemWriter
from unsum.media.stored import DoesNotFit, as_stored
from unsum.model import MixModel
from unsum.problem import AudioSource, Problem, as_float
from unsum.progress import Progress
from unsum.removal import (
    Packets,
    images_beside,
    open_image,
    open_output,
    output_format,
    output_suffix,
    word_length,
)

_SILENT_BLOCK = 1 << 16
# FLAC holds no floating point; filtered images are finer than any mixture of 16 bits.
_FLAC_BITS = 24


@dataclass(frozen=True, slots=True)
class Rendering:
    """What was put together and written.

    Attributes
    ----------
    output : the sum of the images, added to ``onto`` where one was given
    images : {reference: file} with each image alone
    sounds : {reference: file} that was heard in its place; only references that are in the mixture
    replaced : references that another file took the place of
    onto : the file the images were added to
    exact : whether all of it was worked out in integers
    peak : of the output, full scale 1
    """

    output: Path
    images: Mapping[str, Path]
    sounds: Mapping[str, Path]
    replaced: tuple[str, ...]
    onto: Path | None
    audio: OutputAudio
    exact: bool
    samples: int
    peak: float
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A block of mixture time.

    Attributes
    ----------
    total : (channels, samples) float64, full scale 1: what was there plus all images
    images : {reference: (channels, samples)} float64, full scale 1; silent behind the end of the mixture
    """

    start: int
    total: NDArray[np.float64]
    images: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Silence:
    """A source in which nothing sounds."""

    name: str
    sample_rate: int
    channels: tuple[str, ...]
    samples: int
    bits: int | None = None
    lossless: bool = True

    def blocks(self) -> Iterator[NDArray[Any]]:
        """(channels, samples) blocks of zeros."""
        kind = np.float32 if self.bits is None else np.int32
        for start in range(0, self.samples, _SILENT_BLOCK):
            yield np.zeros((len(self.channels), min(_SILENT_BLOCK, self.samples - start)), kind)


def rendered(
    canvas: AudioSource,
    sounds: Sequence[AudioSource],
    model: MixModel,
    *,
    samples: int,
    bits: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Rendered]:
    """What the sounds of a model are like in its mixture, added to a canvas, block by block and as long as that.

    Parameters
    ----------
    canvas : the residual, which gives the mixture back, or `Silence`
    sounds : one for each present contribution, by name; converted where they are at another rate
    samples : of the mixture; nothing sounds behind them
    bits : word length of the mixture
        Exact gains are worked out in these integers, rounded where they were rounded when they were subtracted.

    Raises
    ------
    InputError
        If a sound is missing.
    """
    problem = _on_silence(sounds, model, samples=samples, bits=bits)
    if not works_in_integers(problem, model):
        parts = {name: replace(part, exact_gains={}) for name, part in model.contributions.items()}
        model = replace(model, contributions=parts)
    blocks = aligned_blocks(replace(problem, mixture=canvas), {}, progress=progress, what="rendering")
    return _added(canvas, blocks, subtract(problem, model), model)


def _on_silence(sounds: Sequence[AudioSource], model: MixModel, *, samples: int, bits: int | None) -> Problem:
    """The mixture with nothing in it, which the images are taken from."""
    return Problem.at_one_rate(Silence("silence", model.sample_rate, model.mixture_channels, samples, bits), sounds)


def _added(
    canvas: AudioSource, blocks: Iterator[AlignedAudio], taken: Iterator[Subtracted], model: MixModel
) -> Iterator[Rendered]:
    # Of a mixture without samples nothing is ever taken; its images are silent all the way.
    nothing = np.zeros((len(model.mixture_channels), 0))
    last: Mapping[str, NDArray[np.float64]] = dict.fromkeys(model.present, nothing)
    for block in blocks:
        item = next(taken, None)
        # The engine cuts both into blocks of one length, so that they end together unless one is shorter.
        last = {name: image[:, :0] for name, image in last.items()} if item is None else item.images
        images = {name: _of_length(image, block.length) for name, image in last.items()}
        total = np.sum([as_float(block.mixture, canvas.bits), *images.values()], axis=0)
        yield Rendered(block.start, total, images)


def _of_length(image: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The first samples of an image, with silence behind it."""
    missing = length - image.shape[1]
    return image[:, :length] if missing <= 0 else np.pad(image, ((0, 0), (0, missing)))


def works_in_integers(problem: Problem, model: MixModel) -> bool:
    """Whether all images are sums of integers on the mixture's own grid."""
    parts = [model.contributions[name] for name in model.present]
    return all(source.bits is not None for source in (problem.mixture, *problem.references)) and all(
        part.exact_gains and part.warp.whole_samples(model.sample_rate) is not None for part in parts
    )


def output_path(name: str, folder: Path, *, onto: Recording | None, output: Path | None) -> Path:
    """``NAME.render.EXT`` in a folder unless told otherwise: a WAV, or what the file that is added to is.

    Raises
    ------
    UsageError
        If the suffix names no format that can be written.
    """
    if output is None:
        return folder / f"{name}.render{'.wav' if onto is None else output_suffix(onto)}"
    suffix = output.suffix.lower()
    if suffix in AUDIO_FILES or (suffix in CONTAINERS and onto is not None):
        return output
    known = ", ".join([*AUDIO_FILES, *(CONTAINERS if onto is not None else ())])
    if suffix in CONTAINERS:
        raise UsageError(f"images alone make no {suffix}; give a name with one of {known}, or a file to add them to")
    raise UsageError(f"cannot write '{output.suffix or output}' files; give a name with one of {known}")


def check_canvas(onto: FileSource, model: MixModel) -> None:
    """Refuse to add images to a file of another rate or layout.

    Raises
    ------
    InputError
    """
    if onto.sample_rate != model.sample_rate:
        raise InputError(
            f"{onto.name} is at {onto.sample_rate} Hz and the mixture was at {model.sample_rate} Hz; convert it first"
        )
    if onto.channels != model.mixture_channels:
        wanted = ",".join(model.mixture_channels)
        raise InputError(
            f"{onto.name} has the channels {','.join(onto.channels)} and the mixture had {wanted}; "
            f"convert it, or name them as in FILE#a:0[{wanted}]"
        )


def check_sound(sound: FileSource, name: str, model: MixModel) -> None:
    """Refuse a stem that has not as many channels as the reference it takes the place of.

    Raises
    ------
    InputError
    """
    wanted, have = model.contributions[name].filters.shape[1], len(sound.channels)
    if have != wanted:
        example = ",".join((sound.channels * wanted)[:wanted])
        raise InputError(
            f"{sound.path} has {have} channel{'s' if have > 1 else ''} and {name} has {wanted}; "
            f"name {wanted} of them, as in FILE#a:{sound.stream.number}[{example}]"
        )


def write_rendering(
    model: MixModel,
    sounds: Sequence[FileSource],
    *,
    samples: int,
    bits: int | None,
    output: Path,
    onto: FileSource | None = None,
    replaced: Sequence[str] = (),
    images: bool = False,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Rendering:
    """Render and write: the sum, and each image where asked for.

    Parameters
    ----------
    sounds : one for each present contribution, by name
    samples, bits : length and word length of the mixture
    onto : the file to add the images to; silence as long as the mixture if not given
    inputs : further files that must not be written over

    Raises
    ------
    RefusedError
        If no contribution is present.
    UsageError
        If the sum is louder than full scale and the format holds no floating point.
    OutputExistsError, OutputError
        As they say; nothing is left half written.
    """
    if not model.present:
        raise RefusedError("no reference is in this mixture; there is nothing to render")
    silence = _on_silence(sounds, model, samples=samples, bits=bits)
    canvas = onto or silence.mixture
    exact = works_in_integers(silence, model)
    paths = images_beside(output, model.present) if images else {}
    given = [*inputs, *(sound.path for sound in sounds), *([onto.path] if onto else [])]

    def attempt(words: int | None) -> Rendering:
        audio = _audio(output, model, onto, words)
        length, peak = _write(
            lambda: rendered(canvas, sounds, model, samples=samples, bits=bits, progress=progress),
            audio=audio,
            output=output,
            images=paths,
            onto=onto,
            expected_samples=canvas.samples or samples,
            inputs=given,
            overwrite=overwrite,
        )
        heard = {sound.name: sound.path for sound in sounds}
        remarks = _remarks(onto, length - samples, model.sample_rate, peak)
        source = None if onto is None else onto.path
        return Rendering(output, paths, heard, tuple(replaced), source, audio, exact, length, peak, remarks)

    words = _words(output, onto, bits, exact)
    try:
        return attempt(words)
    except DoesNotFit as loud:
        if output.suffix.lower() == ".flac" or CONTAINERS.get(output.suffix.lower()) == "mp4":
            raise UsageError(
                f"the sum is louder than full scale, which {output.suffix} cannot hold unclipped; "
                f"write .wav{' or .mkv' if onto else ''} with -o"
            ) from loud
        return attempt(None)


def _words(output: Path, onto: FileSource | None, bits: int | None, exact: bool) -> int | None:
    """The bits the sum is written with as long as it fits; None for floating point."""
    if onto is not None:
        own = word_length(onto)
        return None if own is None else max(own, bits or 0)
    if exact:
        return bits
    return _FLAC_BITS if output.suffix.lower() == ".flac" else None


def _audio(output: Path, model: MixModel, onto: FileSource | None, words: int | None) -> OutputAudio:
    if onto is not None:
        audio = output_format(onto, words)
        container = CONTAINERS.get(output.suffix.lower())
        return (
            replace(audio, codec=output_codec(container, channels=audio.channels, bits=words)) if container else audio
        )
    return OutputAudio(
        title=output.stem,
        channels=model.mixture_channels,
        sample_rate=model.sample_rate,
        bits=words,
        stored_bits=32 if words is None else 16 if words <= 16 else 24 if words <= 24 else 32,
    )


def _remarks(onto: FileSource | None, longer: int, sample_rate: int, peak: float) -> tuple[str, ...]:
    remarks = []
    if onto is not None and longer:
        what = (
            "longer than the mixture was: nothing was added to the rest" if longer > 0 else "shorter than the mixture"
        )
        remarks.append(f"{onto.name} is {abs(longer)} samples ({abs(longer) / sample_rate:.4f} s) {what}")
    if peak > 1:
        remarks.append(
            f"louder than full scale by {20 * math.log10(peak):.1f} dB: written in floating point, unclipped"
        )
    return tuple(remarks)


def _write(
    blocks: Callable[[], Iterator[Rendered]],
    *,
    audio: OutputAudio,
    output: Path,
    images: Mapping[str, Path],
    onto: FileSource | None,
    expected_samples: int,
    inputs: Sequence[Path],
    overwrite: bool,
) -> tuple[int, float]:
    """Write sum and images in one pass; the length, and the peak of the sum."""
    partials: list[Path] = []
    length, peak = 0, 0.0
    try:
        for path in (output, *images.values()):
            partials.append(reserve_output(path, overwrite=overwrite, inputs=inputs))
        with ExitStack() as stack:
            packets = None
            if onto is None or output.suffix.lower() in AUDIO_FILES:
                writer: RemuxWriter | StemWriter = stack.enter_context(
                    StemWriter([output], partials=partials[:1], audio=[audio], expected_samples=expected_samples)
                )
            else:
                recording = probe(onto.path)
                writer = stack.enter_context(open_output(output, partials[0], recording, onto, audio, add=False))
                packets = Packets(recording, writer, onto, add=False)
            stems = {
                name: stack.enter_context(open_image(path, partial, name, audio, expected_samples))
                for (name, path), partial in zip(images.items(), partials[1:], strict=True)
            }
            begins = 0.0 if onto is None else float(onto.stream.start_seconds)
            for block in blocks():
                length = block.start + block.total.shape[1]
                peak = max(peak, float(np.abs(block.total).max(initial=0.0)))
                if packets is not None:
                    packets.copy_until(begins + block.start / audio.sample_rate)
                writer.write(0, as_stored(block.total, None, audio)[0])
                for name, stem in stems.items():
                    stem.write(0, block.images[name].astype(np.float32))
            if packets is not None:
                packets.copy_until(math.inf)
            for each in (writer, *stems.values()):
                each.complete()
            for each in (writer, *stems.values()):
                each.publish()
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    return length, peak
