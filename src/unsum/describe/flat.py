"""The gain where a response is flat: that of the fader, where an equaliser bends only a part of it.

Levels of twelfths of an octave are laid side by side; the gain is where most of them lie, first within a tenth of a
decibel, then closer and closer, down to what their errors allow.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.describe.energies import DB_PER_RELATIVE_ENERGY
from unsum.describe.timing import on_bins, weighted_responses
from unsum.dsp.deviations import Deviations

_BANDS_PER_OCTAVE = 12
_LOWEST_HZ, _HIGHEST_HZ, _HIGHEST_SHARE = 20.0, 20000.0, 0.45
_FAINT = 1e-7
# What an ear takes for flat, and how close the level is then looked for.
_FLAT_DB, _FINEST_DB = 0.1, 0.002
_SURE_WITHIN = 4.0


@dataclass(frozen=True, slots=True)
class FlatGain:
    """The gain at which a response is flat, and over how many octaves.

    Attributes
    ----------
    gain_db : on the scale of the strip's gain by equal power
    stderr_db : None where the variance of the filters is not known
        That of noise. Wings of an equaliser that are nearly flat can pull the gain by hundredths of a decibel more.
    octaves : in which the response is within 0.1 dB, or what its errors allow
    """

    gain_db: float
    stderr_db: float | None
    octaves: float


def flat_gain(
    filters: NDArray[np.float64],
    *,
    sample_rate: int,
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
    correlation: NDArray[np.complex128] | None = None,
    deviations: Deviations | None = None,
) -> FlatGain | None:
    """The gain that the response has over the most octaves; None where it is flat nowhere for an octave.

    Where a shelf leaves two flat parts it is that of the wider. Twelfths of an octave in which the reference has less
    than -70 dB of its strongest, or whose level is not known to 1 dB, do not count.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    power, variance, correlation, deviations : as of `unsum.describe.mixer.describe_mixer`
    """
    responses, weights = weighted_responses(filters, power)
    sounding = weights.any(axis=1)
    if not sounding.any():
        return None
    noise = np.zeros(responses.shape) if variance is None else on_bins(variance, responses.shape[2])
    size, count = np.abs(responses[:, sounding]) ** 2, np.count_nonzero(sounding)
    noise = noise[:, sounding]
    energy = np.sum(size - noise, axis=(0, 1)) / count
    repeats = max(1.0, 2 * (responses.shape[2] - 1) / filters.shape[2])
    spread = repeats * np.sum(2 * size * noise + noise**2, axis=(0, 1)) / count**2
    if correlation is not None:
        alike = on_bins(correlation, responses.shape[2])
        error = responses[:, sounding].conj() * np.sqrt(noise)
        crossed = np.real(np.einsum("cdf,edf,cef->f", error, error.conj(), alike)) - np.sum(size * noise, axis=(0, 1))
        spread = np.maximum(spread + 2 * repeats * crossed / count**2, 0.0)
    hz = np.linspace(0, sample_rate / 2, responses.shape[2])
    band = np.floor(_BANDS_PER_OCTAVE * np.log2(np.maximum(hz, 1e-3) / _LOWEST_HZ)).astype(int)
    within = (band >= 0) & (hz < min(_HIGHEST_HZ, _HIGHEST_SHARE * sample_rate))
    if not within.any():
        return None
    n_bins, energy, spread, strength = (
        np.bincount(band[within], values[within]) for values in (np.ones(len(hz)), energy, spread, weights.sum(axis=0))
    )
    n_bins_or_one = np.maximum(n_bins, 1)
    bands = len(energy)
    heard = (n_bins > 0) & (energy > 0) & (strength / n_bins_or_one > _FAINT * np.max(strength / n_bins_or_one))
    heard[heard] &= np.sqrt(spread[heard]) * DB_PER_RELATIVE_ENERGY < energy[heard]
    level_db = 10 * np.log10(energy[heard] / n_bins[heard])
    stderr_db = DB_PER_RELATIVE_ENERGY * np.sqrt(spread[heard]) / energy[heard]
    moved_db = np.zeros((0, len(level_db)))
    if deviations is not None:
        slopes = 2 * responses[:, sounding].conj() / count
        each = (np.real(slopes * one[:, sounding]).sum(axis=(0, 1)) for one in deviations.responses(len(hz)))
        moved = np.array([np.bincount(band[within], one[within], bands) for one in each])
        # No band is surer than noise leaves it that goes on all the time.
        steady = 2 * size * on_bins(deviations.steady, len(hz))[:, sounding]
        least = np.bincount(band[within], repeats * np.sum(steady, axis=(0, 1))[within] / count**2, bands)
        moved *= np.sqrt(np.maximum(least / np.maximum(np.sum(moved**2, axis=0), np.finfo(float).tiny), 1.0))
        moved_db = DB_PER_RELATIVE_ENERGY * moved[:, heard] / energy[heard]
    return _densest_level(level_db, stderr_db, moved_db, known=variance is not None)


def _densest_level(
    level_db: NDArray[np.float64], stderr_db: NDArray[np.float64], moved_db: NDArray[np.float64], *, known: bool
) -> FlatGain | None:
    """The level at which most bands lie: first within a tenth of a dB, then closer and closer.

    Parameters
    ----------
    moved_db : (deviations, bands)
        What each deviation does to the levels; without any the errors of bands count as independent.
    """
    if len(level_db) < _BANDS_PER_OCTAVE:
        return None
    order = np.argsort(level_db)
    level_db, stderr_db, moved_db = level_db[order], stderr_db[order], moved_db[:, order]
    least = _SURE_WITHIN * float(np.median(stderr_db))
    width, octaves = _FLAT_DB + least, None
    while octaves is None or len(level_db) >= _BANDS_PER_OCTAVE:
        last = np.searchsorted(level_db, level_db + width, side="right")
        first = int(np.argmax(last - np.arange(len(level_db))))
        part = slice(first, last[first])
        if octaves is None:
            octaves = float(part.stop - part.start) / _BANDS_PER_OCTAVE
            if octaves < 1:
                return None
        level_db, stderr_db, moved_db = level_db[part], stderr_db[part], moved_db[:, part]
        if width <= max(least, _FINEST_DB):
            break
        width /= 2
    if not known:
        return FlatGain(float(np.mean(level_db)), None, octaves)
    precision = 1 / np.maximum(stderr_db, _FINEST_DB / 10) ** 2
    mean = float(np.sum(precision * level_db) / np.sum(precision))
    # The wings of an equaliser that lie within the last width are no noise, and do not average out.
    wings = max(0.0, float(np.var(level_db) - np.mean(stderr_db**2)))
    of_noise = 1 / float(np.sum(precision))
    if len(moved_db):
        of_noise = float(np.sum((moved_db @ precision) ** 2)) * of_noise**2
    return FlatGain(mean, math.sqrt(of_noise + wings), octaves)
