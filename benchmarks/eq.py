"""What the reading of equalisers must show: bands of random chains behind real stems, and equalisers of others.

    python benchmarks/eq.py                            every row
    python benchmarks/eq.py --rows random --tracks 10  some of them, smaller

A track is one channel of a real stem, sent through 1 to 5 bands of the RBJ cookbook, a delay that is no whole number
of samples, either polarity and a pan, and rounded to 24 or 16 bit. Its filters are measured by exact least squares
and read by ``describe_eq``, which is told nothing of the truth; what was read is then fitted to the intervals that the
rounded samples stand for, as `unsum explain` does where a mix is nothing but its tracks. A track counts where every
band is found, within 0.1 % in frequency, 0.01 dB and 1 % in Q (ten times that at 16 bit), and none besides. The
response read is compared with the true one as well: with 0.01 dB, with the uncertainty stated beside it, and with the
bound of Cramer and Rao, which says what the rounding of the mix leaves to be known if it is taken for noise.

The other row sends a stem through equalisers of sox, ffmpeg, JUCE (by pedalboard), Calf and LSP (as LV2 plugins in
ffmpeg), with settings in the words of those programs, and prints what is read beside them. The figures are printed and
kept in ``benchmarks/figures/eq.json``.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.signal
import scipy.stats
import soundfile
from numpy.typing import NDArray

from unsum.describe.eq import Band, Equalisation, describe_eq
from unsum.dsp.rows import FIT, HELD_OUT, Segment
from unsum.dsp.solvers import FilterFit, least_squares_filters
from unsum.dsp.transforms import rfft
from unsum.estimators.fir import Alignment, OrderChoice, gather, refine
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.rounded.settings import RoundedSettings, settings_of_rounded_mix

HERE = Path(__file__).parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))
STEMS = (
    *("multitrack/anchors_song/*.flac", "multitrack/metal_internal_degeneration/*.flac"),
    *("multitrack/sodium/*.flac", "multitrack/reggae_try/0*.flac"),
)
FIRST_LAG, N_TAPS = -64, 8192
# Relative in frequency and Q, dB in gain.
TOLERANCES = (1e-3, 0.01, 1e-2)
# How many times that is allowed, by word length.
SLACK = {24: 1.0, 16: 10.0}
# Shelves are compared as low ones below this frequency and as high ones above.
SHELF_SPLIT_HZ = 632.0


@dataclass(frozen=True, slots=True)
class TrueBand:
    type: str
    frequency_hz: float
    gain_db: float
    q: float


@dataclass(frozen=True, slots=True)
class Track:
    """A stem and what is done to it."""

    stem: NDArray[np.float64]
    rate: int
    bands: tuple[TrueBand, ...]
    gain_db: float
    polarity: int
    pan_degrees: float
    delay_samples: float


def cookbook(band: TrueBand, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients as the cookbook prints them."""
    a = 10 ** (band.gain_db / 40)
    omega = 2 * np.pi * band.frequency_hz / rate
    cos, alpha = np.cos(omega), np.sin(omega) / (2 * band.q)
    root = 2 * np.sqrt(a) * alpha
    if band.type == "peak":
        top, bottom = [1 + alpha * a, -2 * cos, 1 - alpha * a], [1 + alpha / a, -2 * cos, 1 - alpha / a]
    elif band.type == "lowshelf":
        top = [a * (a + 1 - (a - 1) * cos + root), 2 * a * (a - 1 - (a + 1) * cos), a * (a + 1 - (a - 1) * cos - root)]
        bottom = [a + 1 + (a - 1) * cos + root, -2 * (a - 1 + (a + 1) * cos), a + 1 + (a - 1) * cos - root]
    elif band.type == "highshelf":
        top = [a * (a + 1 + (a - 1) * cos + root), -2 * a * (a - 1 + (a + 1) * cos), a * (a + 1 + (a - 1) * cos - root)]
        bottom = [a + 1 - (a - 1) * cos + root, 2 * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - root]
    else:
        sign = 1 if band.type == "highpass" else -1
        top = [(1 + sign * cos) / 2, -sign * (1 + sign * cos), (1 + sign * cos) / 2]
        bottom = [1 + alpha, -2 * cos, 1 - alpha]
    return np.array(top) / bottom[0], np.array(bottom) / bottom[0]


