"""Two circuits side by side: what one has and the other has not, and what has become stronger."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from workbench.circuits.graph import Circuit
from workbench.circuits.tables import Edges, Nodes
from workbench.errors import InputError
from workbench.results import storable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CircuitDiff", "Sides", "compare"]

Align = Literal["node", "feature"]


@storable
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sides:
    """Both circuits' figures, for the nodes and edges of their union.

    Parameters
    ----------
    names
        What the two are called.
    presence
        1 where only the first has the node, 2 where only the second, 3 where both have.
    effects
        Effects in the first and in the second, 0 where one has not the node.
    weights
        The same for edges.
    """

    names: tuple[str, str]
    presence: Int[np.ndarray, " n"]
    effects: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]
    weights: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CircuitDiff(Circuit):
    """The union of two circuits; effects and weights are second − first.

    Made by `compare`.

    Parameters
    ----------
    sides
        Both circuits' own figures.
    aligned
        ``"node"`` (same site, index and position) or ``"feature"`` (summed over positions first).
    """

    sides: Sides
    aligned: str

    @property
    def description(self) -> str:
        """What is compared, in words."""
        first, second = self.sides.names
        how = "node by node" if self.aligned == "node" else "feature by feature"
        return f"{second} against {first}, {how}"

    @property
    def signed(self) -> bool:
        """Differences have a sign."""
        return True

    def nodes_table(self) -> pd.DataFrame:
        """Return one row per node, largest change first.

        Columns of `Nodes.to_pandas` (``effect`` is the change), ``in`` (``"both"`` or the name of
        the one circuit that has the node) and each circuit's effect.
        """
        table = self.nodes.to_pandas()
        first, second = self.sides.names
        table["in"] = np.array([first, second, "both"], object)[self.sides.presence - 1]
        for name, effect in zip(self.sides.names, self.sides.effects, strict=True):
            table[f"effect in {name}"] = effect
        return table.iloc[np.argsort(-np.abs(self.nodes.effect), kind="stable")]

    def edges_table(self) -> pd.DataFrame:
        """Return ``source``, ``target``, ``weight`` (the change) and each circuit's weight."""
        table = super().edges_table()
        for name, weight in zip(self.sides.names, self.sides.weights, strict=True):
            table[f"weight in {name}"] = weight[table.index.to_numpy()]
        return table

    def subgraph(self, keep: Any) -> CircuitDiff:
        """Return the comparison of some of the nodes; see `Circuit.subgraph`."""
        rows = self.nodes.rows(keep)
        kept = np.zeros(len(self.nodes), bool)
        kept[rows] = True
        edges = kept[self.edges.source] & kept[self.edges.target]
        place = np.cumsum(kept) - 1
        small = dataclasses.replace(
            self,
            nodes=self.nodes.take(rows),
            edges=Edges(
                source=place[self.edges.source[edges]],
                target=place[self.edges.target[edges]],
                weight=self.edges.weight[edges],
            ),
            sides=Sides(
                names=self.sides.names,
                presence=self.sides.presence[rows],
                effects=(self.sides.effects[0][rows], self.sides.effects[1][rows]),
                weights=(self.sides.weights[0][edges], self.sides.weights[1][edges]),
            ),
        )
        return small.bound_to(self.session)

    def summary(self) -> str:
        """Return one line: how much the two share."""
        first, second = self.sides.names
        only = [int((self.sides.presence == code).sum()) for code in (1, 2, 3)]
        return (
            f"CircuitDiff: {only[2]} nodes in both, {only[0]} only in {first}, {only[1]} only in "
            f"{second}; {len(self.edges)} edges, aligned by {self.aligned}"
        )


def compare(
    first: Circuit,
    second: Circuit,
    *,
    names: tuple[str, str] = ("first", "second"),
    align: Align | None = None,
) -> CircuitDiff:
    """Compare two circuits: of two prompts, or before and after an edit.

    Parameters
    ----------
    first, second
        The circuits.
    names
        What to call them.
    align
        ``"node"`` takes nodes for the same where site, kind, index and position are equal,
        ``"feature"`` where site, kind and index are: effects, and weights between, are summed over
        positions first. None aligns by node where both circuits have the same tokens or are summed
        over positions already, and by feature otherwise.

    Returns
    -------
    CircuitDiff

    Raises
    ------
    InputError
        The two measure different metrics, or one name is given twice.
    """
    if names[0] == names[1]:
        raise InputError(f"the two circuits need two names, got {names[0]!r} twice")
    if first.metric != second.metric:
        raise InputError(
            f"the circuits explain different metrics ({first.metric} and {second.metric}), so that "
            "effects cannot be subtracted"
        )
    same = first.tokens == second.tokens and first.aggregate == second.aggregate
    chosen: Align = align or ("node" if same else "feature")
    if chosen not in ("node", "feature"):
        raise InputError(f"align must be 'node' or 'feature', got {align!r}")
    sides = (first, second)
    folded = [_fold(one) for one in sides] if chosen == "feature" else list(sides)
    return _joined(first, second, folded, names, chosen)


