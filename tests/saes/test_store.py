"""The store: names, sites, models, memory."""

from __future__ import annotations

import threading

import checkpoints
import pytest
import torch
from sae_fixtures import D_MODEL, activations, make_module, save_sae, write_sae

from workbench.errors import InputError, SaeError
from workbench.model import load
from workbench.saes import SaeStore, load_sae

SIZES = {"d_in": D_MODEL, "d_sae": 64}


@pytest.fixture
def folders(tmp_path):
    """Three SAEs at three sites."""
    return {
        f"resid_post.{layer}": write_sae(
            tmp_path / "saes" / f"resid_post.{layer}",
            "topk",
            hook=f"blocks.{layer}.hook_resid_post",
            seed=layer,
            **SIZES,
        )
        for layer in range(3)
    }


def test_a_folder_of_saes_keeps_its_names(tiny_model, folders, tmp_path):
    write_sae(tmp_path / "saes/resid_post.2-bad", "topk", hook="blocks.2.hook_resid_post", **SIZES)
    store = SaeStore(tiny_model)
    attached = store.attach(tmp_path / "saes")
    assert list(store) == [*folders, "resid_post.2-bad"]
    assert len(attached) == len(store) == 4
    assert store["resid_post.2-bad"].site == store["resid_post.2"].site
    assert [sae.name for sae in store.at("blocks.2.hook_resid_post")] == [
        "resid_post.2",
        "resid_post.2-bad",
    ]


def test_single_saes_are_named_after_their_sites(tiny_model, folders, tmp_path):
    store = SaeStore(tiny_model)
    second = write_sae(tmp_path / "wide", "topk", hook="blocks.1.hook_resid_post", **SIZES)
    third = write_sae(tmp_path / "x/wide", "topk", hook="blocks.1.hook_resid_post", **SIZES)
    for folder in (folders["resid_post.1"], second, third):
        store.attach(folder)
    assert list(store) == ["resid_post.1", "resid_post.1#wide", "resid_post.1#wide~2"]
    store.attach(second, name="mine")
    assert store["mine"].source.identifier == str(second)
    with pytest.raises(InputError, match="'mine' is attached already"):
        store.attach(second, name="mine")
    store.attach({"one": folders["resid_post.0"], "two": folders["resid_post.2"]})
    assert list(store)[-2:] == ["one", "two"]


def test_lookup_by_name_and_by_site(tiny_model, folders):
    store = SaeStore(tiny_model)
    store.attach({"first": folders["resid_post.0"]})
    for name in ("first", "resid_post.0", "blocks.0.hook_resid_post", "blocks.0.hook_out"):
        assert store[name].name == "first"
        assert name in store
    assert "resid_post.1" not in store
    assert store.get("resid_post.1") is None
    with pytest.raises(SaeError, match=r"unknown SAE 'fist': did you mean 'first'"):
        store["fist"]
    store.detach("first")
    assert len(store) == 0
    with pytest.raises(SaeError, match="there are none here"):
        store["first"]


def test_attaching_reads_no_weights(tiny_model, folders):
    store = SaeStore(tiny_model)
    store.attach(next(iter(folders.values())).parent)
    assert store.resident == ()
    assert store.nbytes == 0
    store["resid_post.1"].encode(activations(4, D_MODEL))
    assert store.resident == ("resid_post.1",)
    assert store.nbytes == store["resid_post.1"].nbytes
    with store["resid_post.1"].loaded() as module:
        real = sum(parameter.nbytes for parameter in module.parameters())
    assert store.nbytes == real


def test_hundreds_attach_quickly(tiny_model, tmp_path):
    import time

    folder = write_sae(tmp_path / "sae", "topk", hook="blocks.1.hook_resid_post", **SIZES)
    store = SaeStore(tiny_model)
    start = time.perf_counter()
    store.attach({f"sae-{number}": folder for number in range(300)})
    assert time.perf_counter() - start < 10
    assert len(store) == 300
    assert store.nbytes == 0
    assert len(store.to_pandas()) == 300


def test_the_least_recently_used_leave_first(tiny_model, folders):
    store = SaeStore(tiny_model)
    store.attach(next(iter(folders.values())).parent)
    one = store["resid_post.0"].nbytes
    store.budget = 2 * one
    x = activations(4, D_MODEL)
    for name in ("resid_post.0", "resid_post.1", "resid_post.0", "resid_post.2"):
        store[name].encode(x)
    assert store.resident == ("resid_post.0", "resid_post.2")
    assert store.nbytes <= store.budget
    before = store["resid_post.0"].encode(x).to_dense()
    store.budget = one
    assert store.resident == ("resid_post.0",)
    store["resid_post.1"].encode(x)
    assert torch.equal(store["resid_post.0"].encode(x).to_dense(), before)
    assert store.nbytes == one


