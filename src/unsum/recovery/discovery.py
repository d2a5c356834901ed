"""The recipe of a recording, found by reading it once from end to end."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unsum.errors import RefusedError
from unsum.media.decode import DecodeReport
from unsum.media.probe import Recording, probe
from unsum.progress import Progress
from unsum.recovery.aligned import aligned_items
from unsum.recovery.look import FirstLook, first_look
from unsum.streams.arithmetic import channel_extremes
from unsum.streams.assembly import AlignedBlock, NotInterleavedError
from unsum.streams.discover import Discovery, RelationFinder
from unsum.streams.offsets import any_channels
from unsum.streams.recipe import Recipe


@dataclass(frozen=True, slots=True)
class FoundRecipe:
    """A recipe and what speaks for it, in lines of text."""

    recipe: Recipe
    evidence: tuple[str, ...]


def discover_relations(recording: Recording, *, progress: Progress | None = None) -> Discovery:
    """Read a recording and say what its streams are sums of.

    Raises
    ------
    RefusedError
        If its streams have different sample rates.
    """
    streams = recording.audio
    rate = streams[0].sample_rate
    if any(stream.sample_rate != rate for stream in streams):
        each = ", ".join(f"stream {s.number}: {s.sample_rate} Hz" for s in streams)
        raise RefusedError(
            f"streams of different sample rates ({each}) hold no equal samples, so no recipe can be found; "
            "give one that uses only streams of one rate"
        )
    channels = {stream.number: stream.channels for stream in streams}
    look = first_look(recording.path, streams, any_channels(channels))
    try:
        return _find(recording, look, separate=look.separate, progress=progress)
    except NotInterleavedError:
        return _find(recording, look, separate=True, progress=progress)


def _find(recording: Recording, look: FirstLook, *, separate: bool, progress: Progress | None) -> Discovery:
    streams, rate = recording.audio, recording.audio[0].sample_rate
    channels = {stream.number: stream.channels for stream in streams}
    finder = RelationFinder(channels)
    bits = {stream.number: stream.bits for stream in streams}
    total = recording.duration_seconds
    for block in aligned_items(
        recording.path,
        streams,
        origin=look.origin,
        offsets={stream: -late for stream, late in look.offsets.late.items()},
        report=DecodeReport(),
        threads=True,
        separate=separate,
    ):
        if not isinstance(block, AlignedBlock):
            continue
        finder.observe(block.start, block.samples, valid=_valid(block, bits))
        if progress is not None:
            done = (block.start + block.length) / rate
            progress(done, max(total or done, done), "finding the recipe")
    return finder.conclude()


def _valid(block: AlignedBlock, bits: dict[int, int | None]) -> NDArray[np.bool_] | None:
    """Where no stream is missing or at full scale; None means everywhere."""
    valid: NDArray[np.bool_] | None = None
    for ranges in block.missing.values():
        valid = np.ones(block.length, bool) if valid is None else valid
        for start, stop in ranges:
            valid[start:stop] = False
    for stream, samples in block.samples.items():
        length = bits[stream]
        if length is None:
            finite = np.asarray(np.isfinite(samples).all(axis=0))
            if not finite.all():
                valid = finite if valid is None else np.logical_and(valid, finite)
            continue
        top = (1 << (length - 1)) - 1
        least, greatest = channel_extremes(samples)
        if greatest.max() >= top or least.min() <= -top - 1:
            valid = np.ones(block.length, bool) if valid is None else valid
            valid &= ~((samples >= top) | (samples <= -top - 1)).any(axis=0)
    return valid


def discover_recipe(path: str | Path | Recording, *, progress: Progress | None = None) -> FoundRecipe:
    """Find the recipe of a recording from its audio alone.

    Raises
    ------
    RefusedError
        If the audio does not tell; the message says what is missing.
    """
    recording = path if isinstance(path, Recording) else probe(path)
    found = discover_relations(recording, progress=progress)
    if found.recipe is None:
        reasons = "; ".join(found.missing[:4]) or "no exact relation between the streams"
        more = f"; and {len(found.missing) - 4} more" if len(found.missing) > 4 else ""
        raise RefusedError(
            f"{recording.path.name}: the audio alone does not tell what its streams are sums of: {reasons}{more}; "
            "write a recipe (unsum recover --help shows one)"
        )
    rate = recording.audio[0].sample_rate
    evidence = [
        f"{column}: sounds in {column.passages} passages, {column.samples / rate:.1f} s, "
        f"first at {column.first_sample / rate:.1f} s"
        for column in found.columns
    ]
    word = "exactly" if found.exact == "exact" else "within rounding"
    evidence.insert(0, f"the relations between the streams hold {word}")
    evidence += [f"assumed: {text}" for text in found.assumptions]
    return FoundRecipe(found.recipe, tuple(evidence))
