from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.features.ablation import ablate
from workbench.features.dashboard import Context
from workbench.results import load

SAE = "resid_post.1"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation")
    model = checkpoints.write("llama", root / "tiny")
    sae = sae_fixtures.save_sae(root / "sae", sae_fixtures.make_module("topk", d_in=32, d_sae=24))
    with wb.open(model, saes={SAE: sae}, device="cpu") as opened:
        yield opened


def context(session, text):
    tokens = session.tokens(text)
    return Context(
        document=0,
        start=0,
        peak=0,
        tokens=tokens.strings[0],
        token_ids=tokens.ids[0].numpy(),
        values=np.zeros(len(tokens.strings[0])),
    )


def brute_force(session, ids, feature):
    """Log-probabilities as the model is, and with the feature's part taken out of the stream."""
    sae = session.saes[SAE]

    def take_out(x):
        code = sae.encode_dense(x)
        return x - code[..., feature : feature + 1] * sae.decoder_rows([feature])

    tokens = session.tokens(ids)
    return [
        session.run(tokens, edits=edits, logits=True).logits[0].log_softmax(-1)
        for edits in ({}, {SAE: take_out})
    ]


def test_loss_and_next_tokens_change_as_with_a_hook(session):
    shown = context(session, "the old cat sat on the mat and the dog ran")
    acts = session.saes[SAE].encode_dense(session.run(shown_text(shown), capture=[SAE])[SAE])
    feature = int(acts[0, 1:].sum(0).argmax())
    made = ablate(session, f"{SAE}/{feature}", shown, next_tokens=4)
    ids = torch.tensor([shown.token_ids.tolist()])
    clean, ablated = brute_force(session, ids, feature)
    following = ids[0, 1:, None]
    change = (clean[:-1].gather(1, following) - ablated[:-1].gather(1, following))[:, 0]
    np.testing.assert_allclose(made.loss[1:], change.numpy(), atol=1e-4)
    assert np.isnan(made.loss[0])
    assert np.abs(made.loss[1:]).max() > 1e-3
    moved = (ablated.exp() - clean.exp()).abs()
    for position, row in enumerate(made.next_tokens):
        best = moved[position].topk(4)
        got = [abs(one.after - one.before) for one in row]
        np.testing.assert_allclose(got, best.values.numpy(), atol=1e-5)
        for one in row:
            assert one.before == pytest.approx(clean[position].exp()[one.token_id].item(), abs=1e-5)
            assert one.token == session.model.token_string(one.token_id)


def shown_text(shown):
    return torch.tensor([shown.token_ids.tolist()])


def test_a_bos_is_put_before_tokens_that_have_none(session):
    whole = context(session, "the old cat sat")
    cut = Context(
        document=0,
        start=1,
        peak=0,
        tokens=whole.tokens[1:],
        token_ids=whole.token_ids[1:],
        values=whole.values[1:],
    )
    with_bos, without = ablate(session, f"{SAE}/5", whole), ablate(session, f"{SAE}/5", cut)
    np.testing.assert_allclose(without.loss, with_bos.loss[1:], atol=1e-6)
    assert without.next_tokens == with_bos.next_tokens[1:]


def test_it_is_a_result_and_refuses_a_negative_number(session, tmp_path):
    made = ablate(session, f"{SAE}/5", context(session, "the old cat"), next_tokens=2)
    table = made.to_pandas()
    assert list(table.columns) == ["position", "token", "loss", "next", "before", "after"]
    assert len(table) == 2 * len(made.tokens)
    made.save(tmp_path / "ablation.json")
    again = load(tmp_path / "ablation.json")
    assert again.next_tokens == made.next_tokens
    with pytest.raises(InputError, match="negative"):
        ablate(session, f"{SAE}/5", context(session, "the old cat"), next_tokens=-1)
