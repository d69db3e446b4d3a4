"""Nodes and edges of a circuit as columns.

A circuit has up to tens of thousands of edges, so nodes and edges are kept as numpy columns and
never as one object each.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import storable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NODE_KINDS", "Edges", "NodeNames", "Nodes", "SiteSums"]

NODE_KINDS = ("feature", "error", "token", "neuron", "head", "output")
"""What a node can be; `Nodes.kind` holds the place in this tuple."""

# How a node's index is written after its site. A feature is written as everywhere else
# ("resid_post.2/417"), an error node has no index.
_PREFIX = {"token": "token", "neuron": "neuron", "head": "head", "output": "token"}

NodeNames = Iterable["str | int | FeatureRef"]
"""Nodes by their names, rows, or features (which name all of their positions)."""


@storable
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Nodes:
    """The nodes of a circuit, one row each.

    Parameters
    ----------
    sites
        Names that `site` points into: SAE names (``resid_post.2``, ``transcoder.0``) for features
        and errors, site names for neurons and heads, ``embed`` for tokens, ``output`` for the
        metric.
    site
        Row of `sites`.
    kind
        Place in `NODE_KINDS`.
    index
        Feature, neuron or head number; vocabulary id of a token, -1 where examples differ in it or
        positions are summed; vocabulary id of the answer of an output node, -1 where the metric is
        not that of one token. -1 for errors.
    position
        Token position from 0 (BOS included), -1 where effects are summed over positions.
    layer
        Block the site belongs to: -1 for the embedding and tokens, the number of blocks for the
        output.
    effect
        Effect on the metric, in its units, mean over examples.
    activation, patch_activation
        Mean activation over examples on the clean input and at the patch end of the baseline (0
        for the zero baseline), in the SAE's units; for errors and heads the mean norm of the
        vector; NaN for the output.
    """

    sites: tuple[str, ...]
    site: Int[np.ndarray, " n"]
    kind: Int[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    layer: Int[np.ndarray, " n"]
    effect: Float[np.ndarray, " n"]
    activation: Float[np.ndarray, " n"]
    patch_activation: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        _columns(self, _NODE_DTYPES, "node")
        if len(self) and not (int(self.site.min()) >= 0 and int(self.site.max()) < len(self.sites)):
            raise InputError(
                f"node sites point to rows {int(self.site.min())} to {int(self.site.max())} of "
                f"{len(self.sites)} sites"
            )
        if len(self) and not (int(self.kind.min()) >= 0 and int(self.kind.max()) < len(NODE_KINDS)):
            raise InputError(f"node kinds must be rows of {NODE_KINDS}")

    @classmethod
    def empty(cls) -> Nodes:
        """Return no nodes."""
        columns = {name: np.zeros(0, dtype) for name, dtype in _NODE_DTYPES.items()}
        return cls(sites=(), **columns)

    def __len__(self) -> int:
        return len(self.site)

    def is_kind(self, kind: str) -> Bool[np.ndarray, " n"]:
        """Return which nodes are of one kind.

        Raises
        ------
        InputError
            There is no such kind.
        """
        if kind not in NODE_KINDS:
            raise InputError(unknown("kind of node", kind, NODE_KINDS))
        return np.asarray(self.kind == NODE_KINDS.index(kind))

    def name(self, row: int) -> str:
        """Return one node's name, such as ``resid_post.2/417@5``; see `names`."""
        site, kind = self.sites[int(self.site[row])], NODE_KINDS[int(self.kind[row])]
        index, position = int(self.index[row]), int(self.position[row])
        if kind == "error":
            what = "error"
        elif kind == "output" and index < 0:
            what = "metric"
        else:
            what = f"{_PREFIX.get(kind, '')}{index if index >= 0 else ''}"
        return f"{site}/{what}" + ("" if position < 0 else f"@{position}")

    def names(self) -> list[str]:
        """Return every node's name.

        ``resid_post.2/417@5`` is a feature at position 5, ``resid_post.2/417`` one summed over
        positions, ``resid_post.2/error@5`` an error node, ``mlp_post.1/neuron30@5``,
        ``z.1/head3@5``, ``embed/token812@5``, ``output/metric@5``.
        """
        return list(self._rows)

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        return {self.name(row): row for row in range(len(self))}

    def find(self, name: str | int) -> int:
        """Return the row of a node.

        Parameters
        ----------
        name
            Its name, or its row.

        Raises
        ------
        InputError
            There is no such node.
        """
        if isinstance(name, int | np.integer):
            if not 0 <= name < len(self):
                raise InputError(f"got node {name}, expected a row from 0 to {len(self) - 1}")
            return int(name)
        if name not in self._rows:
            raise InputError(unknown("node", str(name), self._rows))
        return self._rows[name]

    def rows(self, which: Bool[np.ndarray, " n"] | NodeNames | str) -> Int[np.ndarray, " chosen"]:
        """Return the rows of several nodes, ascending.

        Parameters
        ----------
        which
            A mask, rows, names, or features (a feature names it at all of its positions).

        Raises
        ------
        InputError
            A name is unknown or the mask has another length.
        """
        if isinstance(which, np.ndarray) and which.dtype == np.bool_:
            if which.shape != (len(self),):
                raise InputError(f"got a mask of shape {which.shape} for {len(self)} nodes")
            return np.flatnonzero(which)
        found: set[int] = set()
        for item in [which] if isinstance(which, str) else which:
            if isinstance(item, FeatureRef):
                found.update(self._of_feature(item))
            elif isinstance(item, str) and item not in self._rows and "@" not in item:
                found.update(self._at_all_positions(item))
            else:
                found.add(self.find(item))
        return np.array(sorted(found), dtype=np.int64)

    def _of_feature(self, ref: FeatureRef) -> list[int]:
        if ref.sae not in self.sites:
            raise InputError(unknown("site of this circuit", ref.sae, self.sites))
        site = self.sites.index(ref.sae)
        hit = (self.site == site) & (self.index == ref.index) & self.is_kind("feature")
        return [int(row) for row in np.flatnonzero(hit)]

    def _at_all_positions(self, name: str) -> list[int]:
        hit = [row for full, row in self._rows.items() if full.partition("@")[0] == name]
        if not hit:
            raise InputError(unknown("node", name, self._rows))
        return hit

    def take(self, rows: Int[np.ndarray, " chosen"]) -> Nodes:
        """Return chosen rows, in the order given; the table of sites stays."""
        return dataclasses.replace(
            self, **{name: getattr(self, name)[rows] for name in _NODE_DTYPES}
        )

    @property
    def features(self) -> FeatureSet:
        """The features among the nodes, strongest |effect| first, each once."""
        rows = np.flatnonzero(self.is_kind("feature"))
        order = rows[np.argsort(-np.abs(self.effect[rows]), kind="stable")]
        return FeatureSet(
            tuple(FeatureRef(self.sites[self.site[row]], int(self.index[row])) for row in order)
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per node.

        Columns ``node`` (name), ``site``, ``kind``, ``index``, ``position``, ``layer``,
        ``effect``, ``activation``, ``patch_activation``.
        """
        import pandas as pd

        table = pd.DataFrame({"node": self.names()})
        table["site"] = [self.sites[code] for code in self.site]
        table["kind"] = [NODE_KINDS[code] for code in self.kind]
        for name in ("index", "position", "layer", "effect", "activation", "patch_activation"):
            table[name] = getattr(self, name)
        return table


@storable
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """The edges of a circuit, one row each.

    Parameters
    ----------
    source, target
        Rows of the circuit's nodes; the source is upstream.
    weight
        Effect on the metric that runs through the edge, in the metric's units, mean over examples.
    """

    source: Int[np.ndarray, " m"]
    target: Int[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]

    def __post_init__(self) -> None:
        _columns(self, _EDGE_DTYPES, "edge")

    @classmethod
    def empty(cls) -> Edges:
        """Return no edges."""
        return cls(**{name: np.zeros(0, dtype) for name, dtype in _EDGE_DTYPES.items()})

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Int[np.ndarray, " chosen"] | Bool[np.ndarray, " m"]) -> Edges:
        """Return chosen edges."""
        return Edges(source=self.source[rows], target=self.target[rows], weight=self.weight[rows])


@storable
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SiteSums:
    """Completeness of node effects, by site: their sum against the change they should add up to.

    At one site, features and error together make up the activation, so the effects of all nodes
    there (before any threshold) should add up to the change of the metric when the whole site
    takes its patch value; for integrated gradients they do in the limit of many steps
    (Sundararajan et al. 2017, proposition 1).

    Parameters
    ----------
    sites
        Site names.
    effects
        Sum over all nodes of the site, mean over examples, in the metric's units.
    change
        Metric with the whole site at its patch value minus the metric on the clean input, mean
        over examples; NaN where it was not measured.
    """

    sites: tuple[str, ...]
    effects: Float[np.ndarray, " s"]
    change: Float[np.ndarray, " s"]

    def __post_init__(self) -> None:
        _columns(self, {"effects": np.float64, "change": np.float64}, "site sum")
        if len(self.effects) != len(self.sites):
            raise InputError(f"got {len(self.effects)} sums for {len(self.sites)} sites")

    def to_pandas(self) -> pd.DataFrame:
        """Return columns ``site``, ``effects``, ``change``, ``ratio`` (effects / change)."""
        import pandas as pd

        table = pd.DataFrame({"site": self.sites, "effects": self.effects, "change": self.change})
        table["ratio"] = table["effects"] / table["change"].where(table["change"] != 0)
        return table


_NODE_DTYPES: dict[str, Any] = {
    "site": np.int32,
    "kind": np.int8,
    "index": np.int32,
    "position": np.int32,
    "layer": np.int32,
    "effect": np.float32,
    "activation": np.float32,
    "patch_activation": np.float32,
}
_EDGE_DTYPES: dict[str, Any] = {"source": np.int32, "target": np.int32, "weight": np.float32}


def _columns(table: Any, dtypes: dict[str, Any], what: str) -> None:
    """Give every column its dtype and check that all are of one length."""
    lengths = {}
    for name, dtype in dtypes.items():
        column = np.asarray(getattr(table, name), dtype=dtype)
        if column.ndim != 1:
            raise InputError(f"{what} column {name!r} has shape {column.shape}, expected [n]")
        object.__setattr__(table, name, column)
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        raise InputError(f"{what} columns differ in length: {lengths}")


def row_numbers(items: Sequence[int], n: int) -> Bool[np.ndarray, " n"]:
    """Return the mask of length `n` that is true at `items`."""
    mask = np.zeros(n, dtype=np.bool_)
    mask[np.asarray(items, dtype=np.int64)] = True
    return mask
