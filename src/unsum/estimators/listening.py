"""A source that remembers what its first whole reading told, so that nobody has to read it again for that."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.problem import AudioSource, PassedOn

# Clipped samples nearer to each other than this, in seconds, belong to one stretch.
_JOIN_SECONDS = 0.1
# So many stretches can be left out one by one; more are joined further.
_MOST_STRETCHES = 64


@dataclass(frozen=True, slots=True)
class Heard:
    """What one reading told.

    Attributes
    ----------
    samples : length
    clipped : half-open ranges with samples at the end of the integer scale, a few of them at most
    n_clipped : samples that are there, over all channels
    energy : (channels,) in units of full scale 1
    """

    samples: int
    clipped: tuple[tuple[int, int], ...]
    n_clipped: int
    energy: NDArray[np.float64]


class Listening(PassedOn):
    """An `AudioSource` as it is, that listens along while it is read."""

    def __init__(self, source: AudioSource) -> None:
        self.source = source
        self._heard: Heard | None = None

    @property
    def samples(self) -> int | None:
        """The true length once it was read to its end, the announced one before."""
        return self.source.samples if self._heard is None else self._heard.samples

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The blocks of the source; who takes the last one has listened to all of it."""
        if self._heard is not None:
            yield from self.source.blocks()
            return
        stretches: list[tuple[int, int]] = []
        samples = n_clipped = 0
        energy = np.zeros(len(self.channels))
        for block in self.source.blocks():
            _check_finite(block, samples, self)
            at, count = _clipped_samples(block, self.bits)
            n_clipped += count
            stretches = _with_stretches(stretches, samples + at, self.sample_rate)
            scaled = block.astype(np.float64)
            energy += np.einsum("cn,cn->c", scaled, scaled)
            samples += block.shape[1]
            yield block
        scale = 1.0 if self.bits is None else 4.0 ** (1 - self.bits)
        self._heard = Heard(samples, tuple(stretches), n_clipped, energy * scale)

    def heard(self) -> Heard:
        """What the reading told; reads the source now if nobody has."""
        if self._heard is None:
            for _ in self.blocks():
                pass
        assert self._heard is not None
        return self._heard


def _check_finite(block: NDArray[Any], start: int, source: AudioSource) -> None:
    """
    Raises
    ------
    InputError
        If a sample is not a number, with its place.
    """
    if block.dtype.kind != "f" or np.isfinite(block).all():
        return
    channel, at = np.argwhere(~np.isfinite(block))[0]
    raise InputError(
        f"{source.name}: channel {source.channels[channel]} holds {block[channel, at]} at "
        f"{(start + at) / source.sample_rate:.3f} s; repair that place or leave the file out"
    )


def _clipped_samples(block: NDArray[Any], bits: int | None) -> tuple[NDArray[np.intp], int]:
    """Times at which some channel is at the end of the scale, and how many samples are."""
    if bits is None:
        return np.zeros(0, np.intp), 0
    top = (1 << (bits - 1)) - 1
    clipped = (block >= top) | (block <= -top - 1)
    return np.flatnonzero(clipped.any(axis=0)), int(np.count_nonzero(clipped))


def _with_stretches(stretches: list[tuple[int, int]], at: NDArray[np.intp], rate: int) -> list[tuple[int, int]]:
    """The stretches so far and the times of further clipped samples, joined where they are near each other."""
    if not len(at):
        return stretches
    join = round(_JOIN_SECONDS * rate)
    runs = np.split(at, np.flatnonzero(np.diff(at) > join) + 1)
    joined = list(stretches)
    for run in runs:
        first, last = int(run[0]), int(run[-1]) + 1
        if joined and first - joined[-1][1] <= join:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    while len(joined) > _MOST_STRETCHES:
        gaps = [b[0] - a[1] for a, b in pairwise(joined)]
        least = int(np.argmin(gaps))
        joined[least : least + 2] = [(joined[least][0], joined[least + 1][1])]
    return joined
