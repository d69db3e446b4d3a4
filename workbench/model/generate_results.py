"""What batched generation gives: continuations, sample after sample, prompt after prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from workbench.model.generate import Generation, StopReason
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Continuation", "Generations"]


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class Continuation:
    """One sample of one prompt.

    Parameters
    ----------
    prompt, sample, seed
        Number of the prompt, number of the sample, and the sampler's seed.
    text, completion
        Prompt and continuation without special tokens; the continuation alone.
    tokens, token_ids, log_probs
        The continuation's tokens as a person reads them, their ids, and their log-probabilities
        under the model as it ran (nats, before temperature and filters).
    stopped
        Why it ended.
    """

    prompt: int
    sample: int
    seed: int
    text: str
    completion: str
    tokens: tuple[str, ...]
    token_ids: Int[np.ndarray, " new"]
    log_probs: Float[np.ndarray, " new"]
    stopped: StopReason

    def __repr__(self) -> str:
        return f"<prompt {self.prompt}, sample {self.sample}: {self.completion[:60]!r}>"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Generations(Result):
    """Continuations of many prompts: a sequence, sample after sample, prompt after prompt.

    Parameters
    ----------
    rows
        The continuations; those of prompt i are ``rows[i * n : (i + 1) * n]``.
    n
        Samples per prompt.
    prompt_ids
        Token ids of each prompt.
    settings
        Sampling settings.
    """

    rows: tuple[Continuation, ...]
    n: int
    prompt_ids: tuple[Int[np.ndarray, " prompt"], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Continuation:
        return self.rows[row]

    def __iter__(self) -> Iterator[Continuation]:
        return iter(self.rows)

    def of_prompt(self, prompt: int) -> tuple[Continuation, ...]:
        """Return the samples of one prompt."""
        return self.rows[prompt * self.n : (prompt + 1) * self.n]

    def generation(self, row: int) -> Generation:
        """Return one row as a result of its own."""
        made = self.rows[row]
        return Generation(
            provenance=dataclasses.replace(self.provenance, seed=made.seed),
            text=made.text,
            completion=made.completion,
            tokens=made.tokens,
            token_ids=made.token_ids,
            log_probs=made.log_probs,
            prompt_ids=self.prompt_ids[made.prompt],
            stopped=made.stopped,
            settings=self.settings,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per continuation.

        Columns are ``prompt``, ``sample``, ``seed``, ``completion``, ``n_tokens``, ``log_prob``
        (mean per token, nats) and ``stopped``.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "prompt": [row.prompt for row in self.rows],
                "sample": [row.sample for row in self.rows],
                "seed": [row.seed for row in self.rows],
                "completion": [row.completion for row in self.rows],
                "n_tokens": [len(row.token_ids) for row in self.rows],
                "log_prob": [
                    float(row.log_probs.mean()) if len(row.log_probs) else float("nan")
                    for row in self.rows
                ],
                "stopped": [row.stopped for row in self.rows],
            }
        )

    def summary(self) -> str:
        """Return one line: how many prompts, samples and tokens."""
        total = sum(len(row.token_ids) for row in self.rows)
        return f"Generations: {len(self.prompt_ids)} prompts × {self.n} samples, {total} tokens"
