"""The four paths of a stereo reference in a stereo mixture: balance, width, what crosses over.

With mid M = (L + R) / 2 and side S = (L - R) / 2 of either, the width is the gain from side to side over that from mid
to mid: 1 unchanged, 0 mono, negative with crossed channels.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.describe.energies import (
    DB_PER_RELATIVE_ENERGY,
    SURE_DEVIATIONS,
    amplitude_spread,
    energy_covariance,
    energy_spread,
    moved_energies,
)
from unsum.describe.mixer import SAME_SOUND
from unsum.describe.timing import on_bins, over_lags, weighted_responses
from unsum.dsp.deviations import Deviations

# A path weaker than this beside the loudest is rounding.
_SILENT_PATH = 1e-14
# Paths that differ by less in energy are alike: a fold to mono crosses nothing.
_TIE = 1e-6


@dataclass(frozen=True, slots=True)
class StereoPaths:
    """How the two channels of a reference went into the two of a mixture.

    Attributes
    ----------
    paths_db : paths_db[c][d] is the level of reference channel d in mixture channel c; None where it is lost in noise
    paths_stderr_db : standard errors; None where they are not known
    balance_db : right over left; None where one of them is silent
    width : side over mid; None where no mid passes
    crossed : left went right and right left
    opposite : one of both channels is inverted; the width is told without that
    limits : why a value is None, in words
    """

    paths_db: tuple[tuple[float | None, float | None], tuple[float | None, float | None]]
    paths_stderr_db: tuple[tuple[float | None, float | None], tuple[float | None, float | None]]
    balance_db: float | None
    width: float | None
    crossed: bool
    opposite: bool
    balance_stderr_db: float | None = None
    width_stderr: float | None = None
    limits: tuple[str, ...] = ()


def describe_stereo(
    name: str,
    filters: NDArray[np.float64],
    *,
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
    correlation: NDArray[np.complex128] | None = None,
    unsure: NDArray[np.float64] | None = None,
    deviations: Deviations | None = None,
) -> StereoPaths | None:
    """Balance, width and the four paths of a stereo reference in a stereo mixture; None where nothing passes.

    Parameters
    ----------
    name : of the reference, for the words
    filters : (2, 2, taps)
        Mixture channel, reference channel: left and right.
    power, variance, correlation, unsure, deviations : as of `unsum.describe.mixer.describe_mixer`
    """
    if filters.shape[:2] != (2, 2):
        raise ValueError(f"{name}: {filters.shape[:2]} paths; balance and width are a matter of two channels into two")
    responses, weights = weighted_responses(filters, power)
    n_bins = responses.shape[2]
    noise = np.zeros(responses.shape) if variance is None else on_bins(variance, n_bins)
    steady = noise if deviations is None else on_bins(deviations.steady, n_bins)
    n_taps = filters.shape[2]
    energy = np.sum(weights * (np.abs(responses) ** 2 - noise), axis=2)
    alike = None if correlation is None else on_bins(correlation, n_bins)
    # Of a column the errors in both channels go together; those of two columns count as independent.
    columns = [
        energy_covariance(responses[:, d : d + 1], weights[d], steady[:, d : d + 1], n_taps, alike) for d in (0, 1)
    ]
    of_noise = np.array([np.diag(column) for column in columns]).T
    moved = np.zeros((0, 2, 2)) if deviations is None else moved_energies(responses, weights, deviations)
    spread = np.maximum(of_noise, np.sum(moved**2, axis=0))
    lost = np.zeros(spread.shape)
    deviation = np.zeros(responses.shape)
    if unsure is not None:
        # Alike in all bins of a path, so that deviations add up and not their squares.
        deviation = np.abs(responses) * on_bins(unsure, n_bins)
        lost = (2 * np.sum(weights * np.abs(responses) * deviation, axis=2)) ** 2
        spread = spread + lost
    heard = energy > np.maximum(SURE_DEVIATIONS * np.sqrt(spread), _SILENT_PATH * energy.max())
    if not heard.any():
        return None
    straight, across = energy[0, 0] + energy[1, 1], energy[0, 1] + energy[1, 0]
    crossed = bool(across - straight > SURE_DEVIATIONS * math.sqrt(float(spread.sum())) + _TIE * straight)
    left, right = (0, 1) if not crossed else (1, 0)
    both = bool(heard[0, left] and heard[1, right])
    opposite = both and _are_opposite(responses[0, left], responses[1, right], weights.mean(axis=0))
    known = variance is not None
    limits = []
    sides = np.maximum(energy.sum(axis=1), 0.0)
    balance = balance_stderr = None
    if heard.any(axis=1).all():
        balance = 10 * math.log10(sides[1] / sides[0])
        common = 2 * float(columns[0][0, 1] + columns[1][0, 1]) / float(sides[0] * sides[1])
        apart = max(
            float(np.sum(of_noise.sum(axis=1) / sides**2)) - common,
            float(np.sum(np.diff(moved.sum(axis=2) / sides, axis=1) ** 2)),
        )
        balance_stderr = DB_PER_RELATIVE_ENERGY * math.sqrt(
            max(apart + float(np.sum(lost.sum(axis=1) / sides**2)), 0.0)
        )
    else:
        limits.append(f"{name}: nothing of it is in the {'left' if sides[0] < sides[1] else 'right'}: no balance")
    if opposite:
        responses = responses * np.array([1, -1])[:, None, None]
    together = np.zeros(n_bins)
    if alike is not None:
        together = (-1 if opposite else 1) * 2 * np.real(alike[0, 1]) * np.sqrt(steady[0] * steady[1]).sum(axis=0)
    width, width_stderr = _width(
        responses, weights.mean(axis=0), steady, together, deviation, n_taps, deviations, -1 if opposite else 1
    )
    if width is None:
        limits.append(f"{name}: only its side passes, no mid: no width")
    stderr_db = DB_PER_RELATIVE_ENERGY * np.sqrt(spread) / np.where(heard, energy, 1.0)
    return StereoPaths(
        paths_db=_four(10 * np.log10(np.where(heard, energy, 1.0)), heard),
        paths_stderr_db=_four(stderr_db, heard & known),
        balance_db=balance,
        width=width,
        crossed=crossed,
        opposite=opposite,
        balance_stderr_db=balance_stderr if known else None,
        width_stderr=width_stderr if known else None,
        limits=tuple(limits),
    )


def stereo_words(paths: StereoPaths) -> tuple[str, ...]:
    """The paths of a stereo reference as one would say them."""
    words = []
    if paths.crossed:
        words.append("left and right are exchanged")
    if paths.opposite:
        words.append("one of both channels is inverted")
    if paths.balance_db is not None:
        error = "" if paths.balance_stderr_db is None else f" ± {paths.balance_stderr_db:.2g}"
        louder = "left" if paths.balance_db < 0 else "right"
        even = abs(paths.balance_db) < 0.005
        words.append("in balance" if even else f"{louder} louder by {abs(paths.balance_db):.2f}{error} dB")
    if paths.width is not None:
        error = "" if paths.width_stderr is None else f" ± {100 * paths.width_stderr:.2g}"
        words.append(f"width {100 * abs(paths.width):.1f}{error} %")
    names = ("left", "right")
    for c in (0, 1):
        other = 1 - c
        direct, cross = (paths.paths_db[c][d] for d in ((other, c) if paths.crossed else (c, other)))
        if direct is not None and cross is not None:
            source, target = names[c if paths.crossed else other], names[c]
            words.append(f"{source} into {target} at {cross - direct:.1f} dB of the main path")
    return tuple(words)


def _are_opposite(left: NDArray[np.complex128], right: NDArray[np.complex128], weights: NDArray[np.float64]) -> bool:
    """Whether two responses are the same sound with opposite polarity, one perhaps later than the other."""
    cross = over_lags(weights * left * right.conj())
    size = math.sqrt(float(np.sum(weights * np.abs(left) ** 2) * np.sum(weights * np.abs(right) ** 2)))
    return float(cross[np.argmax(np.abs(cross))]) < -SAME_SOUND * size


def _width(
    responses: NDArray[np.complex128],
    weights: NDArray[np.float64],
    noise: NDArray[np.float64],
    together: NDArray[np.float64],
    deviation: NDArray[np.float64],
    n_taps: int,
    deviations: Deviations | None,
    right: int,
) -> tuple[float | None, float]:
    """Gain from side to side over that from mid to mid, and its standard error.

    Parameters
    ----------
    noise, deviation : (2, 2, bins)
        Variance of the responses, and the deviation beside it that all bins may share.
    together : (bins,)
        What the errors of both channels have in common adds to the variance of the mid, and takes from the side's.
    right : -1 where the right channel of the responses was inverted, and that of the deviations is yet to be
    """
    parts = _mid_and_side(responses)
    apart = noise.sum(axis=(0, 1))
    part_noise = np.maximum(np.array([[apart + together], [apart - together]]), 0.0) / 4
    energy = np.sum(weights * (np.abs(parts) ** 2 - part_noise), axis=(1, 2))
    spread = energy_spread(parts, weights[None], part_noise, n_taps)
    shared = np.sqrt(np.sum(deviation**2, axis=(0, 1))) / 2
    spread = spread + (2 * np.sum(weights * np.abs(parts[:, 0]) * shared, axis=1)) ** 2
    mid, side = np.maximum(energy, 0.0)
    if mid <= max(SURE_DEVIATIONS * math.sqrt(float(spread[0])), _SILENT_PATH * side):
        return None, 0.0
    size = math.sqrt(side / mid)
    sign = -1 if float(np.sum(weights * np.real(parts[1, 0] * parts[0, 0].conj()))) < 0 else 1
    amplitude = amplitude_spread(energy, spread)
    variance = float(amplitude[1] + size**2 * amplitude[0]) / mid
    if deviations is not None and side > 0:
        slopes = 2 * weights * parts[:, 0].conj() / np.array([[mid], [side]])
        turned = (one * np.array([1, right])[:, None, None] for one in deviations.responses(responses.shape[2]))
        moved = [np.sum(np.real(slopes * _mid_and_side(one)[:, 0]), axis=1) for one in turned]
        of_lost = amplitude_spread(energy, (2 * np.sum(weights * np.abs(parts[:, 0]) * shared, axis=1)) ** 2)
        shown = sum((size * float(one[1] - one[0]) / 2) ** 2 for one in moved)
        variance = max(variance, shown + float(of_lost[1] + size**2 * of_lost[0]) / mid)
    return sign * size, math.sqrt(variance)


def _mid_and_side(responses: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Responses (2, 1, bins) from mid to mid and from side to side, of those from left and right to left and right."""
    (ll, lr), (rl, rr) = responses
    return np.array([[(ll + lr + rl + rr) / 2], [(ll - lr - rl + rr) / 2]])


def _four(values: NDArray[np.float64], known: NDArray[np.bool_]) -> Any:
    return tuple(
        tuple(float(x) if k else None for x, k in zip(*row, strict=True)) for row in zip(values, known, strict=True)
    )
