"""Published SAEs by release and id, from a hub cache the tests write, with no network."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
import yaml
from sae_fixtures import activations, make_module, save_sae
from safetensors.torch import save_file

from workbench.errors import SaeError
from workbench.saes import SaeStore, find_registered, load_sae
from workbench.saes.lookup import parse_query, parse_width, releases

D_IN, D_SAE = 32, 64


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty hub cache; offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def place(hub: Path, repo: str, name: str) -> Path:
    path = checkpoints.hub_folder(hub, repo) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def numbers(**shapes) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def saelens(release: str, sae_id: str):
    """What SAELens itself makes of the same cache."""
    from sae_lens import SAE

    return SAE.from_pretrained(release, sae_id, device="cpu")


def gpt2_res_jb(hub: Path, *, layers=(1,)) -> None:
    """Files of the release's repository, in the layout of before SAELens 6."""
    for layer in layers:
        hook = f"blocks.{layer}.hook_resid_pre"
        folder = place(hub, "jbloom/GPT2-Small-SAEs-Reformatted", f"{hook}/cfg.json").parent
        module = make_module("standard", d_in=D_IN, d_sae=D_SAE, seed=layer)
        save_sae(folder, module, log_sparsity=torch.full((D_SAE,), -2.0))
        old = {
            "model_name": "gpt2-small",
            "hook_point": hook,
            "hook_point_layer": layer,
            "d_in": D_IN,
            "d_sae": D_SAE,
            "dtype": "torch.float32",
            "device": "mps",
            "prepend_bos": True,
        }
        (folder / "cfg.json").write_text(json.dumps(old))


def same_as_saelens(release, sae_id, width, **options):
    sae = load_sae(release, sae_id)
    module = saelens(release, sae_id)
    x = activations(70, width)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    assert torch.allclose(sae.reconstruct(x), module(x), atol=1e-4, rtol=1e-4)
    return sae


@pytest.mark.filterwarnings("ignore:.*non-empty model_from_pretrained_kwargs")
def test_saelens_release(hub):
    gpt2_res_jb(hub)
    sae = same_as_saelens("gpt2-small-res-jb", "blocks.1.hook_resid_pre", D_IN)
    assert sae.config.hook == "blocks.1.hook_resid_pre"
    assert sae.config.centre_writing_weights
    assert sae.config.metadata["neuronpedia_id"] == "gpt2-small/1-res-jb"
    assert np.allclose(sae.density(), 0.01)
    assert sae.source.expected_l0 == 10
    commit = sae.fingerprint
    assert load_sae("gpt2-small-res-jb/blocks.1.hook_resid_pre").fingerprint == commit


@pytest.mark.filterwarnings("ignore:.*were left out")
def test_a_whole_release_attaches_what_is_cached(hub, tmp_path):
    gpt2_res_jb(hub, layers=(0, 1, 2))
    checkpoints.write_hub("gpt2", hub, "gpt2")
    from workbench.model import load

    store = SaeStore(load("gpt2", device="cpu"))
    with pytest.warns(UserWarning, match="10 of 13 SAEs of gpt2-small-res-jb are not in the cache"):
        store.attach("gpt2-small-res-jb")
    # The input of block 2 is the output of block 1 under another name; each keeps its own.
    assert list(store) == ["resid_pre.0", "resid_pre.1", "resid_pre.2"]
    assert all(sae.centred for sae in store.values())
    assert store.resident == ()
    x = store.model.run("the cat sat", capture=["resid_pre.1"])["resid_pre.1"]
    assert store["resid_pre.1"].encode(x).nnz > 0


def test_gemma_scope_release(hub):
    path = place(hub, "google/gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6/params.npz")
    parts = numbers(
        W_enc=(2304, 4096), W_dec=(4096, 2304), b_enc=(4096,), b_dec=(2304,), threshold=(4096,)
    )
    np.savez(path, **{name: value.numpy() for name, value in parts.items()})
    sae = same_as_saelens("gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6", 2304)
    assert (sae.architecture, sae.config.hook) == ("jumprelu", "hook_embed")


def test_gemma_scope_weights_of_another_size(hub):
    path = place(hub, "google/gemma-scope-2b-pt-res", "layer_12/width_16k/average_l0_82/params.npz")
    parts = numbers(W_enc=(8, 16), W_dec=(16, 8), b_enc=(16,), b_dec=(8,), threshold=(16,))
    np.savez(path, **{name: value.numpy() for name, value in parts.items()})
    sae = load_sae("gemma-scope-2b-pt-res, layer 12, width 16k, L0 nearest 80")
    assert sae.source.short_id == "layer_12/width_16k/average_l0_82"
    with pytest.raises(SaeError, match=r"'W_enc' has shape \(8, 16\), .* \(2304, 16384\)"):
        sae.load()


