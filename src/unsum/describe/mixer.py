"""What the channel strip of a mixing desk would show: gain, polarity, pan.

With s_d(f) the power spectrum of reference channel d, scaled to a sum of one, the energy that reaches mixture
channel c is::

    a_c**2 = sum_d sum_f s_d(f) |H[c,d](f)|**2

and the equal-power law ``(a_L, a_R) = g (cos p, sin p)`` gives the gain g and the pan p [1]_. A mono reference sent
alike to both channels has p = 45 degrees and, at unity, g = 3.01 dB. The gain of a reference of D channels is
``g / sqrt(D)``: one that passes unchanged has 0 dB. Energies, not the ratio of the responses: the sides may differ in
delay and room and still have their places. The energy of estimation noise, where known, is taken off first.

Three gains are told apart:

- the gain of the strip, above: with s the spectrum of the reference, a_c is the ratio ``|y_c| / |x|`` of Euclidean
  norms of image and reference, the norm-based gain of [2]_ (eq. 4), which holds what an equaliser adds or takes;
- the gain of the strip by another law of panning (`unsum.describe.pan`), at which the knob leaves more or less;
- the gain where the response is flat (`flat_gain`): that of the fader, where an equaliser bends only a part of it.

A stereo reference in a stereo mixture has four paths. With mid M = (L + R) / 2 and side S = (L - R) / 2 of either, the
width is the gain from side to side over that from mid to mid: 1 unchanged, 0 mono, negative with crossed channels.

References
----------
.. [1] Zölzer (ed.), "DAFX: Digital Audio Effects", 2nd edition, 2011, chapter 5.
.. [2] Barchiesi and Reiss, "Reverse engineering of a mix", JAES 58(7/8), 2010, section 1.3.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.describe.pan import (
    CENTRE_DEGREES,
    EQUAL_POWER,
    HARD_RIGHT_DEGREES,
    PanPosition,
    pan_gains,
    pan_law,
    pan_position,
)
from unsum.describe.timing import on_bins, over_lags, strongest_arrival, weighted_responses
from unsum.model import Contribution

_STEREO = ("FL", "FR")
_DB_PER_RELATIVE_ENERGY = 10 / math.log(10)
# A side weaker than this is as good as silent, and its polarity of no concern.
_SILENT_SIDE = 1e-4
# Correlation of the two sides from which on they count as the same sound.
_SAME_SOUND = 0.5
_SURE_DEVIATIONS = 5.0
# A path weaker than this beside the loudest is rounding.
_SILENT_PATH = 1e-14
# Paths that differ by less in energy are alike: a fold to mono crosses nothing.
_TIE = 1e-6
_BANDS_PER_OCTAVE = 12
_LOWEST_HZ, _HIGHEST_HZ, _HIGHEST_SHARE = 20.0, 20000.0, 0.45
_FAINT = 1e-7
# What an ear takes for flat, and how close the level is then looked for.
_FLAT_DB, _FINEST_DB = 0.1, 0.002
_SURE_WITHIN = 4.0


@dataclass(frozen=True, slots=True)
class Mixer:
    """Gain, polarity and place of a reference in the mixture.

    Attributes
    ----------
    gain_db : None where nothing of the reference passes
    polarity : 1 upright, -1 inverted; that of the loudest path
    pan_degrees : 0 left, 45 centre, 90 right; None on mixtures other than stereo and where no pan law holds
    pan_law : by which gain and pan are told
    gain_stderr_db, pan_stderr_degrees : standard errors; None where the variance of the filters is not known
    image_db : energy of its image over that of the mixture
    limits : why a value is None, in words; nothing for the pan of a mono mixture, which has none
    """

    gain_db: float | None
    polarity: int | None
    pan_degrees: float | None
    image_db: float | None = None
    gain_stderr_db: float | None = None
    pan_stderr_degrees: float | None = None
    limits: tuple[str, ...] = ()
    pan_law: str = EQUAL_POWER


@dataclass(frozen=True, slots=True)
class FlatGain:
    """The gain at which a response is flat, and over how many octaves.

    Attributes
    ----------
    gain_db : on the scale of the strip's gain by equal power
    stderr_db : None where the variance of the filters is not known
        That of noise. Wings of an equaliser that are nearly flat can pull the gain by hundredths of a decibel more.
    octaves : in which the response is within 0.1 dB, or what its errors allow
    """

    gain_db: float
    stderr_db: float | None
    octaves: float


@dataclass(frozen=True, slots=True)
class StereoPaths:
    """How the two channels of a reference went into the two of a mixture.

    Attributes
    ----------
    paths_db : paths_db[c][d] is the level of reference channel d in mixture channel c; None where it is lost in noise
    paths_stderr_db : standard errors; None where they are not known
    balance_db : right over left; None where one of them is silent
    width : side over mid; None where no mid passes
    crossed : left went right and right left
    opposite : one of both channels is inverted; the width is told without that
    limits : why a value is None, in words
    """

    paths_db: tuple[tuple[float | None, float | None], tuple[float | None, float | None]]
    paths_stderr_db: tuple[tuple[float | None, float | None], tuple[float | None, float | None]]
    balance_db: float | None
    width: float | None
    crossed: bool
    opposite: bool
    balance_stderr_db: float | None = None
    width_stderr: float | None = None
    limits: tuple[str, ...] = ()


def describe_mixer(
    name: str,
    contribution: Contribution,
    *,
    channels: tuple[str, ...],
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
    image_db: float | None = None,
    law: str = EQUAL_POWER,
) -> Mixer:
    """The mixer's settings that a contribution amounts to.

    Parameters
    ----------
    name : of the reference, for the words
    channels : names of the mixture's channels
    power : (reference channels, bins)
        Power spectrum of the reference from 0 to half the sample rate; None weighs all frequencies alike.
    variance : (mixture channels, reference channels, bins)
        Of the responses, as `unsum.dsp.uncertainty.filter_variance` gives it.
    image_db : passed on
    law : a name in `unsum.describe.pan.PAN_LAWS`
        The gain then is that of a fader before a knob with this law; without a pan there is none but equal power.
    """
    law = pan_law(law).name
    filters = contribution.filters
    if filters.shape[0] != len(channels):
        raise ValueError(f"{name}: filters for {filters.shape[0]} mixture channels, but there are {len(channels)}")
    arrival = strongest_arrival(filters, first_lag=contribution.first_lag, power=power)
    if arrival is None:
        return Mixer(None, None, None, image_db, limits=(f"{name}: its filters are zero, so it has no gain",))
    responses, weights = weighted_responses(filters, power)
    energy = np.sum(weights * np.abs(responses) ** 2, axis=(1, 2))
    spread = np.zeros_like(energy)
    if variance is not None:
        noise = on_bins(variance, responses.shape[2])
        energy = np.maximum(energy - np.sum(weights * noise, axis=(1, 2)), 0.0)
        spread = _energy_spread(responses, weights, noise, filters.shape[2])
    total = float(energy.sum())
    if total <= 0:
        reason = f"{name}: its filters are no louder than their noise, so it has no gain"
        return Mixer(None, None, None, image_db, limits=(reason,))
    sounding = int(np.count_nonzero(weights.any(axis=1)))
    pan, reason = _pan_degrees(name, responses, weights, energy, spread, channels)
    known = variance is not None
    stderr = _pan_stderr(energy, spread) if known and pan is not None else None
    gain_db = 10 * math.log10(total / sounding)
    if law != EQUAL_POWER and pan is not None:
        pan, stderr, above_db = _by_law(pan, stderr, law, sounding)
        gain_db += above_db
    return Mixer(
        gain_db=gain_db,
        polarity=arrival.polarity,
        pan_degrees=pan,
        image_db=image_db,
        gain_stderr_db=_DB_PER_RELATIVE_ENERGY * math.sqrt(float(spread.sum())) / total if known else None,
        pan_stderr_degrees=stderr,
        limits=(reason,) if reason else (),
        pan_law=law if pan is not None else EQUAL_POWER,
    )


def flat_gain(
    filters: NDArray[np.float64],
    *,
    sample_rate: int,
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
) -> FlatGain | None:
    """The gain that the response has over the most octaves; None where it is flat nowhere for an octave.

    Where a shelf leaves two flat parts it is that of the wider. Twelfths of an octave in which the reference has less
    than -70 dB of its strongest, or whose level is not known to 1 dB, do not count.

    Parameters
    ----------
    filters : (mixture channels, reference channels, taps)
    power, variance : as of `describe_mixer`
    """
    responses, weights = weighted_responses(filters, power)
    sounding = weights.any(axis=1)
    if not sounding.any():
        return None
    noise = np.zeros(responses.shape) if variance is None else on_bins(variance, responses.shape[2])
    size, count = np.abs(responses[:, sounding]) ** 2, np.count_nonzero(sounding)
    noise = noise[:, sounding]
    energy = np.sum(size - noise, axis=(0, 1)) / count
    repeats = max(1.0, 2 * (responses.shape[2] - 1) / filters.shape[2])
    spread = repeats * np.sum(2 * size * noise + noise**2, axis=(0, 1)) / count**2
    hz = np.linspace(0, sample_rate / 2, responses.shape[2])
    band = np.floor(_BANDS_PER_OCTAVE * np.log2(np.maximum(hz, 1e-3) / _LOWEST_HZ)).astype(int)
    within = (band >= 0) & (hz < min(_HIGHEST_HZ, _HIGHEST_SHARE * sample_rate))
    if not within.any():
        return None
    n_bins, energy, spread, strength = (
        np.bincount(band[within], values[within]) for values in (np.ones(len(hz)), energy, spread, weights.sum(axis=0))
    )
    n_bins_or_one = np.maximum(n_bins, 1)
    heard = (n_bins > 0) & (energy > 0) & (strength / n_bins_or_one > _FAINT * np.max(strength / n_bins_or_one))
    heard[heard] &= np.sqrt(spread[heard]) * _DB_PER_RELATIVE_ENERGY < energy[heard]
    level_db = 10 * np.log10(energy[heard] / n_bins[heard])
    stderr_db = _DB_PER_RELATIVE_ENERGY * np.sqrt(spread[heard]) / energy[heard]
    return _densest_level(level_db, stderr_db, known=variance is not None)


def _densest_level(level_db: NDArray[np.float64], stderr_db: NDArray[np.float64], *, known: bool) -> FlatGain | None:
    """The level at which most bands lie: first within a tenth of a dB, then closer and closer."""
    if len(level_db) < _BANDS_PER_OCTAVE:
        return None
    order = np.argsort(level_db)
    level_db, stderr_db = level_db[order], stderr_db[order]
    least = _SURE_WITHIN * float(np.median(stderr_db))
    width, octaves = _FLAT_DB + least, None
    while octaves is None or len(level_db) >= _BANDS_PER_OCTAVE:
        last = np.searchsorted(level_db, level_db + width, side="right")
        first = int(np.argmax(last - np.arange(len(level_db))))
        part = slice(first, last[first])
        if octaves is None:
            octaves = float(part.stop - part.start) / _BANDS_PER_OCTAVE
            if octaves < 1:
                return None
        level_db, stderr_db = level_db[part], stderr_db[part]
        if width <= max(least, _FINEST_DB):
            break
        width /= 2
    if not known:
        return FlatGain(float(np.mean(level_db)), None, octaves)
    precision = 1 / np.maximum(stderr_db, _FINEST_DB / 10) ** 2
    mean = float(np.sum(precision * level_db) / np.sum(precision))
    # The wings of an equaliser that lie within the last width are no noise, and do not average out.
    wings = max(0.0, float(np.var(level_db) - np.mean(stderr_db**2)))
    return FlatGain(mean, math.sqrt(1 / float(np.sum(precision)) + wings), octaves)


def describe_stereo(
    name: str,
    filters: NDArray[np.float64],
    *,
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
) -> StereoPaths | None:
    """Balance, width and the four paths of a stereo reference in a stereo mixture; None where nothing passes.

    Parameters
    ----------
    name : of the reference, for the words
    filters : (2, 2, taps)
        Mixture channel, reference channel: left and right.
    power, variance : as of `describe_mixer`
    """
    if filters.shape[:2] != (2, 2):
        raise ValueError(f"{name}: {filters.shape[:2]} paths; balance and width are a matter of two channels into two")
    responses, weights = weighted_responses(filters, power)
    noise = np.zeros(responses.shape) if variance is None else on_bins(variance, responses.shape[2])
    n_taps = filters.shape[2]
    energy = np.sum(weights * (np.abs(responses) ** 2 - noise), axis=2)
    spread = np.array(
        [
            [_energy_spread(responses[c : c + 1, d : d + 1], weights[d], noise[c, d], n_taps)[0] for d in (0, 1)]
            for c in (0, 1)
        ]
    )
    heard = energy > np.maximum(_SURE_DEVIATIONS * np.sqrt(spread), _SILENT_PATH * energy.max())
    if not heard.any():
        return None
    straight, across = energy[0, 0] + energy[1, 1], energy[0, 1] + energy[1, 0]
    crossed = bool(across - straight > _SURE_DEVIATIONS * math.sqrt(float(spread.sum())) + _TIE * straight)
    left, right = (0, 1) if not crossed else (1, 0)
    both = bool(heard[0, left] and heard[1, right])
    opposite = both and _are_opposite(responses[0, left], responses[1, right], weights.mean(axis=0))
    known = variance is not None
    limits = []
    sides, side_spread = np.maximum(energy.sum(axis=1), 0.0), spread.sum(axis=1)
    balance = balance_stderr = None
    if heard.any(axis=1).all():
        balance = 10 * math.log10(sides[1] / sides[0])
        balance_stderr = _DB_PER_RELATIVE_ENERGY * math.sqrt(float(np.sum(side_spread / sides**2)))
    else:
        limits.append(f"{name}: nothing of it is in the {'left' if sides[0] < sides[1] else 'right'}: no balance")
    if opposite:
        responses = responses * np.array([1, -1])[:, None, None]
    width, width_stderr = _width(responses, weights.mean(axis=0), noise, n_taps)
    if width is None:
        limits.append(f"{name}: only its side passes, no mid: no width")
    stderr_db = _DB_PER_RELATIVE_ENERGY * np.sqrt(spread) / np.where(heard, energy, 1.0)
    return StereoPaths(
        paths_db=_four(10 * np.log10(np.where(heard, energy, 1.0)), heard),
        paths_stderr_db=_four(stderr_db, heard & known),
        balance_db=balance,
        width=width,
        crossed=crossed,
        opposite=opposite,
        balance_stderr_db=balance_stderr if known else None,
        width_stderr=width_stderr if known else None,
        limits=tuple(limits),
    )


def stereo_words(paths: StereoPaths) -> tuple[str, ...]:
    """The paths of a stereo reference as one would say them."""
    words = []
    if paths.crossed:
        words.append("left and right are exchanged")
    if paths.opposite:
        words.append("one of both channels is inverted")
    if paths.balance_db is not None:
        error = "" if paths.balance_stderr_db is None else f" ± {paths.balance_stderr_db:.2g}"
        louder = "left" if paths.balance_db < 0 else "right"
        even = abs(paths.balance_db) < 0.005
        words.append("in balance" if even else f"{louder} louder by {abs(paths.balance_db):.2f}{error} dB")
    if paths.width is not None:
        error = "" if paths.width_stderr is None else f" ± {100 * paths.width_stderr:.2g}"
        words.append(f"width {100 * abs(paths.width):.1f}{error} %")
    names = ("left", "right")
    for c in (0, 1):
        other = 1 - c
        direct, cross = (paths.paths_db[c][d] for d in ((other, c) if paths.crossed else (c, other)))
        if direct is not None and cross is not None:
            source, target = names[c if paths.crossed else other], names[c]
            words.append(f"{source} into {target} at {cross - direct:.1f} dB of the main path")
    return tuple(words)


def mixer_words(mixer: Mixer) -> tuple[str, ...]:
    """The settings as one would say them."""
    if mixer.gain_db is None:
        return ("nothing of it passes",)
    words = [f"at {_of_size(mixer.gain_db, mixer.gain_stderr_db)} dB"]
    if mixer.polarity == -1:
        words.append("polarity inverted")
    if mixer.pan_degrees is not None:
        by_law = "" if mixer.pan_law == EQUAL_POWER else f" by the {mixer.pan_law} law"
        words.append(_pan_words(mixer.pan_degrees) + by_law)
    if mixer.image_db is not None:
        where = "below" if mixer.image_db <= 0 else "above"
        words.append(f"its image is {abs(mixer.image_db):.1f} dB {where} the mixture")
    return tuple(words)


def _by_law(pan: float, stderr: float | None, law: str, sounding: int) -> tuple[float, float | None, float]:
    """Pan, its error and the gain in dB by another law, of a pan and the gain 1 by that of equal power."""

    def place(degrees: float) -> PanPosition:
        angle = math.radians(min(max(degrees, 0.0), HARD_RIGHT_DEGREES))
        found = pan_position(math.cos(angle), math.sin(angle), law=law)
        assert found is not None, "sine and cosine are never both zero"
        return found

    here = place(pan)
    # Channels that pass unchanged have 0 dB by every law: their knob stands in the centre.
    centre = math.hypot(*pan_gains(CENTRE_DEGREES, law=law)) if sounding > 1 else 1.0
    # The farther of both sides: at a hard pan there is only one, and laws with a root are steep there.
    around = [] if stderr is None else [place(pan - stderr), place(pan + stderr)]
    spread = max((abs(other.pan_degrees - here.pan_degrees) for other in around), default=None)
    return here.pan_degrees, spread, 20 * math.log10(here.gain * centre)


def _of_size(value: float, stderr: float | None) -> str:
    return f"{value:.2f}" if stderr is None else f"{value:.2f} ± {stderr:.2g}"


def _pan_words(pan_degrees: float) -> str:
    off = pan_degrees - CENTRE_DEGREES
    if abs(off) < 0.05:
        return "in the centre"
    side = "left" if off < 0 else "right"
    return f"hard {side}" if abs(off) > CENTRE_DEGREES - 0.05 else f"{abs(off):.1f} degrees {side} of the centre"


def _pan_degrees(
    name: str, responses: NDArray, weights: NDArray, energy: NDArray, spread: NDArray, channels: tuple[str, ...]
) -> tuple[float | None, str | None]:
    """The pan, or None and why, where a reason is called for."""
    if len(channels) == 1:
        return None, None
    if channels != _STEREO:
        return None, f"{name}: pan is a matter of two channels, left and right; the mixture has {' '.join(channels)}"
    weak = int(np.argmin(energy))
    if energy[weak] > max(_SILENT_SIDE * energy.max(), _SURE_DEVIATIONS * math.sqrt(float(spread[weak]))):
        # At the lag where the sides agree most: one may be later than the other.
        cross = over_lags(np.sum(weights * responses[0] * responses[1].conj(), axis=0))
        common = float(cross[np.argmax(np.abs(cross))]) / math.sqrt(energy[0] * energy[1])
        if common < -_SAME_SOUND:
            return None, f"{name}: left and right have opposite polarity; no pan law gives that"
    return math.degrees(math.atan2(math.sqrt(energy[1]), math.sqrt(energy[0]))), None


def _energy_spread(
    responses: NDArray[np.complex128], weights: NDArray[np.float64], noise: NDArray[np.float64], n_taps: int
) -> NDArray[np.float64]:
    """Variance (mixture channels,) of the energies, from the variance of the responses."""
    # Neighbouring bins of a short filter say the same thing: that many make one independent value.
    repeats = 2 * (responses.shape[2] - 1) / n_taps
    each = 2 * np.abs(responses) ** 2 * noise + noise**2
    return repeats * np.sum(weights**2 * each, axis=(1, 2))


def _pan_stderr(energy: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    """Standard error of the pan in degrees."""
    total = float(energy.sum())
    amplitude = _amplitude_spread(energy, spread)
    return math.degrees(math.sqrt(float(energy[0] * amplitude[1] + energy[1] * amplitude[0])) / total)


def _amplitude_spread(energy: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of amplitudes, from energies and their variance."""
    # The amplitude of what is lost in noise is about the root of what its energy is uncertain by.
    return spread / (4 * np.maximum(np.maximum(energy, np.sqrt(spread)), np.finfo(float).tiny))


