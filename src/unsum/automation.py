"""Faders, pan knobs and delays that move: the settings of every track over time."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis
from unsum.describe.codec import lost_to_a_codec
from unsum.describe.mixer import Mixer, describe_mixer
from unsum.describe.timing import describe_timing
from unsum.errors import InputError
from unsum.estimators.frames import FrameFit, fit_frames
from unsum.model import TimeWarp
from unsum.problem import Problem
from unsum.progress import Progress

# A frame tells the gain where it is known to this, or not at all.
_KNOWN_DB = 3.0
# -80 dB of its loudest frame: a track that is softer says nothing that is heard.
_SOUNDING = 1e-8


@dataclass(frozen=True, slots=True)
class Automation:
    """Settings of one track in the frames in which it sounds (frames,); nan where a frame does not tell one.

    Attributes
    ----------
    seconds : middle of each frame, mixture time
    gain_db : by the equal-power law; at the level the track has over the whole mix, its equaliser included
    pan_degrees : 0 left, 45 centre, 90 right; nan on mixtures other than stereo
    delay_seconds : positive: heard later in the mixture
    """

    seconds: NDArray[np.float64]
    gain_db: NDArray[np.float64]
    gain_stderr_db: NDArray[np.float64]
    pan_degrees: NDArray[np.float64]
    pan_stderr_degrees: NDArray[np.float64]
    delay_seconds: NDArray[np.float64]
    delay_stderr_seconds: NDArray[np.float64]


def follow_tracks(
    problem: Problem, analysis: Analysis, *, window_seconds: float, progress: Progress | None = None
) -> dict[str, Automation]:
    """Gain, pan and delay of every track that is in the mixture, frame by frame.

    Parameters
    ----------
    window_seconds : of a frame; the next one begins half of it later

    Raises
    ------
    InputError
        If the window is too short for so many tracks, or longer than the mixture.
    """
    model = analysis.model
    window = round(window_seconds * model.sample_rate) if math.isfinite(window_seconds) else 0
    if window < 2:
        raise InputError(f"a window of {window_seconds:g} s; give one of some tenths of a second or longer")
    if not model.present:
        return {}
    power = {name: response.power for name, response in analysis.responses.items()}
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in model.present}
    delays = {name: _delay(analysis, name) for name in model.present}
    frames = fit_frames(problem, model, power=power, samples=analysis.samples, window_samples=window, progress=progress)
    for frame in frames:
        for name in model.present:
            lossless = problem.mixture.lossless
            rows[name].append(_settings(frame, name, analysis, delays[name], lossless=lossless))
    return {name: _automation(np.array(found)) for name, found in rows.items()}


def _delay(analysis: Analysis, name: str) -> float:
    response = analysis.responses.get(name)
    return describe_timing(
        analysis.model.contributions[name],
        sample_rate=analysis.model.sample_rate,
        power=None if response is None else response.power,
    ).delay_seconds


def _settings(
    frame: FrameFit, name: str, analysis: Analysis, delay_seconds: float, *, lossless: bool
) -> tuple[float, ...]:
    """Energy of the track, then the fields of `Automation`."""
    model = analysis.model
    energy = float(np.sum(frame.power[name]))
    middle = (frame.start + frame.stop) / 2 / model.sample_rate
    told = None
    if energy > 0:
        told = _read(frame, name, frame.filters[name], analysis, delay_seconds, lossless=lossless)
    if told is None:
        return (energy, middle, *(math.nan,) * 6)
    halves = [
        _read(frame, name, half, analysis, delay_seconds, lossless=lossless) for half in frame.halves.get(name, ())
    ]
    known = [half for half in halves if half is not None]
    if len(known) == 2:
        # Of the mean of two values half their difference is the standard error; in it is all that moves in the frame.
        off = 0.5 * np.abs(np.array(known[0]) - np.array(known[1]))[::2]
        values = np.array(told)
        values[1::2] = np.hypot(values[1::2], np.where(np.isfinite(off), off, 0.0))
        told = tuple(values.tolist())
    return (energy, middle, *told)


def _read(
    frame: FrameFit,
    name: str,
    filters: NDArray[np.float64],
    analysis: Analysis,
    delay_seconds: float,
    *,
    lossless: bool,
) -> tuple[float, ...] | None:
    """Gain, pan and delay of filters of a frame, each with its standard error beside noise; None where all is noise."""
    model, power, variance = analysis.model, frame.power[name], frame.variance[name]
    part = replace(
        model.contributions[name],
        filters=filters,
        first_lag=frame.first_lag,
        warp=TimeWarp(delay_seconds),
        exact_gains={},
    )
    whole = analysis.responses.get(name)
    mixer = describe_mixer(
        name,
        part,
        channels=model.mixture_channels,
        power=power,
        variance=variance,
        # What disturbs both channels alike is told by all frames together: one is too short to.
        correlation=None if whole is None else whole.correlation,
        unsure=None if lossless else lost_to_a_codec(part.filters, variance, samples=frame.stop - frame.start),
    )
    if not _is_known(mixer):
        return None
    timing = describe_timing(part, sample_rate=model.sample_rate, power=power, variance=variance)
    told = (
        mixer.gain_db,
        mixer.gain_stderr_db,
        mixer.pan_degrees,
        mixer.pan_stderr_degrees,
        timing.delay_seconds,
        timing.delay_stderr_seconds,
    )
    return tuple(math.nan if value is None else value for value in told)


def _is_known(mixer: Mixer) -> bool:
    return mixer.gain_db is not None and mixer.gain_stderr_db is not None and mixer.gain_stderr_db < _KNOWN_DB


def _automation(rows: NDArray[np.float64]) -> Automation:
    energy = rows[:, 0]
    sounding = (energy > _SOUNDING * np.max(energy, initial=0.0)) & np.isfinite(rows[:, 2])
    return Automation(*(rows[sounding, column].copy() for column in range(1, 8)))
