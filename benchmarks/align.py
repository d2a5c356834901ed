"""What alignment must show: where a reference lies in an hour, whether it is there at all, and how fast that is known.

    python benchmarks/align.py                             every row
    python benchmarks/align.py --rows locate,absent        some of them
    python benchmarks/align.py --trials 8                  fewer trials a row
    python benchmarks/align.py --seed 79                   other songs, places and hours
    python benchmarks/align.py --rows locate --only 7,22   but these trials; nothing is kept
    python benchmarks/align.py --peers /venv/bin/python    peers too, with the python that has them installed
    python benchmarks/align.py --rows beside --peers ...   the same in five minutes, which all of them can take

An hour is music and speech: real excerpts at random pitches, random notes, loops with a tune over them. The songs that
are looked for are others. Peers are audalign, audio-offset-finder and the whole-file phase transform written below;
they get the same samples, and so many seconds for each. A place is right to 50 ms, or where the song is the same there
to better than -60 dB, as in a loop that does nothing but repeat. Times are CPU time of one process on one thread.
The figures are printed and kept in ``benchmarks/figures/align.json``.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.signal
import soundfile
import soxr
from numpy.typing import NDArray

from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.estimators.locate import Location, locate_references
from unsum.problem import ArraySource

HERE = Path(__file__).parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))
RATE = 16_000
HOUR = 3600

# Files that fill the hours, and songs that are looked for in them: no recording is in both.
FILLING = (
    "music/celtic.ogg",
    "music/desert.ogg",
    "music/upbeat.ogg",
    "music/break28.flac",
    "multitrack/sodium/*.flac",
    "multitrack/reggae_try/mix.flac",
    "multitrack/falcon69.stem.mp4",
    "multitrack/metal_internal_degeneration/*.flac",
    "pairs/reno_project-system/pcm8k.flac",
)
SONGS = (
    "music/hungarian_dance.ogg",
    "pairs/vibe_ace/vibe_ace.hq.ogg",
    "pairs/viper/viper_b.ogg",
    "multitrack/funk/clav.mp3",
    "multitrack/funk/leadguitar.mp3",
)
SPEECH = ("speech/*.ogg", "speech/*.flac")
ROOMS = ("ir/kitchen_true_stereo.flac", "ir/seminar_room_clap.flac", "ir/genesis6_live_room.flac", "ir/rir48000.flac")

Mono = NDArray[np.float32]


# Material -------------------------------------------------------------------------------------------


@cache
def recordings(patterns: tuple[str, ...]) -> tuple[Mono, ...]:
    """Files as mono at the rate of the benchmark, each at the same loudness."""
    found = []
    for pattern in patterns:
        for path in sorted(AUDIO.glob(pattern)):
            if path.suffix == ".mp4":
                continue  # not for libsndfile
            samples, rate = soundfile.read(path, always_2d=True, dtype="float32")
            mono = soxr.resample(samples.mean(axis=1), rate, RATE)
            found.append(level(mono))
    if not found:
        sys.exit(f"no sound in {AUDIO}; name a folder in UNSUM_AUDIO")
    return tuple(found)


def level(wave: NDArray) -> Mono:
    return (0.1 * wave / max(float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))), 1e-9)).astype(np.float32)


def notes(rng: np.random.Generator, seconds: float, *, every: float = 0.25) -> Mono:
    """Random harmonic notes and drum hits on a grid: no bar like another."""
    wave = np.zeros(round(seconds * RATE), np.float32)
    scale = 110 * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12, 15, 19, 24]) / 12 + rng.uniform(0, 1))
    for at in np.arange(0, seconds - 1.0, every):
        start = int(at * RATE)
        t = np.arange(int(rng.uniform(0.2, 0.9) * RATE)) / RATE
        pitch = rng.choice(scale)
        tone = sum(rng.uniform(0.2, 1) / n * np.sin(2 * np.pi * n * pitch * t + rng.uniform(0, 6)) for n in range(1, 7))
        wave[start : start + len(t)] += (tone * np.exp(-rng.uniform(2, 8) * t))[: len(wave) - start]
        if rng.random() < 0.5:
            hit = rng.standard_normal(RATE // 8) * np.exp(-np.arange(RATE // 8) / (0.02 * RATE))
            wave[start : start + len(hit)] += rng.uniform(0.3, 1.5) * hit[: len(wave) - start]
    return level(wave)


def loop(rng: np.random.Generator, seconds: float) -> Mono:
    """Tracker music: one bar again and again, sample for sample, and a quiet tune over it that never repeats."""
    bar = notes(rng, rng.choice([1.5, 2.0, 4.0]) + 1.0, every=0.125)
    bar = bar[: len(bar) - RATE]
    backing = np.tile(bar, 1 + round(seconds * RATE) // len(bar))[: round(seconds * RATE)]
    return level(backing + 0.5 * notes(rng, seconds))


def pitched(rng: np.random.Generator, wave: Mono) -> Mono:
    """Faster or slower by up to a third, from a random place on."""
    turned = np.roll(wave, int(rng.integers(len(wave))))
    return soxr.resample(turned, RATE, RATE * rng.uniform(0.75, 1.33), quality="LQ")


def filled(rng: np.random.Generator, seconds: float, part: Callable[[], Mono]) -> Mono:
    """Parts in a row that fade into one another."""
    out = np.zeros(round(seconds * RATE), np.float32)
    fade, at = RATE // 2, 0
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    while at < len(out):
        piece = part()
        piece[:fade] *= ramp
        piece[-fade:] *= ramp[::-1]
        out[at : at + len(piece)] += piece[: len(out) - at]
        at += len(piece) - fade
    return out


@lru_cache(maxsize=1)
def hour(seed: int, seconds: int = HOUR) -> Mono:
    """Music and, over most of it, speech."""
    rng = np.random.default_rng(seed)
    music, voices = recordings(FILLING), recordings(SPEECH)

    def some_music() -> Mono:
        kind = rng.random()
        if kind < 0.6:
            return pitched(rng, music[rng.integers(len(music))])
        return (notes if kind < 0.8 else loop)(rng, float(rng.uniform(15, 60)))

    def some_speech() -> Mono:
        if rng.random() < 0.2:
            return np.zeros(int(rng.uniform(5, 20) * RATE), np.float32)
        return pitched(rng, voices[rng.integers(len(voices))])

    return filled(rng, seconds, some_music) + filled(rng, seconds, some_speech)


def song(rng: np.random.Generator, number: int, seconds: float) -> tuple[str, Mono]:
    """A stretch of a song that is in no hour: real ones, random notes and loops in turn."""
    real = recordings(SONGS)
    kind = number % (len(real) + 3)
    if kind == len(real):
        return "notes", notes(rng, seconds)
    if kind > len(real):
        return "loop", loop(rng, seconds + 60)[: round(seconds * RATE)]
    whole = real[kind]
    start = int(rng.integers(len(whole) - round(seconds * RATE)))
    return Path(SONGS[kind]).stem, level(whole[start : start + round(seconds * RATE)])


def played(rng: np.random.Generator, wave: Mono, *, ppm: float, room: bool) -> Mono:
    """By another clock, in a room."""
    turned = soxr.resample(wave.astype(np.float64), RATE * (1 + ppm * 1e-6), RATE, quality="VHQ")
    if not room:
        return turned.astype(np.float32)
    path = AUDIO / ROOMS[rng.integers(len(ROOMS))]
    response, rate = soundfile.read(path, always_2d=True)
    response = soxr.resample(response[:, 0], rate, RATE)
    response = response[int(np.abs(response).argmax()) :]  # the direct sound comes at once
    return scipy.signal.fftconvolve(turned, response).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Case:
    """A song looked for in an hour; ``delay_seconds`` None where it is not there."""

    kind: str
    mixture: NDArray[np.int16]
    reference: NDArray[np.int16]
    delay_seconds: float | None


def integers(wave: NDArray) -> NDArray[np.int16]:
    return np.rint(8192 * np.clip(wave, -3.9, 3.9)).astype(np.int16)


def cases(
    trials: int,
    *,
    seconds: float = 20,
    level_db: float | None = -20,
    ppm: float = 80,
    room: bool = True,
    seed: int = 0,
    hours: int = 0,
    length: int = HOUR,
    only: Collection[int] | None = None,
) -> Iterator[Case]:
    """Songs at random places of hours, or of other lengths in seconds, so many dB below the rest; None: left out."""
    for number in range(trials):
        if only is not None and number not in only:
            continue
        rng = np.random.default_rng([seed, number])
        rest = hour(hours + number * 4 // trials, length)
        kind, clip = song(rng, number, seconds)
        delay = int(rng.integers(60 * RATE, len(rest) - 90 * RATE))
        mixture = rest
        if level_db is not None:
            heard = played(rng, clip, ppm=ppm if number % 2 else -ppm, room=room)
            where = slice(delay, delay + len(heard))
            loud = np.sqrt(np.mean(rest[where] ** 2) / np.mean(heard**2))
            mixture = rest.copy()
            mixture[where] += 10 ** (level_db / 20) * loud * heard
        yield Case(kind, integers(mixture), integers(clip), delay / RATE if level_db is not None else None)


# Finders: seconds of delay, or None where the song is said to be absent -------------------------------


def unsum_finds(case: Case) -> float | None:
    found = located(case)
    return found.delay_samples / RATE if found.present else None


def located(case: Case) -> Location:
    def source(name: str, samples: NDArray[np.int16]) -> ArraySource:
        return ArraySource(name, samples[None], RATE, ("FC",), 16)

    return locate_references(source("mixture", case.mixture), [source("song", case.reference)])["song"]


def phase_transform_finds(case: Case) -> float | None:
    """The highest peak of one whitened correlation of both files; it never says that there is none."""
    n_fft = fast_length(len(case.mixture) + len(case.reference))
    cross = rfft(case.mixture.astype(np.float32), n_fft) * np.conj(rfft(case.reference.astype(np.float32), n_fft))
    cross /= np.maximum(np.abs(cross), 1e-9)
    peak = int(np.abs(irfft(cross, n_fft)).argmax())
    return (peak if peak < len(case.mixture) else peak - n_fft) / RATE


# Run by the python that has the peers: two files in, one line of JSON out.
_PEERS = {
    "audio-offset-finder": """
