"""Compiled recipes against plain hooks that follow the documented formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import TokenError
from workbench.model.generate_rows import CachedRows
from workbench.steering import (
    Cancelled,
    Condition,
    Dimensions,
    Head,
    Intervention,
    Positions,
    PosteriorTable,
    Recipe,
    Vector,
)
from workbench.steering.compiled import compile_recipes

TEXT = "the old cat sat on the mat ."


def prompt_of(session, text=TEXT):
    return session.tokens(text).ids[0].tolist()


def steered_logits(session, items, ids, length=None):
    recipe = Recipe.of(items, session)
    compiled = compile_recipes(session, [recipe], [ids[: length or len(ids)]])
    tokens = session.tokens(torch.tensor([ids]))
    edits = compiled.edits(tokens, lengths=[length or len(ids)])
    return session.run(tokens, edits=edits, logits=True).logits[0]


def vector(seed=0, site="resid_post.1", d=32):
    return Vector(site=site, vector=np.random.default_rng(seed).normal(size=d), name=f"v{seed}")


def active_features(session, name, count=2):
    """Features that fire on the text, most often first."""
    sae = session.saes[name]
    x = session.run(TEXT, capture=[sae.site])[sae.site]
    return sae.encode(x).statistics().count.argsort(descending=True)[:count].tolist()


def row(session, name, index):
    return session.saes[name].decoder_rows([index])[0]


def code_move(session, name, index, edit):
    """x + (f' − f)·r, written out."""
    sae = session.saes[name]

    def hook(x):
        f = sae.encode_dense(x)[..., index]
        return x + (edit(f) - f)[..., None] * row(session, name, index)

    return hook


def unit(v):
    return v / v.norm()


CASES = {
    "add absolute": (
        {"strength": 3.0, "unit": "absolute"},
        lambda s, n, i: lambda x: x + 3.0 * row(s, n, i),
    ),
    "add max": (
        {"strength": 2.0, "unit": "max", "reference": 1.5},
        lambda s, n, i: lambda x: x + 3.0 * row(s, n, i),
    ),
    "add norm": (
        {"strength": 0.7, "unit": "norm"},
        lambda s, n, i: lambda x: x + 0.7 * x.norm(dim=-1, keepdim=True) * unit(row(s, n, i)),
    ),
    "scale": (
        {"what": "scale", "strength": -2.0},
        lambda s, n, i: code_move(s, n, i, lambda f: -2 * f),
    ),
    "clamp": (
        {"what": "clamp", "strength": 5.0, "unit": "absolute"},
        lambda s, n, i: code_move(s, n, i, lambda f: torch.full_like(f, 5)),
    ),
    "clamp active": (
        {"what": "clamp_active", "strength": -25, "unit": "absolute"},
        lambda s, n, i: code_move(s, n, i, lambda f: torch.where(f > 0, -25.0, f)),
    ),
    "ablate": ({"what": "ablate"}, lambda s, n, i: code_move(s, n, i, torch.zeros_like)),
    "approach": (
        {"what": "approach", "strength": 0.4, "goal": 7.0},
        lambda s, n, i: code_move(s, n, i, lambda f: 0.6 * f + 0.4 * 7),
    ),
    "suppress": (
        {"what": "suppress", "table": PosteriorTable(edges=(0.3, 0.8), posterior=(0.1, 0.5, 0.9))},
        lambda s, n, i: code_move(
            s,
            n,
            i,
            lambda f: f * (1 - torch.where(f < 0.3, 0.1, torch.where(f < 0.8, 0.5, 0.9))),
        ),
    ),
    "mask range": (
        {"what": "mask_range", "low": 0.2, "high": 100.0},
        lambda s, n, i: code_move(s, n, i, lambda f: torch.where((f >= 0.2) & (f <= 100), 0.0, f)),
    ),
    "project out": (
        {"what": "project_out"},
        lambda s, n, i: lambda x: x - (x @ unit(row(s, n, i)))[..., None] * unit(row(s, n, i)),
    ),
    "projection cap": (
        {"what": "projection_cap", "strength": -4.0, "unit": "absolute"},
        lambda s, n, i: (
            lambda x: (
                x - ((x @ unit(row(s, n, i))) + 4.0).clamp(min=0)[..., None] * unit(row(s, n, i))
            )
        ),
    ),
}


@pytest.mark.parametrize("name", ["resid_post.0", "resid_post.1", "mlp_out.1"])
@pytest.mark.parametrize("case", CASES)
def test_features_equal_plain_hooks(session, name, case):
    options, oracle = CASES[case]
    index = active_features(session, name, 1)[0]
    ids = prompt_of(session)
    ours = steered_logits(session, Intervention(target=f"{name}/{index}", **options), ids)
    truth = session.run(
        torch.tensor([ids]), edits={name: oracle(session, name, index)}, logits=True
    ).logits[0]
    torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-5)
    clean = session.run(torch.tensor([ids])).logits[0]
    assert not torch.allclose(ours, clean, atol=1e-4)


