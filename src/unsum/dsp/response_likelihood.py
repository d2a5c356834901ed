"""How much likelier one sound is with another in it, through one unknown response, than without.

With windows ``x`` of what is heard and ``r`` of what was played, and noise that is Gaussian in every patch of a
short-time spectrum, its variance that of the patch, a response ``h`` whose taps are as loud as ``P`` tells [1]_::

    x = h * r + noise
    nats = b' (A + P**-1)**-1 b / 2 - log det(I + P A) / 2

``b`` are correlations of ``r`` with the windows heard, every patch divided by its variance, and ``A`` is the
autocorrelation of ``r`` weighed alike. All windows add up in both, turned along the slope on which they agree. So what
lies free in a pause or between two notes tells much, and what other sound covers little; a repeat that shares a
beat but not the tune with the true place explains so much less. ``P`` decays from the first tap on, as rooms do: the
place of the first tap for which most is explained is where the sound begins, though later reflections be louder.
Such a response has to pay for its taps: where nothing is shared, ``nats`` is below 0.

References
----------
.. [1] Rasmussen and Williams, "Gaussian processes for machine learning", MIT Press, 2006, section 2.2.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.transforms import fast_length, irfft, rfft

_FRAMES_A_WINDOW = 4  # that stand side by side; as many again lie across two
_NEIGHBOURS = 9  # frequencies that the variance of a patch is taken over
_QUIET = 1e-2  # of what a frequency holds on average: a moment that is quieter does not count for more
_MUTED = 1e-6  # of that: what is below was muted, with all that was in it
_EMPTY = 1e-9  # of what all frequencies hold: below is the rounding of a file
_IMPULSE = 2.5  # standard deviations
_LOWEST_HZ = 60.0
_HIGHEST = 0.45  # cycles a sample
_DECAYS = 0.25, 1.0  # taps after which a response may have decayed by one neper, over all its taps
_EXPECTED_NATS = 100.0, 1600.0
_FADED = 8  # of a window one part in so many at either end
_TURN_STEP = 0.7  # samples at the ends by which two slopes differ
_MOST_TURNS = 200  # slopes to either side
_EVEN_BINS = 33  # neighbouring frequencies over which a spectrum is evened out where slopes are compared
_FAINT = 1e-4  # of the loudest of these: what is below tells nothing
_ONSET_STEP = 4  # samples; taps that follow do not decay by more between two onsets


@dataclass(frozen=True, slots=True)
class ResponseLikelihood:
    """What speaks for one response in all windows.

    Attributes
    ----------
    nats : log likelihood with the response, over that without any
    lag, slope : of its first tap; in a window at time ``t`` it lies at ``lag + slope * (t - mean of t)``
    """

    nats: float
    lag: int = 0
    slope: float = 0.0


def response_likelihood(
    heard: NDArray[np.floating],
    played: NDArray[np.floating],
    time: NDArray[np.float64],
    *,
    sample_rate: float,
    taps: int,
    begins: tuple[int, int],
    most_drift: float,
) -> ResponseLikelihood:
    """Judge windows of both sounds.

    Parameters
    ----------
    heard, played : (windows, samples)
        Of a length that is a multiple of 8, as frames of a fourth of it lie half over one another.
    time : (windows,) in samples
    taps : of the response
    begins : half-open range of lags at which it may begin
    most_drift : slopes up to this are tried

    Raises
    ------
    ValueError
        If the windows are of another length.
    """
    if heard.shape[1] % (2 * _FRAMES_A_WINDOW):
        raise ValueError(
            f"windows have {heard.shape[1]} samples; cut them to a multiple of {2 * _FRAMES_A_WINDOW} first"
        )
    if not np.any(heard) or not np.any(played):
        return ResponseLikelihood(0.0)
    frame = heard.shape[1] // _FRAMES_A_WINDOW
    taps = min(taps, frame // 2)
    faded = _faded(played)
    weighed, own = _weighed(heard, faded, frame, sample_rate)
    if own[0] <= 0:
        return ResponseLikelihood(0.0)
    rows, own = _correlations(weighed, faded, own, begins[0], begins[1] + taps)
    time = time - time.mean()
    steps = min(_MOST_TURNS, math.ceil(most_drift * float(np.abs(time).max(initial=0.0)) / _TURN_STEP))
    slopes = np.linspace(-most_drift, most_drift, 2 * steps + 1) if steps else np.zeros(1)  # one window has no slope
    slope, total = _turned(rows, time, slopes, own, taps)
    onsets = np.lib.stride_tricks.sliding_window_view(total, taps)[: begins[1] - begins[0] : _ONSET_STEP].T
    nats, at = _most_likely(onsets, own[:taps])
    return ResponseLikelihood(nats, begins[0] + at * _ONSET_STEP, slope)


def _faded(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    edge = max(1, rows.shape[1] // _FADED)
    ramp = np.sin(0.5 * np.pi * (np.arange(edge) + 0.5) / edge) ** 2
    out = np.array(rows, np.float64)
    out[:, :edge] *= ramp
    out[:, -edge:] *= ramp[::-1]
    return out


def _weighed(
    heard: NDArray[np.floating], played: NDArray[np.float64], frame: int, sample_rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Windows heard (windows, samples), every patch over its variance; autocorrelation (lags,) of what was played."""
    hop, window = frame // 2, heard.shape[1]
    frequency = np.arange(hop + 1) / frame
    band = (frequency >= _LOWEST_HZ / sample_rate) & (frequency <= _HIGHEST)
    shape = np.sqrt(np.hanning(frame + 1)[:-1])
    spectra = _short_spectra(np.asarray(heard, np.float64), shape)
    variance = scipy.ndimage.uniform_filter1d(np.abs(spectra) ** 2, _NEIGHBOURS, axis=2)
    average = variance.mean(axis=(0, 1))
    least = np.maximum(_QUIET * average, _EMPTY * average[band].max(initial=0.0)) + np.finfo(float).tiny
    # A frame is as loud as the sum over its shape squared, and that is half of its length.
    weight = np.where(band & (variance > _MUTED * average), hop / np.maximum(variance, least), 0.0)
    # Evened out, an onset is an impulse, and one impulse is like any other.
    even = _overlapped(spectra * np.sqrt(weight), shape)[:, hop : hop + window]
    limit = _IMPULSE * np.sqrt(np.mean(even**2))
    spectra = _short_spectra(np.clip(even, -limit, limit), shape)
    weighed = _overlapped(spectra * np.sqrt(weight), shape)[:, hop : hop + window]
    own = np.sum(weight * np.abs(_short_spectra(played, shape)) ** 2, axis=(0, 1))
    return weighed, irfft(own, frame)


