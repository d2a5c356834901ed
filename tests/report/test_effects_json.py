"""Equalisers, rooms and curves of a session come back bit for bit; damaged ones are refused in one line."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from unsum.analysis import Analysis, ReferenceFinding
from unsum.automation import Automation
from unsum.describe.decay import Slope
from unsum.describe.echo import Echo, Repeat
from unsum.describe.eq import Band, Curve, Equalisation, flat_equaliser
from unsum.describe.room import EnergyRatio, Octave, Room
from unsum.errors import InputError
from unsum.model import Contribution, MixModel
from unsum.report.session import RecordedFile, load_session, mix_schema, save_session

VALIDATOR = jsonschema.Draft202012Validator(mix_schema())
BANDS = (
    Band("highpass", 62.5, 0.1, q=0.7, q_stderr=0.01),
    Band("lowshelf", 200.1, 0.3, gain_db=-3.1, gain_stderr_db=0.02, order=1),
    Band("peak", 1000 / 3, 1e-7, gain_db=6.0, gain_stderr_db=1e-9, q=1.2, q_stderr=1e-300),
    Band("lowpass", 12000.0, 4.0, order=4),
)
EQ = Equalisation(
    kind="parametric",
    gain_db=-6.02,
    gain_stderr_db=0.001,
    polarity=-1,
    amplitudes=np.array([-0.5, 1 / 3]),
    delay_samples=22.594,
    delay_stderr_samples=1e-5,
    bands=BANDS,
    max_deviation_db=0.008,
    chi2=1.1,
    paths_chi2=0.9,
)
CURVE = Curve(np.geomspace(20, 20000, 100), np.sin(np.arange(100.0)), np.full(100, 0.01))
SLOPE = Slope(1.234, 0.01, -5.0, -35.0)
ROOM = Room(
    (Octave(500.0, SLOPE, None, 61.5), Octave(1000.0, None, SLOPE, None)),
    SLOPE,
    None,
    EnergyRatio(-3.2, 0.1),
    None,
    EnergyRatio(4.5, 0.2),
    pre_delay_seconds=0.02,
    arrival_seconds=-1 / 7,
)


def automation(n_frames: int) -> Automation:
    rows = np.random.default_rng(1).standard_normal((7, n_frames))
    rows[3:5, ::2] = np.nan
    return Automation(*rows)


def analysis() -> Analysis:
    part = Contribution(True, filters=np.ones((2, 1, 3)))
    return Analysis(
        MixModel(48000, ("FL", "FR"), {"a.wav": part}), (), {"a.wav": ReferenceFinding(-3.0, 1, "")}, -60, 9
    )


def saved(folder: Path, **effects) -> Path:
    path = folder / "x.mix.json"
    files = {"a.wav": RecordedFile("a.wav", 0, ("FC",), 48000)}
    mixture = RecordedFile("x.wav", 0, ("FL", "FR"), 48000)
    named: dict[str, Any] = {kind: {"a.wav": effect} for kind, effect in effects.items()}
    save_session(path, analysis(), command="explain", mixture=mixture, references=files, overwrite=True, **named)
    VALIDATOR.validate(json.loads(path.read_text()))
    return path


def assert_same(found, wanted) -> None:
    assert type(found) is type(wanted)
    for one in fields(wanted):
        mine, theirs = getattr(found, one.name), getattr(wanted, one.name)
        if isinstance(theirs, np.ndarray):
            assert mine.tobytes() == theirs.tobytes()
        elif isinstance(theirs, Curve):
            assert_same(mine, theirs)
        else:
            assert mine == theirs


@pytest.mark.parametrize("eq", [EQ, replace(EQ, kind="curve", bands=(), curve=CURVE, paths_chi2=None)])
def test_an_equaliser_comes_back_bit_for_bit(tmp_path, eq):
    assert_same(load_session(saved(tmp_path, equalisers=eq)).equalisers["a.wav"], eq)


def test_a_room_comes_back_bit_for_bit(tmp_path):
    assert load_session(saved(tmp_path, rooms=ROOM)).rooms["a.wav"] == ROOM


@pytest.mark.parametrize("n_frames", [1, 7, 500])
def test_curves_come_back_bit_for_bit_with_what_is_not_known(tmp_path, n_frames):
    wanted = automation(n_frames)
    assert_same(load_session(saved(tmp_path, automation=wanted)).automation["a.wav"], wanted)


def test_what_is_not_known_is_null(tmp_path):
    path = saved(tmp_path, equalisers=None, rooms=None, automation=automation(0))
    (entry,) = json.loads(path.read_text())["contributions"]
    assert (entry["eq"], entry["room"], entry["automation"]) == (None, None, None)
    session = load_session(path)
    assert not session.equalisers
    assert not session.rooms
    assert not session.automation


def test_an_equaliser_through_which_nothing_passes_is_null(tmp_path):
    path = saved(tmp_path, equalisers=replace(EQ, gain_db=-np.inf))
    assert json.loads(path.read_text())["contributions"][0]["eq"] is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("eq", "kind"), "loud"),
        (("eq", "bands", 0, "type"), "notch"),
        (("eq", "bands", 0, "frequency_hz"), None),
        (("eq", "gain_db", "value"), "much"),
        (("room", "octaves"), 3),
        (("room", "rt60_seconds", "upper_db"), None),
        (("automation", "rows"), ["seconds"]),
        (("automation", "values", "array"), "gone"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path, place, value):
    path = saved(tmp_path, equalisers=EQ, rooms=ROOM, automation=automation(4))
    document = json.loads(path.read_text())
    entry = document["contributions"][0]
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="damaged") as told:
        load_session(path)
    assert "contributions[0]" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_schema_refuses_a_band_that_is_none(tmp_path):
    document = json.loads(saved(tmp_path, equalisers=EQ).read_text())
    document["contributions"][0]["eq"]["bands"][0]["type"] = "notch"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


@pytest.mark.parametrize("feedback", [None, -0.6])
def test_an_echo_comes_back_with_its_direct_sound(tmp_path, feedback):
    direct = flat_equaliser(np.array([0.5, -0.25]), delay_samples=3.25, gain_stderr_db=1e-4, delay_stderr_samples=1e-5)
    repeats = (Repeat(0.12, 1e-7, -8.0, 0.001), Repeat(0.3, 1e-6, -20.5, 0.01, -1))
    echo = Echo(repeats, feedback, None if feedback is None else 1e-3, direct, -41.5)
    found = load_session(saved(tmp_path, equalisers=direct, echoes=echo)).echoes["a.wav"]
    assert (found.repeats, found.feedback, found.unexplained_db) == (repeats, feedback, -41.5)
    assert found.direct.amplitudes.tolist() == [0.5, -0.25]
    assert found.direct.delay_samples == 3.25
