"""Checkpoints of the dictionary_learning library: ``ae.pt``, usually with ``config.json``.

The class is told from the names in the state dict where they differ and from ``config.json`` where
they do not. Encoders are stored as linear layers [d_sae, d_in] and decoders [d_in, d_sae].

=====================  =====================================================  =====================
class                  tensors                                                becomes
=====================  =====================================================  =====================
AutoEncoder            bias, encoder.weight/bias, decoder.weight              standard
AutoEncoderNew         encoder.weight/bias, decoder.weight/bias               standard
GatedAutoEncoder       decoder_bias, encoder.weight, r_mag, gate_bias,        gated
                       mag_bias, decoder.weight
JumpReluAutoEncoder    W_enc, b_enc, W_dec, b_dec, threshold [d_sae]          jumprelu
AutoEncoderTopK        b_dec, encoder.weight/bias, decoder.weight, k          topk
BatchTopKSAE,          the same, or W_enc, W_dec, with a scalar threshold     jumprelu
MatryoshkaBatchTopK
=====================  =====================================================  =====================
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import SaeError, unknown
from workbench.saes.checks import load_torch_file, read_json_object
from workbench.saes.config import parse_config
from workbench.saes.formats.names import hook_from_path, model_from_path
from workbench.saes.source import SaeSource, build_sae

__all__ = ["CHECKPOINT_FILE", "describe", "is_directory"]

CHECKPOINT_FILE = "ae.pt"
_CONFIG_FILE = "config.json"
_BATCH_TOPK = ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")
_CLASSES = (
    *("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder"),
    *("AutoEncoderTopK", *_BATCH_TOPK),
)


def is_directory(path: Path) -> bool:
    """Whether a directory is in this layout."""
    return (path / CHECKPOINT_FILE).is_file()


def describe(path: Path) -> SaeSource:
    """Describe a checkpoint, or the one in a directory.

    Raises
    ------
    SaeError
        If the file is damaged or would need unpickling, or its class cannot be told.
    """
    file = path / CHECKPOINT_FILE if path.is_dir() else path
    where = str(path)
    trainer = _trainer(file.parent / _CONFIG_FILE)
    settings, tensors = _convert(load_torch_file(file, shapes=True), trainer, where)
    hook = _hook(trainer, file)
    config = parse_config(
        {
            "dtype": "float32",
            "d_in": tensors["W_enc"].shape[0],
            "d_sae": tensors["W_enc"].shape[1],
            **settings,
            "metadata": {
                "sae_lens_version": "6.0.0",
                "model_name": trainer.get("lm_name") or model_from_path(file.resolve()),
                "hook_name": hook,
            },
        },
        where,
    )

    def read(device: str, dtype: torch.dtype) -> Any:
        state = load_torch_file(file, device)
        fresh = _convert(state, trainer, where)[1]
        if "bias" in state:
            fresh = _unit_rows(fresh)
        return build_sae(config, fresh, device, dtype, where)

    return SaeSource(
        identifier=where,
        layout="dictionary_learning checkpoint",
        config=config,
        read=read,
        content=lambda: file,
        folder=file.parent,
        short_id=file.parent.name,
    )


def _trainer(path: Path) -> dict[str, Any]:
    """Read the trainer's settings in ``config.json``, empty where there is none."""
    if not path.is_file():
        return {}
    trainer = read_json_object(path).get("trainer", {})
    if not isinstance(trainer, dict):
        raise SaeError(f"{path}: expected an object under 'trainer', got {type(trainer).__name__}")
    return trainer


def _hook(trainer: Mapping[str, Any], file: Path) -> str | None:
    named = trainer.get("submodule_name")
    if isinstance(named, str) and (hook := hook_from_path(Path(named), depth=0)):
        return hook
    if hook := hook_from_path(file.resolve()):
        return hook
    layer = trainer.get("layer")
    return f"blocks.{layer}.hook_resid_post" if isinstance(layer, int) else None


