"""Sparse feature circuits: node effects, edges, the circuit graph, and what is done with it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.circuits.graph import Circuit
    from workbench.circuits.tables import Edges, Nodes, SiteSums

_HOMES = {
    "Circuit": "graph",
    "Edges": "tables",
    "Nodes": "tables",
    "SiteSums": "tables",
}

__all__ = ["Circuit", "Edges", "Nodes", "SiteSums"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
