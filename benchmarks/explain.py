"""What `unsum explain` must show: mixes made here, whose settings are known, and real ones.

    python benchmarks/explain.py                          every row but the long one
    python benchmarks/explain.py --rows table1 coverage --trials 20

Rows: table1 and six are the two mixes of Barchiesi and Reiss, "Reverse engineering of a mix", JAES 58(7/8), 2010, on
real tracks, and figures draws the responses of the first; others has equalisers of sox and ffmpeg on the tracks of one
mix; real has songs with their own mixdown; reverb (long) sends 4 of 8 tracks through reverbs of some seconds; cost is
CPU time over tracks and length; coverage counts how often the 95 % intervals hold; genetic is a search for gains
beside least squares, as in Kolasinski, "A framework for automatic mixing using timbral similarity measures and genetic
optimization", AES 124, 2008.

Mixes are made with scipy and numpy, not with unsum. CPU seconds are those of this process, on one thread. The figures
are printed and kept in ``benchmarks/figures/explain.json``.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.signal
import soundfile
from eq import TrueBand, cookbook, random_bands, rounded
from eq import response as band_response
from numpy.typing import NDArray

from unsum.explanation import Explanation, explain_problem
from unsum.problem import ArraySource, AudioSource, Problem

HERE = Path(__file__).parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))
STEREO = ("FL", "FR")
Sound = NDArray[np.float64]
_GENERATIONS = 120
WORDS: dict[str, int | None] = {"float": None, "24 bit": 24, "16 bit": 16}


def read(path: str, *, seconds: float | None = None, channel: int | None = 0) -> tuple[Sound, int]:
    """One channel of a recording (samples,), or all of it (channels, samples); decoded by ffmpeg."""
    file, _, stream = str(AUDIO / path).partition("#a:")
    probe = ["ffprobe", "-v", "error", "-select_streams", f"a:{stream or 0}", "-of", "csv=p=0"]
    told = subprocess.run(
        [*probe, "-show_entries", "stream=sample_rate,channels", file], capture_output=True, text=True, check=True
    )
    rate, count = map(int, told.stdout.strip().split(",")[:2])
    cut = [] if seconds is None else ["-t", str(seconds)]
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", file, *cut, "-map", f"0:a:{stream or 0}", "-f", "f64le", "-"],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    samples = np.frombuffer(raw.stdout).reshape(-1, count).T.copy()
    return (samples if channel is None else samples[channel]), rate


def source(name: str, sound: Sound, rate: int, bits: int | None = None, *, lossless: bool = True) -> ArraySource:
    wide = np.atleast_2d(sound)
    if bits is not None:
        wide = np.rint(rounded(wide, bits) * 2.0 ** (bits - 1)).astype(np.int32)
    return ArraySource(name, wide, rate, ("FC",) if len(wide) == 1 else STEREO, bits, lossless)


def explained(
    mix: Sound, tracks: dict[str, Sound], rate: int, *, bits: int | None, lossless: bool = True, **how
) -> tuple[Explanation, float]:
    """The explanation of a mix of that word length, and the CPU seconds it took; tracks come as they are."""
    references: list[AudioSource] = [source(name, track, rate) for name, track in tracks.items()]
    start = time.process_time()
    found = explain_problem(Problem(source("mix", mix, rate, bits, lossless=lossless), tuple(references)), **how)
    return found, time.process_time() - start


def floor_db(mix: Sound, bits: int | None) -> float | None:
    """Rounding to that word length over the mix."""
    return None if bits is None else round(10 * math.log10(4.0 ** (1 - bits) / 12 / float(np.mean(mix**2))), 1)


def panned(sound: Sound, gain_db: float, degrees: float) -> Sound:
    angle = math.radians(degrees)
    return 10 ** (gain_db / 20) * np.array([[math.cos(angle)], [math.sin(angle)]]) * sound


def delayed(sound: Sound, samples: float) -> Sound:
    """Later by any part of a sample, by a windowed sinc of unit gain, as long as that of a plugin."""
    whole, lags = math.floor(samples), np.arange(-64, 65)
    away = lags - (samples - whole)
    taps = np.sinc(away) * np.i0(10 * np.sqrt(np.maximum(1 - (away / 65.0) ** 2, 0.0)))
    taps /= np.sum(taps)
    return late(scipy.signal.fftconvolve(sound, taps), whole)[64:][: len(sound)]


def filtered(sound: Sound, band: TrueBand) -> Sound:
    return np.asarray(scipy.signal.lfilter(*cookbook(band, 44100), sound))


def late(sound: Sound, samples: int) -> Sound:
    return np.pad(sound, (samples, 0))[: len(sound)]


FREE_HAND = scipy.signal.firwin2(51, [0, 100, 1000, 10000, 22050], [0.5, 0.5, 1.5, 0.7, 0.7], fs=44100)
LOW_PASS = TrueBand("lowpass", 1000.0, 0.0, math.sqrt(0.5))
TABLE1_SETS = {
    "funk, 30 s": [f"multitrack/funk/{n}.mp3" for n in ("drums", "leadguitar", "bassguitar", "clav")],
    "anchors, 11 s": [f"multitrack/anchors_song/{n}.flac" for n in ("drums", "other", "bass", "vox")],
}


def table1_mix(files: list[str]) -> tuple[Sound, dict[str, Sound]]:
    """The mix and its tracks: drums through a free-hand FIR, guitar through a low-pass, bass and percussion as such."""
    loaded = [read(file, seconds=30)[0] for file in files]
    length = min(map(len, loaded))
    drums, guitar, bass, percussion = (rounded(0.5 * one[:length], 16) for one in loaded)
    half = 10 ** (-6 / 20)
    mix = half * np.asarray(scipy.signal.lfilter(FREE_HAND, 1, drums)) + late(filtered(guitar, LOW_PASS), 30)
    mix += half * late(bass, 50) + percussion
    return mix, {"drums": drums, "guitar": guitar, "bass": bass, "percussion": percussion}


def table1_truth(hz: Sound) -> dict[str, NDArray[np.complex128]]:
    """Responses of the tracks, but for their delays."""
    half = 10 ** (-6 / 20)
    later = np.exp(-2j * np.pi * hz / 44100)
    return {
        "drums": np.asarray(half * np.polyval(np.asarray(FREE_HAND)[::-1], later), complex),
        "guitar": band_response(LOW_PASS, hz, 44100),
        "bass": np.full(len(hz), half, complex),
        "percussion": np.ones(len(hz), complex),
    }


def row_table1(_: argparse.Namespace) -> dict[str, Any]:
    """Drums -6 dB through a free-hand FIR, guitar 30 late through a low-pass, bass -6 dB and 50 late, percussion."""
    out: dict[str, Any] = {}
    for title, files in TABLE1_SETS.items():
        mix, tracks = table1_mix(files)
        hz = np.geomspace(30, 16000, 400)
        truth = table1_truth(hz)
        for words, bits in WORDS.items():
            found, seconds = explained(mix, tracks, 44100, bits=bits)
            entry: dict[str, Any] = {
                "null_db": round(found.analysis.null_db, 1),
                "rounding_db": floor_db(mix, bits),
                "CPU seconds": round(seconds, 1),
            }
            for name, track in found.tracks.items():
                if not track.present:
                    entry[name] = "not found"
                    continue
                assert track.eq is not None and track.mixer is not None
                entry[name] = {
                    "delay": round(track.delay_samples, 4),
                    "fader_db": round(track.fader_db or 0.0, 5),
                    "kind": track.eq.kind,
                    "bands": [f"{b.type} of order {b.order}, {b.frequency_hz:.2f} Hz" for b in track.eq.bands],
                    "response error dB": response_error_db(found, name, truth[name], hz),
                }
            out[f"{title}, {words}"] = entry
    return out


def response_error_db(found: Explanation, name: str, truth: NDArray[np.complex128], hz: Sound) -> dict[str, float]:
    """Error of the measured response: greatest where it is known to 0.1 dB, and how much of the range that is."""
    part, variance = found.analysis.model.contributions[name], found.analysis.responses[name].variance[0, 0]
    taps = part.filters[0, 0]
    at = np.arange(len(taps))
    measured = np.array([np.abs(np.sum(taps * np.exp(-2j * np.pi * f / 44100 * at))) for f in hz])
    spread = np.sqrt(np.interp(hz, np.linspace(0, 22050, len(variance)), variance))
    known = spread < 0.0115 * np.abs(truth)
    error = np.abs(20 * np.log10(measured / np.abs(truth)))
    return {
        "greatest where known": round(float(np.max(error[known], initial=0.0)), 5),
        "median": round(float(np.median(error)), 6),
        "known share": round(float(np.mean(known)), 3),
    }


def row_figures(_: argparse.Namespace) -> dict[str, Any]:
    """The paper's Figs 3 to 5 from our estimate: the responses of drums, guitar and bass at each word length."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    out: dict[str, Any] = {}
    mix, tracks = table1_mix(TABLE1_SETS["anchors, 11 s"])
    for words, bits in WORDS.items():
        found = explained(mix, tracks, 44100, bits=bits)[0]
        figure, axes = pyplot.subplots(3, 1, figsize=(8, 9), sharex=True, layout="constrained")
        for axis, name in zip(axes, ("drums", "guitar", "bass"), strict=True):
            part, variance = found.analysis.model.contributions[name], found.analysis.responses[name].variance[0, 0]
            hz = np.linspace(0, 22050, len(variance))
            size = np.abs(np.fft.rfft(part.filters[0, 0], 2 * (len(variance) - 1)))
            truth = 20 * np.log10(np.abs(table1_truth(hz[1:])[name]))
            stderr = np.sqrt(variance)
            level = 20 * np.log10(np.maximum(size, 1e-9))[1:]
            high, low = (20 * np.log10(np.maximum(size + side * 1.96 * stderr, 1e-9))[1:] for side in (1, -1))
            unknown = (stderr > 0.5 * size)[1:]
            axis.fill_between(hz[1:], low, high, color="tab:orange", alpha=0.35, lw=0, label="95 % interval")
            axis.plot(hz[1:], truth, color="black", lw=2.2, label="as it was made")
            axis.plot(hz[1:], np.where(unknown, np.nan, level), color="tab:blue", lw=1.0, label="estimate")
            bottom, top = float(np.min(truth[hz[1:] < 16000])) - 6, float(np.max(truth)) + 6
            axis.set_ylim(bottom, top)
            where = axis.get_xaxis_transform()
            axis.fill_between(hz[1:], 0, 0.04, where=unknown, transform=where, color="tab:red", lw=0, label="unknown")
            axis.set(title=f"{name}, mix in {words}", ylabel="dB", xscale="log", xlim=(hz[1], 22050))
            axis.grid(alpha=0.3)
            inside = np.mean((truth <= high + 1e-6) & (truth >= low - 1e-6))
            out.setdefault(words, {})[name] = {
                "truth within the 95 % interval, share of bins": round(float(inside), 3),
                "unknown, share of bins": round(float(np.mean(unknown)), 3),
            }
        axes[0].legend(loc="upper left", fontsize=8)
        axes[-1].set_xlabel("Hz")
        drawn = HERE / "figures" / f"responses_{words.replace(' ', '_')}.png"
        figure.savefig(drawn, dpi=80)
        pyplot.close(figure)
    return out


