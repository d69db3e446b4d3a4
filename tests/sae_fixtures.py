"""Random SAEs of every architecture, in memory and on disk, for the tests of several rooms."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

ARCHITECTURES = (
    "standard",
    "gated",
    "topk",
    "abstopk",
    "jumprelu",
    "matching_pursuit",
    "temporal",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)
TRANSCODERS = tuple(name for name in ARCHITECTURES if name.endswith("transcoder"))
D_MODEL = 32
"""Width of the tiny models the SAEs on disk are made for."""

AUTOENCODERS = tuple(name for name in ARCHITECTURES if name not in TRANSCODERS)


def temporal_settings(architecture: str) -> dict[str, int]:
    """Attention sizes that divide 96 features, for temporal SAEs; nothing for others."""
    return {"n_heads": 2, "bottleneck_factor": 8} if architecture == "temporal" else {}


def make_module(
    architecture: str,
    *,
    d_in: int = 16,
    d_sae: int = 64,
    d_out: int | None = None,
    seed: int = 0,
    hook: str = "blocks.1.hook_resid_post",
    hook_out: str = "blocks.1.hook_mlp_out",
    model_name: str = "tiny",
    dtype: str = "float32",
    **settings: Any,
) -> Any:
    """A SAELens SAE whose every parameter, biases and thresholds included, is random."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    sae_class, config_class = get_sae_class(architecture)
    metadata = settings.pop("metadata", {})
    options: dict[str, Any] = {"d_in": d_in, "d_sae": d_sae, "dtype": dtype}
    if architecture in ("topk", "abstopk"):
        options["k"] = 5
    if architecture == "temporal":
        options |= {"n_heads": 2, "bottleneck_factor": 4, "kval_topk": 5}
    if architecture in TRANSCODERS:
        options |= {"d_out": d_out or d_in, "apply_b_dec_to_input": False}
        metadata = {"hook_name_out": hook_out, **metadata}
    if architecture == "matching_pursuit":
        options["max_iterations"] = 6
    options |= settings
    options["metadata"] = SAEMetadata(
        **{"model_name": model_name, "hook_name": hook, "context_size": 32, **metadata}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = sae_class(config_class(**options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if name == "threshold":
                parameter.copy_(0.5 * noise.abs() + 0.1)
            elif parameter.ndim == 1:
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
    module.eval()
    return module


def save_sae(
    folder: Path,
    module: Any,
    *,
    log_sparsity: torch.Tensor | None = None,
    labels: dict[int, str] | None = None,
) -> Path:
    """Write a module in SAELens layout, with its optional companions."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    module.save_model(folder)
    if log_sparsity is not None:
        save_file({"sparsity": log_sparsity}, folder / "sparsity.safetensors")
    if labels is not None:
        entries = {str(index): {"label": text} for index, text in labels.items()}
        (folder / "labels.json").write_text(json.dumps({"features": entries}))
    return folder


def write_sae(folder: Path, architecture: str = "topk", **options: Any) -> Path:
    """Make and write a random SAE."""
    return save_sae(folder, make_module(architecture, **options))


def activations(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random activations of a given shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
