"""Tracks whose channels hold the same sound: fitted as one channel, told as all of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.analysis import Analysis, Response
from unsum.automation import Automation
from unsum.model import Contribution
from unsum.problem import AudioSource, PassedOn


@dataclass(frozen=True, slots=True)
class OneChannel(PassedOn):
    """A source whose channels hold the same sound, read as its first one."""

    source: AudioSource

    @property
    def channels(self) -> tuple[str, ...]:
        return self.source.channels[:1]

    def blocks(self) -> Iterator[NDArray[Any]]:
        for block in self.source.blocks():
            yield block[:1]


def channels_are_alike(source: AudioSource) -> bool:
    """Whether all channels hold the same samples: how much of each went where is then no question the mix answers."""
    return len(source.channels) > 1 and all(bool(np.all(block == block[:1])) for block in source.blocks())


def unfolded(analysis: Analysis, source: OneChannel) -> Analysis:
    """The analysis with the filters of one track shared out among channels that hold the same sound.

    Each channel of the mixture takes the channel of its name, as a balance control would have it; the other paths
    stay silent. Where no names agree, all take the first.
    """
    name, channels = source.name, source.source.channels
    part = analysis.model.contributions[name]
    column = [channels.index(one) if one in channels else 0 for one in analysis.model.mixture_channels]
    rows = np.arange(len(column))

    def shared_out(values: NDArray[np.float64]) -> NDArray[np.float64]:
        wide = np.zeros((*values.shape[:-3], len(column), len(channels), values.shape[-1]))
        wide[..., rows, column, :] = values[..., :, 0, :]
        return wide

    gains = {(channel, column[channel]): gain for (channel, _), gain in part.exact_gains.items()}
    wide = replace(part, filters=shared_out(part.filters), exact_gains=gains)
    responses = dict(analysis.responses)
    if name in responses:
        own = responses[name]
        used = np.isin(np.arange(len(channels)), column)
        power = np.where(used[:, None], own.power, 0.0)
        energies = own.energies and (np.where(used, own.energies[0], 0.0), own.energies[1])
        moved = own.deviations and own.deviations.changed(shared_out)
        responses[name] = Response(power, shared_out(own.variance), energies, own.correlation, own.left, moved)
    model = replace(analysis.model, contributions={**analysis.model.contributions, name: wide})
    return replace(analysis, model=model, responses=responses)


def of_all_channels(automation: Automation, part: Contribution) -> Automation:
    """The curves of one of several channels that hold the same, at the level that all of them have together."""
    sounding = np.count_nonzero(part.filters.any(axis=(0, 2)))
    return replace(automation, gain_db=automation.gain_db - 10 * math.log10(max(sounding, 1)))
