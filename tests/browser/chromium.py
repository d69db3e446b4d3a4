"""Finds a Chromium and starts it without a window."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

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
    named = os.environ.get("WORKBENCH_CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"WORKBENCH_CHROMIUM names {named!r}, which is not a file")
        return Path(named)
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found:
            return Path(found)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return own if own.is_file() else None


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
