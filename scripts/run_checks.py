"""Every check there is, in one go: `make test`.

    python3 scripts/run_checks.py [arguments for pytest]

Sets itself up (environment, Node packages, a Chromium), then ruff, mypy, vitest, the freshness of
the built bundles, and pytest with the browser tests and the notebooks. All of it runs even when an
early part fails; the exit status is zero only when everything passed. What cannot run on this
machine is listed loudly.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from make_environment import ROOT, SetupError, make_environment, run_logged, setup_log

WIDGETS = ROOT / "widgets"
# Debian's Chromium comes without letters; the pictures need some.
BROWSER_PACKAGES = ["chromium", "fonts-dejavu-core", "fonts-liberation"]
OLDEST_NODE = 20
FIND_BROWSER = "from workbench.doctor import find_browser; print(find_browser() or '')"


class Checks:
    """Runs steps, keeps what failed and what had to be skipped."""

    def __init__(self, python: Path, log: Path) -> None:
        self.python = str(python)
        self.log = log
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def step(self, name: str, command: list[str], folder: Path = ROOT) -> None:
        """Run one check and note whether it passed."""
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        if subprocess.run(command, cwd=str(folder), check=False).returncode:
            self.failed.append(name)
            print(f"!! {name} FAILED", flush=True)
        print(f"   {name}: {time.monotonic() - started:.0f} s", flush=True)

    def skip(self, what: str) -> None:
        """Note loudly that something does not run here."""
        self.skipped.append(what)
        print(f"\n!! SKIPPED: {what}", flush=True)

    def node(self) -> None:
        """Front-end tests and the comparison of the committed bundles with a new build."""
        if not (WIDGETS / "package.json").exists():
            self.skip("front-end tests: there is no widgets/package.json")
            return
        npm = shutil.which("npm")
        if not npm or not shutil.which("node"):
            self.skip("vitest and the bundle check: Node and npm are not installed")
            return
        found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
        if int(found.stdout.strip().lstrip("v").partition(".")[0] or 0) < OLDEST_NODE:
            got = found.stdout.strip() or "one that does not start"
            self.skip(
                f"vitest and the bundle check: Node is {got}, expected {OLDEST_NODE} or newer"
            )
            return
        lock = (WIDGETS / "package-lock.json").read_bytes()
        mark = WIDGETS / "node_modules" / "workbench-stamp"
        wanted = hashlib.sha256(lock).hexdigest()
        if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
            print("\n== npm ci", flush=True)
            try:
                run_logged([npm, "--prefix", str(WIDGETS), "ci", "--no-audit"], self.log)
            except SetupError as problem:
                print(problem, file=sys.stderr)
                self.failed.append("npm ci")
                return
            mark.write_text(wanted, encoding="utf-8")
        self.step("front-end types", [npm, "run", "--silent", "typecheck"], WIDGETS)
        self.step("vitest", [npm, "test", "--silent"], WIDGETS)
        self.step("built bundles are fresh", [npm, "run", "--silent", "check:fresh"], WIDGETS)

    def _found_browser(self) -> str:
        done = subprocess.run(
            [self.python, "-c", FIND_BROWSER],
            capture_output=True,
            text=True,
            check=False,
            cwd=str(ROOT),
        )
        return done.stdout.strip()

    def browser(self) -> None:
        """Find a Chromium, or install one: the system's as root, Playwright's own otherwise."""
        path = self._found_browser()
        if not path and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
            print("\n== installing Chromium with apt-get", flush=True)
            os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
            try:
                run_logged(["apt-get", "update", "-q"], self.log)
                run_logged(["apt-get", "install", "-y", "-q", *BROWSER_PACKAGES], self.log)
            except SetupError as problem:
                print(problem, file=sys.stderr)
            path = self._found_browser()
        if not path:
            print("\n== installing Playwright's Chromium", flush=True)
            try:
                run_logged([self.python, "-m", "playwright", "install", "chromium"], self.log)
            except SetupError as problem:
                print(problem, file=sys.stderr)
            path = self._found_browser()
        if path:
            print(f"\nbrowser: {path}", flush=True)
            os.environ["WORKBENCH_CHROMIUM"] = path
        else:
            self.skip("tests marked `browser`: no Chromium here and none could be installed")

    def python_checks(self) -> None:
        """Style, format and types."""
        self.step("ruff check", [self.python, "-m", "ruff", "check", "."])
        self.step("ruff format", [self.python, "-m", "ruff", "format", "--check", "."])
        self.step("mypy", [self.python, "-m", "mypy"])

    def pytest(self, arguments: list[str]) -> None:
        """Run every Python test; its closing line is the last word when all else passed."""
        for what in self.skipped:
            print(f"!! NOT RUN HERE: {what}", flush=True)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        print("\n== pytest", flush=True)
        command = [self.python, "-m", "pytest", "-n", "2", "--dist", "loadgroup", *arguments]
        if subprocess.run(command, cwd=str(ROOT), check=False).returncode:
            self.failed.append("pytest")


def main() -> int:
    """Command line entry point; returns the exit status."""
    log = setup_log()
    if log.exists():
        log.unlink()
    try:
        python = make_environment(test=True, log=log)
    except SetupError as problem:
        print(problem, file=sys.stderr)
        return 1
    checks = Checks(python, log)
    checks.browser()
    checks.node()
    checks.python_checks()
    checks.pytest(sys.argv[1:])
    if checks.failed:
        print(f"\nFAILED: {', '.join(checks.failed)}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
