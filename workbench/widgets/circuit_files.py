"""What the circuit view writes and reads: subgraphs, circuits, attribution graphs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.circuits.graph import Circuit
from workbench.errors import LoadError

if TYPE_CHECKING:
    from workbench.widgets.circuit import CircuitView

__all__ = ["MOST_BYTES", "graph_text", "one_side", "opened", "strong_edges", "subgraph_text"]

_KIND = "workbench circuit view"
MOST_BYTES = 512 << 20
_SAVED = ("pinned", "supernodes", "focus")


def strong_edges(circuit: Circuit, threshold: float) -> Circuit:
    """Return a circuit without its edges of |weight| at or below a threshold."""
    keep = np.abs(circuit.edges.weight) > threshold
    changes: dict[str, Any] = {"edges": circuit.edges.take(keep)}
    sides: Any = getattr(circuit, "sides", None)
    if sides is not None:
        weights = (sides.weights[0][keep], sides.weights[1][keep])
        changes["sides"] = dataclasses.replace(sides, weights=weights)
    return dataclasses.replace(circuit, **changes).bound_to(circuit.session)


def one_side(circuit: Any, side: int) -> Circuit:
    """Return the union of a comparison with the effects of one of the two."""
    sides = circuit.sides
    nodes = dataclasses.replace(circuit.nodes, effect=sides.effects[side - 1])
    edges = dataclasses.replace(circuit.edges, weight=sides.weights[side - 1])
    return dataclasses.replace(circuit, nodes=nodes, edges=edges)


def subgraph_text(view: CircuitView) -> str:
    """Return what a view shows as JSON: the circuit, and what was pinned and grouped in it."""
    small = view.subgraph
    names = set(small.nodes.names())
    groups = [
        {**group, "nodes": [name for name in group["nodes"] if name in names]}
        for group in view.supernodes
    ]
    document = {
        "kind": _KIND,
        "schema_version": 1,
        "circuit": _plain(small),
        "view": {
            "pinned": [name for name in view.pinned if name in names],
            "supernodes": [group for group in groups if group["nodes"]],
            "focus": view.focus if view.focus in names else "",
        },
    }
    return json.dumps(document, ensure_ascii=False)


def _plain(circuit: Circuit) -> Any:
    if getattr(circuit, "source", None) is not None:
        from workbench.interchange.attribution_graph_write import document_of

        return document_of(circuit)
    return json.loads(Circuit.to_json(circuit))


def graph_text(view: CircuitView) -> tuple[str, list[str]]:
    """Return what a view shows as an attribution graph, and what that format cannot hold."""
    from workbench.interchange.attribution_graph_write import document_of, lost

    small = view.subgraph
    document = document_of(
        small, labels=view.labels, pinned=view.pinned, supernodes=view.supernodes
    )
    return json.dumps(document, ensure_ascii=False), lost(small)


def opened(text: str, name: str) -> tuple[Circuit, dict[str, Any]]:
    """Read a saved subgraph, a circuit or an attribution graph.

    Returns
    -------
    tuple
        The circuit, and traits of the view that go with it.

    Raises
    ------
    LoadError
        None of the three, or damaged.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{name} is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise LoadError(f"{name}: expected a JSON object, got {type(document).__name__}")
    if document.get("kind") != _KIND:
        return _circuit(document, text, name), {}
    if document.get("schema_version") != 1 or not isinstance(document.get("circuit"), dict):
        found = document.get("schema_version")
        raise LoadError(f"{name} has schema version {found!r}, this version reads 1")
    inner = document["circuit"]
    circuit = _circuit(inner, json.dumps(inner), name)
    state = document.get("view")
    return circuit, _state(state if isinstance(state, dict) else {}, circuit, name)


def _circuit(document: Mapping[str, Any], text: str, name: str) -> Circuit:
    if {"nodes", "links", "metadata"} <= set(document):
        from workbench.interchange.attribution_graph import load

        return load(document)
    if document.get("kind") == "workbench circuit":
        return Circuit.from_json(text)
    raise LoadError(
        f'{name} is neither a circuit ("kind": "workbench circuit"), a saved subgraph '
        f'("{_KIND}") nor an attribution graph ("metadata", "nodes", "links")'
    )


def _state(state: Mapping[str, Any], circuit: Circuit, name: str) -> dict[str, Any]:
    """Return the saved traits that fit the circuit."""
    names = set(circuit.nodes.names())
    pinned, groups, focus = (state.get(key) for key in _SAVED)
    for key, value in (("pinned", pinned), ("supernodes", groups)):
        if value is not None and not isinstance(value, list):
            raise LoadError(f"{name}: view.{key} should be a list, got {type(value).__name__}")
    return {
        "pinned": [node for node in pinned or [] if node in names],
        "supernodes": [group for group in groups or [] if isinstance(group, dict)],
        "focus": focus if isinstance(focus, str) and focus in names else "",
    }
