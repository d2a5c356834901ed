"""What is encoded is decoded by the ffmpeg program, sample for sample, and its headers are complete."""

import hashlib
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import scenes
import soundfile

from unsum.errors import OutputError, UsageError
from unsum.layouts import LAYOUTS
from unsum.media import encode, frame_sink
from unsum.media.encode import OutputAudio, SoundFileWriter, output_codec
from unsum.media.flac import first_sample, parse_streaminfo
from unsum.media.probe import probe
from unsum.media.remux import RemuxWriter, reserve_output

RATE = 48000


def some_sound(rng, channels, *, samples=RATE // 2 + 17, bits=16):
    sound = scenes.music_like(rng, samples, channels=channels, peak=0.9 * 2 ** (bits - 1))
    sound[0, :2] = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    return sound


def audio(layout, bits, codec, *, stored_bits=None, **how):
    return OutputAudio(
        title=f"the {layout}",
        channels=scenes.CHANNELS[layout],
        sample_rate=RATE,
        bits=bits,
        stored_bits=stored_bits or bits,
        codec=codec,
        **how,
    )


@pytest.fixture
def source(ffmpeg, tmp_path):
    """Some file to copy from: nothing of it is copied here."""
    silence = np.zeros((1, RATE // 10), np.int32)
    return scenes.write_recording(tmp_path / "source.mkv", [silence], ffmpeg=ffmpeg, layouts="mono")


def write(path, source, sounds, described, *, block=9973):
    """Write sounds through `RemuxWriter`, in blocks whose length fits no frame."""
    partial = reserve_output(path, overwrite=False)
    with RemuxWriter(path, partial=partial, source=source, copy=(), audio=described, position=0) as writer:
        for start in range(0, max(sound.shape[1] for sound in sounds), block):
            for number, sound in enumerate(sounds):
                if start < sound.shape[1]:
                    writer.write(number, sound[:, start : start + block])
        writer.complete()
        writer.publish()
    return path


@pytest.mark.parametrize("layout", ["mono", "stereo", "7.1"])
@pytest.mark.parametrize(
    ("suffix", "codec", "bits"),
    [
        (".mkv", "flac", 16),
        (".mkv", "flac", 24),
        (".mkv", "wavpack", 16),
        (".mkv", "wavpack", 24),
        (".mkv", "wavpack", 32),
        (".mkv", "pcm", 24),
        (".mkv", "pcm", 32),
        (".mp4", "flac", 24),
        (".mov", "pcm", 24),
        (".mov", "pcm", 32),
    ],
)
def test_every_lossless_codec_gives_back_every_sample(layout, suffix, codec, bits, source, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, len(scenes.CHANNELS[layout]), bits=bits)
    dtype = np.int16 if bits == 16 else np.int32
    path = write(tmp_path / f"out{suffix}", source, [sound.astype(dtype)], [audio(layout, bits, codec)])
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, bits=bits), sound)
    (stream,) = probe(path).audio
    assert (stream.bits, stream.title) == (bits, f"the {layout}")
    assert stream.channels == scenes.CHANNELS[layout]


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("bits", [16, 24])
def test_alac_gives_back_every_sample(layout, bits, source, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, len(scenes.CHANNELS[layout]), bits=bits)
    path = write(tmp_path / "out.m4a", source, [sound], [audio(layout, bits, "alac")])
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, bits=bits), sound)
    assert probe(path).audio[0].bits == bits


@pytest.mark.parametrize("level", [0, 5, 8, 9, 12])
@pytest.mark.parametrize("bits", [16, 24])
def test_every_compression_level_gives_back_every_sample(level, bits, source, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, 2, bits=bits)
    described = audio("stereo", bits, "flac", compression_level=level)
    path = write(tmp_path / "out.mkv", source, [sound], [described])
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, bits=bits), sound)
    assert probe(path).audio[0].bits == bits


def test_a_higher_level_makes_a_smaller_file(source, rng, tmp_path):
    sound = scenes.music_like(rng, 4 * RATE, channels=2)
    sizes = [
        write(tmp_path / f"{level}.mkv", source, [sound], [audio("stereo", 16, "flac", compression_level=level)]).stat()
        for level in (0, 8)
    ]
    assert sizes[1].st_size < 0.99 * sizes[0].st_size


