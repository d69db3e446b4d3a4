"""Prompt pairs: every form they come in, what is left out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from workbench.circuits.pairs import PromptPair, load_pairs
from workbench.demo import toy
from workbench.errors import InputError, LoadError
from workbench.model import Model, load


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(toy.build().save(tmp_path_factory.mktemp("toy")).model_dir)


ROWS = [
    {
        "clean_prefix": "the dog really",
        "patch_prefix": "the dogs really",
        "clean_answer": " runs",
        "patch_answer": " run",
        "case": "simple",
    },
    {
        "clean_prefix": "the cats really",
        "patch_prefix": "the cat really",
        "clean_answer": " run",
        "patch_answer": " runs",
        "case": "simple",
    },
]


def test_every_form_gives_the_same_pairs(model: Model, tmp_path: Path) -> None:
    lines = tmp_path / "rc_train.json"
    lines.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(ROWS), encoding="utf-8")
    forms = [
        ROWS,
        lines,
        str(lines),
        listed,
        pd.DataFrame(ROWS),
        [PromptPair(**row) for row in ROWS],
        [tuple(row.values()) for row in ROWS],
    ]
    for form in forms:
        pairs = load_pairs(model, form)
        assert [pair.to_dict() for pair in pairs] == ROWS, form
        assert pairs.paired
        assert pairs.patch is not None
        assert pairs.patch.strings[0][2].strip() == "dogs"
        assert pairs.same_length
        assert not pairs.dropped
    assert model.token_string(int(pairs.clean_answers[0])).strip() == "runs"
    assert model.token_string(int(pairs.patch_answers[0])).strip() == "run"


def test_prompts_without_a_patch_take_the_zero_baseline(model: Model) -> None:
    for form in ([("the dog really", " runs")], ["the dog really"], "the dog really"):
        pairs = load_pairs(model, form)
        assert not pairs.paired
        assert pairs[0].clean_prefix == "the dog really"
    assert int(pairs.clean_answers[0]) == -1
    assert not load_pairs(model, ROWS, paired=False).paired


def test_what_is_left_out_is_reported(model: Model) -> None:
    rows = [
        *ROWS,
        {**ROWS[0], "patch_prefix": "the dogs near the cat really"},
        {**ROWS[0], "clean_answer": " runs run"},
        {**ROWS[0], "patch_prefix": ROWS[0]["clean_prefix"]},
        {**ROWS[0], "clean_prefix": "the dog " * 500},
    ]
    pairs = load_pairs(model, rows)
    assert len(pairs) == 2
    assert pairs.reasons == {
        "clean and patch prompts differ in token length": 1,
        "an answer is not one token": 1,
        "clean and patch prompts are the same tokens": 1,
        "the prompt is refused by the token policy": 1,
    }
    assert pairs.report()["row"].tolist() == [2, 3, 4, 5]
    assert "4 and 7 tokens" in pairs.report()["detail"][0]
    with pytest.raises(InputError, match="2 of 6 examples can be used, expected at least 3"):
        load_pairs(model, rows, at_least=3)


def test_order_count_and_length(model: Model) -> None:
    long = {**ROWS[0], "clean_prefix": "the dog near the cat really"}
    long["patch_prefix"] = "the dogs near the cat really"
    rows = ROWS * 3 + [long]
    first, again = (load_pairs(model, rows, seed=3, n=4) for _ in range(2))
    assert [p.to_dict() for p in first] == [p.to_dict() for p in again]
    assert len(first) == 4
    assert [p.to_dict() for p in load_pairs(model, rows, seed=4)] != rows
    pairs = load_pairs(model, rows)
    assert not pairs.same_length
    assert pairs.lengths.tolist() == [4] * 6 + [7]
    even = pairs.of_one_length()
    assert even.same_length
    assert even.clean.ids.shape == (6, 4)
    assert even.reasons == {"another token length than most examples": 1}
    assert pairs.take([6, 0]).clean.ids.shape == (2, 7)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "no examples"),
        ([("a", "b", "c")], "has 3 parts"),
        ([{"prompt": "x"}], "'clean_prefix' field required"),
        ([{"clean_prefix": None}], "clean_prefix"),
        (pd.DataFrame({"text": ["x"]}), r"columns \['text'\]"),
        (3, "got int for pairs"),
        ([3], "example 0 is int"),
        ([ROWS[0], ("the dog really", " runs")], "1 of 2 examples have a patch prompt"),
    ],
)
def test_bad_sources_are_refused(model: Model, source: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_pairs(model, source)


def test_bad_files_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no file"):
        load_pairs(model, tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    bad.write_text('{"clean_prefix": "the dog"}\n{', encoding="utf-8")
    with pytest.raises(LoadError, match="line 2 is not JSON"):
        load_pairs(model, bad)
