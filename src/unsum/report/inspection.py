"""What was found in a file, in words for a terminal and as JSON for scripts."""

import json
from collections.abc import Sequence
from typing import Any

from unsum.errors import UnsumError
from unsum.inspection.findings import ChannelFinding, Containment, FileFinding, StreamFinding
from unsum.media.probe import AudioStream
from unsum.report.lines import paragraphs
from unsum.report.lossy_history import history_dict, history_words
from unsum.timecode import clock_time

# Pairs that cancel less are no news: any two sounds have something in common.
SHOWN_NULL_DB = -6.0
SHOWN_SHARE = 0.01
_ROWS = 40
_CODECS = {"mp3float": "MP3", "vorbis": "Vorbis", "opus": "Opus", "wavpack": "WavPack", "libopus": "Opus"}


def inspection_text(finding: FileFinding, *, all_pairs: bool = False) -> str:
    """The report of one file, 79 columns wide.

    Parameters
    ----------
    all_pairs : also pairs of channels that hardly cancel
    """
    recording = finding.recording
    length = "length unknown" if recording.duration_seconds is None else clock_time(recording.duration_seconds)
    others = f"; also {', '.join(recording.others)}" if recording.others else ""
    lines = paragraphs(
        [f"{recording.path.name}: {recording.container}, {length}, {_size(recording.size_bytes)}{others}"]
    )
    if finding.broken_off:
        lines += paragraphs([f"breaks off: {finding.broken_off}"], "  ")
    for stream in finding.streams:
        copies = [pair for pair in finding.containments if pair.inner.stream == pair.outer.stream == _number(stream)]
        lines += _stream_lines(stream, copies)
    if len(finding.streams) > 1:
        lines += _containment_lines(finding.containments, all_pairs=all_pairs)
    lines += paragraphs([f"note: {remark}" for remark in finding.remarks])
    return "\n".join(lines)


def codec_name(stream: AudioStream) -> str:
    """A codec as people call it."""
    if stream.codec.startswith("pcm_"):
        return "PCM"
    return _CODECS.get(stream.codec, stream.codec.upper())


def word_length(stream: AudioStream) -> str:
    """``24 bit``, ``float``, or that the codec is lossy and has none."""
    if not stream.lossless:
        return "lossy"
    return "float" if stream.bits is None else f"{stream.bits} bit"


def _number(stream: StreamFinding) -> int:
    return stream.stream.number


def _size(size_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} bytes"


def _stream_lines(found: StreamFinding, copies: Sequence[Containment]) -> list[str]:
    stream = found.stream
    named = [f'"{stream.title}"'] if stream.title else []
    named += [stream.language] if stream.language not in ("", "und") else []
    head = ", ".join(
        [
            *named,
            codec_name(stream),
            f"{stream.sample_rate} Hz",
            stream.layout,
            word_length(stream),
            clock_time(found.seconds),
        ]
    )
    lines = paragraphs([f"a:{stream.number}  {head}"], rest="     ")
    if found.samples:
        lines += _channel_lines(found.channels)
    return lines + paragraphs([*_facts(found), *map(_copy_words, copies)], "     ")


