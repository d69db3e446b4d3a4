"""Reconstructions of any code, with everything the architecture takes from its input.

SAELens's ``decode`` alone is not the reconstruction for every architecture: skip transcoders add
``W_skip x``, temporal SAEs add the codes predicted from context, and per-token normalisation is
undone with statistics that the last ``encode`` left on the module. Here the input is an argument,
so that a reconstruction never depends on which call came before.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.saes.acts import FeatureActs
from workbench.saes.config import SaeConfig
from workbench.saes.encode import BLOCK_BYTES

__all__ = [
    "decoder_rows",
    "forget_statistics",
    "needs_input",
    "output_scale",
    "reconstruct",
    "reconstruct_sparse",
    "renormalises",
]


def renormalises(config: SaeConfig) -> bool:
    """Whether each token's input is normalised and its reconstruction scaled back."""
    per_token = ("layer_norm", "constant_norm_rescale")
    return not config.is_transcoder and config.normalize_activations in per_token


def needs_input(config: SaeConfig) -> bool:
    """Whether a reconstruction needs the input beside the code."""
    return config.is_skip or config.architecture == "temporal" or renormalises(config)


def forget_statistics(module: Any) -> None:
    """Drop the normalisation statistics that encoding leaves on the module."""
    for name in ("ln_mu", "ln_std", "x_norm_coeff"):
        module.__dict__.pop(name, None)


def reconstruct(
    module: Any,
    config: SaeConfig,
    code: Float[Tensor, "*token d_sae"],
    inputs: Float[Tensor, "*token d_in"] | None,
) -> Float[Tensor, "*token d_out"]:
    """Decode as SAELens's ``forward`` does, for any code; `inputs` where `needs_input`."""
    if config.architecture == "temporal":
        predicted = module.encode_with_predictions(inputs)[1]
        out = (code + predicted) @ module.W_dec
        if not module.cfg.tied_weights or module.cfg.apply_b_dec_to_input:
            out = out + module.b_dec
        out = module.run_time_activation_norm_fn_out(out)
        forget_statistics(module)
        return out
    if renormalises(config):
        # Sets the statistics that the output normalisation reads and deletes.
        module.run_time_activation_norm_fn_in(inputs)
    out = module.decode(code)
    if config.is_skip and inputs is not None:
        out = out + inputs @ module.W_skip.T
    return out


def reconstruct_sparse(
    module: Any,
    config: SaeConfig,
    code: FeatureActs,
    inputs: Float[Tensor, "*token d_in"] | None,
) -> Float[Tensor, "*token d_out"]:
    """Decode block by block, so that only one block of the code is ever dense."""
    dtype = module.W_dec.dtype
    if config.architecture == "temporal":
        return reconstruct(module, config, code.to_dense().to(dtype), inputs)
    flat = None if inputs is None else inputs.reshape(-1, inputs.shape[-1])
    rows = max(BLOCK_BYTES // (code.d_sae * module.W_dec.element_size()), 64)
    parts = []
    for start in range(0, max(code.n_tokens, 1), rows):
        stop = min(start + rows, code.n_tokens)
        block = code.select(torch.arange(start, stop, device=code.device)).to_dense().to(dtype)
        given = None if flat is None else flat[start:stop]
        parts.append(reconstruct(module, config, block, given))
    return torch.cat(parts).reshape(*code.lead, config.d_out)


def decoder_rows(
    module: Any, index: Int[Tensor, " chosen"] | None
) -> Float[Tensor, "chosen d_out"]:
    """Change of the reconstruction per unit of activation, before per-token scales."""
    rows: Tensor = module.W_dec if index is None else module.W_dec[index]
    if getattr(module.cfg, "rescale_acts_by_decoder_norm", False):
        rows = rows * (1 / rows.norm(dim=-1, keepdim=True))
    if module.cfg.normalize_activations == "constant_scalar_rescale":
        rows = rows / module.cfg.activation_normalization_factor
    return rows


def output_scale(module: Any, inputs: Float[Tensor, "*token d_in"]) -> Float[Tensor, "*token 1"]:
    """Per-token factor that undoes the input normalisation of a `renormalises` SAE."""
    module.run_time_activation_norm_fn_in(inputs)
    statistics = module.__dict__
    scale: Tensor = (
        statistics["ln_std"] if "ln_std" in statistics else 1 / statistics["x_norm_coeff"]
    )
    forget_statistics(module)
    return scale
