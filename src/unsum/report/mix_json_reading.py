"""The session of a ``mix.json`` read back; the other direction is in `mix_json.py`."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis, ReferenceFinding, Step
from unsum.describe.mixer import Mixer
from unsum.describe.timing import Timing
from unsum.model import Bend, Contribution, Jump, MixModel, TimeWarp
from unsum.report.effects_json import read_automation, read_echo, read_equaliser, read_room
from unsum.report.fields import Fields
from unsum.report.mix_json import RecordedFile, Session


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
        begins=entry.text("begins") if entry.has("begins") else "",
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
