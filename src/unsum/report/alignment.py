"""A time line in words for a terminal, and as JSON for scripts."""

import json
import math

from unsum.alignment import AlignedPair
from unsum.describe.timing import jump_words
from unsum.report.lines import harmless, wrapped
from unsum.timecode import clock_time

_MOST_JUMPS = 20


def alignment_text(pair: AlignedPair) -> str:
    """Offset, clock, jumps and silences, one to a line."""
    if pair.clock is None:
        why = "; ".join(pair.location.remarks)
        lines = wrapped(f"{pair.reference} was not found in {pair.mixture} ({why}).")
        return "\n".join([*lines, *_limits(pair)])
    clock, rate = pair.clock, pair.sample_rate
    warp = clock.warp
    lines = wrapped(begin_sentence(pair.mixture, pair.reference, warp.delay_seconds))
    if pair.many_paths:
        told = f"{clock.delay_samples:.0f} samples at {rate} Hz, of the bulk of many paths, as in a room"
        values = [("delay", told)]
    else:
        values = [_value("delay", f"{clock.delay_samples:.4f}", clock.delay_stderr_samples, f"samples at {rate} Hz")]
    values.append(_value("clock", f"{clock.clock_ppm:+.4f}", clock.clock_stderr_ppm, "ppm"))
    if warp.bend is not None:
        offsets = [1000 * offset for offset in warp.bend.offsets_seconds]
        step = warp.bend.step_seconds
        values.append(("bend", f"{min(offsets):+.3f} to {max(offsets):+.3f} ms, a value every {step:g} s"))
    jumps = jump_words(warp, sample_rate=rate)
    values += [("jump", f"{clock_time(at)}: {words}") for at, words in jumps[:_MOST_JUMPS]]
    if len(jumps) > _MOST_JUMPS:
        values.append(("", f"and {len(jumps) - _MOST_JUMPS} more jumps"))
    or_softly = ", or softly" if pair.fades else ""
    for start, stop in pair.silences:
        until = "on" if stop is None else f"to {clock_time(stop)}"
        values.append(("silence", f"from {clock_time(start)} {until} it is not heard{or_softly}"))
    values += [
        ("fade", f"{'out' if one.out else 'in'} from about {one.start_seconds:.1f} to {one.stop_seconds:.1f} s")
        for one in pair.fades
    ]
    values.append(("kind", f"{clock.kind}; polarity {'upright' if pair.location.polarity > 0 else 'inverted'}"))
    if clock.null_db < clock.null_db_before - 0.05:
        before, after = f"{clock.null_db_before:.1f} dB", f"{clock.null_db:.1f} dB"
        values.append(("null", f"{before} without, {after} with it, on samples not fitted to"))
    for name, words in values:
        lines += wrapped(words, first=f"  {name:9} ", rest=" " * 12)
    lines += [line for remark in (*pair.location.remarks, *clock.remarks) for line in wrapped(f"note: {remark}")]
    if pair.n_clipped:
        lines += wrapped(
            f"note: {pair.n_clipped} samples were beyond full scale and are clipped; a .wav of floats holds them"
        )
    lines += _limits(pair)
    if pair.output is not None:
        lines.append(harmless(f"written: {pair.output.name}"))
    if pair.labels is not None:
        lines.append(harmless(f"labels: {pair.labels.name}"))
    return "\n".join(lines)


def begin_sentence(mixture: str, reference: str, delay_seconds: float) -> str:
    """Which of two sounds begins in the other, and when."""
    if delay_seconds >= 0:
        return f"{reference} begins at {clock_time(delay_seconds)} of {mixture}."
    return f"{mixture} begins at {clock_time(-delay_seconds)} of {reference}."


def _limits(pair: AlignedPair) -> list[str]:
    return [line for limit in pair.limits for line in wrapped(f"limit: {limit}")]


def _value(name: str, value: str, stderr: float, unit: str) -> tuple[str, str]:
    sure = f" ± {stderr:.2g}" if math.isfinite(stderr) else ", not determined by the audio"
    return name, f"{value} {unit}{sure}"


def alignment_json(pair: AlignedPair) -> str:
    """One object for a whole call."""

    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    clock = pair.clock
    found = clock and {
        "kind": clock.kind,
        "delay_seconds": {
            "value": clock.delay_samples / pair.sample_rate,
            "stderr": None if pair.many_paths else known(clock.delay_stderr_samples / pair.sample_rate),
        },
        "many_paths": pair.many_paths,
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
            "fades": [
                {"start_seconds": one.start_seconds, "stop_seconds": one.stop_seconds, "out": one.out}
                for one in pair.fades
            ],
            "silences": [{"start_seconds": start, "stop_seconds": stop} for start, stop in pair.silences],
            "clipped_samples": pair.n_clipped,
            "remarks": [*pair.location.remarks, *(clock.remarks if clock else ())],
            "limits": list(pair.limits),
            "output": None if pair.output is None else str(pair.output),
            "labels": None if pair.labels is None else str(pair.labels),
        },
        indent=1,
        ensure_ascii=False,
    )