import json, sys, time
from audio_offset_finder.audio_offset_finder import find_offset_between_files
started = time.process_time()
found = find_offset_between_files(sys.argv[1], sys.argv[2], trim=36000)
print(json.dumps({"delay": float(found["time_offset"]), "seconds": time.process_time() - started}))
""",
    "audalign": """
import json, sys, time
import audalign
started = time.process_time()
found = audalign.FingerprintRecognizer()
found.config.set_accuracy(3)
out = audalign.recognize(sys.argv[2], sys.argv[1], recognizer=found)
match = next(iter((out or {}).get("match_info", {}).values()), {"offset_seconds": [None]})
delay = match["offset_seconds"][0]
print(json.dumps({"delay": None if delay is None else abs(float(delay)), "seconds": time.process_time() - started}))
""",
}


def peer_finds(python: str, script: str, case: Case, *, limit_seconds: float) -> tuple[float | None, float]:
    """Its delay and its seconds; not a number where it did not answer in time."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("mixture.wav", "song.wav")]
        for path, samples in zip(paths, (case.mixture, case.reference), strict=True):
            soundfile.write(path, samples, RATE)
        command = [python, "-c", script, *paths]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            return math.nan, limit_seconds
    if run.returncode:
        last = run.stderr.strip().splitlines()
        sys.exit(f"{python} failed: {last[-1] if last else 'no message'}")
    told = json.loads(run.stdout.strip().splitlines()[-1])
    return told["delay"], told["seconds"]


