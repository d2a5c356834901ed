"""Scenes are read strictly, and their mixes are what they say."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from unsum import api
from unsum.errors import InputError, OutputError, OutputExistsError, UsageError
from unsum.scene import EqBand, Reverb, load_scene

RATE = 22050
SAMPLES = 8000


@pytest.fixture
def folder(tmp_path, rng) -> Path:
    """Two tracks and two responses; the tracks end before the files do, so that what rings is heard."""
    for name, channels in (("mono", 1), ("wide", 2)):
        sound = np.zeros((SAMPLES, channels))
        sound[200:4000] = 0.2 * rng.uniform(-1, 1, (3800, channels))
        soundfile.write(tmp_path / f"{name}.wav", sound, RATE, subtype="DOUBLE")
    decay = np.exp(-np.arange(600) / 80)[:, None]
    soundfile.write(tmp_path / "hall.wav", decay * rng.uniform(-1, 1, (600, 2)), RATE, subtype="DOUBLE")
    soundfile.write(tmp_path / "plate.wav", decay * rng.uniform(-1, 1, (600, 1)), RATE, subtype="DOUBLE")
    return tmp_path


def mixed(folder: Path, text: str, **how) -> np.ndarray:
    (folder / "scene.toml").write_text(text, encoding="utf-8")
    rendering = api.render(folder / "scene.toml", overwrite=True, **how)
    return soundfile.read(rendering.output, always_2d=True)[0].T


def read(folder: Path, name: str) -> np.ndarray:
    return soundfile.read(folder / name, always_2d=True)[0].T


def test_a_mono_track_is_panned_by_equal_power(folder):
    found = mixed(folder, 'bits = "double"\n[tracks.a]\nfile = "mono.wav"\ngain_db = -6.0\npan_degrees = 30\n')
    (mono,) = read(folder, "mono.wav")
    gain = 10 ** (-6 / 20)
    np.testing.assert_allclose(found, gain * np.array([np.sqrt(3) / 2, 0.5])[:, None] * mono, atol=1e-12)


def test_a_stereo_track_passes_the_centre_unchanged_and_one_inverted_cancels_it(folder):
    text = 'bits = "double"\n[tracks.a]\nfile = "wide.wav"\n'
    np.testing.assert_allclose(mixed(folder, text), read(folder, "wide.wav"), atol=1e-12)
    text += '[tracks.b]\nfile = "wide.wav"\npolarity = -1\n'
    np.testing.assert_allclose(mixed(folder, text), 0, atol=1e-12)


def test_whole_delays_move_samples_and_nothing_else(folder):
    found = mixed(folder, f'bits = "double"\n[tracks.a]\nfile = "wide.wav"\ndelay_seconds = {37 / RATE!r}\n')
    assert found.shape[1] == SAMPLES + 37
    np.testing.assert_allclose(found[:, 37:], read(folder, "wide.wav"), atol=1e-12)


def test_a_part_of_a_sample_of_delay_turns_phases_and_keeps_levels(folder):
    """Against the delay of a band-limited periodic sound, which the Fourier transform does exactly."""
    at = np.arange(SAMPLES)
    window = np.hanning(4000)
    sound, wanted = np.zeros(SAMPLES), np.zeros(SAMPLES)
    for hz, phase in ((440.0, 0.3), (5000.0, 1.1), (10300.0, 2.0)):
        sound[2000:6000] += 0.1 * window * np.cos(2 * np.pi * hz / RATE * at[2000:6000] + phase)
    soundfile.write(folder / "tones.wav", sound, RATE, subtype="DOUBLE")
    n_fft = 4 * SAMPLES
    turned = np.exp(-2j * np.pi * np.arange(n_fft // 2 + 1) / n_fft * 12.37)
    wanted = np.fft.irfft(np.fft.rfft(sound, n_fft) * turned, n_fft)[:SAMPLES]
    found = mixed(
        folder,
        f'bits = "double"\nchannels = "mono"\n[tracks.a]\nfile = "tones.wav"\ndelay_seconds = {12.37 / RATE!r}\n',
    )
    assert np.max(np.abs(found[0, :SAMPLES] - wanted)) < 1e-6


def test_equalisers_ring_on_behind_the_end_of_a_track(folder):
    text = (
        'bits = "double"\nchannels = "mono"\n[tracks.a]\nfile = "mono.wav"\n'
        'eq = [{ type = "highpass", frequency_hz = 90, order = 4 }, '
        '{ type = "peak", frequency_hz = 700, gain_db = 9, q = 8 }]\n'
    )
    short = read(folder, "mono.wav")[:, :4000]
    soundfile.write(folder / "mono.wav", short.T, RATE, subtype="DOUBLE")
    found = mixed(folder, text)
    a, omega = 10 ** (9 / 40), 2 * np.pi * 700 / RATE
    alpha, cos = np.sin(omega) / 16, np.cos(omega)
    wanted = scipy.signal.sosfilt(
        scipy.signal.butter(4, 90, "highpass", fs=RATE, output="sos"), np.pad(short[0], (0, found.shape[1] - 4000))
    )
    wanted = scipy.signal.lfilter(
        [1 + alpha * a, -2 * cos, 1 - alpha * a], [1 + alpha / a, -2 * cos, 1 - alpha / a], wanted
    )
    assert found.shape[1] > 4500
    np.testing.assert_allclose(found[0], wanted, atol=1e-9)


def test_free_hand_filters_and_sends_are_convolutions(folder):
    text = (
        'bits = "double"\n[tracks.a]\nfile = "mono.wav"\nfir = [0.5, 0.0, -0.25]\n'
        'reverb = { file = "hall.wav", send_db = -6.0, pre_delay_seconds = 0.01 }\n'
    )
    found = mixed(folder, text)
    (mono,), hall = read(folder, "mono.wav"), read(folder, "hall.wav")
    dry = np.convolve(mono, [0.5, 0, -0.25]) / np.sqrt(2)
    later = round(0.01 * RATE)
    for side in (0, 1):
        wanted = np.pad(10 ** (-6 / 20) * np.convolve(dry, hall[side]), (later, 0))
        wanted[: len(dry)] += dry
        np.testing.assert_allclose(found[side], wanted[: found.shape[1]], atol=1e-9)


def test_integers_are_rounded_once_and_a_length_is_kept(folder):
    text = 'bits = 16\nseconds = 0.25\nchannels = "mono"\n[tracks.a]\nfile = "mono.wav"\ngain_db = -3.0\n'
    mixed(folder, text)
    found = soundfile.read(folder / "scene.wav", dtype="int16")[0]
    wanted = np.floor(read(folder, "mono.wav")[0] * 10 ** (-3 / 20) * 32768 + 0.5)[: round(0.25 * RATE)]
    assert np.array_equal(found, wanted)


def test_each_track_can_be_written_alone(folder):
    text = 'bits = "float"\n[tracks.a]\nfile = "mono.wav"\n[tracks.b]\nfile = "wide.wav"\ngain_db = -20\n'
    found = mixed(folder, text, images=True)
    alone = [read(folder, f"scene.{name}.wav") for name in "ab"]
    np.testing.assert_allclose(found, alone[0] + alone[1], atol=1e-7)


def test_a_mix_that_would_clip_is_refused_and_nothing_is_written(folder):
    with pytest.raises(UsageError, match="beyond full scale"):
        mixed(folder, '[tracks.a]\nfile = "mono.wav"\ngain_db = 30\n')
    assert not (folder / "scene.wav").exists()


def test_what_exists_stays(folder):
    (folder / "scene.wav").write_text("precious")
    (folder / "scene.toml").write_text('[tracks.a]\nfile = "mono.wav"\n')
    with pytest.raises(OutputExistsError):
        api.render(folder / "scene.toml")
    assert (folder / "scene.wav").read_text() == "precious"


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ('file = "mono.wav"', "mono.wav"),
        ('file = "mono.wav#a:0"', "mono.wav"),
        ('file = "wide.wav#a:0[FL]"', "wide.wav"),
        ('file = "mono.wav"\nfir = "plate.wav"', "plate.wav"),
        ('file = "mono.wav"\nfir = "plate.wav#a:0"', "plate.wav"),
        ('file = "mono.wav"\nreverb = { file = "hall.wav" }', "hall.wav"),
        ('file = "mono.wav"\nreverb = { file = "hall.wav#a:0" }', "hall.wav"),
    ],
)
def test_nothing_that_a_scene_is_made_of_is_written_over(folder, line, target):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OutputError, match=f"{target} is the input"):
        mixed(folder, f"[tracks.a]\n{line}\n", output=folder / target)
    (folder / "scene.toml").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_values_of_a_scene(folder):
    (folder / "s.toml").write_text(
        '[tracks.lead]\nfile = "a.wav"\neq = [{ type = "lowshelf", frequency_hz = 100, gain_db = -2, order = 1 }]\n'
        'reverb = { file = "hall.wav" }\nfir = "taps.wav"\n'
    )
    (track,) = load_scene(folder / "s.toml").tracks
    assert track.eq == (EqBand("lowshelf", 100.0, -2.0, order=1),)
    assert track.reverb == Reverb(folder / "hall.wav")
    assert track.fir == folder / "taps.wav"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("gian_db = 1", "did you mean 'gain_db'"),
        ('gain_db = "loud"', "give a number"),
        ("gain_db = nan", "give a number"),
        ("gain_db = 1" + 400 * "0", "gain_db = 10*\\.\\.\\.; give a number"),
        ("gain_db = 0x1" + 4000 * "0", "a number of thousands of digits; give a number"),
        ("gain_db = 7000", "from -1000 to 1000"),
        ("fir = [1" + 400 * "0" + "]", "list of taps nor a file"),
        ("polarity = 0", "1 or -1"),
        ("pan_degrees = 91", "from 0"),
        ('to = ["FC"]', "channels of the mix"),
        ('fir = ["a"]', "list of taps nor a file"),
        ("reverb = 1", "hall.wav"),
        ("reverb = { file = 'hall.wav', pre_delay_seconds = -1 }", "0 or more"),
        ('eq = [{ type = "notch", frequency_hz = 100 }]', "known: peak"),
        ('eq = [{ type = "peak", frequency_hz = 100 }]', "needs q"),
        ('eq = [{ type = "peak", q = 1 }]', "frequency_hz is missing"),
        ('eq = [{ type = "highpass", frequency_hz = 100, gain_db = 3 }]', "no gain_db"),
        ('eq = [{ type = "highpass", frequency_hz = 100, order = 3, q = 1 }]', "no q"),
        ('eq = [{ type = "highpass", frequency_hz = 100, order = 5 }]', "has 1, 2, 3, 4"),
        ('eq = [{ type = "highpass", frequency_hz = 100000 }]', "half the sample rate"),
        ('reverb = { file = "three.wav" }', "3 channels"),
    ],
)
def test_slips_are_told_with_their_place(folder, line, what):
    soundfile.write(folder / "three.wav", np.ones((10, 3)), RATE)
    with pytest.raises(UsageError, match=what) as told:
        mixed(folder, f'[tracks.lead]\nfile = "mono.wav"\n{line}\n')
    assert "lead" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "names no track"),
        ("[tracks]\na = 1", "write \\[tracks.a\\]"),
        ("bits = 12\n[tracks.a]\nfile = 'mono.wav'", "bits = 12"),
        # TOML tells 24.0 from 24, and so the word length would have been taken for floating point.
        ("bits = 24.0\n[tracks.a]\nfile = 'mono.wav'", "bits = 24.0; give one of 16"),
        ("bits = 1" + 5000 * "0" + "\n[tracks.a]\nfile = 'mono.wav'", "no TOML"),
        ("sample_rate = 1" + 400 * "0" + "\n[tracks.a]\nfile = 'mono.wav'", "whole Hz"),
        ("sample_rate = 1.5\n[tracks.a]\nfile = 'mono.wav'", "whole Hz"),
        ("seconds = 0\n[tracks.a]\nfile = 'mono.wav'", "above 0"),
        ("channels = 'stero'\n[tracks.a]\nfile = 'mono.wav'", "did you mean 'stereo'"),
        ("channels = 'mono'\n[tracks.a]\nfile = 'mono.wav'\npan_degrees = 3", "pan needs"),
        ("[tracks.a]\ngain_db = 1", "file is missing"),
        ("[tracks.a", "no TOML"),
    ],
)
def test_a_scene_that_is_none_is_refused(folder, text, what):
    with pytest.raises(UsageError, match=what) as told:
        mixed(folder, text)
    assert "\n" not in str(told.value)


def test_a_track_that_is_not_there_is_an_input_error(folder):
    with pytest.raises(InputError, match=r"gone\.wav"):
        mixed(folder, '[tracks.a]\nfile = "gone.wav"\n')
