"""How sure a filter is in every band, and what noise asks of a fit.

A reference says nothing about its filter where it is silent, and little where another sounds the same. With the
residual's power spectral density sigma2(f) and the matrix S(f) of the references' spectra over N rows::

    var H_k(f) = n_taps * sigma2(f) * [(N S(f) + ridge(f))^-1]_kk

which is the white-noise variance of least squares, taken band by band [1]_.

That holds for noise that goes on all the time and knows nothing of the references. An instrument that no reference
explains plays its notes with theirs, and a codec's noise comes and goes with them. How far such a residual moves the
filters shows in what each stretch of time adds to their equations: with ``g_b = X_b' e_b`` of stretch b, and A the
matrix of all of them, ``sum_b (A^-1 g_b)(A^-1 g_b)'`` is the covariance whatever the residual is, as long as it is not
alike from stretch to stretch [2]_ [3]_. Few stretches make a rough estimate, so only its ratio to the formula above
is taken, averaged over neighbouring bins: to weigh bins by, and to say where nothing is known. How sure a value is that
is read from many bins, `unsum.dsp.deviations` tells.

References
----------
.. [1] Ljung, "System Identification", 2nd edition, 1999, section 9.4.
.. [2] White, "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48(4), 1980.
.. [3] Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73(1), 1986.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.transforms import rfft

# A response is known where its standard deviation is 20 dB below it: noise that comes and goes with a reference, as
# a codec's does, makes variances look smaller than they are.
_KNOWN_VARIANCE = 0.01
_BINS_AT_ONCE = 4096
# Filters change their level within an octave, noise its own faster.
_PRIOR_OCTAVES, _LEAST_PRIOR_BINS = 1.0, 8
_NOISE_OCTAVES, _LEAST_NOISE_BINS = 1 / 6, 2
# Noise around a bin that is so much louder than in it is no chance: an encoder's edge, or an instrument's lowest note.
_LOUDER = 4.0
# The geometric mean of exponentially distributed powers is so much below their mean.
_LOG_BIAS = 0.5772
# Deviations are averaged over so many octaves, and at least so many bins on either side of one.
_DEVIATION_OCTAVES, _LEAST_DEVIATION_BINS = 1 / 3, 6


@dataclass(frozen=True, slots=True)
class Spread:
    """How filters scatter, as the residual of every stretch of time shows it.

    Attributes
    ----------
    variance : (channels, references, bins)
    correlation : (channels, channels, bins) complex
        Of the errors of one reference's responses in two channels, 1 for each with itself: a sound that is heard in
        several channels moves the filters of all of them together.
    """

    variance: NDArray[np.float64]
    correlation: NDArray[np.complex128]


def filter_variance(equations: NormalEquations, density: NDArray, ridge: NDArray) -> NDArray[np.float64]:
    """Variance (channels, references, bins) of the responses of fitted filters.

    Parameters
    ----------
    equations : with spectra
    density : (channels, bins)
        Power spectral density of the residual, power of one sample in every bin.
    ridge : (references, bins) or (channels, references, bins)
    """
    if equations.spectra is None:
        raise ValueError("the normal equations have no spectra; gather them with spectra=True")
    matrix = equations.n_rows * equations.spectra.matrix()
    ridges = ridge[None] if ridge.ndim == 2 else ridge
    inverse = np.array([_inverse_diagonal(matrix, one) for one in ridges])
    # What the ridge holds back is unknown by as much as the noise that it was made for, be it louder than that here.
    held_back = np.minimum(ridges * inverse, 1.0)
    around = _local_noise(density)
    louder = np.where(around > _LOUDER * density, around - density, 0.0)
    return equations.n_taps * (density[:, None] + held_back * louder[:, None]) * inverse


def measured_spread(variance: NDArray, deviations: Iterable[NDArray[np.float64]]) -> Spread:
    """The variance that deviations of the filters show, nowhere less than the one of independent noise.

    Parameters
    ----------
    variance : (channels, references, bins)
        As `filter_variance` gives it.
    deviations : (channels, references, taps) each
        Their squares add up to the variance: what every stretch of time, or a random sum of them, does to the filters.
    """
    n_channels, _, n_bins = variance.shape
    around = _around(n_bins, _DEVIATION_OCTAVES, _LEAST_DEVIATION_BINS)
    size = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
    squares = np.zeros(variance.shape)
    crossed = np.zeros((n_channels, n_channels, n_bins), complex)
    for deviation in deviations:
        response = rfft(deviation, 2 * (n_bins - 1))
        squares += np.abs(response) ** 2
        unit = response / size
        crossed += np.einsum("ckf,dkf->cdf", unit, unit.conj())
    # Averages, then their quotient: beside the edge of a codec the formula's variance falls to next to nothing.
    ratio = _averaged(squares, *around) / np.maximum(_averaged(size**2, *around), np.finfo(float).tiny)
    # Of a reference with few loud lines the formula takes the bins of one line apart, but the taps do not.
    close = uniform_filter1d(squares, 3, mode="nearest")
    crossed = _averaged(crossed, *around)
    own = np.sqrt(np.maximum(np.real(np.einsum("ccf->cf", crossed)), np.finfo(float).tiny))
    correlation = crossed / (own[:, None] * own)
    correlation /= np.maximum(np.abs(correlation), 1.0)
    at = np.arange(n_channels)
    correlation[at, at] = 1.0
    return Spread(np.maximum(variance * np.maximum(ratio, 1.0), close), correlation)


def noise_ridge(equations: NormalEquations, filters: NDArray, density: NDArray, least: NDArray) -> NDArray[np.float64]:
    """The ridge (channels, references, bins) that the noise in the residual calls for.

    ``sigma2(f) n_taps / E |H(f)|^2``: the prior of a filter whose taps are white within an octave, and as loud as
    the bins around in which the response is known. Noise is averaged over a sixth of an octave, and powers of
    responses geometrically: where a reference was low-passed, the few bins of its slope would otherwise call any
    gain plausible. Zero for channels in which no filter is known.

    Parameters
    ----------
    least : (references,)
        The ridge the filters were fitted with.
    """
    if equations.spectra is None:
        raise ValueError("the normal equations have no spectra; gather them with spectra=True")
    n_bins = density.shape[1]
    variance = filter_variance(equations, density, np.broadcast_to(least[:, None], (len(least), n_bins)))
    power = np.abs(rfft(filters, 2 * (n_bins - 1))) ** 2
    signal = equations.n_rows * equations.spectra.matrix().diagonal(axis1=1, axis2=2).real.T
    sounds = signal > least[:, None]
    known = (variance < _KNOWN_VARIANCE * power) & sounds
    logarithm = np.log(np.where(known, power, 1.0))
    around = _around(n_bins, _PRIOR_OCTAVES, _LEAST_PRIOR_BINS)
    count = _summed(known.astype(float), *around)
    local = _summed(logarithm, *around) / np.maximum(count, 1)
    # Far from every known bin, the mean of all that are known; of a filter known nowhere, that of its channel.
    overall = np.sum(logarithm, axis=2) / np.maximum(np.sum(known, axis=2), 1)
    whole = np.sum(logarithm, axis=(1, 2)) / np.maximum(np.sum(known, axis=(1, 2)), 1)
    overall = np.where(np.any(known, axis=2), overall, whole[:, None])
    prior = np.exp(np.where(count > 0, local, overall[..., None]) + _LOG_BIAS)
    noise = _local_noise(density)[:, None]
    # A reference weaker than the ridge it was fitted with has no response there but what its neighbours leave; where
    # the mixture is silent as well, as above the band of a codec, the noise of the other bins holds that down.
    noise = np.where(sounds, noise, np.maximum(noise, density.mean(axis=1)[:, None, None]))
    ridge = equations.n_taps * noise / prior
    return np.where(np.any(known, axis=(1, 2))[:, None, None], ridge, 0.0)


def _local_noise(density: NDArray) -> NDArray[np.float64]:
    """Densities (..., bins) averaged over a sixth of an octave."""
    return _averaged(density, *_around(density.shape[-1], _NOISE_OCTAVES, _LEAST_NOISE_BINS))


def _around(n_bins: int, octaves: float, least: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For every bin the first and the last (exclusive) of its neighbours within half so many octaves."""
    at, reach = np.arange(n_bins), 2.0 ** (octaves / 2)
    start = np.minimum((at / reach).astype(int), at - least)
    stop = np.maximum((at * reach).astype(int), at + least) + 1
    return np.maximum(start, 0), np.minimum(stop, n_bins)


