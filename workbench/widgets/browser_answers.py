"""Which rows the feature browser shows: a question put together from state, and its answer."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from workbench.errors import InputError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.widgets.browser_page import MAP

if TYPE_CHECKING:
    from workbench.features.browse import FeatureBrowser
    from workbench.features.browse_plot import Plot
    from workbench.features.browse_query import BrowseQuery, Hits
    from workbench.features.browse_table import BrowseTable

__all__ = ["Answer", "Answers", "Question"]

_KEPT = 4
# One count for all: an answer of another browser is never taken for one of this.
_VERSIONS = itertools.count(1)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the state of the view asks for.

    Parameters
    ----------
    search, kind
        Text searched for, and how; blank for none.
    where
        Conditions: column, operator, value.
    order_by, descending
        Column to sort by; ``""`` for the score of a search and density without one.
    axes, brush
        Columns of the plot, and the ranges brushed on them; ``()`` for none.
    only
        Only these features; empty for all.
    revision
        Counts changes of what the table holds.
    """

    search: str
    kind: str
    where: tuple[tuple[str, str, Any], ...]
    order_by: str
    descending: bool
    axes: tuple[str, str]
    brush: tuple[float, ...]
    only: tuple[FeatureRef, ...]
    revision: int

    @property
    def conditions(self) -> tuple[tuple[str, str, Any], ...]:
        """The conditions, what is brushed among them."""
        if not self.brush:
            return self.where
        (x, y), (left, right, low, high) = self.axes, self.brush
        inside = ((x, ">=", left), (x, "<=", right), (y, ">=", low), (y, "<=", high))
        return (*self.where, *inside)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The rows of one question.

    Parameters
    ----------
    version
        Its number.
    question
        What was asked.
    query
        What it came to.
    table
        The table that `order` counts rows of.
    order
        Rows of the table, in order.
    """

    version: int
    question: Question
    query: BrowseQuery
    table: BrowseTable
    order: Int[np.ndarray, " rows"]

    def features(self, first: int = 0, last: int | None = None) -> FeatureSet:
        """Return the features from one place to before another."""
        table = self.table.gather(self.order[first:last])
        pairs = zip(table["sae"].tolist(), table["feature"].tolist(), strict=True)
        return FeatureSet(tuple(FeatureRef(sae, index) for sae, index in pairs))


class Answers:
    """Answers questions about one browser, and keeps the last few answers.

    Parameters
    ----------
    browser
        The browser.
    """

    def __init__(self, browser: FeatureBrowser) -> None:
        self.browser = browser
        self.table = browser.table
        self._kept: OrderedDict[Question, Answer] = OrderedDict()
        self._hits: tuple[str, str, Any, Hits] | None = None
        self._revision = 0
        self._lock = threading.RLock()

    def answer(self, question: Question, progress: Progress | None = None) -> Answer:
        """Return the rows of a question.

        Raises
        ------
        InputError
            The search cannot be made, or the map cannot be laid out.
        """
        with self._lock:
            self._follow(question.revision)
            found = self._kept.get(question)
            if found is None:
                query = self._query(question, question.conditions, progress)
                found = Answer(
                    version=next(_VERSIONS),
                    question=question,
                    query=query,
                    table=self.table,
                    order=self.table.order(query),
                )
                self._kept[question] = found
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(question)
            return found

    def of_version(self, version: int) -> Answer:
        """Return an answer given before.

        Raises
        ------
        InputError
            It is no longer kept.
        """
        for answer in reversed(self._kept.copy().values()):
            if answer.version == version:
                return answer
        raise InputError("these rows were of an older question; ask again")

    def plot(self, question: Question, progress: Progress | None = None) -> Plot:
        """Lay out the features of a question, those outside the brush too."""
        from workbench.features.browse_plot import plot

        with self._lock:
            self._follow(question.revision)
            x, y = question.axes
            if {x, y} & set(MAP):
                self.browser.add_map(progress)
            query = self._query(question, question.where, progress)
            return plot(self.table, query, x, y, linear=bool({x, y} & set(MAP)))

    def _follow(self, revision: int) -> None:
        """Take the labels as they are now, where they have changed."""
        if revision != self._revision:
            self.table = self.browser.table
            self._kept.clear()
            self._revision = revision

    def _query(
        self,
        question: Question,
        where: tuple[tuple[str, str, Any], ...],
        progress: Progress | None,
    ) -> BrowseQuery:
        from workbench.features.browse_query import BrowseQuery

        hits = self._search(question) if question.search.strip() else None
        order = "" if question.order_by == "score" and hits is None else question.order_by
        if {order, *(condition[0] for condition in where)} & set(MAP):
            self.browser.add_map(progress)
        return BrowseQuery(
            where=where,
            order_by=order or ("density" if hits is None else "score"),
            descending=question.descending,
            hits=hits,
            only=question.only or None,
        )

    def _search(self, question: Question) -> Hits:
        labels = self.table.labels
        if self._hits is not None:
            text, kind, of, hits = self._hits
            if (text, kind) == (question.search, question.kind) and of is labels:
                return hits
        found = self.browser.query(search=question.search, kind=question.kind).hits
        if found is None:
            raise InputError("nothing to search for: the text is empty")
        self._hits = (question.search, question.kind, self.table.labels, found)
        return found
