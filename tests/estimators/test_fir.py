"""Which length of filter is chosen, and how deep it is said to reach."""

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.dsp.solvers import least_squares_filters
from unsum.estimators.fir import Alignment, choose_order, gather, measure_residual, refine
from unsum.model import TimeWarp
from unsum.problem import ArraySource, Problem

RATE = 16000


def test_filters_that_leave_next_to_nothing_are_compared_on_the_samples(rng):
    # The song is weak above 2.4 kHz: below some -150 dB sums over its samples cannot tell what is left from nothing.
    white = 0.1 * rng.standard_normal((1, 10 * RATE))
    low = np.rint(np.asarray(sosfilt(butter(10, 0.3, output="sos"), white)) * 2**15) / 2**15
    song = low + np.asarray(lfilter([1.0], [1.0, -0.99], low))
    pole = 0.92 * np.exp(0.2j)
    mixture = np.asarray(lfilter([1.0], np.poly([pole, np.conj(pole)]).real, song))
    problem = Problem(
        ArraySource("mix", mixture, RATE, ("FC",), bits=None), (ArraySource("song", song, RATE, ("FC",), bits=None),)
    )
    segments = (Segment(0, 8 * RATE, FIT), Segment(8 * RATE, 10 * RATE, HELD_OUT))
    alignment = Alignment(("song",), {"song": TimeWarp(0.0)}, segments)
    equations = gather(problem, alignment, first_lag=0, n_taps=1024)
    choice = choose_order(problem, alignment, equations, [(0, 128), (0, 256), (0, 512), (0, 1024)])
    assert choice.fit.filters.shape[2] == 512
    assert choice.null_db < -280
    assert [taps for taps, _ in choice.tried] == [128, 256, 512, 1024]


def test_noise_that_comes_and_goes_with_the_reference_is_told_by_the_variance(rng):
    # One sound in ten: where the reference is loud the noise is, too, and all the rest of the time tells nothing.
    n_samples, n_taps = 8 * RATE, 16
    loud = np.repeat(rng.random(40) < 0.1, n_samples // 40)
    loud[: n_samples // 40] = True
    song = np.where(loud, 1.0, 0.01) * rng.standard_normal((1, n_samples)) * 0.1
    taps = rng.standard_normal(n_taps)
    segments = (Segment(0, n_samples * 3 // 4, FIT), Segment(n_samples * 3 // 4, n_samples, HELD_OUT))
    alignment = Alignment(("song",), {"song": TimeWarp(0.0)}, segments)
    clean = lfilter(taps, [1.0], song)
    errors, told, formula, shown = [], [], [], []
    for _ in range(12):
        noise = np.where(loud, 1.0, 0.01) * rng.standard_normal((1, n_samples)) * 0.01
        both = np.concatenate([clean + noise, clean + noise])
        problem = Problem(
            ArraySource("mix", both, RATE, ("FL", "FR"), bits=None),
            (ArraySource("song", song, RATE, ("FC",), bits=None),),
        )
        equations = gather(problem, alignment, first_lag=0, n_taps=n_taps)
        choice = choose_order(problem, alignment, equations, [(0, n_taps)])
        fit = refine(problem, alignment, choice)
        assert fit.variance is not None and fit.correlation is not None
        n_fft = 2 * (fit.variance.shape[2] - 1)
        errors.append(np.abs(np.fft.rfft(fit.filters[0, 0] - taps, n_fft)) ** 2)
        told.append(fit.variance[0, 0])
        # A value that is read off the filters, as each of their taps, is as sure as the deviations together show it.
        assert fit.deviations is not None and fit.deviations.freedom == 15
        moved = np.array([np.fft.irfft(one[0, 0])[:n_taps] for one in fit.deviations.responses(n_fft // 2 + 1)])
        shown.append(np.mean((fit.filters[0, 0] - taps) ** 2) / np.mean(np.sum(moved**2, axis=0)))
        # The same noise in both channels moves their filters alike.
        assert np.mean(fit.correlation[0, 1].real) > 0.99

        def left(filters, problem=problem):
            return measure_residual(problem, alignment, filters, first_lag=0)

        plain = least_squares_filters(equations[FIT], residual=left)
        assert plain.variance is not None
        formula.append(plain.variance[0, 0])
    assert 0.4 < np.mean(errors) / np.mean(told) < 1.8
    assert np.mean(errors) > 3 * np.mean(formula)
    assert 0.3 < np.median(shown) < 1.5
