"""The demo world's weights can be rebuilt: a tiny training goes through every stage."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open

from workbench.demo import train
from workbench.demo.tokenizer import build_tokenizer
from workbench.demo.training.activations import activation_batches
from workbench.demo.training.feed import CorpusFeed
from workbench.demo.training.language_model import (
    document_mask,
    packed_loss,
    train_language_model,
    warmup_cosine,
)
from workbench.demo.training.saes import Scaling, build_sae, train_saes
from workbench.demo.training.settings import CorpusSettings, full_settings, sae_plans
from workbench.demo.training.sites import (
    read_sites,
    replaced_site,
    site_names,
    site_of_hook,
    transformer_lens_hook,
)
from workbench.errors import InputError, SiteError


def test_model_has_learned_something(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    rows = torch.from_numpy(np.load(tiny_assets / "rows.npy")[:40].astype(np.int64))
    with torch.no_grad():
        logits = model(input_ids=rows, attention_mask=document_mask(rows, 1)).logits
    loss = packed_loss(logits, rows, bos=1, pad=0)
    assert loss < 0.8 * math.log(model.config.vocab_size)


def test_model_is_stored_as_float16_and_opens_as_float32(tiny_assets) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with safe_open(tiny_assets / "model" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    model = AutoModelForCausalLM.from_pretrained(tiny_assets / "model")
    assert model.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(tiny_assets / "model")
    assert len(tokenizer) == model.config.vocab_size
    ids = tokenizer("The striker Elena Marsh plays for")["input_ids"]
    assert ids[0] == model.config.bos_token_id
    assert tokenizer.unk_token_id not in ids


def test_training_again_gives_the_same_weights(tiny_settings) -> None:
    settings = dataclasses.replace(tiny_settings.model, steps=4)
    corpus = dataclasses.replace(tiny_settings.corpus, chunks=1)

    def weights() -> dict[str, torch.Tensor]:
        with CorpusFeed(corpus, "cpu") as feed:
            batches = feed.batches(settings.batch_rows, seed=settings.seed)
            model = train_language_model(
                settings, build_tokenizer(), batches, device="cpu", log=lambda _line: None
            )
        return model.state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_sae_loads_in_saelens_with_its_metadata(tiny_assets, tiny_settings) -> None:
    from sae_lens import SAE

    for plan in sae_plans(tiny_settings):
        directory = tiny_assets / "saes" / plan.name
        sae = SAE.load_from_disk(directory)
        assert sae.W_enc.dtype == torch.float32
        assert sae.cfg.metadata.hook_name == transformer_lens_hook(plan.site)
        assert sae.cfg.metadata.prepend_bos is True
        assert sae.cfg.metadata.context_size == 96
        assert bool(sae.cfg.metadata.control) is plan.control
        architecture = json.loads((directory / "cfg.json").read_text())["architecture"]
        if plan.is_transcoder:
            assert architecture == "jumprelu_transcoder"
            assert sae.cfg.metadata.hook_name_out == transformer_lens_hook(plan.target)
        else:
            assert architecture == {"batchtopk": "jumprelu", "topk": "topk"}[plan.architecture]
        with safe_open(directory / "sae_weights.safetensors", "pt") as file:
            assert file.get_tensor("W_dec").dtype == torch.float16
        with safe_open(directory / "sparsity.safetensors", "pt") as file:
            density = 10 ** file.get_tensor("sparsity")
        pruned = sae.cfg.metadata.pruned_features or 0
        assert sae.cfg.d_sae == density.shape[0] == plan.features - pruned
        assert 0 < density.sum() < plan.features
        assert plan.control or density.min() > 0


def test_stored_saes_reconstruct_better_than_the_mean(tiny_assets, tiny_settings) -> None:
    from workbench.demo.measures.sae_quality import load_saes, measure_saes

    model = train.load_model(tiny_assets / "model", "cpu")
    rows = np.load(tiny_assets / "rows.npy")[:60].astype(np.int64)
    saes = load_saes(sorted((tiny_assets / "saes").iterdir()), "cpu")
    by_name = {q.name: q for q in measure_saes(model, saes, rows, special=[0, 1], ce_rows=30)}
    assert all(q.fvu < 0.9 for q in by_name.values() if not q.control)
    layer = tiny_settings.sae.control_layer
    good, bad = by_name[f"resid_post.{layer}"], by_name[f"resid_post.{layer}-bad"]
    assert bad.control
    assert bad.fvu > 1.2 * good.fvu


def test_an_sae_is_the_same_alone_and_beside_others(tiny_assets, tiny_settings) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    rows = np.load(tiny_assets / "rows.npy")
    settings = dataclasses.replace(tiny_settings.sae, steps=3)
    plans = sae_plans(dataclasses.replace(tiny_settings, sae=settings))
    chosen = [plan for plan in plans if plan.name in ("mlp_out.0", "transcoder.0", "embed")]
    quiet = {"log": lambda _line: None}
    together = train_saes(model, rows, chosen, settings, **quiet)
    alone = train_saes(model, rows, [chosen[-1]], settings, **quiet)
    name = chosen[-1].name
    assert name.startswith("transcoder")
    for key, value in alone[name].state_dict().items():
        torch.testing.assert_close(value, together[name].state_dict()[key])


def test_unknown_sae_name_is_refused_before_anything_is_trained(tmp_path, tiny_settings) -> None:
    with pytest.raises(InputError, match=r"resid_post\.9"):
        train.train_saes_stage(tiny_settings, tmp_path, device="cpu", only=["resid_post.9"])
    assert not list(tmp_path.iterdir())


def test_sites_are_the_values_transformer_lens_calls_so(tiny_assets) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    path = tiny_assets / "model"
    model = train.load_model(path, "cpu")
    bridge = TransformerBridge.boot_transformers(str(path), device="cpu", dtype=torch.float32)
    ids = torch.tensor([[1, 40, 41, 42, 43]])
    names = site_names(2)
    values = read_sites(model, ids, None, names)
    # The bridge names a value under its canonical and under older names; both reach the hook.
    wanted = {transformer_lens_hook(site): site for site in names}
    _, cache = bridge.run_with_cache(ids)
    for hook, site in wanted.items():
        torch.testing.assert_close(cache[hook], values[site], atol=1e-5, rtol=1e-5)
        assert site_of_hook(hook) == site


def test_replacing_a_site_by_itself_changes_nothing_and_by_zero_does(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    ids = torch.tensor([[1, 40, 41, 42, 43]])
    with torch.no_grad():
        clean = model(ids).logits
        for site in ("embed", "attn_out.0", "mlp_out.1", "resid_post.0"):
            with replaced_site(model, site, lambda x: x.clone()):
                assert torch.equal(model(ids).logits, clean)
            with replaced_site(model, site, torch.zeros_like):
                assert not torch.allclose(model(ids).logits, clean)
        assert torch.equal(model(ids).logits, clean)


def test_an_exact_transcoder_changes_nothing(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    mlp = model.model.layers[1].mlp
    forward = type(mlp).forward
    ids = torch.tensor([[1, 40, 41, 42, 43]])
    with (
        torch.no_grad(),
        replaced_site(model, "mlp_in.1", lambda x: forward(mlp, x), target="mlp_out.1"),
    ):
        spliced = model(ids).logits
    torch.testing.assert_close(spliced, model(ids).logits.detach())


@pytest.mark.parametrize(
    ("site", "target"), [("resid_post.7", None), ("mlp_in.0", None), ("embed", "mlp_out.0")]
)
def test_impossible_replacements_are_refused(tiny_assets, site, target) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    with (
        pytest.raises(SiteError, match=site.partition(".")[0]),
        replaced_site(model, site, torch.zeros_like, target=target),
    ):
        pass


def test_a_packed_document_reads_as_it_does_alone(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    first, second = [1, 30, 31, 32, 2], [1, 50, 51, 52, 53, 2]
    packed = torch.tensor([[*first, *second]])
    with torch.no_grad():
        logits = model(input_ids=packed, attention_mask=document_mask(packed, 1)).logits[0]
        alone = model(input_ids=torch.tensor([second])).logits[0]
    torch.testing.assert_close(logits[len(first) :], alone, atol=1e-4, rtol=1e-4)


def test_document_mask_is_causal_within_documents() -> None:
    ids = torch.tensor([[7, 1, 8, 1, 9, 0]])
    documents = [0, 1, 1, 2, 2, 2]
    mask = document_mask(ids, bos=1)[0, 0]
    for query in range(6):
        for key in range(6):
            assert mask[query, key] == (key <= query and documents[key] == documents[query])


def test_loss_leaves_out_first_tokens_and_padding() -> None:
    logits = torch.randn(1, 6, 11, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 5, 6, 1, 7, 0]])
    logs = logits.log_softmax(-1)[0]
    by_hand = -(logs[0, 5] + logs[1, 6] + logs[3, 7]) / 3
    torch.testing.assert_close(packed_loss(logits, ids, bos=1, pad=0), by_hand)


def test_warmup_rises_to_one_and_cosine_falls_to_zero() -> None:
    factors = [warmup_cosine(step, warmup=10, total=100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert all(a <= b for a, b in itertools.pairwise(factors[:11]))
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def _piece(split: str, seed: int, n_tokens: int) -> np.ndarray:
    assert split == "train"
    return np.full((n_tokens // 4, 4), seed, dtype=np.uint16)


def test_feed_serves_every_row_of_a_piece_before_the_next_and_then_mixes() -> None:
    settings = CorpusSettings(chunks=3, chunk_tokens=32, workers=0, seed=10)
    with CorpusFeed(settings, "cpu", piece=_piece) as feed:
        batches = feed.batches(4, seed=0)
        first_pass = [next(batches) for _ in range(6)]
        second_pass = torch.cat([next(batches) for _ in range(6)])
    assert [int(batch[0, 0]) for batch in first_pass] == [10, 10, 11, 11, 12, 12]
    assert all(len(batch.unique()) == 1 for batch in first_pass)
    assert sorted(second_pass[:, 0].tolist()) == [10] * 8 + [11] * 8 + [12] * 8
    assert second_pass[:, 0].tolist() != sorted(second_pass[:, 0].tolist())


def test_text_does_not_depend_on_the_number_of_processes() -> None:
    alone = CorpusSettings(chunks=2, chunk_tokens=2000, workers=0, seed=5)
    shared = dataclasses.replace(alone, workers=2)
    with CorpusFeed(alone, "cpu") as one, CorpusFeed(shared, "cpu") as two:
        for index in range(2):
            assert torch.equal(one.rows(index), two.rows(index))


def test_activation_batches_show_the_same_tokens_at_every_site(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    rows = np.load(tiny_assets / "rows.npy")[:64]
    batches = activation_batches(
        model, rows, ["embed", "resid_post.0"], batch_tokens=32, buffer_tokens=960, seed=1
    )
    batch = next(batches)
    table = model.model.embed_tokens.weight.detach()
    ids = torch.cdist(batch["embed"], table).argmin(-1)
    torch.testing.assert_close(table[ids], batch["embed"])
    assert 0 not in ids
    assert batch["resid_post.0"].shape == (32, model.config.hidden_size)


def test_a_buffer_smaller_than_a_batch_is_refused(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    rows = np.load(tiny_assets / "rows.npy")[:4]
    batches = activation_batches(model, rows, ["embed"], batch_tokens=512, buffer_tokens=96, seed=1)
    with pytest.raises(ValueError, match="smaller than one batch of 512"):
        next(batches)


def test_scaling_ignores_one_token_of_huge_norm() -> None:
    x = torch.randn(501, 16, generator=torch.Generator().manual_seed(0))
    plain = Scaling.measure(x, x)
    x[0] = 1e4
    assert Scaling.measure(x, x).source == pytest.approx(plain.source, rel=0.02)
    assert plain.source == pytest.approx(1.0, rel=0.1)


def test_plans_name_every_site_once_and_seed_each_differently() -> None:
    plans = sae_plans(full_settings())
    assert len(plans) == 1 + 3 * 5 + 2
    assert len({plan.name for plan in plans}) == len({plan.seed for plan in plans}) == len(plans)
    assert [plan.name for plan in plans if plan.control] == ["resid_post.2-bad"]
    assert [plan.name for plan in plans if plan.is_transcoder] == ["transcoder.2"]


def test_same_seed_starts_an_sae_from_the_same_weights() -> None:
    plan = sae_plans(full_settings())[0]
    one, two = (build_sae(plan, 32, context=96, device="cpu") for _ in range(2))
    assert torch.equal(one.W_enc, two.W_enc)
    other = build_sae(dataclasses.replace(plan, seed=99), 32, context=96, device="cpu")
    assert not torch.equal(one.W_enc, other.W_enc)


def test_blocks_above_the_last_site_are_not_run(tiny_assets) -> None:
    model = train.load_model(tiny_assets / "model", "cpu")
    ids = torch.tensor([[1, 40, 41, 42, 43]])
    run = []
    handle = model.model.layers[1].register_forward_hook(lambda *_: run.append(1))
    everything = read_sites(model, ids, None, ["resid_post.0", "resid_post.1"])
    assert len(run) == 1
    values = read_sites(model, ids, None, ["resid_post.0"])
    assert len(run) == 1
    handle.remove()
    assert torch.equal(values["resid_post.0"], everything["resid_post.0"])
    assert model.config.num_hidden_layers == 2


def test_sizes_can_differ_per_sae() -> None:
    settings = full_settings()
    sae = dataclasses.replace(settings.sae, sizes={"embed": (2048, 30), "transcoder.2": (512, 9)})
    plans = {plan.name: plan for plan in sae_plans(dataclasses.replace(settings, sae=sae))}
    assert (plans["embed"].features, plans["embed"].active) == (2048, 30)
    assert (plans["transcoder.2"].features, plans["transcoder.2"].active) == (512, 9)
    assert plans["mlp_out.0"].features == settings.sae.features


def test_pruning_removes_rare_features_and_nothing_else(tiny_assets, tmp_path) -> None:
    import shutil

    from sae_lens import SAE
    from safetensors.torch import load_file

    from workbench.demo.training.saes import prune_sae

    directory = tmp_path / "sae"
    shutil.copytree(tiny_assets / "saes" / "resid_post.0", directory)
    before = SAE.load_from_disk(directory)
    frequency = 10 ** load_file(directory / "sparsity.safetensors")["sparsity"]
    least = float(frequency.median())
    kept = frequency >= least
    assert prune_sae(directory, least=least) == int((~kept).sum()) > 0
    after = SAE.load_from_disk(directory)
    x = torch.randn(50, before.cfg.d_in, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(after.encode(x), before.encode(x)[:, kept])
    assert torch.equal(after.W_dec, before.W_dec[kept])
    stored = load_file(directory / "sparsity.safetensors")["sparsity"]
    torch.testing.assert_close(10**stored, frequency[kept])
