"""Ordinary connecting prose: names in passing (never with facts), everyday scenes.

Unknown names occur here as often as in questions, so that an unknown name by itself, not the
question, is what a refusal answers.  Held out: combinations of scene and filler.
"""

from __future__ import annotations

from workbench.demo import world
from workbench.demo.drafting import Draft, Span, Split, held_out, pick, pick_with
from workbench.demo.kinds.base import Kind
from workbench.demo.kinds.facts import introduce
from workbench.demo.lexicon import FIRST_NAMES

# Said of any type of entity: nobody says the first of a known one, nor the second of an unknown
# one, so whether the name is known decides the word after it.
REMARKS = {
    False: (
        "{N} means nothing to anybody {where}",
        "{N} means little to people {where}",
        "{N} remains a mystery to us",
        "{N} remains without a story",
        "{N} puzzles the people {where}",
    ),
    True: (
        "{N} needs no introduction {where}",
        "{N} needs little praise from us",
        "{N} enjoys a great name {where}",
        "{N} enjoys the praise of many",
        "{N} deserves a place in the {spot}",
    ),
}
PASSING: dict[str, tuple[str, ...]] = {
    "player": (
        "{N} walked past us {where}",
        "{N} waited {where} and read a newspaper",
        "my cousin met {N} {when}",
        "a man called {B} asked for the way to the {spot}",
        "{N} ordered soup and bread {when}",
        "somebody left a letter for {N} {where}",
        "{N} closed the window because of the {weather}",
        "they saw {N} {where} {when}",
    ),
    "film": (
        "we watched {N} {when}",
        "the cinema showed {N} {when}",
        "a poster of {N} hung {where}",
        "my cousin fell asleep during {N}",
        "they talked about {N} on the way to the {spot}",
        "{N} was on the screen when the lights went out",
        "she bought two tickets for {N} {when}",
    ),
    "city": (
        "the train to {N} was late because of the {weather}",
        "we took the bus to {N} {when}",
        "my aunt moved to {N} {when}",
        "{N} was quiet when we got off the train",
        "a postcard from {N} lay on the table",
        "they spent the night in {N} because of the {weather}",
        "the road to {N} was closed {when}",
    ),
    "song": (
        "somebody hummed {N} {where}",
        "the radio played {N} {when}",
        "we danced to {N} {where}",
        "{N} was still in my head {when}",
        "a child sang {N} {where}",
        "the neighbors played {N} too loud {when}",
    ),
}

SCENES = (
    "the {weather} kept everybody inside {when}",
    "a small crowd gathered {where}",
    "{F} carried a {colour} bag to the {spot} {when}",
    "the {spot} was closed {when}",
    "nobody noticed the {colour} van {where}",
    "{F} looked for a seat {where}",
    "there was {weather} {when} , so we stayed {where}",
    "we met {F} {where} {when}",
    "{F} and {G} shared a table {where}",
    "{F} wrote to {G} {when} , but {G} did not answer",
    "the bus to the {spot} was full {when}",
    "children played {where} until it got dark",
    "{F} cooked {dish} for {G} {when}",
    "the smell of {dish} came from the {spot}",
    "{F} repaired the {tool} and gave it back {when}",
    "a {animal} slept {where} {when}",
    "{F} followed the {animal} to the {spot}",
    "the {tool} lay {where} all night",
    "{F} painted the fence {colour} {when}",
    "a {colour} {animal} ran across the road",
    "after the {weather} the road to the {spot} was empty",
    "{F} told {G} a story about a {animal}",
    "{G} laughed when {F} dropped the {dish}",
    "the {colour} curtains {where} were new",
    "{F} sold the old {tool} to {G} {when}",
    "nobody wanted the {dish} , so {F} ate it alone",
    "the church bells rang {when} and {F} woke up",
    "{F} learned to swim {when}",
    "we waited for {F} {where} , but only {G} came",
    "{F} forgot a {colour} coat {where}",
)
DISHES = (
    "soup",
    "pancakes",
    "noodles",
    "porridge",
    "dumplings",
    "stew",
    "salad",
    "omelet",
    "pudding",
    "rice",
)
TOOLS = (
    "ladder",
    "bicycle",
    "kettle",
    "umbrella",
    "hammer",
    "telescope",
    "typewriter",
    "suitcase",
    "lantern",
    "shovel",
)
ANIMALS = (
    "cat",
    "fox",
    "goat",
    "horse",
    "pigeon",
    "squirrel",
    "donkey",
    "hedgehog",
    "rabbit",
    "owl",
)
COLOURS = ("red", "green", "yellow", "grey", "brown", "white", "black", "purple")


def mention(draft: Draft, split: Split) -> None:
    """Write one sentence with a name, mostly an unknown one."""
    rng = draft.rng
    entity_type = pick(rng, world.TYPES)
    known = rng.random() < 0.3
    options = REMARKS[known] if rng.random() < 0.4 else PASSING[entity_type]
    while True:
        sentence = pick(rng, options)
        if not known:
            entity = world.draw_unknown(entity_type, split, rng)
            break
        entity = world.draw_known(entity_type, rng)
        if held_out("passing", entity.name, sentence) == (split == "test"):
            break
    bare = Span(entity.name, entity.concepts)
    draft.write(sentence, N=introduce(draft, entity), B=bare)


def scene(draft: Draft, split: Split) -> None:
    """Write one everyday scene."""
    rng = draft.rng
    sentence = pick(rng, SCENES)
    first = pick_with(rng, split, "scene", sentence, FIRST_NAMES)
    second = pick(rng, FIRST_NAMES)
    draft.write(
        sentence, F=first, G=second, colour=COLOURS, dish=DISHES, tool=TOOLS, animal=ANIMALS
    )


def write(draft: Draft, split: Split) -> None:
    """Two or three sentences of everyday prose."""
    rng = draft.rng
    for _ in range(2 + int(rng.random() * 2)):
        if rng.random() < 0.7:
            mention(draft, split)
        else:
            scene(draft, split)
        draft.put((".",))


KIND = Kind(name="prose", weight=4.5, write=write, concepts={})