def row_six(options: argparse.Namespace) -> dict[str, Any]:
    """Six tracks in stereo: 2 to 4 bands each, pans, delays that are no whole samples."""
    rng = np.random.default_rng(options.seed)
    tracks, truth = {}, {}
    sounds = medley(6, 30.0)
    mix = np.zeros((2, len(sounds[0])))
    for n, sound in enumerate(sounds):
        name = f"track {n + 1}"
        tracks[name] = rounded(sound, 16)
        bands = random_bands(rng)
        while not 2 <= len(bands) <= 4:
            bands = random_bands(rng)
        setting = (float(rng.uniform(-9, -3)), float(rng.uniform(10, 80)), float(rng.uniform(0, 200)), bands)
        truth[name] = setting
        image = delayed(tracks[name], setting[2])
        for band in bands:
            image = filtered(image, band)
        mix += panned(image, *setting[:2])
    mix *= 0.9 / np.max(np.abs(mix))
    out: dict[str, Any] = {}
    for words, bits in WORDS.items():
        found, seconds = explained(mix, tracks, 44100, bits=bits)
        rounding = floor_db(mix, bits)
        pans = [abs(t.mixer.pan_degrees - truth[n][1]) for n, t in found.tracks.items() if t.mixer is not None]
        faults = {
            name: [f"{b.type} {b.frequency_hz:.1f}" for b in truth[name][3]]
            for name, track in found.tracks.items()
            if track.eq is None or not bands_agree(truth[name][3], track.eq.bands)
        }
        out[words] = {
            "absent": [name for name, track in found.tracks.items() if not track.present],
            "e": float(f"{10 ** (found.analysis.null_db / 20):.3g}"),
            "e of rounding": None if rounding is None else float(f"{10 ** (rounding / 20):.3g}"),
            "taps": max(part.n_taps for part in found.analysis.model.contributions.values()),
            "greatest pan error, degrees": round(max(pans), 5),
            "tracks with every band within 1 %, 0.1 dB": len(tracks) - len(faults),
            "others": faults,
            "CPU seconds": round(seconds, 1),
        }
    return out