def response(band: TrueBand, frequency_hz: NDArray[np.float64], rate: int) -> NDArray[np.complex128]:
    top, bottom = cookbook(band, rate)
    later = np.exp(-2j * np.pi * frequency_hz / rate)
    return np.asarray(np.polyval(top[::-1], later) / np.polyval(bottom[::-1], later), complex)


def stems() -> list[tuple[NDArray[np.float64], int]]:
    """Channels of real stems, loud enough to be one."""
    found = []
    for pattern in STEMS:
        for path in sorted(AUDIO.glob(pattern)):
            samples, rate = soundfile.read(path, always_2d=True)
            if np.sqrt(np.mean(samples[:, 0] ** 2)) > 1e-3:
                found.append((samples[:, 0], rate))
    if not found:
        sys.exit(f"no stems in {AUDIO}; name a folder in UNSUM_AUDIO")
    return found


def random_bands(rng: np.random.Generator) -> tuple[TrueBand, ...]:
    """1 to 5 bands as on a desk: at most one high-pass, low-pass and shelf of each kind, peaks apart by an octave."""
    count = int(rng.integers(1, 6))
    kinds = list(rng.permutation(["highpass", "lowpass", "lowshelf", "highshelf", *["peak"] * 4])[:count])
    bands, taken = [], []
    for kind in kinds:
        low, high = {
            "highpass": (25, 200),
            "lowpass": (4000, 14000),
            "lowshelf": (60, 500),
            "highshelf": (1500, 11000),
            "peak": (60, 11000),
        }[str(kind)]
        while True:
            frequency = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            if kind != "peak" or all(abs(np.log2(frequency / other)) > 1 for other in taken):
                break
        if kind == "peak":
            taken.append(frequency)
        gain = float(rng.choice([-1, 1]) * rng.uniform(1, 10)) if "pass" not in str(kind) else 0.0
        q = float(np.exp(rng.uniform(np.log(0.5), np.log(5)))) if kind == "peak" else float(rng.uniform(0.5, 1.0))
        bands.append(TrueBand(str(kind), frequency, gain, q))
    return tuple(sorted(bands, key=lambda band: band.frequency_hz))


def random_track(rng: np.random.Generator, recordings: list[tuple[NDArray[np.float64], int]]) -> Track:
    stem, rate = recordings[int(rng.integers(len(recordings)))]
    return Track(
        stem,
        rate,
        random_bands(rng),
        float(rng.uniform(-12, 0)),
        int(rng.choice([-1, 1])),
        float(rng.uniform(5, 85)),
        float(rng.uniform(0, 400)),
    )


