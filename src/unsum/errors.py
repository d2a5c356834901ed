"""What can go wrong, each with the exit code the command line gives it.

Every message is one line: what, with the numbers; then the way out.
"""


class UnsumError(Exception):
    """The parent of everything unsum raises on purpose."""

    exit_code = 1


class UsageError(UnsumError, ValueError):
    """The call or the recipe is not well formed."""

    exit_code = 2


class InputError(UnsumError, ValueError):
    """A file or an array cannot be read or used."""

    exit_code = 3


class RefusedError(UnsumError):
    """The audio contradicts what was asked; nothing was written."""

    exit_code = 4


class OutputExistsError(UnsumError, FileExistsError):
    """The output is there already and overwriting was not asked for."""

    exit_code = 5


class OutputError(UnsumError, OSError):
    """The output cannot be written: disk full, folder read-only."""

    exit_code = 3


class Cancelled(UnsumError):
    """Raised from a progress callback to stop; nothing half written stays."""

    exit_code = 130
