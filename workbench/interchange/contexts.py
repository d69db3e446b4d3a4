"""Contexts and histograms as SAEDashboard and Neuronpedia lay them out: bins and bars.

Both write one row per context with the range of activations it was drawn from: the top group has
a lower bound of −1, an interval the fraction of all tokens that lie in it, and a context from
outside every interval three zeros. Histograms are bars: heights at the centres of bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from workbench.errors import LoadError
from workbench.features.dashboard import (
    Context,
    ContextGroup,
    Dashboard,
    GroupKind,
    Histogram,
    NeuronShare,
    TokenEffect,
)
from workbench.interchange.files import Limits
from workbench.interchange.records import UNKNOWN, text

__all__ = [
    "ContextRow",
    "bars",
    "check_context",
    "check_counts",
    "context",
    "context_rows",
    "effects",
    "groups",
    "histogram",
    "maximum",
    "neurons",
]

# Files round bar centres to three decimals; centres this near an even spacing are evenly spaced.
_ROUNDING = 1e-3
_TOP = -1.0
_NOT_COUNTED = -1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextRow:
    """One context with the bin it was drawn from.

    Parameters
    ----------
    low, high, fraction
        Range of activations and fraction of all tokens in it; −1, the maximum and −1 for the top
        group. None where the file has no bins.
    peak
        Which token brought the context here; None where the file does not say.
    tokens, values
        The tokens and the feature's activation at each.
    document
        Number of the document in the corpus, −1 where the file does not say.
    """

    low: float | None
    high: float | None
    fraction: float | None
    peak: int | None
    tokens: tuple[str, ...]
    values: Float[np.ndarray, " pos"]
    document: int = UNKNOWN


def check_context(tokens: Sequence[str], values: Sequence[float], where: str, most: int) -> None:
    """Check a context's tokens against its values.

    Raises
    ------
    LoadError
        There are none, more than `most`, different numbers of them, or a value is not a number.
    """
    if not 0 < len(tokens) <= most:
        raise LoadError(f"{where}: got {len(tokens):,} tokens, expected 1 to {most:,}")
    if len(tokens) != len(values):
        raise LoadError(f"{where}: got {len(values)} values for {len(tokens)} tokens")
    if not np.isfinite(np.asarray(values, dtype=float)).all():
        raise LoadError(f"{where}: an activation is NaN or infinite, expected numbers")


def context(row: ContextRow) -> Context:
    """Build a context; without a stated peak, or with one outside, it is the largest activation."""
    stated = row.peak is not None and 0 <= row.peak < len(row.tokens)
    return Context(
        document=row.document,
        start=0,
        peak=int(row.peak) if stated and row.peak is not None else int(np.argmax(row.values)),
        tokens=tuple(text(token) for token in row.tokens),
        token_ids=np.full(len(row.tokens), UNKNOWN, dtype=np.int64),
        values=row.values,
    )


def groups(rows: Iterable[ContextRow], counted: int) -> tuple[ContextGroup, ...]:
    """Gather contexts into groups by their bins, in order of first appearance.

    Parameters
    ----------
    rows
        The contexts.
    counted
        Tokens counted, which turns fractions into totals; 0 where unknown.
    """
    binned: dict[tuple[float | None, float | None, float | None], list[ContextRow]] = {}
    for row in rows:
        binned.setdefault((row.low, row.high, row.fraction), []).append(row)
    return tuple(_group(*bounds, members, counted) for bounds, members in binned.items())


def _group(
    low: float | None,
    high: float | None,
    fraction: float | None,
    rows: list[ContextRow],
    counted: int,
) -> ContextGroup:
    contexts = tuple(context(row) for row in rows)
    peaks = [item.value for item in contexts]
    stated = fraction is not None and fraction != _NOT_COUNTED and counted > 0
    total = round(fraction * counted) if stated and fraction is not None else None
    kind: GroupKind = "width"
    if low is None or high is None or low == _TOP:
        kind, total = "top", None
        low, high = min(peaks), max(peaks) if high is None else high
    elif low == high == 0:
        silent = not any(row.values.any() for row in rows)
        # Contexts of no interval that do fire: a range without a name.
        kind = "silent" if silent else "brush"
        if not silent:
            low, high = min(peaks), max(peaks)
    return ContextGroup(kind=kind, low=low, high=high, total=total, contexts=contexts)


def context_rows(dashboard: Dashboard) -> Iterator[ContextRow]:
    """Give a dashboard's contexts as rows, group by group."""
    for group in dashboard.groups:
        low, high = float(group.low), float(group.high)
        fraction = _NOT_COUNTED
        if group.kind == "top":
            low, high = _TOP, float(dashboard.maximum)
        else:
            if group.kind == "silent":
                low = high = 0.0
            if group.total is not None and dashboard.counted_tokens:
                fraction = group.total / dashboard.counted_tokens
        for item in group.contexts:
            yield ContextRow(
                low=low,
                high=high,
                fraction=fraction,
                peak=item.peak,
                tokens=item.tokens,
                values=np.asarray(item.values, dtype=float),
                document=item.document,
            )


