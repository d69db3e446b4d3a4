"""Upper bounds for a single feature: a probe and the difference of means on whole activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from workbench.directions.detection import auroc, auroc_interval
from workbench.directions.direction import Direction
from workbench.results import storable
from workbench.types import Provenance

__all__ = ["Baseline", "difference_of_means", "measure_baselines"]

_MOST_STEPS = 200


@storable
@dataclass(frozen=True, kw_only=True)
class Baseline:
    """How well one method at one site parts unknown from known test entities of a type.

    Parameters
    ----------
    method
        ``"probe"`` (logistic regression) or ``"diff_mean"``.
    site, layer
        Where.
    type
        Which entities.
    auroc, low, high
        Area under the ROC curve and its 95% interval.
    """

    method: str
    site: str
    layer: int | None
    type: str
    auroc: float
    low: float
    high: float


def difference_of_means(
    acts: Float[torch.Tensor, "entities d"],
    known: Bool[np.ndarray, " entities"],
    unknown: Bool[np.ndarray, " entities"],
    kinds: np.ndarray,
    types: Sequence[str],
) -> Float[np.ndarray, " d"]:
    """Return mean(known) − mean(unknown), averaged over types so that none outweighs another.

    Parameters
    ----------
    acts
        Activations at one site.
    known, unknown
        Which entities are which.
    kinds
        The type of each.
    types
        Types to average over.
    """
    x = acts.double().numpy()
    gaps = [x[known & (kinds == t)].mean(0) - x[unknown & (kinds == t)].mean(0) for t in types]
    mean: np.ndarray = np.mean(gaps, axis=0)
    return mean


def measure_baselines(
    acts: Mapping[str, Float[torch.Tensor, "entities d"]],
    layers: Mapping[str, int | None],
    kinds: np.ndarray,
    types: Sequence[str],
    masks: Mapping[tuple[str, str], Bool[np.ndarray, " entities"]],
    provenance: Provenance,
) -> tuple[tuple[Baseline, ...], tuple[Direction, ...]]:
    """Fit both methods on training entities of all types, and measure them on test entities.

    Parameters
    ----------
    acts
        Activations by site.
    layers
        Layer of each site.
    kinds
        Type of each entity.
    types
        Types to measure.
    masks
        Which entities have a label and split, by ``(label, split)``.
    provenance
        Of the directions.

    Returns
    -------
    tuple of Baseline
        Per site, method and type.
    tuple of Direction
        The difference of means of each site, calibrated on the training entities.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, unknown = masks["known", "train"], masks["unknown", "train"]
    train = known | unknown
    found, directions = [], []
    for site, values in acts.items():
        x = values.numpy()
        gap = difference_of_means(values, known, unknown, kinds, types)
        if not np.linalg.norm(gap) > 0:
            continue
        largest = float((x[train] @ (gap / np.linalg.norm(gap))).max())
        directions.append(
            Direction(
                provenance=provenance,
                name=f"known − unknown at {site}",
                site=site,
                vector=gap,
                method="diff_mean",
                scale=largest if largest > 0 else None,
                positive="the model knows the entity",
                negative="it does not",
            )
        )
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=_MOST_STEPS, class_weight="balanced")
        ).fit(x[train], known[train])
        scores = {"probe": probe.decision_function(x), "diff_mean": x @ directions[-1].vector}
        for method, score in scores.items():
            for kind in types:
                mine = masks["unknown", "test"] & (kinds == kind)
                other = masks["known", "test"] & (kinds == kind)
                both = mine | other
                area = auroc(-score[both], mine[both])
                low, high = auroc_interval(area, int(mine.sum()), int(other.sum()))
                found.append(
                    Baseline(
                        method=method,
                        site=site,
                        layer=layers[site],
                        type=kind,
                        auroc=area,
                        low=low,
                        high=high,
                    )
                )
    return tuple(found), tuple(directions)