def _class_name(state: Mapping[str, Any], trainer: Mapping[str, Any], where: str) -> str:
    if "bias" in state:
        return "AutoEncoder"
    if "gate_bias" in state:
        return "GatedAutoEncoder"
    if "decoder.bias" in state:
        return "AutoEncoderNew"
    threshold = state.get("threshold")
    if isinstance(threshold, Tensor) and threshold.ndim == 1:
        return "JumpReluAutoEncoder"
    if "W_enc" in state and threshold is not None:
        return "MatryoshkaBatchTopKSAE"
    named = trainer.get("dict_class")
    if named is None:
        raise SaeError(
            f"{where}: tensors {sorted(state)} may be a top-k or a batch-top-k dictionary; "
            f"{_CONFIG_FILE} with trainer.dict_class and trainer.k has to lie beside it"
        )
    if named not in _CLASSES:
        raise SaeError(f"{where}: {unknown('dictionary class', str(named), _CLASSES)}")
    return str(named)


def _convert(
    state: Mapping[str, Any], trainer: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Bring a state dict into SAELens's names, with the settings that give the same function.

    Matrices may be meta tensors, so nothing here looks at their numbers.
    """
    name = _class_name(state, trainer, where)

    def take(key: str, ndim: int) -> Tensor:
        value = state.get(key)
        if not isinstance(value, Tensor) or value.ndim != ndim:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:40]
            raise SaeError(f"{where}: a {name} needs tensor {key!r} with {ndim} axes, got {got}")
        return value

    if "W_enc" in state:
        encoder, decoder = take("W_enc", 2), take("W_dec", 2)
    else:
        encoder, decoder = take("encoder.weight", 2).T, take("decoder.weight", 2).T
    tensors = {"W_enc": encoder.contiguous(), "W_dec": decoder.contiguous()}
    if name == "GatedAutoEncoder":
        tensors |= {"b_gate": take("gate_bias", 1), "b_mag": take("mag_bias", 1)}
        tensors |= {"r_mag": take("r_mag", 1), "b_dec": take("decoder_bias", 1)}
        return {"architecture": "gated"}, tensors
    tensors["b_enc"] = take("b_enc" if "b_enc" in state else "encoder.bias", 1)
    if name == "AutoEncoder":
        tensors["b_dec"] = take("bias", 1)
        return {"architecture": "standard"}, tensors
    if name == "AutoEncoderNew":
        tensors["b_dec"] = take("decoder.bias", 1)
        return {"architecture": "standard", "apply_b_dec_to_input": False}, tensors
    tensors["b_dec"] = take("b_dec", 1)
    if name == "AutoEncoderTopK":
        k = trainer.get("k", state.get("k"))
        return {"architecture": "topk", "k": int(k) if k is not None else None}, tensors
    if name == "JumpReluAutoEncoder":
        tensors["threshold"] = take("threshold", 1)
        return {"architecture": "jumprelu", "apply_b_dec_to_input": False}, tensors
    threshold = take("threshold", 0)
    if float(threshold) < 0:
        raise SaeError(
            f"{where}: a {name} needs the threshold found in training for inference, but the "
            f"stored one is {float(threshold):g} (never set)"
        )
    tensors["threshold"] = threshold.expand(encoder.shape[1]).clone()
    return {"architecture": "jumprelu"}, tensors


def _unit_rows(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give decoder rows unit norm without changing the function, as the library does on loading.

    The norm moves into the encoder, so activations are in units of the reconstruction.
    """
    norms = tensors["W_dec"].norm(dim=1)
    if torch.allclose(norms, torch.ones_like(norms), atol=1e-5) or bool((norms == 0).any()):
        return tensors
    return {
        **tensors,
        "W_dec": tensors["W_dec"] / norms[:, None],
        "W_enc": tensors["W_enc"] * norms,
        "b_enc": tensors["b_enc"] * norms,
    }
