"""Logarithmic histogram bins read off a number's own bits, hence the same on every device.

A float32 is ±m · 2^e. Its bin is its sign, its exponent, and which of `per_octave` equal steps of
log₂ its mantissa lies in. Bin numbers rise with the value; 0 is no bin.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["MANTISSA_BITS", "bin_edges", "bin_of", "mantissa_of"]

MANTISSA_BITS = 23


def _thresholds(per_octave: int) -> list[int]:
    return [round((2 ** (i / per_octave) - 1) * 2**MANTISSA_BITS) for i in range(1, per_octave)]


def bin_of(value: Float[Tensor, " n"], per_octave: int) -> Int[Tensor, " n"]:
    """Bin of each value, int32, negative for negative values; zero gives bin 0."""
    raw = value.float().view(torch.int32)
    magnitude = raw & 0x7FFFFFFF
    exponent = magnitude >> MANTISSA_BITS
    mantissa = magnitude & ((1 << MANTISSA_BITS) - 1)
    edges = torch.tensor(_thresholds(per_octave), dtype=torch.int32, device=value.device)
    step = torch.bucketize(mantissa, edges, right=True, out_int32=True)
    # Below the smallest normal number there is one bin.
    bins = torch.where(exponent > 0, exponent * per_octave + step, 0) + 1
    bins = torch.where(magnitude > 0, bins, 0)
    return torch.where(raw < 0, -bins, bins)


def bin_edges(
    bins: Int[np.ndarray, " n"], per_octave: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Lower and upper edge of bins, float64; the lower belongs to a positive bin."""
    code = np.abs(np.asarray(bins, dtype=np.int64)) - 1

    def edge(at: np.ndarray) -> np.ndarray:
        exponent, step = np.divmod(at, per_octave)
        fine = np.array([0, *_thresholds(per_octave)], dtype=np.float64)[step] / 2**MANTISSA_BITS
        return np.where(at < per_octave, 0.0, np.ldexp(1 + fine, (exponent - 127).astype(np.int32)))

    low = edge(np.maximum(code, 0))
    high = np.where(code < per_octave, 2.0**-126, edge(code + 1))
    negative = np.asarray(bins) < 0
    return np.where(negative, -high, low), np.where(negative, -low, high)


def mantissa_of(value: Float[Tensor, " n"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Write each |value| exactly as ``mantissa · 2^(exponent − 150)``, both integers.

    All values of one bin but those below the smallest normal number's have one exponent.
    """
    magnitude = value.float().view(torch.int32) & 0x7FFFFFFF
    exponent = magnitude >> MANTISSA_BITS
    fraction = magnitude & ((1 << MANTISSA_BITS) - 1)
    normal = exponent > 0
    mantissa = torch.where(normal, fraction | (1 << MANTISSA_BITS), fraction)
    return mantissa.long(), torch.where(normal, exponent, 1).long()
