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


@pytest.fixture
def namesakes(sounds, tmp_path):
    """Two recordings that differ in their suffix only, with a song in each of them."""
    song, talk = sounds
    for name, gain in (("mix.wav", 1), ("mix.aiff", -1)):
        mixed = talk[:, : 4 * RATE] + gain * song[:, : 4 * RATE]
        soundfile.write(tmp_path / name, mixed.T.astype(np.int16), RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "song.wav", song[:, : 4 * RATE].T.astype(np.int16), RATE, subtype="PCM_16")
    return tmp_path


def test_what_was_found_of_a_recording_outlives_its_namesake(namesakes, capsys):
    def remove(*arguments: str) -> int:
        return run(
            ["remove", *(str(namesakes / name) for name in arguments[:2]), "--max-rung", "exact", *arguments[2:]]
        )

    session = namesakes / "mix.unsum.mix.json"
    assert remove("mix.wav", "song.wav", "-q") == 0
    kept = session.read_bytes()
    for how in ([], ["-y"]):
        capsys.readouterr()
        assert remove("mix.aiff", "song.wav", *how) == 5
        told = capsys.readouterr().err
        assert f"{session} is of mix.wav, not of mix.aiff, and stays" in told
        assert told.count("\n") == 1
    assert session.read_bytes() == kept
    assert not (namesakes / "mix.unsum.aiff").exists()
    # Both ways out, and its own recording once more.
    assert remove("mix.aiff", "song.wav", "-q", "--no-sidecar") == 0
    assert remove("mix.aiff", "song.wav", "-q", "-o", str(namesakes / "other.aiff")) == 0
    assert session.read_bytes() == kept
    assert remove("mix.aiff", "song.wav", "-q", "-y") == 5
    assert remove("mix.wav", "song.wav", "-q", "-y") == 0


def test_an_output_that_is_named_again_is_written_over_with_its_session(namesakes):
    for name in ("mix.wav", "mix.aiff"):
        command = ["remove", str(namesakes / name), str(namesakes / "song.wav"), "--max-rung", "exact", "-q", "-y"]
        assert run([*command, "-o", str(namesakes / "out.wav")]) == 0
    assert json.loads((namesakes / "out.mix.json").read_text())["mixture"]["file"] == "mix.aiff"


def test_how_far_down_the_song_is_bounds_the_truth(tmp_path, capsys):
    """Talk with pauses over a song that was filtered: the residual is taken apart with the truth."""
    rng = np.random.default_rng(3)
    rate, n = 16000, 16000 * 16
    song = scenes.music_like(rng, n, channels=1, rate=rate, peak=8000) / 32768
    speaking = np.arange(n) / rate % 1.6 > 0.4
    talk = 0.1 * rng.standard_normal((1, n)) * speaking
    heard = np.convolve(song[0], rng.standard_normal(64) * np.exp(-np.arange(64) / 12))[None, :n]
    heard *= 0.3 * np.std(talk) / np.std(heard)
    for name, sound in (("mix.wav", heard + talk), ("song.wav", song)):
        soundfile.write(tmp_path / name, sound.T, rate, subtype="FLOAT")
    command = ["remove", str(tmp_path / "mix.wav"), str(tmp_path / "song.wav"), "-o", str(tmp_path / "left.wav")]
    assert run([*command, "--json", "--max-rung", "fir"]) == 0
    bounds = json.loads(capsys.readouterr().out)["references"][0]["remnant"]
    left, _ = soundfile.read(tmp_path / "left.wav", always_2d=True)
    remnant_db = 10 * np.log10(np.mean((left.T - talk) ** 2) / np.mean(heard**2))
    assert bounds["fit_db"] - 3 < remnant_db < bounds["in_pauses_db"] + 1
    assert bounds["in_pauses_db"] < remnant_db + 6
    assert bounds["overall_db"] > 5
