"""Blocks made in a thread of their own while those before are worked on: decoders let other threads run."""

from collections.abc import Generator, Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_BLOCKS_AHEAD = 2
_LOOK_SECONDS = 0.1  # how often a thread that waits looks whether anybody still wants its blocks


def read_ahead(blocks: Iterator[T]) -> Generator[T, None, None]:
    """The same blocks, none of them None, in the same order; what making them raises is raised here.

    The thread ends with the iterator, also with one that is left early.
    """
    waiting: Queue[tuple[T | None, BaseException | None]] = Queue(_BLOCKS_AHEAD)
    left = Event()

    def hand_over(block: T | None, error: BaseException | None = None) -> None:
        while not left.is_set():
            try:
                waiting.put((block, error), timeout=_LOOK_SECONDS)
            except Full:
                continue
            return

    def work() -> None:
        try:
            for block in blocks:
                hand_over(block)
                if left.is_set():
                    return
            hand_over(None)
        except BaseException as error:
            hand_over(None, error)

    thread = Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            block, error = waiting.get()
            if error is not None:
                raise error
            if block is None:
                return
            yield block
    finally:
        left.set()
        thread.join()
