"""What a run found, kept beside its output: ``NAME.mix.json`` and ``NAME.mix.npz``.

Small numbers stand in the JSON file, long filters in the other, and both come back bit for bit. Files are known by
their path from the folder of the JSON file and by the hash of their bytes, so a session moves along with its audio and
tells when that has changed.
"""

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from unsum.analysis import Analysis
from unsum.automation import Automation
from unsum.describe.echo import Echo
from unsum.describe.eq import Equalisation
from unsum.describe.room import Room
from unsum.errors import InputError, OutputExistsError, UsageError
from unsum.explanation import settings_of
from unsum.media.remux import reserve_output, write_error
from unsum.report.effects_json import known
from unsum.report.fields import Fields, damaged
from unsum.report.mix_json import SCHEMA, Arrays, RecordedFile, Session, session_document
from unsum.report.mix_json_reading import document_session

__all__ = [
    "RecordedFile",
    "Session",
    "keep_session_of_another",
    "load_session",
    "mix_schema",
    "record_file",
    "recorded_path",
    "save_session",
]

_SUFFIX = ".json"
_SCHEMA_FAMILY = "unsum/mix/"

# Of the channels of a reference, and of its image in those of the mixture.


def mix_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of ``mix.json``."""
    return json.loads(resources.files("unsum.report").joinpath("mix.schema.json").read_text(encoding="utf-8"))


def record_file(
    path: Path,
    *,
    session: Path,
    channels: Sequence[str],
    sample_rate: int,
    stream: int = 0,
    samples: int | None = None,
    bits: int | None = None,
) -> RecordedFile:
    """How a session at ``session`` will name a file; reads the file once, block by block.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        relative = Path(os.path.relpath(path, session.parent)).as_posix()
    except ValueError:  # another drive: no path leads there, so only the name and the hash remain
        relative = path.name
    return RecordedFile(relative, stream, tuple(channels), sample_rate, samples, _file_hash(path), bits)


def recorded_path(session: Path, recorded: RecordedFile) -> Path:
    """Where the file of a session is, after a look whether it is still the same.

    Raises
    ------
    InputError
        If it is not there, or holds other bytes than it did.
    """
    if recorded.file is None:
        raise InputError(f"{session.name} was made from arrays, not files; give the file to use instead")
    path = session.parent / recorded.file
    if not path.is_file():
        raise InputError(f"{path} is not there; {session.name} needs it: put it back or name another")
    if recorded.blake2b is not None and _file_hash(path) != recorded.blake2b:
        raise InputError(f"{path} is not the file that {session.name} was made from; put that back or name it")
    return path


def keep_session_of_another(path: Path, *, mixture: Path) -> None:
    """Refuse a path at which there is the session of another mixture, also where overwriting was asked for.

    ``take.opus`` and ``take.aiff`` have one name but for their suffix, and so would their sessions.

    Raises
    ------
    OutputExistsError
        If what is there tells of another file; anything else that is there is left to `save_session`.
    """
    try:
        document = json.loads(path.read_bytes())
        other = path.parent / document["mixture"]["file"]
        is_ours = str(document["schema"]).startswith(_SCHEMA_FAMILY)
    except (OSError, ValueError, RecursionError, TypeError, LookupError):
        return
    if is_ours and other.resolve() != mixture.resolve():
        raise OutputExistsError(
            f"{path} is of {other.name}, not of {mixture.name}, and stays; write to another name or folder"
        )


def save_session(
    path: Path,
    analysis: Analysis,
    *,
    command: str,
    mixture: RecordedFile,
    references: Mapping[str, RecordedFile],
    lossless: bool = True,
    equalisers: Mapping[str, Equalisation | None] | None = None,
    rooms: Mapping[str, Room | None] | None = None,
    automation: Mapping[str, Automation | None] | None = None,
    echoes: Mapping[str, Echo | None] | None = None,
    overwrite: bool = False,
) -> Session:
    """Describe an analysis and write it; a killed run leaves no half file.

    Parameters
    ----------
    path : ends in ``.json``; long arrays go beside it, into the same name with ``.npz``
    analysis : its responses tell which frequencies matter for gain, pan and delay, and give them standard errors
    lossless : whether the mixture is; a codec leaves gain and pan less sure
    equalisers, rooms, automation, echoes : by name of the reference, where they are known
        An echo stands beside the equaliser of its direct sound.

    Returns
    -------
    session : Session
        As `load_session` will give it.

    Raises
    ------
    OutputExistsError
        If one of the two files exists and ``overwrite`` is not given.
    OutputError
        If they cannot be written.
    """
    if path.suffix != _SUFFIX:
        raise UsageError(f"a session is written as {_SUFFIX}, not as '{path.suffix}'; name it NAME.mix.json")
    if not references.keys() == analysis.references.keys() == analysis.model.contributions.keys():
        raise ValueError("files, findings and contributions are of different references")
    model = analysis.model
    if (mixture.channels, mixture.sample_rate) != (model.mixture_channels, model.sample_rate):
        raise ValueError("the mixture's channels or sample rate are not those of the model")
    for name in model.present:
        if len(references[name].channels) != model.contributions[name].filters.shape[1]:
            raise ValueError(f"{name} has {len(references[name].channels)} channels, its filters have others")
    session = _described(analysis, command, mixture, references, lossless=lossless)
    kept = {name: _as_kept(eq) for name, eq in known(equalisers).items() if math.isfinite(eq.gain_db)}
    # Where an equaliser turns phases it knows the polarity better than the strongest correlation does.
    upright = {name: replace(session.mixers[name], polarity=eq.polarity) for name, eq in kept.items() if eq.bands}
    session = replace(
        session,
        mixers={**session.mixers, **upright},
        equalisers=kept,
        rooms=known(rooms),
        echoes=known(echoes),
        automation={name: curves for name, curves in known(automation).items() if len(curves.seconds)},
    )
    document, arrays = session_document(session)
    packed = _packed(arrays)
    companion = path.with_suffix(".npz")
    document["arrays"] = {"file": companion.name, "blake2b": _hash(packed)} if packed else None
    outputs = {companion: packed} if packed else {}
    _write({**outputs, path: _json_bytes(document)}, overwrite=overwrite)
    return session


