"""The streams of a file as aligned blocks, in one demux pass where that can be done."""

from collections.abc import Collection, Generator, Mapping
from pathlib import Path

from unsum.media.decode import CopiedPacket, DecodeReport, read_frames, sample_dtype
from unsum.media.probe import AudioStream
from unsum.streams.assembly import BLOCK_SAMPLES, AlignedBlock, Assembler

# One stream this much ahead of another: the file is not interleaved, or one has ended.
MAX_LEAD_SECONDS = 15.0


def start_sample(stream: AudioStream) -> int:
    """The container's idea of where a stream begins, in samples of its own rate."""
    return round(stream.start_seconds * stream.sample_rate)


def aligned_items(
    path: Path,
    streams: Collection[AudioStream],
    *,
    origin: int,
    offsets: Mapping[int, int],
    report: DecodeReport,
    copy: Collection[int] = (),
    threads: bool = False,
    separate: bool = False,
    block: int = BLOCK_SAMPLES,
) -> Generator[AlignedBlock | CopiedPacket]:
    """Aligned blocks of some streams, and the packets of others in between.

    Raises
    ------
    NotInterleavedError
        If one pass would need too much memory: call again with ``separate=True``.
    """
    rate = max(stream.sample_rate for stream in streams)
    assembler = Assembler(
        {stream.number: (len(stream.channels), sample_dtype(stream)) for stream in streams},
        origin=origin,
        offsets=offsets,
        max_lead=None if separate else int(MAX_LEAD_SECONDS * rate),
        block=block,
    )
    for item in read_frames(path, streams, copy=copy, report=report, threads=threads, separate=separate):
        if isinstance(item, CopiedPacket):
            yield item
        else:
            yield from assembler.put(item.stream, item.start, item.samples)
    yield from assembler.finish()
