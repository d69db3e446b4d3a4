from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sae_fixtures
import torch

import workbench as wb
from workbench.errors import InputError, SaeError
from workbench.features.page import with_sources
from workbench.features.sources import attribute, head_sources

TEXT = "the old cat sat on the mat and she saw it"
ARCHITECTURES = {
    "attn_out.1": ("jumprelu", {}),
    "scaled": ("topk", {"rescale_acts_by_decoder_norm": True}),
    "gated": ("gated", {"apply_b_dec_to_input": True}),
    "normalised": ("standard", {"normalize_activations": "layer_norm"}),
    "rescaled": ("standard", {"normalize_activations": "constant_norm_rescale"}),
    "z.1": ("jumprelu", {"hook": "blocks.1.attn.hook_z"}),
}


def opened(root, architecture):
    model = checkpoints.write(architecture, root / architecture)
    saes = {}
    for seed, (name, (kind, settings)) in enumerate(ARCHITECTURES.items()):
        options = {"hook": "blocks.1.hook_attn_out", **settings}
        saes[name] = sae_fixtures.write_sae(
            root / f"{architecture}-{name}", kind, d_in=32, d_sae=24, seed=seed, **options
        )
    return wb.open(model, saes=saes, device="cpu")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def session(request, tmp_path_factory):
    """Attention with as many values as heads, and with half as many."""
    with opened(tmp_path_factory.mktemp("sources"), request.param) as made:
        yield made


def pre_activation(sae, index, x):
    """What SAELens compares with the threshold, written out."""
    with torch.no_grad(), sae.loaded() as module:
        inputs = module.process_sae_in(x.detach()[None])[0]
        if sae.architecture == "gated":
            scale = module.r_mag[index].exp()
            return float(inputs @ (module.W_enc[:, index] * scale) + module.b_mag[index])
        pre = inputs @ module.W_enc[:, index] + module.b_enc[index]
        if getattr(module.cfg, "rescale_acts_by_decoder_norm", False):
            pre = pre * module.W_dec[index].norm()
        return float(pre)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_parts_add_up_to_the_pre_activation(session, name):
    sae = session.saes[name]
    site = str(sae.site)
    x = session.run(TEXT, capture=[site])[site][0].flatten(1)
    for index, position in ((0, -1), (7, 4), (13, 2)):
        made = attribute(session, f"{name}/{index}", TEXT, position)
        pre = pre_activation(sae, index, x[made.position])
        assert made.pre_activation == pytest.approx(pre, abs=1e-4)
        assert made.contributions.sum() + made.bias == pytest.approx(pre, abs=1e-4)
        assert made.activation == pytest.approx(
            float(sae.encode_features(x[made.position][None], [index])[0, 0]), abs=1e-5
        )
        assert made.contributions.shape == (session.model.n_heads, made.position + 1)


@pytest.mark.parametrize("name", ["attn_out.1", "scaled", "gated", "z.1"])
def test_each_part_is_what_taking_it_out_changes(session, name):
    """Brute force: what one head reads from one token is taken out of its output by hand."""
    sae, layer, at = session.saes[name], 1, 6
    made = attribute(session, f"{name}/5", TEXT, at)
    wanted = [f"pattern.{layer}", f"v.{layer}"]
    ran = session.model.run(session.tokens(TEXT), capture=wanted, engine="bridge")
    n_heads = session.model.n_heads
    for head, source in ((0, 0), (1, 3), (3, at), (2, 5)):
        values = ran[f"v.{layer}"][0, source]
        read = ran[f"pattern.{layer}"][0, head, at, source] * values[head * len(values) // n_heads]

        def take_out(z, head=head, read=read):
            changed = z.clone()
            changed.reshape(*z.shape[:2], n_heads, -1)[0, at, head] -= read
            return changed

        site = str(sae.site)
        without = session.model.run(
            session.tokens(TEXT), capture=[site], edits={f"z.{layer}": take_out}, engine="bridge"
        )[site][0, at].flatten()
        clean = session.run(TEXT, capture=[site])[site][0, at].flatten()
        change = pre_activation(sae, 5, clean) - pre_activation(sae, 5, without)
        assert made.contributions[head, source] == pytest.approx(change, abs=2e-5)


def test_the_bias_does_not_depend_on_the_text(session):
    biases = [
        attribute(session, "attn_out.1/3", text, position).bias
        for text, position in ((TEXT, -1), (TEXT, 3), ("a dog ran", 2))
    ]
    np.testing.assert_allclose(biases, biases[0], atol=1e-4)


def test_a_page_tells_the_sources_of_its_strongest_context(session, tmp_path):
    texts = [TEXT, "the young dog slept under the tree", "he was not on the river bank"] * 3
    session.index(texts, tmp_path / "index", saes=["attn_out.1"], progress=False)
    ref = next(f"attn_out.1/{i}" for i in range(24) if session.feature(f"attn_out.1/{i}").fires)
    shown = session.feature(ref)
    context = shown.strongest
    assert 0 < len(shown.sources) <= 10
    sizes = [abs(source.value) for source in shown.sources]
    assert sizes == sorted(sizes, reverse=True)
    for source in shown.sources:
        if source.position >= 0:
            assert source.token == context.tokens[source.position]
    # All of them add up to the activation at the context's token.
    every = head_sources(session, ref, context, k=10_000)
    whole = attribute(session, ref, texts[context.document], _position(session, texts, context))
    assert sum(source.value for source in every) + whole.bias == pytest.approx(
        whole.pre_activation, abs=1e-4
    )
    assert whole.activation == pytest.approx(context.value, rel=1e-4)
    assert session.feature(ref, sources=False).sources == ()
    assert with_sources(session, session.feature(ref, sources=False)).sources == shown.sources


def _position(session, texts, context):
    """The context's token in its document; rows of the index are documents here."""
    ids = session.tokens(texts[context.document]).ids[0].numpy()
    window = context.token_ids
    starts = [
        i
        for i in range(len(ids) - len(window) + 1)
        if np.array_equal(ids[i : i + len(window)], window)
    ]
    return starts[0] + context.peak


def test_what_cannot_be_attributed_is_refused(session, tmp_path):
    sae = sae_fixtures.write_sae(tmp_path / "stream", "topk", d_in=32, d_sae=24)
    session.attach(sae, name="stream")
    with pytest.raises(SaeError, match=r"topk SAE on resid_post\.1"):
        attribute(session, "stream/0", TEXT)
    with pytest.raises(InputError, match="outside a text"):
        attribute(session, "attn_out.1/0", TEXT, 99)
    assert session.feature("stream/0").sources == ()
