"""How deep a subtraction can get, from what is known of the files' past.

`history_limits` for one file, `pair_limits` for a mixture and a reference.

A lossy encoder adds noise of its own to each copy; a low-pass takes away what nothing can put back; rounding adds
noise that no filter predicts. Each of these bounds the null depth of any linear method where one file carries the
damage and the other does not. Two copies that share it (a mix made from the decoded file itself) are not bounded.

The depths of encoders (LAME, FFmpeg's AAC, libopus, libvorbis) were measured on five pieces of stereo music at
44.1 kHz, 8 to 15 s each: a drum break, a synthetic mix, a pop mix, its singer alone, a string orchestra; for MP3 at
128 kb/s also on General MIDI stems. A filter matrix was fitted at every frequency on its own, from the decoded copy to
the original. Given is the deepest null of them; the others lie up to 13 dB higher (Opus on the synthetic mix: 19 dB),
and a solo instrument can lie a few dB lower.

MP3, AAC and Opus decoders that ignore what the header says of it start late by a known number of samples [1]_ [2]_
[3]_. Vorbis never does: its first packet only fills the overlap and yields no samples [4]_.

References
----------
.. [1] LAME technical FAQ, https://lame.sourceforge.io/tech-FAQ.txt: decoders 528 samples, ISO encoders 528, FhG 1160,
   LAME 576; the delay seen is one more than the sum.
.. [2] Apple, Technical Note TN2258, "AAC Audio - Encoder Delay and Synchronization"; FFmpeg, libavcodec/aacenc.c.
.. [3] RFC 7845, section 4.2; libopus, src/opus_encoder.c: 2.5 ms of overlap and 4 ms of delay compensation.
.. [4] Vorbis I specification, section 4.3.8.
.. [5] LAME, libmp3lame/lame.c: the low-pass of each bit rate.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# {codec: {kb/s of a stereo stream: deepest null in dB}}
_CODEC_DEPTHS_DB: dict[str, dict[int, float]] = {
    "mp3": {64: -20, 96: -22, 128: -28, 192: -35, 256: -40, 320: -45},
    "aac": {64: -17, 96: -20, 128: -24, 192: -31, 256: -41},
    "opus": {64: -20, 96: -23, 128: -25, 192: -28, 256: -30},
    "vorbis": {64: -20, 96: -22, 128: -25, 192: -30, 256: -33},
}
# What FFmpeg's decoders and encoders of one codec are called.
_CODEC_KEYS = {
    "mp3float": "mp3",
    "libmp3lame": "mp3",
    "aac_fixed": "aac",
    "libfdk_aac": "aac",
    "libopus": "opus",
    "libvorbis": "vorbis",
}
# Codecs with one bit rate, on songs with the original beside them.
_FIXED_DEPTHS_DB = {"gsm": -15.0, "gsm_ms": -15.0, "adpcm_g722": -29.0}
_CODEC_NAMES = {
    "mp3": "MP3",
    "aac": "AAC",
    "opus": "Opus",
    "vorbis": "Vorbis",
    "ac3": "AC-3",
    "gsm": "GSM",
    "gsm_ms": "GSM",
    "adpcm_g722": "G.722",
    "pcm_alaw": "A-law",
    "pcm_mulaw": "mu-law",
}
# {kb/s: Hz} [5]_
_LAME_LOW_PASS_HZ = {
    64: 11000,
    80: 13500,
    96: 15100,
    112: 15600,
    128: 17000,
    160: 17500,
    192: 18600,
    224: 19400,
    256: 19700,
    320: 20500,
}
_OPUS_LOW_PASS_HZ = 20_000
_EDGE_TOLERANCE = 0.015
# Encoders have a slope of some hundred Hz, and the edge is seen anywhere on it.
_ENCODER_EDGE_TOLERANCE = 0.022
_LOW_RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000)
# A resampler's own low-pass leaves the last few percent below half the rate.
_RESAMPLER_EDGE = 0.9
# Lossless music with gated sounds has up to 18 % of such bands, so they prove nothing by themselves.
_HOLES_WORTH_TELLING = 0.03


@dataclass(frozen=True, slots=True)
class StreamHistory:
    """What is known of a stream, as plain numbers; None where it is not known.

    Attributes
    ----------
    name : how the sentences call it: ``stream 1``, ``song.flac``
    codec : by FFmpeg's name, also that of a decoder such as ``mp3float``
    bits : word length of integer samples; None for floating point and lossy codecs
    kilobits_per_second : of the whole stream
    level_dbfs : RMS against full scale 1
    cutoff_hz : where its spectrum breaks off; None where it does not
    lost_db : energy above the cutoff in the other file, against all of its energy
    hole_share : share 0..1 of time-frequency cells between 4 kHz and the edge, some 170 Hz by 23 ms, that lie 40 dB
        below the strongest within four cells before or after
    past_codec : by FFmpeg's name, of an encoder whose frames still show in samples that are lossless now
    """

    name: str
    codec: str
    lossless: bool
    sample_rate: int
    n_channels: int
    bits: int | None = None
    kilobits_per_second: float | None = None
    level_dbfs: float | None = None
    cutoff_hz: float | None = None
    lost_db: float | None = None
    hole_share: float | None = None
    past_codec: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that bounds the null depth; ``depth_db`` is None where it cannot be put as a number."""

    depth_db: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Priming:
    """Samples that a codec puts in front of the sound.

    Attributes
    ----------
    at_hz : the rate at which they are counted; None for the rate of the stream, whatever it is
    """

    codec: str
    made_by: str
    samples: int
    at_hz: int | None = None


