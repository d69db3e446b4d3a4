"""Plots of probes: F1 against the number of units, and by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import InputError, unknown
from workbench.plots import CATEGORIES, styled

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.directions.probe_results import ProbeStudy

__all__ = ["plot_layers", "plot_sweep"]

_COLOURS = {
    "features": CATEGORIES[0],
    "neurons": CATEGORIES[1],
    "residual": CATEGORIES[2],
    "dense": "#5f6872",
}


def _of_ranking(table: pd.DataFrame, ranking: str | None) -> pd.DataFrame:
    rankings = [name for name in table["ranking"].unique() if name]
    if ranking is None:
        ranking = rankings[0] if rankings else ""
    elif ranking not in rankings:
        raise InputError(unknown("ranking", ranking, rankings))
    return table[table["ranking"].isin([ranking, ""])]


def plot_sweep(study: ProbeStudy, ranking: str | None = None) -> go.Figure:
    """Plot F1 on held-out rows against k: for each kind the source best in validation at that k."""
    import plotly.graph_objects as go

    table = _of_ranking(study.to_pandas(), ranking)
    best = table.loc[table.groupby(["kind", "k"], sort=False)["merit"].idxmax()]
    figure = go.Figure()
    for kind in ("features", "neurons", "residual"):
        rows = best[best["kind"] == kind].sort_values("k")
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows["k"],
            y=rows["f1"],
            name=kind,
            mode="lines+markers",
            line={"color": _COLOURS[kind], "width": 2},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (rows["f1_high"] - rows["f1"]).clip(lower=0),
                "arrayminus": (rows["f1"] - rows["f1_low"]).clip(lower=0),
                "thickness": 1,
                "width": 0,
            },
            text=rows["source"],
            hovertemplate="k = %{x}: F1 %{y:.3f} (%{text})<extra></extra>",
        )
    dense = table[table["kind"] == "dense"]
    if not dense.empty:
        top = dense.sort_values("merit", kind="stable").iloc[-1]
        figure.add_hline(
            y=top["f1"],
            line={"dash": "dash", "width": 1.5, "color": _COLOURS["dense"]},
            annotation_text=f"dense, {top['site']}: {top['f1']:.3f}",
            annotation_font_size=11,
        )
    figure.update_xaxes(type="log", tickvals=sorted(best[best["kind"] != "dense"]["k"].unique()))
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    styled(
        figure,
        title=f"Sparse probes for {study.positive}",
        x="units in the probe (k)",
        y=f"F1 on held-out {study.level}s (95% interval)",
    )
    return figure.update_layout(margin={"t": 66}, height=360)


def plot_layers(study: ProbeStudy, k: int = 1, ranking: str | None = None) -> go.Figure:
    """Plot F1 of probes on `k` units by layer, one line per kind of unit and of site."""
    import plotly.graph_objects as go

    table = _of_ranking(study.to_pandas(), ranking)
    known = sorted(table.loc[table["kind"] != "dense", "k"].unique())
    if k not in known:
        raise InputError(f"no probes on {k} units; k is in {list(map(int, known))}")
    shown = table[((table["k"] == k) | (table["kind"] == "dense")) & table["layer"].notna()].copy()
    shown["part"] = shown["site"].str.partition(".")[0]
    figure = go.Figure()
    for number, ((kind, part), rows) in enumerate(shown.groupby(["kind", "part"], sort=False)):
        # Several SAEs at one site: the one best in validation.
        best = rows.loc[rows.groupby("layer")["merit"].idxmax()].sort_values("layer")
        figure.add_scatter(
            x=best["layer"],
            y=best["f1"],
            name=f"{kind}, {part}",
            mode="lines+markers",
            line={
                "color": CATEGORIES[number % len(CATEGORIES)],
                "width": 1.5,
                "dash": "dash" if kind == "dense" else "solid",
            },
            text=best["source"],
            hovertemplate="layer %{x}: F1 %{y:.3f} (%{text})<extra></extra>",
        )
    figure.update_xaxes(dtick=1)
    styled(
        figure,
        title=f"Probes on {k} unit{'s' * (k > 1)} for {study.positive}",
        x="layer",
        y=f"F1 on held-out {study.level}s",
    )
    return figure
