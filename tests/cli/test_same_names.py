"""Outputs that would have one name: nothing is lost, and the line says how both can be had."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unsum.cli import run

RATE = 8000


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("mix.wav", "mix.aiff", "bass.wav", "residual.wav"):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(2 * RATE), RATE, subtype="PCM_16")
    return tmp_path


def of_mixture(name: str) -> str:
    return json.dumps({"schema": "unsum/mix/1", "mixture": {"file": f"../{name}"}})


@pytest.mark.parametrize("how", [[], ["-y"]])
def test_what_was_explained_of_a_mix_outlives_its_namesake(how, folder, capsys):
    (folder / "found").mkdir()
    session = folder / "found" / "mix.mix.json"
    session.write_text(of_mixture("mix.wav"))
    command = ["explain", str(folder / "mix.aiff"), str(folder / "bass.wav"), "-o", str(folder / "found")]
    assert run([*command, *how]) == 5
    told = capsys.readouterr().err
    assert f"{session} is of mix.wav, not of mix.aiff, and stays; write to another name or folder" in told
    assert told.count("\n") == 1
    assert session.read_text() == of_mixture("mix.wav")
    assert [path.name for path in (folder / "found").iterdir()] == ["mix.mix.json"]


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"schema": "other/1"}', '{"mixture": {"file": 5}}', "\0\xff"])
def test_what_is_no_session_is_there_like_any_other_file(content, folder, capsys):
    (folder / "found").mkdir()
    session = folder / "found" / "mix.mix.json"
    session.write_text(content)
    command = ["explain", str(folder / "mix.aiff"), str(folder / "bass.wav"), "-o", str(folder / "found")]
    assert run(command) == 5
    assert f"{session} exists; choose another name or overwrite with -y" in capsys.readouterr().err
    assert session.read_text() == content


def test_a_track_that_is_called_like_the_residual_is_refused_before_the_work(folder, capsys):
    command = ["explain", str(folder / "mix.wav"), str(folder / "residual.wav"), "-o", str(folder / "found")]
    assert run([*command, "--images"]) == 2
    told = capsys.readouterr().err
    assert "mix.residual.wav would be written for a track and for the whole; give the track another name" in told
    assert list((folder / "found").iterdir()) == []


def test_labels_and_output_of_one_name_are_refused(folder, capsys):
    target = str(folder / "x.wav")
    command = ["align", str(folder / "mix.wav"), str(folder / "bass.wav"), "-o", target, "--labels", target]
    assert run(command) == 2
    assert "give them different names" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["remove", "mix.wav", "bass.wav", "-o", "absent/left.wav"],
        ["align", "mix.wav", "bass.wav", "-o", "absent/in time.wav"],
        ["explain", "mix.wav", "bass.wav", "-o", "absent/deeper"],
        ["remove", "mix.wav", "bass.wav", "--out-dir", "absent/deeper"],
    ],
)
def test_a_folder_that_is_missing_is_named_and_not_made(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run(command) == 3
    told = capsys.readouterr().err
    assert "absent" in told
    assert "make it first" in told
    assert told.count("\n") == 1
    assert not (folder / "absent").exists()