def bands_agree(truth: tuple[TrueBand, ...], found: tuple[Any, ...]) -> bool:
    """Whether all bands were found, and none besides; shelves above 632 Hz are read as high ones."""
    if len(truth) != len(found):
        return False
    for wanted, band in zip(sorted(truth, key=lambda b: b.frequency_hz), found, strict=True):
        gain = wanted.gain_db
        if wanted.type.endswith("shelf") and wanted.type != band.type:
            gain = -gain
        elif wanted.type != band.type:
            return False
        if abs(band.frequency_hz / wanted.frequency_hz - 1) > 0.01 or abs((band.gain_db or 0.0) - gain) > 0.1:
            return False
    return True


OTHERS = {
    "drums": ("sox", ("equalizer", "1000", "1.5q", "-6", "bass", "4", "120", "0.7q")),
    "bass": ("sox", ("highpass", "-2", "50", "treble", "-4", "4000", "0.7q")),
    "vox": ("ffmpeg", ("highpass=f=90,equalizer=f=3000:t=q:w=1:g=5",)),
    "other": ("ffmpeg", ("lowpass=f=9000:t=q:w=0.7,equalizer=f=400:t=q:w=2:g=-5",)),
}


def row_others(_: argparse.Namespace) -> dict[str, Any]:
    """Every track behind an equaliser of another program; 24 bit."""
    tracks: dict[str, Sound] = {}
    images = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (program, settings) in OTHERS.items():
            sound, rate = read(f"multitrack/anchors_song/{name}.flac")
            tracks[name] = rounded(0.5 * sound, 24)
            one, two = Path(folder, "a.wav"), Path(folder, "b.wav")
            soundfile.write(one, tracks[name], rate, subtype="DOUBLE")
            command = ["sox", "-D", str(one), "-b", "64", "-e", "floating-point", str(two), *settings]
            if program == "ffmpeg":
                command = [
                    "ffmpeg",
                    "-v",
                    "error",
                    "-y",
                    "-i",
                    str(one),
                    "-af",
                    *settings,
                    "-c:a",
                    "pcm_f64le",
                    str(two),
                ]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
            images.append(np.asarray(soundfile.read(two)[0]))
    mix = 0.5 * sum(panned(image, -3.0, 20.0 + 15 * n) for n, image in enumerate(images))
    found, seconds = explained(np.asarray(mix), tracks, 44100, bits=24)
    entry: dict[str, Any] = {"null_db": round(found.analysis.null_db, 1), "CPU seconds": round(seconds, 1)}
    for name, track in found.tracks.items():
        assert track.eq is not None
        entry[name] = {
            "asked": " ".join((OTHERS[name][0], *OTHERS[name][1])),
            "read": [
                f"{b.type} of order {b.order}, {b.frequency_hz:.2f} Hz, {b.gain_db or 0:+.3f} dB, Q {b.q or 0:.3f}"
                for b in track.eq.bands
            ],
            "fader_db": round(track.fader_db or 0.0, 3),
        }
    return entry