def maximum(found: Sequence[ContextGroup], fallback: float = 0.0) -> float:
    """Return a feature's largest activation: as the top group states it, or the largest seen."""
    for group in found:
        if group.kind == "top":
            return group.high
    seen = (float(item.values.max()) for group in found for item in group.contexts)
    return max([fallback, *seen])


# -- bars --------------------------------------------------------------------------------------


def histogram(
    centres: Sequence[float], heights: Sequence[float], total: int, where: str
) -> tuple[Histogram, bool]:
    """Rebuild a histogram from its bars.

    Parameters
    ----------
    centres, heights
        The bars. Centres an even distance apart (to the three decimals files keep) give bins of
        equal width; others bins they are the centres of, or where there are none, bins that end
        half-way.
    total
        What heights that are not whole numbers are scaled to add up to; 0 where unknown.
    where
        What to call the histogram in errors.

    Returns
    -------
    Histogram
        The histogram; one empty bin where there are no bars.
    bool
        Whether heights were scaled into counts.

    Raises
    ------
    LoadError
        Different numbers of both, centres that do not ascend, or heights below zero.
    """
    at, height = np.asarray(centres, dtype=float), np.asarray(heights, dtype=float)
    if at.shape != height.shape:
        raise LoadError(f"{where}: got {height.size} bar heights for {at.size} bar centres")
    if not at.size:
        return Histogram(edges=np.array([0.0, 1.0]), counts=np.zeros(1, dtype=np.int64)), False
    if not (np.isfinite(at).all() and np.isfinite(height).all()):
        raise LoadError(f"{where}: a bar is NaN or infinite, expected numbers")
    if (np.diff(at) < 0).any() or (height < 0).any() or (height > 2**53).any():
        raise LoadError(f"{where}: expected ascending bar centres and counts of at least 0")
    whole = bool(np.allclose(height, np.rint(height), rtol=0, atol=1e-6))
    if not whole:
        height = height / height.sum() * total
    return Histogram(edges=_edges(at), counts=np.rint(height).astype(np.int64)), not whole


def _edges(at: Float[np.ndarray, " bins"]) -> Float[np.ndarray, " bins_plus_one"]:
    if len(at) == 1:
        half = abs(at[0]) or 0.5
        return np.array([at[0] - half, at[0] + half])
    width = (at[-1] - at[0]) / (len(at) - 1)
    even = at[0] + width * np.arange(len(at))
    if np.abs(at - even).max() <= _ROUNDING:
        return np.linspace(at[0] - width / 2, at[-1] + width / 2, len(at) + 1)
    # Each edge follows from the one before, so all follow from the first: edge[i] is
    # offset[i] ± first. The first must leave every edge below its bin's centre.
    offset = np.zeros(len(at) + 1)
    for number, centre in enumerate(at):
        offset[number + 1] = 2 * centre - offset[number]
    room = at - offset[:-1]
    lowest, highest = -room[1::2].min(), room[::2].min()
    if lowest < highest:
        signs = (-1.0) ** np.arange(len(at) + 1)
        return offset + signs * (lowest + highest) / 2
    between = (at[:-1] + at[1:]) / 2
    return np.array([2 * at[0] - between[0], *between, 2 * at[-1] - between[-1]])


def bars(found: Histogram) -> tuple[list[float], list[int]]:
    """Return bar centres and heights of a histogram; none where it counts nothing."""
    if not found.counts.any():
        return [], []
    centres = (found.edges[:-1] + found.edges[1:]) / 2
    return [float(at) for at in centres], [int(count) for count in found.counts]


# -- tables ------------------------------------------------------------------------------------


def _same_length(where: str, **columns: Sequence[object]) -> None:
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise LoadError(f"{where}: columns of different lengths: {sizes}")


def effects(tokens: Sequence[str], values: Sequence[float], where: str) -> tuple[TokenEffect, ...]:
    """Build logit effects of tokens known by their text only.

    Raises
    ------
    LoadError
        Different numbers of both.
    """
    _same_length(where, tokens=tokens, values=values)
    return tuple(
        TokenEffect(token=text(token), token_id=UNKNOWN, value=float(value))
        for token, value in zip(tokens, values, strict=True)
    )


def neurons(
    indices: Sequence[int], values: Sequence[float], shares: Sequence[float], where: str
) -> tuple[NeuronShare, ...]:
    """Build the decoder direction's largest coordinates.

    Raises
    ------
    LoadError
        Different numbers of them.
    """
    _same_length(where, indices=indices, values=values, l1=shares)
    return tuple(
        NeuronShare(neuron=int(neuron), value=float(value), share=float(share))
        for neuron, value, share in zip(indices, values, shares, strict=True)
    )


def check_counts(where: str, limits: Limits, **columns: Sequence[object]) -> None:
    """Refuse columns longer than histograms and tables are.

    Raises
    ------
    LoadError
        Naming the column.
    """
    for name, column in columns.items():
        if len(column) > limits.bars:
            raise LoadError(
                f"{where}: {name} has {len(column):,} entries, at most {limits.bars:,} expected"
            )
