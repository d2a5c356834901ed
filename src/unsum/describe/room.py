"""The room or the reverberator that a response went through.

Times are counted from the arrival of the direct sound: the largest tap within 2.5 ms of the onset, which is the first
tap within 20 dB of the largest [1]_. Energies are those of all paths together, each counted from its own arrival.

- Direct to reverberant: the energy within 2.5 ms of the arrival, on either side, over all that follows [2]_.
- Clarity C50 and C80: the energy before 50 and 80 ms over that after it [1]_.
- Reverberation time and early decay time: see `unsum.describe.decay`.
- Pre-delay: from the arrival to the first tap within 20 dB of the largest one after the direct sound, where at least
  1 ms between them is silent by that measure.

What the noise of the response puts in is taken off. Errors of decay times are those of a room: what another place in
it would give (`unsum.describe.decay`); errors of the other values are those that the noise of the taps makes.

References
----------
.. [1] ISO 3382-1:2009, sections 5.3 and A.2 to A.4.
.. [2] Zahorik, "Direct-to-reverberant energy ratio sensitivity", JASA 112(5), 2002.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.describe.decay import RINGING_PERIODS, Decay, Slope, fit_decay, in_octaves
from unsum.describe.energies import DB_PER_RELATIVE_ENERGY

_MID_HZ = (500.0, 1000.0)
_ONSET = 0.1  # 20 dB below the largest tap
_DIRECT_SECONDS = 0.0025
_CLARITY_SECONDS = (0.05, 0.08)
_GAP_SECONDS, _LEAST_GAP_SAMPLES = 0.001, 24
_STRAY_IN_GAP = 0.05

_SHORTEST_SECONDS = 0.05
# A room sounds in many octaves; a resonance of an equaliser in one, or in two where it lies between them.
LEAST_OCTAVES = 3
# What dies away faster in a band is the ringing of its filter.
_LEAST_BANDWIDTH_TIME = 8.0
# Paths so much weaker than the loudest have no say.
_SILENT_PATH = 1e-4
_SURE_DEVIATIONS = 5.0


@dataclass(frozen=True, slots=True)
class Octave:
    """How the response dies away in an octave; None is what its range above the noise does not determine."""

    centre_hz: float
    rt60: Slope | None
    early_decay: Slope | None
    range_db: float | None


@dataclass(frozen=True, slots=True)
class EnergyRatio:
    """One part of the energy of a response over another."""

    ratio_db: float
    stderr_db: float


@dataclass(frozen=True, slots=True)
class Room:
    """A reverberation.

    Attributes
    ----------
    octaves : those below half the sample rate
    rt60, early_decay : of all frequencies together, as the response has them; no early decay where the direct sound
        towers 10 dB above all that follows
    direct_to_reverberant, c50, c80 : None where one of the parts is lost in noise
    pre_delay_seconds : None where the reverberation follows the direct sound without a gap
    arrival_seconds : of the earliest direct sound, by the lags of the taps
    """

    octaves: tuple[Octave, ...]
    rt60: Slope | None
    early_decay: Slope | None
    direct_to_reverberant: EnergyRatio | None
    c50: EnergyRatio | None
    c80: EnergyRatio | None
    pre_delay_seconds: float | None
    arrival_seconds: float

    @property
    def mid_rt60_seconds(self) -> float | None:
        """Mean reverberation time at 500 Hz and 1 kHz, by which ISO 3382-1 names a room."""
        mid = [octave.rt60 for octave in self.octaves if octave.centre_hz in _MID_HZ]
        known = [slope.seconds for slope in mid if slope is not None]
        return sum(known) / len(known) if len(known) == len(_MID_HZ) else None


def describe_room(
    filters: NDArray[np.float64],
    *,
    sample_rate: int,
    first_lag: int = 0,
    noise: NDArray[np.float64] | float | None = None,
) -> Room | None:
    """The room in some filters; None where there is none: too short, or nothing that dies away in many octaves.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    first_lag : lag of tap 0 in samples
    noise : variance of a tap; (mixture channels, reference channels, bins) where it is not white
        Its power spectral density from 0 to half the sample rate: that of `unsum.dsp.uncertainty.filter_variance` over
        the number of taps. The end of the response tells the noise better where it has one; None leaves it to that.
    """
    if filters.shape[2] < _SHORTEST_SECONDS * sample_rate:
        return None
    density = noise_density(filters.shape, noise)
    paths, density = _sounding_paths(filters, density)
    if not len(paths):
        return None
    arrivals = [
        direct_arrival(path, level, sample_rate) for path, level in zip(paths, density.mean(axis=1), strict=True)
    ]
    octaves, energies, independents = [], [], []
    for centre, responses, band_noise, width in in_octaves(paths, density, sample_rate):
        aligned = aligned_energies(responses, arrivals, reach=round(RINGING_PERIODS * sample_rate / centre))
        energy = np.sum(aligned, axis=0)
        independent = width * _independent_paths(responses, arrivals)
        known = None if noise is None else band_noise
        decay = fit_decay(energy, sample_rate=sample_rate, independent_hz=independent, noise=known)
        octaves.append(octave_decay(centre, decay, width))
        energies.append(float(energy.sum()))
        independents.append(independent)
    lasting = [octave for octave in octaves if octave.rt60 and octave.rt60.seconds >= _SHORTEST_SECONDS]
    if len(lasting) < LEAST_OCTAVES:
        return None
    # Bands that differ in level count for fewer independent energies than all of them have.
    share = np.array(energies) / sum(energies)
    independent = 1 / float(np.sum(share**2 / np.array(independents)))
    half = round(_DIRECT_SECONDS * sample_rate)
    energy = np.sum(aligned_energies(paths, arrivals, reach=half), axis=0)
    known = None if noise is None else float(density.mean(axis=1).sum())
    whole = fit_decay(energy, sample_rate=sample_rate, independent_hz=independent, noise=known)
    early = whole and whole.early
    if early is not None and early.seconds * early.lower_db / -60 < 2 * _DIRECT_SECONDS:
        early = None  # the direct sound alone falls so far
    ratios: list[EnergyRatio | None] = [None] * 3
    if whole is not None:
        limits = [half, *(round(seconds * sample_rate) for seconds in _CLARITY_SECONDS)]
        ratios = [_ratio(energy, whole, limit, independent / sample_rate) for limit in limits]
    return Room(
        tuple(octaves),
        whole and whole.late,
        early,
        *ratios,
        pre_delay_seconds=whole and _pre_delay(energy, whole, half, sample_rate),
        arrival_seconds=(first_lag + min(arrivals)) / sample_rate,
    )


def noise_density(shape: tuple[int, ...], noise: NDArray[np.float64] | float | None) -> NDArray[np.float64]:
    """Variance (mixture channels, reference channels, bins) of a tap at every frequency; 0 where it is not known."""
    if noise is None or np.ndim(noise) == 0:
        return np.full((*shape[:2], 2), 0.0 if noise is None else float(noise))
    density = np.asarray(noise, float)
    if density.ndim != 3 or density.shape[:2] != shape[:2] or density.shape[2] < 2:
        raise ValueError(f"noise of shape {density.shape} for filters of {shape}; give {shape[:2]} and the bins")
    return density


def _sounding_paths(
    filters: NDArray[np.float64], density: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The paths (paths, taps) that are not lost beside the loudest or in their noise, and the noise of each."""
    n_taps = filters.shape[2]
    paths, density = filters.reshape(-1, n_taps), density.reshape(-1, density.shape[2])
    energy = np.sum(paths**2, axis=1)
    level = density.mean(axis=1)
    lost = n_taps * level + _SURE_DEVIATIONS * math.sqrt(2 * n_taps) * level
    sounding = (energy > lost) & (energy > _SILENT_PATH * energy.max())
    return paths[sounding], density[sounding]


