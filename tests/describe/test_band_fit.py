"""The compiled fit of bands does what the plain one does."""

import numpy as np
import pytest

from unsum.describe import _band_fit_numba as compiled
from unsum.describe.band_fit import Points, fit_chain, plain_deviations, plain_fit, refitted
from unsum.describe.filters import Form, chain_response, chain_values, coded

FORMS = (
    Form("peak"),
    *(Form(kind, order) for kind in ("lowshelf", "highshelf") for order in (1, 2)),
    *(Form(kind, order) for kind in ("highpass", "lowpass") for order in (1, 2, 3, 4)),
)
OMEGA = np.geomspace(0.003, 3.0, 300)
AXIS = np.tan(OMEGA / 2)


def points(rng) -> Points:
    response = rng.standard_normal(300) + 1j * rng.standard_normal(300)
    return Points(OMEGA, AXIS, response, rng.uniform(0.1, 1.0, 300))


@pytest.mark.parametrize("zero_phase", [False, True])
@pytest.mark.parametrize("forms", [(), *((form,) for form in FORMS), FORMS[:5], FORMS[5:]])
def test_deviations_and_slopes_are_those_of_plain_numpy(rng, forms, zero_phase):
    data = points(rng)
    theta = rng.uniform(-1, 1, 2 + sum(form.n_settings for form in forms))
    error, rows = np.empty((2, 300)), np.empty((len(theta), 2, 300))
    measured = np.stack([data.response.real, data.response.imag])
    unit = np.sqrt(2) / data.deviation
    compiled.chain_error(*coded(forms), theta, zero_phase, OMEGA, AXIS, measured, unit, error, rows)
    expected, slopes = plain_deviations(data, forms, theta, zero_phase)
    assert error.ravel() == pytest.approx(expected, abs=1e-12 * np.max(np.abs(expected)))
    assert np.max(np.abs(rows.reshape(slopes.shape) - slopes)) < 1e-12 * np.max(np.abs(slopes))


@pytest.mark.parametrize("n_points", [1, 511, 512, 513, 1500])
def test_values_are_those_of_plain_numpy_however_many(rng, n_points):
    axis = np.geomspace(1e-3, 20.0, n_points)
    settings = rng.uniform(-1, 1, sum(form.n_settings for form in FORMS))
    expected, _ = chain_response(FORMS, settings, axis)
    assert chain_values(FORMS, settings, axis) == pytest.approx(expected, rel=1e-12)


def test_every_step_is_that_of_the_plain_fit(rng):
    forms = (Form("lowshelf"), Form("peak"))
    truth = np.log([0.02, 1.5, 0.7, 0.3, 0.8, 1.4])
    response, _ = chain_response(forms, truth, AXIS)
    noise = 1e-3 * (rng.standard_normal(300) + 1j * rng.standard_normal(300))
    data = Points(OMEGA, AXIS, response + noise, np.full(300, 1e-3))
    start = fit_chain(data, forms, log_gain=0.02, delay_samples=0.01, settings=truth + 0.05, iterations=0)
    for iterations in (1, 3, 40):
        found, plain = refitted(data, start, iterations=iterations), plain_fit(data, start, iterations=iterations)
        assert found.chi2 == pytest.approx(plain.chi2, rel=1e-6)
        assert found.settings == pytest.approx(plain.settings, abs=1e-7)
        assert found.information == pytest.approx(plain.information, rel=1e-5, abs=1e-6 * np.max(plain.information))
    assert np.max(np.abs(found.settings - truth)) < 0.01


def test_settings_out_of_all_bounds_end_a_fit_without_a_warning(rng):
    settings = np.array([800.0, 0.0, 0.0])
    found = fit_chain(points(rng), (Form("peak"),), log_gain=0.0, delay_samples=0.0, settings=settings)
    assert found.settings[0] == 800.0
