"""A time line in words for a terminal, and as JSON for scripts."""

import json
import math
import textwrap

from unsum.alignment import AlignedPair
from unsum.describe.timing import jump_words
from unsum.timecode import clock_time

WIDTH = 79
_MOST_JUMPS = 20


def alignment_text(pair: AlignedPair) -> str:
    """Offset, clock and jumps, one to a line."""
    if pair.clock is None:
        why = "; ".join(pair.location.remarks)
        return "\n".join(textwrap.wrap(f"{pair.reference} was not found in {pair.mixture} ({why}).", WIDTH))
    clock, rate = pair.clock, pair.sample_rate
    warp = clock.warp
    delay = warp.delay_seconds
    where = f"begins at {clock_time(delay)}" if delay >= 0 else f"is heard from its own {clock_time(-delay)} on"
    lines = [f"{pair.reference} {where} of {pair.mixture}."]
    lines.append(_value("delay", f"{clock.delay_samples:.4f}", clock.delay_stderr_samples, f"samples at {rate} Hz"))
    lines.append(_value("clock", f"{clock.clock_ppm:+.4f}", clock.clock_stderr_ppm, "ppm"))
    if warp.bend is not None:
        offsets = [1000 * offset for offset in warp.bend.offsets_seconds]
        lines.append(
            f"  bend      {min(offsets):+.3f} to {max(offsets):+.3f} ms, a value every {warp.bend.step_seconds:g} s"
        )
    jumps = jump_words(warp, sample_rate=rate)[:_MOST_JUMPS]
    lines += [f"  jump      {clock_time(at)}: {words}" for at, words in jumps]
    if len(warp.jumps) > _MOST_JUMPS:
        lines.append(f"  and {len(warp.jumps) - _MOST_JUMPS} more jumps")
    lines.append(f"  kind      {clock.kind}; polarity {'upright' if pair.location.polarity > 0 else 'inverted'}")
    if clock.null_db < clock.null_db_before - 0.05:
        before, after = f"{clock.null_db_before:.1f} dB", f"{clock.null_db:.1f} dB"
        lines.append(f"  null      {before} without, {after} with it, on samples not fitted to")
    for remark in (*pair.location.remarks, *clock.remarks):
        lines += textwrap.wrap(f"note: {remark}", WIDTH, subsequent_indent="  ")
    if pair.n_clipped:
        lines.append(
            f"note: {pair.n_clipped} samples were beyond full scale and are clipped; a .wav of floats holds them"
        )
    if pair.output is not None:
        lines.append(f"written: {pair.output.name}")
    if pair.labels is not None:
        lines.append(f"labels: {pair.labels.name}")
    return "\n".join(line for whole in lines for line in textwrap.wrap(whole, WIDTH, subsequent_indent="            "))


def _value(name: str, value: str, stderr: float, unit: str) -> str:
    sure = f" ± {stderr:.2g}" if math.isfinite(stderr) else ", not determined by the audio"
    return f"  {name:9} {value} {unit}{sure}"


def alignment_json(pair: AlignedPair) -> str:
    """One object for a whole call."""

    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    clock = pair.clock
    found = clock and {
        "kind": clock.kind,
        "delay_seconds": {
            "value": clock.delay_samples / pair.sample_rate,
            "stderr": known(clock.delay_stderr_samples / pair.sample_rate),
        },
        "clock_ppm": {"value": clock.clock_ppm, "stderr": known(clock.clock_stderr_ppm)},
        "polarity": pair.location.polarity,
        "jumps": [
            {"at_seconds": jump.at_seconds, "skipped_seconds": jump.skipped_seconds} for jump in clock.warp.jumps
        ],
        "bend": clock.warp.bend
        and {
            "start_seconds": clock.warp.bend.start_seconds,
            "step_seconds": clock.warp.bend.step_seconds,
            "offsets_seconds": list(clock.warp.bend.offsets_seconds),
        },
        "null_db_before": known(clock.null_db_before),
        "null_db": known(clock.null_db),
    }
    return json.dumps(
        {
            "mixture": pair.mixture,
            "reference": pair.reference,
            "sample_rate": pair.sample_rate,
            "present": pair.present,
            "confidence": pair.location.confidence,
            "alignment": found,
            "clipped_samples": pair.n_clipped,
            "remarks": [*pair.location.remarks, *(clock.remarks if clock else ())],
            "output": None if pair.output is None else str(pair.output),
            "labels": None if pair.labels is None else str(pair.labels),
        },
        indent=1,
        ensure_ascii=False,
    )
