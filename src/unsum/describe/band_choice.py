"""How many bands, and which: from a measured response to the chain that explains it with the fewest.

Rational fits of growing order give poles and zeros; every plausible reading of them as bands is fitted to the complex
response, and bands that do not pay for their settings are taken out again. What the taps of the measurement could not
hold is taken off before the last fits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.band_fit import ChainFit, Points, chi2_per_degree, fit_chain, refitted
from unsum.describe.beginning import begin, rational_curves
from unsum.describe.filters import DB_PER_LOG_A, Form, chain_values
from unsum.describe.measured import Measured, condensed, local_means
from unsum.describe.pairing import readings, roots_of
from unsum.describe.simplify import canonical, of_second_order, passing, sane, simplest
from unsum.dsp.projection import project_on_taps
from unsum.dsp.rational import RationalFit
from unsum.dsp.transforms import irfft, rfft

# Relative deviations that no point is taken to beat while the number of bands is open, 0.009 dB first: measurements
# have errors that are not noise, and to noise they look like bands. Where half of the points are missed by more than
# so many times the variance of their noise, the next floor is tried.
_SYSTEMATIC = (1e-3, 3e-5)
_BY_FAR = 1.5
# What taps that end leave of a fractional delay, when the distance between bands and measurement is told.
_CUT_OFF = 1e-4
# A fit that misses the first floor by a factor of 140, that is by 1.2 dB, is of no chain: more trials would not help.
_NO_CHAIN = 2e4
_LONG = 100
_READINGS, _SIMPLIFIED = 6, 3
_TRIAL_ITERATIONS = 25
# A reading that is so many times worse than another is not the one.
_HOPELESS = 30.0
# Readings whose criteria are so near that only the last fit decides, and how many.
_NEARLY, _CONTESTANTS = 40.0, 2
_POLISHES = 3
# Shelves below are low ones: the middle of 20 Hz and 20 kHz in octaves, at any sample rate.
_SHELF_SPLIT_HZ = 632.0
# Part of the energy of what the taps could not hold that stays uncertain once it is taken off.
_TAIL_UNSURE = 1e-3
# Energy of it, over the variance, below which it is no matter.
_TAIL_HEARD = 1e-2
# Points count alike from this signal-to-noise ratio on, where only a level to start from is sought.
_EVEN = 1e4


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen chain.

    Attributes
    ----------
    fit : its delay is relative to `delay_samples`' start and already in it
    points : the response it was fitted to, the start of the delay and the polarity taken out; their deviations hold
        what the fit misses besides noise
    plain : the same with deviations of noise, and of what the end of the taps cuts off
    delay_samples : of tap 0
    chi2 : for each degree of freedom, by the noise of the measurement alone
    whole : the response that the points stand for
    begun_samples : the start of the delay
    """

    fit: ChainFit
    points: Points
    plain: Points
    delay_samples: float
    polarity: int
    chi2: float
    whole: Measured
    begun_samples: float


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every fit of one response shares.

    Attributes
    ----------
    delay_samples, polarity : to begin with; delays of fits are relative to it
    split : bilinear frequency between low shelves and high ones
    limits : bilinear frequencies between which there are data
    """

    measured: Measured
    n_taps: int
    delay_samples: float
    polarity: int
    zero_phase: bool
    split: float
    limits: tuple[float, float]

    @property
    def turn(self) -> NDArray[np.complex128]:
        """Takes delay and polarity out of a response (bins,)."""
        return self.polarity * np.exp(1j * self.measured.omega * self.delay_samples)


@dataclass(frozen=True, slots=True)
class _Settled:
    """A polished fit, its points, and the response without delay, polarity, and what the taps could not hold."""

    fit: ChainFit
    points: Points
    whole: Measured


def chosen_chain(measured: Measured, *, n_taps: int, sample_rate: float) -> Choice | None:
    """The chain that explains a response with the fewest bands; None if it does not stand out of its noise.

    Parameters
    ----------
    n_taps : that the response was measured with
    """
    begun = begin(measured, systematic=_SYSTEMATIC[0])
    if begun is None:
        return None
    split = math.tan(math.pi * min(_SHELF_SPLIT_HZ / sample_rate, 0.25))
    bench = _Bench(measured, n_taps, begun.delay_samples, begun.polarity, begun.zero_phase, split, begun.limits)
    upright = replace(measured, response=measured.response * bench.turn)
    first, *others = _SYSTEMATIC
    found = _contest(bench, condensed(upright, begun.model, systematic=first), begun.curves, first)
    for floor in others:
        best = _best(found)
        near = float(np.median(_missed(condensed(best.whole, best.fit.response), best.fit))) < _BY_FAR
        again = condensed(best.whole, best.fit.response, systematic=first)
        if near or _excess(again, refitted(again, best.fit, iterations=0)) > _NO_CHAIN:
            break
        curves = rational_curves(measured, systematic=floor)
        found += _contest(bench, condensed(best.whole, best.fit.response, systematic=floor), curves, floor)
    best = _best(found)
    plain = condensed(best.whole, best.fit.response)
    delay = bench.delay_samples + best.fit.delay_samples
    chi2 = chi2_per_degree(plain, refitted(plain, best.fit, iterations=0))
    told = condensed(best.whole, best.fit.response, systematic=_CUT_OFF)
    return Choice(best.fit, best.points, told, delay, bench.polarity, chi2, best.whole, bench.delay_samples)


def _contest(bench: _Bench, points: Points, curves: Sequence[RationalFit], floor: float) -> list[_Settled]:
    """The best readings of the curves, polished, and the best other reading of the best of them."""
    fits = _best_readings(points, curves, bench.limits, bench.zero_phase)
    if _excess(points, fits[0]) > _NO_CHAIN:
        upright = replace(bench.measured, response=bench.measured.response * bench.turn)
        return [_Settled(fits[0], condensed(upright, fits[0].response), upright)]
    found = [_settled(bench, fit, floor) for fit in fits]
    best = _best(found)
    others = _read_otherwise(best.points, best.fit, bench)
    if others:
        plain = condensed(best.whole, best.fit.response)
        scale = float(np.median(_missed(plain, best.fit)))
        other = min(others, key=lambda fit: _robust_criterion(plain, fit, scale))
        if _robust_criterion(plain, other, scale) < _robust_criterion(plain, best.fit, scale):
            found.append(_settled(bench, other, floor))
    return found


def _best(found: Sequence[_Settled]) -> _Settled:
    """The one that noise with long tails makes likeliest, on the points of the one that misses them least."""

    def missed(one: _Settled) -> float:
        return float(np.median(_missed(condensed(one.whole, one.fit.response), one.fit)))

    nearest = min(found, key=missed)
    plain = condensed(nearest.whole, nearest.fit.response)
    scale = missed(nearest)
    return min(found, key=lambda one: _robust_criterion(plain, one.fit, scale))


def _settled(bench: _Bench, fit: ChainFit, floor: float) -> _Settled:
    """The fit polished until its bands stay."""
    while True:
        whole = _without_lost_taps(bench, fit)
        before = len(fit.information)
        fit, points = _polished(whole, fit, bench.split, floor)
        # Every further round has fewer settings than the one before.
        if len(fit.information) == before:
            return _Settled(fit, points, whole)


def _read_otherwise(points: Points, fit: ChainFit, bench: _Bench) -> list[ChainFit]:
    """Fits of the other readings of the poles and zeros of a fit."""
    poles, zeros = roots_of(fit.forms, fit.settings)
    found = []
    for reading in readings(poles, zeros, lowest=bench.limits[0], highest=bench.limits[1], most=_READINGS):
        level = _level(points, reading.forms, reading.settings)
        start = replace(fit, forms=reading.forms, settings=reading.settings, log_gain=level)
        other = refitted(points, start, hopeless=_HOPELESS * fit.chi2, iterations=_TRIAL_ITERATIONS)
        if sane(other):
            found.append(canonical(other, bench.split))
    for start in of_second_order(fit):
        other = refitted(points, start, iterations=_LONG)
        if sane(other):
            found.append(canonical(other, bench.split))
    return found


def _polished(upright: Measured, fit: ChainFit, split: float, floor: float) -> tuple[ChainFit, Points]:
    """The fit with no more bands than it needs, every setting as sure as noise lets it be, and its points."""
    floored = condensed(upright, fit.response, systematic=floor)
    fit = refitted(floored, fit)
    fit = canonical(simplest(floored, fit, _excess(floored, fit)), split)
    points = floored
    for _ in range(_POLISHES):
        plain = condensed(upright, fit.response)
        # Less sure where the fit misses a point and its neighbours by more than noise explains.
        wider = np.sqrt(np.maximum(local_means(_missed(plain, fit)), 1.0))
        points = replace(plain, deviation=plain.deviation * wider)
        fit = refitted(points, fit)
    return fit, points


def _missed(points: Points, fit: ChainFit) -> NDArray[np.float64]:
    """Squares (points,) of the misfit in units of the deviation: 1 in the mean for nothing but noise."""
    return np.abs(fit.response(points.omega, points.axis) - points.response) ** 2 / points.deviation**2


def _robust_criterion(points: Points, fit: ChainFit, scale: float) -> float:
    """Schwarz's criterion under noise with long tails, in which a few bad regions decide nothing.

    Parameters
    ----------
    scale : misfit of the best fit there is, where that is more than noise
    """
    missed = _missed(points, fit) / max(scale, 1.0)
    return float(4 * np.sum(np.log1p(missed / 2))) + math.log(2 * len(missed)) * len(fit.information) + _gain_cost(fit)


def _gain_cost(fit: ChainFit) -> float:
    """Of two readings as good the one with less gain is meant: half a unit for every decibel."""
    at, total = 0, 0.0
    for form in fit.forms:
        if form.has_gain:
            total += abs(float(fit.settings[at + 1]))
        at += form.n_settings
    return 0.5 * DB_PER_LOG_A * total


def _best_readings(
    points: Points, curves: Sequence[RationalFit], limits: tuple[float, float], zero_phase: bool
) -> list[ChainFit]:
    """The readings of the curves that fit the complex response best, and nearly as well."""
    tried: list[tuple[float, ChainFit]] = []
    none = fit_chain(
        points, (), log_gain=_level(points), delay_samples=0.0, settings=np.empty(0), zero_phase=zero_phase
    )
    tried.append((0.0, none))
    least = none.chi2
    for curve in curves:
        for reading in readings(curve.poles, curve.zeros, lowest=limits[0], highest=limits[1], most=_READINGS):
            bands = fit_chain(
                points,
                reading.forms,
                log_gain=_level(points, reading.forms, reading.settings),
                delay_samples=0.0,
                settings=reading.settings,
                zero_phase=zero_phase,
                iterations=_TRIAL_ITERATIONS,
                hopeless=_HOPELESS * least,
            )
            least = min(least, bands.chi2)
            tried.append((reading.cost, bands))
            if not sane(bands):
                tried += [
                    (reading.cost, refitted(points, other, hopeless=_HOPELESS * least)) for other in passing(bands)
                ]
    n_points = len(points.omega)
    kept = [one for one in tried if sane(one[1])]
    scale = _excess(points, min((fit for _, fit in kept), key=lambda fit: fit.chi2))
    if scale > _NO_CHAIN:
        # Trials are short: the best of them may not have arrived.
        nearest = sorted((fit for _, fit in kept), key=lambda fit: fit.chi2)[:_SIMPLIFIED]
        kept = [(0.0, refitted(points, fit, iterations=_LONG)) for fit in nearest]
        kept = [one for one in kept if sane(one[1])] or [(0.0, nearest[0])]
        simpler = simplest(points, min((fit for _, fit in kept), key=lambda fit: fit.chi2), scale)
        scale = _excess(points, simpler)
        if scale > _NO_CHAIN:
            return [simpler]
        kept.append((0.0, simpler))
    kept.sort(key=lambda one: one[1].bic(n_points, scale) + one[0])
    different = {fit.forms: fit for _, fit in reversed(kept)}
    best_of_each = [fit for _, fit in kept if different[fit.forms] is fit][:_SIMPLIFIED]
    fewest = [simplest(points, fit, scale) for fit in best_of_each]
    fewest.sort(key=lambda fit: fit.bic(n_points, scale))
    best = fewest[0].bic(n_points, scale)
    return [fit for fit in fewest if fit.bic(n_points, scale) < best + _NEARLY][:_CONTESTANTS]


def _level(points: Points, forms: tuple[Form, ...] = (), settings: NDArray | None = None) -> float:
    """Log gain at which a chain is as loud as the points."""
    shape = chain_values(forms, np.empty(0) if settings is None else settings, points.axis)
    apart = np.log(np.abs(points.response) / np.abs(shape))
    weights = np.minimum((np.abs(points.response) / points.deviation) ** 2, _EVEN)
    return float(np.average(apart, weights=weights))


def _excess(points: Points, fit: ChainFit) -> float:
    """By how much chi2 is above what noise explains: a filter of another make never comes down to the noise."""
    return max(chi2_per_degree(points, fit), 1.0)


def _without_lost_taps(bench: _Bench, fit: ChainFit) -> Measured:
    """The response upright, as filters without end would have it, if the fit is right about what the taps lost.

    That is the ringing of the bands beyond the last tap. What is cut off a fractional delay lies near half the sample
    rate, where least squares finds other taps for it by itself.
    """
    measured = bench.measured
    upright_already = replace(measured, response=measured.response * bench.turn)
    n_bins = 2 * len(measured.omega) - 1
    n_fft = 2 * (n_bins - 1)
    omega = np.linspace(0, np.pi, n_bins)
    axis = np.tan(np.minimum(omega, np.pi * (1 - 1e-9)) / 2)
    total = bench.delay_samples + fit.delay_samples
    whole = math.floor(total + 0.5)
    upright = fit.response(omega, axis) * np.exp(1j * omega * (fit.delay_samples - whole))
    beyond = irfft(upright, n_fft)
    beyond[: bench.n_taps] = 0.0
    tail = rfft(beyond, n_fft)
    if np.all(np.abs(tail[::2]) ** 2 <= _TAIL_HEARD * measured.variance):
        return upright_already
    power = np.interp(omega, measured.omega, measured.power)
    taps = project_on_taps(tail, power, first_lag=0, n_taps=bench.n_taps)
    lost = rfft(taps, n_fft)[::2] - tail[::2]
    lost *= np.exp(-1j * measured.omega * (total - whole - bench.delay_samples))
    return replace(
        upright_already,
        response=upright_already.response - lost,
        variance=measured.variance + _TAIL_UNSURE * np.abs(lost) ** 2,
    )
