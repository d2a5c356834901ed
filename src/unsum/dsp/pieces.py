"""Pieces of sound made ready to be compared: loudness evened out, phases alone for what is noisy.

What is looked for is clean and what it is looked for in is not: at a frequency where the recording is loud it is loud
by other sounds. So the spectrum of a piece of recording is divided by its own size, and that of the reference is not:
this is the matched filter for noise whose spectrum is the recording's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from unsum.dsp.correlation import whitened_spectrum

LONGEST_WINDOW = 1 << 14
SHORTEST_WINDOW = 1 << 10
_FEWEST_WINDOWS = 8
_LEVEL_SECONDS = 0.06
_QUIET = 1e-6  # in power, against the piece it is in: not raised any further
# Of all up to 4 kHz: a steady tone has less, and tells no more of the time than how its window fades in and out. At
# high rates the upper half may well be empty, and what is left of a tone and its fading is a hundredth of all.
_FEWEST_FREQUENCIES = 0.07
_FEWEST_HZ = 280.0
_FEWEST_ANYWHERE = 0.01
_LEAST_SOUND = 0.25  # of a window or a block, in time
_LOWEST_HZ = 60.0
_HIGHEST = 0.45  # cycles a sample


@dataclass(frozen=True, slots=True)
class Windows:
    """Pieces of a sound that are looked for.

    Attributes
    ----------
    starts : (windows,)
        First sample of each, in the sound.
    spectra : (windows, bins)
        Conjugates, padded to two windows.
    length : samples in a window
    """

    starts: NDArray[np.intp]
    spectra: NDArray[np.complex64]
    length: int


def window_length(samples: int, *, longest: int = LONGEST_WINDOW) -> int:
    """A power of two that gives a sound of so many samples enough windows to agree."""
    window = longest
    while window > SHORTEST_WINDOW and _FEWEST_WINDOWS * window > samples:
        window //= 2
    return window


def cut_windows(
    sound: NDArray[np.float32],
    *,
    sample_rate: float,
    max_windows: int,
    phases: bool,
    grid: int = 1,
    longest: int = LONGEST_WINDOW,
) -> Windows:
    """Windows over all of a sound (samples,), without silent ones and steady tones.

    Parameters
    ----------
    max_windows : where the sound has more, as many are spread over it
    phases : whether this is the noisy sound of both
    grid : windows begin at multiples of so many samples
    longest : samples in the longest window
    """
    window = window_length(len(sound), longest=longest)
    starts = np.arange(0, max(1, len(sound) - window // 2), window)
    kept, spectra = [], []
    if len(starts) > max_windows:
        starts = np.linspace(0, starts[-1], max_windows)
        starts = (starts // grid * grid).astype(np.intp)
    for start in starts:
        piece = sound[start : start + window]
        spectrum = piece_spectrum(piece, window, sample_rate=sample_rate, fade=window // 3, phases=phases)
        if spectrum is not None:
            kept.append(start)
            spectra.append(np.conj(spectrum))
    return Windows(np.array(kept, np.intp), np.array(spectra, np.complex64).reshape(len(kept), window + 1), window)


def overlapping(passing: Iterable[NDArray[np.float32]], window: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Blocks of two windows, one window apart, with the time of their first sample; silence before and behind."""
    ahead, start, size = np.zeros(window, np.float32), -window, window
    parts = [ahead]
    for part in passing:
        parts.append(part)
        size += len(part)
        if size < 2 * window:
            continue
        ahead = np.concatenate(parts)
        at = 0
        while at + 2 * window <= size:
            yield start + at, ahead[at : at + 2 * window]
            at += window
        start, size = start + at, size - at
        parts = [ahead[at:]]
    ahead = np.concatenate(parts)
    for at in range(0, len(ahead), window):
        yield start + at, ahead[at : at + 2 * window]


def piece_spectrum(
    piece: NDArray[np.float32], window: int, *, sample_rate: float, fade: int, phases: bool
) -> NDArray[np.complex64] | None:
    """Spectrum of a levelled piece, padded to two windows; None where there is hardly any sound or but a tone."""
    levelled, share = levelled_piece(piece, sample_rate)
    if share * len(piece) < _LEAST_SOUND * window:
        return None
    fade = min(fade, len(piece) // 2)
    band = _LOWEST_HZ / sample_rate, _HIGHEST
    whitened = whitened_spectrum(levelled, 2 * window, fade=fade, band=band)
    fewest = min(_FEWEST_FREQUENCIES, max(_FEWEST_HZ / (sample_rate / 2), _FEWEST_ANYWHERE))
    if np.count_nonzero(whitened) < fewest * len(whitened):
        return None
    if phases:
        return whitened
    ramp = np.hanning(2 * fade + 1)[:fade].astype(np.float32)
    faded = levelled.copy()
    faded[:fade] *= ramp
    faded[len(faded) - fade :] *= ramp[::-1]
    return np.where(whitened != 0, cast(NDArray[np.complex64], scipy.fft.rfft(faded, 2 * window)), 0)


def levelled_piece(piece: NDArray[np.float32], sample_rate: float) -> tuple[NDArray[np.float32], float]:
    """The piece with its loudness evened out, so that pauses of a voice tell of the music beneath; share of sound."""
    power = scipy.ndimage.uniform_filter1d(piece.astype(np.float64) ** 2, max(1, round(_LEVEL_SECONDS * sample_rate)))
    mean = float(power.mean()) if len(power) else 0.0
    if mean <= 0:
        return piece, 0.0
    floor = _QUIET * mean
    return (piece / np.sqrt(np.maximum(power, 0) + floor)).astype(np.float32), float(np.mean(power > 100 * floor))
