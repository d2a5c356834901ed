"""A removal in words for a terminal, and as JSON for scripts."""

import json
import math
from typing import Any

from unsum.analysis import Analysis, Remnant, Step
from unsum.describe.scatter import first_of_many_paths
from unsum.describe.timing import jump_words
from unsum.explanation import settings_of
from unsum.removal import Removal
from unsum.report.lines import harmless, wrapped
from unsum.report.sure import arrival_words, strip_words
from unsum.timecode import clock_time

_MOST_JUMPS = 8
_SILENT = "it is not heard from here on"
# Less deep than this, what is left is other sounds even where they are softest.
_DROWNED_DB = -6.0


def removal_text(removal: Removal, *, verbose: bool = False) -> str:
    """The ladder as a table, then a sentence for each reference."""
    analysis = removal.analysis
    lines = []
    if analysis.steps:
        lines.append("  rung    null depth on samples it was not fitted to")
        lines += [line for step in analysis.steps for line in step_lines(step)]
    for name in analysis.model.contributions:
        lines += wrapped(reference_sentence(removal, name))
        part = analysis.model.contributions[name]
        if part.present:
            jumps = _jumps(analysis, name)
            lines += [f"  {clock_time(at)}: {words}" for at, words in jumps[:_MOST_JUMPS]]
            if len(jumps) > _MOST_JUMPS:
                lines.append(f"  and {len(jumps) - _MOST_JUMPS} more jumps")
        if verbose and part.present:
            timing, mixer = settings_of(analysis, name, lossless=removal.problem.mixture.lossless)
            words = "; ".join((*arrival_words(timing, _first_of_many(analysis, name)), *strip_words(mixer)))
            lines += wrapped(words, first="  ")
            if remnant := _remnant_words(analysis, name):
                lines += wrapped(remnant, first="  ")
    if analysis.model.present:
        lines += wrapped(left_sentence(removal))
    for limit in analysis.limits:
        lines += wrapped(f"limit: {limit}")
    if removal.output is not None:
        lines.append(harmless(f"written: {removal.output.name}"))
        lines += [harmless(f"image of {name}: {path.name}") for name, path in removal.images.items()]
    return "\n".join(lines)


def _jumps(analysis: Analysis, name: str) -> list[tuple[float, str]]:
    """Where a reference jumps and what is heard then, within the mixture; of one that fades, in words that hold."""
    rate = analysis.model.sample_rate
    fading = any(limit.startswith(f"{name} fades ") for limit in analysis.limits)
    told = jump_words(analysis.model.contributions[name].warp, sample_rate=rate)
    return [
        (at, "it is not heard, or too soft to be taken out, from here on" if fading and words == _SILENT else words)
        for at, words in told
        if at * rate < analysis.samples
    ]


def _first_of_many(analysis: Analysis, name: str) -> float | None:
    """When the first of many paths of a reference is heard, in seconds; None where there is one path."""
    part, response, rate = analysis.model.contributions[name], analysis.responses.get(name), analysis.model.sample_rate
    variance = None if response is None else response.variance
    lag = first_of_many_paths(part.filters, first_lag=part.first_lag, sample_rate=rate, variance=variance)
    return None if lag is None else part.warp.delay_seconds + lag / rate


def _remnant_words(analysis: Analysis, name: str) -> str | None:
    """How what is left compares with a reference that was filtered; None where there is nothing to tell."""
    remnant = analysis.remnants.get(name)
    if remnant is None or remnant.fit_db is None or not math.isfinite(remnant.overall_db):
        return None
    return f"what is left is {_beside(remnant.overall_db)} its image, other sounds included"


def step_lines(step: Step) -> list[str]:
    """A row of the ladder, below why the rungs begin anew where they do."""
    before, after = step.null_db_before, step.null_db
    digits = _telling_digits(before, after)
    outcome = "kept" if step.kept else "undone: too little to be sure" if after < before else "undone: no better"
    row = f"  {step.rung:7} {_depth(before, digits):>10} -> {_depth(after, digits):>10}   {outcome}"
    return [f"  once more, {step.begins}:", row] if step.begins else [row]


def _telling_digits(before: float, after: float) -> int:
    """As many as show the difference that decided."""
    difference = round(abs(before - after), 6)
    if not math.isfinite(difference) or difference >= 0.1:
        return 1
    return 2 if difference >= 0.01 else 3


def _depth(null_db: float, digits: int = 1) -> str:
    return "nothing" if null_db == -math.inf else f"{null_db + 0.0:.{digits}f} dB"


