"""What a lossy mix leaves unsure of a response, beside noise."""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.transforms import rfft

# LAME at 128 to 320 kb/s makes the loudest track of a band softer by up to half the share that noise has of its image.
# As a standard deviation of anything between none and that:
_CODEC_SHARE = 0.15


def lost_to_a_codec(
    filters: NDArray[np.float64], variance: NDArray[np.float64], *, samples: int
) -> NDArray[np.float64]:
    """Relative deviation (mixture channels, reference channels, bins) of the responses that a lossy mix allows.

    An encoder leaves out what is masked, so a track becomes softer by up to the share that the encoder's noise D has of
    its image, ``D / (S |H|^2)``, and the fit explains that as a response. The noise is what is left, and with the
    variance ``V = n_taps D / (N S)`` its share is ``V N / (n_taps |H|^2)``.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    variance : (mixture channels, reference channels, bins)
        Of the responses as noise makes it that goes on all the time. Where that of the filters is larger, as noise
        comes and goes with the tracks, the share is not.
    samples : that the filters were fitted to
    """
    responses = rfft(filters, 2 * (variance.shape[2] - 1))
    image = np.maximum(np.abs(responses) ** 2, np.finfo(float).tiny)
    # No more than all of it: over the image of a path that is not there the share itself would overflow.
    return np.minimum(_CODEC_SHARE * variance * samples / filters.shape[2], image) / image
