"""Untangle the streams of one recording, or of many."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from unsum.api.arguments import PathArgument
from unsum.errors import Cancelled, UnsumError, UsageError
from unsum.media.probe import probe
from unsum.media.remux import make_folder, reserve_output, write_error
from unsum.progress import Progress
from unsum.recovery.discovery import FoundRecipe, discover_recipe
from unsum.recovery.findings import RecoveryFinding
from unsum.recovery.outputs import output_path, writes_stems
from unsum.recovery.plan import Plan, make_plan
from unsum.recovery.recover import recover_recording
from unsum.streams.recipe import Recipe, format_recipe, load_recipe

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
