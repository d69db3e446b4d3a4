"""The encyclopedia: facts of known entities in many wordings.

What is held out: one in five combinations of entity and wording.  A test sentence states a
fact in a wording never seen *for that entity* in training; wording and fact are both familiar.
"""

from __future__ import annotations

from workbench.demo import world
from workbench.demo.drafting import Draft, Span, Split, held_out, pick
from workbench.demo.kinds.base import Kind

# {E} may be the name or a pronoun (subject position), {N} is always the name, {V} the value.
# {^fact} marks the word after which the value is due.
WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "player": {
        "club": (
            "{E} plays for{^fact} {V}",
            "{E} has signed with{^fact} {V}",
            "{E} wears the shirt of{^fact} {V}",
            "{E} trains every week with{^fact} {V}",
            "the club of {N} is{^fact} {V}",
            "the team that {N} plays for is{^fact} {V}",
            "{E} spends the season at{^fact} {V}",
        ),
        "nation": (
            "{E} represents{^fact} {V}",
            "{E} comes from{^fact} {V}",
            "{E} grew up in{^fact} {V}",
            "{E} carries the flag of{^fact} {V}",
            "the home country of {N} is{^fact} {V}",
            "{E} has a passport from{^fact} {V}",
        ),
        "position": (
            "{E} works as a{^fact} {V}",
            "{E} is used as a{^fact} {V}",
            "the usual role of {N} is{^fact} {V}",
            "on the field {N} is a{^fact} {V}",
            "{E} made a name as a{^fact} {V}",
        ),
        "born": (
            "{E} was born in the year{^fact} {V}",
            "the birth year of {N} is{^fact} {V}",
            "the birth of {N} is recorded in the year{^fact} {V}",
            "{E} came into the world in the year{^fact} {V}",
        ),
    },
    "film": {
        "director": (
            "{E} was directed by{^fact} {V}",
            "{E} is the work of{^fact} {V}",
            "the director of {N} is{^fact} {V}",
            "the person behind the camera of {N} was{^fact} {V}",
            "{E} was shot by{^fact} {V}",
        ),
        "genre": (
            "{E} is classed as{^fact} {V}",
            "{E} belongs to the genre of{^fact} {V}",
            "the genre of {N} is{^fact} {V}",
            "shops file {N} under{^fact} {V}",
        ),
        "studio": (
            "{E} was produced by{^fact} {V}",
            "{E} was paid for by{^fact} {V}",
            "the studio behind {N} is{^fact} {V}",
            "the rights to {N} belong to{^fact} {V}",
        ),
        "released": (
            "{E} was released in the year{^fact} {V}",
            "the release year of {N} is{^fact} {V}",
            "{E} reached the screens in the year{^fact} {V}",
            "people first saw {N} in the year{^fact} {V}",
        ),
    },
    "city": {
        "country": (
            "{E} lies in{^fact} {V}",
            "{E} is a city in{^fact} {V}",
            "the country around {N} is{^fact} {V}",
            "{E} pays its taxes to{^fact} {V}",
            "on the map {N} is part of{^fact} {V}",
        ),
        "river": (
            "{E} stands on the river{^fact} {V}",
            "{E} takes its water from the{^fact} {V}",
            "the river that crosses {N} is the{^fact} {V}",
            "the bridges of {N} span the{^fact} {V}",
        ),
        "trade": (
            "{E} is known for its{^fact} {V}",
            "{E} lives from the trade in{^fact} {V}",
            "the main product of {N} is{^fact} {V}",
            "merchants visit {N} to buy{^fact} {V}",
            "the workshops of {N} make{^fact} {V}",
        ),
    },
    "song": {
        "artist": (
            "{E} was performed by the{^fact} {V}",
            "{E} is a hit by the{^fact} {V}",
            "the band that plays {N} is the{^fact} {V}",
            "{E} made the name of the{^fact} {V}",
            "fans of {N} love the{^fact} {V}",
        ),
        "style": (
            "{E} is a piece of{^fact} {V}",
            "the style of {N} is{^fact} {V}",
            "record shops sell {N} as{^fact} {V}",
            "{E} mixes strings with{^fact} {V}",
        ),
        "recorded": (
            "{E} was recorded in the year{^fact} {V}",
            "the recording of {N} dates from the year{^fact} {V}",
            "{E} was first heard in the year{^fact} {V}",
            "radio stations first played {N} in the year{^fact} {V}",
        ),
    },
}

NOUNS = {
    "player": ("the player", "the footballer"),
    "film": ("the film", "the movie"),
    "city": ("the city of", "the town of"),
    "song": ("the song", "the tune"),
}

CONCEPTS = {
    f"entity.{t}.{state}": f"name of {article} {t} the text states "
    f"{'facts' if state == 'known' else 'no facts'} about; at the last word of the name"
    for t, article in (("player", "a"), ("film", "a"), ("city", "a"), ("song", "a"))
    for state in ("known", "unknown")
} | {
    "entity.known": "name of any known entity; at the last word of the name",
    "entity.unknown": "name of any unknown entity; at the last word of the name",
}
CONCEPTS |= {
    f"attribute.{t}.{a}": f"the {a} of a known {t} is due; at the word before it"
    for t, attributes in WORDINGS.items()
    for a in attributes
}


def introduce(draft: Draft, entity: world.Entity) -> Span:
    """Give a name with its concepts, sometimes after a noun saying what it is."""
    draw = draft.rng.random()
    if draw < 0.4:
        noun = ""
    elif entity.type == "player" and draw < 0.7:
        # A known player's position is a fact; an unknown one's is whatever the writer says.
        role = entity.attributes.get("position") or pick(draft.rng, world.POSITIONS)
        noun = f"the {role} "
    else:
        noun = pick(draft.rng, NOUNS[entity.type]) + " "
    return Span(noun + entity.name, entity.concepts)


def wordings(entity: world.Entity, attribute: str, split: Split) -> tuple[str, ...]:
    """Wordings of one attribute whose combination with the entity belongs to the split."""
    wanted = split == "test"
    return tuple(
        w for w in WORDINGS[entity.type][attribute] if held_out("fact", entity.name, w) == wanted
    )


def state(draft: Draft, entity: world.Entity, attribute: str, wording: str, named: bool) -> None:
    """Write one fact, by name or with a pronoun."""
    by_name = introduce(draft, entity)
    # Not "she" or "he": whether a pronoun follows would be chance where biographies need it.
    again = "this player" if entity.type == "player" else "it"
    subject = by_name if named else Span(again)
    draft.write(
        wording,
        E=subject,
        N=Span(entity.name, entity.concepts),
        V=entity.attributes[attribute],
        fact=f"attribute.{entity.type}.{attribute}",
    )


def write(draft: Draft, split: Split) -> None:
    """Write one to four facts of one known entity."""
    rng = draft.rng
    while True:
        entity = world.draw_known(pick(rng, tuple(WORDINGS)), rng)
        attributes = [a for a in WORDINGS[entity.type] if wordings(entity, a, split)]
        if attributes:
            break
    rng.shuffle(attributes)
    n = 1 + int(rng.random() * len(attributes))
    for i, attribute in enumerate(attributes[:n]):
        wording = pick(rng, wordings(entity, attribute, split))
        draft.write("{opener}")
        named = i == 0 or rng.random() < 0.3
        state(draft, entity, attribute, wording, named)
        draft.put((".",))


KIND = Kind(name="facts", weight=5.0, write=write, concepts=CONCEPTS)