def test_gemma_scope_two_needs_no_network(hub):
    path = place(
        hub,
        "google/gemma-scope-2-270m-pt",
        "transcoder_all/layer_0_width_16k_l0_small_affine/params.safetensors",
    )
    parts = numbers(
        w_enc=(D_IN, D_SAE),
        w_dec=(D_SAE, D_IN),
        b_enc=(D_SAE,),
        b_dec=(D_IN,),
        affine_skip_connection=(D_IN, D_IN),
    )
    save_file({**parts, "threshold": torch.full((D_SAE,), 0.5)}, path)
    config = {
        "architecture": "jump_relu",
        "model_name": "gemma-v3-270m-pt",
        "hf_hook_point_in": "model.layers.0.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.0.post_feedforward_layernorm.output",
        "affine_connection": True,
    }
    (path.parent / "config.json").write_text(json.dumps(config))
    sae = load_sae("gemma-scope-2-270m-pt-transcoders-all", "layer_0_width_16k_l0_small_affine")
    assert sae.architecture == "jumprelu_skip_transcoder"
    x = activations(70, D_IN)
    pre = x @ parts["w_enc"] + parts["b_enc"]
    code = torch.relu(pre) * (pre > 0.5)
    assert torch.allclose(sae.encode(x).to_dense(), code, atol=1e-5)
    skip = x @ parts["affine_skip_connection"]
    expected = code @ parts["w_dec"] + parts["b_dec"] + skip
    assert torch.allclose(sae.reconstruct(x), expected, atol=1e-3)


def dictionary(hub, state=None) -> None:
    path = place(
        hub,
        "canrager/saebench_gemma-2-2b_width-2pow12_date-1109",
        "gemma-2-2b_topk_width-2pow12_date-1109/resid_post_layer_12/trainer_0/ae.pt",
    )
    linear = numbers(
        **{
            "encoder.weight": (D_SAE, D_IN),
            "encoder.bias": (D_SAE,),
            "decoder.weight": (D_IN, D_SAE),
            "b_dec": (D_IN,),
        }
    )
    torch.save({**linear, **(state or {})}, path)
    trainer = {
        "dict_class": "AutoEncoderTopK",
        "k": 8,
        "layer": 12,
        "activation_dim": D_IN,
        "dict_size": D_SAE,
        "lm_name": "google/gemma-2-2b",
    }
    (path.parent / "config.json").write_text(
        json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}})
    )


DICTIONARY = (
    "sae_bench_gemma-2-2b_topk_width-2pow12_date-1109",
    "blocks.12.hook_resid_post__trainer_0",
)


def test_dictionary_learning_release(hub):
    dictionary(hub)
    sae = same_as_saelens(*DICTIONARY, D_IN)
    assert (sae.architecture, sae.config.hook) == ("topk", "blocks.12.hook_resid_post")


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_published_checkpoint_with_code_is_refused_and_not_run(hub, tmp_path):
    dictionary(hub, {"extra": Canary(tmp_path / "ran")})
    with pytest.raises(SaeError, match="would unpickle more than tensors"):
        load_sae(*DICTIONARY).load()
    assert not (tmp_path / "ran").exists()


def test_llama_scope_release(hub):
    name = "Llama3_1-8B-Base-L0R-8x"
    path = place(hub, "fnlp/Llama3_1-8B-Base-LXR-8x", f"{name}/checkpoints/final.safetensors")
    linear = numbers(
        **{
            "encoder.weight": (D_SAE, D_IN),
            "encoder.bias": (D_SAE,),
            "decoder.weight": (D_IN, D_SAE),
            "decoder.bias": (D_IN,),
        }
    )
    save_file(linear, path)
    settings = {
        "d_model": D_IN,
        "d_sae": D_SAE,
        "dataset_average_activation_norm": {"in": 7.0, "out": 7.0},
        "jump_relu_threshold": 0.4,
        "hook_point_in": "blocks.0.hook_resid_post",
    }
    (path.parents[1] / "hyperparams.json").write_text(json.dumps(settings))
    same_as_saelens("llama_scope_lxr_8x", "l0r_8x", D_IN)


