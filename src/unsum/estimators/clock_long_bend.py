"""A clock that runs unevenly through a long recording: section after section, joined on one grid of nodes."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.bend_fit import Nodes
from unsum.estimators.clock_bend import fit_bend, followed_bend
from unsum.estimators.clock_even import followed
from unsum.estimators.clock_scene import Scene
from unsum.estimators.clock_survey import Everything
from unsum.model import TimeWarp

_EDGE_SECONDS = 0.5  # of a section whose bend is not used where the next one has it too


def fit_long_bend(warp: TimeWarp, everything: Everything) -> TimeWarp | None:
    """The bend of all of a recording; None where no section can be followed.

    Each section begins on the line on which the one before ended, and is moved as a whole so that both agree where
    they overlap: what a section's own filter takes for delay must not become a step.

    Parameters
    ----------
    warp : an even one, right at the beginning
    """
    lines = [warp]  # the last tells where the next section lies in the reference
    grid: _Grid | None = None
    for one in everything(lambda: lines[-1]):
        loudest = _loudest(one)
        frames, line = followed(loudest, lines[-1])
        if line is None:
            continue
        start = followed_bend(loudest, line, frames)
        bent = fit_bend(loudest, start) if grid is None else fit_bend(loudest, start, steps=(grid.step,))
        if bent.bend is None:
            continue
        if grid is None:
            grid = _Grid(warp, bent.bend.step_seconds)
        bent = grid.add(bent, one.start, one.stop)
        lines.append(_tangent(bent, one.start, one.stop))
    return None if grid is None else grid.warp()


def _loudest(scene: Scene) -> Scene:
    """One channel of the mixture tells the time as well as all, at less cost."""
    energy = np.sum([np.sum(one.mixture**2, axis=1) for one in scene.excerpts], axis=0)
    channel = int(np.argmax(energy))
    return replace(
        scene, excerpts=tuple(replace(one, mixture=one.mixture[channel : channel + 1]) for one in scene.excerpts)
    )


def _tangent(warp: TimeWarp, start: float, stop: float) -> TimeWarp:
    """The straight line through the second half of a section."""
    seconds = np.linspace(0.5 * (start + stop), stop - _EDGE_SECONDS, 65)
    slope, level = np.polyfit(seconds - stop, warp.reference_time(seconds), 1)
    return TimeWarp(stop - float(level) / float(slope), 1e6 * (float(slope) - 1))


class _Grid:
    """Where the mixture lies in the reference, less an even warp, at every ``step`` seconds."""

    def __init__(self, warp: TimeWarp, step: float) -> None:
        self.base, self.step = replace(warp, bend=None), step
        self._nodes: list[NDArray[np.intp]] = []  # from time 0, in steps
        self._values: list[NDArray[np.float64]] = []

    def add(self, warp: TimeWarp, start: float, stop: float) -> TimeWarp:
        """Take over a section, moved to where the one before ended."""
        first = int(np.ceil(start / self.step))
        nodes = np.arange(first, int(np.floor(stop / self.step)) + 1)
        values = self._off(warp, nodes)
        if self._nodes:
            shared = self._nodes[-1][self._nodes[-1] >= first]
            edge = round(_EDGE_SECONDS / self.step)
            if len(shared) > 4 * edge:
                known = self._values[-1][-len(shared) :]
                both = slice(edge, len(shared) - edge)
                step = float(np.median(known[both] - values[: len(shared)][both]))
                warp = replace(warp, delay_seconds=warp.delay_seconds - step / (1 + 1e-6 * warp.clock_ppm))
                values = values + step
                fade = np.clip((np.arange(len(shared)) - edge) / (len(shared) - 2 * edge), 0.0, 1.0)
                values[: len(shared)] = (1 - fade) * known + fade * values[: len(shared)]
                self._nodes[-1], self._values[-1] = (
                    self._nodes[-1][: -len(shared)],
                    self._values[-1][: -len(shared)],
                )
        self._nodes.append(nodes)
        self._values.append(values)
        return warp

    def _off(self, warp: TimeWarp, nodes: NDArray[np.intp]) -> NDArray[np.float64]:
        seconds = np.asarray(nodes * self.step, np.float64)
        return warp.reference_time(seconds) - self.base.reference_time(seconds)

    def warp(self) -> TimeWarp:
        """One bend through all sections; straight across what could not be followed."""
        known, values = np.concatenate(self._nodes), np.concatenate(self._values)
        every = np.arange(known[0], known[-1] + 1)
        nodes = Nodes(float(known[0]) * self.step, self.step, len(every))
        return replace(self.base, bend=nodes.bend(nodes.through(np.interp(every, known, values))))
