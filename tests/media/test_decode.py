"""Decoded frames: the samples that went in, as integers where they were integers, each in its place."""

import av
import numpy as np
import pytest
import scenes

from unsum.errors import InputError
from unsum.media.decode import CopiedPacket, DecodedFrame, DecodeReport, read_frames
from unsum.media.probe import probe

RATE = 48000


def read(path, *, streams=None, report=None, **how):
    """{stream: (channels, samples)} on the container's time line from sample 0, holes as zeros; and the report."""
    report = DecodeReport() if report is None else report
    found: dict[int, list[DecodedFrame]] = {}
    for item in read_frames(path, probe(path).audio if streams is None else streams, report=report, **how):
        if isinstance(item, DecodedFrame):
            found.setdefault(item.stream, []).append(item)
    lines = {}
    for stream, frames in found.items():
        ends = [frame.start + frame.samples.shape[1] for frame in frames]
        assert all(end <= frame.start for end, frame in zip(ends, frames[1:], strict=False)), "frames overlap"
        lines[stream] = np.zeros((frames[0].samples.shape[0], ends[-1]), frames[0].samples.dtype)
        for frame, end in zip(frames, ends, strict=True):
            lines[stream][:, frame.start : end] = frame.samples
    return lines, report


def some_streams(rng, layouts, *, samples=RATE // 2 + 17, bits=16):
    peak = 0.9 * 2 ** (bits - 1)
    return [scenes.noise_bursts(rng, samples, channels=len(scenes.CHANNELS[layout]), peak=peak) for layout in layouts]


@pytest.mark.parametrize(
    ("name", "codec", "bits", "dtype"),
    [
        ("a.mkv", "flac", 16, np.int16),
        ("a.mkv", "flac", 24, np.int32),
        ("a.mkv", "pcm", 16, np.int16),
        ("a.mkv", "pcm", 24, np.int32),
        ("a.mkv", "pcm", 32, np.int32),
        ("a.mkv", "wavpack", 16, np.int16),
        ("a.mkv", "wavpack", 24, np.int32),
        ("a.mkv", "wavpack", 32, np.int32),
        ("a.mp4", "alac", 16, np.int16),
        ("a.mov", "alac", 24, np.int32),
        ("a.mov", "pcm", 24, np.int32),
    ],
)
@pytest.mark.parametrize("layouts", [("mono", "stereo"), ("5.1", "7.1")])
def test_integers_arrive_as_the_integers_they_were(name, codec, bits, dtype, layouts, ffmpeg, rng, tmp_path):
    if codec == "alac" and "7.1" in layouts:
        layouts = ("5.1", "stereo")  # ffmpeg's ALAC orders 7.1 as another layout
    streams = some_streams(rng, layouts, bits=bits)
    streams[0][0, :2] = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    path = scenes.write_recording(tmp_path / name, streams, ffmpeg=ffmpeg, layouts=layouts, codec=codec, bits=bits)
    found, report = read(path)
    assert not report.breaks and not report.errors
    for number, stream in enumerate(streams):
        assert found[number].dtype == dtype
        assert np.array_equal(found[number], stream)


def test_bytes_arrive_around_zero(ffmpeg, rng, tmp_path):
    (stream,) = some_streams(rng, ["stereo"])
    coarse = stream >> 8 << 8
    path = scenes.write_recording(tmp_path / "a.wav", [coarse], ffmpeg=ffmpeg, layouts="stereo", codec="pcm_u8")
    found, _ = read(path)
    assert found[0].dtype == np.int16
    assert np.array_equal(found[0], scenes.decode_pcm(path, ffmpeg=ffmpeg) >> 8)
    # ffmpeg rounds or cuts when it makes bytes; either is within one of them.
    assert np.abs(found[0] - (coarse >> 8)).max() <= 1


def test_floats_arrive_as_floats_also_beyond_full_scale(ffmpeg, rng, tmp_path):
    (stream,) = some_streams(rng, ["7.1"])
    loud = (stream / 9000).astype(np.float32)
    assert np.abs(loud).max() > 2
    path = scenes.write_recording(tmp_path / "a.mkv", [loud], ffmpeg=ffmpeg, layouts="7.1", codec="pcm")
    found, _ = read(path)
    assert found[0].dtype == np.float32
    assert np.array_equal(found[0], loud)


@pytest.mark.parametrize("how", [{"threads": True}, {"separate": True}, {"threads": True, "separate": True}])
def test_threads_and_demuxers_change_no_sample(how, ffmpeg, rng, tmp_path):
    layouts = ("7.1", "mono", "stereo")
    streams = some_streams(rng, layouts, samples=2 * RATE)
    path = scenes.write_recording(tmp_path / "a.mkv", streams, ffmpeg=ffmpeg, layouts=layouts, start_ms=(0, 40, 0))
    found, report = read(path, **how)
    assert not report.breaks
    streams[1] = np.pad(streams[1], ((0, 0), (1920, 0)))
    assert all(np.array_equal(found[number], stream) for number, stream in enumerate(streams))


def test_separate_demuxers_keep_the_order_of_time(ffmpeg, rng, tmp_path):
    streams = some_streams(rng, ("stereo", "mono"), samples=2 * RATE)
    path = scenes.write_recording(
        tmp_path / "a.mkv", streams, ffmpeg=ffmpeg, layouts=("stereo", "mono"), video=True, start_ms=(0, 500)
    )
    recording = probe(path)
    items = list(read_frames(path, recording.audio, copy=[2], report=DecodeReport(), separate=True))
    placed = [item.seconds for item in items if isinstance(item, DecodedFrame)]
    assert placed == sorted(placed)
    assert sum(isinstance(item, CopiedPacket) for item in items) == 50


def test_a_stream_can_be_decoded_and_copied_at_once(ffmpeg, rng, tmp_path):
    streams = some_streams(rng, ("stereo", "stereo"), samples=RATE)
    path = scenes.write_recording(tmp_path / "a.mkv", streams, ffmpeg=ffmpeg, layouts="stereo", video=True)
    packets = scenes.packet_fingerprints(path)
    recording = probe(path)
    for separate in (False, True):
        items = list(read_frames(path, recording.audio[:1], copy=[0, 1, 2], report=DecodeReport(), separate=separate))
        copied = [item for item in items if isinstance(item, CopiedPacket)]
        for index in range(3):
            mine = [(c.packet.pts, c.packet.size) for c in copied if c.container_index == index]
            assert mine == [(pts, size) for pts, size, _ in packets[index]]
        decoded = [item for item in items if isinstance(item, DecodedFrame)]
        assert {frame.stream for frame in decoded} == {0}
        assert sum(frame.samples.shape[1] for frame in decoded) == RATE


def test_streams_start_where_the_container_says(ffmpeg, rng, tmp_path):
    streams = some_streams(rng, ("stereo", "stereo"))
    path = scenes.write_recording(tmp_path / "a.mkv", streams, ffmpeg=ffmpeg, layouts="stereo", start_ms=(1400, 1437))
    found, report = read(path)
    assert not report.breaks
    for number, ms in enumerate((1400, 1437)):
        first = ms * RATE // 1000
        assert not found[number][:, :first].any()
        assert np.array_equal(found[number][:, first:], streams[number])


@pytest.mark.parametrize("codec", ["flac", "pcm", "wavpack"])
def test_a_hole_is_exact_on_both_sides(codec, ffmpeg, rng, tmp_path):
    (stream,) = some_streams(rng, ["stereo"], samples=3 * RATE)
    whole = scenes.write_recording(tmp_path / "whole.mkv", [stream], ffmpeg=ffmpeg, layouts="stereo", codec=codec)
    holed = tmp_path / "holed.mkv"
    lost = scenes.drop_packets(whole, holed, stream=0, start_s=1.0, length_s=0.5)
    found, report = read(holed)
    (hole,) = report.breaks
    assert (hole.at, hole.samples, hole.exact) == (lost.start, lost.stop - lost.start, True)
    expected = stream.copy()
    expected[:, lost.start : lost.stop] = 0
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize("threads", [False, True])
def test_a_corrupt_frame_is_a_reported_hole_and_nothing_more(threads, ffmpeg, rng, tmp_path):
    streams = some_streams(rng, ("stereo", "5.1"), samples=2 * RATE)
    whole = scenes.write_recording(tmp_path / "whole.mkv", streams, ffmpeg=ffmpeg, layouts=("stereo", "5.1"))
    corrupt = tmp_path / "corrupt.mkv"
    lost = scenes.corrupt_bytes(whole, corrupt, stream=1, at_s=1.0)
    found, report = read(corrupt, threads=threads)
    ((stream, seconds, reason),) = report.errors
    assert stream == 1 and reason and abs(seconds - lost.start / RATE) < 0.1
    (hole,) = report.breaks
    assert (hole.stream, hole.at, hole.samples, hole.exact) == (1, lost.start, lost.stop - lost.start, True)
    streams[1][:, lost.start : lost.stop] = 0
    assert all(np.array_equal(found[number], stream) for number, stream in enumerate(streams))


def test_a_truncated_file_gives_what_is_there(ffmpeg, rng, tmp_path):
    streams = some_streams(rng, ("stereo", "stereo"), samples=3 * RATE)
    whole = scenes.write_recording(tmp_path / "whole.mkv", streams, ffmpeg=ffmpeg, layouts="stereo")
    part = tmp_path / "part.mkv"
    scenes.truncate(whole, part, fraction=0.6)
    found, _ = read(part)
    for number, stream in enumerate(streams):
        length = found[number].shape[1]
        assert 1.2 * RATE < length < 2.4 * RATE
        assert np.array_equal(found[number], stream[:, :length])


# What FFmpeg's decoders leave of priming and padding differs by container and version; none of it is a gap.
@pytest.mark.parametrize(
    ("name", "codec", "slack"),
    [
        ("a.mkv", "aac", 4096),
        ("a.mp4", "aac", 4096),
        ("a.mkv", "opus", 1500),
        ("a.ogg", "opus", 1500),
        ("a.mkv", "mp3", 4096),
        ("a.mp3", "mp3", 4096),
        ("a.mkv", "vorbis", 2048),
        ("a.ts", "aac", 4096),
    ],
)
def test_lossy_audio_is_placed_without_a_gap(name, codec, slack, ffmpeg, rng, tmp_path):
    sound = scenes.speech_like(rng, 2 * RATE, channels=2)
    path = scenes.write_recording(tmp_path / name, [sound], ffmpeg=ffmpeg, layouts="stereo", codec=codec)
    report = DecodeReport()
    frames = list(read_frames(path, probe(path).audio, report=report))
    assert not report.breaks and not report.errors
    assert all(isinstance(frame, DecodedFrame) and frame.samples.dtype == np.float32 for frame in frames)
    starts = [frame.start for frame in frames]  # type: ignore[union-attr]
    lengths = [frame.samples.shape[1] for frame in frames]  # type: ignore[union-attr]
    assert starts == (starts[0] + np.cumsum([0, *lengths[:-1]])).tolist()
    assert abs(sum(lengths) - 2 * RATE) <= slack


def test_a_stream_that_changes_its_layout_midway_is_refused(ffmpeg, rng, tmp_path):
    parts = []
    for number, layout in enumerate(("stereo", "5.1")):
        (sound,) = some_streams(rng, [layout])
        part = tmp_path / f"{number}.ts"
        scenes.write_recording(part, [sound], ffmpeg=ffmpeg, layouts=layout, codec="aac")
        parts.append(part.read_bytes())
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(parts))
    with pytest.raises(InputError, match="changes inside the file: from 48000 Hz, 2 channels"):
        read(both)


