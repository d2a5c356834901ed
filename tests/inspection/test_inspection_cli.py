"""`unsum inspect` and `unsum null` as a script sees them: stdout, stderr, exit code."""

import json

import numpy as np
import pytest
import scenes
import soundfile

from unsum.cli import run

RATE = 48000


@pytest.fixture
def files(tmp_path, rng):
    sound = scenes.speech_like(rng, RATE, channels=2)
    for name, samples in (("a.wav", sound), ("b.wav", sound + 3), ("mono.wav", sound[:1])):
        soundfile.write(tmp_path / name, samples.T.astype(np.int16), RATE)
    (tmp_path / "broken.mkv").write_bytes(bytes(1000))
    return {path.name: str(path) for path in tmp_path.iterdir()}


def test_inspect_reports_and_exits_with_0(files, capsys):
    assert run(["inspect", files["a.wav"], files["b.wav"]]) == 0
    told = capsys.readouterr()
    assert "a.wav: wav" in told.out
    assert "b.wav: wav" in told.out
    assert not told.err


def test_one_unreadable_file_exits_with_3(files, capsys):
    assert run(["inspect", files["broken.mkv"]]) == 3
    told = capsys.readouterr()
    assert not told.out
    assert len(told.err.splitlines()) == 1
    assert "cannot be read" in told.err


def test_one_unreadable_file_of_several_does_not_stop_the_others(files, capsys):
    assert run(["inspect", "--json", files["broken.mkv"], files["a.wav"]]) == 6
    told = capsys.readouterr()
    first, second = json.loads(told.out)["files"]
    assert first["error"]["exit_code"] == 3
    (stream,) = second["streams"]
    assert (stream["bits"], stream["true_bits"], stream["samples"]) == (16, 16, RATE)
    assert [channel["name"] for channel in stream["channels"]] == ["FL", "FR"]


def test_null_tells_the_depth(files, capsys):
    assert run(["null", files["a.wav"], files["b.wav"]]) == 0
    out = capsys.readouterr().out
    assert "null depth -" in out
    assert "3 LSB of 16 bit" in out
    assert run(["null", files["a.wav"], files["a.wav"]]) == 0
    assert "bit-identical" in capsys.readouterr().out


def test_a_null_not_deep_enough_exits_with_4(files, capsys):
    assert run(["null", files["a.wav"], files["b.wav"], "--min-null", "-140"]) == 4
    told = capsys.readouterr()
    assert "null depth" in told.out
    assert "not as deep as -140 dB" in told.err
    assert run(["null", files["a.wav"], files["b.wav"], "--min-null", "-20"]) == 0
    assert run(["null", files["a.wav"], files["a.wav"], "--min-null", "-140"]) == 0


def test_null_as_json_is_one_object(files, capsys):
    assert run(["null", "--json", files["a.wav"], files["b.wav"]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["peak_difference_lsb"] == 3
    assert found["differing_samples"] == 2 * RATE
    assert len(found["bands"]) == 10
    assert len(found["seconds"]) == 1


def test_what_cannot_be_compared_exits_with_3(files, capsys):
    assert run(["null", files["a.wav"], files["mono.wav"]]) == 3
    assert "choose as many of each" in capsys.readouterr().err
    assert run(["null", files["a.wav"], "nowhere.wav"]) == 3
    assert "no such file" in capsys.readouterr().err
