"""The command line of explain: what a user types, reads and gets."""

import inspect
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile

from unsum import api
from unsum.cli import run
from unsum.cli.explain import explain_command
from unsum.errors import InputError, OutputExistsError
from unsum.report.explanation import explanation_json, explanation_text
from unsum.report.session import load_session, mix_schema

RATE = 16000
LENGTH = 5 * RATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A mix of two tracks in 24 bit and a track that is not in it; one reverberant mix."""
    path = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(3)
    sounds = {name: 0.1 * rng.standard_normal(LENGTH) for name in ("gui tar's 😀", "bass", "other")}
    for sound in sounds.values():
        sound[-2000:] = 0
    for name, sound in sounds.items():
        soundfile.write(path / f"{name}.wav", sound, RATE, subtype="PCM_24")
    guitar, bass = (soundfile.read(path / f"{name}.wav")[0] for name in ("gui tar's 😀", "bass"))
    pan = np.radians([30.0, 60.0])
    late = np.pad(bass, (40, 0))[:LENGTH]
    mix = 0.5 * np.outer(guitar, [np.cos(pan[0]), np.sin(pan[0])]) - np.outer(late, [np.cos(pan[1]), np.sin(pan[1])])
    soundfile.write(path / "mix.wav", mix, RATE, subtype="PCM_24")
    decay = 10 ** (-3 * np.arange(3200) / (0.2 * RATE)) * rng.standard_normal(3200) * 0.05
    decay[0] = 1.0
    wet = np.convolve(guitar, decay)[:LENGTH] * 0.3
    soundfile.write(path / "wet.wav", np.stack([wet, wet], axis=1), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def command(folder):
    return ["explain", str(folder / "mix.wav"), *(str(folder / f"{n}.wav") for n in ("gui tar's 😀", "bass", "other"))]


def test_the_table_tells_gain_pan_delay_and_polarity(command, capsys):
    assert run(command) == 0
    told = capsys.readouterr().out
    guitar, bass = (next(line for line in told.splitlines() if line.startswith(name)) for name in ("gui", "bass"))
    assert guitar.split()[-6:] == ["-6.02", "L", "15.0", "0.000", *guitar.split()[-2:]]
    assert bass.split()[1:5] == ["0.00", "R", "15.0", "40.000"]
    assert bass.endswith("inv.")
    assert "other.wav is not in mix.wav" in told
    assert "what no track explains: -1" in told
    assert max(map(len, told.splitlines())) <= 80


def test_nothing_is_written_unless_a_folder_is_named(command, folder, tmp_path, monkeypatch, capsys):
    before = sorted(folder.iterdir())
    monkeypatch.chdir(tmp_path)
    assert run([*command, "-v"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert sorted(folder.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_the_session_holds_what_was_found_and_renders_the_mix_again(command, folder, tmp_path, capsys):
    out = tmp_path / "found"
    assert run([*command, "-o", str(out), "--images"]) == 0
    names = {path.name for path in out.iterdir()}
    images = {"mix.gui tar's 😀.wav", "mix.bass.wav"}
    assert names >= {"mix.mix.json", "mix.residual.wav", *images}
    assert "mix.other.wav" not in names
    document = json.loads((out / "mix.mix.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(mix_schema()).validate(document)
    guitar, bass, other = document["contributions"]
    assert document["command"] == "explain"
    assert guitar["mixer"]["pan_degrees"]["value"] == pytest.approx(30.0, abs=0.001)
    assert bass["mixer"]["polarity"] == -1
    assert bass["eq"]["kind"] == "flat"
    assert guitar["room"] is None
    assert (other["present"], other["eq"], other["mixer"]) == (False, None, None)
    mix = soundfile.read(folder / "mix.wav")[0]
    parts = [soundfile.read(out / name)[0] for name in ("mix.residual.wav", *sorted(images))]
    assert np.max(np.abs(mix - np.sum(parts, axis=0))) < 2**-23
    capsys.readouterr()
    again = [
        "render",
        str(out / "mix.mix.json"),
        "--onto",
        str(out / "mix.residual.wav"),
        "-o",
        str(tmp_path / "b.wav"),
    ]
    assert run(again) == 0
    whole = [soundfile.read(path, dtype="int32")[0] for path in (folder / "mix.wav", tmp_path / "b.wav")]
    assert np.array_equal(whole[0], whole[1])


def test_a_reverb_is_written_as_a_wav_and_comes_back_from_the_session(folder, tmp_path, capsys):
    stem = folder / "gui tar's 😀.wav"
    assert run(["explain", str(folder / "wet.wav"), str(stem), "-o", str(tmp_path), "--window", "1"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"reverb: reverberation of 0\.(19|2)", told)
    assert "over time: steady in" in told
    response, rate = soundfile.read(tmp_path / "wet.gui tar's 😀.response.wav")
    session = load_session(tmp_path / "wet.mix.json")
    part = session.analysis.model.contributions[stem.name]
    assert rate == RATE
    np.testing.assert_allclose(response.T, part.filters[:, 0], atol=1e-7)
    slope = session.rooms[stem.name].rt60
    assert slope is not None
    assert slope.seconds == pytest.approx(0.2, rel=0.1)
    curves = session.automation[stem.name]
    np.testing.assert_allclose(np.diff(curves.seconds), 0.5, atol=1e-9)
    assert np.ptp(curves.gain_db) < 0.5
    assert np.all(np.isfinite(curves.gain_stderr_db))


def test_where_no_track_is_in_the_mix_that_is_an_answer_with_exit_code_4(folder, tmp_path, capsys):
    out = tmp_path / "found"
    assert run(["explain", str(folder / "mix.wav"), str(folder / "other.wav"), "-o", str(out), "--images"]) == 4
    told = capsys.readouterr()
    assert told.err == ""
    assert "none of these tracks is in mix.wav" in told.out
    assert "other.wav is not in mix.wav (" in told.out
    (part,) = json.loads((out / "mix.mix.json").read_text(encoding="utf-8"))["contributions"]
    assert (part["reference"], part["present"], part["mixer"]) == ("other.wav", False, None)
    whole, rest = (soundfile.read(path, dtype="int32")[0] for path in (folder / "mix.wav", out / "mix.residual.wav"))
    assert np.array_equal(whole, rest)


@pytest.mark.parametrize(
    ("samples", "level", "why"),
    [
        (0, 1.0, "it has no samples"),
        (1, 1.0, "it has 1 sample; less than 0.25 s cannot be told from chance"),
        (2000, 1.0, "it has 2000 samples; less than 0.25 s cannot be told from chance"),
        (LENGTH, 0.0, "it is silent"),
    ],
)
def test_a_track_that_cannot_be_heard_says_so(samples, level, why, folder, tmp_path):
    sound = soundfile.read(folder / "other.wav")[0][:samples]
    soundfile.write(tmp_path / "track.wav", level * sound, RATE, subtype="PCM_24")
    found = api.explain(folder / "mix.wav", [folder / "bass.wav", tmp_path / "track.wav"], max_taps=64)
    assert found.analysis.model.present == ("bass.wav",)
    assert found.analysis.references["track.wav"].reason == why


@pytest.mark.parametrize(("samples", "level", "why"), [(0, 1.0, "has no samples"), (LENGTH, 0.0, "is silent")])
def test_a_mix_in_which_nothing_can_be_heard_says_so(samples, level, why, folder, tmp_path):
    sound = soundfile.read(folder / "other.wav")[0][:samples]
    soundfile.write(tmp_path / "nothing.wav", level * sound, RATE, subtype="PCM_24")
    found = api.explain(tmp_path / "nothing.wav", [folder / "bass.wav"], max_taps=64)
    assert found.analysis.references["bass.wav"].reason == f"nothing.wav {why}"


def test_json_is_one_object_and_tells_the_same(command, capsys):
    assert run([*command, "--json", "--window", "1"]) == 0
    caught = capsys.readouterr()
    told = json.loads(caught.out)
    assert caught.err == ""
    guitar, bass, other = told["tracks"]
    assert guitar["gain_db"]["value"] == pytest.approx(-6.0206, abs=0.001)
    assert bass["delay_samples_beside_eq"] == pytest.approx(40.0, abs=0.001)
    assert len(bass["automation"]["seconds"]) == len(bass["automation"]["gain_db"]) == 9
    assert other == {"track": "other.wav", "present": False, "reason": other["reason"]}
    assert told["null_db"] < -100


def test_what_exists_stays(command, tmp_path):
    (tmp_path / "mix.mix.json").write_text("precious")
    assert run([*command, "-o", str(tmp_path)]) == 5
    assert (tmp_path / "mix.mix.json").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["mix.mix.json"]


def test_a_folder_of_the_tracks_themselves_is_never_written_over(folder, tmp_path):
    """An image of `b` of the mix `a` is `a.b.wav`: a track may be called so."""
    for name, source in (("a.wav", "mix.wav"), ("b.wav", "bass.wav"), ("a.b.wav", "other.wav")):
        (tmp_path / name).write_bytes((folder / source).read_bytes())
    before = (tmp_path / "a.b.wav").read_bytes()
    call = ["explain", *(str(tmp_path / name) for name in ("a.wav", "b.wav", "a.b.wav")), "-o", str(tmp_path), "-y"]
    assert run([*call, "--images"]) == 3
    assert (tmp_path / "a.b.wav").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        (["--images"], 2, "folder"),
        (["--law", "cubic"], 2, "no pan law is called 'cubic'"),
        (["--window", "0"], 2, "window"),
        (["--window", "0.0001"], 3, "window"),
        (["--window", "50"], 3, "a window of 50 s is longer than mix.wav, which has 5.000 s"),
        (["--window", "inf"], 3, "a window of inf s is longer than mix.wav"),
        (["--max-taps", "0"], 2, "max-taps"),
    ],
)
def test_calls_that_make_no_sense_are_refused_in_words(command, options, code, what, capsys):
    assert run([*command, *options]) == code
    told = capsys.readouterr().err
    assert what in told
    assert "Traceback" not in told


@pytest.mark.parametrize("seconds", [0.0001, 5.001, 50.0])
def test_a_window_that_fits_no_frame_is_refused_before_anything_is_fitted(seconds, folder):
    told: list[str] = []
    with pytest.raises(InputError, match="window"):
        api.explain(
            folder / "mix.wav",
            [folder / "bass.wav"],
            window=seconds,
            progress=lambda done, total, what: told.append(what),
        )
    assert told == []


@pytest.fixture(scope="module")
def surround(tmp_path_factory) -> Path:
    """A stereo track in a room with six microphones: twelve paths, which no layout has channels for."""
    path = tmp_path_factory.mktemp("surround")
    rng = np.random.default_rng(8)
    dry = 0.1 * rng.standard_normal((2, LENGTH))
    dry[:, -3000:] = 0
    decay = 10 ** (-3 * np.arange(1600) / 1600)
    rooms = 0.05 * decay * rng.standard_normal((6, 2, 1600))
    rooms[:, :, 0] += 0.5 * rng.uniform(0.5, 1.0, (6, 2))
    wet = np.array([sum(np.convolve(dry[d], paths[d])[:LENGTH] for d in range(2)) for paths in rooms])
    soundfile.write(path / "pad.wav", dry.T, RATE, subtype="FLOAT")
    soundfile.write(path / "mix.wav", wet.T, RATE, subtype="FLOAT")
    return path


def test_paths_that_are_too_many_for_one_file_have_a_file_each(surround, tmp_path):
    found = api.explain(surround / "mix.wav", [surround / "pad.wav"], out_dir=tmp_path)
    (paths,) = found.responses.values()
    ways = [f"{one}-{other}" for one in ("FL", "FR") for other in ("FL", "FR", "FC", "LFE", "BL", "BR")]
    assert [path.name for path in paths] == [f"mix.pad.response.{way}.wav" for way in ways]
    assert {path.name for path in tmp_path.glob("*.wav")} == {path.name for path in paths}
    filters = found.analysis.model.contributions["pad.wav"].filters
    stored = np.array([soundfile.read(path)[0] for path in paths]).reshape(2, 6, -1)
    np.testing.assert_allclose(stored, np.swapaxes(filters, 0, 1), atol=1e-7)
    assert json.loads(explanation_json(found))["responses"] == {"pad.wav": [str(path) for path in paths]}
    assert "response of pad.wav: mix.pad.response.FR-BL.wav" in explanation_text(found)


def test_a_response_that_exists_is_told_of_before_anything_is_fitted(surround, tmp_path):
    (tmp_path / "mix.pad.response.FR-BL.wav").write_text("precious")
    told: list[str] = []
    with pytest.raises(OutputExistsError, match="FR-BL"):
        api.explain(
            surround / "mix.wav",
            [surround / "pad.wav"],
            out_dir=tmp_path,
            progress=lambda done, total, what: told.append(what),
        )
    assert told == []
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("wrong", ["missing.wav", "empty.wav", "mix.wav#a:3"])
def test_what_cannot_be_read_gives_exit_code_3(wrong, folder, capsys):
    (folder / "empty.wav").write_bytes(b"")
    assert run(["explain", str(folder / "mix.wav"), str(folder / wrong)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_options_are_the_keywords_of_the_function_they_call():
    options = {parameter.name for parameter in explain_command.params} - {"as_json", "quiet", "verbose"}
    assert options == set(inspect.signature(api.explain).parameters) - {"progress"}


def test_the_bundled_song_is_read_back_as_its_scene_says(capsys):
    song = Path(__file__).parent.parent.parent / "examples" / "song"
    scene = tomllib.loads((song / "song.toml").read_text(encoding="utf-8"))["tracks"]
    assert run(["explain", str(song / "mix.flac"), *(str(song / t["file"]) for t in scene.values()), "--json"]) == 0
    told = {track["track"]: track for track in json.loads(capsys.readouterr().out)["tracks"]}
    for wanted in scene.values():
        found = told[wanted["file"]]
        assert found["fader_db"] == pytest.approx(wanted["gain_db"], abs=0.02)
        assert found["pan_degrees"]["value"] == pytest.approx(wanted.get("pan_degrees", 45.0), abs=0.05)
        assert found["polarity"] == wanted.get("polarity", 1)
        assert found["delay_samples_beside_eq"] == pytest.approx(44100 * wanted.get("delay_seconds", 0.0), abs=0.01)
        bands = [(band["type"], band["frequency_hz"]["value"]) for band in found["eq"]["bands"]]
        assert [kind for kind, _ in bands] == [band["type"] for band in wanted.get("eq", [])]
        for (_, hz), band in zip(bands, wanted.get("eq", []), strict=True):
            assert hz == pytest.approx(band["frequency_hz"], rel=0.005)
