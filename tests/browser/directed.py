"""Concepts, probes and a direction of a tiny model, for the direction view."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from browser import tiny

from workbench.directions import ConceptSet, compare_concepts

TAILS = ["sat on the mat.", "ran to the man.", "saw a big hat.", "is old.", "had a red ball."]
TEXTS = (
    [f"{article} cat {tail}" for article in ("the", "a") for tail in TAILS],
    [f"{article} dog {tail}" for article in ("the", "a") for tail in TAILS],
)


@functools.cache
def session() -> Any:
    """One tiny session for all tests of a process."""
    return tiny.session()


def concept_set(name: str) -> ConceptSet:
    """Cats against dogs, or the other way round."""
    positives, negatives = TEXTS if name == "cat" else TEXTS[::-1]
    return ConceptSet(name=name, positives=positives, negatives=negatives)


@functools.cache
def results() -> dict[str, Any]:
    """Every kind of result the view shows."""
    opened = session()
    settings = {"site": "resid_post.1", "methods": ["diff_mean", "sae", "bag_of_words"]}
    study = opened.concept(concept_set("cat"), **settings)
    probes = opened.probe(
        [*TEXTS[0], *TEXTS[1]],
        [True] * 10 + [False] * 10,
        layers=[1, 2],
        ks=(1, 2, 4),
        rankings=["mean_difference", "f_statistic"],
    )
    return {
        "concept": study,
        "comparison": compare_concepts(
            opened, [concept_set("cat"), concept_set("dog")], **settings
        ),
        "probes": probes,
        "direction": study.direction("diff_mean"),
    }


def changed(study: Any, method: str, **fields: Any) -> Any:
    """A study with one method's result changed."""
    methods = tuple(
        dataclasses.replace(m, **fields) if m.method == method else m for m in study.methods
    )
    return dataclasses.replace(study, methods=methods).bound_to(study.session)
