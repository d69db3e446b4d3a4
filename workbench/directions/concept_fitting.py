"""Fitting every method to one concept and measuring it: what `concept` and its comparison share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.directions.activations import (
    Pooling,
    TextActs,
    TokensUsed,
    capture,
    pool_dense,
)
from workbench.directions.concept_results import ConceptStudy, MethodResult
from workbench.directions.concept_sets import ConceptSet
from workbench.directions.detection import auroc, auroc_interval
from workbench.directions.direction import Direction
from workbench.directions.methods import (
    ConceptData,
    Found,
    Method,
    UnavailableError,
    choose_methods,
)
from workbench.errors import InputError
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = [
    "ConceptSettings",
    "LabelSource",
    "Progress",
    "label_reader",
    "make_settings",
    "study_concept",
]

LabelSource: TypeAlias = Mapping[Any, str] | Callable[[FeatureRef], "str | None"] | None
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, steps done and steps in all; raise in it to stop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptSettings:
    """What a comparison of methods is made with."""

    site: str
    saes: tuple[str, ...]
    methods: tuple[Method, ...]
    labels: Callable[[FeatureRef], str | None]
    used: TokensUsed
    pooling: Pooling
    seed: int
    policy: TokenPolicy | None
    progress: Progress | None


# -- one concept -------------------------------------------------------------------------------


def study_concept(
    session: Session, given: ConceptSet, label: str, settings: ConceptSettings
) -> ConceptStudy:
    """Read a concept's texts once, fit every method and measure it.

    Parameters
    ----------
    session
        The session.
    given
        The concept, with test texts.
    label
        What features standing for it are labelled.
    settings
        The rest.
    """
    groups = (given.positives, given.negatives, given.test_positives, given.test_negatives)
    everything = [text for group in groups for text in group]
    acts = capture(
        session,
        everything,
        sites=[settings.site],
        saes=settings.saes,
        used=settings.used,
        policy=settings.policy,
    )
    sizes = [len(group) for group in groups]
    train = acts.select(np.arange(sizes[0] + sizes[1]))
    test = acts.select(np.arange(sizes[0] + sizes[1], sum(sizes)))
    positive = np.repeat([True, False], sizes[:2])
    data = ConceptData(
        session=session,
        name=given.name,
        label=label,
        site=settings.site,
        saes=settings.saes,
        acts=train,
        positive=positive,
        labels=settings.labels,
        feature=given.feature,
        seed=settings.seed,
    )
    truth = np.repeat([True, False], sizes[2:])
    results = []
    for number, method in enumerate(settings.methods):
        if settings.progress is not None:
            settings.progress(method.name, number, len(settings.methods))
        fitting = dataclasses.replace(data, progress=_steps(settings.progress, method.name))
        try:
            found = method.fit(fitting)
            scored = _scored(found, train, settings), _scored(found, test, settings)
        except UnavailableError as reason:
            results.append(_unusable(method, str(reason)))
            continue
        results.append(_measured(method, found, scored, positive, truth, test))
    return ConceptStudy(
        provenance=session.model.provenance(
            acts.tokens.policy, saes=settings.saes, seed=settings.seed
        ),
        name=given.name,
        site=settings.site,
        pooling=settings.pooling,
        tokens_used=settings.used,
        n_train_positive=sizes[0],
        n_train_negative=sizes[1],
        test_positive=truth,
        test_texts=test.strings,
        test_starts=test.starts,
        methods=tuple(results),
        dropped=dict(given.dropped),
    ).bound_to(session)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scores:
    text: np.ndarray
    token: np.ndarray


def _scored(found: Found, acts: TextActs, settings: ConceptSettings) -> _Scores:
    if found.score is not None:
        return _Scores(text=found.score(acts.texts), token=np.zeros(0, dtype=np.float32))
    if found.feature is not None:
        column = acts.codes[found.feature.sae][:, [found.feature.index]]
        token = column.toarray()[:, 0].astype(np.float32)
    elif found.direction is not None:
        direction = found.direction
        token = acts.acts[direction.site].numpy() @ direction.vector + np.float32(direction.bias)
    else:
        raise UnavailableError("the method found nothing")
    return _Scores(text=pool_dense(token, acts.starts, settings.pooling), token=token)


def _measured(
    method: Method,
    found: Found,
    scored: tuple[_Scores, _Scores],
    positive: np.ndarray,
    truth: np.ndarray,
    test: TextActs,
) -> MethodResult:
    train_scores, test_scores = scored
    area = auroc(test_scores.text, truth)
    low, high = auroc_interval(area, int(truth.sum()), int((~truth).sum()))
    return MethodResult(
        method=method.name,
        auroc=area,
        low=low,
        high=high,
        train_auroc=auroc(train_scores.text, positive),
        direction=_calibrated(found, test_scores, test),
        feature=None if found.feature is None else str(found.feature),
        scores=np.asarray(test_scores.text, dtype=np.float64),
        token_scores=test_scores.token.astype(np.float32),
        details=dict(found.details),
    )


def _calibrated(found: Found, scores: _Scores, test: TextActs) -> Direction | None:
    """Set the scale: the largest h · w on the test texts, or what the feature adds at most."""
    direction = found.direction
    if direction is None:
        return None
    if found.feature is not None:
        # A feature's largest activation, in the length its decoder row gives it in the stream.
        largest = float(scores.token.max()) * direction.norm
    else:
        largest = float((test.acts[direction.site].numpy() @ direction.vector).max())
    bound = dataclasses.replace(direction, scale=largest if largest > 0 else None)
    return bound.bound_to(direction.session)


def _unusable(method: Method, reason: str) -> MethodResult:
    nan = float("nan")
    return MethodResult(
        method=method.name, auroc=nan, low=nan, high=nan, train_auroc=nan, note=reason
    )


# -- settings ----------------------------------------------------------------------------------


def make_settings(
    session: Session,
    site: str | None,
    saes: Sequence[str] | None,
    methods: Sequence[str | Method] | None,
    labels: LabelSource,
    used: TokensUsed,
    pooling: Pooling,
    seed: int,
    policy: TokenPolicy | None,
    progress: Progress | None,
) -> ConceptSettings:
    """Check and complete the arguments; see `workbench.directions.concepts.concept`."""
    where = session.sites.resolve(site or f"resid_post.{session.model.n_layers // 2}").name
    if saes is None:
        chosen = [sae.name for sae in session.saes.at(where)]
    else:
        chosen = [session.saes[name].name for name in ([saes] if isinstance(saes, str) else saes)]
    if pooling not in ("max", "mean", "last"):
        raise InputError(f"pooling must be 'max', 'mean' or 'last', got {pooling!r}")
    return ConceptSettings(
        site=where,
        saes=tuple(chosen),
        methods=choose_methods(methods),
        labels=label_reader(session, labels),
        used=used,
        pooling=pooling,
        seed=seed,
        policy=policy,
        progress=progress,
    )


def label_reader(session: Session, labels: LabelSource) -> Callable[[FeatureRef], str | None]:
    """Turn a source of labels into a function of a feature."""
    if callable(labels):
        return labels
    if labels is not None:
        named = {str(FeatureRef.parse(ref)): text for ref, text in labels.items()}
        return lambda ref: named.get(str(ref))
    stored = {name: session.saes[name].labels() for name in session.saes}
    # The session's lists, where it keeps any: what the user wrote goes before what is stored.
    written = getattr(session.lists, "label", None)

    def read(ref: FeatureRef) -> str | None:
        own = written(ref) if callable(written) else None
        return own or stored.get(ref.sae, {}).get(ref.index)

    return read


def _steps(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(f"{name}, training", done, total)
