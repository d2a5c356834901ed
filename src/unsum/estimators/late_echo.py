"""Echoes that come later than any filter so far reaches: where what is left repeats a track.

A filter is as long as the audio has rows to tell its taps, or as shorter ones have shown the sound to ring on. An
echo with silence before it shows in none of them. It does in the correlation of what they leave with the track::

    c(m) = sum_f  X_e(f) conj(X_r(f)) / sqrt(S_e(f) S_r(f)) exp(i 2 pi f m)

whitened on both sides [1]_, so that every frequency has one vote and an echo is one sharp peak; of sounds that know
nothing of each other it is noise of the same size at all lags.

What is found is fitted as a track of its own, the same sound so much later: a short filter there is a block of columns
of the same least squares, and no taps are spent on the silence between. `folded` makes one filter of both.

References
----------
.. [1] Carter, Nuttall and Cable, "The smoothed coherence transform", Proc. IEEE 61(10), 1973.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis, Response
from unsum.dsp.deviations import Deviations
from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.dsp.whitening import on_bins
from unsum.estimators.fir import Alignment, measure_residual
from unsum.model import Contribution, MixModel
from unsum.problem import AudioSource, PassedOn, Problem

# Normal noise comes to 6 deviations at one of all lags of all tracks, and so do real mixes that have no echo.
_SURE_DEVIATIONS = 12.0
_NORMAL_MEDIAN = 0.6745  # of the size of normal noise, in deviations
# Softer than this beside the loudest, a peak may be the period of the sound that repeats.
_BESIDE_THE_LOUDEST = 0.5
_FADE_SECONDS = 0.046
_LEAST_POWER = 1e-12


@dataclass(frozen=True, slots=True)
class LateEcho:
    """A track that is heard once more, so much later than its filters reach."""

    track: str
    lag_samples: int

    @property
    def name(self) -> str:
        return f"{self.track}, {self.lag_samples} samples later"


@dataclass(frozen=True, slots=True)
class _Later(PassedOn):
    """The source of an echo: the track itself under another name; its warp makes it late."""

    source: AudioSource
    name: str = field()  # not by default that of the source

    def blocks(self) -> Iterator[NDArray[Any]]:
        return self.source.blocks()


def late_echoes(
    problem: Problem,
    model: MixModel,
    alignment: Alignment,
    power: NDArray[np.float64],
    *,
    longest_lag: int,
    apart: int,
    known: Sequence[LateEcho] = (),
) -> tuple[LateEcho, ...]:
    """The echoes that the filters so far surely leave, the loudest and those not much softer.

    Parameters
    ----------
    model : the filters so far, all of one length
    power : (references, bins)
        Spectra of the references, bins from 0 to half the sample rate.
    longest_lag, apart : samples
        How late an echo may be, and how far at least from every other one of its track.
        The correlation is faded in behind the reach of the filters, and out before the longest lag: an echo within
        `_FADE_SECONDS` of either is weakened, and must be louder to be found.
    known : echoes among the references of the problem
    """
    first_lag = model.contributions[alignment.names[0]].first_lag
    filters = np.concatenate([model.contributions[name].filters for name in alignment.names], axis=1)
    reach = first_lag + filters.shape[2]
    fade = round(_FADE_SECONDS * model.sample_rate)
    if longest_lag - reach < 2 * fade:
        return ()
    long = np.pad(filters, ((0, 0), (0, 0), (0, longest_lag - reach)))
    left = measure_residual(problem, alignment, long, first_lag=first_lag)
    height = np.max(_deviations(left.rhs[..., filters.shape[2] :], left.density, power, fade=fade), axis=0)
    sizes = {source.name: len(source.channels) for source in problem.references}
    owners = [name for name in alignment.names for _ in range(sizes[name])]
    height[[any(name == echo.name for echo in known) for name in owners]] = 0.0
    for row, name in enumerate(owners):
        for echo in known:
            if echo.track == name:
                height[row, max(0, echo.lag_samples - apart - reach) : max(0, echo.lag_samples + apart - reach)] = 0.0
    sure = max(_SURE_DEVIATIONS, _BESIDE_THE_LOUDEST * float(height.max()))
    found = []
    while height.max() > sure:
        row, lag = divmod(int(np.argmax(height)), height.shape[1])
        found.append(LateEcho(owners[row], reach + lag))
        # Of one track and those that sound like it, the loudest is the one that is repeated.
        height[:, max(0, lag - apart) : lag + apart] = 0.0
    return tuple(found)


def with_echoes(
    problem: Problem, model: MixModel, alignment: Alignment, echoes: Sequence[LateEcho]
) -> tuple[Problem, MixModel, Alignment]:
    """The problem with echoes as references of their own, each as late as it is, and nothing fitted to them yet."""
    sources = {source.name: source for source in problem.references}
    warps, parts = dict(alignment.warps), dict(model.contributions)
    for echo in echoes:
        own = parts[echo.track]
        delay = own.warp.delay_seconds + echo.lag_samples / model.sample_rate
        warps[echo.name] = replace(own.warp, delay_seconds=delay)
        empty = np.zeros((*own.filters.shape[:2], 1))
        parts[echo.name] = Contribution(present=True, warp=warps[echo.name], filters=empty)
    later = tuple(_Later(sources[echo.track], echo.name) for echo in echoes)
    names = (*alignment.names, *(echo.name for echo in echoes))
    return (
        replace(problem, references=(*problem.references, *later)),
        replace(model, contributions=parts),
        replace(alignment, names=names, warps=warps),
    )


def folded(analysis: Analysis, echoes: Sequence[LateEcho]) -> Analysis:
    """The analysis with every echo in the filters of its track, silence between."""
    parts, responses = dict(analysis.model.contributions), dict(analysis.responses)
    for track in dict.fromkeys(echo.track for echo in echoes):
        own = [echo for echo in echoes if echo.track == track]
        part = parts[track]
        n_taps = part.n_taps
        total = max(echo.lag_samples for echo in own) + n_taps
        filters = np.zeros((*part.filters.shape[:2], total))
        filters[..., :n_taps] = part.filters
        pieces = [responses[track]]
        for echo in own:
            filters[..., echo.lag_samples : echo.lag_samples + n_taps] += parts.pop(echo.name).filters
            pieces.append(responses.pop(echo.name))
        parts[track] = replace(part, filters=filters)
        responses[track] = _of_all(pieces, [0, *(echo.lag_samples for echo in own)], n_taps, total)
    return replace(analysis, model=replace(analysis.model, contributions=parts), responses=responses)


def _of_all(pieces: Sequence[Response], lags: Sequence[int], n_taps: int, total: int) -> Response:
    """The response of filters with silence between them.

    Readers take the errors of bins nearer than one over the length of a filter for the same. Here they are the same
    over wider bands, so the variance is what it would be if every tap had been fitted. The image of the first is
    that of all: a sound and its echo have something in common, so that energies do not add up (`Climb.echoes`).
    """
    first = pieces[0]
    n_bins = fast_length(2 * total) // 2 + 1
    share = total / (len(pieces) * n_taps)
    variance = share * np.sum([on_bins(piece.variance, n_bins) for piece in pieces], axis=0)
    correlation = first.correlation
    if correlation is not None:
        correlation = on_bins(correlation.real, n_bins) + 1j * on_bins(correlation.imag, n_bins)
    left = None if first.left is None else on_bins(first.left, n_bins)
    own = [piece.deviations for piece in pieces if piece.deviations is not None]
    deviations = None
    if len(own) == len(pieces):
        # One after the other as the filters are; each stretch of time moved all of them.
        moved = np.zeros((*own[0].filters.shape[:-1], total))
        for one, lag in zip(own, lags, strict=True):
            moved[..., lag : lag + n_taps] += one.filters
        widening = np.max([on_bins(one.widening, n_bins) for one in own], axis=0)
        steady = share * np.sum([on_bins(one.steady, n_bins) for one in own], axis=0)
        deviations = Deviations(moved, widening, steady, own[0].freedom)
    return Response(on_bins(first.power, n_bins), variance, first.energies, correlation, left, deviations)


def _deviations(
    correlations: NDArray[np.float64], residual: NDArray[np.float64], power: NDArray[np.float64], *, fade: int
) -> NDArray[np.float64]:
    """Correlations (channels, references, lags), whitened, in standard deviations of chance.

    Parameters
    ----------
    residual, power : (channels, bins) and (references, bins)
        Spectra of what is left and of the references.
    fade : lags at either end that are faded
    """
    n_lags = correlations.shape[2]
    n_fft = fast_length(n_lags)
    n_bins = n_fft // 2 + 1
    both = [np.sqrt(np.maximum(one, _LEAST_POWER * one.max(axis=1, keepdims=True))) for one in (residual, power)]
    of_residual, of_references = (on_bins(one, n_bins) for one in both)
    # What is loud is slow: cut off, it would ring at frequencies that are hardly there, and be louder whitened.
    spectra = rfft(correlations * _faded(n_lags, fade), n_fft)
    weights = of_residual[:, None] * of_references[None]
    whitened = np.abs(irfft(np.divide(spectra, weights, out=np.zeros_like(spectra), where=weights > 0), n_fft))
    deviation = np.median(whitened, axis=2, keepdims=True) / _NORMAL_MEDIAN
    return np.divide(whitened, deviation, out=np.zeros_like(whitened), where=deviation > 0)[..., :n_lags]


def _faded(n_lags: int, fade: int) -> NDArray[np.float64]:
    ramp = np.sin(0.5 * np.pi * (np.arange(fade) + 0.5) / fade) ** 2
    return np.concatenate([ramp, np.ones(n_lags - 2 * fade), ramp[::-1]])
