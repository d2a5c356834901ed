"""Reading ahead: the same blocks, the same errors, and no thread left behind."""

import threading
import time

import pytest

from unsum.engine.read_ahead import read_ahead


def test_blocks_come_in_order():
    assert list(read_ahead(iter(range(1000)))) == list(range(1000))
    assert list(read_ahead(iter(()))) == []


def test_what_making_a_block_raises_is_raised_behind_the_blocks_before():
    def blocks():
        yield 1
        yield 2
        raise ValueError("damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"):
        got.extend(read_ahead(blocks()))
    ahead = read_ahead(blocks())
    assert [next(ahead), next(ahead)] == [1, 2]


def test_no_more_is_read_ahead_than_a_few_blocks_and_no_thread_stays():
    made = []

    def blocks():
        for n in range(1000):
            made.append(n)
            yield n

    ahead = read_ahead(blocks())
    assert next(ahead) == 0
    time.sleep(0.05)
    assert len(made) <= 5
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
