"""SAEs of every architecture on disk, and a tiny model they fit."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import pytest
import sae_fixtures
from hypothesis import settings

from workbench.model import Model, load
from workbench.saes import Sae, SaeStore, load_sae

# A first example may wait for an import; how long one takes says nothing here.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def sae_folders(tmp_path_factory) -> dict[str, Path]:
    """One SAE per architecture at block 1 of a model of width 32."""
    root = tmp_path_factory.mktemp("saes")
    folders = {}
    for name in sae_fixtures.ARCHITECTURES:
        hook = "blocks.1.mlp.hook_in" if name in sae_fixtures.TRANSCODERS else None
        options = {"hook": hook} if hook else {}
        folders[name] = sae_fixtures.write_sae(
            root / name,
            name,
            d_in=sae_fixtures.D_MODEL,
            d_sae=96,
            **options,
            **sae_fixtures.temporal_settings(name),
        )
    return folders


@pytest.fixture(params=sae_fixtures.ARCHITECTURES)
def architecture(request) -> str:
    return request.param


@pytest.fixture
def loose(sae_folders, architecture) -> Sae:
    """An SAE that is not attached to a model."""
    return load_sae(sae_folders[architecture])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Model:
    """A GPT-2 of three blocks and width 32."""
    return load(checkpoints.write("gpt2", tmp_path_factory.mktemp("gpt2")), device="cpu")


@pytest.fixture
def attached(tiny_model, sae_folders, architecture) -> Sae:
    """The same SAE on the tiny model."""
    return SaeStore(tiny_model).attach(sae_folders[architecture])[0]
