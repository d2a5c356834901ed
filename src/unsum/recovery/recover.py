"""From a recording and a recipe to a new file with every source on its own stream."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unsum.errors import InputError, OutputError, RefusedError, UsageError
from unsum.media.decode import CopiedPacket, DecodeReport
from unsum.media.encode import OutputAudio, output_codec
from unsum.media.probe import AudioStream, Recording, probe
from unsum.media.remux import CONTAINERS, RemuxWriter, reserve_output
from unsum.recovery.aligned import Progress
from unsum.recovery.findings import RecoveryFinding
from unsum.recovery.look import FirstLook, first_look, shifted
from unsum.recovery.meters import CheckMeter
from unsum.recovery.outcome import contradiction, finding_of
from unsum.recovery.untangle import Algebra, PassResult, Untangler, run_pass
from unsum.recovery.verify import verify_written
from unsum.streams.arithmetic import Columns, Grid, StreamFormat, bits_needed
from unsum.streams.offsets import shared_channels
from unsum.streams.recipe import Equations, Recipe, mixing_equations

_PROGRESS_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before the first sample is written."""

    recording: Recording
    recipe: Recipe
    equations: Equations
    streams: tuple[AudioStream, ...]
    look: FirstLook
    grid: Grid
    rounded: bool
    output: Path

    @property
    def offsets(self) -> Mapping[int, int]:
        return {stream: -late for stream, late in self.look.offsets.late.items()}


def output_path(recording: Path, *, output: Path | None, out_dir: Path | None) -> Path:
    """Where the result goes: ``NAME.unsum.EXT`` beside the input unless told otherwise."""
    suffix = recording.suffix.lower() if recording.suffix.lower() in CONTAINERS else ".mkv"
    if output is not None:
        if output.suffix.lower() not in CONTAINERS:
            raise UsageError(f"cannot write '{output.suffix}' files; write one of {', '.join(CONTAINERS)}")
        return output
    return (out_dir or recording.parent) / f"{recording.stem}.unsum{suffix}"


def make_plan(recording: Recording, recipe: Recipe, *, output: Path) -> Plan:
    """Fit a recipe to a recording and look at its beginning.

    Raises
    ------
    RefusedError
        If the recipe does not fit the streams of the file.
    """
    equations = mixing_equations(recipe, {stream.number: stream.channels for stream in recording.audio})
    used = {key.stream for key in equations.rows}
    streams = tuple(stream for stream in recording.audio if stream.number in used)
    rates = sorted({stream.sample_rate for stream in streams})
    if len(rates) > 1:
        each = ", ".join(f"stream {s.number}: {s.sample_rate} Hz" for s in streams)
        raise RefusedError(
            f"the streams of the recipe have different sample rates ({each}) and cannot be sums of the same "
            "samples; leave the odd one out of the recipe, or resample it first"
        )
    grid = Grid.of({s.number: StreamFormat(s.channels, s.bits) for s in streams})
    look = first_look(recording.path, streams, shared_channels(equations))
    algebra = Algebra(equations, recipe.sources, grid, quietest=False)
    return Plan(
        recording=recording,
        recipe=recipe,
        equations=equations,
        streams=streams,
        look=look,
        grid=grid,
        rounded=_looks_rounded(algebra, look),
        output=output,
    )


def _looks_rounded(algebra: Algebra, look: FirstLook) -> bool:
    """Whether the checks hold within rounding, but not exactly, in the first windows."""
    checks = algebra.solution(frozenset(algebra.grid.formats)).checks
    meters = [CheckMeter(check, algebra.grid) for check in checks if check.shows_rounding]
    if not meters or algebra.grid.bits is None:
        return False
    dtype = algebra.grid.dtype([meter.form for meter in meters])
    for window in look.windows:
        columns = Columns(shifted(window, look.offsets.late), algebra.grid, dtype)
        for meter in meters:
            meter.observe(0, columns, {})
    return any(meter.nonzero for meter in meters) and not any(meter.failing for meter in meters)


def recover_recording(
    plan: Plan,
    *,
    verify: bool = False,
    compression_level: int = 8,
    overwrite: bool = False,
    keep_streams: bool = False,
    progress: Progress | None = None,
) -> RecoveryFinding:
    """Untangle one recording and write the result.

    Raises
    ------
    RefusedError
        If the audio contradicts the recipe, or no source can be determined.
    OutputExistsError, OutputError, InputError
        As they say; nothing is left half written.
    """
    return _Recovery(
        plan,
        verify=verify,
        compression_level=compression_level,
        keep_streams=keep_streams,
        progress=progress,
    ).run(overwrite=overwrite)


