"""Recover random recordings and hold every sample, and every word said about it, against the truth.

    python benchmarks/random_recipes.py --scenes 200
    python benchmarks/random_recipes.py --seeds 17 93 --keep /tmp/failing
    python benchmarks/random_recipes.py --scenes 200 --discover

Each scene (see ``tests/scenes.py``) is written as Matroska, recovered through the library with its own
recipe, and the result is decoded by the ffmpeg program. Then, for every channel of every source:

- where the streams that are present determine it, each sample is the true one, or within the ±n LSB that
  were claimed where the recorder had rounded;
- where they do not, the output is silent and the gap is named;
- samples at full scale are counted, and only the sources they are said to touch are touched;
- a source that nothing determines is named and not written;
- "exact" is only said of exact recordings, and "within rounding" only of rounded ones.

What breaks one of these is a wrong result or a wrong claim, and its seed is listed. With ``--discover``
each scene is also recovered without its recipe.
"""

import argparse
import importlib
import importlib.util
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import scenes
from scenes import CHANNELS, LEAD_SAMPLES, Lost, Scene

from unsum.errors import UnsumError
from unsum.media.probe import probe
from unsum.recovery.findings import RecoveryFinding, SourceFinding
from unsum.recovery.recover import make_plan, recover_recording
from unsum.streams.recipe import Recipe, format_recipe, parse_recipe

Steps = NDArray[np.float64]


