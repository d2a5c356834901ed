"""How fast a response dies away: the slope of Schroeder's decay curve, above the noise of the response.

With e(t) the energy of the response in a band and n that of its noise, the curve is the energy still to come [1]_::

    S(t) = sum_{s=t}^{knee} (e(s) - n) + rest

The knee, where the decay sinks into the noise, is found by Lundeby's method [2]_; the rest is what an exponential
decay has beyond it. A straight line through ``10 log10 S`` from -5 to -35 dB gives T30, to -25 dB T20 [3]_; a lower
limit comes no nearer than 5 dB to the level of the rest.

The late sound of a room is noise that dies away, and so another place in the same room has another slope. In a band of
width B energies apart in time are independent, with the variance density ``(e + n)**2 / B``; this gives the covariance
of S and with it the error of the slope. Without noise it is that of ISO 3382-2, annex A: for T30
``0.55 T / sqrt(B T)``.

Octaves have zero-phase filters with edges of a raised cosine over half an octave, 3 dB down where octaves meet: their
energies add up to that of the whole.

References
----------
.. [1] Schroeder, "New method of measuring reverberation time", JASA 37, 1965.
.. [2] Lundeby, Vigran, Bietz and Vorländer, "Uncertainties of measurements in room acoustics", Acustica 81, 1995.
.. [3] ISO 3382-1:2009, section 5.3 and annex A.2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.timing import on_bins
from unsum.dsp.transforms import fast_length, irfft, rfft

OCTAVES_HZ = (63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
# An octave whose centre is higher has lost its upper half.
_HIGHEST_CENTRE = 0.4  # of the sample rate
_FLAT_OCTAVES, _EDGE_OCTAVES = 0.25, 0.5
# An octave filter rings for a few periods, and so before what it is given.
RINGING_PERIODS = 2

# Longest first: what the curve has room for is taken.
_EVALUATED_DB = (30.0, 20.0, 15.0, 10.0)
_UPPER_DB = -5.0
_EARLY_DB = 10.0
# Of the lower limit above what lies beyond the knee.
_MARGIN_DB = 5.0
_SIXTY_DB = 60.0
_NEPERS_PER_DB = math.log(10) / 10

_ROUNDS = 6
_FIRST_INTERVAL_SECONDS = 0.02
_INTERVALS_PER_10_DB = 5
# Independent energies in an interval: its level is then known to some 3 dB.
_LEAST_PER_INTERVAL = 2.0
_NOISE_SHARE = 0.1
_ABOVE_NOISE_DB, _BEYOND_KNEE_DB, _LATE_RANGE_DB = 5.0, 7.0, 20.0
_LEAST_RANGE_DB = 10.0
# Deeper no response is followed: what a filter or rounding leaves there is no decay.
_DEEPEST_DB = -100.0
_CURVE_POINTS = 400
# Between one interval and the next, beyond three times what it usually falls.
_CLIFF_DB = 20.0


@dataclass(frozen=True, slots=True)
class Slope:
    """The time in which a decay falls by 60 dB, by its slope between two levels of the decay curve."""

    seconds: float
    stderr_seconds: float
    upper_db: float
    lower_db: float


@dataclass(frozen=True, slots=True)
class Decay:
    """How a band of a response dies away.

    Attributes
    ----------
    late : T30, or as much of it as the noise leaves; None where less than 10 dB are left below -5 dB
    early : over the first 10 dB; None where the noise does not leave them
    range_db : of the decay curve, from its start down to the noise
    knee_samples : where the noise begins, from the start of the response
    noise : energy of a sample of noise
    rest : energy beyond the knee, by the slope before it
    """

    late: Slope | None
    early: Slope | None
    range_db: float
    knee_samples: int
    noise: float
    rest: float


@dataclass(frozen=True, slots=True)
class _Knee:
    at: int  # sample
    noise: float
    rate: float  # nepers of energy a sample, positive
    level: float  # energy of a sample at the knee, by the line of the late decay


def in_octaves(
    paths: NDArray[np.float64], density: NDArray[np.float64], sample_rate: int
) -> Iterator[tuple[float, NDArray[np.float64], float, float]]:
    """Centre, responses (paths, taps), noise of all paths in a sample, and noise bandwidth in Hz of every octave."""
    n_taps = paths.shape[1]
    # Room for the ringing of the lowest octave before the first tap and after the last.
    n_fft = fast_length(n_taps + round(4 * RINGING_PERIODS * sample_rate / OCTAVES_HZ[0]))
    spectra = rfft(paths, n_fft)
    frequency = np.arange(spectra.shape[1]) * (sample_rate / n_fft)
    noise = on_bins(density, spectra.shape[1]).sum(axis=0)
    for centre in OCTAVES_HZ:
        if centre > _HIGHEST_CENTRE * sample_rate:
            return
        off = np.abs(np.log2(np.maximum(frequency, 1e-3) / centre)) - _FLAT_OCTAVES
        gain = np.cos(0.5 * np.pi * np.clip(off / _EDGE_OCTAVES, 0, 1))
        gain[off >= _EDGE_OCTAVES] = 0
        width = sample_rate / n_fft * float(np.sum(gain**2) ** 2 / np.sum(gain**4))
        yield centre, irfft(spectra * gain, n_fft)[:, :n_taps], float(np.mean(noise * gain**2)), width


def fit_decay(
    energy: NDArray[np.float64], *, sample_rate: int, independent_hz: float, noise: float | None = None
) -> Decay | None:
    """The slopes of a decay; None where nothing decays.

    Parameters
    ----------
    energy : (samples,)
        Squared response, from the onset on; that of several paths added up.
    independent_hz : independent energies a second
        The bandwidth, times the number of paths that are independent.
    noise : energy of a sample of noise, where it is known; it counts where the response ends before its noise shows
    """
    if len(energy) < 8 or not energy.any():
        return None
    energy = energy[: _cut_off(energy, max(2, round(_FIRST_INTERVAL_SECONDS * sample_rate)))]
    per_sample = independent_hz / sample_rate
    knee = _find_knee(energy, sample_rate=sample_rate, per_sample=per_sample, known_noise=noise)
    if knee is None:
        return None
    rest = knee.level / knee.rate
    # Backwards: a forward sum would lose the tail among the digits of the start.
    curve = np.cumsum((energy[: knee.at] - knee.noise)[::-1])[::-1] + rest
    if curve[0] <= 0:
        return None
    range_db = 10 * math.log10(curve[0] / rest)

    def slope(upper_db: float, lower_db: float) -> Slope | None:
        if range_db < _MARGIN_DB - lower_db:
            return None
        found = _slope(curve, knee, upper_db, lower_db, n_samples=len(energy), per_sample=per_sample)
        return found and replace(
            found, seconds=found.seconds / sample_rate, stderr_seconds=found.stderr_seconds / sample_rate
        )

    late = next(filter(None, (slope(_UPPER_DB, _UPPER_DB - evaluated) for evaluated in _EVALUATED_DB)), None)
    early = slope(0.0, -_EARLY_DB)
    return Decay(late, early, range_db, knee.at, knee.noise, rest)


def _cut_off(energy: NDArray[np.float64], interval: int) -> int:
    """Samples up to which a response is that of a room: convolutions end with their last tap, as off a cliff."""
    count = len(energy) // interval
    if count < 4:
        return len(energy)
    level_db = 10 * np.log10(np.maximum(energy[: count * interval].reshape(count, interval).mean(axis=1), 1e-300))
    drop_db = -np.diff(level_db)
    for k in range(1, count - 1):
        usual_db = max(0.0, float(np.median(drop_db[:k])))
        if drop_db[k] > _CLIFF_DB + 3 * usual_db and np.all(level_db[k + 1 :] < level_db[k] - _CLIFF_DB):
            # The interval that follows may hold the last of it.
            return (k + 1) * interval
    return len(energy)


def _find_knee(
    energy: NDArray[np.float64], *, sample_rate: int, per_sample: float, known_noise: float | None
) -> _Knee | None:
    """Lundeby's search: noise and late slope by turns, until the place where they meet stays."""
    total = np.concatenate([[0.0], np.cumsum(energy)])
    n_samples = len(energy)
    least = math.ceil(_LEAST_PER_INTERVAL / per_sample)
    interval = max(least, round(_FIRST_INTERVAL_SECONDS * sample_rate))
    noise_start = n_samples - max(1, round(_NOISE_SHARE * n_samples))
    noise = _mean(total, noise_start, n_samples)
    knee = None
    for _ in range(_ROUNDS):
        if n_samples // interval < 3:
            return knee
        level_db, middle = _levels(total, interval)
        noise_db = max(_decibels(noise), float(level_db.max()) + _DEEPEST_DB)
        line = _late_line(level_db, middle, noise_db)
        if line is None:
            return knee
        start_db, slope_db = line
        crossing = (noise_db - start_db) / slope_db
        if crossing < 2 * interval:
            return knee
        beyond = crossing - _BEYOND_KNEE_DB / slope_db
        noise_start = round(min(beyond, (1 - _NOISE_SHARE) * n_samples))
        noise = _mean(total, noise_start, n_samples)
        if not _is_level(total, noise_start, slope_db):
            # The response ends before it has died away.
            noise = min(known_noise or 0.0, noise)
        at = min(round(crossing), n_samples)
        knee = _Knee(at, noise, -slope_db * _NEPERS_PER_DB, 10 ** ((start_db + slope_db * at) / 10))
        interval = max(least, round(-10 / slope_db / _INTERVALS_PER_10_DB))
    return knee


