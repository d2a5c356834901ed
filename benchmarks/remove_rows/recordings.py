"""Recordings that share a clock with what is in them."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scenes  # pyright: ignore[reportMissingImports]
import scipy.signal

from remove_rows.measuring import AUDIO, Audio, decibels, decode


@dataclass(frozen=True, slots=True)
class Pair:
    """A recording and what is in it.

    Attributes
    ----------
    unknown : (channels, samples) what else is in the mixture, where that is known
    sounds : seconds of the mixture between which the references sound
    """

    name: str
    mixture: str
    references: tuple[str, ...]
    unknown: Audio | None = None
    sounds: tuple[float, float] = (0.0, math.inf)


def same_master(work: Path, ffmpeg: str) -> Iterator[Pair]:
    """One song, encoded twice."""
    viper = {letter: str(next(AUDIO.glob(f"pairs/viper/viper_{letter}.*"))) for letter in "abc"}
    # viper_c begins 3163 samples into viper_a.
    for mixture, reference in ("ab", "ba", "ac", "ca", "cb"):
        late = 3163 / 44100 if reference == "c" else 0.0
        yield Pair(f"viper {mixture} - {reference}", viper[mixture], (viper[reference],), sounds=(late, math.inf))
    low, high = (str(AUDIO / f"pairs/vibe_ace/vibe_ace{kind}.ogg") for kind in ("", ".hq"))
    yield Pair("vibe_ace 44 kHz stereo - 22 kHz mono", high, (low,))
    yield Pair("vibe_ace 22 kHz mono - 44 kHz stereo", low, (high,))
    folder = AUDIO / "pairs/reno_project-system"
    reno = {"pcm": str(folder / "pcm8k.flac")}
    for name, kind in (("wideband", "g722"), ("narrowband", "gsm")):
        reno[name] = str(work / f"reno_{name}.flac")
        scenes.run_ffmpeg(ffmpeg, "-f", kind, "-i", folder / f"{name}.{kind}", reno[name])
    for mixture, reference in (("pcm", "wideband"), ("wideband", "pcm"), ("pcm", "narrowband"), ("narrowband", "pcm")):
        yield Pair(f"reno {mixture} - {reference}", reno[mixture], (reno[reference],))
    timbl = [str(AUDIO / f"pairs/timbl/timbl_{n}.mp3") for n in (1, 2, 3)]
    for a, b, late in ((1, 2, 12.254), (2, 1, 0), (3, 2, 0), (2, 3, 0)):
        yield Pair(f"timbl {a} - {b}", timbl[a - 1], (timbl[b - 1],), sounds=(late, math.inf))


def from_tracks(work: Path, ffmpeg: str) -> Iterator[Pair]:
    """Mixes without their tracks."""
    folder = AUDIO / "multitrack/reggae_try"
    told = json.loads((folder / "truth.json").read_text())["tracks"]
    stems = tuple(str(folder / track["dry"]) for track in told)
    yield Pair("reggae mix - 9 dry tracks", str(folder / "mix.flac"), stems)
    for left_out in (0, 5):
        track = told[left_out]
        if not track["exact"]:
            continue
        dry, _ = decode(stems[left_out], ffmpeg=ffmpeg)
        truth = dry * np.array([[track["gain_left"]], [track["gain_right"]]])
        others = tuple(stem for n, stem in enumerate(stems) if n != left_out)
        name = track["dry"].removesuffix("_dry.flac")
        yield Pair(f"reggae mix - all but {name}", str(folder / "mix.flac"), others, truth)
    falcon = str(AUDIO / "multitrack/falcon69.stem.mp4")
    yield Pair("falcon69 mix - 4 stems", f"{falcon}#a:0", tuple(f"{falcon}#a:{n}" for n in (1, 2, 3, 4)))
    yield Pair("falcon69 mix - vocals", f"{falcon}#a:0", (f"{falcon}#a:4",))
    folder = AUDIO / "multitrack/metal_internal_degeneration"
    song, guitar = (scenes.decode_pcm(folder / f"{name}.flac", ffmpeg=ffmpeg) for name in ("song", "guitar"))
    length = min(song.shape[1], guitar.shape[1])
    mixture = work / "metal.flac"
    both = song[:, :length] + guitar[:, :length]
    scenes.write_recording(mixture, [both], ffmpeg=ffmpeg, layouts="stereo", rate=44100)
    for name, unknown in (("song", guitar), ("guitar", song)):
        truth = unknown[:, :length] / 32768
        yield Pair(f"metal - {name}", str(mixture), (str(folder / f"{name}.flac"),), truth)
        lossy = work / f"metal_{name}.mp3"
        scenes.run_ffmpeg(ffmpeg, "-i", folder / f"{name}.flac", "-b:a", "128k", lossy)
        yield Pair(f"metal - {name} as MP3 128k", str(mixture), (str(lossy),), truth)


def in_rooms(work: Path, ffmpeg: str) -> Iterator[Pair]:
    """Loudspeakers and microphones."""
    echo = AUDIO / "echo"
    yield Pair("desk speaker", str(echo / "desk_speaker_mic.flac"), (str(echo / "desk_speaker_played.flac"),))
    for mic in sorted(echo.glob("simulated_*_mic.flac")):
        name = mic.name.removesuffix("_mic.flac")
        near, _ = decode(echo / f"{name}_near.flac", ffmpeg=ffmpeg)
        yield Pair(name.replace("_", " "), str(mic), (str(echo / f"{name}_played.flac"),), near)
    # A stereo song in a kitchen (four measured paths), 0 and 12 dB above one who talks there; 16 bit.
    song, rate = decode(AUDIO / "music/hungarian_dance.ogg", ffmpeg=ffmpeg)
    talk, _ = decode(AUDIO / "speech/libri_3436-172162-0000.ogg", ffmpeg=ffmpeg, rate=rate)
    paths, _ = decode(AUDIO / "ir/kitchen_true_stereo.flac", ffmpeg=ffmpeg, rate=rate)
    length = talk.shape[1]
    played = song[:, 5 * rate : 5 * rate + length]
    image = np.stack([sum(scipy.signal.oaconvolve(played[d], paths[2 * d + c]) for d in range(2)) for c in range(2)])
    talk = np.vstack([talk, 0.8 * talk])
    for louder in (0, 12):
        scale = 10 ** ((louder + decibels(talk, image[:, :length])) / 20)
        mixed = talk + scale * image[:, :length]
        full = 0.7 / np.abs(mixed).max()
        mixture = work / f"kitchen{louder}.flac"
        scenes.write_recording(
            mixture, [np.rint(mixed * full * 32768).astype(int)], ffmpeg=ffmpeg, layouts="stereo", rate=rate
        )
        truth = full * talk
        yield Pair(
            f"talk in a kitchen, song {louder} dB above",
            str(mixture),
            (str(AUDIO / "music/hungarian_dance.ogg"),),
            truth,
        )
