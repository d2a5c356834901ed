"""How a mix was made from its tracks, and the files that keep what was found."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unsum.api.arguments import PathArgument
from unsum.errors import InputError, UsageError
from unsum.media.remux import make_folder, reserve_output
from unsum.progress import Progress

if TYPE_CHECKING:
    from unsum.explanation import Explanation
    from unsum.problem import AudioSource, Problem

# A frame is two hops of a sample at least.
_LEAST_WINDOW_SAMPLES = 2


def explain(
    mixture: PathArgument,
    stems: Sequence[PathArgument],
    *,
    out_dir: PathArgument | None = None,
    images: bool = False,
    max_taps: int | None = None,
    law: str = "equal-power",
    window: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> "Explanation":
    """Gain, delay, polarity, pan, equaliser and reverb of every track of a mix.

    Parameters
    ----------
    mixture, stems : ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``
        Stems begin with the mixture unless they are found elsewhere.
    out_dir : path, optional
        The folder for ``MIX.mix.json`` and the responses of reverbs, ``STEM.response.wav``; nothing is written
        without it.
    images : also write what each stem sounds like in the mixture, and what no stem explains
    max_taps : of the longest filters to try; as many as the audio can tell if not given
    law : of panning, by which gain and pan are told: "equal-power", "linear" or another of `unsum.describe.pan`
    window : seconds; also follow gain, pan and delay in frames of this length, half overlapping

    Returns
    -------
    explanation : Explanation
        A stem that is not in the mixture is told as absent; with none present, that is the answer.

    Raises
    ------
    UsageError, InputError, OutputExistsError, OutputError
    """
    from unsum.describe.pan import pan_law
    from unsum.explanation import explain_problem
    from unsum.explanation_files import file_behind, planned_paths, session_path, write_explanation
    from unsum.reasons import with_plain_absences
    from unsum.removal import damage_of, open_problem
    from unsum.report.session import keep_session_of_another

    if images and out_dir is None:
        raise UsageError("images need a folder to be written to; give out_dir (-o DIR)")
    if max_taps is not None and max_taps < 1:
        raise UsageError(f"filters of {max_taps} taps; give 1 or more")
    if window is not None and not window > 0:
        raise UsageError(f"a window of {window:g} s; give one of some tenths of a second or longer")
    try:
        law = pan_law(law).name
    except ValueError as error:
        raise UsageError(str(error)) from error
    problem, recording = open_problem(str(mixture), [str(stem) for stem in stems])
    if window is not None:
        _check_window(window, problem)
    folder = None if out_dir is None else Path(out_dir)
    if folder is not None:
        make_folder(folder)
        keep_session_of_another(session_path(recording, folder), mixture=recording.path)
        inputs = [file_behind(source).path for source in (problem.mixture, *problem.references)]
        planned = planned_paths(problem, recording, folder, images=images)
        if twice := next((path for path in planned if planned.count(path) > 1), None):
            raise UsageError(
                f"{twice.name} would be written for a track and for the whole; give the track another name"
            )
        for path in planned:
            reserve_output(path, overwrite=overwrite, inputs=inputs).unlink()
    explanation = explain_problem(problem, max_taps=max_taps, law=law, window_seconds=window, progress=progress)
    analysis = with_plain_absences(problem, explanation.analysis)
    damage = damage_of((problem.mixture, *problem.references))
    explanation = replace(explanation, analysis=replace(analysis, limits=(*analysis.limits, *damage)))
    if folder is None:
        return explanation
    explanation = write_explanation(
        explanation, recording, folder, images=images, overwrite=overwrite, progress=progress
    )
    return save_explanation(explanation, session_path(recording, folder), overwrite=overwrite)


def _check_window(seconds: float, problem: "Problem") -> None:
    """Refuse what no mixture, or not this one, has frames of: before the fit of the filters, which takes long.

    Whether it is too short for the tracks is known when it is known which of them are present.
    """
    rate = problem.mixture.sample_rate
    if seconds * rate < _LEAST_WINDOW_SAMPLES:
        raise InputError(f"a window of {seconds:g} s; give one of some tenths of a second or longer")
    if seconds * rate <= (problem.mixture.samples or 0):
        return
    # Some files state a length that is not quite theirs.
    samples = _counted(problem.mixture)
    if not math.isfinite(seconds) or 2 * (round(seconds * rate) // 2) > samples:
        raise InputError(
            f"a window of {seconds:g} s is longer than {problem.mixture.name}, which has {samples / rate:.3f} s; "
            "give one of some tenths of a second"
        )


def _counted(source: "AudioSource") -> int:
    return sum(block.shape[1] for block in source.blocks())


def save_explanation(explanation: "Explanation", path: Path, *, overwrite: bool = False) -> "Explanation":
    """Write ``mix.json``: what was found of every track, and of which files; gain and pan by equal power.

    Raises
    ------
    OutputExistsError, OutputError
    """
    from unsum.api.recording_files import recorded
    from unsum.report.session import save_session

    analysis, tracks = explanation.analysis, explanation.tracks
    told = [limit for track in tracks.values() for limit in track.limits]
    save_session(
        path,
        replace(analysis, limits=tuple(dict.fromkeys([*analysis.limits, *told]))),
        command="explain",
        mixture=recorded(explanation.problem.mixture, path),
        references={source.name: recorded(source, path) for source in explanation.problem.references},
        lossless=explanation.problem.mixture.lossless,
        equalisers={name: track.eq for name, track in tracks.items()},
        rooms={name: track.room for name, track in tracks.items()},
        echoes={name: track.echo for name, track in tracks.items()},
        automation={name: track.automation for name, track in tracks.items()},
        overwrite=overwrite,
    )
    return replace(explanation, session=path)