def test_qwen_transcoder_release(hub):
    repo = "mwhanna/qwen3-0.6b-transcoders-lowl0"
    path = place(hub, repo, "layer_3.safetensors")
    save_file(
        numbers(W_enc=(D_SAE, D_IN), W_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,)), path
    )
    wandb = {"d_model": D_IN, "d_feature": D_SAE, "batch_size": 64}
    values = {key: {"value": value} for key, value in wandb.items()}
    (path.parent / "wandb-config.yaml").write_text(yaml.safe_dump(values))
    (path.parent / "config.yaml").write_text("model_name: Qwen/Qwen3-0.6B\n")
    sae = same_as_saelens("mwhanna-qwen3-0.6b-transcoders-lowl0", "layer_3", D_IN)
    assert (sae.config.hook, sae.config.hook_out) == (
        "blocks.3.mlp.hook_in",
        "blocks.3.hook_mlp_out",
    )


def test_hook_z_release(hub):
    repo = "ckkissane/attn-saes-gpt2-small-all-layers"
    entry = find_registered("gpt2-small-hook-z-kk", layer=0)[0]
    path = place(hub, repo, entry.path)
    parts = numbers(W_enc=(D_IN, D_SAE), W_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,))
    torch.save(parts, path)
    config = {"act_size": D_IN, "dict_size": D_SAE, "act_name": "blocks.0.attn.hook_z"}
    path.with_name(path.name.split(".pt")[0] + "_cfg.json").write_text(json.dumps(config))
    sae = load_sae("gpt2-small-hook-z-kk", "blocks.0.hook_z")
    module = saelens("gpt2-small-hook-z-kk", "blocks.0.hook_z")
    x = activations(3, 30, 4, 8)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))
    assert torch.allclose(sae.reconstruct(x), module(x), atol=1e-4)


def test_a_repository_outside_the_registry(hub):
    folder = place(hub, "someone/saes", "mine/layer_1/cfg.json").parent
    module = make_module("topk", d_in=D_IN, d_sae=D_SAE)
    save_sae(folder, module)
    sae = load_sae("someone/saes", "mine/layer_1")
    x = activations(70, D_IN)
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))


def test_without_network_and_cache_the_error_says_what_to_do(hub):
    with pytest.raises(
        SaeError,
        match=r"(?s)not in the cache .*hub, and offline mode is on.* `hf download jbloom/GPT2",
    ):
        load_sae("gpt2-small-res-jb", "blocks.1.hook_resid_pre")
    with pytest.raises(SaeError, match="not in the cache"):
        SaeStore().attach("gpt2-small-res-jb")
    # A configuration may be known while the weights are not there.
    gpt2_res_jb(hub)
    weights = place(
        hub,
        "jbloom/GPT2-Small-SAEs-Reformatted",
        "blocks.1.hook_resid_pre/sae_weights.safetensors",
    )
    weights.unlink()
    with pytest.raises(SaeError, match="not in the cache"):
        load_sae("gpt2-small-res-jb", "blocks.1.hook_resid_pre").load()


def test_a_truncated_download_is_refused(hub):
    gpt2_res_jb(hub)
    weights = place(
        hub,
        "jbloom/GPT2-Small-SAEs-Reformatted",
        "blocks.1.hook_resid_pre/sae_weights.safetensors",
    )
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SaeError, match="truncated"):
        load_sae("gpt2-small-res-jb", "blocks.1.hook_resid_pre").load()


def test_published_weights_that_are_no_numbers(hub):
    gpt2_res_jb(hub)
    folder = place(
        hub, "jbloom/GPT2-Small-SAEs-Reformatted", "blocks.1.hook_resid_pre/cfg.json"
    ).parent
    module = make_module("standard", d_in=D_IN, d_sae=D_SAE)
    with torch.no_grad():
        module.b_enc[0] = float("nan")
    config = (folder / "cfg.json").read_text()
    save_sae(folder, module)
    (folder / "cfg.json").write_text(config)
    with pytest.raises(SaeError, match="'b_enc' has 1 of 64 entries"):
        load_sae("gpt2-small-res-jb", "blocks.1.hook_resid_pre").load()


# -- finding ----------------------------------------------------------------------------------


def test_every_entry_has_a_site_and_a_layer():
    entries = [entry for release in releases().values() for entry in release]
    assert len(releases()) >= 170
    assert len(entries) >= 13_857
    assert all(entry.site for entry in entries)
    assert all(entry.layer is not None for entry in entries if entry.site != "embed")


