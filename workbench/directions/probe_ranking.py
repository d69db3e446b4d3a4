"""Rankings of units for sparse probes (Gurnee et al. 2023, "Finding Neurons in a Haystack", 4).

A ranking orders the units of one source (features, neurons, dimensions) by how well each alone
parts two classes of rows, best first; ties go to the lower unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from workbench.errors import InputError, unknown

__all__ = ["RANKINGS", "Ranking", "Values", "columns_of", "rank_units"]

Ranking: TypeAlias = Literal["mean_difference", "f_statistic", "mutual_information", "l1_logistic"]
Values: TypeAlias = Any
"""Rows × units: an array, or a scipy CSR matrix."""

# Mutual information by nearest neighbours and L1 regression are costly: they order this many units
# that lead by F-statistic; the rest follow in that order (Gurnee et al. filter likewise).
CANDIDATES = 512


def columns_of(
    values: Values, units: Int[np.ndarray, " chosen"]
) -> Float[np.ndarray, "row chosen"]:
    """Return chosen columns, written out, in float64."""
    chosen = values[:, units]
    dense = chosen.toarray() if sparse.issparse(chosen) else chosen
    return np.asarray(dense, dtype=np.float64)


def mean_difference(
    values: Values, labels: Bool[np.ndarray, " row"], seed: int = 0
) -> Float[np.ndarray, " unit"]:
    """|mean over positives − mean over negatives|, in units of the activation."""
    del seed
    positive, negative = (
        np.asarray(values[rows].mean(0), dtype=np.float64).ravel() for rows in (labels, ~labels)
    )
    return np.abs(positive - negative)


def f_statistic(
    values: Values, labels: Bool[np.ndarray, " row"], seed: int = 0
) -> Float[np.ndarray, " unit"]:
    """One-way analysis of variance: variance between the classes over that within, F(1, n − 2).

    A unit that is constant within each class but differs between them has infinite F; one that
    never changes has 0.
    """
    del seed
    n = len(labels)
    moments = []
    for rows in (labels, ~labels):
        part = values[rows].astype(np.float64)
        mean = np.asarray(part.mean(0), dtype=np.float64).ravel()
        squares = part.multiply(part) if sparse.issparse(part) else part**2
        square = np.asarray(squares.mean(0), dtype=np.float64).ravel()
        moments.append((int(rows.sum()), mean, np.maximum(square - mean**2, 0)))
    (n1, m1, v1), (n0, m0, v0) = moments
    between = n1 * n0 / n * (m1 - m0) ** 2
    within = n1 * v1 + n0 * v0
    # The difference of large squares leaves dust where a class is constant.
    dust = 1e-13 * (n1 * m1**2 + n0 * m0**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = between * (n - 2) / within
    ratio = np.where(within <= dust, np.inf, ratio)
    return np.where(between <= dust, 0.0, ratio)


def mutual_information(
    values: Values, labels: Bool[np.ndarray, " row"], seed: int = 0
) -> Float[np.ndarray, " unit"]:
    """Mutual information with the label in nats, by scikit-learn's nearest-neighbour estimate."""
    from sklearn.feature_selection import mutual_info_classif

    return _among_candidates(
        values,
        labels,
        lambda dense: np.asarray(
            mutual_info_classif(dense, labels, discrete_features=False, random_state=seed)
        ),
    )


def l1_logistic(
    values: Values, labels: Bool[np.ndarray, " row"], seed: int = 0
) -> Float[np.ndarray, " unit"]:
    """|weight| in an L1-penalised balanced logistic regression on standardised units."""
    from sklearn.linear_model import LogisticRegression

    def weights(dense: Float[np.ndarray, "row unit"]) -> Float[np.ndarray, " unit"]:
        spread = dense.std(0)
        scaled = (dense - dense.mean(0)) / np.where(spread > 0, spread, 1.0)
        model = LogisticRegression(
            l1_ratio=1.0,
            C=1.0,
            solver="liblinear",
            class_weight="balanced",
            random_state=seed,
            max_iter=1000,
        ).fit(scaled, labels)
        return np.abs(model.coef_[0])

    return _among_candidates(values, labels, weights)


def _among_candidates(
    values: Values,
    labels: Bool[np.ndarray, " row"],
    score: Callable[[Float[np.ndarray, "row unit"]], Float[np.ndarray, " unit"]],
) -> Float[np.ndarray, " unit"]:
    """Score the leading units; the others, and those of score 0, keep their order below them."""
    order = _descending(f_statistic(values, labels))
    leading = order[:CANDIDATES]
    scored = np.zeros(values.shape[1])
    # Below every real score, falling with the F-statistic's rank.
    scored[order] = -np.arange(1, len(order) + 1, dtype=np.float64)
    found = score(columns_of(values, leading))
    scored[leading] = np.where(found > 0, found, scored[leading])
    return scored


RANKINGS: Mapping[str, Callable[..., Float[np.ndarray, " unit"]]] = {
    "mean_difference": mean_difference,
    "f_statistic": f_statistic,
    "mutual_information": mutual_information,
    "l1_logistic": l1_logistic,
}
"""The rankings by name, the default first."""


def rank_units(
    values: Values, labels: Bool[np.ndarray, " row"], ranking: str, *, seed: int = 0
) -> Int[np.ndarray, " unit"]:
    """Order units best first.

    Parameters
    ----------
    values
        Rows × units, dense or sparse.
    labels
        True for positive rows.
    ranking
        One of `RANKINGS`.
    seed
        Seed of the rankings that draw random numbers.

    Raises
    ------
    InputError
        The ranking is unknown.
    """
    if ranking not in RANKINGS:
        raise InputError(unknown("ranking", str(ranking), RANKINGS))
    return _descending(RANKINGS[ranking](values, np.asarray(labels, dtype=bool), seed=seed))


def _descending(scores: Float[np.ndarray, " unit"]) -> Int[np.ndarray, " unit"]:
    return np.argsort(-scores, kind="stable")
