"""From the passages of a recording to the columns of its mixing matrix.

In a passage where some sources are silent the stream channels move in the span of the
columns of those that sound. When the columns are independent, the intersection of two
such spans is the span of the sources that sound in both: closing the family of spans
under intersection leaves, as its one-dimensional members, the columns that can be told.

Only channels that can share a source are looked at together: FL, FR and the only
channel of a mono stream, because a mono source goes to all of them; and each surround
channel by itself. Within the first group a column is of one of three kinds: on FL
only, on FR only, or alike on the FL and FR of every stream.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unsum.streams.equations import StreamChannel
from unsum.streams.subspaces import (
    Subspace,
    Vector,
    closed_under_intersection,
    contains,
    intersection,
    span,
)

# With independent columns a group of k sources has at most 2**k spans.
MOST_SPANS = 600

MONO = "mono"


@dataclass(frozen=True, slots=True)
class Group:
    """Stream channels that may share a source."""

    channels: tuple[StreamChannel, ...]
    kinds: Mapping[str, Subspace]  # what a column of each kind may look like

    @property
    def width(self) -> int:
        return len(self.channels)

    def label(self, kind: str) -> str:
        """The stream channels that a column of this kind is heard in, in words."""
        return joined(dict.fromkeys(key.channel for key in self.channels)) if kind == MONO else kind

    def streams(self, space: Iterable[Vector]) -> tuple[int, ...]:
        """The streams in which something of the subspace is heard."""
        heard = {key.stream for row in space for key, entry in zip(self.channels, row, strict=True) if entry}
        return tuple(sorted(heard))


def groups(stream_channels: Mapping[int, tuple[str, ...]]) -> tuple[Group, ...]:
    """The channels of all streams, split into groups that share no source channel."""
    front: list[StreamChannel] = []
    slots: set[StreamChannel] = set()
    surround: dict[str, list[StreamChannel]] = {}
    for stream, names in sorted(stream_channels.items()):
        for name in names:
            key = StreamChannel(stream, name)
            if len(names) == 1:
                slots.add(key)
            if len(names) == 1 or name in ("FL", "FR"):
                front.append(key)
            else:
                surround.setdefault(name, []).append(key)
    found = []
    if front:
        kinds = {
            name: span(_unit(front, [key]) for key in front if key.channel == name and key not in slots)
            for name in ("FL", "FR")
        }
        pairs = [
            [StreamChannel(stream, "FL"), StreamChannel(stream, "FR")]
            for stream, names in sorted(stream_channels.items())
            if {"FL", "FR"} <= set(names)
        ]
        alike = [_unit(front, pair) for pair in pairs] + [_unit(front, [key]) for key in sorted(slots)]
        found.append(Group(tuple(front), {**kinds, MONO: span(alike)}))
    for name, keys in surround.items():
        found.append(Group(tuple(keys), {name: span(_unit(keys, [key]) for key in keys)}))
    return tuple(found)


def _unit(keys: Sequence[StreamChannel], ones: Sequence[StreamChannel]) -> Vector:
    return tuple(int(key in ones) for key in keys)


@dataclass(frozen=True, slots=True)
class Part:
    """Columns with one pattern over the streams: a source, or its share of a group."""

    channels: tuple[str, ...]  # ("FL", "FR"), ("FL",), ("mono",), or one surround channel
    gains: tuple[tuple[int, int], ...]  # (stream, gain), coprime
    columns: Subspace  # in the order of the channels

    @property
    def streams(self) -> tuple[int, ...]:
        return tuple(stream for stream, _ in self.gains)

    def __str__(self) -> str:
        """Where it is heard: ``stream 2 only``, or ``streams 0 (gain 2), 1 and 2``."""
        if len(self.gains) == 1:
            return f"stream {self.streams[0]} only"
        each = [str(stream) + (f" (gain {gain})" if gain != 1 else "") for stream, gain in self.gains]
        return f"streams {joined(each)}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a group is made of, or what is missing to tell."""

    found: tuple[Part, ...]
    missing: tuple[str, ...]

    def sounding(self, space: Subspace, width: int) -> tuple[Part, ...]:
        """The parts of which something is heard in a passage that fills the subspace."""
        return tuple(part for part in self.found if intersection(space, span(part.columns), width))


