"""The filters of equalisers, as analogue prototypes on the bilinear frequency axis, with exact derivatives.

The forms of the RBJ cookbook [1]_ are bilinear transforms of analogue ones, so with the warped frequency
``W = tan(pi f / sample_rate)`` and ``s = jW`` every one is a quotient of ``q(w, Q) = s^2 + s w / Q + w^2``, with
``A = 10^(gain_db / 40)``::

    peak         q(w, Q / A)  / q(w, Q A)
    low shelf    q(w sqrt A, Q) / q(w / sqrt A, Q)              first order: (s + w A) / (s + w / A)
    high shelf   A^2 q(w / sqrt A, Q) / q(w sqrt A, Q)          first order: A^2 (s + w / A) / (s + w A)
    high-pass    s^2 / q(w, Q)                                  other orders: Butterworth's
    low-pass     w^2 / q(w, Q)                                  other orders: Butterworth's

Poles and zeros of a peak have the same modulus, those of a shelf the same Q: that is how they are told apart.

References
----------
.. [1] Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients", W3C note, 2021.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
BandType = Literal["peak", "lowshelf", "highshelf", "highpass", "lowpass"]
PASSES = ("highpass", "lowpass")
SHELVES = ("lowshelf", "highshelf")
# dB of gain in one unit of ln A.
DB_PER_LOG_A = 40 / math.log(10)


@dataclass(frozen=True, slots=True)
class Form:
    """Which filter, without its settings.

    Attributes
    ----------
    order : 2 for peaks, 1 or 2 for shelves, 1 to 4 for passes
    """

    type: BandType
    order: int = 2

    @property
    def has_gain(self) -> bool:
        return self.type not in PASSES

    @property
    def has_q(self) -> bool:
        """Whether Q is free; Butterworth's orders and first-order shelves have none."""
        return self.order == 2

    @property
    def n_settings(self) -> int:
        return 1 + self.has_gain + self.has_q


def warped(frequency_hz, sample_rate: float):
    """Where frequencies in Hz (any shape) lie on the bilinear axis."""
    return np.tan(np.pi * np.asarray(frequency_hz) / sample_rate)


def unwarped_hz(w, sample_rate: float):
    """Frequencies in Hz (any shape) of places on the bilinear axis."""
    return np.arctan(w) * sample_rate / np.pi


def butterworth_qs(order: int) -> tuple[float, ...]:
    """Q of the second-order sections of a Butterworth filter; an odd order has one of the first beside them."""
    return tuple(1 / (2 * math.sin(math.pi * (2 * k + 1) / (2 * order))) for k in range(order // 2))


def band_response(form: Form, settings: NDArray[np.float64], axis: NDArray[np.float64]) -> tuple[Complex, Complex]:
    """Response of one band, and the derivatives of its logarithm.

    Parameters
    ----------
    settings : (form.n_settings,)
        ln w, then ln A of a form with gain, then ln Q of one with Q.
    axis : (bins,)
        Warped frequencies.

    Returns
    -------
    response : (bins,)
    slopes : (form.n_settings, bins)
        Of ln response by every setting.
    """
    log_w = float(settings[0])
    a = float(settings[1]) if form.has_gain else 0.0
    log_q = float(settings[-1]) if form.has_q else 0.0
    if form.type in PASSES:
        return _pass(form, log_w, log_q, axis)
    if form.type == "peak":
        zeros, zw, zq = _quadratic(log_w, log_q - a, axis)
        poles, pw, pq = _quadratic(log_w, log_q + a, axis)
        return zeros / poles, np.stack([zw - pw, -zq - pq, zq - pq])
    low = form.type == "lowshelf"
    part = a / form.order if low else -a / form.order
    if form.order == 1:
        zeros, zw = _linear(log_w + part, axis)
        poles, pw = _linear(log_w - part, axis)
        slopes = [zw - pw, zw + pw]
    else:
        zeros, zw, zq = _quadratic(log_w + part, log_q, axis)
        poles, pw, pq = _quadratic(log_w - part, log_q, axis)
        slopes = [zw - pw, 0.5 * (zw + pw), zq - pq]
    if low:
        return zeros / poles, np.stack(slopes)
    slopes[1] = 2 - slopes[1]
    return math.exp(2 * a) * zeros / poles, np.stack(slopes)


def chain_response(
    forms: tuple[Form, ...], settings: NDArray[np.float64], axis: NDArray[np.float64]
) -> tuple[Complex, Complex]:
    """Response (bins,) of bands in a row, and slopes (all settings, bins) of its logarithm."""
    response, slopes, at = np.ones(len(axis), complex), [], 0
    for form in forms:
        one, own = band_response(form, settings[at : at + form.n_settings], axis)
        response *= one
        slopes.append(own)
        at += form.n_settings
    return response, np.concatenate(slopes) if slopes else np.empty((0, len(axis)), complex)


def chain_values(forms: tuple[Form, ...], settings: NDArray[np.float64], axis: NDArray[np.float64]) -> Complex:
    """The response (bins,) alone, compiled."""
    from unsum.describe import _band_fit_numba

    out = np.empty(len(axis), complex)
    _band_fit_numba.chain_values(*coded(forms), settings, axis, out)
    return out


def coded(forms: tuple[Form, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Type, order and number of settings (bands,) as compiled loops take them."""
    types = get_args(BandType)
    rows = [(types.index(form.type), form.order, form.n_settings) for form in forms]
    kinds, orders, counts = np.array(rows, np.int64).reshape(-1, 3).T.copy()
    return kinds, orders, counts


def _quadratic(log_w: float, log_q: float, axis: NDArray[np.float64]) -> tuple[Complex, Complex, Complex]:
    """``q(w, Q)`` on the axis, and the slopes of its logarithm by ln w and ln Q."""
    w = math.exp(log_w)
    damping: Complex = np.asarray((1j * w * math.exp(-log_q)) * axis, complex)
    value: Complex = np.asarray(damping + (w * w - axis * axis), complex)
    return value, np.asarray((damping + 2 * w * w) / value), -damping / value


def _linear(log_w: float, axis: NDArray[np.float64]) -> tuple[Complex, Complex]:
    w = math.exp(log_w)
    value: Complex = np.asarray(1j * axis + w, complex)
    return value, np.asarray(w / value, complex)


def _pass(form: Form, log_w: float, log_q: float, axis: NDArray[np.float64]) -> tuple[Complex, Complex]:
    """High-pass and low-pass: poles only, and as many zeros at 0 or beyond all frequencies."""
    w = math.exp(log_w)
    if form.order == 2:
        poles, by_w, by_q = _quadratic(log_w, log_q, axis)
        slopes = [-by_w, -by_q]
    else:
        poles, by_w = (
            _linear(log_w, axis) if form.order % 2 else (np.ones(len(axis), complex), np.zeros(len(axis), complex))
        )
        for q in butterworth_qs(form.order):
            one, own, _ = _quadratic(log_w, math.log(q), axis)
            poles, by_w = poles * one, by_w + own
        slopes = [-by_w]
    if form.type == "lowpass":
        return np.asarray(w**form.order / poles, complex), np.stack([slopes[0] + form.order, *slopes[1:]])
    return np.asarray((1j * axis) ** form.order / poles, complex), np.stack(slopes)
