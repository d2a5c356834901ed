"""The figures of the last run of every row, and the tables printed from them."""

import json
import os
from pathlib import Path

FIGURES = Path(__file__).resolve().parent.parent / "figures" / "remove.json"
ROW_NAMES = ("pairs", "exact", "absent", "no_harm", "hour")


def names_only(told: str, *folders: Path) -> str:
    """A message with the files in these folders by their names alone: the folders are of one run, or of one machine."""
    # The longest first: one may lie in another.
    for folder in sorted(folders, key=lambda one: len(str(one)), reverse=True):
        told = told.replace(f"{folder}{os.sep}", "")
    return told


class Table:
    """Lines that are printed and kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)


def kept_figures(row: str | None = None) -> dict:
    """The figures of the last run: of all rows, or the single figures of one."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    return figures if row is None else {name: one for name, one in figures.get(row, {}).items() if name != "table"}


def keep(row: str, found: dict) -> None:
    """Put the figures of a row beside those of the others."""
    FIGURES.parent.mkdir(exist_ok=True)
    figures = kept_figures() | {row: found}
    FIGURES.write_text(json.dumps(figures, indent=1, default=float) + "\n")
    lines = [line for name in ROW_NAMES if name in figures for line in (*figures[name]["table"], "")]
    FIGURES.with_suffix(".txt").write_text("\n".join(lines).rstrip() + "\n")
