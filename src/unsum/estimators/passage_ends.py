"""On which sample a passage of a reference ends, and the next begins: with silence between them, or without.

First frame by frame: where does the image of the reference explain what is heard, and where is it better left away?
Then with the reference cut at places ever nearer, each heard through the filter: a room rings on when the player has
stopped, and that is no sign that it plays.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.code_length import band_energies, energy_floor, frame_samples, nats_saved
from unsum.dsp.convolution import convolve
from unsum.dsp.jumps import change_point, splice_point
from unsum.dsp.time_fit import Excerpt, Lags, render
from unsum.dsp.whitening import predictor_of
from unsum.model import Contribution, TimeWarp
from unsum.problem import AudioSource

Audio = NDArray[np.float64]

EDGE_SECONDS = 2.5  # the ends of a passage are known so well
SHORTEST_SILENCE = 0.1  # seconds; less is no pause of a player
LEAST_GAIN = 60.0  # nats by which a silence between two passages must explain what lies there
_AROUND_SECONDS = 0.1  # that frames may be off
_BESIDE_SECONDS = 0.15  # looked at on both sides of what is tried
_FINE_SECONDS = 0.004
_RINGING_SECONDS = 0.3  # behind an end
_WHITENED_SECONDS = 0.1  # on both sides: talk does not stay the same for long


@dataclass(frozen=True, slots=True)
class Handover:
    """Mixture time, in seconds, at which one passage stops and at which the next starts; never before."""

    stops: float
    starts: float


@dataclass(frozen=True, slots=True)
class Ends:
    """What is needed to tell where passages end.

    Attributes
    ----------
    rate : samples a second
    filters : (channels, references, taps)
    lags : of the filters
    bits : the word length of the mixture, None where it is floating point
    """

    rate: int
    filters: Audio
    lags: Lags
    bits: int | None = None

    @property
    def frame(self) -> int:
        return frame_samples(self.rate)

    def image(self, reference: Audio, length: int) -> Audio:
        """Of a reference with its margins, (channels, length)."""
        whole = convolve(reference, self.filters, first_lag=self.lags.first, n_samples=reference.shape[1])
        return whole[:, self.lags.before : self.lags.before + length]

    def silent_energy(self, mixture: Audio) -> float:
        """The floor under the energies of bands, those of all channels together."""
        return energy_floor(self.bits, len(mixture), float(np.sum(np.mean(mixture**2, axis=1))))


def ends_of(part: Contribution, mixture: AudioSource) -> Ends:
    """What tells where passages end, of a reference whose filters are known."""
    return Ends(mixture.sample_rate, part.filters, Lags(part.first_lag, part.n_taps), mixture.bits)


@dataclass(frozen=True, slots=True)
class Heard:
    """A stretch of the mixture beside a reference on its time line, with a margin for the filter."""

    start: int
    mixture: Audio
    reference: Audio


def hand_over(
    end: Excerpt,
    begin: Excerpt,
    one: TimeWarp,
    other: TimeWarp,
    ends: Ends,
    *,
    reference_seconds: float,
) -> Handover:
    """From one passage to the next.

    Parameters
    ----------
    end, begin : around the end of the first and the beginning of the second, with the reference as each needs it;
        the same stretch of the mixture where the two lie close together
    one, other : the warps along the passages
    reference_seconds : length of the reference
    """
    rate = ends.rate
    speed = 1 + 1e-6 * one.clock_ppm
    runs_out, sets_in = one.delay_seconds + reference_seconds / speed, other.delay_seconds
    natural_end = runs_out * rate <= end.stop
    natural_begin = sets_in * rate >= begin.start
    if natural_end and natural_begin and runs_out <= sets_in:
        return Handover(_ceiling(runs_out, rate), _ceiling(runs_out, rate))
    together = (end.start, end.stop) == (begin.start, begin.stop)
    first, second = heard(end, one, ends), heard(begin, other, ends)
    if natural_end and not natural_begin:
        at = starts_at(second, ends) / rate
        return Handover(at, at)
    if natural_begin and not natural_end:
        at = stops_at(first, ends) / rate
        return Handover(at, at)
    if not together:
        return Handover(stops_at(first, ends) / rate, starts_at(second, ends) / rate)
    stops, starts = goes_over(first, second, ends)
    return Handover(stops / rate, starts / rate)


def _ceiling(seconds: float, rate: int) -> float:
    return math.ceil(seconds * rate) / rate


def heard(excerpt: Excerpt, warp: TimeWarp, ends: Ends) -> Heard:
    """An excerpt with its reference on the mixture's time line."""
    lags = ends.lags
    played = render(excerpt, warp, sample_rate=ends.rate, before=lags.before, behind=lags.behind)
    return Heard(excerpt.start, excerpt.mixture, played)


