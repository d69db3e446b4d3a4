"""A tiny model with two SAEs and a corpus, and an index's bytes, for the tests of the index."""

from __future__ import annotations

import hashlib
from pathlib import Path

import checkpoints
import numpy as np
import sae_fixtures

import workbench as wb
from workbench.features.index import IndexSettings

SETTINGS = IndexSettings(
    contexts=4,
    samples_per_bin=2,
    window=3,
    top_window=5,
    cofiring_tokens=16,
    neighbours=5,
    silent_blocks=12,
    silent_width=8,
)
OPTIONS = {
    "settings": SETTINGS,
    "part_tokens": 400,
    "batch_tokens": 256,
    "context": 24,
    "progress": False,
}


def texts(n: int = 120, seed: int = 0) -> list[str]:
    """Random word salad, documents of very different lengths."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(checkpoints.WORDS, size=rng.integers(1, 50))) for _ in range(n)]


def write(folder: Path) -> Path:
    """Write the model and its SAEs."""
    checkpoints.write("gpt2", folder / "tiny")
    for layer, architecture in ((0, "topk"), (1, "jumprelu")):
        sae_fixtures.write_sae(
            folder / "saes" / f"resid_post.{layer}",
            architecture,
            d_in=32,
            d_sae=80,
            hook=f"blocks.{layer}.hook_resid_post",
            seed=layer,
        )
    return folder


def session(folder: Path) -> wb.Session:
    """Open them."""
    return wb.open(folder / "tiny", saes=folder / "saes", device="cpu")


def content(folder: Path) -> dict[str, str]:
    """Hash every file of an index but the log, which holds times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.json"
    }
