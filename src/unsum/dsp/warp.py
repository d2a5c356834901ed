"""r(w(t)): a sampled sound at any positions, by windowed sinc.

    r(p) = sum_i r[i] h(p - i),   h(d) = c sinc(c d) kaiser(c d / 40),   c = cutoff

The kernel is tabulated at 128 phases between two samples; in between goes the cubic that has the
kernel's values and slopes at both ends. Up to 0.40 of the sample rate the error is under -130 dB,
up to 0.44 under -110 dB; from there to half the rate the sound fades out [1]_.

References
----------
.. [1] J. O. Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/, for the tabulated
   Kaiser-windowed sinc.
"""

from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0, i1

from unsum.errors import InputError
from unsum.model import TimeWarp

HALF_WIDTH = 40  # zero crossings of the sinc on each side
# Of Kaiser's window: more is deeper at 0.40 of the sample rate, less reaches farther up.
_BETA = 13.5
# For the whole band; a slower kernel needs fewer, and the table keeps its size.
_PHASES = 128
_LEAST_CUTOFF = 1 / 64
_SPEED_WITHOUT_ALIASES = 1.01

Audio = NDArray[np.float64]
Positions = NDArray[np.floating[Any]]  # float64 inside: float32 has no thousandths of a sample after a minute


def reach(cutoff: float = 1.0) -> int:
    """How many samples on each side of a position take part in the value there."""
    return ceil(HALF_WIDTH / cutoff)


def cutoff_for(warp: TimeWarp) -> float:
    """What a warp lets through without aliases, over half the sample rate; the same for all of it.

    A per cent of speed folds only what the kernel does not pass as it is.
    """
    speed = 1.0 + warp.clock_ppm * 1e-6
    if warp.bend is not None and len(warp.bend.offsets_seconds) > 1:
        speed += max(0.0, float(np.max(np.diff(warp.bend.offsets_seconds))) / warp.bend.step_seconds)
    return 1.0 if speed <= _SPEED_WITHOUT_ALIASES else 1.0 / speed


def interpolate(samples: Audio, positions: Positions, *, first: int = 0, cutoff: float = 1.0) -> Audio:
    """A sound between its samples; silence before and behind them.

    A position gives the same value, bit for bit, whatever other positions are asked for with it and
    however many more samples are given than the `reach` around it.

    Parameters
    ----------
    samples : (channels, n)
    positions : (m,), in samples; in any order
    first : position of ``samples[:, 0]``
    cutoff : highest frequency that passes, over half the sample rate
        Where positions run faster than 1, one over their speed: what is above would come back as an alias.

    Returns
    -------
    values : (channels, m)

    Raises
    ------
    InputError
        If a position is not a number, or the cutoff is out of range.
    """
    return _evaluated(samples, positions, first, cutoff, slope=False)


def interpolate_slope(samples: Audio, positions: Positions, *, first: int = 0, cutoff: float = 1.0) -> Audio:
    """How fast `interpolate` changes with the position, per sample: its exact derivative. Arguments as there."""
    return _evaluated(samples, positions, first, cutoff, slope=True)


def _evaluated(samples: Audio, positions: Positions, first: int, cutoff: float, *, slope: bool) -> Audio:
    from unsum.dsp import _warp_numba

    if samples.ndim != 2 or positions.ndim != 1:
        raise InputError(
            f"samples of shape {samples.shape} at positions of shape {positions.shape}; "
            "give (channels, samples) and one row of positions"
        )
    if not _LEAST_CUTOFF <= cutoff <= 1:
        raise InputError(f"a cutoff of {cutoff:g} of half the sample rate; give one from {_LEAST_CUTOFF:g} to 1")
    if not np.isfinite(positions).all():
        raise InputError("a position in the sound is NaN or infinite; check the warp")
    side = reach(cutoff)
    padded = np.zeros((len(samples), samples.shape[1] + 4 * side))
    padded[:, 2 * side : 2 * side + samples.shape[1]] = samples
    out = np.empty((len(samples), len(positions)))
    # Silence of twice the kernel's reach on both sides: nothing that sounds is out of the loop's sight. The
    # kernel covers the first padded samples, at first - 2 side and on, where the position is side - 1 behind that.
    _warp_numba.evaluate(
        padded, first - side - 1, np.ascontiguousarray(positions, np.float64), kernel_table(cutoff, slope=slope), out
    )
    return out


def evaluate(samples: Audio, first: int, positions: Positions, table: Audio, out: Audio) -> None:
    """What the compiled loop computes, in plain numpy.

    Parameters
    ----------
    samples : (channels, n)
    first : whole position at which the kernel covers ``samples[:, :taps]``
    positions : (m,)
    table : (phases, 4, taps) of `kernel_table`
    out : (channels, m), written; 0 where the kernel would reach beyond the samples
    """
    n_phases, _, n_taps = table.shape
    whole = np.floor(positions)
    at = whole - first
    inside = np.flatnonzero((at >= 0) & (at < samples.shape[1] - n_taps + 1))
    out[:] = 0
    for m in inside:
        phase = (positions[m] - whole[m]) * n_phases
        segment = min(int(phase), n_phases - 1)
        weights = (phase - segment) ** np.arange(4) @ table[segment]
        left = int(at[m])
        out[:, m] = samples[:, left : left + n_taps] @ weights


@lru_cache(maxsize=16)
def kernel_table(cutoff: float, *, slope: bool) -> Audio:
    """The kernel as one cubic for each tap and phase.

    Returns
    -------
    table : (phases, 4, taps)
        ``sum_n table[s, n, j] * u**n`` is the weight of the sample ``j - taps / 2 + 1`` behind the whole part of a
        position whose fraction is ``(s + u) / phases``, or the change of that weight per sample of position.
    """
    side, phases = reach(cutoff), ceil(_PHASES * cutoff)
    distance = np.linspace(0, 1, phases + 1)[:, np.newaxis] - np.arange(1 - side, side + 1)
    value, rise = _windowed_sinc(cutoff * distance)
    value, rise = cutoff * value, cutoff**2 / phases * rise
    step = value[1:] - value[:-1]
    table = np.stack(
        [value[:-1], rise[:-1], 3 * step - 2 * rise[:-1] - rise[1:], rise[:-1] + rise[1:] - 2 * step], axis=1
    )
    if slope:
        table = phases * np.stack([table[:, 1], 2 * table[:, 2], 3 * table[:, 3], np.zeros_like(step)], axis=1)
    table.flags.writeable = False
    return table


def _windowed_sinc(x: Audio) -> tuple[Audio, Audio]:
    """sinc(x) kaiser(x / HALF_WIDTH) and its derivative."""
    inside = np.abs(x) <= HALF_WIDTH
    angle = np.pi * x
    nonzero = np.where(x == 0, 1.0, x)
    sinc = np.sinc(x)
    sinc_slope = np.where(x == 0, 0.0, (np.cos(angle) - sinc) / nonzero)
    depth = _BETA * np.sqrt(np.where(inside, 1 - (x / HALF_WIDTH) ** 2, 0.0))
    window = i0(depth) / i0(_BETA)
    # I1(z) / z goes to 1/2 at the window's ends.
    ratio = np.where(depth > 1e-8, i1(depth) / np.where(depth > 1e-8, depth, 1.0), 0.5)
    window_slope = -((_BETA / HALF_WIDTH) ** 2) * x * ratio / i0(_BETA)
    return inside * sinc * window, inside * (sinc_slope * window + sinc * window_slope)
