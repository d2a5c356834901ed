"""Echoes: a response that is a direct sound and a few repeats of it.

    H_p(f) = a_p0 exp(-i w t_0) + a_p1 exp(-i w t_1) + ...          for every path p, at the same times

or, where the repeats of one delay line feed it again, and so fade by the same factor each time::

    H_p(f) = exp(-i w t_0) (a_p + b_p exp(-i w D) / (1 - g exp(-i w D)))

Repeats are found one by one, each where most of what is left correlates [1]_, and then fitted together by least
squares. They are claimed where so few of them account for nearly all that comes after the direct sound: a room has
hundreds of reflections, and none of them takes much of what the others leave.

References
----------
.. [1] Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit", Asilomar Conf. Signals, Systems and Computers,
   1993.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.describe.echo_fit import ArrivalFit, Data, chance, fit_arrivals, fit_line, surplus
from unsum.describe.eq import Equalisation, flat_equaliser
from unsum.dsp.transforms import irfft, rfft

_DB = 20 / math.log(10)
# No response is taken to be surer than -200 dB of itself.
_DOUBLE_PRECISION = 1e-20
_LEAST_ENERGY = 1e-30
_MOST_REPEATS = 16
_LOUDEST_DB = 6.0  # beside the direct sound
# Two arrivals that are nearer than this are an equaliser's, or a comb filter's.
_LEAST_SECONDS = 0.001
# A repeat takes so much of the energy that the ones before it left, or they are a room's.
_LEAST_SHARE = 0.05
# Energy after the direct sound that repeats may leave unexplained, -20 dB.
_UNEXPLAINED = 0.01
_SURE_DEVIATIONS = 5.0
# Bins count alike where they are known to 40 dB below the mean of all.
_EVEN = 1e-4
# Paths so much weaker than the loudest have no say.
_SILENT_PATH = 1e-4
# Above this part of half the sample rate no filter holds a part of a sample.
_HIGHEST = 0.97
_FINER = 2
_ROUNDS = 3
# A line that feeds itself: its repeats lie on one grid and fade by one factor, as nearly as so many deviations tell.
_FEWEST_FED = 3
_GRID_SAMPLES, _GRID_DEVIATIONS = 0.05, 4.0
_RATIO = 0.02


@dataclass(frozen=True, slots=True)
class Repeat:
    """The sound once more: so much later than the direct one and so loud beside it; polarity -1 is inverted to it."""

    delay_seconds: float
    delay_stderr_seconds: float
    level_db: float
    level_stderr_db: float
    polarity: int = 1


@dataclass(frozen=True, slots=True)
class Echo:
    """A direct sound with repeats.

    Attributes
    ----------
    repeats : by delay; of a line that feeds itself the first one
    feedback : amplitude of each repeat over the one before it, signed; None where they do not fade by one factor
    direct : the direct sound, which is flat; its amplitudes are those of all paths, 0 where one is silent, and its
        deviation is that of the whole, repeats and all, from what was measured, averaged over sixths of octaves
    unexplained_db : energy of what is left over that of the repeats, noise taken off
    """

    repeats: tuple[Repeat, ...]
    feedback: float | None
    feedback_stderr: float | None
    direct: Equalisation
    unexplained_db: float


def describe_echo(
    filters: NDArray[np.float64], variance: NDArray[np.float64], *, sample_rate: int, first_lag: int = 0
) -> Echo | None:
    """The echo in some filters; None where a few repeats do not account for what follows the direct sound.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    variance : (mixture channels, reference channels, bins)
        Of the responses, as `unsum.dsp.uncertainty.filter_variance` gives it.
    first_lag : lag of tap 0 in samples
    """
    data, sounding = _prepared(filters, variance)
    if data is None:
        return None
    delays = _arrivals(data, least=_LEAST_SECONDS * sample_rate)
    if delays is None or len(delays) < 2:
        return None
    fit = fit_arrivals(data, delays)
    n = len(delays)
    order = np.argsort(fit.theta[:n])
    fed = _fed(data, fit, n, order)
    if fed is None and (fit.unexplained > _UNEXPLAINED or n > _MOST_REPEATS):
        return None
    used = fit if fed is None else fed
    count = n if fed is None else 3
    amplitudes, direct, gains = np.zeros(sounding.shape), (order[0] if fed is None else 0), used.theta[count:]
    amplitudes[sounding] = gains.reshape(len(data.responses), -1)[:, direct]
    repeats = _repeats(used, n, order, sample_rate) if fed is None else _first_of_line(used, sample_rate)
    if any(repeat.level_db > _LOUDEST_DB for repeat in repeats):
        return None  # no echo, but a band-limited response that arrivals happen to mimic
    own = [count + p * (n if fed is None else 2) + direct for p in range(len(data.responses))]
    at = int(direct)
    return Echo(
        repeats=repeats,
        feedback=None if fed is None else float(used.theta[2]),
        feedback_stderr=None if fed is None else math.sqrt(float(used.covariance[2, 2])),
        direct=flat_equaliser(
            amplitudes,
            gain_stderr_db=_level_stderr_db(used, own),
            delay_samples=first_lag + float(used.theta[at]),
            delay_stderr_samples=math.sqrt(float(used.covariance[at, at])),
            max_deviation_db=_deviation_db(data, used.model),
            chi2=_chi2(data, used.model),
        ),
        unexplained_db=10 * math.log10(max(used.unexplained, _LEAST_ENERGY)),
    )


def echo_words(echo: Echo) -> tuple[str, ...]:
    """The echo as one would say it."""
    words = []
    for repeat in echo.repeats:
        inverted = ", inverted" if repeat.polarity < 0 else ""
        delay = f"{1000 * repeat.delay_seconds:.2f} ± {1000 * repeat.delay_stderr_seconds:.1g} ms"
        words.append(f"{delay} at {repeat.level_db:.2f} ± {repeat.level_stderr_db:.1g} dB{inverted}")
    if echo.feedback is None or echo.feedback_stderr is None:
        return (f"{len(words)} repeats", *words) if len(words) > 1 else tuple(words)
    inverted = ", each inverted" if echo.feedback < 0 else ""
    level = f"{_DB * math.log(abs(echo.feedback)):.2f} ± {_DB * echo.feedback_stderr / abs(echo.feedback):.1g} dB"
    return (*words, f"fed back: every further repeat {level} beside the one before{inverted}")


def _prepared(filters: NDArray[np.float64], variance: NDArray[np.float64]) -> tuple[Data | None, NDArray[np.bool_]]:
    """The paths that are heard, and which of all (mixture channels times reference channels,) they are."""
    n_bins = variance.shape[2]
    responses = rfft(filters, 2 * (n_bins - 1)).reshape(-1, n_bins)
    spread = variance.reshape(-1, n_bins)
    usable = np.arange(n_bins) <= _HIGHEST * (n_bins - 1)
    usable[0] = False
    size = np.abs(responses) ** 2
    # The level of each path where it is known best, which no bin of pure noise has a say in.
    known = usable & (size > 2 * spread)
    level = np.sum(np.where(known, size - spread, 0.0), axis=1) / np.maximum(np.sum(known, axis=1), 1)
    sounding = level > _SILENT_PATH * np.max(level)
    if not np.any(level > 0):
        return None, sounding
    even = spread[sounding] + _EVEN * level[sounding, None]
    omega = np.pi * np.arange(n_bins) / (n_bins - 1)
    weights = np.where(usable, 1 / even, 0.0)
    return Data(responses[sounding], weights, spread[sounding], omega, filters.shape[2]), sounding


def _arrivals(data: Data, *, least: float) -> NDArray[np.float64] | None:
    """Delays of the arrivals in samples, the strongest first; None where no few of them make up the response."""
    delays = np.empty(0)
    model = np.zeros_like(data.responses)
    heard = surplus(data, data.responses)
    before, beyond = heard, None
    while len(delays) <= _MOST_REPEATS:
        at = _strongest(data, data.responses - model, delays, least)
        if at is None:
            return None
        tried = np.append(delays, at)
        fit = fit_arrivals(data, tried, rounds=_ROUNDS)
        left = surplus(data, data.responses - fit.model)
        # Of the strongest sound the rest is not asked for much: it may be softer by far.
        if len(delays) and before - left < _LEAST_SHARE * before:
            break
        delays, model, before = fit.theta[: len(tried)], fit.model, left
        if len(delays) == 1:
            beyond = left
        elif beyond is not None and left <= 0.1 * _UNEXPLAINED * beyond:
            break
        if left <= _SURE_DEVIATIONS * chance(data, data.responses - model):
            break
    return delays


def _strongest(data: Data, left: NDArray, delays: NDArray[np.float64], least: float) -> float | None:
    """Where what is left correlates most with one more arrival; None if only beside those that are there."""
    n_fft = 2 * (len(data.omega) - 1)
    padded = np.zeros((len(left), _FINER * n_fft // 2 + 1), complex)
    padded[:, : len(data.omega)] = data.weights * left
    curves = irfft(padded, _FINER * n_fft)[:, : _FINER * data.n_taps]
    score = np.sum(curves**2 / np.sum(data.weights, axis=1, keepdims=True), axis=0)
    for delay in delays:
        score[max(0, math.ceil(_FINER * (delay - least))) : math.floor(_FINER * (delay + least)) + 1] = 0.0
    peak = int(np.argmax(score))
    return peak / _FINER if score[peak] > 0 else None


def _fed(data: Data, fit: ArrivalFit, n: int, order: NDArray[np.intp]) -> ArrivalFit | None:
    """A line that feeds itself, where the repeats lie on a grid and fade by one factor; None where they do not.

    Its theta holds the delay of the direct sound, that of the line, the feedback, and two amplitudes of each path.
    """
    if n - 1 < _FEWEST_FED:
        return None
    delays = fit.theta[:n][order]
    gains = fit.theta[n:].reshape(-1, n)[:, order]
    errors = np.sqrt(np.diag(fit.covariance))
    delay_errors, gain_errors = errors[:n][order], errors[n:].reshape(-1, n)[:, order]
    line = delays[1] - delays[0]
    off = np.abs(delays - delays[0] - line * np.arange(n))
    allowed = _GRID_SAMPLES + _GRID_DEVIATIONS * (delay_errors + np.arange(n) * (delay_errors[1] + delay_errors[0]))
    if np.any(off > allowed):
        return None
    first = gains[:, 1]
    factors = gains[:, 1:].T @ first / (first @ first)
    spread = np.sqrt(np.sum(gain_errors[:, 1:] ** 2, axis=0)) / np.linalg.norm(first)
    ratio = float(factors[:-1] @ factors[1:] / (factors[:-1] @ factors[:-1]))
    for (one, other), wide in zip(pairwise(factors), spread[1:], strict=True):
        if abs(other - ratio * one) > _RATIO * abs(one) + _GRID_DEVIATIONS * wide:
            return None
    if not 0 < abs(ratio) < 1:
        return None
    found = fit_line(data, np.array([delays[0], line, ratio]))
    return found if found is not None and found.unexplained <= _UNEXPLAINED else None


def _level_stderr_db(fit: ArrivalFit, own: list[int]) -> float:
    """Standard error of the level of some amplitudes together."""
    gains = fit.theta[own]
    return _DB * math.sqrt(max(float(gains @ fit.covariance[np.ix_(own, own)] @ gains), 0.0)) / float(gains @ gains)


def _relative(fit: ArrivalFit, direct: list[int], later: list[int]) -> tuple[float, float, int]:
    """Level of a repeat beside the direct sound in dB, its standard error, and its polarity."""
    one, other = fit.theta[direct], fit.theta[later]
    slope = np.zeros(len(fit.theta))
    slope[later] = other / (other @ other)
    slope[direct] = -one / (one @ one)
    level = 0.5 * _DB * math.log(float(other @ other) / float(one @ one))
    return level, _DB * math.sqrt(max(float(slope @ fit.covariance @ slope), 0.0)), 1 if float(one @ other) >= 0 else -1


def _repeats(fit: ArrivalFit, n: int, order: NDArray[np.intp], sample_rate: int) -> tuple[Repeat, ...]:
    n_paths = (len(fit.theta) - n) // n
    first, *others = (int(k) for k in order)
    direct = [n + p * n + first for p in range(n_paths)]
    found = []
    for k in others:
        level, error, polarity = _relative(fit, direct, [n + p * n + k for p in range(n_paths)])
        own = fit.covariance[k, k] + fit.covariance[first, first] - 2 * fit.covariance[k, first]
        delay = float(fit.theta[k] - fit.theta[first]) / sample_rate
        found.append(Repeat(delay, math.sqrt(max(float(own), 0.0)) / sample_rate, level, error, polarity))
    return tuple(found)


def _first_of_line(fit: ArrivalFit, sample_rate: int) -> tuple[Repeat, ...]:
    n_paths = (len(fit.theta) - 3) // 2
    level, error, polarity = _relative(fit, [3 + 2 * p for p in range(n_paths)], [4 + 2 * p for p in range(n_paths)])
    delay, stderr = float(fit.theta[1]), math.sqrt(max(float(fit.covariance[1, 1]), 0.0))
    return (Repeat(delay / sample_rate, stderr / sample_rate, level, error, polarity),)


def _chi2(data: Data, model: NDArray[np.complex128]) -> float:
    heard = data.weights > 0
    left = np.abs(data.responses - model) ** 2 / np.maximum(data.variance, _DOUBLE_PRECISION * np.abs(model) ** 2)
    return float(np.mean(left[heard]))


def _deviation_db(data: Data, model: NDArray[np.complex128]) -> float:
    """Greatest distance between measured and modelled level in sixths of an octave that are well known."""
    band = np.floor(6 * np.log2(np.maximum(np.arange(len(data.omega)), 1))).astype(int)
    first = np.flatnonzero(np.diff(band, prepend=-1))
    known = (data.weights > 0) & (data.variance < _EVEN * np.abs(model) ** 2)
    measured = np.add.reduceat(np.where(known, np.abs(data.responses) ** 2, 0.0), first, axis=1)
    told = np.add.reduceat(np.where(known, np.abs(model) ** 2, 0.0), first, axis=1)
    both = (measured > 0) & (told > 0)
    return float(np.max(np.abs(10 * np.log10(measured[both] / told[both])), initial=0.0))
