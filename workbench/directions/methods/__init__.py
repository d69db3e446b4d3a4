"""Methods of finding a concept, behind one interface (Wu et al. 2025, AxBench)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.directions.methods.base import ConceptData, Found, Method, UnavailableError
from workbench.directions.methods.features import LabelledFeature, SelectedFeature
from workbench.directions.methods.linear import (
    DiffMean,
    LinearArtificialTomography,
    LinearProbe,
    PrincipalComponent,
)
from workbench.directions.methods.text import BagOfWords, PromptBaseline
from workbench.directions.methods.trained import RankOneReft, SteeringVector
from workbench.errors import InputError, unknown

__all__ = [
    "METHODS",
    "BagOfWords",
    "ConceptData",
    "DiffMean",
    "Found",
    "LabelledFeature",
    "LinearArtificialTomography",
    "LinearProbe",
    "Method",
    "PrincipalComponent",
    "PromptBaseline",
    "RankOneReft",
    "SelectedFeature",
    "SteeringVector",
    "UnavailableError",
    "choose_methods",
]

METHODS: Mapping[str, type[Method]] = {
    kind.name: kind
    for kind in (
        DiffMean,
        PrincipalComponent,
        LinearArtificialTomography,
        LinearProbe,
        SteeringVector,
        RankOneReft,
        LabelledFeature,
        SelectedFeature,
        PromptBaseline,
        BagOfWords,
    )
}
"""All methods by name, with the settings of the paper as defaults."""


def choose_methods(given: Sequence[str | Method] | None) -> tuple[Method, ...]:
    """Turn names and instances into methods; None gives all.

    Raises
    ------
    InputError
        A name is unknown or two methods have the same name.
    """
    if isinstance(given, str | Method):
        given = [given]
    chosen = []
    for item in METHODS if given is None else given:
        if isinstance(item, Method):
            chosen.append(item)
        elif item in METHODS:
            chosen.append(METHODS[item]())
        else:
            raise InputError(unknown("method", str(item), METHODS))
    names = [method.name for method in chosen]
    if not chosen or len(set(names)) < len(names):
        raise InputError(f"expected different methods, at least one, got {names}")
    return tuple(chosen)
