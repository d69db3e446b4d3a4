from __future__ import annotations

import dataclasses

import checkpoints
import dashboard_fixtures as made
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError, SaeError, TokenError
from workbench.features.dashboard import ContextGroup
from workbench.features.recheck import recheck
from workbench.features.token_matching import TokenMatcher
from workbench.interchange import SaeFacts, circuit_tracer, neuronpedia, saedashboard

TEXTS = (
    "the old cat sat on the mat.",
    "the cat and the old dog sat.",
    "on the mat the cat sat.",
    "the dog on the mat.",
)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("recheck")
    model = checkpoints.write("llama", root / "tiny")
    folder = root / "saes"
    sae_fixtures.write_sae(folder / "resid_post.1", "topk", d_in=32, d_sae=48, k=24)
    sae_fixtures.write_sae(
        folder / "mlp_out.2", "standard", d_in=32, d_sae=40, hook="blocks.2.hook_mlp_out", seed=1
    )
    with wb.open(model, saes=folder, device="cpu") as opened:
        yield opened


def activations(session, name="mlp_out.2", bos=True):
    """Every feature's activations on the texts, straight from SAELens."""
    found = []
    for text in TEXTS:
        tokens = session.tokens(text, wb.TokenPolicy(bos=bos))
        sae = session.saes[name]
        with sae.loaded() as module, torch.no_grad():
            dense = module.encode(session.run(tokens, capture=[sae.site])[sae.site])[0].numpy()
        skip = 1 if bos else 0
        found.append((tokens.strings[0][skip:], tokens.ids[0, skip:].numpy(), dense[skip:]))
    return found


@pytest.fixture(scope="module")
def index(session):
    """A feature that fires on a good part of the tokens and not on all."""
    every = np.concatenate([dense for _, _, dense in activations(session)])
    return int(np.abs((every > 0.01).mean(0) - 0.7).argmin())


def dashboard(
    session, index, *, name="mlp_out.2", change=lambda values: values, bos=True, ids=True
):
    contexts = [
        made.context(strings, change(dense[:, index].astype(float)), ids=numbers if ids else None)
        for strings, numbers, dense in activations(session, name, bos)
    ]
    group = ContextGroup(kind="top", low=0, high=1, total=None, contexts=tuple(contexts))
    return made.full(feature=f"{name}/{index}", groups=(group,))


@pytest.mark.parametrize("name", ["mlp_out.2", "resid_post.1"])
@pytest.mark.parametrize("ids", [True, False])
def test_the_same_activations_agree(session, index, name, ids):
    found = recheck(session, dashboard(session, index, name=name, ids=ids))
    assert found.agrees
    assert found.agreement == 1
    assert found.reasons == ()
    assert found.max_difference.max() < 1e-5
    assert found.firing.sum() >= 3
    assert found.tokens.tolist() == [len(strings) for strings, _, _ in activations(session)]
    np.testing.assert_allclose(found.stated_peak, found.recomputed_peak, atol=1e-5)
    assert "of 4 contexts checked" in repr(found)


@pytest.mark.parametrize("layout", [saedashboard, neuronpedia, circuit_tracer])
def test_imported_dashboards_agree_by_their_text(session, index, layout, tmp_path):
    # Three decimals, as these tools write.
    own = dashboard(session, index, change=lambda values: values.round(3))
    layout.write([own], tmp_path)
    (read,) = layout.read(tmp_path, sae=SaeFacts.of(session.saes["mlp_out.2"]))
    assert read.dashboard.feature == own.feature
    found = recheck(session, read.dashboard)
    assert found.agrees
    assert 0 < found.max_difference.max() <= 0.00051


def test_the_numbers_are_the_tables(session, index):
    wrong = dashboard(session, index, change=lambda values: values + 0.5)
    found = recheck(session, wrong)
    truth = np.concatenate([dense[:, index] for _, _, dense in activations(session)])
    np.testing.assert_allclose(found.recomputed, truth, atol=1e-5)
    np.testing.assert_allclose(found.stated, truth + 0.5, atol=1e-5)
    table = found.to_pandas()
    assert table["firing"].sum() == len(truth)
    np.testing.assert_allclose(table["max_difference"], 0.5, atol=1e-4)
    assert not table["agrees"].any()
    assert not found.agrees
    figure = found.plot()
    _, same, different = figure.data
    assert len(same.x) == table["agreeing"].sum()
    assert len(different.x) == (table["firing"] - table["agreeing"]).sum()


def test_the_tolerance_is_the_callers(session, index):
    off = dashboard(session, index, change=lambda values: values + 0.004)
    assert not recheck(session, off, rtol=0).agrees
    assert recheck(session, off, atol=0.005, rtol=0).agrees
    with pytest.raises(InputError, match="at least 0"):
        recheck(session, off, atol=-1)


def test_another_bos_policy_is_found(session, index):
    without = recheck(session, dashboard(session, index, bos=False))
    assert without.agreement < 1
    assert "without a BOS token 100% of firing tokens agree" in without.reasons[0]
    assert recheck(session, dashboard(session, index, bos=False), bos=False).agrees
    put = recheck(session, dashboard(session, index), bos=False)
    assert "with a BOS token put first 100%" in put.reasons[0]


