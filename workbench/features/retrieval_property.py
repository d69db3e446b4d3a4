"""Properties in words as weighted features, by way of the features' labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from workbench.errors import InputError
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.features.retrieval_codes import DocumentCodes
    from workbench.session import Session

__all__ = ["PROPERTY_FEATURES", "Embed", "labels_of", "property_weights"]

Embed: TypeAlias = Callable[[Sequence[str]], np.ndarray]
"""Gives an embedding ``[texts, d]`` of each text."""

PROPERTY_FEATURES = 100
_DECAY = 0.2


def property_weights(
    session: Session,
    about: str,
    codes: DocumentCodes,
    *,
    embed: Embed | None = None,
    k: int = PROPERTY_FEATURES,
) -> dict[FeatureRef, float]:
    """Weight features by how near their labels are to a property.

    The `k` nearest labels get the weights ``exp(−(rank / k) / 0.2)``, rank from 0 (Jiang et al.,
    "SAE embeddings of documents", property retrieval).

    Parameters
    ----------
    session
        Labels are those of ``session.lists``, then those beside the weights.
    about
        The property.
    codes
        Their SAEs' features are looked at.
    embed
        Gives an embedding of each text, compared by cosine. None: labels are compared by the
        letters they share (TF-IDF of runs of 3 to 5 characters), which finds words, not meanings;
        labels that share none are left out.
    k
        Most features.

    Raises
    ------
    InputError
        The property is empty, there are no labels, or none is like the property.
    """
    if not about.strip():
        raise InputError("the property is empty: expected words, such as about='cities'")
    labels = labels_of(session, codes)
    if not labels:
        raise InputError(
            "no feature of these SAEs has a label: describe some and write them to session.lists, "
            "or use session.lists.annotate(feature, label=...)"
        )
    refs = list(labels)
    if embed is None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5))
        matrix = vectorizer.fit_transform([*labels.values(), about])
        near = np.asarray((matrix[:-1] @ matrix[-1].T).todense()).ravel()
        kept = near > 0
    else:
        vectors = np.asarray(embed([*labels.values(), about]), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(labels) + 1:
            raise InputError(
                f"embed gave shape {vectors.shape} for {len(labels) + 1} texts, "
                "expected one row each"
            )
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        near = vectors[:-1] @ vectors[-1]
        kept = np.ones(len(near), dtype=bool)
    order = [place for place in np.argsort(-near, kind="stable") if kept[place]][:k]
    if not order:
        raise InputError(
            f"no label shares letters with {about!r}; pass embed=... to compare meaning"
        )
    return {refs[place]: float(np.exp(-(rank / k) / _DECAY)) for rank, place in enumerate(order)}


def labels_of(session: Session, codes: DocumentCodes) -> dict[FeatureRef, str]:
    """Return the labels of the codes' features: a person's own, then those beside the weights."""
    labels: dict[FeatureRef, str] = {}
    for name, size in codes.sizes.items():
        if name in session.saes:
            for index, label in session.saes[name].labels().items():
                if index < size:
                    labels[FeatureRef(name, index)] = label
    for ref in session.lists.features:
        own = session.lists.label(ref)
        if own and ref.index < codes.sizes.get(ref.sae, 0):
            labels[ref] = own
    return labels
