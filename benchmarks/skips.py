"""What a player that skips costs: songs cut at random places, under speech and other music.

    python benchmarks/skips.py                 every row
    python benchmarks/skips.py --rows room     one of them
    python benchmarks/skips.py --trials 6      fewer trials a row

Songs of 30 s, loops and real ones, skip ahead, skip back, lose buffers or pause, one to three times, at random places;
over them lie speech and other songs, as loud as they are. "sum": sample for sample, so that nothing need be left;
"room": through a measured room response, 16 bit; "none": in such rooms, but without a skip, so that every jump that is
told is invented. Told are how deep the song is taken down where it sounds, what is
added where it does not, and CPU seconds. The figures are kept in ``benchmarks/figures/skips.json``.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from align import RATE, hour, integers, played, song
from numpy.typing import NDArray

from unsum.engine import subtract
from unsum.ladder import analyse
from unsum.problem import ArraySource, Problem

FIGURES = Path(__file__).parent / "figures" / "skips.json"
SECONDS, MARGIN = 30.0, 4.0
KINDS = ("ahead", "back", "lost", "pause")


@dataclass(frozen=True, slots=True)
class Case:
    """A mixture, the song in it, and both parts of the mixture."""

    kind: str
    cuts: tuple[str, ...]
    reference: NDArray[np.int16]
    heard: NDArray[np.int16]
    rest: NDArray[np.int16]


def skipping(rng: np.random.Generator, wave: NDArray) -> tuple[tuple[str, ...], NDArray]:
    """A song as a player that skips plays it, and how it does."""
    times = np.sort(rng.uniform(4.0, 26.0, int(rng.integers(1, 4))))
    parts, told, place, clock = [], [], 0, 0.0
    for at in times:
        if at - clock < 4.0:
            continue  # shorter passages are another question
        stop = place + round((at - clock) * RATE)
        parts.append(wave[place:stop])
        kind = str(rng.choice(KINDS))
        moved = {
            "ahead": rng.uniform(0.1, 4),
            "back": -rng.uniform(0.1, 4),
            "lost": rng.uniform(0.01, 0.1),
            "pause": 0.0,
        }
        place = int(np.clip(stop + round(moved[kind] * RATE), 0, len(wave) - RATE))
        pause = round(rng.uniform(1, 4) * RATE) if kind == "pause" else 0
        parts.append(np.zeros(pause, wave.dtype))
        told.append(f"{kind} {((place - stop) or pause) / RATE:.3f} s at {at:.1f} s")
        clock = at
    return tuple(told), np.concatenate([*parts, wave[place:]])


def case(number: int, *, room: bool, skips: bool = True, seed: int = 5) -> Case:
    rng = np.random.default_rng([seed, number])
    kind, wave = song(rng, number, SECONDS)
    told, heard = skipping(rng, integers(wave)) if skips else ((), integers(wave))
    if room:
        through = played(rng, (heard / 8192).astype(np.float32), ppm=0.0, room=True)
        heard = integers(through * np.sqrt(np.mean(wave**2.0) / np.mean(through**2)))
    margin = round(MARGIN * RATE)
    heard = np.concatenate([np.zeros(int(rng.integers(margin)), np.int16), heard, np.zeros(margin, np.int16)])
    other = hour(number // 6 + 40, 120)
    at = int(rng.integers(len(other) - len(heard)))
    rest = other[at : at + len(heard)]
    rest = integers(rest * np.sqrt(np.mean(wave**2.0) / np.mean(rest**2.0)))
    return Case(kind, told, integers(wave), heard, rest)


def source(name: str, samples: NDArray) -> ArraySource:
    return ArraySource(name, samples.astype(np.int32)[None], RATE, ("FC",), 16)


def tried(one: Case) -> dict:
    mixture = one.heard.astype(np.int32) + one.rest
    problem = Problem(source("mixture", mixture), (source("song", one.reference),))
    start = time.process_time()
    analysis = analyse(problem)
    seconds = time.process_time() - start
    left = np.concatenate([block.residual for block in subtract(problem, analysis.model)], axis=1)[0]
    error = (left - one.rest).astype(float)
    sounds = np.convolve(np.abs(one.heard) > 0, np.ones(RATE // 4), "same") > 0.5
    depth = 10 * np.log10(max(np.mean(error[sounds] ** 2), 1e-9) / np.mean(one.heard[sounds].astype(float) ** 2))
    added = error[~sounds]
    ghost = 10 * np.log10(max(np.mean(added**2), 1e-9) / np.mean(one.heard[sounds].astype(float) ** 2))
    return {
        "song": one.kind,
        "cuts": list(one.cuts),
        "found": bool(analysis.model.present),
        "jumps": sum(len(part.warp.jumps) for part in analysis.model.contributions.values()),
        "depth_db": round(float(depth), 1),
        "added_db": round(float(ghost), 1),
        "cpu_s": round(seconds, 1),
    }


def row(trials: int, *, room: bool, skips: bool = True) -> dict:
    rows = []
    for number in range(trials):
        rows.append(tried(case(number, room=room, skips=skips)))
        print(json.dumps(rows[-1]), flush=True)
    depths = np.array([one["depth_db"] for one in rows])
    limit = -15 if room else -100  # in these rooms a song that does not skip comes to -16 to -23
    return {
        "trials": trials,
        "well": int(np.sum(depths < limit)),
        "well_means_db": limit,
        "median_depth_db": float(np.median(depths)),
        "jumps_told": sum(one["jumps"] for one in rows),
        "not_found": sum(not one["found"] for one in rows),
        "worse_than_before": sum(one["depth_db"] > 0 or one["added_db"] > -30 for one in rows),
        "cpu_s": float(np.median([one["cpu_s"] for one in rows])),
        "each": rows,
    }


ROWS = {
    "sum": lambda trials: row(trials, room=False),
    "room": lambda trials: row(trials, room=True),
    "none": lambda trials: row(trials, room=True, skips=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma between them")
    parser.add_argument("--trials", type=int, default=24)
    settings = parser.parse_args()
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in settings.rows.split(","):
        figures[name] = ROWS[name](settings.trials)
        print(json.dumps({k: v for k, v in figures[name].items() if k != "each"}), flush=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
