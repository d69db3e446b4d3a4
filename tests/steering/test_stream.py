"""Previews and side-by-side streams against full passes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError, TokenError
from workbench.steering import Cancelled, Intervention, Recipe, Vector
from workbench.steering.preview import Preview
from workbench.steering.stream import stream

PROMPT = "the old cat sat on the mat ."


def push(strength=1.0, **fields):
    vector = np.random.default_rng(2).normal(size=32)
    return Intervention(
        target=Vector(site="resid_post.1", vector=vector), strength=strength, unit="norm", **fields
    )


def steered_edits(strength=1.0):
    vector = torch.tensor(push().target.vector)
    return {"resid_post.1": lambda x: x + strength * x.norm(dim=-1, keepdim=True) * vector}


@pytest.mark.parametrize("positions", ["all", "last"])
def test_a_preview_is_the_next_token_before_and_after(session, positions):
    preview = Preview(session, PROMPT)
    shown = preview.next_tokens(push(positions=positions), k=5)
    before = session.run(PROMPT, logits="last").logits[0, 0].double().softmax(-1)
    vector = torch.tensor(push().target.vector)

    def edit(x):
        moved = x + x.norm(dim=-1, keepdim=True) * vector
        if positions == "last":
            moved[:, :-1] = x[:, :-1]
        return moved

    after = session.run(PROMPT, edits={"resid_post.1": edit}, logits="last").logits[0, 0]
    after = after.double().softmax(-1)
    np.testing.assert_allclose(shown.before, before[shown.token_ids], atol=1e-6)
    np.testing.assert_allclose(shown.after, after[shown.token_ids], atol=1e-6)
    assert set(before.topk(5).indices.tolist()) <= set(shown.token_ids.tolist())
    assert set(after.topk(5).indices.tolist()) <= set(shown.token_ids.tolist())
    assert shown.kl == pytest.approx(float((after * (after / before).log()).sum()), abs=1e-6)


def test_no_change_shows_none(session):
    shown = Preview(session, PROMPT).next_tokens(None)
    np.testing.assert_array_equal(shown.before, shown.after)
    assert shown.kl == 0


def test_the_newest_request_wins(session):
    preview = Preview(session, PROMPT)
    started, release, asked = threading.Event(), threading.Event(), threading.Event()
    outcome = {}

    def hold():
        # Holds the first request at its edited site until the second has been asked.
        started.set()
        release.wait(10)
        return False

    def first():
        try:
            preview.next_tokens(push(1.0), cancel=hold)
        except Cancelled:
            outcome["first"] = "cancelled"

    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(10)
    # The lock is the model's: the second request waits for the first to leave it.
    second = threading.Thread(
        target=lambda: outcome.update(
            second=preview.next_tokens(push(2.0), cancel=lambda: asked.set() is not None).kl
        )
    )
    second.start()
    assert asked.wait(10)
    release.set()
    thread.join(20)
    second.join(20)
    assert outcome["first"] == "cancelled"
    assert outcome["second"] == Preview(session, PROMPT).next_tokens(push(2.0)).kl


def test_one_thousand_requests_end_in_the_last_state(session):
    preview = Preview(session, PROMPT)
    strengths = np.random.default_rng(0).uniform(-2, 2, 1000)
    threads, answers, lock = [], {}, threading.Lock()

    def ask(number):
        try:
            shown = preview.next_tokens(push(strengths[number]))
        except Cancelled:
            return
        with lock:
            answers[shown.recipe[0].strength] = shown

    for batch in range(10):
        threads = [threading.Thread(target=ask, args=(batch * 100 + i,)) for i in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    # Whatever was answered is right for the strength it was asked with; the last asked is there.
    for strength, shown in list(answers.items())[:20]:
        fresh = Preview(session, PROMPT).next_tokens(push(strength))
        np.testing.assert_allclose(shown.after, fresh.after, atol=1e-9)
    final = preview.next_tokens(push(0.5))
    assert final.kl == pytest.approx(Preview(session, PROMPT).next_tokens(push(0.5)).kl)


def test_previews_are_validated(session):
    with pytest.raises(TokenError, match="one prompt"):
        Preview(session, ["a", "b"])
    with pytest.raises(InputError, match="k must"):
        Preview(session, PROMPT).next_tokens(push(), k=0)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "seed": 4}])
def test_both_texts_are_those_of_generate(session, sampling):
    heard = []
    made = stream(session, PROMPT, push(), max_new_tokens=8, on_token=heard.append, **sampling)
    steered = session.model.generate(PROMPT, max_new_tokens=8, edits=steered_edits(), **sampling)
    plain = session.model.generate(PROMPT, max_new_tokens=8, **sampling)
    for text, truth, side in (
        (made.steered, steered, "steered"),
        (made.unsteered, plain, "unsteered"),
    ):
        assert text.token_ids.tolist() == truth.token_ids.tolist()
        assert text.completion == truth.completion
        assert text.stopped == truth.stopped
        np.testing.assert_allclose(text.log_probs, truth.log_probs, atol=1e-4)
        assert [t.token for t in heard if t.side == side] == list(text.tokens)


def test_log_probs_and_kl_under_the_unsteered_model(session):
    made = stream(session, PROMPT, push(), max_new_tokens=6, temperature=0.8)
    ids = torch.tensor([[*made.prompt_ids, *made.steered.token_ids]])
    plain = session.run(ids, logits=True).logits[0].double().log_softmax(-1)
    steered = session.run(ids, edits=steered_edits(), logits=True).logits[0]
    steered = steered.double().log_softmax(-1)
    start = len(made.prompt_ids) - 1
    for at, token in enumerate(made.steered.token_ids):
        p, q = steered[start + at], plain[start + at]
        assert made.steered.unsteered_log_probs[at] == pytest.approx(q[token].item(), abs=1e-4)
        assert made.steered.kl[at] == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-4)
    expected = np.exp(-made.steered.unsteered_log_probs.mean())
    assert made.steered.perplexity == pytest.approx(expected)
    assert not made.unsteered.kl.any()


def test_changed_features_are_the_ones_that_changed(session):
    sae = session.saes["resid_post.1"]
    x = session.run(PROMPT, capture=["resid_post.1"])["resid_post.1"]
    index = int(sae.encode(x).statistics().count.argmax())
    recipe = Intervention(
        target=f"resid_post.1/{index}", what="clamp", strength=30, unit="absolute"
    )
    made = stream(session, PROMPT, recipe, max_new_tokens=4, changes=5)
    table = made.changes.to_pandas()
    ids = torch.tensor([[*made.prompt_ids, *made.steered.token_ids]])
    codes = []
    for edits in (None, sae.splice("keep", edit=lambda f: f * 0 + 30, features=[index]).edits()):
        ran = session.run(ids, capture=["resid_post.1"], edits=edits)["resid_post.1"]
        real = ~session.tokens(ids).special[0]
        codes.append(sae.encode_dense(ran)[0, real].mean(0))
    for row in table.itertuples():
        if row.feature.startswith("resid_post.1/"):
            number = int(row.feature.split("/")[1])
            assert row.before == pytest.approx(codes[0][number].item(), abs=1e-4)
            assert row.after == pytest.approx(codes[1][number].item(), abs=1e-4)
    gaps = (codes[1] - codes[0]).abs()
    ours = [f for f in table["feature"] if f.startswith("resid_post.1/")]
    assert ours[0] == f"resid_post.1/{int(gaps.argmax())}"
    assert table["change"].abs().is_monotonic_decreasing
    assert "resid_post.0" not in made.changes.saes


def test_cancelling_a_stream_keeps_what_it_has(session):
    heard = []
    made = stream(
        session,
        PROMPT,
        push(),
        max_new_tokens=30,
        on_token=heard.append,
        cancel=lambda: len(heard) >= 5,
        temperature=1.0,
    )
    assert len(made.steered.tokens) in (2, 3)
    assert "cancelled" in (made.steered.stopped, made.unsteered.stopped)
    assert made.changes is None


def test_a_stream_survives_saving(session, tmp_path):
    made = stream(session, PROMPT, push(), max_new_tokens=4)
    again = wb.load(made.save(tmp_path / "s"))
    assert again.steered.completion == made.steered.completion
    assert again.changes.features == made.changes.features
    assert Recipe.of(again.recipe).interventions == made.recipe.interventions
    assert again.to_pandas().shape[0] == len(made.to_pandas())


def test_steer_shows_next_tokens_texts_and_a_sweep(session):
    made = session.steer(push(), PROMPT, max_new_tokens=4, strengths=[0.5, 1.0])
    assert made.next_tokens.kl == Preview(session, PROMPT).next_tokens(push()).kl
    truth = stream(session, PROMPT, push(), max_new_tokens=4)
    assert made.texts.steered.completion == truth.steered.completion
    assert made.sweep.strengths.tolist() == [0.0, 0.5, 1.0]
    talk = [{"role": "user", "content": "the cat"}]
    chat = session.steer(push(), talk, max_new_tokens=3)
    assert chat.chat == tuple(talk)
    assert "cat" in chat.prompt
    assert "<" not in chat._repr_html_().split("white-space:pre-wrap'>")[1].split("</span>")[
        0
    ].replace("<b>", "").replace("</b>", "")