def _channel_lines(channels: Sequence[ChannelFinding]) -> list[str]:
    lines = ["     channel   peak dBFS    rms dBFS     quiet   at full scale"]
    for channel in channels:
        if channel.silent:
            lines.append(f"     {channel.name:8}  digital silence")
            continue
        quiet = "-" if channel.quiet_share is None else _percent(channel.quiet_share)
        full = str(channel.full_scale_samples) if channel.full_scale_samples else "-"
        lines.append(
            f"     {channel.name:8} {channel.peak_dbfs:10.2f}  {channel.rms_dbfs:10.2f}  {quiet:>8}   {full:>13}"
        )
    return lines


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 1:
        return "< 1 %"
    return "> 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def _facts(found: StreamFinding) -> list[str]:
    stream, facts = found.stream, []
    rate = stream.sample_rate
    if not found.samples:
        facts.append("no samples could be decoded" if found.errors else "no samples")
    if found.true_bits is not None and stream.bits is None:
        facts.append(f"true word length {found.true_bits} bit: all its floating-point samples are such integers")
    elif found.true_bits is not None and stream.bits is not None and found.true_bits < stream.bits:
        facts.append(
            f"true word length {found.true_bits} bit: the lowest {stream.bits - found.true_bits} "
            f"of {stream.bits} bits are always zero"
        )
    facts += history_words(found)
    if found.quiet_share and sum(not channel.silent for channel in found.channels) > 1:
        facts.append(f"all channels quiet (nothing above -90 dBFS) in {_percent(found.quiet_share)} of the time")
    if found.samples and found.start_seconds:
        facts.append(f"starts at {found.start_seconds:.3f} s of the container's clock")
    if found.late_samples:
        way = "late" if found.late_samples > 0 else "early"
        size = abs(found.late_samples)
        facts.append(
            f"{size} samples ({1000 * size / rate:.1f} ms) {way} against the other streams, by the sound; "
            "its timestamps do not say so"
        )
    full = sum(channel.full_scale_samples for channel in found.channels)
    if full:
        where = ", ".join(
            f"{clock_time(part.start_seconds)} ({part.samples}, {' '.join(part.channels)})" for part in found.full_scale
        )
        more = ", ..." if sum(part.samples for part in found.full_scale) < full else ""
        state = "at full scale" if stream.bits is not None else "at or above full scale"
        facts.append(f"{_count(full, 'sample')} {state}: {where}{more}")
    if found.not_finite:
        facts.append(f"{_count(found.not_finite, 'sample')} not a number or infinite, measured as 0")
    return facts + _damage(found)


def _damage(found: StreamFinding) -> list[str]:
    rate, lines = found.stream.sample_rate, []
    for kind, parts in (
        ("gap", [each for each in found.breaks if each.samples > 0]),
        ("overlap", [each for each in found.breaks if each.samples < 0]),
    ):
        if parts:
            total = sum(abs(each.samples) for each in parts)
            exact = "" if all(each.exact for each in parts) else "about "
            lines.append(
                f"{_count(len(parts), kind)} in the timestamps, {exact}{total} samples in all, "
                f"the first at {clock_time(parts[0].at / rate)} ({parts[0].reason})"
            )
    if found.errors:
        seconds, reason = found.errors[0]
        lines.append(
            f"{_count(len(found.errors), 'packet')} could not be decoded, the first at {clock_time(seconds)}: {reason}"
        )
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _copy_words(pair: Containment) -> str:
    if pair.exact_gain == 1:
        return f"{pair.outer.channel} = {pair.inner.channel}: identical at every sample"
    if pair.exact_gain == -1:
        return f"{pair.outer.channel} = -{pair.inner.channel}: the same with inverted polarity, at every sample"
    return f"{pair.outer.channel} = {pair.exact_gain} {pair.inner.channel}, at every sample"


def _containment_lines(pairs: Sequence[Containment], *, all_pairs: bool) -> list[str]:
    between = [pair for pair in pairs if pair.inner.stream != pair.outer.stream]
    shown = [pair for pair in between if all_pairs or _is_news(pair)]
    if not between:
        return []
    if not shown:
        none = f"  none that cancels by {-SHOWN_NULL_DB:.0f} dB; --all lists every pair"
        return ["which channel is contained in which:", none]
    lines = ["which channel is contained in which:"]
    rows = shown if all_pairs else shown[:_ROWS]
    names = [(f"a:{p.inner.stream}[{p.inner.channel}]", f"a:{p.outer.stream}[{p.outer.channel}]") for p in rows]
    widths = [max(len(name[side]) for name in names) for side in range(2)]
    for pair, (inner, outer) in zip(rows, names, strict=True):
        lines.append(f"  {inner:{widths[0]}} in {outer:{widths[1]}}  {_containment_words(pair)}")
    if len(rows) < len(shown):
        lines.append(f"  and {len(shown) - len(rows)} more pairs; --all lists them")
    return lines


