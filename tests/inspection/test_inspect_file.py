"""Whole files: what is in them is known, because it was put there."""

import re

import numpy as np
import pytest
import scenes

from unsum.errors import Cancelled, InputError
from unsum.inspection.recording import inspect_file
from unsum.report.inspection import inspection_dict, inspection_text
from unsum.report.lines import WIDTH

RATE = 48000


@pytest.fixture
def write(tmp_path, ffmpeg):
    def write(name, streams, **how):
        return scenes.write_recording(tmp_path / name, streams, ffmpeg=ffmpeg, **how)

    return write


def test_levels_are_those_of_the_samples(write, rng):
    sound = scenes.speech_like(rng, 2 * RATE, channels=2, peak=16384)
    (found,) = inspect_file(write("two.mkv", [sound], layouts="stereo", video=True)).streams
    for row, channel in zip(sound.astype(float), found.channels, strict=True):
        assert channel.peak_dbfs == pytest.approx(20 * np.log10(np.abs(row).max() / 32768), abs=1e-6)
        assert channel.rms_dbfs == pytest.approx(10 * np.log10(np.mean(row**2) / 32768**2), abs=1e-6)
    assert found.samples == 2 * RATE
    assert (found.start_seconds, found.true_bits) == (0.0, 16)


@pytest.mark.parametrize(("unused", "true_bits"), [(0, 24), (4, 20), (8, 16)])
def test_bits_that_are_always_zero_do_not_count(write, rng, unused, true_bits):
    sound = scenes.noise_bursts(rng, RATE, peak=(1 << 22 - unused)) << unused
    (found,) = inspect_file(write("deep.flac", [sound], layouts="mono", bits=24)).streams
    assert (found.stream.bits, found.true_bits) == (24, true_bits)


def test_floating_point_that_holds_integers_is_seen(write, rng):
    sound = scenes.noise_bursts(rng, RATE)
    words = inspect_file(write("a.wav", [sound / 32768], layouts="mono", codec="pcm")).streams[0].true_bits
    true_float = inspect_file(write("b.wav", [sound / 30000], layouts="mono", codec="pcm")).streams[0].true_bits
    assert (words, true_float) == (16, None)


def test_silence_copies_and_polarity_are_named(write, rng):
    left, right = scenes.music_like(rng, RATE, channels=2)
    rows = np.stack([left, right, left, np.zeros_like(left), -right, right])
    found = inspect_file(write("six.mkv", [rows], layouts="5.1"))
    assert [channel.name for channel in found.streams[0].channels if channel.silent] == ["LFE"]
    told = {(p.inner.channel, p.outer.channel): p.exact_gain for p in found.containments}
    assert told == {("FL", "FC"): 1, ("FR", "BL"): -1, ("FR", "BR"): 1, ("BL", "BR"): -1}
    text = inspection_text(found)
    assert "LFE       digital silence" in text
    assert "FC = FL: identical" in text
    assert "BL = -FR: the same with inverted polarity" in text


def test_samples_at_full_scale_are_counted_where_they_are(write, rng):
    sound = scenes.speech_like(rng, 3 * RATE, channels=2)
    sound[0, RATE : RATE + 5] = 32767
    sound[1, RATE + 100] = -32768
    sound[1, 2 * RATE] = -32768
    (found,) = inspect_file(write("loud.flac", [sound], layouts="stereo")).streams
    assert [channel.full_scale_samples for channel in found.channels] == [5, 2]
    first, second = found.full_scale
    assert (first.start_seconds, first.samples, first.channels) == (1.0, 6, ("FL", "FR"))
    assert (second.start_seconds, second.samples, second.channels) == (2.0, 1, ("FR",))


def test_sixteen_bits_at_full_scale_in_a_longer_word_count_as_full_scale(write, rng):
    sound = scenes.speech_like(rng, RATE)
    sound[0, 1000] = 32767
    (found,) = inspect_file(write("loud.flac", [sound << 8], layouts="mono", bits=24)).streams
    assert found.channels[0].full_scale_samples == 1


def test_the_share_of_silence_is_told(write, rng):
    sound = scenes.noise_bursts(rng, 4 * RATE, silent=[(RATE, 2 * RATE)])
    (found,) = inspect_file(write("pause.flac", [sound], layouts="mono")).streams
    assert found.quiet_share == pytest.approx(0.25, abs=0.02)


