"""Clock and filter together, on sums of cosines, which can be stretched exactly."""

import tracemalloc

import numpy as np
import pytest
import scipy.signal

from unsum.dsp.time_fit import fit_filters, image_slope, newton_step, residual_rows, whitener_of
from unsum.dsp.time_rows import Excerpt, Lags, needed_reference, render, render_between, side_by_side
from unsum.dsp.warp import cutoff_for
from unsum.engine import aligned_blocks
from unsum.model import Bend, TimeWarp
from unsum.problem import ArraySource, Problem

RATE = 8000
LAGS = Lags(-32, 96)


def cloud(rng, partials=300):
    frequency, phase, size = rng.uniform(60, 3000, partials), rng.uniform(0, 7, partials), rng.uniform(0.2, 1, partials)

    def at(seconds):
        waves = np.zeros_like(seconds)
        for f, p, s in zip(frequency, phase, size, strict=True):
            waves += s * np.cos(2 * np.pi * f * seconds + p)
        return waves

    return at


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(4)
    sound = cloud(rng)
    true = TimeWarp(-1.0, 80.0)
    n = np.arange(6 * RATE)
    reference = sound(np.arange(8 * RATE) / RATE)[None]
    mixture = 0.5 * sound(true.reference_time(n / RATE))[None]
    return Excerpt(0, mixture, 0, reference), true


def fitted(excerpt, warp, lags=LAGS, **how):
    fit = fit_filters(side_by_side([excerpt], warp, lags, sample_rate=RATE, **how), lags)
    assert fit is not None
    return fit


def stepped(fit, middle):
    step = newton_step(fit, lambda t: (t - middle)[None] * 1e-6, sample_rate=RATE)
    assert step is not None
    return step


def about(true, ppm, middle=3.0):
    there = true.reference_time(middle)
    return TimeWarp(middle - there / (1 + 1e-6 * ppm), ppm)


def test_newton_finds_a_clock_that_is_off_in_two_steps(scene):
    excerpt, true = scene
    ppm = 78.0
    for _ in range(2):
        ppm += float(stepped(fitted(excerpt, about(true, ppm)), 3.0).change[0])
    assert abs(ppm - 80.0) < 1e-3


def test_the_right_clock_leaves_next_to_nothing_on_rows_not_fitted_to(scene):
    excerpt, true = scene
    right, wrong = (fitted(excerpt, warp, held_out_every=4).held_out_db for warp in (true, about(true, 70.0)))
    assert right < -100
    assert wrong > -40


def test_the_error_of_the_clock_is_as_stated():
    rng = np.random.default_rng(8)
    scores = []
    for _ in range(40):
        reference = rng.standard_normal((1, 6 * RATE))
        mixture = reference[:, :16000] + rng.standard_normal((1, 16000))
        step = stepped(fitted(Excerpt(0, mixture, 0, reference), TimeWarp(), Lags(-4, 9)), 1.0)
        scores.append(float(step.change[0] / np.sqrt(step.covariance[0, 0])))
    assert 0.7 < np.std(scores) < 1.4


def test_whole_delays_are_cut_and_not_interpolated(rng):
    reference = rng.standard_normal((2, 500))
    excerpt = Excerpt(100, np.zeros((1, 50)), 20, reference)
    np.testing.assert_array_equal(render(excerpt, TimeWarp(30 / RATE), sample_rate=RATE), reference[:, 50:100])


def test_excluded_rows_do_not_count(scene):
    excerpt, true = scene
    spoilt = Excerpt(0, excerpt.mixture.copy(), 0, excerpt.reference)
    spoilt.mixture[:, 20000:20100] = 50.0
    assert fitted(spoilt, true, excluded=[(20000, 20100)], held_out_every=4).held_out_db < -100


def test_a_silent_reference_fits_nothing(scene):
    silent = Excerpt(0, scene[0].mixture, 0, np.zeros_like(scene[0].reference))
    assert fit_filters(side_by_side([silent], TimeWarp(), LAGS, sample_rate=RATE), LAGS) is None


def test_the_whitener_undoes_a_known_colour(rng):
    noise = rng.standard_normal((1, 60000))
    coloured = np.zeros_like(noise)
    for n in range(1, noise.shape[1]):
        coloured[0, n] = 0.8 * coloured[0, n - 1] + noise[0, n]
    reference = 1e-3 * rng.standard_normal((1, 60000))
    fit = fitted(Excerpt(0, coloured, 0, reference), TimeWarp())
    np.testing.assert_allclose(whitener_of(fit)[:3], [1, -0.8, 0], atol=0.03)


def test_the_reference_that_is_needed_covers_what_is_rendered():
    warp = TimeWarp(0.5, 40000.0)
    first, last = needed_reference(9000, 17000, warp, LAGS, sample_rate=RATE)
    ends = warp.reference_time(np.array([9000 - LAGS.before, 17000 + LAGS.behind]) / RATE) * RATE
    assert first < ends[0] - 30
    assert last > ends[1] + 30


@pytest.mark.parametrize("ppm", [1000.0, -700.0, 30000.0])
def test_what_is_fitted_is_what_is_subtracted(rng, ppm):
    """Up to half the sample rate: a residual must not hold what one of both filtered away."""
    reference = rng.standard_normal((1, 4000))
    warp = TimeWarp(0.0, ppm)
    problem = Problem(
        ArraySource("mixture", np.zeros((1, 3000)), RATE, ("FC",)), (ArraySource("r", reference, RATE, ("FC",)),)
    )
    (block,) = aligned_blocks(problem, {"r": warp})
    fitted_to = render(Excerpt(500, np.zeros((1, 2000)), 0, reference), warp, sample_rate=RATE)
    np.testing.assert_allclose(fitted_to, block.references["r"][:, 500:2500], atol=1e-9)


