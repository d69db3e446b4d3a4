"""Reading sites and models out of folder names, for layouts whose files do not say."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["hook_from_path", "layer_in", "model_from_path"]

_KINDS = (
    (r"resid_pre|res_pre", "blocks.{layer}.hook_resid_pre"),
    (r"resid_mid", "blocks.{layer}.hook_resid_mid"),
    (
        r"resid_out|resid_post|residual|resid|(?<![a-z])res(?![a-z])",
        "blocks.{layer}.hook_resid_post",
    ),
    (r"attn_out|attention_out|(?<![a-z])att(?:n)?(?![a-z])", "blocks.{layer}.hook_attn_out"),
    (r"mlp_out|(?<![a-z])mlp(?![a-z])", "blocks.{layer}.hook_mlp_out"),
)
_MODELS = (
    r"pythia-[\d.]+[mb](?:-deduped)?",
    r"gemma-\d(?:\.\d)?-\d+[mb](?:-it|-pt)?",
    r"gpt2(?:-small|-medium|-large|-xl)?",
    r"qwen[\d.]+-[\d.]+b(?:-instruct|-base)?",
    r"llama-[\d.]+-\d+b(?:-instruct)?",
)


def layer_in(text: str) -> int | None:
    """Return the layer number a name speaks of (``layer_12``, ``attn_out_layer0``), else None."""
    match = re.search(r"layers?[._-]?(\d+)|blocks\.(\d+)", text)
    return int(match[1] or match[2]) if match else None


def hook_from_path(path: Path, *, depth: int = 4) -> str | None:
    """Guess the site from the folders a file lies in; the nearest folder that says one wins.

    Layer and kind may stand in different folders (``gemma-scope-2b-pt-res/layer_12/...``).
    """
    parts = [part.lower() for part in reversed(path.parts[-depth - 1 :])]
    for part in parts:
        if re.fullmatch(r"embed(ding)?(_?tokens)?", part):
            return "hook_embed"
    layer = next((found for part in parts if (found := layer_in(part)) is not None), None)
    if layer is None:
        return None
    for part in parts:
        for pattern, hook in _KINDS:
            if re.search(pattern, part):
                return hook.format(layer=layer)
    return None


def model_from_path(path: Path, *, depth: int = 6) -> str | None:
    """Guess the model from the folders a file lies in, else None."""
    for part in reversed(path.parts[-depth - 1 :]):
        for pattern in _MODELS:
            if match := re.search(pattern, part.lower()):
                return match[0]
    return None
