"""The three jobs and their tools as functions: paths in, frozen findings out."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from unsum.errors import Cancelled, InputError, RefusedError, UnsumError, UsageError
from unsum.inspection.findings import FileFinding
from unsum.inspection.null import NullFinding, null_files
from unsum.inspection.recording import inspect_file
from unsum.media.probe import parse_address, probe
from unsum.media.remux import make_folder, reserve_output, write_error
from unsum.recovery.discovery import FoundRecipe, discover_recipe
from unsum.recovery.findings import RecoveryFinding
from unsum.recovery.outputs import output_path, writes_stems
from unsum.recovery.plan import Plan, make_plan
from unsum.recovery.recover import recover_recording
from unsum.streams.recipe import Recipe, format_recipe, load_recipe

if TYPE_CHECKING:
    from unsum.alignment import AlignedPair
    from unsum.media.source import FileSource
    from unsum.problem import AudioSource
    from unsum.removal import Removal
    from unsum.rendering import Rendering
    from unsum.report.mix_json import RecordedFile, Session

Progress = Callable[[float, float, str], None]
PathArgument = str | PathLike[str]

MEDIA_SUFFIXES = {".mkv", ".mka", ".mp4", ".m4v", ".mov", ".webm", ".ts", ".flv"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file of several: what was found, or why it failed."""

    input: Path
    finding: RecoveryFinding | None
    error: UnsumError | None


def plan_recovery(
    recording: PathArgument,
    *,
    recipe: PathArgument | Recipe | None = None,
    output: PathArgument | None = None,
    out_dir: PathArgument | None = None,
    progress: Progress | None = None,
) -> tuple[Plan, FoundRecipe | None]:
    """Everything `recover` decides before it writes: recipe, combinations, offsets, names.

    Returns
    -------
    plan : Plan
    found : FoundRecipe or None
        The recipe with its evidence, where it was found from the audio.
    """
    path = Path(recording)
    if output is not None and out_dir is not None:
        raise UsageError("output and out_dir exclude each other; give one")
    described = probe(path)
    target = output_path(
        path, output=None if output is None else Path(output), out_dir=None if out_dir is None else Path(out_dir)
    )
    found = None
    if recipe is None:
        found = discover_recipe(described, progress=progress)
        known = found.recipe
    else:
        known = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe))
    return make_plan(described, known, output=target), found


