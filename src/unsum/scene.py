"""A mix in a few lines: which tracks, and what is done to each. TOML in, frozen values out.

::

    sample_rate = 44100
    channels = "stereo"
    bits = 24

    [tracks.guitar]
    file = "guitar.wav"
    gain_db = -6.0
    pan_degrees = 30.0
    delay_seconds = 0.00034
    eq = [{ type = "peak", frequency_hz = 1000, gain_db = 3.0, q = 1.4 }]

docs/scene.md tells every key.
"""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from unsum.dsp.equaliser import ORDERS, band_sections
from unsum.errors import InputError, UsageError
from unsum.layouts import layout_channels

BITS = (16, 24, 32, "float", "double")
_BUTTERWORTH_Q = math.sqrt(0.5)
# As far as the header of a WAV counts.
_HIGHEST_RATE = 2**32 - 1
# Far beyond any sound, and well within what 10 ** (decibels / 20) can tell as a number.
_MOST_DECIBELS = 1000.0
_SHOWN_LETTERS = 60


@dataclass(frozen=True, slots=True)
class EqBand:
    """One band of an equaliser, by the definitions of `unsum.dsp.equaliser`."""

    type: str
    frequency_hz: float
    gain_db: float = 0.0
    q: float = _BUTTERWORTH_Q
    order: int = 2


@dataclass(frozen=True, slots=True)
class Reverb:
    """A send to a convolution: beside the dry sound, after equaliser and fader.

    Attributes
    ----------
    file : impulse response of one channel, one for each channel of the mix, or one for each path: all channels of
        the mix for the first channel of the track, then for the next
    """

    file: Path
    send_db: float = 0.0
    pre_delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SceneTrack:
    """One track and what is done to it.

    Attributes
    ----------
    gain_db : of the strip: a mono track in the centre reaches each side 3.01 dB lower, a stereo one unchanged
    polarity : 1, or -1 for inverted
    delay_seconds : positive: later; any part of a sample
    pan_degrees : 0 left, 45 centre, 90 right
    fir : taps of a free-hand filter, or the file that has them; in place of nothing but itself
    to : channels of the mix that a mono track goes to as it is; panned between FL and FR if empty
    """

    name: str
    file: Path
    gain_db: float = 0.0
    polarity: int = 1
    delay_seconds: float = 0.0
    pan_degrees: float = 45.0
    eq: tuple[EqBand, ...] = ()
    fir: tuple[float, ...] | Path = ()
    reverb: Reverb | None = None
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """A mix to be made.

    Attributes
    ----------
    sample_rate : Hz; that of the first track if None
    bits : word length, rounded without dither; "float" has 32 and "double" 64
    seconds : length; until the last track and its reverb have ended if None
    """

    tracks: tuple[SceneTrack, ...]
    channels: tuple[str, ...] = ("FL", "FR")
    sample_rate: int | None = None
    bits: int | str = 24
    seconds: float | None = None


