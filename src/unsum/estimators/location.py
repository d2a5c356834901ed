"""Where a reference was found, in words and numbers: passages of the mixture, each with its delay and clock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unsum.estimators.places import Heard
from unsum.estimators.proof import Proof

_SAME_LINE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of the mixture in which the reference is heard at one delay.

    Attributes
    ----------
    start_seconds, stop_seconds : in mixture time, known to about a window of the search, two seconds at most
    delay_seconds : as in `Location`, in the middle of the stretch
    clock_ppm : how much faster it was played than recorded, roughly
    """

    start_seconds: float
    stop_seconds: float
    delay_seconds: float
    clock_ppm: float


@dataclass(frozen=True, slots=True)
class Location:
    """Where sample 0 of a reference lies in mixture time, and what speaks for it.

    Attributes
    ----------
    delay_samples : at the mixture's rate; negative: the mixture begins within the reference.
        Where the clocks differ, the delay in the middle of what was heard.
    present : False where nothing, or not enough, was found; the delay then means nothing
    confidence : that it is present, or absent, as stated; 0..1
    polarity : -1 where it is heard turned over
    peak_to_side : evidence for this place over that for the next best; 1 means a guess
    votes : windows of the proof that hear it there, of ``windows`` that were listened to
    clock_ppm : how much faster the reference was played than recorded, roughly; 0 where that cannot be told from none
    remarks : what a person should know, in words
    passages : in order of time, without overlap; several where the player paused or jumped, or the sound comes again
    """

    delay_samples: int
    present: bool
    confidence: float
    polarity: int = 1
    peak_to_side: float = 1.0
    votes: int = 0
    windows: int = 0
    clock_ppm: float = 0.0
    remarks: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()


def delay_in_the_middle(line: Heard, proof: Proof) -> int:
    """The delay in the middle of the stretch in which it is heard."""
    ahead = (line.start + line.stop) / 2 - (proof.reference_time + proof.delay_samples)
    return proof.delay_samples + round(proof.slope * ahead / (1 + proof.slope))


def clock_ppm_of(slope: float) -> float:
    """How much faster it was played, of what mixture time gains on reference time."""
    return 1e6 * (1 / (1 + slope) - 1) if slope else 0.0


def passages_of(proved: Sequence[tuple[Heard, Proof]], rate: int) -> tuple[Passage, ...]:
    """In order of time; those that the full rate puts on the same line are one."""
    out: list[Passage] = []
    for line, proof in sorted(proved, key=lambda item: item[0].start):
        one = Passage(
            line.start / rate, line.stop / rate, delay_in_the_middle(line, proof) / rate, clock_ppm_of(proof.slope)
        )
        drift = abs(one.stop_seconds - out[-1].start_seconds) * 3e-4 if out else 0.0
        if out and abs(out[-1].delay_seconds - one.delay_seconds) <= _SAME_LINE_SECONDS + drift:
            longer = max(out[-1], one, key=lambda passage: passage.stop_seconds - passage.start_seconds)
            out[-1] = replace(longer, start_seconds=out[-1].start_seconds, stop_seconds=one.stop_seconds)
        else:
            out.append(one)
    return tuple(out)