def test_evicted_weights_are_freed(tiny_model, folders):
    import gc
    import weakref

    store = SaeStore(tiny_model)
    sae = store.attach(folders["resid_post.0"])[0]
    with sae.loaded() as module:
        gone = weakref.ref(module)
    del module
    sae.unload()
    gc.collect()
    assert gone() is None


def test_weights_in_use_stay(tiny_model, folders):
    store = SaeStore(tiny_model)
    store.attach(next(iter(folders.values())).parent)
    store.budget = store["resid_post.0"].nbytes
    with store["resid_post.0"].loaded():
        with pytest.raises(SaeError, match=r"memory budget is .* in use by \['.*resid_post.0'\]"):
            store["resid_post.1"].load()
        store["resid_post.0"].unload()
        assert store.resident == ("resid_post.0",)
    store["resid_post.1"].load()
    assert store.resident == ("resid_post.1",)
    with pytest.raises(SaeError, match="expected a positive number"):
        store.budget = 0


def test_a_budget_too_small_for_one(tiny_model, folders):
    store = SaeStore(tiny_model, budget=100)
    sae = store.attach(folders["resid_post.0"])[0]
    with pytest.raises(SaeError, match="raise the budget"):
        sae.load()


def test_threads_share_one_copy(tiny_model, folders):
    store = SaeStore(tiny_model, budget=3 * (2 * D_MODEL * 64 + 64 + D_MODEL) * 4)
    store.attach(next(iter(folders.values())).parent)
    x = activations(30, D_MODEL)
    expected = {name: store[name].encode(x).to_dense() for name in store}
    store.budget = 2 * store["resid_post.0"].nbytes
    wrong: list[str] = []

    def work(seed):
        for step in range(20):
            name = list(expected)[(seed + step) % 3]
            try:
                if not torch.equal(store[name].encode(x).to_dense(), expected[name]):
                    wrong.append(name)
            except SaeError as error:
                # Two threads may pin both places while a third wants one.
                if "memory budget" not in str(error):
                    wrong.append(str(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.nbytes <= store.budget


def test_normalising_saes_may_be_used_by_several_threads(tmp_path):
    module = make_module("topk", normalize_activations="layer_norm", **SIZES)
    sae = load_sae(save_sae(tmp_path / "sae", module))
    inputs = [scale * activations(200, D_MODEL, seed=scale) for scale in (1, 5, 25)]
    expected = [sae.reconstruct(x) for x in inputs]
    wrong: list[int] = []

    def work(number):
        same = [torch.equal(sae.reconstruct(inputs[number]), expected[number]) for _ in range(50)]
        wrong.extend(number for equal in same if not equal)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_precision_is_the_one_asked_for(tiny_model, folders, dtype):
    store = SaeStore(tiny_model, dtype=dtype)
    sae = store.attach(folders["resid_post.0"])[0]
    acts = sae.encode(activations(64, D_MODEL))
    assert acts.values.dtype == getattr(torch, dtype)
    bytes_each = {"float32": 4, "bfloat16": 2, "float16": 2}[dtype]
    assert store.nbytes == bytes_each * sae.config.n_parameters()
    wide = store.attach(folders["resid_post.1"], dtype="float32")[0]
    assert wide.encode(activations(64, D_MODEL)).values.dtype == torch.float32
    with pytest.raises(SaeError, match="unknown dtype 'float8'"):
        SaeStore(tiny_model, dtype="float8")


def test_saes_that_do_not_fit_the_model(tiny_model, folders, tmp_path):
    store = SaeStore(tiny_model)
    narrow = write_sae(tmp_path / "narrow", "topk", d_in=30, hook="blocks.1.hook_resid_post")
    with pytest.raises(SaeError, match=r"width 30, but resid_post.1 of 'gpt20?' has 32"):
        store.attach(narrow)
    deep = write_sae(tmp_path / "deep", "topk", hook="blocks.7.hook_resid_post", **SIZES)
    with pytest.raises(SaeError, match=r"layer 7 does not exist, expected 0 to 2 \(it was trained"):
        store.attach(deep)
    odd = write_sae(tmp_path / "odd", "topk", hook="blocks.1.hook_resid_pots", **SIZES)
    with pytest.raises(SaeError, match=r"did you mean 'blocks.1.hook_resid_post'"):
        store.attach(odd)
    nowhere = write_sae(tmp_path / "nowhere", "topk", metadata={"hook_name": None}, **SIZES)
    with pytest.raises(SaeError, match="do not say which site"):
        store.attach(nowhere)
    sae = store.attach(nowhere, site="mlp_out.1")[0]
    assert sae.name == "mlp_out.1"
    assert len(store) == 1


def test_attaching_is_all_or_nothing(tiny_model, folders):
    root = folders["resid_post.0"].parent
    write_sae(root / "resid_post.9", "topk", hook="blocks.9.hook_resid_post", **SIZES)
    store = SaeStore(tiny_model)
    with pytest.raises(SaeError, match="layer 9 does not exist"):
        store.attach(root)
    assert len(store) == 0


def test_names_for_many_need_a_mapping(tiny_model, folders):
    store = SaeStore(tiny_model)
    root = folders["resid_post.0"].parent
    with pytest.raises(InputError, match="holds 3 SAEs, but one name"):
        store.attach(root, name="all")
    with pytest.raises(InputError, match="expected one for one name"):
        store.attach({"all": root})
    with pytest.raises(InputError, match="leave out name"):
        store.attach({"one": folders["resid_post.0"]}, name="two")


@pytest.fixture(scope="module")
def hub_model(tmp_path_factory):
    """A tiny model opened under a hub name."""
    from huggingface_hub import constants

    cache = tmp_path_factory.mktemp("hub")
    checkpoints.write_hub("gpt2", cache, "gpt2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield load("gpt2", device="cpu")


@pytest.mark.parametrize("trained", ["gpt2", "gpt2-small", "openai-community/gpt2", "gpt2-medium"])
def test_names_of_the_same_model_pass(hub_model, tmp_path, trained):
    folder = write_sae(
        tmp_path / "sae", "topk", model_name=trained, hook="blocks.1.hook_resid_post", **SIZES
    )
    assert SaeStore(hub_model).attach(folder)[0].name == "resid_post.1"


def test_another_model_is_refused(hub_model, tmp_path):
    folder = write_sae(
        tmp_path / "sae",
        "topk",
        model_name="EleutherAI/pythia-70m",
        hook="blocks.1.hook_resid_post",
        **SIZES,
    )
    store = SaeStore(hub_model)
    with pytest.raises(SaeError, match=r"trained on model 'EleutherAI/pythia-70m', got 'gpt2'"):
        store.attach(folder)
    assert store.attach(folder, check_model=False)


def test_other_weights_are_refused_where_they_are_recorded(tiny_model, tmp_path):
    def write(fingerprint):
        return write_sae(
            tmp_path / fingerprint[:4],
            "topk",
            hook="blocks.1.hook_resid_post",
            metadata={"model_fingerprint": fingerprint},
            **SIZES,
        )

    store = SaeStore(tiny_model)
    assert store.attach(write(tiny_model.fingerprint))
    with pytest.raises(SaeError, match="trained on weights with fingerprint ffff"):
        store.attach(write("ffffffff"))


def test_saes_of_centred_models_see_centred_activations(tiny_model, tmp_path):
    module = make_module(
        "topk",
        hook="blocks.1.hook_resid_post",
        metadata={"model_from_pretrained_kwargs": {"center_writing_weights": True}},
        **SIZES,
    )
    sae = SaeStore(tiny_model).attach(save_sae(tmp_path / "sae", module))[0]
    assert sae.centred
    assert sae.provenance.centred
    x = activations(2, 40, D_MODEL) + 3
    mean = x.mean(-1, keepdim=True)
    assert torch.allclose(sae.encode(x).to_dense(), module.encode(x - mean), atol=1e-5)
    assert torch.allclose(sae.reconstruct(x), module(x - mean) + mean, atol=1e-5)
    # Not attached to a raw model, it is the plain SAE.
    assert torch.equal(load_sae(tmp_path / "sae").encode(x).to_dense(), module.encode(x))


def test_the_table_and_its_html(tiny_model, folders, tmp_path):
    bad = tmp_path / "<img src=x onerror=alert(1)>"
    write_sae(bad, "topk", hook="blocks.0.hook_resid_post", **SIZES)
    store = SaeStore(tiny_model, budget=1 << 20)
    store.attach(folders["resid_post.1"])
    store.attach(bad)
    store["resid_post.1"].load()
    table = store.to_pandas().set_index("name")
    assert table.loc["resid_post.1", "resident"]
    assert table.loc["resid_post.1", "d_sae"] == 64
    assert not table.loc["resid_post.0", "resident"]
    shown = store._repr_html_()
    assert "<img" not in shown
    assert "1 resident" in shown
    assert "2 SAEs" in repr(store)
    assert "not loaded" in repr(store["resid_post.0"])
    store.close()
    assert len(store) == 0
    assert store.nbytes == 0
