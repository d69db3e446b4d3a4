"""SAELens modules that exist already, made or trained in this process."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.errors import SaeError
from workbench.saes.checks import check_shapes
from workbench.saes.config import expected_shapes, parse_config
from workbench.saes.source import SaeSource, build_sae

__all__ = ["describe", "is_module"]


def is_module(value: Any) -> bool:
    """Whether a value is a ``sae_lens.SAE`` (known without importing SAELens)."""
    package = sys.modules.get("sae_lens")
    return package is not None and isinstance(value, package.SAE)


def describe(module: Any) -> SaeSource:
    """Describe a module; tensors are shared where device and dtype agree, nothing is changed.

    Raises
    ------
    SaeError
        If it is a training SAE: those are saved in their inference form first.
    """
    from sae_lens import TrainingSAE

    where = f"{type(module).__name__} in memory"
    if isinstance(module, TrainingSAE):
        raise SaeError(
            f"{where}: got an SAE in its training form, expected an inference SAE; save it with "
            "save_inference_model(path) and attach the path"
        )
    config = parse_config(module.cfg.to_dict(), where)
    tensors = dict(module.state_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_shapes(shapes, expected_shapes(config), where)

    def read(device: str, dtype: torch.dtype) -> Any:
        return build_sae(config, tensors, device, dtype, where)

    return SaeSource(
        identifier=where,
        layout="SAELens module",
        config=config,
        read=read,
        content=lambda: _hash(tensors),
    )


def _hash(tensors: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.digest()
