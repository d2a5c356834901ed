"""What is said on stderr: one line for a log, wrapped for a person at a terminal."""

import os
import sys
import textwrap

import click

from unsum.report.lines import harmless

_NARROWEST = 20


def say(text: str) -> None:
    """Print a sentence on stderr, whatever the names in it: on one line, or in the lines that a terminal has."""
    line = harmless(text)
    if (columns := terminal_columns()) is not None:
        # A path stays whole: it is there to be copied.
        line = textwrap.fill(line, columns - 1, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    click.echo(line, err=True)


def terminal_columns() -> int | None:
    """How wide the terminal behind stderr is; None where it is a file or a pipe."""
    if not sys.stderr.isatty():
        return None
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    # Some terminals, such as those of build servers, say 0.
    return max(columns, _NARROWEST) if columns else 80
