"""Normal equations from one streaming pass: exact on the rows given, whatever the chunking."""

import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from oracle import coloured, design, targets

from unsum.dsp.rows import FIT, HELD_OUT, RowFeed, Segment, split_rows
from unsum.dsp.statistics import Statistics, gather_statistics, statistics_bytes
from unsum.errors import InputError

SILENT: dict[str, Any] = {"silent_before": True, "silent_after": True}


def gap(equations, references, mixture, first_lag, n_taps, segments) -> float:
    """Largest distance from the normal equations written out, relative to the energy of what was given."""
    rows = design(references, first_lag, n_taps, segments)
    matrix, rhs = rows.T @ rows, targets(mixture, segments) @ rows
    channels, references_, _ = equations.rhs.shape
    probe = np.random.default_rng(1).standard_normal((channels, references_, n_taps))
    product = equations.matvec(probe).reshape(channels, -1)
    size = np.sum(references**2) + np.sum(mixture**2)
    return max(
        np.abs(equations.dense() - matrix).max(initial=0.0) / size,
        np.abs(product - probe.reshape(channels, -1) @ matrix).max(initial=0.0) / size / np.sqrt(len(matrix)),
        np.abs(equations.rhs.reshape(channels, -1) - rhs).max(initial=0.0) / size,
        np.abs(equations.mixture_energy - np.sum(targets(mixture, segments) ** 2, axis=1)).max() / size,
    )


def spectra(equations):
    assert equations.spectra is not None
    return equations.spectra


def test_the_case_worked_by_hand():
    # y(n) = a r(n) + b r(n - 1) with r = 1, 2, 3: rows (1, 0), (2, 1), (3, 2), and the mixture 5, 6, 7.
    found = gather_statistics(np.array([[5.0, 6, 7]]), np.array([[1.0, 2, 3]]), n_taps=2, **SILENT)[FIT]
    assert found.n_rows == 3
    np.testing.assert_allclose(found.dense(), [[14, 8], [8, 5]], atol=1e-12)
    np.testing.assert_allclose(found.rhs, [[[5 + 12 + 21, 6 + 14]]], atol=1e-12)
    np.testing.assert_allclose(found.mixture_energy, [110])
    # Without the word that the reference begins there, the first row has no history and does not count.
    found = gather_statistics(np.array([[5.0, 6, 7]]), np.array([[1.0, 2, 3]]), n_taps=2)[FIT]
    assert found.n_rows == 2
    np.testing.assert_allclose(found.dense(), [[13, 8], [8, 5]], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=integers(0, 2**16),
    n_references=integers(1, 3),
    n_channels=integers(1, 2),
    first_lag=integers(-20, 20),
    n_taps=integers(1, 17),
)
def test_the_equations_are_those_of_the_rows(seed, n_references, n_channels, first_lag, n_taps):
    rng = np.random.default_rng(seed)
    n_samples = int(rng.integers(1, 120))
    references = rng.standard_normal((n_references, n_samples))
    mixture = rng.standard_normal((n_channels, n_samples))
    cuts = np.sort(rng.choice(np.arange(n_samples + 1), 6))
    segments = [
        Segment(int(a), int(b), part)
        for a, b, part in zip(cuts[:-1], cuts[1:], [FIT, HELD_OUT, FIT, FIT, HELD_OUT], strict=True)
        if b > a and (b - a) % 5
    ]
    found = gather_statistics(mixture, references, first_lag=first_lag, n_taps=n_taps, segments=segments, **SILENT)
    for part in {segment.part for segment in segments}:
        mine = [segment for segment in segments if segment.part == part]
        assert found[part].n_rows == sum(segment.stop - segment.start for segment in mine)
        assert gap(found[part], references, mixture, first_lag, n_taps, mine) < 1e-13
        skipped = int(rng.integers(0, n_taps))
        fewer = int(rng.integers(1, n_taps - skipped + 1))
        small = found[part].restrict(first_lag=first_lag + skipped, n_taps=fewer)
        assert gap(small, references, mixture, first_lag + skipped, fewer, mine) < 1e-13


