"""Plots of methods: one concept with intervals, many concepts with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.directions.methods import METHODS
from workbench.plots import CATEGORIES, styled

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.directions.concept_results import ConceptComparison

__all__ = ["plot_comparison", "plot_methods"]


def _titles(methods: Sequence[str]) -> list[str]:
    return [METHODS[name].title if name in METHODS else name for name in methods]


def plot_methods(
    table: pd.DataFrame, *, title: str, sort: bool = True, hidden: Sequence[str] = ()
) -> go.Figure:
    """Plot one AUROC per method with its interval, the best on top.

    Parameters
    ----------
    table
        Columns ``method``, ``auroc``, ``low``, ``high``, ``note``.
    title
        Title of the plot.
    sort
        Order by AUROC rather than as given.
    hidden
        Methods to leave out.
    """
    import plotly.graph_objects as go

    shown = table[~table["method"].isin(list(hidden))]
    if sort:
        shown = shown.sort_values("auroc", ascending=False, na_position="last")
    names = _titles(shown["method"].tolist())
    missing = shown["auroc"].isna()
    figure = go.Figure()
    figure.add_vline(x=0.5, line={"width": 1, "dash": "dot", "color": "#99a1ab"})
    figure.add_scatter(
        x=shown["auroc"],
        y=names,
        mode="markers",
        marker={"size": 8, "color": CATEGORIES[0]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": shown["high"] - shown["auroc"],
            "arrayminus": shown["auroc"] - shown["low"],
            "thickness": 1.2,
            "width": 0,
        },
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        showlegend=False,
    )
    if missing.any():
        absent = [name for name, gone in zip(names, missing, strict=True) if gone]
        figure.add_scatter(
            x=[0.5] * len(absent),
            y=absent,
            mode="text",
            text=["not usable"] * len(absent),
            hovertext=shown.loc[missing, "note"],
            hoverinfo="text",
            showlegend=False,
        )
    figure.update_yaxes(autorange="reversed")
    return styled(figure, title=title, x="AUROC on test texts (95% interval)", rows=len(names))


def plot_comparison(comparison: ConceptComparison) -> go.Figure:
    """Plot each method's AUROCs over concepts, their mean and its interval."""
    import plotly.graph_objects as go

    means = comparison.means()
    order = means["method"].tolist()
    column = {method: number for number, method in enumerate(comparison.methods)}
    titles = _titles(order)
    figure = go.Figure()
    figure.add_vline(x=0.5, line={"width": 1, "dash": "dot", "color": "#99a1ab"})
    for method, title in zip(order, titles, strict=True):
        values = comparison.auroc[:, column[method]]
        usable = ~np.isnan(values)
        figure.add_scatter(
            x=values[usable],
            y=[title] * int(usable.sum()),
            mode="markers",
            marker={"size": 5, "color": "#99a1ab", "opacity": 0.6},
            text=np.array(comparison.concepts, dtype=object)[usable],
            hovertemplate="%{text}: %{x:.3f}<extra></extra>",
            showlegend=False,
        )
    figure.add_scatter(
        x=means["auroc"],
        y=titles,
        mode="markers",
        name="mean over concepts (95% interval)",
        marker={"size": 9, "color": CATEGORIES[0]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": means["high"] - means["auroc"],
            "arrayminus": means["auroc"] - means["low"],
            "thickness": 1.5,
            "width": 0,
        },
        customdata=means[["n", "of"]],
        hovertemplate="%{y}: mean %{x:.3f} (%{customdata[0]} of %{customdata[1]})<extra></extra>",
    )
    if means["published"].notna().any():
        figure.add_scatter(
            x=means["published"],
            y=titles,
            mode="markers",
            name="published (other models and concepts)",
            marker={"size": 9, "symbol": "diamond-open", "color": CATEGORIES[5]},
            hovertemplate="%{y}: published %{x:.3f}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    title = f"Detection of {len(comparison.concepts)} concepts at {comparison.site}"
    styled(figure, title=title, x="AUROC on test texts", rows=len(order))
    figure.update_layout(margin={"t": 70}, height=int(figure.layout.height) + 34)
    return figure
