"""The command line of align: offset, clock and jumps as a user reads and keeps them."""

import inspect
import json

import numpy as np
import pytest
import scenes
import soundfile

from unsum import api
from unsum.cli import run
from unsum.cli.align import align_command

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tonal song, and recordings of it under talk: 1.25 s late, and late with another clock."""
    rng = np.random.default_rng(11)
    cloud = scenes.TonalCloud(rng, rate=RATE)
    times = np.arange(20 * RATE) / RATE
    talk = 0.02 * rng.standard_normal(20 * RATE)
    path = tmp_path_factory.mktemp("align")

    def write(name, samples):
        soundfile.write(path / name, samples, RATE, subtype="PCM_16")

    write("song.wav", cloud(times))
    write("late.wav", 0.5 * cloud(times - 1.25) * (times > 1.25) + talk)
    write("clock.wav", 0.5 * cloud((times - 1.25) * (1 + 80e-6)) * (times > 1.25) + talk)
    write("other.wav", scenes.TonalCloud(np.random.default_rng(12), rate=RATE)(times))
    return path


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_a_whole_delay_is_told_as_one(folder, capsys):
    assert run(["align", str(folder / "late.wav"), str(folder / "song.wav"), "--json"]) == 0
    found = told(capsys)["alignment"]
    assert found["kind"] == "steady"
    assert found["delay_seconds"]["value"] == pytest.approx(1.25, abs=2e-6)


def test_another_clock_is_told_in_ppm_with_its_error(folder, capsys):
    assert run(["align", str(folder / "clock.wav"), str(folder / "song.wav"), "--json"]) == 0
    found = told(capsys)["alignment"]
    assert found["kind"] == "drift"
    ppm = found["clock_ppm"]
    assert abs(ppm["value"] - 80) < max(4 * ppm["stderr"], 0.01)
    assert ppm["stderr"] < 0.1


def test_the_aligned_reference_needs_no_aligning_any_more(folder, tmp_path, capsys):
    target, labels = tmp_path / "song in time.wav", tmp_path / "labels.txt"
    command = ["align", str(folder / "clock.wav"), str(folder / "song.wav")]
    assert run([*command, "-o", str(target), "--labels", str(labels)]) == 0
    text = capsys.readouterr().out
    assert "begins at 00:00:01.250" in text
    assert max(map(len, text.splitlines())) <= 80
    assert soundfile.info(target).frames == 20 * RATE
    assert labels.read_text().split("\t")[0] == "1.250000"
    assert run(["align", str(folder / "clock.wav"), str(target), "--json"]) == 0
    found = told(capsys)["alignment"]
    assert abs(found["clock_ppm"]["value"]) < 0.05
    assert abs(found["delay_seconds"]["value"]) < 2e-6


def test_not_found_is_an_answer_with_exit_code_4_and_writes_nothing(folder, tmp_path, capsys):
    command = ["align", str(folder / "late.wav"), str(folder / "other.wav")]
    assert run(command) == 4
    assert "was not found" in capsys.readouterr().out
    assert run([*command, "-o", str(tmp_path / "x.wav")]) == 4
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(folder, tmp_path, capsys):
    (tmp_path / "x.wav").write_bytes(b"mine")
    assert run(["align", str(folder / "late.wav"), str(folder / "song.wav"), "-o", str(tmp_path / "x.wav")]) == 5
    assert (tmp_path / "x.wav").read_bytes() == b"mine"
    assert run(["align", str(folder / "late.wav"), str(folder / "song.wav"), "-o", str(folder / "song.wav"), "-y"]) != 0
    assert soundfile.info(folder / "song.wav").frames == 20 * RATE


def test_options_and_keywords_are_twins():
    options = {parameter.name for parameter in align_command.params}
    keywords = set(inspect.signature(api.align).parameters) - {"progress"}
    assert options - {"as_json", "quiet"} == keywords
