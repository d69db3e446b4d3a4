"""Gemma Scope archives: ``params.npz`` with a JumpReLU SAE or transcoder.

Arrays ``W_enc`` [d_in, d_sae], ``W_dec`` [d_sae, d_out], ``b_enc``, ``b_dec``, ``threshold``
(Lieberum et al. 2024, "Gemma Scope"); later releases write them in lower case. The decoder bias is
not subtracted from the input.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import SaeError
from workbench.saes.checks import load_npz, npz_shapes
from workbench.saes.config import parse_config
from workbench.saes.formats.names import hook_from_path, layer_in
from workbench.saes.source import SaeSource, build_sae

__all__ = ["PARAMS_FILE", "describe", "is_directory"]

PARAMS_FILE = "params.npz"
_ARRAYS = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")


def is_directory(path: Path) -> bool:
    """Whether a directory is in this layout."""
    return (path / PARAMS_FILE).is_file()


def describe(path: Path) -> SaeSource:
    """Describe an archive, or the one in a directory, from its headers and its folders' names.

    Raises
    ------
    SaeError
        If the archive is damaged, holds pickled objects or lacks an array.
    """
    file = path / PARAMS_FILE if path.is_dir() else path
    where = str(path)
    shapes = {_name(key): shape for key, shape in npz_shapes(file).items()}
    missing = [name for name in _ARRAYS if name not in shapes]
    if missing or len(shapes.get("W_enc", ())) != 2 or len(shapes.get("W_dec", ())) != 2:
        raise SaeError(
            f"{where}: expected arrays {list(_ARRAYS)} with two-dimensional W_enc and W_dec, got "
            f"{shapes}"
        )
    d_in, d_sae = shapes["W_enc"]
    folders = "/".join(file.resolve().parts[-6:]).lower()
    metadata: dict[str, Any] = {"sae_lens_version": "6.0.0", "model_name": _model(folders)}
    settings: dict[str, Any] = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "dtype": "float32",
        "apply_b_dec_to_input": False,
        "metadata": metadata,
    }
    layer = layer_in(folders)
    is_embedding = "embedding" in folders
    if "transcoder" in folders:
        settings |= {"architecture": "jumprelu_transcoder", "d_out": shapes["W_dec"][1]}
        if layer is not None:
            metadata["hook_name"] = f"blocks.{layer}.ln2.hook_normalized"
            metadata["hook_name_out"] = f"blocks.{layer}.hook_mlp_out"
    elif is_embedding:
        metadata["hook_name"] = "hook_embed"
    elif re.search(r"-att(?![a-z])", folders) and layer is not None:
        # Gemma Scope's attention SAEs read the concatenated heads before the output projection.
        metadata["hook_name"] = f"blocks.{layer}.attn.hook_z"
        settings["reshape_activations"] = "hook_z"
    else:
        metadata["hook_name"] = hook_from_path(file.resolve(), depth=5)
    config = parse_config(settings, where)

    def read(device: str, dtype: torch.dtype) -> Any:
        tensors = {_name(key): value for key, value in load_npz(file, device, dtype).items()}
        if is_embedding:
            tensors = _scale_embedding(tensors, d_in)
        return build_sae(config, tensors, device, dtype, where)

    l0 = re.search(r"average_l0_(\d+)", folders)
    return SaeSource(
        identifier=where,
        layout="Gemma Scope archive",
        config=config,
        read=read,
        content=lambda: file,
        folder=file.parent,
        expected_l0=float(l0[1]) if l0 else None,
        short_id="/".join(file.parent.parts[-2:]),
    )


def _scale_embedding(tensors: dict[str, Tensor], d_in: int) -> dict[str, Tensor]:
    """Undo the √d scale of Gemma's embeddings: these SAEs were trained on the unscaled rows."""
    scale = math.sqrt(d_in)
    return {**tensors, "W_enc": tensors["W_enc"] / scale, "W_dec": tensors["W_dec"] * scale}


def _name(key: str) -> str:
    return "W_" + key[2:] if key.startswith("w_") else key


def _model(folders: str) -> str | None:
    match = re.search(r"gemma-scope-(\d+b)-(pt|it)", folders)
    if match is None:
        return None
    return f"gemma-2-{match[1]}" + ("-it" if match[2] == "it" else "")
