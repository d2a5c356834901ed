"""Poles and zeros of a measured real curve, by weighted least squares.

Vector fitting [1]_ in its relaxed form [2]_: with poles ``a_n`` guessed, the linear problem::

    d + sum_n c_n / (x - a_n)  =  y(x) * (e + sum_n f_n / (x - a_n))

is solved in the least-squares sense, and the zeros of the factor of y are better poles. Its fixed point fits y by a
quotient of polynomials of equal degree, without ever forming their ill-conditioned coefficients.

References
----------
.. [1] Gustavsen and Semlyen, "Rational approximation of frequency domain responses by vector fitting", IEEE Trans.
   Power Delivery 14(3), 1999.
.. [2] Gustavsen, "Improving the pole relocating properties of vector fitting", IEEE Trans. Power Delivery 21(3), 2006.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 12
_SAME_POLES = 1e-8
# Poles on the axis itself, where the curve is finite, are noise: they are moved off it by this angle.
_OFF_AXIS = 1e-6


@dataclass(frozen=True, slots=True)
class RationalFit:
    """``y(x) = constant + sum_n residues_n / (x - poles_n)``.

    Attributes
    ----------
    poles, zeros : (order,) complex, conjugates both given
        A zero far beyond the data stands for one at infinity.
    x, values : (points,)
        Where the data are, and the fit there.
    chi2 : weighted square sum of what it leaves
    """

    poles: NDArray[np.complex128]
    zeros: NDArray[np.complex128]
    x: NDArray[np.float64]
    values: NDArray[np.float64]
    chi2: float


def fit_rational(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], *, poles: NDArray[np.complex128]
) -> RationalFit:
    """A quotient of polynomials through a real curve on the positive axis.

    Minimises ``sum (weights * (fit(x) - y))**2``.

    Parameters
    ----------
    x, y, weights : (points,)
        x > 0; weights are one over the standard deviations of y.
    poles : (order,)
        To start from, each complex one followed by its conjugate; real ones negative.
    """
    order = len(poles)
    if len(x) < 2 * order + 1:
        raise ValueError(f"{len(x)} points for {order} poles; give at least {2 * order + 1}")
    for _ in range(_ITERATIONS if order else 0):
        moved = _relocated(x, y, weights, poles)
        change = np.max(np.abs(np.sort_complex(moved) - np.sort_complex(poles)) / np.abs(np.sort_complex(moved)))
        poles = moved
        if change < _SAME_POLES:
            break
    basis = np.concatenate([_basis(x, poles), np.ones((1, len(x)))])
    columns = basis * weights
    scale = np.linalg.norm(columns, axis=1)
    solution = np.linalg.lstsq((columns / scale[:, None]).T, weights * y, rcond=None)[0] / scale
    values = solution @ basis
    zeros = _zeros(poles, solution[:-1], float(solution[-1]))
    return RationalFit(poles, zeros, x, values, float(np.sum((weights * (values - y)) ** 2)))


def starting_poles(lowest: float, highest: float, order: int) -> NDArray[np.complex128]:
    """Conjugate pairs evenly spaced in octaves, at 45 degrees beyond the imaginary axis; one real if odd."""
    moduli = np.geomspace(lowest, highest, order // 2 + 2)[1:-1]
    pairs = moduli * np.exp(0.25j * np.pi)
    both = np.stack([pairs, pairs.conj()], axis=1).ravel()
    return np.append(both, -np.sqrt(lowest * highest)) if order % 2 else both


def _relocated(x: NDArray, y: NDArray, weights: NDArray, poles: NDArray) -> NDArray[np.complex128]:
    order = len(poles)
    basis = _basis(x, poles)
    ones = np.ones((1, len(x)))
    columns = np.concatenate([basis, ones, -y * basis, -y * ones]) * weights
    # The factor of y must not vanish: its sum over the data is held.
    held = np.concatenate([np.zeros(order + 1), np.sum(basis, axis=1), [len(x)]])
    strength = np.linalg.norm(weights * y) / len(x)
    matrix = np.concatenate([columns, strength * held[:, None]], axis=1)
    scale = np.linalg.norm(matrix, axis=1)
    scale[scale == 0] = 1.0
    right = np.zeros(len(x) + 1)
    right[-1] = strength * len(x)
    solution = np.linalg.lstsq((matrix / scale[:, None]).T, right, rcond=None)[0] / scale
    constant = float(solution[-1])
    return _off_axis(_zeros(poles, solution[order + 1 : -1], constant))


def _off_axis(poles: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Poles with conjugates side by side, none of them where the data may be."""
    tops = poles[poles.imag > 0]
    angle = np.maximum(np.angle(tops), _OFF_AXIS)
    tops = np.abs(tops) * np.exp(1j * angle)
    reals = -np.abs(poles[poles.imag == 0].real)
    return np.concatenate([np.stack([tops, tops.conj()], axis=1).ravel(), reals.astype(complex)])


def _basis(x: NDArray, poles: NDArray) -> NDArray[np.float64]:
    """Real functions (order, points) that span the partial fractions, scaled by the moduli of their poles."""
    rows, n = [], 0
    while n < len(poles):
        fraction = np.abs(poles[n]) / (x - poles[n])
        if poles[n].imag:
            rows += [2 * fraction.real, -2 * fraction.imag]
            n += 2
        else:
            rows.append(fraction.real)
            n += 1
    return np.array(rows).reshape(len(poles), len(x))


def _zeros(poles: NDArray, coefficients: NDArray, constant: float) -> NDArray[np.complex128]:
    """Zeros of ``constant + sum coefficients * basis``, the eigenvalues of ``diag(poles) - b c^T / constant``."""
    order = len(poles)
    matrix, b, n = np.zeros((order, order)), np.zeros(order), 0
    scaled = np.zeros(order)
    while n < order:
        a, size = poles[n], abs(poles[n])
        if a.imag:
            matrix[n : n + 2, n : n + 2] = [[a.real, a.imag], [-a.imag, a.real]]
            b[n] = 2.0
            scaled[n : n + 2] = coefficients[n : n + 2] * size
            n += 2
        else:
            matrix[n, n] = a.real
            b[n] = 1.0
            scaled[n] = coefficients[n] * size
            n += 1
    # No constant means zeros at infinity: the smallest one that counts puts them far out.
    floor = 1e-12 * (np.max(np.abs(coefficients), initial=0.0) + abs(constant)) + np.finfo(float).tiny
    divisor = constant if abs(constant) > floor else floor
    return np.linalg.eigvals(matrix - np.outer(b, scaled) / divisor).astype(complex)
