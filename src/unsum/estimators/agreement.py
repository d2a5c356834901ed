"""Listening at the low rate to all of a line: do its windows agree, and how much of the sound does it explain?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.agreement import Agreement, agreement
from unsum.dsp.pieces import piece_spectrum
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
        played = _cut(reference, start, size)
        if size != window:
            played = np.asarray(scipy.signal.resample(played, window), np.float32)
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


def _centred(correlation: NDArray, window: int) -> NDArray:
    return np.concatenate([correlation[-window // 2 :], correlation[: window // 2]])


def _cut(sound: Sound, start: int, length: int) -> Sound:
    """A piece of a sound, silent outside of it."""
    out = np.zeros(length, np.float32)
    a, b = max(start, 0), min(start + length, len(sound))
    if a < b:
        out[a - start : b - start] = sound[a:b]
    return out
