"""Where a reference is in a recording, by its own clock; and the reference on the recording's time line."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unsum.climb import Climb
from unsum.describe.scatter import comes_along_many_paths
from unsum.describe.timing import jump_words
from unsum.engine import aligned_blocks
from unsum.errors import UsageError
from unsum.estimators.clock import ClockEstimate, fit_clock
from unsum.estimators.fades import Fade, fades
from unsum.estimators.fir import empty_contribution
from unsum.estimators.listening import Listening
from unsum.estimators.locate import Location, locate_references
from unsum.estimators.presence import silenced, silences
from unsum.estimators.presence_ends import refined_ends
from unsum.media.encode import AUDIO_FILES, OutputAudio
from unsum.media.remux import reserve_output, write_error
from unsum.media.source import FileSource
from unsum.media.stems import StemWriter
from unsum.media.stored import as_stored
from unsum.model import MixModel, TimeWarp
from unsum.problem import AudioSource, Problem
from unsum.progress import Progress
from unsum.retry import Settings, climb_along, lengths_of, samples_of

# A warp makes new samples, which need more bits than those they were made of.
_WARPED_BITS = 24
# Filters that tell whether a reference is heard need not know all of a room.
_TAPS = 256

Silence = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """Two sounds and how the time of one runs in the other.

    Attributes
    ----------
    clock : None where the reference was not found
    many_paths : as in a room; the delay is then that of the bulk of them, and no error of it is known
    silences : stretches in seconds of the recording in which the reference is not heard though its time line has it
        sound; the last one may have no end
    fades : by which it falls silent or sets in
    output, labels : what was written, None where nothing was
    n_clipped : samples that were beyond the scale of the output
    limits : what of the files could not be read or used, in words
    """

    mixture: str
    reference: str
    sample_rate: int
    location: Location
    clock: ClockEstimate | None
    many_paths: bool = False
    silences: tuple[Silence, ...] = ()
    fades: tuple[Fade, ...] = ()
    output: Path | None = None
    labels: Path | None = None
    n_clipped: int = 0
    limits: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        return self.clock is not None


def align_sources(
    problem: Problem, *, speed: float | str | None = None, progress: Progress | None = None
) -> AlignedPair:
    """Find the time line of the only reference of a problem, and where it is silent on it.

    Parameters
    ----------
    speed : as `locate_references` takes it
    """
    problem = Problem(Listening(problem.mixture), tuple(map(Listening, problem.references)))
    mixture, (reference,) = problem.mixture, problem.references
    location = locate_references(mixture, [reference], speed=speed, progress=progress)[reference.name]
    clock = fit_clock(mixture, reference, location, progress=progress) if location.present else None
    pair = AlignedPair(mixture.name, reference.name, mixture.sample_rate, location, clock)
    return pair if clock is None else _with_silences(problem, pair, clock, progress)


def _with_silences(problem: Problem, pair: AlignedPair, clock: ClockEstimate, progress: Progress | None) -> AlignedPair:
    """The pair with where the reference is not heard; a clock that was fitted to such silences is fitted again."""
    mixture, (reference,) = problem.mixture, problem.references
    climb = _filtered(problem, clock.warp, progress)
    if climb is None or climb.best.null_db == -math.inf:
        return pair
    filtered = climb.best.model
    if filtered.contributions[reference.name].n_taps > 1:
        pair = replace(pair, many_paths=_scatters(climb, reference.name))
    lengths, samples = lengths_of(problem, [reference.name]), samples_of(problem)
    quiet = silences(problem, filtered, lengths=lengths, progress=progress)
    if not quiet:
        return pair
    ends = refined_ends(problem, silenced(filtered, quiet, samples=samples)).contributions[reference.name].warp
    if not clock.warp.jumps:
        again = fit_clock(mixture, reference, pair.location, excluded=quiet[reference.name], progress=progress)
        if not again.warp.jumps and math.isfinite(again.delay_stderr_samples):
            clock = again
    faded = fades(problem, filtered, quiet, progress=progress).get(reference.name, ())
    return replace(pair, clock=clock, silences=_silent_stretches(ends), fades=faded)


def _filtered(problem: Problem, warp: TimeWarp, progress: Progress | None) -> Climb | None:
    """The reference along a warp, through the filters that leave least; None where none helps."""
    (reference,) = problem.references
    part = replace(empty_contribution(problem, reference.name), present=True, warp=warp)
    model = MixModel(problem.mixture.sample_rate, problem.mixture.channels, {reference.name: part})
    settings = Settings("fir", max_taps=_TAPS, exclude=(), own_clocks=True, progress=progress)
    return climb_along(problem, model, settings, why="along the clock")


def _scatters(climb: Climb, name: str) -> bool:
    """Whether the reference comes along many paths."""
    analysis = climb.conclude({})
    part, variance = analysis.model.contributions[name], analysis.responses[name].variance
    return comes_along_many_paths(part.filters, sample_rate=analysis.model.sample_rate, variance=variance)


def _silent_stretches(warp: TimeWarp) -> tuple[Silence, ...]:
    """Where a warp has jumped ahead of its reference, up to the next jump."""
    ends: list[float | None] = [jump.at_seconds for jump in warp.jumps[1:]]
    return tuple(
        (jump.at_seconds, end)
        for jump, end in zip(warp.jumps, [*ends, None], strict=True)
        if warp.reference_time(jump.at_seconds) < 0
    )


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
    """Write where the reference begins, jumps and is silent, as labels that Audacity reads.

    One line for each: start and end in seconds, then the words, with tabs between [1]_. A silence that lasts to the
    end of the recording is told at its start.

    References
    ----------
    .. [1] Audacity manual, "Importing and Exporting Labels".
    """
    assert pair.clock is not None
    partial = reserve_output(path, overwrite=overwrite)
    try:
        rows = [f"{start:.6f}\t{stop:.6f}\t{' '.join(words.split())}\n" for start, stop, words in _labels(pair)]
        partial.write_text("".join(rows), encoding="utf-8", errors="replace", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _labels(pair: AlignedPair) -> list[tuple[float, float, str]]:
    """(start, stop, words) in order of time."""
    assert pair.clock is not None
    warp = pair.clock.warp
    ahead = float(warp.reference_time(0.0))
    if ahead <= 0:
        labels = [(warp.delay_seconds, warp.delay_seconds, f"{pair.reference} begins")]
    else:
        labels = [(0.0, 0.0, f"{pair.reference} is at its own {ahead:.3f} s")]
    labels += [(at, at, words) for at, words in jump_words(warp, sample_rate=pair.sample_rate)]
    for start, stop in pair.silences:
        words = f"{pair.reference} is not heard"
        labels.append((start, start, f"{words} from here on") if stop is None else (start, stop, words))
    return sorted(labels)
