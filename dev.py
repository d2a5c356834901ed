#!/usr/bin/env python3
"""Set up .venv beside this file and run the project's usual jobs in it.

Needs Python 3.11 and either pip or uv; no root and no other package.
"""

import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")

USAGE = """usage: python3 dev.py COMMAND [ARGUMENT ...]

  demo    recover the sources of the bundled recording into demo-out/
  test    run the tests; arguments go to pytest
  lint    check format, rules and types; arguments are files, all if none
  bench   run benchmarks/recover.py; arguments go to it
"""
EXTRA = {"demo": "", "test": "test", "lint": "dev", "bench": "dev"}
CONTAINED_IN = {"": ("", "test", "dev"), "test": ("test", "dev"), "dev": ("dev",)}


def run(*command):
    """Print a command as it may be typed in the project's folder, run it there, return its exit code."""
    words = [str(word) for word in command]
    print("$ " + shlex.join(words).replace(f"{ROOT}{os.sep}", ""), flush=True)
    code = subprocess.run(words, cwd=ROOT).returncode
    if code:
        print(f"-> exit code {code}", flush=True)
    return code


def create_environment():
    """Make .venv with the first tool that can; one whose Python is there stays as it is."""
    if PYTHON.exists():
        return
    venv = (sys.executable, "-m", "venv")
    ways = []
    if shutil.which("uv"):
        ways.append(("uv", "venv", "--no-python-downloads", "--python", sys.executable, VENV))
    if importlib.util.find_spec("ensurepip"):
        ways.append((*venv, VENV))
    if importlib.util.find_spec("pip"):
        # Debian and Ubuntu ship ensurepip apart, in python3-venv. Without it an
        # environment that has no pip can still be made, and the pip outside fills it.
        ways.append((*venv, "--without-pip", VENV))
    if not ways:
        sys.exit("neither uv nor pip was found; install one, on Debian and Ubuntu: apt-get install python3-pip")
    for way in ways:
        shutil.rmtree(VENV, ignore_errors=True)  # what a broken or moved interpreter left
        if run(*way) == 0 and PYTHON.exists():
            return
    sys.exit(f"{VENV} could not be made; each command above says why it failed")


def install(extra):
    """Install the project and one extra into .venv, unless exactly that was done before."""
    # The folder is part of it: an editable install points at the place it was made in.
    state = (ROOT / "pyproject.toml").read_bytes() + bytes(ROOT)
    digest = hashlib.sha256(state).hexdigest()
    stamps = [VENV / f"installed-{name or 'plain'}.sha256" for name in CONTAINED_IN[extra]]
    if any(stamp.exists() and stamp.read_text() == digest for stamp in stamps):
        return
    what = ("--editable", f".[{extra}]" if extra else ".")
    ways = []
    if shutil.which("uv"):
        ways.append(("uv", "pip", "install", "--python", PYTHON, *what))
    if any(BIN.glob("pip*")):
        ways.append((PYTHON, "-m", "pip", "install", *what))
    elif importlib.util.find_spec("pip"):
        ways.append((sys.executable, "-m", "pip", "--python", PYTHON, "install", *what))
    if not ways:
        sys.exit(f"{VENV} has no pip, and there is no uv or pip outside; remove {VENV} and start again")
    for way in ways:
        if run(*way) == 0:
            (VENV / f"installed-{extra or 'plain'}.sha256").write_text(digest)
            return
    sys.exit("the installation failed; each command above says why")


def demo(arguments):
    examples, found = ROOT / "examples", ROOT / "demo-out"
    options = ("--recipe", examples / "obs.toml", "--out-dir", found, "--verify", "-y")
    code = run(BIN / "unsum", "recover", examples / "obs-recording.mkv", *options, *arguments)
    if code == 0:
        print(f"The recovered recording is in {found}")
    return code


def test(arguments):
    return run(PYTHON, "-m", "pytest", *arguments)


def lint(arguments):
    checks = (("ruff", "format", "--check"), ("ruff", "check"), ("pyright", "--pythonpath", PYTHON))
    # Every check runs, so that one pass shows all there is to mend.
    codes = [run(PYTHON, "-m", *check, *arguments) for check in checks]
    return int(any(codes))


def bench(arguments):
    return run(PYTHON, ROOT / "benchmarks" / "recover.py", *arguments)


def main(arguments):
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this with an older Python is told so
        print(f"unsum needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    name = arguments[0] if arguments else ""
    if name not in EXTRA:
        asked_for = name in ("-h", "--help")
        print(USAGE, end="", file=sys.stdout if asked_for else sys.stderr)
        return 0 if asked_for else 2
    create_environment()
    install(EXTRA[name])
    jobs = {"demo": demo, "test": test, "lint": lint, "bench": bench}
    return jobs[name](arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
