"""Counts and exact sums of each feature's activations by bin.

Within a bin all activations share one exponent, so the sum of their integer mantissas, and of the
squares of these, are integers that give the mean and the second moment without rounding and add up
in any order to the same bits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.features.index.sketches.bins import mantissa_of
from workbench.features.index.sketches.ordering import changes, fold, stable_argsort

__all__ = ["HISTOGRAM", "histogram", "merge_histograms"]

HISTOGRAM = ("feature", "bin", "count", "total", "squares_high", "squares_low", "low", "high")
"""Columns: keys, activations counted, Σm, Σm² as two parts (× 2²⁴ and × 1), least and largest."""

_LIMB = 24
_BIN_BITS = 13


def histogram(
    feature: Int[Tensor, " n"], bins: Int[Tensor, " n"], value: Float[Tensor, " n"]
) -> dict[str, Tensor]:
    """Count activations; one row per feature and bin, in that order."""
    mantissa, _ = mantissa_of(value)
    squares = mantissa * mantissa
    return merge_histograms(
        {
            "feature": feature,
            "bin": bins,
            "count": torch.ones_like(mantissa),
            "total": mantissa,
            "squares_high": squares >> _LIMB,
            "squares_low": squares & ((1 << _LIMB) - 1),
            "low": value,
            "high": value,
        }
    )


def merge_histograms(table: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up rows of equal feature and bin."""
    bins = table["bin"].long() + (1 << (_BIN_BITS - 1))
    key = (table["feature"].long() << _BIN_BITS) | bins
    order = stable_argsort(key)
    key = key[order]
    first = changes(key)
    run = first.long().cumsum(0) - 1
    count = int(first.sum())
    merged = {name: table[name][order][first] for name in ("feature", "bin")}
    for name in ("count", "total", "squares_high", "squares_low"):
        merged[name] = fold(table[name][order], run, count)
    carried = merged["squares_low"] >> _LIMB
    merged["squares_high"] = merged["squares_high"] + carried
    merged["squares_low"] = merged["squares_low"] & ((1 << _LIMB) - 1)
    for name, how in (("low", "amin"), ("high", "amax")):
        start = table[name][order][first]
        merged[name] = start.scatter_reduce(0, run, table[name][order], how)
    return merged
