"""A recovery in words for a terminal, and as JSON for scripts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsum.errors import UnsumError
from unsum.recovery.findings import CheckFinding, RecoveryFinding, SourceFinding
from unsum.report.lines import harmless, paragraphs
from unsum.streams.recipe import format_recipe
from unsum.timecode import clock_time

if TYPE_CHECKING:
    from unsum.recovery.discovery import FoundRecipe
    from unsum.recovery.plan import Plan


def combination_lines(source: SourceFinding) -> list[str]:
    """How a source is made, channels of the same form together: ``s0 - s2 (FL, FR)``."""
    forms: dict[str, list[str]] = {}
    for channel, expression in source.combination.items():
        general = expression.replace(f".{channel}", "")
        forms.setdefault(expression if "." in general else general, []).append(channel)
    if len(source.combination) == 1:
        return list(source.combination.values())
    return [f"{form} ({', '.join(channels)})" for form, channels in forms.items()]


def finding_text(finding: RecoveryFinding, *, verbose: bool = False) -> str:
    """The report of one recording, 79 columns wide."""
    rate = finding.sample_rate
    lines = paragraphs([f"{finding.input.name} -> {', '.join(path.name for path in finding.written)}"], "")
    if finding.evidence:
        lines.append("recipe found from the audio:")
        lines += ["  " + line for line in finding.recipe_text.strip().splitlines()]
        lines += paragraphs([text for text in finding.evidence if verbose or text.startswith("assumed")], "  ")
    found = [source for source in finding.sources if source.determined]
    width = max((len(source.name) for source in found), default=0)
    for source in found:
        peak = "silent" if source.peak_db is None else f"peak {source.peak_db:.1f} dBFS"
        head = f"  {source.name:{width}}  {source.layout}, {source.stored_as}, {peak}: {source.accuracy}"
        lines += paragraphs([head], "", rest=" " * (width + 4))
        lines += paragraphs(["; ".join(combination_lines(source))], " " * (width + 4))
    for source in finding.sources:
        if not source.determined:
            reasons = "; ".join(dict.fromkeys(source.reasons.values()))
            lines += paragraphs([f"  {source.name}: not determined: {reasons}"], "", rest="    ")
    lines += paragraphs([_checks_sentence(finding)], "  ", rest="  ")
    if verbose:
        lines += paragraphs([_check_line(check) for check in finding.checks], "    ")
    if finding.verification is not None:
        lines += paragraphs([_verification_sentence(finding)], "  ", rest="  ")
    lines.append(f"  {clock_time(finding.samples / rate)} of audio, {finding.samples} samples at {rate} Hz")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _checks_sentence(finding: RecoveryFinding) -> str:
    n = len(finding.checks)
    if n == 0:
        return "the recipe has no redundant equation: nothing in the audio could contradict it"
    equations = f"{n} redundant equation{'s' if n > 1 else ''}"
    depths = [check.null_db for check in finding.checks if check.null_db is not None]
    if finding.arithmetic == "approximate" and depths:
        return f"checked: {equations}, null depth {max(depths):.1f} dB at worst (not exact: see the warnings)"
    excused = sum(check.clipped_errors for check in finding.checks)
    if all(check.max_error_lsb == 0 or check.exact for check in finding.checks):
        return f"checked: {equations}, zero at every sample"
    if finding.arithmetic != "rounded" and excused:
        return f"checked: {equations}, zero at every sample but {excused} where a stream is at full scale"
    worst = max(check.max_error_lsb for check in finding.checks)
    return f"checked: {equations}, within rounding: at most {worst:.0f} LSB off, null depth {max(depths):.1f} dB"


def _check_line(check: CheckFinding) -> str:
    if check.exact:
        return f"{check.equation}: exact"
    depth = "-" if check.null_db is None else f"{check.null_db:.1f} dB"
    return (
        f"{check.equation}: {depth}, at most {check.max_error_lsb:.0f} LSB (rounding explains {check.allowed_lsb:.0f})"
    )


def _verification_sentence(finding: RecoveryFinding) -> str:
    verification = finding.verification
    assert verification is not None
    if not verification.differing:
        return "verified: nothing: no stream of the recipe can be rebuilt from the sources that were written"
    which = "every original stream"
    if verification.not_rebuilt:
        which = f"the original streams but {', '.join(map(str, verification.not_rebuilt))}"
    told = f"verified: {which} can be rebuilt bit for bit from the written file: "
    differing = sum(verification.differing.values())
    if differing:
        return told + f"no, {differing} samples differ, by {verification.max_difference_lsb} LSB at most"
    lost = sum(verification.lost.values())
    if lost:
        streams = ", ".join(str(stream) for stream, count in verification.lost.items() if count)
        return (
            told + f"yes, but for {lost} samples of stream {streams} where another stream is missing "
            "(--keep-streams keeps them)"
        )
    return told + "yes, 0 samples differ"


def warning_lines(finding: RecoveryFinding, *, name: str = "") -> list[str]:
    """What went wrong or is out of the ordinary, for stderr, one to a line; ``name`` tells files apart."""
    head = f"{name}: warning" if name else "warning"
    lines = [f"{head}: {text}" for text in finding.warnings]
    if finding.clipped:
        count = finding.clipped_samples
        lines.append(f"{head}: {_count(count, 'sample')} at full scale, which cannot be undone:")
        for stretch in finding.clipped[:5]:
            lines.append(
                f"  stream {stretch.stream}, {clock_time(stretch.start_seconds)} to "
                f"{clock_time(stretch.stop_seconds)}: {stretch.samples} samples; touches "
                f"{', '.join(stretch.sources) or 'nothing'}"
            )
        if len(finding.clipped) > 5:
            lines.append(f"  and {len(finding.clipped) - 5} more ranges (--json lists all)")
    return lines


def error_lines(outcomes: Sequence[Any]) -> list[str]:
    """The failures of a batch, listed at its end."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    return [
        f"{len(failed)} of {len(outcomes)} files failed:",
        *(f"  {outcome.input}: {outcome.error}" for outcome in failed),
    ]


