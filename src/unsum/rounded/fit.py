"""Settings that leave every sample of a mix within half a step: least squares first, then edges ever less soft.

Newton's method on the few settings of all tracks together. Samples that are far from an edge have no say, so that the
fewer remain the harder the edges are: they are hardened while what is left is so many times more than there are
settings, and while that makes the samples likelier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.rounding import interval_scores
from unsum.dsp.transforms import irfft, rfft
from unsum.progress import Progress
from unsum.rounded.chains import Chain, Window, taps_and_slopes
from unsum.rounded.excerpts import Excerpt, transform_length

_SOFTEST, _HARDER, _LEVELS = 0.125, 0.25, 6
# Samples with a say that each setting must have.
_SAMPLES_PER_SETTING = 200
_NEWTON_STEPS = 8
# Steps that promise less than this in log-likelihood, or of the energy that is left, are the last.
_SETTLED, _SETTLED_SHARE = 0.01, 1e-6
_SHORTEST_STEP = 0.02
# No step moves a band by more than so much in the logarithm of its settings, a delay by more samples, or gains by a
# greater share of themselves.
_LONGEST_STEP = 0.7
# Of the largest eigenvalue: what is turned without effect stays as it is.
_NO_EFFECT = 1e-13
# Scores of so many samples are added up: neighbours are not independent.
_STRETCH = 4096
# Of a variance that stretches of time show: sounds that come again lessen nothing.
_REPEATED = 2.0
# One excerpt in so many is not fitted to, but judges.
HELD_OUT = 4


@dataclass(frozen=True, slots=True)
class RoundedFit:
    """Settings fitted to the intervals of a mix.

    Attributes
    ----------
    chains : of all tracks
    covariance : (values, values)
        Of the values of all chains, one after the other.
    beyond_before, beyond : share of the samples of held-out excerpts that the images miss by more than half a step
        With the chains as they were given, and as they are.
    softness : of the edges in steps, at the end
    samples : of the held-out excerpts
    """

    chains: tuple[Chain, ...]
    covariance: NDArray[np.float64]
    beyond_before: float
    beyond: float
    softness: float
    samples: int


@dataclass(frozen=True, slots=True)
class _Sums:
    """What excerpts say at some settings.

    Attributes
    ----------
    value : log-likelihood, or half the negative energy of what is left
    slope : (values,)
    curvature : (values, values)
        Negative second derivative, but for what the images themselves bend.
    squares : (values, values)
        Outer products of the slopes of stretches of time, added up.
    heard : how many samples alike the weights amount to
    """

    value: float
    slope: NDArray[np.float64]
    curvature: NDArray[np.float64]
    squares: NDArray[np.float64]
    heard: float


def fit_to_rounding(
    excerpts: Sequence[Excerpt],
    chains: tuple[Chain, ...],
    *,
    window: Window,
    most_beyond: float,
    progress: Progress | None = None,
) -> RoundedFit | None:
    """The settings nearest to what all samples say; None where the mix is not just these chains, rounded.

    Parameters
    ----------
    excerpts : four or more, with the channels of the tracks in the order of the chains
    chains : to begin with, good enough that least squares finds the way
    window : of the filters that the excerpts were made for
    most_beyond : share of samples beyond half a step from which on something else is in the mix, or dither
    progress : called before every look at the excerpts; may raise to stop
    """
    judges = [one for n, one in enumerate(excerpts) if n % HELD_OUT == HELD_OUT - 1]
    fitted = [one for n, one in enumerate(excerpts) if n % HELD_OUT != HELD_OUT - 1]
    bench = _Bench(fitted, window, progress)
    judge = _Bench(judges, window, progress)
    before = judge.share_beyond(chains)
    chains, _ = _climbed(bench, chains, None)
    if judge.share_beyond(chains) > most_beyond:
        return None
    softness, best, softer = _SOFTEST, None, chains
    for _ in range(_LEVELS):
        tried, sums = _climbed(bench, chains, softness)
        few = sums.heard < 0.5 * _SAMPLES_PER_SETTING * len(sums.slope)
        if best is not None and (few or sums.value < best[1].value):
            break
        softer, chains, best = chains, tried, (softness, sums)
        if _HARDER * sums.heard < _SAMPLES_PER_SETTING * len(sums.slope):
            break
        softness *= _HARDER
    assert best is not None
    softness, sums = best
    after = judge.share_beyond(chains)
    inverse = _pseudo_inverse(sums.curvature)
    # Sounds that come again are rounded alike, and no filter is quite that of the mix: what the last hardening moved is
    # taken for an error as well.
    moved = np.concatenate([one.values - other.values for one, other in zip(chains, softer, strict=True)])
    covariance = _REPEATED * inverse @ sums.squares @ inverse + np.outer(moved, moved)
    judged = sum(int(np.count_nonzero(one.counts)) for one in judges)
    return RoundedFit(chains, covariance, before, after, softness, judged)


def least_squares(
    excerpts: Sequence[Excerpt],
    chains: tuple[Chain, ...],
    *,
    window: Window,
    steps: int,
    progress: Progress | None = None,
) -> tuple[tuple[Chain, ...], float]:
    """The chains some steps nearer to what leaves least, and half the energy that they leave."""
    chains, sums = _climbed(_Bench(excerpts, window, progress), chains, None, steps=steps)
    return chains, -sums.value


def share_beyond(excerpts: Sequence[Excerpt], chains: tuple[Chain, ...], *, window: Window) -> float:
    """Share of the samples that chains miss by more than half a step."""
    return _Bench(excerpts, window).share_beyond(chains)


def likelihood(
    excerpts: Sequence[Excerpt],
    chains: tuple[Chain, ...],
    *,
    window: Window,
    softness: float,
    progress: Progress | None = None,
) -> tuple[tuple[Chain, ...], float]:
    """The chains as edges of some softness have them, and their log-likelihood."""
    chains, sums = _climbed(_Bench(excerpts, window, progress), chains, softness)
    return chains, sums.value


def _climbed(
    bench: "_Bench", chains: tuple[Chain, ...], softness: float | None, *, steps: int = _NEWTON_STEPS
) -> tuple[tuple[Chain, ...], _Sums]:
    """The chains that are likeliest for edges of this softness, or that leave least where none is given."""
    sums = bench.sums(chains, softness)
    for _ in range(steps):
        step = _pseudo_inverse(sums.curvature) @ sums.slope
        promised = 0.5 * float(step @ sums.slope)
        if promised < (_SETTLED if softness is not None else _SETTLED_SHARE * abs(sums.value)):
            break
        share = _LONGEST_STEP / max(_moved_most(chains, step), _LONGEST_STEP)
        shortest = _SHORTEST_STEP * share
        while True:
            tried = _turned(chains, share * step)
            after = bench.sums(tried, softness)
            if after.value > sums.value:
                break
            share /= 4
            if share < shortest:
                return chains, sums
        chains, sums = tried, after
    return chains, sums


def _turned(chains: tuple[Chain, ...], step: NDArray[np.float64]) -> tuple[Chain, ...]:
    """The chains with all their values moved."""
    turned, at = [], 0
    for chain in chains:
        values = chain.values
        turned.append(chain.turned(values + step[at : at + len(values)]))
        at += len(values)
    return tuple(turned)


def _moved_most(chains: tuple[Chain, ...], step: NDArray[np.float64]) -> float:
    """By how much a step moves what it moves most: settings, delays in samples, gains beside all gains of a chain."""
    most, at = 0.0, 0
    for chain in chains:
        moved = np.abs(step[at : at + len(chain.values)])
        at += len(chain.values)
        n = chain.amplitudes.size
        gains = float(np.max(moved[:n])) / max(float(np.linalg.norm(chain.amplitudes)), np.finfo(float).tiny)
        most = max(most, gains, float(np.max(moved[n:])))
    return most


def _pseudo_inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    # Scaled: gains and frequencies are of other sizes than delays.
    scale = 1 / np.sqrt(np.maximum(np.diag(matrix), np.finfo(float).tiny))
    scale[np.diag(matrix) <= 0] = 0.0
    inverse = np.linalg.pinv(matrix * scale[:, None] * scale, rcond=_NO_EFFECT, hermitian=True)
    return inverse * scale[:, None] * scale


class _Bench:
    """Excerpts on which chains are tried."""

    def __init__(self, excerpts: Sequence[Excerpt], window: Window, progress: Progress | None = None) -> None:
        self._progress, self._looks = progress, 0
        self._excerpts, self._window, self._n_fft = excerpts, window, transform_length(window)

    def sums(self, chains: tuple[Chain, ...], softness: float | None) -> _Sums:
        """What the excerpts say of chains; the energy of what they leave where no softness is given."""
        responses = [rfft(taps_and_slopes(chain, self._window), self._n_fft) for chain in chains]
        n_values = sum(len(chain.values) for chain in chains)
        slope, curvature, squares = np.zeros(n_values), np.zeros((n_values,) * 2), np.zeros((n_values,) * 2)
        value, weight, weight_squares = 0.0, 0.0, 0.0
        self._looks += 1
        if self._progress is not None:
            self._progress(float(self._looks), 0.0, "fitting to the rounding")
        for excerpt in self._excerpts:
            images = self._images(excerpt, chains, responses)
            residual = _residual(excerpt, chains, images)
            if softness is None:
                scores, weights = np.where(excerpt.counts, residual, 0.0), excerpt.counts.astype(float)
                value -= 0.5 * float(np.sum(scores**2))
            else:
                judged = interval_scores(residual, excerpt.counts, softness=softness)
                scores, weights = judged.scores, judged.weights
                value += judged.log_likelihood
            # Channels may be rounded alike, sample by sample: they count as one, and their scores are added up.
            together = weights.sum(axis=0)
            weight += float(np.sum(together))
            weight_squares += float(np.sum(together**2))
            stretches = np.zeros((-(-residual.shape[1] // _STRETCH), n_values))
            for channel in range(len(scores)):
                heard = np.flatnonzero(weights[channel] + np.abs(scores[channel]))
                index, slopes = _slopes(chains, images, channel, heard)
                curvature[np.ix_(index, index)] += (slopes * weights[channel, heard]) @ slopes.T
                first = np.searchsorted(heard, range(0, residual.shape[1], _STRETCH))
                each = np.pad(slopes * scores[channel, heard], ((0, 0), (0, 1)))  # for a last stretch without any
                empty = first == np.append(first[1:], len(heard))
                stretches[:, index] += np.where(empty, 0.0, np.add.reduceat(each, first, axis=1)).T
            slope += stretches.sum(axis=0)
            squares += stretches.T @ stretches
        heard_alike = weight**2 / weight_squares if weight_squares else 0.0
        return _Sums(value, slope, curvature, squares, heard_alike)

    def share_beyond(self, chains: tuple[Chain, ...]) -> float:
        """Share of the samples that images miss by more than half a step."""
        responses = [rfft(taps_and_slopes(chain, self._window)[:1], self._n_fft) for chain in chains]
        counted, beyond = 0, 0
        for excerpt in self._excerpts:
            residual = _residual(excerpt, chains, self._images(excerpt, chains, responses))
            counted += int(np.count_nonzero(excerpt.counts))
            beyond += int(np.count_nonzero((np.abs(residual) > 0.5) & excerpt.counts))
        return beyond / max(counted, 1)

    def _images(
        self, excerpt: Excerpt, chains: tuple[Chain, ...], responses: Sequence[NDArray[np.complex128]]
    ) -> list[NDArray[np.float64]]:
        """For each chain the images of its channels beside its gains, and slopes (1 + values, channels, samples)."""
        images, row = [], 0
        history = self._window.n_taps - 1
        for chain, own in zip(chains, responses, strict=True):
            count = chain.amplitudes.shape[1]
            filtered = irfft(own[:, None] * excerpt.spectra[row : row + count], self._n_fft)
            images.append(filtered[:, :, history : history + excerpt.mixture.shape[1]])
            row += count
        return images


def _residual(
    excerpt: Excerpt, chains: tuple[Chain, ...], images: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    left = excerpt.mixture.copy()
    for chain, image in zip(chains, images, strict=True):
        left -= chain.amplitudes @ image[0]
    return left


def _slopes(
    chains: tuple[Chain, ...], images: Sequence[NDArray[np.float64]], channel: int, samples: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which values move one channel of the mix, and by how much they move some samples of it (values, samples)."""
    index, slopes, at = [], [], 0
    for chain, image in zip(chains, images, strict=True):
        n_channels, n_own = chain.amplitudes.shape
        index += [*range(at + channel * n_own, at + (channel + 1) * n_own)]
        index += [*range(at + n_channels * n_own, at + len(chain.values))]
        at += len(chain.values)
        moved = image[:, :, samples]
        slopes += [moved[0], np.einsum("d,jdn->jn", chain.amplitudes[channel], moved[1:])]
    return np.array(index), np.concatenate(slopes)