def test_rows_without_history_are_left_out(rng):
    references, mixture = rng.standard_normal((2, 60)), rng.standard_normal((1, 60))
    for first_lag, first, last in ((0, 7, 60), (-5, 2, 55), (4, 11, 60), (70, 60, 60)):
        found = gather_statistics(mixture, references, first_lag=first_lag, n_taps=8)[FIT]
        segments = [Segment(first, last)]
        assert found.n_rows == last - first
        assert gap(found, references, mixture, first_lag, 8, segments) < 1e-13


def test_references_that_begin_elsewhere_are_placed_by_time(rng):
    references, mixture = rng.standard_normal((1, 300)), rng.standard_normal((1, 200))
    whole = gather_statistics(mixture, references, n_taps=9, first_lag=-3, mixture_start=1000, reference_start=950)[FIT]
    assert whole.n_rows == 200
    same = gather_statistics(mixture, references[:, 39:258], n_taps=9, first_lag=-3, reference_start=-11)[FIT]
    assert same.n_rows == 200
    np.testing.assert_allclose(whole.rhs, same.rhs, atol=1e-12)
    np.testing.assert_allclose(whole.correlations, same.correlations, atol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 509, 9_999, 65_536, 70_001])
def test_any_chunking_gives_the_same_equations(rng, block):
    n_samples = 70_000 if block > 7 else 4000
    references, mixture = rng.standard_normal((2, n_samples)), rng.standard_normal((2, n_samples))
    segments = split_rows(0, n_samples, held_out=[(1000, 1500), (40_000, 45_000)], excluded=[(2000, 2010)])
    how: dict[str, Any] = {"first_lag": -20, "n_taps": 100, "segments": segments}
    whole = gather_statistics(mixture, references, threads=1, **how)
    pass_ = Statistics(n_references=2, n_channels=2, threads=2, **how)
    for start in range(0, n_samples, block):
        pass_.add(references=references[:, start : start + block])
        # The mixture comes late, in other portions.
        if start % (2 * block) == 0:
            pass_.add(mixture[:, max(0, start - block) : start + block])
    pass_.add(mixture[:, start + block if start % (2 * block) == 0 else start :])
    for part, equations in pass_.finish().items():
        other = whole[part]
        np.testing.assert_array_equal(equations.correlations, other.correlations)
        np.testing.assert_array_equal(equations.rhs, other.rhs)
        np.testing.assert_array_equal(equations.edges, other.edges)
        np.testing.assert_array_equal(spectra(equations).pairs, spectra(other).pairs)
        np.testing.assert_array_equal(equations.mixture_energy, other.mixture_energy)


def test_many_blocks_agree_with_plain_correlation(rng):
    n_samples, n_taps = 300_000, 300
    references, mixture = coloured(rng, 2, n_samples, 0.5), rng.standard_normal((1, n_samples))
    found = gather_statistics(mixture, references, n_taps=n_taps)[FIT]
    transformed = np.fft.rfft(references, 1 << 20)
    for q, (k, j) in enumerate(((0, 0), (0, 1), (1, 1))):
        lags = np.fft.irfft(transformed[k] * np.conj(transformed[j]))
        expected = np.concatenate([lags[1 - n_taps :], lags[:n_taps]])
        np.testing.assert_allclose(found.correlations[q], expected, rtol=0, atol=1e-12 * abs(lags).max())
    late = mixture.copy()
    late[:, : n_taps - 1] = 0.0
    lags = np.fft.irfft(np.fft.rfft(late[0], 1 << 20) * np.conj(transformed[1]))
    np.testing.assert_allclose(found.rhs[0, 1], lags[:n_taps], rtol=0, atol=1e-12 * n_samples)


