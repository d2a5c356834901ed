"""Poles and zeros of curves whose roots are known."""

import numpy as np
import pytest

from unsum.dsp.projection import project_on_taps
from unsum.dsp.rational import fit_rational, starting_poles


def curve_of(x, poles, zeros):
    top = np.prod([np.abs(x - zero) for zero in zeros], axis=0)
    return top / np.prod([np.abs(x - pole) for pole in poles], axis=0)


def conjugates(*roots):
    return [one for root in roots for one in ((root, np.conj(root)) if np.imag(root) else (root,))]


def fitted(x, y, order, relative=1e-6):
    return fit_rational(x, y, 1 / (relative * y), poles=starting_poles(x[0], x[-1], order))


def test_poles_and_zeros_six_decades_apart_come_back():
    x = np.geomspace(1e-5, 1e2, 400)
    poles = conjugates(1e-4 * np.exp(0.4j), 0.03 * np.exp(0.1j), 7 * np.exp(2.0j), -0.5)
    zeros = conjugates(2e-4 * np.exp(0.4j), 0.03 * np.exp(0.3j), 5 * np.exp(2.0j), -0.7)
    found = fitted(x, curve_of(x, poles, zeros), 7)
    for true, roots in ((poles, found.poles), (zeros, found.zeros)):
        for root in true:
            assert np.min(np.abs(roots / root - 1)) < 1e-6
    assert found.chi2 < 1e-6


def test_too_low_an_order_is_seen_in_what_is_left(rng):
    x = np.geomspace(1e-4, 1e2, 300)
    y = curve_of(
        x, conjugates(0.01 * np.exp(0.2j), 1.0 * np.exp(0.5j)), conjugates(0.01 * np.exp(0.5j), 2 * np.exp(1j))
    )
    noisy = y * (1 + 1e-3 * rng.standard_normal(len(y)))
    left = [fitted(x, noisy, order, relative=1e-3).chi2 / len(x) for order in (2, 4, 6)]
    assert left[0] > 10
    assert left[1] == pytest.approx(1, abs=0.3)
    assert left[2] == pytest.approx(1, abs=0.3)


def test_noise_moves_roots_by_no_more_than_its_share(rng):
    x = np.geomspace(1e-4, 1e2, 600)
    pole, zero = 0.2 * np.exp(0.3j), 0.2 * np.exp(0.9j)
    y = curve_of(x, conjugates(pole), conjugates(zero)) * (1 + 1e-4 * rng.standard_normal(len(x)))
    found = fitted(x, y, 2, relative=1e-4)
    assert np.min(np.abs(found.poles / pole - 1)) < 1e-4
    assert np.min(np.abs(found.zeros / zero - 1)) < 1e-4


def test_zeros_at_the_origin_and_far_out_stay_there():
    x = np.geomspace(1e-4, 1e2, 300)
    high_pass = fitted(x, x**2 / curve_of(x, [], conjugates(0.1 * np.exp(0.8j))), 2)
    assert np.max(np.abs(high_pass.zeros)) < 1e-6
    low_pass = fitted(x, 1 / curve_of(x, [], conjugates(0.1 * np.exp(0.8j))), 2)
    assert np.min(np.abs(low_pass.zeros)) > 1e3


def test_a_constant_needs_no_pole():
    x = np.geomspace(1e-2, 1, 30)
    found = fit_rational(x, np.full(30, 3.0), np.ones(30), poles=starting_poles(x[0], x[-1], 0))
    assert len(found.poles) == len(found.zeros) == 0
    assert found.values == pytest.approx(3.0)


def test_fewer_points_than_unknowns_are_refused():
    x = np.geomspace(1e-2, 1, 8)
    with pytest.raises(ValueError, match="8 points for 4 poles; give at least 9"):
        fit_rational(x, x, np.ones(8), poles=starting_poles(x[0], x[-1], 4))


def dense_projection(taps, power, n_taps):
    """The normal equations written out."""
    correlation = np.fft.irfft(power)
    lags = np.arange(n_taps)[:, None] - np.arange(len(taps))
    toeplitz = correlation[lags % len(correlation)]
    return np.linalg.solve(toeplitz[:, :n_taps], toeplitz @ taps)


def test_taps_stand_in_for_those_beyond_the_last_as_least_squares_has_it():
    n_fft, n_taps = 512, 64
    taps = 0.97 ** np.arange(200) * np.cos(0.05 * np.arange(200))
    omega = np.pi * np.arange(n_fft // 2 + 1) / (n_fft // 2)
    power = 1 / (1.1 + np.cos(omega - np.pi))
    found = project_on_taps(np.fft.rfft(taps, n_fft), power, first_lag=0, n_taps=n_taps)
    expected = dense_projection(taps, power, n_taps)
    assert np.max(np.abs(expected - taps[:n_taps])) > 0.01
    assert found == pytest.approx(expected, abs=1e-4 * np.max(np.abs(taps[n_taps:])))


def test_a_response_that_the_taps_hold_is_left_as_it_is(rng):
    taps = rng.standard_normal(48)
    power = rng.uniform(0.5, 2, 129)
    ahead = np.fft.rfft(np.concatenate([taps, np.zeros(208)])) * np.exp(2j * np.pi * np.arange(129) / 256 * 5)
    assert project_on_taps(ahead, power, first_lag=-5, n_taps=64)[:48] == pytest.approx(taps, abs=1e-9)


def test_too_coarse_a_grid_is_refused():
    with pytest.raises(ValueError, match="64 taps need 65 bins or more, not 33"):
        project_on_taps(np.ones(33, complex), np.ones(33), first_lag=0, n_taps=64)
