"""Lengths of filters to try: from a few taps to seconds, each as far as there are rows and memory for it."""

from collections.abc import Sequence
from dataclasses import replace

from unsum.dsp.statistics import statistics_bytes
from unsum.estimators.fir import Alignment
from unsum.problem import Problem

Order = tuple[int, int]  # first lag, taps

SHORT_ORDERS: tuple[Order, ...] = ((-2, 5), (-8, 17), (-16, 48), (-32, 128), (-64, 256), (-64, 512))
# Taps behind the arrival of the sound; ahead of it go `LEAD_SECONDS`: in a room the strongest path is not the first.
ROOM_TAPS = (1024, 2048, 4096, 8192)
LONG_SECONDS = (0.78, 1.56, 3.12, 6.24)
LEAD_SECONDS = 0.03
# A filter needs this many fitted rows for each of its taps; where shorter ones have shown that the sound rings on for
# so long, a longer one may be worth it with fewer: the held-out rows tell.
ROWS_PER_TAP, _ROWS_PER_LONG_TAP = 6, 2
# What is gathered for longer ones would take more memory than a computer is sure to have.
_MOST_BYTES = 4e9
# Beyond so many unknowns the middle orders are not tried one by one.
_MANY_UNKNOWNS = 1 << 17
# Audio that is no longer than so many times the lead needs every row.
_LEADS = 32


def lead_samples(problem: Problem) -> int:
    return round(LEAD_SECONDS * problem.mixture.sample_rate)


def room_orders(problem: Problem) -> tuple[Order, ...]:
    lead = lead_samples(problem)
    return tuple((-lead, lead + n) for n in ROOM_TAPS)


def orders_told(orders: Sequence[Order], n_rows: int, n_references: int) -> list[Order]:
    """Those that so many rows can tell, the shortest first; of very large ones only the longest."""
    known = [order for order in orders if n_rows >= ROWS_PER_TAP * order[1] * n_references]
    large = [order for order in known if order[1] * n_references > _MANY_UNKNOWNS]
    return [order for order in known if order not in large[:-1]]


def long_is_told(problem: Problem, alignment: Alignment, n_taps: int, n_rows: int, n_references: int) -> bool:
    """Whether there are rows and memory for filters with so many taps behind the arrival of the sound."""
    needed = statistics_bytes(
        n_references=n_references,
        n_channels=len(problem.mixture.channels),
        n_taps=lead_samples(problem) + n_taps,
        n_segments=len(alignment.segments),
        n_parts=2,
    )
    return n_rows >= _ROWS_PER_LONG_TAP * n_taps * n_references and needed <= _MOST_BYTES


def ahead_of_the_end(problem: Problem, alignment: Alignment) -> Alignment:
    """The alignment without the last rows, whose filters would look ahead to where the references are cut off.

    A cut has bands that sound nowhere else. It tells nothing of the filters, and the solver takes ten times as long.
    """
    lead = lead_samples(problem)
    stop = max(segment.stop for segment in alignment.segments) - lead
    kept = [replace(one, stop=min(one.stop, stop)) for one in alignment.segments if one.start < stop]
    rows = sum(one.stop - one.start for one in kept)
    return alignment if rows < _LEADS * lead else replace(alignment, segments=tuple(kept))
