"""The time line of a reference and the filter it went through, fitted together to excerpts of a mixture.

    y_c(n) = sum_k sum_p h[c, k, p] r_k(w(n - first_lag - p)) + e_c(n),    w' = w + sum_i theta_i phi_i

For every warp the best filters follow by least squares, so that only the few numbers theta are searched for, by
Gauss and Newton: the change that phi_i makes in the image, less what other filters could do as well, is compared
with the residual (variable projection [1]_ [2]_). Mixture and reference are whitened alike by what the residual
sounds like, so that a quiet band in which the reference stands free tells the time, not a loud one full of talk.

References
----------
.. [1] Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
   separate", SIAM J. Numer. Anal. 10(2), 1973.
.. [2] Kaufman, "A variable projection method for solving separable nonlinear least squares problems", BIT 15, 1975.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.convolution import convolve
from unsum.dsp.linear_solvers import Cholesky, ConjugateGradients, solver_for
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.residuals import residual_of
from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.dsp.statistics import gather_statistics
from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.dsp.warp import cutoff_for, interpolate, reach
from unsum.dsp.whitening import levinson
from unsum.model import TimeWarp

Audio = NDArray[np.float64]
Columns = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_TINY_RIDGE = 1e-12
_LARGEST_DENSE = 1024
_WHITENING_ORDER = 32
# White noise so far below the residual is put under it: bands with nothing in them are no evidence.
_WHITENING_FLOOR = 1e-7
_SLOPE_HALF_WIDTH = 24
# Rows whose errors may hang together; what lies farther apart is taken as independent.
_BLOCK_SECONDS = 0.25
_FEWEST_BLOCKS = 40


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of the mixture, and what of the reference may be heard in it.

    Attributes
    ----------
    start : mixture sample of its first column
    mixture : (channels, samples)
    reference_start : reference sample of its first column
    reference : (references, samples)
        The channels of the reference, with a margin for the filter and for what is not yet known of the warp.
    """

    start: int
    mixture: Audio
    reference_start: int
    reference: Audio

    @property
    def stop(self) -> int:
        return self.start + self.mixture.shape[1]


@dataclass(frozen=True, slots=True)
class Lags:
    """Which taps a filter has: the first acts on the reference ``first`` samples earlier, negative later."""

    first: int
    count: int

    @property
    def before(self) -> int:
        """Samples of the reference needed ahead of a row."""
        return max(0, self.first + self.count - 1)

    @property
    def behind(self) -> int:
        return max(0, -self.first)


@dataclass(frozen=True, slots=True)
class Rows:
    """Excerpts side by side, the reference rendered on the mixture's time line.

    Attributes
    ----------
    mixture : (channels, columns)
    references : (references, columns)
    seconds : (columns,) mixture time
    segments : the columns that count
    """

    mixture: Audio
    references: Audio
    seconds: NDArray[np.float64]
    segments: tuple[Segment, ...]

    def whitened(self, whitener: Audio) -> "Rows":
        """Both through one filter: the same filters fit, and the residual is as white as it makes it."""
        if len(whitener) == 1:
            return self
        return Rows(
            scipy.signal.oaconvolve(self.mixture, whitener[None], axes=1)[:, : self.mixture.shape[1]],
            scipy.signal.oaconvolve(self.references, whitener[None], axes=1)[:, : self.references.shape[1]],
            self.seconds,
            self.segments,
        )


@dataclass(frozen=True, slots=True)
class FilterInLoop:
    """The best filters for one warp.

    Attributes
    ----------
    filters : (channels, references, taps), fitted to the rows of `FIT`
    held_out_energy, held_out_residual : of the mixture and of what the filters leave, in rows not fitted to
    """

    rows: Rows
    lags: Lags
    equations: NormalEquations
    solver: Cholesky | ConjugateGradients
    filters: Audio
    held_out_energy: float
    held_out_residual: float

    @property
    def held_out_db(self) -> float:
        """Null depth on rows not fitted to; 0 where there are none or they are silent."""
        if self.held_out_energy <= 0:
            return 0.0
        return 10 * float(np.log10(max(self.held_out_residual / self.held_out_energy, 1e-30)))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of Gauss and Newton.

    Attributes
    ----------
    change : (columns,) to be added to the coefficients of the columns
    covariance : (columns, columns) of the coefficients, from how the residual behaves in stretch after stretch
    """

    change: NDArray[np.float64]
    covariance: NDArray[np.float64]


def render(excerpt: Excerpt, warp: TimeWarp, *, sample_rate: int, before: int = 0, behind: int = 0) -> Audio:
    """The reference on the mixture's time line, (references, before + samples + behind)."""
    n = np.arange(excerpt.start - before, excerpt.stop + behind)
    whole = warp.whole_samples(sample_rate)
    if whole is not None:
        return _cut(excerpt.reference, int(n[0]) - whole - excerpt.reference_start, len(n))
    positions = warp.reference_time(n / sample_rate) * sample_rate - excerpt.reference_start
    return interpolate(excerpt.reference, positions, cutoff=cutoff_for(warp))


