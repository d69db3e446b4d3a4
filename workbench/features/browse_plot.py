"""Two columns of the table of features as a picture: points where few, counts per cell where many.

A million points drawn are a blot that hides where they are; counts on a grid are a picture of any
number of them, of a size that does not grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from workbench.errors import InputError
from workbench.features.browse_query import BrowseQuery

if TYPE_CHECKING:
    from workbench.features.browse_table import BrowseTable

__all__ = ["MOST_POINTS", "Axis", "Plot", "plot"]

MOST_POINTS = 4000
_CELLS = (96, 72)
# An axis is logarithmic where its middle 98% spans this factor.
_WIDE = 50.0
_MARGIN = 0.025


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis.

    Parameters
    ----------
    column
        The column.
    low, high
        Its ends, in the column's own unit, a little beyond the values.
    log
        Whether it is logarithmic.
    """

    column: str
    low: float
    high: float
    log: bool

    def places(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return where values lie, 0 at the low end and 1 at the high one; NaN off a log axis."""
        low, high = self.low, self.high
        if self.log:
            values = np.log(np.where(values > 0, values, np.nan))
            low, high = np.log(low), np.log(high)
        return (values - low) / (high - low)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """A scatter of two columns.

    Parameters
    ----------
    x, y
        The axes.
    rows
        Rows of the table that are points; empty where there are counts instead.
    points
        Their values.
    counts
        Features in each cell of a grid of equal steps along the axes, the first row lowest; empty
        where there are points.
    shown, left_out
        Features in the picture, and features without a place in it: a value is missing, or is not
        above zero on a logarithmic axis.
    """

    x: Axis
    y: Axis
    rows: Int[np.ndarray, " points"]
    points: Float[np.ndarray, "points 2"]
    counts: Int[np.ndarray, "high wide"]
    shown: int
    left_out: int


def plot(
    table: BrowseTable,
    query: BrowseQuery,
    x: str,
    y: str,
    *,
    most: int = MOST_POINTS,
    linear: bool = False,
) -> Plot:
    """Lay the features of a query out by two columns of numbers.

    Parameters
    ----------
    table
        The table.
    query
        Which features.
    x, y
        Columns.
    most
        Most points; more features are counted on a grid.
    linear
        Keep both axes linear; otherwise one is logarithmic where values are above zero and spread
        over a factor of 50.

    Raises
    ------
    InputError
        A column is unknown or none of numbers.
    """
    if most < 0:
        raise InputError(f"most must be at least 0, got {most}")
    rows, (across, up) = table.values(query, (x, y))
    axes = tuple(_axis(column, values, linear=linear) for column, values in ((x, across), (y, up)))
    places = np.stack([axis.places(v) for axis, v in zip(axes, (across, up), strict=True)], -1)
    here = np.isfinite(places).all(-1)
    shown = int(here.sum())
    counts = np.zeros((0, 0), np.int64)
    points = np.zeros((0, 2))
    kept = rows[:0]
    if shown <= most:
        kept, points = rows[here], np.stack([across, up], -1)[here]
    else:
        wide, high = _CELLS
        cell = [
            np.minimum((places[here, at] * size).astype(np.int64), size - 1)
            for at, size in enumerate(_CELLS)
        ]
        counts = np.bincount(cell[1] * wide + cell[0], minlength=wide * high).reshape(high, wide)
    return Plot(
        x=axes[0],
        y=axes[1],
        rows=kept,
        points=points,
        counts=counts,
        shown=shown,
        left_out=len(rows) - shown,
    )


def _axis(column: str, values: Float[np.ndarray, " n"], *, linear: bool) -> Axis:
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    log = False
    if not linear and len(positive) and not (finite < 0).any():
        low, high = np.quantile(positive, [0.01, 0.99])
        log = bool(high > _WIDE * low)
    used = positive if log else finite
    low, high = (float(used.min()), float(used.max())) if len(used) else (0.0, 1.0)
    if low == high:
        # One value only: it lies in the middle.
        low, high = (low / 2, low * 2) if log else (low - 0.5, high + 0.5)
    # Points at the ends are seen whole.
    margin = _MARGIN * (np.log(high / low) if log else high - low)
    if log:
        low, high = low * float(np.exp(-margin)), high * float(np.exp(margin))
    else:
        low, high = low - float(margin), high + float(margin)
    return Axis(column=column, low=low, high=high, log=log)
