"""Generation for many prompts at once: batched, cached, sampled several times, one seed per row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError, TokenError
from workbench.model.generate import Sampling, StopReason, end_tokens, filters
from workbench.model.generate_results import Continuation, Generations
from workbench.model.generate_rows import CachedRows, RowEdit, bytes_per_token, joins_lengths
from workbench.model.passes import Edit

if TYPE_CHECKING:
    from workbench.model.model import Model
    from workbench.model.sites import Site
    from workbench.model.tokens import Chat, TokenPolicy, Tokens

__all__ = ["Continuation", "Generations", "generate_many", "pick_tokens"]

MOST_ROWS = 128
MOST_BYTES = 1 << 30


def generate_many(
    model: Model,
    prompts: Sequence[str] | Sequence[Chat] | Tensor | Tokens,
    *,
    n: int = 1,
    max_new_tokens: int = 50,
    min_new_tokens: int = 0,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    stop: str | Sequence[str] = (),
    edits: Mapping[str | Site, Edit | Iterable[Edit]] | None = None,
    row_edits: Mapping[str | Site, RowEdit | Iterable[RowEdit]] | None = None,
    edit_keys: Sequence[Hashable] | None = None,
    edited_from: Sequence[int | None] | None = None,
    on_token: Callable[[int, str], bool | None] | None = None,
    cancel: Callable[[], bool] | None = None,
    max_rows: int = MOST_ROWS,
    max_bytes: int = MOST_BYTES,
    policy: TokenPolicy | None = None,
) -> Generations:
    """Continue many prompts, batched.

    A row's text does not depend on the other rows: rows have their own seeds and end on their own,
    and what a batch changes is at most the last bits of the logits. With ``n=1`` row i equals
    ``model.generate(prompts[i], seed=seeds[i])``.

    Parameters
    ----------
    model
        The model.
    prompts
        Texts, conversations, or `Tokens`; lengths may differ.
    n
        Samples per prompt.
    max_new_tokens, temperature, top_k, top_p, repetition_penalty, stop, policy
        As for `workbench.model.generate.generate`.
    min_new_tokens
        The text does not end of itself before so many tokens.
    seed, seeds
        Row r (prompt r // n, sample r % n) is sampled with seed ``seed + r``, or with
        ``seeds[r]``.
    edits
        Functions of an activation [row, pos, d] alone, the same for all rows.
    row_edits
        Functions of an activation and the `RowStep` it belongs to (prompt numbers, positions,
        prompt lengths), for edits that differ by row or position.
    edit_keys, edited_from
        What may be shared: see `CachedRows`.
    on_token
        Called with the row number and each new token's string; returning False ends that row.
    cancel
        Asked before each token; True ends all rows, which keep what they have.
    max_rows
        Most rows in one batch.
    max_bytes
        Most bytes of cached keys and values and of logits in one batch.
    policy
        Token policy.

    Returns
    -------
    Generations

    Raises
    ------
    TokenError
        A prompt fills the context.
    InputError
        A setting is out of range.
    """
    if n < 1 or max_new_tokens < 1 or max_rows < 1:
        raise InputError(
            f"n, max_new_tokens and max_rows must be at least 1, "
            f"got {n}, {max_new_tokens} and {max_rows}"
        )
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    tokens = model.tokens(prompts, policy)
    start = [tokens.ids[i, tokens.mask[i]].tolist() for i in range(len(tokens))]
    for index, ids in enumerate(start):
        if len(ids) >= model.n_ctx:
            raise TokenError(
                f"prompt {index}: its {len(ids)} tokens fill the context of {model.n_ctx}"
            )
    total = len(start) * n
    if seeds is not None and len(seeds) != total:
        raise InputError(f"got {len(seeds)} seeds, expected one per row: {total}")
    for name, given in (("edit_keys", edit_keys), ("edited_from", edited_from)):
        if given is not None and len(given) != len(start):
            raise InputError(f"got {len(given)} {name}, expected one per prompt: {len(start)}")
    job = _Job(
        model=model,
        start=start,
        n=n,
        seeds=list(seeds) if seeds is not None else [seed + row for row in range(total)],
        stops=[stop] if isinstance(stop, str) else list(stop),
        sampling=sampling,
        most_new=max_new_tokens,
        fewest_new=min_new_tokens,
        on_token=on_token,
        cancel=cancel,
    )
    options: dict[str, Any] = {"edits": edits, "row_edits": row_edits}
    for chunk in _chunks(job, max_rows, max_bytes, edits, row_edits):
        if job.cancelled():
            break
        job.run(chunk, options, edit_keys, edited_from)
    settings = dataclasses.asdict(sampling)
    return Generations(
        provenance=model.provenance(tokens.policy, seed=seed),
        rows=tuple(job.row(row) for row in range(total)),
        n=n,
        prompt_ids=tuple(np.array(ids, dtype=np.int64) for ids in start),
        settings={**settings, "stop": tuple(job.stops), "max_new_tokens": max_new_tokens},
    )


def pick_tokens(
    logits: Float[Tensor, "row d_vocab"],
    seen: Sequence[Sequence[int]],
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    made_filters: Any = None,
) -> Int[Tensor, " row"]:
    """Choose each row's next token.

    Parameters
    ----------
    logits
        Scores on the CPU.
    seen
        Tokens of each row so far, for the repetition penalty.
    sampling
        How to choose; its seed is not used.
    generators
        One source of randomness per row.
    made_filters
        What `filters` gave for `sampling`, to spare building it again.

    Returns
    -------
    Tensor
        Token ids.
    """
    chain = filters(sampling) if made_filters is None else made_filters
    if len(chain):
        width = max(map(len, seen)) if sampling.repetition_penalty != 1 else 1
        # Filled up with a token the row already has, which penalises nothing more.
        filled = [[*ids[-width:], *[ids[-1]] * (width - len(ids))] for ids in seen]
        padded = torch.tensor(filled)
        logits = chain(padded, logits)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    weights = torch.softmax(logits.double(), -1)
    picked = [
        torch.multinomial(weights[row], 1, generator=generator)
        for row, generator in enumerate(generators)
    ]
    return torch.cat(picked)


@dataclass(kw_only=True)
class _Job:
    """What all batches of one call share, and what every row has so far."""

    model: Model
    start: list[list[int]]
    n: int
    seeds: list[int]
    stops: list[str]
    sampling: Sampling
    most_new: int
    fewest_new: int
    on_token: Callable[[int, str], bool | None] | None
    cancel: Callable[[], bool] | None
    new: dict[int, list[int]] = field(default_factory=dict)
    log_probs: dict[int, list[float]] = field(default_factory=dict)
    reasons: dict[int, StopReason] = field(default_factory=dict)
    was_cancelled: bool = False

    def cancelled(self) -> bool:
        if not self.was_cancelled and self.cancel is not None and self.cancel():
            self.was_cancelled = True
        return self.was_cancelled

    def run(
        self,
        chunk: list[int],
        options: dict[str, Any],
        edit_keys: Sequence[Hashable] | None,
        edited_from: Sequence[int | None] | None,
    ) -> None:
        """Generate for some rows of the call."""
        prompts = list(dict.fromkeys(row // self.n for row in chunk))
        local = {prompt: at for at, prompt in enumerate(prompts)}
        batch = CachedRows(
            self.model,
            [self.start[prompt] for prompt in prompts],
            [local[row // self.n] for row in chunk],
            numbers=prompts,
            edit_keys=None if edit_keys is None else [edit_keys[prompt] for prompt in prompts],
            edited_from=None
            if edited_from is None
            else [edited_from[prompt] for prompt in prompts],
            **options,
        )
        ends, chain = end_tokens(self.model), filters(self.sampling)
        generators = {row: torch.Generator().manual_seed(self.seeds[row]) for row in chunk}
        for row in chunk:
            self.new[row], self.log_probs[row] = [], []
        here = list(chunk)
        while here:
            if self.cancelled():
                return
            logits = batch.logits.cpu()
            seen = [self.start[row // self.n] + self.new[row] for row in here]
            allowed = logits
            early = [len(self.new[row]) < self.fewest_new for row in here]
            if any(early) and ends:
                allowed = logits.clone()
                columns = torch.tensor(sorted(ends))
                allowed[torch.tensor(early).nonzero(), columns] = -torch.inf
            picked = pick_tokens(
                allowed, seen, self.sampling, [generators[row] for row in here], chain
            )
            scores = logits.gather(1, picked[:, None])[:, 0] - logits.logsumexp(-1)
            going = torch.tensor(
                [
                    self._take(row, int(token), float(score), ends)
                    for row, token, score in zip(here, picked, scores, strict=True)
                ]
            )
            here = [row for row, goes in zip(here, going.tolist(), strict=True) if goes]
            if here:
                batch.keep(going)
                batch.feed(picked[going])

    def _take(self, row: int, token: int, score: float, ends: frozenset[int]) -> bool:
        """Give a row its next token; whether it goes on."""
        new = self.new[row]
        if token in ends:
            self.reasons[row] = "eos"
            return False
        new.append(token)
        self.log_probs[row].append(score)
        if self.on_token is not None:
            string = self.model.token_string(token)
            if self.on_token(row, string) is False:
                self.reasons[row] = "cancelled"
                return False
        if self.stops and any(mark in self.completion(row) for mark in self.stops):
            self.reasons[row] = "stop"
        elif len(new) >= self.most_new:
            self.reasons[row] = "length"
        elif len(self.start[row // self.n]) + len(new) >= self.model.n_ctx:
            self.reasons[row] = "context"
        return row not in self.reasons

    def completion(self, row: int) -> str:
        """Text added so far, spaces at the seam as the tokenizer gives them."""
        tokenizer, ids = self.model.tokenizer, self.start[row // self.n]
        before = str(tokenizer.decode(ids, skip_special_tokens=True))
        whole = str(tokenizer.decode(ids + self.new.get(row, []), skip_special_tokens=True))
        return whole[len(before) :]

    def row(self, row: int) -> Continuation:
        """Return one row as data."""
        ids = self.new.get(row, [])
        completion = self.completion(row)
        cuts = [completion.find(mark) for mark in self.stops if mark in completion]
        if cuts:
            completion = completion[: min(cuts)]
        before = self.model.tokenizer.decode(self.start[row // self.n], skip_special_tokens=True)
        return Continuation(
            prompt=row // self.n,
            sample=row % self.n,
            seed=self.seeds[row],
            text=str(before) + completion,
            completion=completion,
            tokens=tuple(self.model.token_string(token) for token in ids),
            token_ids=np.array(ids, dtype=np.int64),
            log_probs=np.array(self.log_probs.get(row, ()), dtype=np.float64),
            stopped=self.reasons.get(row, "cancelled"),
        )


def _chunks(
    job: _Job, max_rows: int, max_bytes: int, edits: Any, row_edits: Any
) -> Iterator[list[int]]:
    """Rows in batches of near lengths (of equal lengths where the model needs them)."""
    model = job.model
    sites = [model.sites.resolve(site).hook for site in (*(edits or {}), *(row_edits or {}))]
    mixed = joins_lengths(model, model.network.engine_for(sites))
    per_token, per_row = bytes_per_token(model), 4 * model.d_vocab

    def length(row: int) -> int:
        return len(job.start[row // job.n])

    chunk: list[int] = []
    for row in sorted(range(len(job.start) * job.n), key=lambda row: (length(row), row)):
        size = per_row + per_token * min(length(row) + job.most_new, model.n_ctx)
        full = len(chunk) >= max_rows or (len(chunk) + 1) * size > max_bytes
        if chunk and (full or (not mixed and length(row) != length(chunk[0]))):
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk
