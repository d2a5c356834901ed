"""The bands of an equaliser as digital filters: bilinear transforms of analogue prototypes.

With the warped frequency ``w = tan(pi f / sample_rate)`` and ``A = 10^(gain_db / 40)`` the prototypes are those of the
cookbook [1]_; order 1 of a shelf has half of its gain at ``f``, as order 2 has, and passes of order 1, 3 and 4 are
Butterworth's.

References
----------
.. [1] Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients", W3C note, 2021.
"""

import math

import numpy as np
from numpy.typing import NDArray

ORDERS = {"peak": (2,), "lowshelf": (1, 2), "highshelf": (1, 2), "highpass": (1, 2, 3, 4), "lowpass": (1, 2, 3, 4)}
# Coefficients of s^2, s and 1.
Polynomial = tuple[float, float, float]


def band_sections(
    kind: str, *, frequency_hz: float, sample_rate: float, gain_db: float = 0.0, q: float = 0.0, order: int = 2
) -> NDArray[np.float64]:
    """Second-order sections (sections, 6) of one band, as `scipy.signal.sosfilt` takes them.

    Parameters
    ----------
    kind : a key of `ORDERS`
    gain_db : of peaks and shelves
    q : of order 2; no other order has one
    """
    if order not in ORDERS[kind]:
        raise ValueError(f"a {kind} of order {order}; there are {ORDERS[kind]}")
    if not 0 < frequency_hz < sample_rate / 2:
        raise ValueError(f"a {kind} at {frequency_hz:g} Hz; give one below half the sample rate of {sample_rate:g} Hz")
    if order == 2 and not q > 0:
        raise ValueError(f"a {kind} with Q {q:g}; give one above 0")
    w, a = math.tan(math.pi * frequency_hz / sample_rate), 10 ** (gain_db / 40)
    sections = _prototypes(kind, w, a, q, order)
    return np.array([_bilinear(top, bottom) for top, bottom in sections])


def _prototypes(kind: str, w: float, a: float, q: float, order: int) -> list[tuple[Polynomial, Polynomial]]:
    if kind == "peak":
        return [((1.0, w * a / q, w * w), (1.0, w / (a * q), w * w))]
    if kind in ("lowshelf", "highshelf"):
        # A high shelf is a low one of the opposite gain, raised by all of it.
        part = a if kind == "lowshelf" else 1 / a
        level = 1.0 if kind == "lowshelf" else a * a
        if order == 1:
            return [((0.0, level, level * w * part), (0.0, 1.0, w / part))]
        root = math.sqrt(part)
        return [
            ((level, level * w * root / q, level * w * w * part), (1.0, w / (root * q), w * w / part)),
        ]
    qs = [q] if order == 2 else [1 / (2 * math.sin(math.pi * (2 * k + 1) / (2 * order))) for k in range(order // 2)]
    high = kind == "highpass"
    sections: list[tuple[Polynomial, Polynomial]] = [
        ((1.0, 0.0, 0.0) if high else (0.0, 0.0, w * w), (1.0, w / one, w * w)) for one in qs
    ]
    if order % 2:
        sections.append(((0.0, 1.0, 0.0) if high else (0.0, 0.0, w), (0.0, 1.0, w)))
    return sections


def _bilinear(top: Polynomial, bottom: Polynomial) -> list[float]:
    """A section with ``s = (1 - 1/z) / (1 + 1/z)``."""
    zeros, poles = _in_z(top, bottom), _in_z(bottom, bottom)
    return [value / poles[0] for value in (*zeros, *poles)]


def _in_z(polynomial: Polynomial, bottom: Polynomial) -> Polynomial:
    two, one, none = polynomial
    if bottom[0] == 0:  # of the first order
        return one + none, none - one, 0.0
    return two + one + none, 2 * (none - two), two - one + none