class _Recovery:
    """One recording on its way; `run` starts over when a pass shows that its settings do not hold."""

    def __init__(
        self, plan: Plan, *, verify: bool, compression_level: int, keep_streams: bool, progress: Progress | None
    ) -> None:
        self.plan = plan
        self.verify = verify
        self.compression_level = compression_level
        self.progress = progress
        self.algebra = Algebra(plan.equations, plan.recipe.sources, plan.grid, quietest=plan.rounded)
        self.solution = self.algebra.solution(frozenset(plan.grid.formats))
        recorded = {unknown for row in plan.equations.rows.values() for unknown in row}
        lost = {unknown.source for unknown in self.solution.undetermined if unknown in recorded}
        self.written = [source for source in plan.recipe.sources if source.name not in lost]
        self.kept = tuple(s.number for s in plan.streams if keep_streams or s.number not in self.solution.rebuilt)
        # Bits per source, where a pass has shown that it needs more than the streams have.
        self.grown: dict[str, int] = {}
        self.separate = plan.look.separate
        self.size = plan.recording.path.stat().st_size
        self._told = 0.0

    def run(self, *, overwrite: bool) -> RecoveryFinding:
        plan = self.plan
        if not self.written:
            reasons = "; ".join(
                f"{self.plan.equations.label(u)}: {why}" for u, why in self.solution.undetermined.items()
            )
            raise RefusedError(f"the recipe determines no source: {reasons}; record more separate streams next time")
        partial = reserve_output(plan.output, overwrite=overwrite, inputs=[plan.recording.path])
        try:
            while True:
                writer = self._writer(partial)
                with writer:
                    outcome = self._pass(writer)
                    if outcome is not None:
                        writer.complete()
                        return self._conclude(outcome, writer)
        finally:
            partial.unlink(missing_ok=True)

    def _writer(self, partial: Path) -> RemuxWriter:
        plan = self.plan
        replaced = {s.container_index for s in plan.streams if s.number not in self.kept}
        audio_indices = {s.container_index for s in plan.recording.audio}
        indices = range(len(plan.recording.audio) + len(plan.recording.others))
        copy = [index for index in indices if index not in replaced]
        first = min(replaced, default=min(audio_indices))
        return RemuxWriter(
            plan.output,
            partial=partial,
            source=plan.recording.path,
            copy=copy,
            audio=[self._output_audio(n, source.name) for n, source in enumerate(self.written)],
            position=sum(index < first for index in copy),
            start_seconds=plan.look.origin / plan.streams[0].sample_rate,
        )

    def _output_audio(self, position: int, name: str) -> OutputAudio:
        plan, bits = self.plan, self.plan.grid.bits
        source = next(source for source in self.written if source.name == name)
        container = CONTAINERS[plan.output.suffix.lower()]
        language = plan.streams[0].language if len({s.language for s in plan.streams}) == 1 else ""
        needs = self.grown.get(name, bits)
        if bits is None or needs is None or needs > bits:
            # Louder than full scale: only floating point keeps both the level and every bit.
            return OutputAudio(
                title=source.title,
                channels=source.channels,
                sample_rate=plan.streams[0].sample_rate,
                bits=None,
                stored_bits=32 if needs is None or needs <= 25 else 64,
                codec="pcm",
                language=language,
                default=position == 0,
            )
        return OutputAudio(
            title=source.title,
            channels=source.channels,
            sample_rate=plan.streams[0].sample_rate,
            bits=bits,
            stored_bits=16 if bits <= 16 else 24 if bits <= 24 else 32,
            codec=output_codec(container, channels=source.channels, bits=bits),
            language=language,
            default=position == 0,
            compression_level=self.compression_level,
        )

    def _pass(self, writer: RemuxWriter) -> PassResult | None:
        """One pass; None if it must be done again with what was learnt."""
        plan, grid = self.plan, self.plan.grid
        names = [source.name for source in self.written]
        rate = plan.streams[0].sample_rate
        untangler = Untangler(self.algebra, written=names, sample_rate=rate)
        writing = True
        again = False
        kept_indices = {s.container_index for s in plan.recording.audio if s.number in self.kept}

        def on_packet(item: CopiedPacket) -> None:
            if writing:
                writer.copy_packet(item.packet, item.container_index)

        def on_sources(sources: Mapping[str, np.ndarray]) -> None:
            nonlocal writing, again
            if not writing:
                return
            for number, name in enumerate(names):
                meter, samples = untangler.sources[name], sources[name]
                if grid.bits is not None:
                    needs = bits_needed(int(meter.least), int(meter.greatest))
                    if needs > self.grown.get(name, grid.bits):
                        writing, again = False, True
                        return
                    if self.grown.get(name, grid.bits) > grid.bits:
                        samples = samples * 2.0 ** (1 - grid.bits)
                writer.write(number, samples)
            if any(meter.failing for meter in untangler.meters.values()) and grid.bits is not None:
                writing = False  # the recipe is contradicted: only the figures are of interest now
            elif not self.algebra.quietest and grid.bits is not None and _rounding_seen(untangler):
                writing, again = False, True

        def on_block(done: int, report: DecodeReport) -> None:
            self._tell(done, report, writing)

        result = run_pass(
            plan.recording.path,
            plan.streams,
            untangler,
            origin=plan.look.origin,
            offsets=plan.offsets,
            separate=self.separate,
            copy=tuple({*self._copied()} | kept_indices),
            digests=self.verify,
            on_packet=on_packet,
            on_sources=on_sources,
            on_block=on_block,
        )
        self._check_unchanged()
        problem = contradiction(plan, result)
        if problem is not None:
            raise RefusedError(problem)
        if again:
            self._learn(untangler)
            return None
        return result

    def _copied(self) -> set[int]:
        plan = self.plan
        replaced = {s.container_index for s in plan.streams if s.number not in self.kept}
        return set(range(len(plan.recording.audio) + len(plan.recording.others))) - replaced

    def _learn(self, untangler: Untangler) -> None:
        bits = self.plan.grid.bits
        assert bits is not None
        for name, meter in untangler.sources.items():
            needs = bits_needed(int(meter.least), int(meter.greatest))
            if needs > bits:
                self.grown[name] = needs
        if _rounding_seen(untangler) and not self.algebra.quietest:
            self.algebra = replace(self.algebra, quietest=True)

    def _check_unchanged(self) -> None:
        size = self.plan.recording.path.stat().st_size
        if size != self.size:
            raise InputError(
                f"{self.plan.recording.path} changed while it was read (from {self.size} to {size} bytes); "
                "is it still being recorded? Run again when it is finished"
            )

    def _tell(self, done: int, report: DecodeReport, writing: bool) -> None:
        now = time.monotonic()
        if self.progress is None or now - self._told < _PROGRESS_EVERY_SECONDS:
            return
        self._told = now
        plan = self.plan
        seconds = done / plan.streams[0].sample_rate
        total = plan.recording.duration_seconds
        if total is None or not math.isfinite(total) or total <= 0:
            # No duration in the header: the share of bytes read tells how far we are.
            share = report.position_bytes / max(self.size, 1)
            total = seconds / share if share > 0 else seconds
        self.progress(seconds, max(total, seconds), "recovering" if writing else "measuring")

    def _conclude(self, result: PassResult, writer: RemuxWriter) -> RecoveryFinding:
        plan = self.plan
        verification = None
        if self.verify:
            verification = self._verify(result, writer.partial)
        if result.samples == 0:
            raise InputError(f"{plan.recording.path}: no audio could be decoded; is the file whole?")
        finding = finding_of(
            plan,
            result,
            algebra=self.algebra,
            written=self.written,
            grown=self.grown,
            stored={s.name: _stored_as(self._output_audio(n, s.name)) for n, s in enumerate(self.written)},
            verification=verification,
            kept=self.kept,
        )
        writer.publish()
        return finding

    def _verify(self, result: PassResult, written: Path):
        plan = self.plan
        if plan.grid.bits is None or self.grown:
            raise OutputError(
                "verification compares integers, and this recording gives floating point; run without --verify"
            )
        # The new streams stand together where the first replaced one was.
        replaced = {s.container_index for s in plan.streams if s.number not in self.kept}
        first = min(replaced, default=min(s.container_index for s in plan.recording.audio))
        before = sum(s.container_index < first for s in plan.recording.audio if s.container_index not in replaced)
        names = [source.name for source in self.written]
        known = {unknown.source for unknown in self.solution.determined}
        rebuilt = [s.number for s in plan.streams if s.number in self.solution.rebuilt]
        assert known >= {n for n in names if any(n == u.source for u in self.solution.determined)}
        return verify_written(
            written,
            plan.recording.path,
            equations=plan.equations,
            sources=plan.recipe.sources,
            source_streams={name: before + n for n, name in enumerate(names)},
            streams=plan.streams,
            rebuilt=rebuilt,
            grid=plan.grid,
            digests=result.digests,
            origin=plan.look.origin,
            offsets=plan.offsets,
            separate=self.separate,
            progress=self.progress,
        )


def _rounding_seen(untangler: Untangler) -> bool:
    meters = [meter for meter in untangler.meters.values() if meter.check.shows_rounding]
    return any(meter.nonzero for meter in meters)


def _stored_as(audio: OutputAudio) -> str:
    kind = f"{audio.stored_bits} bit" if audio.bits is not None else f"{audio.stored_bits} bit float"
    return f"{audio.codec.upper()} {kind}"


def open_recording(path: Path) -> Recording:
    """Probe a recording; the same as `probe`, here for the layers above."""
    return probe(path)
