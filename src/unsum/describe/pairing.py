"""From poles and zeros to the bands of an equaliser.

On the bilinear axis the squared magnitude of a band is a quotient of polynomials in ``u = W^2``; a root r of it is
half of a section ``q(w, Q)`` with ``w^2 = |r|`` and ``1 - 1 / (2 Q^2) = cos arg r``. Which zeros belong to which
poles is not written in the response: two shelves of the same Q can be read as two others with more gain, a high-pass
and a low-pass as each other. The reading that needs the least gain is preferred, and high-passes take low poles.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.describe.filters import PASSES, Form, butterworth_qs

# A zero so far below its pole, or above it, stands for one at 0 or at infinity: a shelf of 36 dB ends there.
_FAR = 8.0
# A little gain outweighs a mismatch of poles and zeros that noise may cause.
_GAIN_COST = 0.02
_MOST_PERMUTED = 6
_MOST_REALS = 4
_STEEPEST_Q, _FLATTEST_Q = 50.0, 0.05
# Least ln A of a band to start from: at zero gain nothing tells its frequency.
_LEAST_A = 1e-4


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read poles and zeros: forms, their settings (ln w, ln A, ln Q as each has them), and its cost."""

    forms: tuple[Form, ...]
    settings: NDArray[np.float64]
    cost: float


@dataclass(frozen=True, slots=True)
class _Roots:
    """Sections (ln w, ln Q) and real roots (ln w) of a polynomial in u."""

    sections: tuple[tuple[float, float], ...]
    reals: tuple[float, ...]

    @property
    def order(self) -> int:
        return 2 * len(self.sections) + len(self.reals)


def readings(
    poles: NDArray[np.complex128], zeros: NDArray[np.complex128], *, lowest: float, highest: float, most: int
) -> list[Reading]:
    """The most plausible bands for the roots of a squared magnitude, the best first.

    Parameters
    ----------
    poles, zeros : (order,) and no more
        In u, conjugates both given; zeros at infinity may be left out.
    lowest, highest : bilinear frequencies between which there are data
    most : how many readings
    """
    found: list[Reading] = []
    for at_zero, at_infinity, inner in _zeros_apart(zeros, len(poles), lowest, highest):
        for below in _with_reals_paired(_roots(poles)):
            for above in _with_reals_paired(_roots(inner)):
                found += _matched(below, above, at_zero, at_infinity, most)
    found.sort(key=lambda reading: reading.cost)
    return _distinct(found)[:most]


