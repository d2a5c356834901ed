"""How late the streams of one recording are against each other, from their samples.

Recorders have been seen to write one stream 10 to 20 ms late with the same
timestamps as the others. Streams that share a source hold equal samples of it,
so their whitened correlation has one sharp peak at the true, whole-sample lag.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.correlation import LagEstimate, WhitenedCorrelation
from unsum.streams.equations import Equations, StreamChannel

WINDOW = 1 << 16


@dataclass(frozen=True, slots=True)
class StreamOffsets:
    """Corrections to the streams' own times.

    Attributes
    ----------
    late : {stream: samples} how much a stream is late; its samples belong that much earlier
    unknown : streams that share a source with others, yet whose lag against most of these
        could not be measured
    """

    late: Mapping[int, int]
    unknown: tuple[int, ...]


def shared_channels(equations: Equations) -> dict[tuple[int, int], tuple[str, str]]:
    """For each two streams that share a source: a channel of each that holds it."""
    pairs: dict[tuple[int, int], tuple[int, tuple[str, str]]] = {}
    rows = [(key, row) for key, row in equations.rows.items() if row]
    for (a, row_a), (b, row_b) in combinations(rows, 2):
        common = row_a.keys() & row_b.keys()
        if a.stream == b.stream or not common:
            continue
        foreign = len(row_a) + len(row_b) - 2 * len(common)
        key = (a.stream, b.stream)
        if key not in pairs or foreign < pairs[key][0]:
            pairs[key] = foreign, (a.channel, b.channel)
    return {key: channels for key, (_, channels) in pairs.items()}


def any_channels(stream_channels: Mapping[int, tuple[str, ...]]) -> dict[tuple[int, int], tuple[str, str]]:
    """For each two streams, without a recipe: their first channel of the same name, or first of all."""
    pairs = {}
    for (a, names_a), (b, names_b) in combinations(sorted(stream_channels.items()), 2):
        same = [name for name in names_a if name in names_b]
        pairs[a, b] = (same[0], same[0]) if same else (names_a[0], names_b[0])
    return pairs


class OffsetMeter:
    """Watches aligned blocks until every pair of streams has told its lag.

    Parameters
    ----------
    pairs : {(stream, stream): (channel, channel)} what to compare
    stream_channels : {stream: channel names}
    max_lag : greatest lag looked for, in samples
    """

    def __init__(
        self,
        pairs: Mapping[tuple[int, int], tuple[str, str]],
        stream_channels: Mapping[int, tuple[str, ...]],
        *,
        max_lag: int,
    ) -> None:
        self._pairs = pairs
        self._channels = stream_channels
        self._meters = {pair: WhitenedCorrelation(window=WINDOW, max_lag=min(max_lag, WINDOW // 2)) for pair in pairs}
        self._found: dict[tuple[int, int], LagEstimate] = {}
        self._confirmed: set[tuple[int, int]] = set()

    def observe(self, samples: Mapping[int, NDArray]) -> None:
        """Take a window of `WINDOW` samples: {stream: (channels, samples)}."""
        spectra: dict[StreamChannel, NDArray | None] = {}

        def spectrum(key: StreamChannel) -> NDArray | None:
            if key not in spectra:
                signal = samples[key.stream][self._channels[key.stream].index(key.channel)]
                spectra[key] = WhitenedCorrelation.spectrum(signal) if np.any(signal) else None
            return spectra[key]

        for pair, names in self._pairs.items():
            if pair in self._confirmed:
                continue
            first, second = (spectrum(StreamChannel(s, name)) for s, name in zip(pair, names, strict=True))
            if first is None or second is None:
                continue
            self._meters[pair].add(first, second)
            estimate = self._meters[pair].estimate()
            before = self._found.get(pair)
            if estimate.reliable and before and before.reliable and before.lag_samples == estimate.lag_samples:
                self._confirmed.add(pair)
            self._found[pair] = estimate

    @property
    def settled(self) -> bool:
        """Whether the confirmed pairs tie all streams together that can be tied."""
        tied = _groups(self._confirmed)
        return all(any({a, b} <= group for group in tied) for a, b in self._pairs)

    def offsets(self, streams: Collection[int]) -> StreamOffsets:
        """The lags, told against the time that most streams keep."""
        best = sorted(
            ((pair, found) for pair, found in self._found.items() if found.reliable),
            key=lambda item: (item[0] not in self._confirmed, -item[1].peak_to_noise),
        )
        late = dict.fromkeys(streams, 0)
        group_of = {stream: {stream} for stream in streams}
        for (a, b), found in best:
            if group_of[a] is group_of[b]:
                continue
            # b is late by lag against a: shift b's whole group so that this holds.
            shift = late[a] + found.lag_samples - late[b]
            for stream in group_of[b]:
                late[stream] += shift
            joined = group_of[a] | group_of[b]
            for stream in joined:
                group_of[stream] = joined
        for group in {id(g): g for g in group_of.values()}.values():
            values = [late[stream] for stream in sorted(group)]
            usual = max(values, key=values.count)  # of equally many, the time of the first stream
            for stream in group:
                late[stream] -= usual
        unknown: set[int] = set()
        for sharing in _groups(self._pairs):
            tied = max((group_of[stream] for stream in sorted(sharing)), key=len)
            unknown |= sharing - tied
        return StreamOffsets(late, tuple(sorted(unknown)))


def _groups(pairs: Collection[tuple[int, int]]) -> list[set[int]]:
    groups: list[set[int]] = []
    for a, b in pairs:
        touched = [group for group in groups if a in group or b in group]
        groups = [group for group in groups if group not in touched] + [{a, b}.union(*touched)]
    return groups
