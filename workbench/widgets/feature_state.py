"""What is shown and what is picked in the feature view: its traits, their checks, its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import traitlets

from workbench.errors import InputError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.widgets.feature_sending import SendingView
from workbench.widgets.feature_tables import brushed_tokens, contexts_table

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.dashboard import ContextGroup, Dashboard

__all__ = ["FeatureState"]


class FeatureState(SendingView):
    """The state of `workbench.widgets.feature.FeatureView`, where it is described."""

    feature = traitlets.Unicode().tag(sync=True)
    history = traitlets.List(traitlets.Unicode()).tag(sync=True)
    place = traitlets.Int(0).tag(sync=True)
    group = traitlets.Enum(
        ("overview", "top", "width", "quantile", "silent", "brush"), "overview"
    ).tag(sync=True)
    window = traitlets.Enum(("5", "10", "whole"), "10").tag(sync=True)
    hide_duplicates = traitlets.Bool(True).tag(sync=True)
    brush = traitlets.List(traitlets.Float()).tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    marked = traitlets.Float(None, allow_none=True).tag(sync=True)
    contexts_picked = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tokens_brushed = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    features_picked = traitlets.List(traitlets.Unicode()).tag(sync=True)
    dashboard = traitlets.Any()

    # What is computed for a gesture, so that every picture of the view shows the same.
    _brushed = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    _tried = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    # What has been visited, and what was sampled from the brushed range.
    _pages: dict[str, Dashboard]
    brushed: ContextGroup | None = None
    _quiet = False

    # What is selected

    @property
    def contexts_selected(self) -> pd.DataFrame:
        """The picked contexts; with none picked, those sampled from the brushed range.

        Columns ``feature``, ``group``, ``document``, ``position``, ``token``, ``value``,
        ``before``, ``after``.
        """
        return contexts_table(self.dashboard, self.brushed, self.contexts_picked)

    @property
    def tokens_selected(self) -> pd.DataFrame:
        """The brushed tokens: ``document``, ``position``, ``token``, ``token_id``, ``value``."""
        return brushed_tokens(self.dashboard, self.brushed, self.tokens_brushed)

    @traitlets.validate("features_picked")
    def _valid_picked(self, proposal: Mapping[str, Any]) -> list[str]:
        return [str(ref) for ref in FeatureSet.of(proposal["value"])]

    @traitlets.validate("selection")
    def _valid_selection(self, proposal: Mapping[str, Any]) -> FeatureSet:
        chosen = FeatureSet.of(proposal["value"])
        return chosen if chosen or not self.feature else FeatureSet.of(self.feature)

    @traitlets.validate("brush")
    def _valid_brush(self, proposal: Mapping[str, Any]) -> list[float]:
        value = proposal["value"]
        ordered = len(value) == 2 and 0 <= value[0] < value[1] < float("inf")
        if value and not ordered:
            raise InputError(f"a brush is [low, high] with 0 ≤ low < high, or []; got {value}")
        return cast(list[float], value)

    @traitlets.validate("feature")
    def _valid_feature(self, proposal: Mapping[str, Any]) -> str:
        name = str(FeatureRef.parse(proposal["value"]))
        if self._session is None and name not in self._pages:
            raise InputError(
                f"{name} is not in this view, and without a session it cannot be opened; "
                f"there are {', '.join(self._pages)}"
            )
        return name

    def _follow(self, _change: Any) -> None:
        self._quiet = True
        try:
            self.selection = FeatureSet.of(self.features_picked or [self.feature])
        finally:
            self._quiet = False

    def _pick(self, change: Mapping[str, Any]) -> None:
        if not self._quiet:
            picked = [str(ref) for ref in change["new"]]
            self.features_picked = [] if picked == [self.feature] else picked