def _averaged(values: NDArray, start: NDArray[np.intp], stop: NDArray[np.intp]) -> NDArray:
    return _summed(values, start, stop) / (stop - start)


def _summed(values: NDArray, start: NDArray, stop: NDArray) -> NDArray:
    """Sums (..., bins) of ``values[..., start:stop]``.

    From sums of 1, 2, 4 ... neighbours: differences of running sums would lose what is weak behind what is loud.
    """
    total = np.zeros((*values.shape[:-1], len(start)), values.dtype)
    level, first, last = values, start.copy(), stop.copy()
    while np.any(first < last):
        odd = (first < last) & (first % 2 == 1)
        total[..., odd] += level[..., first[odd]]
        first += odd
        odd = (first < last) & (last % 2 == 1)
        last -= odd
        total[..., odd] += level[..., last[odd]]
        first, last = first // 2, last // 2
        whole = level if level.shape[-1] % 2 == 0 else level[..., :-1]
        level = whole[..., ::2] + whole[..., 1::2]
    return total


def _inverse_diagonal(matrix: NDArray, ridge: NDArray) -> NDArray[np.float64]:
    """Diagonal (references, bins) of the inverse of ``matrix + ridge``, some bins at a time."""
    n_bins, n_references = matrix.shape[:2]
    diagonal = np.empty((n_references, n_bins))
    at = np.arange(n_references)
    for start in range(0, n_bins, _BINS_AT_ONCE):
        bins = slice(start, start + _BINS_AT_ONCE)
        damped: NDArray[np.complex128] = matrix[bins].copy()
        damped[:, at, at] += ridge.T[bins]
        # Scaled to a unit diagonal: references may differ by 200 dB and would leave nothing of the weaker.
        scale = 1 / np.sqrt(np.maximum(np.real(damped[:, at, at]), np.finfo(float).tiny))
        unit = damped * scale[:, :, None] * scale[:, None, :]
        unit[:, at, at] = 1 + np.finfo(float).eps
        inverse = np.asarray(np.linalg.inv(unit))
        diagonal[:, bins] = (np.real(inverse[:, at, at]) * scale**2).T
    return np.maximum(diagonal, 0.0)
