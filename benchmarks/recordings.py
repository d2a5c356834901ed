"""Write a recording as OBS does, of any length, with the mix-up of the source article.

    python benchmarks/recordings.py out.mkv --minutes 3 --surround full

``out.mkv`` holds H.264 video, 1920x1080 at 60 frames a second and 0.9 Mb/s, and three 7.1 streams of
FLAC at 48 kHz and 16 bits::

    0 = desktop + desktop[FL,FR] + zoom
    1 = voice + desktop[FL,FR] + zoom        (surround: digital silence)
    2 = desktop[FL,FR] + zoom                (surround: digital silence)

``out.json`` beside it has the length and the MD5 of the true sources as 16-bit little-endian PCM. The
sources are real music and speech from the folder that UNSUM_AUDIO names, looped from different places.
Memory does not grow with the length: blocks are piped into ffmpeg.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 48000
BLOCK = 2 * RATE
CHANNELS = {"zoom": 1, "voice": 2, "desktop": 8}
NOISE_FLOOR = 10 ** (-74 / 20)

# Where each source is silent when asked: (first second, last second) of every 40. No two are silent at
# once, and all are heard together in between.
SILENCE_PERIOD = 40
SILENCES = {"zoom": (6, 11), "voice": (17, 22), "desktop": (28, 33)}

# "sparse": the surround channels sound in the first 9 seconds of every 60.
SURROUND_PERIOD, SURROUND_SOUNDS = 60, 9

Audio = NDArray[Any]


def default_audio_root() -> Path:
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "audio"
    return Path(os.environ.get("UNSUM_AUDIO", beside))


def load_loop(ffmpeg: str, folder: Path, *, channels: int) -> Audio:
    """All recordings of a folder, one after another, at 48 kHz, each with a peak of 1.

    Returns
    -------
    loop : (channels, samples) float32
    """
    if not folder.is_dir():
        raise SystemExit(f"no real audio at {folder}; name a folder with music/ and speech/ in UNSUM_AUDIO")
    parts = []
    for path in sorted(folder.iterdir()):
        command = [ffmpeg, "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0"]
        command += ["-ac", str(channels), "-ar", str(RATE), "-f", "f32le", "pipe:1"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        part = np.frombuffer(raw, "<f4").reshape(-1, channels).T
        parts.append(part / np.abs(part).max())
    return np.concatenate(parts, axis=1)


def low_passed(sound: Audio, *, cutoff_hz: float) -> Audio:
    """What a subwoofer gets: the mean of the channels, smoothed twice over a period, with a peak of 1."""
    low = sound.mean(axis=0)
    width = round(RATE / cutoff_hz)
    for _ in range(2):
        sums = np.cumsum(low, dtype=np.float64)
        low = sums[width:] - sums[:-width]
    return (low / np.abs(low).max()).astype(np.float32)[None]


def read_loop(loop: Audio, start: int, samples: int) -> Audio:
    """A stretch of an endless repetition."""
    return np.take(loop, np.arange(start, start + samples), axis=1, mode="wrap")


def true_sources(
    music: Audio, speech: Audio, *, total: int, surround: str, silences: bool, seed: int
) -> Iterator[dict[str, Audio]]:
    """The sources in blocks: (channels, samples) float32, so soft that no sum reaches full scale."""
    rng = np.random.default_rng(seed)
    subwoofer = low_passed(music, cutoff_hz=120)
    for start in range(0, total, BLOCK):
        samples = min(BLOCK, total - start)

        def heard(loop: Audio, gain: float, later_s: float, start: int = start, samples: int = samples) -> Audio:
            return np.float32(gain) * read_loop(loop, start + int(later_s * RATE), samples)

        moment = np.arange(start, start + samples)
        desktop = np.zeros((8, samples), np.float32)
        desktop[:2] = heard(music, 0.30, 0)
        if surround == "full" or moment[0] % (SURROUND_PERIOD * RATE) < SURROUND_SOUNDS * RATE:
            desktop[2:3] = heard(speech, 0.15, 41.3)
            desktop[3:4] = heard(subwoofer, 0.25, 0)
            desktop[4:6] = heard(music, 0.20, 31.7)
            desktop[6:8] = heard(music, 0.22, 67.1)[::-1]
            if surround == "sparse":
                desktop[2:, moment % (SURROUND_PERIOD * RATE) >= SURROUND_SOUNDS * RATE] = 0
        noise = rng.standard_normal((2, samples), dtype=np.float32) * np.float32(NOISE_FLOOR)
        sources = {
            "zoom": heard(speech, 0.20, 0),
            "voice": heard(speech, 0.16, 23.9) + noise,
            "desktop": desktop,
        }
        if silences:
            within = moment % (SILENCE_PERIOD * RATE)
            for name, (first, last) in SILENCES.items():
                sources[name][:, (within >= first * RATE) & (within < last * RATE)] = 0
        yield sources


def recorded_streams(sources: dict[str, Audio]) -> list[Audio]:
    """The article's three sums, in whatever numbers the sources are."""
    front = sources["desktop"][:2] + sources["zoom"]
    silent = np.zeros_like(sources["desktop"])
    first, second, third = sources["desktop"].copy(), silent.copy(), silent
    first[:2] += front
    second[:2] = sources["voice"] + front
    third[:2] = front
    return [first, second, third]


