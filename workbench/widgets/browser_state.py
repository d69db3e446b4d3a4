"""The feature browser's state: what is asked, brushed and picked, checked against the table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import traitlets

from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.widgets.browser_answers import Answer, Answers, Question
from workbench.widgets.browser_page import MAP, setup
from workbench.widgets.browser_words import KINDS, UNSET, code, joined
from workbench.widgets.feature_sending import SendingView

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.browse import FeatureBrowser

__all__ = ["ASKED", "MOST_PICKED", "MOST_SELECTED", "BrowserState"]

MOST_SELECTED = 100_000
MOST_PICKED = 10_000
ASKED = ("search", "kind", "where", "order_by", "descending", "x", "y", "brush", "only")
"""State that decides which rows there are and in which order."""


class BrowserState(SendingView):
    """State of the feature browser; `workbench.widgets.browser.FeatureBrowserView` shows it.

    Parameters
    ----------
    browser
        The browser.
    **traits
        Initial state.
    """

    search = traitlets.Unicode("").tag(sync=True)
    kind = traitlets.Enum(tuple(KINDS), "label").tag(sync=True)
    where: traitlets.List[Any] = traitlets.List().tag(sync=True)
    order_by = traitlets.Unicode("").tag(sync=True)
    descending = traitlets.Bool(True).tag(sync=True)
    columns = traitlets.List(traitlets.Unicode(), ["density", "max", "mean"]).tag(sync=True)
    plot = traitlets.Enum(("scatter", "none"), "scatter").tag(sync=True)
    x = traitlets.Unicode("density").tag(sync=True)
    y = traitlets.Unicode("max").tag(sync=True)
    brush = traitlets.List(traitlets.Float()).tag(sync=True)
    only = traitlets.List(traitlets.Unicode()).tag(sync=True)
    features_picked = traitlets.List(traitlets.Unicode()).tag(sync=True)
    feature = traitlets.Unicode("").tag(sync=True)
    browser = traitlets.Any()

    # Counts what changes the rows without changing the question: labels, lists, a grown index.
    _revision = traitlets.Int(0).tag(sync=True)
    _code = traitlets.Unicode("").tag(sync=True)

    def __init__(self, browser: FeatureBrowser, **traits: Any) -> None:
        self._session = browser.session
        self._answers = Answers(browser)
        self._quiet = self._on_screen = False
        # What a question selects whose state has not arrived yet.
        self._ahead: tuple[Question, FeatureSet] | None = None
        # Axes come before what is brushed on them.
        brush = traits.pop("brush", [])
        super().__init__(**{"browser": browser, **traits})
        self.observe(self._follow, ["features_picked", *ASKED])
        self.observe(self._pick, "selection")
        self.observe(self._unbrush, ["x", "y"])
        self.observe(self._write_code, list(UNSET))
        self.brush = brush
        self._follow(None)
        self._write_code(None)

    # What is shown

    @property
    def table(self) -> pd.DataFrame:
        """The rows of the table on screen, all of them, in its order."""
        answer = self._answered()
        return answer.table.gather(answer.order, answer.query.hits)

    @property
    def count(self) -> int:
        """How many features the table on screen has."""
        return len(self._answered().order)

    def features(self, most: int | None = None) -> FeatureSet:
        """Return the features of the table on screen, in its order, at most so many."""
        return self._answered().features(0, most)

    def _answered(self) -> Answer:
        return self._answers.answer(self._question)

    @property
    def _question(self) -> Question:
        return self._question_of({name: getattr(self, name) for name in ASKED})

    def _question_of(self, state: Mapping[str, Any]) -> Question:
        """Read what a state asks; the screen's own may be ahead of the traits here."""
        return Question(
            search=state["search"],
            kind=state["kind"],
            where=tuple(
                (column, operator, tuple(value) if isinstance(value, list) else value)
                for column, operator, value in state["where"]
            ),
            order_by=state["order_by"],
            descending=state["descending"],
            axes=(state["x"], state["y"]),
            brush=tuple(state["brush"]),
            only=FeatureSet.of(state["only"]).refs,
            revision=self._revision,
        )

    # State

    @traitlets.validate("where")
    def _valid_where(self, proposal: Mapping[str, Any]) -> list[list[Any]]:
        from workbench.features.browse_query import checked

        made = checked(proposal["value"], self._names, self.browser.saes)
        return [
            [column, operator, list(value) if isinstance(value, tuple) else value]
            for column, operator, value in made
        ]

    @traitlets.validate("order_by")
    def _valid_order(self, proposal: Mapping[str, Any]) -> str:
        if proposal["value"] not in ("", "score"):
            _known("column", proposal["value"], self._names)
        return cast(str, proposal["value"])

    @traitlets.validate("columns")
    def _valid_columns(self, proposal: Mapping[str, Any]) -> list[str]:
        for name in proposal["value"]:
            _known("column of numbers", name, self._numbers)
        return list(dict.fromkeys(proposal["value"]))

    @traitlets.validate("x", "y")
    def _valid_axis(self, proposal: Mapping[str, Any]) -> str:
        _known("column of numbers", proposal["value"], self._numbers)
        return cast(str, proposal["value"])

    @traitlets.validate("brush")
    def _valid_brush(self, proposal: Mapping[str, Any]) -> list[float]:
        value = proposal["value"]
        finite = all(np.isfinite(value))
        if value and not (
            len(value) == 4 and finite and value[0] <= value[1] and value[2] <= value[3]
        ):
            raise InputError(
                f"a brush is [x_low, x_high, y_low, y_high], lows first, or []; got {value}"
            )
        return cast(list[float], value)

    @traitlets.validate("features_picked", "only")
    def _valid_features(self, proposal: Mapping[str, Any]) -> list[str]:
        chosen = FeatureSet.of(proposal["value"])
        if len(chosen) > MOST_PICKED:
            raise InputError(
                f"at most {MOST_PICKED:,} features can be picked, got {len(chosen):,}; brush the "
                "plot, or filter, for more"
            )
        for ref in chosen:
            self._answers.table.row_of(ref)
        return [str(ref) for ref in chosen]

    @traitlets.validate("feature")
    def _valid_feature(self, proposal: Mapping[str, Any]) -> str:
        return str(FeatureRef.parse(proposal["value"])) if proposal["value"] else ""

    @traitlets.validate("selection")
    def _valid_selection(self, proposal: Mapping[str, Any]) -> FeatureSet:
        return FeatureSet.of(proposal["value"])

    @property
    def _numbers(self) -> tuple[str, ...]:
        return (*self._answers.table.statistics, *MAP)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._answers.table.columns, *MAP)))

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take a change made on screen."""
        with self._screen():
            super().set_state(sync_data)

    @contextlib.contextmanager
    def _screen(self) -> Iterator[None]:
        """Leave what follows from a change to the screen, which asks for it without blocking."""
        self._on_screen = True
        try:
            yield
        finally:
            self._on_screen = False

    def _follow(self, _change: Any) -> None:
        """Keep `selection` what the screen shows as selected."""
        if self.features_picked:
            self._select(FeatureSet.of(self.features_picked))
        elif not self.brush:
            self._select(FeatureSet())
        elif not self._on_screen:
            self._select(self.features(MOST_SELECTED))
        elif self._ahead is not None and self._ahead[0] == self._question:
            self._select(self._ahead[1])
        # What else is brushed on screen follows with the answer to its request for rows.

    def _write_code(self, _change: Any) -> None:
        state = {name: getattr(self, name) for name in UNSET}
        self._code = code(setup(self.browser), state)

    def filter(self, text: str) -> None:
        """Add conditions to `where`.

        Parameters
        ----------
        text
            Conditions joined by ``and``: ``density < 1% and alive and label contains "city"``.
            Another SAE joins those there are; a bound takes the place of the same bound.

        Raises
        ------
        InputError
            It is no condition, its column is unknown, or its value does not fit.
        """
        from workbench.features.search_kinds import conditions

        self.where = joined(self.where, conditions(text, self._names))

    def _select(self, chosen: FeatureSet) -> None:
        self._quiet = True
        try:
            self.selection = chosen
        finally:
            self._quiet = False

    def _pick(self, change: Mapping[str, Any]) -> None:
        if not self._quiet:
            self.features_picked = [str(ref) for ref in change["new"]]

    def _unbrush(self, _change: Any) -> None:
        # The screen takes the brush away together with the axes it was on.
        if not self._on_screen:
            self.brush = []


def _known(kind: str, name: str, options: tuple[str, ...]) -> None:
    if name not in options:
        raise InputError(unknown(kind, str(name), options))
