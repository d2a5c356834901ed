"""What a stream went through, and how deep it can cancel after that: in words and as plain values."""

import math
from typing import Any

from unsum.describe.limits import (
    Limit,
    StreamHistory,
    codec_depth_db,
    codec_name,
    codec_primings,
    history_limits,
    low_pass_limit,
    past_codec_limit,
)
from unsum.inspection.findings import StreamFinding

LOOKED_FOR = "MP3, AAC, Vorbis or AC-3"
# Fewer holes than these are in any music.
_HOLES_WORTH_TELLING = 0.03


def stream_history(found: StreamFinding, *, name: str) -> StreamHistory:
    """The facts that bound how deep a stream can cancel.

    Parameters
    ----------
    name : how the sentences call the stream
    """
    stream = found.stream
    powers = [10 ** (channel.rms_dbfs / 10) for channel in found.channels if channel.rms_dbfs is not None]
    return StreamHistory(
        name=name,
        codec=stream.codec,
        lossless=stream.lossless,
        sample_rate=stream.sample_rate,
        n_channels=len(stream.channels),
        bits=found.true_bits if stream.lossless else None,
        kilobits_per_second=None if found.bits_per_second is None else found.bits_per_second / 1000,
        level_dbfs=10 * math.log10(sum(powers) / len(powers)) if powers else None,
        cutoff_hz=None if found.low_pass is None else found.low_pass.cutoff_hz,
        hole_share=found.hole_share,
        past_codec=None if found.codec_frames is None else found.codec_frames.codec,
    )


def history_words(found: StreamFinding) -> list[str]:
    """The verdict on a stream's past, with its evidence; nothing where nothing speaks against it."""
    history = stream_history(found, name=f"a:{found.stream.number}")
    if not history.lossless:
        return [_lossy_words(found, history), *_priming_words(found)]
    past = past_codec_limit(history)
    if past is not None:
        return [_past_words(found, past)]
    if found.low_pass is None:
        return []
    edge = low_pass_limit(history)
    assert edge is not None
    told = edge.sentence.removeprefix(f"{history.name} has nothing above {found.low_pass.cutoff_hz / 1000:.1f} kHz")
    return [
        f"the spectrum breaks off at {_edge(found)}{told}; no frames of {LOOKED_FOR} show, so this is a sample rate, "
        "a filter, an encoder whose frames were lost when the sound was changed, or the sound itself"
    ]


def _edge(found: StreamFinding) -> str:
    assert found.low_pass is not None
    return f"{found.low_pass.cutoff_hz / 1000:.1f} kHz, by {found.low_pass.drop_db:.0f} dB"


def _past_words(found: StreamFinding, limit: Limit) -> str:
    frames = found.codec_frames
    assert frames is not None
    signs = [
        f"frames of {frames.frame_samples} samples stand out, from sample {frames.first_frame} on, "
        f"{frames.distinctness:.0f} times the scatter of other places"
    ]
    if found.low_pass is not None:
        signs.append(f"the spectrum breaks off at {_edge(found)}")
    if found.hole_share is not None and found.hole_share >= _HOLES_WORTH_TELLING:
        signs.append(f"{100 * found.hole_share:.0f} % of the treble is empty for moments")
    return f"lossless by its codec, but {limit.sentence} ({'; '.join(signs)})"


def _lossy_words(found: StreamFinding, history: StreamHistory) -> str:
    stream, rate = found.stream, history.kilobits_per_second
    told = [f"profile {stream.profile}"] if stream.profile else []
    told += [] if rate is None else [f"{rate:.0f} kb/s"]
    told += [f"written by {stream.encoder}"] if stream.encoder else []
    words = f"{codec_name(stream.codec)} is lossy: the samples are not those that were encoded"
    words += f" ({', '.join(told)})" if told else ""
    depth = codec_depth_db(stream.codec, kilobits_per_second=rate, n_channels=history.n_channels)
    if depth is not None:
        words += f"; against the original no linear method can cancel below about {depth:.0f} dB"
    if found.low_pass is not None:
        words += f"; the spectrum breaks off at {_edge(found)}"
    return words


def _priming_words(found: StreamFinding) -> list[str]:
    stream = found.stream
    if found.priming_samples:
        return [f"{found.priming_samples} samples that its encoder put in front are left out, as the file says"]
    known = codec_primings(stream.codec)
    if not known or not found.samples:
        return []
    lengths = sorted({round(each.samples * stream.sample_rate / (each.at_hz or stream.sample_rate)) for each in known})
    several = " or ".join(filter(None, [", ".join(map(str, lengths[:-1])), str(lengths[-1])]))
    return [
        "the file does not say how many samples its encoder put in front, so the sound is late, "
        f"by {several} samples with most encoders"
    ]


def history_dict(found: StreamFinding) -> dict[str, Any]:
    """The same as plain values."""
    stream, frames = found.stream, found.codec_frames
    return {
        "bits_per_second": found.bits_per_second,
        "profile": stream.profile or None,
        "encoder": stream.encoder or None,
        "priming_samples": found.priming_samples,
        "low_pass": None
        if found.low_pass is None
        else {"cutoff_hz": found.low_pass.cutoff_hz, "drop_db": found.low_pass.drop_db},
        "hole_share": found.hole_share,
        "codec_frames": None
        if frames is None
        else {
            "codec": frames.codec,
            "frame_samples": frames.frame_samples,
            "first_frame": frames.first_frame,
            "dip": frames.dip,
            "distinctness": frames.distinctness,
        },
        "limits": [
            {"depth_db": limit.depth_db, "sentence": limit.sentence}
            for limit in history_limits(stream_history(found, name=f"a:{stream.number}"))
        ],
    }
