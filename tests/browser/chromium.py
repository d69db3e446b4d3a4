"""Finds a Chromium and starts it without a window."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.doctor import find_browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def find() -> Path | None:
    """The browser to drive: WORKBENCH_CHROMIUM, a system Chromium, or Playwright's own download."""
    found = find_browser()
    named = os.environ.get("WORKBENCH_CHROMIUM")
    if named and not found:
        raise FileNotFoundError(f"WORKBENCH_CHROMIUM names {named!r}, which does not start")
    return Path(found) if found else None


def launch(playwright, executable: Path):
    """Start the browser for one test session."""
    return playwright.chromium.launch(executable_path=str(executable), headless=True, args=FLAGS)


def require() -> Path:
    """The browser, or a skip that says what is missing."""
    found = find()
    if found is None:
        pytest.skip(
            "NO CHROMIUM: the views are not tested in a browser. Install one "
            "(apt-get install chromium, or python -m playwright install chromium) "
            "or set WORKBENCH_CHROMIUM."
        )
    return found