def test_a_transcoder_feature_reads_one_site_and_writes_another(session):
    name = next(n for n in session.saes if session.saes[n].is_transcoder)
    sae = session.saes[name]
    index = active_features(session, name, 1)[0]
    ids = prompt_of(session)
    seen = []
    truth = session.run(
        torch.tensor([ids]),
        edits={
            sae.site: lambda x: seen.append(x),
            sae.out_site: lambda y: (
                y - sae.encode_dense(seen[-1])[..., [index]] * sae.decoder_rows([index])
            ),
        },
        logits=True,
    ).logits[0]
    ours = steered_logits(session, Intervention(target=f"{name}/{index}", what="ablate"), ids)
    torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("what", ["add", "ablate"])
def test_dropping_the_error(session, what):
    name = "resid_post.1"
    sae, index = session.saes[name], active_features(session, "resid_post.1", 1)[0]
    ids = prompt_of(session)

    def oracle(x):
        code = sae.encode_dense(x)
        code[..., index] = code[..., index] + 2 if what == "add" else 0
        return sae.decode(code, x)

    truth = session.run(torch.tensor([ids]), edits={name: oracle}, logits=True).logits[0]
    item = Intervention(
        target=f"{name}/{index}",
        what=what,
        strength=2,
        unit="absolute",
        error="drop",
    )
    torch.testing.assert_close(steered_logits(session, item, ids), truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("what", "after"),
    [
        ("scale", lambda c: -1.5 * c),
        ("clamp", lambda c: torch.full_like(c, -1.5)),
        ("clamp_active", lambda c: torch.where(c > 0, -1.5, c)),
    ],
)
def test_vectors_equal_plain_hooks(session, what, after):
    v = vector(3)
    d = unit(torch.tensor(v.vector))
    ids = prompt_of(session)
    truth = session.run(
        torch.tensor([ids]),
        edits={v.site: lambda x: x + (after(x @ d) - x @ d)[..., None] * d},
        logits=True,
    ).logits[0]
    item = Intervention(target=v, what=what, strength=-1.5)
    torch.testing.assert_close(steered_logits(session, item, ids), truth, atol=1e-5, rtol=1e-5)


def test_a_masked_vector_keeps_its_largest_components(session):
    v = vector(1)
    masked = v.masked(0.25)
    kept = np.flatnonzero(masked.vector)
    assert len(kept) == 8
    assert np.array_equal(masked.vector[kept], v.vector[kept])
    assert np.abs(v.vector[kept]).min() >= np.abs(np.delete(v.vector, kept)).max()
    ids = prompt_of(session)
    truth = session.run(
        torch.tensor([ids]),
        edits={v.site: lambda x: x + 2 * torch.tensor(masked.vector)},
        logits=True,
    ).logits[0]
    item = Intervention(target=masked, strength=2, unit="absolute")
    torch.testing.assert_close(steered_logits(session, item, ids), truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("what", "value"), [("ablate", 0.0), ("clamp", 2.0), ("scale", None), ("add", None)]
)
def test_dimensions(session, what, value):
    index = (3, 17, 30)
    ids = prompt_of(session)

    def oracle(x):
        x = x.clone()
        columns = x[..., index]
        x[..., index] = {"scale": columns * 2.0, "add": columns + 2.0}.get(
            what, torch.full_like(columns, value or 0.0)
        )
        return x

    truth = session.run(torch.tensor([ids]), edits={"mlp_out.0": oracle}, logits=True).logits[0]
    item = Intervention(target=Dimensions(site="mlp_out.0", index=index), what=what, strength=2.0)
    torch.testing.assert_close(steered_logits(session, item, ids), truth, atol=1e-5, rtol=1e-5)


