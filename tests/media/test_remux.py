"""A new file beside the old one: what is not replaced comes through as it was, and failure leaves nothing."""

import errno
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import scenes
import soundfile

from unsum.errors import OutputError, OutputExistsError
from unsum.media.decode import CopiedPacket, DecodeReport, read_frames
from unsum.media.encode import OutputAudio
from unsum.media.probe import probe
from unsum.media.remux import RemuxWriter, give_name, reserve_output
from unsum.media.stems import StemWriter

RATE = 48000
NOISE = OutputAudio("noise", ("FL", "FR"), RATE, bits=16, stored_bits=16, language="deu", default=True)


def remux(source: Path, path: Path, *, copy, sound, position=0, start_seconds=0.0, described=NOISE):
    """Copy some streams of a file and add one of our own."""
    partial = reserve_output(path, overwrite=False, inputs=[source])
    writer = RemuxWriter(
        path,
        partial=partial,
        source=source,
        copy=copy,
        audio=[described],
        position=position,
        start_seconds=start_seconds,
    )
    with writer:
        for start in range(0, sound.shape[1], 32768):
            writer.write(0, sound[:, start : start + 32768])
        for item in read_frames(source, (), copy=copy, report=DecodeReport()):
            assert isinstance(item, CopiedPacket)
            writer.copy_packet(item.packet, item.container_index)
        writer.complete()
        assert not path.exists(), "a file has its name only when it is complete"
        writer.publish()
    return path


@pytest.fixture
def sound(rng):
    return scenes.noise_bursts(rng, 2 * RATE, channels=2)


@pytest.fixture
def lecture(ffmpeg, rng, tmp_path):
    """All that OBS and mkvtoolnix put in: streams 0 and 1 are sound, then video, subtitle and attachment."""
    streams = [scenes.music_like(rng, 2 * RATE, channels=channels) for channels in (8, 2)]
    return scenes.write_recording(
        tmp_path / "lecture.mkv",
        streams,
        ffmpeg=ffmpeg,
        layouts=("7.1", "stereo"),
        titles=("Track1", "Größe"),
        languages=("eng", "deu"),
        title="Lecture 7",
        start_ms=(0, 120),
        video=True,
        chapters=[(0, 1, "One"), (1, 2, "Two")],
        subtitle=True,
        attachment=("note.txt", b"attached\n"),
    )


def test_what_is_not_replaced_comes_through_packet_for_packet(lecture, sound, ffmpeg, tmp_path):
    out = remux(lecture, tmp_path / "out.mkv", copy=[1, 2, 3, 4], sound=sound, position=0)
    before, after = scenes.packet_fingerprints(lecture), scenes.packet_fingerprints(out)
    assert after[1:] == before[1:]
    assert np.array_equal(scenes.decode_pcm(out, ffmpeg=ffmpeg), sound)


def test_pictures_without_a_decoding_time_survive(lecture, sound, tmp_path):
    out = remux(lecture, tmp_path / "out.mkv", copy=[1, 2, 3, 4], sound=sound)
    for file in (lecture, out):
        with av.open(str(file)) as container:
            packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        assert sum(packet.dts is None for packet in packets) == 2
    assert len(packets) == 50


def test_names_chapters_and_attachments_are_kept(lecture, sound, tmp_path):
    out = remux(lecture, tmp_path / "out.mkv", copy=[0, 1, 2, 3, 4], sound=sound, position=1)
    with av.open(str(lecture)) as old, av.open(str(out)) as new:
        assert [s.type for s in new.streams] == ["audio", "audio", "audio", "video", "subtitle", "attachment"]
        kept = [stream for stream in new.streams if stream.index != 1]
        for before, after in zip(old.streams, kept, strict=True):
            assert after.type == before.type
            assert after.disposition == before.disposition
            stale = ("ENCODER", "DURATION")
            assert {k: v for k, v in after.metadata.items() if k not in stale} == {
                k: v for k, v in before.metadata.items() if k not in stale
            }
        assert [(c["start"], c["end"], c["metadata"]) for c in new.chapters()] == [
            (c["start"], c["end"], c["metadata"]) for c in old.chapters()
        ]
        assert new.metadata["title"] == "Lecture 7"
        (note,) = new.streams.attachments
        assert (note.name, note.data) == ("note.txt", b"attached\n")
        assert [s.start_time for s in new.streams.audio] == [0, 0, 120]
    (_, mine, _) = probe(out).audio
    assert (mine.title, mine.language, mine.default, mine.layout) == ("noise", "deu", True, "stereo")