def test_two_passes_add_up_to_one(rng):
    references, mixture = rng.standard_normal((2, 500)), rng.standard_normal((1, 500))
    segments = (Segment(50, 200), Segment(250, 500))
    how: dict[str, Any] = {"n_taps": 12, "first_lag": -4, **SILENT}
    whole = gather_statistics(mixture, references, segments=segments, **how)[FIT]
    first, second = (gather_statistics(mixture, references, segments=(one,), **how)[FIT] for one in segments)
    both = first + second
    assert both.n_rows == whole.n_rows
    np.testing.assert_allclose(both.dense(), whole.dense(), atol=1e-11)
    np.testing.assert_allclose(spectra(both).matrix(), spectra(whole).matrix(), atol=1e-11)
    with pytest.raises(ValueError, match="only equal ones"):
        _ = both + whole.restrict(first_lag=-4, n_taps=3)


def test_residual_energy_is_that_of_the_samples(rng):
    references, mixture = rng.standard_normal((2, 400)), rng.standard_normal((2, 400))
    filters = rng.standard_normal((2, 2, 10))
    found = gather_statistics(mixture, references, n_taps=10, **SILENT)[FIT]
    left = mixture - filters.reshape(2, -1) @ design(references, 0, 10, [Segment(0, 400)]).T
    np.testing.assert_allclose(found.residual_energy(filters), np.sum(left**2, axis=1), rtol=1e-12)


def test_averaged_spectra_tell_level_and_coherence(rng):
    white = rng.standard_normal((2, 40_000))
    references = np.stack([white[0], 3 * white[0] + 4 * white[1]])
    density = spectra(gather_statistics(white[:1], references, n_taps=64)[FIT]).matrix()
    mean = density[4:-4].mean(axis=0)
    np.testing.assert_allclose(mean, [[1, 3], [3, 25]], rtol=0.05)


def test_averaged_spectra_do_not_leak_from_a_loud_band_into_a_silent_one():
    tone = np.cos(2 * np.pi * 0.05 * np.arange(20_000))[None]
    density = spectra(gather_statistics(tone, tone, n_taps=512)[FIT]).matrix()[:, 0, 0].real
    assert 10 * np.log10(density[400] / density.max()) < -150


def test_fewer_bins_keep_powers_positive_and_their_mean(rng):
    fine = spectra(gather_statistics(rng.standard_normal((1, 9000)), rng.standard_normal((3, 9000)), n_taps=700)[FIT])
    few = fine.at_bins(200).matrix()
    assert few.shape == (200, 3, 3)
    assert np.linalg.eigvalsh(few).min() > 0
    np.testing.assert_allclose(few.mean(axis=0), fine.matrix().mean(axis=0), atol=0.02)


def test_silence_and_one_sample_make_equations_of_zeros():
    silent = gather_statistics(np.zeros((1, 100)), np.zeros((2, 100)), n_taps=5)[FIT]
    assert silent.n_rows == 96
    assert not silent.dense().any()
    one = gather_statistics(np.ones((1, 1)), np.ones((1, 1)), n_taps=5)[FIT]
    assert one.n_rows == 0
    assert not one.dense().any()
    one = gather_statistics(np.full((1, 1), 2.0), np.full((1, 1), 3.0), n_taps=2, **SILENT)[FIT]
    np.testing.assert_allclose(one.dense(), [[9, 0], [0, 0]], atol=1e-14)
    empty = gather_statistics(np.zeros((1, 0)), np.zeros((1, 0)), n_taps=3)
    assert empty[FIT].n_rows == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused_with_their_place(bad):
    pass_ = Statistics(n_references=2, n_channels=1, first_lag=0, n_taps=4, segments=(Segment(0, 100),))
    pass_.add(np.zeros((1, 10)), np.zeros((2, 10)))
    block = np.zeros((2, 10))
    block[1, 3] = bad
    with pytest.raises(InputError, match=f"reference channel 1 has {bad} at sample 13"):
        pass_.add(references=block)


