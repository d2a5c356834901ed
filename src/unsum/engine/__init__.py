"""From what is given and a model to what is left: aligned blocks, images, residual."""

from unsum.engine.aligned import BLOCK_SAMPLES, LONGEST_HELD_SECONDS, AlignedAudio, aligned_blocks, stacked
from unsum.engine.subtraction import ResidualSource, Subtracted, exact_difference, reach_of, subtract

__all__ = [
    "BLOCK_SAMPLES",
    "LONGEST_HELD_SECONDS",
    "AlignedAudio",
    "ResidualSource",
    "Subtracted",
    "aligned_blocks",
    "exact_difference",
    "reach_of",
    "stacked",
    "subtract",
]
