"""An hour of stereo, by one clock and by two: time, memory, and where the time goes."""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import scenes  # pyright: ignore[reportMissingImports]
import scipy.signal
import soundfile
import soxr

from remove_rows.figures import Table
from remove_rows.measuring import HERE, run, unsum
from unsum import api
from unsum.media.source import open_source

DRIFT_PPM = 80.0


def write_hour(work: Path, minutes: float) -> tuple[Path, Path]:
    """A song, and a recording of it through a room of 2048 taps under speech; 16 bit, stereo, 48 kHz."""
    rate, n_taps, delay = 48000, 2048, 12345
    song_path, mixture_path = work / f"song{minutes:g}.flac", work / f"party{minutes:g}.flac"
    if mixture_path.exists():
        return song_path, mixture_path
    partial = mixture_path.with_suffix(".partial")
    rng = np.random.default_rng(6)
    room = rng.standard_normal((2, 2, n_taps)) * 10 ** (-3 * np.arange(n_taps) / n_taps) * 0.03
    room[[0, 1], [0, 1], 30] += 0.5
    tail = np.zeros((2, delay + n_taps - 1))
    with (
        soundfile.SoundFile(song_path, "w", rate, 2, subtype="PCM_16") as song_file,
        soundfile.SoundFile(partial, "w", rate, 2, subtype="PCM_16", format="FLAC") as mixture_file,
    ):
        left = round(minutes * 60 * rate)
        while left:
            length = min(left, 20 * rate)
            left -= length
            # Four bars share no chord: what plays now was not heard before.
            song = np.concatenate(
                [scenes.music_like(rng, part, channels=2, rate=rate, peak=9000)
                 for part in np.diff(np.linspace(0, length, 5).astype(int)).tolist()], axis=1
            )  # fmt: skip
            talk = scenes.speech_like(rng, length, channels=2, rate=rate, peak=9000, quantised=False)
            image = np.zeros((2, length + delay + n_taps - 1))
            for c in range(2):
                image[c, delay:] = sum(scipy.signal.oaconvolve(song[d], room[c, d]) for d in range(2))
            image[:, : tail.shape[1]] += tail
            tail = image[:, length:]
            mixed = np.clip(np.rint(talk + image[:, :length]), -32768, 32767)
            song_file.write(song.T.astype(np.int16))
            mixture_file.write(mixed.T.astype(np.int16))
    partial.rename(mixture_path)
    return song_path, mixture_path


def write_drifting(mixture: Path, ppm: float) -> Path:
    """The recording by a recorder whose clock is so many millionths slow: resampled by soxr, dithered to 16 bit."""
    path = mixture.with_name(f"{mixture.stem}_{ppm:g}ppm.flac")
    if path.exists():
        return path
    partial, rng = path.with_suffix(".partial"), np.random.default_rng(7)
    with soundfile.SoundFile(mixture) as source:
        rate, channels = source.samplerate, source.channels
        stream = soxr.ResampleStream(rate * (1 + 1e-6 * ppm), rate, channels, dtype="float64", quality="VHQ")
        with soundfile.SoundFile(partial, "w", rate, channels, subtype="PCM_16", format="FLAC") as file:
            while source.tell() < source.frames:
                block = source.read(20 * rate, dtype="float64", always_2d=True)
                block = stream.resample_chunk(block, last=source.tell() == source.frames) * 32768
                rounded = np.rint(block + rng.triangular(-1, 0, 1, block.shape))
                file.write(np.clip(rounded, -32768, 32767).astype(np.int16))
    partial.rename(path)
    return path


