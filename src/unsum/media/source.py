"""A stream of a file as a source that can be read from its start, as often as needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.media.decode import DecodedFrame, DecodeReport, read_frames
from unsum.media.probe import AudioStream, StreamAddress, parse_address, probe

_SILENCE_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True)
class FileSource:
    """One audio stream of a file, or some of its channels.

    Sample 0 is the first decoded sample; lost packets are filled with silence, so
    that what follows stays in time.
    """

    name: str
    path: Path
    stream: AudioStream
    channels: tuple[str, ...]
    samples: int | None

    @property
    def sample_rate(self) -> int:
        return self.stream.sample_rate

    @property
    def bits(self) -> int | None:
        return self.stream.bits

    @property
    def lossless(self) -> bool:
        return self.stream.lossless

    def blocks(self) -> Iterator[NDArray[Any]]:
        """(channels, samples) blocks from the first sample on."""
        yield from self.read(DecodeReport())

    def read(self, report: DecodeReport) -> Iterator[NDArray[Any]]:
        """As `blocks`; what goes wrong while reading is put into ``report``."""
        rows = [self.stream.channels.index(name) for name in self.channels]
        every = rows == list(range(len(self.stream.channels)))
        reached = None
        for frame in read_frames(self.path, [self.stream], report=report, threads=True):
            assert isinstance(frame, DecodedFrame)
            samples = frame.samples if every else frame.samples[rows]
            gap = 0 if reached is None else frame.start - reached
            while gap > 0:
                silence = min(gap, _SILENCE_SAMPLES)
                yield np.zeros((len(rows), silence), samples.dtype)
                gap -= silence
            reached = frame.start + samples.shape[1]
            yield samples


def open_source(address: str | Path | StreamAddress, *, name: str | None = None) -> FileSource:
    """A source from ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``; the first audio stream by default.

    Raises
    ------
    InputError
        If the file cannot be read or has no such stream or channel.
    """
    chosen = address if isinstance(address, StreamAddress) else parse_address(address)
    recording = probe(chosen.path)
    number = chosen.stream or 0
    if number >= len(recording.audio):
        raise InputError(
            f"{chosen.path} has {len(recording.audio)} audio streams; there is no a:{number} (a:0 is the first)"
        )
    stream = recording.audio[number]
    channels = chosen.channels or stream.channels
    absent = [channel for channel in channels if channel not in stream.channels]
    if absent:
        raise InputError(
            f"{chosen.path}#a:{number} has no channel {', '.join(absent)}; it has {', '.join(stream.channels)}"
        )
    seconds = recording.duration_seconds
    return FileSource(
        name=name or chosen.path.name,
        path=chosen.path,
        stream=stream,
        channels=channels,
        samples=None if seconds is None else round(seconds * stream.sample_rate),
    )
