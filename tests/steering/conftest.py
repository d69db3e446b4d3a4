"""A tiny model with SAEs at several sites, opened through the real path."""

from __future__ import annotations

import checkpoints
import pytest
import sae_fixtures

import workbench as wb

SAES = {
    "resid_post.0": ("jumprelu", "blocks.0.hook_resid_post"),
    "resid_post.1": ("standard", "blocks.1.hook_resid_post"),
    "mlp_out.1": ("topk", "blocks.1.hook_mlp_out"),
}


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    """Llama-type tiny model with a jumprelu, a standard and a topk SAE and a transcoder."""
    root = tmp_path_factory.mktemp("steering")
    opened = wb.open(checkpoints.write("llama", root / "model"), device="cpu")
    for name, (architecture, hook) in SAES.items():
        opened.attach(
            sae_fixtures.write_sae(
                root / name, architecture, d_in=sae_fixtures.D_MODEL, d_sae=96, hook=hook
            )
        )
    folder = sae_fixtures.write_sae(
        root / "transcoder",
        "transcoder",
        d_in=sae_fixtures.D_MODEL,
        d_sae=96,
        hook="blocks.1.mlp.hook_in",
    )
    return opened.attach(folder)
