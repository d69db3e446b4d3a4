"""Health figures against synthetic truth and brute force."""

from __future__ import annotations

import pytest
import torch
from sae_fixtures import ARCHITECTURES, D_MODEL, activations, make_module, save_sae

import workbench as wb
from workbench.errors import InputError, SaeError
from workbench.saes import SaeStore, load_sae, measure_health
from workbench.saes.health import ReconstructionSums

TEXTS = [
    "the cat sat on the mat .",
    "a dog ran under the bridge and slept",
    "she saw the old river",
    "we knew the young bird was red",
]


def synthetic(n_known: int, n_dead: int, n_features: int = 24):
    """True features of a synthetic model, and an SAE that knows the first `n_known` of them."""
    from sae_lens.synthetic import ActivationGenerator, FeatureDictionary

    truth = FeatureDictionary(n_features, D_MODEL, initializer=None)
    vectors = torch.linalg.qr(activations(D_MODEL, n_features))[0].T
    truth.feature_vectors.data = vectors
    generator = ActivationGenerator(
        n_features, torch.linspace(0.05, 0.4, n_features), std_firing_magnitudes=0.3
    )
    module = make_module("jumprelu", d_in=D_MODEL, d_sae=n_known + n_dead)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.W_enc[:, :n_known] = vectors[:n_known].T
        module.W_dec[:n_known] = vectors[:n_known]
        # Above the rounding of products that should be zero, below every true activation.
        module.threshold.fill_(1e-3)
    return truth, generator, module


def collect(module, batches):
    sae, sums = load_sae(module), ReconstructionSums()
    for x in batches:
        acts = sae.encode(x)
        sums.update(x, sae.decode(acts, x), acts)
    return sums


@torch.no_grad()
def test_figures_equal_synthetic_truth():
    truth, generator, module = synthetic(n_known=20, n_dead=6)
    codes = [generator(500) for _ in range(4)]
    sums = collect(module, [truth(code) for code in codes])
    code = torch.cat(codes).double()
    # Orthonormal true features: the code is the truth, and the error is the four unknown ones.
    known = code[:, :20]
    assert torch.equal(sums.features.count[:20], (known > 0).sum(0))
    assert float(sums.features.count.sum()) / sums.n_tokens == pytest.approx(
        float((known > 0).sum(1).double().mean())
    )
    assert int((sums.features.count == 0).sum()) == 6
    total = (code - code.mean(0)).square().sum()
    assert sums.fvu == pytest.approx(float(code[:, 20:].square().sum() / total), rel=1e-4)


@torch.no_grad()
def test_figures_agree_with_saelens_on_the_same_samples():
    from sae_lens.synthetic.evals import DeadLatentsCalculator, L0Calculator

    truth, generator, module = synthetic(n_known=20, n_dead=6)
    samples = [truth(generator(300)) for _ in range(3)]
    sums = collect(module, samples)
    l0, dead = L0Calculator(), DeadLatentsCalculator(26)
    for x in samples:
        l0.add_batch(module.encode(x))
        dead.add_batch(module.encode(x))
    assert float(sums.features.count.sum()) / sums.n_tokens == pytest.approx(l0.compute())
    assert int((sums.features.count == 0).sum()) == dead.compute()


def test_fvu_keeps_its_digits_under_a_large_offset():
    x = activations(4000, 8).double()
    noise = 0.1 * activations(4000, 8, seed=2).double()
    module = make_module("topk", d_in=8, d_sae=16)
    acts = load_sae(module).encode(x)
    expected = float(noise.square().sum() / (x - x.mean(0)).square().sum())
    for offset in (0.0, 1e5):
        sums = ReconstructionSums()
        for part in range(0, 4000, 500):
            block = slice(part, part + 500)
            sums.update(
                x[block] + offset,
                x[block] + noise[block] + offset,
                acts.select(torch.arange(part, part + 500)),
            )
        assert sums.fvu == pytest.approx(expected, rel=1e-6)


def test_fvu_of_activations_that_do_not_vary_is_refused():
    sums = ReconstructionSums()
    acts = load_sae(make_module("topk", d_in=8, d_sae=16)).encode(torch.ones(5, 8))
    sums.update(torch.ones(5, 8), torch.zeros(5, 8), acts)
    with pytest.raises(InputError, match="activations of 5 tokens do not vary"):
        _ = sums.fvu


