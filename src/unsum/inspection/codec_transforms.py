"""The transforms of MP3, AAC, Vorbis and AC-3 encoders, long blocks only: from samples to the numbers they round.

All are orthonormal up to a fraction of a decibel: white noise of unit power comes out with unit power in every
coefficient. Each takes ``support`` samples and begins anew every ``hop`` samples.

References
----------
.. [1] ISO/IEC 11172-3, annex C 1.3 and 1.5.3: the polyphase filters of MPEG audio, the hybrid filters of layer III.
.. [2] ISO/IEC 13818-7, section 11: windows and transform of AAC.
.. [3] Vorbis I specification, section 4.3.1: its window. ETSI TS 102 366, section 7.8: that of AC-3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

_BANDS, _SLOTS = 32, 18
_PROTOTYPE_SAMPLES = 512
# The standard tabulates its low-pass prototype. A Kaiser-windowed sinc with these two numbers is that table to
# -50 dB, well below what an encoder rounds to zero beside a loud coefficient.
_PROTOTYPE_BETA, _PROTOTYPE_CUTOFF = 11.0, 0.0179
# Butterflies between neighbouring bands [1]_, table C.1.5.3.
_ALIAS = np.array([-0.6, -0.535, -0.33, -0.185, -0.095, -0.041, -0.0142, -0.0037])


@dataclass(frozen=True, slots=True)
class EncoderTransform:
    """What one encoder does to a frame before it rounds.

    Attributes
    ----------
    codec : by FFmpeg's name
    hop : samples from one frame to the next
    support : samples that a frame depends on
    coefficients : (frames, support) -> (frames, hop), from 0 to half the sample rate
    decoys : the same, each wrong in one thing, as no encoder does it
    """

    codec: str
    hop: int
    support: int
    coefficients: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    decoys: tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...]


@cache
def encoder_transforms() -> tuple[EncoderTransform, ...]:
    """The transforms that can be told apart; AAC has two windows, Vorbis two lengths."""
    hybrid = _product(mp3_hybrid())
    decoys = (_product(mp3_hybrid(window=kaiser_bessel_window(2 * _SLOTS, alpha=10.0))), _product(mp3_hybrid(mirror=1)))
    return (
        EncoderTransform("mp3", _BANDS * _SLOTS, _BANDS * (2 * _SLOTS - 1) + _PROTOTYPE_SAMPLES, hybrid, decoys),
        _lapped("aac", kaiser_bessel_window(2048, alpha=4.0)),
        _lapped("aac", sine_window(2048)),
        _lapped("vorbis", vorbis_window(2048)),
        _lapped("vorbis", vorbis_window(4096)),
        _lapped("ac3", kaiser_bessel_window(512, alpha=5.0)),
    )


def _lapped(codec: str, window: NDArray[np.float64]) -> EncoderTransform:
    taper = window.astype(np.float32)
    steeper = kaiser_bessel_window(len(window), alpha=10.0).astype(np.float32)
    return EncoderTransform(
        codec,
        len(window) // 2,
        len(window),
        lambda frames: mdct(frames * taper),
        (lambda frames: mdct(frames * steeper),),
    )


def _product(rows: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    matrix = rows.T.copy()
    return lambda frames: frames @ matrix


def sine_window(n_samples: int) -> NDArray[np.float64]:
    """``sin(pi (n + 1/2) / n_samples)``."""
    return np.sin(np.pi * (np.arange(n_samples) + 0.5) / n_samples)


def vorbis_window(n_samples: int) -> NDArray[np.float64]:
    """``sin(pi / 2 sin(pi (n + 1/2) / n_samples) ** 2)``."""
    return np.sin(np.pi / 2 * sine_window(n_samples) ** 2)


def kaiser_bessel_window(n_samples: int, *, alpha: float) -> NDArray[np.float64]:
    """The window whose square is a running sum of a Kaiser window, so that squares half a window apart add to 1."""
    half = n_samples // 2
    sums = np.cumsum(np.kaiser(half + 1, np.pi * alpha))
    rising = np.sqrt(sums[:half] / sums[-1])
    return np.concatenate([rising, rising[::-1]])


def mdct(windowed: NDArray) -> NDArray:
    """Orthonormal lapped transform of windowed frames, (..., 2 bins) -> (..., bins).

    ``X_k = sqrt(2 / bins) sum_n x_n cos(pi / bins (n + 1/2 + bins / 2) (k + 1/2))``
    """
    a, b, c, d = np.split(windowed, 4, axis=-1)
    folded = np.concatenate([-c[..., ::-1] - d, a - b[..., ::-1]], axis=-1)
    return np.asarray(scipy.fft.dct(folded, type=4, axis=-1, norm="ortho"))


def mp3_hybrid(*, window: NDArray[np.float64] | None = None, mirror: int = -1) -> NDArray[np.float32]:
    """Rows that give the 576 coefficients of a granule of MP3, (576, samples): polyphase filters, then 18 each.

    Parameters
    ----------
    window : (36,)
        Of the second transform, in each band; the sine window by default.
    mirror : what every other sample of every other band is multiplied with
    """
    n = np.arange(_PROTOTYPE_SAMPLES)
    middle = _PROTOTYPE_SAMPLES / 2
    kaiser = np.i0(_PROTOTYPE_BETA * np.sqrt(np.maximum(0.0, 1 - ((n - middle) / middle) ** 2)))
    prototype = np.sinc((n - middle) * _PROTOTYPE_CUTOFF) * kaiser
    slot = np.arange(2 * _SLOTS)
    line = np.arange(_SLOTS)[:, None]
    lapped = (sine_window(2 * _SLOTS) if window is None else window) * np.cos(
        np.pi / (4 * _SLOTS) * (2 * slot + 1 + _SLOTS) * (2 * line + 1)
    )
    rows = np.zeros((_BANDS, _SLOTS, _BANDS * (2 * _SLOTS - 1) + _PROTOTYPE_SAMPLES))
    for band in range(_BANDS):
        response = prototype * np.cos((2 * band + 1) * (n - 16) * np.pi / (2 * _BANDS))
        # Odd bands come out mirrored in frequency: every other of their samples is turned round first.
        turned = lapped * np.where((slot % 2 == 1) & (band % 2 == 1), mirror, 1)
        for at in slot:
            start = _BANDS * at
            rows[band, :, start : start + _PROTOTYPE_SAMPLES] += turned[:, at, None] * response[::-1]
    straight = 1 / np.sqrt(1 + _ALIAS**2)
    crossed = straight * _ALIAS
    below, above = rows[:-1, : -len(_ALIAS) - 1 : -1].copy(), rows[1:, : len(_ALIAS)].copy()
    rows[:-1, : -len(_ALIAS) - 1 : -1] = below * straight[:, None] + above * crossed[:, None]
    rows[1:, : len(_ALIAS)] = above * straight[:, None] - below * crossed[:, None]
    rows = rows.reshape(_BANDS * _SLOTS, -1)
    return (rows / np.sqrt(np.sum(rows**2, axis=1, keepdims=True))).astype(np.float32)
