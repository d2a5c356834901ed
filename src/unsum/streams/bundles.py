"""From the parts that were found to a recipe: which parts are one source, and neutral names."""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from unsum.layouts import layout_name
from unsum.streams.columns import MONO, Part, joined
from unsum.streams.recipe import Source, Term

_CHANNEL_ORDER = ["FL", "FR", "FC", "LFE", "BL", "BR", "BC", "SL", "SR"]

Bundle = list[Part]  # what is taken for one source


def bundled(parts: Iterable[Part]) -> tuple[list[Bundle], tuple[str, ...]]:
    """The sources, and what that says beyond the algebra.

    Surround channels share no equation with FL and FR. Those that go to the same
    streams with the same gains are taken for one source; if a single pair sounds in
    all the streams that they sound in, they are taken for the rest of that source.
    """
    bundles: list[Bundle] = []
    surrounds: dict[tuple[tuple[int, int], ...], Bundle] = {}
    for part in parts:
        if set(part.channels) <= {"FL", "FR", MONO}:
            bundles.append([part])
        else:
            surrounds.setdefault(part.gains, []).append(part)
    guests: dict[int, list[Bundle]] = {}
    alone: list[Bundle] = []
    for bundle in surrounds.values():
        hosts = [at for at, host in enumerate(bundles) if _may_hold(host[0], bundle[0])]
        if len(hosts) == 1:
            guests.setdefault(hosts[0], []).append(bundle)
        else:
            alone.append(bundle)
    assumptions = []
    for at, joining in guests.items():
        channels = [part.channels[0] for bundle in joining for part in bundle]
        if len(set(channels)) < len(channels):  # no source has a channel twice
            alone += joining
            continue
        verb = "belong" if len(channels) > 1 else "belongs"
        assumptions.append(
            f"{joined(channels)} {verb} to the FL and FR in {bundles[at][0]}: "
            "no other pair is in all the streams they sound in"
        )
        bundles[at] += [part for bundle in joining for part in bundle]
    assumptions += [
        f"{joined(part.channels[0] for part in bundle)} in {bundle[0]} are one source: they go to the same streams"
        for bundle in alone
        if len(bundle) > 1
    ]
    bundles += alone
    bundles.sort(key=lambda bundle: (bundle[0].gains, bundle[0].channels))
    return bundles, tuple(assumptions)


def _may_hold(host: Part, surround: Part) -> bool:
    return host.channels == ("FL", "FR") and set(surround.streams) <= set(host.streams)


def neutral_source(bundle: Bundle, number: int) -> Source:
    """A source called a, b, c, ... whose title says where it is heard."""
    name = chr(ord("a") + number) if number < 26 else f"source{number + 1}"
    channels = _ordered(channel for part in bundle for channel in part.channels)
    streams = sorted({stream for part in bundle for stream in part.streams})
    where = f"stream {streams[0]} only" if len(streams) == 1 else f"streams {joined(map(str, streams))}"
    return Source(name, "mono" if len(channels) == 1 else layout_name(channels), f"in {where}")


def stream_terms(
    bundles: Iterable[Bundle], sources: Iterable[Source], stream_channels: Mapping[int, tuple[str, ...]]
) -> dict[int, tuple[Term, ...]]:
    """What each stream is a sum of."""
    terms: dict[int, list[Term]] = {stream: [] for stream in stream_channels}
    for bundle, source in zip(bundles, sources, strict=True):
        everything = sum(len(part.channels) for part in bundle)
        gains: dict[tuple[int, int], list[str]] = {}
        for part in bundle:
            for stream_gain in part.gains:
                gains.setdefault(stream_gain, []).extend(part.channels)
        for (stream, gain), channels in gains.items():
            # A mono source is sent to FL and FR; brackets would name one of them.
            whole = channels == [MONO] if everything == 1 else len(channels) == everything
            terms[stream].append(Term(Fraction(gain), source.name, None if whole else _ordered(channels)))
    return {stream: tuple(found) for stream, found in terms.items()}


def _ordered(channels: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(channels, key=lambda channel: [*_CHANNEL_ORDER, channel].index(channel)))
