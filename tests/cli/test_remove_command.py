"""The command line of remove: what a user types, reads and gets."""

import inspect
import json

import numpy as np
import pytest
import scenes
import soundfile

from unsum import api
from unsum.cli import run
from unsum.cli.remove import remove_command

RATE = 48000


@pytest.fixture(scope="module")
def sounds():
    rng = np.random.default_rng(7)
    song = scenes.music_like(rng, 10 * RATE, channels=2, rate=RATE, peak=8000)
    talk = scenes.speech_like(rng, 10 * RATE, channels=2, rate=RATE, peak=8000)
    return song, talk


@pytest.fixture(scope="module")
def folder(sounds, tmp_path_factory, request):
    found = scenes.find_ffmpeg()
    if found is None:
        pytest.skip("no ffmpeg on the PATH and no imageio-ffmpeg installed: nothing to write recordings with")
    song, talk = sounds
    path = tmp_path_factory.mktemp("remove")
    mixed = talk.copy()
    mixed[:, 5000:] += song[:, :-5000]
    how = {"ffmpeg": found, "layouts": "stereo", "rate": RATE}
    scenes.write_recording(path / "party.mkv", [mixed], video=True, **how)
    scenes.write_recording(path / "song's (1) 😀.flac", [song], **how)
    scenes.write_recording(path / "other.flac", [talk[:, ::-1]], **how)
    return path


def test_a_song_comes_out_of_a_video_bit_for_bit(folder, sounds, tmp_path, ffmpeg, capsys):
    target = tmp_path / "talk.mkv"
    command = ["remove", str(folder / "party.mkv"), str(folder / "song's (1) 😀.flac"), "-o", str(target)]
    assert run(command) == 0
    told = capsys.readouterr().out
    assert "from 00:00:00.104" in told
    assert "exact, in integers" in told
    assert max(map(len, told.splitlines())) <= 80
    assert np.array_equal(scenes.decode_pcm(target, ffmpeg=ffmpeg), sounds[1])
    before, after = (scenes.probe_json(path) for path in (folder / "party.mkv", target))
    if before and after:
        video = [next(s["index"] for s in told["streams"] if s["codec_type"] == "video") for told in (before, after)]
        packets = [
            scenes.packet_fingerprints(path)[index]
            for path, index in zip((folder / "party.mkv", target), video, strict=True)
        ]
        assert packets[0] == packets[1]
    session = json.loads((tmp_path / "talk.mix.json").read_text())
    assert session["schema"] == "unsum/mix/1"
    assert session["contributions"][0]["timing"]["delay_seconds"]["value"] == pytest.approx(5000 / RATE)


def test_an_absent_song_is_refused_and_nothing_is_written(folder, tmp_path, capsys):
    command = ["remove", str(folder / "party.mkv"), str(folder / "other.flac"), "--out-dir", str(tmp_path)]
    assert run(command) == 4
    assert "no reference was found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_null_depth_that_is_not_reached_is_refused(folder, tmp_path, capsys):
    command = ["remove", str(folder / "party.mkv"), str(folder / "song's (1) 😀.flac")]
    assert run([*command, "--out-dir", str(tmp_path), "--min-null", "90"]) == 4
    assert "90 dB" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_images_and_json(folder, tmp_path, ffmpeg, capsys):
    command = ["remove", str(folder / "party.mkv"), str(folder / "song's (1) 😀.flac"), "--images", "--json"]
    assert run([*command, "-o", str(tmp_path / "t.flac"), "--no-sidecar"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["references"][0]["present"] and told["references"][0]["exact"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.flac", "t.song's (1) 😀.wav"]


def test_what_exists_stays(folder, tmp_path):
    target = tmp_path / "t.flac"
    target.write_text("precious")
    command = ["remove", str(folder / "party.mkv"), str(folder / "song's (1) 😀.flac"), "-o", str(target)]
    assert run(command) == 5
    assert target.read_text() == "precious"


@pytest.mark.parametrize("wrong", ["missing.flac", "empty.flac", "party.mkv#a:3"])
def test_what_cannot_be_read_gives_exit_code_3(wrong, folder, tmp_path, capsys):
    (folder / "empty.flac").write_bytes(b"")
    assert run(["remove", str(folder / "party.mkv"), str(folder / wrong), "--out-dir", str(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_options_are_the_keywords_of_the_function_they_call():
    options = {parameter.name for parameter in remove_command.params} - {"as_json", "quiet", "verbose"}
    parameters = inspect.signature(api.remove).parameters
    assert options == set(parameters) - {"progress"}


def test_a_session_that_is_there_is_refused_before_the_work(folder, tmp_path, capsys):
    (tmp_path / "t.mix.json").write_text("mine")
    command = ["remove", str(folder / "party.mkv"), str(folder / "song's (1) 😀.flac"), "-o", str(tmp_path / "t.flac")]
    assert run(command) == 5
    assert (tmp_path / "t.mix.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["t.mix.json"]


def test_a_stretch_that_is_no_stretch_is_a_usage_error(folder, capsys):
    command = ["remove", str(folder / "party.mkv"), str(folder / "other.flac"), "--exclude"]
    for wrong in ("5", "9-3", "a-b", "1:00-2:00-3:00", "1-inf"):
        assert run([*command, wrong]) == 2
        assert wrong in capsys.readouterr().err or wrong in ("9-3", "1-inf")


def test_floating_point_goes_into_flac_at_24_bits(folder, sounds, tmp_path, ffmpeg):
    song, talk = (samples / 32768.0 for samples in sounds)
    soundfile.write(tmp_path / "mix.wav", (0.5 * song + talk).T, RATE, subtype="FLOAT")
    command = ["remove", str(tmp_path / "mix.wav"), str(folder / "song's (1) 😀.flac"), "-o", str(tmp_path / "t.flac")]
    assert run([*command, "-q", "--max-rung", "gain"]) == 0
    left, _ = soundfile.read(tmp_path / "t.flac", always_2d=True)
    assert soundfile.info(tmp_path / "t.flac").subtype == "PCM_24"
    assert 10 * np.log10(np.mean((left.T - talk) ** 2) / np.mean(talk**2)) < -20


def test_an_image_that_is_there_is_refused_before_the_work(folder, tmp_path, capsys):
    (tmp_path / "t.song's (1) 😀.wav").write_text("mine")
    command = ["remove", str(folder / "party.mkv"), str(folder / "song's (1) 😀.flac"), "--images"]
    assert run([*command, "-o", str(tmp_path / "t.flac")]) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["t.song's (1) 😀.wav"]
