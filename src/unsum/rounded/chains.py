"""One track of a mix as the settings that an engineer would turn: gains, a delay, and the bands of an equaliser."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.filters import Form, chain_response

# A fractional delay rings on either side of its peak. What is left of it at the ends is faded out: cut off, it would be
# heard at all frequencies and not at the highest alone.
_LEAD, _FADE = 1024, 768
# Energy that a filter may lose at its end; what lasts longer than the longest loses more.
_LOST = 1e-12
_FEWEST_TAPS, _MOST_TAPS = 1 << 13, 1 << 16


@dataclass(frozen=True, slots=True)
class Chain:
    """``H[c, d](f) = amplitudes[c, d] * exp(-2 pi i f delay) * bands(f)``.

    Attributes
    ----------
    forms, settings : of the bands, as `unsum.describe.filters.chain_response` takes them
    delay_samples : beside the warp of the track; positive: later
    amplitudes : (mixture channels, track channels) linear, signed
    """

    forms: tuple[Form, ...]
    settings: NDArray[np.float64]
    delay_samples: float
    amplitudes: NDArray[np.float64]

    @property
    def values(self) -> NDArray[np.float64]:
        """All that can be turned: amplitudes, delay, settings."""
        return np.concatenate([self.amplitudes.ravel(), [self.delay_samples], self.settings])

    def turned(self, values: NDArray[np.float64]) -> "Chain":
        """The chain with these values."""
        n = self.amplitudes.size
        return replace(
            self,
            amplitudes=values[:n].reshape(self.amplitudes.shape),
            delay_samples=float(values[n]),
            settings=values[n + 1 :],
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Lags ``first_lag ... first_lag + n_taps - 1`` that hold the filters of some chains."""

    first_lag: int
    n_taps: int


def window_of(chains: tuple[Chain, ...]) -> Window:
    """The lags that hold all of these chains, and still do when their settings are turned a little."""
    delays = [chain.delay_samples for chain in chains]
    spread = math.ceil(max(delays)) - math.floor(min(delays)) + 2 * _LEAD
    needed = spread + max(_lasting_samples(chain) for chain in chains)
    n_taps = min(max(1 << (needed - 1).bit_length(), _FEWEST_TAPS), _MOST_TAPS)
    return Window(math.floor(min(delays)) - _LEAD, n_taps)


def _lasting_samples(chain: Chain) -> int:
    """How long the bands of a chain ring on."""
    bands, _ = chain_response(chain.forms, chain.settings, _axis(_MOST_TAPS))
    lost = np.cumsum(np.fft.irfft(bands, 2 * _MOST_TAPS)[_MOST_TAPS - 1 :: -1] ** 2)
    return _MOST_TAPS - int(np.searchsorted(lost, _LOST * lost[-1]))


def _axis(n_bins: int) -> NDArray[np.float64]:
    """Bilinear frequencies from 0 to half the sample rate (n_bins + 1,)."""
    return np.tan(np.minimum(np.pi * np.arange(n_bins + 1) / n_bins, np.pi * (1 - 1e-9)) / 2)


def taps_and_slopes(chain: Chain, window: Window) -> NDArray[np.float64]:
    """The filter of a chain beside its amplitudes, then its derivatives by delay and settings (1 + values, n_taps)."""
    n_taps = window.n_taps
    omega = np.pi * np.arange(n_taps + 1) / n_taps
    bands, slopes = chain_response(chain.forms, chain.settings, _axis(n_taps))
    whole = bands * np.exp(-1j * omega * (chain.delay_samples - window.first_lag))
    rows = np.concatenate([whole[None], (-1j * omega * whole)[None], slopes * whole])
    taps = np.fft.irfft(rows, 2 * n_taps)[:, :n_taps]
    fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_FADE) + 0.5) / _FADE)
    taps[:, :_FADE] *= fade
    taps[:, n_taps - _FADE :] *= fade[::-1]
    return taps
