"""Methods compared over many concepts; studies made so far are kept, so that a run can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.directions.activations import Pooling, TokensUsed
from workbench.directions.concept_fitting import (
    ConceptSettings,
    LabelSource,
    Progress,
    make_settings,
    study_concept,
)
from workbench.directions.concept_results import ConceptComparison, ConceptStudy
from workbench.directions.concept_sets import ConceptSet
from workbench.directions.methods import Method
from workbench.errors import InputError, LoadError
from workbench.features.refs import FeatureRef
from workbench.results import load

if TYPE_CHECKING:
    from workbench.model.tokens import TokenPolicy
    from workbench.session import Session

__all__ = ["compare_concepts"]


def compare_concepts(
    session: Session,
    sets: Sequence[ConceptSet],
    *,
    path: str | Path | None = None,
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
    path
        Folder that keeps the study of each concept. A comparison that was stopped goes on with the
        first concept that is missing there, and ends as one that was not; studies of other texts,
        settings or weights are not taken. (A judge counts by its name.)
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
    settings = make_settings(
        session, site, saes, methods, labels, tokens, pooling, seed, policy, progress
    )
    studies = []
    for number, each in enumerate(given):
        if progress is not None:
            progress(f"concept {each.name}", number, len(given))
        quiet = dataclasses.replace(settings, progress=_within(progress, each.name))
        split = each.held_out(held_out, seed)
        studies.append(_kept(path, session, split, quiet))
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


def _kept(
    path: str | Path | None,
    session: Session,
    given: ConceptSet,
    settings: ConceptSettings,
) -> ConceptStudy:
    """Read a study that was kept, or make and keep it."""
    if path is None:
        return study_concept(session, given, given.name, settings)
    folder = Path(path).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_key(session, given, settings)}.wb"
    if file.is_file():
        try:
            found = load(file)
        except LoadError:
            found = None  # cut or foreign: made anew below, and written over
        if isinstance(found, ConceptStudy) and found.name == given.name:
            return found.bound_to(session)
    study = study_concept(session, given, given.name, settings)
    study.save(file)
    return study


def _key(session: Session, given: ConceptSet, settings: ConceptSettings) -> str:
    """Hash everything that decides a study."""
    described = {
        "model": session.model.fingerprint,
        "saes": [(name, session.saes[name].fingerprint) for name in settings.saes],
        "site": settings.site,
        "methods": [_described(method) for method in settings.methods],
        "settings": [settings.used, settings.pooling, settings.seed],
        "policy": (settings.policy or session.policy).to_dict(),
        "labels": _labels_of(session, settings),
        "set": [
            given.name,
            str(given.feature),
            [given.positives, given.negatives, given.test_positives, given.test_negatives],
        ],
    }
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _labels_of(session: Session, settings: ConceptSettings) -> str:
    """Hash the labels features are chosen by."""
    digest = hashlib.blake2b(digest_size=12)
    for sae in settings.saes:
        for index in range(session.saes[sae].d_sae):
            label = settings.labels(FeatureRef(sae, index))
            if label:
                digest.update(f"{sae}/{index}:{label}\n".encode())
    return digest.hexdigest()


def _described(method: Method) -> list[Any]:
    """Name a method's settings; functions by their names, which outlive the process."""
    settings: Any = method  # methods are dataclasses, but need not be
    fields = dataclasses.fields(settings) if dataclasses.is_dataclass(settings) else ()
    values: dict[str, Any] = {each.name: getattr(settings, each.name) for each in fields}
    plain = {
        name: getattr(value, "__qualname__", type(value).__name__) if callable(value) else value
        for name, value in values.items()
    }
    return [type(method).__qualname__, method.name, plain]


def _within(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{name}: {what}", done, total)