PRIMINGS = (
    Priming("MP3", "LAME and an MP3 decoder add (576 + 529)", 1105),
    Priming("MP3", "an ISO encoder and an MP3 decoder add (528 + 529)", 1057),
    Priming("MP3", "the Fraunhofer encoder and an MP3 decoder add (1160 + 529)", 1689),
    Priming("AAC", "Apple's and most early AAC encoders put in front", 2112),
    Priming("AAC", "FFmpeg's AAC encoder puts in front", 1024),
    Priming("Opus", "libopus puts in front (6.5 ms)", 312, at_hz=48_000),
)


def history_limits(history: StreamHistory) -> tuple[Limit, ...]:
    """All that bounds the null depth of a stream, the tightest bound first.

    One without a depth comes last.
    """
    clean = [past_codec_limit(history), low_pass_limit(history), word_length_limit(history)]
    return _tightest_first(clean if history.lossless else [codec_limit(history)])


def pair_limits(mixture: StreamHistory, reference: StreamHistory) -> tuple[Limit, ...]:
    """All that bounds how deep a reference can be taken out of a mixture, the tightest bound first.

    Both carry damage of their own. Where the mixture was made of the damaged reference itself, that damage is no
    bound: the sentences say against what they hold.
    """
    return _tightest_first([*history_limits(mixture), *history_limits(reference)])


def _tightest_first(limits: Iterable[Limit | None]) -> tuple[Limit, ...]:
    known = [limit for limit in limits if limit is not None]
    return tuple(sorted(known, key=lambda limit: math.inf if limit.depth_db is None else -limit.depth_db))


