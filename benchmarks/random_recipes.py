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
import itertools
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import scenes  # pyright: ignore[reportMissingImports]
from scenes import CHANNELS, LEAD_SAMPLES, Lost, Scene  # pyright: ignore[reportMissingImports]

from unsum.errors import UnsumError
from unsum.media.probe import probe
from unsum.recovery.findings import RecoveryFinding, SourceFinding
from unsum.recovery.plan import make_plan
from unsum.recovery.recover import recover_recording
from unsum.streams.equations import mixing_equations
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
        for start, stop in itertools.pairwise(edges):
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


def judge(
    scene: Scene, lost: Lost | None, finding: RecoveryFinding, recording: Path, *, ffmpeg: str, verdict: Verdict
) -> None:
    """Compare a finished recovery with the truth, and add what is wrong to the verdict."""
    truth = Truth(scene, lost, late=finding.late_samples, samples=finding.samples)
    complain = verdict.wrong.append
    for complaint in _claims(truth, finding):
        complain(complaint)
    determined = truth.determined(frozenset(range(len(scene.streams))))
    recorded = truth.recorded()
    written: dict[str, Steps] = {}
    for source in finding.sources:
        keys = [(source.name, channel) for channel in CHANNELS[scene.sources[source.name].layout]]
        expected = all(determined[key] for key in keys if key in recorded)
        if source.determined != expected:
            complain(f"{source.name} is {'' if expected else 'not '}determined, which was not said")
        unnamed = {channel for _, channel in keys if not determined[source.name, channel]} - set(source.reasons)
        if unnamed:
            complain(f"{source.name}: nothing said about {', '.join(sorted(unnamed))}, which nothing determines")
        if not source.determined:
            verdict.sources["undetermined, named"] += 1
            continue
        verdict.sources["determined"] += 1
        assert finding.output is not None
        (stream,) = [stream for stream in probe(finding.output).audio if stream.title == source.name]
        if stream.channels != CHANNELS[scene.sources[source.name].layout]:
            complain(f"{source.name} was written as {stream.layout}")
        found = decode_steps(finding.output, ffmpeg=ffmpeg, stream=stream.number, channels=len(keys), bits=scene.bits)
        if found.shape[1] != finding.samples:
            complain(f"{source.name} has {found.shape[1]} samples, {finding.samples} were reported")
            continue
        written[source.name] = found
        for complaint in _samples(truth, finding, source, found, verdict):
            complain(complaint)
    for complaint in _kept(finding, recording):
        complain(complaint)
    for stream in set(range(len(scene.streams))) - known_streams(scene, written.keys()) - set(finding.kept_streams):
        complain(f"stream {stream} was neither rebuilt nor kept")
    for complaint in _verification(truth, finding, written):
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


def _verification(truth: Truth, finding: RecoveryFinding, written: Mapping[str, Steps]) -> Iterator[str]:
    """Mix the decoded sources again and see whether what verification said of that is so."""
    said, scene = finding.verification, truth.scene
    if said is None:
        return
    everywhere = truth.present.all(axis=0)
    known = known_streams(scene, written.keys())
    if not known.isdisjoint(said.not_rebuilt):
        yield f"verification leaves out streams {said.not_rebuilt}, but {sorted(known)} can be rebuilt"
    for stream in sorted(known):
        equation = scene.equations[stream]
        mixed = np.zeros((len(CHANNELS[equation.layout]), truth.samples))
        for term in equation.terms:
            for here, there in scenes.routes(term, scene.sources[term.source].layout, equation.layout):
                mixed[there] += term.gain * written[term.source][here]
        differing = int(np.count_nonzero((mixed != truth.held(stream))[:, everywhere]))
        claimed = said.differing.get(stream, 0)
        # Blocks with a hole are skipped whole, so fewer may have been counted there.
        if claimed > differing or (claimed < differing and (everywhere.all() or not claimed)):
            yield f"verification counts {claimed} differing samples in stream {stream}, there are {differing}"


def _kept(finding: RecoveryFinding, recording: Path) -> Iterator[str]:
    """Streams that cannot be rebuilt are in the output packet for packet."""
    assert finding.output is not None
    before, after = scenes.packet_fingerprints(recording), scenes.packet_fingerprints(finding.output)
    for stream in finding.kept_streams:
        if before[stream] not in after:
            yield f"stream {stream} is said to be kept, but its packets are not in the output"


def known_streams(scene: Scene, written: Collection[str]) -> set[int]:
    """The streams that are sums of written sources alone."""
    return {
        stream
        for stream, equation in enumerate(scene.equations)
        if all(term.source in written for term in equation.terms)
    }


def _samples(
    truth: Truth, finding: RecoveryFinding, source: SourceFinding, found: Steps, verdict: Verdict
) -> Iterator[str]:
    """What is wrong with the samples of one written source."""
    scene = truth.scene
    if source.accuracy.startswith("unknown: "):
        verdict.sources["of unknown accuracy, as was said"] += 1
        return
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
    if source.accuracy.split(", but for")[0] == "exact":
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
    judge(scene, lost, finding, recording, ffmpeg=ffmpeg, verdict=verdict)


# Without the recipe ----------------------------------------------------------------------------------


def find_discovery() -> Callable[..., object] | None:
    """`unsum.recovery.discovery.discover_recipe`, or None where there is no such module."""
    if importlib.util.find_spec("unsum.recovery.discovery") is None:
        return None
    return importlib.import_module("unsum.recovery.discovery").discover_recipe