def test_errors_are_raised_before_the_first_frame(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        next(iter(read_frames(tmp_path / "absent.mkv", (), report=DecodeReport())))


def rewrite_packets(src, dst, change):
    """Copy the first audio stream; change(number, packet, last) gives what is written for each packet."""
    with av.open(str(src)) as old, av.open(str(dst), "w") as new:
        copied = new.add_stream_from_template(old.streams.audio[0])
        packets = [packet for packet in old.demux(old.streams.audio[0]) if packet.size]
        for number, packet in enumerate(packets):
            written = change(number, packet, number == len(packets) - 1)
            written.stream = copied
            new.mux(written)
    return dst


def test_one_wrong_time_stamp_costs_no_audio(ffmpeg, rng, tmp_path):
    (stream,) = some_streams(rng, ["stereo"], samples=2 * RATE)
    whole = scenes.write_recording(tmp_path / "whole.mkv", [stream], ffmpeg=ffmpeg, layouts="stereo")

    def change(number, packet, last):
        if number == 9:
            packet.pts = packet.dts = packet.pts + 50  # milliseconds, as Matroska counts
        return packet

    wrong = rewrite_packets(whole, tmp_path / "wrong.mkv", change)
    found, report = read(wrong)
    assert report.breaks == [] and report.errors == []
    assert np.array_equal(found[0], stream)


def test_a_jump_of_days_is_an_error_and_not_silence(ffmpeg, rng, tmp_path):
    (stream,) = some_streams(rng, ["stereo"], samples=RATE)
    whole = scenes.write_recording(tmp_path / "whole.mkv", [stream], ffmpeg=ffmpeg, layouts="stereo")

    def change(number, packet, last):
        if number >= 5:
            packet.pts = packet.dts = packet.pts + 3 * 86_400_000
        return packet

    far = rewrite_packets(whole, tmp_path / "far.mkv", change)
    with pytest.raises(InputError, match=r"audio stream 0 jumps by \+259200\.0 s at 0\.\d+ s"):
        read(far)


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("behind", [{0}, {1}, {0, 1}])  # counted from the last packet
def test_a_corrupt_end_costs_its_own_samples_alone(threads, behind, ffmpeg, rng, tmp_path):
    length, count = 4608, 10  # samples of ffmpeg's frames
    (stream,) = some_streams(rng, ["stereo"], samples=count * length)
    whole = scenes.write_recording(tmp_path / "whole.mkv", [stream], ffmpeg=ffmpeg, layouts="stereo")

    def change(number, packet, last):
        if count - 1 - number not in behind:
            return packet
        harmed = bytearray(bytes(packet))
        harmed[len(harmed) // 2] ^= 0x5A
        corrupt = av.Packet(bytes(harmed))
        corrupt.pts, corrupt.dts, corrupt.time_base = packet.pts, packet.dts, packet.time_base
        return corrupt

    found, report = read(rewrite_packets(whole, tmp_path / "corrupt.mkv", change), threads=threads)
    expected = stream.copy()
    for back in behind:
        start = (count - 1 - back) * length
        expected[:, start : start + length] = 0
    end = (count - len(behind) if 0 in behind else count) * length
    assert np.array_equal(found[0], expected[:, :end])
    assert len(report.errors) == len(behind)
    first = (count - 1 - max(behind)) * length / RATE
    assert report.errors[0][1] == pytest.approx(first, abs=0.002)


def test_what_the_codec_put_around_the_audio_is_reported(ffmpeg, rng, tmp_path):
    (sound,) = some_streams(rng, ["stereo"], samples=RATE)
    for codec, priming in (("opus", 312), ("aac", 1024)):
        name = "a.mkv" if codec == "opus" else "a.mp4"
        path = scenes.write_recording(
            tmp_path / f"{codec}{name}", [sound], ffmpeg=ffmpeg, layouts="stereo", codec=codec
        )
        _, report = read(path)
        assert report.primings == {0: priming}
    lossless = scenes.write_recording(tmp_path / "b.mkv", [sound], ffmpeg=ffmpeg, layouts="stereo")
    _, report = read(lossless)
    assert report.primings == report.paddings == {}
