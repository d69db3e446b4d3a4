"""A tiny session in a notebook's kernel: written checkpoints, opened through the real loading."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import checkpoints
import sae_fixtures
import torch

import workbench as wb

TEXT = "the old cat sat on the mat."


def session() -> wb.Session:
    """A Llama of three layers with two SAEs; its files go when the kernel ends."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = checkpoints.write("llama", folder / "tiny")
    saes = folder / "saes"
    sae_fixtures.save_sae(
        saes / "resid_post.1",
        sae_fixtures.make_module("topk", d_in=32, d_sae=48),
        log_sparsity=torch.linspace(-4, -0.5, 48),
        labels={3: "<b>cats</b>", 7: "mats"},
    )
    sae_fixtures.write_sae(
        saes / "mlp_out.2", "jumprelu", d_in=32, d_sae=40, hook="blocks.2.hook_mlp_out", seed=1
    )
    return wb.open(model, saes=saes, device="cpu")
