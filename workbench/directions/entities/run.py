"""The whole study: ask, split, score, rank, compare, push."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.directions.entities.answers import Asking, Knowledge, Progress, ask
from workbench.directions.entities.baselines import measure_baselines
from workbench.directions.entities.entity_study import EntityStudy
from workbench.directions.entities.matching import RULES, Rule
from workbench.directions.entities.prompts import question_prompt, tokenise
from workbench.directions.entities.records import Entity, EntitySource, bundled, entity_list
from workbench.directions.entities.scoring import choose_saes, general_density, read_entities
from workbench.directions.entities.styles import PromptStyle, attributes_by_type, style_of
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.model.tokens import Tokens
    from workbench.session import Session

__all__ = ["SPLITS", "split_entities", "study"]

SPLITS = (0.5, 0.1, 0.4)
"""Shares of training, validation and test (Ferrando et al. 2024)."""


def split_entities(
    knowledge: Sequence[Knowledge],
    *,
    shares: tuple[float, float, float] = SPLITS,
    seed: int = 0,
) -> tuple[str, ...]:
    """Deal entities out to training, validation and test, each type and label in these shares.

    Parameters
    ----------
    knowledge
        Entities with their labels; dropped ones get an empty split.
    shares
        Of training, validation and test.
    seed
        Seed of the deal.

    Raises
    ------
    InputError
        The shares do not add up to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError(f"shares of train, validation and test must add up to 1, got {shares}")
    groups: dict[tuple[str, str], list[int]] = {}
    for at, item in enumerate(knowledge):
        if item.label != "dropped":
            groups.setdefault((item.entity.type, item.label), []).append(at)
    splits = [""] * len(knowledge)
    for (kind, label), members in groups.items():
        Random(f"split {seed} {kind} {label}").shuffle(members)
        first = round(shares[0] * len(members))
        second = first + round(shares[1] * len(members))
        for place, at in enumerate(members):
            splits[at] = "train" if place < first else "validation" if place < second else "test"
    return tuple(splits)


def study(
    session: Session,
    known: EntitySource | None = None,
    unknown: EntitySource | None = None,
    *,
    entities: EntitySource | None = None,
    style: PromptStyle | Mapping[str, Any] | str | None = None,
    asking: Asking | None = None,
    rules: Mapping[tuple[str, str], Rule] = RULES,
    saes: Iterable[str] | str | None = None,
    general: Sequence[str] | Tokens | None = None,
    max_density: float | str | None = "style",
    shares: tuple[float, float, float] = SPLITS,
    seed: int = 0,
    folder: str | Path | None = None,
    causal: bool = True,
    progress: bool | Progress = False,
) -> EntityStudy:
    """Find the features that tell entities a model knows from those it does not.

    Ferrando et al. 2024, "Do I Know This Entity?": ask the model about entities many times to see
    which it knows; split them; score every feature of every attached SAE at the last token of each
    name; rank features by how much more often they fire on one class, the worst type counting;
    push answers along the best ones.

    Parameters
    ----------
    session
        Model and SAEs.
    known, unknown
        Entities taken as known and as unknown, as `entity_list` reads them; nothing is asked then.
        Give both or neither.
    entities
        Entities to ask about (those with ``known`` set are not asked about). None, with neither
        `known` nor `unknown`: the bundled list.
    style
        How to ask; None for the chat template where there is one.
    asking
        When an entity counts as known.
    rules
        Matching rules by type and attribute, which come before the published ones.
    saes
        Which SAEs to score; all by default.
    general
        General text, to drop features that fire anywhere. None takes the firing rates stored with
        the SAEs.
    max_density
        The share of general tokens from which a feature is dropped; None drops none; by default
        what the style says (0.02).
    shares, seed
        Of the splits; the seed also of wordings, samples and controls.
    folder
        Where answers are kept; a run killed while asking goes on from there, and gives the same
        study as one that was not.
    causal
        Push answers, check and attention as well.
    progress
        True for a progress bar, or a function of stage, done and total; returning False stops.

    Returns
    -------
    EntityStudy
        Bound to the session.

    Raises
    ------
    InputError
        No type has known and unknown entities in training and test.
    StoppedError
        By `progress`.
    """
    model = session.model
    how = style_of(model, style)
    asked = _gather(known, unknown, entities)
    tell, close = _shown(progress)
    try:
        names = choose_saes(session, saes)
        asking = asking or Asking()
        knowledge = ask(
            model, how, asked, asking=asking, rules=rules, seed=seed, folder=folder, progress=tell
        )
        splits = split_entities(knowledge, shares=shares, seed=seed)
        types = _types(knowledge, splits)
        about = attributes_by_type(how, asked)
        prompts = [
            question_prompt(how, item.entity, about[item.entity.type], seed=seed)
            for item in knowledge
        ]
        made = tokenise(model, how, prompts)
        density = general_density(session, names, general)
        read = read_entities(session, made, names, density=density, progress=tell)
        cut = made.cut()
        provenance = model.provenance(
            dataclasses.replace(model.policy, chat=how.chat), saes=names, seed=seed
        )
        masks = {
            (label, split): np.array(
                [
                    item.label == label and part == split
                    for item, part in zip(knowledge, splits, strict=True)
                ]
            )
            for label in ("known", "unknown")
            for split in ("train", "validation", "test")
        }
        baselines, diff_means = measure_baselines(
            read.acts,
            {site: session.sites.resolve(site).layer for site in read.acts},
            np.array([item.entity.type for item in knowledge]),
            types,
            masks,
            provenance,
        )
        found = EntityStudy(
            provenance=provenance,
            style=how,
            asking=asking,
            knowledge=knowledge,
            splits=splits,
            questions_asked=tuple(prompt.text for prompt in prompts),
            name_tokens=cut.tokens.strings,
            name_starts=made.first.numpy(),
            types=types,
            codes=read.codes,
            max_density=how.max_density if isinstance(max_density, str) else max_density,
            baselines=baselines,
            diff_means=diff_means,
            left_out={
                name: "temporal: it encodes whole sequences, not single tokens"
                for name in session.saes
                if saes is None and name not in names
            },
            seed=seed,
        ).bound_to(session)
        return _push(session, found, tell) if causal else found
    finally:
        close()


