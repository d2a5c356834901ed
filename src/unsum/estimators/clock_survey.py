"""The jumps of a recording that is too long to be looked at in one piece."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from unsum.estimators.clock_even import runs_evenly
from unsum.estimators.clock_jumps import with_jumps
from unsum.estimators.clock_scene import Scene
from unsum.estimators.following import FIRST_REACH, follow
from unsum.model import TimeWarp

# All of the overlap, scene after scene, read where the warp that is then known says.
Everything = Callable[[Callable[[], TimeWarp]], Iterator[Scene]]


def surveyed(scene: Scene, warp: TimeWarp, everything: Everything) -> TimeWarp | None:
    """The warp with the jumps of all of a long recording, found scene after scene; None where it has none."""
    known = [warp]  # the last is asked for when the next scene is read
    first: TimeWarp | None = None
    for one in everything(lambda: known[-1]):
        frames = follow(
            one.excerpts, known[-1], sample_rate=scene.rate, reach_seconds=FIRST_REACH, excluded=one.excluded
        )
        clear = frames.only_clear()
        if not frames.enough_clear:
            continue
        if first is None:
            lag = float(np.median(clear.lags))
            first = replace(warp, delay_seconds=warp.delay_seconds + lag / scene.rate)
            known.append(first)
            frames = replace(frames, lags=frames.lags - lag)
        found = None if runs_evenly(one, frames, math.inf) else with_jumps(one, known[-1], frames)
        if found is not None:
            if not known[-1].jumps:
                first = replace(found, jumps=())
            known.append(found)
    jumps = known[-1].jumps
    return replace(first, jumps=jumps) if first is not None and jumps else None
