from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError, SaeError, TokenError

TEXT = "the old cat sat on the mat."
DENSITY = torch.linspace(-4, -0.5, 48)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("reading")
    model = checkpoints.write("llama", root / "tiny")
    folder = root / "saes"
    sae_fixtures.save_sae(
        folder / "resid_post.1",
        sae_fixtures.make_module("topk", d_in=32, d_sae=48),
        log_sparsity=DENSITY,
        labels={3: "<b>cats</b>", 7: "mats"},
    )
    sae_fixtures.write_sae(
        folder / "mlp_out.2", "jumprelu", d_in=32, d_sae=40, hook="blocks.2.hook_mlp_out", seed=1
    )
    sae_fixtures.write_sae(
        folder / "transcoder.1",
        "transcoder",
        d_in=32,
        d_sae=40,
        hook="blocks.1.mlp.hook_in",
        hook_out="blocks.1.hook_mlp_out",
        seed=2,
    )
    with wb.open(model, saes=folder, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def reading(session):
    return session.read(TEXT)


def test_activations_are_saelens_own(session, reading):
    assert [part.sae for part in reading.saes] == ["transcoder.1", "resid_post.1", "mlp_out.2"]
    for part in reading.saes:
        sae = session.saes[part.sae]
        x = session.run(TEXT, capture=[sae.site])[sae.site]
        with sae.loaded() as module, torch.no_grad():
            dense = module.encode(x)[0]
        rebuilt = torch.zeros_like(dense)
        rebuilt[part.position, part.feature] = torch.tensor(part.value)
        assert torch.equal(rebuilt, dense)
        assert part.site == sae.site.name


def test_pairs_come_by_position_then_falling_value(reading):
    for part in reading.saes:
        keys = list(zip(part.position, -part.value, strict=True))
        assert keys == sorted(keys)
        assert part.features.tolist() == sorted(set(part.feature.tolist()))


def test_density_and_labels_come_from_beside_the_weights(reading):
    part = reading.sae("resid_post.1")
    expected = 10 ** DENSITY.numpy()[part.features]
    np.testing.assert_allclose(part.density, expected, rtol=1e-5)
    for index, label in zip(part.features, part.labels, strict=True):
        assert label == {3: "<b>cats</b>", 7: "mats"}.get(int(index))
    assert np.isnan(reading.sae("mlp_out.2").density).all()


def test_predictions_are_the_models(session, reading):
    logits = session.run(TEXT).logits[0].log_softmax(-1)
    ids = reading.token_ids
    assert np.isnan(reading.log_prob[0])
    for position in range(1, len(ids)):
        assert reading.log_prob[position] == pytest.approx(
            logits[position - 1, ids[position]].item(), abs=1e-5
        )
    best = reading.next_tokens[-1]
    assert best[0][1] == int(logits[-1].argmax())
    assert [p for _, _, p in best] == sorted((p for _, _, p in best), reverse=True)
    assert best[0][0] == session.model.token_string(best[0][1])


def test_raised_tokens_are_those_of_the_decoder_row(session, reading):
    part = reading.sae("resid_post.1")
    feature = int(part.feature[0])
    row = session.saes["resid_post.1"].decoder_rows([feature])
    effects = session.model.readout(row)[0]
    place = part.features.tolist().index(feature)
    strings = [session.model.token_string(i) for i in effects.topk(5).indices.tolist()]
    assert list(part.raises[place]) == strings
    lowest = [session.model.token_string(i) for i in (-effects).topk(5).indices.tolist()]
    assert list(part.lowers[place]) == lowest


def test_the_table_has_one_row_per_activation(reading):
    table = reading.to_pandas()
    assert len(table) == sum(len(part.value) for part in reading.saes)
    row = table[table["sae"] == "resid_post.1"].iloc[0]
    assert row["feature"] == f"resid_post.1/{row['index']}"
    assert row["token"] == reading.tokens[row["position"]]
    assert bool(row["special"]) == bool(reading.special[row["position"]])


def test_top_features_leave_special_tokens_out(reading):
    table = reading.to_pandas()
    words = table[(table["sae"] == "resid_post.1") & ~table["special"]]
    best = words.sort_values("value", ascending=False).iloc[0]
    assert str(reading.top(1, sae="resid_post.1")[0]) == best["feature"]
    at_cat = reading.top(3, sae="resid_post.1", token="cat")
    position = [token.strip() for token in reading.tokens].index("cat")
    here = table[(table["sae"] == "resid_post.1") & (table["position"] == position)]
    expected = here.sort_values("value", ascending=False)["feature"].head(3).tolist()
    assert [str(ref) for ref in at_cat] == expected
    assert reading.top(3, sae="resid_post.1", token=position) == at_cat
    with pytest.raises(InputError, match="cat"):
        reading.top(token="cats")
    with pytest.raises(InputError, match="outside"):
        reading.top(token=99)


def test_the_stream_is_looked_at_first(session, reading):
    assert reading.main_sae == "resid_post.1"
    assert session.read(TEXT, "mlp_out.2").main_sae == "mlp_out.2"
    assert session.read(TEXT, []).main_sae is None


def test_choosing_saes(session):
    assert [p.sae for p in session.read(TEXT, "mlp_out.2").saes] == ["mlp_out.2"]
    assert session.read(TEXT, []).saes == ()
    with pytest.raises(SaeError, match=r"resid_post\.1"):
        session.read(TEXT, "resid_pots.1")
    with pytest.raises(TokenError, match="one text, got 2"):
        session.read([TEXT, TEXT])


def test_many_saes_must_be_named(session, monkeypatch):
    monkeypatch.setattr("workbench.features.reading.MOST_SAES", 2)
    with pytest.raises(SaeError, match="choose which to read"):
        session.read(TEXT)
    assert len(session.read(TEXT, ["mlp_out.2"]).saes) == 1


def test_a_reading_survives_saving(reading, tmp_path):
    again = wb.load(reading.save(tmp_path / "reading"))
    assert again.session is None
    assert again.to_pandas().equals(reading.to_pandas())
    assert again.next_tokens == reading.next_tokens
    assert again.provenance == reading.provenance


def test_the_plot_shows_the_activations(reading):
    figure = reading.plot("resid_post.1", k=4)
    (heat,) = figure.data
    top = reading.top(4, sae="resid_post.1")
    assert [name.split("  ")[0] for name in heat.y] == [str(ref) for ref in top]
    part = reading.sae("resid_post.1")
    here = (part.feature == top[0].index) & ~reading.special[part.position]
    assert np.nanmax(np.array(heat.z)[0][~reading.special]) == pytest.approx(part.value[here].max())


def test_a_conversation_is_kept_and_read_again(session):
    from workbench.widgets.prompt import PromptView
    from workbench.widgets.prompt_code import reproduction

    talk = [{"role": "user", "content": "was the cat old?"}]
    reading = session.read(talk, "resid_post.1")
    assert reading.messages == tuple(talk)
    assert "was the cat old?" in reading.text
    assert reading.special[-1]
    again = PromptView(reading)._read_again(list(reading.messages))
    assert again.token_ids.tolist() == reading.token_ids.tolist()
    said = reproduction(reading)["conversation"]
    assert eval(said) == talk
    assert reproduction(session.read(TEXT, "resid_post.1"))["conversation"] is None


def test_provenance_says_what_was_read(session, reading):
    provenance = reading.provenance
    assert provenance.model == "tiny"
    assert provenance.model_fingerprint == session.model.fingerprint
    assert provenance.saes == ("transcoder.1", "resid_post.1", "mlp_out.2")
    assert provenance.token_policy["bos"] is True
    assert {"torch", "transformer-lens", "sae-lens"} <= set(provenance.versions)