def to_pcm(sound: Audio) -> Audio:
    """(channels, samples) to 16-bit words, rounded once where it is float.

    Raises
    ------
    OverflowError
        If a sample is beyond full scale.
    """
    words = np.rint(sound * np.float32(32768)) if sound.dtype.kind == "f" else sound
    if np.abs(words).max() > 32767:
        raise OverflowError(f"a sample of {np.abs(words).max():.0f} is beyond full scale")
    return words.astype("<i2")


def write_clip(ffmpeg: str, clip: Path) -> None:
    """Ten seconds of moving test pattern, to be repeated packet by packet."""
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-f", "lavfi"]
    command += ["-i", "testsrc2=size=1920x1080:rate=60:duration=10", "-pix_fmt", "yuv420p"]
    # B-frames as recorders have them, and closed groups of pictures, so that the end joins the start.
    command += ["-c:v", "libx264", "-preset", "superfast", "-bf", "2", "-g", "120", "-flags", "+cgop"]
    command += ["-b:v", "900k", "-maxrate", "900k", "-bufsize", "1800k", "-f", "mp4", f"file:{clip}"]
    subprocess.run(command, check=True)


class StreamPipe:
    """Blocks on their way into one pipe, a few at a time, on a thread of their own."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        self._blocks: Queue[bytes | None] = Queue(4)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with os.fdopen(self._write_end, "wb", buffering=0) as pipe:
                while (block := self._blocks.get()) is not None:
                    left = memoryview(block)
                    while left:
                        left = left[pipe.write(left) :]
        except BrokenPipeError:
            return  # ffmpeg has stopped; its exit status tells why

    def put(self, block: bytes | None) -> None:
        while True:
            try:
                return self._blocks.put(block, timeout=0.5)
            except Full:
                if not self._thread.is_alive():
                    return None

    def close(self) -> None:
        self.put(None)
        self._thread.join()


def extras(folder: Path, *, first_input: int, seconds: float) -> tuple[list[str], list[str]]:
    """ffmpeg's input and output options for two chapters, subtitles, an attachment, names and languages."""
    Path(folder, "words.srt").write_text(
        "1\n00:00:00,500 --> 00:00:02,000\nGood morning\n\n2\n00:00:03,000 --> 00:00:04,500\nQuiet, please\n",
        encoding="utf-8",
    )
    half, whole = round(seconds * 500), round(seconds * 1000)
    chapters = [
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={stop}\ntitle={title}\n"
        for start, stop, title in ((0, half, "First half"), (half, whole, "Second half"))
    ]
    head = ";FFMETADATA1\ntitle=Lecture\n"
    Path(folder, "chapters.txt").write_text(head + "".join(chapters), encoding="utf-8")
    Path(folder, "note.txt").write_text("Slides are on the course page.\n", encoding="utf-8")
    inputs = ["-i", str(folder / "words.srt"), "-f", "ffmetadata", "-i", str(folder / "chapters.txt")]
    outputs = ["-map", f"{first_input}:s", "-c:s", "srt", "-metadata:s:s:0", "language=eng"]
    outputs += ["-map_chapters", str(first_input + 1), "-map_metadata", str(first_input + 1)]
    outputs += ["-attach", str(folder / "note.txt"), "-metadata:s:t:0", "mimetype=text/plain"]
    for number in range(3):
        outputs += [f"-metadata:s:a:{number}", f"title=Track{number + 1}"]
        outputs += [f"-metadata:s:a:{number}", "language=eng"]
    return inputs, outputs


