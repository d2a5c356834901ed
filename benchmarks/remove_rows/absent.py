"""References that are not in the recording."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import peers
import scenes  # pyright: ignore[reportMissingImports]

from remove_rows.figures import Table, names_only
from remove_rows.measuring import AUDIO, decode, quietly
from unsum.engine import subtract
from unsum.ladder import analyse
from unsum.removal import open_problem

SOUNDS = {
    "music": ("music/*.*", "pairs/viper/viper_a.mp3", "pairs/vibe_ace/vibe_ace.hq.ogg", "multitrack/funk/drums.mp3",
              "pairs/reno_project-system/pcm8k.flac", "multitrack/metal_internal_degeneration/song.flac",
              "multitrack/sodium/vox_lead.flac", "multitrack/reggae_try/mix.flac"),
    "speech": ("speech/libri*", "speech/sense_0870.flac", "speech/prompt*", "speech/vctk*", "pairs/timbl/timbl_1.mp3"),
    "noise": ("noise/*.flac",),
}  # fmt: skip
# Tracks that play together but are not in each other.
OTHER_TRACKS = (
    ("multitrack/metal_internal_degeneration/song.flac", "multitrack/metal_internal_degeneration/guitar.flac"),
    ("multitrack/anchors_song/drums.flac", "multitrack/anchors_song/vox.flac"),
    ("multitrack/anchors_song/other.flac", "multitrack/anchors_song/bass.flac"),
    ("multitrack/sodium/bgvox_ooh.flac", "multitrack/sodium/vox_lead.flac"),
    ("echo/simulated_5033_near.flac", "echo/simulated_5033_played.flac"),
    ("echo/simulated_8500_near.flac", "echo/simulated_8500_played.flac"),
)


def draw_absent(n_cases: int, work: Path, ffmpeg: str) -> Iterator[tuple[str, str, str]]:
    """(what it is, mixture, reference): two sounds together as the mixture, a third one to look for."""
    for mixture, reference in OTHER_TRACKS:
        yield f"{Path(reference).stem} in {Path(mixture).stem}", str(AUDIO / mixture), str(AUDIO / reference)
    known = {
        kind: sorted({path for pattern in patterns for path in AUDIO.glob(pattern)})
        for kind, patterns in SOUNDS.items()
    }
    everything = [path for paths in known.values() for path in paths]
    rng = np.random.default_rng(4)
    for n in range(n_cases - len(OTHER_TRACKS)):
        kind = ("music", "speech", "noise")[n % 3]
        reference = known[kind][rng.integers(len(known[kind]))]
        others = [path for path in everything if path != reference]
        first, second = (others[i] for i in rng.choice(len(others), 2, replace=False))
        one, rate = decode(first, ffmpeg=ffmpeg)
        two = decode(second, ffmpeg=ffmpeg, rate=rate)[0]
        mixed = 0.5 * one + 0.5 * peers.shifted(two.mean(axis=0, keepdims=True), 0, one.shape[1])
        mixture = work / "mixture.flac"
        integers = np.rint(np.clip(mixed, -0.99, 0.99) * 32768).astype(int)
        layout = {1: "mono", 2: "stereo"}[len(mixed)]
        scenes.write_recording(mixture, [integers], ffmpeg=ffmpeg, layouts=layout, rate=rate)
        yield f"{reference.stem} in {first.stem} and {second.stem}", str(mixture), str(reference)


def untouched(mixture: str, reference: str) -> bool:
    """Whether the library finds nothing and hands the mixture back as it came."""
    problem, _ = open_problem(mixture, [reference])
    analysis = analyse(problem)
    same = all(np.array_equal(block.residual, block.mixture) for block in subtract(problem, analysis.model))
    return analysis.nothing_found and same


def absent(table: Table, work: Path, ffmpeg: str, only: str) -> dict:
    """40 references that are not there."""
    refused, kept, wrong = 0, 0, {}
    cases = 0
    for name, mixture, reference in draw_absent(40, work, ffmpeg):
        cases += 1
        output = work / "absent.wav"
        code, told = quietly(["remove", mixture, reference, "-o", str(output), "--no-sidecar", "-q"])
        same = untouched(mixture, reference)
        refused += code == 4 and not output.exists()
        kept += same
        if code != 4 or not same or output.exists():
            wrong[name] = f"exit {code}, untouched {same}; {names_only(told, work, AUDIO)}"
            table(f"  {name}: {wrong[name]}")
        output.unlink(missing_ok=True)
    table(f"absent references: {refused} of {cases} refused with exit code 4, {kept} of {cases} mixtures untouched")
    return {"refused": refused, "untouched": kept, "of": cases, "wrong": wrong}
