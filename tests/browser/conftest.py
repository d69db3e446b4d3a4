"""One Chromium per test module, and one JupyterLab per process where a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser, and tests of one server belong to one process."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


# Playwright keeps an event loop running in this thread while it is open; it is closed after each
# module, so that other tests of the process find the thread as they expect it.
@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A headless Chromium."""
    executable = chromium.require()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = chromium.launch(playwright, executable)
        yield running
        running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A JupyterLab server."""
    chromium.require()
    with lab.serving(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def picture(root: Path) -> object:
    """Take a picture for the documentation, only when WORKBENCH_PICTURES is set."""

    def take(target: object, name: str) -> None:
        if os.environ.get("WORKBENCH_PICTURES"):
            folder = root / "docs" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            target.screenshot(path=str(folder / name))

    return take
