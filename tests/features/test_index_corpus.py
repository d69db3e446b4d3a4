"""Corpora of every kind, and the rows they become."""

from __future__ import annotations

import json

import checkpoints
import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from workbench.errors import InputError, LoadError, TokenError
from workbench.features.index.corpus import Corpus, as_corpus
from workbench.features.index.rows import RowBlock, RowPlan, row_blocks
from workbench.features.index.settings import COLUMN_BITS
from workbench.model import TokenPolicy, load

TEXTS = [f"the cat sat on {word} mat." for word in ("a", "the", "red", "old", "young")]


@pytest.fixture(scope="module")
def model():
    network, tokenizer = checkpoints.model("gpt2")
    return load(network, tokenizer=tokenizer)


def texts(corpus: Corpus) -> list:
    return [document.content for document in corpus.documents()]


def plan(**changes):
    return RowPlan(
        **{"context": 16, "packing": False, "long": "split", "block_tokens": 10_000, **changes}
    )


def blocks(model, given, policy=None, after=None, limit=None, **changes):
    made = plan(**changes)
    policy = policy or model.policy
    return list(row_blocks(model, as_corpus(given), made, policy, after=after, limit=limit))


# -- corpora ----------------------------------------------------------------------------------


def test_every_holder_of_texts_reads_the_same(tmp_path):
    table = [{"text": text, "n": i, "who": "x"} for i, text in enumerate(TEXTS)]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet", row_group_size=2)
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, table)) + "\n\n")
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    holders = [
        TEXTS,
        tuple(TEXTS),
        table,
        pd.DataFrame(table),
        datasets.Dataset.from_list(table),
        datasets.Dataset.from_list(table).to_iterable_dataset(),
        tmp_path / "a.parquet",
        str(tmp_path / "a.jsonl"),
        tmp_path / "a.txt",
        [tmp_path / "a.txt"],
        lambda: iter(TEXTS),
        as_corpus(TEXTS),
    ]
    heads = set()
    for holder in holders:
        corpus = as_corpus(holder)
        assert texts(corpus) == TEXTS
        assert texts(corpus) == TEXTS  # again
        assert [d.content for d in corpus.documents(3)] == TEXTS[3:]
        assert corpus.size in (5, None)
        heads.add(corpus.head())
    assert len(heads) == 1
    assert as_corpus(TEXTS[::-1]).head() not in heads
    assert as_corpus(tmp_path).size == 15


def test_metadata_columns_are_kept_on_request():
    table = pd.DataFrame({"text": TEXTS, "n": range(5), "day": pd.Timestamp("2020-01-02")})
    kept = [d.metadata for d in as_corpus(table, metadata=["n"]).documents()]
    assert kept == [{"n": i} for i in range(5)]
    every = next(as_corpus(table, metadata=True).documents()).metadata
    assert every == {"n": 0, "day": "2020-01-02T00:00:00"}
    assert next(as_corpus(table).documents()).metadata == {}
    with pytest.raises(InputError, match="'day'"):
        list(as_corpus(table, metadata=["dya"]).documents())
    nested = [{"text": "a", "meta": {"b": 1}}]
    with pytest.raises(InputError, match="meta"):
        list(as_corpus(nested, metadata=True).documents())


def test_token_rows_of_every_kind():
    rows = np.arange(12).reshape(3, 4)
    for holder in (
        rows,
        torch.tensor(rows),
        rows.tolist(),
        list(rows),
        [{"input_ids": r} for r in rows.tolist()],
    ):
        found = texts(as_corpus(holder))
        assert [list(row) for row in found] == rows.tolist()
    assert as_corpus(rows).width == 4
    assert as_corpus(np.arange(9)).width is None


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ([], InputError, "empty"),
        (3, InputError, "int"),
        (iter(TEXTS), InputError, "fresh"),
        ("one text with many words in it", InputError, r"\[text\]"),
        ("./missing.jsonl", LoadError, "missing"),
        (np.zeros((2, 2)), InputError, "float64"),
        (datasets.DatasetDict({"train": datasets.Dataset.from_list([])}), InputError, "train"),
    ],
)
def test_what_is_no_corpus_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        as_corpus(given)


