"""A first look at the beginning of a recording: when its streams start, how late they are, how they were mixed."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unsum.media.decode import DecodedFrame, DecodeReport, read_frames, sample_dtype
from unsum.media.probe import AudioStream
from unsum.recovery.aligned import start_sample
from unsum.streams.assembly import AlignedBlock, Assembler, NotInterleavedError
from unsum.streams.offsets import WINDOW, OffsetMeter, StreamOffsets

MAX_LAG_SECONDS = 0.5
LOOK_SECONDS = 600.0
_WINDOWS_KEPT = 3
# A lossy stream is moved only where that makes it cancel this much deeper.
_WORTH_MOVING_DB = 0.5
# Windows that told nothing so far become rarer, so that a quiet hour does not cost an hour of transforms.
_EVERY_WINDOW, _THEN_EVERY = 16, 8


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the beginning tells.

    Attributes
    ----------
    origin : container time, in samples, of the earliest stream
    starts : {stream: container time of its first sample, in samples}
    offsets : how late streams are beyond what their timestamps say
    windows : some stretches in which something sounds, {stream: (channels, samples)}, as timestamps align them
    separate : the streams are not interleaved; read each through a demuxer of its own
    """

    origin: int
    starts: Mapping[int, int]
    offsets: StreamOffsets
    windows: tuple[Mapping[int, NDArray], ...]
    separate: bool


def first_look(
    path: Path,
    streams: tuple[AudioStream, ...],
    pairs: Mapping[tuple[int, int], tuple[str, str]],
    *,
    separate: bool = False,
) -> FirstLook:
    """Read from the start until the lags between the streams are settled.

    Parameters
    ----------
    pairs : the stream channels to compare, as `offsets.shared_channels` gives them
    """
    rate = streams[0].sample_rate
    channels = {stream.number: stream.channels for stream in streams}
    meter = OffsetMeter(pairs, channels, max_lag=int(MAX_LAG_SECONDS * rate))
    origin = min(start_sample(stream) for stream in streams)
    assembler = Assembler(
        {stream.number: (len(stream.channels), sample_dtype(stream)) for stream in streams},
        origin=origin,
        offsets={},
        max_lead=None if separate else int(15 * rate),
        block=WINDOW,
    )
    starts: dict[int, int] = {}
    kept: deque[Mapping[int, NDArray]] = deque(maxlen=_WINDOWS_KEPT)
    seen = 0

    def take(block: AlignedBlock) -> bool:
        nonlocal seen
        if block.length < WINDOW or block.missing or sum(map(np.any, block.samples.values())) < min(2, len(streams)):
            return False
        if len(kept) < _WINDOWS_KEPT:
            kept.append({stream: np.nan_to_num(samples) for stream, samples in block.samples.items()})
        seen += 1
        if seen <= _EVERY_WINDOW or seen % _THEN_EVERY == 0:
            meter.observe({stream: np.nan_to_num(samples, copy=False) for stream, samples in block.samples.items()})
        return meter.settled and seen >= 2

    frames = read_frames(path, streams, report=DecodeReport(), threads=True, separate=separate)
    try:
        for frame in frames:
            if not isinstance(frame, DecodedFrame):
                continue
            starts.setdefault(frame.stream, frame.start)
            if any(take(block) for block in assembler.put(frame.stream, frame.start, frame.samples)):
                break
            if frame.start - origin > LOOK_SECONDS * rate:
                break
        else:
            for block in assembler.finish():
                take(block)
    except NotInterleavedError:
        return first_look(path, streams, pairs, separate=True)
    finally:
        frames.close()
    for stream in streams:
        starts.setdefault(stream.number, start_sample(stream))
    offsets = meter.offsets(channels)
    if not all(stream.lossless for stream in streams):
        offsets = replace(offsets, late=_believed(offsets.late, pairs, channels, kept))
    return FirstLook(
        origin=min(starts.values()),
        starts=starts,
        offsets=offsets,
        windows=tuple(kept),
        separate=separate,
    )


def _believed(
    late: Mapping[int, int],
    pairs: Mapping[tuple[int, int], tuple[str, str]],
    channels: Mapping[int, tuple[str, ...]],
    windows: Sequence[Mapping[int, NDArray]],
) -> dict[int, int]:
    """Of lossy streams only the lags that make something cancel better: their empty bands mislead a whitened one."""
    depths: dict[int, list[float]] = {stream: [] for stream in late}
    for (a, b), names in pairs.items():
        if late[a] == late[b]:
            continue
        for window in windows:
            first, second = (
                window[s][channels[s].index(name)].astype(np.float64) for s, name in zip((a, b), names, strict=True)
            )
            gain = _likeness_db(first, second, late[b] - late[a]) - _likeness_db(first, second, 0)
            for stream in (a, b):
                depths[stream].append(gain)
    return {
        stream: lag if not lag or max(depths[stream], default=0.0) > _WORTH_MOVING_DB else 0
        for stream, lag in late.items()
    }


def _likeness_db(first: NDArray[np.float64], second: NDArray[np.float64], lag: int) -> float:
    """How deep one signal cancels in the other at its best gain, as a positive number of dB."""
    if lag >= 0:
        first, second = first[: len(first) - lag], second[lag:]
    else:
        first, second = first[-lag:], second[:lag]
    energy = float(np.sum(first**2) * np.sum(second**2))
    share = float(np.sum(first * second)) ** 2 / energy if energy else 0.0
    return -10 * math.log10(max(1.0 - share, 1e-12))


def shifted(window: Mapping[int, NDArray], late: Mapping[int, int]) -> Mapping[int, NDArray]:
    """The part of a window that all streams have once their lags are taken out."""
    length = next(iter(window.values())).shape[1]
    first = max(0, -min(late.values()))
    last = length - max(0, *late.values())
    return {stream: samples[:, first + late[stream] : last + late[stream]] for stream, samples in window.items()}