def _push(session: Session, found: EntityStudy, tell: Progress | None) -> EntityStudy:
    from workbench.directions.entities.attention import attention_to_names
    from workbench.directions.entities.check import check_knowledge
    from workbench.directions.entities.steering import steer

    steering = steer(session, found, seed=found.seed, progress=tell)
    with_pushes = dataclasses.replace(found, steering=steering).bound_to(session)
    check = check_knowledge(session, with_pushes)
    attention = attention_to_names(session, with_pushes)
    return dataclasses.replace(with_pushes, check=check, attention=attention).bound_to(session)


def _gather(
    known: EntitySource | None, unknown: EntitySource | None, entities: EntitySource | None
) -> tuple[Entity, ...]:
    if (known is None) != (unknown is None):
        raise InputError(
            "known and unknown entities come together; to find out which are which, pass them as "
            "entities=..."
        )
    found: tuple[Entity, ...] = ()
    if known is not None and unknown is not None:
        found += entity_list(known, known=True) + entity_list(unknown, known=False)
    if entities is not None:
        found += entity_list(entities)
    found = found or bundled()
    labels: dict[tuple[str, str], bool | None] = {}
    for entity in found:
        key = (entity.type, entity.name)
        if labels.setdefault(key, entity.known) != entity.known:
            raise InputError(f"{entity.name!r} ({entity.type}) is given as known and as unknown")
    return tuple({(e.type, e.name): e for e in found}.values())


def _types(knowledge: Sequence[Knowledge], splits: Sequence[str]) -> tuple[str, ...]:
    """Types with known and unknown entities to train and to test on."""
    cells = {
        (item.entity.type, item.label, split) for item, split in zip(knowledge, splits, strict=True)
    }
    kinds = dict.fromkeys(item.entity.type for item in knowledge)
    found = tuple(
        kind
        for kind in kinds
        if all(
            (kind, label, split) in cells
            for label in ("known", "unknown")
            for split in ("train", "test")
        )
    )
    if not found:
        counts = {
            kind: {
                label: sum(k.entity.type == kind and k.label == label for k in knowledge)
                for label in ("known", "unknown", "dropped")
            }
            for kind in kinds
        }
        raise InputError(
            "no entity type has known and unknown entities to train and to test on; "
            f"found {counts}. Give more entities, or others"
        )
    return found


def _shown(progress: bool | Progress) -> tuple[Progress | None, Callable[[], None]]:
    """Make a progress function and what ends it."""
    if not isinstance(progress, bool):
        return progress, lambda: None
    if not progress:
        return None, lambda: None
    from tqdm.auto import tqdm

    bar = tqdm(unit="", desc="entity study")

    def tell(stage: str, done: int, total: int) -> None:
        bar.set_description(f"entity study: {stage}")
        bar.total, bar.n = total, done
        bar.refresh()

    return tell, bar.close
