"""Generation with a key-value cache, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError, TokenError
from workbench.model.passes import Edit, place_edits
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model.model import Model
    from workbench.model.sites import Site
    from workbench.model.tokens import Chat, TokenPolicy, Tokens

__all__ = ["Generation", "Sampling", "StopReason", "end_tokens", "filters", "generate"]

StopReason = Literal["length", "eos", "stop", "context", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Parameters
    ----------
    temperature
        0 takes the most likely token (greedy); larger is flatter.
    top_k
        Sample among the k most likely tokens.
    top_p
        Sample among the fewest tokens whose probability adds up to this.
    repetition_penalty
        Divide the scores of tokens already present (Keskar et al. 2019); 1 does nothing.
    seed
        Seed of the sampler; the same seed gives the same text on the same machine.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.repetition_penalty <= 0:
            raise InputError(f"repetition_penalty must be above 0, got {self.repetition_penalty}")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Generation(Result):
    """A continued prompt.

    Parameters
    ----------
    text
        Prompt and continuation, special tokens left out.
    completion
        The continuation alone.
    tokens
        The continuation's tokens as a person reads them.
    token_ids
        Their ids.
    log_probs
        Log-probability of each under the model as it ran, before temperature and filters, in nats.
    prompt_ids
        Ids of the prompt's tokens.
    stopped
        Why it ended: ``"length"`` (max_new_tokens), ``"eos"``, ``"stop"`` (a stop string),
        ``"context"`` (the model's context is full) or ``"cancelled"``.
    settings
        The sampling settings as plain data.
    """

    text: str
    completion: str
    tokens: tuple[str, ...]
    token_ids: Int[np.ndarray, " new"]
    log_probs: Float[np.ndarray, " new"]
    prompt_ids: Int[np.ndarray, " prompt"]
    stopped: StopReason
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per new token: ``token``, ``token_id``, ``log_prob`` (nats)."""
        import pandas as pd

        return pd.DataFrame(
            {"token": self.tokens, "token_id": self.token_ids, "log_prob": self.log_probs}
        )

    def summary(self) -> str:
        """Return one line: how many tokens, why it stopped."""
        return f"Generation: {len(self.tokens)} tokens, stopped by {self.stopped}"

    def __repr__(self) -> str:
        return f"<{self.summary()}: {self.completion[:60]!r}>"

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        import html

        prompt = self.text.removesuffix(self.completion)
        return (
            f"<div style='white-space:pre-wrap'>{html.escape(prompt)}"
            f"<b>{html.escape(self.completion)}</b></div>"
            f"<small>{html.escape(self.summary())}</small>"
        )


def generate(
    model: Model,
    prompt: str | Chat | Tokens,
    *,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    edits: Mapping[str | Site, Edit | Iterable[Edit]] | None = None,
    on_token: Callable[[str], bool | None] | None = None,
    policy: TokenPolicy | None = None,
) -> Generation:
    """Continue one prompt.

    Parameters
    ----------
    model
        The model.
    prompt
        Text, a conversation, or `Tokens` of one row.
    max_new_tokens
        Most tokens to add.
    temperature, top_k, top_p, repetition_penalty, seed
        See `Sampling`; the default is greedy.
    stop
        Strings that end the text; the text is cut before the first of them.
    edits
        Functions applied at sites during the prompt's pass (activation [1, prompt, d]) and at each
        new token ([1, 1, d]).
    on_token
        Called with each new token's string as it comes; returning False cancels.
    policy
        Token policy.

    Returns
    -------
    Generation

    Raises
    ------
    TokenError
        The prompt is not one row, or fills the context.
    InputError
        A setting is out of range.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    tokens = model.tokens(prompt, policy)
    if len(tokens) != 1:
        raise TokenError(f"generate continues one prompt, got {len(tokens)}")
    start = tokens.ids[0, tokens.mask[0]].tolist()
    if len(start) >= model.n_ctx:
        raise TokenError(f"the prompt's {len(start)} tokens fill the context of {model.n_ctx}")
    stops = [stop] if isinstance(stop, str) else list(stop)
    loop = _Loop(model, start, sampling, edits or {})
    reason: StopReason = "length"
    ends = end_tokens(model)
    while len(loop.new) < max_new_tokens:
        if len(start) + len(loop.new) >= model.n_ctx:
            reason = "context"
            break
        token = loop.step()
        if token in ends:
            reason = "eos"
            break
        loop.new.append(token)
        if on_token is not None and on_token(model.token_string(token)) is False:
            reason = "cancelled"
            break
        if stops and any(mark in loop.completion() for mark in stops):
            reason = "stop"
            break
    return _result(model, tokens, loop, reason, stops, sampling)


def end_tokens(model: Model) -> frozenset[int]:
    """Return the tokens that end a text: the tokenizer's EOS and those the checkpoint names."""
    settings = getattr(model.network.plain, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    ids = [named] if isinstance(named, int) else list(named or ())
    return frozenset(i for i in [*ids, model.tokenizer.eos_token_id] if i is not None)


class _Loop:
    """One token after another over the network's own cache."""

    def __init__(
        self,
        model: Model,
        start: list[int],
        sampling: Sampling,
        edits: Mapping[str | Site, Edit | Iterable[Edit]],
    ) -> None:
        self.model = model
        self.start = start
        self.new: list[int] = []
        self.log_probs: list[float] = []
        self._cache: Any = None
        self._points = place_edits(model, edits)
        self._engine = model.network.engine_for(list(self._points))
        self._sampling = sampling
        self._filters = filters(sampling)
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def step(self) -> int:
        fed = self.start if self._cache is None else self.new[-1:]
        ids = torch.tensor([fed], device=self.model.device)
        options = self.model.logits_option()
        if self._cache is not None:
            options["past_key_values"] = self._cache
        with (
            self.model.lock,
            torch.inference_mode(),
            self.model.network.hooked(self._points, self._engine),
        ):
            out = self.model.network.forward(ids, engine=self._engine, use_cache=True, **options)
        self._cache = out.past_key_values
        return self._choose(out.logits[0, -1].float().cpu())

    def _choose(self, logits: Tensor) -> int:
        log_probs = torch.log_softmax(logits, -1)
        seen = torch.tensor([self.start + self.new])
        scores = self._filters(seen, logits.unsqueeze(0))[0]
        if self._sampling.temperature == 0:
            token = int(scores.argmax())
        else:
            weights = torch.softmax(scores.double(), -1)
            token = int(torch.multinomial(weights, 1, generator=self._generator))
        self.log_probs.append(float(log_probs[token]))
        return token

    def completion(self) -> str:
        """Text added so far, spaces at the seam as the tokenizer gives them."""
        tokenizer = self.model.tokenizer
        before = tokenizer.decode(self.start, skip_special_tokens=True)
        whole = tokenizer.decode(self.start + self.new, skip_special_tokens=True)
        return str(whole)[len(before) :]


def filters(sampling: Sampling) -> Any:
    """Build the chain of logits processors that `sampling` asks for, in Hugging Face order."""
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    made = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        made.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature > 0:
        made.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k is not None:
            made.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None and sampling.top_p < 1:
            made.append(TopPLogitsWarper(sampling.top_p))
    return made


def _result(
    model: Model,
    tokens: Tokens,
    loop: _Loop,
    reason: StopReason,
    stops: list[str],
    sampling: Sampling,
) -> Generation:
    import dataclasses

    completion = loop.completion()
    cuts = [completion.find(mark) for mark in stops if mark in completion]
    if cuts:
        completion = completion[: min(cuts)]
    before = str(model.tokenizer.decode(loop.start, skip_special_tokens=True))
    settings = dataclasses.asdict(sampling)
    return Generation(
        provenance=model.provenance(tokens.policy, seed=sampling.seed),
        text=before + completion,
        completion=completion,
        tokens=tuple(model.token_string(token) for token in loop.new),
        token_ids=np.array(loop.new, dtype=np.int64),
        log_probs=np.array(loop.log_probs[: len(loop.new)]),
        prompt_ids=np.array(loop.start, dtype=np.int64),
        stopped=reason,
        settings={**settings, "stop": tuple(stops)},
    )
