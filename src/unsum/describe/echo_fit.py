"""Arrivals of one sound fitted to measured responses: their times, and an amplitude for each path.

Gauss and Newton's least squares, every bin weighted as `Data` says; the covariance is that of the noise stated, not of
the weights.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]

ROUNDS = 8
# A delay that leaves its own pulse is no refinement.
_LONGEST_STEP = 0.5
_SETTLED_SAMPLES = 1e-6


@dataclass(frozen=True, slots=True)
class Data:
    """Responses (paths, bins), how much their bins count, their variance, and angular frequency (bins,)."""

    responses: Complex
    weights: NDArray[np.float64]
    variance: NDArray[np.float64]
    omega: NDArray[np.float64]
    n_taps: int

    @property
    def repeats(self) -> float:
        """Bins that say what one independent bin would."""
        return 2 * (len(self.omega) - 1) / self.n_taps


@dataclass(frozen=True, slots=True)
class ArrivalFit:
    """Parameters with their covariance, the response (paths, bins), and what it leaves over the repeats."""

    theta: NDArray[np.float64]
    covariance: NDArray[np.float64]
    model: Complex
    unexplained: float


def fit_arrivals(data: Data, delays: NDArray[np.float64], *, rounds: int = ROUNDS) -> ArrivalFit:
    """Arrivals fitted together: theta holds the delays, then the amplitudes of each path."""
    n = len(delays)

    def response(times: NDArray[np.float64]) -> tuple[Complex, Complex]:
        basis = np.exp(-1j * times[:, None] * data.omega)
        return basis, np.asarray(-1j * data.omega * basis, complex)

    basis, _ = response(delays)
    gains = _amplitudes(data, basis)
    theta = np.concatenate([delays, gains.ravel()])
    for _ in range(rounds):
        basis, slopes = response(theta[:n])
        gains = theta[n:].reshape(-1, n)
        columns = [gains[:, k, None] * slopes[k] for k in range(n)]
        _, step = _solved(data, theta, gains @ basis, columns, basis, direct=int(np.argmin(theta[:n])))
        step[:n] = np.clip(step[:n], -_LONGEST_STEP, _LONGEST_STEP)
        theta = theta + step
        if np.max(np.abs(step[:n])) < _SETTLED_SAMPLES:
            break
    basis, slopes = response(theta[:n])
    gains = theta[n:].reshape(-1, n)
    columns = [gains[:, k, None] * slopes[k] for k in range(n)]
    return _solved(data, theta, gains @ basis, columns, basis, direct=int(np.argmin(theta[:n])))[0]


def fit_line(data: Data, shape: NDArray[np.float64]) -> ArrivalFit | None:
    def parts(values: NDArray[np.float64]) -> tuple[Complex, Complex, Complex, Complex]:
        start = np.exp(-1j * values[0] * data.omega)
        turn = np.exp(-1j * values[1] * data.omega)
        # As many repeats as the taps hold: a geometric sum that ends, and its slope.
        count = max(1, math.ceil((data.n_taps - values[0]) / values[1]) - 1)
        q = values[2] * turn
        total = (1 - q**count) / (1 - q)
        slope = (total - count * q ** (count - 1)) / (1 - q)
        line = start * turn * total
        by_delay = -1j * data.omega * (line + start * turn * q * slope)
        return start, line, by_delay, start * turn * turn * slope

    start, line, *_ = parts(shape)
    theta = np.concatenate([shape, _amplitudes(data, np.array([start, line])).ravel()])
    for last in range(ROUNDS + 1):
        start, line, by_delay, by_feedback = parts(theta[:3])
        gains = theta[3:].reshape(-1, 2)
        basis = np.array([start, line])
        columns = [
            -1j * data.omega * (gains @ basis),
            gains[:, 1, None] * by_delay,
            gains[:, 1, None] * by_feedback,
        ]
        fit, step = _solved(data, theta, gains @ basis, columns, basis, direct=0)
        if last == ROUNDS:
            return fit
        step[:2] = np.clip(step[:2], -_LONGEST_STEP, _LONGEST_STEP)
        theta = theta + step
        if not abs(theta[2]) < 1:
            return None
    return None


def _amplitudes(data: Data, basis: Complex) -> NDArray[np.float64]:
    """Real amplitudes (paths, arrivals) of least squares for given shapes (arrivals, bins)."""
    out = np.empty((len(data.responses), len(basis)))
    for p, (response, weights) in enumerate(zip(data.responses, data.weights, strict=True)):
        weighted = basis.conj() * weights
        out[p] = np.linalg.lstsq(np.real(weighted @ basis.T), np.real(weighted @ response), rcond=1e-12)[0]
    return out


def _solved(
    data: Data,
    theta: NDArray[np.float64],
    model: Complex,
    shared: list[Complex],
    basis: Complex,
    *,
    direct: int,
) -> tuple[ArrivalFit, NDArray[np.float64]]:
    """The fit at theta, and the step that least squares takes from there.

    Parameters
    ----------
    shared : slopes (paths, bins) by the settings that all paths share
    basis : slopes (arrivals, bins) by the amplitudes of each path
    direct : which arrival is the direct sound
    """
    n_shared, n_own = len(shared), len(basis)
    size = len(theta)
    information, noise, gradient = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size)
    for p, weights in enumerate(data.weights):
        slopes = np.concatenate([[column[p] for column in shared], basis])
        own = np.concatenate([np.arange(n_shared), n_shared + p * n_own + np.arange(n_own)])
        weighted = slopes.conj() * weights
        information[np.ix_(own, own)] += np.real(weighted @ slopes.T)
        noise[np.ix_(own, own)] += np.real((weighted * weights * data.variance[p]) @ slopes.T)
        gradient[own] += np.real(weighted @ (data.responses[p] - model[p]))
    scale = 1 / np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    inverse = scale[:, None] * np.linalg.pinv(information * scale[:, None] * scale, rcond=1e-12, hermitian=True) * scale
    # Half of the variance of a complex value is that of its real part.
    covariance = 0.5 * data.repeats * inverse @ noise @ inverse
    gains = theta[n_shared:].reshape(-1, n_own)
    beyond = model - gains[:, direct, None] * basis[direct]
    repeated = float(np.sum(data.weights * np.abs(beyond) ** 2))
    left = surplus(data, data.responses - model)
    return ArrivalFit(theta, covariance, model, max(left, 0.0) / max(repeated, 1e-300)), inverse @ gradient


def surplus(data: Data, left: Complex) -> float:
    """Weighted energy of what is left, noise taken off."""
    return float(np.sum(data.weights * (np.abs(left) ** 2 - data.variance)))


def chance(data: Data, left: Complex) -> float:
    """Standard deviation of that energy."""
    each = 2 * np.abs(left) ** 2 * data.variance + data.variance**2
    return math.sqrt(data.repeats * float(np.sum(data.weights**2 * each)))