def test_heads(session):
    ids = prompt_of(session)

    def oracle(z):
        z = z.clone()
        z.view(*z.shape[:2], 4, 8)[:, :, 2] *= 0.5
        return z

    truth = session.run(torch.tensor([ids]), edits={"z.1": oracle}, logits=True).logits[0]
    item = Intervention(target=Head(layer=1, head=2), what="scale", strength=0.5)
    torch.testing.assert_close(steered_logits(session, item, ids), truth, atol=1e-4, rtol=1e-4)


POSITIONS = {
    "all": (Positions(), range(12)),
    "prompt": (Positions(phase="prompt"), range(8)),
    "generated": (Positions(phase="generated"), range(8, 12)),
    "last": (Positions(phase="last"), [7]),
    "from_last": (Positions(phase="from_last"), range(7, 12)),
    "slice": (Positions(start=2, stop=5), range(2, 5)),
    "slice of the prompt": (Positions(phase="prompt", start=5), range(5, 8)),
}


@pytest.mark.parametrize("case", POSITIONS)
def test_positions(session, case):
    positions, expected = POSITIONS[case]
    ids = torch.randint(5, 60, (12,), generator=torch.Generator().manual_seed(4)).tolist()
    v = vector(5)

    def oracle(x):
        moved = x.clone()
        moved[:, list(expected)] += 2 * torch.tensor(v.vector)
        return moved

    truth = session.run(torch.tensor([ids]), edits={v.site: oracle}, logits=True).logits[0]
    item = Intervention(target=v, strength=2, unit="absolute", positions=positions)
    ours = steered_logits(session, item, ids, length=8)
    torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-5)
    changed = Recipe.of(item, session)
    compiled = compile_recipes(session, [changed], [ids[:8]])
    assert compiled.edited_from == (min(expected),)


@pytest.mark.parametrize(
    ("part", "expected"), [("whole", "old cat"), ("last", " cat"), ("onwards", " cat sat on")]
)
def test_positions_of_a_text(session, part, expected):
    ids = prompt_of(session, "the cat saw the old cat sat on")
    low, high = Positions(phase="prompt", text="old cat", part=part).interval(session.model, ids)
    covered = session.tokenizer.decode(ids[low:high])
    assert covered.endswith(expected) if part == "last" else covered.strip() == expected.strip()
    with pytest.raises(TokenError, match="does not hold"):
        Positions(text="a bridge").interval(session.model, ids)


@pytest.mark.parametrize("read", ["resid_post.0", "resid_post.1"])
def test_conditions_on_a_feature(session, read):
    sae, index = session.saes[read], active_features(session, read, 4)[3]
    ids = prompt_of(session)
    x = session.run(torch.tensor([ids]), capture=[sae.site])[sae.site]
    fires = sae.encode_dense(x)[0, :, index]
    threshold = float(fires.median())
    where = fires > threshold
    assert 0 < int(where.sum()) < len(ids)
    v = vector(6)
    truth = session.run(
        torch.tensor([ids]),
        edits={v.site: lambda x: x + 2 * where[None, :, None] * torch.tensor(v.vector)},
        logits=True,
    ).logits[0]
    item = Intervention(
        target=v,
        strength=2,
        unit="absolute",
        positions=Positions(when=Condition(feature=f"{read}/{index}", above=threshold)),
    )
    torch.testing.assert_close(steered_logits(session, item, ids), truth, atol=1e-5, rtol=1e-5)


def some_items(session):
    one, two = active_features(session, "resid_post.1", 2)
    other = active_features(session, "mlp_out.1", 1)[0]
    return [
        Intervention(target=f"resid_post.1/{one}", strength=2.0, unit="absolute"),
        Intervention(target=f"resid_post.1/{two}", what="scale", strength=-1.0),
        Intervention(target=f"mlp_out.1/{other}", what="clamp", strength=3, unit="absolute"),
        Intervention(target=vector(1), strength=0.4, unit="norm", positions="from_last"),
        Intervention(target=vector(2), what="clamp", strength=1.0),
        Intervention(target=Dimensions(site="resid_post.1", index=(1, 2)), what="ablate"),
        Intervention(target="resid_post.0/3", strength=1.0, unit="norm", positions="prompt"),
    ]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(7)))
