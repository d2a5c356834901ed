"""The command line of render: what a user types, reads and gets."""

import inspect
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unsum import api
from unsum.analysis import Analysis, ReferenceFinding
from unsum.cli import run
from unsum.cli.render import render_command
from unsum.model import Contribution, MixModel
from unsum.report.session import record_file, save_session

RATE = 48000
NAME = "song = a (1) 😀.flac"


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples.T.astype(np.int16), RATE, subtype="PCM_16")
    return path


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16", always_2d=True)[0].T.astype(int)


@pytest.fixture
def party(tmp_path, rng) -> Path:
    """A session of a song that was added as it is, and the residual beside it."""
    song = write(tmp_path / NAME, rng.integers(-9000, 9000, (1, RATE)))
    write(tmp_path / "party.unsum.flac", rng.integers(-9000, 9000, (1, RATE)))
    path = tmp_path / "party.unsum.mix.json"
    part = Contribution(True, exact_gains={(0, 0): Fraction(1)}, filters=np.ones((1, 1, 1)))
    analysis = Analysis(
        MixModel(RATE, ("FC",), {NAME: part}), (), {NAME: ReferenceFinding(-3.0, 1.0, "found")}, -3.0, RATE
    )
    file = record_file(song, session=path, channels=("FC",), sample_rate=RATE, samples=RATE, bits=16)
    save_session(path, analysis, command="remove", mixture=file, references={NAME: file})
    return path


def test_the_mixture_is_put_together_again(party, tmp_path, capsys):
    assert run(["render", str(party), "--onto", str(tmp_path / "party.unsum.flac")]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    words = " ".join(told.out.split())
    assert words.startswith("party.unsum.render.flac: FLAC 16 bit, 00:00:01.000, peak -")
    assert "dBFS; in integers" in words
    assert words.endswith("added to party.unsum.flac")
    assert max(map(len, told.out.splitlines())) <= 80
    wanted = read(tmp_path / NAME) + read(tmp_path / "party.unsum.flac")
    assert np.array_equal(read(tmp_path / "party.unsum.render.flac"), wanted)


def test_another_song_takes_the_place_of_one_whose_name_holds_an_equals_sign(party, tmp_path, rng, capsys):
    other = write(tmp_path / "karaoke=1.wav", rng.integers(-9000, 9000, (1, RATE)))
    target = tmp_path / "out" / "heard.wav"
    target.parent.mkdir()
    assert run(["render", str(party), "--with", f"{NAME}={other}", "-o", str(target), "--images"]) == 0
    assert f"karaoke=1.wav in the place of {NAME}" in capsys.readouterr().out
    assert np.array_equal(read(target), read(other))
    assert sorted(path.name for path in target.parent.iterdir()) == ["heard.song = a (1) 😀.wav", "heard.wav"]


def test_json_is_all_there_is_on_stdout(party, tmp_path, capsys):
    assert run(["render", str(party), "--json", "--out-dir", str(tmp_path / "new")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["output"] == str(tmp_path / "new" / "party.unsum.render.wav")
    assert told["references"] == [{"reference": NAME, "file": str(tmp_path / NAME), "replaced": False}]
    assert (told["onto"], told["exact"], told["bits"], told["samples"]) == (None, True, 16, RATE)
    peak = np.abs(read(tmp_path / NAME)).max() / 2**15
    assert told["peak_dbfs"] == pytest.approx(20 * np.log10(peak))


def test_quiet_says_nothing_and_silence_has_no_peak(party, tmp_path, capsys):
    still = write(tmp_path / "still.wav", np.zeros((1, RATE)))
    assert run(["render", str(party), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["render", str(party), "-y", "--with", f"{NAME}={still}"]) == 0
    assert "silent" in capsys.readouterr().out
    assert run(["render", str(party), "-y", "--json", "--with", f"{NAME}={still}"]) == 0
    assert json.loads(capsys.readouterr().out)["peak_dbfs"] is None


WRONG = {
    "no session": (["{folder}/lost.mix.json"], 3, "no such file"),
    "no session by its suffix": ([f"{{folder}}/{NAME}"], 2, "give the mix.json"),
    "no pair": (["{session}", "--with", "other.flac"], 2, "write --with NAME=FILE"),
    "no file": (["{session}", "--with", f"{NAME}="], 2, "write --with NAME=FILE"),
    "no reference": (["{session}", "--with", "other.flac=x.flac"], 2, f"it has {NAME}"),
    "twice": (["{session}", "--with", f"{NAME}=a.wav", "--with", f"{NAME}=b.wav"], 2, "two files for"),
    "missing stem": (["{session}", "--with", f"{NAME}={{folder}}/lost.wav"], 3, "lost.wav"),
    "missing residual": (["{session}", "--onto", "{folder}/lost.wav"], 3, "lost.wav"),
    "both places": (["{session}", "-o", "{folder}/a.wav", "--out-dir", "{folder}"], 2, "exclude each other"),
    "no format": (["{session}", "-o", "{folder}/a.mp3"], 2, "cannot write '.mp3'"),
    "no folder": (["{session}", "-o", "{folder}/new/a.wav"], 3, "no such folder"),
    "output there": (["{session}", "-o", "{folder}/party.unsum.flac"], 5, "overwrite with -y"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line_with_its_exit_code(case, party, tmp_path, capsys):
    arguments, code, words = WRONG[case]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    filled = [argument.format(session=party, folder=tmp_path) for argument in arguments]
    assert run(["render", *filled]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert words in told.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_song_that_changed_is_refused_in_one_line(party, tmp_path, capsys):
    write(tmp_path / NAME, np.zeros((1, RATE)))
    assert run(["render", str(party)]) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"--with '{NAME}=FILE'" in told


def test_options_are_the_keywords_of_the_function_they_call():
    options = {parameter.name for parameter in render_command.params} - {"as_json", "quiet"}
    assert options == set(inspect.signature(api.render).parameters) - {"progress"}
