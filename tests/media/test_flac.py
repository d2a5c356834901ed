"""FLAC's own headers, against files that ffmpeg and the flac program make and check."""

import io

import av
import numpy as np
import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st

from unsum.media.flac import StreamInfo, first_sample, header_only_file, is_frame, parse_streaminfo, streaminfo_bytes

RATE = 48000


@given(
    st.builds(
        StreamInfo,
        min_block=st.integers(16, 65535),
        max_block=st.integers(16, 65535),
        sample_rate=st.integers(1, (1 << 20) - 1),
        channels=st.integers(1, 8),
        bits=st.integers(4, 32),
        samples=st.integers(0, (1 << 36) - 1),
        min_frame_bytes=st.integers(0, (1 << 24) - 1),
        max_frame_bytes=st.integers(0, (1 << 24) - 1),
        md5=st.binary(min_size=16, max_size=16),
    )
)
def test_streaminfo_reads_back_as_it_was_written(info):
    packed = streaminfo_bytes(info)
    assert len(packed) == 34
    assert parse_streaminfo(packed) == info
    assert parse_streaminfo(b"fLaC\x80\x00\x00\x22" + packed) == info


@pytest.mark.parametrize("extradata", [None, b"", b"fLaC", bytes(33)])
def test_too_little_is_no_streaminfo(extradata):
    assert parse_streaminfo(extradata) is None


def test_a_file_that_is_only_a_header_is_opened_by_a_demuxer():
    info = StreamInfo(4096, 4096, 44100, 6, 24, samples=999, md5=b"x" * 16)
    with av.open(io.BytesIO(header_only_file(info)), format="flac") as header:
        context = header.streams.audio[0].codec_context
        assert (context.sample_rate, context.layout.nb_channels) == (44100, 6)
        assert parse_streaminfo(context.extradata) == StreamInfo(4096, 4096, 44100, 6, 24)


@given(st.integers(0, 0x10FFFF).filter(lambda n: not 0xD800 <= n < 0xE000))
def test_frame_numbers_are_coded_as_utf8_codes_letters(number):
    coded = chr(number).encode("utf-8")
    assert first_sample(b"\xff\xf8\xc9\x18" + coded + bytes(8), 4096) == number * 4096
    assert first_sample(b"\xff\xf9\xc9\x18" + coded + bytes(8), None) == number


def test_sample_numbers_go_beyond_what_utf8_has():
    # 36 bits, all ones: one byte FE and six with six bits each.
    assert first_sample(b"\xff\xf9\xc9\x18\xfe" + b"\xbf" * 6 + bytes(8), None) == (1 << 36) - 1


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xf8",
        b"\x00" * 16,
        b"\xff\xf8\xc9\x18\x80" + bytes(11),  # a continuation byte first
        b"\xff\xf8\xc9\x18\xc2\x00" + bytes(10),  # and none where one is due
        b"\xff\xf8\xc9\x18\xff" + b"\xbf" * 11,
    ],
)
def test_what_is_no_frame_header_has_no_number(frame):
    assert first_sample(frame, 4096) is None


def test_a_fixed_block_is_needed_where_frames_are_counted():
    assert is_frame(b"\xff\xf8\xc9\x18\x07" + bytes(8))
    assert first_sample(b"\xff\xf8\xc9\x18\x07" + bytes(8), None) is None


@pytest.mark.parametrize("codec_level", [0, 5, 12])
def test_the_frames_of_a_recording_count_its_samples(codec_level, ffmpeg, rng, tmp_path):
    stream = scenes.music_like(rng, 3 * RATE + 7, channels=2)
    path = scenes.write_recording(
        tmp_path / "a.mkv", [stream], ffmpeg=ffmpeg, layouts="stereo", codec="flac", level=codec_level
    )
    with av.open(str(path)) as container:
        info = parse_streaminfo(container.streams.audio[0].codec_context.extradata)
        assert info is not None
        assert (info.channels, info.bits, info.sample_rate) == (2, 16, RATE)
        position = 0
        for packet in container.demux(audio=0):
            if packet.size:
                assert first_sample(bytes(packet)[:16], info.fixed_block) == position
                position += sum(frame.samples for frame in packet.decode())  # type: ignore[union-attr]
    assert position == stream.shape[1]
    assert np.any(stream)
