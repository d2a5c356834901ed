"""What exact least squares must show on arrays: depth of the null, speed beside its peers, memory.

    python benchmarks/linear.py                      every row
    python benchmarks/linear.py --rows peers rate    some of them
    python benchmarks/linear.py --seconds 3600       the long row on an hour instead of four minutes

The references are real music cut into tracks and rounded to 16 bit, the filters are dense decaying noise with a
direct path, and the mixture begins in the middle of the music: what sounded before it is heard in it. Peers are
mir_eval's projection and fast_bss_eval's direct solve, which solve the same problem as if silence came before; they
run in turn with unsum in one process, on one thread each. Wall times are only worth something on quiet cores; the
least of the rounds is kept. Each row is a process of its own, so that its memory is its own.
The figures are printed and kept in ``benchmarks/figures/linear.json``.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile
from numpy.typing import NDArray

from unsum.dsp.convolution import convolve
from unsum.dsp.residuals import ResidualPass, residual_of
from unsum.dsp.rows import FIT, HELD_OUT, Segment, split_rows
from unsum.dsp.solvers import FilterFit, least_squares_filters
from unsum.dsp.statistics import Statistics, gather_statistics

HERE = Path(__file__).parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))
MUSIC = ("multitrack/anchors_song/*.flac", "multitrack/sodium/*.flac", "music/*.flac", "music/*.ogg")
RATE = 44_100
BLOCK = 1 << 16


def tape() -> NDArray[np.float64]:
    """All the music there is in a row, mono, 16 bit."""
    rows = []
    for pattern in MUSIC:
        for path in sorted(AUDIO.glob(pattern)):
            samples, _ = soundfile.read(path, always_2d=True)
            rows += list(samples.T)
    if not rows:
        sys.exit(f"no music in {AUDIO}; name a folder in UNSUM_AUDIO")
    return np.round(np.concatenate(rows) * 32768) / 32768


def tracks(n_references: int, n_samples: int) -> NDArray[np.float64]:
    """References (references, samples): the tape from as many places, around and around."""
    music = tape()
    return np.stack(
        [np.resize(np.roll(music, -k * (len(music) // 8) - 20 * RATE), n_samples) for k in range(n_references)]
    )


def room(rng: np.random.Generator, n_channels: int, n_references: int, n_taps: int) -> NDArray[np.float64]:
    """Filters (channels, references, n_taps): noise that decays by 69 dB, and a direct path before 40 samples."""
    decay = 10 ** (-3 * np.arange(n_taps) / (0.875 * n_taps))
    filters = rng.standard_normal((n_channels, n_references, n_taps)) * decay * 0.3 / np.sqrt(np.sum(decay**2))
    direct = rng.integers(0, min(n_taps, 40), (n_channels, n_references, 1))
    level = 10 ** (rng.uniform(-8, 3, (n_channels, n_references, 1)) / 20)
    np.put_along_axis(filters, direct, np.take_along_axis(filters, direct, 2) + level, 2)
    return filters


def decibels(part: NDArray | float, whole: NDArray | float) -> float:
    return round(10 * float(np.log10(max(float(np.sum(part)), 1e-300) / float(np.sum(whole)))), 2)


def rounded(mixture: NDArray, bits: int) -> NDArray[np.float64]:
    return np.round(mixture * 2.0 ** (bits - 1)) / 2.0 ** (bits - 1)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A mixture from the middle of the music; the references begin ``n_taps - 1`` samples earlier."""

    references: NDArray[np.float64]
    mixture: NDArray[np.float64]
    filters: NDArray[np.float64]

    @property
    def n_taps(self) -> int:
        return self.filters.shape[2]


def excerpt(
    n_references: int, n_taps: int, seconds: float, *, bits: int | None = None, padded: bool = False
) -> Excerpt:
    rng = np.random.default_rng(1)
    references = tracks(n_references, round(seconds * RATE) + n_taps - 1)
    if padded:
        references[:, : 2 * n_taps] = references[:, -2 * n_taps :] = 0.0
    filters = room(rng, 1, n_references, n_taps)
    mixture = convolve(references, filters)[:, n_taps - 1 :]
    return Excerpt(references, rounded(mixture, bits) if bits else mixture, filters)


