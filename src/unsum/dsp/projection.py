"""What least squares makes of a response that its taps cannot hold.

A filter of limited length that is fitted to a longer response is not that response cut off: its taps also stand in,
as far as the spectrum of the reference lets them, for those that are missing::

    h = argmin sum_f S(f) |H(f) - H_true(f)|^2

The difference is known once H_true is, and belongs to the fit, not to the equaliser.
"""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.transforms import irfft, rfft

# Of the greatest power: a reference is taken to have this much everywhere, as rounding gives it.
_FLOOR = 1e-13
_ITERATIONS = 80
_ENOUGH = 1e-8


def project_on_taps(
    response: NDArray[np.complex128], power: NDArray[np.float64], *, first_lag: int, n_taps: int
) -> NDArray[np.float64]:
    """The filter (n_taps,) that least squares gives for a response.

    Conjugate gradients, preconditioned by the inverse spectrum.

    Parameters
    ----------
    response, power : (bins,)
        From 0 to half the sample rate, for a transform of at least twice as many samples as there are taps.
    first_lag : lag of tap 0 in samples
    """
    n_fft = 2 * (len(response) - 1)
    if n_fft < 2 * n_taps:
        raise ValueError(f"{n_taps} taps need {n_taps + 1} bins or more, not {len(response)}")
    weight = np.maximum(power, _FLOOR * np.max(power))
    turned = response * np.exp(2j * np.pi * np.arange(len(response)) / n_fft * first_lag)
    taps = irfft(turned, n_fft)[:n_taps]
    left = irfft(weight * (turned - rfft(taps, n_fft)), n_fft)[:n_taps]
    ahead = irfft(rfft(left, n_fft) / weight, n_fft)[:n_taps]
    energy = float(left @ ahead)
    enough, direction = _ENOUGH * energy, ahead
    for _ in range(_ITERATIONS):
        if energy <= enough or energy <= 0:
            break
        image = irfft(weight * rfft(direction, n_fft), n_fft)[:n_taps]
        step = energy / float(direction @ image)
        taps = taps + step * direction
        left = left - step * image
        ahead = irfft(rfft(left, n_fft) / weight, n_fft)[:n_taps]
        after = float(left @ ahead)
        direction = ahead + after / energy * direction
        energy = after
    return taps
