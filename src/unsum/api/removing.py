"""Take known sounds out of a recording, and keep what was found about them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unsum.api.arguments import PathArgument
from unsum.errors import RefusedError, UsageError
from unsum.media.remux import make_folder, reserve_output
from unsum.progress import Progress

if TYPE_CHECKING:
    from unsum.removal import Removal


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
    speed: float | str | None = None,
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
    min_null_db : refuse where the mixture gets less than this quieter, on samples that were not fitted to
    max_rung : the last rung to try: "exact", "gain", "fir", "clock" or "reverb"
    exclude : ranges of mixture time in seconds that nothing is fitted to
    speed : how many percent faster the references were played than they were recorded, known to some 0.3
        "auto" tries all up to 6 % off where nothing is heard at its own, in a minute for each hour of recording and
        reference; so it is done unasked in recordings up to five minutes.
    sidecar : write ``NAME.mix.json`` beside the output

    Raises
    ------
    RefusedError
        If no reference is found in the mixture, or ``min_null_db`` is not reached; nothing is written.
    UsageError, InputError, OutputExistsError, OutputError
    """
    # Here and not above: recover runs without scipy and numba, which the rungs need.
    from unsum.ladder import analyse
    from unsum.removal import damage_of, files_of, images_beside, open_problem, write_removal
    from unsum.removal import output_path as removal_path
    from unsum.report.removal import kept_null_db
    from unsum.report.session import keep_session_of_another

    if output is not None and out_dir is not None:
        raise UsageError("output and out_dir exclude each other; give one")
    for start, stop in exclude:
        if not 0 <= start < stop < math.inf:
            raise UsageError(f"cannot exclude {start:g}-{stop:g} s; give ranges from a smaller to a larger time")
    problem, recording = open_problem(str(mixture), [str(reference) for reference in references])
    if out_dir is not None:
        make_folder(Path(out_dir))
    target = removal_path(
        recording, output=None if output is None else Path(output), out_dir=None if out_dir is None else Path(out_dir)
    )
    inputs = [file.path for file in files_of((problem.mixture, *problem.references))]
    session = target.with_suffix(".mix.json")
    if images:
        names = [reference.name for reference in problem.references]
        for path in images_beside(target, names).values():
            reserve_output(path, overwrite=overwrite, inputs=inputs).unlink()
    named_again = output is not None and target.exists()  # then its session goes with what is written over
    if sidecar and not named_again:
        keep_session_of_another(session, mixture=recording.path)
    for path in (target, *((session, session.with_suffix(".npz")) if sidecar else ())):
        reserve_output(path, overwrite=overwrite, inputs=inputs).unlink()
    analysis = analyse(problem, max_rung=max_rung, exclude=exclude, speed=speed, progress=progress)
    if analysis.nothing_found:
        told = [f"{name}: {finding.reason}" for name, finding in analysis.references.items()]
        reasons = "; ".join([*told, *damage_of((problem.mixture, *problem.references))])
        raise RefusedError(f"no reference was found in {problem.mixture.name} ({reasons}); nothing was written")
    depth = kept_null_db(analysis)
    if min_null_db is not None and depth > -abs(min_null_db):
        raise RefusedError(
            f"{problem.mixture.name} would be {-depth:.1f} dB quieter, less than the {abs(min_null_db):g} dB "
            "asked for; nothing was written"
        )
    removal = write_removal(
        problem, recording, analysis, output=target, images=images, add=add, overwrite=overwrite, progress=progress
    )
    if sidecar:
        save_removal(removal, session, overwrite=overwrite)
    return removal


def save_removal(removal: "Removal", path: Path, *, overwrite: bool = False) -> None:
    """Write ``mix.json`` for a removal: what was found, and of which files."""
    from unsum.api.recording_files import recorded
    from unsum.report.session import save_session

    save_session(
        path,
        removal.analysis,
        command="remove",
        mixture=recorded(removal.problem.mixture, path),
        references={source.name: recorded(source, path) for source in removal.problem.references},
        lossless=removal.problem.mixture.lossless,
        overwrite=overwrite,
    )
