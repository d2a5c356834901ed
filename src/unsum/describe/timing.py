"""When a reference is heard: delay and clock, in numbers and in words.

The warp of a contribution holds whole samples of delay; the rest lies in its filters, and is read off where the
image of the reference correlates most with the reference itself::

    c(lag) = sum_f S(f) H(f) exp(2 pi i f lag)

with S the power spectrum of the reference. For a pure delay the peak of ``|c|`` is that delay exactly, whatever the
spectrum; for an equaliser it is the delay of the band where the energy is, for a room that of the direct sound.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.deviations import Deviations
from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.model import Contribution, TimeWarp

Spectrum = TypeVar("Spectrum", np.float64, np.complex128)

_FINER = 4
_NEWTON_STEPS = 8
_BENT_FROM = 0.8  # of half the sample rate
# One sample of drift over a week: no clock is that good, and no fit tells it from none.
_NO_DRIFT_PPM = 1e-5


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where the image of a reference peaks: so much later than the aligned reference, upright (1) or inverted (-1)."""

    lag_samples: float
    polarity: int


@dataclass(frozen=True, slots=True)
class Timing:
    """When a reference is heard.

    Attributes
    ----------
    delay_seconds : positive: heard later in the mixture than in the reference
    clock_ppm : positive: played faster than it was recorded
    delay_stderr_seconds, clock_stderr_ppm : standard errors; None where none was estimated
    sample_rate : of the mixture, Hz
    """

    delay_seconds: float
    clock_ppm: float
    sample_rate: int
    delay_stderr_seconds: float | None = None
    clock_stderr_ppm: float | None = None

    @property
    def delay_samples(self) -> float:
        return self.delay_seconds * self.sample_rate


def describe_timing(
    contribution: Contribution,
    *,
    sample_rate: int,
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
    deviations: Deviations | None = None,
    delay_stderr_samples: float | None = None,
    clock_stderr_ppm: float | None = None,
) -> Timing:
    """Delay and clock of a contribution, warp and filters together.

    Parameters
    ----------
    power : (reference channels, bins)
        Power spectrum of the reference from 0 to half the sample rate; None weighs all frequencies alike.
    variance : (mixture channels, reference channels, bins)
        Of the responses; tells the standard error of the delay where none is given.
    deviations : what stretches of time did to the filters, if known
        The delay is then as sure as those show it to be.
    """
    arrival = strongest_arrival(contribution.filters, first_lag=contribution.first_lag, power=power)
    lag = arrival.lag_samples if arrival else 0.0
    if delay_stderr_samples is None and variance is not None and arrival is not None:
        delay_stderr_samples = _delay_stderr(contribution, arrival, power, variance, deviations)
    return Timing(
        delay_seconds=contribution.warp.delay_seconds + lag / sample_rate,
        clock_ppm=contribution.warp.clock_ppm,
        sample_rate=sample_rate,
        delay_stderr_seconds=None if delay_stderr_samples is None else delay_stderr_samples / sample_rate,
        clock_stderr_ppm=clock_stderr_ppm,
    )


