"""References that are sums of other references: what no fit can tell apart, in words.

If ``r_k`` is a filtered sum of others, any share of its image can be moved to the others without changing the
mixture. The filters that do so span the null space of the normal equations; each dependence found gives one vector of
it, and its shifts in time are the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from unsum.dsp.normal_equations import NormalEquations

# Enough for a small delay or a plugin's phase; a bus that went through a reverb is not the sum of its tracks.
_N_TAPS = 64
_LARGEST = 2048
# Relative to the largest: what correlations in float64 can still tell from nothing.
_ROUNDING = 1e-14
# What least squares explains of one signal by others unrelated to it, it explains by chance.
_ROWS_PER_UNKNOWN = 10
# A reference takes part in a sum if the sum is this much worse without it.
_LOSS_DB = 6.0
_ONE_TAP_SHARE = 0.999

# Of the energy of a reference; rounding then moves no more than a share of 1e-5 of what is found below -60 dB.
_RIDGE = 1e-8
_LOUDEST_FILTERS = 1e3


@dataclass(frozen=True, slots=True)
class Dependence:
    """A reference that others make up.

    Attributes
    ----------
    reference : int
    others : those that take part
    depth_db : what is left of the reference when the filtered others are subtracted
    filters : (references, n_taps)
        The null vector: references filtered by it add up to nothing. One at ``reference``, in the middle tap;
        minus the filters of the others elsewhere.
    one_tap : whether every other enters by a gain and a whole delay alone
    """

    reference: int
    others: tuple[int, ...]
    depth_db: float
    filters: NDArray[np.float64]
    one_tap: bool

    def in_words(self, names: Sequence[str]) -> str:
        """For example "bass and bus 2 are the same signal to -140 dB: only their sum is known"."""
        depth = f"to {self.depth_db:.0f} dB"
        mine, parts = names[self.reference], [names[other] for other in self.others]
        if len(parts) == 1:
            same = "the same signal" if self.one_tap else "the same signal through a filter"
            return f"{parts[0]} and {mine} are {same} {depth}: only their sum is known"
        listed = ", ".join(parts[:-1]) + f" and {parts[-1]}"
        made = "the sum" if self.one_tap else "a filtered sum"
        return f"{mine} is {made} of {listed} {depth}: its share and theirs cannot be told apart"


def dependent_references(
    equations: NormalEquations, *, n_taps: int = _N_TAPS, threshold_db: float = -60.0
) -> tuple[Dependence, ...]:
    """References that filters of up to ``n_taps`` make of the others, the deepest first.

    Each is left out before the next is looked for, so that two equal signals are named once and the vectors are
    independent. Silent references depend on nothing.

    Parameters
    ----------
    equations : NormalEquations
    n_taps : int
        At most those of the equations; fewer when the references are many.
    threshold_db : float
        Least depth of a dependence. Normal equations cannot see below some -140 dB.
    """
    n_taps = max(1, min(n_taps, equations.n_taps, _LARGEST // equations.n_references))
    n_taps = min(n_taps, equations.n_rows // (_ROWS_PER_UNKNOWN * equations.n_references))
    if n_taps < 1:
        return ()
    small = equations.restrict(first_lag=equations.first_lag, n_taps=n_taps)
    energy = small.reference_energy
    scale = np.sqrt(np.where(energy > 0, energy, 1.0))
    matrix = small.dense().reshape(len(energy), n_taps, len(energy), n_taps)
    matrix = matrix / (scale[:, None, None, None] * scale[None, None, :, None])
    remaining = [k for k in range(len(energy)) if energy[k] > 0]
    found: list[Dependence] = []
    # Equal signals first: once the copies are out, what a sum is made of is said with the fewest words.
    for at_most in (1, len(remaining)):
        while len(remaining) > 1:
            asked = remaining if at_most == 1 else _suspects(matrix, remaining, 10 ** (threshold_db / 10))
            if not asked:
                break
            deepest = min((_best(matrix, k, remaining, at_most) for k in reversed(asked)), key=_left)
            if _left(deepest) > 10 ** (threshold_db / 10):
                break
            deepest = _later_of_two(matrix, deepest) if at_most == 1 else _without_idle(matrix, deepest)
            found.append(_named(deepest, scale))
            remaining.remove(deepest.reference)
    return tuple(sorted(found, key=lambda one: one.depth_db))


@dataclass(frozen=True, slots=True)
class _Explanation:
    reference: int
    others: list[int]
    filters: NDArray[np.float64]  # (others, n_taps)
    left: float  # share of the reference's energy


def _left(explanation: _Explanation) -> float:
    return explanation.left


def _suspects(matrix: NDArray, remaining: list[int], threshold: float) -> list[int]:
    """Those of which others may leave less than a threshold: one inverse tells of all at once.

    What the others leave of the taps of one is the inverse of its block of the inverse. A ridge keeps that from being
    singular, and adds to what is left: itself times the energy of the filters that make the reference.
    """
    n_taps = matrix.shape[1]
    size = len(remaining) * n_taps
    normal = matrix[remaining][:, :, remaining].reshape(size, size) + _RIDGE * np.eye(size)
    try:
        inverse = scipy.linalg.inv(normal, check_finite=False).reshape(len(remaining), n_taps, len(remaining), n_taps)
        left = [float(np.linalg.inv(inverse[k, :, k])[n_taps // 2, n_taps // 2]) for k in range(len(remaining))]
    except np.linalg.LinAlgError:
        return remaining
    own = [float(matrix[k, n_taps // 2, k, n_taps // 2]) for k in remaining]
    return [
        k
        for k, after, before in zip(remaining, left, own, strict=True)
        if not after > 2 * threshold * before + _LOUDEST_FILTERS * _RIDGE
    ]


def _best(matrix: NDArray, reference: int, remaining: list[int], at_most: int) -> _Explanation:
    """By one other reference, or by all."""
    others = [k for k in remaining if k != reference]
    if at_most == 1:
        return min((_explained(matrix, reference, [k]) for k in others), key=_left)
    return _explained(matrix, reference, others)


def _explained(matrix: NDArray, reference: int, others: list[int]) -> _Explanation:
    """A reference from the filtered others, by least squares of least norm."""
    n_taps = matrix.shape[1]
    middle, size = n_taps // 2, len(others) * n_taps
    normal = matrix[others][:, :, others].reshape(size, size)
    wanted = matrix[others][:, :, reference, middle].reshape(size)
    own = float(matrix[reference, middle, reference, middle])
    if not own > 0:
        return _Explanation(reference, others, np.zeros((len(others), n_taps)), 1.0)
    # Others that depend on each other, or have silent bands, make this singular to rounding.
    values, vectors = scipy.linalg.eigh(normal, check_finite=False)
    sound = values > _ROUNDING * values[-1]
    filters = vectors[:, sound] @ ((vectors[:, sound].T @ wanted) / values[sound])
    left = own - 2 * filters @ wanted + filters @ (normal @ filters)
    left = max(float(left) / own, _ROUNDING)
    return _Explanation(reference, others, filters.reshape(len(others), n_taps), left)


def _later_of_two(matrix: NDArray, explanation: _Explanation) -> _Explanation:
    """Of two equal signals the one given later is the copy; only their filters know which fits better."""
    (other,) = explanation.others
    return explanation if other < explanation.reference else _explained(matrix, other, [explanation.reference])


def _without_idle(matrix: NDArray, explanation: _Explanation) -> _Explanation:
    """Leave out others as long as nothing is lost by it."""
    allowed = explanation.left * 10 ** (_LOSS_DB / 10)
    while len(explanation.others) > 1:
        fewer = [
            _explained(matrix, explanation.reference, [k for k in explanation.others if k != idle])
            for idle in explanation.others
        ]
        best = min(fewer, key=_left)
        if best.left > allowed:
            break
        explanation = best
    return explanation


def _named(explanation: _Explanation, scale: NDArray) -> Dependence:
    reference, others, filters = explanation.reference, explanation.others, explanation.filters
    vector = np.zeros((len(scale), filters.shape[1]))
    vector[reference, filters.shape[1] // 2] = 1.0
    vector[others] = -filters * scale[reference] / scale[others, None]
    peaks = np.max(filters**2, axis=1) >= _ONE_TAP_SHARE * np.sum(filters**2, axis=1)
    depth_db = 10 * float(np.log10(explanation.left))
    return Dependence(reference, tuple(others), depth_db, vector, one_tap=bool(np.all(peaks)))
