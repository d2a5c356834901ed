"""From a recording and a recipe to a new file with every source on its own stream."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unsum.errors import InputError, RefusedError, UsageError
from unsum.media.decode import CopiedPacket, DecodeReport
from unsum.media.encode import OutputAudio
from unsum.media.remux import RemuxWriter, reserve_output
from unsum.media.stems import StemWriter
from unsum.progress import Progress
from unsum.recovery.algebra import Algebra
from unsum.recovery.findings import RecoveryFinding, Verification
from unsum.recovery.outcome import contradiction, finding_of
from unsum.recovery.outputs import (
    copied_indices,
    open_writer,
    output_audio,
    source_addresses,
    stored_as,
    writes_stems,
    written_bits,
    written_paths,
)
from unsum.recovery.plan import Plan
from unsum.recovery.untangle import PassResult, SourceMeter, Untangler, run_pass
from unsum.recovery.verify import Remixer, lost_samples, verify_written
from unsum.streams.arithmetic import bits_needed
from unsum.streams.assembly import AlignedBlock, NotInterleavedError
from unsum.streams.recipe import Source

_PROGRESS_EVERY_SECONDS = 0.1


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


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a recovery would write, from a pass that wrote nothing."""

    result: PassResult
    algebra: Algebra
    sources: tuple[Source, ...]
    audio: tuple[OutputAudio, ...]
    kept: tuple[int, ...]


