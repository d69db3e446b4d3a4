"""Features: references and sets, reading them on text, the feature index, pages, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.lazy import lazily

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

__getattr__, __dir__ = lazily(__name__, _HOMES)
