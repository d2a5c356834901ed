"""Excerpts of a mix and its tracks, evenly spread: intervals tell so much that some hundred thousand samples do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.rounding import step_of
from unsum.dsp.transforms import rfft
from unsum.engine import aligned_blocks, stacked
from unsum.model import TimeWarp
from unsum.problem import Problem
from unsum.progress import Progress
from unsum.rounded.chains import Window

_SHORTEST_FFT = 1 << 15
_MOST_ROWS = 1 << 19
# Some of them are fitted to and some judge.
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Consecutive samples of a mix.

    Attributes
    ----------
    mixture : (channels, samples) in steps
    counts : (channels, samples)
        False at the ends of the scale, where a sample may have been cut off.
    spectra : (track channels, bins)
        Of the tracks, in steps, with the history that the filters need; of ``transform_length`` samples.
    """

    mixture: NDArray[np.float64]
    counts: NDArray[np.bool_]
    spectra: NDArray[np.complex128]


def excerpts_of(
    problem: Problem,
    warps: Mapping[str, TimeWarp],
    *,
    samples: int,
    window: Window,
    progress: Progress | None = None,
) -> tuple[Excerpt, ...]:
    """Excerpts of an integer mix, in one reading.

    Parameters
    ----------
    warps : of the tracks, in the order in which their channels are stacked
    samples : length of the mix
    window : of the filters to come
    """
    bits = problem.mixture.bits
    assert bits is not None
    last_lag = window.first_lag + window.n_taps - 1
    n_fft = transform_length(window)
    starts = _starts(samples, min(n_fft - window.n_taps + 1, -(-samples // _FEWEST)))
    names = tuple(warps)
    n_rows = sum(len(one.channels) for one in problem.references if one.name in warps)
    mixtures = [np.zeros((len(problem.mixture.channels), stop - start), np.int64) for start, stop in starts]
    tracks = [np.zeros((n_rows, stop - start + window.n_taps - 1)) for start, stop in starts]
    before, after = max(0, last_lag), max(0, -window.first_lag)
    for block in aligned_blocks(problem, warps, before=before, after=after, progress=progress, what="reading"):
        played = stacked(problem, block, names)
        for (start, _), mixture, track in zip(starts, mixtures, tracks, strict=True):
            _paste(mixture, start, block.mixture, block.start)
            _paste(track, start - last_lag, played, block.start)
    step = step_of(np.concatenate(mixtures, axis=1))
    top = (1 << (bits - 1)) - step
    return tuple(
        Excerpt(
            mixture / step,
            (mixture < top) & (mixture > -top - step),
            rfft(track * (2.0 ** (bits - 1) / step), n_fft),
        )
        for mixture, track in zip(mixtures, tracks, strict=True)
    )


def transform_length(window: Window) -> int:
    """Of the transforms of excerpts; at most half of each is history."""
    return max(2 * window.n_taps, _SHORTEST_FFT)


def _starts(samples: int, rows: int) -> Sequence[tuple[int, int]]:
    """Ranges of so many samples, evenly spread; all of them where the mix is short."""
    count = -(-samples // rows)
    if count <= _MOST_ROWS // rows:
        return [(n * rows, min((n + 1) * rows, samples)) for n in range(count)]
    firsts = np.linspace(0, samples - rows, _MOST_ROWS // rows).astype(int).tolist()
    return [(first, first + rows) for first in firsts]


def _paste(target: NDArray, target_start: int, source: NDArray, source_start: int) -> None:
    """Copy what of a source lies in the time of the target."""
    a = max(target_start, source_start)
    b = min(target_start + target.shape[1], source_start + source.shape[1])
    if a < b:
        target[:, a - target_start : b - target_start] = source[:, a - source_start : b - source_start]
