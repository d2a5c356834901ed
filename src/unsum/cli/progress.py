"""Progress on stderr: a bar on a terminal, nothing where nobody watches."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any


class ProgressDisplay:
    """Shows how far each file is, how fast it goes, and how long it will take.

    Use as a context manager; `start` gives the callback for one file.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._bars = None
        self._tasks: dict[Path, Any] = {}
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}% {task.fields[speed]}", markup=False),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
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

    def finish(self, path: Path) -> None:
        """Take the bar of a finished file away."""
        task = self._tasks.pop(path, None)
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)

    def start(self, path: Path) -> Callable[[float, float, str], None] | None:
        """A callback ``(done_seconds, total_seconds, what)`` for one file."""
        bars = self._bars
        if bars is None:
            return None
        name = path.name if len(path.name) <= 28 else path.name[:25] + "..."
        task = self._tasks[path] = bars.add_task(name, total=None, speed="")
        lock = threading.Lock()
        state = {"what": "", "began": time.monotonic(), "from": 0.0}

        def tell(done: float, total: float, what: str) -> None:
            with lock:
                if what != state["what"]:
                    state.update({"what": what, "began": time.monotonic(), "from": done})
                    bars.reset(task, total=total, completed=int(done), description=f"{name} ({what})", speed="")
                elapsed = time.monotonic() - state["began"]
                speed = f"{(done - state['from']) / elapsed:.0f}x" if elapsed > 0.5 else ""
                bars.update(task, total=total, completed=done, speed=speed)

        return tell
