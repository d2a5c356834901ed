"""Short filters frame by frame: what a mix that changes over time does to its tracks.

Every track first goes through its own filters of the whole mix, brought to unit gain, so that an equaliser stays out
of it [1]_. What is left to fit in a frame is a few taps for each channel: gain, place, and a delay of some samples.
Frames are two hops long and half overlapping; the normal equations of a hop are gathered once and serve both.

References
----------
.. [1] Barchiesi and Reiss, "Reverse engineering of a mix", JAES 58(7/8), 2010, section 1.1: frame by frame.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.convolution import ImageStream
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.rows import Segment
from unsum.dsp.solvers import TINY_RIDGE, least_squares_filters
from unsum.dsp.statistics import gather_statistics
from unsum.dsp.transforms import rfft
from unsum.dsp.uncertainty import filter_variance
from unsum.engine import aligned_blocks, reach_of, stacked
from unsum.errors import InputError
from unsum.model import Contribution, MixModel
from unsum.problem import Problem, as_float
from unsum.progress import Progress

# Taps on either side of none, at most: a delay may move so far.
_MOST_LAGS = 16
_ROWS_PER_UNKNOWN = 20
_SILENT = 1e-12  # of the energy of the loudest track
_SOUNDS_IN_HALF = 1e-3  # of the energy of a track in a frame


@dataclass(frozen=True, slots=True)
class FrameFit:
    """What was fitted to one frame.

    Attributes
    ----------
    start, stop : samples of mixture time
    first_lag : of the filters, samples
    filters : {track: (mixture channels, reference channels, taps)}
        On the track at its own level behind its equaliser of the whole mix.
    power : {track: (reference channels, bins)}, of that sound in this frame
    variance : {track: (mixture channels, reference channels, bins)}, of the responses
    halves : {track: its filters in each half of the frame alone}
        By how much they differ tells what the variance does not know: what moves within the frame, its own settings
        and those of others. Without tracks that sound in one half only.
    """

    start: int
    stop: int
    first_lag: int
    filters: Mapping[str, NDArray[np.float64]]
    power: Mapping[str, NDArray[np.float64]]
    variance: Mapping[str, NDArray[np.float64]]
    halves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def fit_frames(
    problem: Problem,
    model: MixModel,
    *,
    power: Mapping[str, NDArray[np.float64]],
    samples: int,
    window_samples: int,
    progress: Progress | None = None,
) -> Iterator[FrameFit]:
    """Fit all present tracks to one frame after the other, in one pass over the audio.

    Parameters
    ----------
    power : {track: (reference channels, bins)}
        Spectra by which the gain of a filter is told; a track without one counts all frequencies alike.
    samples : of the mixture
    window_samples : of a frame; the next one begins half of it later

    Raises
    ------
    InputError
        If a frame is too short to tell so many channels apart, or longer than the mixture.
    """
    widths = {name: model.contributions[name].filters.shape[1] for name in model.present}
    n_columns = sum(widths.values())
    hop = window_samples // 2
    most_taps = 2 * hop // (_ROWS_PER_UNKNOWN * max(n_columns, 1))
    if most_taps < 1:
        shortest = _ROWS_PER_UNKNOWN * n_columns / problem.mixture.sample_rate
        raise InputError(
            f"a window of {window_samples} samples cannot tell {n_columns} channels of tracks apart; "
            f"give one of {shortest:.3f} s or longer"
        )
    if samples < 2 * hop:
        raise InputError(f"a window of {window_samples} samples is longer than the mixture, which has {samples}")
    reach = min(_MOST_LAGS, (most_taps - 1) // 2)
    return _fitted(problem, model, widths, power, samples, hop, reach, progress)


def _fitted(
    problem: Problem,
    model: MixModel,
    widths: Mapping[str, int],
    power: Mapping[str, NDArray[np.float64]],
    samples: int,
    hop: int,
    reach: int,
    progress: Progress | None,
) -> Iterator[FrameFit]:
    before: NormalEquations | None = None
    for start, mixture, references in _hops(problem, model, power, samples, hop, reach, progress):
        (equations,) = gather_statistics(
            mixture,
            references,
            first_lag=-reach,
            n_taps=2 * reach + 1,
            segments=[Segment(start, start + hop)],
            mixture_start=start,
            reference_start=start - reach,
            silent_before=True,
            silent_after=True,
            threads=1,
        ).values()
        if before is not None:
            yield _solved((before, equations), widths, start - hop, start + hop)
        before = equations


def _solved(
    halves: tuple[NormalEquations, NormalEquations], widths: Mapping[str, int], start: int, stop: int
) -> FrameFit:
    equations = halves[0] + halves[1]
    fit = least_squares_filters(equations, threads=1)
    spectra = equations.spectra
    assert spectra is not None
    n_bins = len(spectra.matrix())
    # What is left is taken as white: a frame is too short to tell more.
    free = max(equations.n_rows - equations.n_unknowns, 1)
    density = np.repeat(equations.residual_energy(fit.filters)[:, None] / free, n_bins, axis=1)
    energy = equations.reference_energy
    # A track that is silent in the frame knows nothing; how little need not overflow.
    tiny = TINY_RIDGE * np.maximum(energy, max(_SILENT * float(np.max(energy)), np.finfo(float).eps))
    variance = filter_variance(equations, density, np.repeat(tiny[:, None], n_bins, axis=1))
    power = spectra.matrix().diagonal(axis1=1, axis2=2).real.T
    rows, at = {}, 0
    for name, width in widths.items():
        rows[name] = slice(at, at + width)
        at += width
    first, second = (least_squares_filters(half, threads=1).filters for half in halves)
    softer = np.minimum(halves[0].reference_energy, halves[1].reference_energy)
    both = {name: own for name, own in rows.items() if np.all(softer[own] > _SOUNDS_IN_HALF * energy[own])}
    return FrameFit(
        start,
        stop,
        equations.first_lag,
        {name: fit.filters[:, own] for name, own in rows.items()},
        {name: power[own] for name, own in rows.items()},
        {name: variance[:, own] for name, own in rows.items()},
        {name: (first[:, own], second[:, own]) for name, own in both.items()},
    )


def _hops(
    problem: Problem,
    model: MixModel,
    power: Mapping[str, NDArray[np.float64]],
    samples: int,
    hop: int,
    reach: int,
    progress: Progress | None,
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """First sample, mixture (channels, hop) and equalised tracks (columns, hop and the reach on both sides)."""
    names = model.present
    filters, first_lag = _at_unit_gain([(model.contributions[name], power.get(name)) for name in names])
    before, after = reach_of([(filters.shape[2], first_lag)])
    before, after = before + reach, after + reach
    equalised = ImageStream(
        filters, first_lag=first_lag, groups=range(filters.shape[1]), start=-reach, reference_start=-before
    )
    warps = {name: model.contributions[name].warp for name in names}
    blocks = aligned_blocks(problem, warps, before=before, after=after, progress=progress, what="following")
    mixture = np.empty((len(problem.mixture.channels), 0))
    tracks = np.empty((filters.shape[1], 0))
    at, reached = 0, 0
    for block in blocks:
        images = equalised.add(stacked(problem, block, names))[:, 0]
        tracks = np.concatenate([tracks, images], axis=1)
        mixture = np.concatenate([mixture, as_float(block.mixture, problem.mixture.bits)], axis=1)
        reached = max(reached, block.start + block.length)
        while mixture.shape[1] >= hop and tracks.shape[1] >= hop + 2 * reach:
            yield at, mixture[:, :hop], tracks[:, : hop + 2 * reach]
            mixture, tracks, at = mixture[:, hop:], tracks[:, hop:], at + hop
    tracks = np.concatenate([tracks, equalised.finish(min(reached, samples) + reach)[:, 0]], axis=1)
    while mixture.shape[1] >= hop and tracks.shape[1] >= hop + 2 * reach:
        yield at, mixture[:, :hop], tracks[:, : hop + 2 * reach]
        mixture, tracks, at = mixture[:, hop:], tracks[:, hop:], at + hop


def _at_unit_gain(
    parts: Sequence[tuple[Contribution, NDArray[np.float64] | None]],
) -> tuple[NDArray[np.float64], int]:
    """The filter (1, columns, taps) of the loudest path of every reference channel at unit gain, and its first lag.

    The identity for a channel that nothing of is heard.
    """
    first = min(0, *(part.first_lag for part, _ in parts))
    stop = max(1, *(part.first_lag + part.n_taps for part, _ in parts))
    filters = []
    for part, power in parts:
        for column in range(part.filters.shape[1]):
            size = _path_sizes(part.filters[:, column], None if power is None else power[column])
            loudest = int(np.argmax(size))
            out = np.zeros(stop - first)
            if size[loudest] > 0:
                at = part.first_lag - first
                out[at : at + part.n_taps] = part.filters[loudest, column] / size[loudest]
            else:
                out[-first] = 1.0
            filters.append(out)
    return np.array(filters)[None], first


def _path_sizes(paths: NDArray[np.float64], power: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Gain (mixture channels,) of each filter on a sound with that spectrum."""
    if power is None or not np.any(power > 0):
        return np.sqrt(np.sum(paths**2, axis=1))
    n_bins = max(len(power), paths.shape[1] + 1)
    weights = np.interp(np.linspace(0, 1, n_bins), np.linspace(0, 1, len(power)), power)
    weights[1:-1] *= 2
    energy = np.abs(rfft(paths, 2 * (n_bins - 1))) ** 2
    return np.sqrt(np.sum(weights * energy, axis=1) / np.sum(weights))
