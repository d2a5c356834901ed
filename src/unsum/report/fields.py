"""Values read from a JSON document one by one, each with its place in the file for when it is wrong."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeGuard

from unsum.errors import InputError


def damaged(path: Path, what: str) -> InputError:
    """The error for a file that is not as it was written."""
    return InputError(f"{path} is damaged: {what}; make it again")


class Fields:
    """An object of a JSON document.

    Every method takes a key and gives its value. One that is absent or of another type is an
    `InputError` that names the file and the place in it; only `optional` values may be null.

    Parameters
    ----------
    node : the object
    path : the file, for messages
    where : the object's place in the document, empty at the top
    """

    def __init__(self, node: dict[str, Any], path: Path, where: str = "") -> None:
        self._node, self._path, self.where = node, path, where

    def wrong(self, key: str, wanted: str) -> InputError:
        """The error for a value that is not what it should be."""
        if key not in self._node:
            return damaged(self._path, f"{self._place(key)} is missing")
        found = repr(self._node[key])
        shown = found if len(found) <= 40 else found[:37] + "..."
        return damaged(self._path, f"{self._place(key)} is {shown}, not {wanted}")

    def damaged(self, what: str) -> InputError:
        """The error for values that do not fit each other."""
        return damaged(self._path, f"{self.where}: {what}")

    def has(self, key: str) -> bool:
        return self._node.get(key) is not None

    def text(self, key: str) -> str:
        return self._checked(key, str, "a text")

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self._given(key) else None

    def texts(self, key: str) -> tuple[str, ...]:
        items = self._checked(key, list, "a list of texts")
        if not all(isinstance(item, str) for item in items):
            raise self.wrong(key, "a list of texts")
        return tuple(items)

    def truth(self, key: str) -> bool:
        return self._checked(key, bool, "true or false")

    def whole(self, key: str, *, least: int | None = 0) -> int:
        value = self._node.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
            raise self.wrong(key, "a whole number" if least is None else f"a whole number from {least}")
        return value

    def optional_whole(self, key: str, *, least: int = 0) -> int | None:
        return self.whole(key, least=least) if self._given(key) else None

    def number(self, key: str) -> float:
        value = self._node.get(key)
        if not _is_number(value):
            raise self.wrong(key, "a number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return self.number(key) if self._given(key) else None

    def numbers(self, key: str, *, length: int) -> tuple[float, ...]:
        items = self._checked(key, list, "a list of numbers")
        if len(items) != length or not all(_is_number(item) for item in items):
            raise self.wrong(key, f"a list of {length} numbers")
        return tuple(float(item) for item in items)

    def level(self, key: str) -> float:
        """Decibels, of which there may be none at all."""
        return -math.inf if self._node.get(key) == "-Infinity" else self.number(key)

    def optional_level(self, key: str) -> float | None:
        return self.level(key) if self._given(key) else None

    def fraction(self, key: str) -> Fraction:
        try:
            return Fraction(self.text(key))
        except (ValueError, ZeroDivisionError) as error:
            raise self.wrong(key, "a fraction") from error

    def inner(self, key: str) -> "Fields":
        return Fields(self._checked(key, dict, "an object"), self._path, self._place(key))

    def optional(self, key: str) -> "Fields | None":
        return self.inner(key) if self._given(key) else None

    def each(self, key: str) -> Iterator["Fields"]:
        for number, item in enumerate(self._checked(key, list, "a list of objects")):
            if not isinstance(item, dict):
                raise self.wrong(key, "a list of objects")
            yield Fields(item, self._path, f"{self._place(key)}[{number}]")

    def _given(self, key: str) -> bool:
        if key not in self._node:
            raise self.wrong(key, "")
        return self._node[key] is not None

    def _checked(self, key: str, kind: type, wanted: str) -> Any:
        value = self._node.get(key)
        if not isinstance(value, kind):
            raise self.wrong(key, wanted)
        return value

    def _place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key


def _is_number(value: Any) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
