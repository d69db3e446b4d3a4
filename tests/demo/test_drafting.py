"""Templates: slots, marks, capitals, and the rule that parts training from test."""

from __future__ import annotations

from random import Random

import pytest

from workbench.demo.drafting import Draft, Span, held_out, join, pick_pair, pick_with, words

FILLERS = {"colour": ("red", "blue"), "thing": ("a {colour} box",)}


def new_draft():
    return Draft(Random(1), FILLERS)


def test_marks_fall_on_the_token_just_written():
    draft = new_draft()
    draft.write("the club of {N} is{^fact} {V} .", N=Span("Elena Marsh", ("a.b",)), V="X", fact="c")
    assert draft.tokens == ["The", "club", "of", "Elena", "Marsh", "is", "X", "."]
    assert draft.marks == [(4, "a.b"), (5, "c")]


def test_marks_can_be_several_or_none():
    draft = new_draft()
    draft.write("one{^m} two{^n} three{^p.q}", m=("x", "y"), n=None)
    assert draft.marks == [(0, "x"), (0, "y"), (2, "p.q")]


def test_slots_nest_and_are_drawn():
    seen = set()
    for seed in range(20):
        draft = Draft(Random(seed), FILLERS)
        draft.write("{thing} fell")
        seen.add(join(draft.tokens))
    assert seen == {"A red box fell", "A blue box fell"}


def test_sentences_begin_with_a_capital_and_code_stays():
    draft = new_draft()
    draft.write("it fell . it broke . {x}", x="so it goes")
    assert join(draft.tokens) == "It fell. It broke. So it goes"
    draft = new_draft()
    draft.raw("def", "load", "(", "size", ")", ":", "\n", '"""', "Load", ".")
    assert join(draft.tokens) == 'def load(size):\n"""Load.'


def test_a_slot_without_a_value_is_an_error():
    with pytest.raises(KeyError, match="colours"):
        new_draft().write("the {colours} box")
    with pytest.raises(TypeError, match="'x'"):
        new_draft().write("the {x} box", x=None)


def test_draws_keep_to_their_split():
    rng = Random(0)
    first, second = [f"a{i}" for i in range(8)], [f"b{i}" for i in range(8)]
    for split in ("train", "test"):
        for _ in range(50):
            pair = pick_pair(rng, split, "tag", first, second)
            assert held_out("tag", *pair) == (split == "test")
            other = pick_with(rng, split, "tag", pair[0], second)
            assert held_out("tag", pair[0], other) == (split == "test")


def test_lists_too_short_for_a_split_are_an_error():
    kept = [b for b in "abcdefgh" if not held_out("tag", "x", b)]
    with pytest.raises(ValueError, match="no test combination"):
        pick_pair(Random(0), "test", "tag", ["x"], kept)
    with pytest.raises(ValueError, match="no test combination"):
        pick_with(Random(0), "test", "tag", "x", kept)


@pytest.mark.parametrize(
    "text",
    [
        "Elena Marsh doesn't play, does she?",
        "In 1984 the war (of 1732) ended; see page 7.",
        'def f(a, b):\n"""Sort.\n:param a: optional\n"""',
        "<user> Who is it? <assistant>\nSorry, it is well-known.",
    ],
)
def test_text_round_trips(text):
    assert join(words(text)) == text.replace(" (of", "(of")