def test_lookup_by_layer_width_and_l0():
    found = find_registered("gemma-scope-2b-pt-res", layer=12, width="16k", l0=80)
    assert [entry.l0 for entry in found] == [82, 41, 22, 176, 445]
    assert found[0].sae_id == "layer_12/width_16k/average_l0_82"
    assert str(found[0]) == "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82"
    by_hook = find_registered(
        model="gemma-2-2b", site="blocks.12.hook_resid_post", width=16384, l0=80
    )
    assert by_hook[0].sae_id == found[0].sae_id
    assert all(entry.site == "resid_post.12" for entry in by_hook)
    assert {entry.width for entry in find_registered("llama_scope_lxm_8x")} == {32768}


@pytest.mark.parametrize(
    ("release", "site"),
    [
        ("gpt2-small-res-jb", "resid_pre.5"),
        ("gpt2-small-attn-out-v5-32k", "attn_out.5"),
        ("gpt2-small-hook-z-kk", "z.5"),
        ("gemma-scope-2b-pt-att", "z.5"),
        ("gemma-scope-2b-pt-mlp", "mlp_out.5"),
        ("gemma-scope-2b-pt-transcoders", "mlp_in.5"),
        ("gemma-scope-2-1b-pt-att-all", "z.5"),
        ("llama_scope_lxa_8x", "attn_out.5"),
        ("llama_scope_lxr_32x", "resid_post.5"),
        ("qwen-scope-3-8b-base-w64k-l50", "resid_post.5"),
        ("mwhanna-qwen3-4b-transcoders", "mlp_in.5"),
        ("pythia-70m-deduped-res-sm", "resid_post.5"),
    ],
)
def test_sites_of_releases(release, site):
    assert find_registered(release, site=site)[0].site == site


def test_sites_agree_with_the_converters(hub):
    """Where SAELens derives the configuration from names alone, the lookup must agree with it."""
    from workbench.model.sites import short_name
    from workbench.saes.formats.registry import describe

    for release in ("gemma-scope-2b-pt-res", "gemma-scope-9b-pt-att", "gemma-scope-2b-pt-mlp"):
        for entry in releases()[release][::40]:
            source = describe(entry)
            assert short_name(source.config.hook) == entry.site
            assert source.config.d_sae == entry.width


@pytest.mark.parametrize(
    ("width", "sizes"),
    [
        (16384, {16384}),
        ("16k", {16000, 16384}),
        ("65k", {65000, 66560, 65536}),
        ("1m", {10**6, 1 << 20}),
    ],
)
def test_widths(width, sizes):
    assert parse_width(width) == sizes


def test_what_is_not_found_is_explained():
    with pytest.raises(SaeError, match=r"did you mean 'gemma-scope-2b-pt-res'"):
        find_registered("gemma-scope-2b-pt-ress")
    with pytest.raises(SaeError, match=r"no SAE with layer 99; there are: 0, 1, 2"):
        find_registered("gemma-scope-2b-pt-res", layer=99)
    with pytest.raises(SaeError, match=r"no SAE with width '3k'; there are: 16384, 32768"):
        find_registered("gemma-scope-2b-pt-res", layer=12, width="3k")
    with pytest.raises(SaeError, match=r"unknown site 'resid_pre.12'.*'resid_post.12'"):
        find_registered("gemma-scope-2b-pt-res", site="resid_pre.12")
    with pytest.raises(SaeError, match=r"unknown model 'gemma-2-3b'.*'gemma-2-2b'"):
        find_registered(model="gemma-2-3b")
    with pytest.raises(SaeError, match=r"part 'layr 3' .* is not understood"):
        parse_query("gemma-scope-2b-pt-res, layr 3")
    with pytest.raises(SaeError, match=r"12 SAEs fit .*add a layer"):
        parse_query("gpt2-small-res-jb, site resid_pre")
    with pytest.raises(
        SaeError, match=r"has no SAE 'blocks.1.hook_resid_pra'; nearest .*resid_pre"
    ):
        load_sae("gpt2-small-res-jb", "blocks.1.hook_resid_pra")
    with pytest.raises(SaeError, match=r"neither a path here nor a release .* 'gpt2-small-res-jb'"):
        load_sae("gpt2-small-res-jbb")


def test_looking_up_imports_no_saelens():
    import subprocess
    import sys

    code = (
        "import sys; from workbench.saes import find_registered;"
        "find_registered('gpt2-small-res-jb', layer=3); assert 'sae_lens' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
