"""Progress on stderr: a live line for each pass over a file on a terminal, nothing where nobody watches."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from unsum.progress import Progress

_NAME_COLUMNS = 20
# Passes that are over stay above the one that runs, so many of them.
_LINES_KEPT = 4


class ProgressDisplay:
    """Shows what is being done to each file, for how long already, and how long it will take where that is known.

    How many passes over a file there will be, nobody knows before: each of them depends on what those before have
    found. So every pass has a line of its own, whose bar only grows. A spinner and a clock run all the time: also
    between two passes, when nothing can be counted. Use as a context manager; `start` gives the callback for one file.

    Parameters
    ----------
    in_seconds : progress is counted in seconds of audio, so that its speed can be told
    """

    def __init__(self, *, quiet: bool, in_seconds: bool = False) -> None:
        self._bars = None
        self._in_seconds = in_seconds
        self._passes: dict[Path, _Passes] = {}
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
        """Take the lines of a finished file away."""
        passes = self._passes.pop(path, None)
        if passes is not None:
            passes.remove()

    def start(self, path: Path) -> Progress | None:
        """A callback ``(done, total, what)`` for one file."""
        if self._bars is None:
            return None
        name = "".join(letter if letter.isprintable() else "?" for letter in path.name)
        name = name if len(name) <= _NAME_COLUMNS else name[: _NAME_COLUMNS - 3] + "..."
        passes = self._passes[path] = _Passes(self._bars, name, in_seconds=self._in_seconds)
        return passes.tell


class _Passes:
    """The lines of one file: that of the pass which runs, below some of those that are over."""

    def __init__(self, bars: Any, name: str, *, in_seconds: bool) -> None:
        self._bars, self._name, self._in_seconds = bars, name, in_seconds
        self._lock = threading.Lock()
        self._lines: deque[Any] = deque([bars.add_task(f"{name}: opening", total=None, told="")])
        self._count = 0
        self._pace = _Pace("")

    def tell(self, done: float, total: float, what: str) -> None:
        """Progress of the pass that runs; less than before, or of something else, is that of another one."""
        with self._lock:
            if not self._count or what != self._pace.what or done < self._pace.done:
                self._begin(what)
            self._pace.add(done, total)
            line = self._lines[-1]
            if done >= total > 0:
                # Nobody knows how long it takes to conclude from a whole pass: a bar at its end would look stuck.
                self._bars.update(line, total=None, told="computing")
                return
            told = [f"{100 * self._pace.share:.0f} %"] if total > 0 else []
            if (speed := self._pace.speed) is not None:
                told += [f"{speed:.0f}x"] if self._in_seconds else []
                told += [f"{_clock((total - done) / speed)} left"] if speed > 0 and total > 0 else []
            known = {"total": 1.0, "completed": self._pace.share} if total > 0 else {"total": None}
            self._bars.update(line, **known, told=", ".join(told))

    def _begin(self, what: str) -> None:
        """A line for another pass; that of the one before stays as it ended."""
        self._count += 1
        self._pace = _Pace(what)
        description = f"{self._name}: {self._count} {what or 'reading'}"
        if self._count == 1:
            self._bars.update(self._lines[0], description=description)
            return
        self._bars.update(self._lines[-1], total=1.0, completed=1.0, told="")
        self._bars.stop_task(self._lines[-1])
        self._lines.append(self._bars.add_task(description, total=None, told=""))
        while len(self._lines) > _LINES_KEPT + 1:
            self._bars.remove_task(self._lines.popleft())

    def remove(self) -> None:
        """Take all lines away."""
        with self._lock:
            while self._lines:
                self._bars.remove_task(self._lines.popleft())


class _Pace:
    """How far one pass over a file is, and how fast it goes."""

    def __init__(self, what: str) -> None:
        self.what, self.done, self.share = what, 0.0, 0.0
        self._began: float | None = None
        self._first = 0.0

    def add(self, done: float, total: float) -> None:
        """Take what is done by now; a total that turns out to be greater takes nothing back."""
        if self._began is None:
            self._began, self._first = time.monotonic(), done
        self.done = done
        self.share = max(self.share, min(done / total, 1.0) if total > 0 else 0.0)

    @property
    def speed(self) -> float | None:
        """Units done in a second; None as long as there is little to tell it from."""
        elapsed = 0.0 if self._began is None else time.monotonic() - self._began
        return None if elapsed < 0.5 else (self.done - self._first) / elapsed


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