def load_session(path: Path) -> Session:
    """What `save_session` wrote.

    Raises
    ------
    InputError
        If there is no such file, it is damaged or of another schema, or its arrays do not belong to it.
    """
    try:
        document = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}; give the mix.json that unsum wrote") from error
    if not isinstance(document, dict) or "schema" not in document:
        raise InputError(f"{path} names no schema; give the mix.json that unsum wrote")
    if document["schema"] != SCHEMA:
        raise InputError(f"{path} has the schema {document['schema']!r}, this unsum reads '{SCHEMA}'; update unsum")
    fields = Fields(document, path)
    return document_session(fields, _load_arrays(path, fields))


def _described(
    analysis: Analysis,
    command: str,
    mixture: RecordedFile,
    references: Mapping[str, RecordedFile],
    *,
    lossless: bool,
) -> Session:
    settings = {name: settings_of(analysis, name, lossless=lossless) for name in analysis.model.present}
    timings = {name: timing for name, (timing, _) in settings.items()}
    mixers = {name: mixer for name, (_, mixer) in settings.items()}
    reasons = [reason for mixer in mixers.values() for reason in mixer.limits]
    limits = tuple(dict.fromkeys([*analysis.limits, *reasons]))
    # The reasons stand among the limits of the whole from here on.
    mixers = {name: replace(mixer, limits=()) for name, mixer in mixers.items()}
    return Session(command, mixture, dict(references), replace(analysis, limits=limits), timings, mixers)


def _as_kept(eq: Equalisation) -> Equalisation:
    """An equaliser as the document has it: without its limits, which stand among those of the whole."""
    return replace(
        eq, limits=(), response=None, curve=eq.curve if eq.curve is not None and len(eq.curve.gain_db) else None
    )


def _json_bytes(document: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        # File names that are not UTF-8 hold what only an escape can write.
        return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _packed(arrays: Arrays) -> bytes:
    if not arrays:
        return b""
    # Curves over time have nan where a frame does not tell a value.
    if not all(np.isfinite(values).all() for name, values in arrays.items() if not name.startswith("automation")):
        raise ValueError("filters hold NaN or infinity")
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _write(contents: Mapping[Path, bytes], *, overwrite: bool) -> None:
    """Write files under temporary names, then rename them, in this order."""
    partials: dict[Path, Path] = {}
    try:
        for path in contents:
            partials[path] = reserve_output(path, overwrite=overwrite)
        for path, content in contents.items():
            try:
                partials[path].write_bytes(content)
            except OSError as error:
                raise write_error(path, error) from error
        for path, partial in partials.items():
            try:
                partial.replace(path)
            except OSError as error:
                raise write_error(path, error) from error
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, hashlib.blake2b).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _no_constant(word: str) -> float:
    raise ValueError(f"it holds {word}, which is no number")


def _load_arrays(path: Path, fields: Fields) -> Arrays:
    entry = fields.optional("arrays")
    if entry is None:
        return {}
    name = entry.text("file")
    if Path(name).name != name or "\\" in name:
        raise damaged(path, f"arrays.file is '{name}', not a name beside it")
    companion = path.parent / name
    try:
        content = companion.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {companion}: {error.strerror}; keep it beside {path.name}") from error
    if _hash(content) != entry.text("blake2b"):
        raise InputError(f"{companion} does not belong to {path.name}: its hash differs; keep both of one run")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as packed:
            return {key: packed[key] for key in packed.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise damaged(companion, str(error)) from error
