"""The equaliser that a measured response amounts to: bands with frequency, gain and Q.

A rational function is fitted to the squared magnitude, which knows no delay; its poles and zeros are read as bands,
the phase they imply leaves a delay, and bands, gain and delay together are then fitted to the complex response, each
bin weighted by its variance. Of several numbers of bands the one with the least criterion of Schwarz [1]_ stays.

A chain has many names. ``high shelf(f, +g, Q)`` is a gain of g and ``low shelf(f, -g, Q)``; here shelves below
632 Hz, the middle of hearing in octaves, are low ones, the others high, and the gain is what is left.

References
----------
.. [1] Schwarz, "Estimating the dimension of a model", Annals of Statistics 6(2), 1978.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from unsum.describe.band_choice import Choice, chosen_chain
from unsum.describe.band_fit import ChainFit, Points, plain_deviations
from unsum.describe.filters import DB_PER_LOG_A, BandType, chain_response, unwarped_hz
from unsum.describe.measured import (
    PATHS_APART,
    Measured,
    common_response,
    disagreement,
    joint_variance,
    moved_points,
    noise_of_points,
)
from unsum.describe.timing import on_bins
from unsum.dsp.deviations import Deviations

Kind = Literal["flat", "parametric", "linear phase", "curve"]

_DB = 20 / math.log(10)
# Of the loudest bin: a response is not taken to be surer than this, whatever its variance says.
_LEAST_VARIANCE = 1e-20
# A fit that comes so near everywhere is the equaliser; one that does not is somebody's curve.
PARAMETRIC_DB = 0.1
# Points, 48 of which make an octave.
_IN_A_ROW = 2
# A curve is given where a sixth of an octave is known to this.
_CURVE_STDERR_DB = 1.0
# Deviations are told where the measurement itself is surer than this.
_MEASURED_DB = 0.005
# A band is claimed where its frequency is known to a tenth and its gain to a decibel, or better.
_CLAIMED_LOG_FREQUENCY, _CLAIMED_GAIN_DB = 0.1, 1.0
_CURVE_POINTS_PER_OCTAVE = 12
# They do if that is so many standard deviations above what noise makes of them.
_SURE = 5.0


@dataclass(frozen=True, slots=True)
class Band:
    """One band of an equaliser, as the RBJ cookbook defines it; standard errors beside the values.

    Attributes
    ----------
    gain_db : None for high-pass and low-pass
    q : None where the form has none: first-order shelves, and passes of other orders than 2, which are Butterworth's
    order : 2 for peaks, 1 or 2 for shelves, 1 to 4 for passes
    """

    type: BandType
    frequency_hz: float
    frequency_stderr_hz: float
    gain_db: float | None = None
    gain_stderr_db: float | None = None
    q: float | None = None
    q_stderr: float | None = None
    order: int = 2


@dataclass(frozen=True, slots=True)
class Curve:
    """Gain over frequency (points,), for equalisers that no few bands describe; relative to the gain at its mean."""

    frequency_hz: NDArray[np.float64]
    gain_db: NDArray[np.float64]
    stderr_db: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Equalisation:
    """What an equaliser, a fader, a pan pot and a delay made of one reference.

    ``H_c(f) = amplitudes[c] * exp(-2 pi i f delay) * bands(f)``.

    Attributes
    ----------
    kind : "flat" without bands; "curve" where no few bands come within 0.1 dB; "linear phase" where the phase is
        none but the delay's: its bands then hold for the magnitude
    gain_db : of all paths together by the equal-power law, beside the bands; a single path's own gain
    polarity : 1 upright, -1 inverted; that of the loudest path
    amplitudes : (paths,) linear, signed
    delay_samples : positive: later
    bands : by frequency
    max_deviation_db : greatest distance between bands and measurement, where that is sure to 0.005 dB
    chi2 : square of the deviations in units of theirs, for each degree of freedom; 1 where noise is all there is
    paths_chi2 : the same of the paths against each other; far above 1 where they differ in more than gain
    paths_apart_db : energy in which the images of the paths surely differ in more than gain, over that of the images;
        None where it is below -40 dB, or may be noise
    curve : of "curve" and "linear phase", else None
    response : of the chain that was fitted, gain included, and how sure it is as a whole; no session keeps it
    limits : what could not be told, in words
    from_samples : whether values and errors come from the intervals of rounded samples, and not from filters
    """

    kind: Kind
    gain_db: float
    gain_stderr_db: float
    polarity: int
    amplitudes: NDArray[np.float64]
    delay_samples: float
    delay_stderr_samples: float
    bands: tuple[Band, ...]
    max_deviation_db: float
    chi2: float
    paths_chi2: float | None = None
    curve: Curve | None = None
    limits: tuple[str, ...] = ()
    paths_apart_db: float | None = None
    response: Curve | None = None
    from_samples: bool = False


def describe_eq(
    responses: NDArray[np.complex128],
    variance: NDArray[np.float64],
    power: NDArray[np.float64],
    *,
    sample_rate: float,
    first_lag: int = 0,
    n_taps: int | None = None,
    correlation: NDArray[np.complex128] | None = None,
    unsure: NDArray[np.float64] | None = None,
    deviations: Deviations | None = None,
) -> Equalisation:
    """The equaliser behind the measured responses of one reference in the channels of a mixture.

    Parameters
    ----------
    responses : (paths, bins) complex
        On an even grid from 0 to half the sample rate: the transform of the taps, padded with zeros to twice their
        number or more, tap 0 at time 0.
    variance : (paths, bins)
        ``E |H - H_true|^2``, as `unsum.dsp.uncertainty.filter_variance` gives it.
    power : (bins,)
        Power spectrum of the reference.
    first_lag : lag of tap 0 in samples
    n_taps : of the filters; half the length of the transform if not given
    correlation : (paths, paths, bins), or None for none
        Of the errors of the responses: what disturbs several paths alike is not lessened by their mean.
    unsure : (paths, bins), or None for nothing
        Relative deviation beside noise that all bins of a third of an octave may share, as a codec's.
    deviations : what stretches of time did to the paths, as channels of one reference, if known
        Every setting is then as sure as those show it to be, instead of what the variance makes of it.

    Raises
    ------
    ValueError
        If the shapes do not agree, the grid is too coarse, or a value is not finite.
    """
    n_taps = _checked(responses, variance, power, n_taps)
    n_bins = responses.shape[1]
    n_fft = 2 * (n_bins - 1)
    omega = np.pi * np.arange(n_bins) / (n_bins - 1)
    loudest = float(np.max(np.abs(responses)))
    if loudest == 0:
        return _nothing(len(responses), "the filters are zero: there is nothing to equalise")
    sure = np.maximum(variance, _LEAST_VARIANCE * loudest**2)
    sure = sure * disagreement(responses, sure, power, n_fft / n_taps)
    shared, spread, amplitudes = common_response(responses, sure, correlation)
    with np.errstate(over="ignore"):
        axis = np.tan(np.minimum(omega, np.pi * (1 - 1e-9)) / 2)
    beside = np.zeros(n_bins)
    if unsure is not None:
        shares = np.abs(responses) ** 2 / sure
        beside = np.sum(shares * unsure, axis=0) / np.maximum(np.sum(shares, axis=0), np.finfo(float).tiny)
    measured = Measured(shared, spread, power, omega, axis, n_fft / n_taps, beside)
    choice = chosen_chain(measured, n_taps=n_taps, sample_rate=sample_rate)
    if choice is None:
        return _nothing(len(responses), "the response does not stand out of its noise anywhere")
    fit, points = choice.fit, choice.points
    covariance = _covariance(fit.information)
    if deviations is not None:
        shown = _shown_covariance(choice, covariance, responses, sure, deviations)
        # What an encoder takes is much alike whenever the same notes sound: stretches of time do not tell all of it.
        covariance = shown if unsure is None else _no_surer(shown, np.diag(covariance))
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    named, log_gain = _named(fit, errors, sample_rate)
    heard_hz = points.omega[[0, -1]] * sample_rate / (2 * math.pi)
    bands = tuple(band for band in named if _claimed(band, heard_hz))
    misses = _deviations_db(fit, choice.plain)
    deviation = float(np.max(misses))
    # A stray point, as next to half the sample rate or where the reference is faint, makes nobody's curve.
    good = float(np.max(minimum_filter1d(misses, _IN_A_ROW, mode="nearest"))) <= PARAMETRIC_DB
    kind: Kind = "linear phase" if fit.zero_phase else ("parametric" if named else "flat") if good else "curve"
    limits = [_unclaimed_words(band) for band in named if band not in bands]
    paths_chi2 = _paths_chi2(responses, sure, amplitudes, shared) if len(responses) > 1 else None
    apart_db = None
    if len(responses) > 1:
        codec = 0.0 if unsure is None else np.abs(unsure * responses) ** 2
        apart_db = _apart_db(responses - amplitudes[:, None] * shared, responses, sure + codec, power, n_fft / n_taps)
    if apart_db is not None:
        limits.append(f"the paths differ in more than gain, by {apart_db:.0f} dB: describe each by itself")
    gain = math.exp(log_gain)
    return Equalisation(
        kind=kind,
        gain_db=_DB * log_gain,
        gain_stderr_db=_DB * math.hypot(float(errors[0]), _alike_in_all(measured, points)),
        polarity=choice.polarity,
        amplitudes=choice.polarity * gain * amplitudes,
        delay_samples=first_lag + choice.delay_samples,
        delay_stderr_samples=float(errors[1]),
        bands=bands if good else (),
        max_deviation_db=deviation,
        chi2=choice.chi2,
        paths_chi2=paths_chi2,
        curve=_curve(points, sample_rate) if kind in ("linear phase", "curve") else None,
        limits=tuple(limits),
        paths_apart_db=apart_db,
        response=_fitted_response(fit, points, covariance, sample_rate),
    )


def _alike_in_all(measured: Measured, points: Points) -> float:
    """The relative deviation that all bands may share, which no mean over them takes away; it is one of gain."""
    at = np.interp(points.omega, measured.omega, measured.unsure)
    return float(np.average(at, weights=np.abs(points.response) ** 2 / points.deviation**2))


def flat_equaliser(
    amplitudes: NDArray[np.float64],
    *,
    delay_samples: float,
    gain_stderr_db: float = 0.0,
    delay_stderr_samples: float = 0.0,
    max_deviation_db: float = 0.0,
    chi2: float = 1.0,
) -> Equalisation:
    """What gains (paths,) without a filter are as an equaliser."""
    size = float(np.sqrt(np.sum(amplitudes**2)))
    return Equalisation(
        kind="flat",
        gain_db=_DB * math.log(size) if size > 0 else -math.inf,
        gain_stderr_db=gain_stderr_db,
        polarity=-1 if float(amplitudes[int(np.argmax(np.abs(amplitudes)))]) < 0 else 1,
        amplitudes=amplitudes,
        delay_samples=delay_samples,
        delay_stderr_samples=delay_stderr_samples,
        bands=(),
        max_deviation_db=max_deviation_db,
        chi2=chi2,
    )


def _checked(responses: NDArray, variance: NDArray, power: NDArray, n_taps: int | None) -> int:
    if responses.ndim != 2 or variance.shape != responses.shape or power.shape != responses.shape[1:]:
        raise ValueError(
            f"responses {responses.shape}, variance {variance.shape}, power {power.shape}; "
            "give (paths, bins) twice, and (bins,)"
        )
    for name, values in (("responses", responses), ("variance", variance), ("power", power)):
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name}: {np.sum(~np.isfinite(values))} values are not finite; leave such fits out")
    n_fft = 2 * (responses.shape[1] - 1)
    taps = n_taps or n_fft // 2
    if n_fft < 2 * taps or n_fft < 32:
        raise ValueError(f"{responses.shape[1]} bins for {taps} taps; pad the taps to twice their number, 32 or more")
    return taps


def _nothing(n_paths: int, reason: str) -> Equalisation:
    return Equalisation(
        "flat", -math.inf, math.inf, 1, np.zeros(n_paths), 0.0, math.inf, (), 0.0, 0.0, limits=(reason,)
    )


def _named(fit: ChainFit, errors: NDArray[np.float64], sample_rate: float) -> tuple[list[Band], float]:
    """The bands in the units of an engineer, by frequency, and the log gain beside them."""
    bands, log_gain, at = [], fit.log_gain, 0
    for form in fit.forms:
        values = fit.settings[at : at + form.n_settings]
        own = errors[2 + at : 2 + at + form.n_settings]
        at += form.n_settings
        w = math.exp(values[0])
        # f = atan(w) * rate / pi
        per_log = sample_rate / math.pi * w / (1 + w * w)
        bands.append(
            Band(
                form.type,
                float(unwarped_hz(w, sample_rate)),
                float(own[0]) * per_log,
                gain_db=DB_PER_LOG_A * float(values[1]) if form.has_gain else None,
                gain_stderr_db=DB_PER_LOG_A * float(own[1]) if form.has_gain else None,
                q=math.exp(values[-1]) if form.has_q else None,
                q_stderr=math.exp(values[-1]) * float(own[-1]) if form.has_q else None,
                order=form.order,
            )
        )
    return sorted(bands, key=lambda band: band.frequency_hz), log_gain


def _claimed(band: Band, heard_hz: NDArray[np.float64]) -> bool:
    known = band.frequency_stderr_hz <= _CLAIMED_LOG_FREQUENCY * band.frequency_hz
    known = known and heard_hz[0] <= band.frequency_hz <= heard_hz[1]
    return known and (band.gain_stderr_db is None or band.gain_stderr_db <= _CLAIMED_GAIN_DB)


def _unclaimed_words(band: Band) -> str:
    return (
        f"a {band.type} near {band.frequency_hz:.0f} Hz would fit, but is not claimed: its frequency is known to "
        f"{band.frequency_stderr_hz:.0f} Hz, and the reference says too little there"
    )


def _covariance(information: NDArray[np.float64]) -> NDArray[np.float64]:
    # Scaled: log gain and frequencies are known to a thousandth or to a millionth.
    scale = 1 / np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    inverse = np.linalg.pinv(information * scale[:, None] * scale, rcond=1e-14, hermitian=True)
    return inverse * scale[:, None] * scale


def _shown_covariance(
    choice: Choice,
    covariance: NDArray[np.float64],
    responses: NDArray[np.complex128],
    variance: NDArray[np.float64],
    deviations: Deviations,
) -> NDArray[np.float64]:
    """The covariance of log gain, delay and settings that deviations of the paths show.

    Every deviation is read as the paths themselves are, to the settings that fit best; no setting is surer than noise
    leaves it that goes on all the time. What points may miss beside noise comes on top.

    Parameters
    ----------
    covariance : that of the fit as it was weighted
    variance : (paths, bins) with which the paths were put together
    """
    points, fit = choice.points, choice.fit
    shared, _, amplitudes = common_response(responses, variance)
    turn = choice.polarity * np.exp(1j * choice.whole.omega * choice.begun_samples)
    each = deviations.responses(responses.shape[1])
    moves = (turn * (common_response(responses + one[:, 0], variance)[0] - shared) for one in each)
    moved = moved_points(choice.whole, fit.response, moves)
    theta = np.concatenate([[fit.log_gain, fit.delay_samples], fit.settings])
    slopes = plain_deviations(points, fit.forms, theta, fit.zero_phase)[1]
    unit = math.sqrt(2) / points.deviation
    shown = np.concatenate([(moved * unit).real, (moved * unit).imag], axis=1) @ slopes.T @ covariance

    def read(share: NDArray[np.float64]) -> NDArray[np.float64]:
        both = np.concatenate([share, share])
        return covariance @ ((slopes * both) @ slopes.T) @ covariance

    steady = on_bins(deviations.steady, responses.shape[1])[:, 0]
    of_steady = noise_of_points(choice.whole, fit.response, joint_variance(amplitudes, variance, steady))
    of_noise = noise_of_points(choice.whole, fit.response, choice.whole.variance)
    least = np.diag(read(of_steady / points.deviation**2))
    found = shown.T @ shown
    return _no_surer(found, least) + read(np.maximum(1 - of_noise / points.deviation**2, 0.0))


def _no_surer(covariance: NDArray[np.float64], least: NDArray[np.float64]) -> NDArray[np.float64]:
    """A covariance (settings, settings) whose variances are none of them less than these."""
    have = np.diag(covariance)
    wider = np.sqrt(np.maximum(np.divide(least, have, out=np.ones_like(have), where=have > 0), 1.0))
    return covariance * wider[:, None] * wider + np.diag(np.where(have > 0, 0.0, least))


def _fitted_response(fit: ChainFit, points: Points, covariance: NDArray[np.float64], sample_rate: float) -> Curve:
    """The level of a chain at its points, with the standard error that those of all its settings make together."""
    response, slopes = chain_response(fit.forms, fit.settings, points.axis)
    # A delay moves no level.
    slopes = np.concatenate([np.ones((1, len(response))), np.zeros((1, len(response))), slopes.real])
    stderr = np.sqrt(np.maximum(np.einsum("kf,kl,lf->f", slopes, covariance, slopes), 0.0))
    level = fit.log_gain + np.log(np.abs(response))
    return Curve(points.omega * sample_rate / (2 * np.pi), _DB * level, _DB * stderr)


def _deviations_db(fit: ChainFit, points: Points) -> NDArray[np.float64]:
    """Between fit and measurement, where the measurement is sure; where none of it is, at the surest tenth."""
    sure = _DB * points.deviation / np.maximum(np.abs(points.response), np.finfo(float).tiny)
    told = sure <= max(_MEASURED_DB, float(np.quantile(sure, 0.1)))
    apart = np.abs(points.response[told] / fit.response(points.omega[told], points.axis[told]))
    return _DB * np.abs(np.log(apart))


def _paths_chi2(responses: NDArray, variance: NDArray, amplitudes: NDArray, shared: NDArray) -> float:
    left = np.abs(responses - amplitudes[:, None] * shared) ** 2 / variance
    return float(np.sum(left[:, 1:-1]) / ((len(responses) - 1) * (responses.shape[1] - 2)))


def _apart_db(left: NDArray, responses: NDArray, variance: NDArray, power: NDArray, repeats: float) -> float | None:
    """Energy in which the paths' images differ from each other in more than gain, over their energy.

    None where that is too little, or no more than noise of these variances brings about.
    """
    squares = np.abs(left) ** 2
    whole = float(np.sum(np.abs(responses) ** 2 * power))
    surplus = float(np.sum((squares - variance) * power))
    chance = math.sqrt(repeats * float(np.sum(power**2 * (2 * squares * variance + variance**2))))
    return 10 * math.log10(surplus / whole) if surplus - _SURE * chance > PATHS_APART * whole else None


def _curve(points: Points, sample_rate: float) -> Curve:
    """The measured magnitude in twelfths of an octave, where it is known."""
    size = np.abs(points.response)
    weights = (size / points.deviation) ** 2
    band = np.floor(_CURVE_POINTS_PER_OCTAVE * np.log2(points.omega / points.omega[0])).astype(int)
    first = np.flatnonzero(np.diff(band, prepend=-1))
    total = np.add.reduceat(weights, first)
    level = np.add.reduceat(weights * np.log(size), first) / total
    frequency = np.exp(np.add.reduceat(weights * np.log(points.omega), first) / total) * sample_rate / (2 * np.pi)
    error = _DB / np.sqrt(total)
    known = error <= _CURVE_STDERR_DB
    mean = float(np.average(level[known])) if np.any(known) else 0.0
    return Curve(frequency[known], _DB * (level[known] - mean), error[known])