def test_a_late_beginning_is_kept(ffmpeg, rng, sound, tmp_path):
    stream = scenes.music_like(rng, 2 * RATE, channels=2)
    late = scenes.write_recording(
        tmp_path / "late.mkv", [stream], ffmpeg=ffmpeg, layouts="stereo", start_ms=[1400], video=True
    )
    out = remux(late, tmp_path / "out.mkv", copy=[0, 1], sound=sound, start_seconds=1.4, position=2)
    before, after = scenes.packet_fingerprints(late), scenes.packet_fingerprints(out)
    assert after[:2] == before
    with av.open(str(out)) as container:
        assert [s.start_time for s in container.streams.audio] == [1400, 1400]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_video_moves_between_containers_byte_for_byte(suffix, ffmpeg, rng, sound, tmp_path):
    source = scenes.write_recording(
        tmp_path / "in.mp4",
        [scenes.music_like(rng, RATE, channels=2)],
        ffmpeg=ffmpeg,
        layouts="stereo",
        codec="alac",
        titles=["Mix"],
        video=True,
        subtitle=suffix != ".mkv",
    )
    copied = list(range(len(scenes.packet_fingerprints(source))))
    described = OutputAudio("noise", ("FL", "FR"), RATE, bits=16, stored_bits=16, codec="alac")
    out = remux(source, tmp_path / f"out{suffix}", copy=copied, sound=sound, position=len(copied), described=described)
    before, after = scenes.packet_fingerprints(source), scenes.packet_fingerprints(out)
    for old, new in zip(before, after, strict=False):
        assert [(size, digest) for _, size, digest in old] == [(size, digest) for _, size, digest in new]
    assert np.array_equal(scenes.decode_pcm(out, ffmpeg=ffmpeg, stream=1), sound)
    assert [stream.title for stream in probe(out).audio] == ["Mix", "noise"]


@pytest.mark.parametrize(
    "name",
    [
        "a b.mkv",
        'it\'s "quoted".mkv',
        "two\nlines.mkv",
        "🎧 Größe.mkv",
        "12:30.mkv",
        "100%d.mkv",
        "-y.mkv",
        "音" * 78 + ".mkv",
    ],
)
def test_an_output_may_have_any_name(name, lecture, sound, tmp_path):
    folder = tmp_path / 'a folder: 100% "odd" 🎧'
    folder.mkdir()
    source = lecture.rename(folder / "in put.mkv")
    out = remux(source, folder / name, copy=[2], sound=sound)
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, "in put.mkv"])
    assert len(probe(out).audio) == 1


def test_a_finished_file_takes_the_place_of_an_old_one_only_when_asked(lecture, tmp_path):
    old = tmp_path / "old.mkv"
    old.write_text("precious")
    with pytest.raises(OutputExistsError, match="overwrite with -y"):
        reserve_output(old, overwrite=False)
    partial = reserve_output(old, overwrite=True)
    assert partial != old and old.read_text() == "precious"
    partial.unlink()


def test_an_input_is_never_an_output(lecture, tmp_path):
    link = tmp_path / "link.mkv"
    link.symlink_to(lecture)
    hard = tmp_path / "hard.mkv"
    os.link(lecture, hard)
    for path in (lecture, link, hard):
        with pytest.raises(OutputError, match="inputs are never modified"):
            reserve_output(path, overwrite=True, inputs=[lecture])