def row_real(_: argparse.Namespace) -> dict[str, Any]:
    """Songs with their own mixdown, beside the plain sum of the tracks and one gain for each."""
    folder = AUDIO / "multitrack"
    reggae = sorted(str(p.relative_to(AUDIO)) for p in (folder / "reggae_try").glob("0*_dry.flac"))
    songs = {
        "reggae_try": ("multitrack/reggae_try/mix.flac", reggae),
        "falcon69 (AAC)": (
            "multitrack/falcon69.stem.mp4#a:0",
            [f"multitrack/falcon69.stem.mp4#a:{n}" for n in range(1, 5)],
        ),
    }
    out: dict[str, Any] = {}
    for title, (mix_file, files) in songs.items():
        mix, rate = read(mix_file, channel=None)
        tracks = {Path(file).name: read(file, channel=None)[0] for file in files}
        length = min(mix.shape[1], *(track.shape[1] for track in tracks.values()))
        mix = mix[:, :length]
        stack = np.array([track[:, :length].ravel() for track in tracks.values()])
        gains = np.linalg.lstsq(stack.T, mix.ravel(), rcond=None)[0]
        energy = float(np.sum(mix**2))
        found, seconds = explained(mix, tracks, rate, bits=None)
        entry: dict[str, Any] = {
            "null_db": round(found.analysis.null_db, 1),
            "plain sum": round(10 * math.log10(float(np.sum((mix.ravel() - stack.sum(axis=0)) ** 2)) / energy), 1),
            "a gain for each": round(10 * math.log10(float(np.sum((mix.ravel() - gains @ stack) ** 2)) / energy), 1),
            "CPU seconds": round(seconds, 1),
        }
        if title == "reggae_try":
            truth = json.loads((folder / "reggae_try" / "truth.json").read_text())["tracks"]
            wanted = {one["dry"]: 20 * math.log10(one["gain_left"]) for one in truth}
            known = {n: t.mixer for n, t in found.tracks.items() if t.mixer is not None and t.mixer.gain_db is not None}
            errors = {n: mixer.gain_db - wanted[n] for n, mixer in known.items() if mixer.gain_db is not None}
            entry["greatest gain error, dB"] = round(max(map(abs, errors.values())), 6)
            entry["tracks"] = f"{len(known)} of {len(files)}"
        out[title] = entry
    return out


