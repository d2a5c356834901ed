"""Which tracks were sent to one reverberator.

They have the same late response, up to a gain and a delay. To compare two, their octaves are each freed of the decay
and brought to one level from 30 ms on, down to the noise; what is left looks like white noise, and agrees or does not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.describe.decay import RINGING_PERIODS, fit_decay, in_octaves
from unsum.describe.room import LEAST_OCTAVES, aligned_energies, direct_arrival, noise_density, octave_decay
from unsum.dsp.transforms import fast_length, irfft, rfft

# Of a tail that is compared: its first second says enough.
_TAIL_START_SECONDS, _TAIL_SECONDS = 0.03, 1.0
_TAIL_MARGIN_DB = 6.0
_REACH_SECONDS, _PEAK_WIDTH_SECONDS = 0.1, 0.002
_LEAST_CORRELATION, _SURE_OF_TAIL = 0.3, 6.5


@dataclass(frozen=True, slots=True)
class SharedReverb:
    """Tracks whose late responses agree.

    Attributes
    ----------
    names : in the order given; two or more
    correlation : of each with the first, -1 to 1; negative: sent with the other polarity
    octave_correlation : {centre in Hz: correlation with the first, of the track that agrees least}
    send_db : level of the tail over that of the first
    delay_seconds : positive: the tail comes later after the direct sound than that of the first
    """

    names: tuple[str, ...]
    correlation: tuple[float, ...]
    octave_correlation: Mapping[float, float]
    send_db: tuple[float, ...]
    delay_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Tail:
    spectra: NDArray[np.complex128]  # (mixture channels, bins), of unit energy
    level_db: Mapping[float, float]  # by octave, as if the decay had begun at the arrival
    fall_db: Mapping[float, float]  # by octave, in a second


@dataclass(frozen=True, slots=True)
class _Agreement:
    correlation: float
    lag_samples: int
    sure: bool


def shared_reverb(
    responses: Mapping[str, NDArray[np.float64]],
    *,
    sample_rate: int,
    noise: Mapping[str, NDArray[np.float64] | float] | None = None,
) -> tuple[SharedReverb, ...]:
    """The groups of tracks that share a reverberator.

    A correlation counts from 0.3 on, where it also stands out by 6.5 standard deviations from those at other lags.

    Parameters
    ----------
    responses : {name: filters (mixture channels, reference channels, taps)}
        All with the same mixture channels. Of several reference channels the one that agrees best counts.
    noise : {name: as of `unsum.describe.room.describe_room`}
    """
    tails = {}
    longest = max((filters.shape[2] for filters in responses.values()), default=0)
    n_fft = fast_length(2 * min(longest, round(_TAIL_SECONDS * sample_rate)) + 2)
    for name, filters in responses.items():
        density = noise_density(filters.shape, None if noise is None else noise.get(name))
        columns = (_flat_tail(filters[:, d], density[:, d], sample_rate, n_fft) for d in range(filters.shape[1]))
        tails[name] = [tail for tail in columns if tail is not None]
    groups: list[list[tuple[str, _Tail, _Agreement]]] = []
    for name, columns in tails.items():
        for group in groups:
            first = group[0][1]
            found = [(name, tail, _agreement(first, tail, sample_rate, n_fft)) for tail in columns]
            best = max(found, key=lambda one: abs(one[2].correlation), default=None)
            if best is not None and best[2].sure:
                group.append(best)
                break
        else:
            groups.extend([(name, tail, _Agreement(1.0, 0, True))] for tail in columns)
    return tuple(_shared(group, sample_rate, n_fft) for group in groups if len({name for name, *_ in group}) > 1)


def _flat_tail(paths: NDArray[np.float64], density: NDArray[np.float64], sample_rate: int, n_fft: int) -> _Tail | None:
    """The late response (mixture channels, taps) as white as it goes; None where too few octaves have one."""
    loudest = int(np.argmax(np.sum(paths**2, axis=1)))
    arrival = direct_arrival(paths[loudest], float(density[loudest].mean()), sample_rate)
    start = arrival + round(_TAIL_START_SECONDS * sample_rate)
    flat = np.zeros((len(paths), min(max(paths.shape[1] - start, 0), n_fft // 2)))
    level_db, fall_db = {}, {}
    for centre, responses, band_noise, width in in_octaves(paths, density, sample_rate):
        arrivals = [arrival] * len(paths)
        energy = np.sum(
            aligned_energies(responses, arrivals, reach=round(RINGING_PERIODS * sample_rate / centre)), axis=0
        )
        decay = fit_decay(energy, sample_rate=sample_rate, independent_hz=width, noise=band_noise or None)
        rt60 = octave_decay(centre, decay, width).rt60
        if decay is None or rt60 is None:
            continue
        # No nearer to the noise than a margin, or it would be the loudest once the decay is undone.
        margin = _TAIL_MARGIN_DB / 60 * rt60.seconds * sample_rate if decay.noise > 0 else 0
        length = min(arrival + decay.knee_samples - round(margin) - start, flat.shape[1])
        if length <= 0:
            continue
        seconds = np.arange(start - arrival, start - arrival + length) / sample_rate
        part = responses[:, start : start + length] * 10 ** (3 * seconds / rt60.seconds)
        size = math.sqrt(float(np.sum(part**2)) / length)
        flat[:, :length] += math.sqrt(width) / size * part
        level_db[centre] = 20 * math.log10(size)
        fall_db[centre] = 60 / rt60.seconds
    if len(level_db) < LEAST_OCTAVES:
        return None
    return _Tail(rfft(flat / math.sqrt(float(np.sum(flat**2))), n_fft), level_db, fall_db)


def _agreement(first: _Tail, other: _Tail, sample_rate: int, n_fft: int) -> _Agreement:
    """The lag at which two tails agree most, and whether they agree by more than chance."""
    cross = irfft(np.sum(first.spectra.conj() * other.spectra, axis=0), n_fft)
    reach = min(round(_REACH_SECONDS * sample_rate), n_fft // 2 - 1)
    near = np.concatenate([cross[-reach:], cross[: reach + 1]])
    peak = int(np.argmax(np.abs(near)))
    aside = np.abs(np.arange(len(near)) - peak) > _PEAK_WIDTH_SECONDS * sample_rate
    chance = math.sqrt(float(np.mean(near[aside] ** 2))) if aside.any() else math.inf
    correlation = float(near[peak])
    sure = abs(correlation) > max(_LEAST_CORRELATION, _SURE_OF_TAIL * chance)
    return _Agreement(correlation, peak - reach, sure)


def _shared(group: list[tuple[str, _Tail, _Agreement]], sample_rate: int, n_fft: int) -> SharedReverb:
    first = group[0][1]
    weakest = min(group[1:], key=lambda one: abs(one[2].correlation))
    octaves = _by_octave(first, weakest[1], weakest[2], sample_rate, n_fft)
    send_db = []
    for _, tail, agreement in group:
        later = agreement.lag_samples / sample_rate
        both = [centre for centre in tail.level_db if centre in first.level_db]
        levels = [tail.level_db[at] - first.level_db[at] - first.fall_db[at] * later for at in both]
        send_db.append(float(np.mean(levels)))
    return SharedReverb(
        names=tuple(name for name, *_ in group),
        correlation=tuple(agreement.correlation for *_, agreement in group),
        octave_correlation=octaves,
        send_db=tuple(send_db),
        delay_seconds=tuple(agreement.lag_samples / sample_rate for *_, agreement in group),
    )


def _by_octave(first: _Tail, other: _Tail, agreement: _Agreement, sample_rate: int, n_fft: int) -> dict[float, float]:
    frequency = np.arange(first.spectra.shape[1]) * (sample_rate / n_fft)
    turned = np.exp(2j * np.pi * frequency * agreement.lag_samples / sample_rate)
    cross = np.sum(np.real(first.spectra.conj() * other.spectra * turned), axis=0)
    power = [np.sum(np.abs(tail.spectra) ** 2, axis=0) for tail in (first, other)]
    found = {}
    for centre in first.level_db:
        if centre in other.level_db:
            bins = np.abs(np.log2(np.maximum(frequency, 1e-3) / centre)) <= 0.5
            found[centre] = float(cross[bins].sum() / math.sqrt(power[0][bins].sum() * power[1][bins].sum()))
    return found


def shared_reverb_words(shared: SharedReverb) -> tuple[str, ...]:
    """Who shares a reverberator with whom, as one would say it."""
    first, *others = shared.names
    words = [f"{', '.join(shared.names)} share one reverb: their tails agree to {_least_percent(shared):.0f} %"]
    for name, level in zip(others, shared.send_db[1:], strict=True):
        words.append(f"{name} is sent {abs(level):.1f} dB {'more' if level > 0 else 'less'} than {first}")
    return tuple(words)


def _least_percent(shared: SharedReverb) -> float:
    return 100 * min(abs(correlation) for correlation in shared.correlation)
