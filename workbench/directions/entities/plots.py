"""Pictures of an entity study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.directions.entities.separation import SIDES, Side
from workbench.errors import InputError, unknown
from workbench.plots import CATEGORIES, SIGNED, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.directions.entities.attention import EntityAttention
    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.directions.entities.steering_results import EntitySteering

__all__ = [
    "plot_attention",
    "plot_depth",
    "plot_layers",
    "plot_methods",
    "plot_rates",
    "plot_scatter",
]

_MARKERS = ("circle", "square", "diamond", "cross", "x", "triangle-up")


def plot_layers(study: EntityStudy, side: Side) -> go.Figure:
    """Plot separation by SAE: the min over types, and each type's own best.

    Parameters
    ----------
    study
        The study.
    side
        ``"known"`` or ``"unknown"``.
    """
    import plotly.graph_objects as go

    table = study.by_layer(side)
    order = table["layer"].fillna(-1).argsort(kind="stable")
    table = table.iloc[order]
    figure = go.Figure()
    for number, kind in enumerate(study.types):
        figure.add_scatter(
            x=table["sae"],
            y=table[f"best_{kind}"],
            name=f"best for {kind}",
            mode="markers",
            marker={"color": CATEGORIES[number + 1], "symbol": _MARKERS[number % len(_MARKERS)]},
        )
    figure.add_bar(
        x=table["sae"],
        y=table["separation"],
        name="best of the worst type",
        marker={"color": CATEGORIES[0], "opacity": 0.6},
        customdata=table["feature"],
        hovertemplate="%{x}: %{y:.3f} (%{customdata})<extra></extra>",
    )
    title = f"Separation of {side} entities, max over features"
    return styled(figure, title=title, y=f"s_{side} (share of entities)", x="SAE")


def plot_scatter(study: EntityStudy, sae: str | None) -> go.Figure:
    """Plot the share of unknown against known entities on which each feature fires.

    Parameters
    ----------
    study
        The study.
    sae
        Which SAE; the one with the best feature where None.
    """
    import plotly.graph_objects as go

    if sae is None:
        best = [r for side in SIDES for r in study.ranked(side, 1)]
        if not best:
            raise InputError("no feature parts known from unknown; name an SAE")
        sae = max(best, key=lambda ranked: ranked.score).sae
    table = study.scatter(sae)
    figure = go.Figure()
    for number, kind in enumerate(study.types):
        rows = table[table["type"] == kind]
        figure.add_scatter(
            x=rows["f_known"],
            y=rows["f_unknown"],
            name=kind,
            mode="markers",
            text=rows["feature"],
            marker={
                "color": CATEGORIES[number],
                "symbol": _MARKERS[number % len(_MARKERS)],
                "size": 6,
                "opacity": np.where(rows["dropped"], 0.25, 0.9),
            },
            hovertemplate="%{text}: known %{x:.2f}, unknown %{y:.2f}<extra>" + kind + "</extra>",
        )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": "#99a1ab", "dash": "dot"}, showlegend=False
    )
    title = f"Features of {sae}: share of entities on which they fire"
    figure = styled(figure, title=title, x="f_known", y="f_unknown")
    figure.update_layout(height=420)
    return figure


def plot_methods(study: EntityStudy) -> go.Figure:
    """Plot the AUROC of each method at each site, the worst type counting.

    Parameters
    ----------
    study
        The study.
    """
    import plotly.graph_objects as go

    table = study.methods()
    figure = go.Figure()
    names = {"feature": "single feature", "probe": "probe", "diff_mean": "difference of means"}
    order = list(dict.fromkeys(table.sort_values("layer", na_position="first")["site"]))
    for number, (method, name) in enumerate(names.items()):
        rows = table[table["method"] == method]
        # One feature per SAE: the best where two SAEs write one site.
        worst = rows.groupby(["site", rows["feature"].fillna("")])["auroc"].min()
        best = worst.groupby("site").max().reindex(order)
        figure.add_scatter(
            x=order,
            y=best,
            name=name,
            mode="markers",
            marker={"color": CATEGORIES[number], "symbol": _MARKERS[number], "size": 9},
        )
    figure.add_hline(y=0.5, line={"color": "#99a1ab", "dash": "dot"})
    title = "Unknown from known test entities, worst type"
    return styled(figure, title=title, x="site", y="AUROC")


def plot_rates(steering: EntitySteering) -> go.Figure:
    """Plot refusal rates on test entities with and without pushes, with 95% intervals.

    Parameters
    ----------
    steering
        The answers.
    """
    import plotly.graph_objects as go

    table = steering.rates()
    figure = go.Figure()
    for number, label in enumerate(("known", "unknown")):
        rows = table[table["label"] == label]
        figure.add_bar(
            x=[_condition(row) for row in rows.to_dict("records")],
            y=rows["refused"],
            name=f"{label} entities",
            marker={"color": CATEGORIES[number]},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": rows["refused_high"] - rows["refused"],
                "arrayminus": rows["refused"] - rows["refused_low"],
                "color": "#5f6872",
            },
        )
    figure.update_layout(barmode="group")
    return styled(figure, title="Answers that refuse", y="share refused", x="pushed towards")


def _condition(row: Mapping[Any, Any]) -> str:
    if row["towards"] == "":
        return "nothing"
    if row["towards"] == "control":
        return f"random features<br>(as {row['replaces']})"
    return str(row["towards"])


def plot_depth(steering: EntitySteering) -> go.Figure:
    """Plot the best share of answers turned round by pushes of each layer, by strength.

    Parameters
    ----------
    steering
        The answers.
    """
    from plotly.subplots import make_subplots

    table = steering.depth()
    titles = {"unknown": "Known entities refused", "known": "Unknown entities answered"}
    figure: go.Figure = make_subplots(rows=1, cols=2, subplot_titles=list(titles.values()))
    for column, towards in enumerate(titles, start=1):
        rows = table[table["towards"] == towards]
        rows = rows.assign(layer=rows["layer"].map(_layer))
        best = rows.groupby(["layer", "strength"], sort=False)["changed"].max().unstack("strength")
        figure.add_heatmap(
            z=best.to_numpy(dtype=float),
            x=[f"{strength:g}×" for strength in best.columns],
            y=list(best.index),
            zmin=0,
            zmax=1,
            colorscale="Blues",
            showscale=column == 2,
            colorbar={"title": "share"},
            hovertemplate="%{y}, %{x}: %{z:.0%}<extra></extra>",
            row=1,
            col=column,
        )
    title = "Where in depth the directions act (validation entities)"
    return styled(figure, title=title, x="strength (norms of the activation)")


def _layer(layer: float | None) -> str:
    return "embedding" if layer is None or layer != layer else f"layer {int(layer)}"


def plot_attention(attention: EntityAttention, label: str, towards: str) -> go.Figure:
    """Plot the change of each head's attention to the name.

    Parameters
    ----------
    attention
        Measured attention.
    label
        Of which entities.
    towards
        Under which push; the empty name plots the attention itself.
    """
    import plotly.graph_objects as go

    for kind, got, options in (
        ("label", label, attention.labels),
        ("push", towards, attention.conditions),
    ):
        if got not in options:
            raise InputError(unknown(kind, got, options))
    at = attention.conditions.index(towards), attention.labels.index(label)
    signed = towards != ""
    values = attention.change[at] if signed else attention.mean[at]
    bound = float(np.abs(values).max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=-bound if signed else 0,
            zmax=bound,
            colorscale=SIGNED if signed else "Oranges",
            colorbar={"title": "attention"},
            hovertemplate="layer %{y}, head %{x}: %{z:+.3f}<extra></extra>",
        )
    )
    what = f"change, pushed towards {towards}" if signed else "no push"
    title = f"Attention from the last position to names of {label} entities ({what})"
    return styled(figure, title=title, x="head", y="layer", rows=values.shape[0])