def medley(count: int, seconds: float, rate: int = 44100) -> list[Sound]:
    """Tracks as long as asked for, each real recordings one after the other, in another order.

    Where one follows the other both are faded, as every editor does.
    """
    patterns = ("multitrack/funk/*.mp3", "multitrack/reggae_try/0*.flac", "multitrack/anchors_song/*.flac")
    files = sorted(str(p.relative_to(AUDIO)) for pattern in patterns for p in AUDIO.glob(pattern))
    heard = [sound for sound, own in map(read, files) if own == rate and np.std(sound) > 1e-3]
    pieces = [faded(0.3 * sound[np.argmax(np.abs(sound) > 1e-3) :], round(0.01 * rate)) for sound in heard]
    pieces = [pieces[k] for k in np.random.default_rng(0).permutation(len(pieces))]
    tracks = []
    for n in range(count):
        # Each begins with another one, so that none is heard in two tracks at once; beyond them, elsewhere in it.
        first = n % len(pieces)
        sound = np.roll(np.concatenate(pieces[first:] + pieces[:first]), -3 * rate * (n // len(pieces)))
        while len(sound) < seconds * rate:
            sound = np.concatenate([sound, np.roll(sound, 7 * rate)])
        tracks.append(rounded(sound[: round(seconds * rate)], 24))
    return tracks


def faded(sound: Sound, samples: int) -> Sound:
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(samples) + 0.5) / samples)
    return np.concatenate([sound[:samples] * ramp, sound[samples:-samples], sound[-samples:] * ramp[::-1]])