def test_interventions_commute(session, order):
    ids, items = prompt_of(session), some_items(session)
    first = steered_logits(session, items, ids)
    again = steered_logits(session, [items[i] for i in order], ids)
    torch.testing.assert_close(again, first, atol=1e-4, rtol=1e-4)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(a=st.floats(-3, 3), b=st.floats(-3, 3), position=st.sampled_from(["all", "prompt", "last"]))
def test_additions_add_up(session, a, b, position):
    ids, v = prompt_of(session), vector(7)

    def add(strength):
        return Intervention(target=v, strength=strength, unit="absolute", positions=position)

    split = steered_logits(session, [add(a), add(b)], ids)
    whole = steered_logits(session, add(a + b), ids)
    torch.testing.assert_close(split, whole, atol=1e-4, rtol=1e-4)


def test_edits_of_one_feature_follow_each_other(session):
    index = active_features(session, "resid_post.1", 1)[0]
    target, ids = f"resid_post.1/{index}", prompt_of(session)
    double = Intervention(target=target, what="scale", strength=2.0)
    clamp = Intervention(target=target, what="clamp", strength=3.0, unit="absolute")
    six = Intervention(target=target, what="clamp", strength=6.0, unit="absolute")
    torch.testing.assert_close(
        steered_logits(session, [clamp, double], ids), steered_logits(session, six, ids)
    )
    torch.testing.assert_close(
        steered_logits(session, [double, clamp], ids), steered_logits(session, clamp, ids)
    )


def test_projections_come_last(session):
    v, ids = vector(8), prompt_of(session)
    out = Intervention(target=v, what="project_out")
    push = Intervention(target=v, strength=5.0, unit="absolute")
    torch.testing.assert_close(
        steered_logits(session, [out, push], ids),
        steered_logits(session, out, ids),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("number", range(7))
def test_cached_generation_equals_uncached_token_by_token(session, number):
    items = some_items(session)
    recipe = Recipe.of([items[number], items[3]], session)
    prompts = [prompt_of(session), prompt_of(session, "a dog"), prompt_of(session, "she was")]
    recipes = [recipe, recipe.scaled(0.5), Recipe.of(None, session)]
    compiled = compile_recipes(session, recipes, prompts)
    batch = CachedRows(session.model, prompts, **compiled.options)
    texts = [list(prompt) for prompt in prompts]
    generator = torch.Generator().manual_seed(number)
    for _ in range(5):
        tokens = session.tokens(texts)
        edits = compiled.edits(tokens, lengths=[len(p) for p in prompts])
        truth = session.run(tokens, edits=edits, logits="last").logits[:, 0]
        torch.testing.assert_close(batch.logits, truth, atol=1e-5, rtol=1e-4)
        picked = torch.randint(5, 60, (3,), generator=generator)
        batch.feed(picked)
        for ids, token in zip(texts, picked.tolist(), strict=True):
            ids.append(token)


def test_a_batch_of_strengths_equals_one_at_a_time(session):
    items = some_items(session)
    base = Recipe.of(items, session)
    recipes = [base.scaled(factor) for factor in (0.0, 0.3, 1.0, -2.0)]
    ids = prompt_of(session)
    together = CachedRows(
        session.model, [ids] * 4, **compile_recipes(session, recipes, [ids] * 4).options
    )
    for number, recipe in enumerate(recipes):
        alone = CachedRows(
            session.model, [ids], **compile_recipes(session, [recipe], [ids]).options
        )
        torch.testing.assert_close(together.logits[number], alone.logits[0], atol=1e-4, rtol=1e-4)


def test_muted_interventions_do_nothing(session):
    ids = prompt_of(session)
    recipe = Recipe.of(some_items(session), session)
    silent = recipe.muted(*range(len(recipe)))
    compiled = compile_recipes(session, [silent], [ids])
    assert compiled.row_edits == {}
    assert compiled.edited_from == (None,)


def test_cancelling_ends_the_run(session):
    recipe = Recipe.of(vector(1), session)
    ids = prompt_of(session)
    compiled = compile_recipes(session, [recipe], [ids], cancel=lambda: True)
    with pytest.raises(Cancelled):
        CachedRows(session.model, [ids], **compiled.options)
    # Hooks are gone: the model runs as before.
    clean = session.run(torch.tensor([ids])).logits
    assert torch.equal(clean, session.run(torch.tensor([ids])).logits)