def silent_beside(like: Heard) -> Heard:
    return Heard(like.start, like.mixture, np.zeros_like(like.reference))


def stops_at(playing: Heard, ends: Ends) -> int:
    """The mixture sample from which on the reference is silent."""
    rough = _best_split(_saved(playing, ends), None)
    return exactly(playing, silent_beside(playing), _sample(playing, rough, ends), ends)


def starts_at(playing: Heard, ends: Ends) -> int:
    """The mixture sample from which on the reference is heard."""
    rough = _best_split(None, _saved(playing, ends))
    return exactly(silent_beside(playing), playing, _sample(playing, rough, ends), ends)


def goes_over(first: Heard, second: Heard, ends: Ends) -> tuple[int, int]:
    """The mixture samples from which on the first is silent and the second heard: the same one, or silence between."""
    one, other = _saved(first, ends), _saved(second, ends)
    stops, starts, gain = _best_gap(one, other)
    if gain > LEAST_GAIN and (starts - stops) * ends.frame / 2 > SHORTEST_SILENCE * ends.rate:
        apart = (
            exactly(first, silent_beside(first), _sample(first, stops, ends), ends),
            exactly(silent_beside(second), second, _sample(second, starts, ends), ends),
        )
        if apart[1] - apart[0] > SHORTEST_SILENCE * ends.rate:
            return apart
    at = exactly(first, second, _sample(first, _best_split(one, other), ends), ends)
    return at, at


# Frame by frame ---------------------------------------------------------------------------------------


def _saved(playing: Heard, ends: Ends) -> NDArray[np.float64]:
    """Nats (frames,) that the image saves where the reference is heard; what it costs, negative, where it is not."""
    mixture, floor = playing.mixture, ends.silent_energy(playing.mixture)
    left = mixture - ends.image(playing.reference, mixture.shape[1])
    without, remaining = (band_energies(rows, frame=ends.frame) for rows in (mixture, left))
    return nats_saved(without, remaining, frame=ends.frame, floor=floor)


def _best_split(before: NDArray[np.float64] | None, after: NDArray[np.float64] | None) -> int:
    """The frame at which the second takes over from the first; None saves nothing anywhere."""
    n = len(before if before is not None else after if after is not None else ())
    gained = np.zeros(n + 1)
    if before is not None:
        gained[1:] += np.cumsum(before)
    if after is not None:
        gained[1:] -= np.cumsum(after)
    return int(gained.argmax())


