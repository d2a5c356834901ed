"""What is known of a file's past, and what it allows."""

import math
from itertools import pairwise

import numpy as np
import pytest

from unsum.describe.limits import (
    PRIMINGS,
    StreamHistory,
    codec_depth_db,
    codec_primings,
    history_limits,
    known_primings,
    pair_limits,
    priming_words,
    quantisation_floor_dbfs,
)


def history(**known) -> StreamHistory:
    return StreamHistory(
        **{"name": "song.flac", "codec": "flac", "lossless": True, "sample_rate": 44100, "n_channels": 2, **known}
    )


def lossy(codec: str, kilobits: float | None, **known) -> StreamHistory:
    return history(name="stream 1", codec=codec, lossless=False, kilobits_per_second=kilobits, **known)


def test_a_lossy_stream_is_said_with_its_depth():
    (limit,) = history_limits(lossy("mp3", 128))
    assert limit.sentence == "stream 1 is lossy (MP3, 128 kb/s): no linear method can cancel below about -28 dB"
    assert limit.depth_db == -28


def test_more_bits_allow_more_depth_at_every_rate():
    for codec in ("mp3", "aac", "opus", "vorbis"):
        depths = [codec_depth_db(codec, kilobits_per_second=rate, n_channels=2) for rate in range(64, 257, 8)]
        assert all(earlier and later and later < earlier for earlier, later in pairwise(depths))
        assert codec_depth_db(codec, kilobits_per_second=48, n_channels=1) == depths[4]


@pytest.mark.parametrize(("codec", "rate"), [("mp3", None), ("wmav2", 128), ("aac", 640), ("opus", 6)])
def test_no_depth_is_claimed_beyond_what_was_measured(codec, rate):
    (limit,) = history_limits(lossy(codec, rate))
    assert limit.depth_db is None
    assert "lossy" in limit.sentence
    assert "dB" not in limit.sentence


def test_decoders_and_encoders_by_other_names_are_the_same_codec():
    (limit,) = history_limits(lossy("mp3float", 128))
    assert limit.sentence == "stream 1 is lossy (MP3, 128 kb/s): no linear method can cancel below about -28 dB"
    assert codec_depth_db("libopus", kilobits_per_second=96, n_channels=2) == -23
    assert [priming.samples for priming in codec_primings("mp3float")] == [1105, 1057, 1689]
    assert codec_primings("vorbis") == codec_primings("flac") == ()


def test_an_encoder_of_the_past_bounds_by_its_highest_rate():
    (limit,) = history_limits(history(past_codec="aac"))
    assert limit.depth_db == -41
    assert limit.sentence == (
        "song.flac was AAC once: against the original no linear method can cancel below about "
        "-41 dB if that was at 256 kb/s, -17 dB if at 64 kb/s"
    )
    (unmeasured,) = history_limits(history(past_codec="ac3"))
    assert unmeasured.depth_db is None
    assert "was AC-3 once" in unmeasured.sentence


def test_the_edge_of_an_mp3_tells_its_rate_only_if_it_is_its_own():
    limit = history_limits(history(past_codec="mp3", cutoff_hz=16_700.0))[0]
    assert limit.depth_db == -45
    assert "below about -28 dB if its edge is the encoder's own (then about 128 kb/s)" in limit.sentence
    assert limit.sentence.endswith("and at no bit rate below -45 dB")


def test_of_two_files_the_worse_one_bounds_first():
    mixture = history(name="party.wav", bits=16, level_dbfs=-20.0)
    found = pair_limits(mixture, lossy("aac", 96))
    assert [limit.depth_db for limit in found] == [-20, pytest.approx(-81.1, abs=0.01)]
    assert found[0].sentence.startswith("stream 1 is lossy")
    assert pair_limits(history(), history(name="other.wav")) == ()


def test_telephone_codecs_have_one_depth():
    assert codec_depth_db("gsm", kilobits_per_second=None, n_channels=1) == -15