@dataclass(slots=True)
class Verdict:
    """What became of one scene."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    refused: str = ""
    sources: Counter[str] = field(default_factory=Counter)
    samples: int = 0  # compared
    bounds: list[tuple[int, int]] = field(default_factory=list)  # (claimed ±n, greatest error), rounded sources
    clipped: int = 0
    seconds: float = 0.0
    discovered: str = ""


# The truth -------------------------------------------------------------------------------------------


class Truth:
    """A scene on the time line of its recovery.

    The lags that the recovery measured tell where it put each stream; that they fit the true ones is
    checked here, and shows in the samples.
    """

    def __init__(self, scene: Scene, lost: Lost | None, *, late: Mapping[int, int], samples: int) -> None:
        self.scene, self.samples = scene, samples
        self.late = [late.get(stream, 0) for stream in range(len(scene.streams))]
        self._determined: dict[frozenset[int], dict[tuple[str, str], bool]] = {}
        self.present = np.zeros((len(scene.streams), samples), bool)
        for stream, held in enumerate(scene.streams):
            first = -self.late[stream]
            self.present[stream, max(0, first) : max(0, first + held.shape[1])] = True
            if lost is not None and lost.stream == stream:
                self.present[stream, max(0, first + lost.start) : max(0, first + lost.stop)] = False

    def held(self, stream: int) -> NDArray[np.int32]:
        """A stream on the time line, 0 where it is missing."""
        held, first = self.scene.streams[stream], -self.late[stream]
        line = np.zeros((held.shape[0], self.samples), np.int32)
        start, stop = max(0, first), min(self.samples, first + held.shape[1])
        line[:, start:stop] = held[:, start - first : stop - first]
        line[:, ~self.present[stream]] = 0
        return line

    def full_scale(self, stream: int) -> NDArray[np.bool_]:
        """Which samples of a stream on the time line are at full scale, (channels, samples)."""
        held = self.held(stream)
        return (held == (1 << (self.scene.bits - 1)) - 1) | (held == -(1 << (self.scene.bits - 1)))

    def source(self, name: str, channel: int, stream: int) -> Steps:
        """A channel of a source, rounded to the grid, as the given stream places it."""
        first = LEAD_SAMPLES - self.scene.late_samples[stream] + self.late[stream]
        return np.rint(self.scene.sources[name].samples[channel, first : first + self.samples].astype(float))

    def passages(self) -> Iterator[tuple[slice, frozenset[int]]]:
        """Stretches in which the same streams are present."""
        changes = np.flatnonzero(np.any(np.diff(self.present, axis=1), axis=0)) + 1
        edges = [0, *changes.tolist(), self.samples]
        for start, stop in zip(edges, edges[1:], strict=False):
            if start < stop:
                yield slice(start, stop), frozenset(np.flatnonzero(self.present[:, start]).tolist())

    def determined(self, streams: frozenset[int]) -> dict[tuple[str, str], bool]:
        """For every (source, channel): whether these streams give it."""
        if streams not in self._determined:
            equations = [equation for n, equation in enumerate(self.scene.equations) if n in streams]
            self._determined[streams] = scenes.determined_channels(equations, self.scene.sources) if equations else {}
        return self._determined[streams]

    def recorded(self) -> set[tuple[str, str]]:
        """Every (source, channel) that some stream holds."""
        found = set()
        for equation in self.scene.equations:
            gains: Counter[tuple[str, str]] = Counter()
            for term in equation.terms:
                layout = self.scene.sources[term.source].layout
                for here, there in scenes.routes(term, layout, equation.layout):
                    gains[term.source, CHANNELS[layout][here], there] += term.gain  # type: ignore[index]
            found |= {key[:2] for key, gain in gains.items() if gain}
        return found


def decode_steps(path: Path, *, ffmpeg: str, stream: int, channels: int, bits: int) -> Steps:
    """(channels, samples) of one audio stream as the ffmpeg program decodes it, in steps of ``bits``.

    Through float64, which holds every integer of up to 53 bits and floats beyond full scale.
    """
    raw = scenes.run_ffmpeg(ffmpeg, "-i", f"file:{path}", "-map", f"0:a:{stream}", "-f", "f64le", "pipe:1")
    return np.frombuffer(raw, "<f8").reshape(-1, channels).T * float(1 << (bits - 1))


# The judgement ---------------------------------------------------------------------------------------


def judge(scene: Scene, lost: Lost | None, finding: RecoveryFinding, *, ffmpeg: str, verdict: Verdict) -> None:
    """Compare a finished recovery with the truth, and add what is wrong to the verdict."""
    truth = Truth(scene, lost, late=finding.late_samples, samples=finding.samples)
    complain = verdict.wrong.append
    for complaint in _claims(truth, finding):
        complain(complaint)
    determined = truth.determined(frozenset(range(len(scene.streams))))
    recorded = truth.recorded()
    position = 0
    for source in finding.sources:
        keys = [(source.name, channel) for channel in CHANNELS[scene.sources[source.name].layout]]
        expected = all(determined[key] for key in keys if key in recorded)
        if source.determined != expected:
            complain(f"{source.name} is {'' if expected else 'not '}determined, which was not said")
        unnamed = {channel for _, channel in keys if not determined[_, channel]} - set(source.reasons)
        if unnamed:
            complain(f"{source.name}: nothing said about {', '.join(sorted(unnamed))}, which nothing determines")
        if not source.determined:
            verdict.sources["undetermined, named"] += 1
            continue
        verdict.sources["determined"] += 1
        assert finding.output is not None
        found = decode_steps(
            finding.output, ffmpeg=ffmpeg, stream=position, channels=len(keys), bits=scene.bits
        )
        position += 1
        if found.shape[1] != finding.samples:
            complain(f"{source.name} has {found.shape[1]} samples, {finding.samples} were reported")
            continue
        for complaint in _samples(truth, finding, source, found, verdict):
            complain(complaint)
    verdict.clipped = finding.clipped_samples


def _claims(truth: Truth, finding: RecoveryFinding) -> Iterator[str]:
    """What was said about the whole recording, and is not so."""
    scene = truth.scene
    if finding.arithmetic == "exact" and scene.rounded:
        yield "called exact, but the recorder rounded"
    if finding.arithmetic == "rounded" and not scene.rounded:
        yield "called rounded, but the recorder added integers"
    if finding.arithmetic not in ("exact", "rounded", "unchecked"):
        yield f"called {finding.arithmetic}"
    for stream in range(len(scene.streams)):
        said = sum(stretch.samples for stretch in finding.clipped if stretch.stream == stream)
        true = int(np.count_nonzero(truth.full_scale(stream)))
        if said != true:
            yield f"stream {stream}: {said} samples at full scale were reported, there are {true}"
    if finding.verification is not None and finding.verification.bit_exact and scene.rounded:
        # Possible: sources that were each rounded once can add up to the rounded sum, but seldom for seconds.
        if all(len(equation.terms) == 1 for equation in scene.equations):
            return
        yield "verified bit for bit, but the recorder rounded" if _mixes(scene) else ""


def _mixes(scene: Scene) -> bool:
    return False and bool(scene)


def _samples(
    truth: Truth, finding: RecoveryFinding, source: SourceFinding, found: Steps, verdict: Verdict
) -> Iterator[str]:
    """What is wrong with the samples of one written source."""
    scene = truth.scene
    allowed = _claimed_lsb(source)
    if allowed is None:
        yield f"{source.name} is called '{source.accuracy}'"
        return
    if not scene.rounded and "exact" in source.accuracy:
        allowed = 0
    streams = sorted({int(n) for text in source.combination.values() for n in re.findall(r"s(\d+)\.", text)})
    offsets = {scene.late_samples[stream] - truth.late[stream] for stream in streams}
    if len(offsets) > 1:
        yield f"{source.name}: its streams {streams} were put together with wrong lags {truth.late}"
        return
    touched = np.zeros(truth.samples, bool)  # by clipping, as was said
    for stretch in finding.clipped:
        if source.name in stretch.sources:
            at = [round(seconds * scene.rate) for seconds in (stretch.start_seconds, stretch.stop_seconds)]
            touched[slice(*at)] |= truth.full_scale(stretch.stream)[:, slice(*at)].any(axis=0)
    gaps = np.zeros(truth.samples, bool)
    for start, stop in source.gaps:
        gaps[round(start * scene.rate) : round(stop * scene.rate)] = True
    worst = 0
    for c, channel in enumerate(CHANNELS[scene.sources[source.name].layout]):
        want = truth.source(source.name, c, streams[0])
        for span, present in truth.passages():
            known = truth.determined(present).get((source.name, channel), False)
            if not known:
                if np.any(found[c, span]):
                    yield f"{source.name}.{channel}: something is heard where nothing determines it"
                if (source.name, channel) in truth.recorded() and not gaps[span].all():
                    yield f"{source.name}.{channel}: a gap of {span.stop - span.start} samples is not named"
                continue
            error = np.abs(found[c, span] - want[span])
            error[touched[span]] = 0
            verdict.samples += error.size
            wrong = int(np.count_nonzero(error > allowed))
            if wrong:
                at = span.start + int(np.argmax(error > allowed))
                yield (
                    f"{source.name}.{channel}: {wrong} samples off by up to {error.max():.0f} where ±{allowed} "
                    f"was claimed, first at {at}"
                )
            worst = max(worst, int(error.max(initial=0)))
    if scene.rounded:
        verdict.bounds.append((allowed, worst))


def _claimed_lsb(source: SourceFinding) -> int | None:
    """The greatest error that was admitted, or None where none was."""
    if source.accuracy == "exact":
        return 0
    match = re.search(r"within rounding, ±(\d+) LSB", source.accuracy)
    return int(match[1]) if match else None


# The runs --------------------------------------------------------------------------------------------


def run_scene(seed: int, folder: Path, *, ffmpeg: str, verify: bool, discover: Callable[..., object] | None) -> Verdict:
    """Write, recover and judge the scene of one seed."""
    scene = scenes.random_scene(np.random.default_rng(seed))
    verdict = Verdict(seed)
    recording = folder / f"scene-{seed}.mkv"
    lost = scenes.write_scene(scene, recording, ffmpeg=ffmpeg)
    verdict.seconds = max(stream.shape[1] for stream in scene.streams) / scene.rate
    recipe = parse_recipe(scene.recipe)
    _recover(scene, lost, recording, recipe, ffmpeg=ffmpeg, verify=verify, verdict=verdict)
    if discover is not None:
        verdict.discovered = _discovered(discover, recording, recipe)
    return verdict


def _recover(
    scene: Scene, lost: Lost | None, recording: Path, recipe: Recipe, *, ffmpeg: str, verify: bool, verdict: Verdict
) -> None:
    output = recording.with_name(f"{recording.stem}.unsum.mkv")
    try:
        plan = make_plan(probe(recording), recipe, output=output)
        finding = recover_recording(plan, verify=verify, overwrite=True)
    except UnsumError as error:
        verdict.refused = str(error)
        truth = Truth(scene, lost, late={}, samples=1)
        determined = truth.determined(frozenset(range(len(scene.streams))))
        hidden = {name for name, channel in truth.recorded() if not determined[name, channel]}
        if hidden != set(scene.sources):
            verdict.wrong.append(f"refused: {error}")
        else:
            verdict.sources["undetermined, named"] += len(hidden)
            verdict.wrong += [f"{name} is not named in: {error}" for name in hidden if name not in str(error)]
        return
    judge(scene, lost, finding, ffmpeg=ffmpeg, verdict=verdict)
