"""What is asked of the table of features: conditions, an order, what a search found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef

__all__ = ["COMPARISONS", "FLAGS", "OPERATORS", "BrowseQuery", "Hits", "checked", "clause_of"]

COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
OPERATORS = (*COMPARISONS, "contains", "in")
FLAGS = ("dead", "dense", "labelled")
_TEXTS = ("sae", "label")


@dataclass(frozen=True, eq=False)
class Hits:
    """Features a search found.

    Parameters
    ----------
    refs
        The features.
    score
        How well each matches, larger is better.
    why
        What matched, in words.
    means
        What the score is.
    """

    refs: tuple[FeatureRef, ...]
    score: Float[np.ndarray, " hits"]
    why: tuple[str, ...]
    means: str


@dataclass(frozen=True, kw_only=True)
class BrowseQuery:
    """Which features, and in which order.

    Parameters
    ----------
    where
        Conditions that all must hold: (column, operator, value), the operator one of
        ``=  !=  <  <=  >  >=``; ``contains`` for a label that holds the words, whatever their
        case; ``in`` for a column of text that is one of several.
    order_by, descending
        Column to sort by, ``"score"`` for a search's own order; missing values last.
    hits
        What a search found; None for all features.
    only
        Only these features; None for all.
    """

    where: tuple[tuple[str, str, Any], ...] = ()
    order_by: str = "density"
    descending: bool = True
    hits: Hits | None = None
    only: tuple[FeatureRef, ...] | None = None


def checked(
    where: Iterable[Sequence[Any]], columns: Sequence[str], saes: Sequence[str]
) -> tuple[tuple[str, str, Any], ...]:
    """Return conditions as a query takes them.

    Parameters
    ----------
    where
        Conditions: column, operator, value each.
    columns, saes
        What there is.

    Raises
    ------
    InputError
        A column or an operator is unknown, or a value does not fit its column.
    """
    made = []
    for condition in where:
        if isinstance(condition, str) or len(condition) != 3:
            raise InputError(f"a condition is (column, operator, value); got {condition!r}")
        column, operator, value = condition
        if column not in columns:
            raise InputError(unknown("column", str(column), columns))
        if operator not in OPERATORS:
            raise InputError(unknown("operator", str(operator), OPERATORS))
        if operator == "in" and column in _TEXTS and isinstance(value, list | tuple):
            value = tuple(value)
        if not _fits(column, operator, value):
            raise InputError(f"{column} cannot be compared with {value!r} by {operator}")
        if column == "sae":
            for name in value if operator == "in" else (value,):
                if name not in saes:
                    raise InputError(unknown("SAE in this table", str(name), saes))
        made.append((column, operator, value))
    return tuple(made)


def clause_of(
    where: Iterable[Sequence[Any]], columns: Sequence[str], saes: Sequence[str]
) -> tuple[str, list[Any]]:
    """Return conditions as SQL, every value a parameter; errors as for `checked`."""
    pieces, values = [], []
    for column, operator, value in checked(where, columns, saes):
        # Only names that are columns come here.
        if operator == "contains":
            pieces.append(f'contains(lower("{column}"), lower(?))')
        elif operator == "in":
            pieces.append(f'"{column}" IN (SELECT unnest(?::VARCHAR[]))')
        else:
            pieces.append(f'"{column}" {operator} ?')
        values.append(list(value) if operator == "in" else value)
    return (f" WHERE {' AND '.join(pieces)}" if pieces else ""), values


def _fits(column: str, operator: str, value: Any) -> bool:
    if operator == "in":
        texts = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
        return column in _TEXTS and texts
    if operator == "contains":
        return column == "label" and isinstance(value, str)
    if column in _TEXTS:
        return isinstance(value, str)
    if column in FLAGS:
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)
