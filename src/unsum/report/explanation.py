"""An explanation as a table for a terminal, 80 columns wide, and as JSON for scripts."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unsum.automation import Automation
from unsum.describe.echo import echo_words
from unsum.describe.eq import Band, Equalisation
from unsum.describe.mixer import Mixer
from unsum.describe.pan import CENTRE_DEGREES, EQUAL_POWER
from unsum.describe.room import room_words
from unsum.describe.sends import shared_reverb_words
from unsum.describe.stereo import StereoPaths, stereo_words
from unsum.explanation import Explanation, Track
from unsum.report.effects_json import AUTOMATION_ROWS, echo_fields, equaliser_fields, room_fields, value_fields
from unsum.report.lines import harmless, in_columns, wrapped
from unsum.report.removal import step_lines
from unsum.report.sure import arrival_words, pan_column, strip_words, sure_number

_NAME_WIDTH = 26
# Cross paths that are softer than this beside the straight ones are not worth a line.
_CROSS_PATH_DB = -60.0
_STEADY_DB, _STEADY_DEGREES, _STEADY_SAMPLES = 0.1, 0.5, 0.1
_FEW_PERCENT = 0.05


def explanation_text(explanation: Explanation, *, verbose: bool = False) -> str:
    """A row for each track with what was done to it below, then what no track explains."""
    lines = [*_table(explanation, verbose=verbose), *wrapped(residual_sentence(explanation))]
    lines += wrapped(rounded_sentence(explanation))
    for shared in explanation.shared_reverbs:
        lines += wrapped("; ".join(shared_reverb_words(shared)))
    for track in explanation.tracks.values():
        if not track.present:
            reason = explanation.analysis.references[track.name].reason
            lines += wrapped(f"{track.name} is not in {explanation.problem.mixture.name} ({reason})")
    for limit in limits(explanation):
        lines += wrapped(f"limit: {limit}")
    if verbose:
        lines += [line for step in explanation.analysis.steps for line in step_lines(step)]
    written = [(f"response of {name}", path) for name, paths in explanation.responses.items() for path in paths]
    written += [(f"image of {name}", path) for name, path in explanation.images.items()]
    if explanation.residual is not None:
        written.append(("what no track explains", explanation.residual))
    if explanation.session is not None:
        written.append(("written", explanation.session))
    return "\n".join([*lines, *(harmless(f"{what}: {path.name}") for what, path in written)])


def residual_sentence(explanation: Explanation) -> str:
    """How much of the mix the tracks do not account for."""
    if not explanation.analysis.model.present:
        return f"none of these tracks is in {explanation.problem.mixture.name}"
    null_db = explanation.analysis.null_db
    if null_db == -math.inf:
        return "what no track explains: nothing, the mix is their sum to the last bit"
    return f"what no track explains: {null_db:.1f} dB of the mix"


def rounded_sentence(explanation: Explanation) -> str:
    """How much of the mix these settings give to the sample, where they do; empty elsewhere."""
    rounded = explanation.rounded
    if rounded is None:
        return ""
    missed = round((1 - rounded.explained) * rounded.samples)
    shown = "every one" if not missed else f"all but {missed}"
    return f"rounded as the mix is, these settings give {shown} of {rounded.samples} of its samples as they are"


def limits(explanation: Explanation) -> tuple[str, ...]:
    """What could not be told, of the whole and of each track, once each."""
    own = [limit for track in explanation.tracks.values() for limit in track.limits]
    return tuple(dict.fromkeys([*explanation.analysis.limits, *own]))


def _table(explanation: Explanation, *, verbose: bool) -> Iterator[str]:
    present = [track for track in explanation.tracks.values() if track.present]
    if not present:
        return
    by_law = "" if explanation.law == EQUAL_POWER else f"   (gain and pan by the {explanation.law} law)"
    head = f"{'track':{_NAME_WIDTH}} {'gain dB':>9} {'pan':>8} {'delay, samples':>15} {'of the mix':>11}{by_law}"
    yield head.rstrip()
    for track in present:
        assert track.mixer is not None and track.timing is not None
        mixer = track.mixer
        row = (
            f"{in_columns(track.name, _NAME_WIDTH)} {_gain(mixer):>9} {pan_column(mixer):>8} "
            f"{_delay(track):>15} {_share(mixer.image_db):>11}"
        )
        yield row + ("  inv." if mixer.polarity == -1 else "")
        for words in _track_words(track, verbose=verbose):
            yield from wrapped(words, first="    ", rest="      ")


def _gain(mixer: Mixer) -> str:
    return "?" if mixer.gain_db is None else sure_number(mixer.gain_db, mixer.gain_stderr_db, 2)


def _no_minus_zero(value: float, digits: int) -> float:
    return 0.0 if abs(value) < 0.5 * 10.0**-digits else value


def _delay(track: Track) -> str:
    """Samples; in a room those of the direct sound, and no part of one."""
    assert track.timing is not None
    rate, first = track.timing.sample_rate, _first_of_many(track)
    if first is not None:
        return sure_number(first * rate, None, 0)
    stderr = track.timing.delay_stderr_seconds
    return sure_number(track.delay_samples, None if stderr is None else stderr * rate, 3)


def _first_of_many(track: Track) -> float | None:
    """When the direct sound of a room is heard, in seconds; None where there is no room."""
    if track.room is None or track.timing is None or track.warp_samples is None:
        return None
    return track.warp_samples / track.timing.sample_rate + track.room.arrival_seconds


def _share(image_db: float | None) -> str:
    if image_db is None:
        return "-"
    percent = 100 * 10 ** (image_db / 10)
    return f"{percent:.1f} %" if percent >= _FEW_PERCENT else f"{percent:.1g} %"


def _track_words(track: Track, *, verbose: bool) -> Iterator[str]:
    assert track.mixer is not None and track.timing is not None
    if track.eq is not None and (track.eq.kind != "flat" or verbose):
        yield "EQ: " + "; ".join(equaliser_words(track.eq, track.fader_db, verbose=verbose))
    if track.echo is not None:
        yield "echo: " + "; ".join(echo_words(track.echo))
    if track.room is not None:
        yield "reverb: " + "; ".join(room_words(track.room) if verbose else room_words(track.room)[:1])
    if track.paths is not None and (verbose or _is_notable(track.paths)):
        yield "stereo: " + "; ".join(stereo_words(track.paths))
    if track.automation is not None:
        yield "over time: " + "; ".join(automation_words(track.automation, track.timing.sample_rate))
    if verbose:
        yield "; ".join((*arrival_words(track.timing, _first_of_many(track)), *strip_words(track.mixer)))


def equaliser_words(eq: Equalisation, fader_db: float | None, *, verbose: bool = False) -> tuple[str, ...]:
    """The bands as one would say them, and how near they come."""
    if eq.kind in ("curve", "linear phase"):
        # Bands that follow a free-hand curve are nobody's settings.
        known = eq.curve is not None and len(eq.curve.gain_db) > 0
        shape = _curve_words(eq) if known else "its curve is lost in noise"
        return ("linear phase" if eq.kind == "linear phase" else "no parametric one", shape)
    words = [_band_words(band, verbose=verbose) for band in eq.bands]
    if not words:
        words.append("flat" if math.isfinite(eq.gain_db) else "not told")
    if eq.bands and fader_db is not None:
        words.append(f"{_of_size(fader_db, eq.gain_stderr_db, verbose, 2)} dB beside them")
    if verbose and eq.bands:
        words.append(f"within {eq.max_deviation_db:.2g} dB of what was measured")
    return tuple(words)


def _band_words(band: Band, *, verbose: bool) -> str:
    at = _hertz(band.frequency_hz, band.frequency_stderr_hz, verbose)
    names = {"highpass": "high-pass", "lowpass": "low-pass", "lowshelf": "low shelf", "highshelf": "high shelf"}
    if band.gain_db is None:
        words = f"{names[band.type]} at {at}, {6 * band.order} dB/octave"
    else:
        gain = _of_size(band.gain_db, band.gain_stderr_db, verbose, 2, signed=True)
        words = f"{names.get(band.type, band.type)} {gain} dB at {at}"
    return words if band.q is None else f"{words}, Q {_of_size(band.q, band.q_stderr, verbose, 2)}"


def _of_size(value: float, stderr: float | None, verbose: bool, digits: int, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if not verbose:
        return sure_number(value, stderr, digits, sign=sign)
    shown = f"{_no_minus_zero(value, digits):{sign}.{digits}f}"
    return f"{shown} ± {stderr:.2g}" if stderr is not None and math.isfinite(stderr) else shown


def _hertz(hz: float, stderr: float, verbose: bool) -> str:
    return f"{_of_size(hz, stderr, verbose, 1 if hz < 1000 else 0)} Hz"


def _curve_words(eq: Equalisation) -> str:
    """Where a free-hand curve is highest and lowest."""
    assert eq.curve is not None
    high, low = int(np.argmax(eq.curve.gain_db)), int(np.argmin(eq.curve.gain_db))
    ends = [(float(eq.curve.gain_db[n]), float(eq.curve.frequency_hz[n])) for n in (low, high)]
    return "from " + " to ".join(f"{gain:+.1f} dB at {hz:.0f} Hz" for gain, hz in ends)


def _is_notable(paths: StereoPaths) -> bool:
    """Whether more than a balance knob was turned."""
    if paths.crossed or paths.opposite:
        return True
    for c in (0, 1):
        straight, across = paths.paths_db[c][c], paths.paths_db[c][1 - c]
        if straight is not None and across is not None and across - straight > _CROSS_PATH_DB:
            return True
    return False


def automation_words(automation: Automation, sample_rate: int) -> tuple[str, ...]:
    """How far gain, pan and delay move, between the tenth and the ninetieth percent of the frames."""
    if not len(automation.seconds):
        return ("in no frame loud enough to tell",)
    words = []
    spans = (
        (automation.gain_db, 1.0, "gain", "dB", _STEADY_DB, 2),
        (automation.pan_degrees - CENTRE_DEGREES, 1.0, "pan", "degrees from the centre", _STEADY_DEGREES, 1),
        (automation.delay_seconds, float(sample_rate), "delay", "samples", _STEADY_SAMPLES, 2),
    )
    for values, scale, what, unit, steady, digits in spans:
        known = scale * values[np.isfinite(values)]
        if not len(known):
            continue
        low, high = (float(end) for end in np.quantile(known, [0.1, 0.9]))
        if high - low > steady:
            ends = (f"{_no_minus_zero(end, digits):.{digits}f}" for end in (low, high))
            words.append(f"{what} from {' to '.join(ends)} {unit}")
    frames = f"{len(automation.seconds)} frames"
    return (*words, frames) if words else (f"steady in {frames}",)


def explanation_json(explanation: Explanation) -> str:
    """One object for a whole call; gain and pan by the law that was asked for."""
    analysis = explanation.analysis
    document = {
        "mixture": explanation.problem.mixture.name,
        "null_db": analysis.null_db if math.isfinite(analysis.null_db) else None,
        "exact": analysis.null_db == -math.inf,
        "law": explanation.law,
        "window_seconds": explanation.window_seconds,
        "tracks": [_track_fields(explanation, track) for track in explanation.tracks.values()],
        "shared_reverbs": [
            {
                "tracks": list(shared.names),
                "correlation": list(shared.correlation),
                "send_db": list(shared.send_db),
                "delay_seconds": list(shared.delay_seconds),
            }
            for shared in explanation.shared_reverbs
        ],
        "rounded": explanation.rounded
        and {"explained": explanation.rounded.explained, "samples": explanation.rounded.samples},
        "limits": list(limits(explanation)),
        "session": _path(explanation.session),
        "residual": _path(explanation.residual),
        "images": {name: str(path) for name, path in explanation.images.items()},
        "responses": {name: [str(path) for path in paths] for name, paths in explanation.responses.items()},
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _track_fields(explanation: Explanation, track: Track) -> dict[str, Any]:
    finding = explanation.analysis.references[track.name]
    entry: dict[str, Any] = {"track": track.name, "present": track.present, "reason": finding.reason}
    if track.mixer is None or track.timing is None:
        return entry
    mixer, timing, eq = track.mixer, track.timing, track.eq
    image_db = mixer.image_db
    return entry | {
        "delay_seconds": value_fields(timing.delay_seconds, timing.delay_stderr_seconds),
        "delay_samples_beside_eq": track.delay_samples,
        "gain_db": value_fields(mixer.gain_db, mixer.gain_stderr_db),
        "flat_gain_db": track.flat and value_fields(track.flat.gain_db, track.flat.stderr_db),
        "fader_db": track.fader_db if track.fader_db is not None and math.isfinite(track.fader_db) else None,
        "polarity": mixer.polarity,
        "pan_degrees": value_fields(mixer.pan_degrees, mixer.pan_stderr_degrees),
        "balance_db": track.paths and value_fields(track.paths.balance_db, track.paths.balance_stderr_db),
        "width": track.paths and value_fields(track.paths.width, track.paths.width_stderr),
        "image_db": image_db if image_db is not None and math.isfinite(image_db) else None,
        "eq": None if eq is None or not math.isfinite(eq.gain_db) else equaliser_fields(eq, _listed),
        "room": track.room and room_fields(track.room),
        "echo": track.echo and echo_fields(track.echo),
        "automation": track.automation and {row: _known(getattr(track.automation, row)) for row in AUTOMATION_ROWS},
        "taps": explanation.analysis.model.contributions[track.name].n_taps,
    }


def _listed(values: np.ndarray, _: str) -> Any:
    return values.tolist()


def _known(values: np.ndarray) -> Sequence[float | None]:
    """Numbers, and null where a frame does not tell one."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _path(path: Any) -> str | None:
    return None if path is None else str(path)
