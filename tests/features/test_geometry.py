from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError, SaeError
from workbench.features import geometry


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("geometry")
    model = checkpoints.write("gpt2", root / "tiny")
    saes = {}
    for layer in (0, 1):
        saes[f"resid_post.{layer}"] = sae_fixtures.write_sae(
            root / str(layer), d_in=32, d_sae=48, hook=f"blocks.{layer}.hook_resid_post", seed=layer
        )
    saes["transcoder.1"] = sae_fixtures.write_sae(
        root / "t",
        "transcoder",
        d_in=32,
        d_sae=24,
        hook="blocks.1.mlp.hook_in",
        hook_out="blocks.1.hook_mlp_out",
    )
    with wb.open(model, saes=saes, device="cpu") as opened:
        yield opened


def decoder(session, name):
    with session.saes[name].loaded() as module:
        return module.W_dec.detach().double().numpy()


def test_features_are_found_or_refused(session):
    sae, index = geometry.locate(session, "resid_post.1/7")
    assert (sae.name, index) == ("resid_post.1", 7)
    with pytest.raises(InputError, match="0 to 47"):
        geometry.locate(session, "resid_post.1/48")
    with pytest.raises(SaeError, match=r"resid_post\.1"):
        geometry.locate(session, "resid_pots.1/7")


def test_neighbours_are_the_largest_cosines_of_resident_saes(session):
    session.saes.unload()
    sae, index = geometry.locate(session, "resid_post.0/5")
    sae.load()
    mine = decoder(session, "resid_post.0")
    found = geometry.similar(session, sae, index, k=4)
    unit = mine / np.linalg.norm(mine, axis=1, keepdims=True)
    cosines = unit @ unit[5]
    cosines[5] = 0
    order = np.argsort(-abs(cosines))[:4]
    assert [n.feature for n in found] == [f"resid_post.0/{i}" for i in order]
    np.testing.assert_allclose([n.score for n in found], cosines[order], atol=1e-5)

    session.saes["transcoder.1"].load()
    names = {n.feature.split("/")[0] for n in geometry.similar(session, sae, index, k=30)}
    assert names == {"resid_post.0", "transcoder.1"}
    labelled = geometry.similar(session, sae, index, k=1, label=lambda ref: f"<{ref}>")
    assert labelled[0].label == f"<{labelled[0].feature}>"


def test_logit_effects_follow_the_readout(session):
    sae, index = geometry.locate(session, "resid_post.1/3")
    raises, lowers, histogram = geometry.logit_effects(session.model, sae, index, k=6)
    row = torch.tensor(decoder(session, "resid_post.1")[3:4], dtype=torch.float32)
    effects = session.model.readout(row)[0]
    assert [t.token_id for t in raises] == effects.topk(6).indices.tolist()
    assert [t.token_id for t in lowers] == effects.topk(6, largest=False).indices.tolist()
    assert raises[0].token == session.model.token_string(raises[0].token_id)
    assert raises[0].value == pytest.approx(effects.max().item(), rel=1e-5)
    assert histogram.counts.sum() == session.model.d_vocab
    assert len(histogram.edges) == len(histogram.counts) + 1


def test_coordinates_and_angle(session):
    sae, index = geometry.locate(session, "resid_post.1/3")
    row = decoder(session, "resid_post.1")[3]
    best = geometry.coordinates(sae, index, k=3)
    order = np.argsort(-abs(row))[:3]
    assert [n.neuron for n in best] == order.tolist()
    assert best[0].share == pytest.approx(abs(row[order[0]]) / abs(row).sum(), rel=1e-5)
    with sae.loaded() as module:
        column = module.W_enc[:, 3].detach().double().numpy()
    cosine = row @ column / np.linalg.norm(row) / np.linalg.norm(column)
    assert geometry.angle(sae, index) == pytest.approx(cosine, abs=1e-5)
    assert geometry.angle(session.saes["transcoder.1"], 0) is None
