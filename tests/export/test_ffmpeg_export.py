"""The printed ffmpeg command writes what unsum writes, sample for sample, in every ffmpeg at hand."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import scenes
from scenes import Equation, Source, Term

from unsum.errors import RefusedError
from unsum.export.ffmpeg import FfmpegExport, export_command, shell_command
from unsum.media.probe import probe
from unsum.recovery.plan import Plan, make_plan
from unsum.recovery.recover import recover_recording
from unsum.streams.recipe import parse_recipe

RATE = 48000


def ffmpegs() -> list[str]:
    found = [shutil.which("ffmpeg")]
    try:
        import imageio_ffmpeg

        found.append(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        pass
    return [path for path in found if path]


every_ffmpeg = pytest.mark.parametrize("program", ffmpegs() or [""], ids=lambda path: Path(path).name or "none")


@pytest.fixture(autouse=True)
def _needs_ffmpeg(ffmpeg):
    pass


def plan_of(recording: Path, recipe: str, output: str = "out.mkv") -> Plan:
    return make_plan(probe(recording), parse_recipe(recipe), output=recording.with_name(output))


def words_for_the_shell(text: str) -> list[str]:
    printed = subprocess.run(["sh", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True).stdout
    return printed.decode().split("\0")[:-1]


def run_as_printed(export: FfmpegExport, program: str, folder: Path) -> list[Path]:
    """Run what a user would paste, its outputs moved to a folder of their own."""
    assert words_for_the_shell(shell_command(export.command)) == list(export.command)
    source = export.command[export.command.index("-i") + 1]
    outputs = [Path(word) for word in export.command if word.startswith(("/", "file:/")) and word != source]
    moved = {str(path): folder / path.name for path in outputs}
    command = shell_command([program, *(str(moved.get(word, word)) for word in export.command[1:])])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return list(moved.values())


def sound_of(path: Path, stream: int = 0) -> bytes:
    """What ffmpeg decodes, in 32 bits or double, whichever the file needs."""
    kind = "f64le" if probe(path).audio[stream].bits is None else "s32le"
    return scenes.run_ffmpeg(ffmpegs()[0], "-i", f"file:{path}", "-map", f"0:a:{stream}", "-f", kind, "pipe:1")


def assert_same_files(ours: Path, theirs: Path) -> None:
    a, b = probe(ours), probe(theirs)
    for mine, other in zip(a.audio, b.audio, strict=True):
        for name in ("codec", "bits", "title", "language", "default", "start_seconds", "channels"):
            assert getattr(mine, name) == getattr(other, name), (mine.title, name)
        assert sound_of(ours, mine.number) == sound_of(theirs, mine.number), mine.title


def assert_same_as_unsum(plan: Plan, program: str, tmp_path: Path, **options) -> None:
    finding = recover_recording(plan, **options)
    export = export_command(plan, **options)
    assert export.caveats == ()
    folder = tmp_path / "theirs"
    folder.mkdir()
    for ours, theirs in zip(finding.written, run_as_printed(export, program, folder), strict=True):
        assert_same_files(ours, theirs)


def articles_case(rng, *, samples=2 * RATE, bits=16) -> tuple[dict[str, Source], list[Equation]]:
    peak = 0.24 * 2 ** (bits - 1)
    sources = {
        "zoom": Source("mono", scenes.speech_like(rng, samples, peak=peak)),
        "voice": Source("stereo", scenes.speech_like(rng, samples, channels=2, peak=peak)),
        "desktop": Source("7.1", scenes.music_like(rng, samples, channels=8, peak=peak)),
    }
    front = Term("desktop", 1, ("FL", "FR"))
    equations = [
        Equation("7.1", (Term("desktop"), front, Term("zoom"))),
        Equation("7.1", (Term("voice"), front, Term("zoom"))),
        Equation("7.1", (front, Term("zoom"))),
    ]
    return sources, equations


@every_ffmpeg
def test_the_articles_case_comes_out_as_it_went_in(program, rng, ffmpeg, tmp_path):
    sources, equations = articles_case(rng)
    recording = tmp_path / 'it\'s a "lecture": 2020 $HOME.mkv'
    scenes.write_recording(
        recording,
        scenes.mix(equations, sources),
        ffmpeg=ffmpeg,
        layouts="7.1",
        languages=["eng"] * 3,
        video=True,
        subtitle=True,
        chapters=[(0, 1, "one"), (1, 2, "two")],
        attachment=("notes.txt", b"words"),
        title="A lecture",
    )
    recipe = scenes.recipe_text(equations, sources).replace('"mono"', '"mono", title = "Zoom\'s \\"broadcast\\""')
    plan = plan_of(recording, recipe, "it's recovered.mkv")
    assert_same_as_unsum(plan, program, tmp_path)
    written = tmp_path / "theirs" / plan.output.name
    for number, (name, source) in enumerate(sources.items()):
        assert np.array_equal(scenes.decode_pcm(written, ffmpeg=ffmpeg, stream=number), source.samples), name
    assert scenes.packet_fingerprints(written)[0] == scenes.packet_fingerprints(recording)[3]
    with av.open(str(written)) as container:
        assert {"video", "audio", "subtitle", "attachment"} == {stream.type for stream in container.streams}
        assert [mark["metadata"]["title"] for mark in container.chapters()] == ["one", "two"]
        assert container.metadata["title"] == "A lecture"


@every_ffmpeg
def test_streams_that_start_and_end_apart_are_put_on_one_time_line(program, rng, ffmpeg, tmp_path):
    """Late in the container, early and late in the samples, short, and 24 bit."""
    sources, equations = articles_case(rng, samples=5 * RATE, bits=24)
    streams = scenes.mix(equations, sources, bits=24)
    cut = [streams[0], streams[1][:, 720:-3001], np.pad(streams[2], ((0, 0), (300, 0)))[:, : -RATE // 2]]
    recording = tmp_path / "late.mkv"
    scenes.write_recording(
        recording, cut, ffmpeg=ffmpeg, layouts="7.1", bits=24, start_ms=[1400, 1400, 1421], video=True
    )
    plan = plan_of(recording, scenes.recipe_text(equations, sources))
    assert plan.look.offsets.late == {0: 0, 1: -720, 2: 1308}
    assert_same_as_unsum(plan, program, tmp_path)
    voice = scenes.decode_pcm(tmp_path / "theirs" / "out.mkv", ffmpeg=ffmpeg, stream=1, bits=24)
    assert voice.shape == sources["voice"].samples.shape
    assert not voice[:, :720].any()
    assert np.array_equal(voice[:, 720:200_000], sources["voice"].samples[:, 720:200_000])


@every_ffmpeg
def test_a_hole_is_filled_and_what_follows_stays_in_step(program, rng, ffmpeg, tmp_path):
    sources, equations = articles_case(rng, samples=3 * RATE)
    whole, recording = tmp_path / "whole.mkv", tmp_path / "hole.mkv"
    scenes.write_recording(whole, scenes.mix(equations, sources), ffmpeg=ffmpeg, layouts="7.1")
    lost = scenes.drop_packets(whole, recording, stream=1, start_s=1.0, length_s=0.4)
    plan = plan_of(recording, scenes.recipe_text(equations, sources))
    assert_same_as_unsum(plan, program, tmp_path)
    voice = scenes.decode_pcm(tmp_path / "theirs" / "out.mkv", ffmpeg=ffmpeg, stream=1)
    assert not voice[:, lost.start : lost.stop].any()
    assert np.array_equal(voice[:, lost.stop :], sources["voice"].samples[:, lost.stop :])


@every_ffmpeg
def test_a_damaged_frame_is_left_out_and_not_concealed(program, rng, ffmpeg, tmp_path):
    sources, equations = articles_case(rng, samples=3 * RATE)
    whole, recording = tmp_path / "whole.mkv", tmp_path / "damaged.mkv"
    scenes.write_recording(whole, scenes.mix(equations, sources), ffmpeg=ffmpeg, layouts="7.1")
    scenes.corrupt_bytes(whole, recording, stream=2, at_s=1.0)
    plan = plan_of(recording, scenes.recipe_text(equations, sources))
    recover_recording(plan)
    export = export_command(plan)
    assert "1 packet of stream 2 cannot be decoded" in export.caveats[0]
    (tmp_path / "theirs").mkdir()
    (theirs,) = run_as_printed(export, program, tmp_path / "theirs")
    assert_same_files(plan.output, theirs)


@every_ffmpeg
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_halves_and_thirds_are_rounded_as_unsum_rounds(program, bits, rng, ffmpeg, tmp_path):
    """``pan`` alone would round halves to even, and not at all below the last of 24 bits."""
    full = 1 << (bits - 1)
    streams = [rng.integers(-full // 8, full // 8, (channels, RATE)) for channels in (2, 2, 1)]
    recording = tmp_path / "fractions.mkv"
    codec = "pcm" if bits == 32 else "flac"
    layouts = ["stereo", "stereo", "mono"]
    scenes.write_recording(recording, streams, ffmpeg=ffmpeg, layouts=layouts, bits=bits, codec=codec)
    recipe = """
        [sources]
        a = "stereo"
        b = "stereo"
        c = "mono"
        [streams]
        0 = "2*a + b"
        1 = "a - b"
        2 = "2*c"
    """
    plan = plan_of(recording, recipe)
    assert_same_as_unsum(plan, program, tmp_path)


@every_ffmpeg
def test_a_source_beyond_full_scale_is_kept_in_floating_point(program, rng, ffmpeg, tmp_path):
    quiet, loud = (scenes.noise_bursts(rng, RATE, channels=2, peak=30_000) for _ in range(2))
    recording = tmp_path / "loud.mkv"
    scenes.write_recording(recording, [quiet, loud], ffmpeg=ffmpeg, layouts="stereo")
    recipe = '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n0 = "a"\n1 = "a - b"\n'
    plan = plan_of(recording, recipe)
    assert_same_as_unsum(plan, program, tmp_path)
    assert "pcm_f32le" in export_command(plan).command


@every_ffmpeg
def test_layouts_of_the_same_size_are_not_remixed(program, rng, ffmpeg, tmp_path):
    """A quad source in 5.0 and 4.0 streams: where ffmpeg has to guess it takes 4.0 for quad."""
    sources = {
        "room": Source("quad", scenes.music_like(rng, RATE, channels=4, peak=8000)),
        "voice": Source("stereo", scenes.speech_like(rng, RATE, channels=2, peak=8000)),
    }
    equations = [Equation("5.0", (Term("room"), Term("voice"))), Equation("stereo", (Term("voice"),))]
    recording = tmp_path / "quad.mkv"
    streams = scenes.mix(equations, sources)
    scenes.write_recording(recording, streams, ffmpeg=ffmpeg, layouts=["5.0", "stereo"])
    assert_same_as_unsum(plan_of(recording, scenes.recipe_text(equations, sources)), program, tmp_path)


@every_ffmpeg
def test_streams_outside_the_recipe_are_copied_in_their_order(program, rng, ffmpeg, tmp_path):
    streams = [scenes.speech_like(rng, RATE, channels=2, peak=8000) for _ in range(4)]
    recording = tmp_path / "four.mkv"
    streams[1] = streams[1] + streams[2]
    titles = ["Music", "Mix", "Guest", "Alone"]
    scenes.write_recording(recording, streams, ffmpeg=ffmpeg, layouts="stereo", titles=titles)
    recipe = '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n1 = "a + b"\n2 = "b"\n'
    plan = plan_of(recording, recipe)
    assert_same_as_unsum(plan, program, tmp_path)
    assert [stream.title for stream in probe(plan.output).audio] == ["Music", "a", "b", "Alone"]
    (tmp_path / "theirs" / plan.output.name).rename(tmp_path / "first.mkv")
    (tmp_path / "theirs").rmdir()
    assert_same_as_unsum(replace(plan, output=tmp_path / "kept.mkv"), program, tmp_path, keep_streams=True)


@every_ffmpeg
@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "mp4", "mov"])
def test_other_kinds_of_output_hold_the_same(program, suffix, rng, ffmpeg, tmp_path):
    streams = [scenes.speech_like(rng, RATE, channels=2, peak=2_000_000) for _ in range(2)]
    recording = tmp_path / "two.mkv"
    scenes.write_recording(recording, streams, ffmpeg=ffmpeg, layouts="stereo", bits=24)
    recipe = '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n0 = "a + b"\n1 = "b"\n'
    plan = plan_of(recording, recipe, f"out.{suffix}")
    finding = recover_recording(plan)
    (tmp_path / "theirs").mkdir()
    for ours, theirs in zip(
        finding.written, run_as_printed(export_command(plan), program, tmp_path / "theirs"), strict=True
    ):
        assert sound_of(ours) == sound_of(theirs)


@every_ffmpeg
def test_floating_point_streams_come_with_a_caveat(program, rng, ffmpeg, tmp_path):
    a, b = (scenes.music_like(rng, RATE, channels=2, peak=0.3, quantised=False).astype(np.float32) for _ in range(2))
    recording = tmp_path / "float.mkv"
    scenes.write_recording(recording, [a + b, b], ffmpeg=ffmpeg, layouts="stereo", codec="pcm")
    recipe = '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n0 = "a + b"\n1 = "b"\n'
    plan = plan_of(recording, recipe)
    recover_recording(plan)
    export = export_command(plan)
    assert "floating point" in export.caveats[0]
    (tmp_path / "theirs").mkdir()
    (theirs,) = run_as_printed(export, program, tmp_path / "theirs")
    ours, other = (np.frombuffer(sound_of(path), "<f8") for path in (plan.output, theirs))
    assert np.abs(ours - other).max() <= 2**-24  # the last bit of a float below 1


def test_lossy_streams_come_with_a_caveat(rng, ffmpeg, tmp_path):
    stream = scenes.music_like(rng, RATE, channels=2, peak=8000)
    recording = tmp_path / "lossy.mkv"
    scenes.write_recording(recording, [stream, stream], ffmpeg=ffmpeg, layouts="stereo", codec="aac")
    recipe = '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n0 = "a + b"\n1 = "b"\n'
    (caveat,) = export_command(plan_of(recording, recipe)).caveats
    assert "stream 0 (aac), stream 1 (aac)" in caveat


def test_a_recipe_that_the_audio_contradicts_gets_no_command(rng, ffmpeg, tmp_path):
    streams = [scenes.music_like(rng, RATE, channels=2, peak=8000) for _ in range(3)]
    recording = tmp_path / "wrong.mkv"
    scenes.write_recording(recording, streams, ffmpeg=ffmpeg, layouts="stereo")
    recipe = '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n0 = "a + b"\n1 = "a"\n2 = "b"\n'
    with pytest.raises(RefusedError, match="contradicts the recipe"):
        export_command(plan_of(recording, recipe))


def test_sources_that_cannot_be_told_apart_get_no_command(rng, ffmpeg, tmp_path):
    recording = tmp_path / "one.mkv"
    stream = scenes.music_like(rng, RATE, channels=2, peak=8000)
    scenes.write_recording(recording, [stream], ffmpeg=ffmpeg, layouts="stereo")
    with pytest.raises(RefusedError, match="determines no source"):
        export_command(plan_of(recording, '[sources]\na = "stereo"\nb = "stereo"\n[streams]\n0 = "a + b"\n'))


def test_a_command_is_broken_into_lines_that_the_shell_joins():
    graph = "[0:a:0]pan=mono|FC=c0[a];\n  [0:a:1]anull[b]"
    command = [
        "ffmpeg",
        "-copyts",
        "-i",
        "it's.mkv",
        "-filter_complex",
        graph,
        "-map",
        "[a]",
        "-c:a",
        "flac",
        "out put.mkv",
    ]
    text = shell_command(command)
    assert words_for_the_shell(text) == command
    assert text.splitlines()[0] == "ffmpeg -copyts \\"
    assert text.splitlines()[-2:] == ["  -map '[a]' -c:a flac \\", "  'out put.mkv'"]