def side_by_side(
    excerpts: Sequence[Excerpt],
    warp: TimeWarp,
    lags: Lags,
    *,
    sample_rate: int,
    excluded: Sequence[tuple[int, int]] = (),
    held_out_every: int = 0,
    held_out_seconds: float = 1.0,
) -> Rows:
    """Rows of all the excerpts under one warp.

    Parameters
    ----------
    excluded : half-open ranges of mixture samples that do not count
    held_out_every : every so many-th slice is kept apart, to test on; 0: none is
    held_out_seconds : how long a slice is
    """
    before, behind = lags.before + _WHITENING_ORDER, lags.behind
    slice_samples = max(1, round(held_out_seconds * sample_rate))
    mixture, references, seconds, segments = [], [], [], []
    at = 0
    for excerpt in excerpts:
        silent = [np.zeros((len(excerpt.mixture), margin)) for margin in (before, behind)]
        mixture.append(np.concatenate([silent[0], excerpt.mixture, silent[1]], axis=1))
        references.append(render(excerpt, warp, sample_rate=sample_rate, before=before, behind=behind))
        seconds.append(np.arange(excerpt.start - before, excerpt.stop + behind) / sample_rate)
        first = excerpt.start + _WHITENING_ORDER  # the whitener has no history there
        for start, stop, part in _parts(first, excerpt.stop, excluded, held_out_every, slice_samples):
            segments.append(Segment(at + before + start - excerpt.start, at + before + stop - excerpt.start, part))
        at += before + excerpt.mixture.shape[1] + behind
    return Rows(
        np.concatenate(mixture, axis=1),
        np.concatenate(references, axis=1),
        np.concatenate(seconds),
        tuple(segments),
    )


def fit_filters(rows: Rows, lags: Lags) -> FilterInLoop | None:
    """The filters that leave least in the rows of `FIT`; None where the reference is silent there."""
    gathered = gather_statistics(
        rows.mixture,
        rows.references,
        first_lag=lags.first,
        n_taps=lags.count,
        segments=rows.segments,
        spectra=rows.references.shape[0] * lags.count > _LARGEST_DENSE,
        threads=1,
    )
    if FIT not in gathered:
        return None
    equations = gathered[FIT]
    if not np.all(equations.reference_energy > 0) or not equations.n_rows:
        return None
    solver = solver_for(equations, ridge=_TINY_RIDGE, largest_dense=_LARGEST_DENSE)
    filters = solver(equations.rhs, equations.mixture_energy).filters
    energy = residual = 0.0
    if HELD_OUT in gathered:
        test = gathered[HELD_OUT]
        energy, residual = float(np.sum(test.mixture_energy)), float(np.sum(test.residual_energy(filters)))
    return FilterInLoop(rows, lags, equations, solver, filters, energy, residual)


def residual_rows(fit: FilterInLoop) -> Audio:
    """What the filters leave, (channels, columns); zero in columns that do not count."""
    image = convolve(fit.rows.references, fit.filters, first_lag=fit.lags.first, n_samples=fit.rows.mixture.shape[1])
    return (fit.rows.mixture - image) * _counting(fit.rows)


def image_slope(fit: FilterInLoop) -> Audio:
    """How fast the image changes with time, per sample, (channels, columns)."""
    k = np.arange(1, _SLOPE_HALF_WIDTH + 1)
    window = np.kaiser(2 * _SLOPE_HALF_WIDTH + 3, 9.0)[_SLOPE_HALF_WIDTH + 2 : -1]
    side = (-1.0) ** k / k * window
    differentiator = np.concatenate([-side[::-1], [0.0], side])
    slope_filters = scipy.signal.oaconvolve(fit.filters, differentiator[None, None], axes=2)
    return convolve(
        fit.rows.references,
        slope_filters,
        first_lag=fit.lags.first - _SLOPE_HALF_WIDTH,
        n_samples=fit.rows.mixture.shape[1],
    )


