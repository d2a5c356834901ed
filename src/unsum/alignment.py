"""Where a reference is in a recording, by its own clock; and the reference on the recording's time line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unsum.describe.timing import jump_words
from unsum.engine import aligned_blocks
from unsum.errors import UsageError
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.locate import Location, locate_references
from unsum.media.encode import AUDIO_FILES, OutputAudio
from unsum.media.remux import reserve_output, write_error
from unsum.media.source import FileSource
from unsum.media.stems import StemWriter
from unsum.media.stored import as_stored
from unsum.problem import AudioSource, Problem
from unsum.progress import Progress

# A warp makes new samples, which need more bits than those they were made of.
_WARPED_BITS = 24


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """Two sounds and how the time of one runs in the other.

    Attributes
    ----------
    clock : None where the reference was not found
    output, labels : what was written, None where nothing was
    n_clipped : samples that were beyond the scale of the output
    """

    mixture: str
    reference: str
    sample_rate: int
    location: Location
    clock: ClockEstimate | None
    output: Path | None = None
    labels: Path | None = None
    n_clipped: int = 0

    @property
    def present(self) -> bool:
        return self.clock is not None


def align_sources(
    problem: Problem, *, speed: float | str | None = None, progress: Progress | None = None
) -> AlignedPair:
    """Find the time line of the only reference of a problem; ``speed`` as `locate_references` takes it."""
    (reference,) = problem.references
    location = locate_references(problem.mixture, [reference], speed=speed, progress=progress)[reference.name]
    clock = fit_clock(problem.mixture, reference, location, progress=progress) if location.present else None
    return AlignedPair(problem.mixture.name, reference.name, problem.mixture.sample_rate, location, clock)


def output_format(output: Path, reference: AudioSource, *, whole: bool, sample_rate: int) -> OutputAudio:
    """How the aligned reference is written: as it came where it is only shifted, finer where it is warped.

    Raises
    ------
    UsageError
        If the suffix names no audio file that can be written.
    """
    suffix = output.suffix.lower()
    if suffix not in AUDIO_FILES:
        raise UsageError(
            f"cannot write '{output.suffix or output}' files; give a name with one of {', '.join(AUDIO_FILES)}"
        )
    bits = reference.bits
    if bits is None:
        bits = _WARPED_BITS if suffix == ".flac" or not reference.lossless else None
    elif not whole:
        bits = max(bits, _WARPED_BITS)
    return OutputAudio(
        title=reference.name,
        channels=reference.channels,
        sample_rate=sample_rate,
        bits=bits,
        stored_bits=32 if bits is None else 16 if bits <= 16 else 24 if bits <= 24 else 32,
    )


def write_aligned(
    problem: Problem, pair: AlignedPair, output: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> int:
    """Write the reference as long as the recording and in time with it; gives how many samples were clipped.

    Raises
    ------
    UsageError, OutputExistsError, OutputError
    """
    assert pair.clock is not None
    (reference,) = problem.references
    warp = pair.clock.warp
    audio = output_format(
        output, reference, whole=warp.whole_samples(pair.sample_rate) is not None, sample_rate=pair.sample_rate
    )
    inputs = [source.path for source in (problem.mixture, reference) if isinstance(source, FileSource)]
    partial = reserve_output(output, overwrite=overwrite, inputs=inputs)
    n_clipped = 0
    try:
        with StemWriter(
            [output], partials=[partial], audio=[audio], expected_samples=problem.mixture.samples or 0
        ) as writer:
            for block in _on_time_line(problem, pair, progress):
                bits = reference.bits if block.dtype.kind in "iu" else None
                samples, beyond = as_stored(block, bits, audio, clip=True)
                n_clipped += beyond
                writer.write(0, samples)
            writer.complete()
            writer.publish()
    finally:
        partial.unlink(missing_ok=True)
    return n_clipped


def _on_time_line(problem: Problem, pair: AlignedPair, progress: Progress | None) -> Iterator[NDArray[Any]]:
    assert pair.clock is not None
    for block in aligned_blocks(problem, {pair.reference: pair.clock.warp}, progress=progress, what="writing"):
        yield block.references[pair.reference]


def write_labels(pair: AlignedPair, path: Path, *, overwrite: bool = False) -> None:
    """Write where the reference begins and where it jumps, as labels that Audacity reads.

    One line for each: start and end in seconds, then the words, with tabs between [1]_.

    References
    ----------
    .. [1] Audacity manual, "Importing and Exporting Labels".
    """
    assert pair.clock is not None
    partial = reserve_output(path, overwrite=overwrite)
    try:
        partial.write_text("".join(f"{at:.6f}\t{at:.6f}\t{words}\n" for at, words in _labels(pair)), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _labels(pair: AlignedPair) -> list[tuple[float, str]]:
    assert pair.clock is not None
    warp = pair.clock.warp
    labels = [(max(0.0, warp.delay_seconds), f"{pair.reference} begins")]
    labels += jump_words(warp, sample_rate=pair.sample_rate)
    return sorted(labels)
