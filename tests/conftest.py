"""Shared fixtures: quiet threads, no network, fixed seeds, real material where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

# Before any test module imports a library that reads these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

import random
import sys

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - third-party code still reads the legacy state
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return ROOT


def _real_folder() -> Path | None:
    named = os.environ.get("WORKBENCH_REAL")
    candidates = [Path(named)] if named else [ROOT.parent / "shared" / "real"]
    return next((folder for folder in candidates if folder.is_dir()), None)


@pytest.fixture(scope="session")
def real() -> Path:
    """A folder of real models and texts beside the checkout, or a skip.

    Looked for in the environment variable WORKBENCH_REAL, then in ``../shared/real``.
    """
    folder = _real_folder()
    if folder is None:
        pytest.skip("no folder of real material (set WORKBENCH_REAL to one with stories260K/)")
    return folder


@pytest.fixture(scope="session")
def stories260k(real: Path) -> Path:
    """The pretrained 260 thousand parameter Llama-type model in Hugging Face layout."""
    folder = real / "stories260K"
    if not (folder / "config.json").is_file():
        pytest.skip(f"no stories260K in {real}")
    return folder


@pytest.fixture(scope="session")
def tiny_stories(real: Path) -> list[str]:
    """One thousand short stories of the kind stories260K was trained on."""
    import json

    path = real / "tinystories_1000.json"
    if not path.is_file():
        pytest.skip(f"no tinystories_1000.json in {real}")
    return json.loads(path.read_text(encoding="utf-8"))
