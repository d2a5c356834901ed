"""How late one signal is against another from moment to moment: the best path through correlation after correlation.

Every window says by its whitened cross-correlation how plausible each lag is. One window alone may be wrong, as soon
as another sound is as loud; a path that moves little from one to the next and jumps rarely is found by dynamic
programming [1]_ [2]_, on all windows together.

References
----------
.. [1] Viterbi, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm",
   IEEE Trans. Information Theory 13(2), 1967.
.. [2] Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24(4),
   1976: the smoothed coherence transform.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import running_mean
from unsum.dsp.transforms import fast_length, irfft, rfft

# Neighbouring frequencies, of a padded window, over which the level of a sound is taken.
_LEVEL_BINS = 33
# Frequencies so far below the loudest, in power, hold the rounding of a file and no sound.
_EMPTY = 1e-7
# Evidence grows with the square of a peak up to here, and slowly beyond: one window must not decide for its neighbours.
_CONVINCED = 6.5
_MORE = 6.0
# What a path pays for a lag that changes by one sample, and for one that jumps, in units of -log(probability).
_MOVE_COST = 0.25
_JUMP_COST = 70.0
_STEEPEST = 2.5e-3  # how fast a lag may change without a jump
# Frames of pointers kept; the path through older ones is settled.
_KEPT_FRAMES = 1024
_PEAK = 4


@dataclass(frozen=True, slots=True)
class DelayTrack:
    """The lag of every frame, and by how many standard deviations it stands out.

    Attributes
    ----------
    lags : (frames,) samples; positive: the mixture is late against what was given as the reference
    heights : (frames,); 0 where one of both is silent
    """

    lags: NDArray[np.float64]
    heights: NDArray[np.float64]


class DelayTracker:
    """Takes window after window, and finds the path that all of them together make most plausible.

    Parameters
    ----------
    window : samples
    hop : samples from one window to the next
    reach : greatest lag against ``centre``, samples
    """

    def __init__(self, *, window: int, hop: int, reach: int) -> None:
        self.window, self.reach, self.centre = window, reach, 0
        self._n_fft = fast_length(window + 2 * reach)
        self._fade = np.hanning(window)
        edge = min(reach, window // 4) + window // 4
        ramp = np.hanning(2 * edge + 1)[:edge]
        self._long_fade = np.concatenate([ramp, np.ones(window + 2 * reach - 2 * edge), ramp[::-1]])
        self._steps = max(1, math.ceil(_STEEPEST * hop))
        self._score = np.zeros(2 * reach + 1)
        self._pointers: list[NDArray[np.int32]] = []
        self._centres: list[int] = []
        self._heights: list[NDArray[np.float32]] = []
        self._done: list[tuple[NDArray, NDArray]] = []
        self._fractions: list[NDArray[np.float32]] = []
        self._away = 0

    def add(self, mixture: NDArray[np.float64], reference: NDArray[np.float64]) -> None:
        """The next window.

        Parameters
        ----------
        mixture : (window,)
        reference : (window + 2 * reach,)
            Its sample ``reach`` meets the first of the mixture at the lag ``centre``.
        """
        surface = self._surface(mixture, reference)
        evidence = np.abs(surface)
        proof = np.minimum(evidence, _CONVINCED) ** 2 / 2 - math.log(2 * len(surface))
        proof = np.maximum(proof, 0.0)
        proof += np.where(proof > 0, _MORE * np.log(np.maximum(evidence / _CONVINCED, 1.0)), 0.0)
        self._score, pointers = self._moved(self._score)
        self._score = self._score + proof
        self._pointers.append(pointers)
        self._centres.append(self.centre)
        self._heights.append(evidence.astype(np.float32))
        self._fractions.append(_fractions(evidence).astype(np.float32))
        if len(self._pointers) >= _KEPT_FRAMES:
            self._settle(len(self._pointers) // 2)
        self._follow()

    def finish(self) -> DelayTrack:
        """The track of all windows."""
        self._settle(len(self._pointers))
        lags = np.concatenate([np.zeros(0), *(part[0] for part in self._done)])
        heights = np.concatenate([np.zeros(0), *(part[1] for part in self._done)])
        return DelayTrack(lags, heights)

    def _surface(self, mixture: NDArray, reference: NDArray) -> NDArray[np.float64]:
        """Correlation at lags ``-reach .. reach``, in standard deviations; 0 where there is no sound."""
        heard = rfft(mixture * self._fade, self._n_fft)
        played = rfft(reference * self._long_fade, self._n_fft)
        levels = []
        for one in (heard, played):
            power = running_mean(np.abs(one) ** 2, _LEVEL_BINS)
            levels.append(np.where(power > _EMPTY * power.max(initial=0), power, 0.0))
        level = np.sqrt(levels[0] * levels[1])
        cross = np.divide(heard * np.conj(played), level, out=np.zeros_like(heard), where=level > 0)
        # Sample i of the mixture meets sample i + reach - lag of the reference.
        correlation = irfft(cross, self._n_fft)
        at = np.arange(-2 * self.reach, 1) % self._n_fft
        near = correlation[at]
        deviation = float(np.sqrt(np.mean(correlation**2)))
        return near / deviation if deviation > 0 else np.zeros(len(near))

    def _moved(self, score: NDArray) -> tuple[NDArray, NDArray[np.int32]]:
        """The best score with which each lag is reached, and from where."""
        n = len(score)
        best, pointer = score.copy(), np.arange(n, dtype=np.int32)
        for step in range(1, self._steps + 1):
            for sign in (-1, 1):
                shifted = np.full(n, -np.inf)
                if sign > 0:
                    shifted[step:] = score[:-step]
                else:
                    shifted[:-step] = score[step:]
                shifted -= _MOVE_COST * step
                better = shifted > best
                best[better] = shifted[better]
                pointer[better] = np.flatnonzero(better) - sign * step
        top = int(score.argmax())
        jumps = best < score[top] - _JUMP_COST
        best[jumps] = score[top] - _JUMP_COST
        pointer[jumps] = top
        return best, pointer

    def _settle(self, count: int) -> None:
        """Trace the path back, and keep what it says of the first ``count`` frames."""
        if not self._pointers:
            return
        at = int(self._score.argmax())
        n = len(self._pointers)
        path = np.empty(n, np.intp)
        for frame in range(n - 1, -1, -1):
            path[frame] = at
            origin = int(self._pointers[frame][at])
            if frame:
                # The centre may have moved between the two frames; pointers are in lags of the later one.
                origin += self._centres[frame] - self._centres[frame - 1]
            at = min(max(origin, 0), 2 * self.reach)
        lags = np.array(
            [self._centres[f] + path[f] - self.reach + float(self._fractions[f][path[f]]) for f in range(count)]
        )
        heights = np.array([float(self._heights[f][path[f]]) for f in range(count)])
        self._done.append((lags, heights))
        for held in (self._pointers, self._centres, self._heights, self._fractions):
            del held[:count]

    def _follow(self) -> None:
        """Move the centre along, where the path has long been off it."""
        off = int(self._score.argmax()) - self.reach
        self._away = self._away + 1 if abs(off) > self.reach // 3 else 0
        if self._away < _PEAK:
            return
        self._away = 0
        self.centre += off
        moved = np.full(len(self._score), self._score.max() - _JUMP_COST)
        if off > 0:
            moved[: len(moved) - off] = self._score[off:]
        else:
            moved[-off:] = self._score[: len(moved) + off]
        self._score = moved


def _fractions(size: NDArray) -> NDArray[np.float64]:
    """How far from each lag the top of a parabola through it and its neighbours lies, within half a sample."""
    out = np.zeros(len(size))
    left, middle, right = size[:-2], size[1:-1], size[2:]
    bend = left - 2 * middle + right
    out[1:-1] = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    return np.clip(out, -0.5, 0.5)