def _late_line(
    level_db: NDArray[np.float64], middle: NDArray[np.float64], noise_db: float
) -> tuple[float, float] | None:
    """Level at the start and decibels a sample of the last decay above the noise; None where nothing falls."""
    # What is still to come at most: a gap between direct sound and reverberation is no end.
    energy = 10 ** (level_db / 10)
    smooth = np.convolve(np.pad(energy, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    to_come_db = 10 * np.log10(np.maximum(np.maximum.accumulate(smooth[::-1])[::-1], np.finfo(float).tiny))
    peak = int(np.argmax(level_db))
    below = np.flatnonzero(to_come_db[peak:] < noise_db + _ABOVE_NOISE_DB)
    stop = peak + (int(below[0]) if len(below) else len(level_db) - peak)
    if stop - peak < 3 or level_db[peak] - to_come_db[stop - 1] < _LEAST_RANGE_DB:
        return None
    above = np.flatnonzero(to_come_db[peak:stop] > to_come_db[stop - 1] + _LATE_RANGE_DB)
    start = min(peak + (int(above[-1]) + 1 if len(above) else 0), stop - 3)
    late = start + np.flatnonzero(level_db[start:stop] > to_come_db[start:stop] - _LATE_RANGE_DB)
    if len(late) < 3:
        return None
    slope, at_zero = np.polyfit(middle[late], level_db[late], 1)
    return (float(at_zero), float(slope)) if slope < 0 else None


def _is_level(total: NDArray[np.float64], start: int, slope_db: float) -> bool:
    """Whether the end of the response has stopped falling: it falls by less than half of what the decay would."""
    n_samples = len(total) - 1
    middle = (start + n_samples) // 2
    if middle <= start or middle >= n_samples:
        return False
    fallen_db = _decibels(_mean(total, start, middle)) - _decibels(_mean(total, middle, n_samples))
    return fallen_db < -slope_db * (n_samples - start) / 2 / 2


def _levels(total: NDArray[np.float64], interval: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level in dB of every whole interval, and where its middle is."""
    edges = np.arange(0, len(total), interval)
    mean = np.diff(total[edges]) / interval
    return 10 * np.log10(np.maximum(mean, np.finfo(float).tiny)), (edges[:-1] + edges[1:]) / 2


def _mean(total: NDArray[np.float64], start: int, stop: int) -> float:
    return float(total[stop] - total[start]) / (stop - start)


def _decibels(energy: float) -> float:
    return 10 * math.log10(max(energy, np.finfo(float).tiny))


def _slope(
    curve: NDArray[np.float64], knee: _Knee, upper_db: float, lower_db: float, *, n_samples: int, per_sample: float
) -> Slope | None:
    """The line of least squares through the decay curve between two levels below its start, in samples."""
    level_db = 10 * np.log10(np.maximum(curve / curve[0], np.finfo(float).tiny))
    start = int(np.argmax(level_db <= upper_db))
    below = np.flatnonzero(level_db < lower_db)
    stop = int(below[0]) if len(below) else len(curve)
    if stop - start < 3:
        return None
    at = np.unique(np.linspace(start, stop - 1, min(stop - start, _CURVE_POINTS)).round().astype(int))
    weights = at - at.mean()
    weights /= np.sum(weights**2)
    slope_db = float(weights @ level_db[at])
    if slope_db >= 0:
        return None
    line_db = np.mean(level_db[at]) + slope_db * (np.arange(start, knee.at) - at.mean())
    covariance = _covariance(curve[0] * 10 ** (line_db / 10), -slope_db * _NEPERS_PER_DB, at - start, knee)
    # The noise was measured beyond the knee, over as many samples as there are, and taken off everywhere before.
    n_noise = n_samples - knee.at
    if n_noise:
        taken_off = knee.noise * (knee.at - at) / curve[at]
        covariance += np.outer(taken_off, taken_off) / n_noise
    stderr_db = math.sqrt(float(weights @ covariance @ weights) / per_sample) / _NEPERS_PER_DB
    seconds = -_SIXTY_DB / slope_db
    return Slope(seconds, seconds * stderr_db / -slope_db, upper_db, lower_db)


def _covariance(to_come: NDArray[np.float64], rate: float, at: NDArray[np.intp], knee: _Knee) -> NDArray[np.float64]:
    """Covariance (moments, moments) of the logarithms of the energy still to come, for one independent value a sample.

    Parameters
    ----------
    to_come : (samples,)
        The decay curve as a straight line, up to the knee.
    rate : nepers of energy that it falls in a sample
    at : (moments,)
    """
    beyond = rate / 2 * to_come[-1] ** 2
    variance = np.cumsum(((rate * to_come + knee.noise) ** 2)[::-1])[::-1] + beyond
    # Energies still to come share all that comes after the later of two moments.
    return variance[np.maximum(at[:, None], at[None, :])] / np.outer(to_come[at], to_come[at])
