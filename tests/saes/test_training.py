"""Training a small SAE on a site of a real model, through SAELens's trainer."""

from __future__ import annotations

import pytest
import torch

from workbench.errors import InputError
from workbench.model import load
from workbench.saes import SaeStore, load_sae, measure_health, train_sae


@pytest.fixture(scope="module")
def stories(stories260k):
    return load(str(stories260k), device="cpu")


@pytest.fixture(scope="module")
def rows(stories, tiny_stories):
    return stories.tokens([story[:200] for story in tiny_stories[:120]])


@pytest.mark.slow
def test_an_sae_trained_on_a_real_model_is_good(stories, rows, tmp_path):
    store = SaeStore(stories)
    sae = train_sae(
        stories, "resid_post.2", rows, tmp_path / "sae", d_sae=256, k=16, steps=200,
        batch_size=256, store=store, seed=1,
    )  # fmt: skip
    assert sae is store["resid_post.2"]
    assert sae.config.metadata["model_fingerprint"] == stories.fingerprint
    health = measure_health(stories, sae, rows[:24])
    assert health.l0 == pytest.approx(16, abs=0.5)
    assert health.fvu < 0.35
    assert health.ce_score > 0.85
    assert health.dead_fraction < 0.3
    density = sae.density()
    assert density.shape == (256,)
    assert density.sum() == pytest.approx(16, rel=0.1)
    # The folder is an ordinary SAELens directory.
    from sae_lens import SAE

    module = SAE.load_from_disk(tmp_path / "sae")
    x = stories.run(rows[:2], capture=["resid_post.2"])["resid_post.2"].clone()
    assert torch.equal(sae.encode(x).to_dense(), module.encode(x))


@pytest.mark.parametrize(
    ("architecture", "saved"),
    [
        ("standard", "standard"),
        ("gated", "gated"),
        ("topk", "topk"),
        ("abstopk", "abstopk"),
        ("batchtopk", "jumprelu"),
        ("jumprelu", "jumprelu"),
        ("matching_pursuit", "matching_pursuit"),
        ("matryoshka_batchtopk", "jumprelu"),
    ],
)
def test_every_architecture_trains_and_loads(stories, rows, tmp_path, architecture, saved):
    settings = {"max_iterations": 4} if saved == "matching_pursuit" else {}
    sae = train_sae(
        stories, "mlp_out.1", rows[:40], tmp_path / "sae", architecture=architecture, d_sae=64,
        k=4, steps=3, batch_size=64, **settings,
    )  # fmt: skip
    assert sae.architecture == saved
    assert sae.site.name == "mlp_out.1"
    assert sae.config.normalize_activations == "none"
    x = stories.run(rows[:2], capture=["mlp_out.1"])["mlp_out.1"]
    assert sae.encode(x).shape == (*x.shape[:-1], 64)


def test_the_seed_decides_the_result(stories, rows, tmp_path):
    def train(name, seed):
        state = torch.random.get_rng_state()
        sae = train_sae(
            stories, "resid_post.0", rows[:40], tmp_path / name, d_sae=32, k=4, steps=3,
            batch_size=64, seed=seed,
        )  # fmt: skip
        assert torch.equal(torch.random.get_rng_state(), state)
        return load_sae(tmp_path / name).decoder_rows(), sae

    first, again, other = (train(*pair)[0] for pair in (("a", 1), ("b", 1), ("c", 2)))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_bad_settings(stories, rows, tmp_path):
    with pytest.raises(InputError, match=r"unknown trainable architecture 'top_k'"):
        train_sae(stories, "resid_post.0", rows, tmp_path, architecture="top_k", d_sae=8)
    with pytest.raises(InputError, match="expected at least batch_size=100000"):
        train_sae(stories, "resid_post.0", rows, tmp_path, d_sae=8, batch_size=100_000)
    with pytest.raises(InputError, match="expected positive numbers"):
        train_sae(stories, "resid_post.0", rows, tmp_path, d_sae=8, steps=0)
    with pytest.raises(InputError, match="settings of a topk SAE"):
        train_sae(stories, "resid_post.0", rows, tmp_path, d_sae=8, kk=3)