def _best_gap(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[int, int, float]:
    """The frames between which neither is heard, and the nats that this gains over going over at once."""
    first = np.concatenate([[0.0], np.cumsum(before)])
    second = np.concatenate([[0.0], np.cumsum(after)])
    second = second[-1] - second
    best = np.maximum.accumulate(first)
    starts = int((best + second).argmax())
    stops = int(first[: starts + 1].argmax())
    return stops, starts, float((best + second)[starts] - (first + second).max())


def _sample(where: Heard, frame: int, ends: Ends) -> int:
    """The sample of an excerpt at which a frame takes over: half way between the middles of two."""
    half = ends.frame // 2
    return min(frame * half + half // 2, where.mixture.shape[1]) if frame else 0


# To the sample ----------------------------------------------------------------------------------------


def exactly(before: Heard, after: Heard, rough: int, ends: Ends) -> int:
    """The mixture sample from which on the second reference is heard instead of the first, near a rough one.

    A recording that was cut tells it by its residuals; where the player went over, the filter rings on, and the
    reference has to be cut ahead of it. Whichever explains more of what lies around is believed.
    """
    n, rate = before.mixture.shape[1], ends.rate
    around, beside, fine = (round(x * rate) for x in (_AROUND_SECONDS, _BESIDE_SECONDS, _FINE_SECONDS))
    first, last = max(0, rough - around), min(n, rough + around)
    near = slice(max(0, first - beside), min(n, last + beside + min(ends.lags.count, round(_RINGING_SECONDS * rate))))
    one, other = _part(before, near, ends), _part(after, near, ends)
    first, last, length = first - near.start, last - near.start, one.mixture.shape[1]
    at = _best_cut(one, other, np.arange(first, last + 1, 4 * fine), ends)
    at = _best_cut(one, other, np.arange(max(first, at - 3 * fine), min(last, at + 3 * fine) + 1, fine), ends)
    left = _left(one, _spliced(one, other, at, ends), ends)
    # Of what is left just there: talk is far from the same all the time.
    close = round(_WHITENED_SECONDS * rate)
    whitener = predictor_of(left[:, max(0, at - close) : at + close])
    low, high, ahead = max(0, at - 3 * fine), min(length, at + 3 * fine), ends.lags.before
    at = splice_point(
        _left(one, _spliced(one, other, low, ends), ends),
        (one.reference - other.reference)[:, ahead : ahead + length],
        ends.filters,
        whitener,
        first_lag=ends.lags.first,
        first=low,
        last=high,
    )
    ended = [_left(each, each.reference, ends) for each in (one, other)]
    cut = change_point(ended[0], ended[1], whitener).at
    kept = np.concatenate([ended[0][:, :cut], ended[1][:, cut:]], axis=1)
    rung = _left(one, _spliced(one, other, at, ends), ends)
    chosen = at if _energy(rung, whitener) <= _energy(kept, whitener) else cut
    return before.start + near.start + chosen


def _part(whole: Heard, near: slice, ends: Ends) -> Heard:
    stop = near.stop + ends.lags.before + ends.lags.behind
    return Heard(whole.start + near.start, whole.mixture[:, near], whole.reference[:, near.start : stop])


def _best_cut(one: Heard, other: Heard, candidates: NDArray[np.intp], ends: Ends) -> int:
    """The candidate sample at which going over leaves what is shortest to describe."""
    length, floor = one.mixture.shape[1], ends.silent_energy(one.mixture)
    without = band_energies(one.mixture, frame=ends.frame)
    saved = []
    for at in candidates.tolist():
        left = one.mixture - ends.image(_spliced(one, other, at, ends), length)
        saved.append(nats_saved(without, band_energies(left, frame=ends.frame), frame=ends.frame, floor=floor).sum())
    return int(candidates[int(np.argmax(saved))])


def _spliced(before: Heard, after: Heard, at: int, ends: Ends) -> Audio:
    place = ends.lags.before + at
    return np.concatenate([before.reference[:, :place], after.reference[:, place:]], axis=1)


def _left(playing: Heard, reference: Audio, ends: Ends) -> Audio:
    return playing.mixture - ends.image(reference, playing.mixture.shape[1])


def _energy(residual: Audio, whitener: Audio) -> float:
    white = scipy.signal.oaconvolve(residual, whitener[None], axes=1)
    return float(np.sum(white[:, len(whitener) : residual.shape[1]] ** 2))
