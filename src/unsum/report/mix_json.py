"""A session as the values of its JSON document, and back.

Both directions are exact: JSON numbers are written with as many digits as float64 needs. Long arrays are handed over
by name, for a file of their own. ``mix.schema.json`` says what every field means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum import __version__
from unsum.analysis import Analysis, ReferenceFinding, Step
from unsum.automation import Automation
from unsum.describe.echo import Echo
from unsum.describe.eq import Equalisation
from unsum.describe.mixer import Mixer
from unsum.describe.room import Room
from unsum.describe.timing import Timing
from unsum.model import Bend, Contribution, Jump, MixModel, TimeWarp
from unsum.report.effects_json import (
    Arrays,
    automation_fields,
    echo_fields,
    equaliser_fields,
    read_automation,
    read_echo,
    read_equaliser,
    read_room,
    room_fields,
    value_fields,
)
from unsum.report.fields import Fields

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


def document_session(fields: Fields, arrays: Mapping[str, NDArray[np.float64]]) -> Session:
    """The session of a document and its arrays.

    Raises
    ------
    InputError
        If something is missing or is not what it should be.
    """
    rate = fields.whole("sample_rate")
    mixture = _read_file(fields.inner("mixture"))
    references, contributions, findings, timings, mixers = {}, {}, {}, {}, {}
    equalisers, rooms, automation, echoes = {}, {}, {}, {}

    def read_array(entry: Fields, dimensions: int) -> NDArray[np.float64]:
        return _read_array(entry, arrays, dimensions=dimensions)

    for entry in fields.each("contributions"):
        name = entry.text("reference")
        if name in references:
            raise entry.wrong("reference", "another name than those before")
        references[name] = _read_file(entry.inner("file"))
        contributions[name] = _read_contribution(entry, arrays)
        if contributions[name].present:
            _check_channels(entry, contributions[name], mixture, references[name])
        findings[name] = _read_finding(entry)
        if contributions[name].present:
            timings[name] = _read_timing(entry.inner("timing"), rate)
            mixers[name] = _read_mixer(entry.inner("mixer"), findings[name])
        # What only some commands tell is absent elsewhere.
        if entry.has("eq"):
            equalisers[name] = read_equaliser(entry.inner("eq"), read_array)
        if entry.has("room"):
            rooms[name] = read_room(entry.inner("room"))
        if entry.has("echo"):
            echoes[name] = read_echo(entry.inner("echo"), read_equaliser(entry.inner("eq"), read_array))
        if entry.has("automation"):
            automation[name] = read_automation(entry.inner("automation"), read_array)
    least, greatest = fields.numbers("residual_range", length=2)
    analysis = Analysis(
        model=MixModel(rate, mixture.channels, contributions),
        steps=tuple(_read_step(step) for step in fields.each("steps")),
        references=findings,
        null_db=fields.level("null_db"),
        samples=fields.whole("samples"),
        residual_range=(least, greatest),
        limits=fields.texts("limits"),
    )
    return Session(
        fields.text("command"),
        mixture,
        references,
        analysis,
        timings,
        mixers,
        equalisers,
        rooms,
        automation,
        echoes,
        unsum=fields.text("unsum"),
    )


def _check_channels(entry: Fields, part: Contribution, mixture: RecordedFile, reference: RecordedFile) -> None:
    have, wanted = part.filters.shape[:2], (len(mixture.channels), len(reference.channels))
    if have != wanted:
        raise entry.damaged(
            f"its filters are for {have[0]} mixture and {have[1]} reference channels, the files have "
            f"{wanted[0]} and {wanted[1]}"
        )


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
    }


def _level(decibels: float) -> float | str:
    # JSON has no infinity; both Python's float() and JavaScript's Number() read this word.
    return "-Infinity" if decibels == -math.inf else decibels


def _read_file(entry: Fields) -> RecordedFile:
    file = entry.optional_text("file")
    if file is not None and (not file or file.startswith("/") or PureWindowsPath(file).is_absolute()):
        raise entry.wrong("file", "a path from its folder")
    return RecordedFile(
        file=file,
        stream=entry.optional_whole("stream"),
        channels=entry.texts("channels"),
        sample_rate=entry.whole("sample_rate"),
        samples=entry.optional_whole("samples"),
        blake2b=entry.optional_text("blake2b"),
        bits=entry.optional_whole("bits", least=1),
    )


def _read_step(entry: Fields) -> Step:
    return Step(
        rung=entry.text("rung"),
        kept=entry.truth("kept"),
        null_db_before=entry.level("null_db_before"),
        null_db=entry.level("null_db"),
        remarks=entry.texts("remarks"),
    )


def _read_finding(entry: Fields) -> ReferenceFinding:
    evidence = entry.inner("evidence")
    return ReferenceFinding(
        image_db=entry.optional_level("image_db"),
        confidence=evidence.number("confidence"),
        reason=evidence.text("reason"),
        delay_stderr_samples=evidence.optional_number("delay_stderr_samples"),
    )


def _read_timing(entry: Fields, sample_rate: int) -> Timing:
    delay, clock = entry.inner("delay_seconds"), entry.inner("clock_ppm")
    _read_jumps(entry)  # for readers of the document; the engine goes by those of the model
    return Timing(
        delay_seconds=delay.number("value"),
        clock_ppm=clock.number("value"),
        sample_rate=sample_rate,
        delay_stderr_seconds=delay.optional_number("stderr"),
        clock_stderr_ppm=clock.optional_number("stderr"),
    )


def _read_mixer(entry: Fields, finding: ReferenceFinding) -> Mixer:
    gain, pan = entry.optional("gain_db"), entry.optional("pan_degrees")
    return Mixer(
        gain_db=gain and gain.number("value"),
        polarity=entry.optional_whole("polarity", least=-1),
        pan_degrees=pan and pan.number("value"),
        image_db=finding.image_db,
        gain_stderr_db=gain and gain.optional_number("stderr"),
        pan_stderr_degrees=pan and pan.optional_number("stderr"),
    )


def _read_contribution(entry: Fields, arrays: Mapping[str, NDArray[np.float64]]) -> Contribution:
    model = entry.inner("model")
    gains = {
        (gain.whole("mixture_channel"), gain.whole("reference_channel")): gain.fraction("gain")
        for gain in model.each("exact_gains")
    }
    filters = _read_array(model.inner("filters"), arrays, dimensions=3)
    n_channels, n_columns = filters.shape[:2]
    for channel, column in gains:
        if channel >= n_channels or column >= n_columns:
            raise model.damaged(
                f"an exact gain is for mixture channel {channel} and reference channel {column}, counted from 0, "
                f"its filters are for {n_channels} and {n_columns} channels"
            )
    return Contribution(
        present=entry.truth("present"),
        warp=TimeWarp(
            delay_seconds=model.number("delay_seconds"),
            clock_ppm=model.number("clock_ppm"),
            bend=_read_bend(model.optional("bend"), arrays),
            jumps=_read_jumps(model),
        ),
        filters=filters,
        first_lag=model.whole("first_lag", least=None),
        exact_gains=gains,
    )


def _read_bend(entry: Fields | None, arrays: Mapping[str, NDArray[np.float64]]) -> Bend | None:
    if entry is None:
        return None
    step = entry.number("step_seconds")
    if step <= 0:
        raise entry.wrong("step_seconds", "a number above 0")
    offsets = _read_array(entry.inner("offsets_seconds"), arrays, dimensions=1)
    return Bend(entry.number("start_seconds"), step, tuple(offsets.tolist()))


def _read_jumps(entry: Fields) -> tuple[Jump, ...]:
    jumps = tuple(Jump(jump.number("at_seconds"), jump.number("skipped_seconds")) for jump in entry.each("jumps"))
    if any(later.at_seconds < jump.at_seconds for jump, later in pairwise(jumps)):
        raise entry.wrong("jumps", "a list in order of time")
    return jumps


def _read_array(entry: Fields, arrays: Mapping[str, NDArray[np.float64]], *, dimensions: int) -> NDArray[np.float64]:
    lengths = entry.numbers("shape", length=dimensions)
    if not all(length >= 1 and length.is_integer() for length in lengths):
        raise entry.wrong("shape", f"{dimensions} lengths")
    shape = tuple(int(length) for length in lengths)
    if entry.has("array"):
        found = arrays.get(entry.text("array"))
        if found is None or found.dtype != np.float64 or found.shape != shape:
            raise entry.wrong("array", f"float64 numbers of the shape {shape}")
        return found
    values = entry.numbers("values", length=math.prod(shape))
    return np.array(values, np.float64).reshape(shape)
