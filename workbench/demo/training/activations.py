"""Shuffled activations of the trained demo model, one batch for many sites at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.demo.training.language_model import document_mask
from workbench.demo.training.sites import read_sites

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = ["activation_batches", "packed_activations"]


def packed_activations(
    model: LlamaForCausalLM, rows: np.ndarray, sites: Sequence[str], *, batch_rows: int = 256
) -> dict[str, Float[Tensor, "tokens d_model"]]:
    """Return the activations of packed rows, padding left out.

    Parameters
    ----------
    model
        The demo model.
    rows
        Token ids, shape (rows, context).
    sites
        Site names.
    batch_rows
        Rows per forward pass.

    Returns
    -------
    dict
        Site to float32 activations, shape (tokens, d_model), on the model's device; row order.
    """
    bos, pad = model.config.bos_token_id, model.config.pad_token_id
    parts: dict[str, list[Tensor]] = {site: [] for site in sites}
    for start in range(0, len(rows), batch_rows):
        piece = rows[start : start + batch_rows].astype(np.int64)
        ids = torch.from_numpy(piece).to(model.device)
        values = read_sites(model, ids, document_mask(ids, bos), sites)
        real = ids != pad
        for site in sites:
            parts[site].append(values[site][real].float())
    return {site: torch.cat(part) for site, part in parts.items()}


def activation_batches(
    model: LlamaForCausalLM,
    rows: np.ndarray,
    sites: Sequence[str],
    *,
    batch_tokens: int,
    buffer_tokens: int,
    seed: int,
) -> Iterator[dict[str, Float[Tensor, "batch_tokens d_model"]]]:
    """Serve batches of activations for ever, computed afresh from the rows.

    A buffer of `buffer_tokens` tokens is filled from consecutive rows, shuffled, served, and
    filled again; after the last row the first follows. BOS tokens are kept, because a spliced SAE
    must reconstruct them too.

    Parameters
    ----------
    model
        The demo model.
    rows
        Token ids, shape (rows, context).
    sites
        Site names.
    batch_tokens, buffer_tokens
        Tokens per batch and per shuffle.
    seed
        Seed of the shuffles; the order of tokens is the same whatever `sites` are.

    Yields
    ------
    dict
        Site to activations, shape (batch_tokens, d_model), float32. All sites show the same
        tokens.
    """
    per_buffer = max(1, buffer_tokens // rows.shape[1])
    generator = torch.Generator().manual_seed(seed)
    position = 0
    while True:
        taken = np.take(rows, np.arange(position, position + per_buffer), axis=0, mode="wrap")
        position = (position + per_buffer) % len(rows)
        buffer = packed_activations(model, taken, sites)
        count = len(next(iter(buffer.values())))
        if count < batch_tokens:
            msg = f"a buffer of {count} tokens is smaller than one batch of {batch_tokens}"
            raise ValueError(msg)
        order = torch.randperm(count, generator=generator).to(model.device)
        for start in range(0, count - batch_tokens + 1, batch_tokens):
            chosen = order[start : start + batch_tokens]
            yield {site: values[chosen] for site, values in buffer.items()}
