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
- the gain where the response is flat (`unsum.describe.flat`): that of the fader, where an equaliser bends only a part
  of it.

The four paths of a stereo reference in a stereo mixture are told by `unsum.describe.stereo`.

References
----------
.. [1] Zölzer (ed.), "DAFX: Digital Audio Effects", 2nd edition, 2011, chapter 5.
.. [2] Barchiesi and Reiss, "Reverse engineering of a mix", JAES 58(7/8), 2010, section 1.3.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.describe.energies import DB_PER_RELATIVE_ENERGY, SURE_DEVIATIONS, amplitude_spread, energy_covariances
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
from unsum.dsp.deviations import Deviations
from unsum.model import Contribution

_STEREO = ("FL", "FR")
# A side weaker than this is as good as silent, and its polarity of no concern.
_SILENT_SIDE = 1e-4
# Correlation of the two sides from which on they count as the same sound.
SAME_SOUND = 0.5


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


def describe_mixer(
    name: str,
    contribution: Contribution,
    *,
    channels: tuple[str, ...],
    power: NDArray[np.float64] | None = None,
    variance: NDArray[np.float64] | None = None,
    energies: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    image_db: float | None = None,
    law: str = EQUAL_POWER,
    correlation: NDArray[np.complex128] | None = None,
    unsure: NDArray[np.float64] | None = None,
    deviations: Deviations | None = None,
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
    energies : (reference channels,) and (mixture channels,)
        Of the reference and of its image, as measured, for the gain. They know what its channels have in common;
        without them, channels count as unrelated.
    image_db : passed on
    law : a name in `unsum.describe.pan.PAN_LAWS`
        The gain then is that of a fader before a knob with this law; without a pan there is none but equal power.
    correlation : (mixture channels, mixture channels, bins), or None for none
        Of the errors of the responses in two channels, as `unsum.dsp.uncertainty.measured_spread` gives it.
    unsure : (mixture channels, reference channels, bins), or None for nothing
        Relative deviation of the responses beside noise, as a codec's.
    deviations : what stretches of time did to the filters, if known
        Gain and pan are then as sure as those show them to be, instead of what the variance makes of them.
    """
    law = pan_law(law).name
    filters = contribution.filters
    if filters.shape[0] != len(channels):
        raise ValueError(f"{name}: filters for {filters.shape[0]} mixture channels, but there are {len(channels)}")
    arrival = strongest_arrival(filters, first_lag=contribution.first_lag, power=power)
    if arrival is None:
        return Mixer(None, None, None, image_db, limits=(f"{name}: its filters are zero, so it has no gain",))
    responses, weights = weighted_responses(filters, power)
    sounding = int(np.count_nonzero(weights.any(axis=1)))
    energy = np.sum(weights * np.abs(responses) ** 2, axis=(1, 2))
    spreads: tuple[NDArray[np.float64], ...] = (np.zeros((len(energy), len(energy))),)
    if variance is not None:
        noise = on_bins(variance, responses.shape[2])
        energy = np.maximum(energy - np.sum(weights * noise, axis=(1, 2)), 0.0)
        alike = None if correlation is None else on_bins(correlation, responses.shape[2])
        spreads = energy_covariances(responses, weights, noise, filters.shape[2], alike, deviations)
    lost = 0.0
    if unsure is not None:
        # Alike in all bins of a channel, so that deviations add up and not their squares.
        off = 2 * np.sum(weights * np.abs(responses) ** 2 * on_bins(unsure, responses.shape[2]), axis=(1, 2))
        spreads = tuple(spread + np.diag(off**2) for spread in spreads)
        lost = float(np.mean(off)) / 2
    total = float(energy.sum())
    if total <= 0:
        reason = f"{name}: its filters are no louder than their noise, so it has no gain"
        return Mixer(None, None, None, image_db, limits=(reason,))
    widest = np.max([np.diag(spread) for spread in spreads], axis=0)
    pan, reason = _pan_degrees(name, responses, weights, energy, widest, channels)
    known = variance is not None
    stderr = None
    if known and pan is not None:
        common_share = 0.0
        if correlation is not None:
            both = np.sum(weights * np.abs(responses[0] * responses[1]), axis=0)
            common = np.real(on_bins(correlation, responses.shape[2])[0, 1])
            common_share = float(np.average(common, weights=both)) if both.any() else 0.0
        of_noise = max(_pan_stderr(energy, spread) for spread in spreads)
        stderr = math.hypot(of_noise, _towards_a_side(pan, lost / total, common_share))
    # Where the reference leans to one side its image does, too: that is no pan, but it is loudness.
    own, image = (1.0, 0.0) if energies is None else (float(one.sum()) for one in energies)
    gain_db = 10 * math.log10(image / own if own > 0 and image > 0 else total / sounding)
    if law != EQUAL_POWER and pan is not None:
        pan, stderr, above_db = _by_law(pan, stderr, law, sounding)
        gain_db += above_db
    of_sum = max(float(spread.sum()) for spread in spreads)
    return Mixer(
        gain_db=gain_db,
        polarity=arrival.polarity,
        pan_degrees=pan,
        image_db=image_db,
        gain_stderr_db=DB_PER_RELATIVE_ENERGY * math.sqrt(max(of_sum, 0.0)) / total if known else None,
        pan_stderr_degrees=stderr,
        limits=(reason,) if reason else (),
        pan_law=law if pan is not None else EQUAL_POWER,
    )


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
    if energy[weak] > max(_SILENT_SIDE * energy.max(), SURE_DEVIATIONS * math.sqrt(float(spread[weak]))):
        # At the lag where the sides agree most: one may be later than the other.
        cross = over_lags(np.sum(weights * responses[0] * responses[1].conj(), axis=0))
        common = float(cross[np.argmax(np.abs(cross))]) / math.sqrt(energy[0] * energy[1])
        if common < -SAME_SOUND:
            return None, f"{name}: left and right have opposite polarity; no pan law gives that"
    return math.degrees(math.atan2(math.sqrt(energy[1]), math.sqrt(energy[0]))), None


def _towards_a_side(pan_degrees: float, lost: float, alike: float) -> float:
    """By how many degrees a pan moves where an encoder takes from middle and side, and not from left and right.

    Of a sound near the centre the side is weak, and loses more of itself; it has no more than itself to lose.

    Parameters
    ----------
    lost : half the energy that is lost, as the mean over both channels, over the energy of both together
        Half, as it is a deviation of amplitudes.
    alike : correlation of what disturbs both channels: with it the middle is the worse, against it the side
    """
    off_centre = math.radians(abs(pan_degrees - CENTRE_DEGREES))
    if off_centre == 0:
        return 0.0
    of_middle, of_side = (1 + alike) * math.tan(off_centre), (1 - alike) / math.tan(off_centre)
    return math.degrees(min(lost * abs(of_middle - of_side), off_centre))


def _pan_stderr(energy: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    """Standard error of the pan in degrees, from the energies of both sides and their covariance."""
    total = float(energy.sum())
    amplitude = amplitude_spread(energy, np.diag(spread))
    both = 2 * math.sqrt(float(energy[0] * amplitude[1] * energy[1] * amplitude[0]))
    size = math.sqrt(float(spread[0, 0] * spread[1, 1]))
    common = float(spread[0, 1]) / size if size > 0 else 0.0
    moved = float(energy[0] * amplitude[1] + energy[1] * amplitude[0]) - common * both
    return math.degrees(math.sqrt(max(moved, 0.0)) / total)
