"""Progress on stderr: a live line on a terminal, nothing where nobody watches."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from unsum.progress import Progress

_NAME_COLUMNS = 24


class ProgressDisplay:
    """Shows what is being done to each file, for how long already, and how long it will take where that is known.

    A spinner and a clock run all the time: also between two passes over a file, when nothing can be counted.
    Use as a context manager; `start` gives the callback for one file.

    Parameters
    ----------
    in_seconds : progress is counted in seconds of audio, so that its speed can be told
    """

    def __init__(self, *, quiet: bool, in_seconds: bool = False) -> None:
        self._bars = None
        self._in_seconds = in_seconds
        self._tasks: dict[Path, Any] = {}
        self._lock = threading.RLock()
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                SpinnerColumn("line"),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[told]}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                # What is printed meanwhile goes where it is meant to go; `paused` makes room for it.
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> "ProgressDisplay":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the live lines away while something is printed."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
            try:
                yield
            finally:
                if self._bars is not None:
                    self._bars.start()

    def finish(self, path: Path) -> None:
        """Take the bar of a finished file away."""
        task = self._tasks.pop(path, None)
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)

    def start(self, path: Path) -> Progress | None:
        """A callback ``(done, total, what)`` for one file."""
        bars = self._bars
        if bars is None:
            return None
        short = len(path.name) <= _NAME_COLUMNS
        name = path.name if short else path.name[: _NAME_COLUMNS - 3] + "..."
        task = self._tasks[path] = bars.add_task(f"{name}: opening", total=None, told="")
        lock = threading.Lock()
        pace = _Pace()

        def tell(done: float, total: float, what: str) -> None:
            with lock:
                pace.add(done, what)
                if done >= total > 0:
                    # Nobody knows how long it takes to conclude from a whole pass: a bar at its end would look stuck.
                    bars.update(task, total=None, description=f"{name}: {what}, computing", told="")
                    return
                told = [f"{100 * done / total:.0f} %"] if total > 0 else []
                if (speed := pace.speed) is not None:
                    told += [f"{speed:.0f}x"] if self._in_seconds else []
                    told += [f"{_clock((total - done) / speed)} left"] if speed > 0 else []
                bars.update(task, total=total, completed=done, description=f"{name}: {what}", told=", ".join(told))

        return tell


class _Pace:
    """How fast one pass over a file goes."""

    def __init__(self) -> None:
        self._what = ""
        self._began = self._first = self._done = 0.0

    def add(self, done: float, what: str) -> None:
        """Take what is done by now; less than before begins another pass."""
        if what != self._what or done < self._done:
            self._what, self._began, self._first = what, time.monotonic(), done
        self._done = done

    @property
    def speed(self) -> float | None:
        """Units done in a second; None as long as there is little to tell it from."""
        elapsed = time.monotonic() - self._began
        return None if elapsed < 0.5 else (self._done - self._first) / elapsed


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
