"""What the references of a ``mix.json`` sound like in its mixture, and the mix of a scene."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unsum.api.arguments import PathArgument
from unsum.errors import InputError, UsageError
from unsum.media.probe import probe
from unsum.media.remux import make_folder, reserve_output
from unsum.progress import Progress

if TYPE_CHECKING:
    from unsum.media.source import FileSource
    from unsum.rendering import Rendering
    from unsum.report.mix_json import Session


def render(
    session: PathArgument,
    *,
    replacements: Mapping[str, PathArgument] | None = None,
    onto: PathArgument | None = None,
    images: bool = False,
    output: PathArgument | None = None,
    out_dir: PathArgument | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> "Rendering":
    """What the references of a ``mix.json`` sound like in its mixture: their sum, or that added to a file.

    A scene, ``NAME.toml``, is mixed from its tracks.

    Parameters
    ----------
    session : the ``NAME.mix.json`` that `remove` or `explain` wrote; it finds the references from its own folder
    replacements : {reference: ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``}
        Sounds that take the place of references, at the same time, through the same filters; also where a reference
        itself has moved.
    onto : the residual, which gives the mixture back, or any file like it; a video is kept
    images : also write each image alone
    output, out_dir : path, optional
        ``NAME.render.EXT`` beside the session by default; ``NAME.wav`` beside a scene.

    Raises
    ------
    InputError
        If a file is missing, or is not the one that the session was made from.
    RefusedError
        If no reference is in the mixture.
    UsageError, OutputExistsError, OutputError
    """
    from unsum.media.source import open_source
    from unsum.rendering import check_canvas, output_path, write_rendering
    from unsum.report.session import load_session

    if output is not None and out_dir is not None:
        raise UsageError("output and out_dir exclude each other; give one")
    path = Path(session)
    if not path.exists():
        raise InputError(f"no such file: {path}")
    if path.suffix.lower() == ".toml":
        if replacements or onto is not None:
            raise UsageError("a scene names its own tracks and makes a new mix; --with and --onto are for a mix.json")
        return _mixed(path, images=images, output=output, out_dir=out_dir, overwrite=overwrite, progress=progress)
    if path.suffix.lower() != ".json":
        raise UsageError(f"cannot render '{path.suffix or path}' files; give the mix.json that unsum wrote, or a scene")
    loaded = load_session(path)
    model = loaded.analysis.model
    canvas = None if onto is None else open_source(str(onto))
    if canvas is not None:
        check_canvas(canvas, model)
    if out_dir is not None:
        make_folder(Path(out_dir))
    target = output_path(
        path.stem.removesuffix(".mix"),
        path.parent if out_dir is None else Path(out_dir),
        onto=None if canvas is None else probe(canvas.path),
        output=None if output is None else Path(output),
    )
    companion = path.with_suffix(".npz")
    reserve_output(target, overwrite=overwrite, inputs=[path, companion]).unlink()
    return write_rendering(
        model,
        _sounds(path, loaded, replacements or {}),
        samples=loaded.analysis.samples,
        bits=loaded.mixture.bits,
        output=target,
        onto=canvas,
        replaced=tuple(replacements or ()),
        images=images,
        inputs=[path, companion],
        overwrite=overwrite,
        progress=progress,
    )


def _mixed(
    path: Path,
    *,
    images: bool,
    output: PathArgument | None,
    out_dir: PathArgument | None,
    overwrite: bool,
    progress: Progress | None,
) -> "Rendering":
    """A scene as an audio file."""
    from unsum.media.encode import AUDIO_FILES
    from unsum.mixdown import write_mixdown
    from unsum.scene import load_scene

    scene = load_scene(path)
    if out_dir is not None:
        make_folder(Path(out_dir))
    beside = path.with_suffix(".wav") if out_dir is None else Path(out_dir, path.stem + ".wav")
    target = beside if output is None else Path(output)
    if target.suffix.lower() not in AUDIO_FILES:
        raise UsageError(f"cannot write '{target.suffix or target}' files; give a name with {', '.join(AUDIO_FILES)}")
    return write_mixdown(scene, output=target, images=images, inputs=[path], overwrite=overwrite, progress=progress)


def _sounds(path: Path, session: "Session", replacements: Mapping[str, PathArgument]) -> "list[FileSource]":
    """What is heard as each reference that is present: the file of the session, or what takes its place."""
    from unsum.media.probe import StreamAddress
    from unsum.media.source import open_source
    from unsum.rendering import check_sound
    from unsum.report.session import recorded_path

    model = session.analysis.model
    for name in replacements:
        if name not in model.present:
            raise UsageError(f"no reference '{name}' is in this mixture; it has {', '.join(model.present) or 'none'}")
    sounds = []
    for name in model.present:
        if name in replacements:
            sounds.append(open_source(str(replacements[name]), name=name))
            check_sound(sounds[-1], name, model)
            continue
        recorded = session.references[name]
        try:
            file = recorded_path(path, recorded)
        except InputError as error:
            raise InputError(f"{error} (--with '{name}=FILE')") from error
        sounds.append(open_source(StreamAddress(file, recorded.stream, recorded.channels), name=name))
    return sounds
