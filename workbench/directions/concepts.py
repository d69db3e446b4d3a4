"""Finding a concept by every method and measuring how well each detects it.

The protocol of AxBench (Wu et al. 2025, arXiv:2501.17148, section 4.1): a text's score is the
largest score of its tokens, and methods are compared by the AUROC over test texts. No row and no
method is dropped without being counted.
"""

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
from workbench.directions.concept_results import ConceptComparison, ConceptStudy, MethodResult
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

__all__ = ["LabelSource", "Progress", "compare_concepts", "concept"]

LabelSource: TypeAlias = Mapping[Any, str] | Callable[[FeatureRef], "str | None"] | None
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, steps done and steps in all; raise in it to stop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings:
    site: str
    saes: tuple[str, ...]
    methods: tuple[Method, ...]
    labels: Callable[[FeatureRef], str | None]
    used: TokensUsed
    pooling: Pooling
    seed: int
    policy: TokenPolicy | None
    progress: Progress | None


def concept(
    session: Session,
    positives: Sequence[Any] | ConceptSet,
    negatives: Sequence[Any] | None = None,
    *,
    name: str = "concept",
    label: str | None = None,
    test: tuple[Sequence[Any], Sequence[Any]] | None = None,
    held_out: float = 0.3,
    site: str | None = None,
    saes: Sequence[str] | None = None,
    methods: Sequence[str | Method] | None = None,
    labels: LabelSource = None,
    tokens: TokensUsed = "all",
    pooling: Pooling = "max",
    seed: int = 0,
    policy: TokenPolicy | None = None,
    progress: Progress | None = None,
) -> ConceptStudy:
    """Find a concept by several methods and compare how well they detect it.

    Parameters
    ----------
    session
        The session.
    positives, negatives
        Texts or conversations that show the concept, and that do not; or one `ConceptSet`.
    name
        What to call it.
    label
        What features standing for it are labelled; `name` where None.
    test
        Positive and negative texts to score. Without them a part of each class is held out.
    held_out
        That part.
    site
        Where directions are looked for; the stream in the middle of the model where None.
    saes
        SAEs whose features may stand for the concept; those that read `site` where None.
    methods
        Names (`methods.METHODS`) or instances; all where None.
    labels
        Labels of features: a mapping from features (or their written forms), or a function; the
        session's own lists and the labels stored with the SAEs where None.
    tokens
        ``"all"``: every token of a text belongs to its class (AxBench). ``"last"``: only its last.
    pooling
        How token scores become a text's score: ``"max"`` (AxBench), ``"mean"`` or ``"last"``.
    seed
        Seed of the split and of anything drawn in training.
    policy
        Token policy; the session's own where None.
    progress
        Called with what is being done, steps done and steps in all.

    Returns
    -------
    ConceptStudy
        One entry per method, those that could not be used with the reason.

    Raises
    ------
    InputError, SiteError, SaeError, TokenError
        An argument cannot be used; the message says which.
    """
    settings = _settings(
        session, site, saes, methods, labels, tokens, pooling, seed, policy, progress
    )
    if isinstance(positives, ConceptSet):
        given = positives
        if negatives is not None or test is not None:
            raise InputError("a ConceptSet already has negatives and test texts; leave them out")
    else:
        if negatives is None:
            raise InputError("negatives are missing: texts that do not show the concept")
        tested = ((), ()) if test is None else (tuple(test[0]), tuple(test[1]))
        given = ConceptSet(
            name=name,
            positives=_texts(positives, "positives"),
            negatives=_texts(negatives, "negatives"),
            test_positives=tested[0],
            test_negatives=tested[1],
        )
    return _study(session, given.held_out(held_out, seed), label or given.name, settings)


def compare_concepts(
    session: Session,
    sets: Sequence[ConceptSet],
    *,
    held_out: float = 0.3,
    site: str | None = None,
    saes: Sequence[str] | None = None,
    methods: Sequence[str | Method] | None = None,
    labels: LabelSource = None,
    tokens: TokensUsed = "all",
    pooling: Pooling = "max",
    seed: int = 0,
    policy: TokenPolicy | None = None,
    progress: Progress | None = None,
) -> ConceptComparison:
    """Compare methods over many concepts: one table, one plot.

    Parameters
    ----------
    sets
        The concepts; `read_concepts` reads them from files.
    held_out, site, saes, methods, labels, tokens, pooling, seed, policy, progress
        As for `concept`.

    Returns
    -------
    ConceptComparison
        Every concept with every method, those that could not be used with the reason.
    """
    given = list(sets)
    names = [each.name for each in given]
    if not given or len(set(names)) < len(names):
        raise InputError(f"expected concept sets of different names, got {names}")
    settings = _settings(
        session, site, saes, methods, labels, tokens, pooling, seed, policy, progress
    )
    studies = []
    for number, each in enumerate(given):
        if progress is not None:
            progress(f"concept {each.name}", number, len(given))
        quiet = dataclasses.replace(settings, progress=_within(progress, each.name))
        studies.append(_study(session, each.held_out(held_out, seed), each.name, quiet))
    if progress is not None:
        progress("done", len(given), len(given))

    def table(field: str) -> np.ndarray:
        return np.array([[getattr(m, field) for m in study.methods] for study in studies])

    return ConceptComparison(
        provenance=session.model.provenance(policy, saes=settings.saes, seed=seed),
        site=settings.site,
        methods=tuple(method.name for method in settings.methods),
        concepts=tuple(names),
        auroc=table("auroc"),
        low=table("low"),
        high=table("high"),
        notes=tuple(tuple(m.note for m in study.methods) for study in studies),
        n_test=np.array([len(study.test_positive) for study in studies]),
        directions={
            f"{study.name}/{method}": direction
            for study in studies
            for method, direction in study.directions.items()
        },
        dropped={study.name: study.dropped for study in studies if study.dropped},
    ).bound_to(session)


# -- one concept -------------------------------------------------------------------------------


def _study(session: Session, given: ConceptSet, label: str, settings: _Settings) -> ConceptStudy:
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


def _scored(found: Found, acts: TextActs, settings: _Settings) -> _Scores:
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


def _settings(
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
) -> _Settings:
    where = session.sites.resolve(site or f"resid_post.{session.model.n_layers // 2}").name
    if saes is None:
        chosen = [sae.name for sae in session.saes.at(where)]
    else:
        chosen = [session.saes[name].name for name in ([saes] if isinstance(saes, str) else saes)]
    if pooling not in ("max", "mean", "last"):
        raise InputError(f"pooling must be 'max', 'mean' or 'last', got {pooling!r}")
    return _Settings(
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


def _texts(texts: Sequence[Any], what: str) -> tuple[Any, ...]:
    if isinstance(texts, str):
        raise InputError(f"{what} is one text, expected several")
    return tuple(texts)


def _within(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _steps(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(f"{name}, training", done, total)
