"""Sparse feature circuits: node effects, edges, the circuit graph, and what is done with it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.circuits.discovery import discover
    from workbench.circuits.estimate import CircuitEstimate
    from workbench.circuits.graph import Circuit
    from workbench.circuits.metrics import (
        CustomMetric,
        KullbackLeibler,
        LogitDifference,
        Metric,
        NegativeLogit,
        NegativeLogProbability,
        ProbeLogit,
    )
    from workbench.circuits.pairs import PromptPair, PromptPairs, load_pairs
    from workbench.circuits.tables import Edges, Nodes, SiteSums

_HOMES = {
    "Circuit": "graph",
    "CircuitEstimate": "estimate",
    "CustomMetric": "metrics",
    "Edges": "tables",
    "KullbackLeibler": "metrics",
    "LogitDifference": "metrics",
    "Metric": "metrics",
    "NegativeLogProbability": "metrics",
    "NegativeLogit": "metrics",
    "Nodes": "tables",
    "ProbeLogit": "metrics",
    "PromptPair": "pairs",
    "PromptPairs": "pairs",
    "SiteSums": "tables",
    "discover": "discovery",
    "load_pairs": "pairs",
}

__all__ = [
    "Circuit",
    "CircuitEstimate",
    "CustomMetric",
    "Edges",
    "KullbackLeibler",
    "LogitDifference",
    "Metric",
    "NegativeLogProbability",
    "NegativeLogit",
    "Nodes",
    "ProbeLogit",
    "PromptPair",
    "PromptPairs",
    "SiteSums",
    "discover",
    "load_pairs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
