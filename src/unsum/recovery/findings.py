"""What a recovery found, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """One source of the recipe.

    Attributes
    ----------
    combination : {channel: expression in stream channels}; empty if not determined
    reasons : {channel: why it is not determined}
    bits : word length its samples need
    stored_as : how it was written, e.g. "FLAC 16 bit"
    accuracy : "exact"; "within rounding, ±n LSB"; "exact if the recorder adds integers, else ..."; "approximate";
        "as recorded"; "unknown: ..." with the reason
    peak_db : highest sample against full scale; None for digital silence
    odd_samples : samples that a division left between two steps of the grid
    gaps : (start, stop) in seconds, where the streams it needs are missing
    """

    name: str
    layout: str
    title: str
    determined: bool
    combination: Mapping[str, str]
    reasons: Mapping[str, str]
    bits: int | None
    stored_as: str
    accuracy: str
    peak_db: float | None
    odd_samples: int
    gaps: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """A redundant equation, evaluated over the whole file.

    Attributes
    ----------
    null_db : energy of the error against that of the terms; None if every sample is zero
    max_error_lsb : greatest error; allowed_lsb is what rounding alone can do
    failing_samples : samples in error by more than rounding, outside clipped samples
    clipped_errors : samples in error where a stream is at full scale
    """

    equation: str
    exact: bool
    null_db: float | None
    max_error_lsb: float
    allowed_lsb: float
    failing_samples: int
    clipped_errors: int
    first_failure_seconds: float | None


@dataclass(frozen=True, slots=True)
class ClippedRange:
    """Samples at full scale in one stream, near each other."""

    stream: int
    start_seconds: float
    stop_seconds: float
    samples: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """The written file, mixed again by the recipe, against the original streams.

    Attributes
    ----------
    differing : {stream: samples} where all streams are present
    lost : {stream: samples} that differ where another stream is missing, so that a source is unknown there
    not_rebuilt : streams that were not compared, because a source of theirs is not determined
    """

    differing: Mapping[int, int]
    max_difference_lsb: int
    lost: Mapping[int, int]
    not_rebuilt: tuple[int, ...]

    @property
    def bit_exact(self) -> bool:
        return not (any(self.differing.values()) or any(self.lost.values()) or self.not_rebuilt)


@dataclass(frozen=True, slots=True)
class RecoveryFinding:
    """All that is told about one recording.

    Attributes
    ----------
    output : the new file; None where every source has a file of its own
    written : all files that were written
    arithmetic : how the recorder summed: "exact", "rounded", "approximate" (lossy or float), "unchecked"
    late_samples : {stream: samples} by which it was late against its timestamps, and was moved
    samples : length of the common time line
    kept_streams : original audio streams that were copied
    evidence : what speaks for the recipe, where it was found from the audio
    """

    input: Path
    output: Path | None
    written: tuple[Path, ...]
    sources: tuple[SourceFinding, ...]
    checks: tuple[CheckFinding, ...]
    arithmetic: str
    late_samples: Mapping[int, int]
    sample_rate: int
    samples: int
    clipped: tuple[ClippedRange, ...]
    verification: Verification | None
    warnings: tuple[str, ...]
    kept_streams: tuple[int, ...] = ()
    recipe_text: str = ""
    evidence: tuple[str, ...] = field(default=())

    @property
    def clipped_samples(self) -> int:
        return sum(stretch.samples for stretch in self.clipped)