@pytest.mark.parametrize("level", [8, 12])
@pytest.mark.parametrize("bits", [16, 24])
def test_the_final_streaminfo_has_the_length_and_the_checksum(level, bits, source, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, 6, bits=bits)
    described = audio("5.1", bits, "flac", compression_level=level)
    path = write(tmp_path / "out.mkv", source, [sound], [described])
    with av.open(str(path)) as container:
        info = parse_streaminfo(container.streams.audio[0].codec_context.extradata)
    assert info is not None
    assert (info.samples, info.bits, info.channels) == (sound.shape[1], bits, 6)
    words = np.ascontiguousarray(sound.T.astype("<i4")).view(np.uint8).reshape(-1, 4)[:, : bits // 8]
    assert info.md5 == hashlib.md5(words.tobytes()).digest()
    if shutil.which("flac"):
        bare = tmp_path / "bare.flac"
        scenes.run_ffmpeg(ffmpeg, "-i", path, "-c", "copy", bare)
        subprocess.run(["flac", "--test", "--silent", bare], check=True)


@pytest.mark.parametrize(("bits", "stored"), [(8, 16), (12, 16), (20, 24), (17, 24)])
@pytest.mark.parametrize("codec", ["flac", "wavpack", "pcm"])
def test_short_words_keep_their_level(bits, stored, codec, source, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, 2, bits=bits)
    path = write(tmp_path / "out.mkv", source, [sound], [audio("stereo", bits, codec, stored_bits=stored)])
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, bits=stored), sound << (stored - bits))


@pytest.mark.parametrize(("stored", "dtype"), [(32, "<f4"), (64, "<f8")])
def test_floats_beyond_full_scale_stay_what_they_are(stored, dtype, source, ffmpeg, rng, tmp_path):
    sound = (some_sound(rng, 8) / 1000.0).astype(dtype).astype(np.float64)
    assert np.abs(sound).max() > 30
    path = write(tmp_path / "out.mkv", source, [sound], [audio("7.1", None, "pcm", stored_bits=stored)])
    raw = scenes.run_ffmpeg(ffmpeg, "-i", path, "-f", "f64le", "pipe:1")
    assert np.array_equal(np.frombuffer(raw, "<f8").reshape(-1, 8).T, sound)


@pytest.mark.parametrize("samples", [1, 4095, 4096, 4097])
@pytest.mark.parametrize("codec", ["flac", "wavpack"])
def test_no_length_is_too_odd(samples, codec, source, ffmpeg, rng, tmp_path):
    sound = scenes.noise_bursts(rng, samples, channels=2)
    path = write(tmp_path / "out.mkv", source, [sound], [audio("stereo", 16, codec)])
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg), sound)


def test_several_streams_are_written_side_by_side(source, ffmpeg, rng, tmp_path):
    layouts = ("7.1", "stereo", "mono")
    sounds = [some_sound(rng, len(scenes.CHANNELS[layout]), samples=2 * RATE) for layout in layouts]
    described = [audio(layout, 16, "flac", language="deu", default=n == 1) for n, layout in enumerate(layouts)]
    path = write(tmp_path / "out.mkv", source, sounds, described)
    found = probe(path).audio
    assert [(s.layout, s.title, s.language, s.default) for s in found] == [
        (layout, f"the {layout}", "deu", n == 1) for n, layout in enumerate(layouts)
    ]
    for number, sound in enumerate(sounds):
        assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, stream=number), sound)


@pytest.mark.parametrize("codec", ["flac", "wavpack", "alac"])
def test_only_pcm_holds_floats(codec, source, tmp_path):
    with pytest.raises((UsageError, OutputError)):
        write(tmp_path / "out.mkv", source, [np.zeros((1, 10))], [audio("mono", None, codec, stored_bits=64)])
    assert [path.name for path in tmp_path.iterdir()] == ["source.mkv"]


def test_channels_in_an_order_nobody_uses_are_refused(source, tmp_path):
    odd = OutputAudio("odd", ("FR", "FL"), RATE, bits=16, stored_bits=16, codec="pcm")
    with pytest.raises(OutputError, match="FR\\+FL"):
        write(tmp_path / "out.mkv", source, [np.zeros((2, 10), np.int16)], [odd])
    assert [path.name for path in tmp_path.iterdir()] == ["source.mkv"]