def test_a_scale_is_found(session, index):
    found = recheck(session, dashboard(session, index, change=lambda values: values * 0.4))
    assert "recomputed activations are 2.5 × the stated ones" in found.reasons[0]


def test_a_shift_is_found(session, index):
    found = recheck(session, dashboard(session, index, change=lambda values: np.roll(values, -1)))
    assert any("one token later" in reason for reason in found.reasons)
    found = recheck(session, dashboard(session, index, change=lambda values: np.roll(values, 1)))
    assert any("one token earlier" in reason for reason in found.reasons)


def test_a_lower_precision_is_found(session, index):
    def coarse(values):
        return torch.tensor(values * 1.03).to(torch.bfloat16).double().numpy()

    found = recheck(session, dashboard(session, index, change=coarse), rtol=0.005)
    assert any("precision" in reason or "scaled" in reason for reason in found.reasons)

    def noisy(values):
        return values * (1 + 0.03 * (-1.0) ** np.arange(len(values)))

    found = recheck(session, dashboard(session, index, change=noisy))
    assert any("another precision or rounding" in reason for reason in found.reasons)


def test_cut_contexts_are_found(session, index):
    def late(values):
        half = (len(values) + 1) // 2
        return np.concatenate([values[:half] + 1.0, values[half:]])

    found = recheck(session, dashboard(session, index, change=late))
    assert any("cut out of longer texts" in reason for reason in found.reasons)


def test_another_sae_is_found(session, index):
    random = np.random.default_rng(0)
    found = recheck(
        session, dashboard(session, index, change=lambda values: random.random(len(values)) * 5)
    )
    assert "little in common" in found.reasons[0]
    elsewhere = recheck(session, dashboard(session, index), feature="resid_post.1/3")
    assert elsewhere.feature == "resid_post.1/3"
    assert not elsewhere.agrees


def test_special_tokens_are_left_out_and_told(session, index):
    start = session.tokenizer.bos_token_id
    word = session.model.token_string(start)
    base = dashboard(session, index)
    contexts = tuple(
        made.context(
            [word, *item.tokens],
            [0.0, *item.values],
            ids=[start, *item.token_ids],
        )
        for item in base.groups[0].contexts
    )
    group = dataclasses.replace(base.groups[0], contexts=contexts)
    found = recheck(session, dataclasses.replace(base, groups=(group,)))
    assert found.agrees
    at_start = session.run([[start]], capture=["mlp_out.2"])["mlp_out.2"]
    fires = session.saes["mlp_out.2"].encode_features(at_start, [index]).item() > 0.01
    assert found.special_differ == (4 if fires else 0)
    assert found.tokens.tolist() == [len(item.tokens) - 1 for item in contexts]
    if fires:
        assert "special tokens" in found.reasons[0]


def test_what_cannot_be_checked_is_told(session, index):
    base = dashboard(session, index, ids=False)
    strange = made.context(["the", " Zanzibar<b>"], [0.0, 1.0])
    long = made.context(["the"] * 600, [1.0] * 600, ids=[5] * 600)
    group = dataclasses.replace(base.groups[0], contexts=(*base.groups[0].contexts, strange, long))
    found = recheck(session, dataclasses.replace(base, groups=(group,)))
    assert found.checked.tolist() == [True] * 4 + [False] * 2
    assert "not in the model's vocabulary" in found.problem[4]
    assert "the model takes" in found.problem[5]
    assert not found.agrees
    assert found.agreement == 1
    assert any("2 of 6 contexts could not be checked" in reason for reason in found.reasons)
    assert "<b>" not in found._repr_html_()


def test_what_cannot_be_asked_is_refused(session, index):
    with pytest.raises(SaeError, match=r"mlp_out\.2"):
        recheck(session, made.full(feature="mlp_uot.2/3"))
    with pytest.raises(InputError, match="0 to 39"):
        recheck(session, made.full(feature="mlp_out.2/40"))
    with pytest.raises(InputError, match="no contexts"):
        recheck(session, made.full(feature="mlp_out.2/4", groups=()))


def test_a_recheck_survives_saving(session, index, tmp_path):
    found = recheck(session, dashboard(session, index, change=lambda values: values * 2))
    again = wb.load(found.save(tmp_path / "check"))
    assert again.to_pandas().equals(found.to_pandas())
    assert again.reasons == found.reasons
    assert again.provenance.saes == ("mlp_out.2",)


def test_tokens_are_found_by_any_spelling(session):
    matcher = TokenMatcher.of(session.model)
    assert TokenMatcher.of(session.model) is matcher
    size = len(session.tokenizer)
    read = [session.model.token_string(token) for token in range(size)]
    alone = [token for token in range(size) if read.count(read[token]) == 1]
    assert matcher.ids([read[token] for token in alone]) == alone
    entries = session.tokenizer.convert_ids_to_tokens(alone)
    assert len(alone) > size / 2
    clear = [(e, t) for e, t in zip(entries, alone, strict=True) if e not in read]
    assert matcher.ids([entry for entry, _ in clear]) == [token for _, token in clear]
    with pytest.raises(TokenError, match="vocabulary"):
        matcher.ids(["the", "no such token"])
