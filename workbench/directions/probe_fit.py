"""Logistic probes and what is known of them on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from workbench.errors import InputError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

__all__ = [
    "FittedProbe",
    "Intervals",
    "confusion",
    "fit_probe",
    "measures",
    "split_rows",
]

MEASURES = ("f1", "mcc", "precision", "recall", "accuracy")
_DRAWS = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedProbe:
    """A balanced L2 logistic regression on scaled columns.

    Parameters
    ----------
    model
        scikit-learn's estimator.
    mean, spread
        Mean of each column over the training rows, and what it was divided by: its standard
        deviation (1 where constant), or the columns' common one.
    """

    model: LogisticRegression
    mean: Float[np.ndarray, " unit"]
    spread: Float[np.ndarray, " unit"]

    def scores(self, columns: Float[np.ndarray, "row unit"]) -> Float[np.ndarray, " row"]:
        """Return the log-odds of each row."""
        scaled = (columns - self.mean) / self.spread
        return np.asarray(self.model.decision_function(scaled), dtype=np.float64)

    def line(self) -> tuple[Float[np.ndarray, " unit"], float]:
        """Return weights and intercept on the columns as they were given."""
        weights = np.asarray(self.model.coef_[0], dtype=np.float64) / self.spread
        return weights, float(self.model.intercept_[0] - weights @ self.mean)


def fit_probe(
    columns: Float[np.ndarray, "row unit"],
    labels: Bool[np.ndarray, " row"],
    *,
    search: bool = False,
    seed: int = 0,
) -> FittedProbe:
    """Fit a balanced L2 logistic regression (Gurnee et al. 2023, section 4).

    Parameters
    ----------
    columns
        Rows × units.
    labels
        True for positive rows.
    search
        For probes on all dimensions: choose the penalty by cross-validation on these rows instead
        of C = 1, and divide all columns by one spread, so that the weights are a direction in the
        space they are in (dimensions that hardly vary do not grow in it).
    seed
        Seed of the folds.
    """
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold

    spread = columns.std(0)
    if search:
        spread = np.full_like(spread, np.sqrt(np.mean(spread**2)))
    spread = np.where(spread > 0, spread, 1.0)
    mean = columns.mean(0)
    scaled = (columns - mean) / spread
    settings: dict[str, Any] = {"class_weight": "balanced", "max_iter": 2000}
    folds = min(3, int(labels.sum()), int((~labels).sum()))
    if search and folds > 1:
        found = LogisticRegressionCV(
            Cs=np.logspace(-4, 1, 6),
            l1_ratios=(0.0,),
            cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
            scoring="roc_auc",
            use_legacy_attributes=False,
            **settings,
        ).fit(scaled, labels)
        settings["C"] = float(found.C_)
    model = LogisticRegression(**settings).fit(scaled, labels)
    return FittedProbe(model=model, mean=mean, spread=spread)


def confusion(
    labels: Bool[np.ndarray, " row"],
    said: Bool[np.ndarray, " row"],
    groups: Int[np.ndarray, " row"] | None = None,
) -> Int[np.ndarray, "group 4"]:
    """Count true positives, false positives, false negatives, true negatives, by group of rows."""
    cell = np.where(labels, np.where(said, 0, 2), np.where(said, 1, 3))
    if groups is None:
        return np.bincount(cell, minlength=4)[None]
    size = int(groups.max()) + 1
    return np.bincount(groups * 4 + cell, minlength=size * 4).reshape(size, 4)


def measures(counts: Num[np.ndarray, " *draw 4"]) -> dict[str, Float[np.ndarray, " *draw"]]:
    """Turn counts of the four cells into measures; 0 where a measure's denominator is 0.

    F1 = 2TP / (2TP + FP + FN); MCC = (TP·TN − FP·FN) / sqrt of the product of the four margins
    (Matthews 1975).
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    margins = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": ratio(tp * tn - fp * fn, margins),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
    }


class Intervals:
    """95% intervals of measures on held-out rows.

    Where every row is a text of its own: the posterior of the four cells' shares under Jeffreys'
    prior (Goutte & Gaussier 2005), which does not collapse where a probe makes no mistake. Where
    rows are tokens: a bootstrap over texts, since a text's tokens are not independent.

    Parameters
    ----------
    groups
        Text number of each held-out row, or None where rows are independent.
    seed
        Seed of the draws.
    """

    def __init__(self, groups: Int[np.ndarray, " row"] | None, *, seed: int = 0) -> None:
        self._rng_seed = seed
        self._groups = None if groups is None else np.unique(groups, return_inverse=True)[1]
        self._weights: Float[np.ndarray, "draw group"] | None = None
        if self._groups is not None:
            n = int(self._groups.max()) + 1
            rng = np.random.default_rng(seed)
            self._weights = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS).astype(np.float64)

    def __call__(
        self, labels: Bool[np.ndarray, " row"], said: Bool[np.ndarray, " row"]
    ) -> dict[str, tuple[float, float, float]]:
        """Return value, low and high of each measure."""
        counts = confusion(labels, said, self._groups)
        values = measures(counts.sum(0))
        if self._weights is not None:
            drawn = self._weights @ counts
        else:
            rng = np.random.default_rng(self._rng_seed)
            drawn = rng.dirichlet(counts[0] + 0.5, size=_DRAWS)
        spread = {
            name: np.quantile(found, [0.025, 0.975]) for name, found in measures(drawn).items()
        }
        return {
            name: (float(values[name]), float(spread[name][0]), float(spread[name][1]))
            for name in MEASURES
        }


def split_rows(
    labels: Bool[np.ndarray, " row"],
    groups: Int[np.ndarray, " row"],
    *,
    fraction: float,
    seed: int,
) -> Bool[np.ndarray, " row"]:
    """Choose the held-out rows: whole groups, of either kind in proportion.

    A group is of the positive kind where any of its rows is positive.

    Returns
    -------
    ndarray of bool
        True at rows held out.

    Raises
    ------
    InputError
        The fraction is not between 0 and 1, or training or test rows would lack a class.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction must be between 0 and 1, got {fraction}")
    names, inverse = np.unique(groups, return_inverse=True)
    positive = np.zeros(len(names), dtype=bool)
    np.logical_or.at(positive, inverse, labels)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for kind in (True, False):
        members = np.flatnonzero(positive == kind)
        if len(members):
            count = min(max(round(fraction * len(members)), 1), max(len(members) - 1, 1))
            chosen.extend(rng.permutation(members)[:count].tolist())
    test = np.isin(inverse, chosen)
    for what, rows in (("training", ~test), ("held-out", test)):
        _check(labels[rows], what)
    return test


def _check(labels: Bool[np.ndarray, " row"], what: str) -> None:
    counts: Sequence[int] = (int(labels.sum()), int((~labels).sum()))
    if min(counts) < 1:
        raise InputError(
            f"the {what} rows have {counts[0]} positives and {counts[1]} negatives, need both: "
            "give more texts, or another fraction or seed"
        )
