"""Concept sets: AxBench's layout and the plain one, with every unused row counted."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.directions import ConceptSet, read_concepts
from workbench.errors import InputError, LoadError

AXBENCH = pd.DataFrame(
    [
        ("Write a poem", "gold shines", "terms about gold", "positive", 0),
        ("Say hi", "gold again", "terms about gold", "positive", 0),
        ("Say no", "silver here", "terms about gold", "hard negative", 0),
        ("Count", "one two", "EEEEE", "negative", -1),
        ("Add", "three", "EEEEE", "negative", -1),
        ("Ride", "the train", "terms about trains", "positive", 1),
        ("Walk", "rails run", "terms about trains", "positive", 1),
        ("Odd", "what", "terms about trains", "strange", 1),
        ("Empty", None, "EEEEE", "positive", -1),
    ],
    columns=["input", "output", "output_concept", "category", "concept_id"],
)


def test_axbench_layout(tmp_path):
    path = tmp_path / "train_data.parquet"
    AXBENCH.to_parquet(path)
    gold, trains = read_concepts(path)
    assert gold.name == "terms about gold"
    assert gold.positives == ("gold shines", "gold again")
    # Its own hard negatives are kept, and the shared rows without a concept.
    assert gold.negatives == ("silver here", "one two", "three")
    assert trains.positives == ("the train", "rails run")
    assert trains.negatives == ("one two", "three")
    # The empty response falls back to its instruction, and is then no negative of anybody.
    assert dict(gold.dropped) == {"category 'strange'": 1, "positive without a concept": 1}


def test_choice_of_text():
    [gold] = read_concepts(AXBENCH, text="input", concepts=["terms about gold"])
    assert gold.positives == ("Write a poem", "Say hi")
    [gold] = read_concepts(AXBENCH, text="both", concepts=["terms about gold"])
    assert gold.positives[0] == (
        {"role": "user", "content": "Write a poem"},
        {"role": "assistant", "content": "gold shines"},
    )


def test_test_texts_come_from_their_own_file():
    held = AXBENCH.iloc[[1, 2]]
    [gold] = read_concepts(AXBENCH.iloc[[0, 3]], test=held)
    assert gold.test_positives == ("gold again",)
    assert gold.test_negatives == ("silver here",)


def test_most_negatives_counts_the_rest():
    [gold, _] = read_concepts(AXBENCH, most_negatives=1, seed=3)
    assert len(gold.negatives) == 1
    assert gold.dropped["negatives beyond most_negatives"] == 2


def test_plain_layout_binary_and_classes(tmp_path):
    path = tmp_path / "texts.csv"
    pd.DataFrame({"text": ["a", "b", None, "d"], "label": [1, 0, 1, None]}).to_csv(path)
    [only] = read_concepts(path)
    assert (only.positives, only.negatives) == (("a",), ("b",))
    assert dict(only.dropped) == {"no text": 1, "no label": 1}
    lines = tmp_path / "texts.jsonl"
    lines.write_text('{"text": "a", "label": "positive"}\n{"text": "b", "label": "negative"}\n')
    [same] = read_concepts(lines)
    assert (same.positives, same.negatives) == (("a",), ("b",))
    from datasets import Dataset

    split = Dataset.from_dict({"text": ["a", "b"], "label": [True, False]})
    assert read_concepts(split)[0].positives == ("a",)
    classes = pd.DataFrame({"input": ["a", "b", "c"], "output_concept": ["x", "y", "x"]})
    first, second = read_concepts(classes)
    assert (first.name, first.positives, first.negatives) == ("x", ("a", "c"), ("b",))
    assert (second.name, second.positives, second.negatives) == ("y", ("b",), ("a", "c"))


def test_unusable_files_are_refused(tmp_path):
    with pytest.raises(LoadError, match="no file"):
        read_concepts(tmp_path / "x.parquet")
    broken = tmp_path / "x.parquet"
    broken.write_bytes(b"not parquet")
    with pytest.raises(LoadError, match="cannot be read"):
        read_concepts(broken)
    with pytest.raises(LoadError, match="expected columns"):
        read_concepts(pd.DataFrame({"a": ["b"]}))
    with pytest.raises(InputError, match="terms about gold"):
        read_concepts(AXBENCH, concepts=["term about gold"])
    other = tmp_path / "x.txt"
    other.write_text("x")
    with pytest.raises(LoadError, match=r"\.parquet, \.csv or \.jsonl"):
        read_concepts(other)


def test_holding_out_is_stratified_seeded_and_complete():
    whole = ConceptSet(
        name="c",
        positives=[f"p{i}" for i in range(10)],
        negatives=[f"n{i}" for i in range(20)],
    )
    split = whole.held_out(0.3, seed=1)
    assert (len(split.test_positives), len(split.test_negatives)) == (3, 6)
    assert set(split.positives) | set(split.test_positives) == set(whole.positives)
    assert not set(split.positives) & set(split.test_positives)
    assert split == whole.held_out(0.3, seed=1) != whole.held_out(0.3, seed=2)
    assert split.held_out(0.3) is split


def test_sets_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="no negatives"):
        ConceptSet(name="c", positives=["a"], negatives=[])
    with pytest.raises(InputError, match="is one text"):
        ConceptSet(name="c", positives="abc", negatives=["b"])
    with pytest.raises(InputError, match="one class only"):
        ConceptSet(name="c", positives=["a"], negatives=["b"], test_positives=["c"])
    with pytest.raises(InputError, match="nothing can be held out"):
        ConceptSet(name="c", positives=["a"], negatives=["b"]).held_out()
