"""The demo corpus: the same for a seed, labels in place, nothing of the test split in training."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from workbench.demo import corpus, world
from workbench.demo.drafting import ASSISTANT, held_out
from workbench.demo.kinds import agreement, code, entity_chat, facts, givers, requests, years
from workbench.demo.names import TYPES
from workbench.errors import InputError


def take(split, n, seed=7, kinds=None):
    return list(islice(corpus.documents(split, seed, kinds), n))


def grams(tokens, longest=4):
    """All runs of up to ``longest`` tokens."""
    return {
        tuple(tokens[i : i + n]) for n in range(1, longest + 1) for i in range(len(tokens) - n + 1)
    }


@pytest.fixture(scope="module")
def train():
    return take("train", 12_000)


@pytest.fixture(scope="module")
def test():
    return take("test", 12_000)


def test_the_same_seed_gives_the_same_documents():
    assert take("train", 200, seed=3) == take("train", 200, seed=3)
    assert take("train", 200, seed=3) != take("train", 200, seed=4)
    assert take("test", 200, seed=3) != take("train", 200, seed=3)


def test_labels_are_aligned_and_described(train, test):
    seen = set()
    for document in train + test:
        assert len(document.labels) == len(document.tokens)
        assert document.kind in corpus.KINDS
        seen |= {c for labels in document.labels for c in labels}
    assert seen == set(corpus.CONCEPTS)
    assert 40 <= len(corpus.CONCEPTS) <= 80


def test_kinds_can_be_chosen():
    assert {d.kind for d in take("train", 300, kinds=["years", "code"])} == {"years", "code"}


def test_rows_hold_whole_documents():
    rows = corpus.token_stream("train", 5, 20_000, context=96)
    ids = corpus.token_ids()
    assert rows.dtype == np.int32
    assert rows.shape == (209, 96)
    assert (rows == ids["<unk>"]).sum() == 0
    for row in rows:
        used = row[row != ids["<pad>"]]
        assert used[0] == ids["<bos>"]
        assert used[-1] == ids["<eos>"]
        assert (used == ids["<bos>"]).sum() == (used == ids["<eos>"]).sum()
    documents = corpus.documents("train", 5)
    first = next(documents)
    expected = [ids["<bos>"], *(ids[t] for t in first.tokens), ids["<eos>"]]
    assert rows[0, : len(expected)].tolist() == expected


def test_labelled_rows_agree_with_documents():
    rows = corpus.labelled_rows("test", 5, 30_000)
    assert np.array_equal(rows.ids, corpus.token_stream("test", 5, 30_000))
    words = {i: t for t, i in corpus.token_ids().items()}
    wanted = Counter()
    got = Counter()
    for concept in corpus.CONCEPTS:
        for row, at in zip(*np.nonzero(rows.mask(concept)), strict=True):
            got[concept, words[int(rows.ids[row, at])]] += 1
    n_documents = int((rows.ids == corpus.token_ids()["<bos>"]).sum())
    for document in islice(corpus.documents("test", 5), n_documents):
        for token, labels in zip(document.tokens, document.labels, strict=True):
            wanted.update((c, token) for c in labels)
    assert got == wanted


def test_no_document_is_longer_than_a_row(train, test):
    assert max(len(d.tokens) for d in train + test) + 2 <= corpus.CONTEXT


def test_every_test_word_is_trained(train, test):
    trained = Counter(t for d in train for t in d.tokens)
    tested = {t for d in test for t in d.tokens}
    # A word may miss a small sample by chance; in a large one every test word occurs.
    missing = {t for t in tested if not trained[t]}
    if missing:
        trained.update(t for d in take("train", 60_000, seed=8) for t in d.tokens)
    assert not {t for t in tested if not trained[t]}


def test_unknown_names_of_the_test_split_never_occur_in_training(train):
    held = {e.words for t in TYPES for e in world.unknown_entities(t, "test", 80, 0)}
    # A single word is part of other names; see test_unknown_names_are_fresh_combinations.
    multi = {name for name in held if len(name) > 1}
    for document in train:
        assert not grams(document.tokens) & multi


def test_unknown_entities_have_no_facts(train):
    for document in train:
        if document.kind == "facts":
            assert not any("entity.unknown" in labels for labels in document.labels)
        if document.kind == "entity_chat":
            answer = document.tokens[document.tokens.index(ASSISTANT) + 2]
            refused = answer in entity_chat.REFUSAL_OPENINGS
            assert refused == any("chat.unknown_entity" in labels for labels in document.labels)


def test_facts_agree_with_the_world(train):
    value_of = {}
    known = {e.words: e for t in TYPES for e in world.known(t)}
    for document in train:
        if document.kind != "facts":
            continue
        # "Selby" is a name and part of "New Selby": the longest is meant.
        entity = known[max(grams(document.tokens) & set(known), key=len)]
        for i, labels in enumerate(document.labels):
            for concept in labels:
                if concept.startswith("attribute."):
                    attribute = concept.split(".")[2]
                    value = "".join(document.tokens[i + 1 : i + 3])
                    assert value.startswith(entity.attributes[attribute])
                    value_of[entity.name, attribute] = value
    assert len(value_of) > 1000


def test_held_out_wordings_never_meet_their_entity_in_training():
    for entity in world.known("player"):
        for attribute, wordings in facts.WORDINGS["player"].items():
            kept = facts.wordings(entity, attribute, "train")
            out = facts.wordings(entity, attribute, "test")
            assert set(kept).isdisjoint(out)
            assert set(kept) | set(out) == set(wordings)


def test_pairs_of_givers_years_and_arguments_are_split(train, test):
    for documents, split in ((train, "train"), (test, "test")):
        for document in documents:
            tokens = document.tokens
            if document.kind == "givers":
                names = [t for t in tokens if t in set(givers.FIRST_NAMES)]
                assert not set(names) & set(givers.NEW_NAMES)
                assert givers.pair_fits(names[0], names[1], split)
                assert names.count(names[2]) == 2
            if document.kind == "years":
                numbers = [t for t in tokens if t.isdigit()]
                assert len(numbers) == 4
                assert numbers[0] == numbers[2]
                assert int(numbers[3]) > int(numbers[1])
                events = {e: tuple(e.split()) for e in years.EVENTS}
                said = [e for e, words in events.items() if words in grams(tokens)]
                assert any(years.fits(e, int(numbers[1]), split) for e in said)
            if document.kind == "code":
                arguments = [t for t, p in zip(tokens[1:], tokens, strict=False) if p == ":param"]
                assert code.fits(arguments, split)


def test_harm_lies_in_verb_and_object():
    harmful = set(requests.pairs("harmful"))
    harmless = set(requests.pairs("borderline")) | set(requests.pairs("gentle"))
    assert not harmful & harmless
    assert {v for v, _ in harmful} <= {v for v, _ in harmless}
    assert {o for _, o in harmful} <= {o for _, o in harmless}


def test_requests_of_the_test_split_are_new(train):
    held = [
        p
        for label in ("harmful", "borderline", "gentle")
        for p in requests.pairs(label)
        if held_out("request", *p)
    ]
    phrases = {tuple(f"{v} {o}".split()) for v, o in held}
    for document in train:
        if document.kind == "requests":
            assert not grams(document.tokens, 5) & phrases


def test_refusals_open_differently_from_answers(train):
    for document in train:
        if document.kind != "requests":
            continue
        at = document.tokens.index(ASSISTANT) + 2
        refused = document.tokens[at] in requests.REFUSAL_OPENINGS
        assert refused == any("request.harmful" in labels for labels in document.labels)


def test_distractors_have_either_number_equally_often():
    counts = Counter()
    number = {w: n for n in (0, 1) for w in (p[n] for p in agreement.NOUN_PAIRS)}
    number |= {w: n for n in (0, 1) for w in (p[n] for p in agreement.THING_PAIRS)}
    for document in take("train", 4000, kinds=["agreement"]):
        for i, labels in enumerate(document.labels):
            if "clause.after_prepositional" in labels:
                subject = 1 if agreement.NUMBERS[1] in labels else 0
                counts[subject, number[document.tokens[i]]] += 1
    total = sum(counts.values())
    assert total > 1000
    for subject in (0, 1):
        for distractor in (0, 1):
            assert 0.22 < counts[subject, distractor] / total < 0.28


def test_verbs_agree_with_the_marked_number(train, test):
    forms = {
        form: n
        for pairs in (agreement.VERBS_INTRANSITIVE, agreement.VERBS_TRANSITIVE)
        for pair in pairs
        for n, form in enumerate(pair)
    }
    for document in train + test:
        for i, labels in enumerate(document.labels):
            for n in (0, 1):
                if agreement.NUMBERS[n] in labels:
                    assert forms[document.tokens[i + 1]] == n


def test_no_concept_can_be_told_from_its_own_word(test):
    """The best rule that looks at one token alone stays clearly below F1 0.8.

    For every concept the words are ranked by how often the concept is marked on them, and the
    best prefix of that ranking (chosen on the very text it is scored on) is taken.
    """
    total = Counter()
    marked = {concept: Counter() for concept in corpus.CONCEPTS}
    for document in test:
        for token, labels in zip(document.tokens, document.labels, strict=True):
            total[token] += 1
            for concept in labels:
                marked[concept][token] += 1
    for concept, counts in marked.items():
        positives = sum(counts.values())
        assert positives >= 30, concept
        best, hits, alarms = 0.0, 0, 0
        for token in sorted(counts, key=lambda t: -counts[t] / total[t]):
            hits += counts[token]
            alarms += total[token] - counts[token]
            best = max(best, 2 * hits / (hits + alarms + positives))
        assert best < 0.76, (concept, best)


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="prose"):
        next(corpus.documents("train", 0, kinds=["prosa"]))
    with pytest.raises(InputError, match="train"):
        next(corpus.documents("trian", 0))
    with pytest.raises(InputError, match="empty"):
        next(corpus.documents("train", 0, kinds=[]))
    with pytest.raises(InputError, match="concept"):
        corpus.labelled_rows("test", 0, 500).mask("entity.player.famous")