def _discovered(discover: Callable[..., object], recording: Path, recipe: Recipe) -> str:
    """How a search without the recipe ended: "right", "false", or "not found"."""
    try:
        found = discover(recording)
    except UnsumError:
        return "not found"
    found = getattr(found, "recipe", found)
    if not isinstance(found, Recipe):
        return "not found"
    channels = {stream.number: stream.channels for stream in probe(recording).audio}
    if _columns(found, channels) == _columns(recipe, channels):
        return "right"
    print(f"false recipe for\n{format_recipe(recipe)}\nwas\n{format_recipe(found)}", file=sys.stderr)
    return "false"


def _columns(recipe: Recipe, channels: Mapping[int, tuple[str, ...]]) -> set[frozenset[tuple[str, Fraction]]]:
    """How each unknown goes into the stream channels, up to its own gain: what a recipe says but for names."""
    columns: dict[object, dict[str, Fraction]] = {}
    for key, row in mixing_equations(recipe, channels).rows.items():
        for unknown, gain in row.items():
            columns.setdefault(unknown, {})[str(key)] = gain
    found = {_scaled(column) for column in columns.values()}
    # A mono source in the very streams and gains of a stereo one is part of that one's two sums: nothing tells
    # them apart, and a recipe that names the sum says the same.
    return {column for column in found if not _is_pair(column, found)}


def _scaled(column: Mapping[str, Fraction]) -> frozenset[tuple[str, Fraction]]:
    return frozenset((key, gain / column[min(column)]) for key, gain in column.items())


def _is_pair(column: frozenset[tuple[str, Fraction]], others: set[frozenset[tuple[str, Fraction]]]) -> bool:
    """Whether a column is those of two other sources' FL and FR together."""
    sides = [{key: gain for key, gain in column if key.endswith(side)} for side in (".FL", ".FR")]
    return all(sides) and sum(map(len, sides)) == len(column) and all(_scaled(side) in others for side in sides)


# The table -------------------------------------------------------------------------------------------


def print_table(verdicts: list[Verdict], *, wall_seconds: float, discovery: str) -> None:
    """What was asked, what was reached, and the seeds that failed."""
    failing = [verdict for verdict in verdicts if verdict.wrong]
    sources = sum((verdict.sources for verdict in verdicts), Counter())
    bounds = [pair for verdict in verdicts for pair in verdict.bounds]
    hours = sum(verdict.seconds for verdict in verdicts) / 3600
    rows = [
        ("scenes", str(len(verdicts)), f"{hours:.2f} h of recordings in {wall_seconds:.0f} s"),
        ("  nothing wrong", f"{len(verdicts) - len(failing)}", "asked: all"),
        ("  refused", f"{sum(bool(v.refused) for v in verdicts)}", "nothing determined in them, unless listed below"),
        ("sources determined", str(sources["determined"]), f"{sum(v.samples for v in verdicts):,} samples compared"),
        (
            "  accuracy unknown",
            str(sources["of unknown accuracy, as was said"]),
            "a lag could not be measured; said so",
        ),
        ("sources undetermined", str(sources["undetermined, named"]), "each named"),
        ("rounded sources", str(len(bounds)), "each within the ±n LSB that was claimed, unless listed below"),
    ]
    for claimed, count in sorted(Counter(claimed for claimed, _ in bounds).items()):
        greatest = Counter(reached for c, reached in bounds if c == claimed)
        told = ", ".join(f"{n} LSB in {times}" for n, times in sorted(greatest.items()))
        rows.append((f"  claimed ±{claimed} LSB", str(count), f"greatest error: {told}"))
    rows.append(("samples at full scale", str(sum(v.clipped for v in verdicts)), "counted in the right streams"))
    if discovery:
        rows.append(("without a recipe", "", discovery))
    for name, figure, remark in rows:
        print(f"{name:24}{figure:>8}   {remark}")
    print(f"{len(failing)} failing seeds{':' if failing else ''}")
    for verdict in failing:
        print(f"  {verdict.seed}: {verdict.wrong[0]}")
        for reason in verdict.wrong[1:]:
            print(f"  {' ' * len(str(verdict.seed))}  {reason}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200, metavar="N", help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first one (default 0)")
    parser.add_argument("--seeds", type=int, nargs="+", help="just these")
    parser.add_argument("--no-verify", action="store_true", help="recover without verification")
    parser.add_argument("--discover", action="store_true", help="also search for each recipe in the audio")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the files there")
    options = parser.parse_args()
    ffmpeg = scenes.find_ffmpeg()
    if ffmpeg is None:
        parser.error("no ffmpeg on the PATH and no imageio-ffmpeg installed: nothing to judge with")
    discover = find_discovery() if options.discover else None
    seeds = options.seeds or range(options.first, options.first + options.scenes)
    verdicts = []
    began = time.monotonic()
    for done, seed in enumerate(seeds, start=1):
        with tempfile.TemporaryDirectory() as folder:
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
            verdicts.append(
                run_scene(
                    seed,
                    options.keep or Path(folder),
                    ffmpeg=ffmpeg,
                    verify=not options.no_verify,
                    discover=discover,
                )
            )
        if verdicts[-1].wrong:
            print(f"seed {seed}: {verdicts[-1].wrong[0]}", file=sys.stderr)
        elif done % 20 == 0:
            print(f"{done} of {len(seeds)}", file=sys.stderr)
    discovery = ""
    if options.discover:
        told = Counter(verdict.discovered for verdict in verdicts)
        discovery = f"{told['right']} right, {told['not found']} not found, {told['false']} false (asked: 0 false)"
        if discover is None:
            discovery = "unsum.recovery.discovery is not there: not tried"
    print_table(verdicts, wall_seconds=time.monotonic() - began, discovery=discovery)
    return 1 if any(verdict.wrong for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
