"""A session as the values of its JSON document; `mix_json_reading.py` has the way back.

Both directions are exact: JSON numbers are written with as many digits as float64 needs. Long arrays are handed over
by name, for a file of their own. ``mix.schema.json`` says what every field means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum import __version__
from unsum.analysis import Analysis, Step
from unsum.automation import Automation
from unsum.describe.echo import Echo
from unsum.describe.eq import Equalisation
from unsum.describe.mixer import Mixer
from unsum.describe.room import Room
from unsum.describe.timing import Timing
from unsum.model import Bend, Jump
from unsum.report.effects_json import (
    Arrays,
    automation_fields,
    echo_fields,
    equaliser_fields,
    room_fields,
    value_fields,
)

SCHEMA = "unsum/mix/1"
_INLINE_VALUES = 64


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """An audio file as a session knows it.

    Attributes
    ----------
    file : path from the folder of the session, with forward slashes; None for audio that came from no file
    stream : counted among the audio streams, from 0
    samples : None where the length was not counted
    blake2b : of the bytes of the file as it is stored, not of the samples; as ``b2sum`` prints it
    bits : word length of integer samples; None for floating point and lossy codecs, or where it is not known
    """

    file: str | None
    stream: int | None
    channels: tuple[str, ...]
    sample_rate: int
    samples: int | None = None
    blake2b: str | None = None
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """An analysis, what it was made of, and what it means.

    Attributes
    ----------
    unsum : the version that wrote it
    references, timings, mixers : by name of the reference; the last two for those that are present
    equalisers, rooms, automation, echoes : by name of the reference, where there is one; limits stand in the analysis
    """

    command: str
    mixture: RecordedFile
    references: Mapping[str, RecordedFile]
    analysis: Analysis
    timings: Mapping[str, Timing]
    mixers: Mapping[str, Mixer]
    equalisers: Mapping[str, Equalisation] = field(default_factory=dict)
    rooms: Mapping[str, Room] = field(default_factory=dict)
    automation: Mapping[str, Automation] = field(default_factory=dict)
    echoes: Mapping[str, Echo] = field(default_factory=dict)
    unsum: str = __version__


def session_document(session: Session) -> tuple[dict[str, Any], Arrays]:
    """The document of a session but for ``arrays``, and the long arrays that it names."""
    analysis = session.analysis
    arrays: Arrays = {}
    document = {
        "schema": SCHEMA,
        "unsum": session.unsum,
        "command": session.command,
        "sample_rate": analysis.model.sample_rate,
        "samples": int(analysis.samples),
        "mixture": _file_fields(session.mixture),
        "null_db": _level(analysis.null_db),
        "residual_range": [float(end) for end in analysis.residual_range],
        "steps": [_step_fields(step) for step in analysis.steps],
        "bus": None,
        "contributions": [_contribution_fields(session, name, arrays) for name in analysis.model.contributions],
        "limits": list(analysis.limits),
    }
    return document, arrays


def _contribution_fields(session: Session, name: str, arrays: Arrays) -> dict[str, Any]:
    part = session.analysis.model.contributions[name]
    finding = session.analysis.references[name]
    timing, mixer = session.timings.get(name), session.mixers.get(name)
    eq, room, automation = session.equalisers.get(name), session.rooms.get(name), session.automation.get(name)
    told = {
        "eq": eq and equaliser_fields(eq, partial(_numbered_fields, arrays=arrays)),
        "room": room and room_fields(room),
        **({"echo": echo_fields(session.echoes[name])} if name in session.echoes else {}),
        "automation": automation and automation_fields(automation, partial(_stored_fields, arrays=arrays)),
    }
    return {
        "reference": name,
        "file": _file_fields(session.references[name]),
        "present": bool(part.present),
        "evidence": {
            "confidence": finding.confidence,
            "reason": finding.reason,
            "delay_stderr_samples": finding.delay_stderr_samples,
        },
        "timing": timing
        and {
            "delay_seconds": value_fields(timing.delay_seconds, timing.delay_stderr_seconds),
            "clock_ppm": value_fields(timing.clock_ppm, timing.clock_stderr_ppm),
            "jumps": _jump_fields(part.warp.jumps),
        },
        "mixer": mixer
        and {
            "gain_db": value_fields(mixer.gain_db, mixer.gain_stderr_db),
            "polarity": mixer.polarity,
            "pan_degrees": value_fields(mixer.pan_degrees, mixer.pan_stderr_degrees),
        },
        **told,
        "image_db": None if finding.image_db is None else _level(finding.image_db),
        "model": {
            "delay_seconds": part.warp.delay_seconds,
            "clock_ppm": part.warp.clock_ppm,
            "bend": part.warp.bend and _bend_fields(part.warp.bend, arrays),
            "jumps": _jump_fields(part.warp.jumps),
            "first_lag": int(part.first_lag),
            "filters": _array_fields(part.filters, f"filters_{len(arrays)}", arrays),
            "exact_gains": [
                {"mixture_channel": int(channel), "reference_channel": int(column), "gain": str(gain)}
                for (channel, column), gain in part.exact_gains.items()
            ],
        },
    }


def _bend_fields(bend: Bend, arrays: Arrays) -> dict[str, Any]:
    return {
        "start_seconds": float(bend.start_seconds),
        "step_seconds": float(bend.step_seconds),
        "offsets_seconds": _array_fields(np.array(bend.offsets_seconds, np.float64), f"bend_{len(arrays)}", arrays),
    }


def _jump_fields(jumps: Sequence[Jump]) -> list[dict[str, float]]:
    return [{"at_seconds": float(jump.at_seconds), "skipped_seconds": float(jump.skipped_seconds)} for jump in jumps]


def _array_fields(values: NDArray[np.float64], name: str, arrays: Arrays) -> dict[str, Any]:
    if values.size <= _INLINE_VALUES:
        return {"shape": list(values.shape), "values": values.ravel().tolist()}
    arrays[name] = np.ascontiguousarray(values, np.float64)
    return {"shape": list(values.shape), "array": name}


def _numbered_fields(values: NDArray[np.float64], kind: str, *, arrays: Arrays) -> dict[str, Any]:
    return _array_fields(values, f"{kind}_{len(arrays)}", arrays)


def _stored_fields(values: NDArray[np.float64], kind: str, *, arrays: Arrays) -> dict[str, Any]:
    """Beside the document however short: JSON has no word for values that are not known."""
    name = f"{kind}_{len(arrays)}"
    arrays[name] = np.ascontiguousarray(values, np.float64)
    return {"shape": list(values.shape), "array": name}


def _file_fields(recorded: RecordedFile) -> dict[str, Any]:
    return {
        "file": recorded.file,
        "stream": recorded.stream,
        "channels": list(recorded.channels),
        "sample_rate": recorded.sample_rate,
        "samples": recorded.samples,
        "blake2b": recorded.blake2b,
        "bits": recorded.bits,
    }


def _step_fields(step: Step) -> dict[str, Any]:
    return {
        "rung": step.rung,
        "kept": bool(step.kept),
        "null_db_before": _level(step.null_db_before),
        "null_db": _level(step.null_db),
        "remarks": list(step.remarks),
        **({"begins": step.begins} if step.begins else {}),
    }


def _level(decibels: float) -> float | str:
    # JSON has no infinity; both Python's float() and JavaScript's Number() read this word.
    return "-Infinity" if decibels == -math.inf else decibels
