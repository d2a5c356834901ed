"""Where along an image a sound is heard best: at which of the repeats of a song.

Loops and choruses are alike. What tells them apart lies underneath, and all of a passage together tells it: every place
is compared as one piece against noise of the spectrum of what is heard, and the best of them frame by frame and band
by band.
"""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.code_length import band_energies, nats_saved
from unsum.dsp.whitening import predictor_of

Audio = NDArray[np.float64]

_CANDIDATES = 24
_LEAST_NATS = 60.0  # by which another place must explain more, than silence too
_LEAST_GAIN, _MOST_GAIN = 0.25, 4.0  # on top of filters that may come from another place


def best_shift(heard: Audio, image: Audio, here: int, *, frame: int, floor: float, apart: int) -> int:
    """By how many samples a sound lies behind where it seems to lie in an image; 0 where none is clearly better.

    Parameters
    ----------
    heard : (channels, n)
    image : (channels, m), m >= n
        What the sound may be a piece of, with other sounds over it.
    here : where in the image it seems to begin
    frame : samples of a frame, even
    floor : as `unsum.dsp.code_length.nats_saved` takes it
    apart : no two places nearer to each other than about this are compared

    Raises
    ------
    ValueError
        If the sound does not lie within the image where it seems to, or a sample is not finite.
    """
    length = heard.shape[1]
    if not 0 <= here <= image.shape[1] - length:
        raise ValueError(
            f"{length} samples from sample {here} on do not lie within an image of {image.shape[1]}; "
            "cut the image wider, or the sound shorter"
        )
    if not (np.isfinite(heard).all() and np.isfinite(image).all()):
        raise ValueError("a sample of the sound or of the image is not finite; leave out such files before")
    predictor = predictor_of(heard)[None]
    white = scipy.signal.oaconvolve(image, predictor, axes=1)[:, : image.shape[1]]
    pattern = scipy.signal.oaconvolve(heard, predictor, axes=1)[:, :length]
    met = scipy.signal.oaconvolve(white, pattern[:, ::-1], mode="valid", axes=1).sum(axis=0)
    power = np.concatenate([[0.0], np.cumsum(np.sum(white**2, axis=0))])
    energy = power[length:] - power[:-length]
    energy = np.maximum(energy, 1e-6 * energy.max() + np.finfo(float).tiny)
    without = band_energies(heard, frame=frame)

    def nats(at: int) -> float:
        gain = min(max(float(met[at] / energy[at]), _LEAST_GAIN), _MOST_GAIN)
        left = band_energies(heard - gain * image[:, at : at + length], frame=frame)
        return float(nats_saved(without, left, frame=frame, floor=floor).sum())

    places = _highest(np.maximum(met, 0.0) ** 2 / energy, apart)
    best, most = max(((at, nats(at)) for at in places), key=lambda pair: pair[1])
    return best - here if most > max(nats(here), 0.0) + _LEAST_NATS else 0


def _highest(values: Audio, apart: int) -> list[int]:
    """Where the highest values are, one in each so many samples."""
    blocks = np.arange(0, len(values), apart)
    chosen = np.argsort(np.maximum.reduceat(values, blocks))[::-1][:_CANDIDATES]
    return [int(blocks[n] + np.argmax(values[blocks[n] : blocks[n] + apart])) for n in chosen]
