"""Bands fitted to a measured complex response: Levenberg-Marquardt with exact derivatives.

The model is ``gain * exp(-i omega delay) * (bands in a row)``, or the modulus of the bands where an equaliser is of
linear phase; what is minimised is ``sum |model - response|^2 / variance``.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.filters import Form, chain_response, chain_values, coded

_ITERATIONS = 40
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-12, 1e8
# Of chi2: a step that gains less is the last.
_SETTLED = 1e-9
# Steps before a fit may be called hopeless.
_PATIENCE = 5
# No step moves a setting by more than so much in its logarithm.
_LONGEST_STEP = 0.7


@dataclass(frozen=True, slots=True)
class Points:
    """A response at some frequencies, with what noise leaves of it.

    Attributes
    ----------
    omega : (points,) radians a sample
    axis : (points,) bilinear frequency
    response : (points,) complex
    deviation : (points,) standard deviation of the response, as of independent points
    """

    omega: NDArray[np.float64]
    axis: NDArray[np.float64]
    response: NDArray[np.complex128]
    deviation: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChainFit:
    """Bands in a row, fitted.

    Attributes
    ----------
    log_gain, delay_samples : of the whole chain
    settings : as `unsum.describe.filters.chain_response` takes them
    chi2 : twice the square sum of the deviations in units of theirs: two real values a point
    information : (2 + settings, 2 + settings)
        Of log gain, delay and settings; its inverse is their covariance.
    zero_phase : whether the bands act on the modulus alone
    """

    forms: tuple[Form, ...]
    log_gain: float
    delay_samples: float
    settings: NDArray[np.float64]
    chi2: float
    information: NDArray[np.float64]
    zero_phase: bool = False

    def bic(self, n_points: int, scale: float = 1.0) -> float:
        """Schwarz's criterion: chi2 over ``scale``, and the logarithm of the number of values for every setting."""
        return self.chi2 / scale + np.log(2 * n_points) * len(self.information)

    def response(self, omega: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Of the whole chain, delay and gain included; upright."""
        bands = chain_values(self.forms, self.settings, axis)
        bands = np.abs(bands) if self.zero_phase else bands
        return np.exp(self.log_gain - 1j * omega * self.delay_samples) * bands


def fit_chain(
    points: Points,
    forms: tuple[Form, ...],
    *,
    log_gain: float,
    delay_samples: float,
    settings: NDArray[np.float64],
    zero_phase: bool = False,
    iterations: int = _ITERATIONS,
    hopeless: float = np.inf,
) -> ChainFit:
    """The nearest chain of these forms, from a start.

    Two real values a point with half the variance each: chi2 is ``2 sum |model - response|^2 / deviation^2``.

    Parameters
    ----------
    hopeless : a chi2; a fit that is still so far above it that its pace will not bring it there is given up
    """
    from unsum.describe import _band_fit_numba

    theta = np.concatenate([[log_gain, delay_samples], settings])
    measured = np.stack([points.response.real, points.response.imag])
    chi2, information = _band_fit_numba.fit(
        *coded(forms),
        theta,
        zero_phase,
        points.omega,
        points.axis,
        measured,
        math.sqrt(2) / points.deviation,
        iterations,
        hopeless,
        (_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING),
        (_SETTLED, _PATIENCE, _LONGEST_STEP),
    )
    return ChainFit(forms, float(theta[0]), float(theta[1]), theta[2:], chi2, information, zero_phase=zero_phase)


def refitted(points: Points, fit: ChainFit, *, hopeless: float = np.inf, iterations: int = _ITERATIONS) -> ChainFit:
    """The chain fitted to other points, or with other settings to start from."""
    return fit_chain(
        points,
        fit.forms,
        log_gain=fit.log_gain,
        delay_samples=fit.delay_samples,
        settings=fit.settings,
        zero_phase=fit.zero_phase,
        hopeless=hopeless,
        iterations=iterations,
    )


def chi2_per_degree(points: Points, fit: ChainFit) -> float:
    """1 where noise is all that is left."""
    return fit.chi2 / max(2 * len(points.omega) - len(fit.information), 1)


def plain_fit(points: Points, start: ChainFit, *, iterations: int = _ITERATIONS) -> ChainFit:
    """`refitted` in plain numpy, but that it never gives up."""
    theta = np.concatenate([[start.log_gain, start.delay_samples], start.settings])
    error, slopes = plain_deviations(points, start.forms, theta, start.zero_phase)
    chi2, damping = float(error @ error), _FIRST_DAMPING
    for _ in range(iterations):
        information = slopes @ slopes.T
        scale = 1 / np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
        scaled = information * scale[:, None] * scale
        while True:
            step = -scale * np.linalg.solve(scaled + damping * np.eye(len(theta)), scale * (slopes @ error))
            step *= min(1.0, _LONGEST_STEP / max(float(np.max(np.abs(step))), 1e-300))
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                tried, tried_slopes = plain_deviations(points, start.forms, theta + step, start.zero_phase)
            after = float(tried @ tried)
            if after <= chi2:
                break
            damping = max(damping, _LEAST_DAMPING) * 8
            if damping > _MOST_DAMPING:
                return replace(
                    start,
                    log_gain=float(theta[0]),
                    delay_samples=float(theta[1]),
                    settings=theta[2:],
                    chi2=chi2,
                    information=information,
                )
        gained = chi2 - after
        theta, error, slopes, chi2 = theta + step, tried, tried_slopes, after
        damping = max(damping / 8, _LEAST_DAMPING)
        if gained <= _SETTLED * chi2:
            break
    return replace(
        start,
        log_gain=float(theta[0]),
        delay_samples=float(theta[1]),
        settings=theta[2:],
        chi2=chi2,
        information=slopes @ slopes.T,
    )


def plain_deviations(
    points: Points, forms: tuple[Form, ...], theta: NDArray, zero_phase: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Deviations (2 points,) of a chain, in units of theirs, and their slopes (settings, 2 points)."""
    bands, slopes = chain_response(forms, theta[2:], points.axis)
    if zero_phase:
        bands, slopes = np.abs(bands), slopes.real
    model = np.exp(theta[0] - 1j * points.omega * theta[1]) * bands
    unit = np.sqrt(2) / points.deviation
    error = (model - points.response) * unit
    head = np.stack([np.ones(len(model), complex), -1j * points.omega])
    rows = np.concatenate([head, slopes]) * (model * unit)
    return np.concatenate([error.real, error.imag]), np.concatenate([rows.real, rows.imag], axis=1)