def test_each_container_gets_the_codec_it_carries_best():
    stereo, surround = scenes.CHANNELS["stereo"], scenes.CHANNELS["7.1"]
    assert output_codec("matroska", channels=surround, bits=24) == "flac"
    assert output_codec("matroska", channels=surround, bits=32) == "wavpack"
    assert output_codec("matroska", channels=surround, bits=None) == "pcm"
    assert output_codec("mp4", channels=stereo, bits=16) == "alac"
    assert output_codec("mp4", channels=surround, bits=16) == "flac"
    assert output_codec("mov", channels=surround, bits=16) == "pcm"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".w64"])
@pytest.mark.parametrize("bits", [16, 24])
def test_a_file_of_its_own_holds_every_sample(suffix, bits, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, 2, bits=bits)
    path = tmp_path / f"out{suffix}"
    writer = SoundFileWriter(path, audio("stereo", bits, "pcm"), suffix=suffix, expected_samples=sound.shape[1])
    for start in range(0, sound.shape[1], 5000):
        writer.write(sound[:, start : start + 5000])
    writer.close()
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, bits=bits), sound)


@pytest.mark.parametrize("expected_samples", [1000, 1 << 32])
@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "quad", "5.1(side)", "7.1"])
def test_a_wav_names_its_loudspeakers(layout, expected_samples, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, len(scenes.CHANNELS[layout]), samples=1000)
    path = tmp_path / "out.wav"
    writer = SoundFileWriter(path, audio(layout, 16, "pcm"), suffix=".wav", expected_samples=expected_samples)
    writer.write(sound)
    writer.close()
    assert probe(path).audio[0].channels == scenes.CHANNELS[layout]
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg), sound)


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("codec", ["flac", "wavpack"])
def test_every_layout_is_read_back_by_its_name(layout, codec, source, tmp_path):
    channels = LAYOUTS[layout]
    described = OutputAudio("a", channels, RATE, bits=16, stored_bits=16, codec=codec)
    path = write(tmp_path / "out.mkv", source, [np.ones((len(channels), 100), np.int16)], [described])
    assert probe(path).audio[0].channels == channels


def test_a_short_wav_is_a_plain_one_whatever_was_expected(ffmpeg, rng, tmp_path):
    sound = some_sound(rng, 2)
    path = tmp_path / "out.wav"
    writer = SoundFileWriter(path, audio("stereo", 16, "pcm"), suffix=".wav")
    writer.write(sound)
    writer.close()
    head = path.read_bytes()[:12]
    assert head[:4] == b"RIFF" and head[8:12] == b"WAVE"
    assert struct.unpack_from("<I", head, 4) == (path.stat().st_size - 8,)
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg), sound)


@pytest.mark.skipif(sys.platform != "linux", reason="files there have no holes, or only on request")
def test_a_wav_of_more_than_four_gigabytes_is_an_rf64(tmp_path):
    """The samples are a hole in the file: written are only the first and the last."""
    path = tmp_path / "out.wav"
    writer = SoundFileWriter(path, audio("7.1", 24, "pcm"), suffix=".wav")
    samples = 4_400_000_000 // 24
    writer.write(np.full((8, 100), 5, np.int32))
    try:
        writer.file.seek(samples)
    except soundfile.LibsndfileError as error:
        pytest.skip(f"libsndfile does not write behind a hole: {error}")
    writer.write(np.full((8, 100), 7, np.int32))
    writer.close()
    with path.open("rb") as file:
        head = file.read(40)
    assert head[:4] == b"RF64" and head[8:16] == b"WAVEds64"
    assert struct.unpack_from("<Q", head, 20) == (path.stat().st_size - 8,)
    assert path.stat().st_size > 4_400_000_000


def test_an_aiff_ends_before_its_four_gigabytes_wrap(rng, tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"\.aiff ends at 4 GB; write \.wav or \.w64"):
        SoundFileWriter(tmp_path / "out.aiff", audio("7.1", 24, "pcm"), suffix=".aiff", expected_samples=200_000_000)
    monkeypatch.setattr(encode, "_LIMIT_BYTES", 10_000)
    writer = SoundFileWriter(tmp_path / "out.aiff", audio("stereo", 16, "pcm"), suffix=".aiff")
    writer.write(some_sound(rng, 2, samples=2500))
    with pytest.raises(OutputError, match=r"\.aiff ends at 4 GB"):
        writer.write(some_sound(rng, 2, samples=10))
    writer.close()


