"""Finding a concept by every method and measuring how well each detects it.

The protocol of AxBench (Wu et al. 2025, arXiv:2501.17148, section 4.1): a text's score is the
largest score of its tokens, and methods are compared by the AUROC over test texts. No row and no
method is dropped without being counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.directions.activations import Pooling, TokensUsed
from workbench.directions.concept_fitting import (
    LabelSource,
    Progress,
    make_settings,
    study_concept,
)
from workbench.directions.concept_results import ConceptStudy
from workbench.directions.concept_sets import ConceptSet
from workbench.directions.methods import Method
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = ["concept"]


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
    settings = make_settings(
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
    return study_concept(session, given.held_out(held_out, seed), label or given.name, settings)


def _texts(texts: Sequence[Any], what: str) -> tuple[Any, ...]:
    if isinstance(texts, str):
        raise InputError(f"{what} is one text, expected several")
    return tuple(texts)
