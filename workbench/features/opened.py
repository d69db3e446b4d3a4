"""The feature index a session's dashboards read, finished or still being built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.features.index.build import IndexBuild
    from workbench.features.index.queries import FeatureIndex

__all__ = ["OpenedIndex"]

# A partial index is put together again once it holds this many times the tokens it held.
_GROWTH = 1.5


class OpenedIndex:
    """Keeps the last index made or opened; follows a build that runs in the background."""

    def __init__(self) -> None:
        self._index: FeatureIndex | None = None
        self._build: IndexBuild | None = None
        self._due = 0.0

    def take(self, made: Any) -> None:
        """Keep what `index` returned; estimates are no index and change nothing."""
        from workbench.features.index import FeatureIndex, IndexBuild

        if isinstance(made, FeatureIndex):
            self._index, self._build = made, None
        elif isinstance(made, IndexBuild):
            self._build, self._due = made, 0.0

    @property
    def current(self) -> FeatureIndex | None:
        """The index as it is now; None where there is none, or no part of it is done."""
        build = self._build
        if build is None:
            return self._index
        done, tokens = build.done, build.progress.tokens
        if done or tokens > self._due:
            try:
                self._index = build.index()
            except WorkbenchError:
                # No part is done yet; what was there before goes on being used.
                return self._index
            self._due = tokens * _GROWTH
            if done:
                self._build = None
        return self._index