def whitener_of(fit: FilterInLoop, *, order: int = _WHITENING_ORDER) -> Audio:
    """The predictor that whitens what the filters leave; (1,) where that is nothing."""
    residual = residual_rows(fit)
    n_fft = fast_length(1 << 14)
    correlation = np.zeros(order + 1)
    for segment in fit.rows.segments:
        part = residual[:, segment.start : segment.stop]
        for start in range(0, part.shape[1], n_fft // 2):
            power = np.abs(rfft(part[:, start : start + n_fft // 2], n_fft)) ** 2
            correlation += irfft(power.sum(axis=0), n_fft)[: order + 1]
    if not correlation[0] > 0:
        return np.ones(1)
    correlation[0] *= 1 + _WHITENING_FLOOR
    return levinson(correlation, order)[0][order]


def newton_step(fit: FilterInLoop, columns: Columns, *, sample_rate: int, speed: float = 1.0) -> Step | None:
    """The change of the warp that leaves least, to first order; None where the rows do not tell.

    Parameters
    ----------
    columns : seconds of mixture time (n,) -> (columns, n) seconds by which a unit of each coefficient
        moves what is heard to a later place in the reference
    speed : of the warp as it is
    """
    rows, lags = fit.rows, fit.lags
    counting = _counting(rows)
    residual = residual_rows(fit)
    moved = columns(rows.seconds) * (sample_rate / speed)
    n_channels = len(residual)
    # Only columns that count: the history of a row is the history of every filter alike.
    gradient = (moved[:, None] * image_slope(fit)[None] * counting).reshape(-1, len(counting))
    fitted = tuple(Segment(s.start, s.stop, FIT) for s in rows.segments if s.part == FIT)
    none = np.zeros((len(gradient), *fit.filters.shape[1:]))
    left = residual_of(gradient, rows.references, none, first_lag=lags.first, segments=fitted, threads=1)
    alike = fit.solver(left.rhs, left.energy).filters
    gradient -= convolve(rows.references, alike, first_lag=lags.first, n_samples=len(counting))
    gradient *= counting
    own = gradient.reshape(len(moved), n_channels, -1)
    power = np.mean(residual**2, axis=1)
    weight = 1 / np.maximum(power, 1e-12 * max(float(np.max(power)), 1e-300))
    block = max(1, min(round(_BLOCK_SECONDS * sample_rate), int(counting.sum()) // _FEWEST_BLOCKS))
    edges = np.arange(0, len(counting), block)
    score = np.add.reduceat(np.einsum("icn,cn,c->in", own, residual, weight), edges, axis=1)
    information = np.einsum("icn,jcn,c->ij", own, own, weight)
    if not np.all(np.diag(information) > 0):
        return None
    scale = 1 / np.sqrt(np.diag(information))
    try:
        inverse = np.linalg.inv(information * scale[:, None] * scale) * scale[:, None] * scale
    except np.linalg.LinAlgError:
        return None
    change = inverse @ score.sum(axis=1)
    # What is left of each block's score once the change is made, as if the block had had no say in it: a plain sum of
    # squares would count the change too, and what a block fits to itself.
    share = np.add.reduceat(np.einsum("icn,jcn,c->ijn", own, own, weight), edges, axis=2)
    rest = score - np.einsum("ijb,j->ib", share, change)
    leverage = np.einsum("ijb,ji->b", share, inverse)
    rest /= np.maximum(1 - leverage, 0.1)
    # Neighbours hang together a little: a note goes on from one block to the next.
    together = rest[:, 1:] @ rest[:, :-1].T
    spread = rest @ rest.T
    if np.trace(inverse @ together) > 0:  # chance may have it the other way round, which makes nothing surer
        spread = spread + 0.5 * (together + together.T)
    n_rows, n_unknowns = int(counting.sum()), fit.filters[0].size + len(moved)
    spread *= (n_rows / max(n_rows - n_unknowns, 1)) ** 2
    return Step(change, inverse @ spread @ inverse)


def _counting(rows: Rows) -> NDArray[np.float64]:
    counting = np.zeros(rows.mixture.shape[1])
    for segment in rows.segments:
        if segment.part == FIT:
            counting[segment.start : segment.stop] = 1.0
    return counting


def _parts(
    start: int, stop: int, excluded: Sequence[tuple[int, int]], held_out_every: int, slice_samples: int
) -> list[tuple[int, int, int]]:
    """(start, stop, part) of the rows that count, cut at excluded ones and into slices."""
    edges = {start, stop}
    if held_out_every:
        edges |= set(range(start - start % slice_samples + slice_samples, stop, slice_samples))
    for a, b in excluded:
        edges |= {min(max(a, start), stop), min(max(b, start), stop)}
    ordered = sorted(edges)
    parts: list[tuple[int, int, int]] = []
    for a, b in pairwise(ordered):
        if any(a < y and b > x for x, y in excluded):
            continue
        held = held_out_every and (a // slice_samples) % held_out_every == held_out_every - 1
        part = HELD_OUT if held else FIT
        if parts and parts[-1][1] == a and parts[-1][2] == part:
            parts[-1] = (parts[-1][0], b, part)
        else:
            parts.append((a, b, part))
    return parts


def _cut(rows: Audio, start: int, length: int) -> Audio:
    out = np.zeros((len(rows), length))
    a, b = max(start, 0), min(start + length, rows.shape[1])
    if a < b:
        out[:, a - start : b - start] = rows[:, a:b]
    return out


def needed_reference(start: int, stop: int, warp: TimeWarp, lags: Lags, *, sample_rate: int) -> tuple[int, int]:
    """The reference samples that rows ``start .. stop`` of the mixture need under a warp."""
    ends = np.array([start - lags.before - _WHITENING_ORDER, stop + lags.behind]) / sample_rate
    inside = np.linspace(ends[0], ends[1], 33)
    places = warp.reference_time(inside) * sample_rate
    side = reach(cutoff_for(warp)) + 2
    return int(np.floor(places.min())) - side, int(np.ceil(places.max())) + side
