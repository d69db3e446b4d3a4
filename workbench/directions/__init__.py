"""Directions: entity recognition, probes, and the methods that find a concept's direction."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.directions.concept_results import ConceptComparison, ConceptStudy
    from workbench.directions.concept_sets import ConceptSet, read_concepts
    from workbench.directions.concepts import compare_concepts, concept
    from workbench.directions.direction import Direction
    from workbench.directions.probe_results import Probe, ProbeStudy
    from workbench.directions.probes import probe
    from workbench.directions.token_scores import TokenScores

_HOMES = {
    "ConceptComparison": "concept_results",
    "ConceptSet": "concept_sets",
    "ConceptStudy": "concept_results",
    "Direction": "direction",
    "Probe": "probe_results",
    "ProbeStudy": "probe_results",
    "TokenScores": "token_scores",
    "compare_concepts": "concepts",
    "concept": "concepts",
    "probe": "probes",
    "read_concepts": "concept_sets",
}

__all__ = [
    "ConceptComparison",
    "ConceptSet",
    "ConceptStudy",
    "Direction",
    "Probe",
    "ProbeStudy",
    "TokenScores",
    "compare_concepts",
    "concept",
    "probe",
    "read_concepts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
