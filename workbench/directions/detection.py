"""How well scores part two classes: the area under the ROC curve and what is known of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import optimize, sparse, stats

from workbench.errors import InputError

__all__ = ["auroc", "auroc_columns", "auroc_interval", "check_classes"]

# Columns ranked at once: a block of 2,000 texts takes 32 MiB.
_BLOCK = 2048


def check_classes(labels: Bool[np.ndarray, " n"], what: str) -> None:
    """Refuse labels of one class only.

    Raises
    ------
    InputError
        One of the two classes is missing.
    """
    positive = int(labels.sum())
    if not 0 < positive < len(labels):
        raise InputError(f"{what}: need both classes, got {positive} positive of {len(labels)}")


def auroc(scores: Num[np.ndarray, " n"], labels: Bool[np.ndarray, " n"]) -> float:
    """Return the area under the ROC curve.

    The share of (positive, negative) pairs where the positive scores higher, ties counting half
    (Hanley & McNeil 1982).

    Parameters
    ----------
    scores
        Larger means positive.
    labels
        True for positives.

    Raises
    ------
    InputError
        One of the two classes is missing, or a score is not a number.
    """
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(labels, dtype=bool)
    check_classes(labels, "AUROC")
    if np.isnan(scores).any():
        raise InputError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are not numbers")
    return float(_from_ranks(stats.rankdata(scores)[:, None], labels)[0])


def auroc_columns(values: Any, labels: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " unit"]:
    """Return `auroc` of each column of an array or a sparse matrix, shape (n, unit).

    Sparse columns are written out a block at a time.
    """
    labels = np.asarray(labels, dtype=bool)
    check_classes(labels, "AUROC")
    columns = values.tocsc() if sparse.issparse(values) else values
    parts = []
    for start in range(0, values.shape[1], _BLOCK):
        block = columns[:, start : start + _BLOCK]
        dense = block.toarray() if sparse.issparse(block) else block
        parts.append(_from_ranks(stats.rankdata(dense, axis=0), labels))
    return np.concatenate(parts)


def _from_ranks(
    ranks: Float[np.ndarray, "n unit"], labels: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " unit"]:
    positive = int(labels.sum())
    negative = len(labels) - positive
    area = ranks[labels].sum(0) - positive * (positive + 1) / 2
    return np.asarray(area / (positive * negative))


def auroc_interval(
    area: float, n_positive: int, n_negative: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Return a confidence interval for an AUROC.

    Newcombe's score-type interval over the variance of Hanley & McNeil (Newcombe 2006, "Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic, part 2", method 5):
    the values t with ``|t − area| ≤ z · sqrt(V(t))``. Unlike a bootstrap it does not collapse to a
    point where the area is 0 or 1.

    Parameters
    ----------
    area
        The measured AUROC.
    n_positive, n_negative
        How many of each class it was measured on.
    level
        Confidence level.
    """
    if not 0 <= area <= 1 or min(n_positive, n_negative) < 1:
        raise InputError(
            f"an AUROC interval needs an area in 0 … 1 and both classes, got {area}, "
            f"{n_positive} and {n_negative}"
        )
    z = stats.norm.ppf(0.5 + level / 2)
    spread = (n_positive + n_negative) / 2 - 1

    def factor(t: float) -> float:
        inner = 1 + spread * (1 - t) / (2 - t) + spread * t / (1 + t)
        return float(z**2 * inner / (n_positive * n_negative))

    def gap(t: float) -> float:
        return (t - area) ** 2 - t * (1 - t) * factor(t)

    # At 0 and 1 the trivial root t = area is divided out.
    if area == 0:
        return 0.0, float(optimize.brentq(lambda t: t - (1 - t) * factor(t), 0.0, 1.0))
    if area == 1:
        return float(optimize.brentq(lambda t: (1 - t) - t * factor(t), 0.0, 1.0)), 1.0
    return float(optimize.brentq(gap, 0.0, area)), float(optimize.brentq(gap, area, 1.0))