def recover(
    recording: PathArgument,
    *,
    recipe: PathArgument | Recipe | None = None,
    output: PathArgument | None = None,
    out_dir: PathArgument | None = None,
    verify: bool = False,
    compression_level: int = 8,
    keep_streams: bool = False,
    write_recipe: PathArgument | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RecoveryFinding:
    """Untangle the streams of a recording; write a new file with the video copied.

    Parameters
    ----------
    recording : path
    recipe : path, Recipe or None
        What each stream is a sum of; None finds it from the audio.
    output, out_dir : path, optional
        ``NAME.unsum.EXT`` beside the input by default.
    verify : bool
        Decode the written file, mix it again by the recipe, compare with the streams.
    compression_level : 0..12
        FLAC: 0 to 8 libFLAC's levels, 9 to 12 FFmpeg's.
    keep_streams : bool
        Copy the original audio streams as well.
    write_recipe : path, optional
        Write the recipe that was used, with its evidence as comments.
    overwrite : bool
    progress : callable ``(done_seconds, total_seconds, what)``
        Raise `Cancelled` from it to stop; nothing half written stays.

    Raises
    ------
    UsageError, InputError, RefusedError, OutputExistsError, OutputError
    """
    if not 0 <= compression_level <= 12:
        raise UsageError(f"compression level {compression_level} is not between 0 and 12")
    target = output_path(
        Path(recording),
        output=None if output is None else Path(output),
        out_dir=None if out_dir is None else Path(out_dir),
    )
    # All that can be refused at once is refused before the long work, not after it.
    given: list[Path] = []
    if recipe is not None and not isinstance(recipe, Recipe):
        given = [Path(recipe)]
        recipe = load_recipe(Path(recipe))
    probe(Path(recording))
    if keep_streams and writes_stems(target):
        raise UsageError(f"keep_streams needs a container that holds several streams, not {target.suffix}; write .mkv")
    if out_dir is not None:
        make_folder(Path(out_dir))
    if not writes_stems(target):
        reserve_output(target, overwrite=overwrite, inputs=[Path(recording)]).unlink()
    if write_recipe is not None:
        kept = [Path(recording), *given]
        _check_recipe_target(Path(write_recipe), overwrite=overwrite, inputs=kept, output=target)
    plan, found = plan_recovery(recording, recipe=recipe, output=output, out_dir=out_dir, progress=progress)
    if write_recipe is not None:
        save_recipe(write_recipe, plan.recipe, found, overwrite=overwrite, inputs=[recording, *given])
    finding = recover_recording(
        plan,
        verify=verify,
        compression_level=compression_level,
        overwrite=overwrite,
        keep_streams=keep_streams,
        progress=progress,
    )
    return finding if found is None else replace(finding, evidence=found.evidence)


def recover_all(
    recordings: Sequence[PathArgument],
    *,
    jobs: int = 1,
    started: Callable[[Path], Progress | None] = lambda path: None,
    finished: Callable[[Outcome], None] = lambda outcome: None,
    **options,
) -> tuple[Outcome, ...]:
    """`recover` for many files; one that fails does not stop the others.

    Parameters
    ----------
    recordings : paths
    jobs : how many at a time; one already keeps two cores busy
    started : called with each path as its work begins; gives its progress callback
    finished : called with each outcome as it comes
    options : as for `recover`

    Returns
    -------
    outcomes : in the order of ``recordings``
    """
    if jobs < 1:
        raise UsageError(f"{jobs} jobs; at least 1")
    check_batch(recordings, **{name: options.get(name) for name in ("output", "out_dir", "write_recipe")})
    stop = threading.Event()

    def one(recording: PathArgument) -> Outcome:
        path = Path(recording)
        if stop.is_set():
            return Outcome(path, None, Cancelled("not begun"))
        told = started(path)

        def progress(done: float, total: float, what: str) -> None:
            if stop.is_set():
                raise Cancelled(f"{path.name}: stopped at {done:.0f} s of {total:.0f} s; nothing was kept")
            if told is not None:
                told(done, total, what)

        try:
            outcome = Outcome(path, recover(path, progress=progress, **options), None)
        except UnsumError as error:
            outcome = Outcome(path, None, error)
        except Exception as error:
            # A fault of ours in one file must not cost the others.
            if os.environ.get("UNSUM_TRACEBACK"):
                raise
            outcome = Outcome(path, None, UnsumError(f"internal error: {type(error).__name__}: {error}"))
        finished(outcome)
        return outcome

    if jobs == 1 or len(recordings) == 1:
        return tuple(one(recording) for recording in recordings)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return tuple(pool.map(one, recordings))
        except BaseException:
            stop.set()
            raise


def remove(
    mixture: PathArgument,
    references: Sequence[PathArgument],
    *,
    output: PathArgument | None = None,
    out_dir: PathArgument | None = None,
    images: bool = False,
    add: bool = False,
    min_null_db: float | None = None,
    max_rung: str = "reverb",
    exclude: Sequence[tuple[float, float]] = (),
    sidecar: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> "Removal":
    """Take known sounds out of a recording, keep the rest.

    Parameters
    ----------
    mixture, references : ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``
    output, out_dir : path, optional
        ``NAME.unsum.EXT`` beside the input by default.
    images : also write what each reference sounds like in the mixture
    add : keep the original stream beside the cleaned one
    min_null_db : refuse what nulls less deep than this, on samples that were not fitted
    max_rung : the last rung to try: "exact", "gain", "fir", "clock" or "reverb"
    exclude : ranges of mixture time in seconds that nothing is fitted to
    sidecar : write ``NAME.mix.json`` beside the output

    Raises
    ------
    RefusedError
        If no reference is found in the mixture, or ``min_null_db`` is not reached; nothing is written.
    UsageError, InputError, OutputExistsError, OutputError
    """
    # Here and not above: recover runs without scipy and numba, which the rungs need.
    from unsum.ladder import analyse
    from unsum.media.source import FileSource
    from unsum.removal import open_problem, write_removal
    from unsum.removal import output_path as removal_path

    if output is not None and out_dir is not None:
        raise UsageError("output and out_dir exclude each other; give one")
    if any(not 0 <= start < stop for start, stop in exclude):
        raise UsageError(f"cannot exclude {exclude}; give ranges of seconds, each from a smaller to a larger number")
    problem, recording = open_problem(str(mixture), [str(reference) for reference in references])
    if out_dir is not None:
        make_folder(Path(out_dir))
    target = removal_path(
        recording, output=None if output is None else Path(output), out_dir=None if out_dir is None else Path(out_dir)
    )
    inputs = [source.path for source in (problem.mixture, *problem.references) if isinstance(source, FileSource)]
    reserve_output(target, overwrite=overwrite, inputs=inputs).unlink()
    analysis = analyse(problem, max_rung=max_rung, exclude=exclude, progress=progress)
    if analysis.nothing_found:
        reasons = "; ".join(f"{name}: {finding.reason}" for name, finding in analysis.references.items())
        raise RefusedError(f"no reference was found in {problem.mixture.name} ({reasons}); nothing was written")
    depth = min(step.null_db for step in analysis.steps if step.kept)
    if min_null_db is not None and depth > -abs(min_null_db):
        raise RefusedError(
            f"the null depth is {depth:.1f} dB, less than the {abs(min_null_db):g} dB asked for; nothing was written"
        )
    removal = write_removal(
        problem, recording, analysis, output=target, images=images, add=add, overwrite=overwrite, progress=progress
    )
    if sidecar:
        save_removal(removal, target.with_suffix(".mix.json"), overwrite=overwrite)
    return removal


def inspect(recording: PathArgument, *, progress: Progress | None = None) -> FileFinding:
    """Streams, layouts, true word length, lossy history, and which stream contains which.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return inspect_file(Path(recording), progress=progress)


def null(a: PathArgument, b: PathArgument, *, align: bool = False, progress: Progress | None = None) -> NullFinding:
    """How deep two files cancel: as a number, per octave band, and over time.

    Parameters
    ----------
    a, b : ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``
    align : take out a whole-sample lag first

    Raises
    ------
    InputError
        If they cannot be read, or differ in sample rate or channel count.
    """
    return null_files(str(a), str(b), align=align, progress=progress)


def save_removal(removal: "Removal", path: Path, *, overwrite: bool = False) -> None:
    """Write ``mix.json`` for a removal: what was found, and of which files."""
    from unsum.media.source import FileSource
    from unsum.problem import ResampledSource
    from unsum.report.session import record_file, save_session

    def recorded(source: "AudioSource") -> "RecordedFile":
        file = source.source if isinstance(source, ResampledSource) else source
        assert isinstance(file, FileSource)
        return record_file(
            file.path,
            session=path,
            channels=file.channels,
            sample_rate=file.sample_rate,
            stream=file.stream.number,
            samples=file.samples,
            bits=file.bits,
        )

    save_session(
        path,
        removal.analysis,
        command="remove",
        mixture=recorded(removal.problem.mixture),
        references={source.name: recorded(source) for source in removal.problem.references},
        power={name: response.power for name, response in removal.analysis.responses.items()},
        variance={name: response.variance for name, response in removal.analysis.responses.items()},
        overwrite=overwrite,
    )


def recordings_in(paths: Sequence[PathArgument]) -> tuple[Path, ...]:
    """The paths, with each folder replaced by the recordings in it; what unsum wrote is left out.

    Raises
    ------
    UsageError
        If a folder holds no recording.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            if not path.is_dir():
                found.append(path)
                continue
        except OSError:  # a name that no file can have: reading it will say so
            found.append(path)
            continue
        inside = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in MEDIA_SUFFIXES and not file.stem.endswith(".unsum") and file.name[0] != "."
        )
        if not inside:
            raise UsageError(f"no recording in {path}; looked for {', '.join(sorted(MEDIA_SUFFIXES))}")
        found += inside
    return tuple(found)


def check_batch(
    recordings: Sequence[PathArgument],
    *,
    output: PathArgument | None = None,
    out_dir: PathArgument | None = None,
    write_recipe: PathArgument | None = None,
) -> None:
    """Refuse a call whose files would write over each other.

    Raises
    ------
    UsageError
    """
    if len(recordings) > 1 and output is not None:
        raise UsageError("one output name for several recordings; give --out-dir instead")
    if len(recordings) > 1 and write_recipe is not None:
        raise UsageError("one recipe to write for several recordings; write the recipe of one of them first")
    seen: dict[Path, Path] = {}
    for recording in map(Path, recordings):
        target = output_path(recording, output=None, out_dir=None if out_dir is None else Path(out_dir)).resolve()
        if target in seen:
            raise UsageError(
                f"{seen[target]} and {recording} would both be written to {target}; "
                "recover them in two calls with different folders"
            )
        seen[target] = recording


def _check_recipe_target(target: Path, *, overwrite: bool, inputs: Sequence[Path], output: Path) -> None:
    if target.resolve() == output.resolve():
        raise UsageError(f"{target} is the output and the recipe to write; give them different names")
    reserve_output(target, overwrite=overwrite, inputs=inputs).unlink()


def save_recipe(
    path: PathArgument,
    recipe: Recipe,
    found: FoundRecipe | None,
    *,
    overwrite: bool = False,
    inputs: Sequence[PathArgument] = (),
) -> None:
    """Write a recipe as TOML, with the evidence it was found by as comments.

    Raises
    ------
    OutputExistsError, OutputError
        If the file is there and not to be overwritten, is one of the inputs, or cannot be written.
    """
    comment = "" if found is None else "Found from the audio.\n" + "\n".join(found.evidence)
    target = Path(path)
    partial = reserve_output(target, overwrite=overwrite, inputs=[Path(other) for other in inputs])
    try:
        partial.write_text(format_recipe(recipe, comment=comment), encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        partial.unlink(missing_ok=True)


def doctor() -> dict:
    """Versions of what unsum stands on, and which codecs are there."""
    import platform

    from unsum import __version__
    from unsum.media.health import codecs_present, library_versions

    versions = {"unsum": __version__, "Python": platform.python_version(), "system": platform.platform()}
    return {
        "versions": versions | library_versions(),
        "codecs": codecs_present(),
        "notes": ["PyAV's wheels carry FFmpeg with GPL parts: mind that where you bundle them."],
    }


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

    Parameters
    ----------
    session : the ``NAME.mix.json`` that `remove` wrote; it finds the references from its own folder
    replacements : {reference: ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``}
        Sounds that take the place of references, at the same time, through the same filters; also where a reference
        itself has moved.
    onto : the residual, which gives the mixture back, or any file like it; a video is kept
    images : also write each image alone
    output, out_dir : path, optional
        ``NAME.render.EXT`` beside the session by default.

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
    if path.suffix.lower() != ".json":
        raise UsageError(f"cannot render '{path.suffix or path}' files; give the mix.json that unsum wrote")
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


def align(
    recording: PathArgument,
    reference: PathArgument,
    *,
    output: PathArgument | None = None,
    labels: PathArgument | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> "AlignedPair":
    """Where a reference is in a recording: offset, clock, jumps.

    Parameters
    ----------
    recording, reference : ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``
    output : path, optional
        An audio file for the reference, as long as the recording and in time with it.
    labels : path, optional
        A text file of labels for Audacity: where the reference begins, and its jumps.

    Raises
    ------
    RefusedError
        If there is something to write and the reference was not found; without that, "not found" is an answer.
    UsageError, InputError, OutputExistsError, OutputError
    """
    from unsum.alignment import align_sources, output_format, write_aligned, write_labels
    from unsum.removal import open_problem

    problem, _ = open_problem(str(recording), [str(reference)])
    targets = [Path(path) for path in (output, labels) if path is not None]
    inputs = [parse_address(str(path)).path for path in (recording, reference)]
    if len({target.resolve() for target in targets}) < len(targets):
        raise UsageError(f"{output} is the output and the labels; give them different names")
    for target in targets:
        reserve_output(target, overwrite=overwrite, inputs=inputs).unlink()
    if output is not None:
        rate = problem.mixture.sample_rate
        output_format(Path(output), problem.references[0], whole=True, sample_rate=rate)
    pair = align_sources(problem, progress=progress)
    if not pair.present:
        if targets:
            why = "; ".join(pair.location.remarks)
            raise RefusedError(f"{pair.reference} was not found in {pair.mixture} ({why}); nothing was written")
        return pair
    if output is not None:
        target = Path(output)
        n_clipped = write_aligned(problem, pair, target, overwrite=overwrite, progress=progress)
        pair = replace(pair, output=target, n_clipped=n_clipped)
    if labels is not None:
        write_labels(pair, Path(labels), overwrite=overwrite)
        pair = replace(pair, labels=Path(labels))
    return pair
