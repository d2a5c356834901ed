"""A smooth start for the bands of a response: rational fits of its magnitude, the phase they imply, a delay."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.measured import Magnitudes, Measured, Model, best_delay, local_means, magnitudes
from unsum.dsp.rational import RationalFit, fit_rational, starting_poles

_MOST_POLES, _ORDERS = 16, 2
# Orders that a rational fit may grow without gaining anything.
_TURNS = 3
_FEWEST_POINTS = 12
# The magnitude is fitted where it stands so far out of the noise; and once more by what is still surer, and with less
# trust: where the reference is faint, a ridge and the ends of the taps leave what is no noise, and a rational fit would
# follow it.
_STANDS_OUT, _STANDS_FAR_OUT, _LESS_TRUST = 10.0, 30.0, 10.0
# A response is of linear phase where its phase misses none by so much less than it misses a minimum-phase chain's.
_LINEAR_PHASE = 0.1


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the magnitude tells before any band is named.

    Attributes
    ----------
    curves : rational fits of the squared magnitude, each with its poles and zeros
    model : smooth, without delay
    limits : bilinear frequencies between which there are data
    zero_phase : whether the phase is none but the delay's
    """

    curves: tuple[RationalFit, ...]
    model: Model
    limits: tuple[float, float]
    delay_samples: float
    polarity: int
    zero_phase: bool


def rational_curves(measured: Measured, *, systematic: float) -> tuple[RationalFit, ...]:
    """Rational fits of the squared magnitude under several degrees of trust; none where it drowns in noise."""
    curves: list[RationalFit] = []
    for floor, stands_out in ((systematic, _STANDS_OUT), (_LESS_TRUST * systematic, _STANDS_FAR_OUT)):
        squares = magnitudes(measured, systematic=floor, least_snr=stands_out)
        if len(squares.u) >= _FEWEST_POINTS:
            first = rational_fits(squares)
            curves += first + rational_fits(_less_sure(squares, first[0]))
    return tuple(curves)


def begin(measured: Measured, *, systematic: float) -> Beginning | None:
    """A smooth start; None where the response does not stand out of its noise.

    Parameters
    ----------
    systematic : as for `unsum.describe.measured.condensed`
    """
    curves = rational_curves(measured, systematic=systematic)
    if not curves:
        return None
    ends = curves[0].x[0], curves[0].x[-1]
    limits = math.sqrt(ends[0]), math.sqrt(ends[1])
    minimum_phase = _minimum_phase(curves[0])

    def no_phase(omega: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.abs(minimum_phase(omega, axis)).astype(complex)

    delay, polarity, agreement = best_delay(measured, minimum_phase)
    other_delay, other_polarity, other = best_delay(measured, no_phase)
    if 1 - other < _LINEAR_PHASE * (1 - agreement):
        return Beginning(curves, no_phase, limits, other_delay, other_polarity, True)
    return Beginning(curves, minimum_phase, limits, delay, polarity, False)


def rational_fits(squares: Magnitudes) -> list[RationalFit]:
    """Rational fits of the squared magnitude, the most plausible order first."""
    ends = float(squares.u[0]), float(squares.u[-1])
    weights = 1 / squares.deviation
    found, least, worse = [], math.inf, 0
    price = 2 * math.log(len(squares.u))
    for order in range(min(_MOST_POLES, (len(squares.u) - 1) // 3) + 1):
        fit = fit_rational(squares.u, squares.squares, weights, poles=starting_poles(*ends, order))
        if np.all(fit.values > 0):
            found.append(fit)
        criterion = fit.chi2 + price * order
        worse = 0 if criterion < least else worse + 1
        least = min(least, criterion)
        if worse > _TURNS:
            break
    scale = max(min(fit.chi2 for fit in found) / len(squares.u), 1.0)
    return sorted(found, key=lambda fit: fit.chi2 / scale + price * len(fit.poles))[:_ORDERS]


def _less_sure(squares: Magnitudes, fit: RationalFit) -> Magnitudes:
    """The magnitudes, less sure where even a fit of high order misses them."""
    missed = ((fit.values - squares.squares) / squares.deviation) ** 2
    return replace(squares, deviation=squares.deviation * np.sqrt(np.maximum(local_means(missed), 1.0)))


def _minimum_phase(curve: RationalFit) -> Model:
    """The minimum-phase response whose squared magnitude is a rational curve in u."""

    def product(roots: NDArray[np.complex128], at: NDArray[np.float64]) -> NDArray[np.complex128]:
        out = np.ones(len(at), complex)
        for root in roots[roots.imag > 0]:
            w = math.sqrt(abs(root))
            out *= w * w - at * at + 1j * at * w * math.sqrt(2 - 2 * math.cos(np.angle(root)))
        for root in roots[roots.imag == 0]:
            out *= math.sqrt(abs(root)) + 1j * at
        return out

    def quotient(at: NDArray[np.float64]) -> NDArray[np.complex128]:
        return product(curve.zeros, at) / product(curve.poles, at)

    log_gain = float(np.median(0.5 * np.log(curve.values) - np.log(np.abs(quotient(np.sqrt(curve.x))))))

    def response(omega: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.complex128]:
        return quotient(axis) * math.exp(log_gain)

    return response
