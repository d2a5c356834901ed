"""The written file, mixed again by the recipe, against what the streams held."""

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from unsum.errors import OutputError
from unsum.media.decode import DecodeReport
from unsum.media.probe import AudioStream, probe
from unsum.recovery.aligned import Progress, aligned_items, sample_dtype, start_sample
from unsum.recovery.findings import Verification
from unsum.recovery.untangle import remix_forms
from unsum.streams.arithmetic import Columns, Grid, LinearForm, StreamFormat, interleaved_block
from unsum.streams.assembly import AlignedBlock
from unsum.streams.recipe import Equations, Source, StreamChannel


class Remixer:
    """Mixes recovered sources by the recipe, block by block.

    Sources stand as streams numbered in the recipe's order, on the grid of the
    streams they were taken from.
    """

    def __init__(
        self, equations: Equations, sources: Sequence[Source], originals: Mapping[int, AudioStream], grid: Grid
    ) -> None:
        bits = grid.bits
        self.grid = Grid({n: StreamFormat(source.channels, bits) for n, source in enumerate(sources)}, bits)
        self.originals = originals
        self.forms: dict[int, list[LinearForm | None]] = {}
        all_forms = remix_forms(equations, self.grid)
        for number, stream in originals.items():
            self.forms[number] = [all_forms[StreamChannel(number, channel)] for channel in stream.channels]
        forms = [form for channels in self.forms.values() for form in channels if form is not None]
        self.dtype = self.grid.dtype(forms)
        self.scale = {number: grid.scale(number) for number in originals}

    def __call__(self, sources: Mapping[int, NDArray]) -> dict[int, NDArray]:
        """{source: (channels, samples)} in, {stream: (channels, samples)} out, in each stream's own units."""
        length = next(iter(sources.values())).shape[1]
        columns = Columns(sources, self.grid, self.dtype)
        streams = {}
        for number, forms in self.forms.items():
            stream, scale = self.originals[number], self.scale[number]
            out = interleaved_block(len(stream.channels), length, sample_dtype(stream))
            for c, form in enumerate(forms):
                if form is not None:
                    values, _ = columns.evaluate(form)
                    out[c] = values if scale == 1 else values // scale
            streams[number] = out
        return streams


def verify_written(
    written: Path,
    original: Path,
    *,
    equations: Equations,
    sources: Sequence[Source],
    source_streams: Mapping[str, int],
    streams: tuple[AudioStream, ...],
    rebuilt: Collection[int],
    grid: Grid,
    digests: Sequence[Mapping[int, int] | None],
    origin: int,
    offsets: Mapping[int, int],
    separate: bool,
    progress: Progress | None,
) -> Verification:
    """Decode the written file, mix it again, and compare every sample.

    Blocks are compared by the checksums that the first pass took of the original;
    where one differs, both files are decoded side by side and the samples counted.

    Parameters
    ----------
    source_streams : {source name: audio stream number in the written file}
    rebuilt : the streams whose sources were all written
    """
    originals = {stream.number: stream for stream in streams if stream.number in rebuilt}
    not_rebuilt = tuple(sorted(stream.number for stream in streams if stream.number not in rebuilt))
    if not originals:
        return Verification({}, 0, 0, not_rebuilt)
    remix = Remixer(equations, sources, originals, grid)
    total = len(digests)
    number = {source.name: n for n, source in enumerate(sources)}
    skipped = 0
    suspicious = False
    for n, (block, digest) in enumerate(
        zip_longest(_written_blocks(written, source_streams, number), digests, fillvalue=None)
    ):
        if block is None:
            raise OutputError(f"{written.name} is shorter than what was written to it; do not trust this disk")
        if digest is None:
            skipped += block.length
        else:
            mixed = remix(block.samples)
            if any(crc32(np.ascontiguousarray(mixed[s].T)) != digest[s] for s in originals):
                suspicious = True
                break
        if progress is not None:
            progress(n + 1, total, "verifying")
    if not suspicious:
        return Verification(dict.fromkeys(originals, 0), 0, skipped, not_rebuilt)

    differing = dict.fromkeys(originals, 0)
    greatest = skipped = 0
    report = DecodeReport()
    read = aligned_items(
        original,
        streams,
        origin=origin,
        offsets=offsets,
        report=report,
        threads=True,
        separate=separate,
    )
    for n, (block, before) in enumerate(zip(_written_blocks(written, source_streams, number), read, strict=False)):
        assert isinstance(before, AlignedBlock)
        if before.missing:
            skipped += block.length
        else:
            mixed = remix(block.samples)
            for s in originals:
                difference = mixed[s].astype(np.int64) - before.samples[s]
                if difference.any():
                    differing[s] += int(np.count_nonzero(difference))
                    greatest = max(greatest, int(np.abs(difference).max()))
        if progress is not None:
            progress(n + 1, total, "comparing sample by sample")
    return Verification(differing, greatest, skipped, not_rebuilt)


def _written_blocks(written: Path, source_streams: Mapping[str, int], number: Mapping[str, int]):
    """Aligned blocks of the written sources, numbered as in the recipe, from their first samples on."""
    audio = probe(written).audio
    chosen = {name: audio[stream] for name, stream in source_streams.items()}
    streams = tuple(chosen.values())
    starts = {stream.number: start_sample(stream) for stream in streams}
    report = DecodeReport()
    back = {stream.number: number[name] for name, stream in chosen.items()}
    for block in aligned_items(
        written,
        streams,
        origin=0,
        offsets={stream: -start for stream, start in starts.items()},
        report=report,
        threads=True,
    ):
        assert isinstance(block, AlignedBlock)
        if report.errors or report.breaks:
            raise OutputError(f"{written.name} does not decode cleanly; do not trust this disk")
        yield AlignedBlock(
            block.start, block.length, {back[stream]: samples for stream, samples in block.samples.items()}, {}
        )