def test_bad_files_say_where(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(LoadError, match=r"bad\.jsonl, line 2"):
        texts(as_corpus(tmp_path / "bad.jsonl"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(LoadError, match=r"bad\.parquet"):
        as_corpus(tmp_path / "bad.parquet")
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(InputError, match="csv"):
        as_corpus(tmp_path / "x.csv")
    with pytest.raises(InputError, match="which column"):
        texts(as_corpus([{"a": "x", "b": "y"}]))
    with pytest.raises(InputError, match="document 1"):
        texts(as_corpus(["a", 3]))


# -- rows -------------------------------------------------------------------------------------


def test_one_document_per_row_equals_the_models_own_tokens(model):
    (block,) = blocks(model, TEXTS)
    own = model.tokens(TEXTS)
    assert block.lengths.tolist() == own.mask.sum(1).tolist()
    assert block.ids.tolist() == own.ids[own.mask].tolist()
    assert block.special.tolist() == own.special[own.mask].tolist()
    assert block.document.tolist() == [
        row for row, length in enumerate(block.lengths) for _ in range(length)
    ]
    assert block.places.tolist() == [
        (row << COLUMN_BITS) + column
        for row, length in enumerate(block.lengths)
        for column in range(length)
    ]


def test_long_documents_are_split_truncated_or_refused(model):
    text = " cat" * 40
    (block,) = blocks(model, [text, "dog"])
    assert block.lengths.tolist() == [16, 16, 11, block.lengths[3]]
    assert block.document.tolist()[:43] == [0] * 43
    assert (block.ids[[0, 16, 32]] == 1).all()  # BOS begins every row
    assert block.n_counted == 40 + block.lengths[3] - 1
    (block,) = blocks(model, [text, "dog"], long="truncate")
    assert block.lengths[0] == 16
    assert len(block.lengths) == 2
    with pytest.raises(TokenError, match="document 1 is 40 tokens"):
        blocks(model, ["dog", text], long="error")


def test_packing_fills_rows_and_loses_no_token(model):
    given = [" cat" * n for n in (3, 40, 1, 0, 7)]
    (block,) = blocks(model, given, packing=True)
    # A last place that only a separator could take is left out.
    assert set(block.lengths[:-1].tolist()) <= {15, 16}
    assert block.n_counted == 51
    starts = block.offsets[:-1]
    assert (block.ids[starts] == 1).all()
    counted = ~block.special
    owner = np.bincount(block.document[counted], minlength=5)
    assert owner.tolist() == [3, 40, 1, 0, 7]
    policy = TokenPolicy(bos=False)
    (block,) = blocks(model, given, policy, packing=True)
    assert 1 not in block.ids
    assert block.n_counted == 51
    assert set(block.ids[block.special]) == {2}  # documents are parted by EOS


def test_documents_without_text_keep_their_number(model):
    (block,) = blocks(model, ["", "dog", "<s>", "cat"])
    assert set(block.document.tolist()) == {1, 3}
    assert len(block.metadata) == 4
    assert block.next_document == 4


def test_bos_comes_once_and_token_rows_stay_as_they_are(model):
    (once,) = blocks(model, ["<s><s>dog"])
    assert once.ids.tolist().count(1) == 1
    rows = np.array([[5, 6, 7], [1, 8, 9]])
    (block,) = blocks(model, rows)
    assert block.ids.tolist() == [5, 6, 7, 1, 8, 9]
    assert block.special.tolist() == [False, False, False, True, False, False]
    with pytest.raises(TokenError, match="99999"):
        blocks(model, np.array([[99_999]]))


def test_conversations_mark_the_template_special(model):
    (block,) = blocks(model, [[{"role": "user", "content": "the cat"}]], context=64)
    own = model.tokens([{"role": "user", "content": "the cat"}])
    assert block.ids.tolist() == own.ids[0].tolist()
    assert block.special.tolist() == own.special[0].tolist()


@pytest.mark.parametrize("packing", [False, True])
def test_blocks_resume_to_the_same_blocks(model, packing):
    given = [" cat dog" * (1 + i % 7) for i in range(40)]
    whole = blocks(model, given, packing=packing, block_tokens=50)
    assert len(whole) > 4
    assert sum(len(block.metadata) for block in whole) == 40
    for at in range(len(whole) - 1):
        again = blocks(model, given, packing=packing, block_tokens=50, after=whole[at])
        for one, other in zip(again, whole[at + 1 :], strict=True):
            a, b = one.to_arrays(), other.to_arrays()
            assert all(np.array_equal(a[name], b[name]) for name in b)
    copy = RowBlock.from_arrays(whole[1].to_arrays())
    assert copy.digest == whole[1].digest
    assert copy.first_row == whole[0].next_row
    with pytest.raises(InputError, match="not the one"):
        blocks(model, given[::-1], packing=packing, block_tokens=50, after=whole[1])


def test_a_limit_ends_with_the_document_that_reaches_it(model):
    given = [" cat" * 9] * 20
    made = blocks(model, given, block_tokens=25, limit=60)
    assert sum(len(block.ids) for block in made) == 60
    again = blocks(model, given, block_tokens=25, limit=60, after=made[0])
    assert [block.ids.tolist() for block in again] == [b.ids.tolist() for b in made[1:]]


def test_a_row_plan_out_of_range_is_refused():
    for changes in ({"context": 1}, {"long": "cut"}, {"block_tokens": 0}, {"context": 2**20}):
        with pytest.raises(InputError):
            plan(**changes)