def find_parts(group: Group, spaces: Mapping[Subspace, int], *, least_blocks: int) -> Parts:
    """The columns of a group.

    Parameters
    ----------
    group : Group
    spaces : {subspace: number of blocks}
        The span of what sounded, for every passage.
    least_blocks : int
        Columns come from spans that were seen in so many blocks; those seen less
        often must still agree with them.

    Returns
    -------
    Parts
        With nothing missing only if the columns are independent and every passage is
        made of whole parts, or of a pair that plays less than both its channels.
    """
    width = group.width
    columns: dict[str, list[Vector]] = {}
    families: dict[str, set[Subspace]] = {}
    told: Subspace = ()
    for kind, allowed in group.kinds.items():
        often = [intersection(space, allowed, width) for space, n in spaces.items() if n >= least_blocks]
        closed = closed_under_intersection(often, width, limit=MOST_SPANS)
        if closed is None:
            text = f"{group.label(kind)}: more than {MOST_SPANS} different mixtures sound, too many to sort out"
            return Parts((), (text,))
        families[kind] = closed
        lines = sorted((space[0] for space in closed if len(space) == 1), reverse=True)
        if kind == MONO:
            # A stereo source whose channels are equal for a while is no second, mono source.
            lines = [line for line in lines if not contains(told, (line,))]
        columns[kind] = lines
        told = span((*told, *lines))
    if len(told) < sum(map(len, columns.values())):
        where = _named(group, [kind for kind in columns if columns[kind]])
        of = _streams(group.streams(told))
        return Parts((), (f"{where} of {of}: more sources than so many streams can tell apart",))
    found = _pair_up(group, columns)
    parts = Parts(found, ())
    unexplained = [space for space in spaces if not _explained(space, found, width)]
    if unexplained:
        return Parts(found, _untold(group, parts, families, unexplained, told))
    return Parts(found, _alike_beside_others(spaces, found, families.get(MONO, set()), width))


def _explained(space: Subspace, parts: Sequence[Part], width: int) -> bool:
    return len(space) == sum(len(intersection(space, span(part.columns), width)) for part in parts)


def _alike_beside_others(
    spaces: Iterable[Subspace], parts: Sequence[Part], families: set[Subspace], width: int
) -> tuple[str, ...]:
    """Pairs whose two channels are equal for a while, though never with nothing else to be mistaken for.

    What is then heard may as well be a mono source that goes to more streams than the pair.
    """
    found: dict[str, None] = {}
    for part in parts:
        if len(part.columns) < 2:
            continue
        alike = span([[sum(entries) for entries in zip(*part.columns, strict=True)]])
        for space in spaces:
            if alike not in families and intersection(space, span(part.columns), width) == alike:
                text = (
                    f"FL and FR of {_streams(part.streams)}: what sounds alike on both sides while others "
                    f"sound is the source in {part}, or a mono source, which cannot be told"
                )
                found[text] = None
    return tuple(found)


def _pair_up(group: Group, columns: Mapping[str, Sequence[Vector]]) -> tuple[Part, ...]:
    """Columns on FL and on FR with the same gains are the two channels of one source."""
    by_gains: dict[tuple[str, tuple[tuple[int, int], ...]], dict[str, Vector]] = {}
    for kind, vectors in columns.items():
        for vector in vectors:
            heard = {key.stream: gain for key, gain in zip(group.channels, vector, strict=True) if gain}
            family = "pair" if kind in ("FL", "FR") else kind
            by_gains.setdefault((family, tuple(sorted(heard.items()))), {})[kind] = vector
    return tuple(Part(tuple(held), gains, tuple(held.values())) for (_, gains), held in by_gains.items())


def _untold(
    group: Group,
    parts: Parts,
    families: Mapping[str, set[Subspace]],
    unexplained: Sequence[Subspace],
    told: Subspace,
) -> tuple[str, ...]:
    """Why the passages are not sums of whole parts, in words."""
    reasons: dict[str, list[str]] = {}
    for kind, closed in families.items():
        if kind == MONO and reasons:
            continue  # the sums of what FL and FR already lack
        reported: list[Subspace] = []
        for space in sorted(closed, key=lambda space: (len(space), space)):
            open_dimensions = len(space) - len(intersection(space, told, group.width))
            if open_dimensions and not any(contains(space, less) for less in reported):
                reported.append(space)
                known = parts.sounding(space, group.width)
                text = _never_apart(group.streams(space), known, open_dimensions)
                reasons.setdefault(text, []).append(kind)
    if not reasons:
        where = _named(group, group.kinds)
        of = _streams(group.streams(told) or group.streams(unexplained[0]))
        text = "some passages are no sum of whole sources as they sound elsewhere"
        return (f"{where} of {of}: {text}",)
    return tuple(f"{_named(group, kinds)} of {text}" for text, kinds in reasons.items())


def _never_apart(streams: Sequence[int], known: Sequence[Part], count: int) -> str:
    if not known:
        number = "more than one source" if count < 2 else f"{count} sources"
        return f"{_streams(streams)}: {number}, and none of them sounds alone in any passage"
    beside = joined(f"the one in {part}" for part in known)
    shares = _streams(sorted({stream for part in known for stream in part.streams}))
    subject = "a source never sounds" if count == 1 else f"{count} sources never sound"
    whose = "its share" if count == 1 else "their shares"
    return f"{_streams(streams)}: {subject} without {beside}, so {whose} in {shares} cannot be told"


def _named(group: Group, kinds: Iterable[str]) -> str:
    kinds = list(kinds)
    return group.label(MONO) if MONO in kinds else joined(kinds)


def _streams(streams: Sequence[int]) -> str:
    return f"stream{'s' if len(streams) > 1 else ''} {joined(map(str, streams))}"


def joined(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
