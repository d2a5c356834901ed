"""How a mix was made from its tracks, in an engineer's words: from a problem to the settings of every track.

The filters of all tracks are fitted together (`unsum.ladder`), and then read: when each track is heard, how loud and
where, through which equaliser, in which room. What is not told by the audio is told as such.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.alike import OneChannel, channels_are_alike, of_all_channels, unfolded
from unsum.analysis import Analysis, Response, null_depth_db
from unsum.automation import Automation, follow_tracks
from unsum.describe.codec import lost_to_a_codec
from unsum.describe.echo import Echo, describe_echo
from unsum.describe.eq import Equalisation, describe_eq, flat_equaliser
from unsum.describe.flat import FlatGain, flat_gain
from unsum.describe.mixer import Mixer, describe_mixer
from unsum.describe.pan import EQUAL_POWER
from unsum.describe.room import Room, describe_room
from unsum.describe.sends import SharedReverb, shared_reverb
from unsum.describe.stereo import StereoPaths, describe_stereo
from unsum.describe.timing import Timing, describe_timing
from unsum.dsp.transforms import rfft
from unsum.engine import subtract
from unsum.ladder import analyse
from unsum.metering import SubtractionMeter
from unsum.model import Contribution
from unsum.problem import Problem, as_float
from unsum.progress import Progress
from unsum.reasons import with_reasons
from unsum.rounded.settings import RoundedSettings, settings_of_rounded_mix

# Paths weaker than this beside the loudest of a track are no part of its equaliser.
_AUDIBLE_PATH = 1e-4
_SURE = 5.0


@dataclass(frozen=True, slots=True)
class Track:
    """What was done to one track.

    Attributes
    ----------
    present : False where it is not in the mix; then nothing else is known
    timing : by the strongest correlation, equaliser included
    warp_samples : the delay of the model beside its filters
    mixer : gain, polarity and pan; the gain is that of all its energy, equaliser included
    flat : the gain where its response is flat; None where it is flat nowhere
    paths : of a stereo track in a stereo mix
    eq : None where the track went through a room, which hides it
    eq_columns : channels of the track that it was read from
    room : None where its response dies away at once
    echo : where a few repeats of the direct sound account for the response, and no room or equaliser does
    automation : gain, pan and delay over time, where they were asked for
    limits : what could not be told of it, in words
    """

    name: str
    present: bool
    timing: Timing | None = None
    warp_samples: float | None = None
    mixer: Mixer | None = None
    flat: FlatGain | None = None
    paths: StereoPaths | None = None
    eq: Equalisation | None = None
    eq_columns: int = 1
    room: Room | None = None
    echo: Echo | None = None
    automation: Automation | None = None
    limits: tuple[str, ...] = ()

    @property
    def fader_db(self) -> float | None:
        """Gain beside the equaliser by the equal-power law, on the scale of the mixer; None where it is not known."""
        return None if self.eq is None else self.eq.gain_db - 10 * math.log10(max(self.eq_columns, 1))

    @property
    def delay_samples(self) -> float:
        """Of the track itself: an equaliser turns phases, and its own delay is not counted where it is known."""
        assert self.timing is not None
        if self.eq is None or not self.eq.bands or self.warp_samples is None:
            return self.timing.delay_samples
        return self.warp_samples + self.eq.delay_samples


@dataclass(frozen=True, slots=True)
class Explanation:
    """A mix taken apart into its tracks.

    Attributes
    ----------
    analysis : `null_db` is what no track explains over the mix, all of it
    tracks : by name, in the order they were given
    shared_reverbs : tracks whose tails agree
    law : the law of panning by which the mixers are told
    window_seconds : of the fit frame by frame; None where none was asked for
    rounded : where the settings explain the mix up to its rounding, to the sample; the equalisers then have its values
    session, residual, images, responses : the files that were written; by the name of the track, of which one with
        too many paths for one file has several responses
    """

    problem: Problem
    analysis: Analysis
    tracks: Mapping[str, Track]
    shared_reverbs: tuple[SharedReverb, ...] = ()
    law: str = EQUAL_POWER
    window_seconds: float | None = None
    rounded: RoundedSettings | None = None
    session: Path | None = None
    residual: Path | None = None
    images: Mapping[str, Path] = field(default_factory=dict)
    responses: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


def explain_problem(
    problem: Problem,
    *,
    max_taps: int | None = None,
    law: str = EQUAL_POWER,
    window_seconds: float | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """How the mixture was made from the references, as far as the audio tells.

    Parameters
    ----------
    max_taps : of the longest filters to try; as many as the audio can tell if not given
    law : a name in `unsum.describe.pan.PAN_LAWS`
    window_seconds : also follow gain, pan and delay in frames of this length, half overlapping

    Returns
    -------
    explanation : Explanation
        With no track present where none is in the mixture.
    """
    folded = {source.name: OneChannel(source) for source in problem.references if channels_are_alike(source)}
    single = replace(problem, references=tuple(folded.get(source.name, source) for source in problem.references))
    analysis = analyse(single, together=True, max_taps=max_taps, progress=progress)
    followed: dict[str, Automation] = {}
    if window_seconds is not None:
        followed = follow_tracks(single, analysis, window_seconds=window_seconds, progress=progress)
    for name, source in folded.items():
        analysis = unfolded(analysis, source)
        if name in followed:
            followed[name] = of_all_channels(followed[name], analysis.model.contributions[name])
    analysis = _measured(problem, analysis, progress)
    rooms = {name: _room(analysis, name) for name in analysis.model.present}
    tracks = {
        name: replace(
            _track(analysis, name, rooms.get(name), law, lossless=problem.mixture.lossless),
            automation=followed.get(name),
        )
        for name in analysis.model.contributions
    }
    shared = shared_reverb(
        {name: analysis.model.contributions[name].filters for name, track in tracks.items() if track.room is not None},
        sample_rate=analysis.model.sample_rate,
        noise={name: _tap_noise(analysis, name) for name in analysis.responses},
    )
    rounded = settings_of_rounded_mix(
        problem,
        analysis.model,
        {name: track.eq for name, track in tracks.items() if track.eq is not None},
        samples=analysis.samples,
        null_db=analysis.null_db,
        progress=progress,
    )
    if rounded is not None:
        surer = rounded.equalisers
        tracks = {name: replace(track, eq=surer.get(name, track.eq)) for name, track in tracks.items()}
    return Explanation(problem, analysis, tracks, shared, law, window_seconds, rounded)


def _measured(problem: Problem, analysis: Analysis, progress: Progress | None) -> Analysis:
    """The analysis with the levels of images and residual, and what they show over time.

    The residual counts before it is rounded to the grid of the mixture: below half a step that would leave nothing.
    """
    meter = SubtractionMeter(problem, analysis)
    exact = all(analysis.model.contributions[name].exact_gains for name in analysis.model.present)
    left = whole = 0.0
    for block in subtract(problem, analysis.model, progress=progress):
        meter.add(block)
        mixture = as_float(block.mixture, problem.mixture.bits)
        residual = as_float(block.residual, problem.mixture.bits)
        if block.images and not exact:
            residual = mixture - np.sum(list(block.images.values()), axis=0)
        left += float(np.vdot(residual, residual))
        whole += float(np.vdot(mixture, mixture))
    measured = replace(meter.analysis(analysis), null_db=null_depth_db(left, whole))
    return with_reasons(problem, measured, meter.levels())


def _track(analysis: Analysis, name: str, room: Room | None, law: str, *, lossless: bool) -> Track:
    part = analysis.model.contributions[name]
    if not part.present:
        return Track(name, False)
    rate = analysis.model.sample_rate
    response = analysis.responses.get(name)
    power, variance, correlation = (
        (response.power, response.variance, response.correlation) if response else (None, None, None)
    )
    moved = response.deviations if response else None
    unsure = _unsure(analysis, name, lossless=lossless)
    timing, mixer = settings_of(analysis, name, lossless=lossless, law=law)
    paths = None
    if part.filters.shape[:2] == (2, 2):
        paths = describe_stereo(
            name,
            part.filters,
            power=power,
            variance=variance,
            correlation=correlation,
            unsure=unsure,
            deviations=moved,
        )
    eq, eq_columns, eq_limits = _equaliser(part, response, room, rate, unsure)
    echo = None
    if response is not None and (room is not None or (eq is not None and eq.kind == "curve")):
        echo = describe_echo(part.filters, response.variance, sample_rate=rate, first_lag=part.first_lag)
    if echo is not None:
        room, eq, eq_limits = None, echo.direct, []
        eq_columns = int(np.count_nonzero(np.any(echo.direct.amplitudes.reshape(part.filters.shape[:2]), axis=0)))
    if eq is not None and eq.bands:
        # Where an equaliser turns phases the strongest correlation may be upside down.
        mixer = replace(mixer, polarity=eq.polarity)
    limits = [*mixer.limits, *(paths.limits if paths else ()), *(f"{name}: {limit}" for limit in eq_limits)]
    flat = flat_gain(
        part.filters, sample_rate=rate, power=power, variance=variance, correlation=correlation, deviations=moved
    )
    return Track(
        name,
        True,
        timing,
        part.warp.delay_seconds * rate,
        mixer,
        flat,
        paths,
        eq,
        eq_columns,
        room,
        echo,
        limits=tuple(limits),
    )


def settings_of(analysis: Analysis, name: str, *, lossless: bool, law: str = EQUAL_POWER) -> tuple[Timing, Mixer]:
    """When a present reference is heard, how loud and where, as sure as its filters are.

    Parameters
    ----------
    lossless : whether the mixture is
    law : a name in `unsum.describe.pan.PAN_LAWS`
    """
    part, finding = analysis.model.contributions[name], analysis.references[name]
    response = analysis.responses.get(name)
    power, variance, correlation = (
        (response.power, response.variance, response.correlation) if response else (None, None, None)
    )
    timing = describe_timing(
        part,
        sample_rate=analysis.model.sample_rate,
        power=power,
        variance=variance,
        deviations=response.deviations if response else None,
        delay_stderr_samples=finding.delay_stderr_samples,
        clock_stderr_ppm=finding.clock_stderr_ppm,
    )
    mixer = describe_mixer(
        name,
        part,
        channels=analysis.model.mixture_channels,
        power=power,
        variance=variance,
        energies=_shared_energies(analysis, name),
        image_db=finding.image_db,
        law=law,
        correlation=correlation,
        unsure=_unsure(analysis, name, lossless=lossless),
        deviations=response.deviations if response else None,
    )
    return timing, mixer


def _unsure(analysis: Analysis, name: str, *, lossless: bool) -> NDArray[np.float64] | None:
    """Relative deviation of the responses beside noise: that of a codec."""
    response = analysis.responses.get(name)
    if lossless or response is None:
        return None
    filters, steady = analysis.model.contributions[name].filters, response.variance
    if response.left is not None:
        # By the noise itself: the variance of the filters counts besides how it comes and goes with the tracks.
        noise, power = filters.shape[2] / analysis.samples * response.left[:, None], response.power
        nothing = np.zeros((len(noise), *power.shape))  # which is what a silent channel loses
        steady = np.divide(noise, power, out=nothing, where=power > np.finfo(float).tiny)
    return lost_to_a_codec(filters, steady, samples=analysis.samples)


def _shared_energies(analysis: Analysis, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Energies of a track and of its image as measured, where its channels may have something in common."""
    response = analysis.responses.get(name)
    return response.energies if response is not None and len(response.power) > 1 else None


