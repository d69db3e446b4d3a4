"""One tiny model per architecture, loaded once through the real path."""

from __future__ import annotations

import checkpoints
import pytest

from workbench.model import Model, load


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> dict[str, Model]:
    """Every tested architecture, opened from a directory."""
    root = tmp_path_factory.mktemp("models")
    return {
        name: load(checkpoints.write(name, root / name), device="cpu")
        for name in checkpoints.ARCHITECTURES
    }


@pytest.fixture(params=checkpoints.ARCHITECTURES)
def model(request, tiny_models) -> Model:
    """One architecture after another."""
    return tiny_models[request.param]
