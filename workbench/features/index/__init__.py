"""The feature index: every feature of every SAE over a corpus, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.lazy import lazily

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

__getattr__, __dir__ = lazily(__name__, _HOMES)
