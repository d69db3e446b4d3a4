"""Hashes that stand in for random numbers: the same choice whatever the order of the work."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["hash_bits"]

_MULTIPLIERS = (-4658895280553007687, -7723592293110705685)  # splitmix64's, as signed integers
_INCREMENT = -7046029254386353131


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def hash_bits(*keys: Int[Tensor, "*n"] | int, bits: int) -> Int[Tensor, "*n"]:
    """Hash integers to `bits` bits (1 to 63).

    The finaliser of splitmix64 (Steele, Lea and Flood 2014), applied once per key.
    """
    state: Tensor | int = 0
    for key in keys:
        mixed = torch.as_tensor(key, dtype=torch.int64) if isinstance(key, int) else key.long()
        x = mixed + state + _INCREMENT
        x = (x ^ _shift(x, 30)) * _MULTIPLIERS[0]
        x = (x ^ _shift(x, 27)) * _MULTIPLIERS[1]
        state = x ^ _shift(x, 31)
    assert isinstance(state, Tensor)  # noqa: S101 - at least one key is given
    return _shift(state, 64 - bits)
