"""The feature browser: all features of all indexed SAEs as one table, searched and mapped."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.features.browse_query import BrowseQuery, checked
from workbench.features.browse_table import BrowseTable
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from workbench.features.index.queries import FeatureIndex
    from workbench.session import Session

__all__ = ["MOST_HITS", "FeatureBrowser", "browse"]

MOST_HITS = 10_000
"""Features a search in the browser keeps, best first."""

_TABLES: weakref.WeakKeyDictionary[FeatureIndex, BrowseTable] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FeatureBrowser(Result):
    """All features of a feature index.

    Parameters
    ----------
    index_path
        Folder of the index; the table is read from there.
    saes
        Names of its SAEs.
    n_features
        Features of all of them together.
    n_counted
        Tokens counted in the statistics.
    partial
        Whether the index is still being built.

    Examples
    --------
    >>> browser = session.features  # doctest: +SKIP
    >>> browser.page(where=[("density", "<", 0.01)], order_by="max")  # doctest: +SKIP
    >>> browser.search("cities").features  # doctest: +SKIP
    """

    view_class = "workbench.widgets.browser:FeatureBrowserView"

    index_path: str
    saes: tuple[str, ...]
    n_features: int
    n_counted: int
    partial: bool = False

    @property
    def table(self) -> BrowseTable:
        """The table in memory, with the labels known now.

        Raises
        ------
        LoadError
            The index is gone or damaged.
        """
        held: BrowseTable | None = self.__dict__.get("_table")
        if held is None:
            index = self.index
            held = _TABLES.get(index)
            if held is None:
                held = _TABLES[index] = BrowseTable.of_index(index)
            self.__dict__["_table"] = held
        if self.session is not None and not self.session.closed:
            from workbench.features.search import labels

            held.set_labels(labels(self.session))
        return held

    @property
    def index(self) -> FeatureIndex:
        """The index the table is of."""
        from workbench.features.index import FeatureIndex

        held: FeatureIndex | None = self.__dict__.get("_index")
        if held is None:
            held = FeatureIndex(self.index_path)
            self.__dict__["_index"] = held
        return held

    def add_map(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Lay the map of decoder directions (``map_x``, ``map_y``) beside the statistics.

        It is computed once, kept beside the index, and can then be sorted by and filtered on.

        Parameters
        ----------
        progress
            Told how many steps are done, of how many.

        Raises
        ------
        InputError
            It was never computed and there is no session to compute it with.
        """
        from workbench.features.browse_map import decoder_map, stored_map

        table = self.table
        if table.mapped:
            return
        places = stored_map(self.index)
        if places is None:
            if self.session is None or self.session.closed:
                raise InputError("the map is computed from the SAEs' weights, which need a session")
            places = decoder_map(self.session, self.index, progress)
        table.set_map(places)

    def query(
        self,
        *,
        where: Iterable[tuple[str, str, Any]] = (),
        order_by: str | None = None,
        descending: bool = True,
        search: str = "",
        kind: str = "label",
        only: Iterable[str | FeatureRef] | None = None,
    ) -> BrowseQuery:
        """Put a query together.

        Parameters
        ----------
        where, order_by, descending
            As for `BrowseQuery`; the order is by score with `search`, by density without, unless
            `order_by` says else.
        search, kind
            What to search for, and how: as for `workbench.features.search.find`. The best 10,000
            are kept.
        only
            Only these features.

        Raises
        ------
        InputError
            A column or an operator is unknown, a value does not fit its column, or the search
            cannot be made.
        """
        hits = None
        if search.strip():
            if self.session is None:
                raise InputError("searching needs a session; this browser is bound to none")
            from workbench.features import search as searching

            hits = searching.search(self.session, search, kind, saes=self.saes, limit=MOST_HITS)
        return BrowseQuery(
            where=checked(where, self.table.columns, self.saes),
            order_by=order_by or ("score" if hits else "density"),
            descending=descending,
            hits=hits,
            only=None if only is None else FeatureSet.of(only).refs,
        )

    def page(self, *, first: int = 0, count: int | None = 100, **query: Any) -> pd.DataFrame:
        """Return rows of the table; keywords as for `query`.

        Raises
        ------
        InputError
            A column or an operator is unknown, or a value does not fit its column.
        """
        return self.table.page(self.query(**query), first, count)

    def count(self, **query: Any) -> int:
        """Return how many features a query gives."""
        return len(self.table.order(self.query(**query)))

    def features(self, most: int | None = None, **query: Any) -> FeatureSet:
        """Return the features of a query, in its order."""
        return self.table.features(self.query(**query), most)

    def to_pandas(self) -> pd.DataFrame:
        """Return every feature with its statistics and label."""
        return self.page(count=None, order_by="feature", descending=False)

    def _repr_html_(self) -> str:
        import html

        rows = self.page(count=20).to_html(escape=True, index=False)
        return f"<div>{html.escape(self.summary())}</div>{rows}"

    def summary(self) -> str:
        """Return one line: features, SAEs, tokens."""
        state = ", partial index" if self.partial else ""
        return (
            f"FeatureBrowser: {self.n_features:,} features of {len(self.saes)} SAEs over "
            f"{self.n_counted:,} counted tokens{state}"
        )


def browse(session: Session) -> FeatureBrowser:
    """Return the browser of the session's feature index.

    Raises
    ------
    InputError
        No index is open.
    """
    index = session.opened_index
    if index is None:
        raise InputError(
            "the features are listed from a feature index, and none is open: make or open one with "
            "session.index(corpus, path)"
        )
    made = FeatureBrowser(
        provenance=index.provenance,
        index_path=str(index.path),
        saes=index.saes,
        n_features=index.n_features,
        n_counted=index.n_counted,
        partial=index.partial,
    ).bound_to(session)
    made.__dict__["_index"] = index
    return made