def direct_arrival(path: NDArray[np.float64], noise: float, sample_rate: int) -> int:
    """The sample at which the direct sound peaks."""
    size = np.abs(path)
    threshold = max(_ONSET * size.max(), min(_SURE_DEVIATIONS * math.sqrt(noise), size.max()))
    onset = int(np.argmax(size >= threshold))
    return onset + int(np.argmax(size[onset : onset + max(1, round(_DIRECT_SECONDS * sample_rate))]))


def aligned_energies(responses: NDArray[np.float64], arrivals: list[int], *, reach: int) -> NDArray[np.float64]:
    """Energies (paths, samples) from the arrival of each path on; what comes up to ``reach`` before, counts there."""
    n_samples = responses.shape[1] - max(arrivals)
    energies = np.empty((len(responses), n_samples))
    for energy, response, arrival in zip(energies, responses, arrivals, strict=True):
        energy[:] = response[arrival : arrival + n_samples] ** 2
        energy[0] += np.sum(response[max(0, arrival - reach) : arrival] ** 2)
    return energies


def _independent_paths(responses: NDArray[np.float64], arrivals: list[int]) -> float:
    """How many paths die away independently; a panned reverberation of one channel is one."""
    n_samples = responses.shape[1] - max(arrivals)
    aligned = np.array([row[at : at + n_samples] for row, at in zip(responses, arrivals, strict=True)])
    products = aligned @ aligned.T
    return float(np.trace(products) ** 2 / np.sum(products**2)) if products.any() else 1.0


