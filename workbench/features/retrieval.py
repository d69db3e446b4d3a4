"""Retrieval over sparse codes: which documents fire this weighted set of features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.features.retrieval_codes import DocumentCodes, Found
from workbench.features.retrieval_documents import documents
from workbench.features.retrieval_property import Embed, labels_of, property_weights
from workbench.results import Result, storable
from workbench.types import Provenance

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = [
    "Contribution",
    "DocumentCodes",
    "Retrieved",
    "documents",
    "property_weights",
    "retrieve",
]

Query: TypeAlias = (
    "str | FeatureRef | Iterable[str | FeatureRef] | Mapping[str | FeatureRef, float]"
)
Scale = Literal["activation", "maximum"]

_HEAD = 100


@storable
@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one feature adds to a document's score.

    Parameters
    ----------
    feature
        The feature, written ``sae/index``.
    activation
        Its largest activation in the document.
    score
        What it adds.
    label
        Its label, None without one. Untrusted text.
    """

    feature: str
    activation: float
    score: float
    label: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Retrieved(Result):
    """The documents that fire a weighted set of features most.

    Parameters
    ----------
    documents, scores
        Numbers of the documents in the corpus and their scores, by falling score.
    previews
        How each begins. Untrusted text.
    contributions
        Of each document, what the query's features add, largest first.
    features, weights
        The query as it was scored.
    exact
        Whether every posting of the query was read.
    certain
        How many of the documents are proved to be where they are in the exact order.
    recall
        Fraction of the exact results that are among these; None where it was not compared.
    postings
        Postings read.
    """

    documents: Int[np.ndarray, " found"]
    scores: Float[np.ndarray, " found"]
    previews: tuple[str, ...]
    contributions: tuple[tuple[Contribution, ...], ...]
    features: tuple[str, ...]
    weights: Float[np.ndarray, " features"]
    exact: bool
    certain: int
    recall: float | None
    postings: int

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per document: number, score, how it begins, what contributed."""
        import pandas as pd

        shown = [
            ", ".join(f"{one.feature} {one.score:.3g}" for one in parts[:5])
            for parts in self.contributions
        ]
        return pd.DataFrame(
            {
                "document": self.documents,
                "score": self.scores,
                "begins": self.previews,
                "contributions": shown,
            }
        )

    def summary(self) -> str:
        """Return one line: documents, features, exact or how far approximate."""
        how = "exact"
        if not self.exact:
            how = f"approximate, {self.certain} of {len(self.documents)} proved in place"
            if self.recall is not None:
                how += f", recall {self.recall:.3f}"
        return (
            f"Retrieved: {len(self.documents)} documents by {len(self.features)} features ({how})"
        )


def retrieve(
    session: Session,
    query: Query | None = None,
    k: int = 10,
    *,
    text: str | None = None,
    about: str | None = None,
    codes: DocumentCodes | None = None,
    exact: bool = True,
    head: int | None = None,
    compare: bool = False,
    scale: Scale | None = None,
    embed: Embed | None = None,
) -> Retrieved:
    """Find the documents that fire a weighted set of features most.

    Parameters
    ----------
    session
        The session.
    query
        A feature, several (each of weight 1), or features with weights; weights may be negative.
    k
        Most documents.
    text
        Instead: a text, whose largest activations are the weights.
    about
        Instead: a property in words; features are weighted by how near their labels are to it, see
        `property_weights`.
    codes
        The documents; those of the session's feature index where None (built on first use).
    exact
        Whether to read every posting of the query; see `DocumentCodes.exact` and
        `DocumentCodes.approximate`.
    head
        For an approximate search: postings read of each feature, 100 or ten times `k` where None.
    compare
        Also search exactly, and give the recall.
    scale
        ``"activation"``: activations as they are. ``"maximum"``: each divided by the feature's
        largest in any document. None: the latter for `about`, the former otherwise.
    embed
        For `about`: gives an embedding of each text.

    Returns
    -------
    Retrieved

    Raises
    ------
    InputError
        Not exactly one of `query`, `text` and `about`; an empty query; a number out of range; no
        label is like the property.
    SaeError
        A feature's SAE is not in the codes.
    """
    if sum(given is not None for given in (query, text, about)) != 1:
        raise InputError("pass exactly one of a query of features, text=... and about=...")
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if scale not in (None, "activation", "maximum"):
        raise InputError(f"scale must be 'activation' or 'maximum', got {scale!r}")
    held = documents(session) if codes is None else codes
    if text is not None:
        wanted = _weights_of_text(session, text, held)
    elif about is not None:
        wanted = property_weights(session, about, held, embed=embed)
    else:
        wanted = _weights_given(query)
    columns = {held.column(ref): float(weight) for ref, weight in wanted.items()}
    if not all(np.isfinite(weight) for weight in columns.values()):
        raise InputError("a weight of the query is not a finite number")
    columns = {column: weight for column, weight in columns.items() if weight}
    if not columns:
        raise InputError("the query is empty: expected at least one feature of weight other than 0")
    if scale == "maximum" or (scale is None and about is not None):
        columns = {
            column: weight / (abs(held.largest(column)) or 1.0)
            for column, weight in columns.items()
        }
    recall = None
    if exact:
        found = held.exact(columns, k)
    else:
        found = held.approximate(columns, k, head=head or max(_HEAD, 10 * k))
        if compare:
            truth = held.exact(columns, k).documents
            recall = float(np.isin(truth, found.documents).mean()) if len(truth) else 1.0
    return _result(session, held, columns, found, exact=exact, recall=recall)


def _weights_given(query: Any) -> dict[FeatureRef, float]:
    if isinstance(query, str | FeatureRef):
        query = [query]
    pairs = list(query.items()) if isinstance(query, Mapping) else [(ref, 1.0) for ref in query]
    weights: dict[FeatureRef, float] = {}
    for ref, weight in pairs:
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise InputError(f"the weight of {ref} is {weight!r}, expected a number")
        weights[FeatureRef.parse(ref)] = float(weight)
    return weights


def _weights_of_text(session: Session, text: str, codes: DocumentCodes) -> dict[FeatureRef, float]:
    saes = [session.saes[name] for name in codes.sizes]
    tokens = session.tokens(text)
    ran = session.run(tokens, capture=[str(sae.site) for sae in saes])
    weights = {}
    for sae in saes:
        acts = sae.encode(ran[str(sae.site)]).select(~tokens.special)
        pooled = acts.reshape(1, acts.n_tokens).max_pool()
        for index, value in zip(pooled.indices.tolist(), pooled.values.tolist(), strict=True):
            weights[FeatureRef(sae.name, index)] = value
    return weights


def _result(
    session: Session,
    codes: DocumentCodes,
    columns: Mapping[int, float],
    found: Found,
    *,
    exact: bool,
    recall: float | None,
) -> Retrieved:
    names = {column: codes.ref(column) for column in columns}
    labels = labels_of(session, codes)
    contributions = []
    for document in found.documents.tolist():
        active, values = codes.code(document)
        parts = [
            Contribution(
                feature=str(names[column]),
                activation=value,
                score=columns[column] * value,
                label=labels.get(names[column]),
            )
            for column, value in zip(active.tolist(), values.tolist(), strict=True)
            if column in columns
        ]
        contributions.append(tuple(sorted(parts, key=lambda part: -abs(part.score))))
    model = codes.manifest["model"]
    return Retrieved(
        provenance=Provenance(
            model=model["name"],
            model_fingerprint=model["fingerprint"],
            saes=tuple(codes.sizes),
            token_policy=codes.manifest["token_policy"],
            device=str(session.model.device),
            dtype=str(session.model.dtype).removeprefix("torch."),
        ),
        documents=found.documents.astype(np.int64),
        scores=found.scores,
        previews=tuple(
            str(session.tokenizer.decode(codes.preview(document).tolist()))
            for document in found.documents.tolist()
        ),
        contributions=tuple(contributions),
        features=tuple(str(names[column]) for column in columns),
        weights=np.array(list(columns.values()), dtype=np.float32),
        exact=exact,
        certain=found.certain,
        recall=recall,
        postings=found.read,
    ).bound_to(session)
