"""Layouts of other tools become SAELens modules that compute what the tool computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_fixtures import activations, make_module
from torch.nn.functional import relu

from workbench.errors import InputError, SaeError
from workbench.saes import load_sae
from workbench.saes.formats.names import hook_from_path, layer_in, model_from_path
from workbench.saes.load import find_sources

D_IN, D_SAE = 8, 24


def numbers(**shapes):
    """Random float32 tensors of given shapes."""
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=generator) * 0.5 for name, shape in shapes.items()}


def same_codes(sae, expected, x):
    """Codes agree in support and value (products may round differently in another layout)."""
    assert (expected != 0).any()
    assert (expected == 0).any()
    assert torch.allclose(sae.encode(x).to_dense(), expected, atol=1e-5)


# -- Gemma Scope ------------------------------------------------------------------------------


def gemma(folder: Path, *, lower=False, d_out=D_IN, **extra) -> dict[str, torch.Tensor]:
    parts = numbers(
        W_enc=(D_IN, D_SAE),
        W_dec=(D_SAE, d_out),
        b_enc=(D_SAE,),
        b_dec=(d_out,),
        threshold=(D_SAE,),
    )
    parts["threshold"] = parts["threshold"].abs()
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        ("w_" + key[2:] if lower and key.startswith("W_") else key): value.numpy()
        for key, value in parts.items()
    }
    np.savez(folder / "params.npz", **arrays, **extra)
    return parts


@pytest.mark.parametrize("lower", [False, True])
def test_gemma_scope_archive(tmp_path, lower):
    folder = tmp_path / "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82"
    parts = gemma(folder, lower=lower)
    x = activations(70, D_IN)
    pre = x @ parts["W_enc"] + parts["b_enc"]
    expected = relu(pre) * (pre > parts["threshold"])
    for where in (folder, folder / "params.npz"):
        sae = load_sae(where)
        assert (sae.architecture, sae.config.model_name) == ("jumprelu", "gemma-2-2b")
        assert sae.config.hook == "blocks.12.hook_resid_post"
        assert sae.source.expected_l0 == 82
        same_codes(sae, expected, x)
        reconstruction = expected @ parts["W_dec"] + parts["b_dec"]
        assert torch.allclose(sae.reconstruct(x), reconstruction, atol=1e-5)


def test_gemma_scope_kinds(tmp_path):
    def load(release, path):
        folder = tmp_path / release / path
        gemma(folder)
        return load_sae(folder)

    attention = load("gemma-scope-2b-pt-att", "layer_3/width_16k/average_l0_9")
    assert attention.config.hook == "blocks.3.attn.hook_z"
    assert load("gemma-scope-9b-pt-mlp", "layer_3/width_16k/a").config.hook == (
        "blocks.3.hook_mlp_out"
    )
    embedding = load("gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6")
    assert embedding.config.hook == "hook_embed"
    folder = tmp_path / "gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_9"
    gemma(folder, d_out=6)
    transcoder = load_sae(folder)
    assert transcoder.architecture == "jumprelu_transcoder"
    assert (transcoder.d_in, transcoder.d_out) == (D_IN, 6)
    assert transcoder.config.hook_out == "blocks.3.hook_mlp_out"


def test_gemma_scope_embedding_is_rescaled(tmp_path):
    folder = tmp_path / "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"
    parts = gemma(folder)
    x = activations(70, D_IN)
    pre = (x / D_IN**0.5) @ parts["W_enc"] + parts["b_enc"]
    expected = relu(pre) * (pre > parts["threshold"])
    sae = load_sae(folder)
    same_codes(sae, expected, x)
    reconstruction = expected @ parts["W_dec"] * D_IN**0.5 + parts["b_dec"]
    assert torch.allclose(sae.reconstruct(x), reconstruction, atol=1e-4)


def test_gemma_scope_without_an_array(tmp_path):
    np.savez(tmp_path / "params.npz", W_enc=np.zeros((4, 8), np.float32))
    with pytest.raises(SaeError, match=r"expected arrays .* got \{'W_enc': \(4, 8\)\}"):
        load_sae(tmp_path)


# -- dictionary_learning ----------------------------------------------------------------------


def write_dictionary(folder: Path, state, trainer=None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    if trainer is not None:
        (folder / "config.json").write_text(json.dumps({"trainer": trainer}))
    return folder


LINEAR = {
    "encoder.weight": (D_SAE, D_IN),
    "encoder.bias": (D_SAE,),
    "decoder.weight": (D_IN, D_SAE),
}


def test_autoencoder_of_feature_circuits(tmp_path):
    state = numbers(bias=(D_IN,), **LINEAR)
    folder = tmp_path / "pythia-70m-deduped/attn_out_layer3/10_32768"
    sae = load_sae(write_dictionary(folder, state))
    assert sae.config.hook == "blocks.3.hook_attn_out"
    assert sae.config.model_name == "pythia-70m-deduped"
    x = activations(70, D_IN)
    code = relu((x - state["bias"]) @ state["encoder.weight"].T + state["encoder.bias"])
    norms = state["decoder.weight"].norm(dim=0)
    # Decoder columns get unit norm; the scale moves into the code and the function stays.
    same_codes(sae, code * norms, x)
    assert torch.allclose(sae.decoder_rows().norm(dim=1), torch.ones(D_SAE), atol=1e-5)
    expected = code @ state["decoder.weight"].T + state["bias"]
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-5)


def test_autoencoder_with_unit_columns_is_left_alone(tmp_path):
    state = numbers(bias=(D_IN,), **LINEAR)
    state["decoder.weight"] /= state["decoder.weight"].norm(dim=0)
    sae = load_sae(write_dictionary(tmp_path / "embed", state))
    assert sae.config.hook == "hook_embed"
    assert torch.equal(sae.encoder_columns(), state["encoder.weight"].T)


def test_autoencoder_with_a_decoder_bias_does_not_subtract_it(tmp_path):
    state = numbers(**LINEAR, **{"decoder.bias": (D_IN,)})
    sae = load_sae(write_dictionary(tmp_path / "resid_out_layer0", state))
    x = activations(70, D_IN)
    code = relu(x @ state["encoder.weight"].T + state["encoder.bias"])
    same_codes(sae, code, x)
    expected = code @ state["decoder.weight"].T + state["decoder.bias"]
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-5)


def test_gated_dictionary(tmp_path):
    state = numbers(
        decoder_bias=(D_IN,),
        r_mag=(D_SAE,),
        gate_bias=(D_SAE,),
        mag_bias=(D_SAE,),
        **{name: LINEAR[name] for name in ("encoder.weight", "decoder.weight")},
    )
    sae = load_sae(write_dictionary(tmp_path / "mlp_out_layer2", state))
    assert (sae.architecture, sae.config.hook) == ("gated", "blocks.2.hook_mlp_out")
    x = activations(70, D_IN)
    shared = (x - state["decoder_bias"]) @ state["encoder.weight"].T
    gate = shared + state["gate_bias"] > 0
    code = gate * relu(state["r_mag"].exp() * shared + state["mag_bias"])
    same_codes(sae, code, x)


def test_top_k_and_batch_top_k_are_told_apart_by_the_config(tmp_path):
    state = {
        **numbers(b_dec=(D_IN,), **LINEAR),
        "k": torch.tensor(4),
        "threshold": torch.tensor(0.7),
    }
    x = activations(70, D_IN)
    pre = (x - state["b_dec"]) @ state["encoder.weight"].T + state["encoder.bias"]
    top = write_dictionary(
        tmp_path / "top", state, {"dict_class": "AutoEncoderTopK", "k": 4, "layer": 5}
    )
    sae = load_sae(top)
    assert (sae.architecture, sae.config.hook) == ("topk", "blocks.5.hook_resid_post")
    values, indices = relu(pre).topk(4)
    same_codes(sae, torch.zeros_like(pre).scatter(-1, indices, values), x)
    batch = write_dictionary(
        tmp_path / "batch",
        state,
        {"dict_class": "BatchTopKSAE", "k": 4, "submodule_name": "mlp_out_layer_1"},
    )
    sae = load_sae(batch)
    assert (sae.architecture, sae.config.hook) == ("jumprelu", "blocks.1.hook_mlp_out")
    same_codes(sae, relu(pre) * (relu(pre) > 0.7), x)
    with pytest.raises(SaeError, match=r"may be a top-k or a batch-top-k .* config\.json"):
        load_sae(write_dictionary(tmp_path / "which", state))
    with pytest.raises(SaeError, match=r"did you mean 'BatchTopKSAE'"):
        load_sae(write_dictionary(tmp_path / "odd", state, {"dict_class": "BatchTopK"}))
    unset = {**state, "threshold": torch.tensor(-1.0)}
    with pytest.raises(SaeError, match="never set"):
        load_sae(write_dictionary(tmp_path / "unset", unset, {"dict_class": "BatchTopKSAE"}))


def test_jumprelu_and_matryoshka_dictionaries(tmp_path):
    state = numbers(W_enc=(D_IN, D_SAE), W_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,))
    x = activations(70, D_IN)
    jump = load_sae(
        write_dictionary(tmp_path / "jump", {**state, "threshold": torch.full((D_SAE,), 0.6)})
    )
    pre = x @ state["W_enc"] + state["b_enc"]
    same_codes(jump, relu(pre) * (pre > 0.6), x)
    nested = load_sae(
        write_dictionary(tmp_path / "nested", {**state, "threshold": torch.tensor(0.6)})
    )
    pre = (x - state["b_dec"]) @ state["W_enc"] + state["b_enc"]
    same_codes(nested, relu(pre) * (pre > 0.6), x)


def test_a_dictionary_without_a_tensor(tmp_path):
    state = numbers(bias=(D_IN,), **LINEAR)
    del state["encoder.weight"]
    with pytest.raises(SaeError, match=r"needs tensor 'encoder.weight' with 2 axes, got None"):
        load_sae(write_dictionary(tmp_path, state))
    torch.save(torch.zeros(3), tmp_path / "ae.pt")
    with pytest.raises(SaeError, match="expected a dictionary of tensors, got Tensor"):
        load_sae(tmp_path)


def test_a_tree_of_dictionaries(tmp_path):
    root = tmp_path / "pythia-70m-deduped"
    for name in ("embed", "attn_out_layer0", "mlp_out_layer0", "resid_out_layer0"):
        write_dictionary(root / name / "10_32768", numbers(bias=(D_IN,), **LINEAR))
    hooks = {source.config.hook for source in find_sources(root)}
    assert hooks == {
        "hook_embed",
        "blocks.0.hook_attn_out",
        "blocks.0.hook_mlp_out",
        "blocks.0.hook_resid_post",
    }
    with pytest.raises(SaeError, match="holds 4 SAEs"):
        load_sae(root)


# -- BatchTopK --------------------------------------------------------------------------------


def batch_file(path: Path, *, top=None, **cfg):
    state = numbers(W_enc=(D_IN, D_SAE), W_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,))
    data = {"state_dict": state, "cfg": {"model_name": "gpt2-small", "top_k": 4, **cfg}}
    torch.save({**data, **(top or {})}, path)
    return state


def test_batch_top_k_with_threshold_and_mean(tmp_path):
    path = tmp_path / "sae.pt"
    mean = torch.linspace(-1, 1, D_IN)
    state = batch_file(
        path,
        top={"threshold": 0.8, "act_mean": mean},
        sae_type="batchtopk",
        hook_point="blocks.8.hook_resid_pre",
    )
    sae = load_sae(path)
    assert (sae.architecture, sae.config.hook) == ("jumprelu", "blocks.8.hook_resid_pre")
    x = activations(70, D_IN)
    pre = relu((x - mean - state["b_dec"]) @ state["W_enc"])
    code = pre * (pre > 0.8)
    same_codes(sae, code, x)
    expected = code @ state["W_dec"] + state["b_dec"] + mean
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-5)
    # Found in a folder, too.
    assert load_sae(tmp_path).config.hook == sae.config.hook


def test_batch_top_k_with_unit_norm_input(tmp_path):
    path = tmp_path / "sae.pt"
    state = batch_file(path, sae_type="topk", input_unit_norm=True, layer=2, site="resid_post")
    sae = load_sae(path)
    assert (sae.architecture, sae.config.hook) == ("topk", "blocks.2.hook_resid_post")
    x = 5 * activations(70, D_IN) + 1
    mean = x.mean(-1, keepdim=True)
    std = (x - mean).std(-1, keepdim=True)
    pre = relu(((x - mean) / (std + 1e-5) - state["b_dec"]) @ state["W_enc"])
    values, indices = pre.topk(4)
    code = torch.zeros_like(pre).scatter(-1, indices, values)
    same_codes(sae, code, x)
    expected = (code @ state["W_dec"] + state["b_dec"]) * std + mean
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-4)


def test_batch_top_k_that_cannot_infer(tmp_path):
    path = tmp_path / "sae.pt"
    batch_file(path, sae_type="batchtopk")
    with pytest.raises(SaeError, match="needs a threshold for inference"):
        load_sae(path)
    batch_file(path, top={"threshold": torch.zeros(3)}, sae_type="batchtopk")
    with pytest.raises(SaeError, match="threshold has 3 entries, expected 1 or 24"):
        load_sae(path)
    batch_file(path, sae_type="batchtop")
    with pytest.raises(SaeError, match="did you mean 'batchtopk'"):
        load_sae(path)
    batch_file(path, top={"act_mean": torch.zeros(8)}, sae_type="topk", input_unit_norm=True)
    with pytest.raises(SaeError, match="applied first is not recorded"):
        load_sae(path)


def test_vanilla_uses_the_encoder_bias(tmp_path):
    path = tmp_path / "sae.pt"
    state = batch_file(path, sae_type="vanilla")
    x = activations(70, D_IN)
    expected = relu((x - state["b_dec"]) @ state["W_enc"] + state["b_enc"])
    same_codes(load_sae(path), expected, x)


# -- the rest ---------------------------------------------------------------------------------


def test_a_module_in_memory_is_shared_and_left_alone():
    module = make_module("topk", d_in=D_IN, d_sae=D_SAE)
    before = [parameter.requires_grad for parameter in module.parameters()]
    sae = load_sae(module)
    x = activations(70, D_IN)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    assert [parameter.requires_grad for parameter in module.parameters()] == before
    with sae.loaded() as ours:
        assert ours.W_dec.data_ptr() == module.W_dec.data_ptr()
        assert ours is not module
    with torch.no_grad():
        module.W_dec[0, 0] += 1
    assert sae.fingerprint != load_sae(make_module("topk", d_in=D_IN, d_sae=D_SAE)).fingerprint


def test_a_training_module_is_refused():
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    training = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=8, d_sae=16, k=2))
    with pytest.raises(SaeError, match="training form"):
        load_sae(training)


@pytest.mark.parametrize("value", [3, None, {"a": 1}, ("a", "b", "c")])
def test_arguments_that_cannot_be_saes(value):
    with pytest.raises(InputError, match="expected a path, a registry release"):
        load_sae(value)


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("resid_out_layer11", "blocks.11.hook_resid_post"),
        ("resid_post_layer_3", "blocks.3.hook_resid_post"),
        ("attention_out_layer_4", "blocks.4.hook_attn_out"),
        ("mlp_out_layer0", "blocks.0.hook_mlp_out"),
        ("resid_pre_layer_2", "blocks.2.hook_resid_pre"),
        ("embed", "hook_embed"),
        ("results", None),
        ("layer_4", None),
    ],
)
def test_sites_read_from_names(name, hook):
    assert hook_from_path(Path(name), depth=0) == hook


def test_names_of_layers_and_models():
    assert layer_in("layers.12") == 12
    assert layer_in("player") is None
    assert model_from_path(Path("saes/pythia-70m-deduped/embed/x")) == "pythia-70m-deduped"
    assert model_from_path(Path("a/b")) is None
