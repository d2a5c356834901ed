"""What many tests need: the ffmpeg program, real audio, a seeded generator."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import scenes

# A shell that runs this in the background lets it ignore interrupts, and the programs that are to be interrupted, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    found = scenes.find_ffmpeg()
    if found is None:
        pytest.skip("no ffmpeg on the PATH and no imageio-ffmpeg installed: nothing to write recordings with")
    return found


@pytest.fixture(scope="session")
def audio_root() -> Path:
    """Real recordings: the folder UNSUM_AUDIO names, or shared/audio beside the repository."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "audio"
    root = Path(os.environ.get("UNSUM_AUDIO", beside))
    if not root.is_dir():
        pytest.skip(f"no real audio at {root}; name a folder in UNSUM_AUDIO")
    return root


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20201119)
