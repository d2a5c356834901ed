"""Look without writing: what is in a file, how deep two cancel, what unsum stands on."""

from pathlib import Path
from typing import TYPE_CHECKING

from unsum.api.arguments import PathArgument
from unsum.progress import Progress

if TYPE_CHECKING:
    from unsum.inspection.findings import FileFinding
    from unsum.inspection.null import NullFinding


def inspect(recording: PathArgument, *, progress: Progress | None = None) -> "FileFinding":
    """Streams, layouts, true word length, lossy history, and which stream contains which.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    # Here and not above: recover runs without scipy, which the marks of codecs need.
    from unsum.inspection.recording import inspect_file

    return inspect_file(Path(recording), progress=progress)


def null(a: PathArgument, b: PathArgument, *, align: bool = False, progress: Progress | None = None) -> "NullFinding":
    """How deep two files cancel: as a number, per octave band, and over time.

    Parameters
    ----------
    a, b : ``FILE``, ``FILE#a:1`` or ``FILE#a:1[FL,FR]``
    align : take out a whole-sample lag first

    Raises
    ------
    InputError
        If they cannot be read, or differ in sample rate or channel count.
    """
    from unsum.inspection.null import null_files

    return null_files(str(a), str(b), align=align, progress=progress)


def doctor() -> dict:
    """Versions of what unsum stands on, and which codecs are there."""
    import platform

    from unsum import __version__
    from unsum.media.health import codecs_present, library_versions

    versions = {"unsum": __version__, "Python": platform.python_version(), "system": platform.platform()}
    return {
        "versions": versions | library_versions(),
        "codecs": codecs_present(),
        "notes": ["PyAV's wheels carry FFmpeg with GPL parts: mind that where you bundle them."],
    }