def _are_opposite(left: NDArray[np.complex128], right: NDArray[np.complex128], weights: NDArray[np.float64]) -> bool:
    """Whether two responses are the same sound with opposite polarity, one perhaps later than the other."""
    cross = over_lags(weights * left * right.conj())
    size = math.sqrt(float(np.sum(weights * np.abs(left) ** 2) * np.sum(weights * np.abs(right) ** 2)))
    return float(cross[np.argmax(np.abs(cross))]) < -_SAME_SOUND * size


def _width(
    responses: NDArray[np.complex128], weights: NDArray[np.float64], noise: NDArray[np.float64], n_taps: int
) -> tuple[float | None, float]:
    """Gain from side to side over that from mid to mid, and its standard error."""
    (ll, lr), (rl, rr) = responses
    parts = np.array([[(ll + lr + rl + rr) / 2], [(ll - lr - rl + rr) / 2]])
    part_noise = np.broadcast_to(noise.sum(axis=(0, 1)) / 4, parts.shape)
    energy = np.sum(weights * (np.abs(parts) ** 2 - part_noise), axis=(1, 2))
    spread = _energy_spread(parts, weights[None], part_noise, n_taps)
    mid, side = np.maximum(energy, 0.0)
    if mid <= max(_SURE_DEVIATIONS * math.sqrt(float(spread[0])), _SILENT_PATH * side):
        return None, 0.0
    size = math.sqrt(side / mid)
    sign = -1 if float(np.sum(weights * np.real(parts[1, 0] * parts[0, 0].conj()))) < 0 else 1
    amplitude = _amplitude_spread(energy, spread)
    return sign * size, math.sqrt(float(amplitude[1] + size**2 * amplitude[0]) / mid)


def _four(values: NDArray[np.float64], known: NDArray[np.bool_]) -> Any:
    return tuple(
        tuple(float(x) if k else None for x, k in zip(*row, strict=True)) for row in zip(values, known, strict=True)
    )