def roots_of(
    forms: tuple[Form, ...], settings: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Poles and zeros in u of the squared magnitude of bands; those at 0 given as 0, those at infinity left out."""
    poles: list[complex] = []
    zeros: list[complex] = []
    at = 0
    for form in forms:
        w, *rest = settings[at : at + form.n_settings]
        at += form.n_settings
        if form.type in PASSES:
            qs = (math.exp(rest[0]),) if form.has_q else butterworth_qs(form.order)
            for q in qs:
                poles += _pair(w, math.log(q))
            poles += [complex(-math.exp(2 * w))] * (form.order - 2 * len(qs))
            zeros += [0j] * form.order if form.type == "highpass" else []
            continue
        a = rest[0] if form.type != "highshelf" else -rest[0]
        if form.type == "peak":
            poles += _pair(w, rest[1] + a)
            zeros += _pair(w, rest[1] - a)
        elif form.order == 2:
            poles += _pair(w - a / 2, rest[1])
            zeros += _pair(w + a / 2, rest[1])
        else:
            poles.append(complex(-math.exp(2 * (w - a))))
            zeros.append(complex(-math.exp(2 * (w + a))))
    return np.array(poles, complex), np.array(zeros, complex)


def _pair(log_w: float, log_q: float) -> list[complex]:
    """Both roots of ``u^2 + u w^2 (1 / Q^2 - 2) + w^4``."""
    half = 0.5 * math.exp(-2 * log_q) - 1
    root = complex(half * half - 1) ** 0.5
    return [math.exp(2 * log_w) * (-half + root), math.exp(2 * log_w) * (-half - root)]


def _distinct(found: Sequence[Reading]) -> list[Reading]:
    kept: dict[tuple, Reading] = {}
    for reading in found:
        kept.setdefault((reading.forms, tuple(np.round(reading.settings, 6))), reading)
    return list(kept.values())


def _zeros_apart(
    zeros: NDArray, order: int, lowest: float, highest: float
) -> Iterator[tuple[int, int, NDArray[np.complex128]]]:
    """Zeros told into those at 0, those at infinity and the rest; with more of them at the ends, and with fewer.

    Those that are missing in the order of the poles are at infinity.
    """
    sizes = np.sqrt(np.abs(zeros))
    seen = set()
    for reach in (1.0, 0.3, 3.0):
        low, high = sizes < lowest * reach, sizes > highest / reach
        key = int(low.sum()), int(high.sum()) + order - len(zeros)
        if key not in seen:
            seen.add(key)
            yield *key, zeros[~low & ~high]


def _roots(u: NDArray[np.complex128]) -> _Roots:
    tops = u[u.imag > 0]
    sections = [(0.5 * math.log(abs(r)), _log_q(math.cos(np.angle(r)))) for r in tops]
    reals = u[u.imag == 0].real
    # Positive ones are two halves of a notch that noise drove apart.
    positive = np.sort(reals[reals > 0])
    sections += [
        (0.25 * math.log(a * b), math.log(_STEEPEST_Q)) for a, b in zip(positive[::2], positive[1::2], strict=False)
    ]
    lone = positive[len(positive) // 2 * 2 :]
    real = [0.5 * math.log(abs(r)) for r in [*reals[reals < 0], *lone]]
    return _Roots(tuple(sections), tuple(sorted(real)))


def _log_q(cosine: float) -> float:
    return -0.5 * math.log(max(2 - 2 * cosine, _STEEPEST_Q**-2))


def _with_reals_paired(roots: _Roots) -> Iterator[_Roots]:
    """The same roots with some of the real ones joined to sections of Q below a half."""
    if len(roots.reals) > _MOST_REALS:
        yield roots
        return
    for pairs, left in _pairings(roots.reals):
        joined = tuple(((a + b) / 2, (a + b) / 2 - np.logaddexp(a, b)) for a, b in pairs)
        yield _Roots(roots.sections + joined, left)


def _pairings(items: tuple[float, ...]) -> Iterator[tuple[list[tuple[float, float]], tuple[float, ...]]]:
    if not items:
        yield [], ()
        return
    first, rest = items[0], items[1:]
    for pairs, left in _pairings(rest):
        yield pairs, (first, *left)
    for k, other in enumerate(rest):
        for pairs, left in _pairings(rest[:k] + rest[k + 1 :]):
            yield [(first, other), *pairs], left


def _matched(poles: _Roots, zeros: _Roots, at_zero: int, at_infinity: int, most: int) -> list[Reading]:
    """Readings in which every pole has its zeros, if the numbers allow."""
    lone = len(poles.reals) - len(zeros.reals)
    ends = []
    # Real poles without a real zero take one zero from an end: first-order passes.
    for from_zero in range(max(lone, 0) + 1):
        from_infinity = lone - from_zero
        pairs_low, odd_low = divmod(at_zero - from_zero, 2)
        pairs_high, odd_high = divmod(at_infinity - from_infinity, 2)
        slots = len(zeros.sections) + pairs_low + pairs_high
        if lone < 0 or min(pairs_low, pairs_high) < 0 or odd_low or odd_high or slots != len(poles.sections):
            continue
        ends.append((pairs_low, pairs_high, from_zero, from_infinity))
    found = []
    for pairs_low, pairs_high, first_low, first_high in ends:
        second = _assigned(
            [[_second_order(pole, zero) for zero in zeros.sections] for pole in poles.sections],
            [_passes(pole) for pole in poles.sections],
            pairs_low,
            pairs_high,
            most,
        )
        first = _assigned(
            [[_first_order(pole, zero) for zero in zeros.reals] for pole in poles.reals],
            [_first_passes(pole) for pole in poles.reals],
            first_low,
            first_high,
            most,
        )
        found += [_joined(a + b) for a in second for b in first]
    return found


_Choice = tuple[Form, tuple[float, ...], float]


def _assigned(
    pairs: list[list[_Choice]], passes: list[tuple[_Choice, _Choice]], low: int, high: int, most: int
) -> list[tuple[_Choice, ...]]:
    """Which pole takes which zero, or serves as a pass: the cheapest ways."""
    count = len(passes)
    if not count:
        return [()]
    rows = [[*row, *[ends[0]] * low, *[ends[1]] * high] for row, ends in zip(pairs, passes, strict=True)]
    costs = np.array([[choice[2] for choice in row] for row in rows])
    if count > _MOST_PERMUTED:
        from scipy.optimize import linear_sum_assignment

        _, columns = linear_sum_assignment(costs)
        return [tuple(rows[n][int(column)] for n, column in enumerate(columns))]
    orders = np.array(list(itertools.permutations(range(count))))
    total = np.sum(costs[np.arange(count), orders], axis=1)
    best = np.argsort(total, kind="stable")[: 2 * most]
    return [tuple(rows[n][int(column)] for n, column in enumerate(orders[k])) for k in best]


def _second_order(pole: tuple[float, float], zero: tuple[float, float]) -> _Choice:
    (wp, qp), (wz, qz) = pole, zero
    apart, wider = wz - wp, qp - qz
    if abs(apart) <= abs(wider):
        cost = abs(apart) + _GAIN_COST * abs(wider)
        return Form("peak"), ((wp + wz) / 2, _not_zero(wider / 2), _usable_q((qp + qz) / 2)), cost
    cost = abs(wider) + _GAIN_COST * abs(apart)
    return Form("lowshelf"), ((wp + wz) / 2, _not_zero(apart), _usable_q((qp + qz) / 2)), cost


def _first_order(pole: float, zero: float) -> _Choice:
    return Form("lowshelf", 1), ((pole + zero) / 2, _not_zero((zero - pole) / 2)), _GAIN_COST * abs(zero - pole)


def _passes(pole: tuple[float, float]) -> tuple[_Choice, _Choice]:
    w, q = pole[0], _usable_q(pole[1])
    # Low poles for high-passes: the difference counts, not the size.
    return (Form("highpass"), (w, q), _GAIN_COST * w), (Form("lowpass"), (w, q), -_GAIN_COST * w)


def _first_passes(pole: float) -> tuple[_Choice, _Choice]:
    return (Form("highpass", 1), (pole,), _GAIN_COST * pole), (Form("lowpass", 1), (pole,), -_GAIN_COST * pole)


def _joined(choices: tuple[_Choice, ...]) -> Reading:
    return Reading(
        tuple(choice[0] for choice in choices),
        np.array([value for choice in choices for value in choice[1]], float),
        sum(choice[2] for choice in choices),
    )


def _not_zero(a: float) -> float:
    return math.copysign(max(abs(a), _LEAST_A), a)


def _usable_q(log_q: float) -> float:
    return float(np.clip(log_q, math.log(_FLATTEST_Q), math.log(_STEEPEST_Q)))
