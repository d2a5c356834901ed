"""How deep two files cancel, against differences made here."""

import numpy as np
import pytest
import scenes
import soundfile

from unsum.errors import InputError
from unsum.inspection.null import null_files
from unsum.report.null import null_dict, null_text, verdict

RATE = 48000


@pytest.fixture
def write(tmp_path):
    """Write (channels, samples) integers of 16 or 24 bits, or floats, to a lossless file."""

    def write(name, samples, *, bits=16, rate=RATE):
        if samples.dtype.kind == "f":
            soundfile.write(tmp_path / name, samples.T.astype(np.float32), rate, subtype="FLOAT")
        else:
            words = (samples.T << (32 - bits)).astype(np.int32)
            soundfile.write(tmp_path / name, words, rate, subtype=f"PCM_{bits}")
        return tmp_path / name

    return write


def test_a_file_and_itself_are_bit_identical(write, rng):
    path = write("a.wav", scenes.speech_like(rng, RATE, channels=2))
    found = null_files(path, path)
    assert found.identical
    assert found.null_db is None
    assert verdict(found).startswith("bit-identical:")
    assert found.reaches(-200)


def test_the_depth_is_the_energy_of_the_difference(write, rng):
    sound, change = (
        scenes.music_like(rng, 3 * RATE, channels=2),
        scenes.noise_bursts(rng, 3 * RATE, channels=2, peak=40),
    )
    found = null_files(write("a.wav", sound), write("b.wav", sound + change))
    energy = [float((x.astype(float) ** 2).sum()) for x in (sound, change)]
    assert found.null_db is not None
    assert found.null_db == pytest.approx(10 * np.log10(energy[1] / energy[0]), abs=1e-6)
    assert found.peak_lsb == np.abs(change).max()
    assert found.peak_dbfs == pytest.approx(20 * np.log10(np.abs(change).max() / 32768))
    assert found.differing == np.count_nonzero(change)
    assert found.reaches(found.null_db + 0.1)
    assert found.reaches(-found.null_db - 0.1)  # the sign does not matter
    assert not found.reaches(found.null_db - 0.1)


def test_one_step_in_one_sample_is_seen_and_placed(write, rng):
    sound = scenes.noise_bursts(rng, 3 * RATE)
    other = sound.copy()
    other[0, 100_000] += 1
    found = null_files(write("a.flac", sound), write("b.flac", other))
    assert (found.differing, found.peak_lsb) == (1, 1)
    assert found.first_difference_seconds == 100_000 / RATE
    assert [moment.start_seconds for moment in found.moments if moment.difference_dbfs is not None] == [2.0]


def test_the_same_values_in_a_longer_word_are_identical_values(write, rng):
    sound = scenes.noise_bursts(rng, RATE)
    found = null_files(write("a.wav", sound), write("b.wav", sound << 8, bits=24))
    assert found.identical
    assert verdict(found).startswith("identical values, different word length")
    assert null_files(write("a.wav", sound), write("c.wav", sound / 32768)).identical


def test_a_difference_in_one_band_shows_in_that_band(write, rng):
    t = np.arange(4 * RATE) / RATE
    sound = rng.standard_normal((1, 4 * RATE)) * 0.05
    found = null_files(write("a.wav", sound), write("b.wav", sound + 0.001 * np.sin(2 * np.pi * 1000 * t)))
    depths = {band.centre_hz: -np.inf if band.null_db is None else band.null_db for band in found.bands}
    assert list(depths) == [31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000]
    # White noise of 0.05 has this share of its power between 707 and 1414 Hz.
    power = 0.05**2 * (1000 / np.sqrt(2)) / (RATE / 2)
    assert depths[1000] == pytest.approx(10 * np.log10(0.5e-6 / power), abs=0.5)
    assert max(depth for centre, depth in depths.items() if centre != 1000) < depths[1000] - 20


def test_the_worst_second_is_named(write, rng):
    sound = scenes.music_like(rng, 5 * RATE)
    other = sound.copy()
    other[:, 3 * RATE : 3 * RATE + 4800] += scenes.noise_bursts(rng, 4800, peak=2000)
    text = null_text(null_files(write("a.wav", sound), write("b.wav", other)))
    assert "00:00:03.000" in text
    assert "00:00:02.000" not in text
    assert max(map(len, text.splitlines())) <= 79 + len(str(write("a.wav", sound)))


