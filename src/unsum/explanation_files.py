"""What an explanation leaves in a folder: images, what no track explains, and the responses of reverbs."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from unsum.explanation import Explanation
from unsum.layouts import LAYOUTS
from unsum.media.encode import OutputAudio
from unsum.media.probe import Recording
from unsum.media.remux import reserve_output
from unsum.media.source import FileSource
from unsum.media.stems import StemWriter
from unsum.problem import AudioSource, Problem, ResampledSource
from unsum.progress import Progress
from unsum.removal import images_beside, write_removal

# By the number of their paths; one with another number is written path by path.
_RESPONSE_LAYOUTS = {1: "mono", 2: "stereo", 4: "quad", 6: "5.1", 8: "7.1"}


def file_behind(source: AudioSource) -> FileSource:
    """The file that a source of a problem reads."""
    file = source.source if isinstance(source, ResampledSource) else source
    assert isinstance(file, FileSource)
    return file


def session_path(recording: Recording, folder: Path) -> Path:
    """``FOLDER/MIX.mix.json``."""
    return folder / f"{recording.path.stem}.mix.json"


def residual_path(recording: Recording, folder: Path) -> Path:
    """``FOLDER/MIX.residual.wav``; a WAV, which holds any word length and floating point beyond full scale."""
    return folder / f"{recording.path.stem}.residual.wav"


def image_paths(recording: Recording, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """``FOLDER/MIX.STEM.wav`` by the name of the track."""
    return images_beside(folder / f"{recording.path.stem}.wav", names)


def response_paths(problem: Problem, recording: Recording, folder: Path) -> dict[str, tuple[Path, ...]]:
    """``FOLDER/MIX.STEM.response.wav`` by the name of the track.

    Where no layout has as many channels as the track has paths into the mix, each path has a file of its own,
    ``MIX.STEM.response.FL-FR.wav`` from FL of the track to FR of the mix; those of the first channel of the track
    come first.
    """
    images = image_paths(recording, folder, [source.name for source in problem.references])
    paths: dict[str, tuple[Path, ...]] = {}
    for source in problem.references:
        stem = f"{images[source.name].stem}.response"
        ways = [f".{one}-{other}" for one in source.channels for other in problem.mixture.channels]
        paths[source.name] = tuple(
            folder / f"{stem}{way}.wav" for way in ([""] if len(ways) in _RESPONSE_LAYOUTS else ways)
        )
    return paths


def planned_paths(problem: Problem, recording: Recording, folder: Path, *, images: bool) -> tuple[Path, ...]:
    """All files that may be written, whatever is found."""
    names = [source.name for source in problem.references]
    session = session_path(recording, folder)
    planned = [
        session,
        session.with_suffix(".npz"),
        *chain.from_iterable(response_paths(problem, recording, folder).values()),
    ]
    if images:
        planned += [residual_path(recording, folder), *image_paths(recording, folder, names).values()]
    return tuple(planned)


def write_explanation(
    explanation: Explanation,
    recording: Recording,
    folder: Path,
    *,
    images: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Explanation:
    """Write responses, and images and residual where asked for; the explanation with their names.

    Raises
    ------
    OutputExistsError, OutputError
        As they say; nothing is left half written.
    """
    present = explanation.analysis.model.present
    rooms = [name for name in present if explanation.tracks[name].room is not None]
    inputs = [file_behind(source).path for source in (explanation.problem.mixture, *explanation.problem.references)]
    every_response = response_paths(explanation.problem, recording, folder)
    responses = {name: every_response[name] for name in rooms}
    for name, targets in responses.items():
        _write_response(explanation, name, targets, inputs=inputs, overwrite=overwrite)
    if not images:
        return replace(explanation, responses=responses)
    every = image_paths(recording, folder, list(explanation.tracks))
    removal = write_removal(
        explanation.problem,
        recording,
        explanation.analysis,
        output=residual_path(recording, folder),
        image_paths={name: every[name] for name in present},
        overwrite=overwrite,
        progress=progress,
    )
    return replace(explanation, responses=responses, residual=removal.output, images=removal.images)


def _write_response(
    explanation: Explanation, name: str, targets: Sequence[Path], *, inputs: Sequence[Path], overwrite: bool
) -> None:
    """The filters of one track as floating point, unscaled, from their first lag on.

    All paths of the first channel of the track come first; four paths of stereo into stereo are then what
    convolution reverbs call true stereo.
    """
    model = explanation.analysis.model
    paths = np.swapaxes(model.contributions[name].filters, 0, 1)
    paths = paths.reshape(-1, paths.shape[2])
    channels = LAYOUTS[_RESPONSE_LAYOUTS[len(paths) // len(targets)]]
    partials: list[Path] = []
    try:
        for target in targets:
            partials.append(reserve_output(target, overwrite=overwrite, inputs=inputs))
        with ExitStack() as stack:
            for target, partial, taps in zip(targets, partials, np.split(paths, len(targets)), strict=True):
                audio = OutputAudio(name, channels, model.sample_rate, bits=None, stored_bits=32)
                writer = stack.enter_context(StemWriter([target], partials=[partial], audio=[audio]))
                writer.write(0, taps.astype(np.float32))
                writer.complete()
                writer.publish()
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
