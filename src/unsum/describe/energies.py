"""Energies of responses that are known but for noise: how far they may be off, and from when on one is sure."""

import math

import numpy as np
from numpy.typing import NDArray

from unsum.describe.timing import on_bins
from unsum.dsp.deviations import Deviations

DB_PER_RELATIVE_ENERGY = 10 / math.log(10)
# An energy so many standard deviations above nothing is there.
SURE_DEVIATIONS = 5.0


def energy_spread(
    responses: NDArray[np.complex128], weights: NDArray[np.float64], noise: NDArray[np.float64], n_taps: int
) -> NDArray[np.float64]:
    """Variance (mixture channels,) of the energies, from the variance of the responses."""
    # Neighbouring bins of a short filter say the same thing: that many make one independent value.
    repeats = 2 * (responses.shape[2] - 1) / n_taps
    each = 2 * np.abs(responses) ** 2 * noise + noise**2
    return repeats * np.sum(weights**2 * each, axis=(1, 2))


def energy_covariance(
    responses: NDArray[np.complex128],
    weights: NDArray[np.float64],
    noise: NDArray[np.float64],
    n_taps: int,
    correlation: NDArray[np.complex128] | None,
) -> NDArray[np.float64]:
    """Covariance (mixture channels, mixture channels) of the energies.

    Parameters
    ----------
    noise : (mixture channels, reference channels, bins)
    correlation : (mixture channels, mixture channels, bins), or None for none
        Of the errors of one reference channel's responses.
    """
    own = energy_spread(responses, weights, noise, n_taps)
    covariance = np.diag(own)
    if correlation is None:
        return covariance
    repeats = 2 * (responses.shape[2] - 1) / n_taps
    for c in range(len(own)):
        for other in range(c):
            size = np.sqrt(noise[c] * noise[other])
            turned = np.real(responses[c].conj() * responses[other] * correlation[c, other])
            both = 2 * size * turned + size**2 * np.abs(correlation[c, other]) ** 2
            covariance[c, other] = covariance[other, c] = repeats * float(np.sum(weights**2 * both))
    return covariance


def energy_covariances(
    responses: NDArray[np.complex128],
    weights: NDArray[np.float64],
    noise: NDArray[np.float64],
    n_taps: int,
    correlation: NDArray[np.complex128] | None,
    deviations: Deviations | None,
) -> tuple[NDArray[np.float64], ...]:
    """Covariances (mixture channels, mixture channels) of the energies; that which leaves a value less sure holds.

    As noise makes it that goes on all the time, and as what stretches of time did to the filters shows it; where that
    is not known, the one of `energy_covariance`, of which the parameters are.
    """
    if deviations is None:
        return (energy_covariance(responses, weights, noise, n_taps, correlation),)
    steady = on_bins(deviations.steady, responses.shape[2])
    moved = moved_energies(responses, weights, deviations).sum(axis=2)
    repeats = 2 * (responses.shape[2] - 1) / n_taps
    of_noise_alone = repeats * np.sum(weights**2 * noise**2, axis=(1, 2))
    return (
        energy_covariance(responses, weights, steady, n_taps, correlation),
        moved.T @ moved + np.diag(of_noise_alone),
    )


def moved_energies(
    responses: NDArray[np.complex128], weights: NDArray[np.float64], deviations: Deviations
) -> NDArray[np.float64]:
    """What deviations do to the energies of paths: (deviations, mixture channels, reference channels)."""
    slopes = 2 * weights * responses.conj()
    return np.array([np.sum(np.real(slopes * one), axis=2) for one in deviations.responses(responses.shape[2])])


def amplitude_spread(energy: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of amplitudes, from energies and their variance."""
    # The amplitude of what is lost in noise is about the root of what its energy is uncertain by.
    return spread / (4 * np.maximum(np.maximum(energy, np.sqrt(spread)), np.finfo(float).tiny))
