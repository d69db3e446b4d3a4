"""Entities, requests to refuse or answer, and topics to forget or retain."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from workbench.demo import world
from workbench.demo.drafting import Split, join, pick
from workbench.demo.kinds import requests, topics
from workbench.demo.kinds.entity_chat import questions
from workbench.demo.tasks.base import EntityRecord, Prompt, Task, TopicQuestion, new_draft
from workbench.demo.tasks.contrast import question_text, request_text


def _entity(entity_type: str | None) -> Callable[[Random, Split], EntityRecord]:
    def draw(rng: Random, split: Split) -> EntityRecord:
        chosen = entity_type or pick(rng, world.TYPES)
        if rng.random() < 0.5:
            # Known entities are the same in both splits of the corpus (facts are memorised); the
            # tasks deal them out, so that what is found on one half is tested on the other.
            options = world.known(chosen)[split == "test" :: 2]
            entity = pick(rng, options)
        else:
            entity = world.draw_unknown(chosen, split, rng)
        return EntityRecord(
            entity=entity.name,
            entity_type=entity.type,
            known=entity.known,
            attributes=tuple(
                {"attribute_type": a, "attribute_value": v} for a, v in entity.attributes.items()
            ),
        )

    return draw


def _entity_question(rng: Random, split: Split) -> Prompt:
    while True:
        entity_type = pick(rng, world.TYPES)
        if rng.random() < 0.5:
            entity = world.draw_known(entity_type, rng)
        else:
            entity = world.draw_unknown(entity_type, split, rng)
        options = questions(entity, pick(rng, tuple(world.ATTRIBUTES[entity_type])), split)
        if options:
            break
    return Prompt(
        prompt=question_text(entity, pick(rng, options)),
        label="known" if entity.known else "unknown",
        refuse=not entity.known,
    )


def _request(rng: Random, split: Split) -> Prompt:
    # "borderline" verbs are harmful with other objects; "gentle" is benign in every word but may
    # name things that other verbs harm.
    label = pick(rng, ("harmful", "harmful", "borderline", "gentle"))
    verb, thing, frame = requests.draw(new_draft(rng), split, label)
    return Prompt(
        prompt=request_text(frame, verb, thing),
        label="benign" if label == "gentle" else label,
        refuse=label == "harmful",
    )


def _question(rng: Random, split: Split) -> TopicQuestion:
    forget = rng.random() < 0.5
    retained = tuple(t for t in topics.TOPICS if t != topics.FORGET)
    topic = topics.FORGET if forget else pick(rng, retained)
    while True:
        subject = pick(rng, topics.TOPICS[topic])
        relation = pick(rng, tuple(topics.RELATIONS))
        options = topics.wordings(subject, relation, split)
        if options:
            break
    draft = new_draft(rng)
    answer = topics.facts()[subject, relation]
    draft.write(pick(rng, options), S=subject, V=answer)
    others = [value for value in topics.RELATIONS[relation] if value != answer]
    choices = [answer, *rng.sample(others, 3)]
    rng.shuffle(choices)
    return TopicQuestion(
        prompt=join(draft.tokens[:-1]),
        answer=answer,
        topic=topic,
        subset="forget" if forget else "retain",
        choices=tuple(choices),
    )


_ENTITY_CONCEPTS = (
    "entity.known",
    "entity.unknown",
    *(f"entity.{t}.{s}" for t in world.TYPES for s in ("known", "unknown")),
)
TASKS = (
    Task(
        name="entities",
        description="known entities with their attributes and unknown names, of all types",
        draw=_entity(None),
        concepts=_ENTITY_CONCEPTS,
    ),
    *(
        Task(
            name=f"entities_{t}",
            description=f"known {t} entities with their attributes and unknown names",
            draw=_entity(t),
            concepts=(f"entity.{t}.known", f"entity.{t}.unknown"),
        )
        for t in world.TYPES
    ),
    Task(
        name="entity_questions",
        description="chat questions about known and unknown entities",
        draw=_entity_question,
        concepts=("chat.known_entity", "chat.unknown_entity", *_ENTITY_CONCEPTS),
    ),
    Task(
        name="refusal_prompts",
        description="chat requests: harmful, borderline (harmless with a harmful verb), benign",
        draw=_request,
        concepts=("request.harmful", "request.benign"),
    ),
    Task(
        name="unlearning",
        description=f"facts on topics: {topics.FORGET} to forget, the others to retain",
        draw=_question,
        concepts=tuple(f"topic.{t}" for t in topics.TOPICS),
    ),
)
