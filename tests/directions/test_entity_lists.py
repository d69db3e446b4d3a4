"""Entities: lists and their layout, matching rules, questions and the place of the name."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest

from workbench.directions.entities import (
    Entity,
    EntityPrompt,
    PromptStyle,
    Rule,
    bundled,
    entity_list,
    matches,
    write_entities,
)
from workbench.directions.entities.matching import rule_for
from workbench.directions.entities.prompts import question_prompt, tokenise
from workbench.directions.entities.styles import CHAT, PLAIN, attributes_by_type, style_of
from workbench.errors import InputError, LoadError
from workbench.model import load

YEAR = Rule(kind="year", tolerance=2)
DEGREE = Rule(kind="coordinates", tolerance=1)
TENTH = Rule(kind="number", tolerance=0.1)


def test_the_bundled_list_has_enough_real_and_invented_entities_of_each_type() -> None:
    for kind in ("player", "movie", "city", "song"):
        real = bundled([kind], invented=False)
        invented = bundled([kind], real=False)
        assert len(real) >= 150
        assert len(invented) >= 150
        assert all(len(entity.attributes) >= 3 for entity in real)
        assert all(entity.known is None for entity in real)
        assert all(entity.known is False and not entity.attributes for entity in invented)
        names = {entity.name.casefold() for entity in real}
        assert len(names) == len(real)
        assert names.isdisjoint(entity.name.casefold() for entity in invented)


def test_bundled_attributes_are_of_the_kind_their_rule_reads() -> None:
    for entity in bundled(invented=False):
        for attribute, values in entity.attributes.items():
            rule = rule_for(entity.type, attribute)
            # A value that is stated counts as right, or the rule could not read the list.
            assert all(matches(f"It is {value}.", values, rule) for value in values), entity
            if rule.kind == "year":
                assert all(1850 < int(value) < 2026 for value in values)


def test_an_unknown_bundled_type_names_the_nearest() -> None:
    with pytest.raises(InputError, match="movie"):
        bundled(["movies"])


def test_lists_round_trip_through_a_file(tmp_path: Path) -> None:
    given = (
        Entity(name="Ada", type="person", attributes={"field": ("mathematics", "computing")}),
        Entity(name="Nobody Atall", type="person", known=False),
    )
    assert entity_list(write_entities(given, tmp_path / "list.json")) == given
    lines = tmp_path / "list.jsonl"
    lines.write_text("\n".join(json.dumps(e.to_dict()) for e in given), encoding="utf-8")
    assert entity_list(str(lines)) == given


def test_names_by_type_and_records_make_the_same_list() -> None:
    by_type = entity_list({"city": ["Paris", "Oslo", "Paris"]}, known=True)
    rows = [{"entity": name, "entity_type": "city"} for name in ("Paris", "Oslo")]
    assert by_type == entity_list(rows, known=True)
    assert all(entity.known for entity in by_type)


def test_the_demo_worlds_tasks_are_lists() -> None:
    from workbench.demo import tasks

    found = entity_list(tasks.load("entities_player", n=20))
    assert len(found) == 20
    assert {entity.known for entity in found} == {True, False}
    assert all(
        set(e.attributes) == {"club", "nation", "position", "born"} for e in found if e.known
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"entity": "x"}, "entity_type"),
        ({"entity": " ", "entity_type": "city"}, "entity"),
        ({"entity": "x" * 1000, "entity_type": "city"}, "entity"),
        ({"entity": "x", "entity_type": "city", "attributes": {"a": "b"}}, "attributes"),
        ("Paris", "expected"),
    ],
)
def test_rows_of_another_layout_are_refused(row: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        entity_list([row])


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no file"):
        entity_list(tmp_path / "missing.json")
    broken = tmp_path / "broken.json"
    broken.write_text("[{", encoding="utf-8")
    with pytest.raises(LoadError, match="neither"):
        entity_list(broken)
    other = tmp_path / "other.json"
    other.write_text('[{"name": "Paris"}]', encoding="utf-8")
    with pytest.raises(LoadError, match="entity_type"):
        entity_list(other)
    with pytest.raises(InputError, match="empty"):
        entity_list([])


@pytest.mark.parametrize(
    ("answer", "values", "rule", "right"),
    [
        ("He played for FC Barcelona.", ("Barcelona",), Rule(), True),
        ("He played for Real Madrid.", ("Barcelona",), Rule(), False),
        ("It is Zlatan Ibrahimovic", ("Zlatan Ibrahimović",), Rule(), True),
        ("directed by Bong Joon Ho", ("Bong Joon-ho",), Rule(), True),
        ("", ("Barcelona",), Rule(), False),
        ("It came out in 1994.", ("1996",), YEAR, True),
        ("It came out in 1993.", ("1996",), YEAR, False),
        ("It came out in 19961.", ("1996",), YEAR, False),
        ("In 1975, I think, or 1996.", ("1996",), Rule(kind="year"), True),
        ("about 1.4 million people", ("1,300,000",), TENTH, True),
        ("about 1 500 000 people", ("1,300,000",), TENTH, False),
        ("48°51′N 2°21′E", ("48.9 N, 2.4 E",), DEGREE, True),
        ("33.9° south, 151.2° east", ("33.9 S, 151.2 E",), DEGREE, True),
        ("-33.9, 151.2", ("33.9 S, 151.2 E",), DEGREE, True),
        ("33.9° N, 151.2° E", ("33.9 S, 151.2 E",), DEGREE, False),
        ("I do not know.", ("33.9 S, 151.2 E",), DEGREE, False),
    ],
)
def test_matching_rules(answer: str, values: tuple[str, ...], rule: Rule, right: bool) -> None:
    assert matches(answer, values, rule) is right


def test_rules_follow_type_and_attribute_and_ones_own_come_first() -> None:
    assert rule_for("player", "birth_year") == Rule(kind="year", tolerance=5)
    assert rule_for("movie", "release date") == Rule(kind="year", tolerance=2)
    assert rule_for("song", "year").tolerance == 0
    assert rule_for("city", "population").tolerance == 0.1
    assert rule_for("city", "country") == Rule()
    own = {("city", "country"): Rule(kind="year")}
    assert rule_for("city", "country", own).kind == "year"
    with pytest.raises(InputError, match="name"):
        Rule(kind="names")  # type: ignore[arg-type]


def test_refusals_are_told_by_opening_and_by_phrase() -> None:
    style = PromptStyle(
        name="own",
        chat=False,
        question="Who is {entity}?",
        refusal_openings=("I", "Sorry"),
        refusal_phrases=("no record",),
    )
    assert style.refused("I have never heard that name.")
    assert style.refused("Sorry, no.")
    assert style.refused("There is No Record of it.")
    assert not style.refused("It is Redstone.")
    assert not style.refused("")
    assert CHAT.refused("I’m not familiar with that player.")
    assert not PLAIN.refused(" Argentina. The")


def test_templates_without_a_name_are_refused() -> None:
    with pytest.raises(InputError, match="entity"):
        PromptStyle(name="own", chat=False, question="Who is it?")


def test_the_published_prompt_is_written_as_published() -> None:
    entity = Entity(name="Parasite", type="movie")
    prompt = question_prompt(PLAIN, entity, "director")
    assert prompt.text == (
        "What is the director of the movie 'Parasite'? The director of the movie 'Parasite' is"
    )
    assert prompt.text[prompt.start : prompt.end] == "Parasite"


def test_known_and_unknown_entities_are_asked_about_the_same_attributes() -> None:
    entities = bundled(["city"])
    about = attributes_by_type(CHAT, entities)
    assert about == {"city": ("country", "continent", "coordinates")}
    asked = {
        known: {
            question_prompt(CHAT, e, about["city"]).attribute for e in entities if e.known is known
        }
        for known in (None, False)
    }
    assert asked[None] == asked[False] == set(about["city"])


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_name_is_found_among_the_tokens(architecture: str, chat: bool, tmp_path: Path) -> None:
    model = load(checkpoints.write(architecture, tmp_path / architecture), device="cpu")
    style = CHAT if chat else PLAIN
    words = [w for w in model.tokenizer.get_vocab() if w.isalpha() and len(w) > 2][:3]
    prompts = [
        EntityPrompt.of(Entity(name=name, type="city"), style.question, "river")
        for name in (words[0], " ".join(words))
    ]
    made = tokenise(model, style, prompts)
    for row, prompt in enumerate(prompts):
        first, last = int(made.first[row]), int(made.last[row])
        ids = made.tokens.ids[row, first : last + 1].tolist()
        said = model.tokenizer.decode(ids).replace(" ", "")
        assert prompt.entity.name.replace(" ", "") in said
        # Nothing before or after it belongs to the name.
        inner = model.tokenizer.decode(ids[1:] if len(ids) > 1 else ids[:0]).replace(" ", "")
        assert prompt.entity.name.replace(" ", "") not in inner
    cut = made.cut()
    assert [len(row) for row in cut.tokens.strings] == (made.last + 1).tolist()
    assert (cut.tokens.mask.sum(1) == made.last + 1).all()
    back = made.take([1])
    assert back.tokens.strings[0] == made.tokens.strings[1]
    assert int(back.last[0]) == int(made.last[1])


def test_styles_are_found_by_name_template_and_fields(demo_session) -> None:
    from workbench.demo.entities import prompt_style

    model = demo_session.model
    assert style_of(model, None) is CHAT
    assert style_of(model, "plain") is PLAIN
    own = style_of(model, prompt_style())
    assert own.questions["player"]["club"][0] == "Which club does {entity} play for?"
    with pytest.raises(InputError, match="plain"):
        style_of(model, "plane")
    with pytest.raises(InputError, match="fields"):
        style_of(model, {"nonsense": 1})
