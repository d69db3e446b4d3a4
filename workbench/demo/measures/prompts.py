"""Running many short prompts through the demo model: next-token logits and greedy answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["continued", "greedy_answers", "last_logits"]


def _by_length(prompts: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Group prompts of like length, so that batches hold little padding."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    return [order[start : start + size] for start in range(0, len(order), size)]


@torch.inference_mode()
def last_logits(
    model: LlamaForCausalLM, prompts: Sequence[Sequence[int]], *, batch: int = 128
) -> Float[Tensor, "prompts vocab"]:
    """Return the logits after each prompt.

    Parameters
    ----------
    model
        The demo model.
    prompts
        Token ids, BOS included.
    batch
        Prompts per forward pass.

    Returns
    -------
    Tensor of float32, shape (prompts, vocab), on the CPU
    """
    result = torch.empty(len(prompts), model.config.vocab_size)
    pad = model.config.pad_token_id
    for chosen in _by_length(prompts, batch):
        longest = max(len(prompts[index]) for index in chosen)
        ids = torch.full((len(chosen), longest), pad)
        for row, index in enumerate(chosen):
            ids[row, : len(prompts[index])] = torch.tensor(prompts[index])
        # Padding is on the right, so the causal mask alone keeps it out of sight.
        logits = model(input_ids=ids.to(model.device), use_cache=False).logits
        ends = torch.tensor([len(prompts[index]) - 1 for index in chosen])
        rows = torch.arange(len(chosen))
        result[torch.tensor(chosen)] = logits.cpu()[rows, ends].float()
    return result


def continued(
    model: LlamaForCausalLM,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    batch: int = 128,
) -> list[bool]:
    """Say for each prompt whether greedy decoding continues it with its answer, token by token.

    Parameters
    ----------
    model
        The demo model.
    prompts, answers
        Token ids; an answer has at least one token.
    batch
        Prompts per forward pass.
    """
    right = [True] * len(prompts)
    for step in range(max(map(len, answers))):
        open_ones = [i for i in range(len(prompts)) if right[i] and len(answers[i]) > step]
        given = [[*prompts[i], *answers[i][:step]] for i in open_ones]
        best = last_logits(model, given, batch=batch).argmax(-1).tolist()
        for index, token in zip(open_ones, best, strict=True):
            right[index] = token == answers[index][step]
    return right


@torch.inference_mode()
def greedy_answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    *,
    max_new_tokens: int = 24,
    batch: int = 128,
) -> list[str]:
    """Answer each question in the chat template, greedily.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    questions
        What the user says.
    max_new_tokens
        Answers end at the end token or after so many.
    batch
        Questions per generation.

    Returns
    -------
    list of str
        The assistant's words.
    """
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        for question in questions
    ]
    answers = [""] * len(questions)
    pad = model.config.pad_token_id
    for chosen in _by_length(prompts, batch):
        longest = max(len(prompts[index]) for index in chosen)
        ids = torch.full((len(chosen), longest), pad)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(chosen):
            ids[row, longest - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, longest - len(prompts[index]) :] = 1
        made = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
        )
        for row, index in enumerate(chosen):
            answers[index] = tokenizer.decode(made[row, longest:], skip_special_tokens=True)
    return answers
