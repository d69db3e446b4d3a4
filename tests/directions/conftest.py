"""Sessions for the tests of directions: the demo, and the exact toy model."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def demo_session():
    """The demo model with its SAEs."""
    import workbench as wb

    with wb.open("demo", device="cpu") as session:
        yield session


@pytest.fixture(scope="session")
def toy_session(tmp_path_factory: pytest.TempPathFactory):
    """The toy model set by hand, with its dictionaries, loaded through the ordinary readers."""
    import workbench as wb
    from workbench.demo import toy

    saved = toy.build().save(Path(tmp_path_factory.mktemp("toy")))
    with wb.open(str(saved.model_dir), saes=dict(saved.sae_dirs), device="cpu") as session:
        yield session
