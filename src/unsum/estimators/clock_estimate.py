"""What is known of the time line of a reference."""

import math
from dataclasses import dataclass

from unsum.model import TimeWarp

STEADY, DRIFT, JUMPS, BENT = "steady", "drift", "jumps", "bent"


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The warp, how sure it is, and what speaks for it.

    Attributes
    ----------
    warp : the simplest that the audio supports
    kind : "steady" (whole samples, no difference of clocks), "drift", "jumps" or "bent"
    delay_samples : where sample 0 of the reference lies in the mixture, to a fraction of a sample; a filter is
        taken out as far as its phase is not that of a delay
    delay_stderr_samples, clock_stderr_ppm : standard errors; infinite where the audio does not tell
    clock_ppm : as measured, also where it is too little to matter
    null_db_before, null_db : with no more than a whole number of samples, and with the warp; through a short
        filter, on samples not fitted to
    remarks : what a person should know, in words
    uneven : the clocks do not run evenly, and the warp does not say how
    """

    warp: TimeWarp
    kind: str
    delay_samples: float
    delay_stderr_samples: float
    clock_ppm: float
    clock_stderr_ppm: float
    null_db_before: float
    null_db: float
    remarks: tuple[str, ...] = ()
    uneven: bool = False


def unknown(start: TimeWarp, rate: int, remark: str) -> ClockEstimate:
    delay = start.delay_seconds * rate
    warp = start if start.whole_samples(rate) is not None or start.clock_ppm else TimeWarp(round(delay) / rate)
    return ClockEstimate(warp, STEADY, delay, math.inf, start.clock_ppm, math.inf, 0.0, 0.0, (remark,))
