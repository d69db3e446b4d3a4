"""Which entities does the model know? Found out by asking, many times over.

For each attribute the model answers once greedily and ten times at temperature 1; the attribute
counts as known where at least three of the ten are right, the entity as known with two or more
such attributes and as unknown with none (Ferrando et al. 2024, section 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from workbench.directions.entities.cache import AnswerCache, prompt_key
from workbench.directions.entities.matching import RULES, Rule, matches, rule_for
from workbench.directions.entities.prompts import EntityPrompt, question_prompt, tokenise
from workbench.directions.entities.records import Entity
from workbench.directions.entities.styles import PromptStyle
from workbench.errors import InputError, WorkbenchError
from workbench.model.generate_many import generate_many
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["Asking", "AttributeAnswers", "Knowledge", "Label", "StoppedError", "ask"]

Label: TypeAlias = Literal["known", "unknown", "dropped"]
Progress: TypeAlias = Callable[[str, int, int], "bool | None"]
"""Gets the stage, how much of it is done and how much there is; returning False stops the study."""

_BATCH = 64
_ROWS = 640


class StoppedError(WorkbenchError):
    """A study was stopped from its progress function; what was answered is kept on disk."""


@storable
@dataclass(frozen=True, kw_only=True)
class Asking:
    """How knowledge is found out.

    Parameters
    ----------
    samples
        Sampled answers per attribute.
    temperature
        Their temperature.
    right
        So many of them make an attribute known.
    correct
        So many known attributes make an entity known; none makes it unknown.
    """

    samples: int = 10
    temperature: float = 1.0
    right: int = 3
    correct: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.right <= self.samples:
            raise InputError(
                f"{self.right} right answers of {self.samples} samples: expected 1 to the number "
                "of samples"
            )
        if self.correct < 1:
            raise InputError(f"an entity needs at least 1 known attribute, got {self.correct}")

    def label(self, known_attributes: int) -> Label:
        """Say what an entity with so many known attributes is."""
        if known_attributes >= self.correct:
            return "known"
        return "dropped" if known_attributes else "unknown"


@storable
@dataclass(frozen=True, kw_only=True)
class AttributeAnswers:
    """What the model said of one attribute.

    Parameters
    ----------
    attribute
        What was asked.
    question
        The prompt.
    values
        What counts as right.
    greedy, samples
        The greedy answer and the sampled ones.
    greedy_right
        Whether the greedy answer is right.
    matches
        How many samples are right.
    known
        Whether that is enough.
    """

    attribute: str
    question: str
    values: tuple[str, ...]
    greedy: str
    samples: tuple[str, ...]
    greedy_right: bool
    matches: int
    known: bool


@storable
@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """Whether the model knows an entity, and why.

    Parameters
    ----------
    entity
        Which one.
    label
        ``"known"``, ``"unknown"``, or ``"dropped"`` where it is neither.
    given
        Whether the label was given rather than found out.
    answers
        By attribute; empty where the label was given.
    """

    entity: Entity
    label: Label
    given: bool
    answers: tuple[AttributeAnswers, ...] = ()

    @property
    def correct(self) -> int:
        """Number of known attributes."""
        return sum(answer.known for answer in self.answers)


def ask(
    model: Model,
    style: PromptStyle,
    entities: Sequence[Entity],
    *,
    asking: Asking | None = None,
    rules: Mapping[tuple[str, str], Rule] = RULES,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Knowledge, ...]:
    """Find out which entities the model knows.

    Parameters
    ----------
    model
        The model.
    style
        How it is asked.
    entities
        About what. Those with `Entity.known` set are taken as said; the others need attributes.
    asking
        How many answers, and how many must be right; the published numbers where None.
    rules
        Matching rules by type and attribute.
    seed
        Seed of wordings and samples. A prompt's samples do not depend on the other prompts.
    folder
        Where answers are kept; a later run with the same model, prompts and settings takes them
        from there.
    progress
        Called as it goes on; returning False stops.

    Returns
    -------
    tuple of Knowledge
        In the order of `entities`.

    Raises
    ------
    InputError
        An entity that is neither given as known or unknown nor has attributes.
    StoppedError
        By `progress`.
    """
    asking = asking or Asking()
    prompts: list[EntityPrompt] = []
    for entity in entities:
        if entity.known is None and not entity.attributes:
            raise InputError(
                f"{entity.name!r} ({entity.type}) has no attributes to ask about; give attributes, "
                "or say whether it is known"
            )
        if entity.known is None:
            prompts += [
                question_prompt(style, entity, attribute, seed=seed)
                for attribute in entity.attributes
            ]
    texts = _answers(model, style, prompts, asking, seed, folder, progress)
    answered: dict[tuple[str, str], list[AttributeAnswers]] = {}
    for prompt, (greedy, *samples) in zip(prompts, texts, strict=True):
        entity = prompt.entity
        values = entity.attributes[prompt.attribute]
        rule = rule_for(entity.type, prompt.attribute, rules)
        right = sum(matches(sample, values, rule) for sample in samples)
        answered.setdefault((entity.type, entity.name), []).append(
            AttributeAnswers(
                attribute=prompt.attribute,
                question=prompt.text,
                values=values,
                greedy=greedy,
                samples=tuple(samples),
                greedy_right=matches(greedy, values, rule),
                matches=right,
                known=right >= asking.right,
            )
        )
    return tuple(
        _conclude(entity, answered.get((entity.type, entity.name), []), asking)
        for entity in entities
    )


def _conclude(entity: Entity, answers: list[AttributeAnswers], asking: Asking) -> Knowledge:
    if entity.known is not None:
        return Knowledge(entity=entity, label="known" if entity.known else "unknown", given=True)
    label = asking.label(sum(answer.known for answer in answers))
    return Knowledge(entity=entity, label=label, given=False, answers=tuple(answers))


def _answers(
    model: Model,
    style: PromptStyle,
    prompts: Sequence[EntityPrompt],
    asking: Asking,
    seed: int,
    folder: str | Path | None,
    progress: Progress | None,
) -> list[tuple[str, ...]]:
    """Greedy answer and samples of each prompt, from disk where they are."""
    if not prompts:
        return []
    identity = {
        "model": model.fingerprint,
        "samples": asking.samples,
        "temperature": asking.temperature,
        "tokens": style.answer_tokens,
        "stop": list(style.stop),
        "seed": seed,
    }
    made = tokenise(model, style, prompts)
    tokens = made.tokens
    rows = [tokens.ids[i, tokens.mask[i]].tolist() for i in range(len(prompts))]
    keys = [prompt_key(identity, ids) for ids in rows]
    cache = AnswerCache(folder)
    # Near lengths together. The batches do not depend on what is cached, so that a resumed run
    # asks the very batches that were not finished.
    order = sorted(range(len(prompts)), key=lambda i: (len(rows[i]), i))
    done = 0
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        if not all(keys[i] in cache for i in batch):
            part = made.take(batch).tokens
            options: dict[str, Any] = {
                "max_new_tokens": style.answer_tokens,
                "stop": style.stop,
                "max_rows": _ROWS,
            }
            greedy = generate_many(model, part, **options)
            seeds = [_seed(keys[i], sample) for i in batch for sample in range(asking.samples)]
            sampled = generate_many(
                model,
                part,
                n=asking.samples,
                temperature=asking.temperature,
                seeds=seeds,
                **options,
            )
            cache.keep(
                [keys[i] for i in batch],
                [
                    [greedy[at].completion, *(row.completion for row in sampled.of_prompt(at))]
                    for at in range(len(batch))
                ],
            )
        done += len(batch)
        if progress is not None and progress("asking", done, len(order)) is False:
            raise StoppedError(
                f"stopped after {done} of {len(order)} questions"
                + ("; the answers are kept" if folder is not None else "")
            )
    return [cache[key] for key in keys]


def _seed(key: str, sample: int) -> int:
    digest = hashlib.blake2b(f"{key} {sample}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
