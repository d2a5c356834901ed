"""What a subtraction amounts to, measured while it is written: levels over all of it, and second by second."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis, null_depth_db
from unsum.engine import Subtracted, subtract
from unsum.problem import Problem, as_float
from unsum.progress import Progress
from unsum.remnant import MomentMeter


@dataclass(frozen=True, slots=True)
class Levels:
    """Energies second by second, full scale 1, all channels together.

    Attributes
    ----------
    mixture, residual : (seconds,)
    images : {reference: (seconds,)}
    agreement : {reference: (seconds,)}
        Inner product of image and residual: zero on average where the image is what it should be, minus its energy
        where the reference does not sound at all.
    n_clipped : samples of the mixture at the end of its integer scale
    """

    mixture: NDArray[np.float64]
    residual: NDArray[np.float64]
    images: Mapping[str, NDArray[np.float64]]
    agreement: Mapping[str, NDArray[np.float64]]
    n_clipped: int

    def gains(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The gain of the image that would leave least, second by second, and its standard error; 1 if it fits."""
        energy = self.images[name]
        sounding = energy > 0
        nothing = np.full(len(energy), np.nan)
        gain = 1 + np.divide(self.agreement[name], energy, out=nothing.copy(), where=sounding)
        spread = np.divide(self.residual, energy * _INDEPENDENT, out=nothing, where=sounding)
        return gain, np.sqrt(spread)


# Rounding of a filter that is done by transforms, as a share of the loudest second.
_SILENT = 1e-12
# Values in a second of music that tell something of their own: it is tonal, and most of it is low.
_INDEPENDENT = 200


class SubtractionMeter:
    """Adds up what `subtract` yields."""

    def __init__(self, problem: Problem, analysis: Analysis) -> None:
        self._rate, self._bits = problem.mixture.sample_rate, problem.mixture.bits
        self._names = analysis.model.present
        self._range = (0.0, 0.0)
        self._samples = self._n_clipped = 0
        # mixture, residual, then image and agreement of each reference
        self._seconds: list[NDArray[np.float64]] = []
        self._open = np.zeros(2 + 2 * len(self._names))
        self._moments = MomentMeter(self._names, sample_rate=self._rate)

    def add(self, block: Subtracted) -> None:
        """Take the next block."""
        self._samples = block.start + block.mixture.shape[1]
        least, greatest = float(block.residual.min()), float(block.residual.max())
        self._range = min(self._range[0], least), max(self._range[1], greatest)
        if self._bits is not None:
            top = (1 << (self._bits - 1)) - 1
            self._n_clipped += int(np.count_nonzero((block.mixture >= top) | (block.mixture <= -top - 1)))
        mixture, residual = as_float(block.mixture, self._bits), as_float(block.residual, self._bits)
        self._moments.add(residual, block.images)
        whole = (block.start // self._rate + 1) * self._rate - block.start
        edges = [0, *range(whole, block.mixture.shape[1], self._rate), block.mixture.shape[1]]
        for a, b in pairwise(edges):
            part = slice(a, b)
            self._open[0] += np.vdot(mixture[:, part], mixture[:, part])
            self._open[1] += np.vdot(residual[:, part], residual[:, part])
            for n, name in enumerate(self._names):
                image = block.images[name][:, part]
                self._open[2 + 2 * n] += np.vdot(image, image)
                self._open[3 + 2 * n] += np.vdot(image, residual[:, part])
            if (block.start + b) % self._rate == 0:
                self._seconds.append(self._open)
                self._open = np.zeros_like(self._open)

    def levels(self) -> Levels:
        """Second by second; the last one may be shorter."""
        rest = [self._open] if self._samples % self._rate else []
        table = np.array(self._seconds + rest).reshape(-1, len(self._open)).T
        images = {name: table[2 + 2 * n] for n, name in enumerate(self._names)}
        agreement = {name: table[3 + 2 * n] for n, name in enumerate(self._names)}
        return Levels(table[0], table[1], images, agreement, self._n_clipped)

    def analysis(self, analysis: Analysis) -> Analysis:
        """The analysis with what was measured: null depth, images and remnants where a reference sounds, and range."""
        levels = self.levels()
        sounds = np.zeros(len(levels.mixture), bool)
        for image in levels.images.values():
            sounds |= image > _SILENT * np.max(image, initial=0.0)
        mixture = float(levels.mixture[sounds].sum())
        told = {
            name: replace(finding, image_db=null_depth_db(float(levels.images[name][sounds].sum()), mixture))
            if name in levels.images
            else finding
            for name, finding in analysis.references.items()
        }
        parts = {name: analysis.model.contributions[name] for name in self._names}
        unknowns = {name: 0 if part.exact_gains else part.filters[0].size for name, part in parts.items()}
        return replace(
            analysis,
            references=told,
            remnants=self._moments.remnants(unknowns),
            null_db=null_depth_db(float(levels.residual[sounds].sum()), mixture),
            samples=self._samples,
            residual_range=self._range,
        )


def measured(problem: Problem, analysis: Analysis, *, progress: Progress | None = None) -> Analysis:
    """The analysis with what its subtraction amounts to, in one pass over the audio."""
    meter = SubtractionMeter(problem, analysis)
    for block in subtract(problem, analysis.model, progress=progress):
        meter.add(block)
    return meter.analysis(analysis)
