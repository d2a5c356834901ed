"""Solving: what the streams determine, held against the mixing itself and against numpy's linear algebra."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsum.layouts import layout_channels
from unsum.streams.equations import Equations, SourceChannel, StreamChannel, mixing_equations
from unsum.streams.recipe import parse_recipe
from unsum.streams.solve import Combination, Solution, rounding_bound, solve

ARTICLE = """
[sources]
zoom = "mono"
voice = "stereo"
desktop = "7.1"
[streams]
0 = "desktop + desktop[FL,FR] + zoom"
1 = "voice + desktop[FL,FR] + zoom"
2 = "desktop[FL,FR] + zoom"
"""
SEVEN_ONE = layout_channels("7.1")


def equations_of(sources: str, *sums: str, layout: str = "stereo") -> Equations:
    lines = [f'{i} = "{text}"' for i, text in enumerate(sums)]
    recipe = parse_recipe("\n".join(["[sources]", sources, "[streams]", *lines]))
    return mixing_equations(recipe, dict.fromkeys(range(len(sums)), layout_channels(layout)))


def found(equations: Equations, solution: Solution) -> dict[str, str]:
    return {equations.label(unknown): str(combination) for unknown, combination in solution.determined.items()}


def reasons(equations: Equations, solution: Solution) -> dict[str, str]:
    return {equations.label(unknown): text for unknown, text in solution.undetermined.items()}


# --- the article's case, worked by hand ---


def test_the_articles_sources_come_from_these_differences():
    equations = mixing_equations(parse_recipe(ARTICLE), dict.fromkeys(range(3), SEVEN_ONE))
    solution = solve(equations)
    assert found(equations, solution) == {
        "zoom": "2*s2.FL - s0.FL",
        "voice.FL": "s1.FL - s2.FL",
        "voice.FR": "s1.FR - s2.FR",
        "desktop.FL": "s0.FL - s2.FL",
        "desktop.FR": "s0.FR - s2.FR",
        "desktop.FC": "s0.FC",
        "desktop.LFE": "s0.LFE",
        "desktop.BL": "s0.BL",
        "desktop.BR": "s0.BR",
        "desktop.SL": "s0.SL",
        "desktop.SR": "s0.SR",
    }
    assert solution.undetermined == {}
    assert solution.sums == ()
    assert solution.rebuilt == {0, 1, 2}


def test_the_articles_checks_are_the_silent_channels_and_zoom_left_and_right():
    solution = solve(mixing_equations(parse_recipe(ARTICLE), dict.fromkeys(range(3), SEVEN_ONE)))
    silent = {f"s{stream}.{channel} = 0" for stream in (1, 2) for channel in SEVEN_ONE[2:]}
    zoom = "s0.FL - 2*s2.FL - s0.FR + 2*s2.FR = 0"
    assert {str(check) for check in solution.checks} == silent | {zoom}
    assert [str(check) for check in solution.checks if check.shows_rounding] == [zoom]


def test_the_articles_surround_needs_one_stream_only():
    equations = mixing_equations(parse_recipe(ARTICLE), dict.fromkeys(range(3), SEVEN_ONE))
    solution = solve(equations, streams={0, 2})
    assert found(equations, solution)["desktop.FL"] == "s0.FL - s2.FL"
    assert found(equations, solution)["zoom"] == "2*s2.FL - s0.FL"
    assert reasons(equations, solution) == {
        "voice.FL": "appears only in stream 1, which is missing here",
        "voice.FR": "appears only in stream 1, which is missing here",
    }
    assert solution.rebuilt == {0, 2}


def test_without_the_third_stream_zoom_and_desktop_are_lost_but_the_surround_is_not():
    equations = mixing_equations(parse_recipe(ARTICLE), dict.fromkeys(range(3), SEVEN_ONE))
    solution = solve(equations, streams=[0])
    assert set(found(equations, solution)) == {f"desktop.{channel}" for channel in SEVEN_ONE[2:]}
    assert reasons(equations, solution)["zoom"] == (
        "zoom, desktop.FL and desktop.FR cannot be told apart: "
        "only 2*desktop.FL + zoom and 2*desktop.FR + zoom are known"
    )
    assert solution.rebuilt == frozenset()


# --- which combination ---


def test_left_and_right_are_got_in_the_same_way():
    equations = equations_of(
        'a = "stereo"\nb = "stereo"\nm = "mono"', "a + b + m", "b + m", "a + m", "2*m + b", "a - b"
    )
    combinations = found(equations, solve(equations))
    for source in "ab":
        assert combinations[f"{source}.FR"] == combinations[f"{source}.FL"].replace("FL", "FR")


def test_a_source_alone_in_a_stream_is_that_stream():
    equations = equations_of('a = "mono"\nb = "mono"', "a + b", "1/2*a + b", "b", "2*b")
    assert found(equations, solve(equations))["b"] == "s2.FL"


def test_half_of_a_source_is_doubled():
    equations = equations_of('a = "stereo"\nb = "stereo"', "a + b", "1/2*a")
    assert found(equations, solve(equations)) == {
        "a.FL": "2*s1.FL",
        "a.FR": "2*s1.FR",
        "b.FL": "s0.FL - 2*s1.FL",
        "b.FR": "s0.FR - 2*s1.FR",
    }


def test_a_doubled_source_is_halved():
    equations = equations_of('a = "mono"\nb = "mono"', "2*a", "a + b")
    assert found(equations, solve(equations)) == {"a": "1/2*s0.FL", "b": "s1.FL - 1/2*s0.FL"}


def test_inverted_polarity_is_undone():
    equations = equations_of('a = "mono"', "-a")
    assert found(equations, solve(equations)) == {"a": "-s0.FL"}


def test_a_shorter_combination_wins_over_smaller_numbers():
    equations = equations_of('a = "mono"\nb = "mono"\nc = "mono"', "a + 3*b", "b", "a + b + c", "b - c")
    assert found(equations, solve(equations))["a"] == "s0.FL - 3*s1.FL"


def test_whole_numbers_win_over_fractions():
    equations = equations_of('a = "mono"\nb = "mono"', "a + b", "2*b", "a + 2*b")
    assert found(equations, solve(equations))["a"] == "s2.FL - s1.FL"


def test_the_quietest_combination_averages_what_was_rounded_apart():
    equations = mixing_equations(parse_recipe(ARTICLE), dict.fromkeys(range(3), SEVEN_ONE))
    shortest, quietest = solve(equations), solve(equations, quietest=True)
    zoom = SourceChannel("zoom", "FC")
    assert str(quietest.determined[zoom]) == "s2.FL + s2.FR - 1/2*s0.FL - 1/2*s0.FR"
    assert shortest.determined[zoom].noise_gain == 5.0
    assert quietest.determined[zoom].noise_gain == 2.5
    assert quietest.checks == shortest.checks


def test_equal_streams_carry_equal_rounding_and_are_not_averaged():
    equations = equations_of('a = "mono"\nb = "mono"', "a + b", "a + b", "b", "-b")
    assert found(equations, solve(equations, quietest=True)) == {"a": "s0.FL - s2.FL", "b": "s2.FL"}


# --- what is not determined ---


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        (["a + b"], "a and b appear only as their sum"),
        (["-3*a - 3*b"], "a and b appear only as their sum"),
        (["a + 2*b"], "a and b appear only as 2*b + a"),
        (["a - b"], "a and b appear only as their difference a - b"),
        (["1/2*b - 1/3*a"], "a and b appear only as 2*a - 3*b"),
        (["a + b", "2*a + 2*b"], "a and b appear only as their sum"),
    ],
)
def test_two_sources_that_never_part_are_named_with_what_is_known_of_them(sums, reason):
    equations = equations_of('a = "mono"\nb = "mono"', *sums)
    assert reasons(equations, solve(equations)) == {"a": reason, "b": reason}


def test_a_mono_source_is_named_without_a_channel_and_a_stereo_one_with():
    equations = equations_of('zoom = "mono"\ndesktop = "stereo"', "zoom[FL] + desktop")
    solution = solve(equations)
    reason = "zoom and desktop.FL appear only as their sum"
    assert reasons(equations, solution) == {"zoom": reason, "desktop.FL": reason}
    assert found(equations, solution) == {"desktop.FR": "s0.FR"}
    assert solution.rebuilt == frozenset()


def test_three_sources_in_two_sums_cannot_be_told_apart():
    equations = equations_of('a = "mono"\nb = "mono"\nc = "mono"', "a + b", "b + c")
    reason = "a, b and c cannot be told apart: only a + b and b + c are known"
    assert reasons(equations, solve(equations)) == dict.fromkeys("abc", reason)


def test_three_sources_in_one_sum_are_known_only_as_that():
    equations = equations_of('a = "mono"\nb = "mono"\nc = "mono"', "a + b + c")
    assert set(reasons(equations, solve(equations)).values()) == {"a, b and c appear only as their sum"}


def test_separate_ambiguities_are_named_separately():
    names = "\n".join(f'{name} = "mono"' for name in "abcde")
    equations = equations_of(names, "a + b + e", "c - d + e", "e")
    solution = solve(equations)
    assert reasons(equations, solution) == {
        "a": "a and b appear only as their sum",
        "b": "a and b appear only as their sum",
        "c": "c and d appear only as their difference c - d",
        "d": "c and d appear only as their difference c - d",
    }
    assert [str(combination) for _, combination in solution.sums] == ["s0.FL - s2.FL", "s1.FL - s2.FL"]


def test_a_channel_that_no_stream_holds_is_named():
    equations = equations_of('tv = "5.1"', "tv[FL,FR]")
    solution = solve(equations)
    assert set(found(equations, solution)) == {"tv.FL", "tv.FR"}
    assert set(solution.undetermined.values()) == {"appears in no stream"}
    assert solution.rebuilt == {0}


def test_the_streams_that_hold_a_missing_source_are_listed():
    equations = equations_of('a = "mono"\nb = "mono"', "a", "b", "a + b", "b")
    assert reasons(equations, solve(equations, streams={0})) == {
        "b": "appears only in streams 1, 2 and 3, which are missing here"
    }


def test_a_missing_stream_is_rebuilt_from_what_the_others_tell():
    equations = equations_of('a = "mono"\nb = "mono"', "a", "b", "a + b")
    assert solve(equations, streams={0, 1}).rebuilt == {0, 1, 2}
    assert solve(equations, streams=()).rebuilt == frozenset()


# --- checks ---


def test_streams_that_are_the_same_sum_cannot_show_rounding():
    equations = equations_of('a = "mono"\nb = "mono"', "a + b", "a + b", "-a - b", layout="mono")
    checks = solve(equations).checks
    assert {str(check) for check in checks} == {"s0.FC - s1.FC = 0", "s0.FC + s2.FC = 0"}
    assert not any(check.shows_rounding for check in checks)


def test_a_stream_that_is_twice_another_shows_rounding():
    equations = equations_of('a = "mono"', "2*a", "a", "2*a", layout="mono")
    checks = {str(check): check.shows_rounding for check in solve(equations).checks}
    assert checks == {"s0.FC - s2.FC = 0": False, "s0.FC - 2*s1.FC = 0": True}


def test_no_check_is_left_where_every_stream_is_needed():
    assert solve(equations_of('a = "mono"\nb = "mono"', "a + b", "a - b", layout="mono")).checks == ()


def test_a_value_is_off_by_half_the_sum_of_its_numbers_at_most():
    equations = equations_of('a = "mono"\nb = "mono"', "2*a + b", "1/2*b", layout="mono")
    solution = solve(equations)
    assert str(solution.determined[SourceChannel("a", "FC")]) == "1/2*s0.FC - s1.FC"
    assert rounding_bound(solution.determined[SourceChannel("a", "FC")].terms) == 0.75
    assert rounding_bound(()) == 0.0


# --- any recipe: held against the mixing and against numpy ---

N_SAMPLES = 9


def random_equations(matrix: np.ndarray, denominator: int = 1) -> Equations:
    """Rows on FL and FR of streams in turn, one unknown a column."""
    unknowns = tuple(SourceChannel(f"u{j}", "FC") for j in range(matrix.shape[1]))
    rows = {}
    for i, row in enumerate(matrix.tolist()):
        entries = {unknown: Fraction(x, denominator) for unknown, x in zip(unknowns, row, strict=True) if x}
        rows[StreamChannel(i // 2, "FL" if i % 2 == 0 else "FR")] = entries
    return Equations(unknowns, rows)


@st.composite
def matrices(draw, max_rows=7, max_unknowns=5):
    n_rows, n_unknowns = draw(st.integers(1, max_rows)), draw(st.integers(1, max_unknowns))
    entry = st.sampled_from([0, 0, 0, 1, 1, 1, 2, -1, 3])
    row = st.lists(entry, min_size=n_unknowns, max_size=n_unknowns)
    return np.array(draw(st.lists(row, min_size=n_rows, max_size=n_rows)))


def weights(equations: Equations, terms) -> list[Fraction]:
    """A combination as one weight per row."""
    given_terms = dict(terms)
    assert len(given_terms) == len(terms) and all(given_terms.values())
    return [Fraction(given_terms.get(key, 0)) for key in equations.rows]


def combined(matrix: np.ndarray, weights: list[Fraction]) -> list[Fraction]:
    """``weights @ matrix``, exactly."""
    return [sum((w * int(x) for w, x in zip(weights, column, strict=True)), Fraction(0)) for column in matrix.T]


def in_span(vectors: np.ndarray, target: np.ndarray) -> bool:
    rank = np.linalg.matrix_rank(vectors) if len(vectors) else 0
    return bool(np.linalg.matrix_rank(np.vstack([vectors, target])) == rank)


def mixed(equations: Equations, sources: dict[SourceChannel, np.ndarray]) -> dict[StreamChannel, np.ndarray]:
    silence = np.zeros(N_SAMPLES, dtype=object)
    return {
        key: sum((gain * sources[unknown] for unknown, gain in row.items()), start=silence)
        for key, row in equations.rows.items()
    }


def evaluate(combination: Combination, streams: dict[StreamChannel, np.ndarray]) -> np.ndarray:
    return sum((gain * streams[key] for key, gain in combination.terms), start=np.zeros(N_SAMPLES, dtype=object))


@settings(max_examples=60, deadline=None)
@given(matrix=matrices(), denominator=st.integers(1, 3), quietest=st.booleans(), seed=st.integers(0, 2**16))
def test_every_claimed_combination_gives_its_source_exactly(matrix, denominator, quietest, seed):
    equations = random_equations(matrix, denominator)
    rng = np.random.default_rng(seed)
    sources = {
        unknown: np.array([Fraction(int(x)) for x in rng.integers(-(2**31), 2**31, N_SAMPLES)], dtype=object)
        for unknown in equations.unknowns
    }
    streams = mixed(equations, sources)
    solution = solve(equations, quietest=quietest)
    for unknown, combination in solution.determined.items():
        assert np.array_equal(evaluate(combination, streams), sources[unknown])
    for row, combination in solution.sums:
        assert len(row) > 1
        known = sum((gain * sources[unknown] for unknown, gain in row.items()), start=0 * streams[next(iter(streams))])
        assert np.array_equal(evaluate(combination, streams), known)
    for check in solution.checks:
        assert not np.any(sum(gain * streams[key] for key, gain in check.terms))


@settings(max_examples=60, deadline=None)
@given(matrix=matrices())
def test_determined_is_what_the_rank_says_and_the_rest_really_is_ambiguous(matrix):
    equations = random_equations(matrix)
    solution = solve(equations)
    assert sorted([*solution.determined, *solution.undetermined]) == sorted(equations.unknowns)
    # e_j seen from within the null space: a change of the sources that no stream notices.
    nobody_notices = np.eye(matrix.shape[1]) - np.linalg.pinv(matrix) @ matrix
    assert np.allclose(matrix @ nobody_notices, 0)
    for j, unknown in enumerate(equations.unknowns):
        assert (unknown in solution.undetermined) == (abs(nobody_notices[j, j]) > 1e-9)
    known = np.array([[float(row.get(unknown, 0)) for unknown in equations.unknowns] for row, _ in solution.sums])
    assert len(solution.determined) + len(solution.sums) == np.linalg.matrix_rank(matrix)
    if len(known):
        assert np.linalg.matrix_rank(known) == len(known)


@settings(max_examples=60, deadline=None)
@given(matrix=matrices())
def test_the_checks_are_all_there_are_and_none_twice(matrix):
    equations = random_equations(matrix)
    checks = solve(equations).checks
    assert len(checks) == len(matrix) - np.linalg.matrix_rank(matrix)
    rows = [weights(equations, check.terms) for check in checks]
    for row, check in zip(rows, checks, strict=True):
        assert not any(combined(matrix, row))
        gains = [gain for _, gain in check.terms]
        assert np.gcd.reduce(gains) == 1 and gains[0] > 0
    if checks:
        assert np.linalg.matrix_rank(np.array(rows, dtype=float)) == len(checks)


@settings(max_examples=30, deadline=None)
@given(matrix=matrices(max_rows=6, max_unknowns=4))
def test_no_combination_with_fewer_terms_exists(matrix):
    equations = random_equations(matrix)
    for unknown, combination in solve(equations).determined.items():
        unit = np.array([other == unknown for other in equations.unknowns], dtype=float)
        for fewer in combinations(range(len(matrix)), len(combination.terms) - 1):
            assert not in_span(matrix[list(fewer)], unit)


@settings(max_examples=60, deadline=None)
@given(matrix=matrices())
def test_no_quieter_combination_exists(matrix):
    equations = random_equations(matrix)
    # Rows that are equal, or exact opposites, round alike: one of each is all there is.
    one_of_each = np.array(sorted({max(tuple(row), tuple(-row)) for row in matrix}))
    best = (np.linalg.pinv(one_of_each) ** 2).sum(axis=1)
    for unknown, combination in solve(equations, quietest=True).determined.items():
        # Fractions are rounded to the grid again, which costs as much noise as one stream has.
        divides = any(gain.denominator > 1 for _, gain in combination.terms)
        assert combination.noise_gain + divides <= best[equations.unknowns.index(unknown)] + 1 + 1e-9
        if divides:
            assert combination.noise_gain == pytest.approx(best[equations.unknowns.index(unknown)], rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(matrix=matrices(), seed=st.integers(0, 2**16))
def test_checks_show_rounding_where_a_recorder_rounds_and_only_there(matrix, seed):
    equations = random_equations(matrix)
    sources = np.random.default_rng(seed).uniform(-1000, 1000, (matrix.shape[1], 4000))
    streams = dict(zip(equations.rows, np.rint(matrix @ sources), strict=True))
    for check in solve(equations).checks:
        residual = sum(gain * streams[key] for key, gain in check.terms)
        assert np.any(residual) == check.shows_rounding
        assert np.max(np.abs(residual)) <= rounding_bound(check.terms)


@settings(max_examples=40, deadline=None)
@given(matrix=matrices(), missing=st.sets(st.integers(0, 3)))
def test_a_missing_stream_is_never_used(matrix, missing):
    equations = random_equations(matrix)
    there = {key.stream for key in equations.rows} - missing
    solution = solve(equations, streams=there)
    used = [combination.streams for combination in solution.determined.values()]
    assert all(streams <= there for streams in [*used, *(check.streams for check in solution.checks)])
    rows = {key: row for key, row in equations.rows.items() if key.stream in there}
    alone = solve(Equations(equations.unknowns, rows))
    assert (solution.determined, solution.checks, solution.sums) == (alone.determined, alone.checks, alone.sums)


@pytest.mark.parametrize("n_rows", [20, 40])
def test_more_streams_than_can_be_searched_are_still_solved_exactly(n_rows):
    rng = np.random.default_rng(n_rows)
    matrix = rng.integers(1, 5, (n_rows, 10))
    equations = random_equations(matrix)
    solution = solve(equations)
    assert len(solution.determined) == 10
    for j, combination in enumerate(solution.determined.values()):
        assert combined(matrix, weights(equations, combination.terms)) == [int(k == j) for k in range(10)]
    assert len(solution.checks) == n_rows - 10
    for check in solution.checks:
        assert not any(combined(matrix, weights(equations, check.terms)))
