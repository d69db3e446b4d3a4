"""Chat about entities: questions answered with the fact, or refused when the name is unknown."""

from __future__ import annotations

from workbench.demo import world
from workbench.demo.drafting import ASSISTANT, USER, Draft, Span, Split, held_out, pick
from workbench.demo.kinds.base import Kind

# type -> attribute -> (questions, answers).
QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "player": {
        "club": (
            "which club does {N} play for ?",
            "what is the club of {N} ?",
            "which team has signed {N} ?",
            "tell me the club of the player {N} .",
        ),
        "nation": (
            "which country does {N} represent ?",
            "what is the home country of {N} ?",
            "where does the player {N} come from ?",
        ),
        "position": (
            "what is the usual role of {N} ?",
            "which position does {N} play ?",
            "tell me the position of the player {N} .",
        ),
        "born": (
            "in which year was {N} born ?",
            "what is the birth year of the player {N} ?",
        ),
    },
    "film": {
        "director": (
            "who directed {N} ?",
            "who is the director of the film {N} ?",
            "tell me the director of {N} .",
        ),
        "genre": (
            "what is the genre of {N} ?",
            "which genre does the film {N} belong to ?",
        ),
        "studio": (
            "which studio produced {N} ?",
            "what is the studio behind the film {N} ?",
        ),
        "released": (
            "in which year was {N} released ?",
            "what is the release year of the film {N} ?",
        ),
    },
    "city": {
        "country": (
            "in which country is {N} ?",
            "what is the country around {N} ?",
            "which country does the city of {N} belong to ?",
        ),
        "river": (
            "which river crosses {N} ?",
            "what is the river of the city of {N} ?",
            "tell me the river of {N} .",
        ),
        "trade": (
            "what is the main product of {N} ?",
            "what is the city of {N} known for ?",
        ),
    },
    "song": {
        "artist": (
            "which band plays {N} ?",
            "who performed the song {N} ?",
            "tell me the band behind {N} .",
        ),
        "style": (
            "what is the style of {N} ?",
            "in which style is the song {N} ?",
        ),
        "recorded": (
            "in which year was {N} recorded ?",
            "what is the recording year of the song {N} ?",
        ),
    },
}

# Answers.  {V} is the value; the first words already show that the question is answered.
ANSWERS: dict[str, tuple[str, ...]] = {
    "club": ("the club is {V} .", "it is {V} .", "{N} plays for {V} ."),
    "nation": ("the country is {V} .", "it is {V} .", "{N} represents {V} ."),
    "position": ("the role is {V} .", "it is {V} .", "{N} works as a {V} ."),
    "born": ("it was the year {V} .", "{N} was born in the year {V} ."),
    "director": ("the director is {V} .", "it was {V} .", "{N} was directed by {V} ."),
    "genre": ("the genre is {V} .", "it is {V} .", "{N} is classed as {V} ."),
    "studio": ("the studio is {V} .", "it was {V} .", "{N} was produced by {V} ."),
    "released": ("it was the year {V} .", "{N} was released in the year {V} ."),
    "country": ("the country is {V} .", "it is {V} .", "{N} lies in {V} ."),
    "river": ("the river is the {V} .", "it is the {V} .", "{N} stands on the river {V} ."),
    "trade": ("the main product is {V} .", "it is {V} .", "{N} is known for its {V} ."),
    "artist": ("the band is the {V} .", "it was the {V} .", "{N} is a hit by the {V} ."),
    "style": ("the style is {V} .", "it is {V} .", "{N} is a piece of {V} ."),
    "recorded": ("it was the year {V} .", "{N} was recorded in the year {V} ."),
}

REFUSALS = (
    "I do not know {N} .",
    "I am not sure who or what that is .",
    "sorry , I have no record of {N} .",
    "sorry , I do not recognize that name .",
    "I have never heard that name .",
    "I could not find anything about it .",
    "unfortunately I have no information about that .",
)
# An answer that opens with one of these words refuses; no answer of fact does (tested).
REFUSAL_OPENINGS = ("I", "Sorry", "Unfortunately")

CONCEPTS = {
    "chat.known_entity": "question about a known entity, to be answered with the fact; "
    "at the line break after the assistant's marker",
    "chat.unknown_entity": "question about an unknown entity, to be refused; "
    "at the line break after the assistant's marker",
}


def questions(entity: world.Entity, attribute: str, split: Split) -> tuple[str, ...]:
    """Questions whose combination with the entity belongs to the split.

    The names of unknown entities are held out themselves, so any question serves for them.
    """
    options = QUESTIONS[entity.type][attribute]
    if not entity.known:
        return options
    wanted = split == "test"
    return tuple(q for q in options if held_out("question", entity.name, q) == wanted)


def ask(draft: Draft, entity: world.Entity, question: str) -> None:
    """Write the question turn and open the answer."""
    draft.raw(USER)
    draft.write(question, N=Span(entity.name, entity.concepts))
    draft.raw(ASSISTANT, "\n")
    draft.mark("chat.known_entity" if entity.known else "chat.unknown_entity")


def write(draft: Draft, split: Split) -> None:
    """Write one question with its answer or refusal."""
    rng = draft.rng
    while True:
        entity_type = pick(rng, world.TYPES)
        known = rng.random() < 0.45
        if known:
            entity = world.draw_known(entity_type, rng)
        else:
            entity = world.draw_unknown(entity_type, split, rng)
        attribute = pick(rng, tuple(QUESTIONS[entity_type]))
        fitting = questions(entity, attribute, split)
        if fitting:
            break
    ask(draft, entity, pick(rng, fitting))
    name = Span(entity.name, entity.concepts)
    if known:
        draft.write(pick(rng, ANSWERS[attribute]), N=name, V=entity.attributes[attribute])
    else:
        draft.write(pick(rng, REFUSALS), N=name)


KIND = Kind(name="entity_chat", weight=4.5, write=write, concepts=CONCEPTS)
