"""Encoding tokens to sparse codes without ever holding tokens × features.

The mathematics is SAELens's: pre-activations are formed by the module's own input processing and
weights, and every architecture without a direct sparse route goes through ``module.encode``. Tokens
are taken in blocks whose dense width stays within a byte budget.

Exactness. Within one block the activations have the same bits as ``module.encode`` of that block.
Matrix products of different row counts may differ in the last bit (the library under torch chooses
its kernel by size), so a call that needs several blocks equals one dense call to that bit; with the
default budget, a call of up to 256 MiB of pre-activations is one block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.acts import FeatureActs

__all__ = ["BLOCK_BYTES", "encode_chosen", "encode_sparse"]

BLOCK_BYTES = 256 << 20
# Blocks of fewer rows go through other matrix kernels on some machines.
_FEWEST_ROWS = 64

_THRESHOLDED = ("JumpReLUSAE", "JumpReLUTranscoder", "JumpReLUSkipTranscoder")
_RECTIFIED = ("StandardSAE", "Transcoder", "SkipTranscoder")
_TOP = ("TopKSAE", "AbsTopKSAE")


def encode_sparse(
    module: Any, x: Float[Tensor, "*token d_in"], *, block_bytes: int = BLOCK_BYTES
) -> FeatureActs:
    """Encode activations block by block.

    Parameters
    ----------
    module
        A ``sae_lens.SAE`` in evaluation mode.
    x
        Activations, one per token; temporal SAEs read sequences ``[batch, pos, d_in]``.
    block_bytes
        Upper bound on the dense pre-activations of one block.

    Returns
    -------
    FeatureActs
        On the module's device, in its dtype.

    Raises
    ------
    InputError
        If an activation is NaN or infinite, which a sparse code could not show.
    """
    if not bool(x.isfinite().all()):
        raise InputError(
            f"{int((~x.isfinite()).sum()):,} of {x.numel():,} activations are NaN or infinite "
            f"({x.dtype}); expected finite numbers"
        )
    lead, route = tuple(x.shape[:-1]), _route(module)
    if module.cfg.architecture() == "temporal":
        items, rows_per_item = x, math.prod(lead[1:])
    else:
        items, rows_per_item = x.reshape(-1, x.shape[-1]), 1
    row_bytes = module.cfg.d_sae * module.W_dec.element_size() * max(rows_per_item, 1)
    fewest = _FEWEST_ROWS if rows_per_item == 1 else 1
    n_blocks = math.ceil(len(items) / max(block_bytes // row_bytes, fewest))
    with torch.no_grad():
        parts = [route(module, block) for block in items.tensor_split(max(n_blocks, 1))]
    return FeatureActs.concatenate(parts).reshape(*lead)


def encode_chosen(
    module: Any, x: Float[Tensor, "*token d_in"], features: Int[Tensor, " chosen"]
) -> Float[Tensor, "*token chosen"]:
    """Activations of chosen features only, with gradients where the input has them.

    Architectures whose features do not compete read only the chosen encoder columns (equal to the
    full encoding up to rounding of the shorter product); the others encode in full.
    """
    name = type(module).__name__
    if _hooked(module) or name not in (*_THRESHOLDED, *_RECTIFIED, "GatedSAE"):
        return module.encode(x)[..., features]
    inputs = module.process_sae_in(x)
    columns = module.W_enc[:, features]
    if name == "GatedSAE":
        open_gates = inputs @ columns + module.b_gate[features] > 0
        scaled = columns * module.r_mag[features].exp()
        return torch.relu(inputs @ scaled + module.b_mag[features]) * open_gates
    pre = inputs @ columns + module.b_enc[features]
    if name in _THRESHOLDED:
        return torch.relu(pre) * (pre > module.threshold[features])
    return torch.relu(pre)


def _route(module: Any) -> Callable[[Any, Tensor], FeatureActs]:
    name = type(module).__name__
    if _hooked(module):
        return _through_dense
    if name in _TOP:
        return _top_k
    if name in (*_THRESHOLDED, *_RECTIFIED):
        return _above_floor
    return _through_dense


def _hooked(module: Any) -> bool:
    """Whether someone put hooks on the module, which only its own encode would run."""
    return any(point.has_hooks() for point in module.hook_dict.values())


def _pre_activations(module: Any, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_sae"]:
    pre: Tensor = module.process_sae_in(x) @ module.W_enc
    # In place: the same sums as out of place, without a second array of this size.
    return pre.add_(module.b_enc)


def _top_k(module: Any, x: Float[Tensor, "tokens d_in"]) -> FeatureActs:
    pre = _pre_activations(module, x)
    if module.cfg.rescale_acts_by_decoder_norm:
        pre = pre * module.W_dec.norm(dim=-1)
    if type(module).__name__ == "AbsTopKSAE":
        indices = torch.topk(pre.abs(), k=module.cfg.k, dim=-1, sorted=False).indices
        values = pre.gather(-1, indices)
    else:
        values, indices = torch.topk(pre, k=module.cfg.k, dim=-1, sorted=False)
        values = values.relu()
    return FeatureActs.from_rows(indices, values, module.cfg.d_sae)


def _above_floor(module: Any, x: Float[Tensor, "tokens d_in"]) -> FeatureActs:
    pre = _pre_activations(module, x)
    threshold = getattr(module, "threshold", None)
    # relu(pre) · (pre > threshold) is nonzero exactly where pre exceeds both.
    floor = 0.0 if threshold is None else threshold.clamp(min=0)
    return FeatureActs.from_mask(pre, pre > floor)


def _through_dense(module: Any, x: Float[Tensor, "*token d_in"]) -> FeatureActs:
    return FeatureActs.from_dense(module.encode(x))
