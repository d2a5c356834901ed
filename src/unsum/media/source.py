"""A stream of a file as a source that can be read from its start, as often as needed."""

from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.media.decode import DecodedFrame, DecodeReport, read_frames
from unsum.media.probe import AudioStream, StreamAddress, parse_address, probe
from unsum.media.promised import shortfall_words

_SILENCE_SAMPLES = 1 << 16
# By so much a header that is not exact may be off.
_OFF_SECONDS, _OFF_SHARE = 0.1, 0.01


@dataclass(frozen=True, slots=True)
class FileSource:
    """One audio stream of a file, or some of its channels.

    Sample 0 is the first decoded sample; lost packets are filled with silence, so
    that what follows stays in time.

    Attributes
    ----------
    samples : as long as it is expected to be, by the header
    with_picture : the expected length is that of the picture beside the sound
    report : what went wrong the last time that `blocks` was read to its end
    """

    name: str
    path: Path
    stream: AudioStream
    channels: tuple[str, ...]
    samples: int | None
    with_picture: bool = False
    report: DecodeReport = field(default_factory=DecodeReport, compare=False, repr=False)

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
        """(channels, samples) blocks from the first sample on.

        Raises
        ------
        InputError
            If the file breaks off so that nothing more can be read, or a sample is no number.
        """
        report = DecodeReport()
        reached = 0
        for block in self.read(report):
            if block.dtype.kind == "f" and not (finite := np.isfinite(block).all(axis=0)).all():
                at = reached + int(finite.argmin())
                raise InputError(
                    f"{self.name} holds NaN or infinity at {at / self.sample_rate:.3f} s (sample {at}); "
                    "repair or leave out that file"
                )
            reached += block.shape[1]
            yield block
        self.report.errors[:] = report.errors
        self.report.breaks[:] = report.breaks
        self.report.lengths |= report.lengths

    def damage(self) -> str | None:
        """What could not be read, in words; None as long as nothing is known."""
        told = []
        if errors := self.report.errors:
            seconds, reason = errors[0][1:]
            told.append(f"{_count(errors, 'packet')} could not be decoded, the first at {seconds:.3f} s ({reason})")
        if breaks := self.report.breaks:
            seconds = breaks[0].at / self.sample_rate - float(self.stream.start_seconds)
            lost, doubled = (sum(max(sign * each.samples, 0) for each in breaks) for sign in (1, -1))
            kinds = [
                f"{samples} samples {kind}" for samples, kind in ((lost, "missing"), (doubled, "twice")) if samples
            ]
            told.append(f"{', '.join(kinds)}, first at {seconds:.3f} s")
        there = self.report.lengths.get(self.stream.number, 0)
        if there and (short := shortfall_words(self.stream.promised_samples, there, sample_rate=self.sample_rate)):
            told.append(short)
        if told:
            return f"{self.name} is damaged: {'; '.join(told)}"
        return self._other_length(there) if there and self.stream.promised_samples is None else None

    def _other_length(self, there: int) -> str | None:
        """By how much a header that counts in seconds or packets, or guesses, is off; None where that is little."""
        if self.samples is None or self.with_picture:
            return None
        said, found = self.samples / self.sample_rate, there / self.sample_rate
        if abs(said - found) <= _OFF_SECONDS + _OFF_SHARE * said:
            return None
        return f"{self.name} is said to be {said:.3f} s long, but its sound ends at {found:.3f} s"

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


def _count(those: Sized, what: str) -> str:
    return f"{len(those)} {what}{'' if len(those) == 1 else 's'}"


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
        with_picture=bool(recording.others),
    )
