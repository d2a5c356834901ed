"""Why a subtraction does not go deeper, in words and numbers: what its levels and the files' codecs tell."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis
from unsum.describe.limits import StreamHistory, codec_limit
from unsum.media.source import FileSource
from unsum.metering import Levels
from unsum.problem import AudioSource, Problem, ResampledSource
from unsum.timecode import clock_time

# Less than this is no sound to be sure of.
_SHORTEST_SECONDS = 0.25
# Following the level has to promise this much before it is told.
_WORTH_DB = 1.0
# A second in which the best gain is surely below this has none of the reference in it.
_HARDLY_THERE = 0.3
_SURE_DEVIATIONS = 3.0
_SURE_BELOW = 0.6
_FEWEST_SECONDS = 2
_MOST_STRETCHES = 4


def with_reasons(problem: Problem, analysis: Analysis, levels: Levels) -> Analysis:
    """The analysis with its limits told; nothing to tell where subtraction left nothing or was exact."""
    if all(part.exact_gains for part in analysis.model.contributions.values() if part.present):
        return analysis
    name = problem.mixture.name
    clipped = clipping_reason(levels.n_clipped, analysis.samples * len(problem.mixture.channels), mixture=name)
    found = [*([clipped] if clipped else []), *level_reasons(levels, mixture=name)]
    present = [reference for reference in problem.references if reference.name in analysis.model.present]
    found += codec_reasons([problem.mixture, *present], null_db=analysis.null_db)
    return replace(analysis, limits=(*analysis.limits, *found))


def with_plain_absences(problem: Problem, analysis: Analysis) -> Analysis:
    """The analysis with the plain reason for every absence that has one: nothing there, silence, too short to tell.

    Of tracks whose files were read to their end.
    """
    mixture = _nothing_to_hear(problem.mixture, f"{problem.mixture.name} ")
    if mixture is None and not analysis.model.present and analysis.residual_range == (0.0, 0.0):
        mixture = f"{problem.mixture.name} is silent"
    told = dict(analysis.references)
    for reference in problem.references:
        finding = told[reference.name]
        if reference.name in analysis.model.present:
            continue
        silent = "it is silent" if finding.reason == f"{reference.name} is silent" else None
        why = _nothing_to_hear(reference, "it ") or silent or mixture
        told[reference.name] = replace(finding, reason=why or finding.reason)
    return replace(analysis, references=told)


def _nothing_to_hear(source: AudioSource, called: str) -> str | None:
    """Why nothing can be heard of a source whatever it holds; None where something may be."""
    file = source.source if isinstance(source, ResampledSource) else source
    samples = file.report.lengths.get(file.stream.number, 0) if isinstance(file, FileSource) else file.samples
    if samples is None or samples >= _SHORTEST_SECONDS * file.sample_rate:
        return None
    if not samples:
        return f"{called}has no samples"
    count = "1 sample" if samples == 1 else f"{samples} samples"
    return f"{called}has {count}; less than {_SHORTEST_SECONDS:g} s cannot be told from chance"


def codec_reasons(sources: Sequence[AudioSource], *, null_db: float) -> list[str]:
    """What lossy codecs allow, for those that do not allow what was reached.

    A null that is deeper than a codec's own noise shows that both files hold the same decoded sound.
    """
    told = []
    for source in sources:
        file = source.source if isinstance(source, ResampledSource) else source
        if not isinstance(file, FileSource) or file.lossless:
            continue
        stream = file.stream
        rate = None if stream.bits_per_second is None else stream.bits_per_second / 1000
        limit = codec_limit(
            StreamHistory(
                name=file.name,
                codec=stream.codec,
                lossless=False,
                sample_rate=stream.sample_rate,
                n_channels=len(stream.channels),
                kilobits_per_second=rate,
            )
        )
        if limit.depth_db is None or null_db > limit.depth_db:
            told.append(limit.sentence)
    return told


def level_reasons(levels: Levels, *, mixture: str) -> tuple[str, ...]:
    """What the levels second by second tell of every reference.

    Parameters
    ----------
    mixture : its name, for the words
    """
    told: list[str] = []
    for name in levels.images:
        absent = _absent(levels, name)
        stretches = _stretches(absent)
        if stretches:
            where = ", ".join(f"{clock_time(a)} to {clock_time(b)}" for a, b in stretches[:_MOST_STRETCHES])
            more = f" and {len(stretches) - _MOST_STRETCHES} more" if len(stretches) > _MOST_STRETCHES else ""
            told.append(
                f"{name} hardly sounds in {mixture} from {where}{more}, though it should by its own time line: "
                "a mute, a cut or a pause; there the result is worse than the recording"
            )
        gained, swing = _level_following(levels, name, ~absent)
        if gained > _WORTH_DB:
            told.append(
                f"the level of {name} changes by about {swing:.1f} dB over time; following it second by second would "
                f"take {gained:.1f} dB more: another master, a compressor, automatic gain or a fader"
            )
    return tuple(told)


def clipping_reason(n_clipped: int, n_samples: int, *, mixture: str) -> str | None:
    """What clipped samples mean; None if there is hardly one."""
    share = n_clipped / max(n_samples, 1)
    if n_clipped < 10 or share < 1e-5:
        return None
    told = f"{100 * share:.2g} %" if share >= 1e-4 else f"{n_clipped}"
    return f"{told} of the samples of {mixture} are clipped: what was cut off there cannot be subtracted"


def _absent(levels: Levels, name: str) -> NDArray[np.bool_]:
    """Seconds (seconds,) in which the image is subtracted from nothing."""
    energy = levels.images[name]
    gain, spread = levels.gains(name)
    loud = energy > 1e-3 * np.mean(energy)
    known = np.isfinite(gain) & np.isfinite(spread)
    return loud & known & (gain < _HARDLY_THERE) & (gain + _SURE_DEVIATIONS * spread < _SURE_BELOW)


def _stretches(seconds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seconds, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= _FEWEST_SECONDS]


def _level_following(levels: Levels, name: str, use: NDArray[np.bool_]) -> tuple[float, float]:
    """Decibels that a gain of its own for every second would take, less what chance gives; and its swing in dB."""
    energy = levels.images[name][use]
    gain, spread = (values[use] for values in levels.gains(name))
    clear = np.isfinite(gain) & (spread < 0.2) & (energy > 1e-6 * np.max(energy, initial=0.0))
    residual = float(np.sum(levels.residual[use]))
    if np.count_nonzero(clear) < _FEWEST_SECONDS or residual <= 0:
        return 0.0, 0.0
    off = (gain - 1)[clear] ** 2 - spread[clear] ** 2
    taken = float(np.sum(energy[clear] * off)) / residual
    if taken <= 0:
        return 0.0, 0.0
    decibels = 20 * np.log10(np.maximum(gain[clear], 1e-3))
    low, high = np.quantile(decibels, [0.1, 0.9])
    return -10 * math.log10(max(1 - taken, 1e-6)), float(high - low)
