"""What a header promises and what is there: truncated files are told, those of unknown length are not accused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import scenes
import soundfile

from unsum import api
from unsum.cli import run
from unsum.media.probe import probe
from unsum.media.promised import samples_promised_by_wav, shortfall_words
from unsum.media.source import open_source

RATE = 16000
SAMPLES = 2 * RATE


@pytest.fixture
def sound(rng) -> np.ndarray:
    return scenes.music_like(rng, SAMPLES, channels=2, rate=RATE, peak=8000)


def wav(sound: np.ndarray, *, form: bytes = b"RIFF", order: str = "<", data_bytes: int | None = None) -> bytes:
    """A WAV by hand, with any size in its header."""
    content = sound.T.astype(f"{order}i2").tobytes()
    told = len(content) if data_bytes is None else data_bytes
    fmt = struct.pack(f"{order}HHIIHH", 1, len(sound), RATE, 2 * len(sound) * RATE, 2 * len(sound), 16)
    chunks = b"" if form in (b"RIFF", b"RIFX") else b"ds64" + struct.pack("<IQQQI", 28, 0, told, 0, 0)
    told = told if form in (b"RIFF", b"RIFX") else 0xFFFFFFFF
    chunks += b"JUNK" + struct.pack(f"{order}I", 3) + b"odd\0"  # a chunk of odd length is padded
    chunks += b"fmt " + struct.pack(f"{order}I", 16) + fmt + b"data" + struct.pack(f"{order}I", told)
    return form + struct.pack(f"{order}I", min(4 + len(chunks) + told, 0xFFFFFFFF)) + b"WAVE" + chunks + content


def damage(path: Path) -> str | None:
    source = open_source(path)
    for _ in source.blocks():
        pass
    return source.damage()


@pytest.mark.parametrize(("form", "order"), [(b"RIFF", "<"), (b"RF64", "<"), (b"BW64", "<"), (b"RIFX", ">")])
def test_a_truncated_wav_says_how_much_was_promised_and_how_much_is_there(form, order, sound, tmp_path):
    whole = wav(sound, form=form, order=order)
    path = tmp_path / "cut.wav"
    path.write_bytes(whole)
    assert samples_promised_by_wav(path) == SAMPLES
    if form == b"BW64":
        return  # not every FFmpeg reads it
    assert damage(path) is None
    path.write_bytes(whole[: -4 * 5000 - 3])
    assert damage(path) == (
        f"cut.wav is damaged: its header promises {SAMPLES} samples (2.000 s), but there are only "
        f"{SAMPLES - 5001} ({(SAMPLES - 5001) / RATE:.3f} s)"
    )


@pytest.mark.parametrize("data_bytes", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_sizes_of_streams_from_pipes_promise_nothing(data_bytes, sound, tmp_path):
    path = tmp_path / "stream.wav"
    path.write_bytes(wav(sound, data_bytes=data_bytes))
    assert samples_promised_by_wav(path) is None
    assert damage(path) is None
    assert sum(block.shape[1] for block in open_source(path).blocks()) == SAMPLES


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\x24\0\0\0WAVEfmt ", b"RIFF\x24\0\0\0WAVEdata\x08\0\0\0" + bytes(8)]
)
def test_what_is_hardly_a_header_promises_nothing(content, tmp_path):
    path = tmp_path / "stub.wav"
    path.write_bytes(content)
    assert samples_promised_by_wav(path) is None


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_every_plain_form_of_samples_is_counted(subtype, sound, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound.T / 32768, RATE, subtype=subtype)
    assert samples_promised_by_wav(tmp_path / "a.wav") == SAMPLES
    assert probe(tmp_path / "a.wav").audio[0].promised_samples == SAMPLES


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "GSM610"])
def test_packed_samples_are_not_counted_by_their_bytes(subtype, sound, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound[0] / 32768, RATE, subtype=subtype)
    assert samples_promised_by_wav(tmp_path / "a.wav") is None
    assert damage(tmp_path / "a.wav") is None


def test_a_flac_counts_its_samples_in_its_own_header(sound, tmp_path):
    soundfile.write(tmp_path / "a.flac", sound.T / 32768, RATE, subtype="PCM_16")
    assert probe(tmp_path / "a.flac").audio[0].promised_samples == SAMPLES
    assert damage(tmp_path / "a.flac") is None
    scenes.truncate(tmp_path / "a.flac", tmp_path / "cut.flac", fraction=0.6)
    assert f"its header promises {SAMPLES} samples (2.000 s), but there are only" in (
        damage(tmp_path / "cut.flac") or ""
    )


def test_words_by_hand():
    assert shortfall_words(None, 5, sample_rate=10) is None
    assert shortfall_words(5, 5, sample_rate=10) is None
    assert shortfall_words(20, 5, sample_rate=10) == (
        "its header promises 20 samples (2.000 s), but there are only 5 (0.500 s)"
    )


# Every command says so -------------------------------------------------------------------------------


@pytest.fixture
def folder(rng, tmp_path) -> Path:
    """A song, a recording of it, and of each a copy that breaks off."""
    song = scenes.music_like(rng, 4 * RATE, rate=RATE, peak=8000)
    talk = scenes.speech_like(rng, 4 * RATE, rate=RATE, peak=4000)
    mixed = talk.copy()
    mixed[:, 3000:] += song[:, :-3000]
    for name, samples in (("song", song), ("mix", mixed), ("other", talk[:, ::-1])):
        (tmp_path / f"{name}.wav").write_bytes(wav(samples))
        scenes.truncate(tmp_path / f"{name}.wav", tmp_path / f"{name}-cut.wav", fraction=0.75)
    return tmp_path


PROMISED = "its header promises 64000 samples (4.000 s), but there are only"


def words(capsys) -> str:
    told = capsys.readouterr()
    return " ".join((told.out + told.err).split())


def test_remove_align_and_explain_tell_of_the_file_that_breaks_off(folder, capsys):
    pair = [str(folder / "mix-cut.wav"), str(folder / "song.wav")]
    told = f"limit: mix-cut.wav is damaged: {PROMISED}"
    assert run(["remove", *pair, "--max-rung", "exact", "-o", str(folder / "out.wav")]) == 0
    assert told in words(capsys)
    assert run(["align", *pair]) == 0
    assert told in words(capsys)
    assert run(["explain", *pair, "--max-taps", "16", "-o", str(folder / "found")]) == 0
    assert told in words(capsys)
    document = json.loads((folder / "found" / "mix-cut.mix.json").read_text(encoding="utf-8"))
    assert any(PROMISED in limit for limit in document["limits"])


def test_a_reference_that_breaks_off_is_told_too_also_where_it_is_not_found(folder, capsys):
    cut = str(folder / "song-cut.wav")
    told = f"song-cut.wav is damaged: {PROMISED}"
    assert run(["remove", str(folder / "mix.wav"), cut, "--max-rung", "exact", "-o", str(folder / "out.wav")]) == 0
    assert told in words(capsys)
    assert run(["remove", str(folder / "other.wav"), cut, "--speed", "0", "-o", str(folder / "none.wav")]) == 4
    assert told in words(capsys)


def test_null_and_inspect_tell_of_the_file_that_breaks_off(folder, capsys):
    assert run(["null", str(folder / "mix.wav"), str(folder / "mix-cut.wav")]) == 0
    assert f"mix-cut.wav is truncated: {PROMISED}" in words(capsys)
    assert run(["inspect", str(folder / "mix-cut.wav")]) == 0
    assert f"note: truncated: {PROMISED}" in words(capsys)
    assert run(["inspect", str(folder / "mix.wav")]) == 0
    assert "truncated" not in words(capsys)


def test_recover_warns_of_a_recording_that_breaks_off(folder, capsys):
    (folder / "one.toml").write_text('[sources]\ndesk = { layout = "mono" }\n[streams]\n0 = "desk"\n')
    found = api.recover(folder / "mix-cut.wav", recipe=folder / "one.toml", output=folder / "desk.wav")
    assert any(f"stream 0 is truncated: {PROMISED}" in warning for warning in found.warnings)
