"""Figures per feature and feature numbers: what sums of codes are, and which numbers are valid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError

__all__ = ["FeatureStatistics", "TopFeatures", "check_features"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopFeatures:
    """The strongest features of each token.

    Parameters
    ----------
    indices
        Feature numbers, strongest first; −1 where a token has fewer active features.
    values
        Their activations; 0 where `indices` is −1.
    """

    indices: Int[Tensor, "*token k"]
    values: Float[Tensor, "*token k"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Per-feature sums over the tokens of a `FeatureActs`; sums of two of them add.

    Parameters
    ----------
    n_tokens
        Number of tokens counted.
    count
        Tokens on which the feature is not zero.
    total, total_squares
        Sum of activations and of their squares (float64).
    maximum
        Largest activation, −inf for a feature that is never active.
    """

    n_tokens: int
    count: Int[Tensor, " d_sae"]
    total: Float[Tensor, " d_sae"]
    total_squares: Float[Tensor, " d_sae"]
    maximum: Float[Tensor, " d_sae"]

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        return FeatureStatistics(
            n_tokens=self.n_tokens + other.n_tokens,
            count=self.count + other.count,
            total=self.total + other.total,
            total_squares=self.total_squares + other.total_squares,
            maximum=torch.maximum(self.maximum, other.maximum),
        )


def check_features(features: Sequence[int] | Tensor, d_sae: int) -> Int[Tensor, " chosen"]:
    """Return feature numbers as a tensor after checking them against the dictionary.

    Raises
    ------
    InputError
        If a number is outside 0 … d_sae − 1 or is given twice.
    """
    chosen = torch.as_tensor(features, dtype=torch.int64).flatten()
    outside = chosen[(chosen < 0) | (chosen >= d_sae)]
    if len(outside):
        raise InputError(
            f"feature {int(outside[0])} is outside the dictionary: expected 0 … {d_sae - 1}"
        )
    if len(chosen.unique()) != len(chosen):
        raise InputError(f"got a feature more than once in {chosen.tolist()}")
    return chosen