def test_blocks_of_other_shape_and_overlapping_segments_are_refused():
    with pytest.raises(InputError, match=r"shape \(3, 10\), expected \(2, samples\)"):
        Statistics(n_references=2, n_channels=1, first_lag=0, n_taps=4, segments=(Segment(0, 9),)).add(
            references=np.zeros((3, 10))
        )
    with pytest.raises(ValueError, match="begins before"):
        gather_statistics(np.zeros((1, 9)), np.zeros((1, 9)), n_taps=1, segments=(Segment(0, 5), Segment(4, 9)))
    with pytest.raises(ValueError, match="not within the gathered"):
        gather_statistics(np.zeros((1, 9)), np.zeros((1, 9)), n_taps=3)[FIT].restrict(first_lag=1, n_taps=3)


def test_rows_are_split_by_what_is_held_out_and_excluded():
    found = split_rows(0, 100, held_out=[(20, 40)], excluded=[(30, 32), (60, 60), (95, 200)])
    assert found == (Segment(0, 20), Segment(20, 30, HELD_OUT), Segment(32, 40, HELD_OUT), Segment(40, 95))
    assert split_rows(0, 100, excluded=[(3, 98)], shortest_samples=3) == (Segment(0, 3),)


def test_integers_and_float32_are_taken_as_they_are(rng):
    samples = rng.integers(-(2**15), 2**15, (1, 500))
    exact = gather_statistics(samples.astype(float), samples.astype(float), n_taps=3)[FIT]
    for dtype in (np.int16, np.int32, np.float32):
        given_ = gather_statistics(samples.astype(dtype), samples.astype(dtype), n_taps=3)[FIT]
        np.testing.assert_array_equal(given_.correlations, exact.correlations)


def test_memory_needed_is_known_before():
    assert statistics_bytes(n_references=8, n_channels=2, n_taps=65536, n_parts=2, n_segments=8) < 2 << 30
    assert statistics_bytes(n_references=1, n_channels=1, n_taps=1) < 16 << 20


def test_correlation_does_not_wait_for_the_compiler():
    code = "import sys, unsum.dsp.correlation; print('numba' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_thousands_of_excluded_passages_are_split_at_once(rng):
    starts = np.sort(rng.choice(1_000_000, 20_000, replace=False))
    found = split_rows(0, 1_000_000, excluded=[(int(a), int(a) + 3) for a in starts])
    excluded = np.zeros(1_000_003, bool)
    for late in range(3):
        excluded[starts + late] = True
    assert sum(one.stop - one.start for one in found) == np.count_nonzero(~excluded[:1_000_000])


def test_a_segment_has_its_history_wherever_the_one_before_it_was_cut():
    # Samples that count themselves: a piece must hold the history before its segment, for any length of the last.
    n_samples, n_taps = 4000, 300
    count = np.arange(1.0, n_samples + 1)[np.newaxis]
    for middle in range(1500, 2200, 37):
        feed = RowFeed(
            n_channels=1,
            n_references=1,
            first_lag=0,
            n_taps=n_taps,
            segments=(Segment(n_taps, middle), Segment(middle, n_samples - 50, 1)),
            piece_samples=512,
        )
        for start in range(0, n_samples, 64):
            part = count[:, start : start + 64]
            for _ in feed.add(part, part):
                for piece in feed.ready():
                    assert np.all(np.diff(piece.references) == 1)
                    assert piece.references[0, 0] > 0


@pytest.mark.parametrize("start", [0, 5_000_000, 9_990_000])
def test_what_lies_before_and_behind_all_segments_is_not_held(start):
    """A song of a minute in a recording of an hour, wherever it is."""
    rows = Segment(start, start + 10_000)
    feed = RowFeed(n_channels=1, n_references=1, first_lag=0, n_taps=16, segments=[rows], piece_samples=4096)
    block = np.ones((1, 100_000))
    tracemalloc.start()
    counted = 0
    for _ in range(100):
        for _ in feed.add(block, block):
            counted += sum(piece.n_rows for piece in feed.ready())
    feed.finish()
    counted += sum(piece.n_rows for piece in feed.ready())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counted == 10_000 - (15 if start == 0 else 0)  # the first rows have no history
    assert peak < 10 * block.nbytes
