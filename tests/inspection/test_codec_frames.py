"""Frames of encoders are found where an encoder was, at the right sample; nowhere else."""

import math

import numpy as np
import pytest
import scenes
import soundfile

from unsum.inspection.codec_frames import FrameMeter
from unsum.inspection.codec_transforms import encoder_transforms, kaiser_bessel_window, mdct, vorbis_window
from unsum.inspection.recording import inspect_file
from unsum.report.inspection import inspection_text

RATE = 44100
BLOCK = 1 << 16
# Published as lossless, and made by programs or microphones, not by decoders.
LOSSLESS = (
    "multitrack/reggae_try/mix.flac",
    "music/break28.flac",
    "music/guitar.flac",
    "speech/vctk_p286_011.flac",
)
# Lossless files that are known to be decoded from AAC and Vorbis.
DECODED = {"multitrack/sodium/slow_beat.flac": "aac", "multitrack/metal_internal_degeneration/song.flac": "vorbis"}


def frames_in(sound: np.ndarray, *, rate: int = RATE, full_scale: float = 32768.0):
    meter = FrameMeter(sample_rate=rate, full_scale=full_scale)
    for start in range(0, sound.shape[1], BLOCK):
        meter.observe(start, sound[:, start : start + BLOCK])
    return meter.frames(first_sample=0, edge_hz=None)


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    rng = np.random.default_rng(7)
    sound = scenes.music_like(rng, 5 * RATE, channels=2, rate=RATE, peak=9000)
    hiss = scenes.noise_bursts(rng, 5 * RATE, channels=2, rate=RATE, peak=1500)
    return sound + hiss


@pytest.fixture(scope="module")
def decoded(music, tmp_path_factory, ffmpeg):
    """What comes back from ffmpeg's encoders and decoders, as 16-bit integers."""
    folder = tmp_path_factory.mktemp("decoded")

    def decoded(codec: str, suffix: str, *options: str) -> np.ndarray:
        soundfile.write(folder / "music.wav", music.T.astype(np.int16), RATE)
        coded = folder / f"{codec}.{suffix}"
        scenes.run_ffmpeg(ffmpeg, "-y", "-i", folder / "music.wav", "-c:a", codec, *options, coded)
        return scenes.decode_pcm(coded, ffmpeg=ffmpeg)

    return decoded


@pytest.mark.parametrize(
    ("encoder", "suffix", "options", "codec"),
    [
        ("libmp3lame", "mp3", ("-b:a", "128k"), "mp3"),
        ("libmp3lame", "mp3", ("-b:a", "320k"), "mp3"),
        ("aac", "m4a", ("-b:a", "128k"), "aac"),
        ("libvorbis", "ogg", ("-b:a", "112k"), "vorbis"),
        ("ac3", "ac3", ("-b:a", "128k"), "ac3"),
    ],
)
def test_the_encoder_is_named_and_its_frames_lie_on_their_grid(encoder, suffix, options, codec, decoded):
    sound = decoded(encoder, suffix, *options)
    found = frames_in(sound)
    assert found is not None
    assert found.codec == codec
    assert 0 <= found.first_frame < found.frame_samples
    # What is cut off in front moves every frame by as much.
    cut = frames_in(sound[:, 333:])
    assert cut is not None
    # Vorbis begins its grid anew behind every short block, at a multiple of 64 samples.
    grid = 64 if codec == "vorbis" else found.frame_samples
    assert (found.first_frame - cut.first_frame) % grid == 333 % grid


