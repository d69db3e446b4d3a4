"""Directions: entity recognition, probes, and the methods that find a concept's direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.directions.concept_comparison import compare_concepts
    from workbench.directions.concept_results import ConceptComparison, ConceptStudy
    from workbench.directions.concept_separability import Separability, separability
    from workbench.directions.concept_sets import ConceptSet, read_concepts
    from workbench.directions.concepts import concept
    from workbench.directions.direction import Direction
    from workbench.directions.polysemy import SensePairs, ps_eval
    from workbench.directions.probe_results import Probe, ProbeStudy
    from workbench.directions.probes import probe
    from workbench.directions.supervised_bound import UpperBound, upper_bound
    from workbench.directions.token_scores import TokenScores

_HOMES = {
    "ConceptComparison": "concept_results",
    "ConceptSet": "concept_sets",
    "ConceptStudy": "concept_results",
    "Direction": "direction",
    "Probe": "probe_results",
    "ProbeStudy": "probe_results",
    "SensePairs": "polysemy",
    "Separability": "concept_separability",
    "TokenScores": "token_scores",
    "UpperBound": "supervised_bound",
    "compare_concepts": "concept_comparison",
    "concept": "concepts",
    "probe": "probes",
    "ps_eval": "polysemy",
    "read_concepts": "concept_sets",
    "separability": "concept_separability",
    "upper_bound": "supervised_bound",
}

__all__ = [
    "ConceptComparison",
    "ConceptSet",
    "ConceptStudy",
    "Direction",
    "Probe",
    "ProbeStudy",
    "SensePairs",
    "Separability",
    "TokenScores",
    "UpperBound",
    "compare_concepts",
    "concept",
    "probe",
    "ps_eval",
    "read_concepts",
    "separability",
    "upper_bound",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
