from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench.errors import InputError, TokenError
from workbench.model.generate_many import generate_many
from workbench.model.generate_rows import CachedRows

PROMPTS = ["the old cat sat", "a dog", "she was young and", "the bank", "he loved the red tree."]
SAMPLED = {"max_new_tokens": 10, "temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1}


def uncached_logits(model, ids):
    with torch.inference_mode():
        return model.network.plain(torch.tensor([ids])).logits[0, -1].float()


@pytest.mark.parametrize("settings", [{"max_new_tokens": 10}, SAMPLED])
def test_rows_equal_single_generation(model, settings):
    many = generate_many(model, PROMPTS, n=3, seed=5, **settings)
    assert len(many) == len(PROMPTS) * 3
    for index, row in enumerate(many):
        alone = model.generate(PROMPTS[index // 3], seed=5 + index, **settings)
        assert row.token_ids.tolist() == alone.token_ids.tolist()
        assert row.completion == alone.completion
        assert row.stopped == alone.stopped
        assert row.log_probs == pytest.approx(alone.log_probs, abs=1e-4)


def test_logits_equal_uncached_ones_at_every_token(model):
    # Rows of three lengths, one dropped on the way.
    prompts = [model.tokens(text).ids[0].tolist() for text in PROMPTS[:3]]
    batch = CachedRows(model, prompts, [0, 1, 1, 2])
    texts = [list(prompts[i]) for i in (0, 1, 1, 2)]
    generator = torch.Generator().manual_seed(0)
    for step in range(8):
        for row, ids in enumerate(texts):
            torch.testing.assert_close(
                batch.logits[row], uncached_logits(model, ids), atol=1e-4, rtol=1e-4
            )
        tokens = torch.randint(5, 60, (len(texts),), generator=generator)
        if step == 3:
            batch.keep(torch.tensor([True, False, True, True]))
            texts, tokens = [texts[i] for i in (0, 2, 3)], tokens[[0, 2, 3]]
            assert batch.kept.tolist() == [0, 2, 3]
        batch.feed(tokens)
        for ids, token in zip(texts, tokens.tolist(), strict=True):
            ids.append(token)


def test_small_batches_give_the_same_texts(tiny_models):
    model = tiny_models["llama"]
    whole = generate_many(model, PROMPTS, n=2, **SAMPLED)
    parts = generate_many(model, PROMPTS, n=2, max_rows=3, **SAMPLED)
    tight = generate_many(model, PROMPTS, n=2, max_bytes=1, **SAMPLED)
    texts = [row.text for row in whole]
    assert [row.text for row in parts] == texts
    assert [row.text for row in tight] == texts


def test_prompts_in_the_sliding_window_and_beyond(tmp_path):
    import checkpoints

    model = wb.open(
        checkpoints.write("gemma2", tmp_path / "m", sliding_window=6), device="cpu"
    ).model
    many = generate_many(model, PROMPTS, max_new_tokens=10)
    for prompt, row in zip(PROMPTS, many, strict=True):
        alone = model.generate(prompt, max_new_tokens=10)
        assert row.token_ids.tolist() == alone.token_ids.tolist()


def test_row_edits_see_their_rows_and_positions(model):
    seen = {}

    def push(x, step):
        for row, prompt in enumerate(step.prompt.tolist()):
            for at in step.positions[row].tolist():
                seen.setdefault(prompt, set()).add(at)
        assert x.shape[:2] == step.positions.shape
        direction = torch.linspace(-1, 1, x.shape[-1])
        return x + 3 * step.prompt[:, None, None] * direction

    many = generate_many(model, PROMPTS, max_new_tokens=6, row_edits={"resid_post.1": push})
    for index, row in enumerate(many):
        direction = torch.linspace(-1, 1, model.d_model)
        alone = model.generate(
            PROMPTS[index],
            max_new_tokens=6,
            edits={"resid_post.1": lambda x, d=direction, i=index: x + 3 * i * d},
        )
        assert row.token_ids.tolist() == alone.token_ids.tolist()
        last = len(many.prompt_ids[index]) + len(row.token_ids) - 1
        fed = last if row.stopped == "eos" else last - 1
        assert seen[index] == set(range(fed + 1))


def test_the_step_tells_prompt_from_generated(model):
    phases = []

    def watch(x, step):
        phases.append((step.generated.clone(), step.last_of_prompt.clone()))

    made = generate_many(
        model, ["the cat sat"], max_new_tokens=3, row_edits={"resid_post.0": watch}
    )
    prompt = len(made.prompt_ids[0])
    generated, last = phases[0]
    assert generated.shape == (1, prompt)
    assert not generated.any()
    assert last[0].tolist() == [False] * (prompt - 1) + [True]
    assert all(bool(g.all()) and not bool(at.any()) for g, at in phases[1:])


def test_edits_inside_modules_run_in_groups_of_one_length(tiny_models):
    model = tiny_models["llama"]
    same = generate_many(model, PROMPTS, max_new_tokens=4)
    made = generate_many(model, PROMPTS, max_new_tokens=4, edits={"pattern.1": lambda x: x})
    assert [r.token_ids.tolist() for r in made] == [r.token_ids.tolist() for r in same]


def count_read_tokens(model, **options):
    read = []

    def watch(x):
        read.append(x.shape[0] * x.shape[1])

    rows = CachedRows(model, edits={"resid_post.0": watch}, **options)
    return rows, sum(read)


def test_equal_prompts_and_unedited_prefixes_are_read_once(model):
    ids = torch.randint(5, 60, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    prompts = [[*ids, 7, 8], [*ids, 9], [*ids, 7, 8]]
    rows, read = count_read_tokens(
        model, prompts=prompts, rows=[0, 0, 1, 2], edited_from=[None] * 3, edit_keys=[0, 0, 0]
    )
    # The prefix's own pass runs without edits; after it 2 + 1 tokens are left.
    assert read == 3
    assert rows.prefix is not None
    assert rows.prefix.ids == tuple(ids)
    plain = CachedRows(model, prompts, [0, 0, 1, 2], edits={"resid_post.0": lambda x: None})
    assert plain.prefix is None
    torch.testing.assert_close(rows.logits, plain.logits, atol=1e-4, rtol=1e-4)
    # Read again with the prefix at hand, cut to where edits begin.
    again, read = count_read_tokens(
        model, prompts=prompts, prefix=rows.prefix, edited_from=[None, 39, None]
    )
    assert again.prefix is not None
    assert again.prefix.ids == tuple(ids[:39])
    assert read == 3 + 2
    torch.testing.assert_close(again.logits, rows.logits[[0, 2, 3]], atol=1e-4, rtol=1e-4)


def test_cancelling_keeps_what_there_is(tiny_models):
    model = tiny_models["gpt2"]
    count = iter(range(100))
    made = generate_many(model, PROMPTS, max_new_tokens=20, cancel=lambda: next(count) >= 4)
    assert {row.stopped for row in made} <= {"cancelled", "eos"}
    assert max(len(row.token_ids) for row in made) == 3
    whole = generate_many(model, PROMPTS, max_new_tokens=20)
    for row, full in zip(made, whole, strict=True):
        assert full.token_ids.tolist()[: len(row.token_ids)] == row.token_ids.tolist()


def test_a_listener_can_end_one_row(tiny_models):
    model = tiny_models["gpt2"]
    heard: dict[int, list[str]] = {}

    def listen(row, token):
        heard.setdefault(row, []).append(token)
        return not (row == 1 and len(heard[1]) == 2)

    made = generate_many(model, PROMPTS, max_new_tokens=8, on_token=listen)
    assert [list(row.tokens) for row in made] == [heard[i] for i in range(len(PROMPTS))]
    assert made[1].stopped == "cancelled"
    assert len(made[1].tokens) == 2
    assert made[0].stopped in ("length", "eos")


def test_stop_strings_end_their_rows(tiny_models):
    model = tiny_models["llama"]
    free = generate_many(model, PROMPTS, max_new_tokens=12)
    mark = free[0].completion[4:6]
    made = generate_many(model, PROMPTS, max_new_tokens=12, stop=[mark])
    assert made[0].stopped == "stop"
    for row, whole in zip(made, free, strict=True):
        assert mark not in row.completion
        assert row.completion == whole.completion.split(mark)[0]


def test_texts_can_be_kept_from_ending(tiny_models):
    from workbench.model.generate import end_tokens

    model = tiny_models["llama"]
    ends = torch.tensor(sorted(end_tokens(model)))

    def end_now(x):
        # The row of the unembedding that makes the text end at once.
        return 50 * model.bridge.unembed.W_U[:, ends[0]].expand_as(x)

    options = {"max_new_tokens": 6, "edits": {"final": end_now}}
    assert all(
        row.stopped == "eos" and not row.tokens for row in generate_many(model, PROMPTS, **options)
    )
    made = generate_many(model, PROMPTS, min_new_tokens=4, **options)
    assert [len(row.token_ids) for row in made] == [4] * len(PROMPTS)
    assert {row.stopped for row in made} == {"eos"}


def test_results_are_tables_and_files(tiny_models, tmp_path):
    model = tiny_models["llama"]
    made = generate_many(model, PROMPTS, n=2, **SAMPLED)
    assert made.to_pandas().shape == (10, 7)
    again = wb.load(made.save(tmp_path / "rows"))
    assert [row.text for row in again] == [row.text for row in made]
    assert again.of_prompt(3)[1].seed == 7
    assert made.generation(3).text == made[3].text


@pytest.mark.parametrize(
    "bad",
    [
        {"n": 0},
        {"max_new_tokens": 0},
        {"seeds": [1]},
        {"edit_keys": [1]},
        {"temperature": -1},
    ],
)
def test_settings_are_validated(tiny_models, bad):
    with pytest.raises(InputError):
        generate_many(tiny_models["llama"], PROMPTS, **bad)


def test_prompts_that_fill_the_context_are_named(tiny_models):
    model = tiny_models["llama"]
    rows = [[5, 6], [7] * model.n_ctx]
    with pytest.raises(TokenError, match="prompt 1"):
        generate_many(model, rows)


def test_rows_that_begin_alike_share_what_precedes_their_edits(model):
    generator = torch.Generator().manual_seed(2)
    texts = [torch.randint(5, 60, (30,), generator=generator).tolist() for _ in range(3)]
    prompts = texts * 4
    read = []

    def push(x, step):
        read.append(x.shape[0] * x.shape[1])
        here = step.positions >= 29
        return x + (here * step.prompt[:, None])[..., None] * 0.3

    options = {"row_edits": {"resid_post.1": push}}
    rows = CachedRows(model, prompts, edited_from=[None] * 3 + [29] * 9, **options)
    # Twelve last tokens; the three beginnings are read without edits.
    assert sum(read) == 12
    plain = CachedRows(model, prompts, **options)
    torch.testing.assert_close(rows.logits, plain.logits, atol=1e-4, rtol=1e-4)
    tokens = torch.randint(5, 60, (12,), generator=generator)
    torch.testing.assert_close(rows.feed(tokens), plain.feed(tokens), atol=1e-4, rtol=1e-4)
