"""What the model can do: agreement, indirect objects, greater-than, on held-out contrast pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.demo.measures.prompts import last_logits

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from workbench.demo.tasks.base import ContrastPair

__all__ = ["behaviours", "contrast_accuracy", "later_year_accuracy"]

# Task, name of the measure, bar.
_CONTRASTS = (
    ("agreement_simple", "agreement simple", 0.98),
    ("agreement_across_pp", "agreement across_pp", 0.95),
    ("agreement_within_rc", "agreement within_rc", 0.95),
    ("agreement_across_rc", "agreement across_rc", 0.95),
    ("ioi", "IOI", 0.95),
    ("ioi_new_names", "IOI, names new to the task", 0.95),
)
_YEAR = re.compile(r"\d\d(\d\d)")


def contrast_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[ContrastPair]
) -> float:
    """Return how often the right answer beats the other one, over both prefixes of each pair.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    pairs
        Contrast pairs whose patch answer is wrong after the clean prefix and the other way round.
    """
    prefixes = [text for pair in pairs for text in (pair.clean_prefix, pair.patch_prefix)]
    logits = last_logits(model, [tokenizer(text)["input_ids"] for text in prefixes])
    right = 0
    for index, pair in enumerate(pairs):
        clean, patch = (
            _token(tokenizer, answer) for answer in (pair.clean_answer, pair.patch_answer)
        )
        right += int(logits[2 * index, clean] > logits[2 * index, patch])
        right += int(logits[2 * index + 1, patch] > logits[2 * index + 1, clean])
    return right / len(prefixes)


def later_year_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[ContrastPair]
) -> float:
    """Return how often the likeliest next token is a year later than the one in the prefix.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    pairs
        Greater-than pairs; both prefixes name a year in four digits and end with a century.
    """
    prefixes = [text for pair in pairs for text in (pair.clean_prefix, pair.patch_prefix)]
    logits = last_logits(model, [tokenizer(text)["input_ids"] for text in prefixes])
    best = tokenizer.convert_ids_to_tokens(logits.argmax(-1).tolist())
    right = 0
    for text, token in zip(prefixes, best, strict=True):
        year = _YEAR.search(text)
        if year is None:
            msg = f"expected a year of four digits in the prefix, got {text!r}"
            raise ValueError(msg)
        right += token.isdigit() and int(token) > int(year[1])
    return right / len(prefixes)


def behaviours(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    pairs: int = 400,
    seed: int = 0,
) -> list[tuple[str, float, float]]:
    """Measure every behaviour that has a bar.

    Parameters
    ----------
    model, tokenizer
        The demo model.
    pairs
        Held-out pairs per task.
    seed
        Seed of the pairs.

    Returns
    -------
    list of (name, accuracy, bar)
    """
    from workbench.demo import tasks

    found = []
    for task, name, bar in _CONTRASTS:
        examples = tasks.load(task, "test", pairs, seed).examples
        found.append((name, contrast_accuracy(model, tokenizer, examples), bar))
    years = tasks.load("greater_than", "test", pairs, seed).examples
    found.append(("greater-than", later_year_accuracy(model, tokenizer, years), 0.95))
    return found


def _token(tokenizer: PreTrainedTokenizerFast, answer: str) -> int:
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        msg = f"expected an answer of one known token, got {answer!r} with ids {ids}"
        raise ValueError(msg)
    return int(ids[0])
