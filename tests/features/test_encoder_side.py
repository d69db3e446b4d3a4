from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.features.encoder_side import token_readings

HOOKS = {"hook": "blocks.1.mlp.hook_in", "hook_out": "blocks.1.hook_mlp_out"}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def session(request, tmp_path_factory):
    """A LayerNorm and an RMSNorm before the MLP, their gains and biases random."""
    root = tmp_path_factory.mktemp("encoder")
    model = checkpoints.write(request.param, root / "tiny")
    saes = {
        name: sae_fixtures.write_sae(
            root / name, kind, d_in=32, d_sae=20 + seed, seed=seed, **options
        )
        for seed, (name, kind, options) in enumerate(
            [
                ("transcoder.1", "transcoder", HOOKS),
                ("other.1", "jumprelu_transcoder", HOOKS),
                ("elsewhere", "topk", {}),
            ]
        )
    }
    with wb.open(model, saes=saes, device="cpu") as opened:
        norm = opened.model.network.plain_module("blocks.1.ln2")
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in norm.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
        yield opened


def test_tokens_read_are_those_of_the_embedding_through_the_norm(session):
    model, sae = session.model, session.saes["transcoder.1"]
    norm = model.network.plain_module("blocks.1.ln2")
    embedding = model.network.plain.get_input_embeddings().weight
    with torch.no_grad():
        want = (norm(embedding) @ sae.encoder_columns([4])[:, 0]).numpy()
    raised, lowered = token_readings(model, sae, 4, k=6)
    order = np.argsort(-want)
    for told, best in ((raised, order[:6]), (lowered, order[::-1][:6])):
        np.testing.assert_allclose([one.value for one in told], want[best], atol=1e-4)
        for one in told:
            assert want[one.token_id] == pytest.approx(one.value, abs=1e-4)
            assert one.token == model.token_string(one.token_id)


def test_a_transcoders_page_has_both_sides(session):
    # Weights are not loaded for it: only SAEs in memory are compared.
    session.saes["other.1"].load()
    shown = session.feature("transcoder.1/4")
    assert (shown.site, shown.out_site) == ("mlp_in.1", "mlp_out.1")
    assert shown.raises
    assert shown.reads_raised == token_readings(session.model, session.saes["transcoder.1"], 4)[0]
    own = session.saes["transcoder.1"].encoder_columns()
    other = session.saes["other.1"].encoder_columns()
    unit = torch.nn.functional.normalize
    cosines = torch.cat([unit(own, dim=0), unit(other, dim=0)], 1).T @ unit(own, dim=0)[:, 4]
    cosines[4] = 0
    best = cosines.abs().topk(10)
    np.testing.assert_allclose(
        [one.score for one in shown.similar_encoders], cosines[best.indices].numpy(), atol=1e-5
    )
    names = [f"transcoder.1/{i}" if i < 20 else f"other.1/{i - 20}" for i in best.indices.tolist()]
    assert [one.feature for one in shown.similar_encoders] == names


def test_other_saes_have_no_input_side_of_their_own(session):
    assert token_readings(session.model, session.saes["elsewhere"], 0) == ((), ())
    shown = session.feature("elsewhere/0")
    assert shown.reads_raised == shown.reads_lowered == shown.similar_encoders == ()
