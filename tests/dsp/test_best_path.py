"""The likeliest way through states, against all ways there are."""

from itertools import pairwise, product

import numpy as np
import pytest

from unsum.dsp.best_path import best_path


def worth(path, gained, price):
    changes = sum(one != other for one, other in pairwise(path))
    return sum(gained[state, step] for step, state in enumerate(path)) - price * changes


@pytest.mark.parametrize("price", [0.0, 1.0, 30.0])
def test_no_other_way_gains_more(price, rng):
    for _ in range(20):
        gained = rng.standard_normal((3, 7))
        found = best_path(gained, price=price)
        most = max(worth(path, gained, price) for path in product(range(3), repeat=7))
        assert worth(found.tolist(), gained, price) == pytest.approx(most, abs=1e-12)


def test_no_steps_have_no_states():
    assert best_path(np.zeros((2, 0)), price=1.0).tolist() == []