def _fold(circuit: Circuit) -> Circuit:
    """Return the circuit summed over positions."""
    nodes = circuit.nodes
    keys = np.stack([nodes.site, nodes.kind, nodes.index], axis=1)
    _, rows, of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    of = of.reshape(-1)
    # In order of first appearance, which is the order of computation.
    rank = np.empty(len(rows), np.int64)
    rank[np.argsort(rows)] = np.arange(len(rows))
    rows, of = np.sort(rows), rank[of]
    summed = nodes.take(rows)
    sums: dict[str, Any] = {
        name: np.bincount(of, getattr(nodes, name), len(rows)).astype(np.float32)
        for name in ("effect", "activation", "patch_activation")
    }
    summed = dataclasses.replace(summed, position=np.full(len(rows), -1), **sums)
    edges = circuit.edges
    pair = of[edges.source] * len(rows) + of[edges.target]
    distinct, at = np.unique(pair, return_inverse=True)
    weight = np.bincount(at.reshape(-1), edges.weight, len(distinct)).astype(np.float32)
    folded = Edges(source=distinct // len(rows), target=distinct % len(rows), weight=weight)
    return dataclasses.replace(circuit, nodes=summed, edges=folded, tokens=())


def _joined(
    first: Circuit,
    second: Circuit,
    folded: list[Circuit],
    names: tuple[str, str],
    align: Align,
) -> CircuitDiff:
    """Return the union of two circuits whose nodes are aligned by name."""
    own = [one.nodes.names() for one in folded]
    union = list(dict.fromkeys([*own[0], *own[1]]))
    place = {name: row for row, name in enumerate(union)}
    at = [np.array([place[name] for name in side], np.int64) for side in own]
    effects, presence = [np.zeros(len(union), np.float32) for _ in own], np.zeros(len(union), int)
    for number, (one, rows) in enumerate(zip(folded, at, strict=True)):
        effects[number][rows] = one.nodes.effect
        presence[rows] += number + 1
    pairs: dict[tuple[int, int], int] = {}
    for one, rows in zip(folded, at, strict=True):
        for source, target in zip(rows[one.edges.source], rows[one.edges.target], strict=True):
            pairs.setdefault((int(source), int(target)), len(pairs))
    weights = [np.zeros(len(pairs), np.float32) for _ in own]
    for number, (one, rows) in enumerate(zip(folded, at, strict=True)):
        ends = zip(rows[one.edges.source], rows[one.edges.target], strict=True)
        where = [pairs[int(source), int(target)] for source, target in ends]
        weights[number][where] = one.edges.weight
    ends_of = np.array(list(pairs), np.int64).reshape(-1, 2)
    made = CircuitDiff(
        provenance=second.provenance,
        nodes=dataclasses.replace(
            _union_nodes(folded, at, len(union)), effect=effects[1] - effects[0]
        ),
        edges=Edges(source=ends_of[:, 0], target=ends_of[:, 1], weight=weights[1] - weights[0]),
        tokens=first.tokens if align == "node" and first.tokens == second.tokens else (),
        metric=first.metric,
        method=first.method if first.method == second.method else "mixed",
        aggregate="sum" if align == "feature" else first.aggregate,
        baseline=first.baseline if first.baseline == second.baseline else "mixed",
        settings={"first": _origin(first), "second": _origin(second)},
        sides=Sides(
            names=names,
            presence=presence,
            effects=(effects[0], effects[1]),
            weights=(weights[0], weights[1]),
        ),
        aligned=align,
    )
    session = second.session or first.session
    return made.bound_to(session) if session is not None else made


def _union_nodes(folded: list[Circuit], at: list[np.ndarray], count: int) -> Nodes:
    sites = tuple(dict.fromkeys([*folded[0].nodes.sites, *folded[1].nodes.sites]))
    columns: dict[str, np.ndarray] = {}
    for name in ("kind", "index", "position", "layer", "activation", "patch_activation"):
        column = np.zeros(count, getattr(folded[0].nodes, name).dtype)
        # The second circuit's own figures stand where both have the node.
        for one, rows in zip(folded, at, strict=True):
            column[rows] = getattr(one.nodes, name)
        columns[name] = column
    site = np.zeros(count, np.int32)
    for one, rows in zip(folded, at, strict=True):
        code = np.array([sites.index(name) for name in one.nodes.sites], np.int32)
        site[rows] = code[one.nodes.site]
    return Nodes(sites=sites, site=site, effect=np.zeros(count, np.float32), **columns)


def _origin(circuit: Circuit) -> dict[str, Any]:
    return {
        "model": circuit.provenance.model,
        "fingerprint": circuit.provenance.model_fingerprint,
        "examples": circuit.n_pairs,
        "method": circuit.method,
        "created": circuit.provenance.created,
    }
