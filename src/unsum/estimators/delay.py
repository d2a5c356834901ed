"""The part of a delay below one sample, from the phases of all frequencies that mixture and reference share.

References
----------
.. [1] Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24(4),
   1976: the weights of maximum likelihood, and the least variance.
"""

import math
from collections.abc import Sequence
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
_FEWEST_GROUPS = 3


@dataclass(frozen=True, slots=True)
class DelayEstimate:
    """How late the mixture's windows are against those of the reference.

    Attributes
    ----------
    delay_samples : positive: heard later in the mixture
    stderr : standard error, samples, if the windows do not overlap; infinite where nothing is shared
    polarity : -1 where what is shared is turned over
    coherence : share of the mixture's power that the reference explains, mean over the frequencies in use
    spread : the same as the spread of the delay tells it when one group of windows after another is left out;
        0 where no groups were asked for
    """

    delay_samples: float
    stderr: float
    polarity: int
    coherence: float
    spread: float = 0.0

    @property
    def reliable(self) -> bool:
        return self.stderr < _RELIABLE_SAMPLES


def fractional_delay(
    mixture: NDArray[np.floating],
    reference: NDArray[np.floating],
    *,
    max_delay: float = 4.0,
    groups: int = 1,
    passes: int = _PASSES,
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
    groups : of windows, each of which is left out once; with fewer than three there is no ``spread``
    passes : one is enough to tell how sure the delay can be

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
    frequency = np.pi * np.arange(length + 1) / length  # radians a sample
    group = np.arange(n_windows) * min(groups, n_windows) // n_windows
    delay, polarity, error, coherent = 0.0, 1, math.inf, 0.0
    rest = 0.0
    looks: list[_Looks] = []
    weight = np.zeros(0)
    for number in range(passes):
        looks = _looked(mixture, reference, fade, delay, group)
        phasor, weight = _weighted_phases(sum(looks[1:], start=looks[0]))
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
        rest = _newton(phasor, weight, frequency, rest, polarity)
        delay += rest
        # Var d = 1 / (2 windows sum(w**2 C / (1 - C))), less what the padding repeats and the fades leave out [1].
        looks_lost = 2 * length * float(np.sum(fade**4)) / float(np.sum(fade**2)) ** 2
        error = math.sqrt(looks_lost / (2 * n_windows * information))
        coherent = float(np.mean(weight[weight > 0] / (1 + weight[weight > 0])))
    if abs(delay) > max_delay + 1:
        return nothing
    return DelayEstimate(delay, error, polarity, coherent, _jackknifed(looks, frequency, rest, polarity))


@dataclass(frozen=True, slots=True)
class _Looks:
    """Sums over windows of the cross-spectrum and of both power spectra, (bins,) each."""

    cross: NDArray[np.complex128]
    heard: NDArray[np.float64]
    played: NDArray[np.float64]
    count: int

    def __add__(self, other: "_Looks") -> "_Looks":
        return _Looks(
            self.cross + other.cross, self.heard + other.heard, self.played + other.played, self.count + other.count
        )

    def __sub__(self, other: "_Looks") -> "_Looks":
        return _Looks(
            self.cross - other.cross, self.heard - other.heard, self.played - other.played, self.count - other.count
        )


def _looked(
    mixture: NDArray[np.floating],
    reference: NDArray[np.floating],
    fade: NDArray[np.float64],
    delay: float,
    group: NDArray[np.intp],
) -> list[_Looks]:
    """The spectra of each group of windows, the reference moved by a delay."""
    length = mixture.shape[1]
    turn = np.exp(-1j * delay * 2 * np.pi * np.arange(length // 2 + 1) / length)
    n_bins = length + 1
    out: list[_Looks] = []
    for g in range(int(group[-1]) + 1):
        cross, powers = np.zeros(n_bins, complex), np.zeros((2, n_bins))
        own = np.flatnonzero(group == g)
        for n in own.tolist():
            moved = irfft(rfft(reference[n].astype(float)) * turn, length)
            heard, played = rfft(mixture[n] * fade, 2 * length), rfft(moved * fade, 2 * length)
            cross += heard * np.conj(played)
            powers += np.abs([heard, played]) ** 2
        out.append(_Looks(cross, *powers, count=len(own)))
    return out


def _newton(
    phasor: NDArray[np.complex128], weight: NDArray[np.float64], frequency: NDArray[np.float64], rest: float, sign: int
) -> float:
    """The delay at which the weighted phases are nearest to none, from one near by."""
    at = np.flatnonzero(weight)
    phasor, weight, frequency = sign * phasor[at], weight[at], frequency[at]
    information = float(np.sum(weight * frequency**2))
    for _ in range(_STEPS):
        turned = phasor * np.exp(1j * frequency * rest)
        rest -= float(np.sum(weight * frequency * turned.imag)) / information
    return rest


def _jackknifed(groups: Sequence[_Looks], frequency: NDArray[np.float64], rest: float, polarity: int) -> float:
    """The standard error that the spread of the delay tells when one group of windows after another is left out."""
    count = len(groups)
    if count < _FEWEST_GROUPS:
        return 0.0
    everything = sum(groups[1:], start=groups[0])
    without = []
    for one in groups:
        phasor, weight = _weighted_phases(everything - one)
        if np.any(weight):
            without.append(_newton(phasor, weight, frequency, rest, polarity))
    # Without a group nothing may be shared any more: then that group alone tells, and nobody knows how well.
    return math.sqrt((count - 1) * float(np.var(without))) if len(without) == count else math.inf


def _weighted_phases(looks: _Looks) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Cross-spectrum over its own typical size, and the weight of each frequency."""
    power = running_mean(looks.heard, _COHERENCE_BINS) * running_mean(looks.played, _COHERENCE_BINS)
    size = np.abs(running_mean(looks.cross, _COHERENCE_BINS))
    n_looks = max(2.0, looks.count * _COHERENCE_BINS / 4)
    raw = np.divide(size**2, power, out=np.zeros(len(size)), where=power > 0)
    coherence = np.clip((raw - 1 / n_looks) / (1 - 1 / n_looks), 0.0, _MOST_COHERENT)
    shared = (coherence > _CHANCE / n_looks) & (size > 0)
    weight = np.where(shared, coherence / (1 - coherence), 0.0)
    return np.divide(looks.cross, size, out=np.zeros_like(looks.cross), where=size > 0), weight


def _fade(length: int) -> NDArray[np.float64]:
    """In and out over a quarter each: the edges of a window are no sound that both have."""
    ramp = np.hanning(2 * (length // 4) + 1)[: length // 4]
    return np.concatenate([ramp, np.ones(length - 2 * len(ramp)), ramp[::-1]])
