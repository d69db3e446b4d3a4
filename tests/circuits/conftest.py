"""The toy model as a session: a transformer whose circuits are known exactly."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench.demo import toy
from workbench.session import Session


@pytest.fixture(scope="session")
def toy_model() -> toy.ToyModel:
    return toy.build()


@pytest.fixture(scope="session")
def toy_saved(toy_model: toy.ToyModel, tmp_path_factory: pytest.TempPathFactory) -> toy.SavedToy:
    return toy_model.save(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_session(toy_saved: toy.SavedToy) -> Session:
    """The toy model with every dictionary attached, the transcoder among them."""
    saes = {name: str(folder) for name, folder in toy_saved.sae_dirs.items()}
    return wb.open(str(toy_saved.model_dir), saes=saes)
