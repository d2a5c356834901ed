"""Make the bundled recording: three sources, three streams that are wrong sums of them.

Needs numpy and an ffmpeg with libx264. The audio it starts from is named in
CREDITS.md; the folder that holds it is given in the variable UNSUM_AUDIO
(``../shared/audio`` beside the repository if unset):

    UNSUM_AUDIO=/path/to/audio python examples/make_recording.py

It writes ``obs-recording.mkv`` and ``obs-recording.md5.json``, which holds the MD5
of each true source and of each stream as interleaved little-endian 16-bit PCM.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float64]  # (channels, samples)
Pcm = NDArray[np.int64]  # (channels, samples), on the 16-bit grid

HERE = Path(__file__).resolve().parent
AUDIO = Path(os.environ.get("UNSUM_AUDIO", HERE.parent.parent / "shared" / "audio"))
SAMPLE_RATE = 48_000
SECONDS = 12
FADE_SECONDS = 0.03

# When each part sounds, in seconds. Outside its passages a part is digital silence,
# and every source is alone at some time: what discovery without a recipe needs.
DESKTOP_SOUNDS = ((0.0, 3.8), (7.4, 11.7))
SURROUND_SOUNDS = ((0.5, 2.6), (8.0, 9.6))
# Speech also says where in its file a phrase begins: (start, stop, begins).
ZOOM_PHRASES = ((1.6, 5.9, 0.84), (9.0, 11.0, 5.40))
VOICE_PHRASES = ((4.8, 8.6, 12.12), (9.6, 11.1, 30.34))

CHAPTERS = (("Questions from the call", 0, 6), ("Answers from the room", 6, SECONDS))
SUBTITLES = (
    ("00:00:01,600 --> 00:00:04,800", "Zoom speaks over the desktop, then alone."),
    ("00:00:04,800 --> 00:00:08,600", "The microphone answers."),
    ("00:00:09,000 --> 00:00:11,700", "All three together."),
)
WIDTH, HEIGHT, FRAME_RATE = 640, 360, 30


def decode(name: str, *, channels: int, filters: str = "anull") -> Audio:
    """A file of the audio folder as float at 48 kHz, shape (channels, samples)."""
    command = ["ffmpeg", "-v", "error", "-i", str(AUDIO / name), "-af", f"{filters},aresample={SAMPLE_RATE}"]
    command += ["-ac", str(channels), "-f", "f32le", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, "<f4").reshape(-1, channels).T.astype(np.float64)


def excerpt(audio: Audio, begins_seconds: float) -> Audio:
    """As much of the audio as the recording is long."""
    begins = round(begins_seconds * SAMPLE_RATE)
    return audio[:, begins : begins + SECONDS * SAMPLE_RATE]


def phrases(audio: Audio, placed: tuple[tuple[float, float, float], ...]) -> Audio:
    """Stretches of the audio laid out in time, silence between them; (channels, samples)."""
    line = np.zeros((audio.shape[0], SECONDS * SAMPLE_RATE))
    for start_seconds, stop_seconds, begins_seconds in placed:
        start, stop, begins = (
            round(seconds * SAMPLE_RATE) for seconds in (start_seconds, stop_seconds, begins_seconds)
        )
        line[:, start:stop] += audio[:, begins : begins + stop - start]
    return line * gate(tuple((start, stop) for start, stop, _ in placed))


def lowpass(audio: Audio, cutoff_hz: float) -> Audio:
    """Keep what lies below the cutoff, with a raised-cosine edge a third as wide."""
    spectrum = np.fft.rfft(audio)
    frequency_hz = np.fft.rfftfreq(audio.shape[-1], 1 / SAMPLE_RATE)
    position = np.clip((frequency_hz - cutoff_hz) / (cutoff_hz / 3) + 0.5, 0, 1)
    return np.fft.irfft(spectrum * (0.5 + 0.5 * np.cos(np.pi * position)), audio.shape[-1])


def gate(sounds: tuple[tuple[float, float], ...]) -> Audio:
    """1 within the passages, exactly 0 outside, raised-cosine fades at the edges; (1, samples)."""
    seconds = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    gain = np.zeros_like(seconds)
    for start, stop in sounds:
        distance = np.minimum(seconds - start, stop - seconds) / FADE_SECONDS
        gain = np.maximum(gain, 0.5 - 0.5 * np.cos(np.pi * np.clip(distance, 0, 1)))
    return gain[None]


def delayed(audio: Audio, samples: int) -> Audio:
    """Later by whole samples; the length stays."""
    late = np.zeros_like(audio)
    late[..., samples:] = audio[..., :-samples]
    return late


def quantised(audio: Audio, peak_dbfs: float) -> Pcm:
    """Scaled so that the highest peak of all channels is ``peak_dbfs``, then rounded to 16 bits."""
    peak = 32_768 * 10 ** (peak_dbfs / 20)
    return np.rint(audio * (peak / np.abs(audio).max())).astype(np.int64)


def make_desktop() -> Pcm:
    """Music on eight channels, no two alike."""
    music = decode("music/desert.ogg", channels=2)
    front = lowpass(excerpt(music, 0.0), 7_000) * gate(DESKTOP_SOUNDS)
    left, right = lowpass(excerpt(music, 6.0), 4_000)
    far_left, far_right = lowpass(excerpt(music, 12.0), 4_000)
    surround = {
        "FC": 0.5 * (left + right),
        "LFE": lowpass(left + far_right, 120),
        "BL": far_left,
        "BR": far_right,
        "SL": 0.7 * delayed(left, 960),
        "SR": 0.7 * delayed(right, 1_200),
    }
    rest = np.stack(list(surround.values())) * gate(SURROUND_SOUNDS)
    rest *= 0.7 * np.abs(front).max() / np.abs(rest).max()
    return quantised(np.concatenate([front, rest]), -12.0)


def make_zoom() -> Pcm:
    """A caller: one channel of speech."""
    speech = lowpass(decode("speech/prompt_en_allison.flac", channels=1), 6_000)
    return quantised(phrases(speech, ZOOM_PHRASES), -9.0)


def make_voice() -> Pcm:
    """A talker at a stereo microphone: the same reader at four fifths of the speed, near two walls."""
    slower = decode("speech/prompt_en_allison.flac", channels=1, filters="asetrate=12800")
    dry = lowpass(slower, 5_000)
    left = dry + 0.12 * delayed(dry, 401)
    right = 0.85 * delayed(dry, 7) + 0.15 * delayed(dry, 311)
    return quantised(phrases(np.concatenate([left, right]), VOICE_PHRASES), -9.0)


def wrong_sums(zoom: Pcm, voice: Pcm, desktop: Pcm) -> list[Pcm]:
    """The three 7.1 streams of the recording, each a sum that was not wanted."""
    stereo = desktop[:2]
    fronts = [2 * stereo + zoom, voice + stereo + zoom, stereo + zoom]
    silence = np.zeros_like(desktop[2:])
    streams = [np.concatenate([front, silence]) for front in fronts]
    streams[0][2:] = desktop[2:]
    highest = max(int(np.abs(stream).max()) for stream in streams)
    if highest >= 32_767:
        sys.exit(f"a sum reaches {highest} of 32767: lower the level of its sources")
    return streams


def interleaved(audio: Pcm) -> bytes:
    return np.ascontiguousarray(audio.T).astype("<i2").tobytes()


def picture(sources: list[Pcm], colours: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """The waveforms of the sources, one lane each; shape (HEIGHT, WIDTH, 3)."""
    image = np.full((HEIGHT, WIDTH, 3), 24, np.uint8)
    lane = HEIGHT // len(sources)
    rows = np.arange(lane)[:, None] - lane / 2
    for row, (source, colour) in enumerate(zip(sources, colours, strict=True)):
        columns = np.abs(source).max(axis=0).reshape(WIDTH, -1).max(axis=1)
        sounding = np.abs(rows) <= 0.45 * lane * columns / max(columns.max(), 1) + 0.5
        image[row * lane : (row + 1) * lane][sounding] = colour
    return image


def frames(sources: list[Pcm]):
    """Raw RGB frames: what has been played is coloured, what is to come is grey."""
    played = picture(sources, [(240, 150, 60), (110, 200, 120), (90, 150, 240)])
    coming = picture(sources, [(90, 90, 90)] * 3)
    count = SECONDS * FRAME_RATE
    for number in range(count):
        head = WIDTH * number // count
        frame = np.concatenate([played[:, :head], coming[:, head:]], axis=1)
        frame[:, head : head + 2] = 255
        yield frame.tobytes()


def write_recording(path: Path, streams: list[Pcm], sources: list[Pcm]) -> None:
    """Video, three FLAC streams, subtitles and chapters, muxed as a screen recorder does."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        entries = [
            f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start * 1000}\nEND={stop * 1000}\ntitle={title}"
            for title, start, stop in CHAPTERS
        ]
        lines = [f"{number}\n{when}\n{text}\n" for number, (when, text) in enumerate(SUBTITLES, 1)]
        header = ";FFMETADATA1\ntitle=A call, a voice and a desktop"
        (folder / "chapters").write_text("\n".join([header, *entries]) + "\n", encoding="utf-8")
        (folder / "text.srt").write_text("\n".join(lines), encoding="utf-8")

        command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FRAME_RATE), "-i", "-"]
        for number, stream in enumerate(streams):
            (folder / f"{number}.pcm").write_bytes(interleaved(stream))
            command += ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ch_layout", "7.1"]
            command += ["-i", str(folder / f"{number}.pcm")]
        command += ["-i", str(folder / "text.srt"), "-i", str(folder / "chapters")]
        command += ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:a", "-map", "4:s"]
        command += ["-map_metadata", "5", "-map_chapters", "5", "-metadata:s:s:0", "language=eng"]
        command += ["-c:v", "libx264", "-preset", "slow", "-crf", "30", "-g", "60", "-pix_fmt", "yuv420p"]
        command += ["-c:a", "flac", "-compression_level", "5", "-c:s", "srt", "-disposition:v:0", "default"]
        for number in range(len(streams)):
            command += [f"-disposition:a:{number}", "default"]
        # One thread and bitexact: the same ffmpeg then writes the same file each time.
        command += ["-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact", str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin
            for frame in frames(sources):
                process.stdin.write(frame)
            process.stdin.close()
        if process.returncode:
            sys.exit(f"ffmpeg ended with {process.returncode}")


def main() -> None:
    if not AUDIO.is_dir():
        sys.exit(f"there is no folder {AUDIO}; set UNSUM_AUDIO to the one that holds the audio of CREDITS.md")
    sources = {"zoom": make_zoom(), "voice": make_voice(), "desktop": make_desktop()}
    streams = wrong_sums(**sources)
    recording = HERE / "obs-recording.mkv"
    write_recording(recording, streams, list(sources.values()))
    truth = {
        "sample_rate": SAMPLE_RATE,
        "samples": SECONDS * SAMPLE_RATE,
        "layouts": {"zoom": "mono", "voice": "stereo", "desktop": "7.1"},
        "md5_s16le": {name: hashlib.md5(interleaved(audio)).hexdigest() for name, audio in sources.items()},
        "streams_md5_s16le": [hashlib.md5(interleaved(stream)).hexdigest() for stream in streams],
    }
    (HERE / "obs-recording.md5.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    print(f"{recording}: {recording.stat().st_size} bytes")


if __name__ == "__main__":
    main()
