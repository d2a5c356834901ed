"""A measured response made small enough to fit often, with nothing of it lost.

Near a model the quotient of response and model is smooth, so its weighted mean over a narrow band stands for all
bins in it: a hundred bins near half the sample rate become one point, ten times surer than each.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.describe.band_fit import Points
from unsum.dsp.transforms import irfft

# Bands of 1/48 octave, for bins of one sixth of the narrowest of them never less than one.
_POINTS_PER_OCTAVE = 48
_NEIGHBOURS = 17
# Above this part of half the sample rate converters and bilinear filters alike leave nothing to measure.
_HIGHEST = 0.97
# Relative deviation that no point beats: double precision.
_LEAST_RELATIVE = 1e-10
_LEAST_WEIGHT = 1e-30
_BEST_SNR = 1e4
# -40 dB: what two paths may differ by and still count as panned.
PATHS_APART = 1e-4
# Disagreement is averaged over a third of an octave, and over so many independent bins at least.
_NEARBY, _LEAST_INDEPENDENT = 2 ** (1 / 6), 16
_FINER = 4
_NEWTON_STEPS = 8

# A response (bins,) of radians a sample and of bilinear frequencies, both (bins,).
Model = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.complex128]]


@dataclass(frozen=True, slots=True)
class Measured:
    """The response of one filter, in bins.

    Attributes
    ----------
    response, variance, power : (bins,)
        From 0 to half the sample rate.
    omega, axis : (bins,)
        Radians a sample, and bilinear frequency.
    repeats : bins that say what one independent bin would
    unsure : (bins,)
        Relative deviation, beside noise, that all bins of a third of an octave may share: none of their means takes it
        away.
    """

    response: NDArray[np.complex128]
    variance: NDArray[np.float64]
    power: NDArray[np.float64]
    omega: NDArray[np.float64]
    axis: NDArray[np.float64]
    repeats: float
    unsure: NDArray[np.float64]

    @property
    def usable(self) -> slice:
        """Bins that are complex and not too near half the sample rate."""
        return slice(1, int(_HIGHEST * (len(self.response) - 1)) + 1)


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """Squared magnitudes (points,) over squared bilinear frequencies u, with their standard deviations."""

    u: NDArray[np.float64]
    squares: NDArray[np.float64]
    deviation: NDArray[np.float64]


def magnitudes(measured: Measured, *, systematic: float, least_snr: float) -> Magnitudes:
    """Squared magnitude without the noise in it, where it stands out of it.

    Parameters
    ----------
    systematic : as for `condensed`
    least_snr : a point is left out where it is not so many standard deviations above zero
    """
    bins = measured.usable
    noise = measured.variance[bins]
    squares = np.abs(measured.response[bins]) ** 2
    weights = 1 / noise
    groups = _groups(measured.omega[bins])
    total = np.add.reduceat(weights, groups)
    mean = np.add.reduceat(weights * (squares - noise), groups) / total
    count = np.diff(np.append(groups, len(noise)))
    typical = count / total
    independent = np.maximum(count / measured.repeats, 1.0 / measured.repeats)
    # Beside the noise the bias of a ridge, see `condensed`; a square has it twice.
    deviation = np.sqrt((2 * np.maximum(mean, 0) * typical + typical**2) / independent + (2 * typical) ** 2)
    omega = np.add.reduceat(weights * measured.omega[bins], groups) / total
    keep = mean > least_snr * deviation
    floor = np.hypot(systematic / np.cos(omega / 2), _shared_deviation(measured, groups))
    deviation = np.hypot(deviation, 2 * floor * np.abs(mean))
    return Magnitudes(np.tan(omega[keep] / 2) ** 2, mean[keep], deviation[keep])


def condensed(measured: Measured, model: Model, *, systematic: float = 0.0) -> Points:
    """Points that stand for all bins, near a smooth model of the response.

    Parameters
    ----------
    systematic : relative deviation that no point beats at low frequencies, and ``1 / cos(omega / 2)`` as much above
        The end of the taps cuts the kernel of a fractional delay, which alternates in sign: its error, seen at other
        frequencies than half the sample rate, falls off in this way.
    """
    means = _Means.of(measured, model)
    quotient = means(measured.response)
    # A ridge that kept noise out of the filters made them smaller by as much as noise is to them: that is alike in
    # all bins of a band, and no mean takes it away.
    floor = np.maximum(systematic / np.cos(means.omega / 2), _LEAST_RELATIVE)
    floor = np.hypot(floor, _shared_deviation(measured, means.groups))
    relative = np.sqrt(measured.repeats / means.total + (means.count / means.total) ** 2 + floor**2)
    return Points(means.omega, means.axis, means.here * quotient, np.abs(means.here) * relative)


def moved_points(measured: Measured, model: Model, moves: Iterable[NDArray[np.complex128]]) -> NDArray[np.complex128]:
    """By how much the points (moves, points) of `condensed` move where the response does (bins,)."""
    means = _Means.of(measured, model)
    return np.array([means.here * means(one) for one in moves], complex)


def noise_of_points(measured: Measured, model: Model, variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The variance (points,) of the points of `condensed` for that of the response (bins,), whatever their weights."""
    means = _Means.of(measured, model)
    each = means.weights**2 * variance[measured.usable] / np.abs(means.near) ** 2
    return np.abs(means.here) ** 2 * measured.repeats * np.add.reduceat(each, means.groups) / means.total**2


