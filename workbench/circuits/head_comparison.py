"""Scores of heads against the true heads: ROC curve, F1, and the figure published as F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.results import Result
from workbench.types import Provenance

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["HeadComparison", "compare_scores"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeadComparison(Result):
    """How well codes find the true heads.

    Parameters
    ----------
    true
        The true heads.
    share
        Share of the strongest effect from which a head counts as true, None where they were given.
    thresholds
        Numbers of unique codes from which a head is predicted, falling; the first predicts none.
    true_positive_rate, false_positive_rate
        At each threshold.
    auc
        Area under the ROC curve.
    f1
        Largest F1 = 2TP / (2TP + FP + FN) over thresholds.
    rate_harmonic_mean
        Largest harmonic mean of the true-positive and the true-negative rate over thresholds: what
        the paper calls F1. It ignores how rare true heads are, so it reads higher.
    f1_threshold
        Number of unique codes at which `f1` is reached.
    """

    view_class: ClassVar[str | None] = None

    true: Bool[np.ndarray, "layer head"]
    share: float | None
    thresholds: Float[np.ndarray, " step"]
    true_positive_rate: Float[np.ndarray, " step"]
    false_positive_rate: Float[np.ndarray, " step"]
    auc: float
    f1: float
    rate_harmonic_mean: float
    f1_threshold: int

    def to_pandas(self) -> pd.DataFrame:
        """Return the ROC curve."""
        import pandas as pd

        return pd.DataFrame(
            {
                "unique_codes": self.thresholds,
                "true_positive_rate": self.true_positive_rate,
                "false_positive_rate": self.false_positive_rate,
            }
        )

    def plot(self) -> go.Figure:
        """Draw the ROC curve."""
        import plotly.graph_objects as go

        from workbench.plots import styled

        figure = go.Figure()
        figure.add_scatter(
            x=self.false_positive_rate,
            y=self.true_positive_rate,
            mode="lines+markers",
            name=f"codes, AUC {self.auc:.2f}",
            text=[f"≥ {t:.0f} codes" if np.isfinite(t) else "none" for t in self.thresholds],
        )
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="chance", line={"dash": "dot"})
        return styled(figure, x="false-positive rate", y="true-positive rate")

    def summary(self) -> str:
        """Return one line that says what the result is."""
        return (
            f"{int(self.true.sum())} of {self.true.size} heads are true: AUC {self.auc:.3f}, "
            f"F1 {self.f1:.3f}, harmonic mean of rates {self.rate_harmonic_mean:.3f}"
        )


def compare_scores(
    provenance: Provenance,
    unique: Int[np.ndarray, "layer head"],
    true: Bool[np.ndarray, "layer head"],
    share: float | None,
) -> HeadComparison:
    """Compare numbers of unique codes with the true heads.

    Parameters
    ----------
    provenance
        What both were computed from.
    unique
        Codes each head takes on positives only.
    true
        The true heads; some but not all.
    share
        Share of the strongest effect from which they count as true, None where they were given.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    scores, truth = unique.ravel(), true.ravel()
    fpr, tpr, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    positives, negatives = truth.sum(), (~truth).sum()
    hits, false = tpr * positives, fpr * negatives
    # 2TP / (2TP + FP + FN), with FN = positives − TP.
    f1 = 2 * hits / (hits + false + positives)
    rates = np.stack([tpr, 1 - fpr])
    harmonic = 2 * rates.prod(0) / np.maximum(rates.sum(0), 1e-12)
    best = int(f1.argmax())
    return HeadComparison(
        provenance=provenance,
        true=true,
        share=share,
        thresholds=thresholds,
        true_positive_rate=tpr,
        false_positive_rate=fpr,
        auc=float(roc_auc_score(truth, scores)),
        f1=float(f1[best]),
        rate_harmonic_mean=float(harmonic.max()),
        f1_threshold=int(thresholds[best]) if np.isfinite(thresholds[best]) else 0,
    )
