"""The loops of ``band_fit.py``, compiled: every factor of every band takes all points at once.

Spectra are split, ``(2, points)``: loops over real and imaginary parts run on several points at a time.
"""

import math

import numba
import numpy as np

# Settings that a step takes too far overflow, and the step is taken back: no exception.
_compiled = numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")

_TILE = 512
_TINY = np.finfo(np.float64).tiny

# As the types stand in `unsum.describe.filters.BandType`.
PEAK, LOW_SHELF, HIGH_SHELF, HIGH_PASS, LOW_PASS = range(5)


@_compiled
def _quadratic(log_w, log_q, axis, power, response, by_w, by_q):
    """Multiplies the response by ``q(w, Q) ** power``, power 1 or -1; slopes of ``ln q`` by ln w and ln Q."""
    w = math.exp(log_w)
    over_q, square = w * math.exp(-log_q), w * w
    for n in range(len(axis)):
        vr, vi = square - axis[n] * axis[n], over_q * axis[n]
        inverse = 1.0 / (vr * vr + vi * vi)
        by_w[0, n] = (2 * square * vr + vi * vi) * inverse
        by_w[1, n] = (vr - 2 * square) * vi * inverse
        by_q[0, n] = -vi * vi * inverse
        by_q[1, n] = -vi * vr * inverse
        if power < 0:
            vr, vi = vr * inverse, -vi * inverse
        hr, hi = response[0, n], response[1, n]
        response[0, n] = hr * vr - hi * vi
        response[1, n] = hr * vi + hi * vr


@_compiled
def _linear(log_w, axis, power, response, by_w):
    """The same for ``s + w``, which has no Q."""
    w = math.exp(log_w)
    for n in range(len(axis)):
        vr, vi = w, axis[n]
        inverse = 1.0 / (vr * vr + vi * vi)
        by_w[0, n] = w * vr * inverse
        by_w[1, n] = -w * vi * inverse
        if power < 0:
            vr, vi = vr * inverse, -vi * inverse
        hr, hi = response[0, n], response[1, n]
        response[0, n] = hr * vr - hi * vi
        response[1, n] = hr * vi + hi * vr


@_compiled
def _combined(x, one, y, other, out):
    """``out = x one + y other``, as a loop: expressions of arrays take seconds to compile."""
    for part in range(2):
        for n in range(out.shape[1]):
            out[part, n] = x * one[part, n] + y * other[part, n]


@_compiled
def _scaled(factor, response):
    for part in range(2):
        for n in range(response.shape[1]):
            response[part, n] *= factor