def test_folders_that_take_no_file_are_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="no such folder"):
        reserve_output(tmp_path / "absent" / "out.mkv", overwrite=False)
    with pytest.raises(OutputError, match="no such folder"):
        reserve_output(file / "out.mkv", overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        reserve_output(tmp_path, overwrite=True)
    if Path("/proc/self").is_dir():
        with pytest.raises(OutputError, match="cannot write into /proc"):
            reserve_output(Path("/proc/out.mkv"), overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_leaving_without_publishing_leaves_nothing(lecture, sound, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        partial = reserve_output(tmp_path / "out.mkv", overwrite=False)
        with RemuxWriter(
            tmp_path / "out.mkv", partial=partial, source=lecture, copy=[2], audio=[NOISE], position=0
        ) as writer:
            writer.write(0, sound)
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["lecture.mkv"]


def test_a_container_that_cannot_hold_a_stream_is_named(lecture, sound, tmp_path):
    with pytest.raises(OutputError, match=r"\.mkv, which holds them all"):
        remux(lecture, tmp_path / "out.mp4", copy=[2, 3, 4], sound=sound)
    assert [path.name for path in tmp_path.iterdir()] == ["lecture.mkv"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("limit_bytes", [1000, 60_000, 400_000])
def test_a_full_disk_leaves_nothing_and_says_so(limit_bytes, lecture, tmp_path):
    """A limit on the size of files fails as a full disk does: in the middle of a write, or in the last one."""
    program = f"""
        import resource, sys
        import numpy as np
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        sys.path.insert(0, {str(Path(scenes.__file__).parent)!r})
        from pathlib import Path
        from test_remux import remux
        from unsum.errors import OutputError
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))
        noise = np.random.default_rng(1).integers(-9000, 9000, (2, 2 * 48000), dtype=np.int16)
        try:
            remux(Path({str(lecture)!r}), Path({str(tmp_path / "out.mkv")!r}), copy=[1, 2], sound=noise)
        except OutputError as error:
            print(error)
            sys.exit(23)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 23, done.stderr
    assert "nothing was kept" in done.stdout and "File too large" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["lecture.mkv"]


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "out.mkv"
    for overwrite in (False, True):
        partial = reserve_output(path, overwrite=overwrite)
        partial.write_text("ours")
        path.write_text("theirs")
        if overwrite:
            give_name(partial, path)
            assert path.read_text() == "ours" and not partial.exists()
        else:
            with pytest.raises(OutputExistsError, match="appeared while it was being written"):
                give_name(partial, path)
            assert path.read_text() == "theirs"
            partial.unlink()
            path.unlink()


def test_a_disk_without_links_still_gives_names_and_replaces_nothing(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "out.mkv"
    partial = reserve_output(path, overwrite=False)
    partial.write_text("ours")
    give_name(partial, path)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mkv"] and path.read_text() == "ours"
    other = reserve_output(tmp_path / "other.mkv", overwrite=False)
    with pytest.raises(OutputExistsError):
        give_name(other, path)
    assert path.read_text() == "ours"


def test_a_name_too_long_is_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="File name too long"):
        reserve_output(tmp_path / ("x" * 300 + ".mkv"), overwrite=False)


def test_large_packets_do_not_wait_for_many_others(lecture, tmp_path):
    partial = reserve_output(tmp_path / "out.mkv", overwrite=False)
    with RemuxWriter(
        tmp_path / "out.mkv", partial=partial, source=lecture, copy=[2], audio=[NOISE], position=0
    ) as writer:
        with av.open(str(lecture)) as container:
            template = next(packet for packet in container.demux(container.streams.video[0]) if packet.size)
        sizes = []
        writer._put = lambda waiting, item: sizes.append([packet.size for packet in item])
        for size in [100_000] * 7 + [10] * 70:
            packet = av.Packet(size)
            packet.pts, packet.dts, packet.time_base = template.pts, template.dts, template.time_base
            writer.copy_packet(packet, 2)
        assert [len(bundle) for bundle in sizes] == [3, 3, 64]


def stems(folder, *, overwrite=False):
    paths = [folder / name for name in ("out.a.wav", "out.b.wav")]
    partials = [reserve_output(path, overwrite=overwrite) for path in paths]
    return paths, StemWriter(paths, partials=partials, audio=[replace(NOISE, codec="pcm")] * 2)


def test_stems_get_their_names_together_or_not_at_all(sound, tmp_path):
    paths, writer = stems(tmp_path)
    with pytest.raises(OutputExistsError, match=r"out\.b\.wav appeared"), writer:
        for number in (0, 1):
            writer.write(number, sound)
        writer.complete()
        paths[1].write_text("theirs")
        writer.publish()
    assert [file.name for file in tmp_path.iterdir()] == ["out.b.wav"] and paths[1].read_text() == "theirs"
    paths[1].unlink()
    paths, writer = stems(tmp_path)
    with writer:
        for number in (0, 1):
            writer.write(number, sound)
        writer.complete()
        writer.publish()
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize(("free", "message"), [(10**9, "cannot write .*out.b.wav: "), (0, "disk full .*out.b.wav")])
def test_a_stem_that_fails_is_named_with_the_reason(free, message, sound, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    _, writer = stems(tmp_path)

    def fail(data):
        raise soundfile.LibsndfileError(2)

    with pytest.raises(OutputError, match=message), writer:
        monkeypatch.setattr(writer._files[1].file, "write", fail)
        for number in (0, 1):
            writer.write(number, sound)
        writer.complete()
    assert not list(tmp_path.iterdir())
