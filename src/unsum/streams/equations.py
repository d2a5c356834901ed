"""A recipe, written out for the channels of a file: every stream channel as a sum of source channels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from unsum.errors import RefusedError
from unsum.layouts import layout_name
from unsum.streams.recipe import Recipe, Source, Term


class StreamChannel(NamedTuple):
    """One channel of one audio stream of the file; streams count from 0 as ffmpeg does."""

    stream: int
    channel: str

    def __str__(self) -> str:
        return f"s{self.stream}.{self.channel}"


class SourceChannel(NamedTuple):
    """One channel of one source: an unknown. The only channel of a mono source is FC."""

    source: str
    channel: str

    def __str__(self) -> str:
        return f"{self.source}.{self.channel}"


@dataclass(frozen=True, slots=True)
class Equations:
    """Every stream channel as a sum of source channels.

    ``stream_channel(t) = sum over unknowns of rows[stream_channel][unknown] * unknown(t)``.
    A stream channel that holds nothing has an empty row.
    """

    unknowns: tuple[SourceChannel, ...]  # every channel of every source, in the recipe's order
    rows: Mapping[StreamChannel, Mapping[SourceChannel, Fraction]]

    def label(self, unknown: SourceChannel) -> str:
        """``desktop.FL``, or just ``zoom`` where the source has no other channel."""
        alone = sum(other.source == unknown.source for other in self.unknowns) == 1
        return unknown.source if alone else str(unknown)


def mixing_equations(recipe: Recipe, stream_channels: Mapping[int, tuple[str, ...]]) -> Equations:
    """The recipe's equations for a file whose streams have these channels.

    Parameters
    ----------
    recipe : Recipe
    stream_channels : {audio stream number: channel names}
        Streams that the recipe does not mention are not used.

    Raises
    ------
    RefusedError
        If the recipe needs a stream or a channel that the file does not have.
    """
    sources = {source.name: source for source in recipe.sources}
    rows: dict[StreamChannel, dict[SourceChannel, Fraction]] = {}
    for stream, terms in sorted(recipe.streams.items()):
        if stream not in stream_channels:
            raise RefusedError(f"recipe needs stream {stream}, but the file has {_counted(stream_channels)}")
        channels = stream_channels[stream]
        rows |= {StreamChannel(stream, channel): {} for channel in channels}
        for term in terms:
            for target, unknown in _routes(term, sources[term.source], stream, channels):
                row = rows[StreamChannel(stream, target)]
                row[unknown] = row.get(unknown, Fraction(0)) + term.gain
    unknowns = tuple(SourceChannel(source.name, channel) for source in recipe.sources for channel in source.channels)
    nonzero = {key: {unknown: gain for unknown, gain in row.items() if gain} for key, row in rows.items()}
    return Equations(unknowns, nonzero)


def _counted(streams: Iterable[int]) -> str:
    numbers = sorted(streams)
    if not numbers:
        return "no audio stream"
    plural = "s" if len(numbers) > 1 else ""
    return f"{len(numbers)} audio stream{plural} ({', '.join(map(str, numbers))})"


def _routes(term: Term, source: Source, stream: int, channels: tuple[str, ...]) -> list[tuple[str, SourceChannel]]:
    """Which stream channel each of the term's source channels goes to."""
    mono = len(source.channels) == 1
    if not mono:
        targets = term.channels or source.channels
    elif term.channels:
        targets = term.channels
    elif len(channels) == 1:
        targets = channels
    elif "FL" in channels and "FR" in channels:
        targets = ("FL", "FR")
    else:
        targets = ("FC",)
    absent = [target for target in targets if target not in channels]
    if absent:
        shared = [target for target in targets if target in channels]
        if mono:
            way_out = f"name the channels it goes to, such as {source.name}[{channels[0]}]"
        elif len(channels) == 1:
            way_out = f"a mono stream takes mono sources; write one for each channel of {source.name}"
        elif len(channels) == len(source.channels) and not term.channels:
            way_out = f'give {source.name} the layout "{layout_name(channels)}"'
        elif shared:
            way_out = f"write {source.name}[{','.join(shared)}]"
        else:
            way_out = "leave the term out"
        raise RefusedError(
            f"stream {stream}: '{term}' needs {', '.join(absent)}, but the stream has "
            f"only {', '.join(channels)}; {way_out}"
        )
    return [(target, SourceChannel(source.name, source.channels[0] if mono else target)) for target in targets]