@pytest.mark.parametrize(("ppm", "cutoff"), [(-50000.0, 1.0), (0.0, 1.0), (9999.0, 1.0), (25000.0, 1 / 1.025)])
def test_only_what_would_fold_is_filtered_away(ppm, cutoff):
    assert cutoff_for(TimeWarp(0.0, ppm)) == pytest.approx(cutoff, abs=1e-15)


def test_a_bend_counts_where_it_is_fastest():
    assert cutoff_for(TimeWarp(bend=Bend(0.0, 0.5, (0.0, 0.0, 0.02, 0.01)))) == pytest.approx(1 / 1.04, abs=1e-15)


def test_any_length_of_pieces_gives_the_same_step(scene, monkeypatch):
    excerpt, true = scene
    parts = [
        Excerpt(a, excerpt.mixture[:, a:b], 0, excerpt.reference)
        for a, b in [(0, 17000), (20000, 20900), (30000, 48000)]
    ]
    whitener = np.array([1.0, -0.7, 0.2])
    found = []
    for columns in (1 << 20, 4096, 777):
        monkeypatch.setattr("unsum.dsp.time_rows.PIECE_COLUMNS", columns)
        monkeypatch.setattr("unsum.dsp.time_fit.PIECE_COLUMNS", columns)
        rows = side_by_side(
            parts,
            about(true, 75.0),
            LAGS,
            sample_rate=RATE,
            whitener=whitener,
            held_out_every=3,
            excluded=[(900, 4000)],
        )
        fit = fit_filters(rows, LAGS)
        assert fit is not None
        step = stepped(fit, 3.0)
        found.append([fit.filters, fit.held_out_db, step.change, step.covariance, residual_rows(fit), whitener_of(fit)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-9)


def test_the_slope_is_how_fast_the_image_changes():
    rng = np.random.default_rng(11)
    frequency, phase = rng.uniform(100, 3000, 40), rng.uniform(0, 7, 40)
    seconds = np.arange(-4000, 16000) / RATE
    waves = 2 * np.pi * frequency[:, None] * seconds + phase[:, None]
    reference, slope = np.cos(waves).sum(axis=0), -(2 * np.pi * frequency[:, None] / RATE * np.sin(waves)).sum(axis=0)
    fit = fitted(Excerpt(0, 0.5 * reference[None, 4000:12000], -4000, reference[None]), TimeWarp())
    at = fit.rows.margins[0]
    np.testing.assert_allclose(image_slope(fit)[0, at : at + 8000], 0.5 * slope[4000:12000], atol=1e-3)


def test_whitened_rows_are_those_of_a_filter_over_all_of_it(rng):
    mixture, reference = rng.standard_normal((1, 3000)), rng.standard_normal((2, 5000))
    whitener = np.array([1.0, -0.9, 0.3, 0.1])
    rows = side_by_side([Excerpt(500, mixture, 0, reference)], TimeWarp(), LAGS, sample_rate=RATE, whitener=whitener)
    (piece,) = rows.pieces()
    white = [scipy.signal.fftconvolve(one, whitener[None], axes=1) for one in (mixture, reference)]
    before, _ = rows.margins
    first = 500 - before
    counting = piece.counting > 0
    np.testing.assert_allclose(piece.mixture[:, counting], white[0][:, :3000][:, 32:], atol=1e-12)
    np.testing.assert_allclose(piece.references, white[1][:, first : first + piece.references.shape[1]], atol=1e-12)
    np.testing.assert_allclose(piece.seconds, (first + np.arange(rows.n_columns)) / RATE, atol=1e-12)


def test_a_part_is_rendered_as_it_is_in_the_whole(scene):
    excerpt, true = scene
    whole = render(excerpt, true, sample_rate=RATE)
    np.testing.assert_array_equal(render_between(excerpt, true, 20000, 21000, sample_rate=RATE), whole[:, 20000:21000])
    assert not np.any(render_between(excerpt, true, -90000, -80000, sample_rate=RATE))
    assert render_between(excerpt, true, 5, 5, sample_rate=RATE).shape == (1, 0)


@pytest.mark.parametrize("warp", [TimeWarp(), TimeWarp(0.0, 50.0)])
def test_work_needs_no_more_memory_where_excerpts_are_longer(rng, monkeypatch, warp):
    monkeypatch.setattr("unsum.dsp.time_rows.PIECE_COLUMNS", 1 << 13)
    monkeypatch.setattr("unsum.dsp.time_fit.PIECE_COLUMNS", 1 << 13)

    def peak(samples):
        reference = rng.standard_normal((1, samples))
        excerpt = Excerpt(0, reference + rng.standard_normal((1, samples)), 0, reference)
        tracemalloc.start()
        fit = fitted(excerpt, warp, Lags(-4, 16))
        stepped(fit, 1.0)
        whitener_of(fit)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(20_000)  # compiles what is compiled
    # The columns that are more are 6.4 MB of mixture and reference.
    assert peak(600_000) - peak(200_000) < 1e6
