"""A removal in words for a terminal, and as JSON for scripts."""

import json
import math
import textwrap
from typing import Any

from unsum.analysis import Analysis, Step
from unsum.describe.mixer import Mixer, describe_mixer, mixer_words
from unsum.describe.timing import Timing, describe_timing, jump_words, timing_words
from unsum.removal import Removal
from unsum.timecode import clock_time

WIDTH = 79
_MOST_JUMPS = 8


def removal_text(removal: Removal, *, verbose: bool = False) -> str:
    """The ladder as a table, then a sentence for each reference."""
    analysis = removal.analysis
    lines = []
    if analysis.steps:
        lines.append("  rung    null depth on samples it was not fitted to")
        lines += [_step_line(step) for step in analysis.steps]
    for name in analysis.model.contributions:
        lines += textwrap.wrap(reference_sentence(removal, name), WIDTH, subsequent_indent="  ")
        part = analysis.model.contributions[name]
        if part.present:
            jumps = jump_words(part.warp, sample_rate=analysis.model.sample_rate)
            lines += [f"  {clock_time(at)}: {words}" for at, words in jumps[:_MOST_JUMPS]]
            if len(jumps) > _MOST_JUMPS:
                lines.append(f"  and {len(jumps) - _MOST_JUMPS} more jumps")
        if verbose and part.present:
            timing, mixer = describe(analysis, name)
            words = "; ".join((*timing_words(timing), *mixer_words(mixer)))
            lines += textwrap.wrap(words, WIDTH, initial_indent="  ", subsequent_indent="  ")
    for limit in analysis.limits:
        lines += textwrap.wrap(f"limit: {limit}", WIDTH, subsequent_indent="  ")
    if removal.output is not None:
        lines.append(f"written: {removal.output.name}")
        lines += [f"image of {name}: {path.name}" for name, path in removal.images.items()]
    return "\n".join(lines)


def describe(analysis: Analysis, name: str) -> tuple[Timing, Mixer]:
    """Timing and mixer of a reference that is present, weighed by its spectrum where that is known."""
    part, response = analysis.model.contributions[name], analysis.responses.get(name)
    power, variance, energies = (response.power, response.variance, response.energies) if response else (None,) * 3
    finding = analysis.references[name]
    timing = describe_timing(
        part,
        sample_rate=analysis.model.sample_rate,
        power=power,
        variance=variance,
        delay_stderr_samples=finding.delay_stderr_samples,
        clock_stderr_ppm=finding.clock_stderr_ppm,
    )
    mixer = describe_mixer(
        name,
        part,
        channels=analysis.model.mixture_channels,
        power=power,
        variance=variance,
        energies=energies,
        image_db=finding.image_db,
    )
    return timing, mixer


def _step_line(step: Step) -> str:
    kept = "kept" if step.kept else "undone: no better"
    return f"  {step.rung:7} {_depth(step.null_db_before):>10} -> {_depth(step.null_db):>10}   {kept}"


def _depth(null_db: float) -> str:
    return "nothing" if null_db == -math.inf else f"{null_db:.1f} dB"


def reference_sentence(removal: Removal, name: str) -> str:
    """What a person wants to know of one reference."""
    analysis = removal.analysis
    part, finding = analysis.model.contributions[name], analysis.references[name]
    mixture = removal.problem.mixture.name
    if not part.present:
        return f"{name} was not found in {mixture} ({finding.reason})."
    delay = part.warp.delay_seconds
    where = f"from {clock_time(delay)}" if delay >= 0 else f"from its own {clock_time(-delay)} on"
    level = ""
    if finding.image_db is not None:
        level = _level_words(finding.image_db)
    how = "" if removal.problem.mixture.bits is None else ", in integers"
    exact = f"; the subtraction is exact{how}" if part.exact_gains else ""
    return f"{name} is in {mixture} {where}{level}; removed: {removed_words(analysis)}{exact}."


def _level_words(image_db: float) -> str:
    if abs(image_db) < 0.05:
        return ", as loud as all of it"
    return f", {abs(image_db):.1f} dB {'below' if image_db < 0 else 'above'} it all"


def removed_words(analysis: Analysis) -> str:
    """How far down the references were taken, from what is left on held-out samples."""
    kept = [step for step in analysis.steps if step.kept]
    if not kept:
        return "nothing"
    if kept[-1].null_db == -math.inf:
        return "nothing is left"
    return f"what is left is {kept[-1].null_db:.1f} dB of the recording, other sounds included"


def removal_json(removal: Removal) -> str:
    """One object for a whole call."""
    analysis = removal.analysis

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    references: list[dict[str, Any]] = []
    for name, part in analysis.model.contributions.items():
        finding = analysis.references[name]
        entry: dict[str, Any] = {
            "reference": name,
            "present": part.present,
            "confidence": finding.confidence,
            "reason": finding.reason,
        }
        if part.present:
            timing, mixer = describe(analysis, name)
            entry |= {
                "delay_seconds": timing.delay_seconds,
                "clock_ppm": timing.clock_ppm,
                "jumps": [
                    {"at_seconds": jump.at_seconds, "skipped_seconds": jump.skipped_seconds} for jump in part.warp.jumps
                ],
                "gain_db": mixer.gain_db,
                "polarity": mixer.polarity,
                "pan_degrees": mixer.pan_degrees,
                "image_db": None if finding.image_db is None else number(finding.image_db),
                "taps": part.n_taps,
                "exact": bool(part.exact_gains),
            }
        references.append(entry)
    return json.dumps(
        {
            "mixture": removal.problem.mixture.name,
            "output": str(removal.output) if removal.output else None,
            "images": {name: str(path) for name, path in removal.images.items()},
            "null_db": number(analysis.null_db),
            "steps": [
                {"rung": s.rung, "kept": s.kept, "null_db": number(s.null_db), "remarks": list(s.remarks)}
                for s in analysis.steps
            ],
            "references": references,
            "limits": list(analysis.limits),
        },
        indent=1,
        ensure_ascii=False,
    )
