"""How much of a reference can still be in what is left, bounded from both sides by what can be measured.

What is left holds the remnant of a reference and every other sound, and nothing tells the two apart while both are
heard. But other sounds pause, speech in every sentence: then the remnant is at most what is left, and that is little.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Remnant, null_depth_db

# Speech pauses for some tenths of a second between phrases: for several such moments.
_MOMENT_SECONDS = 0.05
# The share of all moments, those between two in which least else sounds; and how many they have to be for a figure.
_QUIETEST_SHARE = 10
_FEWEST_MOMENTS = 10
# Below this share of its mean energy a reference pauses itself.
_FAINT = 0.01
# Rounding of a filter that is done by transforms, as a share of the loudest moment.
_SILENT = 1e-12


class MomentMeter:
    """Energies of what is left and of each image, moment by moment, all channels together.

    Parameters
    ----------
    names : of the references
    """

    def __init__(self, names: Sequence[str], *, sample_rate: int) -> None:
        self._names = tuple(names)
        self._moment_samples = max(1, round(_MOMENT_SECONDS * sample_rate))
        self._moments: list[NDArray[np.float64]] = []  # each (1 + references, moments)
        self._open = np.zeros(1 + len(self._names))
        self._n_open = 0

    def add(self, residual: NDArray[np.float64], images: Mapping[str, NDArray[np.float64]]) -> None:
        """Take the next samples, (channels, samples), full scale 1."""
        length = residual.shape[1]
        if not length:
            return
        sounds = (residual, *(images[name] for name in self._names))
        power = np.array([np.einsum("cn,cn->n", sound, sound) for sound in sounds])
        starts = [0, *range(self._moment_samples - self._n_open, length, self._moment_samples)]
        sums = np.add.reduceat(power, starts, axis=1)
        sums[:, 0] += self._open
        self._n_open = (self._n_open + length) % self._moment_samples
        n_complete = sums.shape[1] - (self._n_open > 0)
        self._open = sums[:, -1].copy() if self._n_open else np.zeros_like(self._open)
        self._moments.append(sums[:, :n_complete])

    def remnants(self, unknowns: Mapping[str, int]) -> dict[str, Remnant]:
        """What is known of the remnant of each reference; none for one that is never heard.

        Parameters
        ----------
        unknowns : {reference: numbers that were fitted for each channel of the mixture, 0 where none was}
        """
        table = np.concatenate([np.zeros((len(self._open), 0)), *self._moments], axis=1)
        found = {}
        for name, image in zip(self._names, table[1:], strict=True):
            heard = image > _SILENT * np.max(image, initial=0.0)
            if heard.any():
                rows = self._moment_samples * int(np.count_nonzero(heard))
                found[name] = _remnant(table[0], image, unknowns[name] / rows)
        return found


def _remnant(left: NDArray[np.float64], image: NDArray[np.float64], unknowns_per_row: float) -> Remnant:
    """The bounds from energies of all moments, (moments,)."""
    heard = image > _SILENT * np.max(image)
    overall_db = null_depth_db(float(left[heard].sum()), float(image[heard].sum()))
    loud = np.flatnonzero(image > _FAINT * image[heard].mean())
    ratio = np.divide(left, image, out=np.full(len(left), np.inf), where=heard)
    # A moment is chosen by those around it, not by itself: else those would be chosen in which the remnant is softest.
    around = np.maximum(np.append(np.inf, ratio[:-1]), np.append(ratio[1:], np.inf))
    quietest = loud[np.argsort(around[loud], kind="stable")[: len(loud) // _QUIETEST_SHARE]]
    return Remnant(
        overall_db=overall_db,
        in_pauses_db=None
        if len(quietest) < _FEWEST_MOMENTS
        else null_depth_db(float(left[quietest].sum()), float(image[quietest].sum())),
        # Least squares brings p / n of the energy of n other samples into p fitted numbers, whatever their spectra.
        fit_db=None if unknowns_per_row == 0 else overall_db + 10 * float(np.log10(unknowns_per_row)),
    )
