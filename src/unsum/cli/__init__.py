"""The command line: arguments in, a call of the api, a rendering out.

stdout is data, stderr is talk. Every command module is imported only when it runs.
"""

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from unsum import __version__
from unsum.cli.talk import say
from unsum.errors import UnsumError, UsageError

COMMANDS = {
    "recover": ("recover_command", "Untangle the streams of a recording; copy the video."),
    "remove": ("remove_command", "Take known sounds out of a recording, keep the rest."),
    "explain": ("explain_command", "How was this mix made? Gain, pan, EQ, reverb of each track."),
    "render": ("render_command", "What the references sound like in the mix; also other stems."),
    "inspect": ("inspect_command", "Streams, layouts, true word length, which holds which."),
    "align": ("align_command", "Where a sound is in a recording: offset, clock, jumps."),
    "null": ("null_command", "How deep do two files cancel: number, bands, time."),
    "doctor": ("doctor_command", "Versions, codecs, optional parts found."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"unsum.cli.{cmd_name}")
        return getattr(module, COMMANDS[cmd_name][0])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Told from the table above: help for all must not import all.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="unsum %(version)s")
def group() -> None:
    """Take a mix apart with what you already have.

    FILE#a:1 is the second audio stream of a file, FILE#a:1[FL,FR] two channels
    of it. A name that begins with a dash is written ./-name, or goes behind --.
    Nothing is overwritten without -y, and inputs never.

    Exit codes: 0 done, 1 internal error, 2 usage, 3 cannot read or write,
    4 refused or not found, 5 output exists, 6 some of many failed, 130 interrupted.
    """


def main() -> None:
    """The entry point: every error becomes one line and its documented exit code."""
    # A polite kill cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Decoder, encoders and muxer hand over to each other thousands of times a second; the usual 5 ms of
    # waiting for a thread that is busy in Python cost a twentieth of the time.
    sys.setswitchinterval(0.0005)
    # A file may be called what no terminal can show.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line; give its exit code."""
    try:
        _check_dashes(arguments)
        result = group.main(arguments, prog_name="unsum", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if arguments:
            say(f"unsum: {error.format_message().rstrip('.')}; {_called(error)} --help tells how it is called")
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("unsum: interrupted; nothing half written was kept")
        return 130
    except UnsumError as error:
        say(f"unsum: {error}")
        return error.exit_code
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say(f"unsum: {error.filename or 'standard output'}: {error.strerror}")
            return 3
        # The reader of our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("UNSUM_TRACEBACK"):
            raise
        say(
            f"unsum: internal error: {type(error).__name__}: {error}; "
            "set UNSUM_TRACEBACK=1 and run again for the details to report"
        )
        return 1


def _called(error: click.ClickException) -> str:
    """The command that was called wrongly."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return "unsum" if context is None else context.command_path


def _check_dashes(arguments: Sequence[str]) -> None:
    """Refuse what a parser would take otherwise than it is meant: -vocals.flac is -v and -o cals.flac to it."""
    for argument in arguments:
        if argument == "--":
            return
        if argument == "-":
            raise UsageError(
                "files are read more than once, so '-' for standard input or output cannot be used; name a file"
            )
        file = Path(argument.partition("#a:")[0])
        if argument.startswith("-") and file.suffix and file.is_file():
            raise UsageError(f"{argument} is a file but reads like options; write ./{argument}, or put it behind --")
