"""Lines for a terminal of 80 columns: sentences wrapped between words, names whole and harmless."""

import textwrap
import unicodedata
from collections.abc import Iterable

WIDTH = 79


def wrapped(text: str, *, first: str = "", rest: str = "  ") -> list[str]:
    """A sentence as lines.

    A name stays whole, on a line that is longer if need be: it is there to be copied.

    Parameters
    ----------
    first, rest : what the first line begins with, and all others
    """
    return textwrap.wrap(
        harmless(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def paragraphs(texts: Iterable[str], first: str = "", *, rest: str | None = None) -> list[str]:
    """Sentences as lines, each of them indented; an empty one is an empty line."""
    rest = first + "  " if rest is None else rest
    return [line for text in texts for line in wrapped(text, first=first, rest=rest) or [""]]


def harmless(text: str) -> str:
    """The text on one line and without what a terminal would obey: a file may be called anything."""
    return "".join(_shown(letter) for letter in text)


def _shown(letter: str) -> str:
    if letter in "\t\n\r":
        return " "
    # Surrogates stand for bytes of a name that are no text.
    return f"\\x{ord(letter) & 0xFF:02x}" if unicodedata.category(letter) in ("Cc", "Cs") else letter


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def in_columns(text: str, width: int) -> str:
    """A text in exactly so many columns of a table; of a long one, its beginning and its end."""
    text = harmless(text)
    if columns(text) > width:
        head, tail = width - 13, 10
        text = f"{_first_columns(text, head)}...{_first_columns(text[::-1], tail)[::-1]}"
    return text + " " * (width - columns(text))


def _first_columns(text: str, width: int) -> str:
    while columns(text) > width:
        text = text[:-1]
    return text
