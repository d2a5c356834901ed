"""What the media libraries at hand can do."""

import shutil
import subprocess

import av
import numpy as np
import soundfile
from av.codec import Codec
from av.codec.codec import UnknownCodecError

ENCODERS = ("flac", "alac", "wavpack", "pcm_s24le")
DECODERS = ("flac", "alac", "wavpack", "aac", "opus", "vorbis", "mp3", "h264")


def library_versions() -> dict[str, str]:
    """Names and versions of the libraries in use."""
    versions = {"numpy": np.__version__, "av (PyAV)": av.__version__}
    versions |= {name: ".".join(map(str, number)) for name, number in av.library_versions.items()}
    versions["soundfile"] = soundfile.__version__
    versions["libsndfile"] = soundfile.__libsndfile_version__
    program = shutil.which("ffmpeg")
    if program is None:
        versions["ffmpeg program"] = "not on PATH (not needed; --export-ffmpeg writes commands for it)"
    else:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stdout
        versions["ffmpeg program"] = told.split("\n")[0].removeprefix("ffmpeg version ").split(" Copyright")[0]
    return versions


def codecs_present() -> dict[str, bool]:
    """Which of the encoders and decoders that unsum uses are there."""
    there = {"libFLAC encoder": "FLAC" in soundfile.available_formats()}
    for mode, names in (("w", ENCODERS), ("r", DECODERS)):
        for name in names:
            word = "encoder" if mode == "w" else "decoder"
            there[f"{name} {word}"] = _has_codec(name, mode)
    return there


def _has_codec(name: str, mode: str) -> bool:
    try:
        Codec(name, mode)  # type: ignore[arg-type]
    except (UnknownCodecError, ValueError):
        return False
    return True