# Rows -----------------------------------------------------------------------------------------------


def is_right(case: Case, delay: float | None) -> bool:
    """Whether the song is said to be absent where it is, or found to 50 ms, or where it sounds the very same."""
    if delay is None or case.delay_seconds is None:
        return delay is case.delay_seconds
    if math.isnan(delay):
        return False
    return abs(delay - case.delay_seconds) < 0.05 or same_there(case.reference, delay - case.delay_seconds)


def same_there(song: NDArray[np.int16], seconds: float) -> bool:
    """Whether a song that is moved by so much is itself to better than -60 dB, all of it but that much at one end."""
    by = abs(round(seconds * RATE))
    if 2 * by > len(song):
        return False
    late, early = song[by:].astype(np.float64), song[: len(song) - by].astype(np.float64)
    return bool(np.sum((late - early) ** 2) < 1e-6 * np.sum(late**2))


def score(
    found: list[float | None], right: list[bool], cases_told: list[tuple[str, float | None]], seconds: list[float]
) -> dict:
    """How many are right, how near, and at what cost."""
    errors = [
        1000 * abs(delay - truth)
        for delay, (_, truth), good in zip(found, cases_told, right, strict=True)
        if good and delay is not None and truth is not None
    ]
    return {
        "right": sum(right),
        "of": len(right),
        "no_answer_in_time": sum(delay is not None and math.isnan(delay) for delay in found),
        "median_error_ms": round(float(np.median(errors)), 2) if errors else None,
        "median_cpu_s": round(float(np.median(seconds)), 1),
        "most_cpu_s": round(max(seconds), 1),
        "wrong": sorted({kind for (kind, _), good in zip(cases_told, right, strict=True) if not good}),
    }


