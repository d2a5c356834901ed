"""How much of a sound another explains through one short filter, and whether it does so here or anywhere.

With ``C[f]`` the coherence of all windows together, averaged over neighbouring frequencies as a filter of so many taps
would have it, noise and sound being Gaussian::

    nats = sum over frequencies of looks * -log(1 - C[f]) - taps

What chance gives is taken off, so that it is about 0 where nothing is shared. A place at which a loop comes again
explains the loop and nothing of the tune over it; the true place explains both. Near to an exact sum there is no end to
what the last decibel is worth, while a peak of a correlation hardly grows any more.

Where both sounds repeat themselves, windows tell the same again and again, and any lag explains much. Then the response
that all windows give together, with both spectra evened out, holds as much energy at other lags as at this one; that
of a path by which the sound came holds it in one place.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from unsum.dsp.correlation import running_mean

# So many neighbouring bins of a padded window that fades in and out tell as much as one of their own.
_BINS_A_LOOK = 3.25
_MOST_COHERENT = 1 - 1e-6
_PATH_TAPS = 32  # lags that the energy of a path is summed over
_HELD = 1e-4  # of the loudest frequency, in power: what is below holds no sound to be evened out


@dataclass(frozen=True, slots=True)
class SharedSound:
    """What windows of two sounds share.

    Attributes
    ----------
    nats : log likelihood that one is the other through one filter, over that they share nothing
    standing : energy of their common response about this lag over that of as many lags anywhere; chance gives 2 to 6
    repeats : energy of that response at other lags over what it would be if all windows differed; so many times does
        ``nats`` count what it was told once
    """

    nats: float
    standing: float
    repeats: float


def shared_sound(
    heard: NDArray[np.complexfloating],
    played: NDArray[np.complexfloating],
    late: NDArray[np.float64],
    *,
    taps: int,
    near: int,
) -> SharedSound:
    """Judge spectra (windows, bins) of windows padded to twice their length; rows of zeros do not count.

    Parameters
    ----------
    late : (windows,) samples by which each window heard comes late
    taps : length of the filter, around that lag
    near : lags on either side within which the path may stand out
    """
    counted = np.any(heard, axis=1) & np.any(played, axis=1)
    n_windows, n_bins = int(counted.sum()), heard.shape[1]
    if not n_windows:
        return SharedSound(0.0, 0.0, 1.0)
    frequency = np.pi * np.arange(n_bins) / (n_bins - 1)
    responses = heard[counted] * np.conj(played[counted])
    responses = responses * np.exp(1j * frequency * np.asarray(late)[counted, None])
    power = np.sum(np.abs(heard[counted]) ** 2, axis=0), np.sum(np.abs(played[counted]) ** 2, axis=0)
    cross = responses.sum(axis=0)
    wide = _bins(n_bins, taps)
    both = running_mean(power[0], wide) * running_mean(power[1], wide)
    known = (power[0] > 0) & (power[1] > 0) & (both > 0)
    coherence = np.minimum(np.abs(running_mean(cross, wide)[known]) ** 2 / both[known], _MOST_COHERENT)
    nats = -n_windows / _BINS_A_LOOK * float(np.sum(np.log1p(-coherence))) - float(known.sum()) / wide
    return SharedSound(nats, *_elsewhere(responses, power, near))


def _elsewhere(
    responses: NDArray[np.complex128], power: tuple[NDArray[np.float64], NDArray[np.float64]], near: int
) -> tuple[float, float]:
    """How far the common response stands out near lag 0, and how often windows repeat themselves at other lags."""
    n_bins = responses.shape[1]
    wide = _bins(n_bins, _PATH_TAPS)
    both = running_mean(power[0], wide) * running_mean(power[1], wide)
    known = (power[0] > 0) & (power[1] > 0) & (both > _HELD**2 * both.max(initial=0.0))
    evened = np.divide(1.0, np.sqrt(both), out=np.zeros(n_bins), where=known)
    half = (n_bins - 1) // 2

    def energy(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
        response = cast(NDArray[np.float64], scipy.fft.irfft(spectrum * evened, 2 * (n_bins - 1)))
        return np.concatenate([response[-half:], response[:half]]) ** 2

    together = energy(responses.sum(axis=0))
    alone = np.zeros(2 * half)
    for one in responses:
        alone += energy(one)
    about = scipy.ndimage.uniform_filter1d(together, min(_PATH_TAPS, len(together)))
    close = slice(max(0, half - near), half + near + 1)
    mean = float(about.mean())
    together[close] = alone[close] = 0.0
    apart = float(alone.sum())
    repeats = float(together.sum()) / apart if apart > 0 else 1.0
    return (float(about[close].max()) / mean if mean > 0 else 0.0), max(1.0, repeats)


def _bins(n_bins: int, taps: int) -> int:
    """Neighbouring bins over which a filter of so many taps hardly changes, an odd number."""
    return max(1, round(2 * n_bins / taps)) | 1
