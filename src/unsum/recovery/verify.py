"""The written file, mixed again by the recipe, against what the streams held."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unsum.errors import OutputError
from unsum.media.decode import DecodeReport, sample_dtype
from unsum.media.probe import AudioStream, probe
from unsum.progress import Progress
from unsum.recovery.aligned import aligned_items, start_sample
from unsum.recovery.findings import Verification
from unsum.recovery.untangle import BlockDigest, checksums, remix_forms, whole_passages
from unsum.streams.arithmetic import Columns, Composition, Grid, StreamFormat
from unsum.streams.assembly import BLOCK_SAMPLES, AlignedBlock
from unsum.streams.equations import Equations, StreamChannel
from unsum.streams.recipe import Source


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
        all_forms = remix_forms(equations, self.grid)
        self.streams: dict[int, tuple[np.dtype, int, Composition]] = {}
        for number, stream in originals.items():
            forms = tuple(all_forms[StreamChannel(number, channel)] for channel in stream.channels)
            dtype, scale = sample_dtype(stream), grid.scale(number)
            self.streams[number] = dtype, scale, Composition.of(stream.channels, forms, self.grid, dtype)
        forms = [form for _, _, composition in self.streams.values() for form in composition.forms if form]
        self.dtype = self.grid.dtype(forms)

    def __call__(self, sources: Mapping[int, NDArray], *, wide: bool = False) -> tuple[dict[int, NDArray], bool]:
        """{source: (channels, samples)} in, {stream: (channels, samples)} out, in each stream's own units.

        Also whether all of it fits the words of the streams; with ``wide`` nothing wraps around.
        """
        fits = True
        length = next(iter(sources.values())).shape[1]
        # A source that has grown beyond the words of the streams comes in longer ones, and its sums need them.
        grown = any(samples.dtype == np.int64 for samples in sources.values())
        columns = Columns(sources, self.grid, np.dtype(np.int64) if grown else self.dtype)
        streams = {}
        for number, (dtype, scale, composition) in self.streams.items():
            narrow = scale == 1 and not grown and not wide
            mixed, computed, _ = composition.compose(columns, sources, length, dtype if narrow else np.int64)
            limits = np.iinfo(dtype)
            fits &= all(c.min() // scale >= limits.min and c.max() // scale <= limits.max for c in computed.values())
            if not narrow:
                mixed = (mixed.T // scale).T
            streams[number] = mixed if wide or narrow else mixed.astype(dtype, order="K")
        return streams, fits


def lost_samples(
    remix: Remixer, block: AlignedBlock, sources: Mapping[int, NDArray], *, counts: dict[int, int]
) -> None:
    """Count what cannot be rebuilt where a stream is missing: a source that is unknown there is silent."""
    mixed, _ = remix(sources, wide=True)
    everything = frozenset(block.samples)
    for start, stop, present in block.passages():
        if present == everything:
            continue
        for stream in present & counts.keys():
            differs = mixed[stream][:, start:stop] != block.samples[stream][:, start:stop]
            counts[stream] += int(np.count_nonzero(differs))


def verify_written(
    written: Mapping[str, tuple[Path, int]],
    original: Path,
    *,
    equations: Equations,
    sources: Sequence[Source],
    streams: tuple[AudioStream, ...],
    rebuilt: Collection[int],
    grid: Grid,
    digests: Sequence[BlockDigest],
    lost: Mapping[int, int],
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
    written : {source name: (file, audio stream number)}
    rebuilt : the streams whose sources were all written
    lost : {stream: samples} that `lost_samples` counted
    """
    originals = {stream.number: stream for stream in streams if stream.number in rebuilt}
    not_rebuilt = tuple(sorted(stream.number for stream in streams if stream.number not in rebuilt))
    if not originals:
        return Verification({}, 0, {}, not_rebuilt)
    remix = Remixer(equations, sources, originals, grid)
    total, seconds = len(digests), BLOCK_SAMPLES / streams[0].sample_rate
    number = {source.name: n for n, source in enumerate(sources)}
    suspicious = False
    assert grid.bits is not None, "floating point is not compared"
    blocks = _written_blocks(written, number, bits=grid.bits)
    for n, (block, digest) in enumerate(zip_longest(blocks, digests, fillvalue=None)):
        if block is None:
            raise OutputError("the file is shorter than what was written to it; do not trust this disk")
        if digest is None:
            raise OutputError("the file is longer than what was written to it; do not trust this disk")
        mixed, fits = remix(block.samples)
        sums = checksums(mixed, digest.passages)
        if not fits or any(sums[s] != digest.checksums[s] for s in originals):
            suspicious = True
            break
        if progress is not None:
            progress((n + 1) * seconds, total * seconds, "verifying")
    if not suspicious:
        return Verification(dict.fromkeys(originals, 0), 0, dict(lost), not_rebuilt)

    differing = dict.fromkeys(originals, 0)
    greatest = 0
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
    blocks = _written_blocks(written, number, bits=grid.bits)
    for n, (block, before) in enumerate(zip(blocks, read, strict=False)):
        assert isinstance(before, AlignedBlock)
        mixed, _ = remix(block.samples, wide=True)
        for start, stop in whole_passages(before):
            for s in originals:
                difference = mixed[s][:, start:stop] - before.samples[s][:, start:stop]
                if difference.any():
                    differing[s] += int(np.count_nonzero(difference))
                    greatest = max(greatest, int(np.abs(difference).max()))
        if progress is not None:
            progress((n + 1) * seconds, total * seconds, "comparing sample by sample")
    return Verification(differing, greatest, dict(lost), not_rebuilt)


def _written_blocks(
    written: Mapping[str, tuple[Path, int]], number: Mapping[str, int], *, bits: int
) -> Iterator[AlignedBlock]:
    """Aligned blocks of the written sources, in steps of ``bits``, numbered as in the recipe, from their start."""
    files: dict[Path, dict[int, int]] = {}
    for name, (path, stream) in written.items():
        files.setdefault(path, {})[stream] = number[name]
    for parts in zip(*(_file_blocks(path, chosen, bits=bits) for path, chosen in files.items()), strict=False):
        samples = {source: channels for part in parts for source, channels in part.samples.items()}
        yield AlignedBlock(parts[0].start, parts[0].length, samples, {})


def _in_steps(samples: NDArray, stored_bits: int | None, bits: int) -> NDArray:
    """Samples as they are in the file, in steps of ``bits``: stored in longer words, or as floats."""
    if stored_bits is None:
        return np.rint(samples.astype(np.float64) * 2.0 ** (bits - 1)).astype(np.int64)
    return samples >> samples.dtype.type(stored_bits - bits) if stored_bits > bits else samples


def _file_blocks(path: Path, chosen: Mapping[int, int], *, bits: int) -> Iterator[AlignedBlock]:
    """Blocks of some streams of one file, under other numbers."""
    streams = tuple(stream for stream in probe(path).audio if stream.number in chosen)
    report = DecodeReport()
    offsets = {stream.number: -start_sample(stream) for stream in streams}
    for block in aligned_items(path, streams, origin=0, offsets=offsets, report=report, threads=True):
        assert isinstance(block, AlignedBlock)
        if report.errors or report.breaks:
            raise OutputError("the written file does not decode cleanly; do not trust this disk")
        samples = {chosen[s.number]: _in_steps(block.samples[s.number], s.bits, bits) for s in streams}
        yield AlignedBlock(block.start, block.length, samples, {})
