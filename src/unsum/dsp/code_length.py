"""How much better one residual explains a signal than another, moment by moment and band by band.

A residual whose level is unknown in every band of every short frame takes ``n / 2 log P`` nats to describe, with the
energy P of the patch and n values in it. The difference of two residuals is a log likelihood ratio in which a band
full of other sound says little, however loud it is, and one in which a reference stands free says much.
"""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.transforms import rfft

_FRAME_SECONDS = 0.02
_LEAST_BINS = 5  # in a band: with fewer, chance alone makes an energy small
_BANDS_PER_OCTAVE = 4
_RELATIVE_FLOOR = 1e-12  # of the power of the mixture
_MOST_NATS = 2.0  # that one value may tell: clicks, and silence beside sound, are no more than that sure


def frame_samples(sample_rate: int) -> int:
    """Length of a frame, the power of two next to 20 ms; frames follow one another by half of it."""
    return 1 << round(np.log2(_FRAME_SECONDS * sample_rate))


def band_edges(frame: int) -> NDArray[np.intp]:
    """Bins at which bands begin, and the end of the last; all but bin 0."""
    edges = [1]
    while edges[-1] < frame // 2:
        width = max(_LEAST_BINS, round(edges[-1] * (2 ** (1 / _BANDS_PER_OCTAVE) - 1)))
        edges.append(edges[-1] + width)
    edges[-1] = frame // 2
    if len(edges) > 2 and edges[-1] - edges[-2] < _LEAST_BINS:
        del edges[-2]
    return np.array(edges, np.intp)


def band_energies(rows: NDArray[np.float64], *, frame: int) -> NDArray[np.float64]:
    """Energies (frames, bands) of all rows (channels, samples) together; frame k begins at sample ``k * frame / 2``."""
    count = max(0, rows.shape[1] // (frame // 2) - 1)
    edges = band_edges(frame)
    total = np.zeros((count, len(edges) - 1))
    if not count:
        return total
    window = np.hanning(frame + 1)[:-1]
    for row in rows:
        frames = np.lib.stride_tricks.sliding_window_view(row, frame)[:: frame // 2]
        power = np.abs(rfft(frames[:count] * window, frame)) ** 2
        total += np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    return total


def energy_floor(bits: int | None, n_channels: int, power: float) -> float:
    """What is no louder tells nothing: the rounding of all channels, and what is 120 dB below the mixture.

    Parameters
    ----------
    bits : the word length of the mixture, None where it is floating point
    power : of a sample of the mixture, all channels together, full scale 1
    """
    rounding = 4.0 ** (1 - bits) / 12 if bits is not None else 0.0
    return n_channels * rounding + _RELATIVE_FLOOR * power


def nats_saved(
    without: NDArray[np.float64], remaining: NDArray[np.float64], *, frame: int, floor: float
) -> NDArray[np.float64]:
    """By how many nats the second residual is shorter to describe than the first, (frames,).

    Parameters
    ----------
    without, remaining : (frames, bands) energies of `band_energies`
    floor : mean square of what is under either of them in any case: rounding
    """
    values = np.diff(band_edges(frame))
    least = floor * 0.375 * frame * values + 1e-300  # 3 / 8: mean square of the window
    ratio = np.log(without + least) - np.log(remaining + least)
    return np.clip(0.5 * ratio, -_MOST_NATS, _MOST_NATS) @ values


def gain_terms(
    without: NDArray[np.float64], remaining: NDArray[np.float64], image: NDArray[np.float64], *, frame: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numerator and denominator, (frames, bands) each, of the gain with which an image is heard in a signal.

    ``<x, i> / (|x|^2 + |i|^2)`` and ``|i|^2 / (|x|^2 + |i|^2)``, times the values in a band. The quotient of their sums
    is 1 where the image fits, 0 where it is not heard, and near 1/2 where half of it is the error of its filters. Loud
    other sound counts little.

    Parameters
    ----------
    without, remaining, image : (frames, bands)
        Energies of the signal x, of the signal less the image, and of the image i.
    """
    weight = np.diff(band_edges(frame)) / (without + image + 1e-300)
    return 0.5 * (without + image - remaining) * weight, image * weight
