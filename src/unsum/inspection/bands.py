"""Power of two signals side by side in octave bands, block by block."""

import numpy as np
from numpy.typing import NDArray

N_FFT = 8192
CENTRES_HZ = (31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)


class BandMeter:
    """Sums power spectra of half-overlapping Hann frames; any chunking gives the same sums.

    Parameters
    ----------
    sample_rate : Hz
    channels : of both signals
    """

    def __init__(self, *, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self._window = np.hanning(N_FFT + 1)[:-1]
        # Half a frame of silence, so that the first samples count as much as all others.
        self._waiting = np.zeros((2, channels, N_FFT // 2))
        self._power = np.zeros((2, N_FFT // 2 + 1))

    def observe(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
        """Take the next samples of both, (channels, samples)."""
        self._waiting = np.concatenate([self._waiting, np.stack([one, other])], axis=2)
        frames = (self._waiting.shape[2] - N_FFT // 2) // (N_FFT // 2)
        for signal in range(2):
            if frames and self._waiting[signal].any():
                views = np.lib.stride_tricks.sliding_window_view(self._waiting[signal], N_FFT, axis=1)
                spectra = np.fft.rfft(views[:, :: N_FFT // 2][:, :frames] * self._window)
                self._power[signal] += np.einsum("ijk,ijk->k", spectra.real, spectra.real)
                self._power[signal] += np.einsum("ijk,ijk->k", spectra.imag, spectra.imag)
        self._waiting = self._waiting[:, :, frames * (N_FFT // 2) :]

    def powers(self) -> dict[float, tuple[float, float]]:
        """``{centre_hz: (power of one, power of the other)}``; the outermost bands reach to 0 and to the top."""
        channels = self._waiting.shape[1]
        rest = np.zeros((channels, N_FFT))
        self.observe(rest, rest)
        frequencies = np.fft.rfftfreq(N_FFT, 1 / self.sample_rate)
        centres = [centre for centre in CENTRES_HZ if centre / np.sqrt(2) < self.sample_rate / 2]
        edges = [0.0, *(centre / np.sqrt(2) for centre in centres[1:]), np.inf]
        found = {}
        for centre, low, high in zip(centres, edges, edges[1:], strict=False):
            inside = (frequencies >= low) & (frequencies < high)
            one, other = self._power[:, inside].sum(axis=1)
            found[centre] = float(one), float(other)
        return found
