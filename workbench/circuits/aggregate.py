"""From effects on single examples to the nodes of a circuit: means, thresholds, rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.circuits.effects import Entries
from workbench.circuits.nodes import ChunkEffects
from workbench.circuits.pairs import PromptPairs
from workbench.circuits.tables import NODE_KINDS, Nodes, SiteSums
from workbench.circuits.units import NodeSite

__all__ = ["Aggregate", "Kept", "keep_nodes", "output_name", "site_sums"]

Aggregate = Literal["none", "sum"]
output_name = "output"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """The nodes of one site that passed the threshold.

    Parameters
    ----------
    by_position
        Whether nodes are kept by position.
    position, index
        Of each scalar node; position 0 throughout where positions are summed.
    vector_position, unit
        Of each vector node.
    first
        Row of the circuit's nodes where the site's begin: scalar nodes, then vector nodes.
    """

    by_position: bool
    position: Int[Tensor, " scalar"]
    index: Int[Tensor, " scalar"]
    vector_position: Int[Tensor, " vector"]
    unit: Int[Tensor, " vector"]
    first: int

    @property
    def n_scalar(self) -> int:
        """Number of scalar nodes."""
        return len(self.index)

    def __len__(self) -> int:
        return len(self.index) + len(self.unit)

    def match(
        self, entries: Entries, mask: Bool[Tensor, " n"]
    ) -> tuple[Entries, Int[Tensor, " m"]]:
        """Return the entries that are of kept nodes and in `mask`, and which node each is of."""
        width = _width(entries, self)
        place = entries.position if self.by_position else torch.zeros_like(entries.position)
        keys = self.position * width + self.index
        order = keys.argsort()
        asked = place * width + entries.index
        slot = torch.searchsorted(keys[order], asked).clamp(max=max(len(keys) - 1, 0))
        hit = (keys[order][slot] == asked) if len(keys) else torch.zeros_like(mask)
        hit = hit & mask
        return entries.take(hit), order[slot[hit]] if len(keys) else slot[hit]


def _width(entries: Entries, kept: Kept) -> int:
    most = 0
    for index in (entries.index, kept.index):
        most = max(most, int(index.max()) if len(index) else 0)
    return most + 1


def keep_nodes(
    chunks: Sequence[ChunkEffects],
    sites: Sequence[NodeSite],
    pairs: PromptPairs,
    *,
    aggregate: Aggregate,
    threshold: float,
    n_layers: int,
) -> tuple[Nodes, tuple[Kept, ...], int]:
    """Average effects over examples and keep nodes with |effect| above the threshold.

    Parameters
    ----------
    chunks
        Effects of all examples.
    sites
        The sites, in order of computation.
    pairs
        The examples.
    aggregate
        ``"none"``: nodes by position; ``"sum"``: effects summed over positions before the mean.
    threshold
        In the metric's units.
    n_layers
        Number of blocks.

    Returns
    -------
    nodes
        In order of computation, the output last.
    kept
        The same by site.
    candidates
        Number of nodes of nonzero mean effect.
    """
    by_position = aggregate == "none"
    count = sum(len(chunk.rows) for chunk in chunks)
    kept: list[Kept] = []
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    first = candidates = 0
    for number, site in enumerate(sites):
        scalar = _scalar_means(chunks, number, by_position, count)
        vector = _vector_means(chunks, number, by_position, count)
        candidates += sum(int((part["effect"] != 0).sum()) for part in (scalar, vector))
        scalar, vector = (
            {name: column[part["effect"].abs() > threshold] for name, column in part.items()}
            for part in (scalar, vector)
        )
        kept.append(
            Kept(
                by_position=by_position,
                position=scalar["position"],
                index=scalar["index"],
                vector_position=vector["position"],
                unit=vector["index"],
                first=first,
            )
        )
        first += len(kept[-1])
        for part, kind in ((scalar, site.scalar), (vector, site.vector)):
            if kind is None:
                continue
            size = len(part["index"])
            index = part["index"].cpu().numpy()
            place = part["position"].cpu().numpy()
            if kind == "error":
                index = np.full(size, -1)
            elif kind == "token":
                index = np.array([_shared_token(pairs, by_position, at) for at in place], np.int64)
            columns["site"].append(np.full(size, number))
            columns["kind"].append(np.full(size, NODE_KINDS.index(kind)))
            columns["index"].append(index)
            columns["position"].append(place if by_position else np.full(size, -1))
            columns["layer"].append(np.full(size, site.layer()))
            for name in ("effect", "activation", "patch_activation"):
                columns[name].append(part[name].cpu().numpy())
    last = int(pairs.lengths[0]) - 1 if by_position else -1
    output = (len(sites), NODE_KINDS.index("output"), -1, last, n_layers, 0.0, np.nan, np.nan)
    for name, value in zip(_COLUMNS, output, strict=True):
        columns[name].append(np.array([value]))
    nodes = Nodes(
        sites=(*(site.name for site in sites), output_name),
        **{name: np.concatenate(parts) for name, parts in columns.items()},
    )
    return nodes, tuple(kept), candidates


_COLUMNS = (
    *("site", "kind", "index", "position", "layer"),
    *("effect", "activation", "patch_activation"),
)


def _shared_token(pairs: PromptPairs, by_position: bool, at: int) -> int:
    """Token id at a position where all clean prompts agree on it, else -1."""
    if not by_position:
        return -1
    ids = pairs.clean.ids[:, at].unique()
    return int(ids[0]) if len(ids) == 1 else -1


def _scalar_means(
    chunks: Sequence[ChunkEffects], number: int, by_position: bool, count: int
) -> dict[str, Tensor]:
    parts = [found for chunk in chunks if (found := chunk.sites[number].entries) is not None]
    if not parts:
        return _no_means()
    index = torch.cat([part.index for part in parts])
    place = torch.cat([part.position for part in parts])
    width = int(index.max()) + 1 if len(index) else 1
    keys, inverse = ((place if by_position else 0) * width + index).unique(return_inverse=True)
    means: dict[str, Tensor] = {
        "position": torch.div(keys, width, rounding_mode="floor"),
        "index": keys % width,
    }
    for name, field in (("effect", "effect"), ("activation", "clean"), ("patch_activation", "end")):
        values = torch.cat([getattr(part, field) for part in parts]).double()
        total = torch.zeros(len(keys), dtype=torch.float64, device=values.device)
        means[name] = total.index_add_(0, inverse, values) / count
    return means


def _vector_means(
    chunks: Sequence[ChunkEffects], number: int, by_position: bool, count: int
) -> dict[str, Tensor]:
    totals: dict[str, Tensor] = {}
    fields = {
        "effect": "vector_effect",
        "activation": "vector_clean",
        "patch_activation": "vector_end",
    }
    for name, field in fields.items():
        for chunk in chunks:
            values: Tensor | None = getattr(chunk.sites[number], field)
            if values is None:
                return _no_means()
            by_place = values.double().sum(0)
            if not by_position:
                by_place = by_place.sum(0, keepdim=True)
            totals[name] = _add(totals.get(name), by_place)
    places, units = totals["effect"].shape
    grid = torch.arange(places * units, device=totals["effect"].device)
    return {
        "position": torch.div(grid, units, rounding_mode="floor"),
        "index": grid % units,
        **{name: (total / count).flatten() for name, total in totals.items()},
    }


def _add(total: Tensor | None, more: Float[Tensor, "pos unit"]) -> Tensor:
    """Add two sums over positions, of which one may have fewer positions."""
    if total is None:
        return more.clone()
    short, long = sorted((total, more), key=len)
    long = long.clone()
    long[: len(short)] += short
    return long


def _no_means() -> dict[str, Tensor]:
    empty = torch.zeros(0, dtype=torch.long)
    floats = torch.zeros(0, dtype=torch.float64)
    return {
        "position": empty,
        "index": empty,
        "effect": floats,
        "activation": floats,
        "patch_activation": floats,
    }


def site_sums(chunks: Sequence[ChunkEffects], sites: Sequence[NodeSite]) -> SiteSums:
    """Return the sum of all effects of each site beside the measured change, mean over examples."""
    sums, changes = [], []
    for number in range(len(sites)):
        parts = [chunk.sites[number] for chunk in chunks]
        sums.append(float(torch.cat([part.total for part in parts]).mean()))
        measured = [part.change for part in parts if part.change is not None]
        changes.append(
            float(torch.cat(measured).double().mean()) if len(measured) == len(parts) else np.nan
        )
    return SiteSums(
        sites=tuple(site.name for site in sites), effects=np.array(sums), change=np.array(changes)
    )
