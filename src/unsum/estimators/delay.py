"""The part of a delay below one sample, from the phases of all frequencies that mixture and reference share.

References
----------
.. [1] Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24(4),
   1976: the weights of maximum likelihood, and the least variance.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import running_mean
from unsum.dsp.transforms import irfft, rfft
from unsum.errors import InputError

_PASSES = 4
_STEPS = 6
_GRID_SAMPLES = 0.25
# Frequencies over which coherence is averaged, some 50 Hz at windows of a second and a half.
_COHERENCE_BINS = 129
_MOST_COHERENT = 1 - 1e-7
# Coherence is exponentially distributed by chance: this many times its mean in one of 3000 looks.
_CHANCE = 8.0
_RELIABLE_SAMPLES = 0.1


@dataclass(frozen=True, slots=True)
class DelayEstimate:
    """How late the mixture's windows are against those of the reference.

    Attributes
    ----------
    delay_samples : positive: heard later in the mixture
    stderr : standard error, samples, if the windows do not overlap; infinite where nothing is shared
    polarity : -1 where what is shared is turned over
    coherence : share of the mixture's power that the reference explains, mean over the frequencies in use
    """

    delay_samples: float
    stderr: float
    polarity: int
    coherence: float

    @property
    def reliable(self) -> bool:
        return self.stderr < _RELIABLE_SAMPLES


def fractional_delay(
    mixture: NDArray[np.float64], reference: NDArray[np.float64], *, max_delay: float = 4.0
) -> DelayEstimate:
    """The delay that turns the cross-spectrum real, by Gauss-Newton on its phase.

    Minimises ``sum C / (1 - C) * sin(angle(S) + w d)**2`` over ``d``, with S the cross-spectrum of all windows and C
    its coherence at frequency w [1]_: each frequency counts as exactly as it tells the delay. After each pass the
    reference is moved by what was found, so that both are cut at the same places of the sound.

    Parameters
    ----------
    mixture, reference : (windows, samples)
        Aligned to within ``max_delay``; windows of half a second or more.
    max_delay : greatest delay looked for, in samples

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if mixture.shape != reference.shape or mixture.ndim != 2:
        raise InputError(
            f"mixture windows of shape {mixture.shape}, reference windows of shape {reference.shape}; "
            "cut both at the same places, one row for each window"
        )
    n_windows, length = mixture.shape
    nothing = DelayEstimate(0.0, math.inf, 1, 0.0)
    if not np.any(mixture) or not np.any(reference):
        return nothing
    fade = _fade(length)
    heard = rfft(mixture * fade, 2 * length)
    frequency = np.pi * np.arange(length + 1) / length  # radians a sample
    moving = rfft(reference)
    delay, polarity, error, coherent = 0.0, 1, math.inf, 0.0
    for number in range(_PASSES):
        moved = irfft(moving * np.exp(-1j * delay * 2 * np.pi * np.arange(moving.shape[1]) / length), length)
        played = rfft(moved * fade, 2 * length)
        phasor, weight = _weighted_phases(heard, played, n_windows)
        information = float(np.sum(weight * frequency**2))
        if information <= 0:
            return nothing
        rest = 0.0
        if number == 0:
            trials = np.arange(-max_delay, max_delay + _GRID_SAMPLES, _GRID_SAMPLES)
            at = np.flatnonzero(weight)
            fits = np.array([np.sum(weight[at] * (phasor[at] * np.exp(1j * frequency[at] * d)).real) for d in trials])
            best = int(np.abs(fits).argmax())
            rest, polarity = float(trials[best]), 1 if fits[best] > 0 else -1
        for _ in range(_STEPS):
            turned = polarity * phasor * np.exp(1j * frequency * rest)
            rest -= float(np.sum(weight * frequency * turned.imag)) / information
        delay += rest
        # Var d = 1 / (2 windows sum(w**2 C / (1 - C))), less what the padding repeats and the fades leave out [1].
        looks_lost = 2 * length * float(np.sum(fade**4)) / float(np.sum(fade**2)) ** 2
        error = math.sqrt(looks_lost / (2 * n_windows * information))
        coherent = float(np.mean(weight[weight > 0] / (1 + weight[weight > 0])))
    if abs(delay) > max_delay + 1:
        return nothing
    return DelayEstimate(delay, error, polarity, coherent)


def _weighted_phases(
    heard: NDArray[np.complex128], played: NDArray[np.complex128], n_windows: int
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Cross-spectrum over its own typical size, and the weight of each frequency."""
    cross = np.sum(heard * np.conj(played), axis=0)
    power = running_mean(np.sum(np.abs(heard) ** 2, axis=0), _COHERENCE_BINS) * running_mean(
        np.sum(np.abs(played) ** 2, axis=0), _COHERENCE_BINS
    )
    size = np.abs(running_mean(cross, _COHERENCE_BINS))
    looks = max(2.0, n_windows * _COHERENCE_BINS / 4)
    raw = np.divide(size**2, power, out=np.zeros(len(size)), where=power > 0)
    coherence = np.clip((raw - 1 / looks) / (1 - 1 / looks), 0.0, _MOST_COHERENT)
    shared = (coherence > _CHANCE / looks) & (size > 0)
    weight = np.where(shared, coherence / (1 - coherence), 0.0)
    return np.divide(cross, size, out=np.zeros_like(cross), where=size > 0), weight


def _fade(length: int) -> NDArray[np.float64]:
    """In and out over a quarter each: the edges of a window are no sound that both have."""
    ramp = np.hanning(2 * (length // 4) + 1)[: length // 4]
    return np.concatenate([ramp, np.ones(length - 2 * len(ramp)), ramp[::-1]])