def delayed(samples: NDArray[np.float64], delay_samples: float) -> NDArray[np.float64]:
    """Later by any part of a sample, the last ones dropped."""
    n_fft = 1 << (len(samples) + 8192).bit_length()
    spectrum = np.fft.rfft(samples, n_fft) * np.exp(-2j * np.pi * np.arange(n_fft // 2 + 1) / n_fft * delay_samples)
    return np.fft.irfft(spectrum)[: len(samples)]


def mixed(track: Track) -> NDArray[np.float64]:
    image = delayed(track.stem, track.delay_samples)
    for band in track.bands:
        image = scipy.signal.lfilter(*cookbook(band, track.rate), image)
    pan = np.radians(track.pan_degrees)
    gain = track.polarity * 10 ** (track.gain_db / 20)
    return gain * np.array([np.cos(pan), np.sin(pan)])[:, None] * image


def rounded(samples: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    scale = 2.0 ** (bits - 1)
    return np.floor(samples * scale + 0.5) / scale


def measure(
    mixture: NDArray[np.float64], stem: NDArray[np.float64], rate: int
) -> tuple[FilterFit, NDArray[np.float64]]:
    """Filters by exact least squares, as sure as `unsum explain` takes them to be, and the power of the stem."""
    length = mixture.shape[1]
    names = ("FL", "FR")[: len(mixture)] if len(mixture) > 1 else ("FC",)
    problem = Problem(
        ArraySource("mix", mixture, rate, names, None, True),
        (ArraySource("stem", stem[None], rate, ("FC",), None, True),),
    )
    halves = Segment(0, length // 2, FIT), Segment(length // 2, length, HELD_OUT)
    alignment = Alignment(("stem",), {"stem": TimeWarp()}, halves)
    equations = gather(problem, alignment, first_lag=FIRST_LAG, n_taps=N_TAPS)
    whole = least_squares_filters(equations[FIT] + equations[HELD_OUT], threads=1)
    fit = refine(problem, alignment, OrderChoice(equations[FIT], equations[HELD_OUT], whole, whole.null_db))
    spectra = equations[FIT].spectra
    assert spectra is not None
    return fit, np.real(spectra.matrix()[:, 0, 0])


def read(fit: FilterFit, power: NDArray[np.float64], rate: int) -> tuple[Equalisation, float]:
    """The description, and CPU seconds it took."""
    assert fit.variance is not None
    variance = fit.variance[:, 0]
    responses = rfft(fit.filters[:, 0], 2 * (variance.shape[1] - 1))
    how = {"sample_rate": rate, "first_lag": fit.first_lag, "n_taps": fit.filters.shape[2]}
    start = time.process_time()
    found = describe_eq(responses, variance, power, correlation=fit.correlation, **how)
    return found, time.process_time() - start


def settled(
    mixture: NDArray[np.float64], bits: int, track: Track, fit: FilterFit, found: Equalisation
) -> tuple[RoundedSettings | None, float]:
    """What the intervals of the samples say of the settings that were read, and CPU seconds it took."""
    names = ("FL", "FR")
    samples = np.rint(mixture * 2.0 ** (bits - 1)).astype(np.int64)
    problem = Problem(
        ArraySource("mix", samples, track.rate, names, bits, True),
        (ArraySource("stem", track.stem[None], track.rate, ("FC",), None, True),),
    )
    part = Contribution(True, filters=fit.filters, first_lag=fit.first_lag)
    start = time.process_time()
    model = MixModel(track.rate, names, {"stem": part})
    settings = settings_of_rounded_mix(problem, model, {"stem": found}, samples=samples.shape[1], null_db=fit.null_db)
    return settings, time.process_time() - start


def canonical(band: TrueBand) -> TrueBand:
    """Low shelves above the split are high ones of the opposite gain, and the other way round."""
    if not band.type.endswith("shelf"):
        return band
    wanted = "lowshelf" if band.frequency_hz < SHELF_SPLIT_HZ else "highshelf"
    return band if wanted == band.type else TrueBand(wanted, band.frequency_hz, -band.gain_db, band.q)


def faults(track: Track, found: Equalisation, *, slack: float) -> list[str]:
    """Bands that are missing, off by more than the tolerances times the slack, or made up."""
    left, wrong = list(found.bands), []
    for band in map(canonical, track.bands):
        alike = [one for one in left if one.type == band.type and one.order == 2]
        if not alike:
            wrong.append(f"no {band.type} at {band.frequency_hz:.1f} Hz")
            continue
        one = min(alike, key=lambda one: abs(np.log(one.frequency_hz / band.frequency_hz)))
        left.remove(one)
        off = (
            abs(one.frequency_hz / band.frequency_hz - 1),
            abs((one.gain_db or 0.0) - band.gain_db),
            abs((one.q or 0.0) / band.q - 1),
        )
        if any(error > slack * most for error, most in zip(off, TOLERANCES, strict=True)):
            wrong.append(
                f"{band.type} at {band.frequency_hz:.1f} Hz off by {off[0]:.2g}, {off[1]:.2g} dB, {off[2]:.2g}"
            )
    return wrong + [f"made up: {one.type} at {one.frequency_hz:.1f} Hz" for one in left]


def least_stderr_db(track: Track, frequency: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """What Cramer and Rao leave of the level of the response, (bins,): no reading without bias is surer.

    By the rounding of the mix alone, white and as loud as its word length has it, with every setting unknown.
    """
    omega = 2 * np.pi * frequency / track.rate

    def both(settings: NDArray[np.float64]) -> NDArray[np.complex128]:
        shared = np.exp(settings[0] - 1j * omega * settings[1])
        values = iter(settings[3:])
        for band in track.bands:
            gain_db = band.gain_db + (next(values) if "pass" not in band.type else 0.0)
            at, q = band.frequency_hz * math.exp(next(values)), band.q * math.exp(next(values))
            shared = shared * response(TrueBand(band.type, at, gain_db, q), frequency, track.rate)
        pan = np.radians(track.pan_degrees) + settings[2]
        return track.polarity * 10 ** (track.gain_db / 20) * np.array([np.cos(pan), np.sin(pan)])[:, None] * shared

    count = 3 + sum(3 if "pass" not in band.type else 2 for band in track.bands)
    step = 1e-5
    slopes = np.array([(both(step * one) - both(-step * one)) / (2 * step) for one in np.eye(count)])
    rounding = 4.0 ** (1 - bits) / 12
    hz, density = scipy.signal.welch(track.stem, fs=track.rate, nperseg=2 * len(frequency))
    power = np.interp(frequency, hz, density) * track.rate / 2  # of a sample, in every bin
    weights = len(track.stem) * power / (rounding * len(frequency))
    information = np.real(np.einsum("icf,jcf,f->ij", slopes, slopes.conj(), weights))
    scale = 1 / np.sqrt(np.diag(information))
    covariance = np.linalg.inv(information * np.outer(scale, scale)) * np.outer(scale, scale)
    whole = both(np.zeros(count))
    level = np.sum(np.real(slopes * whole.conj()), axis=1) / np.sum(np.abs(whole) ** 2, axis=0)
    return 20 / math.log(10) * np.sqrt(np.maximum(np.einsum("if,ij,jf->f", level, covariance, level), 0.0))


@dataclass(frozen=True, slots=True)
class ResponseErrors:
    """Errors of the response read where the measured one stands 40 dB out of its noise.

    Attributes
    ----------
    greatest_db : of all errors
    stated : whether the whole response lies within 0.01 dB or in the 95 % band around the one read
        That of Scheffe: wide enough for all frequencies at once.
    possible : whether it lies within 0.01 dB or twice what Cramer and Rao leave
    least_db : the most that they leave anywhere, one standard deviation
    swallowed : share of the samples that are below one step of the word length in the weaker channel of the mix
        There rounding is no noise but silence, or steps that go with the sound, and takes what no bound counts.
    """

    greatest_db: float
    stated: bool
    possible: bool
    least_db: float
    swallowed: float


def response_errors(track: Track, found: Equalisation, fit: FilterFit, bits: int) -> ResponseErrors:
    """How far the response read is from the true one, and what could be known of it."""
    assert fit.variance is not None
    n_bins = fit.variance.shape[2]
    frequency = np.arange(1, n_bins - 1) * track.rate / (2 * (n_bins - 1))
    truth = np.full(len(frequency), 10 ** (track.gain_db / 20), complex)
    read_back = np.full(len(frequency), 10 ** (found.gain_db / 20), complex)
    for band in track.bands:
        truth *= response(band, frequency, track.rate)
    for band in found.bands:
        read_back *= scipy.signal.sosfreqz(sections(band, track.rate), frequency, fs=track.rate)[1]
    noise = np.sum(fit.variance[:, 0, 1:-1], axis=0)
    energetic = noise < 1e-4 * np.abs(truth) ** 2
    errors = np.abs(20 * np.log10(np.abs(read_back / truth)))[energetic]
    assert found.response is not None
    settings = 1 + sum(1 + (band.gain_db is not None) + (band.q is not None) for band in found.bands)
    wide = math.sqrt(float(scipy.stats.chi2.ppf(0.95, settings)))
    band = wide * np.interp(frequency[energetic], found.response.frequency_hz, found.response.stderr_db)
    least = least_stderr_db(track, frequency, bits)[energetic]
    return ResponseErrors(
        float(np.max(errors, initial=0.0)),
        bool(np.all(errors <= np.maximum(band, 0.01))),
        bool(np.all(errors <= np.maximum(2 * least, 0.01))),
        float(np.max(least, initial=0.0)),
        float(np.max(np.mean(np.abs(mixed(track)) < 2.0 ** (1 - bits), axis=1))),
    )


def row_random(n_tracks: int, seed: int, words: Sequence[int]) -> dict:
    """Random chains behind real stems."""
    recordings, out = stems(), {}
    for bits in words:
        slack = SLACK[bits]
        good, errors, seconds, wrong = 0, [], [], {}
        plain, settling, explained = [], [], []
        for n in range(n_tracks):
            track = random_track(np.random.default_rng([seed, n]), recordings)
            mixture = rounded(mixed(track), bits)
            fit, power = measure(mixture, track.stem, track.rate)
            found, took = read(fit, power, track.rate)
            plain.append(response_errors(track, found, fit, bits).greatest_db)
            settings, more = settled(mixture, bits, track, fit, found)
            settling.append(more)
            if settings is not None:
                found = settings.equalisers["stem"]
                explained.append(settings.explained)
            bad = faults(track, found, slack=slack)
            good += not bad
            errors.append(response_errors(track, found, fit, bits))
            seconds.append(took)
            if bad:
                wrong[str(n)] = bad
        out[f"{bits} bit"] = {
            "tracks": n_tracks,
            "every band found": good,
            "greatest response error, median dB": round(float(np.median([one.greatest_db for one in errors])), 6),
            "greatest response error, worst dB": round(max(one.greatest_db for one in errors), 6),
            "tracks within 0.01 dB": sum(one.greatest_db <= 0.01 for one in errors),
            "tracks within 0.01 dB or the stated 95 % band": sum(one.stated for one in errors),
            "tracks within 0.01 dB or twice the bound of Cramer and Rao": sum(one.possible for one in errors),
            "tracks whose bound is above 0.01 dB somewhere": sum(one.least_db > 0.01 for one in errors),
            "others: greatest error and bound, dB, and share of samples below one step": {
                str(n): [round(one.greatest_db, 4), round(one.least_db, 4), round(one.swallowed, 2)]
                for n, one in enumerate(errors)
                if one.greatest_db > 0.01
            },
            "by least squares alone: median, worst dB, and tracks within 0.01 dB": [
                round(float(np.median(plain)), 6),
                round(max(plain), 6),
                sum(one <= 0.01 for one in plain),
            ],
            "tracks settled by the intervals of their samples": len(explained),
            "samples that their settings give as they are, median and least share": [
                round(float(np.median(explained)), 6),
                round(min(explained), 6),
            ]
            if explained
            else None,
            "CPU seconds of that, median and worst": [
                round(float(np.median(settling)), 3),
                round(max(settling), 3),
            ],
            "CPU seconds, median": round(float(np.median(seconds)), 3),
            "CPU seconds, worst": round(float(np.max(seconds)), 3),
            "wrong": wrong,
        }
    return out


# The addresses of plugins, as LV2 hosts know them.
CALF = "http://calf.sourceforge.net/plugins/"
LSP = "http://lsp-plug.in/plugins/lv2/para_equalizer_x16_mono"
# What is asked for, in each program's words, and the convention behind it.
OTHERS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("sox", ("equalizer", "1000", "1.5q", "-6"), "peak, Q as the cookbook's"),
    (
        "sox",
        ("equalizer", "1000", "1o", "6"),
        "width in octaves between half-gain points: Q = 1 / (2 sinh(ln 2 / 2 * w0 / sin w0))",
    ),
    ("sox", ("bass", "6", "120", "0.7q"), "low shelf, Q"),
    (
        "sox",
        ("treble", "-4", "5000", "0.5s"),
        "high shelf, slope S: 1/Q^2 = (A + 1/A)(1/S - 1) + 2; 0.5 is exactly the first order",
    ),
    ("sox", ("highpass", "-2", "80"), "order 2, Q 0.7071"),
    ("sox", ("highpass", "-1", "80"), "order 1"),
    ("sox", ("lowpass", "-2", "6000", "0.6q"), "order 2, Q"),
    ("ffmpeg", ("equalizer=f=1000:t=q:w=1.5:g=-6",), "peak, Q as the cookbook's"),
    ("ffmpeg", ("equalizer=f=3000:t=h:w=1000:g=5",), "width in Hz: Q = f / width"),
    ("ffmpeg", ("bass=g=6:f=120:t=q:w=0.7",), "low shelf: the cookbook's Q is sqrt 2 times the width asked for"),
    ("ffmpeg", ("treble=g=-4:f=5000:t=s:w=0.5",), "high shelf, slope S as above, and Q times sqrt 2"),
    ("ffmpeg", ("highpass=f=80:p=1",), "order 1"),
    ("ffmpeg", ("highpass=f=80",), "order 2, Q 0.7071"),
    ("ffmpeg", ("lowpass=f=6000:t=q:w=0.6",), "order 2, Q"),
    ("ffmpeg", ("highpass=f=60,equalizer=f=400:t=q:w=1:g=-3,treble=g=4:f=8000:t=q:w=0.7",), "three in a row"),
    ("ffmpeg", ("anequalizer=c0 f=1000 w=500 g=6 t=0",), "Butterworth peak of order 4, no form of the cookbook"),
    ("juce", ("PeakFilter(cutoff_frequency_hz=1000, gain_db=-6, q=1.5)",), "peak, Q as the cookbook's"),
    ("juce", ("LowShelfFilter(cutoff_frequency_hz=120, gain_db=6, q=0.7)",), "low shelf, Q as the cookbook's"),
    ("juce", ("HighShelfFilter(cutoff_frequency_hz=5000, gain_db=-4, q=0.7)",), "high shelf, Q as the cookbook's"),
    ("juce", ("HighpassFilter(cutoff_frequency_hz=80)",), "order 1"),
    ("juce", ("LowpassFilter(cutoff_frequency_hz=6000)",), "order 1"),
    ("calf", (f"{CALF}Equalizer5Band", "p1_active=1|p1_level=2|p1_freq=1000|p1_q=1"), "peak, level linear, Q"),
    ("calf", (f"{CALF}Equalizer5Band", "ls_active=1|ls_level=0.5|ls_freq=120|ls_q=0.7"), "low shelf, Q"),
    ("calf", (f"{CALF}Equalizer5Band", "hs_active=1|hs_level=2|hs_freq=5000|hs_q=0.7"), "high shelf, Q"),
    (
        "calf",
        (f"{CALF}Equalizer8Band", "hp_active=1|hp_mode=0|hp_freq=80|hp_q=0.8"),
        "12 dB/octave, Q as the cookbook's",
    ),
    (
        "calf",
        (f"{CALF}Equalizer8Band", "hp_active=1|hp_mode=1|hp_freq=80|hp_q=0.8"),
        "24 dB/octave: the same second order twice over, no Butterworth",
    ),
    ("lsp", (LSP, "ft_0=1|fm_0=6|f_0=1000|g_0=2|q_0=1"), "bell in mode APO: peak, gain linear, Q"),
    ("lsp", (LSP, "ft_0=5|fm_0=6|f_0=120|g_0=0.5|q_0=0.7"), "low shelf in mode APO, Q"),
    ("lsp", (LSP, "ft_0=2|fm_0=6|f_0=80|q_0=0.8"), "high-pass in mode APO, order 2, Q"),
    ("lsp", (LSP, "ft_0=1|fm_0=0|f_0=1000|g_0=2|q_0=1"), "bell in mode RLC (bilinear), its own Q"),
    ("lsp", (LSP, "ft_0=3|fm_0=0|f_0=5000|g_0=2|q_0=0"), "high shelf in mode RLC (bilinear), its own Q"),
    ("lsp", (LSP, "ft_0=1|fm_0=1|f_0=9000|g_0=2|q_0=1"), "bell in mode RLC (matched Z): no bilinear transform"),
)


def heard_through(
    program: str, settings: tuple[str, ...], stem: NDArray[np.float64], rate: int, folder: str
) -> NDArray[np.float64]:
    """A stem (samples,) behind an equaliser; plugins move to their settings in a second of silence before it."""
    if program == "juce":
        import pedalboard  # pyright: ignore[reportMissingImports]

        (call,) = settings
        name, _, keywords = call.rstrip(")").partition("(")
        numbers = {key: float(value) for key, value in (one.split("=") for one in keywords.split(", "))}
        plugin = getattr(pedalboard, name)(**numbers)
        return np.asarray(plugin(stem.astype(np.float32), float(rate)), np.float64)
    source, target = Path(folder, "stem.wav"), Path(folder, "out.wav")
    lead = rate if program in ("calf", "lsp") else 0
    channels = 2 if program == "calf" else 1
    soundfile.write(source, np.repeat(np.pad(stem, (lead, 0))[:, None], channels, axis=1), rate, subtype="PCM_24")
    if program == "sox":
        command = ["sox", "-D", str(source), "-b", "32", "-e", "floating-point", str(target), *settings]
    else:
        chain = settings
        if program in ("calf", "lsp"):
            address, ports = settings
            escaped = address.replace(":", "\\\\:")
            chain = (f"lv2=p={escaped}:c={ports}",)
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-af", *chain, "-c:a", "pcm_f64le", str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return np.asarray(soundfile.read(target, always_2d=True)[0].T[0, lead:], np.float64)


def row_others() -> list[dict]:
    """Equalisers of other programs, with what is read beside what was asked for."""
    stem, rate = stems()[1]
    stem = rounded(0.5 * stem, 24)
    rows = []
    for program, settings, convention in OTHERS:
        with tempfile.TemporaryDirectory() as folder:
            heard = heard_through(program, settings, stem, rate, folder)[None]
        fit, power = measure(rounded(heard, 24), stem, rate)
        found, took = read(fit, power, rate)
        rows.append(
            {
                "program": program,
                "asked": " ".join(settings),
                "convention": convention,
                "kind": found.kind,
                "gain_db": round(found.gain_db, 4),
                "delay_samples": round(found.delay_samples, 4),
                "read": [
                    {
                        key: round(value, 4) if isinstance(value, float) else value
                        for key, value in asdict(band).items()
                        if "stderr" not in key and value is not None
                    }
                    for band in found.bands
                ],
                "max_deviation_db": round(found.max_deviation_db, 5),
                "null_db": round(fit.null_db, 1),
                "null of the bands read, dB": None
                if found.kind == "curve"
                else round(read_null_db(found, heard, stem, rate), 1),
                "CPU seconds": round(took, 2),
                "limits": list(found.limits),
            }
        )
    return rows


def read_null_db(found: Equalisation, heard: NDArray[np.float64], stem: NDArray[np.float64], rate: int) -> float:
    """What a chain set to the values read leaves of what was heard, over it; scipy's filters, not unsum's."""
    image = found.polarity * 10 ** (found.gain_db / 20) * delayed(stem, found.delay_samples)
    for band in found.bands:
        image = scipy.signal.sosfilt(sections(band, rate), image)
    return 10 * float(np.log10(np.sum((heard[0] - image) ** 2) / np.sum(heard**2)))


def sections(band: Band, rate: int) -> NDArray[np.float64]:
    """Second-order sections of a band: the cookbook's, and Butterworth's where the order is not 2."""
    if band.order == 2:
        assert band.q is not None
        top, bottom = cookbook(TrueBand(band.type, band.frequency_hz, band.gain_db or 0.0, band.q), rate)
        return np.concatenate([top, bottom])[None]
    if band.gain_db is None:
        return np.asarray(scipy.signal.butter(band.order, band.frequency_hz, band.type, fs=rate, output="sos"))
    amplitude = 10 ** (band.gain_db / 40)
    w = np.tan(np.pi * band.frequency_hz / rate)
    zero, pole = (w * amplitude, w / amplitude) if band.type == "lowshelf" else (w / amplitude, w * amplitude)
    scale = 1.0 if band.type == "lowshelf" else amplitude**2
    top, bottom = scipy.signal.bilinear([scale, scale * zero], [1.0, pole], fs=0.5)
    return np.array([[*top, 0.0, *bottom, 0.0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=("random", "others"), default=["random", "others"])
    parser.add_argument("--tracks", type=int, default=50)
    parser.add_argument("--bits", type=int, nargs="+", choices=SLACK, default=list(SLACK))
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    figures: dict = {}
    kept = HERE / "figures" / "eq.json"
    if kept.exists():
        figures = json.loads(kept.read_text(encoding="utf-8"))
    if "random" in options.rows:
        known = figures.get("random", {})
        measured = row_random(options.tracks, options.seed, options.bits)
        figures["random"] = {**(known if known.get("seed") == options.seed else {}), "seed": options.seed, **measured}
    if "others" in options.rows:
        figures["others"] = row_others()
    print(json.dumps({row: figures[row] for row in options.rows}, indent=1))
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