@dataclass(frozen=True, slots=True)
class _Means:
    """How bins become points: weighted means of the quotient of a response and a model near it.

    Attributes
    ----------
    near, weights : (bins,) of the usable ones
    groups : (points,) first bins of the bands
    total, count : (points,) sums of weights and numbers of bins
    omega, axis, here : (points,) frequencies of the points and the model there
    """

    bins: slice
    near: NDArray[np.complex128]
    weights: NDArray[np.float64]
    groups: NDArray[np.intp]
    total: NDArray[np.float64]
    count: NDArray[np.intp]
    omega: NDArray[np.float64]
    axis: NDArray[np.float64]
    here: NDArray[np.complex128]

    @classmethod
    def of(cls, measured: Measured, model: Model) -> "_Means":
        bins = measured.usable
        near = model(measured.omega[bins], measured.axis[bins])
        weights = np.abs(near) ** 2 / measured.variance[bins]
        weights = np.maximum(weights, np.max(weights) * _LEAST_WEIGHT)
        groups = _groups(measured.omega[bins])
        total = np.add.reduceat(weights, groups)
        omega = np.add.reduceat(weights * measured.omega[bins], groups) / total
        axis = np.tan(omega / 2)
        count = np.diff(np.append(groups, len(near)))
        return cls(bins, near, weights, groups, total, count, omega, axis, model(omega, axis))

    def __call__(self, response: NDArray[np.complex128]) -> NDArray[np.complex128]:
        sums: NDArray[np.complex128] = np.add.reduceat(self.weights * response[self.bins] / self.near, self.groups)
        return sums / self.total


def common_response(
    responses: NDArray[np.complex128],
    variance: NDArray[np.float64],
    correlation: NDArray[np.complex128] | None = None,
) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.float64]]:
    """The one response that paths of different gain share.

    Maximises the likelihood of ``H_c(f) = a_c H(f)`` with real a, as if the errors of the paths were independent:
    where they are not, the best weights would play one path off against the other, which small faults of the model
    do not survive. The variance is that of the weights used.

    Parameters
    ----------
    responses, variance : (paths, bins)
    correlation : (paths, paths, bins), or None for none
        Of the errors.

    Returns
    -------
    response, variance : (bins,)
    amplitudes : (paths,)
        a, of unit norm, the greatest positive.
    """
    weights = 1 / variance
    loudest = int(np.argmax(np.sum(np.abs(responses) ** 2 * weights, axis=1)))
    shared = responses[loudest]
    amplitudes = np.zeros(len(responses))
    for _ in range(4):
        energy = np.sum(weights * np.abs(shared) ** 2, axis=1)
        amplitudes = np.sum(weights * np.real(responses * shared.conj()), axis=1) / energy
        amplitudes /= np.linalg.norm(amplitudes)
        information = np.sum(amplitudes[:, None] ** 2 * weights, axis=0)
        shared = np.sum(amplitudes[:, None] * weights * responses, axis=0) / information
    if amplitudes[np.argmax(np.abs(amplitudes))] < 0:
        amplitudes, shared = -amplitudes, -shared
    return shared, joint_variance(amplitudes, variance, variance, correlation), amplitudes