def past_codec_limit(history: StreamHistory) -> Limit | None:
    """What an encoder allows that the samples went through before; None if none shows.

    Its bit rate is not known, so the depth is that of its highest one. An edge of the spectrum may be the encoder's,
    and tell the rate, or have been there before.
    """
    if history.past_codec is None:
        return None
    codec = codec_name(history.past_codec)
    sentence = f"{history.name} was {codec} once: against the original "
    depths = _CODEC_DEPTHS_DB.get(_codec_key(history.past_codec))
    if depths is None:
        return Limit(None, sentence + "its noise cannot be cancelled; no figure is known for it")
    deepest = float(min(depths.values()))
    cutoff = history.cutoff_hz
    rates = [] if history.past_codec != "mp3" or cutoff is None else _lame_rates(cutoff)
    if rates:
        rate = rates[len(rates) // 2]
        depth = codec_depth_db("mp3", kilobits_per_second=rate, n_channels=2)
        sentence += (
            f"no linear method can cancel below about {depth:.0f} dB if its edge is the encoder's own "
            f"(then about {rate} kb/s), and at no bit rate below {deepest:.0f} dB"
        )
    else:
        shallow = max(depths.values())
        sentence += (
            f"no linear method can cancel below about {deepest:.0f} dB if that was at {max(depths)} kb/s, "
            f"{shallow:.0f} dB if at {min(depths)} kb/s"
        )
    return Limit(deepest, sentence)


def codec_name(codec: str) -> str:
    """A codec as people call it, from FFmpeg's name of it or of its decoder."""
    key = _codec_key(codec)
    return _CODEC_NAMES.get(key, key.upper())


def _codec_key(codec: str) -> str:
    return _CODEC_KEYS.get(codec, codec)


def codec_limit(history: StreamHistory) -> Limit:
    """What the noise of a lossy encoder allows."""
    codec, rate = codec_name(history.codec), history.kilobits_per_second
    told = codec if rate is None else f"{codec}, {rate:.0f} kb/s"
    depth = codec_depth_db(history.codec, kilobits_per_second=rate, n_channels=history.n_channels)
    if depth is None:
        why = "no figure is known for it" if rate is not None else "how deep it cancels depends on the bit rate"
        return Limit(None, f"{history.name} is lossy ({told}): its noise cannot be cancelled; {why}")
    return Limit(depth, f"{history.name} is lossy ({told}): no linear method can cancel below about {depth:.0f} dB")


def codec_depth_db(codec: str, *, kilobits_per_second: float | None, n_channels: int) -> float | None:
    """The deepest null between an original and its lossy copy.

    None for codecs and for bit rates per channel outside of what was measured.
    """
    codec = _codec_key(codec)
    if codec in _FIXED_DEPTHS_DB:
        return _FIXED_DEPTHS_DB[codec]
    measured = _CODEC_DEPTHS_DB.get(codec)
    if measured is None or kilobits_per_second is None or kilobits_per_second <= 0:
        return None
    stereo = 2 * kilobits_per_second / n_channels
    rates = list(measured)
    # Variable bit rates stray a little from the nominal ones.
    if not 0.9 * rates[0] <= stereo <= 1.1 * rates[-1]:
        return None
    return float(np.interp(math.log2(stereo), np.log2(rates), list(measured.values())))


def low_pass_limit(history: StreamHistory) -> Limit | None:
    """What a spectrum that breaks off allows; None if it does not."""
    cutoff = history.cutoff_hz
    if cutoff is None:
        return None
    sentence = f"{history.name} has nothing above {cutoff / 1000:.1f} kHz"
    likely = _low_pass_causes(cutoff, history.sample_rate)
    if likely:
        sentence += f", as {' or '.join(likely)} would leave it"
    if history.hole_share is not None and history.hole_share >= _HOLES_WORTH_TELLING:
        sentence += f", and {100 * history.hole_share:.0f} % of its bands below are empty for moments"
    sentence += ": what the other file holds above that stays"
    if history.lost_db is not None:
        sentence += f", so no linear method can cancel below {history.lost_db:.1f} dB"
    return Limit(history.lost_db, sentence)


def word_length_limit(history: StreamHistory) -> Limit | None:
    """What rounding to integers allows; None for floating point, or if the level is not known."""
    if history.bits is None or history.level_dbfs is None:
        return None
    floor = quantisation_floor_dbfs(history.bits) - history.level_dbfs
    return Limit(
        floor,
        f"{history.name} is rounded to {history.bits} bit: nothing but an exact subtraction can cancel below "
        f"{floor:.1f} dB",
    )


def quantisation_floor_dbfs(bits: int) -> float:
    """Level of the noise of rounding to integers, RMS against full scale 1.

    ``q**2 / 12`` with the step ``q = 2**(1 - bits)``: -101.1 dB at 16 bit.
    """
    return 10 * math.log10(4.0 ** (1 - bits) / 12)


def codec_primings(codec: str) -> tuple[Priming, ...]:
    """What encoders of a codec put in front of the sound; empty where none is known, as for Vorbis."""
    return tuple(priming for priming in PRIMINGS if priming.codec == codec_name(codec))


def known_primings(delay_samples: float, *, sample_rate: int, tolerance: float = 1.0) -> tuple[Priming, ...]:
    """The encoders that explain a delay of either sign between two files that share their time zero.

    Parameters
    ----------
    tolerance : in samples
    """
    return tuple(
        priming
        for priming in PRIMINGS
        if abs(abs(delay_samples) - priming.samples * (sample_rate / priming.at_hz if priming.at_hz else 1))
        <= tolerance
    )


def priming_words(delay_samples: float, *, sample_rate: int, mixture: str, reference: str) -> str | None:
    """What a delay tells of the history of the later file; None if nothing.

    Parameters
    ----------
    delay_samples : positive: heard later in the mixture
    """
    found = known_primings(delay_samples, sample_rate=sample_rate)
    if not found:
        return None
    late = mixture if delay_samples > 0 else reference
    codecs = " or ".join(dict.fromkeys(priming.codec for priming in found))
    makers = " or what ".join(priming.made_by for priming in found)
    return f"{late} is {abs(delay_samples):.0f} samples late, which is what {makers}: it was probably {codecs} once"


def _lame_rates(cutoff_hz: float) -> list[int]:
    """Bit rates at which LAME cuts off there, in kb/s."""
    return [rate for rate, edge in _LAME_LOW_PASS_HZ.items() if abs(cutoff_hz / edge - 1) <= _ENCODER_EDGE_TOLERANCE]


def _low_pass_causes(cutoff_hz: float, sample_rate: int) -> list[str]:
    causes = []
    rates = _lame_rates(cutoff_hz)
    if rates:
        span = f"{rates[0]}" if len(rates) == 1 else f"{rates[0]} to {rates[-1]}"
        causes.append(f"an MP3 encoder at {span} kb/s")
    if abs(cutoff_hz / _OPUS_LOW_PASS_HZ - 1) <= _ENCODER_EDGE_TOLERANCE:
        causes.append("Opus")
    lower = [rate for rate in _LOW_RATES_HZ if rate < sample_rate]
    below = [rate for rate in lower if _RESAMPLER_EDGE <= cutoff_hz / (rate / 2) <= 1 + _EDGE_TOLERANCE]
    if below:
        nearest = min(below, key=lambda rate: abs(cutoff_hz - rate / 2))
        causes.append(f"a sample rate of {nearest / 1000:g} kHz")
    return causes