def test_the_article_streams_are_seen_to_hold_each_other(write, rng):
    zoom = scenes.speech_like(rng, 3 * RATE)
    voice = scenes.speech_like(rng, 3 * RATE, silent=[(0, RATE)], channels=2)
    desktop = scenes.music_like(rng, 3 * RATE, channels=2)
    streams = [2 * desktop + zoom, voice + desktop + zoom, desktop + zoom]
    path = write("obs.mkv", streams, layouts="stereo", start_ms=[0, 0, 0], video=True)
    found = inspect_file(path)
    pair = next(
        p for p in found.containments if (str(p.inner), str(p.outer)) in (("s2.FL", "s1.FL"), ("s1.FL", "s2.FL"))
    )
    assert str(pair.inner) == "s2.FL"
    rest, whole = (float((x[0].astype(float) ** 2).sum()) for x in (voice, streams[1]))
    assert pair.null_db == pytest.approx(10 * np.log10(rest / whole), abs=0.5)
    assert pair.identical_share == pytest.approx(1 / 3, abs=0.05)
    assert "a:2[FL] in a:1[FL]" in inspection_text(found)


def test_a_stream_that_is_late_is_moved_before_it_is_compared(write, rng):
    sound = scenes.noise_bursts(rng, 8 * RATE, channels=2)
    late = np.concatenate([np.zeros((2, 720), np.int32), sound[:, :-720]], axis=1)
    found = inspect_file(write("late.mkv", [sound, late, sound], layouts="stereo"))
    assert [stream.late_samples for stream in found.streams] == [0, 720, 0]
    assert sum(pair.bit_identical for pair in found.containments) == 6
    assert "720 samples (15.0 ms) late" in inspection_text(found)


def test_a_start_told_by_the_container_is_no_lateness(write, rng):
    sound = scenes.noise_bursts(rng, 8 * RATE)
    path = write("offset.mkv", [sound, sound[:, 4800:]], layouts="mono", start_ms=[0, 100])
    found = inspect_file(path)
    assert [stream.start_seconds for stream in found.streams] == pytest.approx([0.0, 0.1])
    assert [stream.late_samples for stream in found.streams] == [0, 0]
    assert found.containments[0].bit_identical


def test_lost_packets_and_damage_are_told(write, rng, tmp_path):
    sound = scenes.noise_bursts(rng, 4 * RATE)
    whole = write("whole.mkv", [sound, sound], layouts="mono")
    lost = scenes.drop_packets(whole, tmp_path / "hole.mkv", stream=1, start_s=1.0, length_s=0.5)
    found = inspect_file(tmp_path / "hole.mkv")
    assert found.streams[1].samples < found.streams[0].samples
    assert sum(each.samples for each in found.streams[1].breaks) == 4 * RATE - found.streams[1].samples
    assert found.containments[0].bit_identical  # around the hole, that is
    assert lost.stop - lost.start == 4 * RATE - found.streams[1].samples
    other = write("other.mkv", [scenes.noise_bursts(rng, 4 * RATE), sound], layouts="mono")
    scenes.corrupt_bytes(other, tmp_path / "hurt.mkv", stream=0, at_s=2.0)
    hurt = inspect_file(tmp_path / "hurt.mkv")
    assert len(hurt.streams[0].errors) == 1
    assert "1 packet could not be decoded" in inspection_text(hurt)


def test_streams_of_other_rates_are_told_apart_and_lossy_ones_named(write, rng):
    sound = scenes.speech_like(rng, RATE)
    found = inspect_file(write("mixed.mkv", [sound, sound], layouts="mono", rate=[48000, 44100], codec=["flac", "aac"]))
    assert not found.containments
    assert "44100 Hz: a:1" in found.remarks[0]
    assert "AAC is lossy" in inspection_text(found)


