"""Where a reference is in a recording."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unsum.api.arguments import PathArgument
from unsum.errors import RefusedError, UsageError
from unsum.media.probe import parse_address
from unsum.media.remux import reserve_output
from unsum.progress import Progress

if TYPE_CHECKING:
    from unsum.alignment import AlignedPair


def align(
    recording: PathArgument,
    reference: PathArgument,
    *,
    output: PathArgument | None = None,
    labels: PathArgument | None = None,
    speed: float | str | None = None,
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
        A text file of labels for Audacity: where the reference begins, jumps and is silent.
    speed : float or "auto", optional
        How many percent faster the reference was played than it was recorded, known to some 0.3. "auto" tries all up
        to 6 % off where it is not heard at its own, in a minute for each hour of recording; so it is done unasked in
        recordings up to five minutes.

    Raises
    ------
    RefusedError
        If there is something to write and the reference was not found; without that, "not found" is an answer.
    UsageError, InputError, OutputExistsError, OutputError
    """
    from unsum.alignment import align_sources, output_format, write_aligned, write_labels
    from unsum.removal import damage_of, open_problem

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
    pair = align_sources(problem, speed=speed, progress=progress)
    pair = replace(pair, limits=damage_of((problem.mixture, *problem.references)))
    if not pair.present:
        if targets:
            why = "; ".join((*pair.location.remarks, *pair.limits))
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
