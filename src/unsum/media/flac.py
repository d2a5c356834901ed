"""FLAC's own headers: what the decoder does not tell and the muxer needs.

Frame and sample numbers live in every frame header; word length, length and the
checksum of the audio live in STREAMINFO. FFmpeg exposes neither.

References
----------
.. [1] RFC 9639, "Free Lossless Audio Codec (FLAC)", 2024: sections 8.2, 8.6 and 9.1.
"""

from dataclasses import dataclass, replace

STREAMINFO_BYTES = 34
# What FLAC can mean where only the number of channels is given [1]_.
LAYOUTS_BY_COUNT = {"mono", "stereo", "3.0", "quad", "5.0", "5.0(side)", "5.1", "5.1(side)", "6.1", "7.1"}
# Loudspeakers in the order of the bits of WAVE's channel mask, which FLAC borrows.
WAVE_MASK_BITS = ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR")


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The fields of STREAMINFO; ``samples`` is 0 where the encoder did not know."""

    min_block: int
    max_block: int
    sample_rate: int
    channels: int
    bits: int
    samples: int = 0
    min_frame_bytes: int = 0
    max_frame_bytes: int = 0
    md5: bytes = bytes(16)

    @property
    def fixed_block(self) -> int | None:
        """Samples of every frame but the last, or None where they vary."""
        return self.max_block if self.min_block == self.max_block else None


def parse_streaminfo(extradata: bytes | None) -> StreamInfo | None:
    """Read STREAMINFO from a codec's extradata: 34 bytes, or behind the ``fLaC`` marker."""
    if not extradata:
        return None
    if extradata[:4] == b"fLaC":
        extradata = extradata[8:]
    if len(extradata) < STREAMINFO_BYTES:
        return None
    packed = int.from_bytes(extradata[10:18], "big")
    return StreamInfo(
        min_block=int.from_bytes(extradata[0:2], "big"),
        max_block=int.from_bytes(extradata[2:4], "big"),
        min_frame_bytes=int.from_bytes(extradata[4:7], "big"),
        max_frame_bytes=int.from_bytes(extradata[7:10], "big"),
        sample_rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        samples=packed & (1 << 36) - 1,
        md5=extradata[18:34],
    )


def streaminfo_bytes(info: StreamInfo) -> bytes:
    """The 34 bytes that `parse_streaminfo` reads."""
    packed = info.sample_rate << 44 | info.channels - 1 << 41 | info.bits - 1 << 36 | info.samples
    return b"".join(
        [
            info.min_block.to_bytes(2, "big"),
            info.max_block.to_bytes(2, "big"),
            info.min_frame_bytes.to_bytes(3, "big"),
            info.max_frame_bytes.to_bytes(3, "big"),
            packed.to_bytes(8, "big"),
            info.md5,
        ]
    )


def header_only_file(info: StreamInfo, *, channels: tuple[str, ...] = ()) -> bytes:
    """A FLAC file without audio: enough for a demuxer to describe the stream.

    Parameters
    ----------
    channels : names of the channels. FLAC has names for most numbers of them, but 5 and 6 have been read as
        5.0 and 5.1 with the rear pair at the back and at the sides, so that three and more are named.
    """
    unknown = replace(info, samples=0, md5=bytes(16), min_frame_bytes=0, max_frame_bytes=0)
    header = STREAMINFO_BYTES.to_bytes(3, "big") + streaminfo_bytes(unknown)
    if len(channels) < 3:
        return b"fLaC\x80" + header
    mask = sum(1 << WAVE_MASK_BITS.index(channel) for channel in channels)
    comment = f"WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x{mask:x}".encode()
    # No vendor, one comment; lengths are little-endian in this block alone.
    block = b"".join(
        [bytes(4), (1).to_bytes(4, "little"), len(comment).to_bytes(4, "little"), comment],
    )
    return b"fLaC\x00" + header + b"\x84" + len(block).to_bytes(3, "big") + block


def is_frame(data: bytes) -> bool:
    """Whether the bytes begin with a frame header's sync code."""
    return len(data) > 5 and data[0] == 0xFF and data[1] & 0xFE == 0xF8


def first_sample(frame: bytes, fixed_block: int | None) -> int | None:
    """Index of a frame's first sample in its own stream, or None if it cannot be told.

    Parameters
    ----------
    frame : the first 16 bytes of a FLAC frame, or more
    fixed_block : samples per frame of a stream with a fixed block size
    """
    if not is_frame(frame):
        return None
    first = frame[4]
    extra = 0 if first < 0x80 else 8 - (first ^ 0xFF).bit_length() - 1
    if not 0 <= extra <= 6 or 0x80 <= first < 0xC0 or len(frame) < 5 + extra:
        return None
    number = first if extra == 0 else first & (0x3F >> extra)
    for byte in frame[5 : 5 + extra]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    if frame[1] & 1:  # variable block size: the number counts samples
        return number
    return None if fixed_block is None else number * fixed_block
