"""What is said on stderr, to a log and to a person at a terminal."""

import os
import sys
import threading

import numpy as np
import pytest
import soundfile

from unsum.cli import run
from unsum.cli.progress import ProgressDisplay
from unsum.cli.talk import say

LONG = "unsum: cannot read /recordings/party on the roof.mp4: the file breaks off after a third of it; copy it again"


class Screen:
    """A terminal of so many columns in the place of stderr, and what it was sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
        pty = pytest.importorskip("pty", reason="this system has no terminals to make")
        fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
        self._reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, columns.to_bytes(2, sys.byteorder).rjust(4, b"\0") + bytes(4))
        for name in ("NO_COLOR", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        self._received: list[bytes] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        self._file = os.fdopen(writer, "w", encoding="utf-8")
        monkeypatch.setattr(sys, "stderr", self._file)

    def _receive(self) -> None:
        try:
            while content := os.read(self._reader, 1 << 16):
                self._received.append(content)
        except OSError:  # how a terminal ends
            return

    def text(self) -> str:
        """All that was sent; closes the terminal."""
        self._file.close()
        self._thread.join(10)
        return b"".join(self._received).decode().replace("\r\n", "\n")


def test_a_log_gets_one_line_whatever_is_in_the_names(capsys):
    say(f"{LONG}\nand on")
    assert capsys.readouterr().err == f"{LONG} and on\n"


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_terminal_gets_whole_words_in_its_width(columns, monkeypatch):
    screen = Screen(monkeypatch, columns)
    say(LONG)
    lines = screen.text().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) < columns
    assert " ".join(line.strip() for line in lines) == LONG


def test_a_path_that_is_longer_than_a_line_stays_whole(monkeypatch):
    screen = Screen(monkeypatch, 40)
    path = "/a-rather/long-path/" * 4 + "x.flac"
    say(f"unsum: no such file: {path}")
    assert path in screen.text().split()


def test_the_live_line_tells_what_is_done_and_goes_on_when_a_pass_is_over(monkeypatch, tmp_path):
    screen = Screen(monkeypatch, 80)
    with ProgressDisplay(quiet=False) as display:
        tell = display.start(tmp_path / "party.mp4")
        assert tell is not None
        tell(25.0, 100.0, "locating")
        display._bars.refresh()  # pyright: ignore[reportOptionalMemberAccess]
        tell(100.0, 100.0, "locating")
        display._bars.refresh()  # pyright: ignore[reportOptionalMemberAccess]
    told = screen.text()
    assert "party.mp4: 1 locating" in told
    assert "25 %" in told
    assert "computing" in told
    assert "100 %" not in told


def test_every_pass_has_a_line_of_its_own_and_no_bar_goes_back(monkeypatch, tmp_path):
    Screen(monkeypatch, 80)
    shares: dict[int, list[float]] = {}
    with ProgressDisplay(quiet=False) as display:
        tell = display.start(tmp_path / "a recording with a long name.mp4")
        bars = display._bars
        assert tell is not None and bars is not None
        passes = [("locating", 100.0), ("locating", 40.0), ("subtracting", 60.0), ("", 0.0), ("subtracting", 60.0)]
        for what, total in passes:
            # The header said too little: what is expected grows on the way.
            for done in (0.0, 20.0, 40.0, 55.0):
                tell(done, max(total, done), what)
                for task in bars.tasks:
                    if task.total is not None:
                        shares.setdefault(task.id, []).append(task.completed / task.total)
        descriptions = [task.description for task in bars.tasks]
        over = [task.completed == task.total for task in bars.tasks[:-1]]
        lines = bars.get_renderable()
        assert max(map(len, _rendered(lines, 80))) <= 80
        display.finish(tmp_path / "a recording with a long name.mp4")
        assert bars.tasks == []
    name = "a recording with ..."
    assert descriptions == [f"{name}: {n + 1} {what or 'reading'}" for n, (what, _) in enumerate(passes)]
    assert all(over)
    for row in shares.values():
        assert row == sorted(row)


def _rendered(lines, columns: int) -> list[str]:
    from rich.console import Console

    console = Console(width=columns, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(lines)
    return capture.get().splitlines()


def test_what_is_printed_beside_a_live_line_stays_on_stdout(monkeypatch, capsys, tmp_path):
    soundfile.write(tmp_path / "tone.wav", np.tile([0.1, 0.2], 4000), 8000)
    screen = Screen(monkeypatch, 80)
    assert run(["inspect", str(tmp_path / "tone.wav")]) == 0
    assert capsys.readouterr().out.startswith("tone.wav: wav")
    assert "8000 Hz" not in screen.text()


def test_nothing_moves_where_stderr_is_no_terminal(capsys, tmp_path):
    with ProgressDisplay(quiet=False) as display:
        assert display.start(tmp_path / "party.mp4") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["-vocals.wav", "-o.wav", "--json.wav"])
def test_a_file_that_reads_like_options_is_named_with_both_ways_out(name, tmp_path, monkeypatch, capsys):
    soundfile.write(tmp_path / name, np.tile([0.1, 0.2], 4000), 8000)
    monkeypatch.chdir(tmp_path)
    assert run(["inspect", name]) == 2
    told = capsys.readouterr().err
    assert f"write ./{name}, or put it behind --" in told
    assert told.count("\n") == 1
    for way_out in ([f"./{name}"], ["--", name]):
        assert run(["inspect", *way_out]) == 0
        assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["remove", "-", "song.flac"],
        ["remove", "mix.flac", "song.flac", "-o", "-"],
        ["align", "mix.flac", "-"],
        ["explain", "-", "bass.flac"],
        ["recover", "-"],
        ["inspect", "-"],
        ["null", "a.wav", "-"],
        ["render", "-"],
    ],
)
def test_standard_input_is_refused_in_one_line(command, capsys):
    assert run(command) == 2
    told = capsys.readouterr().err
    assert "standard input" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["recover", "remove", "align", "explain", "inspect", "null", "render"])
def test_without_arguments_the_missing_one_is_named(command, capsys):
    assert run([command]) == 2
    told = capsys.readouterr().err
    assert f"unsum {command} --help" in told
    assert "Missing argument" in told


@pytest.mark.parametrize("command", ["recover", "inspect", "render"])
def test_a_file_that_is_not_there_is_named(command, capsys, tmp_path):
    assert run([command, str(tmp_path / "absent.mkv")]) == 3
    told = capsys.readouterr().err
    assert f"no such file: {tmp_path / 'absent.mkv'}" in told
    assert told.count("\n") == 1