def fitted(case: Excerpt, *, threads: int) -> FilterFit:
    where: dict[str, Any] = {"reference_start": 1 - case.n_taps, "threads": threads}
    equations = gather_statistics(case.mixture, case.references, n_taps=case.n_taps, **where)[FIT]
    return least_squares_filters(
        equations,
        residual=lambda filters: residual_of(case.mixture, case.references, filters, **where),
        threads=threads,
    )


def peers(rounds: int) -> dict:
    """K = 4 and 8, P = 512, 30 s of a float mix: from mid-music, and with silence at both ends."""
    from fast_bss_eval.numpy.linalg import block_toeplitz  # pyright: ignore[reportMissingImports]
    from fast_bss_eval.numpy.metrics import compute_stats_2  # pyright: ignore[reportMissingImports]
    from mir_eval.separation import _project  # pyright: ignore[reportMissingImports]

    def projection(case: Excerpt, whole: NDArray) -> NDArray:
        return (
            whole[:, case.n_taps - 1 :]
            - _project(case.references, whole[0], case.n_taps)[None, case.n_taps - 1 : whole.shape[1]]
        )

    def direct_solve(case: Excerpt, whole: NDArray) -> NDArray:
        autocorrelation, crosscorrelation = compute_stats_2(case.references, whole, length=case.n_taps)
        solved = np.linalg.solve(block_toeplitz(autocorrelation), crosscorrelation.reshape(-1, 1))
        filters = solved.reshape(case.n_taps, len(case.references), 1).transpose(2, 1, 0)
        return (whole - convolve(case.references, filters))[:, case.n_taps - 1 :]

    methods: dict[str, Callable[[Excerpt, NDArray], NDArray]] = {
        "unsum": lambda case, _: fitted(case, threads=1).residual_energy,
        "mir_eval": projection,
        "fast_bss_eval": direct_solve,
    }
    fitted(excerpt(2, 512, 1), threads=1)  # compiled loops are loaded before the clock runs
    figures: dict = {}
    for n_references in (4, 8):
        for padded in (False, True):
            case = excerpt(n_references, 512, 30, padded=padded)
            # The peers want a mixture as long as the references.
            whole = convolve(case.references, case.filters)
            costs: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
            nulls = {}
            for _ in range(rounds):
                for name, method in methods.items():
                    wall, cpu = time.perf_counter(), time.process_time()
                    left = method(case, whole)
                    costs[name].append((time.perf_counter() - wall, time.process_time() - cpu))
                    energy = left if left.ndim == 1 else np.sum(left**2)
                    nulls[name] = decibels(energy, np.sum(case.mixture**2))
            title = f"K={n_references} P=512 30 s, " + ("silence at both ends" if padded else "mid-music")
            best = {name: np.min(seconds, axis=0) for name, seconds in costs.items()}
            print(title)
            figures[title] = {}
            for name, (wall, cpu) in best.items():
                ratio = cpu / best["unsum"][1]
                print(f"  {name:14}{wall:8.2f} s wall{cpu:8.2f} s CPU  null {nulls[name]:8.1f} dB  {ratio:5.1f} x")
                figures[title][name] = {"wall": wall, "cpu": cpu, "null_db": nulls[name], "times_unsum": ratio}
    return figures


def bits(rounds: int) -> dict:
    """16- and 24-bit mixes: how far from the floor that rounding sets."""
    figures = {}
    exact = excerpt(4, 512, 30)
    for depth in (16, 24):
        case = Excerpt(exact.references, rounded(exact.mixture, depth), exact.filters)
        found = fitted(case, threads=1)
        floor = decibels(np.sum((case.mixture - exact.mixture) ** 2), np.sum(case.mixture**2))
        print(f"{depth} bit: null {found.null_db:.2f} dB, rounding {floor:.2f} dB")
        figures[depth] = {"null_db": found.null_db, "rounding_db": floor}
    return figures


def as_mp3(rows: NDArray) -> NDArray[np.float64]:
    """Through an MP3 encoder at about 128 kb/s for each row, and back."""
    decoded = []
    for row in rows:
        file = io.BytesIO()
        soundfile.write(
            file, row, RATE, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.65
        )
        file.seek(0)
        decoded.append(soundfile.read(file)[0][: rows.shape[1]])
    return np.stack(decoded)


