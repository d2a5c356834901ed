"""Whether a reference falls silent by a fade: its level along time, beside the ends of its silences.

A mute is a step, a fade a ramp. Both are compared with the gain that the image of the reference would need frame by
frame, as far as the other sounds let that be known::

    g_n = <image, heard>_n / <image, image>_n,    var g_n = <left, left>_n / (r <image, image>_n)

with r values in a frame that tell something of their own. Only beside a silence is a fade looked for, so that a song
that sounds throughout never has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.engine import subtract
from unsum.model import MixModel
from unsum.problem import Problem, as_float
from unsum.progress import Progress

Range = tuple[int, int]

_FRAME_SECONDS = 0.5
# Music is tonal, and most of it is low.
_INDEPENDENT_A_SECOND = 200
# So far from the end of a silence a fade may begin or end.
_REACH_SECONDS = 20.0
_SHORTEST_SECONDS = 1.5
# Twice the natural logarithm by which a ramp must be likelier than a step, and the share of the misfit it must take.
_LIKELIER, _SHARE = 12.0, 0.5
# Frames in which the image is far softer than it mostly is tell nothing.
_SOFT = 1e-4


@dataclass(frozen=True, slots=True)
class Fade:
    """A reference that comes or goes by and by.

    Attributes
    ----------
    start_seconds, stop_seconds : in mixture time, about
    out : False where it fades in
    """

    start_seconds: float
    stop_seconds: float
    out: bool


@dataclass(frozen=True, slots=True)
class _Levels:
    """The gain (frames,) that an image needs, and how sure it is: one over its variance."""

    gain: NDArray[np.float64]
    weight: NDArray[np.float64]


def fades(
    problem: Problem, model: MixModel, quiet: Mapping[str, Sequence[Range]], *, progress: Progress | None = None
) -> dict[str, tuple[Fade, ...]]:
    """The fades by which references fall silent or set in, in order of time; those without any are left out.

    Parameters
    ----------
    model : in which the references sound also where they are silent
    quiet : {reference: half-open ranges of mixture samples} in which they are not heard
    """
    levels = _levels(problem, model, progress)
    found: dict[str, tuple[Fade, ...]] = {}
    for name, ranges in quiet.items():
        if name not in levels:
            continue
        frames = [_in_frames(one, model.sample_rate) for one in ranges]
        edges = []
        for n, (start, stop) in enumerate(frames):
            # Heard before the silence back to the one before it, and behind it on to the next.
            before = frames[n - 1][1] if n else 0
            behind = frames[n + 1][0] if n + 1 < len(frames) else len(levels[name].gain)
            edges += [_fade(levels[name], (before, start, stop), out=True)]
            edges += [_fade(levels[name], (start, stop, behind), out=False)]
        if told := tuple(edge for edge in edges if edge is not None):
            found[name] = told
    return found


def _in_frames(samples: Range, rate: int) -> Range:
    return round(samples[0] / (_FRAME_SECONDS * rate)), round(samples[1] / (_FRAME_SECONDS * rate))


def _levels(problem: Problem, model: MixModel, progress: Progress | None) -> dict[str, _Levels]:
    """Level and its weight frame by frame, by the name of the reference."""
    rate, bits = problem.mixture.sample_rate, problem.mixture.bits
    size = round(_FRAME_SECONDS * rate)
    sums: dict[str, list[NDArray[np.float64]]] = {name: [] for name in model.present}
    for block in subtract(problem, model, progress=progress):
        left = as_float(block.residual, bits)
        at = (block.start + np.arange(left.shape[1])) // size
        edges = np.flatnonzero(np.diff(at, prepend=-1))
        for name, rows in sums.items():
            image = block.images[name]
            products = np.stack([np.sum(image**2, axis=0), np.sum(image * left, axis=0), np.sum(left**2, axis=0)])
            for frame, part in zip(at[edges], np.add.reduceat(products, edges, axis=1).T, strict=True):
                while len(rows) <= frame:
                    rows.append(np.zeros(3))
                rows[frame] += part
    out = {}
    for name, rows in sums.items():
        energy, agreement, rest = np.array(rows).reshape(-1, 3).T
        loud = energy > _SOFT * np.max(energy, initial=0.0)
        nothing = np.zeros(len(energy))
        gain = np.divide(agreement, energy, out=nothing.copy(), where=loud) + loud
        independent = _INDEPENDENT_A_SECOND * _FRAME_SECONDS
        # A model is never right to the last decibel: nothing counts for more than its own level ten times over.
        weight = np.divide(independent * energy, rest + 0.1 * energy, out=nothing, where=loud)
        out[name] = _Levels(gain, weight)
    return out


def _fade(levels: _Levels, edge: tuple[int, int, int], *, out: bool) -> Fade | None:
    """The fade over one end of a silence; None where a step does as well.

    Parameters
    ----------
    edge : frames from where the one state lasts, where it ends, and until when the other lasts
    """
    first, at, last = edge
    reach = round(_REACH_SECONDS / _FRAME_SECONDS)
    first, last = max(first, at - reach), min(last, at + reach, len(levels.gain))
    if at - first < 1 or last - at < 1:
        return None
    gain, weight = levels.gain[first:last], levels.weight[first:last]
    if not out:  # time turned round, setting in is fading out
        gain, weight = gain[::-1], weight[::-1]
    here = at - first if out else last - at
    middle = np.arange(len(gain)) + 0.5

    def misfit(start: int, stop: int) -> float:
        shape = np.clip((stop - middle) / max(stop - start, 1e-9), 0.0, 1.0)
        power = float(np.sum(weight * shape**2))
        scale = float(np.sum(weight * shape * gain)) / power if power > 0 else 0.0
        return float(np.sum(weight * (gain - scale * shape) ** 2))

    step = min(misfit(near, near) for near in range(max(here - 1, 0), min(here + 1, len(gain)) + 1))
    shortest = round(_SHORTEST_SECONDS / _FRAME_SECONDS)
    ramps = [
        (misfit(start, stop), start, stop)
        for start in range(here + 1)
        for stop in range(max(here, start + shortest), len(gain) + 1)
    ]
    if not ramps:
        return None
    least, start, stop = min(ramps)
    if step - least < max(_LIKELIER, _SHARE * step):
        return None
    ends = (first + start, first + stop) if out else (last - stop, last - start)
    return Fade(ends[0] * _FRAME_SECONDS, ends[1] * _FRAME_SECONDS, out)