def _overlapped(spectra: NDArray[np.complex128], shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (windows, samples) of frames (windows, frames, bins) as `_short_spectra` gives them, with their margins."""
    hop = len(shape) // 2
    parts = irfft(spectra, len(shape)) * shape
    out = np.zeros((len(parts), parts.shape[1] + 1, hop))
    out[:, :-1] += parts[..., :hop]
    out[:, 1:] += parts[..., hop:]
    return out.reshape(len(parts), -1)


def _short_spectra(rows: NDArray[np.float64], shape: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(windows, frames, bins) of frames that lie half over one another, the first and last half over an end."""
    hop = len(shape) // 2
    padded = np.pad(rows, ((0, 0), (hop, hop)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(shape), axis=1)[:, ::hop]
    return rfft(frames * shape)


def _correlations(
    heard: NDArray[np.float64], played: NDArray[np.float64], own: NDArray[np.float64], first: int, stop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (windows, lags) of what was played with what is heard so many samples later, and their own autocorrelation.

    Two steady tones of one pitch agree for as long as they sound, though it was chance once: frequencies at which the
    windows hold more than their patches promise count for less.
    """
    window = heard.shape[1]
    n_fft = fast_length(window + max(-first, stop, window))
    cross = rfft(heard, n_fft) * np.conj(rfft(played, n_fft))
    power = np.maximum(rfft(own).real, 0.0)
    promised = window * np.interp(np.arange(cross.shape[1]) / n_fft, np.arange(len(power)) / len(own), power)
    wide = round(_EVEN_BINS * n_fft / len(own))
    held = scipy.ndimage.uniform_filter1d(np.sum(np.abs(cross) ** 2, axis=0), wide)
    least = _FAINT * float(promised.max(initial=0.0)) + np.finfo(float).tiny
    excess = held / np.maximum(scipy.ndimage.uniform_filter1d(promised, wide), least)
    less = 1 / np.maximum(excess, 1.0)
    rows = np.roll(irfft(cross * less, n_fft), -first, axis=1)[:, : stop - first]
    at = np.arange(len(power)) / len(own) * n_fft
    return rows, irfft(power * np.interp(at, np.arange(len(less)), less), len(own))


def _turned(
    rows: NDArray[np.float64],
    time: NDArray[np.float64],
    slopes: NDArray[np.float64],
    own: NDArray[np.float64],
    taps: int,
) -> tuple[float, NDArray[np.float64]]:
    """The slope on which the windows agree most, and their sum (lags,) along it."""
    lags = rows.shape[1]
    margin = math.ceil(float(np.abs(slopes).max() * np.abs(time).max(initial=0.0)))
    n_fft = fast_length(lags + margin + _EVEN_BINS)
    spectra = rfft(rows, n_fft)
    frequency = np.arange(spectra.shape[1]) / n_fft
    power = scipy.ndimage.uniform_filter1d(np.maximum(rfft(own).real, 0.0), _EVEN_BINS)
    power = np.interp(frequency, np.arange(len(power)) / len(own), power)
    even = np.where(power > _FAINT * power.max(initial=0.0), 1 / np.sqrt(np.maximum(power, 1e-300)), 0.0)
    # To choose a slope whole lags do.
    evened = np.pad(irfft(spectra * even, n_fft)[:, :lags], ((0, 0), (margin, margin)))
    forget = math.exp(-1 / (_DECAYS[0] * taps))
    most, chosen = -1.0, 0.0
    for slope in sorted(slopes.tolist(), key=abs):  # the least, where there is a choice
        turns = margin + np.rint(slope * time).astype(int)
        total = np.sum([row[by : by + lags] for row, by in zip(evened, turns.tolist(), strict=True)], axis=0)
        high = float(np.max(scipy.signal.lfilter([1.0], [1.0, -forget], total[::-1] ** 2)))
        if high > most * (1 + 1e-9):
            most, chosen = high, slope
    total = np.sum(spectra * np.exp(2j * np.pi * chosen * np.outer(time, frequency)), axis=0)
    return chosen, irfft(total, n_fft)[:lags]


def _most_likely(onsets: NDArray[np.float64], own: NDArray[np.float64]) -> tuple[float, int]:
    """The most nats, over all onsets (taps, onsets) and what a response may look like, and at which onset."""
    taps = len(own)
    matrix = scipy.linalg.toeplitz(own)
    nats, at = -math.inf, 0
    for decay in _DECAYS:
        shape = np.exp(-np.arange(taps) / (decay * taps))
        for expected in _EXPECTED_NATS:
            size = np.sqrt(2 * expected / own[0] * shape / shape.sum())
            lower = scipy.linalg.cholesky(np.eye(taps) + size[:, None] * matrix * size, lower=True)
            solved = scipy.linalg.solve_triangular(lower, onsets * size[:, None], lower=True)
            told = 0.5 * np.sum(solved**2, axis=0) - float(np.sum(np.log(np.diag(lower))))
            if told.max() > nats:
                nats, at = float(told.max()), int(told.argmax())
    return nats, at