def test_what_no_encoder_touched_shows_no_frames(music, rng):
    alone = music[:1]  # one channel is half of the work
    spectrum = np.fft.rfft(alone)
    spectrum[:, round(16_000 / RATE * music.shape[1]) :] = 0
    steep = np.rint(np.fft.irfft(spectrum, music.shape[1]))
    clicks = np.zeros_like(alone)
    clicks[:, ::1024] = 9000  # as often as frames begin
    pulses = 4000 * np.sign(np.sin(2 * np.pi * (np.arange(music.shape[1])[None] + 0.5) / 64))
    gated = alone * (np.arange(music.shape[1]) // 1024 % 4 > 0)
    hiss = rng.integers(-40, 40, alone.shape)
    granules = np.zeros_like(alone)
    granules[:, ::576] = 9000
    for sound in (music, steep, gated, clicks, clicks + hiss, granules, granules + hiss, pulses, pulses + hiss, hiss):
        assert frames_in(sound) is None


def test_resampling_hides_the_frames(decoded):
    import soxr

    sound = decoded("libmp3lame", "mp3", "-b:a", "128k")
    other_rate = np.rint(soxr.resample(sound.T.astype(float), RATE, 48_000).T)
    assert frames_in(other_rate, rate=48_000) is None


def test_too_little_sound_makes_no_claim(decoded):
    sound = decoded("aac", "m4a", "-b:a", "96k")
    assert frames_in(sound[:, : RATE // 2]) is None
    assert frames_in(sound[:, :1]) is None
    assert frames_in(np.zeros_like(sound)) is None


def test_passages_stay_few_however_long_the_stream_is(music):
    meter = FrameMeter(sample_rate=RATE, full_scale=32768.0)
    for block in range(200):
        meter.observe(block * BLOCK, music[:, :BLOCK])
    assert 64 <= len(meter._passages) <= 128
    assert max(meter._passages) > 190 * BLOCK


def test_holes_of_lost_packets_are_left_out(music):
    meter = FrameMeter(sample_rate=RATE, full_scale=32768.0)
    meter.observe(0, music[:, :BLOCK], ((0, BLOCK - 100),))
    assert not meter._passages


@pytest.mark.parametrize("transform", encoder_transforms(), ids=lambda each: f"{each.codec} {each.hop}")
def test_white_noise_of_unit_power_has_unit_power_in_every_line(transform, rng):
    noise = rng.standard_normal((1500, transform.support)).astype(np.float32)
    power = np.mean(transform.coefficients(noise).astype(float) ** 2, axis=0)
    assert power.shape == (transform.hop,)
    assert np.all(np.abs(power - 1) < 0.25)
    assert abs(10 * math.log10(power.mean())) < 0.05


@pytest.mark.parametrize("transform", encoder_transforms(), ids=lambda each: f"{each.codec} {each.hop}")
def test_a_tone_appears_in_the_line_of_its_frequency(transform):
    for share in (0.1303, 0.4107, 0.7711):  # of half the sample rate
        phases = np.array([[0.0], [1.0], [2.0]])
        tone = np.cos(np.pi * share * np.arange(transform.support) + phases).astype(np.float32)
        lines = np.sum(transform.coefficients(tone).astype(float) ** 2, axis=0)
        assert abs(int(lines.argmax()) + 0.5 - share * transform.hop) < 1.5
        assert lines[max(0, int(lines.argmax()) - 6) : int(lines.argmax()) + 7].sum() > 0.99 * lines.sum()


def test_the_lapped_transform_is_its_sum_of_cosines(rng):
    frame = rng.standard_normal(16)
    n, k = np.arange(16), np.arange(8)[:, None]
    by_hand = np.sqrt(2 / 8) * np.cos(np.pi / 8 * (n + 0.5 + 4) * (k + 0.5)) @ frame
    assert np.allclose(mdct(frame), by_hand)


@pytest.mark.parametrize("window", [kaiser_bessel_window(2048, alpha=4.0), vorbis_window(2048)])
def test_windows_give_the_sound_back_where_they_overlap(window):
    assert np.allclose(window[:1024] ** 2 + window[1024:] ** 2, 1)
    assert np.allclose(window, window[::-1])


@pytest.mark.parametrize("name", LOSSLESS)
def test_real_lossless_sound_is_never_called_lossy(name, audio_root):
    for stream in inspect_file(audio_root / name).streams:
        assert stream.codec_frames is None


@pytest.mark.parametrize(("name", "codec"), DECODED.items())
def test_real_sound_that_was_decoded_is_recognised(name, codec, audio_root):
    finding = inspect_file(audio_root / name)
    frames = finding.streams[0].codec_frames
    assert frames is not None
    assert frames.codec == codec
    words = " ".join(inspection_text(finding).split())
    assert f"lossless by its codec, but a:0 was {'AAC' if codec == 'aac' else 'Vorbis'} once" in words
