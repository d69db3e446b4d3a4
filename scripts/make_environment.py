"""Make `.venv` with the exact tested versions; do nothing when it is already so.

    python3 scripts/make_environment.py [--test] [--verbose]

Needs nothing but a Python between 3.11 and 3.13 with pip and venv: no Node, no GPU, no hub.
pip's own settings apply (mirrors, proxies, caches), and so do its environment variables. This file
runs before anything is installed and perhaps under an old Python, so it uses the standard library
only and nothing newer than Python 3.8.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)
# What is asked of an interpreter: its version, and whether it can make environments with pip.
PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def environment_folder() -> Path:
    """Where the environment is: `.venv`, or the folder named by WORKBENCH_VENV."""
    return Path(os.environ.get("WORKBENCH_VENV", ROOT / ".venv"))


def setup_log() -> Path:
    """Where the words of pip, npm and apt-get go; shown only when one of them fails."""
    folder = environment_folder()
    return folder.parent / f"{folder.name}-setup.log"


def environment_python(folder: Path) -> Path:
    """Path of the interpreter inside an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def probe(interpreter: str) -> tuple[int, int] | str:
    """Version of an interpreter that can make environments, or why it cannot."""
    try:
        done = subprocess.run(
            [interpreter, "-c", PROBE], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"does not start: {problem}"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["unknown error"])[-1]
        return f"cannot make environments ({last})"
    major, minor = done.stdout.strip().split(".")
    version = (int(major), int(minor))
    if not OLDEST <= version <= NEWEST:
        return f"is Python {major}.{minor}"
    return version


def find_interpreter() -> str:
    """Path of a suitable interpreter: the running one first, then the tested ones by name.

    Raises
    ------
    SetupError
        Where there is none, with what was found and what to install.
    """
    names = ["python3.11", "python3.12", "python3.13", "python3", "python"]
    candidates = [sys.executable] + [path for path in map(shutil.which, names) if path]
    found = []
    for candidate in dict.fromkeys(candidates):
        answer = probe(candidate)
        if not isinstance(answer, str):
            return candidate
        found.append(f"  {candidate} {answer}")
    hints = {
        "Linux": "apt-get install python3.11 python3.11-venv  (or your distribution's packages)",
        "Darwin": "brew install python@3.12",
        "Windows": "winget install Python.Python.3.12",
    }
    raise SetupError(
        "No Python between {}.{} and {}.{} with venv and pip was found. Looked at:\n{}\n"
        "Install one, for example: {}".format(
            *OLDEST, *NEWEST, "\n".join(found), hints.get(platform.system(), hints["Linux"])
        )
    )


def stamp(python: Path, extras: str) -> str:
    """Fingerprint of everything the environment depends on."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    digest.update(f"{ROOT}|{os.path.realpath(str(python))}".encode())
    return f"{extras}:{digest.hexdigest()}"


def run_logged(command: list[str], log: Path | None) -> None:
    """Run a command; with a log, its words go there and are shown only when it fails."""
    if log is None:
        returned = subprocess.run(command, cwd=str(ROOT), check=False).returncode
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {' '.join(command)}\n")
            stream.flush()
            returned = subprocess.run(
                command, cwd=str(ROOT), stdout=stream, stderr=subprocess.STDOUT, check=False
            ).returncode
        if returned:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-60:]
            print("\n".join(tail), file=sys.stderr)
    if returned:
        raise SetupError(f"`{' '.join(command)}` failed with exit status {returned} (see above).")


def make_environment(test: bool = False, log: Path | None = None) -> Path:
    """Make or mend the environment and return its interpreter.

    Parameters
    ----------
    test
        Also install what the checks need.
    log
        File that takes pip's output; shown only on failure. None prints it.

    Raises
    ------
    SetupError
        Where no interpreter is suitable or pip fails; a later call starts that part again.
    """
    folder = environment_folder()
    python = environment_python(folder)
    extras = "test" if test else "base"
    mark = folder / "workbench-stamp"
    if python.exists() and mark.exists():
        # What the tests need includes what the laboratory needs.
        wanted = {stamp(python, extras), stamp(python, "test")}
        if mark.read_text(encoding="utf-8") in wanted:
            print(f"{folder.name} is up to date")
            return python
    started = time.monotonic()
    if not python.exists() or isinstance(probe(str(python)), str):
        interpreter = find_interpreter()
        print(f"making {folder} with {interpreter}", flush=True)
        run_logged([interpreter, "-m", "venv", "--clear", str(folder)], log)
    elif mark.exists() and mark.read_text(encoding="utf-8").startswith("test:"):
        extras = "test"  # never take tools away that are already there
    if mark.exists():
        mark.unlink()
    target = ".[test]" if extras == "test" else "."
    where = f"; details in {log}" if log else ""
    print(f"installing the packages (a few minutes the first time{where})", flush=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    run_logged([*pip, "-c", "constraints.txt", "-e", target], log)
    mark.write_text(stamp(python, extras), encoding="utf-8")
    print(f"{folder.name} is ready ({time.monotonic() - started:.0f} s)", flush=True)
    return python


def main() -> int:
    """Command line entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the environment of the workbench.")
    parser.add_argument("--test", action="store_true", help="also what the checks need")
    parser.add_argument("--verbose", action="store_true", help="show what pip says")
    options = parser.parse_args()
    log = None if options.verbose else setup_log()
    if log and log.exists():
        log.unlink()
    try:
        make_environment(test=options.test, log=log)
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