@_compiled
def _pass(kind, order, settings, axis, response, rows, by_w, by_q):
    if order == 2:
        _quadratic(settings[0], settings[1], axis, -1, response, by_w, by_q)
        _combined(-1.0, by_w, 0.0, by_w, rows[0])
        _combined(-1.0, by_q, 0.0, by_q, rows[1])
    else:
        kept = 0.0
        if order % 2:
            _linear(settings[0], axis, -1, response, by_w)
            _combined(-1.0, by_w, 0.0, by_w, rows[0])
            kept = 1.0
        for k in range(order // 2):
            q = 1 / (2 * math.sin(math.pi * (2 * k + 1) / (2 * order)))
            _quadratic(settings[0], math.log(q), axis, -1, response, by_w, by_q)
            if kept == 0.0:
                _combined(-1.0, by_w, 0.0, by_w, rows[0])
            else:
                _combined(-1.0, by_w, 1.0, rows[0], rows[0])
            kept = 1.0
    if kind == LOW_PASS:
        for n in range(len(axis)):
            rows[0, 0, n] += order
        _scaled(math.exp(order * settings[0]), response)
        return
    for _ in range(order):
        for n in range(len(axis)):
            hr = response[0, n]
            response[0, n] = -response[1, n] * axis[n]
            response[1, n] = hr * axis[n]


@_compiled
def _shelf(kind, order, settings, axis, response, rows, zero, pole):
    low = kind == LOW_SHELF
    a = settings[1]
    part = a / order if low else -a / order
    if order == 1:
        half = 1.0 if low else -1.0
        _linear(settings[0] + part, axis, 1, response, zero[0])
        _linear(settings[0] - part, axis, -1, response, pole[0])
    else:
        half = 0.5 if low else -0.5
        _quadratic(settings[0] + part, settings[2], axis, 1, response, zero[0], zero[1])
        _quadratic(settings[0] - part, settings[2], axis, -1, response, pole[0], pole[1])
        _combined(1.0, zero[1], -1.0, pole[1], rows[2])
    _combined(1.0, zero[0], -1.0, pole[0], rows[0])
    _combined(half, zero[0], half, pole[0], rows[1])
    if not low:
        for n in range(len(axis)):
            rows[1, 0, n] += 2.0
        _scaled(math.exp(2 * a), response)


@_compiled
def chain(kinds, orders, counts, settings, axis, response, rows):
    """Response (2, points) of bands in a row and slopes (settings, 2, points) of its logarithm, as filters.py has them.

    Parameters
    ----------
    kinds, orders, counts : (bands,)
        Type, order, and number of settings.
    """
    for n in range(len(axis)):
        response[0, n], response[1, n] = 1.0, 0.0
    zero, pole = np.empty((2, 2, len(axis))), np.empty((2, 2, len(axis)))
    at = 0
    for b in range(len(kinds)):
        own, slopes = settings[at : at + counts[b]], rows[at : at + counts[b]]
        if kinds[b] == PEAK:
            _quadratic(own[0], own[2] - own[1], axis, 1, response, zero[0], zero[1])
            _quadratic(own[0], own[2] + own[1], axis, -1, response, pole[0], pole[1])
            _combined(1.0, zero[0], -1.0, pole[0], slopes[0])
            _combined(-1.0, zero[1], -1.0, pole[1], slopes[1])
            _combined(1.0, zero[1], -1.0, pole[1], slopes[2])
        elif kinds[b] == LOW_SHELF or kinds[b] == HIGH_SHELF:
            _shelf(kinds[b], orders[b], own, axis, response, slopes, zero, pole)
        else:
            _pass(kinds[b], orders[b], own, axis, response, slopes, zero[0], zero[1])
        at += counts[b]


@_compiled
def chain_error(kinds, orders, counts, theta, zero_phase, omega, axis, measured, unit, error, rows):
    """Deviations (2, points) of a chain from a measured response, and their slopes (2 + settings, 2, points).

    Parameters
    ----------
    theta : (2 + settings,)
        Log gain, delay in samples, settings.
    measured : (2, points)
    unit : (points,)
        By which deviations are multiplied.
    """
    chain(kinds, orders, counts, theta[2:], axis, error, rows[2:])
    if zero_phase:
        for n in range(len(omega)):
            error[0, n] = math.hypot(error[0, n], error[1, n])
            error[1, n] = 0.0
            for k in range(2, len(rows)):
                rows[k, 1, n] = 0.0
    gain = math.exp(theta[0])
    for n in range(len(omega)):
        turn = -omega[n] * theta[1]
        gr, gi = gain * unit[n] * math.cos(turn), gain * unit[n] * math.sin(turn)
        mr, mi = error[0, n] * gr - error[1, n] * gi, error[0, n] * gi + error[1, n] * gr
        rows[0, 0, n], rows[0, 1, n] = mr, mi
        rows[1, 0, n], rows[1, 1, n] = omega[n] * mi, -omega[n] * mr
        error[0, n], error[1, n] = mr - measured[0, n] * unit[n], mi - measured[1, n] * unit[n]
    for k in range(2, len(rows)):
        for n in range(len(omega)):
            sr, si = rows[k, 0, n], rows[k, 1, n]
            rows[k, 0, n] = sr * rows[0, 0, n] - si * rows[0, 1, n]
            rows[k, 1, n] = sr * rows[0, 1, n] + si * rows[0, 0, n]


@_compiled
def chain_values(kinds, orders, counts, settings, axis, out):
    """Response (points,) complex of bands in a row, some points at a time."""
    rows, response, part = np.empty((len(settings), 2, _TILE)), np.empty((2, _TILE)), np.ones(_TILE)
    for start in range(0, len(axis), _TILE):
        width = min(_TILE, len(axis) - start)
        for n in range(width):
            part[n] = axis[start + n]
        chain(kinds, orders, counts, settings, part, response, rows)
        for n in range(width):
            out[start + n] = complex(response[0, n], response[1, n])


# Sums over points may change their order: several run at once.
@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def _dot(one, other):
    total = 0.0
    for n in range(len(one)):
        total += one[n] * other[n]
    return total


@_compiled
def _normal_equations(error, rows, information, gradient):
    for k in range(len(rows)):
        gradient[k] = _dot(rows[k], error)
        for j in range(k + 1):
            information[k, j] = information[j, k] = _dot(rows[k], rows[j])


@_compiled
def _step(information, gradient, damping, longest, triangle, step):
    """The step of damped least squares in settings scaled to one, no longer than that; False where there is none."""
    size = len(gradient)
    scale = np.empty(size)
    for k in range(size):
        scale[k] = 1 / math.sqrt(max(information[k, k], _TINY))
    # Cholesky's triangle, and forwards through it.
    for k in range(size):
        for j in range(k + 1):
            total = information[k, j] * scale[k] * scale[j]
            if j == k:
                total += damping
            for i in range(j):
                total -= triangle[k, i] * triangle[j, i]
            if j < k:
                triangle[k, j] = total / triangle[j, j]
            elif total > 0:
                triangle[k, k] = math.sqrt(total)
            else:
                return False
        total = -scale[k] * gradient[k]
        for i in range(k):
            total -= triangle[k, i] * step[i]
        step[k] = total / triangle[k, k]
    greatest = 0.0
    for back in range(size):
        k = size - 1 - back
        total = step[k]
        for i in range(k + 1, size):
            total -= triangle[i, k] * step[i]
        step[k] = total / triangle[k, k]
    for k in range(size):
        step[k] *= scale[k]
        greatest = max(greatest, abs(step[k]))
    if not math.isfinite(greatest):
        return False
    if greatest > longest:
        for k in range(size):
            step[k] *= longest / greatest
    return True


@_compiled
def fit(
    kinds, orders, counts, theta, zero_phase, omega, axis, measured, unit, iterations, hopeless, damping_range, stops
):
    """Levenberg-Marquardt from ``theta`` on, which becomes the nearest chain's; chi2 and information of that.

    Parameters
    ----------
    damping_range : first, least and greatest
    stops : relative gain that settles it, iterations before it may be called hopeless, longest step
    """
    damping, least, most = damping_range
    settled, patience, longest = stops
    size = len(theta)
    shape = (size, 2, len(omega))
    error, rows = np.empty(shape[1:]), np.empty(shape)
    tried, tried_rows = np.empty(shape[1:]), np.empty(shape)
    information, gradient = np.empty((size, size)), np.empty(size)
    triangle, step, moved = np.zeros((size, size)), np.empty(size), np.empty(size)
    chain_error(kinds, orders, counts, theta, zero_phase, omega, axis, measured, unit, error, rows)
    chi2 = _dot(error.reshape(-1), error.reshape(-1))
    _normal_equations(error.reshape(-1), rows.reshape(size, -1), information, gradient)
    for done in range(iterations):
        while True:
            after = np.inf
            if _step(information, gradient, damping, longest, triangle, step):
                for k in range(size):
                    moved[k] = theta[k] + step[k]
                chain_error(kinds, orders, counts, moved, zero_phase, omega, axis, measured, unit, tried, tried_rows)
                after = _dot(tried.reshape(-1), tried.reshape(-1))
            if math.isfinite(after) and after <= chi2:
                break
            damping = max(damping, least) * 8
            if damping > most:
                return chi2, information
        gained = chi2 - after
        for k in range(size):
            theta[k] = moved[k]
        error, tried, rows, tried_rows, chi2 = tried, error, tried_rows, rows, after
        _normal_equations(error.reshape(-1), rows.reshape(size, -1), information, gradient)
        damping = max(damping / 8, least)
        if gained <= settled * chi2 or (done >= patience and chi2 - gained * (iterations - done) > hopeless):
            break
    return chi2, information
