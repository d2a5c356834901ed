"""What the clock must show: drift, wow, jumps, speeds, real rooms, how true the stated intervals are.

    python benchmarks/align_clock.py                          every row
    python benchmarks/align_clock.py --rows drift,intervals   some of them
    python benchmarks/align_clock.py --trials 20              fewer trials a row

Truth comes from sums of cosines, which can be delayed, stretched and bent exactly. Times are CPU time of one process
on one thread. The figures are printed and kept in ``benchmarks/figures/align_clock.json`` after every trial: a row
that was stopped has those of the trials that it got through.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import scenes

from unsum.dsp.time_fit import Excerpt, Lags, fit_filters, needed_reference, side_by_side
from unsum.dsp.warp import interpolate
from unsum.estimators.clock import ClockEstimate, fit_clock, fit_warp
from unsum.estimators.locate import locate_reference
from unsum.model import TimeWarp
from unsum.problem import ArraySource

HERE = Path(__file__).parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))
RATE = 16_000
Audio = NDArray[np.float64]
Times = Callable[[Audio], Audio]
Figures = Iterator[dict]  # what is known of a row after one more trial


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference, what of it is in the mixture, and what lies on top."""

    reference: Audio
    heard: Audio
    other: Audio
    times: Times
    rate: int = RATE

    @property
    def mixture(self) -> Audio:
        return self.heard + self.other

    def under(self, other: Audio) -> "Pair":
        """The same with another sound on top: what is heard is costly to make."""
        return replace(self, other=other)

    def fitted(self, start: TimeWarp) -> ClockEstimate:
        return fit_warp(self.mixture, self.reference, sample_rate=self.rate, start=start)

    def clean_null_db(self, warp: TimeWarp, *, taps: int = 400) -> float:
        """How deep the heard part alone cancels under a warp, through the best filter."""
        lags = Lags(-taps // 4, taps)
        first, last = needed_reference(0, self.heard.shape[1], warp, lags, sample_rate=self.rate)
        span = np.zeros((1, last - first))
        a, b = max(first, 0), min(last, self.reference.shape[1])
        span[:, a - first : b - first] = self.reference[:, a:b]
        rows = side_by_side(
            [Excerpt(0, self.heard, first, span)],
            warp,
            lags,
            sample_rate=self.rate,
            excluded=[(0, self.rate), (self.heard.shape[1] - self.rate, self.heard.shape[1])],
            held_out_every=4,
        )
        fit = fit_filters(rows, lags)
        return 0.0 if fit is None else fit.held_out_db


def made(
    rng: np.random.Generator,
    times: Times,
    *,
    seconds: float,
    snr_db: float,
    taps: int = 256,
    like: str = "speech",
    rate: int = RATE,
) -> Pair:
    """A pair with known times, through an unknown filter, and another sound so many dB below what is heard."""
    cloud = scenes.TonalCloud(rng, rate=rate, partials=240)
    n = np.arange(round(seconds * rate))
    last = float(np.max(times(n[-1:] / rate)))
    reference = cloud(np.arange(round((last + 2) * rate)) / rate)[None]
    heard = cloud(times(n / rate))[None]
    if taps:
        decay = rng.standard_normal(taps) * np.exp(-np.arange(taps) / (taps / 8))
        decay[0] = 3.0
        heard = np.convolve(heard[0], decay / np.sqrt(np.sum(decay**2)))[None, : len(n)]
    return Pair(reference, heard, beside(rng, heard, snr_db, like, rate), times, rate)


def beside(rng: np.random.Generator, heard: Audio, snr_db: float, like: str, rate: int = RATE) -> Audio:
    if math.isinf(snr_db):
        return np.zeros_like(heard)
    kinds = {"speech": scenes.speech_like, "music": scenes.music_like, "noise": scenes.noise_bursts}
    other = kinds[like](rng, heard.shape[1], rate=rate, quantised=False)
    return other * math.sqrt(float(np.sum(heard**2) / np.sum(other**2))) * 10 ** (-snr_db / 20)


def even(delay: float, ppm: float) -> Times:
    return lambda t: (t - delay) * (1 + 1e-6 * ppm)


def rough(times: Times, seconds: float, ppm: float = 0.0, off: float = 0.002, rate: int = RATE) -> TimeWarp:
    """A start that is right in the middle but for ``off`` seconds."""
    middle = 0.5 * seconds
    there = float(times(np.array([middle]))[0])
    delay = middle - there / (1 + 1e-6 * ppm) + off
    return TimeWarp(delay if ppm else round(delay * rate) / rate, ppm)


# Rows -----------------------------------------------------------------------------------------------


def drift(settings: argparse.Namespace) -> Figures:
    """60 s, an unknown filter of 256 taps: null of what is heard and error of the clock, at 16 and at 44.1 kHz."""
    for rate in (RATE, 44_100):
        for ppm in (1.0, 10.0, 100.0, 500.0, 1000.0):
            rng = np.random.default_rng(int(ppm))
            clean = made(rng, even(-1.5, ppm), seconds=60, snr_db=math.inf, rate=rate)
            for snr in (math.inf, 0.0):
                pair = clean.under(beside(rng, clean.heard, snr, "noise", rate))
                found = pair.fitted(rough(pair.times, 60, rate=rate))
                yield {
                    f"{rate / 1000:g} kHz, {ppm:g} ppm, SNR {snr:g} dB": {
                        "kind": found.kind,
                        "error_ppm": found.warp.clock_ppm - ppm,
                        "stderr_ppm": found.clock_stderr_ppm,
                        "clean_null_db": pair.clean_null_db(found.warp),
                    }
                }


def wow(settings: argparse.Namespace) -> Figures:
    """60 s of 0.1 % wow at 0.5 Hz, flutter of 0.02 % at 6 Hz, both, on 50 ppm."""
    depths = {"wow": (1e-3, 0.0), "flutter": (0.0, 2e-4), "wow and flutter": (1e-3, 2e-4)}
    for name, (slow, fast) in depths.items():

        def times(t: Audio, slow: float = slow, fast: float = fast) -> Audio:
            swing = slow / np.pi * np.sin(np.pi * t) + fast / (12 * np.pi) * np.sin(12 * np.pi * t)
            return (t + 1.5) * (1 + 50e-6) + swing

        rng = np.random.default_rng(7)
        clean = made(rng, times, seconds=60, snr_db=math.inf)
        for snr in (math.inf, 0.0):
            pair = clean.under(beside(rng, clean.heard, snr, "noise"))
            begun = time.process_time()
            found = pair.fitted(rough(times, 60))
            inner = np.arange(2 * RATE, 58 * RATE) / RATE
            seconds = time.process_time() - begun
            # As far as the filter cannot make up for it: a delay behind the bend moves the bend along.
            off = found.warp.reference_time(inner) - times(inner)
            off = found.warp.reference_time(inner) - times(inner + float(np.mean(off)))
            yield {
                f"{name}, SNR {snr:g} dB": {
                    "kind": found.kind,
                    "warp_rms_samples": float(np.std(off)) * RATE,
                    "clean_null_db": pair.clean_null_db(found.warp),
                    "cpu_seconds": round(seconds, 1),
                }
            }


def jumps(settings: argparse.Namespace) -> Figures:
    """Three lost buffers of 441 samples behind an unknown filter; and files without any."""
    rng = np.random.default_rng(11)
    pair = made(rng, even(-1.5, 0.0), seconds=40, snr_db=math.inf)
    cuts, heard = [9 * RATE + 123, 21 * RATE + 77, 30 * RATE + 5], pair.heard
    kept = [heard[:, a:b] for a, b in zip([0, *(c + 441 for c in cuts)], [*cuts, heard.shape[1]], strict=True)]
    clean = np.concatenate(kept, axis=1)
    wanted = [cut - 441 * n for n, cut in enumerate(cuts)]
    for snr in (30.0, 10.0, 0.0):
        mixture = clean + beside(rng, clean, snr, "noise")
        found = fit_warp(mixture, pair.reference, sample_rate=RATE, start=TimeWarp(-1.5))
        yield {
            f"SNR {snr:g} dB": {
                "kind": found.kind,
                "errors_samples": [
                    round(j.at_seconds * RATE) - at for j, at in zip(found.warp.jumps, wanted, strict=False)
                ],
                "lengths": [round(j.skipped_seconds * RATE, 2) for j in found.warp.jumps],
            }
        }
    kinds = []
    for seed in range(settings.trials or 40):
        rng = np.random.default_rng(1000 + seed)
        pair = made(
            rng,
            even(-1.0, 0.0),
            seconds=20,
            snr_db=float(rng.uniform(-5, 20)),
            like=["speech", "music", "noise"][seed % 3],
        )
        kinds.append(pair.fitted(TimeWarp(-1.0)).kind)
        yield {"files without": {kind: kinds.count(kind) for kind in sorted(set(kinds))} | {"of": len(kinds)}}


def speeds(settings: argparse.Namespace) -> Figures:
    """A record at +3.3 %, a film at PAL speed, a cassette at -1.7 % with wow; 40 s, 20 dB above speech."""
    cases = {"record": (33_000.0, 0.0), "PAL film": (1e6 * (25 / 24 * 1.001 - 1), 0.0), "cassette": (-17_000.0, 1e-3)}
    for name, (ppm, swing) in cases.items():

        def times(t: Audio, ppm: float = ppm, swing: float = swing) -> Audio:
            return (t + 1.5) * (1 + 1e-6 * ppm) + swing / np.pi * np.sin(np.pi * t)

        pair = made(np.random.default_rng(3), times, seconds=40, snr_db=20)
        found = pair.fitted(rough(times, 40, ppm + 40))
        yield {
            name: {
                "kind": found.kind,
                "error_ppm": found.warp.clock_ppm - ppm,
                "stderr_ppm": found.clock_stderr_ppm,
                "clean_null_db": pair.clean_null_db(found.warp),
            }
        }


def real(settings: argparse.Namespace) -> Figures:
    """Played and recorded in real rooms: null before and after, beside the best clock of a scan by hand."""
    for path in sorted((AUDIO / "echo").glob("farend_singletalk_*_mic.flac")):
        sources = []
        for part in ("mic", "played"):
            samples, rate = soundfile.read(str(path).replace("_mic", f"_{part}"), dtype="int16", always_2d=True)
            sources.append(ArraySource(part, np.ascontiguousarray(samples.T), rate, ("FC",), 16))
        location = locate_reference(sources[0], sources[1])
        if not location.present:
            yield {path.stem: {"present": False}}
            continue
        found = fit_clock(sources[0], sources[1], location)
        heard, played = (one.array / 32768 for one in sources)
        pair = Pair(played.astype(float), heard.astype(float), np.zeros_like(heard), even(0, 0))
        middle = 0.5 * heard.shape[1] / RATE
        there = float(found.warp.reference_time(middle))
        scan = {
            ppm: pair.clean_null_db(TimeWarp(middle - there / (1 + 1e-6 * ppm), float(ppm)), taps=1024)
            for ppm in (*range(-300, 301, 50), round(found.clock_ppm, 1))
        }
        best = min(scan, key=lambda ppm: scan[ppm])
        figures = {
            "kind": found.kind,
            "clock_ppm": round(found.clock_ppm, 2),
            "stderr_ppm": round(found.clock_stderr_ppm, 2),
            "null_db_before": round(found.null_db_before, 2),
            "null_db": round(found.null_db, 2),
            "scan_best_ppm": best,
            "scan_best_db": round(scan[best], 2),
            "warp_db_same_filter": round(pair.clean_null_db(found.warp, taps=1024), 2),
        }
        yield {path.stem.split("_")[2]: figures}


def intervals(settings: argparse.Namespace) -> Figures:
    """How often the truth lies within 1.96 standard errors: delay and clock, scenes of every kind."""
    count = settings.trials or 100
    scores: dict[str, list[float]] = {"delay": [], "clock": []}
    kinds: list[str] = []
    for seed in range(count):
        rng = np.random.default_rng(5000 + seed)
        ppm = float(rng.choice([0.0, rng.uniform(1, 20), rng.uniform(20, 500)])) * float(rng.choice([-1, 1]))
        delay = -1.5 + float(rng.uniform(0, 100)) / RATE
        snr, like = float(rng.uniform(-5, 20)), str(rng.choice(["speech", "music", "noise"]))
        pair = made(rng, even(delay, ppm), seconds=20, snr_db=math.inf, taps=0)
        # An equaliser that delays nothing, so that the delay stays what it was.
        side = rng.standard_normal(12) * np.exp(-np.arange(12) / 3) * 0.2
        heard = np.convolve(pair.heard[0], np.concatenate([side[::-1], [1.0], side]), "same")[None]
        pair = Pair(pair.reference, heard, beside(rng, heard, snr, like), pair.times)
        found = pair.fitted(rough(pair.times, 20))
        kinds.append(found.kind)
        if math.isfinite(found.delay_stderr_samples):
            # A steady warp has no clock of its own: its delay is that of the middle.
            true = delay if found.kind != "steady" else 10.0 - (10.0 - delay) * (1 + 1e-6 * ppm)
            scores["delay"].append((found.delay_samples - true * RATE) / found.delay_stderr_samples)
        if math.isfinite(found.clock_stderr_ppm):
            scores["clock"].append((found.clock_ppm - ppm) / found.clock_stderr_ppm)
        yield _within(scores) | {"kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}


def _within(scores: dict[str, list[float]]) -> dict[str, dict]:
    """How often scores lie within 1.96, how wide they spread, and the worst."""
    return {
        name: {
            "within_95": round(float(np.mean(np.abs(z) < 1.96)), 3),
            "spread": round(1.4826 * float(np.median(np.abs(z))), 2),
            "worst": round(float(np.max(np.abs(z))), 1),
            "trials": len(z),
        }
        for name, z in scores.items()
        if z
    }


def warp_speed(settings: argparse.Namespace) -> Figures:
    """Windowed sinc on one core: million samples a second, and how many times faster than it is heard at 48 kHz."""
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((2, 1_000_000))
    positions = np.arange(900_000) * (1 + 37e-6) + 0.3
    interpolate(sound[:, :1000], positions[:500])
    begun = time.process_time()
    interpolate(sound, positions)
    seconds = time.process_time() - begun
    rate = 2 * len(positions) / seconds
    yield {"msamples_per_second": round(rate / 1e6, 2), "times_realtime": round(rate / 48_000)}


ROWS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "drift": drift,
    "wow": wow,
    "jumps": jumps,
    "speeds": speeds,
    "real": real,
    "intervals": intervals,
    "warp_speed": warp_speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help="comma between them")
    parser.add_argument("--trials", type=int, help="of each row that has trials; as many as asked for if not given")
    settings = parser.parse_args()
    path = HERE / "figures" / "align_clock.json"
    for row in settings.rows.split(","):
        begun, values = time.process_time(), {}
        for more in ROWS[row](settings):
            values |= more
            values["cpu_seconds_of_row"] = round(time.process_time() - begun, 1)
            figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            fresh = path.with_suffix(f".{os.getpid()}")  # whoever is reading gets the old ones or the new
            fresh.write_text(json.dumps(figures | {row: values}, indent=1) + "\n", encoding="utf-8")
            fresh.replace(path)
        print(row)
        for name, value in values.items():
            print(f"  {name}: {value}", flush=True)


if __name__ == "__main__":
    main()