def brute_force(model, sae, texts):
    """Every figure from dense arrays and explicit loops over tokens."""
    tokens = model.tokens(texts)
    counted = tokens.mask & ~tokens.special
    ran = model.run(tokens, capture=[sae.site, sae.out_site], logits=True)
    x, y = ran[sae.site], ran[sae.out_site]
    code = sae.encode_dense(x)
    reconstruction = sae.decode(code, x)
    fired, errors, targets = [], [], []
    for row, column in counted.nonzero().tolist():
        fired.append(code[row, column] != 0)
        targets.append(y[row, column].double())
        errors.append(y[row, column].double() - reconstruction[row, column].double())
    fired, errors, targets = (torch.stack(part) for part in (fired, errors, targets))
    mask = counted[..., None]
    runs = {
        "sae": model.run(
            tokens, edits={sae.out_site: lambda _: torch.where(mask, reconstruction, y)}
        ).logits,
        "ablated": model.run(tokens, edits={sae.out_site: lambda v: v * ~mask}).logits,
        "clean": ran.logits,
    }
    losses: dict[str, list[float]] = {name: [] for name in (*runs, "kl")}
    for row, column in counted.nonzero().tolist():
        if column == 0:
            continue
        target = tokens.ids[row, column]
        logs = {name: out[row, column - 1].log_softmax(-1) for name, out in runs.items()}
        for name, log in logs.items():
            losses[name].append(-float(log[target]))
        clean = logs["clean"]
        losses["kl"].append(float((clean.exp() * (clean - logs["sae"])).sum()))
    mean = {name: sum(values) / len(values) for name, values in losses.items()}
    return {
        "n_tokens": len(fired),
        "n_predictions": len(losses["clean"]),
        "l0": float(fired.sum(1).double().mean()),
        "fvu": float(errors.square().sum() / (targets - targets.mean(0)).square().sum()),
        "dead_fraction": float((~fired.any(0)).double().mean()),
        "ce_clean": mean["clean"],
        "ce_sae": mean["sae"],
        "ce_ablated": mean["ablated"],
        "ce_score": (mean["ablated"] - mean["sae"]) / (mean["ablated"] - mean["clean"]),
        "kl": mean["kl"],
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_figures_equal_brute_force(tiny_model, attached, architecture):
    expected = brute_force(tiny_model, attached, TEXTS)
    for batch_size in (1, 3, 8):
        health = measure_health(tiny_model, attached, TEXTS, batch_size=batch_size)
        for name, value in expected.items():
            assert getattr(health, name) == pytest.approx(value, rel=1e-3, abs=1e-5), name
        assert health.density.sum() == pytest.approx(health.l0)


@pytest.mark.parametrize("architecture", ["standard"])
def test_a_perfect_and_an_empty_sae_mark_the_ends(tiny_model, tmp_path, architecture):
    module = make_module(
        architecture, d_in=D_MODEL, d_sae=2 * D_MODEL, hook="blocks.1.hook_resid_post"
    )
    store = SaeStore(tiny_model)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        empty = store.attach(save_sae(tmp_path / "empty", module))[0]
        # x = relu(x) − relu(−x): a dictionary that loses nothing.
        eye = torch.eye(D_MODEL)
        module.W_enc.copy_(torch.cat([eye, -eye], dim=1))
        module.W_dec.copy_(torch.cat([eye, -eye]))
        perfect = store.attach(save_sae(tmp_path / "perfect", module))[0]
    best = measure_health(tiny_model, perfect, TEXTS)
    assert best.fvu == pytest.approx(0, abs=1e-9)
    assert best.ce_score == pytest.approx(1, abs=1e-5)
    assert best.kl == pytest.approx(0, abs=1e-6)
    assert best.explained_variance == pytest.approx(1)
    worst = measure_health(tiny_model, empty, TEXTS)
    assert worst.ce_score == pytest.approx(0, abs=1e-6)
    assert (worst.l0, worst.dead_fraction) == (0, 1)
    assert worst.fvu >= 1


@pytest.mark.parametrize("architecture", ["topk"])
def test_mean_ablation(tiny_model, attached, architecture):
    tokens = tiny_model.tokens(TEXTS)
    counted = tokens.mask & ~tokens.special
    clean = tiny_model.run(tokens, capture=[attached.site])[attached.site]
    mean = clean[counted].mean(0)
    edits = {attached.site: lambda v: torch.where(counted[..., None], mean, v)}
    logits = tiny_model.run(tokens, edits=edits).logits
    predicted = counted[:, 1:]
    logs = logits[:, :-1][predicted].log_softmax(-1)
    targets = tokens.ids[:, 1:][predicted].unsqueeze(-1)
    expected = -float(logs.gather(-1, targets).mean())
    health = measure_health(tiny_model, attached, TEXTS, ablation="mean", batch_size=2)
    assert health.ce_ablated == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("architecture", ["topk"])
def test_without_losses_and_over_batches(tiny_model, attached, architecture, tmp_path):
    whole = measure_health(tiny_model, attached, TEXTS, losses=False)
    assert whole.ce_score is None
    assert whole.kl is None
    batches = [tiny_model.tokens(TEXTS[:1]), tiny_model.tokens(TEXTS[1:])]
    parts = measure_health(tiny_model, attached, iter(batches), losses=False)
    assert parts.fvu == pytest.approx(whole.fvu, rel=1e-5)
    assert parts.l0 == whole.l0
    assert whole.provenance.saes == (attached.name,)
    assert whole.to_pandas().loc[0, "l0"] == 5
    assert "L0 5.0" in repr(whole)
    again = wb.load(whole.save(tmp_path / "health"))
    assert again.fvu == whole.fvu
    assert (again.density == whole.density).all()


@pytest.mark.parametrize("architecture", ["topk"])
def test_bad_calls(tiny_model, attached, architecture, loose):
    with pytest.raises(SaeError, match="not attached"):
        measure_health(tiny_model, loose, TEXTS)
    with pytest.raises(InputError, match="unknown ablation"):
        measure_health(tiny_model, attached, TEXTS, ablation="noise")
    with pytest.raises(InputError, match="at least 1"):
        measure_health(tiny_model, attached, TEXTS, batch_size=0)
    with pytest.raises(InputError, match="expected batches of Tokens"):
        measure_health(tiny_model, attached, iter(["text"]))