def _is_news(pair: Containment) -> bool:
    return pair.null_db is None or pair.null_db <= SHOWN_NULL_DB or pair.identical_share >= SHOWN_SHARE


def _containment_words(pair: Containment) -> str:
    if pair.bit_identical:
        return "bit-identical"
    if pair.exact_gain is not None:
        return f"gain {pair.exact_gain} exactly, at every sample"
    share = f"  identical in {_percent(pair.identical_share)}" if pair.identical_share >= SHOWN_SHARE else ""
    return f"gain {pair.gain:7.4f}  null {pair.null_db:7.1f} dB{share}"


def inspections_json(outcomes: Sequence[tuple[str, FileFinding | UnsumError]]) -> str:
    """One object for a whole call.

    Parameters
    ----------
    outcomes : (name as given, what was found or why it failed)
    """
    files = [
        {"input": name, "error": {"kind": type(one).__name__, "exit_code": one.exit_code, "message": str(one)}}
        if isinstance(one, UnsumError)
        else {"input": name, **inspection_dict(one)}
        for name, one in outcomes
    ]
    return json.dumps({"files": files}, indent=1, ensure_ascii=False, allow_nan=False)


def inspection_dict(finding: FileFinding) -> dict[str, Any]:
    """A finding as plain values."""
    recording = finding.recording
    return {
        "container": recording.container,
        "duration_seconds": recording.duration_seconds,
        "size_bytes": recording.size_bytes,
        "other_streams": list(recording.others),
        "streams": [_stream_dict(stream) for stream in finding.streams],
        "containments": [_containment_dict(pair) for pair in finding.containments],
        "remarks": list(finding.remarks),
        "broken_off": finding.broken_off,
    }


def _stream_dict(found: StreamFinding) -> dict[str, Any]:
    stream = found.stream
    return {
        "stream": stream.number,
        "codec": stream.codec,
        "lossless": stream.lossless,
        "sample_rate": stream.sample_rate,
        "layout": stream.layout,
        "bits": stream.bits,
        "true_bits": found.true_bits,
        "title": stream.title,
        "language": stream.language,
        "default": stream.default,
        "samples": found.samples,
        "seconds": found.seconds,
        "start_seconds": found.start_seconds,
        "late_samples": found.late_samples,
        "quiet_share": found.quiet_share,
        "not_finite_samples": found.not_finite,
        **history_dict(found),
        "channels": [
            {
                "name": channel.name,
                "silent": channel.silent,
                "peak_dbfs": channel.peak_dbfs,
                "rms_dbfs": channel.rms_dbfs,
                "true_bits": channel.true_bits,
                "full_scale_samples": channel.full_scale_samples,
                "quiet_share": channel.quiet_share,
            }
            for channel in found.channels
        ],
        "full_scale_ranges": [
            {
                "start_seconds": part.start_seconds,
                "stop_seconds": part.stop_seconds,
                "samples": part.samples,
                "channels": list(part.channels),
            }
            for part in found.full_scale
        ],
        "breaks": [
            {"at_sample": each.at, "samples": each.samples, "exact": each.exact, "reason": each.reason}
            for each in found.breaks
        ],
        "decode_errors": [{"seconds": seconds, "reason": reason} for seconds, reason in found.errors],
    }


def _containment_dict(pair: Containment) -> dict[str, Any]:
    return {
        "inner": {"stream": pair.inner.stream, "channel": pair.inner.channel},
        "outer": {"stream": pair.outer.stream, "channel": pair.outer.channel},
        "gain": pair.gain,
        "exact_gain": None if pair.exact_gain is None else str(pair.exact_gain),
        "null_db": pair.null_db,
        "bit_identical": pair.bit_identical,
        "identical_share": pair.identical_share,
    }
