"""How deep two files cancel, in words for a terminal and as JSON for scripts."""

import json
from itertools import pairwise
from typing import Any

from unsum.inspection.null import NullFinding, NullSide
from unsum.report.inspection import codec_name, word_length
from unsum.report.lines import wrapped
from unsum.timecode import clock_time

_WORST = 5
_COLUMNS = 60
# From inaudible to as loud as can be, 10 dB a step.
_STEPS = " .:-=+*#%@"
_QUIETEST_DBFS, _STEP_DB = -100.0, 10.0


def null_text(finding: NullFinding) -> str:
    """The report of one comparison, 79 columns wide."""
    lines = [*_side_lines("A", finding.a), *_side_lines("B", finding.b)]
    for remark in [*_length_remarks(finding), *finding.remarks]:
        lines += wrapped(f"note: {remark}", rest="      ")
    lines += wrapped(verdict(finding))
    if finding.differing:
        lines += [*_difference_lines(finding), *_band_lines(finding), *_time_lines(finding)]
    return "\n".join(lines)


def verdict(finding: NullFinding) -> str:
    """One sentence: identical, or how deep the two cancel."""
    if not finding.compared_samples:
        return "nothing to compare: the two have no samples in common"
    if finding.identical:
        same_word = finding.a.stream.bits == finding.b.stream.bits
        same_length = finding.a.samples == finding.b.samples
        told = "bit-identical" if same_word else "identical values, different word length"
        where = "" if same_length and not finding.lag_samples else " in the part that both have"
        return f"{told}{where}: all {finding.compared_samples} samples of each channel are equal"
    if finding.null_db is None:
        return "no null depth: A is digital silence where the two are compared, and B is not"
    return f"null depth {finding.null_db:.1f} dB: the energy of A - B against that of A"


def _side_lines(letter: str, side: NullSide) -> list[str]:
    stream = side.stream
    words = [
        f"{letter}  {side.name}: {codec_name(stream)}, {stream.sample_rate} Hz, {' '.join(side.channels)}, "
        f"{word_length(stream)}, {side.samples} samples ({clock_time(side.seconds)})"
    ]
    if side.missing_samples:
        words.append(f"{side.missing_samples} samples are missing in it, compared as silence")
    if side.errors:
        words.append(f"{side.errors} of its packets could not be decoded")
    return wrapped("; ".join(words), rest="   ")


def _length_remarks(finding: NullFinding) -> list[str]:
    remarks = []
    if finding.lag_samples is not None:
        rate, lag = finding.a.stream.sample_rate, finding.lag_samples
        if lag:
            late = "B" if lag > 0 else "A"
            remarks.append(f"{late} is {abs(lag)} samples ({abs(lag) / rate:.4f} s) late, by the sound: taken out")
        else:
            remarks.append("the two are aligned already: lag 0 samples")
    if finding.a.samples != finding.b.samples:
        longer = "A" if finding.a.samples > finding.b.samples else "B"
        more = abs(finding.a.samples - finding.b.samples)
        remarks.append(
            f"{longer} is longer by {more} samples; compared: the {finding.compared_samples} samples that both have"
        )
    return remarks


def _difference_lines(finding: NullFinding) -> list[str]:
    total = finding.compared_samples * len(finding.a.channels)
    share = 100 * finding.differing / total
    first = clock_time(finding.first_difference_seconds or 0.0)
    steps = "" if finding.peak_lsb is None else f", {finding.peak_lsb} LSB of {finding.bits} bit"
    return [
        f"  differing samples  {finding.differing} of {total} ({share:.2f} %), first at {first}",
        f"  peak difference    {finding.peak_dbfs:.1f} dBFS{steps}",
    ]


def _band_lines(finding: NullFinding) -> list[str]:
    names = [_band_name(band.centre_hz) for band in finding.bands]
    depths = ["-" if band.null_db is None else f"{band.null_db:.1f}" for band in finding.bands]
    return [
        "null depth per octave band",
        "  Hz " + "".join(f"{name:>7}" for name in names),
        "  dB " + "".join(f"{depth:>7}" for depth in depths),
    ]


def _band_name(centre_hz: float) -> str:
    return f"{centre_hz / 1000:.0f}k" if centre_hz >= 1000 else f"{centre_hz:g}"


def _time_lines(finding: NullFinding) -> list[str]:
    loud = [moment for moment in finding.moments if moment.difference_dbfs is not None]
    worst = sorted(loud, key=lambda moment: -(moment.difference_dbfs or 0.0))[:_WORST]
    lines = ["loudest differences, each over one second"]
    for moment in sorted(worst, key=lambda moment: moment.start_seconds):
        depth = "A is silent" if moment.null_db is None else f"null {moment.null_db:.1f} dB"
        lines.append(f"  {clock_time(moment.start_seconds)}  {moment.difference_dbfs:7.1f} dBFS  {depth}")
    levels = [_QUIETEST_DBFS if m.difference_dbfs is None else m.difference_dbfs for m in finding.moments]
    columns = min(_COLUMNS, len(levels))
    edges = [at * len(levels) // columns for at in range(columns + 1)]
    profile = "".join(_step(max(levels[start:stop])) for start, stop in pairwise(edges))
    scale = f"'{_STEPS[1]}' from {_QUIETEST_DBFS:.0f} dBFS, {_STEP_DB:.0f} dB a step: {_STEPS[1:]}"
    return [*lines, f"difference over time ({scale})", f"  |{profile}|"]


def _step(level_dbfs: float) -> str:
    if level_dbfs <= _QUIETEST_DBFS:
        return _STEPS[0]
    return _STEPS[min(len(_STEPS) - 1, 1 + int((level_dbfs - _QUIETEST_DBFS) // _STEP_DB))]


def null_json(finding: NullFinding) -> str:
    """One object."""
    return json.dumps(null_dict(finding), indent=1, ensure_ascii=False, allow_nan=False)


def null_dict(finding: NullFinding) -> dict[str, Any]:
    """A finding as plain values."""
    return {
        "a": _side_dict(finding.a),
        "b": _side_dict(finding.b),
        "verdict": verdict(finding),
        "identical": finding.identical,
        "compared_samples": finding.compared_samples,
        "lag_samples": finding.lag_samples,
        "null_db": finding.null_db,
        "differing_samples": finding.differing,
        "first_difference_seconds": finding.first_difference_seconds,
        "peak_difference_dbfs": finding.peak_dbfs,
        "peak_difference_lsb": finding.peak_lsb,
        "grid_bits": finding.bits,
        "bands": [{"centre_hz": band.centre_hz, "null_db": band.null_db} for band in finding.bands],
        "seconds": [
            {"start_seconds": m.start_seconds, "null_db": m.null_db, "difference_dbfs": m.difference_dbfs}
            for m in finding.moments
        ],
        "remarks": list(finding.remarks),
    }


def _side_dict(side: NullSide) -> dict[str, Any]:
    return {
        "input": side.name,
        "stream": side.stream.number,
        "codec": side.stream.codec,
        "sample_rate": side.stream.sample_rate,
        "bits": side.stream.bits,
        "channels": list(side.channels),
        "samples": side.samples,
        "missing_samples": side.missing_samples,
        "decode_errors": side.errors,
    }