def test_a_clean_float_file_has_no_limit():
    assert history_limits(history()) == ()
    assert history_limits(history(level_dbfs=-20.0)) == ()


def test_the_floor_of_rounding_is_that_of_rounded_noise(rng):
    noise = 0.1 * rng.standard_normal(200_000)
    for bits in (8, 16, 24):
        step = 2.0 ** (1 - bits)
        error = np.round(noise / step) * step - noise
        assert abs(10 * math.log10(np.mean(error**2)) - quantisation_floor_dbfs(bits)) < 0.05


def test_rounding_limits_all_but_exact_subtraction():
    (limit,) = history_limits(history(bits=16, level_dbfs=-23.0))
    assert limit.sentence == (
        "song.flac is rounded to 16 bit: nothing but an exact subtraction can cancel below -78.1 dB"
    )
    assert limit.depth_db == pytest.approx(-78.1, abs=0.01)


@pytest.mark.parametrize(
    ("cutoff", "cause"),
    [
        (17050, "an MP3 encoder at 128 kb/s"),
        (19550, "an MP3 encoder at 224 to 256 kb/s"),
        (15950, "a sample rate of 32 kHz"),
        (15150, "an MP3 encoder at 96 kb/s or a sample rate of 32 kHz"),
        (20300, "an MP3 encoder at 320 kb/s or Opus"),
        (10900, "an MP3 encoder at 64 kb/s or a sample rate of 22.05 kHz"),
    ],
)
def test_the_edge_of_a_spectrum_is_explained(cutoff, cause):
    (limit,) = history_limits(history(cutoff_hz=cutoff, lost_db=-25.0))
    assert f"nothing above {cutoff / 1000:.1f} kHz, as {cause} would leave it" in limit.sentence
    assert limit.sentence.endswith("so no linear method can cancel below -25.0 dB")
    assert limit.depth_db == -25.0


def test_an_edge_that_nothing_explains_is_still_said():
    (limit,) = history_limits(history(cutoff_hz=6900.0))
    assert limit.sentence == "song.flac has nothing above 6.9 kHz: what the other file holds above that stays"
    assert limit.depth_db is None


def test_empty_bands_alone_prove_nothing():
    assert history_limits(history(hole_share=0.18)) == ()
    (limit,) = history_limits(history(hole_share=0.12, cutoff_hz=11000.0))
    assert "12 % of its bands below are empty for moments" in limit.sentence
    (few,) = history_limits(history(hole_share=0.01, cutoff_hz=11000.0))
    assert "empty" not in few.sentence


def test_the_tightest_limit_comes_first():
    found = history_limits(history(bits=16, level_dbfs=-20.0, cutoff_hz=16000.0, lost_db=-30.0))
    assert [limit.depth_db for limit in found] == [-30.0, pytest.approx(-81.1, abs=0.01)]
    unknown = history_limits(history(bits=16, level_dbfs=-20.0, cutoff_hz=16000.0))
    assert unknown[-1].depth_db is None


def test_priming_tells_which_file_was_encoded():
    names = {"mixture": "talk.wav", "reference": "song.wav", "sample_rate": 44100}
    assert priming_words(-1105.02, **names) == (
        "song.wav is 1105 samples late, which is what LAME and an MP3 decoder add (576 + 529): it was probably MP3 once"
    )
    assert str(priming_words(2112, **names)).startswith("talk.wav is 2112 samples late")
    assert priming_words(0.0, **names) is None
    assert priming_words(1110, **names) is None


def test_opus_counts_at_48_khz_whatever_the_file():
    assert [found.codec for found in known_primings(286.65, sample_rate=44100)] == ["Opus"]
    assert [found.codec for found in known_primings(312, sample_rate=48000)] == ["Opus"]
    assert known_primings(312, sample_rate=44100) == ()
    assert all(priming.samples > 0 and priming.codec != "Vorbis" for priming in PRIMINGS)