def low_passed(rows: NDArray) -> NDArray[np.float64]:
    """Nothing above 16 kHz, down to -140 dB, without delay."""
    n_fft = 1 << (rows.shape[1] + 4096).bit_length()
    frequency = np.fft.rfftfreq(n_fft, 1 / RATE)
    slope = np.clip((frequency - 16_000) / 500, 0, 1)
    response = 10 ** (-140 / 20 * (3 * slope**2 - 2 * slope**3))
    return np.fft.irfft(np.fft.rfft(rows, n_fft) * response, n_fft)[:, : rows.shape[1]]


def lossy(rounds: int) -> dict:
    """References without their upper band or through a codec, mixtures made of them and of the originals."""
    n_taps, seconds = 4096, 45
    rng = np.random.default_rng(4)
    original = tracks(4, seconds * RATE)
    truth = room(rng, 1, 4, n_taps)
    mp3, narrow = as_mp3(original), low_passed(original)
    figures = {}
    for name, references, sources in (
        ("low-passed, mixed from the same", narrow, narrow),
        ("low-passed, mixed from the originals", narrow, original),
        ("MP3, mixed from the same", mp3, mp3),
        ("MP3, mixed from the originals", mp3, original),
    ):
        for depth in (None, 16):
            mixture = convolve(sources, truth)
            mixture = rounded(mixture, depth) if depth else mixture
            stop = mixture.shape[1]
            segments = split_rows(n_taps - 1, stop, held_out=[(at, at + RATE) for at in range(RATE, stop, 3 * RATE)])
            parts = gather_statistics(mixture, references, n_taps=n_taps, segments=segments)
            found = least_squares_filters(
                parts[FIT],
                residual=lambda filters, r=references, y=mixture, s=segments: residual_of(
                    y, r, filters, segments=[one for one in s if one.part == FIT]
                ),
            )
            held = residual_of(
                mixture,
                references,
                found.filters,
                segments=[one for one in segments if one.part == HELD_OUT],
                part=HELD_OUT,
            )
            unseen = decibels(held.energy, parts[HELD_OUT].mixture_energy)
            size = float(np.linalg.norm(found.filters) / np.linalg.norm(truth))
            title = f"{name}, {f'{depth} bit' if depth else 'float'}"
            print(f"{title:48} null {found.null_db:8.2f} dB, held out {unseen:8.2f} dB, |h| {size:.3f} of the truth")
            figures[title] = {"null_db": found.null_db, "held_out_db": unseen, "norm_ratio": size}
    return figures


def rate(rounds: int) -> dict:
    """Normal equations of K = 2, M = 2, P = 4096: CPU seconds for an hour of 48 kHz."""
    seconds = 120
    references = tracks(2, 48_000 * seconds)
    mixture = np.stack([np.roll(references[0], 9), 0.5 * references[1]])
    figures = {}
    for name, spectra in (("normal equations", False), ("with averaged spectra", True)):
        best = np.inf
        for _ in range(rounds):
            gathered = Statistics(
                n_references=2,
                n_channels=2,
                first_lag=-64,
                n_taps=4096,
                segments=(Segment(0, mixture.shape[1]),),
                spectra=spectra,
                threads=1,
            )
            began = time.process_time()
            for at in range(0, mixture.shape[1], BLOCK):
                gathered.add(mixture[:, at : at + BLOCK], references[:, at : at + BLOCK])
            gathered.finish()
            best = min(best, (time.process_time() - began) * 3600 / seconds)
        print(f"K=2 M=2 P=4096, {name}: {best:.2f} CPU s for an hour of 48 kHz")
        figures[name] = best
    transforms = np.random.default_rng(0).standard_normal((4, 1 << 16))
    begun = []
    for _ in range(20):
        began = time.process_time()
        np.fft.rfft(transforms)
        begun.append(time.process_time() - began)
    figures["transform of 65536 samples, microseconds"] = min(begun) / 4 * 1e6
    print(f"  a transform of 65536 samples takes {figures['transform of 65536 samples, microseconds']:.0f} us here")
    return figures


