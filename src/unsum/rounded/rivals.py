"""Other bands that would sound nearly like those of a chain: noise hides which of them were set, rounding tells."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from unsum.describe.band_fit import ChainFit, Points, fit_chain
from unsum.describe.filters import BandType, Form, chain_values
from unsum.describe.simplify import canonical, sane
from unsum.rounded.chains import Chain

_POINTS = 240
# As in `unsum.describe.eq`.
_SHELF_SPLIT_HZ = 632.0
# Radians a sample: from 14 Hz at 44.1 kHz to nearly half the sample rate.
_LOWEST, _HIGHEST = 2e-3, 3.0
# Bands are put where they may have been missed, at radians a sample: passes and shelves at the ends of hearing.
_MISSED: tuple[tuple[Form, float], ...] = (
    (Form("highpass"), 0.004),
    (Form("lowpass"), 2.0),
    (Form("highshelf"), 1.5),
    (Form("lowshelf"), 0.01),
)
_LOG_SMALL_A, _LOG_Q = 0.02, -0.5 * math.log(2)

Part = tuple[Form, NDArray[np.float64]]


def rivals_of(chain: Chain, power: NDArray[np.float64], *, most: int) -> list[Chain]:
    """Chains with one band instead of one or two others, the likest of each number of bands, and with one band more.

    Parameters
    ----------
    power : (bins,)
        Of the track, from 0 to half the sample rate: where it is faint, much may be otherwise.
    most : how many of the first kind, for each number of bands
    """
    omega = np.geomspace(_LOWEST, _HIGHEST, _POINTS)
    axis = np.tan(omega / 2)
    at = np.linspace(0, np.pi, len(power))
    # Every point stands for as many bins as lie between it and the next.
    weight = np.interp(omega, at, power) * omega
    response = chain_values(chain.forms, chain.settings, axis)
    deviation = 1 / np.sqrt(np.maximum(weight, 1e-12 * np.max(weight)))
    points = Points(omega, axis, response, deviation)
    alike = [fit for fit in (_fitted(points, parts) for parts in _otherwise(_parts_of(chain))) if sane(fit)]
    alike.sort(key=lambda fit: fit.chi2)
    counts = sorted({len(fit.forms) for fit in alike})
    found = [_with(chain, fit) for count in counts for fit in [one for one in alike if len(one.forms) == count][:most]]
    for form, omega_there in _MISSED:
        own = [math.log(math.tan(omega_there / 2)), *([_LOG_SMALL_A] if form.has_gain else []), _LOG_Q]
        found.append(replace(chain, forms=(*chain.forms, form), settings=np.append(chain.settings, own)))
    return found


def canonical_chain(chain: Chain, sample_rate: int) -> Chain:
    """The same chain by the names that `unsum.describe.eq` gives its bands."""
    split = math.tan(math.pi * min(_SHELF_SPLIT_HZ / sample_rate, 0.25))
    fit = ChainFit(chain.forms, 0.0, chain.delay_samples, chain.settings, 0.0, np.zeros((0, 0)))
    named = canonical(fit, split)
    gain = math.exp(named.log_gain)
    return replace(chain, forms=named.forms, settings=named.settings, amplitudes=gain * chain.amplitudes)


def _parts_of(chain: Chain) -> list[Part]:
    parts, at = [], 0
    for form in chain.forms:
        parts.append((form, chain.settings[at : at + form.n_settings]))
        at += form.n_settings
    return parts


def _otherwise(parts: list[Part]) -> Iterator[list[Part]]:
    """The bands with one or two of them replaced by one of second order."""
    for count in (1, 2):
        for dropped in combinations(range(len(parts)), count):
            kept = [part for n, part in enumerate(parts) if n not in dropped]
            log_w = float(np.mean([parts[n][1][0] for n in dropped]))
            log_a = sum(float(parts[n][1][1]) for n in dropped if parts[n][0].has_gain)
            for kind in get_args(BandType):
                form = Form(kind)
                if [form] == [parts[n][0] for n in dropped]:
                    continue
                gains = (log_a or _LOG_SMALL_A, -log_a or -_LOG_SMALL_A) if form.has_gain else (None,)
                for gain in gains:
                    own = [log_w, *([] if gain is None else [gain]), _LOG_Q]
                    yield [*kept, (form, np.array(own))]


def _fitted(points: Points, parts: list[Part]) -> ChainFit:
    """Bands as near as they come to a response."""
    return fit_chain(
        points,
        tuple(form for form, _ in parts),
        log_gain=0.0,
        delay_samples=0.0,
        settings=np.concatenate([own for _, own in parts]),
    )


def _with(chain: Chain, fit: ChainFit) -> Chain:
    return replace(
        chain,
        forms=fit.forms,
        settings=fit.settings,
        delay_samples=chain.delay_samples + fit.delay_samples,
        amplitudes=chain.amplitudes * math.exp(fit.log_gain),
    )
