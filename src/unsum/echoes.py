"""The climb once more with the echoes that come later than its filters reach."""

import math
from itertools import pairwise

from unsum.climb import Climb
from unsum.estimators.late_echo import LateEcho, late_echoes, with_echoes
from unsum.estimators.orders import Order

# Later than this no echo is sought where no filter reaches.
_LATEST_SECONDS = 2.0
# Once the loud ones are fitted, softer ones show.
_MOST_LOOKS = 6
# An echo is a sound of its own where it is no nearer to another than this.
_APART_SECONDS = 0.012
# Filters of so many taps cost little beside those of rooms.
_SHORT_TAPS = 512


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
        heard = late_echoes(
            climb.problem,
            climb.best.model,
            climb.alignment,
            climb.spectra(),
            longest_lag=int(min(round(_LATEST_SECONDS * rate), rows // 4, climb.max_taps - apart)),
            apart=apart,
            known=echoes,
        )
        # A track that jumps is not the same so much later.
        found = tuple(echo for echo in heard if not climb.alignment.warps[echo.track].jumps)
        if not found:
            if heard:
                climb.limits += (
                    _stays(_words(heard, rate), "filters are not fitted again to a track that jumps or pauses"),
                )
            break
        again = climb.beside(*with_echoes(climb.problem, climb.best.model, climb.alignment, found))
        # Filters that reached from one echo to another would be fitted twice.
        lags = {echo.track: [0] for echo in (*echoes, *found)}
        for echo in (*echoes, *found):
            lags[echo.track] = sorted([*lags[echo.track], echo.lag_samples])
        latest = max(own[-1] for own in lags.values())
        nearest = min(b - a for own in lags.values() for a, b in pairwise(own))
        told = again.orders_within(min(nearest, climb.max_taps - latest))
        orders = climb.hopeful(told)
        words = _words(found, rate)
        if orders and not _takes_something_off(climb, again, orders, words):
            climb.steps = again.steps
            break
        if not orders or not any(step.kept for step in again.steps[len(climb.steps) :]):
            climb.steps = again.steps
            if orders:
                why = "filters for it did not help on samples they were not fitted to"
            elif told:
                why = "filters that can be fitted beside it leave more than longer ones do without it"
            elif again.orders_within(nearest):
                why = f"filters of {climb.max_taps:.0f} taps end before it does"
            else:
                why = "the audio is too short to tell it"
            climb.limits += (_stays(words, why),)
            break
        climb, echoes = again, (*echoes, *found)
        climb.echoes = {track: [echo.name for echo in echoes if echo.track == track] for track in lags}
    return climb, echoes


def _takes_something_off(climb: Climb, again: Climb, orders: list[Order], words: str) -> bool:
    """Fit filters beside those of echoes; False where they show that there is none.

    Loops and coded tracks repeat themselves in what is left. Beside filters as long as the best so far, or hardly
    longer, those of an echo take something off it. Where they do not, longer ones need not be tried.
    """
    n_taps = climb.best.choice.fit.filters.shape[2] if climb.best.choice else 1
    as_long = [order for order in orders if order[1] >= n_taps][:1]
    first = as_long if as_long and as_long[0][1] <= _SHORT_TAPS else orders
    again.fit("reverb", first, words)
    if as_long and not again.steps[-1].null_db < climb.best.null_db:
        return False
    if first != orders:
        again.fit("reverb", orders, words)
    return True


def _words(echoes: tuple[LateEcho, ...], rate: int) -> str:
    return ", ".join(f"{echo.track} again {1000 * echo.lag_samples / rate:.1f} ms later" for echo in echoes)


def _stays(words: str, why: str) -> str:
    return f"an echo is heard in what is left ({words}), but {why}"
