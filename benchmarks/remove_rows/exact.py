"""Random sums of lossless files, of which one is missing."""

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import scenes  # pyright: ignore[reportMissingImports]
import soundfile
from numpy.typing import NDArray

from remove_rows.figures import Table, names_only
from remove_rows.measuring import AUDIO, Audio, decibels
from unsum import api
from unsum.errors import UnsumError

ROUTES = {
    ("mono", "mono"): [(0, 0)], ("mono", "stereo"): [(0, 0), (1, 0)], ("mono", "7.1"): [(0, 0), (1, 0)],
    ("stereo", "stereo"): [(0, 0), (1, 1)], ("stereo", "7.1"): [(0, 0), (1, 1)],
    ("7.1", "7.1"): [(c, c) for c in range(8)],
}  # fmt: skip
LOSSLESS = {
    "mono": ("music/guitar.flac", "speech/vctk_p286_011.flac", "speech/prompt_en_allison.flac"),
    "stereo": ("music/break28.flac", "multitrack/anchors_song/vox.flac", "multitrack/anchors_song/other.flac",
               "multitrack/metal_internal_degeneration/song.flac", "noise/seashore.flac"),
    "7.1": ("media/subset_43_8_channels_7_1.flac",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One sound of an exact sum: samples in steps of its own word length, and how it goes in."""

    layout: str
    bits: int
    samples: NDArray[np.int64]
    offset: int = 0
    gain: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Sum:
    """A mixture of integers, what it is made of, and the file type."""

    mixture: NDArray[np.int64]
    unknown: Part
    references: tuple[Part, ...]
    rate: int
    suffix: str

    def __str__(self) -> str:
        parts = ", ".join(f"{p.gain} {p.layout} {p.bits} bit at {p.offset}" for p in self.references)
        seconds = self.mixture.shape[1] / self.rate
        return f"{self.unknown.layout} {self.unknown.bits} bit {self.suffix} {seconds:.1f} s {self.rate} Hz = {parts}"


def draw_sound(rng: np.random.Generator, layout: str, samples: int, rate: int, used: set[str]) -> Audio:
    """(channels, samples) with a peak of 1: a real sound that is not used yet, or a made one."""
    free = [name for name in LOSSLESS[layout] if name not in used]
    if free and rng.random() < 0.5:
        used.add(chosen := str(rng.choice(free)))
        sound = soundfile.read(AUDIO / chosen, always_2d=True)[0].T
        at = int(rng.integers(0, max(1, sound.shape[1] - samples)))
        sound = sound[:, at : at + samples]
    else:
        kind = [scenes.music_like, scenes.speech_like, scenes.noise_bursts][rng.integers(3)]
        sound = kind(rng, samples, channels=len(scenes.CHANNELS[layout]), rate=rate, peak=1.0, quantised=False)
    return sound / np.abs(sound).max()


def draw_sum(seed: int) -> Sum:
    """A random exact sum: one to three references, the unknown as loud or up to 60 dB softer, now and then silent."""
    rng = np.random.default_rng([3, seed])
    bits, rate = int(rng.choice([16, 24])), int(rng.choice([44100, 48000]))
    layout = str(rng.choice(["mono", "stereo", "stereo", "7.1"]))
    length = int(rng.integers(6 * rate, 20 * rate))
    used: set[str] = set()
    n_references = int(rng.integers(1, 4))
    budget = 0.95 / (n_references + 1)
    references = []
    for _ in range(n_references):
        own = str(rng.choice([source for source, stream in ROUTES if stream == layout]))
        sound = draw_sound(rng, own, int(rng.integers(4 * rate, 20 * rate)), rate, used)
        gain = Fraction(str(rng.choice(["1", "1", "1", "-1", "1/2", "2"])))
        own_bits = int(rng.choice([16, bits]))
        peak = budget * rng.uniform(0.2, 1.0) / max(1, abs(gain)) * (2 ** (own_bits - 1) - 1)
        overlap = min(3 * rate, sound.shape[1])
        offset = int(rng.integers(overlap - sound.shape[1], length - overlap + 1))
        references.append(Part(own, own_bits, np.rint(sound * peak).astype(np.int64), offset, gain))
    sound = draw_sound(rng, layout, length, rate, used)
    peak = 0.0 if rng.random() < 0.05 else budget * 10 ** (rng.uniform(-60, 0) / 20) * (2 ** (bits - 1) - 1)
    unknown = np.zeros((sound.shape[0], length), np.int64)
    unknown[:, : sound.shape[1]] = np.rint(sound * peak)
    mixture = unknown.copy()
    for part in references:
        # Half a step is rounded up, as where a track is stored at half level before it is added.
        wide = (part.samples << (bits - part.bits)) * part.gain.numerator
        stored = (2 * wide + part.gain.denominator) // (2 * part.gain.denominator)
        start, stop = max(0, part.offset), min(length, part.offset + stored.shape[1])
        for c, d in ROUTES[part.layout, layout]:
            mixture[c, start:stop] += stored[d, start - part.offset : stop - part.offset]
    suffix = str(rng.choice([".flac", ".wav", ".mkv"]))
    return Sum(mixture, Part(layout, bits, unknown), tuple(references), rate, suffix)


def solve_sum(case: Sum, work: Path, ffmpeg: str) -> tuple[str, float]:
    """What became of one sum, and its CPU seconds."""
    bits = case.unknown.bits
    how = {"ffmpeg": ffmpeg, "rate": case.rate}
    mixture = work / f"sum{case.suffix}"
    codec = "pcm" if case.suffix == ".wav" else "flac"
    scenes.write_recording(mixture, [case.mixture], layouts=case.unknown.layout, bits=bits, codec=codec, **how)
    paths = []
    for n, part in enumerate(case.references):
        paths.append(work / f"part{n}.flac")
        scenes.write_recording(paths[-1], [part.samples], layouts=part.layout, bits=part.bits, **how)
    output = work / f"left{case.suffix}"
    began = time.process_time()
    try:
        removal = api.remove(mixture, paths, output=output, overwrite=True, sidecar=False)
    except UnsumError as error:
        return f"refused: {names_only(str(error), work)}", time.process_time() - began
    cost = time.process_time() - began
    left = scenes.decode_pcm(output, ffmpeg=ffmpeg, bits=bits)
    if np.array_equal(left, case.unknown.samples):
        return "identical", cost
    contributions = removal.analysis.model.contributions
    absent = [name for name, part in contributions.items() if not part.present]
    delays = [round(part.warp.delay_seconds * case.rate) for part in contributions.values()]
    kept = [step.rung for step in removal.analysis.steps if step.kept]
    same_length = min(left.shape[1], case.unknown.samples.shape[1])
    wrong = decibels(left[:, :same_length] - case.unknown.samples[:, :same_length], case.mixture)
    return f"differs by {wrong:.1f} dB of the mixture; {kept[-1:]}, delays {delays}, not found {absent}", cost


def exact(table: Table, work: Path, ffmpeg: str, only: str) -> dict:
    """100 random sums."""
    seeds = [int(only)] if only else range(100)
    count, failures, cpu = 0, {}, 0.0
    for seed in seeds:
        case = draw_sum(seed)
        told, cost = solve_sum(case, work, ffmpeg)
        cpu += cost
        count += told == "identical"
        if told != "identical":
            failures[seed] = f"{case}: {told}"
            table(f"  seed {seed}: {failures[seed]}")
    table(f"exact sums: {count} of {len(seeds)} bit-identical; {cpu / len(seeds):.2f} CPU s each")
    return {"identical": count, "of": len(seeds), "failures": failures, "cpu_each": cpu / len(seeds)}
