"""The fewest bands: what does not pay for its settings is taken out, and one name is chosen of several.

A chain has many names. ``high shelf(f, +g, Q)`` is a gain of g and ``low shelf(f, -g, Q)``, a high-pass and a low-pass
may change places. Here shelves below a split are low ones, those above high ones, and high-passes lie below
low-passes; the gain is what is left.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.band_fit import ChainFit, Points, refitted
from unsum.describe.filters import DB_PER_LOG_A, PASSES, SHELVES, Form

# A band that moves nothing by as much, in log amplitude, is none: 0.003 dB.
_INAUDIBLE = 0.003 / 8.686
# 45 dB in ln A, and Q from 0.05 to 100: beyond lie bands that cancel each other.
_MOST_LOG_A = 45 / DB_PER_LOG_A
_LOG_QS = math.log(0.05), math.log(100)
# A shelf of 24 dB or more may be a pass.
_STEEP_LOG_A = 24 / DB_PER_LOG_A
# Two passes within 20 % of each other may be one.
_ONE_FREQUENCY = 0.2
# Two poles in one place have a Q of 0.5.
_DOUBLE_POLE_Q = 0.5
# Where a point is known to a tenth.
_KNOWN = 0.1


def sane(fit: ChainFit) -> bool:
    """Whether an engineer could have set these bands: huge gains that cancel each other are no equaliser."""
    at = 0
    for form in fit.forms:
        own = fit.settings[at : at + form.n_settings]
        at += form.n_settings
        if (form.has_gain and abs(own[1]) > _MOST_LOG_A) or (form.has_q and not _LOG_QS[0] < own[-1] < _LOG_QS[1]):
            return False
    return True


def simplest(points: Points, fit: ChainFit, scale: float) -> ChainFit:
    """The chain without bands that do not pay for their settings, and with passes of one frequency joined.

    Parameters
    ----------
    scale : chi2 for each degree of freedom that no chain beats
    """
    n_points = len(points.omega)
    while True:
        simpler = []
        enough = fit.bic(n_points, scale) * scale
        for tried in _simpler(fit):
            other = refitted(points, tried, hopeless=enough)
            quiet = _greatest_change(points, fit, other) < _INAUDIBLE
            if other.bic(n_points, scale) < fit.bic(n_points, scale) or quiet:
                simpler.append(other)
        if not simpler:
            return fit
        fit = min(simpler, key=lambda other: other.bic(n_points, scale))


def _simpler(fit: ChainFit) -> list[ChainFit]:
    """Chains with a band less, or two high-passes joined to one of Butterworth's."""
    parts, at = [], 0
    for form in fit.forms:
        parts.append((form, fit.settings[at : at + form.n_settings]))
        at += form.n_settings
    out = []
    for n in range(len(parts)):
        out.append(_with_parts(fit, parts[:n] + parts[n + 1 :]))
        for m in range(n):
            joined = _one_pass(parts[m], parts[n])
            if joined is not None:
                out.append(_with_parts(fit, [*parts[:m], joined, *parts[m + 1 : n], *parts[n + 1 :]]))
        steep = _as_pass(*parts[n])
        if steep is not None:
            form, own, log_gain = steep
            passing = _with_parts(fit, [*parts[:n], (form, own), *parts[n + 1 :]])
            out.append(replace(passing, log_gain=fit.log_gain + log_gain))
    return out


def _as_pass(form: Form, own: NDArray[np.float64]) -> tuple[Form, NDArray[np.float64], float] | None:
    """A shelf of much gain as the pass that it nearly is, and the log gain beside it."""
    if form.type not in SHELVES or abs(own[1]) < _STEEP_LOG_A:
        return None
    a = own[1] if form.type == "lowshelf" else -own[1]
    beside = 0.0 if form.type == "lowshelf" else 2 * float(own[1])
    # Its zero is at w + part, its pole at w - part, in logarithms.
    part = a / form.order
    pole = np.concatenate([[own[0] - part], own[2:]])
    if a < 0:
        return Form("highpass", form.order), pole, beside
    return Form("lowpass", form.order), pole, beside + 2 * float(a)


def passing(fit: ChainFit) -> list[ChainFit]:
    """Chains with one shelf of much gain made a pass."""
    return [other for other in _simpler(fit) if len(other.forms) == len(fit.forms)]


def of_second_order(fit: ChainFit) -> list[ChainFit]:
    """Chains with one shelf of the first order made one of the second, whose poles had seemed to be one."""
    found, at = [], 0
    for n, form in enumerate(fit.forms):
        at += form.n_settings
        if form.type in SHELVES and form.order == 1:
            forms = (*fit.forms[:n], Form(form.type), *fit.forms[n + 1 :])
            found.append(replace(fit, forms=forms, settings=np.insert(fit.settings, at, math.log(_DOUBLE_POLE_Q))))
    return found


def _with_parts(fit: ChainFit, parts: list[tuple[Form, NDArray[np.float64]]]) -> ChainFit:
    settings = np.concatenate([own for _, own in parts]) if parts else np.empty(0)
    return replace(fit, forms=tuple(form for form, _ in parts), settings=settings)


def _one_pass(
    one: tuple[Form, NDArray[np.float64]], other: tuple[Form, NDArray[np.float64]]
) -> tuple[Form, NDArray[np.float64]] | None:
    """Two passes of the same kind and nearly one frequency as one of the sum of their orders, at most 4."""
    order = one[0].order + other[0].order
    near = abs(one[1][0] - other[1][0]) < _ONE_FREQUENCY
    if one[0].type not in PASSES or one[0].type != other[0].type or order > 4 or not near:
        return None
    between = 0.5 * (one[1][0] + other[1][0])
    return Form(one[0].type, order), np.array([between, 0.0] if order == 2 else [between])


def _greatest_change(points: Points, fit: ChainFit, other: ChainFit) -> float:
    """In log amplitude, where the points know it."""
    apart = np.abs(np.log(other.response(points.omega, points.axis) / fit.response(points.omega, points.axis)))
    known = points.deviation < np.abs(points.response) * _KNOWN
    return float(np.max(apart[known], initial=0.0))


def canonical(fit: ChainFit, split: float) -> ChainFit:
    """The same chain with low shelves below the split and high ones above, and high-passes below low-passes."""
    settings, forms, log_gain, at = fit.settings.copy(), list(fit.forms), fit.log_gain, 0
    low: dict[int, tuple[int, int]] = {}
    high: dict[int, tuple[int, int]] = {}
    for n, form in enumerate(fit.forms):
        if form.type in SHELVES:
            wanted = "lowshelf" if settings[at] < math.log(split) else "highshelf"
            if wanted != form.type:
                log_gain += 2 * float(settings[at + 1])
                settings[at + 1] *= -1
                forms[n] = Form(wanted, form.order)
        elif form.type == "lowpass":
            low[form.order] = n, at
        elif form.type == "highpass":
            high[form.order] = n, at
        at += form.n_settings
    for order in low.keys() & high.keys():
        (n, one), (m, other) = low[order], high[order]
        if settings[one] < settings[other]:
            # s^n w1^n / (D1 D2): only the constant knows which of the two is the low-pass.
            log_gain += order * float(settings[one] - settings[other])
            forms[n], forms[m] = forms[m], forms[n]
    return replace(fit, forms=tuple(forms), settings=settings, log_gain=log_gain)