def reference_sentence(removal: Removal, name: str) -> str:
    """What a person wants to know of one reference."""
    analysis = removal.analysis
    part, finding = analysis.model.contributions[name], analysis.references[name]
    mixture = removal.problem.mixture.name
    if not part.present:
        return f"{name} was not found in {mixture} ({finding.reason})."
    delay = part.warp.delay_seconds
    where = f"from {clock_time(delay)}" if delay >= 0 else f"from the start, at its own {clock_time(-delay)} there"
    level = ""
    if finding.image_db is not None:
        level = _level_words(finding.image_db)
    if part.exact_gains:
        how = "" if removal.problem.mixture.bits is None else ", in integers"
        return f"{name} is in {mixture} {where}{level}; the subtraction is exact{how}."
    remnant = analysis.remnants.get(name)
    softer = "" if remnant is None else f"; {softer_words(remnant)}"
    return f"{name} is in {mixture} {where}{level}{softer}."


def _beside(level_db: float) -> str:
    return f"{abs(level_db):.1f} dB {'below' if level_db < 0 else 'above'}"


def _level_words(image_db: float) -> str:
    if abs(image_db) < 0.05:
        return ", as loud as all of it"
    return f", {_beside(image_db)} it all"


def softer_words(remnant: Remnant) -> str:
    """How far down a reference was taken, as far as that can be told beside other sounds."""
    pauses_db = remnant.in_pauses_db
    if pauses_db is None:
        return "it sounds for too short to tell how much softer it is now"
    if pauses_db == -math.inf:
        return "where nothing else sounds, nothing of it is left"
    if pauses_db > _DROWNED_DB:
        return "other sounds are too loud all along to tell how much softer it is now"
    return f"where least else sounds it is at least {-pauses_db:.1f} dB softer now"


def left_sentence(removal: Removal) -> str:
    """What became of the whole recording, on samples that were not fitted to."""
    analysis, mixture = removal.analysis, removal.problem.mixture.name
    names = " and ".join(analysis.model.present)
    one = len(analysis.model.present) == 1
    null_db = kept_null_db(analysis)
    sounds = "sounds" if one else "sound"
    if null_db == -math.inf:
        return f"Where {names} {sounds}, nothing is left of {mixture}."
    quieter = f"{-null_db:.{1 if null_db < -0.1 else 2}f} dB quieter"
    fitted = not all(part.exact_gains for part in analysis.model.contributions.values() if part.present)
    missed = f", and what the filters missed of {names}" if fitted else ""
    return (
        f"Where {names} {sounds}, {mixture} is {quieter} now; what is left there are all other sounds, such as "
        f"talk{missed}."
    )


def kept_null_db(analysis: Analysis) -> float:
    """What is left over the mixture on held-out samples, by the last rung that was kept; 0 if none was."""
    return next((step.null_db for step in reversed(analysis.steps) if step.kept), 0.0)


def removal_json(removal: Removal) -> str:
    """One object for a whole call."""
    analysis = removal.analysis

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
            timing, mixer = settings_of(analysis, name, lossless=removal.problem.mixture.lossless)
            entry |= {
                "delay_seconds": timing.delay_seconds,
                "clock_ppm": timing.clock_ppm,
                "jumps": [
                    {"at_seconds": jump.at_seconds, "skipped_seconds": jump.skipped_seconds} for jump in part.warp.jumps
                ],
                "gain_db": mixer.gain_db,
                "polarity": mixer.polarity,
                "pan_degrees": mixer.pan_degrees,
                "image_db": None if finding.image_db is None else _known(finding.image_db),
                "taps": part.n_taps,
                "exact": bool(part.exact_gains),
                "remnant": _remnant_dict(analysis.remnants.get(name)),
            }
        references.append(entry)
    return json.dumps(
        {
            "mixture": removal.problem.mixture.name,
            "output": str(removal.output) if removal.output else None,
            "images": {name: str(path) for name, path in removal.images.items()},
            "null_db": _known(analysis.null_db),
            "steps": [
                {
                    "rung": s.rung,
                    "kept": s.kept,
                    "null_db": _known(s.null_db),
                    "remarks": list(s.remarks),
                    **({"begins": s.begins} if s.begins else {}),
                }
                for s in analysis.steps
            ],
            "references": references,
            "limits": list(analysis.limits),
        },
        indent=1,
        ensure_ascii=False,
    )


def _remnant_dict(remnant: Remnant | None) -> dict[str, float | None] | None:
    return remnant and {
        "overall_db": _known(remnant.overall_db),
        "in_pauses_db": _known(remnant.in_pauses_db),
        "fit_db": _known(remnant.fit_db),
    }


def _known(value: float | None) -> float | None:
    """None for what is not known, and for the -inf of nothing left, which JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None