def watched_removal(mixture: str, reference: str, output: str) -> dict:
    """Remove with an eye on the clock: what each pass over the audio cost, in order."""
    passes: list[dict] = []
    last = {"wall": time.monotonic(), "cpu": time.process_time()}

    def spent() -> tuple[float, float]:
        now = {"wall": time.monotonic(), "cpu": time.process_time()}
        cost = now["wall"] - last["wall"], now["cpu"] - last["cpu"]
        last.update(now)
        return cost

    def watch(done: float, total: float, what: str) -> None:
        wall, cpu = spent()
        if not passes or passes[-1]["what"] != what or done < passes[-1]["done"]:
            # Up to here nothing was told: work between two passes, and the first block of this one.
            passes.append({"what": f"before {what}", "done": 0.0, "wall": wall, "cpu": cpu})
            passes[-1]["peak_mib"] = peak_mib()
            passes.append({"what": what, "done": done, "wall": 0.0, "cpu": 0.0})
        else:
            passes[-1] |= {"done": done, "wall": passes[-1]["wall"] + wall, "cpu": passes[-1]["cpu"] + cpu}
        passes[-1]["peak_mib"] = peak_mib()

    removal = api.remove(mixture, [reference], output=output, overwrite=True, sidecar=False, progress=watch)
    wall, cpu = spent()
    passes.append({"what": "closing the file", "done": 0.0, "wall": wall, "cpu": cpu, "peak_mib": peak_mib()})
    steps = [[step.rung, step.kept, step.null_db] for step in removal.analysis.steps]
    (heard,) = removal.analysis.model.contributions.values()
    found = {"delay_seconds": heard.warp.delay_seconds, "clock_ppm": heard.warp.clock_ppm}
    return {"passes": passes, "steps": steps, "null_db": removal.analysis.null_db, **found}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def hour(table: Table, work: Path, ffmpeg: str, minutes: float) -> dict:
    """Time, memory and the passes of an hour by one clock, and of one with clocks that differ."""
    song, mixture = write_hour(work, minutes)
    began = time.process_time()
    for path in (song, mixture):
        for _ in open_source(path).blocks():
            pass
    figures = {"minutes": minutes, "decode_both_once_cpu": time.process_time() - began}
    figures["start_cpu"] = unsum("--help").cpu
    reading = figures["decode_both_once_cpu"]
    table(f"reading both files of {minutes:g} minutes once without any work costs {reading:.1f} CPU s")
    one = _watched(table, song, mixture, f"{minutes:g} minutes of stereo at 48 kHz", minutes, asked=(20, 600))
    drifting = write_drifting(mixture, DRIFT_PPM)
    what = f"the same with clocks {DRIFT_PPM:g} ppm apart"
    two = _watched(table, song, drifting, what, minutes, asked=(10, 1000))
    return figures | {"one_clock": one, "two_clocks": two}


def _watched(table: Table, song: Path, mixture: Path, what: str, minutes: float, *, asked: tuple[float, float]) -> dict:
    """The cost of one removal, in a process of its own; ``asked`` are times realtime and MiB."""
    output = mixture.with_name("hour.flac")
    done = run([sys.executable, HERE / "remove.py", "--watched", mixture, song, output])
    if done.code:
        sys.exit(f"hour failed ({done.code}): {done.err[-2000:]}")
    figures = json.loads(done.out)
    figures |= {"wall": done.wall, "cpu": done.cpu, "peak_mib": done.peak_mib, "load": os.getloadavg()}
    table(
        f"{what}: wall {done.wall:.1f} s, CPU {done.cpu:.1f} s, {60 * minutes / done.wall:.1f} x realtime "
        f"(asked {asked[0]:g}), peak {done.peak_mib:.0f} MiB (asked {asked[1]:g})"
    )
    table(f"  null depth {figures['null_db']:.2f} dB; {', '.join(f'{r} {d:.2f}' for r, k, d in figures['steps'] if k)}")
    table(f"  found at {figures['delay_seconds']:.7f} s, {figures['clock_ppm']:.6f} ppm")
    for one in figures["passes"]:
        if one["cpu"] > 0.005 * done.cpu:
            table(
                f"  {one['what']:30}{one['wall']:8.1f} s wall{one['cpu']:8.1f} s CPU {one['cpu'] / done.cpu:6.1%}"
                f"   peak so far {one['peak_mib']:5.0f} MiB"
            )
    output.unlink()
    return figures
