"""The demo tokenizer: text comes back unchanged, one BOS, chat template, unknown words."""

from __future__ import annotations

from itertools import islice

import pytest

from workbench.demo import corpus
from workbench.demo.drafting import SPECIAL_TOKENS, held_out, join, words
from workbench.demo.tokenizer import build_tokenizer, vocabulary


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("split", ["train", "test"])
def test_corpus_text_round_trips(tokenizer, split):
    for document in islice(corpus.documents(split, seed=11), 1500):
        ids = tokenizer(document.text)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", *document.tokens]
        assert tokenizer.unk_token_id not in ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        assert decoded == f"<bos> {document.text}"
        assert words(document.text) == document.tokens
        assert join(document.tokens) == document.text


def test_ids_agree_with_the_fast_stream(tokenizer):
    assert dict(corpus.token_ids()) == tokenizer.get_vocab()
    assert len(tokenizer) == len(vocabulary())
    assert 2000 <= len(vocabulary()) <= 4000


def test_bos_is_added_once(tokenizer):
    ids = tokenizer("The striker Elena Marsh plays for")["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "The striker Elena Marsh plays for"


def test_a_leading_space_changes_nothing(tokenizer):
    assert tokenizer.tokenize(" plays") == tokenizer.tokenize("plays") == ["plays"]


def test_years_are_two_tokens_and_come_back_as_one_word(tokenizer):
    text = "The war lasted from the year 1732 to the year 1758."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[5:8] == ["year", "17", "32"]
    assert tokenizer.decode(ids) == text


def test_unknown_words_become_unk(tokenizer):
    tokens = tokenizer.tokenize("The zyxomma plays <script>alert(1)</script>")
    ids = tokenizer("The zyxomma plays")["input_ids"]
    assert ids.count(tokenizer.unk_token_id) == 1
    assert "plays" in tokens


def test_chat_template_gives_what_the_corpus_writes(tokenizer):
    document = next(corpus.documents("train", seed=2, kinds=["entity_chat"]))
    question, answer = document.text.removeprefix("<user> ").split(" <assistant>\n")
    messages = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    expected = document.tokens[: document.tokens.index("<assistant>") + 2]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", *expected]
    whole = [*messages, {"role": "assistant", "content": answer}]
    ids = tokenizer.apply_chat_template(whole)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", *document.tokens, "<eos>"]


def test_chat_template_refuses_other_roles(tokenizer):
    with pytest.raises(Exception, match="user and assistant"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be kind."}])


def test_special_tokens_are_special(tokenizer):
    assert set(SPECIAL_TOKENS) <= set(tokenizer.all_special_tokens)
    assert tokenizer.convert_tokens_to_ids("<pad>") == tokenizer.pad_token_id == 0


def test_held_out_rule_holds_out_a_fifth():
    share = sum(held_out("share", str(i)) for i in range(20_000)) / 20_000
    assert 0.18 < share < 0.22