def write_recording(
    out: Path,
    *,
    minutes: float,
    surround: str = "full",
    mix: str = "int",
    with_extras: bool = False,
    silences: bool = False,
    ffmpeg: str = "ffmpeg",
    audio_root: Path | None = None,
    clip: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the recording and the JSON beside it; returns what is in the JSON.

    Parameters
    ----------
    surround : "full" or "sparse"
        Whether the six surround channels always sound, or 15 % of the time.
    mix : "int" or "float"
        Exact sums of 16-bit sources, or sums of float32 sources rounded once, as OBS makes them: then
        the best recovery is the rounded source within one step.
    silences : bool
        Each source is digitally silent for five seconds of every forty, the others sounding.
    clip : Path, optional
        Where the ten seconds of video are kept for the next recording.
    """
    total = round(minutes * 60 * RATE)
    root = audio_root or default_audio_root()
    music = load_loop(ffmpeg, root / "music", channels=2)
    speech = load_loop(ffmpeg, root / "speech", channels=1)
    digests = {name: hashlib.md5() for name in CHANNELS}
    with tempfile.TemporaryDirectory() as folder:
        clip = clip or Path(folder, "clip.mp4")
        if not clip.exists():
            write_clip(ffmpeg, clip)
        pipes = [StreamPipe() for _ in range(3)]
        command = [ffmpeg, "-nostdin", "-v", "error", "-y"]
        for pipe in pipes:
            command += ["-thread_queue_size", "64", "-f", "s16le", "-ar", str(RATE), "-ch_layout", "7.1"]
            command += ["-i", f"pipe:{pipe.read_end}"]
        command += ["-stream_loop", "-1", "-i", f"file:{clip}"]
        outputs = ["-map", "3:v", "-map", "0:a", "-map", "1:a", "-map", "2:a"]
        if with_extras:
            more_inputs, more_outputs = extras(Path(folder), first_input=4, seconds=total / RATE)
            command += more_inputs
            outputs += more_outputs
        outputs += ["-c:v", "copy", "-c:a", "flac", "-compression_level", "5", "-t", str(total / RATE)]
        command += [*outputs, "-f", "matroska", f"file:{out}"]
        with subprocess.Popen(command, pass_fds=[pipe.read_end for pipe in pipes]) as process:
            for pipe in pipes:
                os.close(pipe.read_end)
            for sources in true_sources(music, speech, total=total, surround=surround, silences=silences, seed=seed):
                words = {name: to_pcm(sound) for name, sound in sources.items()}
                given = words if mix == "int" else sources
                wide = {name: s.astype(np.int32) if mix == "int" else s for name, s in given.items()}
                for name, sound in words.items():
                    digests[name].update(sound.T.tobytes())
                for pipe, stream in zip(pipes, recorded_streams(wide), strict=True):
                    pipe.put(to_pcm(stream).T.tobytes())
                if process.poll() is not None:
                    break
            for pipe in pipes:
                pipe.close()
        if process.returncode:
            raise SystemExit(f"ffmpeg failed with status {process.returncode}")
    facts = {
        "samples": total,
        "sample_rate": RATE,
        "surround": surround,
        "mix": mix,
        "silences": silences,
        "layouts": {"zoom": "mono", "voice": "stereo", "desktop": "7.1"},
        "md5_s16le": {name: digest.hexdigest() for name, digest in digests.items()},
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def main(arguments: Sequence[str] | None = None) -> None:
    first_line = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=first_line)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--surround", choices=["full", "sparse"], default="full")
    parser.add_argument("--mix", choices=["int", "float"], default="int")
    parser.add_argument("--extras", action="store_true", help="chapters, subtitles, an attachment, titles")
    parser.add_argument("--silences", action="store_true", help="each source is silent now and then")
    parser.add_argument("--clip", type=Path, help="keep the video clip here, and use it if it is there")
    parser.add_argument("--ffmpeg", default=shutil.which("ffmpeg") or "ffmpeg")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    write_recording(
        asked.out,
        minutes=asked.minutes,
        surround=asked.surround,
        mix=asked.mix,
        with_extras=asked.extras,
        silences=asked.silences,
        ffmpeg=asked.ffmpeg,
        clip=asked.clip,
        seed=asked.seed,
    )
    print(f"{asked.out}: {asked.out.stat().st_size / 1e6:.1f} MB, {asked.minutes:g} minutes")


if __name__ == "__main__":
    main()
