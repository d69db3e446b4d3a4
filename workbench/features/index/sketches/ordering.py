"""Sorting and grouping on any device, the same on all of them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

__all__ = ["changes", "fold", "rank_in_run", "stable_argsort"]


def stable_argsort(key: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Order that sorts integers ascending and keeps equal ones in place.

    On the CPU, NumPy's vectorised unstable sort is used and equal keys are put in order after it,
    which is several times faster than a stable sort.
    """
    if key.device.type != "cpu":
        return torch.sort(key, stable=True).indices
    keys = key.numpy()
    order = np.argsort(keys)
    ordered = keys[order]
    new = ordered[1:] != ordered[:-1]
    if len(new) and not new.all():
        group = np.zeros(len(keys), dtype=np.int64)
        np.cumsum(new, out=group[1:])
        order = np.sort((group << 32) | order) & 0xFFFFFFFF
    return torch.from_numpy(order)


def changes(*keys: Tensor) -> Bool[Tensor, " n"]:
    """Where a run of equal keys begins."""
    first = torch.ones(len(keys[0]), dtype=torch.bool, device=keys[0].device)
    if len(first) > 1:
        first[1:] = keys[0][1:] != keys[0][:-1]
        for key in keys[1:]:
            first[1:] |= key[1:] != key[:-1]
    return first


def rank_in_run(first: Bool[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Place of each element in its run, from 0."""
    index = torch.arange(len(first), device=first.device)
    starts = index[first]
    run = first.long().cumsum(0) - 1
    return index - starts[run] if len(index) else index


def fold(values: Int[Tensor, " n"], run: Int[Tensor, " n"], count: int) -> Int[Tensor, " count"]:
    """Sum integers by run."""
    total = torch.zeros(count, dtype=torch.int64, device=values.device)
    return total.index_add(0, run, values.long())
