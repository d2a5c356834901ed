"""What each stream of a recording is a sum of: TOML in, sums of sources out.

A recipe names the sources and writes every audio stream as a sum of them::

    [sources]
    zoom    = { layout = "mono", title = "Zoom broadcast" }
    desktop = "7.1"

    [streams]
    0 = "desktop + desktop[FL,FR] + zoom"
    1 = "1/2*zoom - desktop[LFE]"
    2 = ""

A term is ``[number *] source [ "[" channels "]" ]``. Numbers are integers, decimals
or fractions and are taken exactly. Terms with the same source add up, and ``""`` is a
stream that holds nothing. A source's channels go to the stream's channels of the same
name; brackets pick some of them. A mono source goes to FL and FR alike, to the only
channel of a mono stream, and to FC where there is no pair; its brackets name the
*stream's* channels, so ``mic[FL]`` is a microphone that is heard on the left only.
"""

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from unsum.errors import InputError, UsageError
from unsum.layouts import layout_channels

_NAME = r"[^\W\d]\w*"  # one word; a - in it would read as minus


@dataclass(frozen=True, slots=True)
class Source:
    """Something that was summed into the streams."""

    name: str
    layout: str
    title: str = ""  # what a player shows; the name where nothing is given

    def __post_init__(self) -> None:
        if not re.fullmatch(_NAME, self.name):
            raise UsageError(
                f"source name {self.name!r} would not read as one word in a sum; "
                "use letters, digits and _, and no digit first"
            )
        try:
            layout_channels(self.layout)
        except UsageError as error:
            raise UsageError(f"source {self.name}: {error}") from None
        if not self.title:
            object.__setattr__(self, "title", self.name)

    @property
    def channels(self) -> tuple[str, ...]:
        return layout_channels(self.layout)


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a stream."""

    gain: Fraction
    source: str
    channels: tuple[str, ...] | None = None  # None: all of them

    def __str__(self) -> str:
        return scaled(self.gain, self.source + (f"[{','.join(self.channels)}]" if self.channels else ""))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which sources there are, and what each stream is a sum of.

    Raises
    ------
    UsageError
        If a term names what is not there, or a source appears in no term.
    """

    sources: tuple[Source, ...]
    streams: Mapping[int, tuple[Term, ...]]

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("no sources; name each with its layout under [sources]")
        if not self.streams:
            raise UsageError("no streams; write what each is a sum of under [streams]")
        sources = {source.name: source for source in self.sources}
        for name, count in Counter(source.name for source in self.sources).items():
            if count > 1:
                raise UsageError(f"{count} sources are called {name!r}; give each its own name")
        for stream, terms in self.streams.items():
            for term in terms:
                try:
                    _check_term(term, sources)
                except UsageError as error:
                    raise UsageError(f"stream {stream}: {error}") from None
        used = {term.source for terms in self.streams.values() for term in terms}
        for name in sources:
            if name not in used:
                raise UsageError(
                    f"source {name!r} is in no stream, so nothing can determine it; add it to a stream or leave it out"
                )


def _check_term(term: Term, sources: Mapping[str, Source]) -> None:
    if term.source not in sources:
        raise UsageError(_unknown("source", term.source, sources, has="[sources] has"))
    if not term.gain:
        raise UsageError(f"{term} adds nothing; leave it out")
    if term.channels is None:
        return
    if not all(term.channels or [""]):
        listed = ",".join(term.channels)
        raise UsageError(f"{term.source}[{listed}] lacks a channel name; leave the brackets out to mean all")
    for channel, count in Counter(term.channels).items():
        if count > 1:
            raise UsageError(f"{term} names {channel} {count} times; write a gain instead")
    source = sources[term.source]
    if len(source.channels) > 1:  # the brackets of a mono source name the stream's channels
        for channel in term.channels:
            if channel not in source.channels:
                hint = _unknown("channel", channel, source.channels, has=f"{source.name} has")
                raise UsageError(f"{term}: {hint}")


