"""The examples that --help shows, typed as they stand beside such files: each does what is said of it."""

import importlib
import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scenes

from unsum.cli import COMMANDS, run

RATE = 8000
SECONDS = 5


def examples() -> list[str]:
    """The calls of all pages, in their order."""
    calls = []
    for name in COMMANDS:
        told = getattr(importlib.import_module(f"unsum.cli.{name}"), "EXAMPLES", "")
        calls += re.findall(r"^ +(unsum .+?)(?:  .*)?$", told, flags=re.MULTILINE)
    return calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ffmpeg) -> Path:
    """All files that the examples name; a folder for each job, as people have them."""
    rng = np.random.default_rng(17)
    path = tmp_path_factory.mktemp("examples")
    for job in ("parties", "mixes"):
        (path / job).mkdir()

    def music(peak: int) -> np.ndarray:
        return scenes.music_like(rng, SECONDS * RATE, rate=RATE, peak=peak)

    def write(name: str, *streams: np.ndarray, **how) -> None:
        scenes.write_recording(path / name, streams, ffmpeg=ffmpeg, **{"layouts": "mono", "rate": RATE, **how})

    song, other, talk = music(8000), music(8000), scenes.speech_like(rng, SECONDS * RATE, rate=RATE, peak=4000)
    late = np.pad(song, ((0, 0), (700, 0)))[:, : song.shape[1]]
    tracks = {name: music(6000) for name in ("drums", "bass", "keys")}
    write("parties/party.mp4", talk + late, video=True)
    write("parties/call.mkv", talk, talk + late)
    write("parties/song.flac", song)
    write("parties/other.flac", other)
    write("parties/jingle.mp3", song, codec="mp3")
    write("mixes/mix.wav", sum(tracks.values(), np.zeros_like(song)), codec="pcm")
    for name, track in tracks.items():
        write(f"mixes/{name}.wav", track, codec="pcm")
        write(f"mixes/{name}.flac", track)
    (path / "mixes" / "song.toml").write_text('bits = 16\n[tracks.drums]\nfile = "drums.wav"\ngain_db = -6\n')
    return path


def test_there_are_examples_of_every_command_that_writes():
    assert {call.split()[1] for call in examples()} >= {"remove", "align", "explain", "render"}


def test_the_examples_do_what_they_say(folder, monkeypatch, capsys):
    for call in examples():
        monkeypatch.chdir(folder / ("mixes" if "mix.wav" in call or "song.toml" in call else "parties"))
        words = shlex.split(call)[1:]
        before = {path.name for path in folder.rglob("*")}
        # As a shell does it.
        words = [name for word in words for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        assert run([*words, "-y"]) == 0, f"{call}: {capsys.readouterr().err}"
        assert capsys.readouterr().out
        named = [Path(word).name for flag, word in pairwise(words) if flag in ("-o", "--labels")]
        assert set(named) <= {path.name for path in folder.rglob("*")}, call
        if call.startswith("unsum align party.mp4 song.flac") and "-o" not in words:
            assert {path.name for path in folder.rglob("*")} == before  # only tells
    assert {"party.unsum.mp4", "talk.wav", "mix.mix.json", "party.unsum.render.mp4"} <= {
        path.name for path in folder.rglob("*")
    }
