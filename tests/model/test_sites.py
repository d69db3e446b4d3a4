from __future__ import annotations

import pytest

from workbench.errors import SiteError
from workbench.model import short_name

SAME = [
    ("resid_post.1", "blocks.1.hook_resid_post", "blocks.1.hook_out"),
    ("resid_pre.2", "blocks.2.hook_resid_pre", "blocks.2.hook_in"),
    ("attn_out.0", "blocks.0.hook_attn_out"),
    ("mlp_out.2", "blocks.2.hook_mlp_out"),
    ("embed", "hook_embed", "embed.hook_out"),
    ("z.1", "blocks.1.attn.hook_z"),
    ("pattern.0", "blocks.0.attn.hook_pattern"),
    ("mlp_in.1", "blocks.1.mlp.hook_in"),
]


@pytest.mark.parametrize("names", SAME, ids=lambda names: names[0])
def test_short_canonical_and_alias_names_are_one_site(model, names):
    sites = {model.sites.resolve(name) for name in names}
    assert len(sites) == 1
    (site,) = sites
    assert site.name == names[0]
    assert model.sites.resolve(site.hook) == site
    assert site.hook in model.bridge.hook_dict


def test_widths_are_the_models_own(model):
    assert model.sites["resid_post.0"].d == model.d_model
    assert model.sites["attn_out.1"].d == model.d_model
    assert model.sites["pattern.1"].d is None
    assert model.sites["z.0"].d == model.d_model // model.n_heads


def test_iteration_follows_the_computation(model):
    names = list(model.sites)
    assert names[0] == "embed"
    order = ["resid_pre.1", "attn_out.1", "mlp_out.1", "resid_post.1", "resid_pre.2"]
    assert sorted(order, key=names.index) == order


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resid_pots.1", "resid_post.1"),
        ("blocks.1.hook_resid_pots", "blocks.1.hook_resid_post"),
        ("attnout.2", "attn_out.2"),
        ("resid_post.7", "0 to 2"),
        ("blocks.9.hook_mlp_out", "0 to 2"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(model, name, hint):
    with pytest.raises(SiteError, match=hint):
        model.sites.resolve(name)
    assert name not in model.sites


def test_every_short_name_can_be_captured(model):
    ran = model.run("the cat sat on the mat.", capture=list(model.sites))
    assert set(ran.acts) == set(model.sites)
    for name, value in ran.acts.items():
        if model.sites[name].d is not None:
            assert value.shape[-1] == model.sites[name].d


def test_parallel_blocks_have_no_middle(tiny_models):
    assert tiny_models["gpt_neox"].parallel_blocks
    assert "resid_mid.0" not in tiny_models["gpt_neox"].sites
    assert not tiny_models["llama"].parallel_blocks
    assert "resid_mid.0" in tiny_models["llama"].sites


@pytest.mark.parametrize(
    ("hook", "short"),
    [
        ("blocks.12.hook_resid_post", "resid_post.12"),
        ("hook_embed", "embed"),
        ("blocks.3.attn.hook_z", "z.3"),
        ("blocks.3.hook_mlp_out", "mlp_out.3"),
        ("something.else", "something.else"),
    ],
)
def test_short_names_without_a_model(hook, short):
    assert short_name(hook) == short
