"""Prompts to steer: a concept holds, another is wanted, and the next word tells which."""

from __future__ import annotations

from random import Random

from workbench.demo import world
from workbench.demo.drafting import Split, join, pick
from workbench.demo.kinds import register, requests, reviews, topics
from workbench.demo.kinds.entity_chat import REFUSAL_OPENINGS, questions
from workbench.demo.tasks.base import SteeringPrompt, Task, marked, new_draft, prefix
from workbench.demo.tasks.contrast import question_text, request_text

# How answers open: the first words of requests.ANSWERS.
ANSWER_OPENINGS = ("Sure", "Of", "Yes", "Here", "Certainly")


def _sentiment(rng: Random, split: Split) -> SteeringPrompt:
    source = pick(rng, reviews.SENTIMENTS)
    target = reviews.opposite(source)
    draft = new_draft(rng)
    draft.write(pick(rng, reviews.OPENINGS))
    reviews.body(draft, split, source)
    reviews.verdict(draft, source)
    return SteeringPrompt(
        prompt=prefix(draft, marked(draft, f"sentiment.{source}")),
        chat=False,
        source=f"sentiment.{source}",
        target=f"sentiment.{target}",
        hits=reviews.VERDICTS[target],
        misses=reviews.VERDICTS[source],
    )


def _register(rng: Random, split: Split) -> SteeringPrompt:
    side = int(rng.random() * 2)
    source, target = register.REGISTERS[side], register.REGISTERS[1 - side]
    draft = new_draft(rng)
    register.letter(draft, split, source, 1)
    openings = {
        r: tuple(dict.fromkeys(c.split()[0].capitalize() for c in register.CLOSINGS[r]))
        for r in register.REGISTERS
    }
    return SteeringPrompt(
        prompt=prefix(draft, marked(draft, f"register.{source}")),
        chat=False,
        source=f"register.{source}",
        target=f"register.{target}",
        hits=openings[target],
        misses=openings[source],
    )


def _refusal(rng: Random, split: Split) -> SteeringPrompt:
    harmful = rng.random() < 0.5
    label = "harmful" if harmful else pick(rng, ("borderline", "gentle"))
    verb, thing, frame = requests.draw(new_draft(rng), split, label)
    sides = ("request.harmful", "request.benign")
    words = (requests.REFUSAL_OPENINGS, ANSWER_OPENINGS)
    here = 0 if harmful else 1
    return SteeringPrompt(
        prompt=request_text(frame, verb, thing),
        chat=True,
        source=sides[here],
        target=sides[1 - here],
        hits=words[1 - here],
        misses=words[here],
    )


def _topic(rng: Random, split: Split) -> SteeringPrompt:
    source, target = rng.sample(tuple(topics.TOPICS), 2)
    draft = new_draft(rng)
    topics.text(draft, split, source, 2)
    return SteeringPrompt(
        prompt=join(draft.tokens),
        chat=False,
        source=f"topic.{source}",
        target=f"topic.{target}",
        hits=tuple(w.capitalize() for w in topics.TOPICS[target]),
        misses=tuple(w.capitalize() for w in topics.TOPICS[source]),
    )


def _entity(rng: Random, split: Split) -> SteeringPrompt:
    known = rng.random() < 0.5
    while True:
        entity_type = pick(rng, world.TYPES)
        if known:
            entity = world.draw_known(entity_type, rng)
        else:
            entity = world.draw_unknown(entity_type, split, rng)
        options = questions(entity, pick(rng, tuple(world.ATTRIBUTES[entity_type])), split)
        if options:
            break
    # An answer opens with "The", "It" or the name; a refusal never does.
    answers = ("The", "It", entity.words[0])
    states = ("chat.known_entity", "chat.unknown_entity")
    here = 0 if known else 1
    words = (answers, REFUSAL_OPENINGS)
    return SteeringPrompt(
        prompt=question_text(entity, pick(rng, options)),
        chat=True,
        source=states[here],
        target=states[1 - here],
        hits=words[1 - here],
        misses=words[here],
    )


TASKS = (
    Task(
        name="steering_sentiment",
        description="reviews before the verdict, to be turned round",
        draw=_sentiment,
        concepts=("sentiment.positive", "sentiment.negative"),
    ),
    Task(
        name="steering_register",
        description="letters before the closing, to be closed in the other register",
        draw=_register,
        concepts=tuple(f"register.{r}" for r in register.REGISTERS),
    ),
    Task(
        name="steering_refusal",
        description="harmful requests to be answered, harmless ones to be refused",
        draw=_refusal,
        concepts=("request.harmful", "request.benign"),
    ),
    Task(
        name="steering_topic",
        description="texts on one topic to be continued on another",
        draw=_topic,
        concepts=tuple(f"topic.{t}" for t in topics.TOPICS),
    ),
    Task(
        name="steering_entity",
        description="known entities to be refused, unknown ones to be answered",
        draw=_entity,
        concepts=(
            "chat.known_entity",
            "chat.unknown_entity",
            "entity.known",
            "entity.unknown",
        ),
    ),
)
