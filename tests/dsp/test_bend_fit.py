"""Nodes of a bend: against dense least squares, and against the spline that the model evaluates."""

import numpy as np
import pytest

from unsum.dsp.bend_fit import Nodes, SplineSystem, predictor_of


@pytest.fixture
def nodes():
    return Nodes.over(1.0, 5.0, 0.5)


def test_the_weights_are_those_of_the_model(rng, nodes):
    offsets = rng.standard_normal(nodes.count)
    seconds = np.linspace(1, 5, 301)
    first, weights = nodes.weights(seconds)
    told = sum(weights[a] * offsets[first + a] for a in range(4))
    np.testing.assert_allclose(told, nodes.bend(offsets)(seconds), atol=1e-12)


def test_a_bend_comes_out_of_its_own_values(rng, nodes):
    offsets = rng.standard_normal(nodes.count)
    seconds = rng.uniform(1, 5, 4000)
    slope = rng.standard_normal(4000)
    system = SplineSystem(nodes)
    for part in np.split(np.arange(4000), [17, 900]):
        system.add(seconds[part], slope[part], slope[part] * nodes.bend(offsets)(seconds[part]))
    np.testing.assert_allclose(nodes.bend(system.solve(0.0))(seconds), nodes.bend(offsets)(seconds), atol=1e-6)


def test_the_stiff_solution_is_that_of_dense_least_squares(rng, nodes):
    seconds, slope, residual = rng.uniform(1, 5, 200), *rng.standard_normal((2, 200))
    basis = np.stack([nodes.bend(one)(seconds) for one in np.eye(nodes.count)], axis=1)
    second = np.diff(np.eye(nodes.count), 2, axis=0)
    around = rng.standard_normal(nodes.count)
    stacked = np.concatenate([slope[:, None] * basis, np.sqrt(3.0) * second])
    wanted = np.concatenate([residual, -np.sqrt(3.0) * second @ around])
    truth = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
    system = SplineSystem(nodes)
    system.add(seconds, slope, residual)
    np.testing.assert_allclose(system.solve(3.0, around=around), truth, atol=1e-6)


def test_a_longer_predictor_is_that_of_dense_least_squares_too(rng, nodes):
    seconds, slope, residual = rng.uniform(1, 5, 200), *rng.standard_normal((2, 200))
    basis = np.stack([nodes.bend(one)(seconds) for one in np.eye(nodes.count)], axis=1)
    predictor = rng.standard_normal(6)
    left = np.stack([np.correlate(one, predictor, "valid") for one in np.eye(nodes.count)], axis=1)
    around = rng.standard_normal(nodes.count)
    stacked = np.concatenate([slope[:, None] * basis, np.sqrt(2.0) * left])
    wanted = np.concatenate([residual, -np.sqrt(2.0) * left @ around])
    truth = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
    system = SplineSystem(nodes)
    system.add(seconds, slope, residual)
    np.testing.assert_allclose(system.solve(2.0, around=around, predictor=predictor), truth, atol=1e-6)


def test_a_wobble_foretells_itself_and_noise_does_not(rng):
    n = np.arange(400)
    wobble = np.sin(0.3 * n + 1) + 0.2 * np.cos(1.1 * n)
    predictor, deviation = predictor_of(wobble, 4)
    # Two sines: (1 - 2 cos(w) z + z**2) for each, worked by hand.
    by_hand = np.convolve([1, -2 * np.cos(0.3), 1], [1, -2 * np.cos(1.1), 1])
    np.testing.assert_allclose(predictor, by_hand, atol=1e-6)
    assert deviation < 1e-6
    _, of_noise = predictor_of(rng.standard_normal(4000), 4)
    assert abs(of_noise - 1) < 0.05


def test_closer_nodes_carry_the_same_bend(rng, nodes):
    offsets = rng.standard_normal(nodes.count)
    closer = Nodes.over(1.0, 5.0, 0.25)
    again = closer.bend(closer.resampled(nodes.bend(offsets)))
    seconds = np.arange(1.5, 4.6, 0.25)  # at the nodes themselves
    np.testing.assert_allclose(again(seconds), nodes.bend(offsets)(seconds), atol=1e-12)
