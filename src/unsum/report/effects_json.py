"""Equalisers, rooms, echoes and automation as values of ``mix.json``, and back; the rest is in `mix_json.py`."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unsum.automation import Automation
from unsum.describe.decay import Slope
from unsum.describe.echo import Echo, Repeat
from unsum.describe.eq import Band, Curve, Equalisation, Kind
from unsum.describe.filters import BandType
from unsum.describe.room import EnergyRatio, Octave, Room
from unsum.report.fields import Fields

Arrays = dict[str, NDArray[np.float64]]
# Puts an array into the document, or into the file beside it under a name of that kind.
ArrayFields = Callable[[NDArray[np.float64], str], dict[str, Any]]
ReadArray = Callable[[Fields, int], NDArray[np.float64]]

BAND_TYPES = ("peak", "lowshelf", "highshelf", "highpass", "lowpass")
KINDS = ("flat", "parametric", "linear phase", "curve")
AUTOMATION_ROWS = (
    "seconds",
    "gain_db",
    "gain_stderr_db",
    "pan_degrees",
    "pan_stderr_degrees",
    "delay_seconds",
    "delay_stderr_seconds",
)


def value_fields(value: float | None, stderr: float | None) -> dict[str, float | None] | None:
    """A number with its standard error; None where it is not known."""
    return None if value is None else {"value": value, "stderr": stderr}


def equaliser_fields(eq: Equalisation, array: ArrayFields) -> dict[str, Any]:
    """An equaliser but for its limits, which stand among those of the whole."""
    return {
        "kind": eq.kind,
        "gain_db": value_fields(eq.gain_db, eq.gain_stderr_db),
        "polarity": eq.polarity,
        "delay_samples": value_fields(eq.delay_samples, eq.delay_stderr_samples),
        "amplitudes": array(eq.amplitudes, "amplitudes"),
        "bands": [_band_fields(band) for band in eq.bands],
        "max_deviation_db": eq.max_deviation_db,
        "chi2": eq.chi2,
        "paths_chi2": eq.paths_chi2,
        "from_samples": eq.from_samples,
        "curve": eq.curve
        and {
            "frequency_hz": array(eq.curve.frequency_hz, "curve_hz"),
            "gain_db": array(eq.curve.gain_db, "curve_db"),
            "stderr_db": array(eq.curve.stderr_db, "curve_stderr"),
        },
    }


def _band_fields(band: Band) -> dict[str, Any]:
    return {
        "type": band.type,
        "order": band.order,
        "frequency_hz": value_fields(band.frequency_hz, band.frequency_stderr_hz),
        "gain_db": value_fields(band.gain_db, band.gain_stderr_db),
        "q": value_fields(band.q, band.q_stderr),
    }


def read_equaliser(entry: Fields, read_array: ReadArray) -> Equalisation:
    gain, delay, curve = entry.inner("gain_db"), entry.inner("delay_samples"), entry.optional("curve")
    return Equalisation(
        kind=cast(Kind, _one_of(entry, "kind", KINDS)),
        gain_db=gain.number("value"),
        gain_stderr_db=gain.number("stderr"),
        polarity=entry.whole("polarity", least=-1),
        amplitudes=read_array(entry.inner("amplitudes"), 1),
        delay_samples=delay.number("value"),
        delay_stderr_samples=delay.number("stderr"),
        bands=tuple(_read_band(band) for band in entry.each("bands")),
        max_deviation_db=entry.number("max_deviation_db"),
        chi2=entry.number("chi2"),
        paths_chi2=entry.optional_number("paths_chi2"),
        from_samples=entry.has("from_samples") and entry.truth("from_samples"),
        curve=curve and Curve(*(read_array(curve.inner(key), 1) for key in ("frequency_hz", "gain_db", "stderr_db"))),
    )


def _read_band(entry: Fields) -> Band:
    frequency, gain, q = entry.inner("frequency_hz"), entry.optional("gain_db"), entry.optional("q")
    return Band(
        type=cast(BandType, _one_of(entry, "type", BAND_TYPES)),
        frequency_hz=frequency.number("value"),
        frequency_stderr_hz=frequency.number("stderr"),
        gain_db=gain and gain.number("value"),
        gain_stderr_db=gain and gain.optional_number("stderr"),
        q=q and q.number("value"),
        q_stderr=q and q.optional_number("stderr"),
        order=entry.whole("order", least=1),
    )


def room_fields(room: Room) -> dict[str, Any]:
    """A reverberation, octave by octave."""
    return {
        "rt60_seconds": _slope_fields(room.rt60),
        "early_decay_seconds": _slope_fields(room.early_decay),
        "drr_db": _ratio_fields(room.direct_to_reverberant),
        "c50_db": _ratio_fields(room.c50),
        "c80_db": _ratio_fields(room.c80),
        "pre_delay_seconds": room.pre_delay_seconds,
        "arrival_seconds": float(room.arrival_seconds),
        "octaves": [
            {
                "centre_hz": octave.centre_hz,
                "rt60_seconds": _slope_fields(octave.rt60),
                "early_decay_seconds": _slope_fields(octave.early_decay),
                "range_db": octave.range_db,
            }
            for octave in room.octaves
        ],
    }


def _slope_fields(slope: Slope | None) -> dict[str, float] | None:
    return slope and {
        "value": float(slope.seconds),
        "stderr": float(slope.stderr_seconds),
        "upper_db": float(slope.upper_db),
        "lower_db": float(slope.lower_db),
    }


def _ratio_fields(ratio: EnergyRatio | None) -> dict[str, float | None] | None:
    return ratio and value_fields(float(ratio.ratio_db), float(ratio.stderr_db))


def read_room(entry: Fields) -> Room:
    octaves = tuple(
        Octave(
            octave.number("centre_hz"),
            _read_slope(octave, "rt60_seconds"),
            _read_slope(octave, "early_decay_seconds"),
            octave.optional_number("range_db"),
        )
        for octave in entry.each("octaves")
    )
    return Room(
        octaves,
        _read_slope(entry, "rt60_seconds"),
        _read_slope(entry, "early_decay_seconds"),
        *(_read_ratio(entry, key) for key in ("drr_db", "c50_db", "c80_db")),
        pre_delay_seconds=entry.optional_number("pre_delay_seconds"),
        arrival_seconds=entry.number("arrival_seconds"),
    )


def _read_slope(entry: Fields, key: str) -> Slope | None:
    slope = entry.optional(key)
    return slope and Slope(*(slope.number(one) for one in ("value", "stderr", "upper_db", "lower_db")))


def _read_ratio(entry: Fields, key: str) -> EnergyRatio | None:
    ratio = entry.optional(key)
    return ratio and EnergyRatio(ratio.number("value"), ratio.number("stderr"))


def echo_fields(echo: Echo) -> dict[str, Any]:
    """The repeats of a direct sound, and of that what the equaliser of the track does not say."""
    return {
        "repeats": [
            {
                "delay_seconds": value_fields(repeat.delay_seconds, repeat.delay_stderr_seconds),
                "level_db": value_fields(repeat.level_db, repeat.level_stderr_db),
                "polarity": repeat.polarity,
            }
            for repeat in echo.repeats
        ],
        "feedback": value_fields(echo.feedback, echo.feedback_stderr),
        "unexplained_db": echo.unexplained_db,
    }


def read_echo(entry: Fields, direct: Equalisation) -> Echo:
    """An echo, whose direct sound stands as the equaliser of the track."""
    repeats = []
    for one in entry.each("repeats"):
        delay, level = one.inner("delay_seconds"), one.inner("level_db")
        repeats.append(
            Repeat(
                *(delay.number("value"), delay.number("stderr"), level.number("value"), level.number("stderr")),
                polarity=one.whole("polarity", least=-1),
            )
        )
    feedback = entry.optional("feedback")
    return Echo(
        repeats=tuple(repeats),
        feedback=feedback and feedback.number("value"),
        feedback_stderr=feedback and feedback.number("stderr"),
        direct=direct,
        unexplained_db=entry.number("unexplained_db"),
    )


def automation_fields(automation: Automation, array: ArrayFields) -> dict[str, Any]:
    """Curves over time: one array, a row for each field."""
    rows = np.array([getattr(automation, row) for row in AUTOMATION_ROWS])
    return {"rows": list(AUTOMATION_ROWS), "values": array(rows, "automation")}


def read_automation(entry: Fields, read_array: ReadArray) -> Automation:
    if entry.texts("rows") != AUTOMATION_ROWS:
        raise entry.wrong("rows", f"{', '.join(AUTOMATION_ROWS)}, in this order")
    rows = read_array(entry.inner("values"), 2)
    if len(rows) != len(AUTOMATION_ROWS):
        raise entry.damaged(f"{len(rows)} rows of curves, {len(AUTOMATION_ROWS)} are named")
    return Automation(*(row.copy() for row in rows))


def known(effects: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those that are not None."""
    return {name: effect for name, effect in (effects or {}).items() if effect is not None}


def _one_of(entry: Fields, key: str, words: tuple[str, ...]) -> str:
    if entry.text(key) not in words:
        raise entry.wrong(key, f"one of {', '.join(words)}")
    return entry.text(key)
