"""What a header tells: word lengths, layouts, starts; and names that look like something else."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scenes

from unsum.errors import InputError, UsageError
from unsum.media.decode import DecodedFrame, DecodeReport, read_frames
from unsum.media.probe import StreamAddress, parse_address, probe, wavpack_word_length

RATE = 48000


def some_sound(rng, *, channels=2, samples=RATE // 4, bits=16):
    return scenes.noise_bursts(rng, samples, channels=channels, peak=0.7 * 2 ** (bits - 1))


@pytest.mark.parametrize(
    ("name", "codec", "bits"),
    [
        ("a.mkv", "flac", 16),
        ("a.mkv", "flac", 24),
        ("a.mkv", "pcm", 24),
        ("a.mkv", "pcm", 32),
        ("a.mkv", "wavpack", 16),
        ("a.mkv", "wavpack", 24),
        ("a.wv", "wavpack", 24),
        ("a.mkv", "alac", 24),
        ("a.m4a", "alac", 16),
        ("a.mov", "alac", 24),
        ("a.wav", "pcm", 24),
        ("a.flac", "flac", 24),
        ("a.mka", "tta", 24),
    ],
)
def test_the_word_length_is_the_recorders_own(name, codec, bits, ffmpeg, rng, tmp_path):
    path = scenes.write_recording(
        tmp_path / name, [some_sound(rng, bits=bits)], ffmpeg=ffmpeg, layouts="stereo", codec=codec, bits=bits
    )
    (stream,) = probe(path).audio
    assert (stream.bits, stream.lossless, stream.sample_rate) == (bits, True, RATE)
    assert stream.channels == ("FL", "FR")


@pytest.mark.parametrize(("codec", "bits", "lossless"), [("pcm_u8", 8, True), ("pcm_mulaw", 16, False)])
def test_short_words_are_told_from_companded_ones(codec, bits, lossless, ffmpeg, rng, tmp_path):
    path = scenes.write_recording(tmp_path / "a.wav", [some_sound(rng)], ffmpeg=ffmpeg, layouts="stereo", codec=codec)
    (stream,) = probe(path).audio
    assert (stream.bits, stream.lossless) == (bits, lossless)


@pytest.mark.parametrize("codec", ["aac", "mp3", "opus", "vorbis"])
def test_lossy_codecs_have_no_word_length(codec, ffmpeg, rng, tmp_path):
    path = scenes.write_recording(tmp_path / "a.mkv", [some_sound(rng)], ffmpeg=ffmpeg, layouts="stereo", codec=codec)
    (stream,) = probe(path).audio
    assert (stream.bits, stream.lossless) == (None, False)


def test_floating_point_is_lossless_without_a_word_length(ffmpeg, rng, tmp_path):
    loud = some_sound(rng) / 1e4
    path = scenes.write_recording(tmp_path / "a.mkv", [loud], ffmpeg=ffmpeg, layouts="stereo", codec="pcm")
    (stream,) = probe(path).audio
    assert (stream.bits, stream.lossless) == (None, True)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
def test_pcm_in_matroska_has_the_usual_loudspeakers(layout, ffmpeg, rng, tmp_path):
    channels = scenes.CHANNELS[layout]
    path = scenes.write_recording(
        tmp_path / "a.mkv", [some_sound(rng, channels=len(channels))], ffmpeg=ffmpeg, layouts=layout, codec="pcm"
    )
    assert probe(path).audio[0].channels == channels


@pytest.mark.parametrize("layout", list(scenes.CHANNELS))
def test_flac_keeps_the_names_of_its_channels(layout, ffmpeg, rng, tmp_path):
    channels = scenes.CHANNELS[layout]
    path = scenes.write_recording(
        tmp_path / "a.mkv", [some_sound(rng, channels=len(channels))], ffmpeg=ffmpeg, layouts=layout
    )
    (stream,) = probe(path).audio
    assert stream.channels == channels and stream.layout == layout


def test_a_recording_is_described_whole(ffmpeg, rng, tmp_path):
    path = scenes.write_recording(
        tmp_path / "lecture.mkv",
        [some_sound(rng, samples=2 * RATE), some_sound(rng, channels=8, samples=2 * RATE)],
        ffmpeg=ffmpeg,
        layouts=("stereo", "7.1"),
        start_ms=(0, 120),
        titles=("Mix", "Größe"),
        languages=("eng", "deu"),
        video=True,
        subtitle=True,
        attachment=("note.txt", b"attached"),
    )
    found = probe(path)
    assert [(s.number, s.title, s.language, s.layout) for s in found.audio] == [
        (0, "Mix", "eng", "stereo"),
        (1, "Größe", "deu", "7.1"),
    ]
    assert [stream.start_seconds for stream in found.audio] == [0, Fraction(120, 1000)]
    assert sorted(text.split()[0] for text in found.others) == ["attachment", "subtitle", "video"]
    assert found.duration_seconds == pytest.approx(2.12, abs=0.05)
    assert found.size_bytes == path.stat().st_size


NAMES = [
    "a b.mkv",
    'it\'s "quoted".mkv',
    "two\nlines.mkv",
    "🎧 großer Mix.mkv",
    "12:30 talk.mkv",
    "http:talk.mkv",
    "100%d.mkv",
    "-y.mkv",
    "$(HOME) `x` \\.mkv",
    "a#b,c;d[1]?.mkv",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_only_a_name(name, ffmpeg, rng, tmp_path):
    plain = scenes.write_recording(tmp_path / "plain.mkv", [some_sound(rng)], ffmpeg=ffmpeg, layouts="stereo")
    odd = plain.rename(tmp_path / name)
    assert probe(odd).audio[0].layout == "stereo"
    assert parse_address(odd) == StreamAddress(odd)


def test_a_relative_name_that_looks_like_an_option_is_opened(ffmpeg, rng, tmp_path, monkeypatch):
    scenes.write_recording(tmp_path / "-i.mkv", [some_sound(rng)], ffmpeg=ffmpeg, layouts="stereo")
    monkeypatch.chdir(tmp_path)
    assert len(probe("-i.mkv").audio) == 1


def test_addresses_name_a_stream_and_channels(tmp_path):
    assert parse_address("talk.mkv") == StreamAddress(Path("talk.mkv"))
    assert parse_address("talk.mkv#a:1") == StreamAddress(Path("talk.mkv"), 1)
    assert parse_address("a#b.mkv#a:10[FL, FR]") == StreamAddress(Path("a#b.mkv"), 10, ("FL", "FR"))
    assert parse_address("two\nlines.mkv#a:0") == StreamAddress(Path("two\nlines.mkv"), 0)
    (tmp_path / "real#a:1").touch()
    assert parse_address(tmp_path / "real#a:1") == StreamAddress(tmp_path / "real#a:1")
    for wrong in ("talk.mkv#a:", "talk.mkv#a:x", "talk.mkv#a:1[FL", "talk.mkv#a:-1"):
        with pytest.raises(UsageError, match="write FILE#a:1"):
            parse_address(wrong)


def test_what_cannot_be_read_is_said_with_the_reason(ffmpeg, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        probe(tmp_path / "absent.mkv")
    with pytest.raises(InputError, match="is a folder"):
        probe(tmp_path)
    empty = tmp_path / "empty.mkv"
    empty.touch()
    with pytest.raises(InputError, match="empty \\(0 bytes\\)"):
        probe(empty)
    text = tmp_path / "text.mkv"
    text.write_text("Dear diary, " * 500)
    with pytest.raises(InputError, match="is it a media file"):
        probe(text)
    silent = tmp_path / "silent.mkv"
    scenes.run_ffmpeg(ffmpeg, "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=1", "-c:v", "libx264", silent)
    with pytest.raises(InputError, match="holds no audio \\(video h264\\)"):
        probe(silent)


def test_a_wavpack_header_tells_its_word_length_and_whether_it_is_lossy():
    def header(flags: int) -> bytes:
        return b"wvpk" + bytes(20) + flags.to_bytes(4, "little") + bytes(4)

    assert wavpack_word_length(header(1)) == (16, True)
    assert wavpack_word_length(header(2)) == (24, True)
    assert wavpack_word_length(header(3 | 7 << 13)) == (25, True)
    assert wavpack_word_length(header(2 | 8)) == (24, False)
    assert wavpack_word_length(b"RIFF" + bytes(40)) is None
    assert wavpack_word_length(header(1)[:20]) is None


def test_the_probe_looks_at_all_streams_of_a_mixed_file(ffmpeg, rng, tmp_path):
    streams = [some_sound(rng), some_sound(rng, bits=24), some_sound(rng, bits=24) / 2.0**23, some_sound(rng)]
    path = scenes.write_recording(
        tmp_path / "mixed.mkv",
        streams,
        ffmpeg=ffmpeg,
        layouts="stereo",
        rate=(48000, 44100, 48000, 48000),
        bits=(16, 24, 32, 16),
        codec=("flac", "wavpack", "pcm", "aac"),
    )
    found = [(s.codec, s.bits, s.lossless, s.sample_rate) for s in probe(path).audio]
    assert found == [
        ("flac", 16, True, 48000),
        ("wavpack", 24, True, 44100),
        ("pcm_f32le", None, True, 48000),
        ("aac", None, False, 48000),
    ]


def test_a_name_too_long_is_an_input_that_cannot_be_read():
    for name in ("x" * 300 + ".mkv", "x" * 300 + ".mkv#a:1", "x" * 300 + "#a:"):
        with pytest.raises((InputError, UsageError)):
            probe(parse_address(name).path)
    with pytest.raises(InputError, match="File name too long"):
        probe("x" * 300 + ".mkv")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may look everywhere")
def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0)
    with pytest.raises(InputError, match="Permission denied"):
        probe(folder / "a.mkv")


@pytest.mark.parametrize(("codec", "suffix"), [("truehd", ".thd"), ("mlp", ".mlp")])
def test_truehd_has_no_more_than_24_bits(codec, suffix, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, bits=24)
    whole = scenes.write_recording(tmp_path / "a.wav", [sound], ffmpeg=ffmpeg, layouts="stereo", codec="pcm", bits=24)
    path = tmp_path / f"a{suffix}"
    scenes.run_ffmpeg(ffmpeg, "-i", whole, "-c:a", codec, "-strict", "-2", path)
    (stream,) = probe(path).audio
    assert (stream.bits, stream.lossless) == (24, True)
    frames = [f.samples for f in read_frames(path, [stream], report=DecodeReport()) if isinstance(f, DecodedFrame)]
    decoded = np.concatenate(frames, axis=1)
    assert np.array_equal(decoded[:, : sound.shape[1]], sound[:, : decoded.shape[1]])


def test_a_wavpack_stream_without_packets_is_not_searched_to_the_end(ffmpeg, rng, tmp_path, monkeypatch):
    streams = [some_sound(rng, bits=24)] * 2
    path = scenes.write_recording(
        tmp_path / "a.mkv", streams, ffmpeg=ffmpeg, layouts="stereo", codec="wavpack", bits=24
    )
    assert [stream.bits for stream in probe(path).audio] == [24, 24]
    monkeypatch.setattr("unsum.media.probe._HEADER_PACKETS", 1)
    assert [stream.bits for stream in probe(path).audio] == [24, 32]
