"""From what a pass measured to what is said about it."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from unsum.recovery.findings import CheckFinding, RecoveryFinding, SourceFinding, Verification
from unsum.recovery.meters import FLOAT_NULL_DB, LOSSY_NULL_DB
from unsum.recovery.untangle import Algebra, PassResult
from unsum.streams.arithmetic import bits_needed
from unsum.streams.recipe import Source, SourceChannel, format_recipe
from unsum.streams.solve import rounding_bound

if TYPE_CHECKING:
    from unsum.recovery.recover import Plan

# A recording whose header says this much more than was found has been cut off.
_TRUNCATED_SECONDS = 1.0
_WORTH_TELLING_SECONDS = 0.05


def clock_time(seconds: float) -> str:
    """``00:12:31.402``."""
    milliseconds = round(abs(seconds) * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{'-' if seconds < 0 else ''}{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def tolerated_null_db(plan: "Plan") -> float:
    """How deep an equation must null where the streams cannot fulfil it exactly."""
    return FLOAT_NULL_DB if all(stream.lossless for stream in plan.streams) else LOSSY_NULL_DB


def contradiction(plan: "Plan", result: PassResult) -> str | None:
    """Why the audio contradicts the recipe, in one line; None if it does not."""
    rate = plan.streams[0].sample_rate
    failed = []
    for meter in result.checks:
        if plan.grid.bits is None:
            depth = meter.null_db
            if depth is None or depth <= tolerated_null_db(plan):
                continue
            failed.append(f"'{meter.check}' nulls to {depth:.1f} dB only")
        elif meter.failing:
            first = clock_time((meter.first_failure or 0) / rate)
            depth = 0.0 if meter.null_db is None else meter.null_db
            failed.append(
                f"'{meter.check}' fails at {meter.failing} of {meter.samples} samples, "
                f"first at {first}, and nulls to {depth:.1f} dB"
            )
    if not failed:
        return None
    more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
    return (
        f"the audio contradicts the recipe: {'; '.join(failed[:3])}{more}; "
        "correct the recipe, or run without one to find it from the audio"
    )


def finding_of(
    plan: "Plan",
    result: PassResult,
    *,
    algebra: Algebra,
    written: Sequence[Source],
    grown: Mapping[str, int],
    stored: Mapping[str, str],
    verification: Verification | None,
    kept: tuple[int, ...],
) -> RecoveryFinding:
    """Put together what is told about one recording."""
    rate = plan.streams[0].sample_rate
    solution = algebra.solution(frozenset(plan.grid.formats))
    checks = tuple(meter.finding(rate) for meter in result.checks)
    arithmetic = _arithmetic(plan, result)
    sources_of = {
        stream.number: tuple(
            dict.fromkeys(u.source for u, c in solution.determined.items() if stream.number in c.streams)
        )
        for stream in plan.streams
    }
    names = {source.name for source in written}
    sources = []
    for source in plan.recipe.sources:
        keys = {channel: SourceChannel(source.name, channel) for channel in source.channels}
        combination = {c: solution.determined[k] for c, k in keys.items() if k in solution.determined}
        meter = result.sources.get(source.name)
        peak = None
        bits = plan.grid.bits
        if meter is not None and (meter.least or meter.greatest):
            full_scale = 1.0 if bits is None else float(1 << (bits - 1))
            peak = 20 * math.log10(max(-meter.least, meter.greatest) / full_scale)
        needed = bits
        if meter is not None and bits is not None:
            needed = max(bits, bits_needed(int(meter.least), int(meter.greatest)))
        sources.append(
            SourceFinding(
                name=source.name,
                layout=source.layout,
                title=source.title,
                determined=source.name in names,
                combination={c: str(terms) for c, terms in combination.items()},
                reasons={c: solution.undetermined[k] for c, k in keys.items() if k in solution.undetermined},
                bits=needed,
                stored_as=stored.get(source.name, ""),
                accuracy=_accuracy(arithmetic, [c.terms for c in combination.values()]),
                peak_db=peak,
                odd_samples=meter.odd_samples if meter else 0,
                gaps=meter.gaps.seconds(rate) if meter else (),
            )
        )
    return RecoveryFinding(
        input=plan.recording.path,
        output=plan.output,
        written=(plan.output,),
        sources=tuple(sources),
        checks=checks,
        arithmetic=arithmetic,
        late_samples={s: late for s, late in plan.look.offsets.late.items() if late},
        sample_rate=rate,
        samples=result.samples,
        clipped=result.clipping.findings(sources_of),
        verification=verification,
        warnings=tuple(_warnings(plan, result, sources, kept, checks)),
        kept_streams=kept,
        recipe_text=format_recipe(plan.recipe),
    )


def _arithmetic(plan: "Plan", result: PassResult) -> str:
    """How the recorder summed: "exact", "rounded", "approximate", or "unchecked"."""
    if plan.grid.bits is None:
        return "approximate"
    telling = [meter for meter in result.checks if meter.check.shows_rounding and meter.term_energy > 0]
    if not telling:
        return "unchecked"
    return "rounded" if any(meter.nonzero for meter in telling) else "exact"


def _accuracy(arithmetic: str, combinations: Sequence[tuple]) -> str:
    if not combinations:
        return ""
    if all(len(terms) == 1 and abs(terms[0][1]) == 1 for terms in combinations):
        return "exact" if arithmetic != "approximate" else "as recorded"
    if arithmetic in ("exact", "approximate"):
        return arithmetic
    worst = max(_rounding_lsb(terms) for terms in combinations)
    within = f"within rounding, ±{worst} LSB"
    return within if arithmetic == "rounded" else f"exact if the recorder adds integers, else {within}"


def _rounding_lsb(terms: tuple) -> int:
    """Greatest error against the true source rounded to the grid, in LSB."""
    whole = all(Fraction(gain).denominator == 1 for _, gain in terms)
    return math.floor(rounding_bound(terms) + (0.5 if whole else 1.0))


def _warnings(
    plan: "Plan",
    result: PassResult,
    sources: Sequence[SourceFinding],
    kept: tuple[int, ...],
    checks: Sequence[CheckFinding],
):
    rate = plan.streams[0].sample_rate
    lossy = [s for s in plan.streams if not s.lossless]
    if lossy:
        names = ", ".join(f"stream {s.number} ({s.codec})" for s in lossy)
        depths = [check.null_db for check in checks if check.null_db is not None]
        depth = f"; the recipe's equations null to {max(depths):.1f} dB" if depths else ""
        yield f"lossy: {names}; what was recovered carries the difference of the codecs' errors{depth}"
    starts = plan.look.starts
    if len(set(starts.values())) > 1:
        told = ", ".join(f"stream {s} at {start / rate:.6f} s" for s, start in sorted(starts.items()))
        yield f"streams start at different times: {told}; put on one time line"
    for stream, late in sorted(plan.look.offsets.late.items()):
        if late:
            word = "late" if late > 0 else "early"
            yield f"stream {stream} is {abs(late)} samples ({abs(late) / rate * 1000:.2f} ms) {word} against its timestamps; corrected"
    if plan.look.offsets.unknown:
        names = ", ".join(map(str, plan.look.offsets.unknown))
        yield f"the lag of stream {names} could not be measured (too little in common with the others); its timestamps are trusted"
    for gap in result.report.breaks:
        at, length = clock_time(gap.at / rate), abs(gap.samples)
        kind = "missing" if gap.samples > 0 else "doubled and dropped"
        sure = "" if gap.exact else ", length known from timestamps only"
        yield f"stream {gap.stream}: {length} samples ({length / rate * 1000:.1f} ms) {kind} at {at} ({gap.reason}{sure})"
    for stream, seconds, reason in result.report.errors[:5]:
        yield f"stream {stream}: a packet at {clock_time(seconds)} cannot be decoded ({reason}); treated as a hole"
    if len(result.report.errors) > 5:
        yield f"{len(result.report.errors) - 5} more packets cannot be decoded"
    for source in sources:
        long = [g for g in source.gaps if g[1] - g[0] >= _WORTH_TELLING_SECONDS]
        if long:
            ranges = ", ".join(f"{clock_time(a)} to {clock_time(b)}" for a, b in long[:3])
            more = f" and {len(long) - 3} more" if len(long) > 3 else ""
            yield f"{source.name} is not determined from {ranges}{more}: a stream it needs is missing there; left silent"
        if source.odd_samples:
            yield f"{source.name}: {source.odd_samples} samples fall between two steps of {source.bits} bits and were rounded"
        if source.bits is not None and plan.grid.bits is not None and source.bits > plan.grid.bits:
            yield (
                f"{source.name} needs {source.bits} bits (peak {source.peak_db:+.1f} dBFS); "
                f"written as {source.stored_as}, so that nothing clips"
            )
        silent = [c for c in source.reasons if source.determined]
        if silent:
            yield f"{source.name}: {', '.join(silent)} in no stream; written as silence"
    if kept:
        names = ", ".join(map(str, kept))
        yield f"stream {names} copied as it is, because it cannot be rebuilt from what was recovered"
    duration = plan.recording.duration_seconds
    if duration is not None and result.samples / rate < duration - _TRUNCATED_SECONDS:
        ends = [r.ranges for r in result.missing.values()]
        if ends:
            yield (
                f"the audio ends at {clock_time(result.samples / rate)} but the header says {clock_time(duration)}; "
                "the file may be truncated: what is there was recovered"
            )
