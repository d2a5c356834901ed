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

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.convolution import convolve
from unsum.dsp.linear_solvers import Cholesky, ConjugateGradients, solver_for
from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.rows import FIT, HELD_OUT
from unsum.dsp.statistics import Statistics
from unsum.dsp.time_rows import (
    PIECE_COLUMNS,
    WHITENING_ORDER,
    Excerpt,
    Lags,
    Piece,
    Rows,
    needed_reference,
    render,
    side_by_side,
)
from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.dsp.whitening import levinson

__all__ = [
    "Excerpt",
    "FilterInLoop",
    "Lags",
    "Left",
    "Step",
    "fit_filters",
    "image_slope",
    "needed_reference",
    "newton_step",
    "render",
    "residual_rows",
    "side_by_side",
    "what_is_left",
    "whitener_of",
]

Audio = NDArray[np.float64]
Columns = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_TINY_RIDGE = 1e-12
_LARGEST_DENSE = 1024
# White noise so far below the residual is put under it: bands with nothing in them are no evidence.
_WHITENING_FLOOR = 1e-7
_SLOPE_HALF_WIDTH = 24
# Rows whose errors may hang together; what lies farther apart is taken as independent.
_BLOCK_SECONDS = 0.25
_FEWEST_BLOCKS = 40


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


@dataclass(frozen=True, slots=True)
class Left:
    """What filters leave of some columns, and how fast the image changes there.

    Attributes
    ----------
    residual, slope : (channels, columns); the residual is zero in columns that are not fitted to
        The slope is per sample of mixture time.
    images : (channels, columns) of the further filters that were asked for
    """

    piece: Piece
    residual: Audio
    slope: Audio
    images: Audio


def fit_filters(rows: Rows, lags: Lags) -> FilterInLoop | None:
    """The filters that leave least in the rows of `FIT`; None where the reference is silent there."""
    statistics = Statistics(
        n_references=rows.n_references,
        n_channels=rows.n_channels,
        first_lag=lags.first,
        n_taps=lags.count,
        segments=rows.segments,
        spectra=rows.n_references * lags.count > _LARGEST_DENSE,
        threads=1,
    )
    for piece in rows.pieces():
        statistics.add(piece.mixture, piece.references)
    gathered = statistics.finish()
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


def what_is_left(fit: FilterInLoop, *, further: Audio | None = None, multiple_of: int = 1) -> Iterator[Left]:
    """Residual and slope of the image, piece after piece.

    Parameters
    ----------
    further : (channels, references, taps), other filters with the same lags whose images are wanted, too
    multiple_of : columns in a piece are a multiple of this
    """
    (n, n_references, n_taps), half = fit.filters.shape, _SLOPE_HALF_WIDTH
    plain = fit.filters if further is None else np.concatenate([fit.filters, further])
    # One bank of filters: the reference is transformed once for all of them.
    bank = np.zeros((len(plain) + n, n_references, n_taps + 2 * half))
    bank[: len(plain), :, half:-half] = plain
    bank[len(plain) :] = scipy.signal.oaconvolve(fit.filters, _differentiator()[None, None], axes=2)
    first = fit.lags.first - half
    before, behind = max(0, first + bank.shape[2] - 1), max(0, -first)
    for piece in fit.rows.pieces(before=before, behind=behind, multiple_of=multiple_of):
        stop = before + piece.mixture.shape[1]
        images = convolve(piece.references, bank, first_lag=first, n_samples=stop)[:, before:]
        residual = (piece.mixture - images[:n]) * piece.counting
        yield Left(piece, residual, images[len(plain) :], images[n : len(plain)])


def residual_rows(fit: FilterInLoop) -> Audio:
    """What the filters leave, (channels, columns); zero in columns that do not count."""
    return np.concatenate([one.residual for one in what_is_left(fit)], axis=1)


def image_slope(fit: FilterInLoop) -> Audio:
    """How fast the image changes with time, per sample, (channels, columns)."""
    return np.concatenate([one.slope for one in what_is_left(fit)], axis=1)


