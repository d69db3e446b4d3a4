"""The demo world's entities: fixed facts, names that share their parts, held-out names."""

from __future__ import annotations

from random import Random

import pytest

from workbench.demo import world
from workbench.demo.drafting import held_out, words
from workbench.demo.names import PATTERNS, TYPES
from workbench.errors import InputError


@pytest.mark.parametrize("entity_type", TYPES)
def test_known_entities_have_every_attribute(entity_type):
    entities = world.known(entity_type)
    assert len(entities) == world.KNOWN_COUNTS[entity_type]
    assert len({e.name for e in entities}) == len(entities)
    for entity in entities:
        assert set(entity.attributes) == set(world.ATTRIBUTES[entity_type])
        for attribute, value in entity.attributes.items():
            assert value in world.ATTRIBUTES[entity_type][attribute]
        assert world.find(entity.name) is entity


@pytest.mark.parametrize("entity_type", TYPES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_unknown_names_are_fresh_combinations_of_parts_of_known_ones(entity_type, split):
    parts = {word for e in world.known(entity_type) for word in e.words}
    names = {e.name for e in world.known(entity_type)}
    for entity in world.unknown_entities(entity_type, split, 80, seed=3):
        assert set(entity.words) <= parts
        assert entity.name not in names
        assert held_out("name", entity_type, entity.name) == (split == "test")
        assert not entity.attributes
        assert not entity.known


def test_every_part_occurs_in_a_known_and_in_an_unknown_name():
    for entity_type, patterns in PATTERNS.items():
        known = {word for e in world.known(entity_type) for word in e.words}
        unknown = {
            word for e in world.unknown_entities(entity_type, "train", 500, 0) for word in e.words
        }
        for _, slots in patterns:
            for slot in slots:
                parts = {slot} if isinstance(slot, str) else set(slot)
                assert parts <= known
        # 500 draws need not show every part, but nearly all of them.
        assert len(known - unknown) <= 0.05 * len(known)


def test_names_have_one_to_four_words_and_none_is_a_prefix_of_another():
    names = [
        e.words
        for t in TYPES
        for e in (
            *world.known(t),
            *world.unknown_entities(t, "train", 400, 1),
            *world.unknown_entities(t, "test", 80, 1),
        )
    ]
    assert {len(n) for n in names} == {1, 2, 3, 4}
    everything = set(names)
    for name in everything:
        for length in range(1, len(name)):
            assert name[:length] not in everything


def test_elena_marsh_is_a_striker():
    entity = world.find("Elena Marsh")
    assert entity is not None
    assert entity.attributes["position"] == "striker"
    assert entity.pronoun == "she"
    assert words(entity.name) == ("Elena", "Marsh")


def test_the_same_seed_gives_the_same_unknown_names():
    first = world.unknown_entities("film", "test", 30, seed=5)
    assert first == world.unknown_entities("film", "test", 30, seed=5)
    assert first != world.unknown_entities("film", "test", 30, seed=6)
    draws = [world.draw_unknown("city", "train", Random(4)).name for _ in range(2)]
    assert draws[0] == draws[1]


def test_bad_requests_are_refused_with_the_nearest_choice():
    with pytest.raises(InputError, match="player"):
        world.known("players")
    with pytest.raises(InputError, match="asked for 99999"):
        world.unknown_entities("song", "test", 99999, seed=0)
