from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench.errors import InputError, TokenError


def uncached(model, prompt, count):
    """Greedy continuation by one full forward per token."""
    ids = model.tokens(prompt).ids
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(count):
            token = model.network.plain(ids).logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, token], 1)
    return ids[0, start:].tolist()


def test_greedy_with_cache_equals_without(model):
    made = model.generate("the old cat sat", max_new_tokens=12)
    truth = uncached(model, "the old cat sat", 12)
    assert made.token_ids.tolist() == truth[: len(made.token_ids)]
    assert made.stopped == "length" or truth[len(made.token_ids)] == 2


def test_log_probs_are_the_models(model):
    made = model.generate("the cat", max_new_tokens=5)
    ids = torch.tensor([[*made.prompt_ids, *made.token_ids]])
    scores = model.run(model.tokens(ids)).logits[0].log_softmax(-1)
    start = len(made.prompt_ids)
    for index, token in enumerate(made.token_ids):
        assert made.log_probs[index] == pytest.approx(
            scores[start + index - 1, token].item(), abs=1e-4
        )


def test_sampling_is_reproducible_and_follows_the_seed(model):
    settings = {"max_new_tokens": 15, "temperature": 1.0, "top_p": 0.95, "top_k": 50}
    first = model.generate("the cat", seed=1, **settings)
    again = model.generate("the cat", seed=1, **settings)
    others = {model.generate("the cat", seed=seed, **settings).text for seed in range(2, 8)}
    assert first.text == again.text
    assert others != {first.text}
    assert first.provenance.seed == 1


def test_top_k_one_is_greedy(model):
    greedy = model.generate("the cat", max_new_tokens=8)
    narrow = model.generate("the cat", max_new_tokens=8, temperature=2.0, top_k=1)
    assert greedy.token_ids.tolist() == narrow.token_ids.tolist()


def test_text_is_prompt_and_completion(model):
    made = model.generate("the old cat", max_new_tokens=6)
    assert made.text.startswith("the old cat")
    assert made.text == "the old cat" + made.completion
    assert len(made.tokens) == len(made.token_ids) == len(made.to_pandas())


def test_stop_strings_cut_the_text(tiny_models):
    model = tiny_models["llama"]
    free = model.generate("the old cat", max_new_tokens=12)
    mark = free.completion[4:6]
    made = model.generate("the old cat", max_new_tokens=12, stop=mark)
    assert made.stopped == "stop"
    assert mark not in made.completion
    assert free.completion.startswith(made.completion)


def test_the_listener_hears_every_token_and_can_cancel(model):
    heard = []
    made = model.generate(
        "the cat", max_new_tokens=20, on_token=lambda token: heard.append(token) or len(heard) < 3
    )
    assert made.stopped == "cancelled"
    assert list(made.tokens) == heard
    assert len(heard) == 3


def test_edits_act_on_prompt_and_new_tokens(model):
    shapes = []

    def watch(value):
        shapes.append(tuple(value.shape[:2]))

    made = model.generate("the cat sat", max_new_tokens=4, edits={"resid_post.1": watch})
    prompt = len(made.prompt_ids)
    assert shapes[0] == (1, prompt)
    assert set(shapes[1:]) <= {(1, 1)}
    changed = model.generate("the cat sat", max_new_tokens=4, edits={"resid_post.1": lambda x: -x})
    assert changed.token_ids.tolist() != made.token_ids.tolist()


def test_edits_inside_modules_use_the_bridge(model):
    same = model.generate("the cat", max_new_tokens=4)
    made = model.generate("the cat", max_new_tokens=4, edits={"pattern.1": lambda x: x})
    assert made.token_ids.tolist() == same.token_ids.tolist()


def test_the_context_bounds_generation(model):
    made = model.generate("the cat " * 20, max_new_tokens=500, temperature=1.0)
    assert made.stopped in ("context", "eos")
    assert len(made.prompt_ids) + len(made.token_ids) <= model.n_ctx
    full = torch.randint(5, 50, (1, model.n_ctx))
    with pytest.raises(TokenError, match="fill the context"):
        model.generate(model.tokens(full))


@pytest.mark.parametrize(
    "bad",
    [
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"top_k": 0},
        {"top_p": 0},
        {"repetition_penalty": 0},
    ],
)
def test_settings_are_validated(tiny_models, bad):
    with pytest.raises(InputError):
        tiny_models["llama"].generate("the cat", **bad)


def test_one_prompt_at_a_time(tiny_models):
    with pytest.raises(TokenError, match="one prompt, got 2"):
        tiny_models["llama"].generate(["the cat", "a dog"])


def test_a_generation_survives_saving(model, tmp_path):
    made = model.generate("the cat", max_new_tokens=5)
    again = wb.load(made.save(tmp_path / "story"))
    assert again.text == made.text
    assert again.token_ids.tolist() == made.token_ids.tolist()
    assert again.provenance == made.provenance
    assert again.session is None
