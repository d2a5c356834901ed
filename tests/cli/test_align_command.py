"""The command line of align: offset, clock and jumps as a user reads and keeps them."""

import inspect
import json
import re

import numpy as np
import pytest
import scenes
import soundfile

from unsum import api
from unsum.alignment import AlignedPair, write_labels
from unsum.cli import run
from unsum.cli.align import align_command
from unsum.estimators.clock_estimate import ClockEstimate
from unsum.estimators.fades import Fade
from unsum.estimators.location import Location
from unsum.model import Jump, TimeWarp
from unsum.report.alignment import alignment_json, alignment_text

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


@pytest.fixture(scope="module")
def muted(folder):
    """A recording that begins within the song, in which it is mute for four seconds: song, recording."""
    rng = np.random.default_rng(14)
    song = scenes.music_like(rng, 20 * RATE, rate=RATE, quantised=False)
    talk = scenes.speech_like(rng, 20 * RATE, rate=RATE, quantised=False)
    heard = song[:, 3 * RATE :].copy()
    heard[:, 6 * RATE : 10 * RATE] = 0
    mixed = heard + 0.3 * talk[:, : heard.shape[1]]
    scale = 0.5 / np.max(np.abs(mixed))
    soundfile.write(folder / "later\tsong.wav", 0.5 * song[0] / np.max(np.abs(song)), RATE, subtype="PCM_24")
    soundfile.write(folder / "muted.wav", scale * mixed[0], RATE, subtype="PCM_24")
    return folder / "later\tsong.wav", folder / "muted.wav"


def test_where_the_song_is_mute_is_told_and_labelled(muted, tmp_path, capsys):
    song, recording = muted
    labels = tmp_path / "labels.txt"
    assert run(["align", str(recording), str(song), "--labels", str(labels)]) == 0
    text = capsys.readouterr().out
    assert "muted.wav begins at 00:00:03.000 of later song.wav." in text
    (silence,) = [line for line in text.splitlines() if line.startswith("  silence ")]
    found = re.fullmatch(r"  silence   from 00:00:0(\S+) to 00:00:(\S+) it is not heard", silence)
    assert found is not None, silence
    assert [float(end) for end in found.groups()] == pytest.approx([6.0, 10.0], abs=0.05)
    rows = [line.split("\t") for line in labels.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["0.000000", "0.000000", "later song.wav is at its own 3.000 s"]
    assert rows[1][2] == "later song.wav is not heard"
    assert [float(end) for end in rows[1][:2]] == pytest.approx([6.0, 10.0], abs=0.05)
    assert len(rows) == 2


def test_labels_are_what_audacity_reads(tmp_path):
    warp = TimeWarp(2.0, jumps=(Jump(5.0, 0.25), Jump(9.0, -0.5)))
    clock = ClockEstimate(warp, "jumps", 2.0 * RATE, 0.1, 0.0, 0.1, -1.0, -2.0)
    location = Location(2 * RATE, present=True, confidence=1.0)
    pair = AlignedPair("rec.wav", "a\nb.wav", RATE, location, clock, silences=((6.0, 7.5), (11.0, None)))
    write_labels(pair, tmp_path / "labels.txt")
    content = (tmp_path / "labels.txt").read_bytes()
    assert b"\r" not in content
    rows = [re.fullmatch(r"(\d+\.\d{6})\t(\d+\.\d{6})\t([^\t]+)", line) for line in content.decode().splitlines()]
    assert [(float(row[1]), float(row[2])) for row in rows if row] == [(2, 2), (5, 5), (6, 7.5), (9, 9), (11, 11)]
    assert [row[3] for row in rows if row][::2] == [
        "a b.wav begins",
        "a b.wav is not heard",
        "a b.wav is not heard from here on",
    ]


@pytest.mark.parametrize(
    ("many_paths", "told"),
    [
        (False, "  delay     32000.1234 samples at 16000 Hz ± 0.1"),
        (True, "  delay     32000 samples at 16000 Hz, of the bulk of many paths, as in a room"),
    ],
)
def test_in_a_room_no_part_of_a_sample_is_told_and_no_error(many_paths, told):
    clock = ClockEstimate(TimeWarp(2.0), "steady", 32000.1234, 0.1, 0.0, 0.1, -1.0, -2.0)
    location = Location(2 * RATE, present=True, confidence=1.0)
    fade = Fade(27.5, 36.0, out=True)
    pair = AlignedPair(
        "rec.wav", "song.wav", RATE, location, clock, many_paths=many_paths, silences=((33.0, None),), fades=(fade,)
    )
    assert "  silence   from 00:00:33.000 on it is not heard, or softly" in alignment_text(pair).splitlines()
    assert "  fade      out from about 27.5 to 36.0 s" in alignment_text(pair).splitlines()
    assert told in alignment_text(pair).splitlines()
    delay = json.loads(alignment_json(pair))["alignment"]["delay_seconds"]
    assert (delay["stderr"] is None) == many_paths
