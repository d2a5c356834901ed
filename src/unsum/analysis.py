"""What was tried and what it showed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.deviations import Deviations
from unsum.model import MixModel


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of the ladder.

    Attributes
    ----------
    rung : its name
    kept : False where it did not help on data it was not fitted to, and was undone
    null_db_before, null_db : residual over mixture on held-out samples, in dB; -inf for nothing left
    remarks : why, in words
    begins : why the rungs begin anew with this one, in words; empty where it goes on from the one before
    """

    rung: str
    kept: bool
    null_db_before: float
    null_db: float
    remarks: tuple[str, ...] = ()
    begins: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceFinding:
    """What is known of one reference beside its contribution.

    Attributes
    ----------
    image_db : energy of its image over that of the mixture, where it sounds; None if absent
    confidence : that it is present, or absent, 0..1
    reason : why it counts as present or absent, in words
    delay_stderr_samples, clock_stderr_ppm : standard errors; None where they are not known
    """

    image_db: float | None
    confidence: float
    reason: str
    delay_stderr_samples: float | None = None
    clock_stderr_ppm: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """How far the filters of one reference can be trusted, frequency by frequency.

    Attributes
    ----------
    power : (reference channels, bins)
        Power spectrum of the reference where it was fitted, bins from 0 to half the sample rate.
    variance : (mixture channels, reference channels, bins)
        Of the response of every filter; zero where subtraction is exact.
    energies : (reference channels,) and (mixture channels,)
        Of the reference and of its image, on the samples it was fitted to; the image with all that the reference's
        channels have in common. None if they were not measured.
    correlation : (mixture channels, mixture channels, bins), or None for none
        Of the errors of the response of one reference channel in two channels of the mixture.
    left : (mixture channels, bins), or None where no filter was fitted
        Power spectrum of what is left of the mixture.
    deviations : or None where too few stretches of time showed any
        What they did to the filters, for the errors of what is read from those.
    """

    power: NDArray[np.float64]
    variance: NDArray[np.float64]
    energies: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    correlation: NDArray[np.complex128] | None = None
    left: NDArray[np.float64] | None = None
    deviations: Deviations | None = None


@dataclass(frozen=True, slots=True)
class Remnant:
    """How much of a reference is still in what is left, in dB over its own level in the mixture.

    What is left holds other sounds as well, so that only bounds are known: the first two are surely not exceeded
    where they were measured, the third is what is to be expected of filters that hold all along, and more of those
    that do not.

    Attributes
    ----------
    overall_db : what is left over the image, on all samples where the reference sounds
    in_pauses_db : the same in a tenth of all moments of 0.05 s, those between two in which least else sounds
        None where they are too few; -inf where nothing is left in them.
    fit_db : what chance meetings with the other sounds bring into the filters; None where no filter was fitted
    """

    overall_db: float
    in_pauses_db: float | None
    fit_db: float | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """A model and the evidence for it.

    Attributes
    ----------
    null_db : residual over mixture on all samples where a reference sounds
    samples : length of the mixture
    residual_range : least and greatest sample of the residual, in the mixture's own units
    limits : what could not be known or cancelled, in words
    responses : {reference: how sure its filters are}, where they were fitted
    remnants : {reference: what may be left of it}, once the subtraction was done
    """

    model: MixModel
    steps: tuple[Step, ...]
    references: Mapping[str, ReferenceFinding]
    null_db: float
    samples: int
    residual_range: tuple[float, float] = (0.0, 0.0)
    limits: tuple[str, ...] = field(default=())
    responses: Mapping[str, Response] = field(default_factory=dict)
    remnants: Mapping[str, Remnant] = field(default_factory=dict)

    @property
    def nothing_found(self) -> bool:
        return not self.model.present


def null_depth_db(residual_energy: float, mixture_energy: float) -> float:
    """Residual over mixture in dB: 0 for a silent mixture, -inf for nothing left."""
    if mixture_energy <= 0:
        return 0.0
    return 10 * math.log10(residual_energy / mixture_energy) if residual_energy > 0 else -math.inf
