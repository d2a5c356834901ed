"""Samples as a stream stores them: on its own scale, never clipped without being told."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.media.encode import OutputAudio


class DoesNotFit(Exception):
    """A sample is beyond the scale it is being written on."""


def as_stored(
    samples: NDArray[Any], bits: int | None, audio: OutputAudio, *, clip: bool = False
) -> tuple[NDArray[Any], int]:
    """Samples in the units of their output stream, and how many of them were clipped to its scale.

    Parameters
    ----------
    bits : of the samples, no more than those of the stream; None where their full scale is 1
    clip : whether to clip what is beyond the scale

    Raises
    ------
    DoesNotFit
        If something is beyond the scale and not to be clipped.
    """
    if audio.bits is None:
        return (samples if bits is None else samples * 2.0 ** (1 - bits)), 0
    if bits is None:
        # floor(x + 0.5), not round(): ties fall the same way whatever their sign.
        stored = np.floor(samples.astype(np.float64) * 2.0 ** (audio.bits - 1) + 0.5)
    else:
        stored = samples.astype(np.int64) << (audio.bits - bits)
    top = 1 << (audio.bits - 1)
    beyond = 0
    if stored.size and (stored.min() < -top or stored.max() >= top):
        if not clip:
            raise DoesNotFit
        beyond = int(np.count_nonzero((stored < -top) | (stored >= top)))
        stored = np.clip(stored, -top, top - 1)
    return stored.astype(np.int32), beyond
