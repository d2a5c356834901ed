"""How sure a filter is in every band, and what noise asks of a fit.

A reference says nothing about its filter where it is silent, and little where another sounds the same. With the
residual's power spectral density sigma2(f) and the matrix S(f) of the references' spectra over N rows::

    var H_k(f) = n_taps * sigma2(f) * [(N S(f) + ridge(f))^-1]_kk

which is the white-noise variance of least squares, taken band by band [1]_.

References
----------
.. [1] Ljung, "System Identification", 2nd edition, 1999, section 9.4.
"""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.normal_equations import NormalEquations
from unsum.dsp.transforms import rfft

# A response is known where its standard deviation is 20 dB below it: noise that comes and goes with a reference, as
# a codec's does, makes variances look smaller than they are.
_KNOWN_VARIANCE = 0.01
_BINS_AT_ONCE = 4096
# Filters change their level within an octave, noise its own faster.
_PRIOR_OCTAVES, _LEAST_PRIOR_BINS = 1.0, 8
_NOISE_OCTAVES, _LEAST_NOISE_BINS = 1 / 6, 2
# The geometric mean of exponentially distributed powers is so much below their mean.
_LOG_BIAS = 0.5772


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
    shared = ridge.ndim == 2
    inverse = [_inverse_diagonal(matrix, one) for one in (ridge[None] if shared else ridge)]
    return equations.n_taps * density[:, None] * np.array(inverse)


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
    n_bins = density.shape[1]
    variance = filter_variance(equations, density, np.broadcast_to(least[:, None], (len(least), n_bins)))
    power = np.abs(rfft(filters, 2 * (n_bins - 1))) ** 2
    known = variance < _KNOWN_VARIANCE * power
    logarithm = np.log(np.where(known, power, 1.0))
    around = _around(n_bins, _PRIOR_OCTAVES, _LEAST_PRIOR_BINS)
    count = _summed(known.astype(float), *around)
    local = _summed(logarithm, *around) / np.maximum(count, 1)
    # Far from every known bin, the mean of all that are known; of a filter known nowhere, that of its channel.
    overall = np.sum(logarithm, axis=2) / np.maximum(np.sum(known, axis=2), 1)
    whole = np.sum(logarithm, axis=(1, 2)) / np.maximum(np.sum(known, axis=(1, 2)), 1)
    overall = np.where(np.any(known, axis=2), overall, whole[:, None])
    prior = np.exp(np.where(count > 0, local, overall[..., None]) + _LOG_BIAS)
    noise_around = _around(n_bins, _NOISE_OCTAVES, _LEAST_NOISE_BINS)
    start, stop = noise_around
    noise = _summed(density, *noise_around) / (stop - start)
    ridge = equations.n_taps * noise[:, None] / prior
    return np.where(np.any(known, axis=(1, 2))[:, None, None], ridge, 0.0)


def _around(n_bins: int, octaves: float, least: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For every bin the first and the last (exclusive) of its neighbours within half so many octaves."""
    at, reach = np.arange(n_bins), 2.0 ** (octaves / 2)
    start = np.minimum((at / reach).astype(int), at - least)
    stop = np.maximum((at * reach).astype(int), at + least) + 1
    return np.maximum(start, 0), np.minimum(stop, n_bins)


def _summed(values: NDArray, start: NDArray, stop: NDArray) -> NDArray[np.float64]:
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    return sums[..., stop] - sums[..., start]


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
