"""The demo tasks: equal lengths, one-token answers, truth, splits that do not leak."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest

from workbench.demo import corpus, tasks, world
from workbench.demo.drafting import held_out, words
from workbench.demo.kinds import code, facts, givers, requests, reviews, senses, topics
from workbench.demo.tokenizer import build_tokenizer
from workbench.errors import InputError

CONTRAST = (
    "agreement_simple",
    "agreement_across_pp",
    "agreement_within_rc",
    "agreement_across_rc",
    "ioi",
    "ioi_new_names",
    "greater_than",
    "docstring",
    "entity_recall",
    "entity_refusal",
    "harm_refusal",
)
PLAIN = tuple(name for name in tasks.names() if not name.startswith("concept."))


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", CONTRAST)
def test_contrast_pairs_are_well_formed(tokenizer, name, split):
    for pair in tasks.load(name, split, 40, seed=1):
        clean = tokenizer(pair.clean_prefix)["input_ids"]
        patch = tokenizer(pair.patch_prefix)["input_ids"]
        assert len(clean) == len(patch)
        assert clean != patch
        assert pair.clean_answer != pair.patch_answer
        for prefix, ids, answer in (
            (pair.clean_prefix, clean, pair.clean_answer),
            (pair.patch_prefix, patch, pair.patch_answer),
        ):
            assert answer.startswith(" ")
            answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
            assert len(answer_ids) == 1
            assert tokenizer(prefix + answer)["input_ids"] == ids + answer_ids
            assert tokenizer.unk_token_id not in ids + answer_ids


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", CONTRAST[:4])
def test_agreement_pairs_differ_in_number_alone(name, split):
    cases = Counter()
    for pair in tasks.load(name, split, 200, seed=2):
        clean, patch = words(pair.clean_prefix), words(pair.patch_prefix)
        changed = [(a, b) for a, b in zip(clean, patch, strict=True) if a != b]
        assert len(changed) == 1
        a, b = (w.lower() for w in changed[0])
        assert a + "s" == b or b + "s" == a
        # Nouns take an s in the plural, verbs in the singular.
        plural = len(a) > len(b)
        assert pair.case.startswith("plural" if plural else "singular")
        verb, other = pair.clean_answer.strip(), pair.patch_answer.strip()
        assert (verb + "s" == other) if plural else (other + "s" == verb)
        cases[pair.case] += 1
    assert len(cases) == 4
    assert min(cases.values()) >= 15


def test_ioi_answers_are_the_name_that_was_not_repeated():
    for split in ("train", "test"):
        for name, allowed in (("ioi", givers.NAMES), ("ioi_new_names", givers.NEW_NAMES)):
            for pair in tasks.load(name, split, 60, seed=0):
                said = [w for w in words(pair.clean_prefix) if w in givers.FIRST_NAMES]
                assert len(said) == 3
                assert set(said) <= set(allowed)
                assert said.count(pair.clean_answer.strip()) == 1
                assert said.count(pair.patch_answer.strip()) == 2
                if name == "ioi":
                    assert givers.pair_fits(said[0], said[1], split)


def test_greater_than_answers():
    for pair in tasks.load("greater_than", "test", 100, seed=0):
        clean = [int(w) for w in words(pair.clean_prefix) if w.isdigit()]
        patch = [int(w) for w in words(pair.patch_prefix) if w.isdigit()]
        good, bad = int(pair.clean_answer), int(pair.patch_answer)
        assert good > clean[1]
        assert patch[1] < bad <= clean[1]


def test_docstring_answers_are_the_argument_not_described():
    # Many, because few arguments fit after some others in the test split.
    for pair in tasks.load("docstring", "test", 1000, seed=0):
        tokens = words(pair.clean_prefix)
        arguments = [t for t in tokens[: tokens.index(")")] if t in code.ARGUMENTS]
        described = [b for a, b in pairwise(tokens) if a == ":param"]
        assert [*described, pair.clean_answer.strip()] == arguments


def test_entity_recall_answers_are_facts_in_wordings_of_the_split():
    names = {e.words: e for t in world.TYPES for e in world.known(t)}
    for split in ("train", "test"):
        for pair in tasks.load("entity_recall", split, 80, seed=0):
            entity_type, attribute = pair.case.split(".")
            tokens = words(pair.clean_prefix)
            said = {
                tokens[i : i + n] for n in range(1, 5) for i in range(len(tokens) - n + 1)
            } & set(names)
            entity = names[max(said, key=len)]
            assert entity.type == entity_type
            assert entity.attributes[attribute] == pair.clean_answer.strip()
            assert facts.wordings(entity, attribute, split)


def test_refusal_pairs_differ_in_the_name_only():
    for pair in tasks.load("entity_refusal", "test", 60, seed=0):
        assert pair.clean_prefix.startswith("<user> ")
        assert pair.clean_prefix.endswith("<assistant>\n")
        assert pair.clean_answer == " I"


def test_harmful_and_harmless_requests_share_the_verb():
    harmful = set(requests.pairs("harmful"))
    for prompt in tasks.load("refusal_prompts", "test", 150, seed=0):
        said = any(f"{verb} {thing}" in prompt.prompt for verb, thing in harmful)
        assert said == prompt.refuse == (prompt.label == "harmful")
    labels = Counter(p.label for p in tasks.load("refusal_prompts", "test", 150, seed=0))
    assert set(labels) == {"harmful", "benign", "borderline"}
    assert min(labels.values()) >= 20


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_loads_from_both_splits(tokenizer, name):
    loaded = {}
    for split in ("train", "test"):
        loaded[split] = tasks.load(name, split, 12, seed=3)
        assert len({repr(example) for example in loaded[split]}) == 12
        assert set(loaded[split].concepts) <= set(corpus.CONCEPTS)
        assert loaded[split].concepts
        for row in loaded[split].to_dicts():
            for field in ("text", "prompt", "hard_text", "sentence1", "clean_prefix", "entity"):
                if field in row:
                    assert tokenizer.unk_token_id not in tokenizer(row[field])["input_ids"]
    assert not {repr(e) for e in loaded["train"]} & {repr(e) for e in loaded["test"]}


@pytest.mark.parametrize("name", ["ioi", "entities", "polysemy", "steering_entity"])
def test_the_same_seed_gives_the_same_examples(name):
    assert tasks.load(name, "test", 30, seed=4) == tasks.load(name, "test", 30, seed=4)
    assert tasks.load(name, "test", 30, seed=4) != tasks.load(name, "test", 30, seed=5)
    assert tasks.load(name, "test", 30, seed=4).examples[:10] == (
        tasks.load(name, "test", 10, seed=4).examples
    )


def test_entities_have_the_published_layout():
    rows = tasks.load("entities", "train", 100, seed=0).to_dicts()
    for row in rows:
        assert row["known"] == bool(row["attributes"])
        for attribute in row["attributes"]:
            assert set(attribute) == {"attribute_type", "attribute_value"}
            entity = world.find(row["entity"])
            assert entity.attributes[attribute["attribute_type"]] == attribute["attribute_value"]
    train, test = (
        {row["entity"] for row in tasks.load("entities_player", split, 120, seed=0).to_dicts()}
        for split in ("train", "test")
    )
    assert not train & test


def test_json_lines_have_the_fields_of_sparse_feature_circuits():
    lines = tasks.load("agreement_simple", "train", 5, seed=0).to_json_lines().splitlines()
    assert len(lines) == 5
    for line in lines:
        assert set(json.loads(line)) == {
            "clean_prefix",
            "patch_prefix",
            "clean_answer",
            "patch_answer",
            "case",
        }


def test_tables_have_one_row_per_example():
    table = tasks.load("biographies", "train", 20, seed=0).to_pandas()
    assert list(table.columns) == ["hard_text", "profession", "gender"]
    assert len(table) == 20


def test_biographies_are_balanced_or_ambiguous():
    for split in ("train", "test"):
        balanced = Counter(
            (b.profession, b.gender) for b in tasks.load("biographies", split, 400, seed=0)
        )
        assert len(balanced) == 4
        assert min(balanced.values()) > 70
        ambiguous = {
            (b.profession, b.gender) for b in tasks.load("biographies_ambiguous", split, 200, 0)
        }
        assert ambiguous == {("professor", "male"), ("nurse", "female")}
        for biography in tasks.load("biographies_six", split, 200, seed=0):
            assert biography.profession not in words(biography.hard_text)


def test_polysemous_pairs_hold_out_sentences():
    used = {}
    for split in ("train", "test"):
        pairs = tasks.load("polysemy", split, 100, seed=0)
        for pair in pairs:
            assert pair.word in words(pair.sentence1.lower())
            assert pair.word in words(pair.sentence2.lower())
            assert pair.label == int(pair.sense1 == pair.sense2)
        used[split] = {s for p in pairs for s in (p.sentence1, p.sentence2)}
        assert {p.label for p in pairs} == {0, 1}
    assert not used["train"] & used["test"]
    assert {sense.word for sense in senses.SENSES} == set(senses.NEUTRAL)


def test_sentiment_is_not_the_adjective():
    counts = Counter()
    for example in tasks.load("sentiment", "train", 600, seed=0):
        adjective = words(example.text)[-2]
        plain = adjective in reviews.ADJECTIVES[example.label]
        assert plain or adjective in reviews.ADJECTIVES[reviews.opposite(example.label)]
        counts[plain] += 1
    # Negation turns the adjective round in about half of the judgements.
    assert 0.4 < counts[True] / 600 < 0.6


def test_unlearning_questions():
    facts_of = topics.facts()
    for split in ("train", "test"):
        questions = tasks.load("unlearning", split, 120, seed=0)
        for question in questions:
            assert (question.subset == "forget") == (question.topic == topics.FORGET)
            subject = words(question.prompt)[0].lower()
            assert subject in topics.TOPICS[question.topic]
            assert question.answer in {facts_of[subject, relation] for relation in topics.RELATIONS}
            assert question.answer in question.choices
            assert len(set(question.choices)) == 4
        assert {q.subset for q in questions} == {"forget", "retain"}


def test_head_examples_need_the_circuit_or_not():
    for example in tasks.load("heads_ioi", "test", 80, seed=0):
        names = [w for w in words(example.prompt) if w in givers.FIRST_NAMES]
        assert (len(set(names)) == 2) == bool(example.label)
    for example in tasks.load("heads_greater_than", "test", 80, seed=0):
        year = [w for w in words(example.prompt) if w.isdigit()][1]
        assert (year != "01") == bool(example.label)
    for example in tasks.load("heads_docstring", "test", 80, seed=0):
        tokens = words(example.prompt)
        arguments = tokens[: tokens.index(")")]
        described = [b for a, b in pairwise(tokens) if a == ":param"]
        assert all(d in arguments for d in described) == bool(example.label)


def test_concept_sets_hold_both_labels_and_end_where_the_concept_is_decided():
    for concept in corpus.CONCEPTS:
        examples = tasks.load(f"concept.{concept}", "test", 60, seed=0)
        labels = Counter(example.label for example in examples)
        assert set(labels) == {0, 1}
        assert min(labels.values()) >= 15, concept
    last = {
        words(e.text)[-1] for e in tasks.load("concept.sense.bank.river", "test", 60, 0) if e.label
    }
    assert last == {"means"}


def test_steering_prompts_end_before_a_telling_word(tokenizer):
    for name in PLAIN:
        if not name.startswith("steering_"):
            continue
        for prompt in tasks.load(name, "test", 200, seed=0):
            assert not set(prompt.hits) & set(prompt.misses)
            assert prompt.source != prompt.target
            for word in (*prompt.hits, *prompt.misses):
                ids = tokenizer(word, add_special_tokens=False)["input_ids"]
                assert len(ids) == 1
                assert ids[0] != tokenizer.unk_token_id


def test_unknown_entities_of_test_tasks_are_held_out():
    for prompt in tasks.load("entities", "test", 150, seed=0):
        if not prompt.known:
            assert held_out("name", prompt.entity_type, prompt.entity)


def test_results_are_frozen_and_bad_requests_refused():
    task = tasks.load("ioi", "train", 3, seed=0)
    with pytest.raises(FrozenInstanceError):
        task.name = "other"
    with pytest.raises(InputError, match="agreement_simple"):
        tasks.load("agreement_simpel")
    with pytest.raises(InputError, match="test"):
        tasks.load("ioi", "tests")
    with pytest.raises(InputError, match="at least one"):
        tasks.load("ioi", "train", 0)
    with pytest.raises(InputError, match="there are only"):
        tasks.load("harm_refusal", "test", 5000)
