"""Where a reference lies in the mixture: searched at a low rate, proved at the full one, or refused.

The shorter of the two is cut into windows and the longer passes by, both in mono at some 8 kHz. What is found there
must show itself again at the full rate, in windows that were cut elsewhere, before it counts as present.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.correlation import WhitenedCorrelation, whitened_spectrum
from unsum.dsp.search import Place, evidence, false_alarm, search
from unsum.dsp.transforms import irfft
from unsum.estimators.delay import fractional_delay
from unsum.problem import AudioSource, as_float

SEARCH_RATE = 8000  # the search runs at this rate or somewhat above
MIN_SECONDS = 0.25  # less than this is no sound to search for

_FALSE_ALARM = 1e-6
_FALSE_PROOF = 1e-3
_FEWEST_VOTES = 2
_AMBIGUOUS = 1.15
_PROOF_WINDOWS = 16
_PROOF_WINDOW = 1 << 15
_SHORTEST_PROOF = 1 << 11
_PROOF_LAG_SECONDS = 0.008
_AGREEING_SECONDS = 0.0015
_FINER_SAMPLES = 2.5
_VOTE = 5.0  # standard deviations at which a window of the proof counts

Progress = Callable[[float, float, str], None]


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


@dataclass(frozen=True, slots=True)
class _Line:
    """Reference time ``r`` is mixture time ``r + delay + slope * (r - pivot)``, in samples at the full rate."""

    delay: float
    slope: float
    pivot: float

    def delay_at(self, reference_time: float) -> float:
        return self.delay + self.slope * (reference_time - self.pivot)


@dataclass(frozen=True, slots=True)
class _Proof:
    """What windows at the full rate say of a place."""

    delay_samples: int
    polarity: int
    votes: int
    windows: int
    false_alarm: float


def locate_reference(
    mixture: AudioSource, reference: AudioSource, *, max_windows: int = 64, progress: Progress | None = None
) -> Location:
    """Find where sample 0 of the reference lies in mixture time.

    Both are read twice from their start. The mixture is never held; the reference is, in mono at some 8 kHz. Either
    may be the longer one, and the reference may begin before the mixture or end behind it.

    Parameters
    ----------
    mixture, reference : at the same sample rate
    max_windows : at most so many pieces of the shorter one are looked for; fewer are faster and hear less
    progress : called with (samples done, samples expected, what); may raise to stop

    Raises
    ------
    InputError
        If a floating point sample is not a number.
    ValueError
        If the sample rates differ.
    """
    rate = mixture.sample_rate
    if reference.sample_rate != rate:
        raise ValueError(
            f"{reference.name} is at {reference.sample_rate} Hz, {mixture.name} at {rate} Hz; resample one first"
        )
    factor = max(1, rate // SEARCH_RATE)
    places, reference_length, mixture_length, nothing = _search(mixture, reference, factor, max_windows, progress)
    if nothing:
        return Location(0, present=False, confidence=1.0, remarks=(nothing,))
    best = places[0]
    side = best.rank / places[1].rank if len(places) > 1 else math.inf
    if best.false_alarm > _FALSE_ALARM or best.votes < _FEWEST_VOTES:
        remark = f"{best.votes} of {best.windows} windows agree on a place, no more than chance gives"
        return _refused(best, side, best.votes, best.windows, remark)
    line = _Line(factor * best.delay, best.slope, factor * best.pivot)
    proof = _prove(mixture, reference, line, reference_length, mixture_length)
    if proof is None:
        return _refused(best, side, 0, 0, "the two overlap for too short a time to be sure")
    if proof.false_alarm > _FALSE_PROOF:
        remark = f"{proof.votes} of {proof.windows} windows at the full rate confirm the place, too few"
        return _refused(best, side, proof.votes, proof.windows, remark)
    remarks = []
    if side < _AMBIGUOUS:
        other = places[1].delay * factor / rate
        remarks.append(
            f"it fits almost as well at {other:.3f} s: a loop or a repeat; the place with most evidence was taken"
        )
    if line.slope:
        remarks.append(f"the clocks differ by about {-1e6 * line.slope:.0f} ppm")
    confidence = 1 - max(best.false_alarm, proof.false_alarm)
    return Location(
        delay_samples=proof.delay_samples,
        present=True,
        confidence=confidence,
        polarity=proof.polarity,
        peak_to_side=side,
        votes=proof.votes,
        windows=proof.windows,
        clock_ppm=-1e6 * line.slope,
        remarks=tuple(remarks),
    )


def _refused(best: Place, side: float, votes: int, windows: int, remark: str) -> Location:
    return Location(
        0,
        present=False,
        # What chance gives every time is surely absent; what is just not enough may be either.
        confidence=1 - 0.5 * min(1.0, math.log(max(best.false_alarm, 1e-300)) / math.log(_FALSE_ALARM)),
        peak_to_side=side,
        votes=votes,
        windows=windows,
        remarks=(remark,),
    )


def _search(
    mixture: AudioSource, reference: AudioSource, factor: int, max_windows: int, progress: Progress | None
) -> tuple[Sequence[Place], int, int, str]:
    """Places of the reference in the mixture, best first, at the search rate; lengths at the full one; why none."""
    rate = mixture.sample_rate / factor
    nothing = np.zeros(0, np.float32)
    held = np.concatenate([nothing, *_decimated(reference, factor)])
    passing = _decimated(mixture, factor, progress=progress)
    head: list[NDArray[np.float32]] = []
    size = 0
    while size <= len(held) and (block := next(passing, None)) is not None:
        head.append(block)
        size += len(block)
    first = np.concatenate([nothing, *head])
    for name, samples in ((reference.name, held), (mixture.name, first)):
        if len(samples) < MIN_SECONDS * rate:
            return (), 0, 0, f"{name} is {len(samples) / rate:.3f} s long; less than {MIN_SECONDS} s cannot be placed"
        if name is reference.name and not np.any(samples):
            return (), 0, 0, f"{name} is silent"
    swapped = size <= len(held)
    if swapped:
        found = search(first, [held], sample_rate=rate, max_windows=max_windows)
        places = [_seen_from_the_other_side(place) for place in found.places]
        lengths = len(held) * factor, len(first) * factor
    else:
        found = search(held, chain([first], passing), sample_rate=rate, max_windows=max_windows)
        places = list(found.places)
        lengths = len(held) * factor, found.passed * factor
    why = "" if places else "nothing in it stands out: silence, steady tones, or no sound in common"
    return places, *lengths, why


def _seen_from_the_other_side(place: Place) -> Place:
    """The place of the passing sound in the other."""
    return Place(
        -place.delay,
        -place.slope,
        place.pivot + place.delay,
        place.rank,
        place.false_alarm,
        place.votes,
        place.windows,
    )


def _mono(source: AudioSource) -> Iterator[NDArray[np.float32]]:
    """One channel out of all, no two with the same weight: a channel turned over must not silence another."""
    weights = 0.8 ** np.arange(len(source.channels))
    for block in source.blocks():
        yield (weights @ as_float(block, source.bits)).astype(np.float32)


def _decimated(source: AudioSource, factor: int, *, progress: Progress | None = None) -> Iterator[NDArray[np.float32]]:
    """Blocks of every ``factor``-th sample, sample 0 first, of what is below the new Nyquist frequency."""
    half = 10 * factor if factor > 1 else 0
    taps = np.asarray(scipy.signal.firwin(2 * half + 1, 0.9 / factor), np.float32) if half else np.ones(1, np.float32)
    rest = np.zeros(half, np.float32)
    done = 0
    for block in chain(_mono(source), [np.zeros(half, np.float32)]):
        done += len(block)
        if progress is not None:
            progress(done, max(source.samples or 0, done), "locating")
        rest = np.concatenate([rest, block])
        count = max(0, (len(rest) - 2 * half - 1) // factor + 1)
        if count:
            used = rest[: (count - 1) * factor + 2 * half + 1]
            yield np.asarray(scipy.signal.upfirdn(taps, used, down=factor), np.float32)[2 * half // factor :][:count]
            rest = rest[count * factor :]


def _prove(
    mixture: AudioSource, reference: AudioSource, line: _Line, reference_length: int, mixture_length: int
) -> _Proof | None:
    """Listen at a place, in every channel, at the full rate; None where too little of both is there."""
    rate = mixture.sample_rate
    first = max(0.0, -line.delay)
    last = min(reference_length, mixture_length - line.delay)
    window = _PROOF_WINDOW
    while window > _SHORTEST_PROOF and 4 * window > last - first:
        window //= 2
    if last - first < window:
        return None
    count = int(min(_PROOF_WINDOWS, (last - first) // window))
    at = np.linspace(first, last - window, count).round().astype(int)
    delays = [round(line.delay_at(start + window / 2)) for start in at]
    heard = _cut(mixture, [start + delay for start, delay in zip(at, delays, strict=True)], window)
    played = _cut(reference, list(at), window)
    max_lag = min(round(_PROOF_LAG_SECONDS * rate), window // 2)
    agreeing = max(2, round(_AGREEING_SECONDS * rate))
    best: tuple[float, int, int, NDArray, NDArray] | None = None
    spectra = [[_phases(piece, rate) for piece in source] for source in (heard, played)]
    for c in range(len(mixture.channels)):
        for d in range(len(reference.channels)):
            lags, heights = _peaks([m[c] for m in spectra[0]], [r[d] for r in spectra[1]], max_lag)
            score = float(np.minimum(heights, 3 * _VOTE).sum())
            if best is None or score > best[0]:
                best = score, c, d, lags, heights
    assert best is not None
    _, c, d, lags, heights = best
    listened = np.flatnonzero(np.isfinite(heights) & (heights > 0))
    if not len(listened):
        return None
    candidates = lags[listened][heights[listened] >= min(_VOTE, heights.max())]
    agreement = [float(heights[np.abs(lags - lag) <= agreeing].sum()) for lag in candidates]
    middle = candidates[int(np.argmax(agreement))]
    near = np.abs(lags - middle) <= agreeing
    votes = near & (heights >= _VOTE)
    proof = evidence(np.where(near, heights, 0.0), chances=2 * agreeing)
    chance = false_alarm(proof, windows=len(listened), places=max_lag / agreeing)
    if votes.sum() < _FEWEST_VOTES:
        chance = 1.0
    if chance > _FALSE_PROOF:
        return _Proof(0, 1, int(votes.sum()), len(listened), chance)
    chosen = np.flatnonzero(votes)
    lag, polarity = _exact_lag([(played[w][d], heard[w][c]) for w in chosen], max_lag)
    centre = float(np.mean(at[chosen])) + window / 2
    return _Proof(round(line.delay_at(centre)) + lag, polarity, len(chosen), len(listened), chance)


def _cut(source: AudioSource, starts: Sequence[int], length: int) -> list[NDArray[np.float32]]:
    """Pieces (channels, length) in the order asked for; silent outside the source."""
    pieces = [np.zeros((len(source.channels), length), np.float32) for _ in starts]
    last = max(starts) + length
    done = 0
    for block in source.blocks():
        stop = done + block.shape[1]
        for start, piece in zip(starts, pieces, strict=True):
            a, b = max(start, done), min(start + length, stop)
            if a < b:
                piece[:, a - start : b - start] = as_float(block[:, a - done : b - done], source.bits)
        done = stop
        if done >= last:
            break
    return pieces


def _phases(piece: NDArray[np.float32], rate: int) -> list[NDArray[np.complex64]]:
    """Whitened spectra of each channel, padded so that no lag wraps around."""
    window = piece.shape[1]
    return [whitened_spectrum(row, 2 * window, fade=window // 3, band=(60 / rate, 0.49)) for row in piece]


def _peaks(
    heard: Sequence[NDArray[np.complex64]], played: Sequence[NDArray[np.complex64]], max_lag: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each window the lag that stands out most, and by how many standard deviations."""
    correlation = irfft(np.stack(heard) * np.conj(np.stack(played)))
    near = np.abs(np.concatenate([correlation[:, -max_lag:], correlation[:, : max_lag + 1]], axis=1))
    deviation = np.sqrt(np.mean(correlation**2, axis=1))
    heights = np.divide(near.max(axis=1), deviation, out=np.zeros(len(near)), where=deviation > 0)
    return near.argmax(axis=1) - max_lag, heights


def _exact_lag(windows: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], max_lag: int) -> tuple[int, int]:
    """The lag to the sample, and the polarity, by all windows (played, heard) together."""
    length = len(windows[0][0])
    together = WhitenedCorrelation(window=length, max_lag=max_lag)
    for played, heard in windows:
        together.add(together.spectrum(played.astype(np.float64)), together.spectrum(heard.astype(np.float64)))
    found = together.estimate()
    lag = found.lag_samples
    # Where only low notes are shared the peak is broad; their phases, weighed by coherence, know better. But in a room
    # phases bend as they like: what contradicts the peak is not finer.
    late, early = max(lag, 0), max(-lag, 0)
    common = length - late - early
    common -= common % 1024  # a length whose transform is quick
    finer = fractional_delay(
        np.stack([heard[late : late + common] for _, heard in windows]).astype(np.float64),
        np.stack([played[early : early + common] for played, _ in windows]).astype(np.float64),
    )
    if finer.reliable and finer.polarity == found.polarity and abs(finer.delay_samples) < _FINER_SAMPLES:
        lag += round(finer.delay_samples)
    return lag, found.polarity