def joint_variance(
    amplitudes: NDArray[np.float64],
    variance: NDArray[np.float64],
    noise: NDArray[np.float64],
    correlation: NDArray[np.complex128] | None = None,
) -> NDArray[np.float64]:
    """The variance (bins,) of the response that paths share.

    Parameters
    ----------
    amplitudes : (paths,)
    variance, noise : (paths, bins)
        By which the paths were weighted, and what it is.
    correlation : (paths, paths, bins), or None for none
        Of the errors.
    """
    parts = amplitudes[:, None] / variance
    parts /= np.sum(amplitudes[:, None] * parts, axis=0)
    parts *= np.sqrt(noise)
    spread = np.sum(parts**2, axis=0)
    if correlation is None:
        return spread
    # Errors that cancel each other are not counted on to do so.
    return np.maximum(spread, np.real(np.einsum("cf,ef,cef->f", parts, parts, correlation)))


def disagreement(
    responses: NDArray[np.complex128], variance: NDArray[np.float64], power: NDArray[np.float64], repeats: float
) -> NDArray[np.float64]:
    """By how much the variance of paths (paths, bins) is too small, as (bins,) and nowhere below 1.

    Paths of one equaliser differ in gain and in noise. A variance that counts the rounding of all samples is too
    small for a reference that sounds in few of them, or shorter than its filters; how far its paths are apart is not.

    Parameters
    ----------
    repeats : bins that say what one independent bin would
    """
    n_paths, n_bins = responses.shape
    if n_paths < 2:
        return np.ones(n_bins)
    shared, _, amplitudes = common_response(responses, variance)
    squares = np.abs(responses - amplitudes[:, None] * shared) ** 2
    if float(np.sum(squares * power)) > PATHS_APART * float(np.sum(np.abs(responses) ** 2 * power)):
        return np.ones(n_bins)  # more than noise: they went different ways
    each = np.concatenate([[0.0], np.cumsum(np.sum(squares / variance, axis=0) / (n_paths - 1))])
    least = math.ceil(_LEAST_INDEPENDENT * repeats / 2)
    at = np.arange(n_bins)
    start = np.maximum(np.minimum((at / _NEARBY).astype(int), at - least), 0)
    stop = np.minimum(np.maximum((at * _NEARBY).astype(int), at + least) + 1, n_bins)
    return np.maximum((each[stop] - each[start]) / (stop - start), 1.0)


def best_delay(measured: Measured, model: Model) -> tuple[float, int, float]:
    """Delay in samples, polarity, and agreement (0 to 1) with which a model fits a response best.

    Every bin that is well measured counts alike: the phase of a quiet band tells the delay as well as a loud one's.
    """
    spectrum = np.zeros(len(measured.omega), complex)
    bins = measured.usable
    near = model(measured.omega[bins], measured.axis[bins])
    size = np.maximum(np.abs(near) ** 2, np.finfo(float).tiny)
    weights = 1 / (measured.variance[bins] / size + measured.unsure[bins] ** 2 + 1 / _BEST_SNR)
    spectrum[bins] = weights * measured.response[bins] * near.conj() / size
    n_fft = 2 * (len(spectrum) - 1)
    padded = np.zeros(_FINER * n_fft // 2 + 1, complex)
    padded[: len(spectrum)] = spectrum
    curve = irfft(padded)
    peak = int(np.argmax(np.abs(curve)))
    delay = (peak if peak < len(curve) // 2 else peak - len(curve)) / _FINER
    polarity = 1 if curve[peak] > 0 else -1
    for _ in range(_NEWTON_STEPS):
        terms: NDArray[np.complex128] = spectrum * np.exp(1j * measured.omega * delay)
        slope, bend = -np.sum(measured.omega * terms.imag), -np.sum(measured.omega**2 * terms.real)
        if bend * np.sum(terms.real) >= 0:
            break
        delay -= float(slope / bend)
    agreement = polarity * float(np.sum(np.real(spectrum * np.exp(1j * measured.omega * delay))))
    return delay, polarity, agreement / float(np.sum(np.abs(spectrum)))


def local_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of values (points,) over a third of an octave around each."""
    window = np.ones(min(_NEIGHBOURS, len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _shared_deviation(measured: Measured, groups: NDArray[np.intp]) -> NDArray[np.float64]:
    """What a deviation that neighbours share is for each of them, if points are to count as independent."""
    return math.sqrt(_NEIGHBOURS) * np.maximum.reduceat(measured.unsure[measured.usable], groups)


def _groups(omega: NDArray[np.float64]) -> NDArray[np.intp]:
    """First bins of the bands."""
    band = np.floor(_POINTS_PER_OCTAVE * np.log2(omega / omega[0]) + 0.5).astype(int)
    return np.flatnonzero(np.diff(band, prepend=-1))
