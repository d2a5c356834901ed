"""Bands as digital filters, against the formulas that the cookbook prints."""

import numpy as np
import pytest
import scipy.signal

from unsum.dsp.equaliser import ORDERS, band_sections

RATE = 44100


def cookbook(kind: str, hz: float, gain_db: float, q: float) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of the RBJ cookbook, typed from its text."""
    a, omega = 10 ** (gain_db / 40), 2 * np.pi * hz / RATE
    cos, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    root = 2 * np.sqrt(a) * alpha
    if kind == "peak":
        return np.array([1 + alpha * a, -2 * cos, 1 - alpha * a]), np.array([1 + alpha / a, -2 * cos, 1 - alpha / a])
    if kind == "lowshelf":
        top = a * np.array([a + 1 - (a - 1) * cos + root, 2 * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - root])
        return top, np.array([a + 1 + (a - 1) * cos + root, -2 * (a - 1 + (a + 1) * cos), a + 1 + (a - 1) * cos - root])
    if kind == "highshelf":
        top = a * np.array([a + 1 + (a - 1) * cos + root, -2 * (a - 1 + (a + 1) * cos), a + 1 + (a - 1) * cos - root])
        return top, np.array([a + 1 - (a - 1) * cos + root, 2 * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - root])
    sign = 1 if kind == "highpass" else -1
    top = np.array([(1 + sign * cos) / 2, -sign * (1 + sign * cos), (1 + sign * cos) / 2])
    return top, np.array([1 + alpha, -2 * cos, 1 - alpha])


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize(("hz", "gain_db", "q"), [(35.0, 6.0, 0.7), (1000.0, -9.0, 4.0), (18000.0, 3.0, 0.5)])
def test_second_orders_are_those_of_the_cookbook(kind, hz, gain_db, q):
    (section,) = band_sections(kind, frequency_hz=hz, sample_rate=RATE, gain_db=gain_db, q=q)
    top, bottom = cookbook(kind, hz, gain_db, q)
    np.testing.assert_allclose(section, [*top / bottom[0], *bottom / bottom[0]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["highpass", "lowpass"])
@pytest.mark.parametrize("order", [1, 3, 4])
def test_other_passes_are_butterworths(kind, order):
    sections = band_sections(kind, frequency_hz=800.0, sample_rate=RATE, order=order)
    known = scipy.signal.butter(order, 800.0, kind, fs=RATE, output="sos")
    at = np.geomspace(20, 20000, 200)
    np.testing.assert_allclose(
        scipy.signal.sosfreqz(sections, at, fs=RATE)[1], scipy.signal.sosfreqz(known, at, fs=RATE)[1], atol=1e-9
    )


@pytest.mark.parametrize("kind", ["lowshelf", "highshelf"])
def test_a_first_order_shelf_has_half_its_gain_at_its_frequency(kind):
    sections = band_sections(kind, frequency_hz=2000.0, sample_rate=RATE, gain_db=8.0, order=1)
    at = [1e-3, 2000.0, RATE / 2 - 1e-3]
    level_db = 20 * np.log10(np.abs(scipy.signal.sosfreqz(sections, at, fs=RATE)[1]))
    wanted = [8.0, 4.0, 0.0] if kind == "lowshelf" else [0.0, 4.0, 8.0]
    np.testing.assert_allclose(level_db, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"kind": "peak", "frequency_hz": 22050.0, "q": 1.0}, "half the sample rate"),
        ({"kind": "peak", "frequency_hz": 100.0, "q": 0.0}, "Q 0"),
        ({"kind": "lowshelf", "frequency_hz": 100.0, "order": 3}, "order 3"),
    ],
)
def test_bands_that_are_none_are_refused(how, what):
    with pytest.raises(ValueError, match=what):
        band_sections(how.pop("kind"), sample_rate=RATE, **how)
