"""Features: references and sets, reading them on text, the feature index, pages, lists."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.features.dashboard import Context, ContextGroup, Dashboard
    from workbench.features.lists import FeatureLists
    from workbench.features.page import feature
    from workbench.features.reading import Reading, SaeReading, read
    from workbench.features.refs import FeatureRef, FeatureSet

_HOMES = {
    "Context": "dashboard",
    "ContextGroup": "dashboard",
    "Dashboard": "dashboard",
    "FeatureLists": "lists",
    "FeatureRef": "refs",
    "FeatureSet": "refs",
    "Reading": "reading",
    "SaeReading": "reading",
    "feature": "page",
    "read": "reading",
}

__all__ = [
    "Context",
    "ContextGroup",
    "Dashboard",
    "FeatureLists",
    "FeatureRef",
    "FeatureSet",
    "Reading",
    "SaeReading",
    "feature",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
