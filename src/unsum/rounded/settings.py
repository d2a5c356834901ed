"""Equalisers, gains and delays of the tracks of a rounded mix, as the intervals of its samples have them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.describe.eq import Band, Curve, Equalisation
from unsum.describe.filters import DB_PER_LOG_A, Form, chain_response, unwarped_hz, warped
from unsum.dsp.transforms import rfft
from unsum.model import Contribution, MixModel
from unsum.problem import Problem
from unsum.progress import Progress
from unsum.rounded.chains import Chain, Window, taps_and_slopes, window_of
from unsum.rounded.excerpts import Excerpt, excerpts_of
from unsum.rounded.fit import HELD_OUT, RoundedFit, fit_to_rounding, least_squares, likelihood, share_beyond
from unsum.rounded.rivals import canonical_chain, rivals_of

_DB = 20 / math.log(10)
# Dither of one step puts a quarter of the samples beyond half a step; filters by least squares leave a hundredth there.
_MOST_BEYOND = 0.05
# In the end no more may be left than filters leave that end where a delay of part of a sample does not: right settings
# miss a few samples in a thousand, and wrong bands that come near them one in a hundred.
_MOST_LEFT = 5e-3
# Where more than this is left beyond half a step, other bands are tried; they are taken where they leave so much less.
_UNEXPLAINED, _FAR_LESS = 2e-3, 0.5
_ROUNDS, _RIVALS = 2, 3
_TRIAL_EXCERPTS, _TRIAL_STEPS, _TRIAL_SOFTNESS, _HOPELESS = 4, 4, 1 / 16, 1.05
# Log-likelihood that a further setting must bring.
_WORTH = 10.0
# Shorter mixes have no rows to spare for judging.
_FEWEST_SAMPLES = 1 << 12
# Every trial moves the settings of all tracks: with more values than one track has it takes too long.
_MOST_TRIED = 20
# Dither of one step or two leaves a power of a sixth or a quarter of a step squared, and so many samples beyond half.
_DITHER_POWER, _DITHERED = 0.36, 0.2
# Filters that leave so much more power, in steps squared, than rounding does say that something else is in the mix.
_MOST_POWER = 0.25
# Beyond so many values, those of some ten tracks, the sums take more time than they are worth.
_MOST_VALUES = 80
# A band whose gain is no more of its standard errors than this is none.
_NO_BAND = 3.0


@dataclass(frozen=True, slots=True)
class RoundedSettings:
    """What the intervals of a rounded mix say.

    Attributes
    ----------
    equalisers : {track: its equaliser, surer}
    explained : share of samples outside the fit that these settings give, rounded, as they are
    samples : how many of them were looked at
    """

    equalisers: Mapping[str, Equalisation]
    explained: float
    samples: int


def settings_of_rounded_mix(
    problem: Problem,
    model: MixModel,
    equalisers: Mapping[str, Equalisation],
    *,
    samples: int,
    null_db: float,
    progress: Progress | None = None,
) -> RoundedSettings | None:
    """The equalisers once more, fitted to the interval of one step that each sample of an integer mix stands for.

    Every present track must have one. None where that does not explain the mix: where something else is in it, where
    it was dithered or cut short instead of rounded, or where a track went through more than gains, a delay and bands.

    Parameters
    ----------
    model : with the filters that the equalisers were read from
    samples : length of the mix
    null_db : what the filters leave of it
    """
    if problem.mixture.bits is None or not problem.mixture.lossless or not model.present:
        return None
    if samples < _FEWEST_SAMPLES:
        return None
    if all(model.contributions[name].exact_gains for name in model.present):
        return None  # nothing is open
    if any(name not in equalisers or not _is_plain(equalisers[name]) for name in model.present):
        return None
    rate = model.sample_rate
    chains = tuple(_chain(equalisers[name], model.contributions[name], rate) for name in model.present)
    if sum(len(chain.values) for chain in chains) > _MOST_VALUES:
        return None
    window = window_of(chains)
    warps = {name: model.contributions[name].warp for name in model.present}
    excerpts = excerpts_of(problem, warps, samples=samples, window=window, progress=progress)
    power = float(np.mean([np.mean(one.mixture**2) for one in excerpts]))
    if power * 10 ** (null_db / 10) > _MOST_POWER:
        return None
    fit = _fitted(excerpts, chains, window, rate, progress)
    if fit is None:
        return None
    surer, at = {}, 0
    for name, chain in zip(model.present, fit.chains, strict=True):
        own = slice(at, at + len(chain.values))
        at = own.stop
        surer[name] = _read(equalisers[name], chain, fit.covariance[own, own], rate)
    return RoundedSettings(surer, 1 - fit.beyond, fit.samples)


def _fitted(
    excerpts: Sequence[Excerpt],
    chains: tuple[Chain, ...],
    window: Window,
    sample_rate: int,
    progress: Progress | None,
) -> RoundedFit | None:
    """The fit of these chains, or of others with one band instead of another where those leave far less unexplained."""

    def fitted(tried: tuple[Chain, ...]) -> RoundedFit | None:
        return fit_to_rounding(excerpts, tried, window=window, most_beyond=_MOST_BEYOND, progress=progress)

    fit = fitted(chains)
    few = sum(len(chain.values) for chain in chains) <= _MOST_TRIED
    for _ in range(_ROUNDS if few else 0):
        if fit is not None and fit.beyond < _UNEXPLAINED:
            break
        rival = _likeliest_rival(excerpts, chains if fit is None else fit.chains, window, progress)
        if rival is None:
            break
        other = fitted(tuple(canonical_chain(chain, sample_rate) for chain in rival))
        if other is None or (fit is not None and other.beyond > _FAR_LESS * fit.beyond):
            break
        fit = other
    if fit is None or fit.beyond > min(fit.beyond_before, _MOST_LEFT):
        return None
    fewer = _without_idle_bands(fit)
    other = None if fewer is fit.chains else fitted(fewer)
    return fit if other is None or other.beyond > fit.beyond / _FAR_LESS else other


def _without_idle_bands(fit: RoundedFit) -> tuple[Chain, ...]:
    """The chains of a fit without bands whose gain is not known to be other than 0."""
    errors, kept, at = np.sqrt(np.maximum(np.diag(fit.covariance), 0.0)), [], 0
    for chain in fit.chains:
        own = errors[at + len(chain.values) - len(chain.settings) : at + len(chain.values)]
        at += len(chain.values)
        forms, settings, first = [], [], 0
        for form in chain.forms:
            values = slice(first, first + form.n_settings)
            first = values.stop
            if form.has_gain and abs(chain.settings[values][1]) < _NO_BAND * own[values][1]:
                continue
            forms.append(form)
            settings += chain.settings[values].tolist()
        fewer = len(forms) < len(chain.forms)
        kept.append(replace(chain, forms=tuple(forms), settings=np.array(settings)) if fewer else chain)
    return tuple(kept) if any(one is not other for one, other in zip(kept, fit.chains, strict=True)) else fit.chains


def _likeliest_rival(
    excerpts: Sequence[Excerpt], chains: tuple[Chain, ...], window: Window, progress: Progress | None
) -> tuple[Chain, ...] | None:
    """The chains with the bands of one changed, where that makes the samples likelier than settings are worth."""
    fitted = [one for n, one in enumerate(excerpts) if n % HELD_OUT != HELD_OUT - 1]
    few = fitted[:: -(-len(fitted) // _TRIAL_EXCERPTS)]
    contest, row = [least_squares(few, chains, window=window, steps=_TRIAL_STEPS, progress=progress)], 0
    kept, energy = contest[0]
    counted = sum(int(np.count_nonzero(one.counts)) for one in few)
    if 2 * energy < _DITHER_POWER * counted and share_beyond(few, kept, window=window) > _DITHERED:
        return None  # that is dither, and no band that is missing
    n_settings = _count(chains)
    for n, chain in enumerate(chains):
        own = slice(row, row + chain.amplitudes.shape[1])
        row = own.stop
        power = np.sum([np.sum(np.abs(one.spectra[own]) ** 2, axis=0) for one in few], axis=0)
        for rival in rivals_of(chain, power, most=_RIVALS):
            tried = (*chains[:n], rival, *chains[n + 1 :])
            contest.append(least_squares(few, tried, window=window, steps=_TRIAL_STEPS, progress=progress))
    least = min(energy for _, energy in contest)
    # What leaves more by more than chance has lost; the first is what there is.
    hopeful = [one for one, energy in contest[1:] if energy < _HOPELESS * least]
    _, best = likelihood(few, contest[0][0], window=window, softness=_TRIAL_SOFTNESS, progress=progress)
    found = None
    for one in hopeful:
        tried, value = likelihood(few, one, window=window, softness=_TRIAL_SOFTNESS, progress=progress)
        value -= _WORTH * (_count(one) - n_settings)
        if value > best:
            found, best = tried, value
    return found


def _count(chains: tuple[Chain, ...]) -> int:
    return sum(len(chain.settings) for chain in chains)


def _is_plain(eq: Equalisation) -> bool:
    return eq.kind in ("flat", "parametric") and math.isfinite(eq.gain_db) and eq.paths_apart_db is None


def _chain(eq: Equalisation, part: Contribution, sample_rate: int) -> Chain:
    """An equaliser as a chain, with the gains of all paths that come nearest to the filters."""
    forms, settings = [], []
    for band in eq.bands:
        form = Form(band.type, band.order)
        forms.append(form)
        settings.append(math.log(warped(band.frequency_hz, sample_rate)))
        if band.gain_db is not None:
            settings.append(band.gain_db / DB_PER_LOG_A)
        if band.q is not None:
            settings.append(math.log(band.q))
    alone = Chain(tuple(forms), np.array(settings), eq.delay_samples, np.zeros(part.filters.shape[:2]))
    window = window_of((alone,))
    shape = taps_and_slopes(alone, window)[0]
    n_fft = 4 * max(len(shape), part.n_taps)
    turn = np.exp(-2j * np.pi / n_fft * np.arange(n_fft // 2 + 1) * (part.first_lag - window.first_lag))
    along = rfft(shape, n_fft)
    filters = rfft(part.filters, n_fft) * turn
    gains = np.real(np.sum(filters * along.conj(), axis=2)) / float(np.sum(np.abs(along) ** 2))
    return replace(alone, amplitudes=gains)


def _read(eq: Equalisation, chain: Chain, covariance: NDArray[np.float64], sample_rate: int) -> Equalisation:
    """The equaliser with the values of a chain and their standard errors."""
    n_gains = chain.amplitudes.size
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))[n_gains:]
    gains = chain.amplitudes.ravel()
    size = float(np.linalg.norm(gains))
    # By the logarithm of the gain of all paths together, delay, settings.
    onto = np.zeros((2 + len(chain.settings), len(covariance)))
    onto[0, :n_gains] = gains / size**2
    onto[1:, n_gains:] = np.eye(1 + len(chain.settings))
    known = onto @ covariance @ onto.T
    bands, at = [], 0
    for form in chain.forms:
        values, own = chain.settings[at : at + form.n_settings], errors[1 + at : 1 + at + form.n_settings]
        at += form.n_settings
        bands.append(_band(form, values, own, sample_rate))
    heard = np.sort(np.argsort(-np.abs(gains))[: len(eq.amplitudes)])
    return replace(
        eq,
        gain_db=_DB * math.log(size),
        gain_stderr_db=_DB * math.sqrt(known[0, 0]),
        polarity=-1 if gains[int(np.argmax(np.abs(gains)))] < 0 else 1,
        amplitudes=gains[heard],
        delay_samples=chain.delay_samples,
        delay_stderr_samples=float(errors[0]),
        kind="parametric" if bands else "flat",
        from_samples=True,
        bands=tuple(sorted(bands, key=lambda band: band.frequency_hz)),
        response=None if eq.response is None else _level(eq.response, chain, known, sample_rate, math.log(size)),
    )


def _band(form: Form, values: NDArray[np.float64], errors: NDArray[np.float64], sample_rate: int) -> Band:
    w = math.exp(values[0])
    return Band(
        form.type,
        float(unwarped_hz(w, sample_rate)),
        float(errors[0]) * sample_rate / math.pi * w / (1 + w * w),
        gain_db=DB_PER_LOG_A * float(values[1]) if form.has_gain else None,
        gain_stderr_db=DB_PER_LOG_A * float(errors[1]) if form.has_gain else None,
        q=math.exp(values[-1]) if form.has_q else None,
        q_stderr=math.exp(values[-1]) * float(errors[-1]) if form.has_q else None,
        order=form.order,
    )


def _level(curve: Curve, chain: Chain, covariance: NDArray[np.float64], sample_rate: int, log_gain: float) -> Curve:
    """The level of the chain where it was read before, with the standard error of all its settings together."""
    axis = warped(curve.frequency_hz, sample_rate)
    response, slopes = chain_response(chain.forms, chain.settings, axis)
    rows = np.concatenate([np.ones((1, len(axis))), np.zeros((1, len(axis))), slopes.real])
    stderr = np.sqrt(np.maximum(np.einsum("kf,kl,lf->f", rows, covariance, rows), 0.0))
    return Curve(curve.frequency_hz, _DB * (log_gain + np.log(np.abs(response))), _DB * stderr)
