"""Files that hold nothing to remove, or nothing at all."""

from pathlib import Path

import numpy as np
import scenes  # pyright: ignore[reportMissingImports]
import soundfile
from numpy.typing import NDArray

from remove_rows.figures import Table, names_only
from remove_rows.measuring import decibels, decode, quietly


def no_harm(table: Table, work: Path, ffmpeg: str, only: str) -> dict:
    """Files that hold nothing to remove, or nothing at all."""
    rng = np.random.default_rng(5)
    rate = 48000
    how = {"ffmpeg": ffmpeg, "layouts": "stereo", "rate": rate}
    song = scenes.music_like(rng, 10 * rate, channels=2, rate=rate)
    talk = scenes.speech_like(rng, 10 * rate, channels=2, rate=rate)

    def stored(name: str, samples: NDArray, *, floating: bool = False) -> str:
        path = work / name
        if floating:
            soundfile.write(path, samples.T / 32768, rate, subtype="FLOAT")
        else:
            scenes.write_recording(path, [samples], **how)
        return str(path)

    mixture = stored("party.flac", song + talk)
    floats = stored("party.wav", song + talk, floating=True)
    broken = song.astype(float)
    broken[0, 5 * rate] = np.nan
    unbroken = {"unchanged": talk + song, "silence": np.zeros_like(talk), "talk": talk}
    (work / "empty.wav").write_bytes((work / "party.wav").read_bytes()[:44])
    (work / "words.flac").write_text("no sound at all")
    cases = [
        ("reference silent", mixture, stored("silent.flac", 0 * song), 4, ""),
        ("reference 0.1 s long", mixture, stored("short.flac", song[:, : rate // 10]), 4, ""),
        ("reference of one sample", mixture, stored("one.flac", song[:, :1]), 4, ""),
        ("reference without samples", mixture, str(work / "empty.wav"), 3, ""),
        ("reference no sound file", mixture, str(work / "words.flac"), 3, ""),
        ("reference = the mixture", mixture, stored("same.flac", song + talk), 0, "silence"),
        ("reference = the mixture, the same file", mixture, mixture, 0, "silence"),
        ("reference = the mixture, float", floats, stored("same.wav", song + talk, floating=True), 0, "silence"),
        ("reference with NaN, float", mixture, stored("nan.wav", broken, floating=True), 3, ""),
        (
            "mixture with NaN, float",
            stored("nan_mix.wav", broken + talk, floating=True),
            str(work / "song.flac"),
            3,
            "",
        ),
        ("mixture silent", str(work / "silent.flac"), stored("song.flac", song), 4, ""),
        ("mixture of one sample", str(work / "one.flac"), str(work / "song.flac"), 4, ""),
        ("an absent and a present reference", mixture, str(work / "song.flac"), 0, "talk"),
    ]
    absent = stored("absent.flac", scenes.music_like(rng, 10 * rate, channels=2, rate=rate))
    figures = {}
    right = 0
    for name, given, reference, wanted, left in cases:
        output = work / "harm.wav"
        more = [absent] if name.startswith("an absent") else []
        code, told = quietly(["remove", given, reference, *more, "-o", str(output), "--no-sidecar", "-q"])
        told = names_only(told, work)
        outcome = "nothing written"
        if output.exists():
            samples = decode(output, ffmpeg=ffmpeg)[0] * 32768
            outcome = next(
                (word for word, truth in unbroken.items() if np.array_equal(samples, truth)),
                f"{decibels(samples, song + talk):.1f} dB of the mixture",
            )
            output.unlink()
        well = code == wanted and outcome == (left or "nothing written")
        right += well
        figures[name] = {"exit": code, "outcome": outcome, "told": told, "right": well}
        table(f"  {name:40} exit {code}, {outcome:16} {'' if well else f'EXPECTED {wanted} {left}'} {told}".rstrip())
    table(f"no harm: {right} of {len(cases)} as expected")
    return figures
