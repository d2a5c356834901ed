"""All that is decided about a recording before the first sample is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unsum.errors import RefusedError
from unsum.media.probe import AudioStream, Recording
from unsum.recovery.algebra import Algebra
from unsum.recovery.look import FirstLook, first_look, shifted
from unsum.recovery.meters import CheckMeter
from unsum.streams.arithmetic import Columns, Grid, StreamFormat
from unsum.streams.equations import Equations, mixing_equations
from unsum.streams.offsets import shared_channels
from unsum.streams.recipe import Recipe


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
    meters = [CheckMeter(check, algebra.grid, algebra.equations) for check in checks]
    if not meters or algebra.grid.bits is None:
        return False
    dtype = algebra.grid.dtype([meter.form for meter in meters])
    for window in look.windows:
        columns = Columns(shifted(window, look.offsets.late), algebra.grid, dtype)
        for meter in meters:
            meter.observe(0, columns, {})
    return any(meter.nonzero for meter in meters) and not any(meter.failing for meter in meters)
