"""Sparse feature activations: compressed rows, one row per token.

A dictionary of tens of thousands of features is active on a few dozen of them at a token, so codes
are kept as compressed sparse rows (offsets, feature indices, values) and never as the dense array
of tokens × features.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.saes.per_feature import FeatureStatistics, TopFeatures, check_features

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FeatureActs", "FeatureStatistics", "TopFeatures"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FeatureActs:
    """Sparse activations of one SAE over a block of tokens.

    Token ``t`` (tokens counted in row-major order of `lead`) is active on
    ``indices[offsets[t]:offsets[t + 1]]``, ascending, with activations ``values[...]``; everything
    else is exactly zero. Stored values are never zero.

    Parameters
    ----------
    offsets
        Where each token's entries begin; the last one is the number of entries.
    indices
        Feature numbers, ascending within a token.
    values
        Activations in the SAE's dtype.
    lead
        Shape of the token axes, usually ``(batch, pos)``.
    d_sae
        Number of features of the dictionary.

    Raises
    ------
    InputError
        If the parts do not fit together.
    """

    offsets: Int[Tensor, " tokens_plus_one"]
    indices: Int[Tensor, " nnz"]
    values: Float[Tensor, " nnz"]
    lead: tuple[int, ...]
    d_sae: int

    def __post_init__(self) -> None:
        if self.offsets.numel() != self.n_tokens + 1:
            raise InputError(
                f"got {self.offsets.numel()} row offsets for token axes {self.lead}, "
                f"expected {self.n_tokens + 1}"
            )
        if self.indices.shape != self.values.shape:
            raise InputError(
                f"got {self.indices.numel()} feature indices for {self.values.numel()} values"
            )

    # -- making -------------------------------------------------------------------------------

    @classmethod
    def from_dense(cls, dense: Float[Tensor, "*token d_sae"]) -> FeatureActs:
        """Keep the entries of a dense code that are not zero."""
        flat = dense.reshape(-1, dense.shape[-1])
        return cls.from_mask(flat, flat != 0, lead=tuple(dense.shape[:-1]))

    @classmethod
    def from_mask(
        cls,
        dense: Float[Tensor, "tokens d_sae"],
        mask: Bool[Tensor, "tokens d_sae"],
        *,
        lead: tuple[int, ...] | None = None,
    ) -> FeatureActs:
        """Keep the entries of `dense` where `mask` is true."""
        rows, columns = mask.nonzero(as_tuple=True)
        edges = torch.arange(dense.shape[0] + 1, device=dense.device)
        return cls(
            offsets=torch.searchsorted(rows, edges),
            indices=columns.to(torch.int32),
            values=dense[rows, columns],
            lead=(dense.shape[0],) if lead is None else lead,
            d_sae=dense.shape[-1],
        )

    @classmethod
    def from_rows(
        cls,
        indices: Int[Tensor, "tokens k"],
        values: Float[Tensor, "tokens k"],
        d_sae: int,
        *,
        lead: tuple[int, ...] | None = None,
    ) -> FeatureActs:
        """Build from a fixed number of features per token in any order; zeros are dropped."""
        order = indices.argsort(dim=-1)
        indices, values = indices.gather(-1, order), values.gather(-1, order)
        kept = values != 0
        offsets = torch.zeros(len(indices) + 1, dtype=torch.int64, device=indices.device)
        torch.cumsum(kept.sum(-1), dim=0, out=offsets[1:])
        return cls(
            offsets=offsets,
            indices=indices[kept].to(torch.int32),
            values=values[kept],
            lead=(len(indices),) if lead is None else lead,
            d_sae=d_sae,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[FeatureActs]) -> FeatureActs:
        """Join along the first token axis.

        Raises
        ------
        InputError
            If there is nothing to join or the parts differ in `d_sae` or in the other axes.
        """
        if not parts:
            raise InputError("nothing to concatenate: expected at least one FeatureActs")
        first = parts[0]
        for part in parts[1:]:
            if part.d_sae != first.d_sae or part.lead[1:] != first.lead[1:]:
                raise InputError(f"cannot concatenate shapes {first.shape} and {part.shape}")
        starts = [0]
        for part in parts:
            starts.append(starts[-1] + part.nnz)
        offsets = [first.offsets[:1]] + [
            part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)
        ]
        return cls(
            offsets=torch.cat(offsets),
            indices=torch.cat([part.indices for part in parts]),
            values=torch.cat([part.values for part in parts]),
            lead=(sum(part.lead[0] for part in parts), *first.lead[1:]),
            d_sae=first.d_sae,
        )

    # -- size ---------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> int:
        """Number of tokens (rows)."""
        return math.prod(self.lead)

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.values.numel()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense code this stands for."""
        return (*self.lead, self.d_sae)

    @property
    def nbytes(self) -> int:
        """Bytes held by the three arrays."""
        return sum(part.nbytes for part in (self.offsets, self.indices, self.values))

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self.values.device

    def __len__(self) -> int:
        return self.lead[0]

    def __repr__(self) -> str:
        mean = self.nnz / max(self.n_tokens, 1)
        shape = " × ".join(map(str, self.shape))
        return f"FeatureActs({shape}, {self.nnz} active, mean L0 {mean:.1f}, {self.values.dtype})"

    # -- reading ------------------------------------------------------------------------------

    def l0(self) -> Int[Tensor, "*token"]:
        """Return the number of active features at each token."""
        return self.offsets.diff().reshape(self.lead)

    def rows(self) -> Int[Tensor, " nnz"]:
        """Return the token number of each entry."""
        tokens = torch.arange(self.n_tokens, device=self.device)
        return torch.repeat_interleave(tokens, self.offsets.diff(), output_size=self.nnz)

    def token(self, *position: int) -> tuple[Int[Tensor, " active"], Float[Tensor, " active"]]:
        """Return one token's feature numbers and activations.

        Parameters
        ----------
        *position
            One number per token axis, or a single flat token number; negatives count from the end.

        Raises
        ------
        InputError
            If the position is not one of the tokens.
        """
        axes = (self.n_tokens,) if len(position) == 1 else self.lead
        if len(position) != len(axes) or any(
            not -size <= at < size for at, size in zip(position, axes, strict=False)
        ):
            raise InputError(f"token {position} is outside the token axes {self.lead}")
        row = 0
        for at, size in zip(position, axes, strict=True):
            row = row * size + at % size
        entries = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.indices[entries], self.values[entries]

    def to_dense(self) -> Float[Tensor, "*token d_sae"]:
        """Write the whole code out: tokens × features in memory, for small blocks only."""
        dense = self.values.new_zeros(self.n_tokens, self.d_sae)
        dense[self.rows(), self.indices.long()] = self.values
        return dense.reshape(self.shape)

    def columns(self, features: Sequence[int]) -> Float[Tensor, "*token chosen"]:
        """Return the activations of chosen features, dense over tokens.

        Raises
        ------
        InputError
            If a feature number is outside the dictionary or named twice.
        """
        chosen = check_features(features, self.d_sae).to(self.device)
        order = torch.argsort(chosen)
        slots = torch.searchsorted(chosen[order], self.indices.long())
        slots = slots.clamp(max=max(len(chosen) - 1, 0))
        dense = self.values.new_zeros(self.n_tokens, len(chosen))
        if len(chosen):
            hit = chosen[order][slots] == self.indices
            dense[self.rows()[hit], order[slots[hit]]] = self.values[hit]
        return dense.reshape(*self.lead, len(chosen))

    def column(self, feature: int) -> Float[Tensor, "*token"]:
        """Return one feature's activations, dense over tokens."""
        return self.columns([feature])[..., 0]

    def top(self, k: int) -> TopFeatures:
        """Return the `k` features of largest magnitude of each token, strongest first.

        Ties go to the lower feature number. Signed codes (abstopk) keep their signs.
        """
        if k < 1:
            raise InputError(f"got k = {k}, expected at least 1")
        rows = self.rows()
        strength = torch.argsort(self.values.abs(), descending=True, stable=True)
        order = strength[torch.argsort(rows[strength], stable=True)]
        rank = torch.arange(self.nnz, device=self.device) - self.offsets[:-1][rows]
        kept = rank < k
        indices = torch.full((self.n_tokens, k), -1, dtype=torch.int64, device=self.device)
        values = self.values.new_zeros(self.n_tokens, k)
        # `order` lists entries token by token, so position j of it has token rows[j] and rank[j].
        indices[rows[kept], rank[kept]] = self.indices[order][kept].long()
        values[rows[kept], rank[kept]] = self.values[order][kept]
        return TopFeatures(
            indices=indices.reshape(*self.lead, k), values=values.reshape(*self.lead, k)
        )

    def statistics(self, mask: Bool[Tensor, "*token"] | None = None) -> FeatureStatistics:
        """Aggregate per feature over all tokens, or over those where `mask` is true."""
        acts = self if mask is None else self.select(mask)
        index, values = acts.indices.long(), acts.values.double()
        zeros = torch.zeros(self.d_sae, dtype=torch.float64, device=self.device)
        lowest = torch.full_like(zeros, -math.inf)
        return FeatureStatistics(
            n_tokens=acts.n_tokens,
            count=torch.bincount(index, minlength=self.d_sae),
            total=zeros.index_add(0, index, values),
            total_squares=zeros.index_add(0, index, values.square()),
            maximum=lowest.scatter_reduce(0, index, values, "amax"),
        )

    def max_pool(self) -> FeatureActs:
        """Reduce each item of the first axis to its largest activation per feature.

        Features that are never active in an item stay absent; signed codes pool by value among the
        active entries.
        """
        items, per_item = self.lead[0], max(self.n_tokens // max(self.lead[0], 1), 1)
        keys = self.rows() // per_item * self.d_sae + self.indices
        unique, inverse = torch.unique(keys, return_inverse=True)
        lowest = self.values.new_full(unique.shape, -math.inf)
        pooled = lowest.scatter_reduce(0, inverse, self.values, "amax")
        edges = torch.arange(items + 1, device=self.device) * self.d_sae
        return FeatureActs(
            offsets=torch.searchsorted(unique, edges),
            indices=(unique % self.d_sae).to(torch.int32),
            values=pooled,
            lead=(items,),
            d_sae=self.d_sae,
        )

    # -- reshaping ----------------------------------------------------------------------------

    def select(self, tokens: Bool[Tensor, "*token"] | Int[Tensor, " chosen"]) -> FeatureActs:
        """Keep chosen tokens: a mask of the token axes' shape, or flat token numbers in order."""
        if tokens.dtype == torch.bool:
            if tuple(tokens.shape) != self.lead:
                raise InputError(f"got a mask of shape {tuple(tokens.shape)}, expected {self.lead}")
            tokens = tokens.flatten().nonzero()[:, 0]
        chosen = tokens.to(self.device)
        lengths = self.offsets.diff()[chosen]
        offsets = torch.zeros(len(chosen) + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(lengths, dim=0, out=offsets[1:])
        total = int(offsets[-1])
        shift = torch.repeat_interleave(
            self.offsets[:-1][chosen] - offsets[:-1], lengths, output_size=total
        )
        entries = torch.arange(total, device=self.device) + shift
        return FeatureActs(
            offsets=offsets,
            indices=self.indices[entries],
            values=self.values[entries],
            lead=(len(chosen),),
            d_sae=self.d_sae,
        )

    def reshape(self, *lead: int) -> FeatureActs:
        """Give the token axes another shape of the same size."""
        return dataclasses.replace(self, lead=lead)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> FeatureActs:
        """Move to a device; `dtype` applies to the values."""
        return dataclasses.replace(
            self,
            offsets=self.offsets.to(device),
            indices=self.indices.to(device),
            values=self.values.to(device=device, dtype=dtype),
        )

    def to_torch_sparse(self) -> Tensor:
        """Return a torch CSR matrix of shape [tokens, d_sae]."""
        return torch.sparse_csr_tensor(
            self.offsets,
            self.indices.long(),
            self.values,
            size=(self.n_tokens, self.d_sae),
            check_invariants=False,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per entry: the token axes (``batch``, ``pos``), feature, activation."""
        import pandas as pd

        names = {1: ("token",), 2: ("batch", "pos")}.get(
            len(self.lead), tuple(f"axis_{number}" for number in range(len(self.lead)))
        )
        places = torch.unravel_index(self.rows(), self.lead)
        data = {name: place.cpu().numpy() for name, place in zip(names, places, strict=True)}
        data["feature"] = self.indices.cpu().numpy()
        data["activation"] = self.values.float().cpu().numpy()
        return pd.DataFrame(data)