def _unknown(kind: str, name: str, known: Iterable[str], *, has: str) -> str:
    """Words for a name that is not among the known ones: the nearest, or all of them."""
    known = list(known)
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean '{folded[near[0]]}'?" if near else f"{has} {', '.join(known)}"
    return f"unknown {kind} {name!r}; {hint}"


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file.

    Raises
    ------
    InputError
        If the file cannot be read or is not UTF-8 text.
    UsageError
        If it is not a recipe; the message names the file and the term.
    """
    path = Path(path)
    try:
        # utf-8-sig: some editors put a byte order mark in front, which TOML does not know.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read recipe {path}: {error.strerror}; check the name") from None
    except UnicodeDecodeError as error:
        raise InputError(f"recipe {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return parse_recipe(text, name=path.name)


def parse_recipe(text: str, *, name: str = "recipe") -> Recipe:
    """The recipe written in TOML.

    Parameters
    ----------
    text : str
    name : str
        What error messages call it, usually the file's name.

    Raises
    ------
    UsageError
        If it is not a recipe; the message says where and what to write instead.
    """
    try:
        return _read_recipe(tomllib.loads(text))
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    except ValueError as error:  # TOMLDecodeError, and numbers too long for int()
        raise UsageError(f"{name} is not valid TOML: {error}") from None


def _read_recipe(document: Mapping[str, Any]) -> Recipe:
    for key in document:
        if key not in ("sources", "streams"):
            raise UsageError(_unknown("table", key, ("sources", "streams"), has="a recipe has"))
    tables: dict[str, Mapping[str, Any]] = {}
    for key in ("sources", "streams"):
        tables[key] = document.get(key, {})
        if not isinstance(tables[key], dict):
            raise UsageError(f"{key} must be a table; write [{key}] on a line of its own")
    sources = tuple(_read_source(name, value) for name, value in tables["sources"].items())
    streams = {}
    for key, value in tables["streams"].items():
        if not re.fullmatch("0|[1-9][0-9]*", key):
            raise UsageError(
                f"stream {key!r} is not a number; audio streams are called 0, 1, 2, ... as in ffmpeg's 0:a:1"
            )
        if not isinstance(value, str):
            raise UsageError(f'stream {key}: the sum must be text in quotes, such as {key} = "voice + 1/2*music"')
        try:
            streams[int(key)] = parse_sum(value)
        except UsageError as error:
            raise UsageError(f"stream {key}: {error}") from None
    return Recipe(sources, dict(sorted(streams.items())))


def _read_source(name: str, value: object) -> Source:
    if isinstance(value, str):
        value = {"layout": value}
    if not isinstance(value, dict):
        raise UsageError(f'source {name}: write its layout, such as {name} = {{ layout = "stereo" }}')
    for key, entry in value.items():
        if key not in ("layout", "title"):
            raise UsageError(f"source {name}: " + _unknown("key", key, ("layout", "title"), has="a source has"))
        if not isinstance(entry, str):
            raise UsageError(f"source {name}: {key} must be text in quotes, not {entry!r}")
    if "layout" not in value:
        raise UsageError(f'source {name} has no layout; add layout = "stereo", or whichever it is')
    return Source(name, value["layout"], value.get("title", ""))


_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<number> (?:[0-9]+(?:\.[0-9]+)? | \.[0-9]+) (?:\s*/\s*[0-9]+)? )
      | (?P<name> {_NAME} )
      | (?P<brackets> \[ (?P<channels> [^\[\]]*) \] )
      | (?P<sign> [-+] )
      | (?P<times> \* )
      | (?P<end> $ )
      | (?P<other> . )
    )""",
    re.VERBOSE | re.DOTALL,
)


def parse_sum(text: str) -> tuple[Term, ...]:
    """The terms of one stream's sum, such as ``"desktop + 1/2*zoom - mic[FL]"``.

    Raises
    ------
    UsageError
        If it is not a sum; the message says at which character, counted from 1.
    """
    text = re.sub(r"\s", " ", text)  # a sum may run over lines; what we say about it may not
    tokens = list(_TOKEN.finditer(text))
    terms: list[Term] = []
    position = 0

    def refuse(expected: str) -> UsageError:
        token = tokens[position]
        if token.lastgroup == "end":
            return UsageError(f"expected {expected} at the end of '{text}'")
        word, place = token[0].strip(), token.start(token.lastgroup or 0) + 1
        if word == "[":
            return UsageError(f"the [ at character {place} of '{text}' is not closed; add a ]")
        return UsageError(f"expected {expected} at character {place} of '{text}', not '{word}'")

    def accept(group: str) -> str | None:
        nonlocal position
        if (found := tokens[position][group]) is not None:
            position += 1
        return found

    while accept("end") is None:
        sign = accept("sign")
        if terms and not sign:
            raise refuse("+ or -")
        gain = Fraction(1)
        number = accept("number")
        if number:
            gain = _number(number)
            if not accept("times"):
                raise refuse("* after a number (decimals have a point: 0.5)")
        source = accept("name")
        if not source:
            raise refuse("a source" if number else "a source or a number")
        channels, listed = None, tokens[position]["channels"]
        if accept("brackets"):
            channels = tuple(part.strip() for part in listed.split(","))
        terms.append(Term(-gain if sign == "-" else gain, source, channels))
    return tuple(terms)


def _number(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    if denominator and not int(denominator):
        raise UsageError(f"'{text}' divides by zero")
    return Fraction(numerator.strip()) / int(denominator or 1)


def format_recipe(recipe: Recipe, *, comment: str = "") -> str:
    """The recipe as TOML that parses back to an equal recipe, with comment lines on top."""
    lines = [f"# {line}".rstrip() for line in _printable(comment).splitlines()]
    lines += ["", "[sources]"] if lines else ["[sources]"]
    keys = {source.name: _toml_key(source.name) for source in recipe.sources}
    width = max(map(len, keys.values()))
    for source in recipe.sources:
        layout, title = _toml_string(source.layout), _toml_string(source.title)
        more = f", title = {title}" if source.title != source.name else ""
        lines.append(f"{keys[source.name]:{width}} = {{ layout = {layout}{more} }}")
    lines += ["", "[streams]"]
    width = max(len(str(stream)) for stream in recipe.streams)
    for stream, terms in sorted(recipe.streams.items()):
        lines.append(f"{stream:<{width}} = {_toml_string(format_sum(terms))}")
    return "\n".join(lines) + "\n"


def scaled(gain: Fraction | int, name: str) -> str:
    """A multiple as a term is written: ``2*a``, ``-1/2*a``, ``-a``, ``a``."""
    if abs(gain) == 1:
        return name if gain > 0 else f"-{name}"
    return f"{gain}*{name}"


def format_sum(terms: Iterable[object]) -> str:
    """Terms joined by their signs: ``a + 2*b - c``."""
    text = ""
    for term in map(str, terms):
        if not text:
            text = term
        else:
            text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
    return text


def _toml_key(name: str) -> str:
    return name if name.isascii() else _toml_string(name)


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'


def _printable(text: str) -> str:
    return re.sub(r"[^\S\n]|[\x00-\x08\x0e-\x1f\x7f]", " ", text)
