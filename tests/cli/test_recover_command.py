"""The command line of recover: what a user types, reads and gets."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scenes

import unsum
from unsum import api
from unsum.cli import run
from unsum.cli.recover import recover_command
from unsum.errors import Cancelled, InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
RECORDING, RECIPE = EXAMPLES / "obs-recording.mkv", EXAMPLES / "obs.toml"
TRUTH = json.loads((EXAMPLES / "obs-recording.md5.json").read_text())["md5_s16le"]


def md5_of_stream(path: Path, ffmpeg: str, stream: int) -> str:
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        f"file:{path}",
        "-map",
        f"0:a:{stream}",
        "-c:a",
        "pcm_s16le",
        "-f",
        "md5",
        "-",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().removeprefix("MD5=")


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "partial" in path.name]


def test_the_example_gives_back_every_source_bit_for_bit(tmp_path, ffmpeg, capsys):
    target = tmp_path / "fixed.mkv"
    assert run(["recover", str(RECORDING), "--recipe", str(RECIPE), "-o", str(target), "--verify"]) == 0
    told = capsys.readouterr().out
    assert "yes, 0 samples differ" in told
    assert max(map(len, told.splitlines())) <= 80
    for stream, name in enumerate(("zoom", "voice", "desktop")):
        assert md5_of_stream(target, ffmpeg, stream) == TRUTH[name]


def test_the_example_needs_no_recipe(tmp_path, ffmpeg, capsys):
    target, recipe = tmp_path / "fixed.mkv", tmp_path / "found.toml"
    assert run(["recover", str(RECORDING), "-o", str(target), "--write-recipe", str(recipe), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["files"][0]
    assert report["evidence"]
    found = {md5_of_stream(target, ffmpeg, stream) for stream in range(3)}
    assert found == set(TRUTH.values())
    again = tmp_path / "again.mkv"
    assert run(["recover", str(RECORDING), "-o", str(again), "--recipe", str(recipe), "-q"]) == 0
    assert {md5_of_stream(again, ffmpeg, stream) for stream in range(3)} == set(TRUTH.values())


def test_json_is_one_object_with_what_the_contract_names(tmp_path, capsys):
    target = tmp_path / "fixed.mkv"
    command = ["recover", str(RECORDING), "--recipe", str(RECIPE), "-o", str(target), "--verify", "--json"]
    assert run(command) == 0
    captured = capsys.readouterr()
    (report,) = json.loads(captured.out)["files"]
    assert {"input", "output", "sources", "checks", "verified", "clipped_samples", "warnings"} <= report.keys()
    assert report["output"] == str(target)
    assert report["verified"] is True
    assert report["clipped_samples"] == 0
    zoom = report["sources"][0]
    assert (zoom["name"], zoom["layout"], zoom["determined"], zoom["bits"]) == ("zoom", "mono", True, 16)
    assert zoom["combination"] == {"FC": "2*s2.FL - s0.FL"}
    assert all(check["exact"] and check["null_db"] is None for check in report["checks"])


def test_stems_come_as_files_of_their_own(tmp_path, ffmpeg):
    assert (
        run(["recover", str(RECORDING), "--recipe", str(RECIPE), "-o", str(tmp_path / "x.wav"), "--verify", "-q"]) == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.desktop.wav", "x.voice.wav", "x.zoom.wav"]
    for name, digest in TRUTH.items():
        assert md5_of_stream(tmp_path / f"x.{name}.wav", ffmpeg, 0) == digest


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert run(["recover", str(RECORDING), "--recipe", str(RECIPE), "--out-dir", str(tmp_path), "-n"]) == 0
    assert "2*s2.FL - s0.FL" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


BAD_RECIPES = {
    "misspelt": (RECIPE.read_text().replace("voice + ", "voise + "), 2, "did you mean 'voice'?"),
    "contradicted": (
        RECIPE.read_text().replace("2 = ", "9 = ").replace("9 = ", '2 = "voice" # '),
        4,
        "contradicts the recipe",
    ),
    "sign turned": (
        RECIPE.read_text().replace('2 = "desktop[FL,FR] + ', '2 = "desktop[FL,FR] - '),
        4,
        "no whole number",
    ),
    "stream missing": ('[sources]\na = "stereo"\n[streams]\n5 = "a"\n', 4, "the file has 3 audio streams (0, 1, 2)"),
    "layout missing": ('[sources]\na = "6.1"\n[streams]\n0 = "a"\n', 4, "needs BC"),
    "not TOML": ("zoom + voice", 2, "recipe"),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_a_wrong_recipe_is_refused_in_one_line(name, tmp_path, capsys):
    text, code, words = BAD_RECIPES[name]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    out = tmp_path / "out"
    out.mkdir()
    assert run(["recover", str(RECORDING), "--recipe", str(recipe), "--out-dir", str(out)]) == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert list(out.iterdir()) == []


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mkv"
    whole = RECORDING.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 40)
    elif kind == "headless":
        path.write_bytes(whole[100_000:200_000])
    elif kind == "text":
        path.write_text("not a recording\n")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "noise", "headless", "text"])
def test_what_is_no_recording_gives_one_line_and_exit_code_3(kind, tmp_path, capsys):
    path = bad_file(kind, tmp_path)
    assert run(["recover", str(path), "--recipe", str(RECIPE)]) == 3
    told = capsys.readouterr().err
    assert path.name in told
    assert told.count("\n") == 1
    assert not [other for other in tmp_path.iterdir() if other != path]


def test_a_truncated_recording_gives_what_is_there_and_says_so(tmp_path, capsys):
    short = tmp_path / "short.mkv"
    short.write_bytes(RECORDING.read_bytes()[:1_200_000])
    assert run(["recover", str(short), "--recipe", str(RECIPE), "--verify"]) == 0
    told = capsys.readouterr()
    assert "header says 00:00:12.000" in told.err
    assert "samples of stream 0, 1 where another stream is" in " ".join(told.out.split())


def test_a_file_that_is_still_written_is_refused(tmp_path):
    growing = tmp_path / "growing.mkv"
    growing.write_bytes(RECORDING.read_bytes())

    def more(done: float, total: float, what: str) -> None:
        with growing.open("ab") as file:
            file.write(b"\0" * 4096)

    with pytest.raises(InputError, match="still being recorded"):
        unsum.recover(growing, recipe=RECIPE, progress=more)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growing.mkv"]


def test_an_output_that_exists_stays_unless_overwriting_is_asked_for(tmp_path, capsys):
    target = tmp_path / "there.mkv"
    target.write_text("precious")
    command = ["recover", str(RECORDING), "--recipe", str(RECIPE), "-o", str(target), "-q"]
    assert run(command) == 5
    assert target.read_text() == "precious"
    assert "-y" in capsys.readouterr().err
    assert run([*command, "-y"]) == 0
    assert target.stat().st_size > 100_000


def test_the_input_is_never_the_output(tmp_path, capsys):
    copy = tmp_path / "same.mkv"
    copy.write_bytes(RECORDING.read_bytes())
    assert run(["recover", str(copy), "--recipe", str(RECIPE), "-o", str(copy), "-y"]) == 3
    assert copy.read_bytes() == RECORDING.read_bytes()


@pytest.mark.parametrize(
    "name",
    ["plain name.mkv", 'quo\'te "and" $dollar.mkv', "new\nline.mkv", "😀 über.mkv", "a:b%d#a:1.mkv", "-dash.mkv"],
)
def test_odd_file_names_work(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(RECORDING.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run(["recover", "--recipe", str(RECIPE), "-q", "--", name]) == 0
    assert (tmp_path / f"{Path(name).stem}.unsum.mkv").exists()
    assert leftovers(tmp_path) == []


def test_one_bad_file_of_many_does_not_stop_the_others(tmp_path, capsys):
    (tmp_path / "a.mkv").write_bytes(b"")
    (tmp_path / "b.mkv").write_bytes(RECORDING.read_bytes())
    (tmp_path / "c.unsum.mkv").write_bytes(b"written earlier, left alone")
    assert run(["recover", str(tmp_path), "--recipe", str(RECIPE), "--jobs", "2"]) == 6
    told = capsys.readouterr()
    assert "1 of 2 files failed" in told.err
    assert "a.mkv is empty" in told.err.split("1 of 2 files failed")[1]
    assert (tmp_path / "b.unsum.mkv").exists()


def test_one_name_for_many_outputs_is_a_usage_error(tmp_path, capsys):
    copies = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    for copy in copies:
        copy.write_bytes(RECORDING.read_bytes())
    assert run(["recover", *map(str, copies), "--recipe", str(RECIPE), "-o", str(tmp_path / "x.mkv")]) == 2
    assert "--out-dir" in capsys.readouterr().err


def test_cancelling_leaves_nothing(tmp_path):
    def stop(done: float, total: float, what: str) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        unsum.recover(RECORDING, recipe=RECIPE, out_dir=tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_and_exits_with_130(number, tmp_path, ffmpeg):
    long = tmp_path / "long.mkv"
    scenes.run_ffmpeg(ffmpeg, "-stream_loop", "19", "-i", str(RECORDING), "-map", "0", "-c", "copy", str(long))
    command = [
        sys.executable,
        "-m",
        "unsum",
        "recover",
        str(long),
        "--recipe",
        str(RECIPE),
        "--compression-level",
        "12",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob(".*partial*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip() == "unsum: interrupted; nothing half written was kept"
    assert [path.name for path in tmp_path.iterdir()] == ["long.mkv"]


def test_options_are_the_keywords_of_the_function_they_call():
    of_the_terminal = {"recordings", "as_json", "dry_run", "quiet", "verbose", "export_ffmpeg"}
    options = {parameter.name for parameter in recover_command.params} - of_the_terminal
    keywords = {
        name
        for function in (api.recover, api.recover_all)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert options == keywords - {"progress", "started", "finished"}


def modules_after(*arguments: str) -> set[str]:
    script = (
        "import sys; from unsum.cli import run; code = run(sys.argv[1:]); "
        "print('\\n'.join(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})
    return {name.split(".")[0] for name in done.stderr.splitlines()}


def test_help_loads_nothing_heavy():
    assert not modules_after("--help") & {"numpy", "av", "soundfile", "rich", "scipy", "numba"}
    assert not modules_after("recover", "--help") & {"numpy", "av", "soundfile", "rich"}


def test_recover_needs_neither_scipy_nor_numba(tmp_path):
    loaded = modules_after("recover", str(RECORDING), "--recipe", str(RECIPE), "--out-dir", str(tmp_path), "-q")
    assert not loaded & {"scipy", "numba", "soxr"}


def test_an_unknown_command_is_a_usage_error(capsys):
    assert run(["uncover"]) == 2
    assert run(["recover"]) == 2
    assert run(["recover", "x.mkv", "--compression-level", "13"]) == 2


def test_doctor_finds_what_recover_needs(capsys):
    assert run(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["codecs"]["libFLAC encoder"]
    assert facts["versions"]["unsum"] == unsum.__version__


def test_writing_the_recipe_never_touches_an_input(tmp_path, capsys):
    copy = tmp_path / "victim.mkv"
    copy.write_bytes(RECORDING.read_bytes())
    for more in (["-n"], ["-y"], ["-n", "-y"]):
        assert run(["recover", str(copy), "--recipe", str(RECIPE), "--write-recipe", str(copy), *more]) == 3
    assert copy.read_bytes() == RECORDING.read_bytes()
    mine = tmp_path / "mine.toml"
    mine.write_text("# my comments\n" + RECIPE.read_text())
    assert run(["recover", str(copy), "--recipe", str(RECIPE), "--write-recipe", str(mine), "-n"]) == 5
    assert mine.read_text().startswith("# my comments")
    assert run(["recover", str(copy), "--recipe", str(RECIPE), "-n", "--write-recipe", "/nowhere/a.toml"]) == 3
    assert run(["recover", str(copy), "--recipe", str(RECIPE), "-o", "x.mkv", "--write-recipe", "x.mkv"]) == 2


def test_two_recordings_of_one_name_do_not_write_over_each_other(tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.mkv").write_bytes(RECORDING.read_bytes())
    both = [str(tmp_path / folder / "same.mkv") for folder in ("a", "b")]
    out = tmp_path / "out"
    assert run(["recover", *both, "--recipe", str(RECIPE), "--out-dir", str(out), "-y", "--jobs", "2"]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in both)
    assert not out.exists()


def test_the_output_folder_is_made(tmp_path):
    assert run(["recover", str(RECORDING), "--recipe", str(RECIPE), "--out-dir", str(tmp_path / "new"), "-q"]) == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["obs-recording.unsum.mkv"]


def test_a_dry_run_tells_its_plan_as_json(tmp_path, capsys):
    command = ["recover", str(RECORDING), "--recipe", str(RECIPE), "--out-dir", str(tmp_path), "-n", "--json"]
    assert run(command) == 0
    (plan,) = json.loads(capsys.readouterr().out)["files"]
    assert plan["determined"]["zoom"] == "2*s2.FL - s0.FL"
    assert len(plan["checks"]) == 13


def test_kept_streams_need_a_container(tmp_path, capsys):
    command = ["recover", str(RECORDING), "--recipe", str(RECIPE), "-o", str(tmp_path / "x.wav"), "--keep-streams"]
    assert run(command) == 2


def test_a_recording_with_nothing_to_decode_is_said_to_be_so(tmp_path, capsys):
    tiny = tmp_path / "tiny.mkv"
    tiny.write_bytes(RECORDING.read_bytes()[:5000])
    assert run(["recover", str(tiny), "--recipe", str(RECIPE)]) == 3
    told = capsys.readouterr().err
    assert "tiny.mkv" in told
    assert "compression-level" not in told


def test_a_dry_run_of_many_goes_on_behind_a_bad_file(tmp_path, capsys):
    (tmp_path / "a.mkv").write_bytes(b"")
    (tmp_path / "b.mkv").write_bytes(RECORDING.read_bytes())
    assert run(["recover", str(tmp_path), "--recipe", str(RECIPE), "-n", "--json"]) == 6
    bad, good = json.loads(capsys.readouterr().out)["files"]
    assert bad["error"]["exit_code"] == 3
    assert good["determined"]


def test_a_name_too_long_for_the_file_system_does_not_stop_the_others(tmp_path, capsys):
    good = tmp_path / "b.mkv"
    good.write_bytes(RECORDING.read_bytes())
    command = ["recover", str(tmp_path / ("x" * 300 + ".mkv")), str(good), "--recipe", str(RECIPE)]
    assert run(command) == 6
    assert (tmp_path / "b.unsum.mkv").exists()


def test_the_recipe_in_use_is_never_overwritten(tmp_path, capsys):
    mine = tmp_path / "mine.toml"
    mine.write_text("# my comments\n" + RECIPE.read_text())
    command = ["recover", str(RECORDING), "--recipe", str(mine), "--write-recipe", str(mine), "-y"]
    assert run([*command, "--out-dir", str(tmp_path)]) == 3
    assert run([*command, "-n"]) == 3
    assert mine.read_text().startswith("# my comments")
