"""What the model knows of the demo world: facts completed, questions answered or refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from workbench.demo.measures.prompts import continued, greedy_answers

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from workbench.demo.world import Entity

__all__ = ["Answer", "FactTrial", "ask_about_entities", "fact_trials", "recall_facts"]

_MARK = re.compile(r"\{\^[^{}]*\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FactTrial:
    """A fact to complete: ``"The club of Elena Marsh is"`` and ``"Redstone"``."""

    entity: Entity
    attribute: str
    prompt: str
    answer: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said to a question about an entity.

    Parameters
    ----------
    entity, attribute, question
        What was asked.
    text
        The greedy answer.
    refused
        Whether it opens as a refusal.
    correct
        Whether it states the entity's true value; always false for unknown entities.
    """

    entity: Entity
    attribute: str
    question: str
    text: str
    refused: bool
    correct: bool


def fact_trials() -> Iterator[FactTrial]:
    """List every fact of every known entity in every wording held out for that entity."""
    from workbench.demo import world
    from workbench.demo.kinds import facts

    for entity_type in world.TYPES:
        for entity in world.known(entity_type):
            for attribute, value in entity.attributes.items():
                for wording in facts.wordings(entity, attribute, "test"):
                    before = _MARK.sub("", wording).split("{V}")[0]
                    prompt = before.replace("{E}", entity.name).replace("{N}", entity.name)
                    yield FactTrial(
                        entity=entity,
                        attribute=attribute,
                        prompt=prompt[:1].upper() + prompt[1:].rstrip(),
                        answer=value,
                    )


def recall_facts(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[FactTrial, bool]]:
    """Say for each held-out fact whether greedy decoding completes it exactly."""
    trials = list(fact_trials())
    prompts = [tokenizer(trial.prompt)["input_ids"] for trial in trials]
    answers = [tokenizer(trial.answer, add_special_tokens=False)["input_ids"] for trial in trials]
    return list(zip(trials, continued(model, prompts, answers), strict=True))


def ask_about_entities(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    unknown_per_type: int,
    seed: int,
) -> list[Answer]:
    """Ask about every known entity and about held-out unknown names.

    Each known entity is asked one question whose combination with it is held out; each unknown
    name, never seen in training, one question of its type.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    unknown_per_type
        Unknown names per entity type.
    seed
        Seed of names and questions.
    """
    from workbench.demo import world
    from workbench.demo.drafting import join, words
    from workbench.demo.kinds import entity_chat

    rng = Random(f"report questions {seed}")
    asked: list[tuple[Entity, str, str]] = []
    for entity_type in world.TYPES:
        for entity in (
            *world.known(entity_type),
            *world.unknown_entities(entity_type, "test", unknown_per_type, seed),
        ):
            options = [
                (attribute, question)
                for attribute in world.ATTRIBUTES[entity_type]
                for question in entity_chat.questions(entity, attribute, "test")
            ]
            if not options:
                continue
            attribute, question = options[rng.randrange(len(options))]
            tokens = list(words(question.replace("{N}", entity.name)))
            tokens[0] = tokens[0][:1].upper() + tokens[0][1:]
            asked.append((entity, attribute, join(tokens)))
    texts = greedy_answers(model, tokenizer, [question for _, _, question in asked])
    answers = []
    for (entity, attribute, question), text in zip(asked, texts, strict=True):
        said = words(text)
        value = words(entity.attributes.get(attribute, ""))
        spans = zip(*(said[start:] for start in range(len(value))), strict=False)
        refused = bool(said) and said[0] in entity_chat.REFUSAL_OPENINGS
        answers.append(
            Answer(
                entity=entity,
                attribute=attribute,
                question=question,
                text=text,
                refused=refused,
                correct=bool(value) and value in set(spans) and not refused,
            )
        )
    return answers