def _differentiator() -> NDArray[np.float64]:
    k = np.arange(1, _SLOPE_HALF_WIDTH + 1)
    window = np.kaiser(2 * _SLOPE_HALF_WIDTH + 3, 9.0)[_SLOPE_HALF_WIDTH + 2 : -1]
    side = (-1.0) ** k / k * window
    return np.concatenate([-side[::-1], [0.0], side])


def whitener_of(fit: FilterInLoop, *, order: int = WHITENING_ORDER) -> Audio:
    """The predictor that whitens what the filters leave; (1,) where that is nothing."""
    n_fft = fast_length(PIECE_COLUMNS + order)
    total = np.zeros(n_fft // 2 + 1, complex)
    before = np.zeros((len(fit.filters), order))
    for one in what_is_left(fit):
        longer = np.concatenate([before, one.residual], axis=1)
        total += np.sum(np.conj(rfft(one.residual, n_fft)) * rfft(longer, n_fft), axis=0)
        before = longer[:, -order:]
    correlation = irfft(total, n_fft)[order::-1]
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
    rows = fit.rows

    def gradient(one: Left) -> Audio:
        """(columns, channels, n), of the columns that count alone."""
        moved = columns(one.piece.seconds) * (sample_rate / speed)
        return moved[:, None] * one.slope * one.piece.counting

    alike, power = _alike(fit, gradient)
    weight = 1 / np.maximum(power, 1e-12 * max(float(np.max(power)), 1e-300))
    n_rows = rows.n_fitted
    block = max(1, min(round(_BLOCK_SECONDS * sample_rate), n_rows // _FEWEST_BLOCKS))
    scores, shares = [], []
    for one in what_is_left(fit, further=alike, multiple_of=block):
        own = gradient(one) - one.images.reshape(-1, *one.residual.shape) * one.piece.counting
        edges = np.arange(0, own.shape[-1], block)
        scores.append(np.add.reduceat(np.einsum("icn,cn,c->in", own, one.residual, weight), edges, axis=1))
        shares.append(np.add.reduceat(np.einsum("icn,jcn,c->ijn", own, own, weight), edges, axis=2))
    score, share = np.concatenate(scores, axis=1), np.concatenate(shares, axis=2)
    information = share.sum(axis=2)
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
    rest = score - np.einsum("ijb,j->ib", share, change)
    leverage = np.einsum("ijb,ji->b", share, inverse)
    rest /= np.maximum(1 - leverage, 0.1)
    # Neighbours hang together a little: a note goes on from one block to the next.
    together = rest[:, 1:] @ rest[:, :-1].T
    spread = rest @ rest.T
    if np.trace(inverse @ together) > 0:  # chance may have it the other way round, which makes nothing surer
        spread = spread + 0.5 * (together + together.T)
    n_unknowns = fit.filters[0].size + len(change)
    spread *= (n_rows / max(n_rows - n_unknowns, 1)) ** 2
    return Step(change, inverse @ spread @ inverse)


def _alike(fit: FilterInLoop, gradient: Callable[[Left], Audio]) -> tuple[Audio, NDArray[np.float64]]:
    """The filters that do what they can of a change of the warp, and the power (channels,) of the residual.

    The gradient counts only where rows are fitted: the history of a row is the history of every filter alike.
    """
    n_filters, n_references, n_taps = fit.filters.shape
    n_fft = fast_length(PIECE_COLUMNS + n_taps + abs(fit.lags.first) + 4 * _SLOPE_HALF_WIDTH)
    total = np.zeros((1, n_references, n_fft // 2 + 1), complex)
    squares, energy = np.zeros(n_filters), np.zeros(1)
    earliest = 0  # sample of the references that meets a column at lag 0
    for one in what_is_left(fit):
        rows = gradient(one)
        rows = rows.reshape(-1, rows.shape[-1])
        total = total + np.conj(rfft(rows, n_fft))[:, None] * rfft(one.piece.references, n_fft)
        energy = energy + np.einsum("rn,rn->r", rows, rows)
        squares += np.einsum("cn,cn->c", one.residual, one.residual)
        earliest = one.piece.before
    at = earliest - fit.lags.first - np.arange(n_taps)
    return fit.solver(irfft(total, n_fft)[..., at], energy).filters, squares / fit.rows.n_columns