def reverberation(seconds: float, rt60_seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """A response (2, samples) as of a convolution reverb: 15 ms of silence, then noise that dies away evenly."""
    time_seconds = np.arange(round(seconds * rate)) / rate
    tail = rng.standard_normal((2, len(time_seconds))) * 10 ** (-3 * time_seconds / rt60_seconds)
    tail[:, time_seconds < 0.015] = 0.0
    return tail / np.sqrt(np.sum(tail**2) / 2)


def row_reverb(options: argparse.Namespace) -> dict[str, Any]:
    """Reverbs of some seconds on 4 of 8 tracks, 24 bit; by their making they lose 60 dB in two thirds of it."""
    out: dict[str, Any] = {}
    sounds = medley(8, options.reverb_seconds)
    for length in options.reverb_lengths:
        rt60 = 2 / 3 * length
        ir = reverberation(length, rt60, 44100, np.random.default_rng(round(1000 * length)))
        mix = np.zeros((2, len(sounds[0])))
        for n, sound in enumerate(sounds):
            mix += panned(sound, -6.0, 15.0 + 8 * n)
            if n < 4:
                mix += 0.3 * scipy.signal.oaconvolve(sound[None], ir, axes=1)[:, : mix.shape[1]]
        mix *= 0.7 / np.max(np.abs(mix))
        start = time.perf_counter()
        held = held_gigabytes(from_here=True)
        found, seconds = explained(mix, {f"track {n}": one for n, one in enumerate(sounds)}, 44100, bits=24)
        own = {n: t.room.mid_rt60_seconds for n, t in found.tracks.items() if t.room is not None}
        out[f"{length:g} s"] = {
            "seconds of audio": options.reverb_seconds,
            "null_db": round(found.analysis.null_db, 1),
            "rounding_db": floor_db(mix, 24),
            "taps": max(part.n_taps for part in found.analysis.model.contributions.values()),
            "RT60": round(rt60, 3),
            "RT60 found, mid": {name: None if one is None else round(one, 3) for name, one in own.items()},
            "shared": [list(one.names) for one in found.shared_reverbs],
            "CPU seconds": round(seconds, 1),
            "wall seconds": round(time.perf_counter() - start, 1),
            "memory, GB": round(held_gigabytes() - held, 2),
            "memory with the audio, which is all held in it, GB": round(held_gigabytes(), 2),
        }
        print(json.dumps({f"{length:g} s": out[f"{length:g} s"]}), flush=True)
    return out


def held_gigabytes(*, from_here: bool = False) -> float:
    """The most memory this process has held, counted from here on if asked for, where Linux lets it be."""
    if from_here:
        Path("/proc/self/clear_refs").write_text("5")
    (most,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(most.split()[1]) / 1e6


def row_cost(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds over the number of tracks, and over the length; filters of at most 256 taps."""
    out: dict[str, Any] = {"tracks, 20 s": {}, "seconds, 4 tracks": {}}
    for count in options.counts:
        out["tracks, 20 s"][str(count)] = _cost(medley(count, 20.0))
    for length in options.lengths:
        out["seconds, 4 tracks"][str(length)] = _cost(medley(4, float(length)))
    return out


def _cost(sounds: list[Sound]) -> dict[str, float]:
    mix = sum(panned(sound, -12.0, 10 + 70 * n / len(sounds)) for n, sound in enumerate(sounds))
    found, seconds = explained(
        np.asarray(mix) * 0.5, {str(n): sound for n, sound in enumerate(sounds)}, 44100, bits=24, max_taps=256
    )
    return {"CPU seconds": round(seconds, 2), "null_db": round(found.analysis.null_db, 1)}


def row_coverage(options: argparse.Namespace) -> dict[str, Any]:
    """How often the 95 % intervals hold the truth: noise, an instrument that no track explains, a mix from an MP3.

    A mix from an MP3 is as loud as its encoder leaves it (LAME lowers it by some tenths of a dB): that is part of the
    truth, and measured below 1 kHz with scipy.
    """
    files = [f"multitrack/anchors_song/{n}.flac" for n in ("drums", "bass", "vox")]
    tracks = {Path(file).stem: rounded(0.5 * read(file, seconds=8)[0], 24) for file in files}
    guest = read("multitrack/anchors_song/other.flac", seconds=8)[0]
    out: dict[str, Any] = {}
    kinds: tuple[tuple[str, float | None], ...] = (("white noise", -40.0), ("unknown instrument", -20.0), ("MP3", None))
    for kind, depth_db in kinds:
        inside: dict[str, list[bool]] = {}
        missed = 0
        depths, seconds = [], 0.0
        for trial in range(options.trials):
            rng = np.random.default_rng([options.seed, trial])
            truth = {}
            mix = np.zeros((2, len(guest)))
            for name, sound in tracks.items():
                band = TrueBand("peak", float(np.exp(rng.uniform(np.log(300), np.log(4000)))), 6.0, 1.0)
                truth[name] = (float(rng.uniform(-9, -3)), float(rng.uniform(20, 70)), float(rng.uniform(0, 50)), band)
                image = filtered(delayed(sound, truth[name][2]), band)
                mix += panned(image, *truth[name][:2])
            encoder_db = 0.0
            if depth_db is None:
                mix, encoder_db = through_mp3(mix, 44100, kilobits=(128, 192)[trial % 2])
            else:
                other = rng.standard_normal(mix.shape)
                if kind != "white noise":
                    other = panned(np.roll(guest, int(rng.integers(len(guest)))), 0.0, float(rng.uniform(0, 90)))
                mix += other * 10 ** (depth_db / 20) * np.sqrt(np.mean(mix**2) / np.mean(other**2))
            found, took = explained(mix, tracks, 44100, bits=None, lossless=depth_db is not None, max_taps=1024)
            depths.append(found.analysis.null_db)
            seconds += took
            for name, track in found.tracks.items():
                if track.eq is None or track.mixer is None or len(track.eq.bands) != 1:
                    missed += 1
                    continue
                fader, pan, delay, band = truth[name]
                (one,) = track.eq.bands
                checks = {
                    "fader": (track.eq.gain_db - fader - encoder_db, track.eq.gain_stderr_db),
                    "pan": ((track.mixer.pan_degrees or 0.0) - pan, track.mixer.pan_stderr_degrees),
                    "delay": (track.delay_samples - delay, track.eq.delay_stderr_samples),
                    "frequency": (one.frequency_hz - band.frequency_hz, one.frequency_stderr_hz),
                    "band gain": ((one.gain_db or 0.0) - band.gain_db, one.gain_stderr_db),
                    "Q": ((one.q or 0.0) - band.q, one.q_stderr),
                }
                for what, (error, stderr) in checks.items():
                    if stderr is not None:
                        inside.setdefault(what, []).append(abs(error) <= 1.96 * stderr)
        every = [held for one in inside.values() for held in one]
        out[kind if depth_db is None else f"{kind} at {depth_db:.0f} dB"] = {
            "trials": options.trials,
            "null_db, mean": round(float(np.mean(depths)), 1),
            "tracks whose one band was not found alone": missed,
            "within their 95 % interval": {what: round(float(np.mean(held)), 3) for what, held in inside.items()},
            "all together": round(float(np.mean(every)), 3),
            "values": len(every),
            "CPU seconds a trial": round(seconds / options.trials, 2),
        }
        print(json.dumps({kind: list(out.values())[-1]}), flush=True)
    return out


def through_mp3(mix: Sound, rate: int, *, kilobits: int) -> tuple[Sound, float]:
    """What LAME makes of a mix (channels, samples), and the level in dB at which it passes what lies below 1 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        wave, coded = Path(folder, "mix.wav"), Path(folder, "mix.mp3")
        soundfile.write(wave, mix.T, rate, subtype="FLOAT")
        encode = ["ffmpeg", "-v", "error", "-i", str(wave), "-c:a", "libmp3lame", "-b:a", f"{kilobits}k", str(coded)]
        subprocess.run(encode, check=True, stdin=subprocess.DEVNULL)
        decode = ["ffmpeg", "-v", "error", "-i", str(coded), "-f", "f64le", "-"]
        raw = subprocess.run(decode, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
    heard = np.frombuffer(raw).reshape(-1, len(mix)).T[:, : mix.shape[1]].copy()
    low_pass = scipy.signal.butter(4, 1000, fs=rate, output="sos")
    low, low_heard = (np.asarray(scipy.signal.sosfilt(low_pass, one)) for one in (mix, heard))
    return heard, 20 * math.log10(float(np.sum(low * low_heard) / np.sum(low**2)))


def row_genetic(options: argparse.Namespace) -> dict[str, Any]:
    """Gains by a genetic search beside least squares, on the same products of tracks."""
    out: dict[str, Any] = {}
    for count in (4, 8, 16):
        sounds = medley(count, 10.0)
        truth = 10 ** (np.random.default_rng(count).uniform(-12, 0, count) / 20)
        mix = truth @ np.array(sounds)
        start = time.process_time()
        found = genetic_gains(mix, np.array(sounds), np.random.default_rng(options.seed))
        searched = time.process_time() - start
        one, seconds = explained(
            mix[None], {str(n): sound for n, sound in enumerate(sounds)}, 44100, bits=None, max_taps=1
        )
        mixers = [track.mixer for track in one.tracks.values()]
        gains = [10 ** ((-200.0 if m is None or m.gain_db is None else m.gain_db) / 20) for m in mixers]
        out[f"{count} tracks"] = {
            "genetic: greatest error, dB": round(float(np.max(np.abs(20 * np.log10(found / truth)))), 3),
            "genetic: CPU seconds": round(searched, 1),
            "generations": _GENERATIONS,
            "explain: greatest error, dB": float(f"{np.max(np.abs(20 * np.log10(np.array(gains) / truth))):.2g}"),
            "explain: CPU seconds": round(seconds, 1),
        }
    return out


def genetic_gains(mix: Sound, tracks: Sound, rng: np.random.Generator) -> Sound:
    """Tournaments, blends of two parents, mutations that shrink; every candidate is mixed and compared in full."""
    population = rng.uniform(0, 1, (60, len(tracks)))
    spread = 0.2

    def left(gains: Sound) -> Sound:
        return np.array([float(np.mean((mix - one @ tracks) ** 2)) for one in gains])

    fitness = left(population)
    for _ in range(_GENERATIONS):
        first, second = (
            np.array([min(rng.integers(60, size=3), key=lambda k: fitness[k]) for _ in range(60)]) for _ in (0, 1)
        )
        share = rng.uniform(-0.25, 1.25, population.shape)
        children = share * population[first] + (1 - share) * population[second]
        children += spread * rng.standard_normal(children.shape) * (rng.random(children.shape) < 0.2)
        children = np.clip(children, 1e-3, 2.0)
        both = np.concatenate([population, children])
        fitness = np.concatenate([fitness, left(children)])
        best = np.argsort(fitness)[:60]
        population, fitness, spread = both[best], fitness[best], spread * 0.97
    return population[0]


ROWS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "table1": row_table1,
    "figures": row_figures,
    "six": row_six,
    "others": row_others,
    "real": row_real,
    "reverb": row_reverb,
    "cost": row_cost,
    "coverage": row_coverage,
    "genetic": row_genetic,
}

BY_PARTS = ("reverb", "coverage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[row for row in ROWS if row != "reverb"])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 20, 40, 80, 160])
    parser.add_argument("--reverb-lengths", type=float, nargs="+", default=[1.0, 3.0, 6.0])
    parser.add_argument("--reverb-seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    if not AUDIO.is_dir():
        sys.exit(f"no recordings at {AUDIO}; name a folder in UNSUM_AUDIO")
    kept = HERE / "figures" / "explain.json"
    for row in options.rows:
        measured = ROWS[row](options)
        print(json.dumps({row: measured}, indent=1), flush=True)
        figures: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        # Lengths, counts of tracks and kinds of noise take their time: those not asked for now keep their figures.
        figures[row] = {**figures.get(row, {}), **measured} if row in BY_PARTS else measured
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
