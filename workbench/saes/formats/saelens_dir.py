"""SAELens directories: ``cfg.json`` and ``sae_weights.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import SaeError
from workbench.saes.checks import (
    check_shapes,
    load_safetensors,
    read_json_object,
    safetensors_shapes,
)
from workbench.saes.config import SaeConfig, expected_shapes, parse_config
from workbench.saes.source import SaeSource, build_sae

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "describe", "is_directory", "modern_config"]

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
_SCALING = "scaling_factor"


def is_directory(path: Path) -> bool:
    """Whether a directory is in this layout."""
    return (path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).exists()


def describe(path: Path) -> SaeSource:
    """Describe the SAE in a directory from its configuration and its weights' header.

    Raises
    ------
    SaeError
        If the configuration is unusable, the weights are truncated, or they do not fit.
    """
    where = str(path)
    raw = read_json_object(path / CONFIG_FILE)
    config = parse_config(modern_config(raw), where)
    weights = path / WEIGHTS_FILE
    _check_header(weights, config)

    def read(device: str, dtype: torch.dtype) -> Any:
        tensors = fold_scaling(load_safetensors(weights, device, dtype), raw, where)
        return build_sae(config, tensors, device, dtype, where)

    return SaeSource(
        identifier=where,
        layout="SAELens directory",
        config=config,
        read=read,
        content=lambda: weights,
        folder=path,
        expected_l0=_number(config.metadata.get("l0")),
        short_id=path.name,
    )


def modern_config(raw: dict[str, Any]) -> dict[str, Any]:
    """Bring a configuration of before SAELens 6 into the current form (SAELens's own rules)."""
    metadata = raw.get("metadata")
    version = raw.get("sae_lens_version")
    if not version and isinstance(metadata, Mapping):
        version = metadata.get("sae_lens_version")
    if isinstance(metadata, Mapping) and version and not _is_old(str(version)):
        return raw
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    try:
        modern: dict[str, Any] = handle_config_defaulting(dict(raw))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SaeError(
            f"cfg.json in a form of before SAELens 6 could not be read ({error!r}); "
            "expected architecture, d_in, d_sae, hook_name"
        ) from error
    return modern


def _is_old(version: str) -> bool:
    major = version.split(".", 1)[0]
    return major.isdecimal() and int(major) < 6


def _check_header(weights: Path, config: SaeConfig) -> None:
    shapes = safetensors_shapes(weights)
    shapes.pop(_SCALING, None)
    check_shapes(shapes, expected_shapes(config), str(weights))


def fold_scaling(
    tensors: dict[str, Tensor], raw: Mapping[str, Any], where: str
) -> dict[str, Tensor]:
    """Fold a fine-tuned per-feature scale of the reconstruction into the decoder.

    Older SAELens versions multiplied activations by ``scaling_factor`` before decoding; encoding
    was not affected. Current SAELens refuses such files, so the scale goes into the decoder rows.

    Raises
    ------
    SaeError
        If a scale is stored that the configuration does not announce.
    """
    scale = tensors.pop(_SCALING, None)
    if scale is None or bool((scale == 1).all()):
        return tensors
    if not raw.get("finetuning_scaling_factor"):
        raise SaeError(
            f"{where}: holds a scaling_factor that is not 1, but finetuning_scaling_factor is "
            "false; which of the two is meant cannot be known"
        )
    if scale.shape != tensors["W_dec"].shape[:1]:
        raise SaeError(
            f"{where}: scaling_factor has shape {tuple(scale.shape)}, expected one per feature "
            f"({tensors['W_dec'].shape[0]})"
        )
    tensors["W_dec"] = tensors["W_dec"] * scale[:, None]
    return tensors


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
