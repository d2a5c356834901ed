"""Listening at the full rate, in every channel, at the lines that a search proposes: true, and where exactly?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from unsum.dsp.correlation import WhitenedCorrelation
from unsum.dsp.evidence import MOST_NATS, nats, score_levels
from unsum.dsp.excess import excess_sums
from unsum.dsp.pieces import piece_spectrum
from unsum.dsp.search import MOST_DRIFT, cell_length, judge
from unsum.dsp.transforms import irfft
from unsum.estimators.delay import fractional_delay
from unsum.estimators.places import Heard

MOST_WINDOWS = 16
FALSE_PROOF = 1e-3
_WINDOW_SECONDS = 1.3  # at the least, where there is enough sound
_SHORTEST = 1 << 11
_NEAR_SECONDS = 0.04
_AGREEING_SECONDS = 0.0015
_EXACT_SECONDS = 0.008
_FEWEST_VOTES = 2
_FEW_HEARD = 4  # with fewer windows than this that hold sound, halves of them are listened to
_VOTE = 4.5  # nats with which a window counts as a vote
_ROUGH_SPEED = 1e-3  # how far a speed of the search may be off
_TURNED = 100e-6  # speeds beside which the pieces of the reference are resampled
_FINER_SAMPLES = 2.5
_ENOUGH_FOR_A_LINE = 5
_FOLLOWED_SECONDS = 0.008  # about a line on which windows at the low rate agree
_FOLLOWED_DRIFT_SAMPLES = 2.0  # of the search, at the ends of such a line


@dataclass(frozen=True, slots=True)
class Proof:
    """What windows at the full rate say of a line.

    Attributes
    ----------
    delay_samples : of what is at ``reference_time``, in the middle of the windows that hear it
    slope : of mixture time over reference time, less 1
    votes : windows that hear it, of ``windows`` that were listened to
    used : windows that tell where exactly: those that hear it, or but the loudest where it is known to be there; 0
        where no place was found
    """

    delay_samples: int
    reference_time: float
    slope: float
    polarity: int
    votes: int
    windows: int
    false_alarm: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to cut: at ``played`` in the reference, at ``heard`` in the mixture.

    Attributes
    ----------
    known_seconds : how near to the line the sound is
    most_drift : how far the slope of the line may be off
    sure : whether the sound is known to be there: then but where exactly is asked
    clock_sure : whether the slope of the line is known not to be 0
    """

    line: Heard
    window: int
    played: NDArray[np.intp]
    heard: NDArray[np.intp]
    known_seconds: float = _NEAR_SECONDS
    most_drift: float = MOST_DRIFT
    sure: bool = False
    clock_sure: bool = False

    @property
    def played_length(self) -> int:
        slope = self.line.slope
        return self.window if abs(slope) <= _TURNED else round(self.window / (1 + slope))

    @property
    def beside_the_line(self) -> NDArray[np.floating]:
        """Samples by which each pair of pieces was cut later than the line has it: they begin at whole samples."""
        half = 0.0 if abs(self.line.slope) > _TURNED else self.window / 2
        return self.heard - self.played - self.line.delay_at(self.played + half)


