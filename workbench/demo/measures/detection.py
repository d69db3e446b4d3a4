"""How well single features detect labelled concepts: best threshold and F1, from sparse codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

__all__ = ["Detector", "best_detectors", "detector_f1", "f1_sweep"]

_QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detector:
    """A feature that stands for a concept when it fires above a threshold.

    Parameters
    ----------
    concept
        Column of the concept.
    feature
        Index of the feature.
    threshold
        The feature speaks where its activation is greater.
    f1
        F1 on the text the threshold was chosen on.
    """

    concept: int
    feature: int
    threshold: float
    f1: float


def f1_sweep(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], n_positive: int
) -> tuple[float, float]:
    """Return the best F1 over all thresholds, and the threshold.

    Parameters
    ----------
    values
        Activations of the tokens the feature fires on (all > 0).
    positive
        Whether each of those tokens has the label.
    n_positive
        Labelled tokens in all, those the feature is silent on included.

    Returns
    -------
    f1, threshold
        F1 of ``value > threshold``; the threshold lies half way to the next lower activation, or
        is 0 where there is none. Both are 0 where the feature never fires or nothing is labelled.
    """
    if not len(values) or not n_positive:
        return 0.0, 0.0
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    hits = np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(ordered) + 1) + n_positive)
    # A threshold cannot part equal activations.
    ends = np.append(ordered[1:] < ordered[:-1], True)
    best = int(np.argmax(np.where(ends, f1, -1.0)))
    # Half way, so that rounding cannot move a token across.
    threshold = float(ordered[best : best + 2].mean()) if best + 1 < len(ordered) else 0.0
    return float(f1[best]), threshold


def best_detectors(
    acts: sparse.csc_matrix, labels: sparse.csc_matrix, *, candidates: int = 6
) -> list[Detector]:
    """Find each concept's best feature.

    A coarse pass scores every feature at six of its own activation quantiles with sparse
    products; the `candidates` best features of each concept are then swept exactly.

    Parameters
    ----------
    acts
        Activations, shape (tokens, features), non-negative.
    labels
        Labels, shape (tokens, concepts).
    candidates
        Features swept exactly per concept.

    Returns
    -------
    list of Detector
        One per concept, in column order.
    """
    acts = sparse.csc_matrix(acts)
    labels = sparse.csc_matrix(labels)
    n_positive = np.asarray(labels.sum(0)).ravel()
    coarse = _coarse_f1(acts, labels, n_positive)
    found = []
    for concept in range(labels.shape[1]):
        positive = np.zeros(labels.shape[0], dtype=bool)
        positive[_column(labels, concept)[0]] = True
        best = Detector(concept=concept, feature=0, threshold=0.0, f1=-1.0)
        for feature in np.argsort(-coarse[:, concept], kind="stable")[:candidates]:
            rows, values = _column(acts, int(feature))
            f1, threshold = f1_sweep(values, positive[rows], int(n_positive[concept]))
            if f1 > best.f1:
                best = Detector(concept=concept, feature=int(feature), threshold=threshold, f1=f1)
        found.append(best)
    return found


def detector_f1(
    acts: sparse.csc_matrix, labels: sparse.csc_matrix, detectors: Sequence[Detector]
) -> Float[np.ndarray, " detectors"]:
    """Return each detector's F1 on other text, at its stored threshold.

    Parameters
    ----------
    acts, labels
        As in `best_detectors`.
    detectors
        What to score.

    Returns
    -------
    ndarray of float64, shape (detectors,)
        NaN where the text has no token with the label.
    """
    acts, labels = sparse.csc_matrix(acts), sparse.csc_matrix(labels)
    scores = []
    for detector in detectors:
        positive = np.zeros(labels.shape[0], dtype=bool)
        positive[_column(labels, detector.concept)[0]] = True
        rows, values = _column(acts, detector.feature)
        spoken = rows[values > detector.threshold]
        n_positive = int(positive.sum())
        hits = int(positive[spoken].sum())
        scores.append(2 * hits / (len(spoken) + n_positive) if n_positive else np.nan)
    return np.array(scores)


def _coarse_f1(
    acts: sparse.csc_matrix, labels: sparse.csc_matrix, n_positive: Int[np.ndarray, " concepts"]
) -> Float[np.ndarray, "features concepts"]:
    best = np.zeros((acts.shape[1], labels.shape[1]))
    counts = np.diff(acts.indptr)
    owner = np.repeat(np.arange(acts.shape[1]), counts)
    # Rank of each activation within its feature, as a fraction.
    order = np.lexsort((acts.data, owner))
    rank = np.empty(len(owner))
    starts = acts.indptr[:-1][owner]
    rank[order] = (np.arange(len(owner)) - starts[order]) / np.maximum(counts[owner[order]], 1)
    rows = labels.tocsr().astype(np.float32)
    for quantile in _QUANTILES:
        kept = rank >= quantile
        fires = sparse.csr_matrix(
            (np.ones(int(kept.sum()), dtype=np.float32), (owner[kept], acts.indices[kept])),
            shape=(acts.shape[1], acts.shape[0]),
        )
        hits = (fires @ rows).toarray()
        spoken = np.asarray(fires.sum(1)).reshape(-1, 1)
        best = np.maximum(best, 2 * hits / np.maximum(spoken + n_positive[None], 1))
    return best


def _column(
    matrix: sparse.csc_matrix, index: int
) -> tuple[Int[np.ndarray, " entries"], Float[np.ndarray, " entries"]]:
    part = slice(matrix.indptr[index], matrix.indptr[index + 1])
    return matrix.indices[part], matrix.data[part]