def octave_decay(centre: float, decay: Decay | None, width: float) -> Octave:
    """The decay of an octave so many Hz wide; no time where that is the ringing of its filter."""
    if decay is None:
        return Octave(centre, None, None, None)
    late, early = (
        slope if slope is not None and slope.seconds * width >= _LEAST_BANDWIDTH_TIME else None
        for slope in (decay.late, decay.early)
    )
    return Octave(centre, late, early, decay.range_db)


def _ratio(energy: NDArray[np.float64], decay: Decay, limit: int, per_sample: float) -> EnergyRatio | None:
    """Energy before the limit over that after it, up to the knee and with the rest beyond."""
    knee, noise = decay.knee_samples, decay.noise
    if limit >= knee:
        return None
    before = float(np.sum(energy[:limit] - noise))
    after = float(np.sum(energy[limit:knee] - noise))
    spread = [
        (2 * noise * max(part, 0.0) + noise**2 * length) / per_sample
        for part, length in ((before, limit), (after, knee - limit))
    ]
    after += decay.rest
    if before <= _SURE_DEVIATIONS * math.sqrt(spread[0]) or after <= _SURE_DEVIATIONS * math.sqrt(spread[1]):
        return None
    stderr = math.sqrt(spread[0] / before**2 + spread[1] / after**2)
    return EnergyRatio(10 * math.log10(before / after), DB_PER_RELATIVE_ENERGY * stderr)


def _pre_delay(energy: NDArray[np.float64], decay: Decay, half: int, sample_rate: int) -> float | None:
    """Seconds from the arrival to the reverberation, where there is silence between them."""
    late = energy[half : decay.knee_samples]
    if not len(late):
        return None
    peak = int(np.argmax(late))
    threshold = max(_ONSET**2 * late[peak], _SURE_DEVIATIONS**2 * decay.noise)
    loud = np.flatnonzero(np.concatenate([[threshold], late[: peak + 1]]) >= threshold)
    gaps = np.diff(loud)
    gap = int(np.argmax(gaps)) if len(gaps) else 0
    if not len(gaps) or gaps[gap] < max(_GAP_SECONDS * sample_rate, _LEAST_GAP_SAMPLES):
        return None
    if np.sum(late[: max(loud[gap] - 1, 0)]) > _STRAY_IN_GAP * np.sum(late):
        return None
    return (half + int(loud[gap + 1]) - 1) / sample_rate


def room_words(room: Room) -> tuple[str, ...]:
    """The room as one would say it."""
    words = []
    if room.rt60 is not None:
        words.append(f"reverberation of {_of_time(room.rt60)} ({_span(room.rt60)})")
    octaves = [
        f"{_of_time(octave.rt60)} at {_of_frequency(octave.centre_hz)}" for octave in room.octaves if octave.rt60
    ]
    words.append("by octave: " + ", ".join(octaves))
    if room.early_decay is not None:
        words.append(f"early decay time {_of_time(room.early_decay)}")
    if room.direct_to_reverberant is not None:
        ratio = room.direct_to_reverberant.ratio_db
        where = f"{abs(ratio):.1f} dB {'above' if ratio > 0 else 'below'}"
        words.append(f"the direct sound is {'as strong as' if abs(ratio) < 0.05 else where} the reverberation")
    if room.pre_delay_seconds is not None:
        words.append(f"the reverberation starts {1000 * room.pre_delay_seconds:.1f} ms after the direct sound")
    clarity = [
        f"{name} {ratio.ratio_db:.1f} dB" for name, ratio in (("C50", room.c50), ("C80", room.c80)) if ratio is not None
    ]
    if clarity:
        words.append("clarity: " + ", ".join(clarity))
    return tuple(words)


def _of_time(slope: Slope) -> str:
    return f"{slope.seconds:.3g} ± {slope.stderr_seconds:.1g} s"


def _span(slope: Slope) -> str:
    return f"T{slope.upper_db - slope.lower_db:.0f}, from {slope.upper_db:.0f} to {slope.lower_db:.0f} dB"


def _of_frequency(hz: float) -> str:
    return f"{hz:.0f} Hz" if hz < 1000 else f"{hz / 1000:.0f} kHz"
