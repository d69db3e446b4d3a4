"""Steering: interventions as data, generation under them, sweeps, and methods that find them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.steering.compiled import Cancelled
    from workbench.steering.generate import SteeredTexts
    from workbench.steering.intervention import Intervention, PosteriorTable
    from workbench.steering.positions import Condition, Positions
    from workbench.steering.recipe import Recipe
    from workbench.steering.targets import Dimensions, Feature, Head, Vector

_HOMES = {
    "Cancelled": "compiled",
    "Condition": "positions",
    "Dimensions": "targets",
    "Feature": "targets",
    "Head": "targets",
    "Intervention": "intervention",
    "Positions": "positions",
    "PosteriorTable": "intervention",
    "Recipe": "recipe",
    "SteeredTexts": "generate",
    "Vector": "targets",
}

__all__ = [
    "Cancelled",
    "Condition",
    "Dimensions",
    "Feature",
    "Head",
    "Intervention",
    "Positions",
    "PosteriorTable",
    "Recipe",
    "SteeredTexts",
    "Vector",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
