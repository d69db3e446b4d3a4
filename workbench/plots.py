"""The project's plotly style: calm, dense, the same colours as the views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["CATEGORIES", "SIGNED", "STRENGTH", "styled"]

STRENGTH = [[0.0, "rgba(230,120,20,0)"], [1.0, "rgba(230,120,20,0.9)"]]
"""Activation strength: one hue, by opacity."""

SIGNED = [[0.0, "#0f6cbd"], [0.5, "#f6f7f8"], [1.0, "#c75c00"]]
"""Signed quantities: blue negative, orange positive; centre the scale on zero."""

CATEGORIES = [
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#000000",
]
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

_ROW = 20
_FRAME = 110


def styled(
    figure: go.Figure,
    *,
    title: str | None = None,
    x: str | None = None,
    y: str | None = None,
    rows: int | None = None,
) -> go.Figure:
    """Give a figure the project's style and return it.

    Parameters
    ----------
    figure
        The figure, changed in place.
    title
        What it shows.
    x, y
        Axis titles, with units.
    rows
        Number of rows of a table-like plot, which sets its height.
    """
    axis: dict[str, Any] = {
        "showline": True,
        "linewidth": 1,
        "linecolor": "#99a1ab",
        "gridcolor": "rgba(153,161,171,0.25)",
        "zeroline": False,
        "automargin": True,
    }
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 12, "color": "#5f6872"},
        title={"text": title, "font": {"size": 13}} if title else None,
        colorway=CATEGORIES,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 50, "r": 20, "t": 36 if title else 12, "b": 44},
        height=_FRAME + _ROW * rows if rows else 320,
        hoverlabel={"font": {"size": 12}},
    )
    figure.update_xaxes(title=x, **axis)
    figure.update_yaxes(title=y, **axis)
    return figure
