"""What remove says and leaves behind when its input is bad, its output cannot be, or somebody stops it.

Always: the documented exit code, one line on stderr that names what is wrong, no half file, inputs untouched.
"""

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scenes
import soundfile

from unsum.cli import run

RATE = 16000
SECONDS = 4
DELAY = 3000


@dataclass(frozen=True)
class Folder:
    """Good files that each test harms copies of."""

    path: Path
    song: np.ndarray
    talk: np.ndarray
    mixed: np.ndarray
    ffmpeg: str

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write(self, name: str, streams: np.ndarray | list[np.ndarray], **how) -> Path:
        streams = streams if isinstance(streams, list) else [streams]
        return scenes.write_recording(
            self / name, streams, ffmpeg=self.ffmpeg, **{"layouts": "stereo", "rate": RATE, **how}
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ffmpeg):
    rng = np.random.default_rng(5)
    song = scenes.music_like(rng, SECONDS * RATE, channels=2, rate=RATE, peak=8000)
    talk = scenes.speech_like(rng, SECONDS * RATE, channels=2, rate=RATE, peak=8000)
    mixed = talk.copy()
    mixed[:, DELAY:] += song[:, :-DELAY]
    folder = Folder(tmp_path_factory.mktemp("bad"), song, talk, mixed, ffmpeg)
    folder.write("mix.flac", mixed)
    folder.write("mix.mkv", mixed, video=True)
    folder.write("mix.wav", mixed, codec="pcm")
    folder.write("mix.mp3", mixed, codec="mp3")
    folder.write("song.flac", song)
    folder.write("other.flac", talk[:, ::-1])
    return folder


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str
    written: list[str]


