"""What a person reads of a removal: nothing more than can be stood behind."""

import json
import math
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from unsum.analysis import Analysis, ReferenceFinding, Remnant, Step
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.removal import Removal
from unsum.report.removal import removal_json, removal_text, step_lines

RATE = 8000


def removal(
    *,
    steps: tuple[Step, ...] = (Step("fir", True, 0.0, -6.3),),
    remnants: dict[str, Remnant] | None = None,
    names: tuple[str, ...] = ("song.flac",),
    taps: int = 8,
    exact: bool = False,
) -> Removal:
    silence = np.zeros((1, RATE))
    problem = Problem(
        ArraySource("party.mp4", silence, RATE, ("FC",)),
        tuple(ArraySource(name, silence, RATE, ("FC",)) for name in names),
    )
    filters = np.zeros((1, 1, taps))
    filters[0, 0, 0] = 0.5
    gains = {(0, 0): Fraction(1)} if exact else {}
    part = Contribution(True, TimeWarp(0.25), filters, 0, gains)
    model = MixModel(RATE, ("FC",), dict.fromkeys(names, part))
    findings = dict.fromkeys(names, ReferenceFinding(-3.1, 0.99, "found"))
    return Removal(problem, Analysis(model, steps, findings, -6.0, RATE, remnants=remnants or {}), None, {})


def words(*args, **kwargs) -> str:
    return " ".join(removal_text(*args, **kwargs).split())


def test_rungs_that_begin_anew_say_why():
    anew = Step("fir", True, 0.0, -21.0, begins="followed to where it skips")
    assert step_lines(anew) == [
        "  once more, followed to where it skips:",
        "  fir         0.0 dB ->   -21.0 dB   kept",
    ]
    assert len(step_lines(replace(anew, begins=""))) == 1


def test_the_depth_in_the_pauses_is_told_and_that_of_the_whole_apart_from_it():
    told = words(removal(remnants={"song.flac": Remnant(-4.0, -24.6, -31.0)}))
    assert "song.flac is in party.mp4 from 00:00:00.250, 3.1 dB below it all" in told
    assert "where least else sounds it is at least 24.6 dB softer now." in told
    assert "party.mp4 is 6.3 dB quieter now; what is left there are all other sounds, such as talk" in told
    assert "what the filters missed of song.flac" in told


@pytest.mark.parametrize("pauses_db", [-5.9, 0.0, 7.0])
def test_where_other_sounds_drown_the_remnant_no_figure_is_given_for_it(pauses_db):
    told = words(removal(remnants={"song.flac": Remnant(8.0, pauses_db, -17.0)}))
    assert "other sounds are too loud all along to tell how much softer it is now" in told
    assert "softer now." not in told.replace("how much softer it is now.", "")
    assert not re.search(r"\d dB softer", told)


def test_nothing_left_in_the_pauses_and_too_little_to_tell_are_said_as_such():
    assert "nothing of it is left" in words(removal(remnants={"song.flac": Remnant(-4.0, -math.inf, None)}))
    assert "too short to tell" in words(removal(remnants={"song.flac": Remnant(-4.0, None, -20.0)}))


def test_exact_subtraction_claims_no_filters_and_no_bounds():
    told = words(removal(exact=True, taps=1, remnants={"song.flac": Remnant(-4.0, -24.6, None)}), verbose=True)
    assert "the subtraction is exact" in told
    assert "filters" not in told
    assert "softer" not in told


def test_nothing_left_at_all_is_said_of_the_recording():
    told = words(removal(exact=True, taps=1, steps=(Step("exact", True, 0.0, -math.inf),)))
    assert "Where song.flac sounds, nothing is left of party.mp4." in told


def test_several_references_are_told_one_by_one_and_what_is_left_once():
    bounds = {"song.flac": Remnant(-4.0, -24.6, -31.0), "jingle.flac": Remnant(-1.0, -12.0, -20.0)}
    told = words(removal(names=("song.flac", "jingle.flac"), remnants=bounds))
    assert "at least 24.6 dB" in told
    assert "at least 12.0 dB" in told
    assert told.count("quieter now") == 1
    assert "Where song.flac and jingle.flac sound, party.mp4 is" in told


def test_the_bounds_are_told_where_more_is_asked_for():
    found = removal(remnants={"song.flac": Remnant(-4.0, -24.6, -31.0)})
    told = words(found, verbose=True)
    assert "what is left is 4.0 dB below its image, other sounds included" in told
    assert "other sounds included" not in words(found)
    (reference,) = json.loads(removal_json(found))["references"]
    assert reference["remnant"] == {"overall_db": -4.0, "in_pauses_db": -24.6, "fit_db": -31.0}


@pytest.mark.parametrize("left_db", [None, -math.inf])
def test_what_json_has_no_number_for_is_null(left_db):
    found = removal(remnants={"song.flac": Remnant(-4.0, left_db, None)})
    (reference,) = json.loads(removal_json(found))["references"]
    assert reference["remnant"] == {"overall_db": -4.0, "in_pauses_db": None, "fit_db": None}


@pytest.mark.parametrize(
    ("before", "after", "kept", "shown"),
    [
        (0.0, -6.3, True, ("0.0 dB", "-6.3 dB", "kept")),
        (-6.30, -6.33, True, ("-6.30 dB", "-6.33 dB", "kept")),
        (-6.31, -6.30, False, ("-6.31 dB", "-6.30 dB", "undone: no better")),
        (-6.300, -6.303, False, ("-6.300 dB", "-6.303 dB", "undone: too little to be sure")),
        (-12.0, -math.inf, True, ("-12.0 dB", "nothing", "kept")),
    ],
)
def test_a_row_shows_the_difference_that_decided(before, after, kept, shown):
    table = removal_text(removal(steps=(Step("fir", True, 0.0, -3.0), Step("reverb", kept, before, after))))
    row = next(line for line in table.splitlines() if line.startswith("  reverb"))
    found = re.fullmatch(r"  reverb +(\S+ dB|nothing) -> +(\S+ dB|nothing)   (.+)", row)
    assert found is not None, row
    assert found.groups() == shown


def test_all_lines_fit_a_terminal():
    long_name = "a song with a name that is as long as names of songs are.flac"
    bounds = {long_name: Remnant(-4.0, -24.6, -31.0)}
    told = removal_text(removal(names=(long_name,), remnants=bounds), verbose=True)
    assert max(map(len, told.splitlines())) <= 80