def finders(settings: argparse.Namespace) -> dict[str, Callable[[Case], tuple[float | None, float]]]:
    def timed(find: Callable[[Case], float | None]) -> Callable[[Case], tuple[float | None, float]]:
        def run(case: Case) -> tuple[float | None, float]:
            started = time.process_time()
            delay = find(case)
            return delay, time.process_time() - started

        return run

    chosen = {"unsum": timed(unsum_finds), "phase transform": timed(phase_transform_finds)}
    if settings.peers:
        for name, script in _PEERS.items():
            chosen[name] = lambda case, script=script: peer_finds(
                settings.peers, script, case, limit_seconds=settings.limit
            )
    return {name: find for name, find in chosen.items() if settings.finders is None or name in settings.finders}


def trials_of(settings: argparse.Namespace, default: int, *, seed: int = 0, **how: Any) -> dict:
    chosen = finders(settings)
    found: dict[str, list] = {name: [] for name in chosen}
    right: dict[str, list[bool]] = {name: [] for name in chosen}
    told: list[tuple[str, float | None]] = []
    how |= {"seed": seed + settings.seed, "hours": 4 * settings.seed, "only": settings.only}
    for case in cases(settings.trials or default, **how):
        told.append((case.kind, case.delay_seconds))
        for name, find in chosen.items():
            found[name].append(find(case))
            right[name].append(is_right(case, found[name][-1][0]))
    return {name: score([d for d, _ in rows], right[name], told, [s for _, s in rows]) for name, rows in found.items()}


def locate(settings: argparse.Namespace) -> dict:
    """20 s of a song in an hour, 20 dB below the rest, in a room, another clock."""
    return trials_of(settings, 40)


def absent(settings: argparse.Namespace) -> dict:
    """20 s of a song that is in none of the hours."""
    return trials_of(settings, 60, level_db=None, seed=1)


def beside(settings: argparse.Namespace) -> dict:
    """20 s of a song in five minutes, as loud as the rest and 10 dB below it: what peers can take."""
    return {
        f"{name} at {level_db:g} dB": figures
        for level_db in (0.0, -10.0)
        for name, figures in trials_of(settings, 8, level_db=level_db, seed=2, length=300).items()
    }


ROWS: dict[str, Callable[[argparse.Namespace], dict]] = {"locate": locate, "absent": absent, "beside": beside}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help="comma between them")
    parser.add_argument("--trials", type=int, help="of each row; as many as asked for if not given")
    parser.add_argument("--seed", type=int, default=0, help="of songs, places and hours; kept under its number")
    parser.add_argument("--only", type=lambda text: {int(one) for one in text.split(",")}, help="these trials of a row")
    parser.add_argument("--peers", help="a python that has audalign and audio-offset-finder")
    parser.add_argument("--finders", type=lambda text: text.split(","), help="these of all that could be asked")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a peer gets for each case")
    settings = parser.parse_args()
    path = HERE / "figures" / "align.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for row in settings.rows.split(","):
        told = row if not settings.seed else f"{row}, seed {settings.seed}"
        # What was not asked this time keeps what it was found to be.
        figures[told] = figures.get(told, {}) | ROWS[row](settings)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{told} (peak memory so far {most} MB)")
        for name, values in figures[told].items():
            print(f"  {name}: {values}", flush=True)
        if settings.only is None:
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
