"""What is left of real recordings, after unsum and after its peers."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import peers

from remove_rows.figures import Table, keep, kept_figures, names_only
from remove_rows.measuring import AUDIO, Audio, decibels, decode, si_sdr, unsum
from remove_rows.recordings import Pair, from_tracks, in_rooms, same_master

METHODS = ("nothing", "plain", "aligned", "anlms", "unsum")
SAME_DB = 0.05  # differences that count as none
TRIAL_SECONDS = 6.0  # in which the settings of the adaptive filter are chosen


def measure_pair(pair: Pair, work: Path, ffmpeg: str, known: dict) -> dict:
    """Null depth and SI-SDR of every method on one pair; the peers' from ``known`` where it has them."""
    mixture, rate = decode(pair.mixture, ffmpeg=ffmpeg)
    references = [decode(one, ffmpeg=ffmpeg, rate=rate)[0] for one in pair.references]
    sounds = slice(*(round(min(at * rate, mixture.shape[1])) for at in pair.sounds))

    def score(left: Audio, part: slice) -> dict[str, float]:
        told = {"null_db": decibels(left, mixture[:, part])}
        if pair.unknown is not None:
            told["si_sdr_db"] = si_sdr(left, pair.unknown[:, part])
        return told

    def measure_peers() -> dict:
        trial = slice(sounds.start, min(sounds.stop, sounds.start + round(TRIAL_SECONDS * rate)))

        def quality(left: Audio) -> float:
            told = score(left, trial)
            return told.get("si_sdr_db", -told["null_db"])

        figures: dict = {"nothing": score(mixture[:, sounds], sounds)}
        figures["plain"] = score(peers.plain_inversion(mixture, references)[:, sounds], sounds)
        aligned, delays = peers.align_and_scale(mixture, references)
        figures["aligned"] = score(aligned[:, sounds], sounds) | {"delays": delays}
        adapted = peers.best_adaptive_filter(
            mixture, references, delays, ffmpeg=ffmpeg, sample_rate=rate, trial=trial, score=quality
        )
        settings = {"order": adapted.order, "mu": adapted.mu, "aligned": adapted.aligned}
        figures["anlms"] = score(adapted.residual[:, sounds], sounds) | settings
        return figures

    key = hashlib.blake2b(Path(peers.__file__).read_bytes(), digest_size=16)
    key.update(repr((TRIAL_SECONDS, sounds)).encode())
    for audio in (mixture, *references, *([] if pair.unknown is None else [pair.unknown])):
        key.update(np.ascontiguousarray(audio).tobytes())
    figures = known.get(key.hexdigest()) or measure_peers()
    figures["peers"] = key.hexdigest()

    output = work / "left.wav"
    done = unsum("remove", pair.mixture, *pair.references, "-o", output, "-y", "--json", "--no-sidecar")
    if done.code not in (0, 4):
        sys.exit(f"{pair.name}: unsum failed ({done.code}): {done.err}")
    left = decode(output, ffmpeg=ffmpeg)[0] if done.code == 0 else mixture
    told = json.loads(done.out) if done.code == 0 else {}
    kept = [step["rung"] for step in told.get("steps", []) if step["kept"]]
    present = [one for one in told.get("references", []) if one["present"]]
    figures["unsum"] = score(peers.shifted(left, 0, mixture.shape[1])[:, sounds], sounds) | {
        "code": done.code,
        "rung": kept[-1] if kept else "refused",
        "absent": [one["reference"] for one in told.get("references", []) if not one["present"]],
        "delays": [round(one["delay_seconds"] * rate) for one in present],
        "taps": max([one["taps"] for one in present], default=0),
        "length_differs_samples": left.shape[1] - mixture.shape[1],
        "seconds": mixture.shape[1] / rate,
        "cpu": done.cpu,
        "error": names_only(done.err.strip(), work, AUDIO),
    }
    output.unlink(missing_ok=True)
    return figures


def pair_line(name: str, told: dict) -> str:
    ours = told["unsum"]
    nulls = "".join(f"{told[method]['null_db']:8.1f}" for method in METHODS[1:])
    near = "".join(f"{told[method]['si_sdr_db']:7.1f}" for method in METHODS) if "si_sdr_db" in ours else ""
    remarks = [f"{ours['rung']} {ours['taps']}, {ours['cpu'] / ours['seconds']:.2f} CPU s a second"]
    remarks += [f"not found: {', '.join(ours['absent'])}"] if ours["absent"] else []
    remarks += [f"{ours['length_differs_samples']} samples more"] if ours["length_differs_samples"] else []
    remarks += [f"WORSE than {method}" for method in ahead(told)]
    return f"{name:38}{nulls}  {near:35}  {'; '.join(remarks)}"


def ahead(told: dict) -> list[str]:
    """The methods that did better: came nearer to the unknown where it is known, left less where it is not."""
    figure, sign = ("si_sdr_db", 1) if "si_sdr_db" in told["unsum"] else ("null_db", -1)
    reached = {method: sign * told[method][figure] for method in METHODS}
    return [method for method in METHODS[:-1] if reached["unsum"] < reached[method] - SAME_DB]


def pairs(table: Table, work: Path, ffmpeg: str, only: str) -> dict:
    """Every pair through every method; those that are not asked for stay as they were."""
    figures = kept_figures("pairs")
    # What the peers do changes only with them and with the files.
    known = {one["peers"]: {method: one[method] for method in METHODS[:-1]} for one in figures.values()}
    table(
        f"{'null depth, dB':38}{'plain':>8}{'aligned':>8}{'anlms':>8}{'unsum':>8}   SI-SDR, dB: nothing, the same four"
    )
    names = []
    for pair in (*same_master(work, ffmpeg), *from_tracks(work, ffmpeg), *in_rooms(work, ffmpeg)):
        names.append(pair.name)
        if only in pair.name:
            figures[pair.name] = measure_pair(pair, work, ffmpeg, known)
            keep("pairs", figures | {"table": []})
        if pair.name in figures:
            table(pair_line(pair.name, figures[pair.name]))
    figures = {name: figures[name] for name in names if name in figures}
    behind = [name for name, told in figures.items() if {"nothing", "plain"} & set(ahead(told))]
    table(f"worse than plain subtraction, or than nothing, on {len(behind)} of {len(figures)} pairs (asked 0)")
    return figures
