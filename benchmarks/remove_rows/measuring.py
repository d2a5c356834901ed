"""What all rows need: real audio, the ffmpeg program's decoding, processes with their cost, decibels."""

import contextlib
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import scenes  # pyright: ignore[reportMissingImports]
import soxr
from numpy.typing import NDArray

from unsum import cli

HERE = Path(__file__).resolve().parent.parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))

Audio = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process."""

    code: int
    out: str
    err: str
    wall: float
    cpu: float
    peak_mib: float


def run(command: Sequence[object]) -> Run:
    """Run a command to its end and ask the kernel what it cost."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode(errors="replace"))
    cpu = usage.ru_utime + usage.ru_stime
    return Run(process.returncode, told[0], told[1], wall, cpu, usage.ru_maxrss / 1024)


def unsum(*arguments: object) -> Run:
    return run([sys.executable, "-m", "unsum", *arguments])


def quietly(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code and the talk of a command line, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(list(arguments))
    return code, err.getvalue().strip()


def decode(address: str | Path, *, ffmpeg: str, rate: int | None = None) -> tuple[Audio, int]:
    """(channels, samples) and the sample rate, as the ffmpeg program decodes ``FILE`` or ``FILE#a:1``."""
    name, _, stream = str(address).partition("#a:")
    with av.open(name) as container:
        audio = container.streams.audio[int(stream or 0)].codec_context
        channels, own = audio.channels, audio.sample_rate
    raw = scenes.run_ffmpeg(ffmpeg, "-i", f"file:{name}", "-map", f"0:a:{stream or 0}", "-f", "f64le", "pipe:1")
    samples = np.frombuffer(raw, "<f8").reshape(-1, channels).T
    if rate in (None, own):
        return samples, own
    return np.ascontiguousarray(soxr.resample(samples.T, own, rate, quality="VHQ").reshape(-1, channels).T), rate


def decibels(part: NDArray, whole: NDArray) -> float:
    left, all_of_it = float(np.sum(np.square(part, dtype=float))), float(np.sum(np.square(whole, dtype=float)))
    return 10 * math.log10(left / all_of_it) if left and all_of_it else -math.inf if all_of_it else 0.0


def si_sdr(found: Audio, truth: Audio) -> float:
    """Scale-invariant ratio of the truth to everything else in what was found, dB."""
    target = truth * (np.vdot(found, truth) / np.vdot(truth, truth))
    return -decibels(found - target, target)
