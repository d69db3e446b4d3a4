"""Steered text: recipes × prompts × samples in one batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.model.generate import Generation, Sampling
from workbench.steering import Intervention, Recipe, SteeredTexts, Vector

PROMPTS = ["the old cat sat", "a dog", "she was young and"]


def push(strength=1.0, seed=0, **fields):
    vector = np.random.default_rng(seed).normal(size=32)
    return Intervention(
        target=Vector(site="resid_post.1", vector=vector), strength=strength, unit="norm", **fields
    )


def test_one_prompt_gives_one_text(session):
    plain = session.generate("the cat", max_new_tokens=6)
    steered = session.generate("the cat", push(), max_new_tokens=6)
    assert isinstance(steered, Generation)
    assert (
        plain.token_ids.tolist()
        == session.model.generate("the cat", max_new_tokens=6).token_ids.tolist()
    )
    assert steered.token_ids.tolist() != plain.token_ids.tolist()
    vector = torch.tensor(push().target.vector)
    truth = session.model.generate(
        "the cat",
        max_new_tokens=6,
        edits={"resid_post.1": lambda x: x + x.norm(dim=-1, keepdim=True) * vector},
    )
    assert steered.token_ids.tolist() == truth.token_ids.tolist()


def test_recipes_and_prompts_in_one_batch_equal_one_at_a_time(session):
    recipes = [Recipe.of(None), Recipe.of(push(0.5)), Recipe.of(push(-1.0, positions="generated"))]
    settings = {"temperature": 0.8, "top_p": 0.9, "max_new_tokens": 8}
    texts = session.generate(PROMPTS, recipes, n=2, seed=3, **settings)
    assert isinstance(texts, SteeredTexts)
    assert len(texts) == 3 * 3 * 2
    for r, recipe in enumerate(recipes):
        for p, prompt in enumerate(PROMPTS):
            for j, made in enumerate(texts.of(r, p)):
                alone = session.generate(prompt, recipe, seed=3 + p * 2 + j, **settings)
                assert made.token_ids.tolist() == alone.token_ids.tolist()
    table = texts.to_pandas()
    assert table.groupby(["recipe", "prompt"]).size().tolist() == [2] * 9
    assert texts.place(17) == (2, 2)


def test_a_recipe_brings_its_sampling(session, tmp_path):
    sampling = Sampling(temperature=1.0, top_k=20, seed=9)
    recipe = Recipe.of(push()).with_(sampling=sampling, name="warm")
    first = session.generate("the cat", recipe, max_new_tokens=8)
    again = Recipe.load(recipe.for_session(session).save(tmp_path / "warm"), session)
    assert session.generate("the cat", again, max_new_tokens=8).text == first.text
    assert first.settings["seed"] == 9
    other = session.generate("the cat", recipe, max_new_tokens=8, temperature=0.0)
    assert other.settings["temperature"] == 0.0


def test_the_prompt_is_read_once_where_only_new_tokens_are_edited(session):
    prompt = "the old cat sat on the mat and slept . " * 1 + "she was young and red"
    read = []

    def watch(x):
        read.append(x.shape[0] * x.shape[1])

    recipes = [Recipe.of(push(s, positions="generated")) for s in np.linspace(-1, 1, 8)]
    texts = session.generate(prompt, recipes, max_new_tokens=3)
    length = len(texts.prompt_ids[0])
    from workbench.model.generate_rows import CachedRows
    from workbench.steering.compiled import compile_recipes

    made = [Recipe.of(r, session) for r in recipes]
    ids = texts.prompt_ids[0].tolist()
    options = compile_recipes(session, made, [ids] * 8).options
    rows = CachedRows(session.model, [ids] * 8, edits={"embed": watch}, **options)
    assert rows.prefix is not None
    assert len(rows.prefix.ids) == length - 1
    assert sum(read) == 8


def test_streaming_and_cancelling(session):
    heard: list[str] = []
    made = session.generate(
        "the cat",
        push(),
        max_new_tokens=20,
        on_token=lambda token: heard.append(token) or len(heard) < 3,
    )
    assert list(made.tokens) == heard
    assert made.stopped == "cancelled"
    rows: dict[int, list[str]] = {}
    texts = session.generate(
        PROMPTS,
        [Recipe.of(None), Recipe.of(push())],
        max_new_tokens=4,
        on_token=lambda row, token: rows.setdefault(row, []).append(token),
    )
    assert [list(row.tokens) for row in texts] == [rows.get(i, []) for i in range(6)]


def test_texts_survive_saving(session, tmp_path):
    texts = session.generate(PROMPTS, [Recipe.of(push())], max_new_tokens=4)
    again = wb.load(texts.save(tmp_path / "texts"))
    assert [row.text for row in again] == [row.text for row in texts]
    assert again.recipes[0].interventions == texts.recipes[0].interventions


def test_seeds_are_one_per_prompt_and_sample(session):
    with pytest.raises(InputError, match="got 2 seeds"):
        session.generate(PROMPTS, seeds=[1, 2])


def test_heads_are_steered_in_generation(session):
    from workbench.steering import Head

    item = Intervention(target=Head(layer=1, head=2), what="scale", strength=-3.0)
    texts = session.generate(PROMPTS, [Recipe.of(item), Recipe()], max_new_tokens=5)

    def oracle(z):
        z = z.clone()
        z.view(*z.shape[:2], 4, 8)[:, :, 2] *= -3.0
        return z

    for number, prompt in enumerate(PROMPTS):
        truth = session.model.generate(prompt, max_new_tokens=5, edits={"z.1": oracle})
        assert texts.of(0, number)[0].token_ids.tolist() == truth.token_ids.tolist()
        plain = session.model.generate(prompt, max_new_tokens=5)
        assert texts.of(1, number)[0].token_ids.tolist() == plain.token_ids.tolist()
