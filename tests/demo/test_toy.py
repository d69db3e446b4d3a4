"""The oracle is checked too: by finite differences, by autograd, and by the libraries it feeds.

`Reference` is the same model written a second time, in torch, from the definitions; it shares no
derivative with the package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.demo import toy
from workbench.demo.toy import arithmetic
from workbench.demo.toy.construction import AXES, WORDS
from workbench.demo.toy.truth import edge_kinds
from workbench.errors import WorkbenchError

Tap = Callable[[str, torch.Tensor], torch.Tensor]
WITH_TRANSCODER = (
    "embed",
    "attn_out.0",
    "transcoder.0",
    "resid_post.0",
    "attn_out.1",
    "mlp_out.1",
    "resid_post.1",
)


class Reference:
    """The toy model in torch, float64, differentiable, with a tap at every site."""

    def __init__(self, model: toy.ToyModel) -> None:
        self.model = model
        self.network = model.network

    def norm(self, x: torch.Tensor, weight: np.ndarray) -> torch.Tensor:
        scale = x.pow(2).mean(-1, keepdim=True) + self.network.norm_epsilon
        return torch.tensor(weight) * x * scale.rsqrt()

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        """Rotary positions as multiplication of complex numbers."""
        width = x.shape[-1]
        frequency = self.network.rope_theta ** (-torch.arange(0, width, 2).double() / width)
        angle = torch.arange(len(x)).double()[:, None, None] * frequency
        turned = torch.complex(x[..., : width // 2], x[..., width // 2 :]) * torch.polar(
            torch.ones_like(angle), angle
        )
        return torch.cat([turned.real, turned.imag], -1)

    def attention(self, block: arithmetic.Block, x: torch.Tensor) -> torch.Tensor:
        heads, width = self.network.heads, self.network.head
        q, k, v = (
            (x @ torch.tensor(matrix).T).reshape(len(x), heads, width)
            for matrix in (block.q, block.k, block.v)
        )
        out = torch.nn.functional.scaled_dot_product_attention(
            *(part.transpose(0, 1) for part in (self.turn(q), self.turn(k), v)), is_causal=True
        )
        return out.transpose(0, 1).reshape(len(x), -1) @ torch.tensor(block.o).T

    def logits(self, ids: np.ndarray, tap: Tap = lambda _, value: value) -> torch.Tensor:
        stream = tap("embed", torch.tensor(self.network.embed)[ids])
        for layer, block in enumerate(self.network.blocks):
            attn = self.attention(block, self.norm(stream, block.attn_norm))
            stream = stream + tap(f"attn_out.{layer}", attn)
            read = tap(f"mlp_in.{layer}", self.norm(stream, block.mlp_norm))
            gate, up = (read @ torch.tensor(matrix).T for matrix in (block.gate, block.up))
            hidden = torch.nn.functional.silu(gate) * up
            stream = stream + tap(f"mlp_out.{layer}", hidden @ torch.tensor(block.down).T)
            stream = tap(f"resid_post.{layer}", stream)
        return self.norm(stream, self.network.norm) @ torch.tensor(self.network.unembed).T

    def encode(self, dictionary: toy.Dictionary, x: torch.Tensor) -> torch.Tensor:
        bias = torch.tensor(dictionary.decoder_bias)
        taken = x if dictionary.architecture == "transcoder" else x - bias
        before = taken @ torch.tensor(dictionary.encoder) + torch.tensor(dictionary.encoder_bias)
        if dictionary.threshold is not None:
            return torch.where(before > dictionary.threshold, before, 0.0)
        if dictionary.k is not None:
            values, where = before.topk(dictionary.k)
            return torch.zeros_like(before).scatter(-1, where, values.relu())
        return before.relu()


def metric_of(logits: torch.Tensor, pair: toy.Pair, metric: str) -> torch.Tensor:
    clean, patch = (WORDS.index(a.strip()) for a in (pair.clean_answer, pair.patch_answer))
    if metric == "logit_difference":
        return logits[-1, patch] - logits[-1, clean]
    if metric == "negative_logit":
        return -logits[-1, clean]
    return -logits[-1].log_softmax(-1)[clean]


@pytest.fixture(scope="module")
def model() -> toy.ToyModel:
    return toy.build()


@pytest.fixture(scope="module")
def reference(model: toy.ToyModel) -> Reference:
    return Reference(model)


@pytest.fixture(scope="module")
def saved(model: toy.ToyModel, tmp_path_factory: pytest.TempPathFactory) -> toy.SavedToy:
    return model.save(tmp_path_factory.mktemp("toy"))


def prompts(model: toy.ToyModel) -> list[str]:
    return [text for pair in model.pairs for text in (pair.clean_prefix, pair.patch_prefix)]


def test_the_model_does_its_task(model: toy.ToyModel) -> None:
    for pair in model.pairs:
        best = int(model.logits(pair.clean_prefix)[-1].argmax())
        assert WORDS[best] == pair.clean_answer.strip(), pair
        assert len(model.ids(pair.clean_prefix)) == len(model.ids(pair.patch_prefix))


def test_forward_equals_the_reference(model: toy.ToyModel, reference: Reference) -> None:
    for text in prompts(model):
        expected = reference.logits(model.ids(text)).numpy()
        np.testing.assert_allclose(model.logits(text), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_no_feature_is_near_its_switch_point(seed: int) -> None:
    model = toy.build(seed)
    for text in prompts(model):
        state = arithmetic.forward(model.network, model.ids(text))
        for each in model.dictionaries.values():
            assert each.margin(state.sites[each.source]) > 1e-3, (text, each.name)


def test_top_k_and_threshold_matter(model: toy.ToyModel) -> None:
    state = arithmetic.forward(model.network, model.ids("the dog near the cars really"))
    for name in ("mlp_out.0", "resid_post.0"):
        each = model.dictionaries[name]
        before = each.before_activation(state.sites[each.source])
        assert ((before > 0) & (each.encode(state.sites[each.source]) == 0)).any()


def test_every_site_has_an_error_that_counts(model: toy.ToyModel) -> None:
    for sites in (model.sites, WITH_TRANSCODER):
        truths = [model.truth(pair, sites=sites) for pair in model.pairs]
        for name in sites:
            assert max(np.abs(truth.effects[name][:, -1]).max() for truth in truths) > 0.05, name
        for names in truths[0].edges:
            strongest = max(np.abs(truth.edges[names][:, -1]).max() for truth in truths)
            assert strongest > 1e-3, names


@pytest.mark.parametrize("metric", ["logit_difference", "negative_log_probability"])
@pytest.mark.parametrize("paired", [True, False])
def test_attrib_gradients_equal_autograd(
    model: toy.ToyModel, reference: Reference, metric: str, paired: bool
) -> None:
    pair = model.pairs[4]
    truth = model.truth(pair, method="attrib", metric=metric, paired=paired)
    kept: dict[str, torch.Tensor] = {}

    def keep(site: str, value: torch.Tensor) -> torch.Tensor:
        kept[site] = value.requires_grad_()
        kept[site].retain_grad()
        return kept[site]

    metric_of(reference.logits(model.ids(pair.clean_prefix), keep), pair, metric).backward()
    for name in model.sites:
        gradient = kept[name].grad.numpy()
        np.testing.assert_allclose(truth.gradients[name].error, gradient, atol=1e-12)
        decoder = model.dictionaries[name].decoder
        np.testing.assert_allclose(truth.gradients[name].features, gradient @ decoder.T, atol=1e-12)


def test_attrib_gradients_equal_finite_differences(model: toy.ToyModel) -> None:
    pair = model.pairs[4]
    ids = model.ids(pair.clean_prefix)
    state = arithmetic.forward(model.network, ids)
    truth = model.truth(pair, method="attrib")
    step = 1e-5
    generator = np.random.default_rng(1)
    for name in model.sites:
        direction = generator.normal(size=state.sites[name].shape)
        values = []
        for sign in (1, -1):
            moved = {name: state.sites[name] + sign * step * direction}
            last = arithmetic.forward(model.network, ids, moved).logits[-1]
            values.append(last[WORDS.index("run")] - last[WORDS.index("runs")])
        slope = (values[0] - values[1]) / (2 * step)
        assert np.sum(truth.gradients[name].error * direction) == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("endpoint", ["clean", "patch"])
@pytest.mark.parametrize("paired", [True, False])
def test_ig_effects_equal_autograd_on_the_line(
    model: toy.ToyModel, reference: Reference, endpoint: str, paired: bool
) -> None:
    pair = model.pairs[6]
    truth = model.truth(pair, method="ig", endpoint=endpoint, paired=paired)
    ids = model.ids(pair.clean_prefix)
    ks = range(10) if endpoint == "clean" else range(1, 11)
    for name in model.sites:
        each = model.dictionaries[name]
        clean, patch = truth.clean[name], truth.patch[name]
        expected = np.zeros_like(truth.effects[name])
        for k in ks:
            alpha = k / 10
            f = torch.tensor((1 - alpha) * clean.features + alpha * patch.features)
            e = torch.tensor((1 - alpha) * clean.error + alpha * patch.error)
            f.requires_grad_()
            e.requires_grad_()
            whole = f @ torch.tensor(each.decoder) + torch.tensor(each.decoder_bias) + e

            def tap(
                site: str, value: torch.Tensor, name: str = name, whole: torch.Tensor = whole
            ) -> torch.Tensor:
                return whole if site == name else value

            metric_of(reference.logits(ids, tap), pair, "logit_difference").backward()
            expected[:, :-1] += f.grad.numpy() * (patch.features - clean.features) / 10
            expected[:, -1] += (e.grad.numpy() * (patch.error - clean.error)).sum(-1) / 10
        np.testing.assert_allclose(truth.effects[name], expected, atol=1e-12)


def test_ig_is_complete(model: toy.ToyModel) -> None:
    # With ever finer steps, the effects at one site add up to what patching the site does.
    pair = model.pairs[4]
    halves = [model.truth(pair, steps=400, endpoint=end).effects for end in ("clean", "patch")]
    ids, patched = model.ids(pair.clean_prefix), model.ids(pair.patch_prefix)
    patch_state = arithmetic.forward(model.network, patched)
    difference = np.zeros(len(WORDS))
    difference[WORDS.index("run")], difference[WORDS.index("runs")] = 1, -1
    start = model.logits(pair.clean_prefix)[-1] @ difference
    for name in model.sites:
        moved = {name: patch_state.sites[name]}
        end = arithmetic.forward(model.network, ids, moved).logits[-1] @ difference
        trapezoid = (halves[0][name].sum() + halves[1][name].sum()) / 2
        assert trapezoid == pytest.approx(end - start, abs=2e-5), name


@pytest.mark.parametrize("sites", [None, WITH_TRANSCODER])
def test_exact_effects_equal_brute_force(
    model: toy.ToyModel, reference: Reference, sites: tuple[str, ...] | None
) -> None:
    pair = model.pairs[5]
    truth = model.truth(pair, method="exact", sites=sites)
    assert not truth.edges
    ids = model.ids(pair.clean_prefix)
    start = metric_of(reference.logits(ids), pair, "logit_difference").item()
    assert truth.clean_metric == pytest.approx(start, abs=1e-12)
    for name, effects in truth.effects.items():
        each = model.dictionaries[name]
        delta = truth.patch[name].features - truth.clean[name].features
        for position, node in zip(*np.nonzero(np.abs(effects) > 1e-9), strict=True):
            change = (
                delta[position, node] * each.decoder[node]
                if node < len(each)
                else (truth.patch[name].error - truth.clean[name].error)[position]
            )

            def tap(
                site: str,
                value: torch.Tensor,
                at: tuple[str, int] = (each.site, int(position)),
                change: np.ndarray = change,
            ) -> torch.Tensor:
                if site == at[0]:
                    value = value.clone()
                    value[at[1]] += torch.tensor(change)
                return value

            end = metric_of(reference.logits(ids, tap), pair, "logit_difference").item()
            assert effects[position, node] == pytest.approx(end - start, abs=1e-11)


def stops(upstream: str, downstream: str) -> set[str]:
    """Sites held fixed so that only the direct path counts."""
    layer = downstream.partition(".")[2]
    if upstream.startswith("mlp_out"):
        return set()
    if downstream.startswith("resid_post"):
        return {f"attn_out.{layer}", f"mlp_out.{layer}"} - {upstream}
    if downstream.startswith("mlp_out") and not upstream.startswith("attn_out"):
        return {f"attn_out.{layer}"}
    return set()


def autograd_edges(
    model: toy.ToyModel,
    reference: Reference,
    pair: toy.Pair,
    truth: toy.Truth,
    names: tuple[str, str],
    held: set[str],
) -> np.ndarray:
    """Edge weights by torch.autograd.functional.jacobian with some sites detached."""
    up, down = (model.dictionaries[name] for name in names)
    ids = model.ids(pair.clean_prefix)
    gradient = truth.gradients[down.name]

    def nodes(change: torch.Tensor) -> torch.Tensor:
        seen: dict[str, torch.Tensor] = {}

        def tap(site: str, value: torch.Tensor) -> torch.Tensor:
            value = value.detach() if site in held else value
            value = value + change if site == up.site else value
            seen[site] = value
            return value

        reference.logits(ids, tap)
        features = reference.encode(down, seen[down.source])
        rebuilt = features @ torch.tensor(down.decoder) + torch.tensor(down.decoder_bias)
        error = ((seen[down.site] - rebuilt) * torch.tensor(gradient.error)).sum(-1, keepdim=True)
        return torch.cat([features * torch.tensor(gradient.features), error], -1)

    zero = torch.zeros(len(ids), len(AXES), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(nodes, zero).numpy()
    delta = truth.patch[up.name].features - truth.clean[up.name].features
    error = truth.patch[up.name].error - truth.clean[up.name].error
    from_features = np.einsum("qnpd,id,pi->piqn", jacobian, up.decoder, delta)
    from_error = np.einsum("qnpd,pd->pqn", jacobian, error)[:, None]
    return np.concatenate([from_features, from_error], axis=1)


@pytest.mark.parametrize("method", ["attrib", "ig"])
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("sites", [None, WITH_TRANSCODER])
def test_edges_equal_autograd_with_other_paths_stopped(
    model: toy.ToyModel,
    reference: Reference,
    method: str,
    paired: bool,
    sites: tuple[str, ...] | None,
) -> None:
    for pair in (model.pairs[0], model.pairs[4]):
        truth = model.truth(pair, method=method, paired=paired, sites=sites)
        assert len(truth.edges) == 12
        for names, weights in truth.edges.items():
            up, down = (model.dictionaries[name].site for name in names)
            expected = autograd_edges(model, reference, pair, truth, names, stops(up, down))
            np.testing.assert_allclose(weights, expected, atol=1e-11, err_msg=str(names))
            assert np.abs(weights).max() > 1e-3, names


def test_stopping_other_paths_changes_the_edges(model: toy.ToyModel, reference: Reference) -> None:
    # So that a circuit finder with wrong stop-gradients cannot pass.
    pair = model.pairs[4]
    truth = model.truth(pair)
    for names, weights in truth.edges.items():
        if stops(*names):
            all_paths = autograd_edges(model, reference, pair, truth, names, set())
            assert np.abs(all_paths - weights).max() > 0.01, names


def test_edges_equal_finite_differences(model: toy.ToyModel) -> None:
    # The attention edge of the design, by moving the feature and watching the target feature.
    pair = model.pairs[4]
    truth = model.truth(pair, method="attrib")
    embed, attn = model.dictionaries["embed"], model.dictionaries["attn_out.0"]
    feature, target = embed.features.index("singular"), attn.features.index("subject_singular")
    ids = model.ids(pair.clean_prefix)
    value = arithmetic.forward(model.network, ids).sites["embed"]
    step, found = 1e-5, []
    for sign in (1, -1):
        moved = value.copy()
        moved[2] += sign * step * embed.decoder[feature]
        state = arithmetic.forward(model.network, ids, {"embed": moved})
        found.append(attn.encode(state.sites["attn_out.0"])[6, target])
    slope = (found[0] - found[1]) / (2 * step)
    delta = truth.patch["embed"].features[2, feature] - truth.clean["embed"].features[2, feature]
    expected = truth.gradients["attn_out.0"].features[6, target] * slope * delta
    assert truth.edges["embed", "attn_out.0"][2, feature, 6, target] == pytest.approx(
        expected, abs=1e-8
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_designed_circuit_is_the_strongest(seed: int) -> None:
    model = toy.build(seed)
    for pair in model.pairs:
        truth = model.truth(pair)
        for edge in model.designed_edges(pair):
            up, down = model.dictionaries[edge.upstream], model.dictionaries[edge.downstream]
            weights = truth.edges[edge.upstream, edge.downstream][:, :-1, :, :-1]
            best = np.unravel_index(np.abs(weights).argmax(), weights.shape)
            assert best == (
                edge.upstream_position,
                up.features.index(edge.upstream_feature),
                edge.downstream_position,
                down.features.index(edge.downstream_feature),
            ), (pair, edge)
            assert weights[best] > 0.05


def test_edge_kinds_follow_the_sites() -> None:
    assert edge_kinds(["resid_post.0", "mlp_out.1"]) == [("resid_post.0", "mlp_out.1")]
    assert ("embed", "attn_out.0") in edge_kinds(["embed", "attn_out.0"])


def test_hugging_face_opens_it(model: toy.ToyModel, saved: toy.SavedToy) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    opened = AutoModelForCausalLM.from_pretrained(saved.model_dir)
    tokenizer = AutoTokenizer.from_pretrained(saved.model_dir)
    for text in prompts(model):
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert ids[0].tolist() == model.ids(text).tolist()
        with torch.inference_mode():
            logits = opened(ids).logits[0].double().numpy()
        np.testing.assert_allclose(logits, model.logits(text), atol=2e-6)


def test_sae_lens_opens_its_dictionaries(model: toy.ToyModel, saved: toy.SavedToy) -> None:
    from sae_lens import SAE

    for name, folder in saved.sae_dirs.items():
        opened = SAE.load_from_disk(folder)
        each = model.dictionaries[name]
        assert opened.cfg.architecture() == each.architecture
        for text in prompts(model):
            state = arithmetic.forward(model.network, model.ids(text))
            x = torch.tensor(state.sites[each.source], dtype=torch.float32)
            with torch.inference_mode():
                features = opened.encode(x)
                rebuilt = opened.decode(features)
            expected = each.encode(state.sites[each.source])
            np.testing.assert_allclose(features.numpy(), expected, atol=2e-6)
            np.testing.assert_allclose(rebuilt.numpy(), each.decode(expected), atol=4e-6)


def test_the_workbench_opens_it(model: toy.ToyModel, saved: toy.SavedToy) -> None:
    import workbench as wb

    pair = model.pairs[4]
    truth = model.truth(pair)
    with wb.open(saved.model_dir, saes=saved.sae_dirs, device="cpu") as session:
        assert set(session.saes) == set(model.dictionaries)
        tokens = session.model.tokens([pair.clean_prefix])
        assert tokens.ids[0].tolist() == model.ids(pair.clean_prefix).tolist()
        sites = [session.saes[name].site.name for name in model.sites]
        run = session.model.run(tokens, capture=sites)
        for name, site in zip(model.sites, sites, strict=True):
            got = session.saes[name].encode_dense(run.acts[site])[0].double().numpy()
            np.testing.assert_allclose(got, truth.clean[name].features, atol=1e-5, err_msg=name)


def test_same_seed_same_model_other_seed_other_errors() -> None:
    first, again, other = toy.build(3), toy.build(3), toy.build(4)
    np.testing.assert_array_equal(first.network.embed, again.network.embed)
    assert not np.allclose(first.network.embed, other.network.embed)
    for part in (first.network.embed, first.dictionaries["resid_post.1"].decoder):
        np.testing.assert_array_equal(part, part.astype(np.float32).astype(np.float64))


def test_bad_input_is_refused_with_the_nearest_choice(model: toy.ToyModel, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="dogs"):
        model.ids("the dogz really")
    with pytest.raises(WorkbenchError, match="resid_post"):
        model.truth(model.pairs[0], sites=["resid_pots.0"])
    with pytest.raises(WorkbenchError, match="two dictionaries"):
        model.truth(model.pairs[0], sites=["mlp_out.0", "transcoder.0"])
    uneven = toy.Pair(
        clean_prefix="the dog really",
        patch_prefix="the dogs near the car really",
        clean_answer=" runs",
        patch_answer=" run",
        case="uneven",
    )
    with pytest.raises(WorkbenchError, match="equal lengths"):
        model.truth(uneven)
