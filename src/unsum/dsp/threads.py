"""Work shared out to threads: transforms and compiled loops let other threads run meanwhile."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(work: Callable[[int, int], None], n_items: int, *, threads: int) -> None:
    """Call ``work(first, last)`` on consecutive shares of the items, each in a thread of its own.

    The threads live no longer than the call, so that nothing is left to a process that forks.
    """
    threads = min(threads, n_items)
    if threads < 2:
        work(0, n_items)
        return
    cuts = np.linspace(0, n_items, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, cuts[:-1], cuts[1:]):
            pass