@pytest.fixture
def remove(folder, tmp_path, capsys) -> Callable[..., Outcome]:
    """Run the command into an empty folder; whatever comes of it, the inputs are as they were."""

    def remove(*arguments: object, into: Path | None = None) -> Outcome:
        target = tmp_path / "out" if into is None else into
        target.mkdir(exist_ok=True)
        before = _hashes(folder.path)
        code = run(["remove", "--out-dir", str(target), "--max-rung", "fir", *map(str, arguments)])
        assert _hashes(folder.path) == before
        told = capsys.readouterr()
        written = sorted(path.name for path in target.iterdir())
        assert "Traceback" not in told.err
        assert code != 1, told.err
        if code:
            assert told.err.startswith("unsum: ")
            assert told.err.count("\n") == 1
            assert told.out == ""
            assert written == []
        assert not [name for name in written if "partial" in name]
        return Outcome(code, told.out, told.err, written)

    return remove


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.blake2b(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def _with_noise_inside(path: Path, harmed: Path) -> Path:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(1).bytes(400)
    harmed.write_bytes(content)
    return harmed


# Files that are broken -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"fLaC", b"RIFF\x24\0\0\0WAVEfmt ", b"not a recording " * 300])
@pytest.mark.parametrize("place", ["mixture", "reference"])
def test_what_is_no_recording_gives_exit_code_3(content, place, folder, remove, tmp_path):
    bad = tmp_path / "bad.flac"
    bad.write_bytes(content)
    found = remove(bad, folder / "song.flac") if place == "mixture" else remove(folder / "mix.flac", bad)
    assert found.code == 3
    assert str(bad) in found.err


@pytest.mark.parametrize("name", ["mix.flac", "mix.wav", "mix.mkv"])
def test_of_a_truncated_recording_what_is_there_is_cleaned(name, folder, remove, tmp_path, ffmpeg):
    cut = tmp_path / name
    scenes.truncate(folder / name, cut, fraction=0.7)
    found = remove(cut, folder / "song.flac")
    assert found.code == 0
    left = scenes.decode_pcm(tmp_path / "out" / f"mix.unsum{cut.suffix}", ffmpeg=ffmpeg)
    assert 0.5 * SECONDS * RATE < left.shape[1] < 0.9 * SECONDS * RATE
    # Where a block of the codec is torn in two, its samples are lost; before it nothing is.
    sound = slice(0, left.shape[1] - 4608)
    assert np.array_equal(left[:, sound], folder.talk[:, : left.shape[1]][:, sound])


def test_a_truncated_recording_is_told(folder, remove, tmp_path):
    scenes.truncate(folder / "mix.flac", tmp_path / "cut.flac", fraction=0.7)
    words = " ".join(remove(tmp_path / "cut.flac", folder / "song.flac").out.split())
    assert "its header promises 64000 samples (4.000 s), but there are only" in words


@pytest.mark.parametrize("place", ["mixture", "reference"])
def test_samples_that_are_lost_are_told(place, folder, remove, tmp_path):
    harmed = _with_noise_inside(folder / ("mix.flac" if place == "mixture" else "song.flac"), tmp_path / "harmed.flac")
    found = remove(harmed, folder / "song.flac") if place == "mixture" else remove(folder / "mix.flac", harmed)
    assert found.code == 0
    words = " ".join(found.out.split())
    assert "harmed.flac is damaged: " in words
    assert re.search(r"damaged: \d+ samples missing, first at [12]\.\d+ s", words)


@pytest.mark.parametrize("name", ["mix.mkv", "mix.wav", "mix.mp3"])
def test_noise_inside_a_file_ends_in_a_result_or_in_one_line(name, folder, remove, tmp_path):
    found = remove(_with_noise_inside(folder / name, tmp_path / name), folder / "song.flac")
    assert found.code in (0, 3, 4)


def test_a_truncated_mp3_is_cleaned_or_refused(folder, remove, tmp_path):
    scenes.truncate(folder / "mix.mp3", tmp_path / "cut.mp3", fraction=0.6)
    assert remove(tmp_path / "cut.mp3", folder / "song.flac").code in (0, 4)


# Sound with nothing to find in it --------------------------------------------------------------------


def test_silence_and_what_is_unrelated_are_refused(folder, remove):
    folder.write("silent.flac", np.zeros((2, 3 * RATE), np.int32))
    assert "silent" in (found := remove(folder / "mix.flac", folder / "silent.flac")).err
    assert found.code == 4
    for mixture, reference in (("silent.flac", "song.flac"), ("mix.flac", "other.flac")):
        found = remove(folder / mixture, folder / reference)
        assert found.code == 4
        assert f"no reference was found in {mixture} ({reference}: " in found.err
        assert "nothing was written" in found.err


@pytest.mark.parametrize("samples", [1, 100, RATE // 5])
def test_less_than_a_quarter_of_a_second_is_refused(samples, folder, remove):
    part = slice(5000, 5000 + samples)
    short_song = folder.write(f"song{samples}.flac", folder.song[:, part])
    short_mix = folder.write(f"mix{samples}.flac", folder.mixed[:, part])
    for found in (remove(folder / "mix.flac", short_song), remove(short_mix, folder / "song.flac")):
        assert found.code == 4
        assert "less than 0.25 s cannot be placed" in found.err


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["mixture", "reference"])
def test_a_sample_that_is_no_number_is_named_with_its_place(bad, place, folder, remove, tmp_path):
    sound = (folder.mixed if place == "mixture" else folder.song) / 32768
    sound[1, 24_000] = bad
    soundfile.write(tmp_path / "float.wav", sound.T.astype(np.float32), RATE, subtype="FLOAT")
    mixture, reference = folder / "mix.flac", folder / "song.flac"
    pair = (tmp_path / "float.wav", reference) if place == "mixture" else (mixture, tmp_path / "float.wav")
    found = remove(*pair)
    assert found.code == 3
    assert "float.wav holds NaN or infinity at 1.500 s (sample 24000)" in found.err


def test_the_mixture_taken_out_of_itself_leaves_digital_silence(folder, remove, tmp_path, ffmpeg):
    assert remove(folder / "mix.flac", folder / "mix.flac").code == 0
    assert not scenes.decode_pcm(tmp_path / "out" / "mix.unsum.flac", ffmpeg=ffmpeg).any()


# Formats far apart -----------------------------------------------------------------------------------


def test_a_reference_at_8_khz_comes_out_of_a_mixture_at_96_khz(remove, tmp_path):
    # Cosines below 3 kHz are the same function of time at any rate.
    rng = np.random.default_rng(11)
    frequency, phase = rng.uniform(150, 3000, 60), rng.uniform(0, 2 * np.pi, 60)
    onset, length = rng.uniform(0, 5, 60), rng.uniform(0.1, 0.8, 60)

    def sound(rate: int) -> np.ndarray:
        t = np.arange(5 * rate)[:, None] / rate
        tones = np.cos(2 * np.pi * frequency * t + phase) * np.exp(-(((t - onset) / length) ** 2))
        return 0.02 * tones.sum(axis=1)

    hiss = 1e-3 * rng.standard_normal(5 * 96_000)
    soundfile.write(tmp_path / "low.wav", sound(8000), 8000, subtype="PCM_24")
    soundfile.write(tmp_path / "high.wav", sound(96_000) + hiss, 96_000, subtype="PCM_24")
    found = remove(tmp_path / "high.wav", tmp_path / "low.wav")
    assert found.code == 0
    left, rate = soundfile.read(tmp_path / "out" / "high.unsum.wav")
    assert (rate, len(left)) == (96_000, 5 * 96_000)
    middle = slice(rate // 4, -rate // 4)
    assert 10 * np.log10(np.mean((left - hiss)[middle] ** 2) / np.mean(sound(96_000)[middle] ** 2)) < -25


def test_mono_and_7_1_on_either_side(folder, remove, tmp_path, ffmpeg):
    mono = folder.write("mono.flac", folder.song[:1], layouts="mono")
    wide = np.zeros((8, folder.mixed.shape[1]), np.int32)
    wide[:3] = folder.talk[0] // 2
    wide[0, DELAY:] += folder.song[0, :-DELAY]
    wide[5, DELAY:] += folder.song[0, :-DELAY]
    assert remove(folder.write("wide.mkv", wide, layouts="7.1"), mono).code == 0
    left = scenes.decode_pcm(tmp_path / "out" / "wide.unsum.flac", ffmpeg=ffmpeg)
    assert left.shape[0] == 8
    assert np.array_equal(left[0], folder.talk[0] // 2)
    assert not left[5].any()

    song = np.zeros((8, folder.song.shape[1]), np.int32)
    song[0] = folder.song[0]
    narrow = folder.write("narrow.flac", folder.mixed[:1], layouts="mono")
    assert remove(narrow, folder.write("song8.mkv", song, layouts="7.1"), into=tmp_path / "second").code == 0
    left = scenes.decode_pcm(tmp_path / "second" / "narrow.unsum.flac", ffmpeg=ffmpeg)
    assert np.array_equal(left, folder.talk[:1])


def test_a_clipped_mixture_is_cleaned_where_it_is_not_clipped(folder, remove, tmp_path):
    gain = 2 * 32767 / np.abs(folder.mixed).max()
    loud = np.clip(np.rint(gain * folder.mixed), -32768, 32767).astype(np.int32)
    clipped = np.abs(loud).max(axis=0) >= 32767
    assert 10 < clipped.sum() < 0.02 * clipped.size
    found = remove(folder.write("loud.wav", loud, codec="pcm"), folder / "song.flac")
    assert found.code == 0
    left, _ = soundfile.read(tmp_path / "out" / "loud.unsum.wav", always_2d=True)
    error = (32768 * left.T - gain * folder.talk)[:, ~clipped]
    # Nothing of the song is left but what rounding, and a gain that is not quite known, leave.
    assert 10 * np.log10(np.mean(error**2) / np.mean((gain * folder.song) ** 2)) < -45


def test_what_flac_cannot_hold_is_told_with_the_way_out(folder, remove, tmp_path):
    # Clipped hard: where the song goes on above full scale, so does what is left once it is gone.
    loud = np.clip(12 * folder.mixed, -32768, 32767)
    words = " ".join(remove(folder.write("hard.flac", loud), folder / "song.flac").out.split())
    assert re.search(r"\d+ samples of what is left are beyond full scale and clipped in hard\.unsum\.flac", words)
    assert "write .wav or .mkv" in words
    hard = folder.write("hard.wav", loud, codec="pcm")
    assert remove(hard, folder / "song.flac", into=tmp_path / "float").code == 0
    left, _ = soundfile.read(tmp_path / "float" / "hard.unsum.wav")
    assert np.abs(left).max() > 1.05


# Where the output goes -------------------------------------------------------------------------------


def test_no_input_is_ever_written_over(folder, remove, capsys):
    before = _hashes(folder.path)
    for name in ("mix.flac", "song.flac"):
        assert run(["remove", str(folder / "mix.flac"), str(folder / "song.flac"), "-y", "-o", str(folder / name)]) == 3
        assert "inputs are never modified" in capsys.readouterr().err
    assert _hashes(folder.path) == before


@pytest.mark.parametrize("name", ["absent/left.flac", "mix.flac/left.flac", "."])
def test_a_folder_that_is_not_there_is_said_before_the_work(name, folder, capsys):
    before = time.process_time()
    code = run(["remove", str(folder / "mix.flac"), str(folder / "song.flac"), "-o", str(folder / name)])
    assert code == (2 if name == "." else 3)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert time.process_time() - before < 0.2
    assert not (folder / "absent").exists()


def test_a_folder_that_may_not_be_written_to_is_said(folder, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.access(locked, os.W_OK):
        locked = Path("/proc")  # the superuser may write anywhere but there
        if not locked.is_dir():
            pytest.skip("the superuser may write into every folder of this system")
    command = ["remove", str(folder / "mix.flac"), str(folder / "song.flac"), "-o", str(locked / "left.flac")]
    assert run(command) == 3
    told = capsys.readouterr().err
    assert told.startswith(f"unsum: cannot write into {locked}: ")
    assert told.count("\n") == 1


def _start(*arguments: object, folder: Path, largest_bytes: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        if largest_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))

    source = Path(__file__).resolve().parent.parent.parent / "src"
    return subprocess.Popen(
        [sys.executable, "-m", "unsum", "remove", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(source)},
        preexec_fn=limit,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["left.wav", "left.mkv"])
def test_a_disk_that_fills_up_leaves_nothing(name, folder, tmp_path):
    # A file may not grow beyond 300 kB, as on a full disk: writing fails in the middle.
    mixture = folder.write("sixteen.mkv", np.tile(folder.mixed, 4), video=name.endswith("mkv"))
    before = _hashes(folder.path)
    process = _start(
        mixture, folder / "song.flac", "-o", name, "--max-rung", "exact", folder=tmp_path, largest_bytes=300_000
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert err.startswith("unsum: cannot write ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []
    assert _hashes(folder.path) == before


def _has_open(descriptors: Path, file: Path) -> bool:
    """Whether a process has a file open, by its folder of descriptors, which come and go while they are read."""
    try:
        return any(str(file) in str(descriptor.readlink()) for descriptor in descriptors.iterdir())
    except OSError:
        return False


def test_an_interrupted_run_leaves_nothing(folder, tmp_path):
    rng = np.random.default_rng(3)
    mixture = folder.write("long.wav", np.tile(folder.mixed, 40), codec="pcm")
    reference = folder.write("long_song.wav", scenes.noise_bursts(rng, 160 * RATE, channels=2, rate=RATE), codec="pcm")
    before = _hashes(folder.path)
    process = _start(mixture, reference, folder / "song.flac", "--out-dir", tmp_path, folder=tmp_path)
    # The process reads its input: it is past its imports, in the middle of the work.
    opened = Path(f"/proc/{process.pid}/fd")
    if not opened.is_dir():
        process.kill()
        pytest.skip("this system does not show which files a process has open")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not _has_open(opened, mixture):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    # A terminal shows ^C in the line that it interrupts: the sentence begins a new one.
    assert err.lstrip("\n") == "unsum: interrupted; nothing half written was kept\n"
    assert out == ""
    assert list(tmp_path.iterdir()) == []
    assert _hashes(folder.path) == before


# Names and streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["with space.flac", "-leading.flac", "has#a:1.flac", "#.flac", "%s %d.flac", "a\nb.flac", b"caf\xe9.flac"]
)
def test_names_are_taken_as_they_are(name, folder, remove, tmp_path, ffmpeg):
    given = tmp_path / os.fsdecode(name)
    try:
        shutil.copy(folder / "mix.flac", given)
    except (OSError, UnicodeError):
        pytest.skip("this file system knows no such name")
    assert remove(given, folder / "song.flac", "-q").code == 0
    (written,) = (path for path in (tmp_path / "out").iterdir() if path.suffix == ".flac")
    assert os.fsencode(written.stem) == os.fsencode(given.stem) + b".unsum"
    assert np.array_equal(scenes.decode_pcm(written, ffmpeg=ffmpeg), folder.talk)


def test_a_name_that_looks_like_an_option_follows_two_dashes(folder, tmp_path, monkeypatch, capsys):
    shutil.copy(folder / "mix.flac", tmp_path / "-mix.flac")
    monkeypatch.chdir(tmp_path)
    assert run(["remove", "-o", "left.flac", "--max-rung", "exact", "--", "-mix.flac", str(folder / "song.flac")]) == 0
    assert (tmp_path / "left.flac").exists()
    assert run(["remove", "-mix.flac", str(folder / "song.flac")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_one_of_several_streams_is_chosen_by_its_number(folder, remove, tmp_path, ffmpeg):
    several = folder.write("several.mkv", [folder.talk, folder.mixed])
    assert remove(f"{several}#a:1", folder / "song.flac").code == 0
    left = scenes.decode_pcm(tmp_path / "out" / "several.unsum.flac", ffmpeg=ffmpeg)
    assert np.array_equal(left, folder.talk)


def test_a_stream_or_a_channel_that_is_not_there_gives_exit_code_3(folder, remove):
    assert "no a:4" in (found := remove(f"{folder / 'mix.mkv'}#a:4", folder / "song.flac")).err
    assert found.code == 3
    assert "no channel LFE" in (found := remove(f"{folder / 'mix.mkv'}#a:0[LFE]", folder / "song.flac")).err
    assert found.code == 3
    assert remove(f"{folder / 'mix.mkv'}#b:0", folder / "song.flac").code == 3


def test_a_file_without_sound_gives_exit_code_3(folder, remove, ffmpeg, tmp_path):
    scenes.run_ffmpeg(ffmpeg, "-f", "lavfi", "-i", "testsrc=d=1:s=64x48", "-c:v", "ffv1", tmp_path / "mute.mkv")
    for found in (
        remove(tmp_path / "mute.mkv", folder / "song.flac"),
        remove(folder / "mix.flac", tmp_path / "mute.mkv"),
    ):
        assert found.code == 3
        assert "holds no audio" in found.err
