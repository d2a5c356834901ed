"""The equation as frozen values: how each reference went into the mixture.

    x_c(t) = b_c(t) . sum_k sum_d ( h_k[c,d] * ( e_k . r_k,d( w_k(t) ) ) )(t)  +  u_c(t)

The model is the only state that passes from one rung of the ladder to the next;
`dataclasses.replace` makes the next one. Canonical form: bulk delay lives in the
warp, level and the rest of the delay in the filters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TimeWarp:
    """Where each moment of the mixture lies in the reference.

    ``reference_time(t) = (t - delay_seconds) * (1 + clock_ppm * 1e-6)``
    """

    delay_seconds: float = 0.0  # positive: heard later in the mixture
    clock_ppm: float = 0.0  # positive: played faster than it was recorded

    def reference_time(self, mixture_time: float) -> float:
        return (mixture_time - self.delay_seconds) * (1.0 + self.clock_ppm * 1e-6)


@dataclass(frozen=True, slots=True)
class Contribution:
    """How one reference is heard in the mixture.

    Attributes
    ----------
    present : False where the reference was not found; it then contributes nothing
    warp : whole samples of delay; what is left of it, below a sample, lives in the filters
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