def plan(line: Heard, *, rate: int, max_windows: int = MOST_WINDOWS) -> Plan | None:
    """Windows spread over a line in samples of the full rate; None where it is too short to be sure."""
    first, last = line.reference_time(line.start), line.reference_time(line.stop)
    window = 1 << math.ceil(math.log2(_WINDOW_SECONDS * rate))
    while window > _SHORTEST and 4 * window > last - first:
        window //= 2
    if last - first < window:
        return None
    count = int(min(max_windows, (last - first) // window))
    played = np.linspace(first, last - window * (1 + abs(line.slope)), count).round().astype(np.intp)
    # Of pieces of other speeds the beginnings meet, of others the middles.
    half = 0.0 if abs(line.slope) > _TURNED else window / 2
    heard = np.array([start + round(line.delay_at(start + half)) for start in played], np.intp)
    return Plan(line, window, played, heard)


def followed(where: Plan, line: Heard, *, factor: int, sure: bool = False, clock_sure: bool = False) -> Plan:
    """The same pieces of the mixture, and those of the reference that a line puts there on which windows agree.

    Parameters
    ----------
    factor : samples in one of the search, at whose rate the line was found
    sure, clock_sure : as in `Plan`
    """
    half = where.played_length / 2
    off = line.delay_at(where.played + half) - where.line.delay_at(where.played + half)
    played = where.played - np.rint(off / (1 + line.slope)).astype(np.intp)
    reach = max(1.0, float(np.ptp(where.played)) / 2)
    drift = min(MOST_DRIFT, _FOLLOWED_DRIFT_SAMPLES * factor / reach)
    where = replace(where, line=line, played=played, known_seconds=_FOLLOWED_SECONDS, most_drift=drift)
    return replace(where, sure=sure, clock_sure=clock_sure)


def _halved(where: Plan, heard: list[NDArray], played: list[NDArray]) -> tuple[Plan, list[NDArray], list[NDArray]]:
    """Twice as many windows of half the length."""
    half = where.window // 2
    starts = np.stack([where.played, where.played + where.played_length // 2], axis=1).ravel()
    into = np.stack([where.heard, where.heard + half], axis=1).ravel()
    parts = (slice(None, half), slice(half, 2 * half))
    shorter = replace(where, window=half, played=starts, heard=into)
    return shorter, [p[:, part] for p in heard for part in parts], [p[:, part] for p in played for part in parts]


def prove(where: Plan, heard: Sequence[NDArray], played: Sequence[NDArray], *, rate: int) -> Proof:
    """Judge a line by pieces (channels, samples) of both, each on any scale.

    Parameters
    ----------
    heard, played : as `plan` has them
    """
    slope = where.line.slope
    heard = [np.asarray(piece, np.float32) for piece in heard]
    played = [np.asarray(piece, np.float32) for piece in played]
    if where.played_length != where.window:
        played = [np.asarray(scipy.signal.resample(piece, where.window, axis=1), np.float32) for piece in played]
    cell = cell_length(rate)
    near = max(2, math.ceil(_NEAR_SECONDS * rate / cell))
    pair = _best_channels(heard, played, rate, near, cell)
    if pair is None:
        return Proof(0, 0.0, slope, 1, 0, len(heard), 1.0)
    c, d = pair
    correlations = _correlations([piece[c] for piece in heard], [piece[d] for piece in played], rate)
    while np.sum(correlations.any(axis=1)) < _FEW_HEARD and where.window // 4 > max(_SHORTEST, near * cell):
        # Where channels speak in turn, one long window may hold all that is heard in one: its parts are witnesses too.
        where, heard, played = _halved(where, heard, played)
        correlations = _correlations([piece[c] for piece in heard], [piece[d] for piece in played], rate)
    window = where.window
    evidence = _evidence(correlations, near, cell)
    judged = [judge(column, places=evidence.shape[1]) for column in evidence.T]
    # Where it is sure, the place is known to less than a cell.
    first, stop = (near - 2, near + 1) if where.sure else (0, len(judged))
    best = first + int(np.argmax([rank for _, rank in judged[first:stop]]))
    chance = judged[best][0]
    listened = int(np.isfinite(evidence[:, best]).sum())
    votes = np.flatnonzero(np.nan_to_num(evidence[:, best]) >= _VOTE)
    if len(votes) < _FEWEST_VOTES:
        chance = 1.0
    if listened == 0 or (chance > FALSE_PROOF and not where.sure):
        return Proof(0, 0.0, slope, 1, len(votes), listened, chance)
    used = votes
    if chance > FALSE_PROOF:
        loudest = np.argsort(-np.nan_to_num(evidence[:, best], nan=-1.0), kind="stable")
        used = np.sort(loudest[: min(listened, _FEW_HEARD)])
    middle = where.played[used] + window / 2
    most_drift = where.most_drift if abs(slope) <= 2 * MOST_DRIFT else _ROUGH_SPEED
    reach = (best - near) * cell - cell // 2, (best - near + 2) * cell + cell // 2
    if where.known_seconds < _NEAR_SECONDS:
        most = round(where.known_seconds * rate)
        reach = -most, most + 1
    known = slope, 0.0 if where.clock_sure else -slope
    time, beside = middle - middle.mean(), where.beside_the_line[used]
    lags, drift = _fine_lags(correlations[used], time, reach, rate, most_drift, known, beside)
    pieces = []
    for n, lag in zip(used.tolist(), lags, strict=True):
        late, early = max(lag, 0), max(-lag, 0)
        common = (window - late - early) // 1024 * 1024 or window - late - early
        pieces.append((played[n][d][early : early + common], heard[n][c][late : late + common]))
    shortest = min(len(one) for one, _ in pieces)
    pieces = [(one[:shortest], other[:shortest]) for one, other in pieces]
    exact, polarity = _exact_lag(pieces, max(1, min(round(_EXACT_SECONDS * rate), shortest // 2 - 1)))
    # From middle to middle: pieces of another speed are of another length.
    centre = float(np.mean(where.heard[used] - where.played[used])) + (window - where.played_length) / 2
    at = float(np.mean(where.played[used])) + where.played_length / 2
    delay = round(centre + float(np.mean(lags))) + exact
    return Proof(delay, at, slope + drift, polarity, len(votes), listened, chance, len(used))


def _correlations(
    heard: Sequence[NDArray[np.float32]], played: Sequence[NDArray[np.float32]], rate: int
) -> NDArray[np.float32]:
    """Rows (windows, lags) from ``-window / 2`` to ``window / 2``; zeros where one of both is silent."""
    window = len(heard[0])
    rows = np.zeros((len(heard), window), np.float32)
    for n, (mixture, reference) in enumerate(zip(heard, played, strict=True)):
        noisy = piece_spectrum(mixture, window, sample_rate=rate, fade=window // 3, phases=True)
        clean = piece_spectrum(reference, window, sample_rate=rate, fade=window // 3, phases=False)
        if noisy is not None and clean is not None:
            both = irfft(noisy * np.conj(clean), 2 * window)
            rows[n] = np.concatenate([both[-window // 2 :], both[: window // 2]])
    return rows


def _evidence(correlations: NDArray[np.float32], near: int, cell: int, most: float = MOST_NATS) -> NDArray[np.float64]:
    """Nats (windows, pairs of cells) around lag 0, against what the same windows say of all other lags."""
    scores = excess_sums(correlations, cell=cell)
    middle = scores.shape[1] // 2
    pairs = np.where(scores[:, :-1] >= 0, scores[:, :-1] + scores[:, 1:], -1.0)
    around = slice(max(0, middle - near), middle + near)
    far = np.delete(pairs, np.arange(pairs.shape[1])[around], axis=1)
    if not far.shape[1]:
        far = pairs
    levels = score_levels(far.ravel())
    return np.where(pairs[:, around] >= 0, nats(pairs[:, around], levels, most=most), np.nan)


def _best_channels(
    heard: Sequence[NDArray[np.float32]], played: Sequence[NDArray[np.float32]], rate: int, near: int, cell: int
) -> tuple[int, int] | None:
    """The channels of both in which the windows say most; None where all are silent."""
    n_heard, n_played = len(heard[0]), len(played[0])
    if n_heard == n_played == 1:
        return 0, 0
    few = np.unique(np.linspace(0, len(heard) - 1, min(len(heard), max(4, 32 // (n_heard * n_played)))).astype(int))
    best, most = None, 0.0
    for c in range(n_heard):
        for d in range(n_played):
            rows = _correlations([heard[n][c] for n in few], [played[n][d] for n in few], rate)
            # However high: where channels speak in turn, one window tells which of them it is.
            said = float(np.nan_to_num(_evidence(rows, near, cell, most=math.inf)).sum(axis=0).max())
            if said > most:
                best, most = (c, d), said
    return best


def _fine_lags(
    correlations: NDArray[np.float32],
    time: NDArray[np.float64],
    reach: tuple[int, int],
    rate: int,
    most_drift: float,
    known: tuple[float, float],
    beside: NDArray[np.floating],
) -> tuple[list[int], float]:
    """The lag of each window along the straight line on which they agree most, and its slope beside the known one.

    Parameters
    ----------
    known : the slope, and which slope beside it is taken where windows do not tell the sum of both from 0
    beside : (windows,) samples by which they were cut beside that line, less than one each
    """
    middle = correlations.shape[1] // 2
    at = np.arange(max(0, middle + reach[0]), min(correlations.shape[1], middle + reach[1]))
    deviation = np.sqrt(np.mean(correlations**2, axis=1, keepdims=True))
    power = (correlations[:, at] / deviation) ** 2
    # Each window counts alike, or one loud match would draw the line for all.
    power /= np.maximum(power.max(axis=1, keepdims=True), 1e-9)
    agreeing = max(2, round(_AGREEING_SECONDS * rate))
    blurred = scipy.ndimage.maximum_filter1d(power, max(1, agreeing // 2), axis=1)
    best, most, chosen = 0, -1.0, 0.0
    steps = int(2 * most_drift * float(np.abs(time).max()) / agreeing)
    for slope in sorted(np.linspace(-most_drift, most_drift, 2 * steps + 1) if steps else [0.0], key=abs):
        total = np.zeros(len(at))
        for row, t in zip(blurred, time, strict=True):
            total += np.roll(row, -round(slope * t))
        if total.max() > most * (1.0 if chosen else 1.05):
            best, most, chosen = int(total.argmax()), float(total.max()), float(slope)
    own = []
    for row, t in zip(power, time, strict=True):
        centre = best + round(chosen * t)
        low, high = max(0, centre - agreeing), min(len(at), centre + agreeing + 1)
        own.append(low + int(row[low:high].argmax()) if high > low else best)
    slope, offset = _line(time, np.array(own, float) + beside, chosen, best, known)
    return [round(offset + slope * t - b) + int(at[0]) - middle for t, b in zip(time, beside, strict=True)], slope


def _line(time: NDArray, lag: NDArray, slope: float, offset: float, known: tuple[float, float]) -> tuple[float, float]:
    """The straight line through what the windows say, where it is one; what it was before, where it is not."""
    if len(time) < _ENOUGH_FOR_A_LINE or np.ptp(time) == 0:
        return slope, offset
    spread = time - time.mean()
    fitted = float(np.sum(spread * lag) / np.sum(spread**2))
    rest = lag - lag.mean() - fitted * spread
    kept = np.abs(rest) <= 3 * max(1.0, float(np.median(np.abs(rest))))
    if kept.sum() >= _ENOUGH_FOR_A_LINE and not kept.all():
        return _line(time[kept], lag[kept], slope, offset, known)
    error = max(float(rest.std()), 0.3) / math.sqrt(float(np.sum(spread**2)))  # a lag is a whole number
    if abs(known[0] + fitted) < 5 * error:
        if abs(slope - known[1]) < 5 * error:
            return known[1], float(np.median(lag - known[1] * time))
        return slope, offset
    return fitted, float(lag.mean() - fitted * time.mean())


def _exact_lag(windows: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], max_lag: int) -> tuple[int, int]:
    """What is left of the lag, to the sample, and the polarity, by all windows (played, heard) together."""
    length = len(windows[0][0])
    together = WhitenedCorrelation(window=length, max_lag=max_lag)
    plain = np.zeros(2 * length)
    for played, heard in windows:
        first, second = together.spectrum(played.astype(np.float64)), together.spectrum(heard.astype(np.float64))
        together.add(first, second)
        size = np.abs(second)
        plain += irfft(second / np.maximum(size, 1e-15 * max(size.max(), 1e-300)) * np.conj(first), 2 * length)
    found = together.estimate()
    if not found.stands_out:
        # Too little is shared for all frequencies to count alike: the lag stays, and the loudest tell the polarity.
        near = np.concatenate([plain[-max_lag:], plain[: max_lag + 1]])
        return 0, 1 if near[np.abs(near).argmax()] > 0 else -1
    lag = found.lag_samples
    if found.reliable:
        return lag, found.polarity
    # Where only low notes are shared the peak is broad; their phases, weighed by coherence, know better. But in a room
    # phases bend as they like: what contradicts the peak is not finer.
    late, early = max(lag, 0), max(-lag, 0)
    common = length - late - early
    common -= common % 1024 if common > 1024 else 0  # a length whose transform is quick
    finer = fractional_delay(
        np.stack([heard[late : late + common] for _, heard in windows]).astype(np.float64),
        np.stack([played[early : early + common] for played, _ in windows]).astype(np.float64),
    )
    if finer.reliable and finer.polarity == found.polarity and abs(finer.delay_samples) < _FINER_SAMPLES:
        lag += round(finer.delay_samples)
    return lag, found.polarity
