"""From what a pass measured to what is said about it."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from unsum.recovery.algebra import Algebra
from unsum.recovery.findings import RecoveryFinding, SourceFinding, Verification
from unsum.recovery.meters import FLOAT_NULL_DB, LOSSY_NULL_DB, recorder_error
from unsum.recovery.outputs import writes_stems
from unsum.recovery.plan import Plan
from unsum.recovery.remarks import remarks
from unsum.recovery.untangle import PassResult, odd_sums
from unsum.streams.arithmetic import bits_needed
from unsum.streams.equations import SourceChannel, StreamChannel
from unsum.streams.recipe import Source, format_recipe
from unsum.streams.solve import Terms
from unsum.timecode import clock_time


def tolerated_null_db(plan: Plan) -> float:
    """How deep an equation must null where the streams cannot fulfil it exactly."""
    return FLOAT_NULL_DB if all(stream.lossless for stream in plan.streams) else LOSSY_NULL_DB


def contradiction(plan: Plan, result: PassResult) -> str | None:
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
    failed += _fractions_where_sums_are_whole(plan, result)
    if not failed:
        return None
    more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
    adrift = ", ".join(map(str, plan.look.offsets.unknown))
    or_else = f"; or stream {adrift}, whose lag could not be measured, is late" if adrift else ""
    return (
        f"the audio contradicts the recipe: {'; '.join(failed[:3])}{more}{or_else}; "
        "correct the recipe, or run without one to find it from the audio"
    )


def _fractions_where_sums_are_whole(plan: Plan, result: PassResult) -> list[str]:
    """Sources that come out between whole samples, although recipe and recorder add whole samples."""
    if not odd_sums(plan.equations, result.sources) or _arithmetic(plan, result) != "exact":
        return []
    return [
        f"'{name}' is no whole number at {meter.odd_samples} samples, though the streams add exactly"
        for name, meter in result.sources.items()
        if meter.odd_samples
    ]


def finding_of(
    plan: Plan,
    result: PassResult,
    *,
    algebra: Algebra,
    written: Sequence[Source],
    paths: tuple[Path, ...],
    stored: Mapping[str, str],
    verification: Verification | None,
    kept: tuple[int, ...],
    rebuilt: tuple[int, ...],
) -> RecoveryFinding:
    """Put together what is told about one recording."""
    rate = plan.streams[0].sample_rate
    solution = algebra.solution(frozenset(plan.grid.formats))
    checks = tuple(meter.finding(rate) for meter in result.checks)
    arithmetic = _arithmetic(plan, result)
    bound = partial(_rounding_lsb, plan, noisy=_shows_float32(plan, result))
    used = {
        name: {key for terms in combinations for key, _ in terms} for name, combinations in result.combinations.items()
    }
    sources_of: dict[StreamChannel, list[str]] = {}
    for name, keys in used.items():
        for key in keys:
            sources_of.setdefault(key, []).append(name)
    clipped = result.clipping.findings(sources_of)
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
                accuracy=_accuracy(
                    arithmetic,
                    result.combinations.get(source.name, ()),
                    odd_samples=meter.odd_samples if meter else 0,
                    bound=bound,
                    adrift=_adrift(plan, result),
                )
                + _exceptions(
                    sum(result.clipping.counts.get(key, 0) for key in used.get(source.name, ())),
                    meter.gaps.samples if meter else 0,
                ),
                peak_db=peak,
                odd_samples=meter.odd_samples if meter else 0,
                gaps=meter.gaps.seconds(rate) if meter else (),
            )
        )
    return RecoveryFinding(
        input=plan.recording.path,
        output=None if writes_stems(plan.output) else plan.output,
        written=paths,
        sources=tuple(sources),
        checks=checks,
        arithmetic=arithmetic,
        late_samples={s: late for s, late in plan.look.offsets.late.items() if late},
        sample_rate=rate,
        samples=result.samples,
        clipped=clipped,
        verification=verification,
        warnings=remarks(plan, result, sources, kept, rebuilt, checks),
        kept_streams=kept,
        recipe_text=format_recipe(plan.recipe),
    )


def _exceptions(clipped: int, unknown: int) -> str:
    """Where an accuracy does not hold."""
    told = [f"{clipped} samples at full scale"] if clipped else []
    told += [f"{unknown} samples where a stream is missing"] if unknown else []
    return f", but for {' and '.join(told)}" if told else ""


def _arithmetic(plan: Plan, result: PassResult) -> str:
    """How the recorder summed: "exact", "rounded", "approximate", or "unchecked"."""
    if plan.grid.bits is None:
        return "approximate"
    telling = [meter for meter in result.checks if meter.check.shows_rounding and meter.term_energy > 0]
    if not telling:
        rounded = odd_sums(plan.equations, result.sources) and not _adrift(plan, result)
        return "rounded" if rounded else "unchecked"
    return "rounded" if any(meter.nonzero for meter in result.checks) else "exact"


def _adrift(plan: Plan, result: PassResult) -> frozenset[int]:
    """Streams whose lag nothing has shown: neither what they share with others, nor a check that holds."""
    told = {
        stream
        for meter in result.checks
        if len(meter.check.streams) > 1 and meter.term_energy > 0 and not meter.failing
        for stream in meter.check.streams
    }
    return frozenset(plan.look.offsets.unknown) - told


def _shows_float32(plan: Plan, result: PassResult) -> bool:
    """Whether the sums may have been made in float32, whose noise shows above 24 bits."""
    if (plan.grid.bits or 0) <= 24:
        return True
    telling = [meter for meter in result.checks if meter.check.shows_rounding and meter.term_energy > 0]
    return not telling or any(meter.max_error > meter.allowed_rounding for meter in result.checks)


def _accuracy(
    arithmetic: str,
    combinations: Collection[Terms],
    *,
    odd_samples: int,
    bound: Callable[[Terms], int],
    adrift: frozenset[int],
) -> str:
    if not combinations:
        return ""
    together = [{key.stream for key, _ in terms} for terms in combinations]
    unsure = sorted({stream for streams in together if len(streams) > 1 for stream in streams & adrift})
    if unsure:
        return f"unknown: the lag of stream {', '.join(map(str, unsure))} could not be measured"
    if all(len(terms) == 1 and abs(terms[0][1]) == 1 for terms in combinations):
        return "exact" if arithmetic != "approximate" else "as recorded"
    if arithmetic == "approximate" or (arithmetic == "exact" and not odd_samples):
        return arithmetic
    worst = max(map(bound, combinations))
    within = f"within rounding, ±{worst} LSB"
    return within if arithmetic == "rounded" or odd_samples else f"exact if the recorder adds integers, else {within}"


def _rounding_lsb(plan: Plan, terms: Terms, *, noisy: bool) -> int:
    """Greatest error against the true source rounded to the grid, in LSB."""
    form = plan.grid.form(terms)
    error = sum(
        abs(weight) * recorder_error(key, equations=plan.equations, grid=plan.grid, mixed_in_float32=noisy)
        for key, weight in form.terms
    )
    return math.floor(error / form.divisor + (0.5 if form.divisor == 1 else 1.0))
