"""Make the tracks of the bundled song, examples/song: four synthesised sounds of eight seconds, and mix them.

    python examples/make_song.py

The tracks come from a seeded generator; what is done to them in the mix is in examples/song/song.toml.
"""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from unsum import api

RATE, SECONDS, BEATS_PER_SECOND = 44100, 8, 2
FOLDER = Path(__file__).parent / "song"
Sound = NDArray[np.float64]


def main() -> None:
    rng = np.random.default_rng(1)
    FOLDER.mkdir(exist_ok=True)
    for name, sound in (("drums", drums(rng)), ("bass", bass(rng)), ("keys", keys(rng)), ("lead", lead(rng))):
        level = 0.4 / np.max(np.abs(sound))
        soundfile.write(FOLDER / f"{name}.flac", (level * sound).T, RATE, subtype="PCM_16")
    api.render(FOLDER / "song.toml", output=FOLDER / "mix.flac", overwrite=True)


def struck(period: float, offset: float, fall: float) -> Sound:
    """A level (samples,) that is struck every so many seconds and falls by e in ``fall`` seconds."""
    since = (np.arange(RATE * SECONDS) / RATE - offset) % period
    return np.exp(-since / fall)


def drums(rng: np.random.Generator) -> Sound:
    at = np.arange(RATE * SECONDS) / RATE
    noise = rng.standard_normal(len(at))
    beat = 1 / BEATS_PER_SECOND
    kick = np.sin(2 * np.pi * 55 * (at % (2 * beat)) + 6 * struck(2 * beat, 0, 0.03)) * struck(2 * beat, 0, 0.12)
    hats = np.diff(noise, prepend=0.0) * struck(beat / 2, 0, 0.03)
    return (kick + 0.5 * noise * struck(2 * beat, beat, 0.08) + 0.15 * hats)[None]


def bass(rng: np.random.Generator) -> Sound:
    return tones(rng, notes=(41.2, 49.0, 55.0, 36.7), partials=24, fall=0.4, hiss=0.004)[None]


def keys(rng: np.random.Generator) -> Sound:
    """A chord of stereo width: the same notes on both sides, each with its own phases."""
    sides = [sum(tones(rng, (f, f * 0.84, f * 1.12, f * 0.75), 10, 0.8, 0.004) for f in (220, 277, 330)) for _ in "LR"]
    return np.array(sides)


def lead(rng: np.random.Generator) -> Sound:
    return tones(rng, notes=(440.0, 523.3, 659.3, 587.3), partials=16, fall=0.25, hiss=0.01)[None]


def tones(rng: np.random.Generator, notes: tuple[float, ...], partials: int, fall: float, hiss: float) -> Sound:
    """One note after the other, two seconds each, struck on every beat; breath above the partials."""
    at = np.arange(RATE * SECONDS) / RATE
    note = np.repeat(notes, RATE * SECONDS // len(notes))
    total = hiss * rng.standard_normal(len(at))
    for n in range(1, partials + 1):
        total += np.where(n * note < 0.45 * RATE, np.sin(2 * np.pi * n * note * at + rng.uniform(0, 6)), 0) / n
    return total * struck(1 / BEATS_PER_SECOND, 0, fall) + hiss / 4 * rng.standard_normal(len(at))


if __name__ == "__main__":
    main()