@pytest.mark.parametrize(
    ("suffix", "codec", "told", "priming"),
    [
        (".mp3", "libmp3lame", "MP3 is lossy: the samples are not those that were encoded (128 kb/s", 1105),
        (".m4a", "aac", "AAC is lossy: the samples are not those that were encoded (profile LC, 1", 1024),
        (".opus", "libopus", "Opus is lossy: the samples are not those that were encoded (1", 312),
        (".aac", "aac", "AAC is lossy: the samples are not those that were encoded (profile LC", 0),
    ],
)
def test_a_lossy_stream_is_told_with_its_rate_its_depth_and_its_priming(
    suffix, codec, told, priming, rng, ffmpeg, tmp_path
):
    import soundfile

    sound = scenes.music_like(rng, 3 * RATE, channels=2) + scenes.noise_bursts(rng, 3 * RATE, channels=2, peak=2000)
    soundfile.write(tmp_path / "sound.wav", sound.T.astype(np.int16), RATE)
    path = tmp_path / f"lossy{suffix}"
    scenes.run_ffmpeg(ffmpeg, "-i", tmp_path / "sound.wav", "-c:a", codec, "-b:a", "128k", path)
    finding = inspect_file(path)
    (found,) = finding.streams
    words = " ".join(inspection_text(finding).split())
    assert told in words
    assert re.search(r"against the original no linear method can cancel below about -2\d dB", words)
    assert found.bits_per_second == pytest.approx(128_000, rel=0.15)
    assert found.priming_samples == priming
    if priming:
        assert f"{priming} samples that its encoder put in front are left out" in words
    else:
        assert "so the sound is late, by 1024 or 2112 samples with most encoders" in words
    (limit,) = inspection_dict(finding)["streams"][0]["limits"]
    assert -30 < limit["depth_db"] < -20
    assert found.codec_frames is None


def test_a_lossless_stream_of_clean_sound_gets_no_verdict(write, rng):
    sound = scenes.music_like(rng, 3 * RATE, channels=2) + scenes.noise_bursts(rng, 3 * RATE, channels=2, peak=2000)
    finding = inspect_file(write("clean.flac", [sound], layouts="stereo"))
    text = inspection_text(finding)
    assert "once" not in text
    assert "breaks off" not in text
    told = inspection_dict(finding)["streams"][0]
    assert told["codec_frames"] is told["low_pass"] is None
    assert [limit["sentence"].split(":")[1] for limit in told["limits"]] == ["0 is rounded to 16 bit"]


def test_the_report_is_at_most_80_columns_wide(write, rng):
    rows = scenes.music_like(rng, RATE, channels=8)
    path = write(
        "a name that is long enough to need a second line in the report, and more.mkv", [rows] * 2, layouts="7.1"
    )
    text = inspection_text(inspect_file(path), all_pairs=True)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_progress_is_told_and_can_stop_the_reading(write, rng):
    path = write("long.flac", [scenes.noise_bursts(rng, 6 * RATE)], layouts="mono")
    told = []
    inspect_file(path, progress=lambda done, total, what: told.append((done, total)))
    assert told
    assert all(done <= total == path.stat().st_size for done, total in told)

    def stop(done, total, what):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        inspect_file(path, progress=stop)


def test_samples_that_are_no_number_are_counted(tmp_path, rng):
    import soundfile

    sound = rng.standard_normal(48000).astype(np.float32) * 0.1
    sound[[100, 200]] = np.nan, np.inf
    soundfile.write(tmp_path / "nan.wav", sound, RATE, subtype="FLOAT")
    (found,) = inspect_file(tmp_path / "nan.wav").streams
    assert found.not_finite == 2
    peak_dbfs = found.channels[0].peak_dbfs
    assert peak_dbfs is not None
    assert peak_dbfs < 0


@pytest.mark.parametrize("samples", [0, 1, 22])
def test_hardly_any_sample_is_no_trouble(tmp_path, samples):
    import soundfile

    soundfile.write(tmp_path / "short.wav", np.full(samples, 0.5), RATE)
    finding = inspect_file(tmp_path / "short.wav")
    assert finding.streams[0].samples == samples
    assert ("no samples" in inspection_text(finding)) == (samples == 0)


def test_what_cannot_be_read_says_so(tmp_path):
    (tmp_path / "no.mkv").write_bytes(b"not a recording" * 100)
    with pytest.raises(InputError, match="cannot be read"):
        inspect_file(tmp_path / "no.mkv")
    with pytest.raises(InputError, match="no such file"):
        inspect_file(tmp_path / "none.mkv")


def test_awkward_files_get_a_report_or_one_plain_sentence(audio_root):
    for path in sorted((audio_root / "media").iterdir()):
        try:
            text = inspection_text(inspect_file(path), all_pairs=True)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert path.name in text
            assert max(map(len, text.splitlines())) <= WIDTH