def load_scene(path: Path) -> Scene:
    """The scene in a TOML file; its files are found from its folder.

    Raises
    ------
    InputError
        If it cannot be read.
    UsageError
        If a key is not known or a value is not what it should be, with its place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: {error}; save it as such") from error
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # of tomllib, or of int() for a number of thousands of digits
        raise UsageError(f"{path} is no TOML: {error}") from error
    return read_scene(table, folder=path.parent, name=path.name)


def read_scene(table: Mapping[str, Any], *, folder: Path, name: str = "scene") -> Scene:
    """The scene of a parsed document.

    Raises
    ------
    UsageError
    """
    _only(table, ("tracks", "channels", "sample_rate", "bits", "seconds"), name)
    tracks = table.get("tracks")
    if not isinstance(tracks, dict) or not tracks:
        raise UsageError(f"{name} names no track; write [tracks.NAME] with file = ...")
    channels = layout_channels(_text(table, "channels", "stereo", name))
    bits = table.get("bits", 24)
    if bits not in BITS or isinstance(bits, (bool, float)):
        raise UsageError(f"{name}: bits = {_shown(bits)}; give one of {', '.join(map(repr, BITS))}")
    rate = table.get("sample_rate")
    if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool) or not 1 <= rate <= _HIGHEST_RATE):
        raise UsageError(f"{name}: sample_rate = {_shown(rate)}; give whole Hz from 1 to {_HIGHEST_RATE}")
    seconds = None if "seconds" not in table else _number(table, "seconds", 0.0, name)
    if seconds is not None and seconds <= 0:
        raise UsageError(f"{name}: seconds = {seconds:g}; give a length above 0")
    read = tuple(_track(key, entry, channels, folder, f"{name}: track {key}") for key, entry in tracks.items())
    return Scene(read, channels, rate, bits, seconds)


def _track(key: str, entry: Any, channels: tuple[str, ...], folder: Path, where: str) -> SceneTrack:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {_shown(entry)}; write [tracks.{key}] with file = ...")
    _only(entry, [one.name for one in fields(SceneTrack) if one.name != "name"], where)
    polarity = entry.get("polarity", 1)
    if polarity not in (1, -1) or isinstance(polarity, bool):
        raise UsageError(f"{where}: polarity = {_shown(polarity)}; give 1 or -1")
    pan = _number(entry, "pan_degrees", 45.0, where)
    if not 0 <= pan <= 90:
        raise UsageError(f"{where}: pan_degrees = {pan:g}; give one from 0 (left) over 45 to 90 (right)")
    if "pan_degrees" in entry and not {"FL", "FR"} <= set(channels):
        raise UsageError(f"{where}: pan_degrees in a mix of {'+'.join(channels)}; pan needs FL and FR")
    to = entry.get("to", [])
    if not isinstance(to, list) or not all(one in channels for one in to):
        raise UsageError(f"{where}: to = {_shown(to)}; list channels of the mix, which has {', '.join(channels)}")
    return SceneTrack(
        name=key,
        file=_file(entry, folder, where),
        gain_db=_number(entry, "gain_db", 0.0, where),
        polarity=polarity,
        delay_seconds=_number(entry, "delay_seconds", 0.0, where),
        pan_degrees=pan,
        eq=tuple(_band(band, f"{where}, band {n + 1}") for n, band in enumerate(_list(entry, "eq", where))),
        fir=_fir(entry.get("fir", []), folder, where),
        reverb=_reverb(entry.get("reverb"), folder, where),
        to=tuple(to),
    )


def _band(entry: Any, where: str) -> EqBand:
    if not isinstance(entry, dict):
        raise UsageError(
            f'{where} is {_shown(entry)}; write {{ type = "peak", frequency_hz = 1000, gain_db = 3, q = 1 }}'
        )
    _only(entry, [one.name for one in fields(EqBand)], where)
    kind = _text(entry, "type", "", where)
    if kind not in ORDERS:
        raise UsageError(f"{where}: type = {kind!r}; known: {', '.join(ORDERS)}")
    order = entry.get("order", 2)
    if order not in ORDERS[kind] or isinstance(order, bool):
        raise UsageError(f"{where}: order = {_shown(order)}; a {kind} has {', '.join(map(str, ORDERS[kind]))}")
    if "gain_db" in entry and kind.endswith("pass"):
        raise UsageError(f"{where}: a {kind} has no gain_db; leave it out")
    if "q" in entry and order != 2:
        raise UsageError(f"{where}: a {kind} of order {order} has no q; leave it out")
    if kind == "peak" and "q" not in entry:
        raise UsageError(f"{where}: a peak needs q")
    if "frequency_hz" not in entry:
        raise UsageError(f"{where}: frequency_hz is missing")
    band = EqBand(
        kind,
        _number(entry, "frequency_hz", 0.0, where),
        _number(entry, "gain_db", 0.0, where),
        _number(entry, "q", _BUTTERWORTH_Q, where),
        int(order),
    )
    if band.frequency_hz <= 0 or band.q <= 0:
        raise UsageError(f"{where}: frequency_hz = {band.frequency_hz:g}, q = {band.q:g}; give numbers above 0")
    return band


def check_band(band: EqBand, sample_rate: int, where: str) -> None:
    """Refuse a band that the sample rate has no room for.

    Raises
    ------
    UsageError
    """
    try:
        band_sections(
            band.type,
            frequency_hz=band.frequency_hz,
            sample_rate=sample_rate,
            gain_db=band.gain_db,
            q=band.q,
            order=band.order,
        )
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _fir(value: Any, folder: Path, where: str) -> tuple[float, ...] | Path:
    if isinstance(value, str):
        return folder / value
    if not isinstance(value, list) or not all(_is_number(tap) for tap in value):
        raise UsageError(f"{where}: fir is neither a list of taps nor a file")
    return tuple(float(tap) for tap in value)


def _reverb(entry: Any, folder: Path, where: str) -> Reverb | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise UsageError(f'{where}: reverb = {_shown(entry)}; write {{ file = "hall.wav", send_db = -12 }}')
    where = f"{where}, reverb"
    _only(entry, [one.name for one in fields(Reverb)], where)
    later = _number(entry, "pre_delay_seconds", 0.0, where)
    if later < 0:
        raise UsageError(f"{where}: pre_delay_seconds = {later:g}; give 0 or more")
    return Reverb(_file(entry, folder, where), _number(entry, "send_db", 0.0, where), later)


def _file(entry: Mapping[str, Any], folder: Path, where: str) -> Path:
    name = _text(entry, "file", "", where)
    if not name:
        raise UsageError(f"{where}: file is missing")
    return folder / name


def _only(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise UsageError(
                f"{where}: '{key}' is not known; " + (f"did you mean '{near[0]}'?" if near else ", ".join(known))
            )


def _text(table: Mapping[str, Any], key: str, default: str, where: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise UsageError(f"{where}: {key} = {_shown(value)}; give a text")
    return value


def _list(table: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise UsageError(f"{where}: {key} = {_shown(value)}; give a list")
    return value


def _number(table: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = table.get(key, default)
    if not _is_number(value):
        raise UsageError(f"{where}: {key} = {_shown(value)}; give a number")
    if key.endswith("_db") and abs(value) > _MOST_DECIBELS:
        raise UsageError(f"{where}: {key} = {value:g}; give decibels from {-_MOST_DECIBELS:g} to {_MOST_DECIBELS:g}")
    return float(value)


def _is_number(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what floating point holds
        return False


def _shown(value: Any) -> str:
    """A value as it is told of in one line."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no whole number of more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 3] + "..."
