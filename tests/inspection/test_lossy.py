"""Edges of spectra: those of encoders are found, those of nature are not."""

import numpy as np
import pytest
import scenes

from unsum.inspection.lossy import SpectrumMeter
from unsum.inspection.recording import inspect_file

RATE = 48000


def shaped(rng: np.random.Generator, response, samples: int = 1 << 18) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(samples)) * response(np.fft.rfftfreq(samples, 1 / RATE))
    wave = np.fft.irfft(spectrum, samples)
    return np.rint(wave / np.abs(wave).max() * 20000) / 32768


def low_pass_of(wave: np.ndarray):
    meter = SpectrumMeter(sample_rate=RATE)
    for start in range(0, len(wave), 65536):
        meter.observe(wave[None, start : start + 65536], ())
    return meter.low_pass()


@pytest.mark.parametrize("cutoff_hz", [6000, 11000, 16000, 19000, 20000])
def test_a_steep_edge_is_found_to_a_hundredth(rng, cutoff_hz):
    found = low_pass_of(shaped(rng, lambda f: (f < cutoff_hz) / np.sqrt(1 + f / 500)))
    assert found is not None
    assert found.cutoff_hz == pytest.approx(cutoff_hz, rel=0.01)
    assert found.drop_db > 30


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(lambda f: np.ones_like(f), id="white"),
        pytest.param(lambda f: 1 / np.sqrt(1 + f / 50), id="pink"),
        pytest.param(lambda f: 1 / (1 + (f / 3000) ** 4), id="48 dB per octave"),
        pytest.param(lambda f: 1 / (1 + (f / 12000) ** 8), id="eighth order"),
        pytest.param(lambda f: (f < 23000) * 1.0, id="the converter's own edge"),
        pytest.param(lambda f: (np.abs(f % 1000) < 2) * (f < 9000), id="partials that end"),
        pytest.param(lambda f: (f < 200) * 1.0, id="a rumble"),
    ],
)
def test_what_no_encoder_did_is_not_claimed(rng, response):
    assert low_pass_of(shaped(rng, response)) is None


def test_too_little_sound_makes_no_claim(rng):
    assert low_pass_of(shaped(rng, lambda f: f < 16000)[:30000]) is None
    assert low_pass_of(np.zeros(1 << 18)) is None
    assert low_pass_of(np.zeros(1)) is None


def test_an_encoder_leaves_its_edge_in_a_lossless_file(rng, tmp_path, ffmpeg):
    sound = scenes.noise_bursts(rng, 4 * RATE, channels=2, peak=15000)
    lossy = scenes.write_recording(tmp_path / "lossy.mkv", [sound], ffmpeg=ffmpeg, layouts="stereo", codec="mp3")
    again = scenes.decode_pcm(lossy, ffmpeg=ffmpeg)
    told = []
    for name, samples in (("never", sound), ("once", again)):
        path = scenes.write_recording(tmp_path / f"{name}.flac", [samples], ffmpeg=ffmpeg, layouts="stereo")
        told.append(inspect_file(path).streams[0].low_pass)
    assert told[0] is None
    assert told[1] is not None
    assert 14000 < told[1].cutoff_hz < 21000