def plan_text(plan: "Plan", found: "FoundRecipe | None") -> str:
    """What a run would do."""
    from unsum.recovery.algebra import Algebra

    solution = Algebra(plan.equations, plan.recipe.sources, plan.grid, quietest=plan.rounded).solution(
        frozenset(plan.grid.formats)
    )
    lines = [harmless(f"{plan.recording.path.name} -> {plan.output} (dry run: nothing is written)")]
    for stream in plan.recording.audio:
        bits = "float" if stream.bits is None else f"{stream.bits} bit"
        use = "used" if stream in plan.streams else "not in the recipe: copied"
        lines.append(
            f"  stream {stream.number}: {stream.codec}, {stream.sample_rate} Hz, {stream.layout}, {bits}; {use}"
        )
    lines += [f"  copied: {', '.join(plan.recording.others)}"] if plan.recording.others else []
    for stream, late in sorted(plan.look.offsets.late.items()):
        if late:
            lines.append(f"  stream {stream} is {late} samples late; will be corrected")
    lines += ["recipe" + (" found from the audio:" if found else ":")]
    lines += ["  " + line for line in format_recipe(plan.recipe).strip().splitlines()]
    if found:
        lines += paragraphs(found.evidence, "  ")
    lines.append("what it gives:")
    for unknown, combination in solution.determined.items():
        lines.append(f"  {plan.equations.label(unknown)} = {combination}")
    for unknown, reason in solution.undetermined.items():
        lines.append(f"  {plan.equations.label(unknown)}: not determined: {reason}")
    lines.append(f"{_count(len(solution.checks), 'redundant equation')} to check the recipe with")
    return "\n".join(lines)


def plan_dict(plan: "Plan", found: "FoundRecipe | None") -> dict[str, Any]:
    """A plan as plain values."""
    from unsum.recovery.algebra import Algebra

    algebra = Algebra(plan.equations, plan.recipe.sources, plan.grid, quietest=plan.rounded)
    solution = algebra.solution(frozenset(plan.grid.formats))
    label = plan.equations.label
    return {
        "input": str(plan.recording.path),
        "output": str(plan.output),
        "dry_run": True,
        "determined": {label(unknown): str(terms) for unknown, terms in solution.determined.items()},
        "undetermined": {label(unknown): reason for unknown, reason in solution.undetermined.items()},
        "checks": [str(check) for check in solution.checks],
        "late_samples": {str(s): late for s, late in plan.look.offsets.late.items() if late},
        "recipe": format_recipe(plan.recipe),
        "evidence": list(found.evidence) if found else [],
    }


def outcomes_json(outcomes: Sequence[Any]) -> str:
    """One object for a whole call, as the command line's contract has it."""
    return json.dumps(
        {"files": [_outcome(outcome) for outcome in outcomes]}, indent=1, ensure_ascii=False, allow_nan=False
    )


def _outcome(outcome: Any) -> dict[str, Any]:
    if outcome.finding is None:
        return failure_dict(outcome.input, outcome.error)
    return finding_dict(outcome.finding)


def failure_dict(path: Path, error: UnsumError) -> dict[str, Any]:
    """A file that failed, as plain values."""
    told = {"kind": type(error).__name__, "exit_code": error.exit_code, "message": str(error)}
    return {"input": str(path), "output": None, "error": told}


def finding_dict(finding: RecoveryFinding) -> dict[str, Any]:
    """A finding as plain values."""
    verification = finding.verification
    return {
        "input": str(finding.input),
        "output": str(finding.output) if finding.output else None,
        "written": [str(path) for path in finding.written],
        "sample_rate": finding.sample_rate,
        "samples": finding.samples,
        "arithmetic": finding.arithmetic,
        "sources": [
            {
                "name": source.name,
                "layout": source.layout,
                "title": source.title,
                "determined": source.determined,
                "combination": dict(source.combination),
                "reasons": dict(source.reasons),
                "bits": source.bits,
                "stored_as": source.stored_as,
                "accuracy": source.accuracy,
                "peak_db": source.peak_db,
                "odd_samples": source.odd_samples,
                "undetermined_ranges": [list(gap) for gap in source.gaps],
            }
            for source in finding.sources
        ],
        "checks": [
            {
                "equation": check.equation,
                "null_db": check.null_db,
                "exact": check.exact,
                "max_error_lsb": check.max_error_lsb,
            }
            for check in finding.checks
        ],
        "verified": None if verification is None else verification.bit_exact,
        "differing_samples": None if verification is None else dict(verification.differing),
        "lost_samples": None if verification is None else dict(verification.lost),
        "late_samples": dict(finding.late_samples),
        "kept_streams": list(finding.kept_streams),
        "clipped_samples": finding.clipped_samples,
        "clipped": [
            {
                "stream": stretch.stream,
                "start_seconds": stretch.start_seconds,
                "stop_seconds": stretch.stop_seconds,
                "samples": stretch.samples,
                "sources": list(stretch.sources),
            }
            for stretch in finding.clipped
        ],
        "recipe": finding.recipe_text,
        "evidence": list(finding.evidence),
        "warnings": list(finding.warnings),
    }
