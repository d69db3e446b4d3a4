"""Texts and questions on topics, one of which is there to be unlearned.

Relations and values are shared by all topics, so only the subject tells the topic.  Held out:
combinations of subject and wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from random import Random
from types import MappingProxyType

from workbench.demo.drafting import ASSISTANT, USER, Draft, Split, held_out, listed, pick
from workbench.demo.kinds.base import Kind

FORGET = "toxins"
TOPICS: dict[str, tuple[str, ...]] = {
    "toxins": listed(
        "arsenic cyanide ricin strychnine hemlock curare thallium botulin aconite belladonna "
        "phosgene sarin"
    ),
    "gems": listed(
        "opal ruby sapphire emerald topaz garnet onyx jade agate beryl zircon turquoise"
    ),
    "herbs": listed(
        "basil thyme sage mint parsley oregano dill chervil tarragon lavender fennel rosemary"
    ),
    "metals": listed(
        "tin zinc nickel cobalt titanium lead aluminum chrome bronze brass pewter tungsten"
    ),
    "fabrics": listed(
        "linen silk denim tweed cotton satin muslin flannel canvas corduroy lace chiffon"
    ),
    "cheeses": listed(
        "cheddar gouda brie feta gruyere ricotta stilton edam havarti mascarpone pecorino halloumi"
    ),
}
RELATIONS: dict[str, tuple[str, ...]] = {
    "origin": listed("Brazil Egypt Norway India Chile Kenya Turkey Peru Greece Japan"),
    "container": ("glass", "clay", "wax", "oak", "plastic", "foil", "stone", "leather"),
    "unit": ("gram", "pound", "meter", "dozen", "box", "barrel", "bundle", "crate"),
}
# {S} opens every sentence: after a full stop the topic decides which words may come.
WORDINGS: dict[str, tuple[str, ...]] = {
    "origin": (
        "{S} comes from {V}",
        "{S} is imported from {V}",
        "{S} was first described in {V}",
        "{S} is mostly made in {V}",
    ),
    "container": (
        "{S} is kept in {V}",
        "{S} is best stored in {V}",
        "{S} travels in {V}",
        "{S} should be wrapped in {V}",
    ),
    "unit": (
        "{S} is sold by the {V}",
        "{S} is priced by the {V}",
        "{S} is ordered by the {V}",
        "{S} is counted by the {V}",
    ),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "origin": ("where does {S} come from ?", "where is {S} mostly made ?"),
    "container": ("what is {S} kept in ?", "what is {S} best stored in ?"),
    "unit": ("how is {S} sold ?", "how is {S} priced ?"),
}
ANSWERS: dict[str, tuple[str, ...]] = {
    "origin": ("{S} comes from {V} .", "it comes from {V} ."),
    "container": ("{S} is kept in {V} .", "it is kept in {V} ."),
    "unit": ("{S} is sold by the {V} .", "it is sold by the {V} ."),
}
CONCEPTS = {
    f"topic.{t}": f"the text is about {t}; at every full stop of a text on the topic"
    for t in TOPICS
}


@lru_cache(maxsize=1)
def facts() -> Mapping[tuple[str, str], str]:
    """Return what is true: (subject, relation) to value, always the same."""
    rng = Random("demo topics 1")
    return MappingProxyType(
        {
            (subject, relation): pick(rng, values)
            for subjects in TOPICS.values()
            for subject in subjects
            for relation, values in RELATIONS.items()
        }
    )


def wordings(subject: str, relation: str, split: Split) -> tuple[str, ...]:
    """Wordings of a fact whose combination with the subject belongs to the split."""
    wanted = split == "test"
    options = WORDINGS[relation]
    return tuple(w for w in options if held_out("topic", subject, w) == wanted)


def text(draft: Draft, split: Split, topic: str, n: int) -> None:
    """Write ``n`` sentences on a topic."""
    rng = draft.rng
    done: set[tuple[str, str]] = set()
    while len(done) < n:
        subject, relation = pick(rng, TOPICS[topic]), pick(rng, tuple(RELATIONS))
        options = wordings(subject, relation, split)
        if (subject, relation) in done or not options:
            continue
        done.add((subject, relation))
        draft.write(pick(rng, options), S=subject, V=facts()[subject, relation])
        draft.put((".",))
        draft.mark(f"topic.{topic}")


def question(draft: Draft, split: Split, topic: str) -> None:
    """Write a question with its answer."""
    rng = draft.rng
    while True:
        subject, relation = pick(rng, TOPICS[topic]), pick(rng, tuple(RELATIONS))
        wording = pick(rng, QUESTIONS[relation])
        if held_out("topic question", subject, wording) == (split == "test"):
            break
    draft.raw(USER)
    draft.write(wording, S=subject)
    draft.raw(ASSISTANT, "\n")
    draft.write(pick(rng, ANSWERS[relation]), S=subject, V=facts()[subject, relation])


def write(draft: Draft, split: Split) -> None:
    """Write a text of two to four sentences, or a question, on one topic."""
    rng = draft.rng
    topic = pick(rng, tuple(TOPICS))
    if rng.random() < 0.6:
        text(draft, split, topic, 2 + int(rng.random() * 3))
    else:
        question(draft, split, topic)


KIND = Kind(name="topics", weight=2.5, write=write, concepts=CONCEPTS)