def long(rounds: int, *, seconds: int) -> dict:
    """K = 8, P = 65536 (1.5 s), a 24-bit mix, streamed: time, memory, and how near the floor."""
    n_references, n_taps, n_samples = 8, 65_536, seconds * RATE
    truth = room(np.random.default_rng(2), 1, n_references, n_taps)
    music = tape().astype(np.float32)  # 16-bit samples are exact in float32

    def blocks():
        for at in range(1 - n_taps, n_samples, BLOCK):
            index = np.arange(at, min(at + BLOCK, n_samples))
            places = [k * (len(music) // 8) + 20 * RATE for k in range(n_references)]
            yield np.stack([music[(index + place) % len(music)] for place in places])

    from unsum.dsp.convolution import ImageStream

    mixture, noise = np.empty((1, n_samples)), 0.0
    stream = ImageStream(truth, start=0, reference_start=1 - n_taps, threads=os.cpu_count() or 1)
    at = 0
    for image in [*map(stream.add, blocks()), stream.finish(n_samples)]:
        stop = min(at + image.shape[-1], n_samples)
        mixture[:, at:stop] = rounded(image[0, :, : stop - at], 24)
        noise += float(np.sum((mixture[:, at:stop] - image[0, :, : stop - at]) ** 2))
        at = stop
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    where: dict[str, Any] = {"first_lag": 0, "segments": (Segment(0, n_samples),), "reference_start": 1 - n_taps}

    def fed(gathered):
        at = 0
        for block in blocks():
            gathered.add(mixture[:, at : at + BLOCK], block)
            at += BLOCK
        return gathered.finish()[FIT]

    wall, cpu = time.perf_counter(), time.process_time()
    equations = fed(Statistics(n_references=n_references, n_channels=1, n_taps=n_taps, **where))
    statistics = time.perf_counter() - wall, time.process_time() - cpu
    passes: list[tuple[float, float]] = []

    def residual(filters):
        began = time.perf_counter(), time.process_time()
        left = fed(ResidualPass(filters, **where))
        passes.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        return left

    wall, cpu = time.perf_counter(), time.process_time()
    found = least_squares_filters(equations, residual=residual)
    audio = np.sum(passes, axis=0)
    solve = time.perf_counter() - wall - audio[0], time.process_time() - cpu - audio[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    hour = [round((statistics[i] + audio[i]) * 3600 / seconds + solve[i], 1) for i in (0, 1)]
    floor = decibels(noise, np.sum(mixture**2))
    # What the taps explain of the noise by chance: it is gone from the rows fitted, not from others.
    chance = 10 * np.log10(1 - n_references * n_taps / n_samples)
    print(f"K=8 P=65536, {seconds} s, 24 bit: null {found.null_db:.2f} dB, rounding {floor:.2f} dB {chance:+.2f} dB")
    print(f"  statistics {statistics[0]:.1f} s wall, {statistics[1]:.1f} s CPU")
    print(f"  {found.iterations} iterations {solve[0]:.1f} s wall, {solve[1]:.1f} s CPU")
    print(f"  {found.passes} residual passes {audio[0]:.1f} s wall, {audio[1]:.1f} s CPU")
    print(
        f"  an hour at this rate: {hour[0]:.0f} s wall, {hour[1]:.0f} s CPU; peak {peak:.0f} MiB, {before:.0f} before"
    )
    return {
        "seconds": seconds,
        "null_db": found.null_db,
        "rounding_db": floor,
        "chance_db": chance,
        "statistics": statistics,
        "solve": solve,
        "passes": audio.tolist(),
        "iterations": found.iterations,
        "hour": hour,
        "peak_mib": peak,
        "before_mib": before,
    }


ROWS: dict[str, Callable[..., dict]] = {"peers": peers, "bits": bits, "lossy": lossy, "rate": rate, "long": long}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=240, help="length of the long row")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        (row,) = arguments.rows
        more = {"seconds": arguments.seconds} if row == "long" else {}
        figures = ROWS[row](arguments.rounds, **more)
        print("figures", json.dumps(figures, default=float))
        return
    kept = HERE / "figures" / "linear.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    for row in arguments.rows:
        command = [sys.executable, "-W", "ignore", __file__, "--alone", "--rows", row]
        command += ["--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        *lines, last = done.stdout.splitlines() or [""]
        if done.returncode or not last.startswith("figures "):
            sys.exit(f"row {row} failed ({done.returncode})\n{done.stdout}")
        print(*lines, sep="\n", flush=True)
        figures[row] = json.loads(last.removeprefix("figures "))
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