def strongest_arrival(
    filters: NDArray[np.float64], *, first_lag: int, power: NDArray[np.float64] | None = None
) -> Arrival | None:
    """The peak of the loudest path of some filters; None if they are all zero.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    first_lag : lag of tap 0 in samples
    power : (reference channels, bins)
        None weighs all frequencies alike.
    """
    responses, weights = weighted_responses(filters, power)
    energy = np.sum(weights * np.abs(responses) ** 2, axis=2)
    if not np.any(energy > 0):
        return None
    channel, column = np.unravel_index(np.argmax(energy), energy.shape)
    spectrum = weights[column] * responses[channel, column]
    # Near half the sample rate no filter can hold a part of a sample: its phase there is bent.
    position = np.linspace(0, 1, len(spectrum))
    spectrum *= np.cos(0.5 * np.pi * np.clip((position - _BENT_FROM) / (1 - _BENT_FROM), 0, 1)) ** 2
    curve = over_lags(spectrum, finer=_FINER)
    peak = int(np.argmax(np.abs(curve)))
    lag = (peak if peak < len(curve) // 2 else peak - len(curve)) / _FINER
    return Arrival(first_lag + _refined(spectrum, lag), 1 if curve[peak] > 0 else -1)


def weighted_responses(
    filters: NDArray[np.float64], power: NDArray[np.float64] | None
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Responses, and how much every bin counts.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    power : (reference channels, bins) or None
        Any number of bins from 0 to half the sample rate.

    Returns
    -------
    responses : (mixture channels, reference channels, bins)
    weights : (reference channels, bins)
        Power times the number of bins that one stands for in the two-sided spectrum; they add up to 1, or to 0 for
        a silent reference channel.
    """
    n_columns, n_taps = filters.shape[1:]
    given = np.ones((n_columns, 2)) if power is None else np.asarray(power, float)
    if given.ndim != 2 or given.shape[0] != n_columns or given.shape[1] < 2:
        raise ValueError(f"power of shape {given.shape} for {n_columns} reference channels; give (channels, bins)")
    # Twice the taps: lags on either side of the filter's span stay apart.
    n_fft = fast_length(max(2 * n_taps, 2 * (given.shape[1] - 1)))
    weights = on_bins(given, n_fft // 2 + 1)
    weights[:, 1:-1] *= 2
    total = weights.sum(axis=1, keepdims=True)
    return rfft(filters, n_fft), np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def over_lags(spectrum: NDArray[np.complex128], *, finer: int = 1) -> NDArray[np.float64]:
    """The correlation (lags,) that a weighted cross-spectrum (bins,) amounts to: its real sum, turned by every lag.

    Parameters
    ----------
    finer : lags between two samples; the second half of all lags are the negative ones
    """
    n_fft = 2 * (len(spectrum) - 1)
    padded = np.zeros(finer * n_fft // 2 + 1, complex)
    # Bins between the ends count twice in the inverse transform, and twice in the weights already.
    padded[: len(spectrum)] = spectrum / 2
    padded[0] = spectrum[0]
    if finer == 1:
        padded[-1] = spectrum[-1]
    return finer * n_fft * irfft(padded, finer * n_fft)


def on_bins(spectra: NDArray[Spectrum], n_bins: int) -> NDArray[Spectrum]:
    """Spectra (..., bins) between 0 and half the sample rate, real or complex, on another number of bins."""
    have = np.linspace(0, 1, spectra.shape[-1])
    wanted = np.linspace(0, 1, n_bins)
    rows = [np.interp(wanted, have, row) for row in spectra.reshape(-1, spectra.shape[-1])]
    return np.array(rows, spectra.dtype).reshape(*spectra.shape[:-1], n_bins)


def _delay_stderr(
    contribution: Contribution,
    arrival: Arrival,
    power: NDArray[np.float64] | None,
    variance: NDArray[np.float64],
    deviations: Deviations | None,
) -> float:
    """Standard error in samples of the delay of the loudest path, from the variance of its response.

    The peak of ``sum s(f) H(f) exp(j w d)`` lies where its slope is zero. A deviation D(f) of the response moves it by
    ``sum s w Im(D exp(j w d)) / sum s w^2 |H|``; noise of variance V(f) by ``sqrt(sum (s w)^2 V / 2)`` over the same,
    and as many neighbouring bins say the same as there are bins for one tap.
    """
    responses, weights = weighted_responses(contribution.filters, power)
    energy = np.sum(weights * np.abs(responses) ** 2, axis=2)
    path = np.unravel_index(np.argmax(energy), energy.shape)
    n_bins = responses.shape[2]
    omega = np.linspace(0, np.pi, n_bins)
    slope = weights[path[1]] * omega
    bend = float(np.sum(slope * omega * np.abs(responses[path])))
    noise = on_bins((variance if deviations is None else deviations.steady)[path][None], n_bins)[0]
    repeats = 2 * (n_bins - 1) / contribution.filters.shape[2]
    moved = math.sqrt(repeats * float(np.sum(slope**2 * noise)) / 2)
    if deviations is not None:
        turned = slope * np.exp(1j * omega * (arrival.lag_samples - contribution.first_lag))
        each = [float(np.sum((turned * one[path]).imag)) for one in deviations.responses(n_bins)]
        moved = max(moved, math.hypot(*each))
    return moved / bend


def timing_words(timing: Timing) -> tuple[str, ...]:
    """Delay and clock as one would say them."""
    return _delay_words(timing), _clock_words(timing)


def jump_words(warp: TimeWarp, *, sample_rate: int) -> tuple[tuple[float, str], ...]:
    """Where a reference jumps and what is heard then, one after the other: (mixture seconds, words)."""
    told = []
    straight = replace(warp, jumps=())
    skipped = 0.0
    ends = [jump.at_seconds for jump in warp.jumps[1:]]
    for jump, end in zip(warp.jumps, [*ends, math.inf], strict=False):
        before = straight.reference_time(jump.at_seconds) + skipped
        skipped += jump.skipped_seconds
        after = before + jump.skipped_seconds
        samples = abs(jump.skipped_seconds) * sample_rate
        size = f"{samples:.1f} samples ({1000 * abs(jump.skipped_seconds):.3f} ms)"
        if after < 0:
            if before >= 0:
                told.append((jump.at_seconds, "it is not heard from here on"))
            begins = jump.at_seconds - after / (1 + 1e-6 * warp.clock_ppm)
            if begins < end:
                told.append((begins, "it is heard from its beginning"))
            continue
        if before < 0 and after < 0.5 / sample_rate:
            words = "it is heard from its beginning"
        elif before < 0 and not told:
            words = f"it is heard from its own {after:.3f} s"
        elif before < 0:
            words = f"it goes on from its own {after:.3f} s"
        elif jump.skipped_seconds > 0:
            words = f"{size} of it are skipped"
        else:
            words = f"{size} of it are heard again"
        told.append((jump.at_seconds, words))
    return tuple(told)


def _delay_words(timing: Timing) -> str:
    samples = timing.delay_samples
    if abs(samples) < 0.0005:
        return "in time with the mixture: no delay"
    size = f"{abs(timing.delay_seconds):.6f} s ({abs(samples):.3f} samples)"
    sure = timing.delay_stderr_seconds
    if sure is not None:
        size = f"{size[:-1]} ± {sure * timing.sample_rate:.2g})"
    return f"heard {size} {'later' if samples > 0 else 'earlier'} than in the reference"


# From a tenth of a percent on it is a speed, and no longer the difference of two clocks.
_A_PERCENT_PPM = 1e3


def _clock_words(timing: Timing) -> str:
    ppm, sure = timing.clock_ppm, timing.clock_stderr_ppm
    within = "" if sure is None else f" ± {sure:.2g}"
    if abs(ppm) < max(_NO_DRIFT_PPM, sure or 0.0):
        return "both clocks agree" + ("" if sure is None else f" to {sure:.2g} ppm")
    # 1 ppm is 3.6 ms an hour.
    milliseconds = abs(ppm) * 3.6
    drift = f"{milliseconds:.3g} ms an hour" if milliseconds < 999 else f"{milliseconds / 1000:.3g} s an hour"
    way = "faster" if ppm > 0 else "slower"
    if abs(ppm) >= _A_PERCENT_PPM:
        # Digits as far as they are sure.
        places = 4 if sure is None else min(max(4, 5 - math.floor(math.log10(max(sure, 1e-6)))), 9)
        return f"played {abs(ppm) / 1e4:.{places}f} % {way} than recorded"
    return f"played {abs(ppm):.4g}{within} ppm {way} than recorded ({drift})"


def _refined(spectrum: NDArray[np.complex128], lag: float) -> float:
    """The extremum of the correlation near a lag, by Newton's method on its exact trigonometric sum."""
    omega = np.pi * np.arange(len(spectrum)) / (len(spectrum) - 1)
    start = lag
    for _ in range(_NEWTON_STEPS):
        terms = spectrum * np.exp(1j * omega * lag)
        value = float(np.sum(terms.real))
        slope = -float(np.sum(omega * terms.imag))
        bend = -float(np.sum(omega**2 * terms.real))
        if value * bend >= 0:
            break
        lag -= slope / bend
        if abs(lag - start) > 1:
            return start
    return lag
