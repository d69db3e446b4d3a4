"""The feature index: every feature of every SAE over a corpus, in one pass."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.features.index.api import index, open_index, remove_index
    from workbench.features.index.build import IndexBuild
    from workbench.features.index.contexts import Context, ContextGroup
    from workbench.features.index.corpus import Corpus, Document, as_corpus
    from workbench.features.index.estimate import IndexEstimate
    from workbench.features.index.progress import Progress
    from workbench.features.index.queries import FeatureIndex, FeatureProfile
    from workbench.features.index.settings import IndexSettings
    from workbench.features.index.statistics import Histogram

_HOMES = {
    "Context": "contexts",
    "ContextGroup": "contexts",
    "Corpus": "corpus",
    "Document": "corpus",
    "FeatureIndex": "queries",
    "FeatureProfile": "queries",
    "Histogram": "statistics",
    "IndexBuild": "build",
    "IndexEstimate": "estimate",
    "IndexSettings": "settings",
    "Progress": "progress",
    "as_corpus": "corpus",
    "index": "api",
    "open_index": "api",
    "remove_index": "api",
}

__all__ = [
    "Context",
    "ContextGroup",
    "Corpus",
    "Document",
    "FeatureIndex",
    "FeatureProfile",
    "Histogram",
    "IndexBuild",
    "IndexEstimate",
    "IndexSettings",
    "Progress",
    "as_corpus",
    "index",
    "open_index",
    "remove_index",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
