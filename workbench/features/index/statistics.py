"""Numbers per feature, read off the merged sketches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from workbench.features.index.sketches.bins import MANTISSA_BITS

__all__ = ["QUANTILES", "Histogram", "feature_statistics"]

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
"""Columns of the statistics that are quantiles of the nonzero activations."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """Counts of one feature's nonzero activations in logarithmic bins.

    Parameters
    ----------
    bins
        Bin numbers, rising.
    counts
        Activations in each.
    low, high
        Least and largest activation in each.
    """

    bins: Int[np.ndarray, " bins"]
    counts: Int[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]

    @property
    def total(self) -> int:
        """Activations counted."""
        return int(self.counts.sum())

    def quantile(
        self, q: float | Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"] | Float[np.ndarray, ""]:
        """Activation below which a share `q` of the nonzero activations lies.

        Parameters
        ----------
        q
            From 0 (the least) to 1 (the largest).

        Returns
        -------
        ndarray
            Off by at most the width of one bin; NaN for a feature that never fires.
        """
        share = np.asarray(q, dtype=np.float64)
        if not len(self.counts):
            return np.full(share.shape, np.nan)
        ends = np.cumsum(self.counts)
        return _read(share * ends[-1], ends, self.counts, self.low, self.high)

    def share_below(
        self, value: float | Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"] | Float[np.ndarray, ""]:
        """Share of the nonzero activations that lie below `value`: the inverse of `quantile`."""
        at = np.asarray(value, dtype=np.float64)
        if not len(self.counts):
            return np.full(at.shape, np.nan)
        ends = np.cumsum(self.counts)
        edges = np.stack([self.low, self.high], 1).astype(np.float64).ravel()
        shares = np.stack([ends - self.counts, ends], 1).ravel() / ends[-1]
        found: Float[np.ndarray, " n"] = np.interp(at, edges, shares)
        return found


def _read(
    target: np.ndarray, ends: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Interpolate within the bin where the running count reaches `target`."""
    slot = np.minimum(np.searchsorted(ends, target, side="left"), len(ends) - 1)
    inside = np.clip((target - (ends[slot] - counts[slot])) / counts[slot], 0, 1)
    bottom = low[slot].astype(np.float64)
    value: np.ndarray = bottom + inside * (high[slot].astype(np.float64) - bottom)
    return value


def feature_statistics(
    histogram: Mapping[str, np.ndarray],
    features: range,
    *,
    n_counted: int,
    bins_per_octave: int,
    dense_above: float,
) -> dict[str, Any]:
    """Statistics of a range of features.

    Parameters
    ----------
    histogram
        Rows of `sketches.histogram` of these features.
    features
        Which they are.
    n_counted
        Tokens counted: those of the documents' own text.
    bins_per_octave
        As the histogram was made with.
    dense_above
        Density above which a feature is flagged dense.

    Returns
    -------
    dict
        Column to array ``[feature]``: ``feature``; ``count``, tokens it fires on; ``density``,
        `count` ÷ `n_counted`; ``mean`` and ``std`` of its nonzero activations; ``second_moment``,
        the mean of their squares; ``max``, ``min``; `QUANTILES`; ``dead``, ``dense``. What has no
        value without activations is NaN.
    """
    n = len(features)
    at = histogram["feature"].astype(np.int64) - features.start
    count = np.zeros(n, dtype=np.int64)
    np.add.at(count, at, histogram["count"])
    # All activations of a bin share one exponent, which its number tells.
    number = np.abs(histogram["bin"].astype(np.int64)) - 1
    exponent = np.maximum(number // bins_per_octave, 1) - 127 - MANTISSA_BITS
    sign = np.sign(histogram["bin"])
    sums = sign * np.ldexp(histogram["total"].astype(np.float64), exponent)
    wide = np.ldexp(histogram["squares_high"].astype(np.float64), 24) + histogram["squares_low"]
    squares = np.ldexp(wide, 2 * exponent)
    some = count > 0
    per = np.where(some, count, 1)
    mean = np.where(some, np.bincount(at, sums, n) / per, np.nan)
    second = np.where(some, np.bincount(at, squares, n) / per, np.nan)
    lowest, highest = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(lowest, at, histogram["low"])
    np.maximum.at(highest, at, histogram["high"])
    density = count / max(n_counted, 1)
    columns: dict[str, Any] = {
        "feature": np.arange(features.start, features.stop, dtype=np.int32),
        "count": count,
        "density": density,
        "mean": mean,
        "std": np.sqrt(np.maximum(second - mean**2, 0)),
        "second_moment": second,
        "max": np.where(some, highest, np.nan).astype(np.float32),
        "min": np.where(some, lowest, np.nan).astype(np.float32),
    }
    ends = np.cumsum(histogram["count"])
    before = np.cumsum(count) - count
    for name, q in QUANTILES.items():
        found = np.full(n, np.nan)
        if some.any():
            target = (before + q * count)[some]
            read = _read(target, ends, histogram["count"], histogram["low"], histogram["high"])
            found[some] = read
        columns[name] = found
    return {**columns, "dead": ~some, "dense": density > dense_above}
