"""Listening at the low rate to all of a line: do its windows agree, and how much of the sound does it explain?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.agreement import Agreement, agreement
from unsum.dsp.pieces import piece_spectrum
from unsum.dsp.response_likelihood import response_likelihood
from unsum.dsp.search import MOST_DRIFT, cell_length
from unsum.dsp.shared_sound import SharedSound, shared_sound
from unsum.dsp.transforms import irfft
from unsum.estimators.places import Heard

_LONGEST = 1 << 13
_SHORTEST = 1 << 11
_ENOUGH_WINDOWS = 12
_MOST_WINDOWS = 32
_CELLS_NEAR = 3  # a place is known to two cells, and its slope to some more
_MOST_NEAR = 4  # of a window one part in so many: lags farther away must be left to tell what repeats
_LONGEST_SPAN = 1 << 22
_TURNED = 1e-3
_SLOPES_AROUND = 2.0
_CELLS_NEAR_AN_ONSET = 6  # in a room what is loudest may come so much later than what comes first
_ENOUGH_OF_ALL = 3  # of all windows one in so many can tell a repeat
_FILTER_TAPS = 128  # of the search: what is near a path by which a sound came, not its room

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tiling:
    """Windows over a line: at ``played`` in the reference, at ``heard`` in the mixture, in samples of the search."""

    line: Heard
    window: int
    played: NDArray[np.intp]
    heard: NDArray[np.intp]

    @property
    def played_length(self) -> int:
        return self.window if abs(self.line.slope) <= _TURNED else round(self.window / (1 + self.line.slope))


def tiled(line: Heard) -> Tiling | None:
    """Windows side by side over all of a line, or spread over it; None where it is too short for two."""
    first, last = line.reference_time(line.start), line.reference_time(line.stop)
    # Over an hour the search knows the slope too roughly: its ends would lie beyond what is looked at.
    spare = max(0.0, last - first - _LONGEST_SPAN) / 2
    first, last = first + spare, last - spare
    window = _LONGEST
    while window > _SHORTEST and _ENOUGH_WINDOWS * window > last - first:
        window //= 2
    count = int(min(_MOST_WINDOWS, (last - first) // (window * (1 + abs(line.slope)))))
    if count < 2:
        return None
    played = np.linspace(first, last - window * (1 + abs(line.slope)), count).round().astype(np.intp)
    half = 0.0 if abs(line.slope) > _TURNED else window / 2
    heard = np.array([start + round(line.delay_at(start + half)) for start in played], np.intp)
    return Tiling(line, window, played, heard)


@dataclass(frozen=True, slots=True)
class Along:
    """What is heard along a line.

    Attributes
    ----------
    agreement : of its windows
    line : on which the windows agree best
    shared : by both along that line
    explained : nats for what a short filter explains of all of the line, over nothing
    """

    agreement: Agreement
    line: Heard
    shared: SharedSound
    explained: float


def agreement_along(where: Tiling, heard: Sequence[Sound], reference: Sound, *, sample_rate: float) -> Along:
    """Judge a line by windows (samples,) of the mixture and the whole reference (samples,)."""
    window, size = where.window, where.played_length
    rows = np.zeros((len(heard), window), np.float32)
    own = np.zeros_like(rows)
    spectra = np.zeros((2, len(heard), window + 1), np.complex64)
    for n, (mixture, start) in enumerate(zip(heard, where.played.tolist(), strict=True)):
        played = _played(where, reference, start)
        noisy = piece_spectrum(mixture, window, sample_rate=sample_rate, fade=window // 3, phases=True)
        clean = piece_spectrum(played, window, sample_rate=sample_rate, fade=window // 3, phases=False)
        if noisy is not None and clean is not None:
            rows[n] = _centred(irfft(noisy * np.conj(clean), 2 * window), window)
            own[n] = _centred(irfft(np.abs(clean) ** 2, 2 * window), window)
            spectra[0, n], spectra[1, n] = noisy, clean
    cell = cell_length(sample_rate)
    reach = max(1.0, float(np.ptp(where.played)) / 2)
    around = min(MOST_DRIFT, _SLOPES_AROUND * cell / reach)
    near = min(_CELLS_NEAR * cell, window // _MOST_NEAR)
    time = where.played.astype(float)
    told = agreement(rows, own, time, near=near, guard=cell, most_drift=around)
    counted = rows.any(axis=1)
    middle = float(time[counted].mean()) if counted.any() else 0.0
    late = told.lag + told.slope * (time - middle)
    shared = shared_sound(spectra[0], spectra[1], late, taps=_FILTER_TAPS, near=near)
    # Windows that lie apart stand for what is between them too.
    covered = (time[-1] - time[0] + size) / (len(time) * size)
    pivot = middle + where.played_length / 2
    line = replace(
        where.line,
        delay=where.line.delay_at(pivot) + told.lag,
        slope=where.line.slope + told.slope,
        pivot=pivot,
    )
    return Along(told, line, shared, shared.nats * covered)


@dataclass(frozen=True, slots=True)
class Onset:
    """What speaks for a line by one response along all of it, and the line on which that response begins.

    Attributes
    ----------
    lag : samples by which that line comes later than the windows were cut
    """

    nats: float
    line: Heard
    lag: int


def onset_along(
    where: Tiling,
    heard: Sequence[Sound],
    reference: Sound,
    *,
    sample_rate: float,
    taps: int,
    about: tuple[int, int] | None = None,
    turned: bool = True,
) -> Onset:
    """How much likelier windows (samples,) of the mixture are with the whole reference (samples,) in them.

    Parameters
    ----------
    taps : of the response, in samples of the search
    about : half-open range of lags at which it may begin, where that is known
    turned : whether slopes beside that of the line are tried
    """
    cell, time = cell_length(sample_rate), where.played.astype(float)
    reach = max(1.0, float(np.ptp(where.played)) / 2)
    near = min(_CELLS_NEAR_AN_ONSET * cell, where.window // _MOST_NEAR)
    first, stop = about or (-near, near)
    found = response_likelihood(
        np.stack(heard),
        np.stack([_played(where, reference, start) for start in where.played.tolist()]),
        time,
        sample_rate=sample_rate,
        taps=taps,
        begins=(max(first, -near), min(stop, near)),
        most_drift=min(MOST_DRIFT, _SLOPES_AROUND * cell / reach) if turned else 0.0,
    )
    pivot = float(time.mean()) + where.played_length / 2
    delay = where.line.delay_at(pivot) + found.lag
    line = replace(where.line, delay=delay, slope=where.line.slope + found.slope, pivot=pivot)
    return Onset(found.nats, line, found.lag)


def beyond_repeats(
    where: Tiling,
    heard: Sequence[Sound],
    reference: Sound,
    *,
    sample_rate: float,
    taps: int,
    lag: int,
    repeats: Sequence[int],
) -> float:
    """Nats for a line over those for the best line along which the reference is heard one of its repeats off.

    Two loops that run in step explain one another bar by bar as well as any two bars do; what is there explains itself.

    Parameters
    ----------
    where, heard : as `onset_along` takes them
    lag : at which the response begins
    repeats : samples after which the reference comes again
    """
    least, spare = math.inf, cell_length(sample_rate)
    about = lag - spare, lag + spare
    for by in [sign * repeat for repeat in repeats for sign in (1, -1)]:
        start = where.played + by
        inside = (start >= 0) & (start + where.played_length <= len(reference))
        if np.count_nonzero(inside) * _ENOUGH_OF_ALL < len(heard):
            continue
        own = replace(where, played=where.played[inside], heard=where.heard[inside])
        windows = [one for one, counts in zip(heard, inside, strict=True) if counts]
        here, there = (
            onset_along(one, windows, reference, sample_rate=sample_rate, taps=taps, about=about).nats
            for one in (own, replace(own, played=own.played + by))
        )
        least = min(least, (here - max(there, 0.0)) * len(heard) / len(windows))
    return least


def beyond_one_clock(
    where: Tiling, heard: Sequence[Sound], reference: Sound, *, sample_rate: float, taps: int, onset: Onset
) -> float:
    """Nats of an onset over those along the line with its delay in the middle and no slope; 0 at other speeds.

    Parameters
    ----------
    where, heard : as `onset_along` takes them
    onset : what it said with as many taps
    """
    if not 0.0 < abs(onset.line.slope) <= _TURNED or abs(where.line.slope) > _TURNED:
        return 0.0
    flat = replace(onset.line, slope=0.0)
    even = Tiling(flat, where.window, where.heard - round(flat.delay), where.heard)
    alike = onset_along(even, heard, reference, sample_rate=sample_rate, taps=taps, turned=False).nats
    return onset.nats - max(alike, 0.0)


def _played(where: Tiling, reference: Sound, start: int) -> Sound:
    """The piece of the reference that a window may hold, as long as that window."""
    played = _cut(reference, start, where.played_length)
    if where.played_length == where.window:
        return played
    return np.asarray(scipy.signal.resample(played, where.window), np.float32)


def _centred(correlation: NDArray, window: int) -> NDArray:
    return np.concatenate([correlation[-window // 2 :], correlation[: window // 2]])


def _cut(sound: Sound, start: int, length: int) -> Sound:
    """A piece of a sound, silent outside of it."""
    out = np.zeros(length, np.float32)
    a, b = max(start, 0), min(start + length, len(sound))
    if a < b:
        out[a - start : b - start] = sound[a:b]
    return out
