from __future__ import annotations

import re

import checkpoints
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError, TokenError
from workbench.model import TokenPolicy
from workbench.model.tokens import Tokenizing

TOKENIZING = Tokenizing(checkpoints.tokenizer(), context=64)
NO_BOS = Tokenizing(checkpoints.tokenizer(bos=None, chat=False), context=64)


def tokens(texts, tokenizing=TOKENIZING, **policy):
    return tokenizing(texts, TokenPolicy(**policy))


@pytest.mark.parametrize("text", ["the cat", "<s>the cat", "<s><s>the cat"])
def test_bos_comes_exactly_once(text):
    row = tokens(text)
    assert row.ids[0].tolist().count(1) == 1
    assert row.ids[0, 0] == 1
    assert row.special[0].tolist() == [True, False, False]


def test_bos_can_be_left_out_and_is_recorded():
    row = tokens("<s>the cat", bos=False)
    assert row.ids[0].tolist().count(1) == 0
    assert row.policy.bos is False
    assert tokens("the cat").policy.bos is True
    assert NO_BOS("the cat", TokenPolicy()).policy.bos is False


def test_a_tokenizer_without_bos_or_template_says_so():
    with pytest.raises(TokenError, match="no BOS token"):
        NO_BOS("the cat", TokenPolicy(bos=True))
    with pytest.raises(TokenError, match="no chat template"):
        NO_BOS("the cat", TokenPolicy(chat=True))
    with pytest.raises(TokenError, match="chat template"):
        NO_BOS([{"role": "user", "content": "hi"}], TokenPolicy())


def test_chat_marks_the_template_and_not_the_words():
    row = tokens("the old cat", chat=True)
    said = [s for s, special in zip(row.strings[0], row.special[0], strict=True) if not special]
    assert "".join(said).strip() == "the old cat"
    assert row.ids[0].tolist().count(1) == 1
    assert "".join(row.strings[0]).endswith("[assistant]")


def test_a_conversation_keeps_each_speakers_words():
    talk = [
        {"role": "user", "content": "was the cat old?"},
        {"role": "assistant", "content": "the cat was young."},
    ]
    row = tokens(talk)
    said = [s for s, special in zip(row.strings[0], row.special[0], strict=True) if not special]
    assert "".join(said).replace(" ", "") == "wasthecatold?thecatwasyoung."
    assert not "".join(row.strings[0]).endswith("[assistant]")


def test_padding_is_masked_and_special():
    rows = tokens(["the cat sat on the mat", "a dog"])
    assert rows.mask.sum(1).tolist() == [7, 3]
    assert rows.special[1, 3:].all()
    assert rows.last.tolist() == [6, 2]
    assert rows[1:2].ids.shape == (1, 3)


def test_too_long_is_refused_or_cut_where_asked():
    text = "the cat " * 10
    with pytest.raises(TokenError, match="expected at most 5"):
        tokens(text, max_length=5)
    whole = tokens(text).ids[0].tolist()
    assert tokens(text, max_length=5, overflow="right").ids[0].tolist() == whole[:5]
    assert tokens(text, max_length=5, overflow="left").ids[0].tolist() == [1, *whole[-4:]]


def test_the_models_context_bounds_the_policy():
    assert TOKENIZING.resolve(TokenPolicy(max_length=10_000)).max_length == 64
    with pytest.raises(TokenError, match="at most 64"):
        tokens("the cat " * 100)


@pytest.mark.parametrize("bad", [{"overflow": "middle"}, {"max_length": 0}])
def test_policies_are_validated(bad):
    with pytest.raises(InputError):
        TokenPolicy(**bad)


def test_empty_and_wrong_input_is_refused():
    with pytest.raises(TokenError, match="no texts"):
        tokens([])
    with pytest.raises(TokenError, match="no tokens"):
        tokens("", bos=False)
    with pytest.raises(InputError, match="text 1 is int"):
        tokens(["the cat", 3])


def test_ids_are_taken_as_they_are():
    row = TOKENIZING.from_ids([[5, 6, 7]], TokenPolicy())
    assert row.ids.tolist() == [[5, 6, 7]]
    with pytest.raises(TokenError, match="outside"):
        TOKENIZING.from_ids([[5, 10_000_000]], TokenPolicy())


def test_single_tokens():
    assert TOKENIZING.strings[TOKENIZING.single(" cat")] == " cat"
    with pytest.raises(TokenError, match="must be one token, got"):
        TOKENIZING.single(" category")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="<\\", codec="utf-8"), min_size=1, max_size=20))
def test_token_strings_spell_the_text(text):
    spelled = b"".join(
        re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), string.encode())
        for string in tokens(text).strings[0][1:]
    )
    assert spelled.decode() == text


def test_split_characters_show_their_bytes():
    assert [*tokens("ö").strings[0]][1:] == ["\\xc3", "\\xb6"]