def test_different_lengths_are_compared_where_both_sound(write, rng):
    sound = scenes.noise_bursts(rng, 2 * RATE)
    found = null_files(write("a.wav", sound), write("b.wav", sound[:, :RATE]))
    assert found.identical
    assert (found.a.samples, found.b.samples, found.compared_samples) == (2 * RATE, RATE, RATE)
    assert "in the part that both have" in verdict(found)
    assert "A is longer by 48000 samples" in null_text(found)


@pytest.mark.parametrize("lag", [1, 3163, -700])
def test_a_lag_is_found_told_and_taken_out(write, rng, lag):
    sound = scenes.speech_like(rng, 6 * RATE, channels=2)
    moved = sound[:, max(0, -lag) :]
    moved = np.concatenate([np.zeros((2, max(0, lag)), np.int32), moved], axis=1)
    paths = write("a.flac", sound), write("b.flac", moved)
    assert not null_files(*paths).identical
    found = null_files(*paths, align=True)
    assert found.lag_samples == lag
    assert found.identical
    assert f"{abs(lag)} samples" in null_text(found)


def test_unrelated_sounds_are_not_aligned(write, rng):
    paths = [write(f"{n}.wav", scenes.noise_bursts(rng, 3 * RATE)) for n in "ab"]
    found = null_files(*paths, align=True)
    assert found.lag_samples is None
    assert any("no lag stands out" in remark for remark in found.remarks)


def test_silence_has_no_depth(write, rng):
    silence, sound = np.zeros((1, RATE), np.int32), scenes.noise_bursts(rng, RATE)
    found = null_files(write("a.wav", silence), write("b.wav", sound), align=True)
    assert found.null_db is None
    assert not found.identical
    assert "digital silence" in verdict(found)
    assert null_files(write("a.wav", silence), write("c.wav", silence), align=True).identical


def test_streams_and_channels_are_chosen_by_address(tmp_path, ffmpeg, rng):
    left, right, other = scenes.music_like(rng, RATE, channels=3)
    path = scenes.write_recording(
        tmp_path / "two.mkv", [np.stack([left, right]), np.stack([right, other])], ffmpeg=ffmpeg, layouts="stereo"
    )
    assert null_files(f"{path}#a:0[FR]", f"{path}#a:1[FL]").identical
    assert not null_files(f"{path}#a:0", f"{path}#a:1").identical
    assert any("2 audio streams" in remark for remark in null_files(path, f"{path}#a:0").remarks)
    with pytest.raises(InputError, match="no channel LFE; it has FL, FR"):
        null_files(f"{path}#a:0[LFE]", f"{path}#a:1[FL]")
    with pytest.raises(InputError, match="there is no a:7"):
        null_files(f"{path}#a:7", path)


def test_other_rates_and_other_channel_counts_are_refused(write, rng):
    sound = scenes.noise_bursts(rng, RATE, channels=2)
    stereo = write("a.wav", sound)
    with pytest.raises(InputError, match=r"44100 Hz: .*resample"):
        null_files(stereo, write("b.wav", sound, rate=44100))
    with pytest.raises(InputError, match=r"choose as many of each, as in FILE#a:0\[FL\]"):
        null_files(stereo, write("c.wav", sound[:1]))


@pytest.mark.parametrize("samples", [0, 1])
def test_next_to_nothing_is_no_trouble(write, samples):
    path = write("a.wav", np.full((1, samples), 5, np.int32))
    found = null_files(path, path, align=True)
    assert found.identical == (samples == 1)
    assert null_dict(found)["compared_samples"] == samples
    assert null_text(found)


def test_samples_that_are_no_number_do_not_spoil_the_sums(write, rng):
    sound = rng.standard_normal((1, RATE)) * 0.1
    hurt = sound.copy()
    hurt[0, 500] = np.nan
    found = null_files(write("a.wav", sound), write("b.wav", hurt))
    assert found.null_db is not None
    assert np.isfinite(found.null_db)
    assert any("no number" in remark for remark in found.remarks)
