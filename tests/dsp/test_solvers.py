"""Filters by exact least squares, against numpy.linalg.lstsq on every row written out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers
from oracle import coloured, design, images, targets

from unsum.dsp.linear_solvers import conjugate_gradients
from unsum.dsp.residuals import ResidualPass, residual_of
from unsum.dsp.rows import FIT, HELD_OUT, Segment, split_rows
from unsum.dsp.solvers import TINY_RIDGE, least_squares_filters
from unsum.dsp.statistics import gather_statistics
from unsum.dsp.whitening import WhitenedInverse, levinson

SILENT: dict[str, Any] = {"silent_before": True, "silent_after": True}


def decibels(power) -> float:
    return 10 * float(np.log10(max(float(np.sum(power)), 1e-300)))


def fit(mixture, references, *, n_taps, first_lag=0, segments=None, solve=None, **how: Any):
    """Gather, solve and refine, all on arrays."""
    segments = segments or (Segment(0, mixture.shape[1]),)
    where: dict[str, Any] = {"first_lag": first_lag, "segments": segments, "threads": 1, **how}
    equations = gather_statistics(mixture, references, n_taps=n_taps, **where)[FIT]
    where.pop("spectra", None)
    return least_squares_filters(
        equations,
        residual=lambda filters: residual_of(mixture, references, filters, **where),
        threads=1,
        **(solve or {}),
    )


FACTOR: dict[str, Any] = {"largest_dense": 4096}
ITERATE: dict[str, Any] = {"largest_dense": 0}


def test_the_case_worked_by_hand():
    # Half the reference, turned over, three samples late.
    reference = np.array([[1.0, -2, 4, 3, 0, 1, 5, -3, 2, 2, -1, 6]])
    mixture = np.concatenate([np.zeros((1, 3)), -0.5 * reference[:, :-3]], axis=1)
    found = fit(mixture, reference, n_taps=3, first_lag=2, **SILENT)
    np.testing.assert_allclose(found.filters, [[[0, -0.5, 0]]], atol=1e-14)
    assert found.null_db < -290


@settings(max_examples=40, deadline=None)
@given(
    seed=integers(0, 2**16),
    n_references=integers(1, 3),
    n_channels=integers(1, 2),
    first_lag=integers(-12, 12),
    n_taps=integers(1, 12),
    iterate=booleans(),
)
def test_filters_are_those_of_plain_least_squares(seed, n_references, n_channels, first_lag, n_taps, iterate):
    rng = np.random.default_rng(seed)
    n_samples = 12 * n_references * n_taps + 60
    references = rng.standard_normal((n_references, n_samples))
    mixture = rng.standard_normal((n_channels, n_samples))
    segments = [Segment(0, 20), Segment(23, 40, HELD_OUT), Segment(40, n_samples - 5)]
    found = fit(
        mixture,
        references,
        n_taps=n_taps,
        first_lag=first_lag,
        segments=segments,
        solve={"spectral": False, **(ITERATE if iterate else {})},
        **SILENT,
    )
    rows = design(references, first_lag, n_taps, segments[::2])
    wanted = targets(mixture, segments[::2])
    expected = np.linalg.lstsq(rows, wanted.T)[0].T
    gap = np.linalg.norm(found.filters.reshape(n_channels, -1) - expected)
    left = np.sum((wanted - expected @ rows.T) ** 2, axis=1)
    np.testing.assert_allclose(found.residual_energy, left, rtol=1e-4 if iterate else 1e-9)
    # Iterations end when nothing worth hearing is left to gain; a factored matrix has no such end.
    assert gap < (1e-2 if iterate else 1e-9) * np.linalg.norm(expected)
    assert found.method == ("conjugate gradients" if iterate else "cholesky")


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
@pytest.mark.parametrize("n_taps", [1, 64])
def test_a_float_mix_nulls_to_the_rounding_of_its_samples(rng, solve, n_taps):
    references = coloured(rng, 3, 30_000)
    filters = rng.standard_normal((2, 3, n_taps)) * np.exp(-np.arange(n_taps) / 8)
    mixture = images(references, filters, -5, 30_000)
    # From the middle of the music: what came before the first row is known, and nothing is zero-padded.
    found = fit(mixture[:, :29_900], references, n_taps=n_taps, first_lag=-5, solve=solve)
    assert found.null_db < -290
    assert decibels(np.sum((found.filters - filters) ** 2) / np.sum(filters**2)) < -250
    assert found.converged
    assert found.spectral_ridge is None


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
@pytest.mark.parametrize("bits", [16, 24])
def test_a_rounded_mix_nulls_to_its_quantisation(rng, solve, bits):
    references = coloured(rng, 2, 60_000)
    references /= 4 * np.abs(references).max()
    filters = rng.standard_normal((1, 2, 64)) * np.exp(-np.arange(64) / 8)
    exact = images(references, filters, 0, 60_000)
    step = 2.0 ** (1 - bits)
    mixture = np.round(exact / step) * step
    found = fit(mixture, references, n_taps=64, solve=solve)
    floor = decibels(np.sum((mixture - exact) ** 2) / np.sum(mixture**2))
    assert abs(found.null_db - floor) < 0.1


def test_what_is_held_out_nulls_as_what_was_fitted(rng):
    references = coloured(rng, 2, 40_000)
    mixture = images(references, rng.standard_normal((1, 2, 50)), 0, 40_000) + rng.standard_normal((1, 40_000))
    segments = split_rows(0, 40_000, held_out=[(10_000, 15_000), (30_000, 33_000)])
    equations = gather_statistics(mixture, references, n_taps=50, segments=segments)
    found = least_squares_filters(equations[FIT])
    fitted = found.residual_energy / equations[FIT].n_rows
    unseen = equations[HELD_OUT].residual_energy(found.filters) / equations[HELD_OUT].n_rows
    assert abs(decibels(unseen / fitted)) < 0.3


def test_all_orders_come_from_one_pass(rng):
    references = coloured(rng, 1, 20_000, 0.5)
    truth = np.zeros((1, 1, 40))
    truth[0, 0, 10:15] = [1, -0.5, 0.3, 0.2, -0.1]
    mixture = images(references, truth, -10, 20_000) + 1e-3 * rng.standard_normal((1, 20_000))
    segments = split_rows(0, 20_000, held_out=[(12_000, 18_000)])
    parts = gather_statistics(mixture, references, n_taps=128, first_lag=-40, segments=segments)
    nulls = {}
    for n_taps in (2, 5, 10, 88):
        lags = {"first_lag": 0, "n_taps": n_taps}
        found = least_squares_filters(parts[FIT].restrict(**lags))
        held = parts[HELD_OUT].restrict(**lags)
        nulls[n_taps] = decibels(held.residual_energy(found.filters) / held.mixture_energy)
    assert nulls[2] > -15
    assert nulls[5] < -58
    assert abs(nulls[10] - nulls[5]) < 0.05
    assert nulls[5] <= nulls[88] < nulls[5] + 0.2


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
def test_a_useless_reference_gets_no_more_than_chance(rng, solve):
    references = rng.standard_normal((1, 50_000))
    mixture = rng.standard_normal((1, 50_000))
    found = fit(mixture, references, n_taps=32, solve=solve)
    assert -0.02 < found.null_db < 0
    assert np.sum(found.filters**2) < 3 * 32 / 50_000


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
def test_a_silent_reference_and_a_silent_mixture_get_zeros(rng, solve):
    sound = rng.standard_normal((1, 5000))
    references = np.concatenate([sound, np.zeros((1, 5000))])
    found = fit(np.concatenate([0.25 * sound, np.zeros((1, 5000))]), references, n_taps=20, solve=solve)
    np.testing.assert_allclose(found.filters[0, 0, :2], [0.25, 0], atol=1e-13)
    assert not found.filters[:, 1].any()
    assert not found.filters[1].any()
    assert found.variance is not None
    assert np.all(np.isfinite(found.variance))
    nothing = fit(np.zeros((1, 500)), np.zeros((2, 500)), n_taps=8, solve=solve)
    assert not nothing.filters.any()
    assert nothing.null_db == 0.0


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
def test_one_sample_and_no_rows_are_solved_like_any_other(solve):
    one = fit(np.full((1, 1), 6.0), np.full((1, 1), 3.0), n_taps=1, solve=solve)
    np.testing.assert_allclose(one.filters, [[[2.0]]], rtol=1e-12)
    none = fit(np.full((1, 1), 6.0), np.full((1, 1), 3.0), n_taps=4, solve=solve)
    assert not none.filters.any()


def test_equal_references_share_the_answer_of_least_norm(rng):
    sound, other = coloured(rng, 2, 20_000, 0.8)
    references = np.stack([sound, other, -2 * sound])
    mixture = images(references[:2], rng.standard_normal((1, 2, 16)), 0, 20_000)
    found = fit(mixture, references, n_taps=16, **SILENT)
    level = np.sqrt(np.sum(references**2, axis=1))
    rows = design(references / level[:, None], 0, 16, [Segment(0, 20_000)])
    expected = (np.linalg.pinv(rows, rcond=1e-9) @ mixture[0]).reshape(3, 16) / level[:, None]
    np.testing.assert_allclose(found.filters[0], expected, atol=1e-3)
    assert found.null_db < -250
    iterated = fit(mixture, references, n_taps=16, solve=ITERATE, **SILENT)
    assert iterated.null_db < -250
    # Either takes half the image.
    np.testing.assert_allclose(iterated.filters[0, 0], -2 * iterated.filters[0, 2], atol=1e-3)


def test_a_ridge_too_small_for_rounding_is_raised_and_reported(rng):
    sound = coloured(rng, 1, 5000)
    references = np.concatenate([sound, sound])
    mixture = 0.5 * sound
    found = fit(mixture, references, n_taps=30, solve={"ridge": 0.0, **FACTOR}, **SILENT)
    assert 0 < found.ridge < 1e-9
    assert found.null_db < -200
    usual = fit(mixture, references, n_taps=30, solve=FACTOR, **SILENT)
    assert usual.ridge == TINY_RIDGE


def test_iterations_end_where_rounding_makes_the_matrix_indefinite(rng):
    rhs = rng.standard_normal((2, 1, 4))
    signs = np.array([1.0, 1.0, 1.0, -3.0])
    found = conjugate_gradients(
        lambda x: x * signs, rhs, precondition=lambda x: x, energy=np.full(2, 1e3), max_iterations=50
    )
    assert np.all(np.isfinite(found.filters))
    assert np.all(found.gain >= 0)
    assert found.iterations < 50


def test_fewer_rows_than_taps_are_met_without_growing(rng):
    references, mixture = rng.standard_normal((2, 30)), rng.standard_normal((1, 30))
    found = fit(mixture, references, n_taps=40, solve={"spectral": False}, **SILENT)
    assert found.null_db < -100
    rows = design(references, 0, 40, [Segment(0, 30)])
    least = np.linalg.lstsq(rows, mixture[0])[0]
    assert np.linalg.norm(found.filters) < 1.1 * np.linalg.norm(least)


def low_passed(rng, n_rows: int, n_samples: int):
    """Noise with nothing above a third of the band, down to -140 dB."""
    spectrum = np.fft.rfft(rng.standard_normal((n_rows, 2 * n_samples)))
    spectrum[:, 2 * n_samples // 6 :] *= 1e-7
    return np.fft.irfft(spectrum)[:, :n_samples]


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
def test_band_limited_references_do_not_break_the_fit(rng, solve):
    references = low_passed(rng, 2, 40_000)
    filters = rng.standard_normal((1, 2, 64)) * np.exp(-np.arange(64) / 10)
    mixture = images(references, filters, 0, 40_000)
    found = fit(mixture, references, n_taps=64, solve=solve)
    assert found.null_db < -140
    assert np.linalg.norm(found.filters) < 2 * np.linalg.norm(filters)


@pytest.mark.parametrize("solve", [FACTOR, ITERATE], ids=["cholesky", "conjugate gradients"])
def test_noise_where_the_references_are_silent_stays_out_of_the_filters(rng, solve):
    references = low_passed(rng, 2, 40_000)
    filters = rng.standard_normal((1, 2, 64)) * np.exp(-np.arange(64) / 10)
    mixture = images(references, filters, 0, 40_000)
    noisy = mixture + 0.1 * rng.standard_normal(mixture.shape)
    segments = split_rows(0, 40_000, held_out=[(25_000, 32_000)])
    how: dict[str, Any] = {"n_taps": 64, "segments": segments}
    found = fit(noisy, references, solve=solve, **how)
    assert found.spectral_ridge is not None
    assert 0.5 < np.linalg.norm(found.filters) / np.linalg.norm(filters) < 2
    held = gather_statistics(noisy, references, **how)[HELD_OUT]
    unseen = decibels(held.residual_energy(found.filters) / held.mixture_energy)
    assert abs(unseen - found.null_db) < 0.5
    # What one step of least squares alone does there.
    plain = fit(noisy, references, solve={"spectral": False, **solve}, **how)
    assert np.linalg.norm(plain.filters) > 100 * np.linalg.norm(filters)


def test_variance_is_the_spread_over_many_noises(rng):
    references = np.stack([*coloured(rng, 2, 6000, 0.7)])
    references[1] += 0.8 * references[0]
    filters = rng.standard_normal((1, 2, 24))
    clean = images(references, filters, 0, 6000)
    errors, predicted = [], []
    for _ in range(30):
        noise = coloured(rng, 1, 6000, -0.6)
        found = fit(clean + noise, references, n_taps=24, solve={"spectral": False})
        assert found.variance is not None
        n_fft = 2 * (found.variance.shape[-1] - 1)
        errors.append(np.abs(np.fft.rfft(found.filters - filters, n_fft)) ** 2)
        predicted.append(found.variance)
    ratio = np.mean(errors, axis=0) / np.mean(predicted, axis=0)
    assert np.all(np.abs(np.log(ratio.mean(axis=-1))) < np.log(1.6))
    low, high = ratio[0, 0, 2:20].mean(), ratio[0, 0, -20:-2].mean()
    assert 0.4 < low < 2.5
    assert 0.4 < high < 2.5


def test_iterations_stop_and_say_so(rng):
    references = coloured(rng, 2, 20_000, 0.99)
    mixture = images(references, rng.standard_normal((1, 2, 200)), 0, 20_000)
    found = fit(
        mixture, references, n_taps=200, solve={"max_iterations": 2, "max_passes": 1, "spectral": False, **ITERATE}
    )
    assert not found.converged
    assert found.iterations <= 4


def test_large_problems_without_spectra_are_refused_and_small_ones_have_no_variance():
    small = fit(np.ones((1, 100)), np.ones((1, 100)), n_taps=1, spectra=False)
    np.testing.assert_allclose(small.filters, 1.0)
    assert small.variance is None
    equations = gather_statistics(np.ones((1, 100)), np.ones((1, 100)), n_taps=8, spectra=False)[FIT]
    with pytest.raises(ValueError, match="spectra=True"):
        least_squares_filters(equations, largest_dense=0)


@pytest.mark.parametrize("block", [1, 509, 20_011])
def test_the_residual_is_that_of_the_samples_for_any_chunking(rng, block):
    n_samples = 30_000 if block > 1 else 700
    references, mixture = rng.standard_normal((2, n_samples)), rng.standard_normal((2, n_samples))
    filters = rng.standard_normal((2, 2, 30))
    segments = split_rows(100, n_samples, held_out=[(300, 400)], excluded=[(500, 600)])
    where: dict[str, Any] = {"first_lag": -8, "segments": segments, **SILENT}
    whole = residual_of(mixture, references, filters, **where)
    pass_ = ResidualPass(filters, **where)
    for start in range(0, n_samples, block):
        pass_.add(references=references[:, start : start + block])
        pass_.add(mixture[:, start : start + block])
    found = pass_.finish()
    np.testing.assert_array_equal(found[FIT].rhs, whole.rhs)
    np.testing.assert_array_equal(found[FIT].energy, whole.energy)
    np.testing.assert_array_equal(found[FIT].density, whole.density)
    mine = [segment for segment in segments if segment.part == FIT]
    left = targets(mixture - images(references, filters, -8, n_samples), mine)
    rows = design(references, -8, 30, mine)
    np.testing.assert_allclose(found[FIT].energy, np.sum(left**2, axis=1), rtol=1e-11)
    np.testing.assert_allclose(found[FIT].rhs.reshape(2, -1), left @ rows, atol=1e-11 * np.sum(references**2) * 30)
    assert found[FIT].n_rows == left.shape[1]
    only_measured = residual_of(mixture, references, filters, correlate=False, **where)
    np.testing.assert_array_equal(only_measured.energy, whole.energy)
    assert not only_measured.rhs.any()


def test_predictors_of_every_order_solve_their_normal_equations(rng):
    lags = np.correlate(coloured(rng, 1, 500)[0], coloured(rng, 1, 500)[0], "full")
    signal = coloured(rng, 1, 500)[0]
    lags = np.correlate(signal, signal, "full")[499:510]
    predictors, innovation = levinson(lags, 10)
    for m in (1, 4, 10):
        toeplitz = lags[np.abs(np.arange(m + 1)[:, None] - np.arange(m + 1))]
        expected = np.zeros(m + 1)
        expected[0] = innovation[m]
        np.testing.assert_allclose(toeplitz @ predictors[m, : m + 1], expected, atol=1e-9 * lags[0])


def test_the_whitened_inverse_is_symmetric_positive_and_close(rng):
    references = coloured(rng, 2, 30_000)
    equations = gather_statistics(references[:1], references, n_taps=40)[FIT]
    inverse = WhitenedInverse(equations, ridge=np.zeros((2, 129)))
    unit = np.eye(80).reshape(80, 2, 40)
    matrix = inverse(unit).reshape(80, 80)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9 * np.abs(matrix).max())
    values = np.linalg.eigvals(matrix @ equations.dense()).real
    assert values.min() > 0.3
    assert values.max() < 3


@pytest.mark.parametrize("n_taps", [1, 40])
def test_a_silent_reference_beside_one_that_sounds_keeps_nothing(rng, n_taps):
    talk, song = rng.standard_normal((2, 48_000))
    mixture, references = np.stack([talk, talk + song]), np.stack([song, np.zeros(48_000)])
    equations = gather_statistics(mixture, references, n_taps=n_taps)[FIT]

    def residual(filters):
        return residual_of(mixture, references, filters)

    fit = least_squares_filters(equations, residual=residual)
    assert np.all(np.isfinite(fit.filters))
    assert not np.any(fit.filters[:, 1])
    assert abs(fit.filters[1, 0, 0] - 1) < 0.03


def test_channels_that_are_nearly_alike_do_not_stall_the_iterations(rng):
    # Left and right of a reference that is mono but for something 60 dB down, each with its own spectrum.
    n_samples, n_taps = 60_000, 200
    middle = coloured(rng, 1, n_samples)[0]
    side = 1e-3 * np.diff(rng.standard_normal(n_samples + 1))
    references = np.stack([middle + side, middle - side])
    filters = rng.standard_normal((1, 2, n_taps)) * np.exp(-np.arange(n_taps) / 40)
    mixture = images(references, filters, 0, n_samples)
    equations = gather_statistics(mixture, references, n_taps=n_taps)[FIT]
    fit = least_squares_filters(equations, largest_dense=1)
    assert fit.method == "conjugate gradients"
    assert fit.null_db < -130
    assert fit.iterations < 150


@pytest.mark.parametrize("how", [FACTOR, ITERATE])
def test_bands_in_which_neither_reference_nor_mixture_sounds_are_not_filled_by_a_filter(rng, how):
    # As of a song at 16 kHz in a recording at 48 kHz that a codec has cut off at 20: any click there would ring loudly.
    spectrum = np.fft.rfft(rng.standard_normal((2, 1 << 17)))
    band = np.linspace(0, 1, spectrum.shape[1])
    reference = np.fft.irfft(np.where(band < 0.33, spectrum[:1], 0)) + 1e-7 * rng.standard_normal((1, 1 << 17))
    noise = np.fft.irfft(np.where(band < 0.8, spectrum[1:], 0)) + 1e-6 * rng.standard_normal((1, 1 << 17))
    mixture = 0.5 * reference + 0.2 * np.roll(reference, 3) + 0.02 * noise
    found = fit(mixture, reference, n_taps=500, first_lag=-50, solve=how)
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(found.filters[0, 0], 4096)))
    assert np.max(gain_db[: int(0.3 * 2048)]) == pytest.approx(20 * np.log10(0.7), abs=0.5)
    assert np.max(gain_db[int(0.36 * 2048) :]) < -20
