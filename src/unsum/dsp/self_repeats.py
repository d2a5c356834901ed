"""After how long a sound comes again: bars of a loop, verses of a song that was put together from samples."""

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import running_mean
from unsum.dsp.transforms import fast_length, irfft, rfft

_LONGEST_SECONDS = 60.0  # that are looked at
_SHORTEST_SECONDS = 0.2  # what comes again sooner is a tone
_EVENED_HZ = 40.0  # neighbouring frequencies count alike
_LOWEST_HZ = 60.0
_HIGHEST = 0.45  # cycles a sample
_EMPTY = 1e-8  # of the loudest frequency, in power
# Whitened autocorrelation, 1 for what repeats itself exactly. Songs that were played by hand have 0.07 at most.
_REPEATS = 0.15
_AS_GOOD = 0.5  # of the highest
_APART_SECONDS = 0.05


def repeat_lags(sound: NDArray[np.floating], *, sample_rate: float, most: int) -> list[int]:
    """The shortest lags, in samples, at which a sound (samples,) is clearly like itself; none where it never is."""
    longest = round(_LONGEST_SECONDS * sample_rate)
    spare = max(0, len(sound) - longest) // 2
    sound = sound[spare : spare + longest]
    least, last = round(_SHORTEST_SECONDS * sample_rate), 2 * len(sound) // 3
    if last <= least:
        return []
    n_fft = fast_length(2 * len(sound))
    power = np.abs(rfft(np.asarray(sound, np.float64), n_fft)) ** 2
    level = running_mean(power, round(_EVENED_HZ * n_fft / sample_rate) | 1)
    frequency = np.arange(len(power)) / n_fft
    band = (frequency >= _LOWEST_HZ / sample_rate) & (frequency <= _HIGHEST) & (level > _EMPTY * level.max(initial=0.0))
    like = irfft(np.divide(power, level, out=np.zeros_like(power), where=band), n_fft)[:last]
    if like[0] <= 0:
        return []
    like = np.abs(like / like[0]) * len(sound) / (len(sound) - np.arange(last))
    like[:least] = 0.0
    enough = max(_REPEATS, _AS_GOOD * float(like.max()))
    apart = round(_APART_SECONDS * sample_rate)
    lags: list[int] = []
    while len(lags) < most:
        first = int(np.argmax(like >= enough))
        if like[first] < enough:
            break
        lags.append(first + int(like[first : first + apart].argmax()))
        like[: lags[-1] + apart] = 0.0
    return lags
