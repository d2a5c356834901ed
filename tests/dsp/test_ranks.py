"""What windows say together at every place: the compiled sums against the plain ones, and cases by hand."""

import math

import numpy as np
import pytest

from unsum.dsp.evidence import MOST_NATS
from unsum.dsp.ranks import STRETCH_DECAY, plain_ranks, ranks


@pytest.mark.parametrize("windows", [1, 2, 24, 400])
@pytest.mark.parametrize("cells", [1, 255, 256, 257, 700])
def test_compiled_and_plain_ranks_agree(rng, windows, cells):
    turn = rng.integers(-9, 10, windows)
    evidence = np.minimum(rng.exponential(2.0, (windows, cells + 18)), MOST_NATS)
    evidence[rng.random(evidence.shape) < 0.2] = -1.0
    evidence[:, cells // 2 :][:, :7] = MOST_NATS  # all windows agree
    evidence[:, cells // 3 :][:, :5] = -1.0  # none is heard
    where = {"first": 9, "stop": 9 + cells}
    np.testing.assert_allclose(ranks(evidence, turn, **where), plain_ranks(evidence, turn, **where), rtol=1e-12)


def test_one_window_says_what_its_own_nats_are():
    """Alone its chance is exp(-nats); a stretch of it gains but what is beyond even."""
    evidence = np.array([[0.5, 3.0, -1.0, 9.0]])
    assert ranks(evidence, np.zeros(1, int), first=0, stop=4) == pytest.approx([0.5, 3.0, 0.0, 9.0])


def test_the_best_stretch_counts_where_the_other_windows_hear_nothing():
    """Five windows of 20 with 9 nats in a row: 0.8 * 5 * (9 - 2) - log 20, more than all 20 together tell."""
    evidence = np.zeros((20, 1))
    evidence[5:10] = 9.0
    told = ranks(evidence, np.zeros(20, int), first=0, stop=1)
    assert told[0] == pytest.approx(STRETCH_DECAY * 5 * 7 - math.log(20))


def test_windows_are_turned_each_by_its_own_cells():
    evidence = np.zeros((3, 9))
    evidence[[0, 1, 2], [3, 4, 5]] = 9.0
    along = ranks(evidence, np.array([-1, 0, 1]), first=1, stop=8)
    straight = ranks(evidence, np.zeros(3, int), first=1, stop=8)
    assert int(along.argmax()) + 1 == 4
    assert along.max() > 2 * straight.max()


def test_cells_beyond_the_ends_are_refused():
    with pytest.raises(ValueError, match="cells -1 to 6 are asked for, of 5"):
        ranks(np.zeros((2, 5)), np.array([-1, 1]), first=0, stop=5)