def test_a_library_without_rf64_on_demand_keeps_wav_and_says_where_it_ends(rng, ffmpeg, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_RF64_AUTO_DOWNGRADE", 0x7FFF)  # a command that no version knows
    monkeypatch.setattr(encode, "_LIMIT_BYTES", 10_000)
    writer = SoundFileWriter(tmp_path / "out.wav", audio("stereo", 16, "pcm"), suffix=".wav")
    sound = some_sound(rng, 2, samples=2500)
    writer.write(sound)
    with pytest.raises(OutputError, match=r"\.wav ends at 4 GB; write \.rf64 or \.w64"):
        writer.write(sound)
    writer.close()
    assert (tmp_path / "out.wav").read_bytes()[:4] == b"RIFF"
    assert np.array_equal(scenes.decode_pcm(tmp_path / "out.wav", ffmpeg=ffmpeg), sound)


@pytest.mark.parametrize("level", [0, 2, 3, 8])
def test_every_packet_is_stamped_with_its_own_first_sample(level, source, rng, tmp_path):
    sound = some_sound(rng, 2)
    # MP4 counts in samples: what is written there is read back to the sample.
    path = write(tmp_path / "out.mp4", source, [sound], [audio("stereo", 16, "flac", compression_level=level)])
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        info = parse_streaminfo(stream.codec_context.extradata)
        assert info is not None and info.fixed_block == (1152 if level <= 2 else 4096)
        packets = [packet for packet in container.demux(stream) if packet.size]
    starts = [first_sample(bytes(packet), info.fixed_block) for packet in packets]
    assert {packet.time_base for packet in packets} == {Fraction(1, RATE)}
    assert [packet.pts for packet in packets] == starts
    assert starts[-1] is not None and packets[-1].duration == sound.shape[1] - starts[-1]


@pytest.mark.parametrize("rate", [100_001, 768_000])
def test_a_rate_that_libflac_refuses_goes_to_ffmpegs_encoder(rate, source, ffmpeg, rng, tmp_path):
    sound = some_sound(rng, 2)
    path = write(tmp_path / "out.mkv", source, [sound], [replace(audio("stereo", 16, "flac"), sample_rate=rate)])
    assert probe(path).audio[0].sample_rate == rate
    assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg), sound)


def test_what_no_encoder_takes_is_refused_as_an_output(source, tmp_path):
    with pytest.raises(OutputError, match="choose another codec"):
        write(
            tmp_path / "out.mkv",
            source,
            [np.zeros((2, 10), np.int16)],
            [replace(audio("stereo", 16, "flac"), sample_rate=2_000_000)],
        )


def test_a_library_that_writes_no_frames_is_found_out(source, rng, tmp_path, monkeypatch):
    """Exceptions do not come through libsndfile: they are kept and raised behind it."""
    monkeypatch.setattr(encode, "_libflac_block", lambda audio: 4096)
    monkeypatch.setattr(frame_sink, "is_frame", lambda data: data[:4] != b"fLaC" and data[4] == 3)
    with pytest.raises(OutputError, match="no FLAC frame"):
        write(tmp_path / "out.mkv", source, [some_sound(rng, 2)], [audio("stereo", 16, "flac")])


def test_a_block_length_that_is_not_the_librarys_is_found_out(source, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_libflac_block", lambda audio: 1152)
    with pytest.raises(OutputError, match="frames of 1152 were due"):
        write(tmp_path / "out.mkv", source, [some_sound(rng, 2)], [audio("stereo", 16, "flac")])


def test_a_file_of_its_own_says_what_it_cannot_hold(tmp_path):
    with pytest.raises(UsageError, match=r"known: \.wav"):
        SoundFileWriter(tmp_path / "out.mp3", audio("mono", 16, "pcm"), suffix=".mp3", expected_samples=1)
    with pytest.raises(UsageError, match="FLAC holds up to 24 bits"):
        SoundFileWriter(tmp_path / "out.flac", audio("mono", 32, "pcm"), suffix=".flac", expected_samples=1)
    with pytest.raises(UsageError, match=r"cannot say that the 2\.1 is 2\.1"):
        SoundFileWriter(tmp_path / "out.flac", audio("2.1", 16, "pcm"), suffix=".flac", expected_samples=1)
    with pytest.raises(OutputError, match="cannot write"):
        SoundFileWriter(tmp_path / "no" / "out.wav", audio("mono", 16, "pcm"), suffix=".wav", expected_samples=1)
