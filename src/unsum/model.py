"""The equation as frozen values: how each reference went into the mixture.

    x_c(t) = b_c(t) . sum_k sum_d ( h_k[c,d] * ( e_k . r_k,d( w_k(t) ) ) )(t)  +  u_c(t)

The model is the only state that passes from one rung of the ladder to the next;
`dataclasses.replace` makes the next one. Canonical form: bulk delay lives in the
warp, level and the rest of the delay in the filters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Time = TypeVar("Time", float, NDArray[np.float64])

# Seconds times rate is a whole number up to rounding; an hour at 192 kHz rounds to 1e-7.
_WHOLE_SAMPLES = 1e-5


@dataclass(frozen=True, slots=True)
class Jump:
    """A place where the reference goes on elsewhere: dropped or repeated buffers, a pause, a cut.

    Attributes
    ----------
    at_seconds : mixture time from which on it is heard elsewhere
    skipped_seconds : reference time that is not heard; negative: heard again, or the player paused
    """

    at_seconds: float
    skipped_seconds: float


@dataclass(frozen=True, slots=True)
class Bend:
    """A slow deviation from the straight line: wow, flutter, a clock that warms up.

    ``bend(t) = sum_n offsets_seconds[n] * B3((t - start_seconds) / step_seconds - n)`` with the centred cubic
    B-spline B3; the first and the last offset go on for ever.
    """

    start_seconds: float
    step_seconds: float
    offsets_seconds: tuple[float, ...]

    def __call__(self, mixture_time: Time) -> Time:
        """Seconds of deviation at seconds in the mixture: a number or an array of any shape."""
        offsets = np.asarray(self.offsets_seconds)
        where = (np.asarray(mixture_time) - self.start_seconds) / self.step_seconds
        node = np.floor(where)
        u = where - node
        last = len(offsets) - 1
        at = np.clip(node[..., None] + np.arange(-1, 3), 0, last).astype(np.intp)
        weights = np.stack(
            [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, 3 * u**2 * (1 - u) + 3 * u + 1, u**3], axis=-1
        )  # of the nodes before and after, times 6
        total = np.sum(weights * offsets[at], axis=-1) / 6
        return total if isinstance(mixture_time, np.ndarray) else float(total)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True)
class WholeStretch:
    """Where a reference lies, in whole samples, from one jump to the next.

    Attributes
    ----------
    start : mixture sample from which on it holds; None for the first stretch, which holds from ever
    delay_samples : where sample 0 of the reference lies in the mixture
    """

    start: int | None
    delay_samples: int


@dataclass(frozen=True, slots=True)
class TimeWarp:
    """Where each moment of the mixture lies in the reference.

    ``reference_time(t) = (t - delay_seconds) * (1 + clock_ppm * 1e-6) + bend(t) + skipped(t)``

    Attributes
    ----------
    bend : None where the clocks run evenly
    jumps : in order of time; ``skipped(t)`` is the sum of ``skipped_seconds`` of all at or before ``t``

    Raises
    ------
    ValueError
        If the jumps are not in order of time.
    """

    delay_seconds: float = 0.0  # positive: heard later in the mixture
    clock_ppm: float = 0.0  # positive: played faster than it was recorded
    bend: Bend | None = None
    jumps: tuple[Jump, ...] = ()

    def __post_init__(self) -> None:
        for before, after in pairwise(self.jumps):
            # Readers cut the mixture at one jump after the other: out of order they would take wrong samples.
            if not before.at_seconds <= after.at_seconds:
                raise ValueError(
                    f"a jump at {after.at_seconds:g} s comes behind one at {before.at_seconds:g} s; "
                    "sort the jumps of a warp by time"
                )

    def reference_time(self, mixture_time: Time) -> Time:
        """Seconds in the reference, of seconds in the mixture: a number or an array of any shape."""
        time = (mixture_time - self.delay_seconds) * (1.0 + self.clock_ppm * 1e-6)
        if self.bend is not None:
            time = time + self.bend(mixture_time)
        for jump in self.jumps:
            time = time + jump.skipped_seconds * (mixture_time >= jump.at_seconds)
        return time

    def whole_samples(self, sample_rate: int) -> int | None:
        """The delay, where it is nothing but a whole number of samples; None where the reference jumps or is warped."""
        stretches = self.whole_stretches(sample_rate)
        return stretches[0].delay_samples if stretches is not None and len(stretches) == 1 else None

    def whole_stretches(self, sample_rate: int) -> tuple[WholeStretch, ...] | None:
        """The delays from jump to jump, where all are whole numbers of samples; None where one has to be warped."""
        if self.clock_ppm != 0 or self.bend is not None:
            return None
        at = [jump.at_seconds * sample_rate for jump in self.jumps]
        delays = [self.delay_seconds * sample_rate]
        for jump in self.jumps:
            delays.append(delays[-1] - jump.skipped_seconds * sample_rate)
        if any(abs(delay - round(delay)) >= _WHOLE_SAMPLES for delay in delays):
            return None
        starts = [None, *(ceil(sample - _WHOLE_SAMPLES) for sample in at)]
        return tuple(WholeStretch(start, round(delay)) for start, delay in zip(starts, delays, strict=True))


@dataclass(frozen=True, slots=True)
class Contribution:
    """How one reference is heard in the mixture.

    Attributes
    ----------
    present : False where the reference was not found; it then contributes nothing
    warp : bulk delay, clock and jumps; where they are all whole samples, what is left below one lives in the filters
    filters : (mixture channels, reference channels, taps)
        Tap ``p`` acts on the aligned reference ``first_lag + p`` samples earlier.
    first_lag : lag of tap 0 in samples; negative: the filter looks ahead
    exact_gains : {(mixture channel, reference channel): gain}, by index
        Where subtraction in integers is exact: one tap at lag 0 with these gains; empty otherwise.
    """

    present: bool
    warp: TimeWarp = field(default_factory=TimeWarp)
    filters: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 1, 1)))
    first_lag: int = 0
    exact_gains: Mapping[tuple[int, int], Fraction] = field(default_factory=dict)

    @property
    def n_taps(self) -> int:
        return self.filters.shape[2]


@dataclass(frozen=True, slots=True)
class MixModel:
    """All contributions, by the name of their reference, at the mixture's sample rate."""

    sample_rate: int
    mixture_channels: tuple[str, ...]
    contributions: Mapping[str, Contribution]

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the references that were found, in order."""
        return tuple(name for name, part in self.contributions.items() if part.present)
