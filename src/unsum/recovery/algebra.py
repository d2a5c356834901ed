"""What is to be computed from the streams of a recording."""

from dataclasses import dataclass

from unsum.streams.arithmetic import Grid
from unsum.streams.equations import Equations
from unsum.streams.recipe import Source
from unsum.streams.solve import Solution, solve


@dataclass(frozen=True, slots=True)
class Algebra:
    """What is to be computed: the same for the whole file, but for holes.

    ``quietest``: prefer the combinations of least rounding noise.
    """

    equations: Equations
    sources: tuple[Source, ...]
    grid: Grid
    quietest: bool

    def solution(self, streams: frozenset[int]) -> Solution:
        return solve(self.equations, quietest=self.quietest, streams=streams)
