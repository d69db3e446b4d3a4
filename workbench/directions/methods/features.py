"""SAE features that stand for a concept: by their label, or by their score on training texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workbench.directions.activations import pool_codes
from workbench.directions.detection import auroc_columns
from workbench.directions.direction import Direction
from workbench.directions.methods.base import ConceptData, Found, Method, UnavailableError
from workbench.features.refs import FeatureRef

__all__ = ["LabelledFeature", "SelectedFeature"]


@dataclass(frozen=True, kw_only=True)
class LabelledFeature(Method):
    """SAE: the feature that is labelled with the concept.

    The concept set's own feature where it names one; else the feature with the concept's label,
    case, punctuation and the order of words aside. Among features of the same label the one with
    the better AUROC on the training texts is taken.

    Parameters
    ----------
    similarity
        Least similarity of labels (rapidfuzz token-sort ratio), 0 to 100. Below 100 the label most
        like the concept's is taken, which may be its opposite: "informal" is much like "formal".
    """

    name: ClassVar[str] = "sae"
    title: ClassVar[str] = "SAE"

    similarity: float = 100.0

    def fit(self, data: ConceptData) -> Found:
        """Return the labelled feature."""
        if data.feature is not None:
            return _found(data, data.feature, self.name, {"chosen": "named by the concept set"})
        if not data.saes:
            raise UnavailableError(f"no SAE is attached at {data.site}")
        scored = [(ref, label, _likeness(label, data.label)) for ref, label in _labelled(data)]
        if not scored:
            raise UnavailableError(f"no feature of {', '.join(data.saes)} has a label")
        best = max(likeness for _, _, likeness in scored)
        if best < self.similarity:
            nearest = next(label for _, label, likeness in scored if likeness == best)
            raise UnavailableError(
                f"no feature of {', '.join(data.saes)} is labelled {data.label!r}; "
                f"the nearest label is {nearest!r}"
            )
        same = [ref for ref, _, likeness in scored if likeness == best]
        ref = same[0] if len(same) == 1 else _best_of(data, same)
        return _found(data, ref, self.name, {"chosen": "by label", "similarity": best})


@dataclass(frozen=True, kw_only=True)
class SelectedFeature(Method):
    """SAE-A: the feature with the best training AUROC of its max-pooled activation."""

    name: ClassVar[str] = "sae_a"
    title: ClassVar[str] = "SAE-A"

    def fit(self, data: ConceptData) -> Found:
        """Return the selected feature."""
        if not data.saes:
            raise UnavailableError(f"no SAE is attached at {data.site}")
        areas = {}
        for sae in data.saes:
            pooled = pool_codes(data.acts.codes[sae], data.acts.starts, "max")
            column = auroc_columns(pooled, data.positive)
            areas[FeatureRef(sae, int(column.argmax()))] = float(column.max())
        ref = max(areas, key=areas.__getitem__)
        return _found(data, ref, self.name, {"training_auroc": areas[ref]})


def _labelled(data: ConceptData) -> Iterator[tuple[FeatureRef, str]]:
    for sae in data.saes:
        for index in range(data.session.saes[sae].d_sae):
            ref = FeatureRef(sae, index)
            label = data.labels(ref)
            if label:
                yield ref, label


def _likeness(label: str, wanted: str) -> float:
    from rapidfuzz import fuzz, utils

    first, second = utils.default_process(label), utils.default_process(wanted)
    if not first or not second:  # nothing but signs: alike only if the same
        return 100.0 if label == wanted else 0.0
    return float(fuzz.token_sort_ratio(first, second))


def _best_of(data: ConceptData, refs: list[FeatureRef]) -> FeatureRef:
    def area(ref: FeatureRef) -> float:
        column = data.acts.codes[ref.sae][:, [ref.index]]
        pooled = pool_codes(column.tocsr(), data.acts.starts, "max")
        return float(auroc_columns(pooled, data.positive)[0])

    areas = np.array([area(ref) for ref in refs])
    return refs[int(areas.argmax())]


def _found(data: ConceptData, ref: FeatureRef, method: str, details: dict[str, object]) -> Found:
    row = Direction.from_feature(data.session, ref)
    direction = Direction(
        provenance=row.provenance,
        name=data.name,
        site=row.site,
        vector=row.vector,
        norm=row.norm,
        method=method,
        positive=f"feature {ref} is active",
        details={"feature": str(ref), **details},
    ).bound_to(data.session)
    return Found(direction=direction, feature=ref, details=details)
