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


def test_one_state_is_stayed_in_and_ties_stay_where_they_are():
    assert best_path(np.array([[1.0, -5.0, 2.0]]), price=3.0).tolist() == [0, 0, 0]
    assert best_path(np.array([[5.0, 0.0], [0.0, 3.0]]), price=3.0).tolist() == [0, 0]


def test_gains_of_minus_infinity_forbid_a_state():
    gained = np.array([[1.0, -np.inf, 1.0], [0.0, 0.0, 0.0]])
    assert best_path(gained, price=0.1).tolist() == [0, 1, 0]


def test_gains_that_are_no_numbers_are_refused():
    gained = np.zeros((2, 5))
    gained[1, 3] = np.nan
    with pytest.raises(ValueError, match="state 1 in step 3 is not a number"):
        best_path(gained, price=1.0)
    with pytest.raises(ValueError, match="no state to be in"):
        best_path(np.zeros((0, 5)), price=1.0)
