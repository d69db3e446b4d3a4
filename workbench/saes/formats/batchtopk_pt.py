"""Checkpoints of the BatchTopK code base: a ``.pt`` file with ``state_dict`` and ``cfg``.

Keys of ``cfg``: ``sae_type`` (vanilla, topk, batchtopk, jumprelu), ``act_size``, ``dict_size``,
``top_k``, ``input_unit_norm``, ``model_name``, ``hook_point`` or ``layer`` and ``site``. Beside
them may stand ``threshold`` (found in training) and ``act_mean`` (subtracted before encoding, added
after decoding). The encoder bias takes part in vanilla and jumprelu dictionaries only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import SaeError, unknown
from workbench.saes.checks import load_torch_file
from workbench.saes.config import parse_config
from workbench.saes.formats.names import hook_from_path
from workbench.saes.source import SaeSource, build_sae

__all__ = ["describe", "is_file"]

_TYPES = ("vanilla", "topk", "batchtopk", "jumprelu")


def is_file(path: Path) -> bool:
    """Whether a checkpoint is in this layout; damaged files are left to `describe`."""
    try:
        data = load_torch_file(path, shapes=True)
    except SaeError:
        return False
    return isinstance(data.get("state_dict"), Mapping) and isinstance(data.get("cfg"), Mapping)


def describe(path: Path) -> SaeSource:
    """Describe a checkpoint.

    Raises
    ------
    SaeError
        If the file is damaged, would need unpickling, or lacks what inference needs.
    """
    where = str(path)
    settings, tensors = _convert(load_torch_file(path, shapes=True), where)
    config = parse_config(
        {
            "dtype": "float32",
            "d_in": tensors["W_enc"].shape[0],
            "d_sae": tensors["W_enc"].shape[1],
            **settings,
        },
        where,
    )

    def read(device: str, dtype: torch.dtype) -> Any:
        fresh = _convert(load_torch_file(path, device), where)[1]
        return build_sae(config, fresh, device, dtype, where)

    return SaeSource(
        identifier=where,
        layout="BatchTopK checkpoint",
        config=config,
        read=read,
        content=lambda: path,
        folder=path.parent,
        short_id=path.stem,
    )


def _convert(data: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    state, cfg = data.get("state_dict"), data.get("cfg")
    if not isinstance(state, Mapping) or not isinstance(cfg, Mapping):
        raise SaeError(f"{where}: expected 'state_dict' and 'cfg', got {sorted(map(str, data))}")
    kind = str(cfg.get("sae_type", "batchtopk" if _has_threshold(data, state) else "topk"))
    if kind not in _TYPES:
        raise SaeError(f"{where}: {unknown('sae_type', kind, _TYPES)}")
    tensors: dict[str, Tensor] = {}
    for name, ndim in (("W_enc", 2), ("W_dec", 2), ("b_dec", 1)):
        value = state.get(name)
        if not isinstance(value, Tensor) or value.ndim != ndim:
            raise SaeError(f"{where}: tensor {name!r} with {ndim} axes is missing")
        tensors[name] = value
    width = tensors["W_enc"].shape[1]
    bias = state.get("b_enc")
    if kind in ("vanilla", "jumprelu") and isinstance(bias, Tensor):
        tensors["b_enc"] = bias
    else:
        tensors["b_enc"] = tensors["W_enc"].new_zeros(width)
    settings: dict[str, Any] = {
        "architecture": {"vanilla": "standard", "topk": "topk"}.get(kind, "jumprelu"),
        "normalize_activations": "layer_norm" if cfg.get("input_unit_norm") else "none",
        "metadata": {
            "sae_lens_version": "6.0.0",
            "model_name": cfg.get("model_name"),
            "hook_name": _hook(cfg),
            "dataset_path": cfg.get("dataset_path"),
        },
    }
    if kind == "topk":
        settings["k"] = cfg.get("top_k")
    if settings["architecture"] == "jumprelu":
        tensors["threshold"] = _threshold(data, state, kind, width, where)
    mean = data.get("act_mean")
    if mean is not None:
        if not isinstance(mean, Tensor) or mean.shape != tensors["b_dec"].shape:
            raise SaeError(f"{where}: act_mean does not have the shape of b_dec")
        if settings["normalize_activations"] != "none":
            raise SaeError(
                f"{where}: act_mean together with input_unit_norm; which is applied first is not "
                "recorded in the file"
            )
        # x − mean − b_dec before encoding and + b_dec + mean after decoding is one shifted bias.
        tensors["b_dec"] = tensors["b_dec"] + mean
    return settings, tensors


def _has_threshold(data: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    return data.get("threshold") is not None or "threshold" in state


def _threshold(
    data: Mapping[str, Any], state: Mapping[str, Any], kind: str, width: int, where: str
) -> Tensor:
    value = data.get("threshold", state.get("threshold"))
    if value is None and kind == "jumprelu":
        logarithm = state.get("jumprelu.log_threshold", state.get("log_threshold"))
        value = logarithm.exp() if isinstance(logarithm, Tensor) else None
    if value is None:
        raise SaeError(
            f"{where}: a {kind} dictionary needs a threshold for inference (its top-k runs over a "
            "training batch, so activations would depend on the batch), but the file has none"
        )
    threshold = torch.as_tensor(value, dtype=torch.float32).flatten()
    if len(threshold) not in (1, width):
        raise SaeError(f"{where}: threshold has {len(threshold)} entries, expected 1 or {width}")
    return threshold.expand(width).clone()


def _hook(cfg: Mapping[str, Any]) -> str | None:
    named = cfg.get("hook_point") or cfg.get("hook_name")
    if isinstance(named, str):
        return named
    layer, site = cfg.get("layer"), cfg.get("site")
    if isinstance(layer, int) and isinstance(site, str):
        return hook_from_path(Path(f"{site}_layer{layer}"), depth=0)
    return None