def _equaliser(
    part: Contribution,
    response: Response | None,
    room: Room | None,
    sample_rate: int,
    unsure: NDArray[np.float64] | None,
) -> tuple[Equalisation | None, int, Sequence[str]]:
    """The equaliser behind the audible paths of a track, channels it was read from, and what of it cannot be told."""
    if room is not None:
        return None, 0, ["an equaliser before or after its reverb cannot be told from it"]
    if response is None or part.n_taps == 1:
        return (
            flat_equaliser(part.filters[:, :, 0].ravel(), delay_samples=float(part.first_lag)),
            int(np.count_nonzero(part.filters.any(axis=(0, 2)))),
            [],
        )
    n_fft = 2 * (response.variance.shape[2] - 1)
    responses = rfft(part.filters, n_fft)
    energy = np.sum(response.power * np.abs(responses) ** 2, axis=2)
    noise = np.sum(response.power * response.variance, axis=2)
    heard = energy - _SURE * noise > _AUDIBLE_PATH * np.max(energy)
    if not heard.any():
        return None, 0, ["its filters are no louder than their noise, so nothing is known of an equaliser"]
    rows, columns = np.nonzero(heard)
    power = np.mean(response.power[np.unique(columns)], axis=0)
    how: dict[str, Any] = {"sample_rate": sample_rate, "first_lag": part.first_lag, "n_taps": part.n_taps}
    alike = None
    if response.correlation is not None:
        # Only the errors of one column are known to be alike.
        alike = response.correlation[rows[:, None], rows] * (columns[:, None] == columns)[:, :, None]
    lost = None if unsure is None else unsure[rows, columns]
    moved = response.deviations
    found = describe_eq(
        responses[rows, columns],
        response.variance[rows, columns],
        power,
        correlation=alike,
        unsure=lost,
        deviations=moved and moved.of_paths(rows, columns),
        **how,
    )
    if found.paths_apart_db is not None:
        row, column = np.unravel_index(np.argmax(energy), energy.shape)
        only = responses[row, column][None], response.variance[row, column][None], response.power[column]
        apart = f"its paths differ in more than gain, by {found.paths_apart_db:.0f} dB of its image"
        how["deviations"] = moved and moved.of_paths(np.array([row]), np.array([column]))
        loudest = describe_eq(*only, unsure=None if unsure is None else unsure[row, column][None], **how)
        found = replace(loudest, paths_apart_db=found.paths_apart_db)
        return found, 1, [f"{apart}: the equaliser is that of the loudest one", *found.limits]
    return found, len(np.unique(columns)), found.limits


def _room(analysis: Analysis, name: str) -> Room | None:
    part = analysis.model.contributions[name]
    noise = _tap_noise(analysis, name) if name in analysis.responses else None
    return describe_room(part.filters, sample_rate=analysis.model.sample_rate, first_lag=part.first_lag, noise=noise)


def _tap_noise(analysis: Analysis, name: str) -> NDArray[np.float64]:
    """Power spectral density (mixture channels, reference channels, bins) of the noise of the taps."""
    return analysis.responses[name].variance / analysis.model.contributions[name].n_taps
