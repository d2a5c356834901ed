"""Which length of filter is chosen, and how deep it is said to reach."""

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.estimators.fir import Alignment, choose_order, gather
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
