"""Splices: kept errors leave logits alone, and gradients are those of the formula."""

from __future__ import annotations

import pytest
import torch
from sae_fixtures import AUTOENCODERS, D_MODEL, activations, make_module, save_sae

from workbench.errors import InputError, SaeError
from workbench.saes import SaeStore, load_sae, splice_all
from workbench.saes.splice import Splice

TEXTS = ["the cat sat on the mat .", "a dog ran under the bridge and slept"]


def logits(model, edits=None):
    return model.run(TEXTS, edits=edits).logits


@pytest.mark.parametrize("error", ["keep", "stopgrad"])
@pytest.mark.parametrize("edit", [None, torch.clone], ids=["no edit", "identity edit"])
def test_with_the_error_kept_logits_equal_the_clean_ones(tiny_model, attached, error, edit):
    spliced = logits(tiny_model, attached.splice(error, edit=edit).edits())
    assert torch.allclose(spliced, logits(tiny_model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_error_is_kept_in_half_precision_saes_too(tiny_model, sae_folders, architecture, dtype):
    sae = SaeStore(tiny_model, dtype=dtype).attach(sae_folders[architecture])[0]
    for error in ("keep", "stopgrad"):
        spliced = logits(tiny_model, sae.splice(error, edit=torch.clone).edits())
        assert torch.allclose(spliced, logits(tiny_model), atol=1e-5, rtol=0)


def test_dropping_the_error_gives_the_reconstruction(tiny_model, attached):
    seen = tiny_model.run(TEXTS, capture=[attached.site, attached.out_site])
    ran = tiny_model.run(TEXTS, capture=[attached.out_site], edits=attached.splice("drop").edits())
    expected = attached.reconstruct(seen[attached.site])
    assert torch.allclose(ran[attached.out_site], expected, atol=1e-5)
    clean, spliced = logits(tiny_model), logits(tiny_model, attached.splice("drop").edits())
    assert not torch.allclose(spliced, clean, atol=1e-2)


@pytest.mark.parametrize("error", ["keep", "stopgrad"])
def test_an_edit_moves_the_site_by_the_change_of_its_reconstruction(tiny_model, attached, error):
    seen = tiny_model.run(TEXTS, capture=[attached.site, attached.out_site])
    x, y = seen[attached.site], seen[attached.out_site]
    feature = int(attached.encode(x).statistics().count.argmax())
    code = attached.encode_dense(x)
    ablated = code.clone()
    ablated[..., feature] = 0
    expected = y + attached.decode(ablated, x) - attached.decode(code, x)
    for options in (
        {"edit": torch.zeros_like, "features": [feature]},
        {"edit": lambda f: f * (torch.arange(f.shape[-1]) != feature)},
    ):
        ran = tiny_model.run(
            TEXTS, capture=[attached.out_site], edits=attached.splice(error, **options).edits()
        )
        assert torch.allclose(ran[attached.out_site], expected, atol=1e-5)
    assert not torch.allclose(expected, y, atol=1e-3)


def test_an_ablation_with_the_error_dropped_has_no_error(tiny_model, attached):
    x = tiny_model.run(TEXTS, capture=[attached.site])[attached.site]
    feature = int(attached.encode(x).statistics().count.argmax())
    code = attached.encode_dense(x)
    code[..., feature] = 0
    splice = attached.splice("drop", edit=torch.zeros_like, features=[feature])
    ran = tiny_model.run(TEXTS, capture=[attached.out_site], edits=splice.edits())
    assert torch.allclose(ran[attached.out_site], attached.decode(code, x), atol=1e-5)


def test_positions_outside_the_mask_are_untouched(tiny_model, attached):
    tokens = tiny_model.tokens(TEXTS)
    mask = torch.zeros_like(tokens.mask)
    mask[:, 2] = True
    edits = attached.splice("drop", positions=mask).edits()
    clean = tiny_model.run(tokens, capture=[attached.out_site])[attached.out_site]
    spliced = tiny_model.run(tokens, capture=[attached.out_site], edits=edits)[attached.out_site]
    assert torch.equal(spliced[:, [0, 1, 3]], clean[:, [0, 1, 3]])
    assert not torch.allclose(spliced[:, 2], clean[:, 2], atol=1e-3)


@pytest.fixture
def exact(sae_folders, architecture):
    """The architecture in float64, where finite differences have digits to spare."""
    return load_sae(sae_folders[architecture], dtype="float64")


def metric(out, seed=7):
    weights = activations(*out.shape, seed=seed, dtype=out.dtype)
    return (weights * torch.tanh(out)).sum()


def both(sae):
    """Activations at the site and at the output site (the same one for autoencoders)."""
    x = activations(1, 5, D_MODEL, dtype=torch.float64).requires_grad_()
    if sae.is_transcoder:
        return x, activations(1, 5, D_MODEL, seed=4, dtype=torch.float64).requires_grad_()
    return x, x


def run(splice, x, y):
    if splice.sae.is_transcoder:
        splice.read(x)
        return splice.write(y)
    return splice(x)


def numeric(function, at, direction, step=1e-6):
    with torch.no_grad():
        return (function(at + step * direction) - function(at - step * direction)) / (2 * step)


def test_gradient_of_the_formula_equals_finite_differences(exact):
    x, y = both(exact)
    splice = exact.splice("stopgrad")
    gradient = torch.autograd.grad(metric(run(splice, x, y)), x)[0]
    error = (y - exact.reconstruct(x)).detach()

    def formula(at):
        return metric(exact.reconstruct(at) + error)

    for seed in (11, 12):
        direction = activations(*x.shape, seed=seed, dtype=torch.float64)
        expected = float(numeric(formula, x.detach(), direction))
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("upstream", ["encoder", "through", "stop"])
def test_gradients_of_nodes_equal_finite_differences(exact, upstream):
    x, y = both(exact)
    splice = exact.splice("stopgrad", upstream=upstream)
    out = run(splice, x, y)
    nodes = splice.nodes
    by_feature, by_error = torch.autograd.grad(metric(out), [nodes.features, nodes.error])
    code, error = nodes.features.detach(), nodes.error.detach()
    assert torch.allclose(exact.decode(code, x) + error, y, atol=1e-12)

    def at_code(f):
        return metric(exact.decode(f, x) + error)

    def at_error(e):
        return metric(exact.decode(code, x) + e)

    for function, at, gradient in ((at_code, code, by_feature), (at_error, error, by_error)):
        direction = activations(*at.shape, seed=13, dtype=torch.float64)
        expected = float(numeric(function, at, direction))
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-6)


def test_gradients_reach_nodes_through_an_edit(exact):
    x, y = both(exact)
    splice = exact.splice("stopgrad", edit=lambda f: 0.5 * f + 0.1, upstream="through")
    gradient = torch.autograd.grad(metric(run(splice, x, y)), splice.nodes.features)[0]
    code, error = splice.nodes.features.detach(), splice.nodes.error.detach()
    direction = activations(*code.shape, seed=13, dtype=torch.float64)
    expected = numeric(lambda f: metric(exact.decode(0.5 * f + 0.1, x) + error), code, direction)
    assert float((gradient * direction).sum()) == pytest.approx(float(expected), rel=1e-6)


def test_what_reaches_upstream_is_what_was_asked_for(exact):
    x, y = both(exact)
    plain = torch.autograd.grad(metric(y * 1.0), y)[0]
    out = run(exact.splice("stopgrad", upstream="through"), x, y)
    assert torch.allclose(torch.autograd.grad(metric(out), y)[0], plain)
    out = run(exact.splice("stopgrad", upstream="stop"), x, y)
    reached = torch.autograd.grad(metric(out), [x, y], allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in reached)


def test_a_kept_error_has_the_gradient_of_the_edited_site(exact):
    x, y = both(exact)
    out = run(exact.splice("keep", edit=lambda f: f / 2), x, y)
    gradient = torch.autograd.grad(metric(out), x)[0]

    def formula(at):
        # Halving all features: x̂(f′) − x̂(f) = −½ (x̂(f) − x̂(0)).
        empty = exact.decode(torch.zeros(1, 5, 96, dtype=torch.float64), at)
        target = y.detach() if exact.is_transcoder else at
        return metric(target - 0.5 * (exact.reconstruct(at) - empty))

    direction = activations(*x.shape, seed=15, dtype=torch.float64)
    expected = float(numeric(formula, x.detach(), direction))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert torch.allclose(metric(out), formula(x), rtol=1e-9)


def test_several_sites_of_one_pass_are_read_in_one_call(tiny_model, sae_folders, tmp_path):
    early = save_sae(
        tmp_path / "early",
        make_module("topk", d_in=D_MODEL, d_sae=64, hook="blocks.0.hook_resid_post"),
    )
    store = SaeStore(tiny_model)
    saes = [
        *store.attach(early),
        *store.attach(sae_folders["skip_transcoder"]),
        *store.attach(sae_folders["jumprelu"]),
    ]
    splices = [sae.splice("stopgrad", upstream="through") for sae in saes]
    ran = tiny_model.run(
        TEXTS, edits=splice_all(splices), capture=["resid_pre.0"], logits=True, grad=True
    )
    clean = tiny_model.run(TEXTS, capture=["resid_pre.0"], logits=True, grad=True)
    assert torch.allclose(ran.logits, clean.logits, atol=1e-5)
    wanted = [node for splice in splices for node in (splice.nodes.features, splice.nodes.error)]
    gradients = torch.autograd.grad(metric(ran.logits), [*wanted, ran["resid_pre.0"]])
    assert all(gradient.any() for gradient in gradients)
    # Passed through, every upstream gradient is that of the untouched model.
    expected = torch.autograd.grad(metric(clean.logits), clean["resid_pre.0"])[0]
    assert torch.allclose(gradients[-1], expected, atol=1e-4)
    # And each feature's gradient is the gradient at its site projected on its decoder row.
    for splice, by_feature, by_error in zip(
        splices, gradients[:-1:2], gradients[1:-1:2], strict=True
    ):
        projected = by_error @ splice.sae.decoder_rows().T
        assert torch.allclose(by_feature, projected, atol=1e-4)


def test_two_saes_at_one_site_act_in_order(tiny_model, sae_folders):
    store = SaeStore(tiny_model)
    first, second = (store.attach(sae_folders[name])[0] for name in ("topk", "jumprelu"))
    ablate = {"edit": torch.zeros_like}
    edits = splice_all([first.splice("keep", **ablate), second.splice("keep", **ablate)])
    x = tiny_model.run(TEXTS, capture=[first.site])[first.site]
    middle = first.splice("keep", **ablate)(x)
    ran = tiny_model.run(TEXTS, capture=[first.site], edits=edits)
    assert torch.allclose(ran[first.site], second.splice("keep", **ablate)(middle), atol=1e-6)


def test_without_gradients_no_nodes_are_kept(tiny_model, attached):
    splice = attached.splice("stopgrad")
    logits(tiny_model, splice.edits())
    assert splice.nodes is None


def test_bad_choices_are_refused(loose):
    with pytest.raises(InputError, match=r"unknown error term 'kep': did you mean 'keep'"):
        loose.splice("kep")
    with pytest.raises(InputError, match="unknown upstream"):
        loose.splice("stopgrad", upstream="encodr")
    with pytest.raises(InputError, match="no edit"):
        loose.splice("keep", features=[1])
    with pytest.raises(SaeError, match="not attached to a model"):
        loose.splice("keep").edits()
    x = activations(1, 3, D_MODEL)
    narrowed = Splice(loose, edit=lambda f: f[..., :-1])
    with pytest.raises(InputError, match="expected"):
        run(narrowed, x, x)
    with pytest.raises(InputError, match="position mask"):
        run(Splice(loose, error="drop", positions=torch.ones(1, 4, dtype=torch.bool)), x, x)


def test_transcoders_need_both_sites(sae_folders):
    sae = load_sae(sae_folders["transcoder"])
    x = activations(1, 3, D_MODEL)
    with pytest.raises(SaeError, match="reads one site and writes another"):
        sae.splice("drop")(x)
    with pytest.raises(SaeError, match="has to come first"):
        sae.splice("drop").write(x)


@pytest.mark.parametrize("architecture", AUTOENCODERS)
def test_per_head_sites_are_spliced(tmp_path, tiny_model, architecture):
    settings = {"n_heads": 2, "bottleneck_factor": 8} if architecture == "temporal" else {}
    module = make_module(
        architecture,
        d_in=D_MODEL,
        d_sae=96,
        hook="blocks.1.attn.hook_z",
        reshape_activations="hook_z",
        **settings,
    )
    sae = SaeStore(tiny_model).attach(save_sae(tmp_path / "z", module))[0]
    assert sae.name == "z.1"
    kept = logits(tiny_model, sae.splice("stopgrad", edit=torch.clone).edits())
    assert torch.allclose(kept, logits(tiny_model), atol=1e-5, rtol=0)
    dropped = logits(tiny_model, sae.splice("drop").edits())
    assert not torch.allclose(dropped, kept, atol=1e-3)
