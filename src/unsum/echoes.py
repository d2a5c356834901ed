"""The climb once more with the echoes that come later than its filters reach."""

import math
from dataclasses import replace
from itertools import pairwise

from unsum.climb import Climb
from unsum.estimators.late_echo import LateEcho, late_echoes, with_echoes

# Later than this no echo is sought where no filter reaches.
_LATEST_SECONDS = 2.0
# Once the loud ones are fitted, softer ones show.
_MOST_LOOKS = 6
# An echo is a sound of its own where it is no nearer to another than this.
_APART_SECONDS = 0.012


def with_late_echoes(climb: Climb) -> tuple[Climb, tuple[LateEcho, ...]]:
    """The climb with filters of their own for late echoes, as long as they help, and which they are.

    What its `conclude` tells has the echoes as references of their own; see `unsum.estimators.late_echo.folded`.
    """
    rate = climb.problem.mixture.sample_rate
    apart = round(_APART_SECONDS * rate)
    rows = sum(segment.stop - segment.start for segment in climb.alignment.segments)
    echoes: tuple[LateEcho, ...] = ()
    for _ in range(_MOST_LOOKS):
        if climb.best.null_db == -math.inf or climb.at_rounding():
            break
        found = late_echoes(
            climb.problem,
            climb.best.model,
            climb.alignment,
            climb.spectra(),
            longest_lag=int(min(round(_LATEST_SECONDS * rate), rows // 4, climb.max_taps - apart)),
            apart=apart,
            known=echoes,
        )
        if not found or any(climb.alignment.warps[echo.track].jumps for echo in found):
            break
        again = _beside(climb, found)
        # Filters that reached from one echo to another would be fitted twice.
        lags = {echo.track: [0] for echo in (*echoes, *found)}
        for echo in (*echoes, *found):
            lags[echo.track] = sorted([*lags[echo.track], echo.lag_samples])
        latest = max(own[-1] for own in lags.values())
        nearest = min(b - a for own in lags.values() for a, b in pairwise(own))
        orders = again.orders_within(min(nearest, climb.max_taps - latest))
        words = ", ".join(f"{echo.track} again {1000 * echo.lag_samples / rate:.1f} ms later" for echo in found)
        if orders:
            again.fit("reverb", orders, words)
        if not orders or not again.steps[-1].kept:
            climb.steps = again.steps
            climb.limits += (f"an echo is heard in what is left ({words}), but the audio is too short to tell it",)
            break
        climb, echoes = again, (*echoes, *found)
    return climb, echoes


def _beside(climb: Climb, echoes: tuple[LateEcho, ...]) -> Climb:
    """A climb that goes on where another one is, with echoes beside its references."""
    problem, model, alignment = with_echoes(climb.problem, climb.best.model, climb.alignment, echoes)
    again = Climb(problem, model, alignment, climb.progress)
    again.best = replace(climb.best, model=model)
    again.steps, again.limits, again.max_taps = list(climb.steps), climb.limits, climb.max_taps
    return again