def measure_recording(
    plan: Plan, *, compression_level: int = 8, keep_streams: bool = False, progress: Progress | None = None
) -> Measurement:
    """Read a recording as `recover_recording` does, deciding all it decides, and write nothing.

    Raises
    ------
    RefusedError, InputError
        As `recover_recording`.
    """
    recovery = _Recovery(
        plan, verify=False, compression_level=compression_level, keep_streams=keep_streams, progress=progress
    )
    recovery.check_determined()
    result = None
    while result is None:  # until a pass finds nothing that changes what is to be written
        result = recovery.read(None)
    if result.samples == 0:
        raise InputError(f"{plan.recording.path}: no audio could be decoded; is the file whole?")
    return Measurement(result, recovery.algebra, tuple(recovery.written), recovery.output_audio(), recovery.kept)


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
        # A stream can be a sum of determined channels of a source that is not written, because others are not.
        needing = {key.stream for key, row in plan.equations.rows.items() for u in row if u.source in lost}
        self.rebuilt = tuple(s.number for s in plan.streams if s.number not in needing)
        self.kept = tuple(s.number for s in plan.streams if keep_streams or s.number not in self.rebuilt)
        self.replaced = {s.container_index for s in plan.streams if s.number not in self.kept}
        self.words = written_bits(plan.streams, plan.grid.bits)
        # Bits per source, where a pass has shown that it needs more than the streams have.
        self.grown: dict[str, int] = {}
        self.separate = plan.look.separate
        self.size = plan.recording.path.stat().st_size
        self._told = 0.0
        # Samples of the original streams that a hole in another stream makes impossible to rebuild.
        self.lost: dict[int, int] = {}

    def check_determined(self) -> None:
        """Refuse a recipe that determines nothing."""
        if not self.written:
            reasons = "; ".join(
                f"{self.plan.equations.label(u)}: {why}" for u, why in self.solution.undetermined.items()
            )
            raise RefusedError(f"the recipe determines no source: {reasons}; record more separate streams next time")

    def run(self, *, overwrite: bool) -> RecoveryFinding:
        plan = self.plan
        self.check_determined()
        if self.verify and plan.grid.bits is None:
            raise UsageError(
                "verification compares integers, and these streams are floating point; run without --verify"
            )
        paths = written_paths(plan.output, self.written)
        partials: list[Path] = []
        try:
            for path in paths:
                partials.append(reserve_output(path, overwrite=overwrite, inputs=[plan.recording.path]))
            while True:
                writer = open_writer(
                    plan.recording,
                    plan.output,
                    partials=partials,
                    sources=self.written,
                    audio=self.output_audio(),
                    replaced=self.replaced,
                    start_seconds=plan.look.origin / plan.streams[0].sample_rate,
                )
                with writer:
                    outcome = self.read(writer)
                    if outcome is not None and outcome.samples == 0:
                        raise InputError(f"{plan.recording.path}: no audio could be decoded; is the file whole?")
                    if outcome is not None:
                        writer.complete()
                        finding = self._conclude(outcome, paths, partials)
                        writer.publish()
                        return finding
        finally:
            for partial in partials:
                partial.unlink(missing_ok=True)

    def output_audio(self) -> tuple[OutputAudio, ...]:
        plan = self.plan
        return output_audio(
            self.written,
            plan.streams,
            plan.output,
            bits=plan.grid.bits,
            grown=self.grown,
            compression_level=self.compression_level,
        )

    def read(self, writer: RemuxWriter | StemWriter | None) -> PassResult | None:
        """One pass; None if it must be done again with what was learnt. Without a writer it only measures."""
        plan, grid = self.plan, self.plan.grid
        names = [source.name for source in self.written]
        rate = plan.streams[0].sample_rate
        copied = copied_indices(plan.recording, self.replaced)
        untangler = Untangler(self.algebra, written=names, sample_rate=rate)
        writing = True
        again = False
        remix = self._remixer() if self.verify else None
        order = {source.name: n for n, source in enumerate(plan.recipe.sources)}
        self.lost = dict.fromkeys(self.rebuilt, 0)

        def on_packet(item: CopiedPacket) -> None:
            if writing and writer is not None:
                writer.copy_packet(item.packet, item.container_index)

        def on_sources(block: AlignedBlock, sources: Mapping[str, np.ndarray]) -> None:
            nonlocal writing, again
            if not writing:
                return
            if remix is not None and block.missing:
                lost_samples(
                    remix, block, {order[name]: samples for name, samples in sources.items()}, counts=self.lost
                )
            for number, name in enumerate(names):
                meter, samples = untangler.sources[name], sources[name]
                if self.words is not None:
                    if self._needed_bits(meter) > self.grown.get(name, self.words):
                        writing, again = False, True
                        return
                    samples = self._as_written(name, samples)
                if writer is not None:
                    writer.write(number, samples)
            if any(meter.failing for meter in untangler.meters.values()) and grid.bits is not None:
                writing = False  # the recipe is contradicted: only the figures are of interest now
            elif not self.algebra.quietest and grid.bits is not None and untangler.rounding_seen:
                writing, again = False, True

        def on_block(done: int, report: DecodeReport) -> None:
            self._tell(done, report, "recovering" if writing and writer is not None else "measuring")

        try:
            result = run_pass(
                plan.recording.path,
                plan.streams,
                untangler,
                origin=plan.look.origin,
                offsets=plan.offsets,
                separate=self.separate,
                copy=copied if isinstance(writer, RemuxWriter) else (),
                digests=self.verify,
                on_packet=on_packet,
                on_sources=on_sources,
                on_block=on_block,
            )
        except NotInterleavedError:
            # One stream ended long before the others, or they are apart in the file from here on.
            self.separate = True
            return None
        self._check_unchanged()
        problem = contradiction(plan, result)
        if problem is not None:
            raise RefusedError(problem)
        if again:
            self._learn(untangler)
            return None
        return result

    def _needed_bits(self, meter: SourceMeter) -> int:
        """Word length that a source needs for what was seen of it so far."""
        scale = 1.0 if self.plan.grid.bits is not None else 2.0 ** ((self.words or 1) - 1)
        return bits_needed(math.floor(meter.least * scale), math.ceil(meter.greatest * scale))

    def _as_written(self, name: str, samples: np.ndarray) -> np.ndarray:
        """Samples of a source in the units of its output stream."""
        bits, words = self.plan.grid.bits, self.words
        assert words is not None
        if self.grown.get(name, words) > words:
            return samples if bits is None else samples * 2.0 ** (1 - bits)
        return samples if bits is not None else np.floor(samples * 2.0 ** (words - 1) + 0.5).astype(np.int32)

    def _learn(self, untangler: Untangler) -> None:
        for name, meter in untangler.sources.items():
            if self.words is not None and self._needed_bits(meter) > self.words:
                self.grown[name] = self._needed_bits(meter)
        if untangler.rounding_seen and not self.algebra.quietest:
            self.algebra = replace(self.algebra, quietest=True)

    def _check_unchanged(self) -> None:
        size = self.plan.recording.path.stat().st_size
        if size != self.size:
            raise InputError(
                f"{self.plan.recording.path} changed while it was read (from {self.size} to {size} bytes); "
                "is it still being recorded? Run again when it is finished"
            )

    def _tell(self, done: int, report: DecodeReport, what: str) -> None:
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
        self.progress(seconds, max(total, seconds), what)

    def _conclude(self, result: PassResult, paths: tuple[Path, ...], partials: list[Path]) -> RecoveryFinding:
        plan = self.plan
        verification = self._verify(result, partials) if self.verify else None
        audio = self.output_audio()
        return finding_of(
            plan,
            result,
            algebra=self.algebra,
            written=self.written,
            paths=paths,
            stored={s.name: stored_as(a, plan.output) for s, a in zip(self.written, audio, strict=True)},
            verification=verification,
            kept=() if writes_stems(plan.output) else self.kept,
            rebuilt=self.rebuilt,
        )

    def _remixer(self) -> Remixer | None:
        plan = self.plan
        originals = {stream.number: stream for stream in plan.streams if stream.number in self.rebuilt}
        return Remixer(plan.equations, plan.recipe.sources, originals, plan.grid) if originals else None

    def _verify(self, result: PassResult, partials: list[Path]) -> Verification:
        plan = self.plan
        return verify_written(
            source_addresses(
                plan.recording, plan.output, partials=partials, sources=self.written, replaced=self.replaced
            ),
            plan.recording.path,
            equations=plan.equations,
            sources=plan.recipe.sources,
            streams=plan.streams,
            rebuilt=self.rebuilt,
            grid=plan.grid,
            digests=result.digests,
            lost=self.lost,
            origin=plan.look.origin,
            offsets=plan.offsets,
            separate=self.separate,
            progress=self.progress,
        )
