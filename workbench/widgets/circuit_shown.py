"""What of a circuit is on screen: the same rules as ``widgets/src/circuit/data.ts``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from jaxtyping import Bool

from workbench.circuits.tables import NODE_KINDS

if TYPE_CHECKING:
    import pandas as pd

    from workbench.circuits.graph import Circuit

__all__ = ["Supernode", "nodes_shown", "start_thresholds", "table_of"]

# A first picture that can be taken in: more is a slider's movement away.
_NODES_AT_START = 120
_EDGES_AT_START = 500


class Supernode(TypedDict):
    """Nodes that stand for one thing; ``collapsed`` draws them as one."""

    name: str
    nodes: list[str]
    collapsed: bool


def nodes_shown(
    circuit: Circuit,
    *,
    node_threshold: float,
    edge_threshold: float,
    hidden_kinds: Collection[str],
    hidden_sites: Collection[str],
    sign: str,
    only: str,
    pinned: Collection[str],
    focus: str,
) -> Bool[np.ndarray, " n"]:
    """Return which nodes are shown.

    Tokens and outputs stay at every threshold: they are what the circuit is about. A pinned node
    stays at every threshold too, and the node in focus whatever is filtered.
    """
    nodes = circuit.nodes
    names = nodes.names()
    in_focus = np.array([name == focus for name in names], bool)
    pins = set(pinned)
    kept = np.array([name in pins for name in names], bool)
    kind_ok = np.array([kind not in hidden_kinds for kind in NODE_KINDS])[nodes.kind]
    site_ok = np.array([site not in hidden_sites for site in nodes.sites], bool)[nodes.site]
    strong = np.abs(nodes.effect) > node_threshold
    if sign == "positive":
        strong &= nodes.effect > 0
    elif sign == "negative":
        strong &= ~(nodes.effect > 0)
    strong |= nodes.is_kind("token") | nodes.is_kind("output")
    if only == "pinned":
        strong[:] = False
    elif only == "linked" and in_focus.any():
        edges = circuit.edges
        centre = int(np.flatnonzero(in_focus)[0])
        strong_edge = np.abs(edges.weight) > edge_threshold
        near = np.zeros(len(nodes), bool)
        near[edges.target[strong_edge & (edges.source == centre)]] = True
        near[edges.source[strong_edge & (edges.target == centre)]] = True
        strong &= near
    return np.asarray(in_focus | (kind_ok & site_ok & (kept | strong)))


def start_thresholds(circuit: Circuit) -> dict[str, float]:
    """Return thresholds at which a first picture holds about 120 nodes and 500 edges."""

    def level(values: np.ndarray, count: int) -> float:
        sizes = np.sort(np.abs(values))[::-1]
        return float(sizes[count]) if len(sizes) > count else 0.0

    nodes, edges = circuit.nodes, circuit.edges
    node = level(nodes.effect, _NODES_AT_START)
    strong = np.abs(nodes.effect) > node
    between = strong[edges.source] & strong[edges.target] if len(edges) else np.zeros(0, bool)
    return {
        "node_threshold": node,
        "edge_threshold": level(edges.weight[between], _EDGES_AT_START),
    }


def table_of(circuit: Circuit, labels: list[str | None], rows: Any) -> pd.DataFrame:
    """Return nodes as a table with their labels, strongest first."""
    import pandas as pd

    table = circuit.nodes.to_pandas()
    # Objects and not pandas' strings: a missing label is None, and any text can be one.
    table.insert(1, "label", pd.Series(labels, index=table.index, dtype=object))
    sides: Any = getattr(circuit, "sides", None)
    if sides is not None:
        for name, effect in zip(sides.names, sides.effects, strict=True):
            table[f"effect in {name}"] = effect
    chosen = np.asarray(rows)
    chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    order = chosen[np.argsort(-np.abs(circuit.nodes.effect[chosen]), kind="stable")]
    return table.iloc[order]


def valid_supernodes(value: list[Mapping[str, Any]], names: Collection[str]) -> list[Supernode]:
    """Return supernodes with each node in one of them at most, and empty ones left out.

    Raises
    ------
    ValueError
        Not of the form ``{"name": str, "nodes": [str], "collapsed": bool}``.
    """
    known, taken = set(names), set[str]()
    found: list[Supernode] = []
    for one in value:
        nodes = one.get("nodes") if isinstance(one, Mapping) else None
        if not isinstance(nodes, list | tuple) or not isinstance(one.get("name"), str):
            raise ValueError(
                'a supernode is {"name": text, "nodes": [node names], "collapsed": bool}; '
                f"got {one!r:.120}"
            )
        fresh = [str(n) for n in dict.fromkeys(nodes) if n in known and n not in taken]
        taken.update(fresh)
        if fresh:
            collapsed = bool(one.get("collapsed", True))
            found.append({"name": one["name"], "nodes": fresh, "collapsed": collapsed})
    return found
