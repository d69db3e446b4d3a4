"""Steered and unsteered text side by side, token by token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from workbench.errors import InputError, TokenError
from workbench.model.generate import Sampling, StopReason, end_tokens, filters
from workbench.model.generate_many import pick_tokens
from workbench.model.generate_rows import CachedRows
from workbench.results import Result, storable
from workbench.steering.changed import ChangedFeatures, changed_features
from workbench.steering.compiled import Cancelled, compile_recipes
from workbench.steering.preview import kl_divergence
from workbench.steering.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import TokenPolicy
    from workbench.session import Session

__all__ = ["SideText", "SideToken", "SteeredStream", "stream"]

Side = Literal["steered", "unsteered"]
# Rows of the batch: the steered text; the unsteered one; the unsteered model reading the steered
# text, whose scores tell how far steering departs from it.
_STEERED, _UNSTEERED, _READING = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class SideToken:
    """One new token, as it comes.

    Parameters
    ----------
    side
        Which text it belongs to.
    index
        Its number among the new tokens.
    token_id, token
        Id and string.
    log_prob
        Log-probability under the model that wrote it, nats.
    unsteered_log_prob
        Under the unsteered model.
    kl
        KL(steered ‖ unsteered) of the distribution it was drawn from, nats; 0 in unsteered text.
    """

    side: Side
    index: int
    token_id: int
    token: str
    log_prob: float
    unsteered_log_prob: float
    kl: float


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class SideText:
    """One of the two texts.

    Parameters
    ----------
    completion
        The new text.
    tokens, token_ids
        Its tokens.
    log_probs, unsteered_log_probs, kl
        Per token, as in `SideToken`.
    stopped
        Why it ended.
    """

    completion: str
    tokens: tuple[str, ...]
    token_ids: Int[np.ndarray, " new"]
    log_probs: Float[np.ndarray, " new"]
    unsteered_log_probs: Float[np.ndarray, " new"]
    kl: Float[np.ndarray, " new"]
    stopped: StopReason

    @property
    def perplexity(self) -> float:
        """Perplexity of the new text under the unsteered model; NaN for an empty one."""
        if not len(self.token_ids):
            return float("nan")
        return float(np.exp(-self.unsteered_log_probs.mean()))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SteeredStream(Result):
    """A prompt continued with and without a recipe.

    Parameters
    ----------
    prompt
        The prompt as text.
    prompt_ids
        Its tokens.
    recipe
        What was changed.
    steered, unsteered
        The two texts.
    changes
        Features that differ when both models read the steered text; None where not asked for.
    settings
        Sampling settings.
    """

    prompt: str
    prompt_ids: Int[np.ndarray, " prompt"]
    recipe: Recipe
    steered: SideText
    unsteered: SideText
    changes: ChangedFeatures | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per new token of either text."""
        import pandas as pd

        parts = [
            pd.DataFrame(
                {
                    "side": side,
                    "token": text.tokens,
                    "token_id": text.token_ids,
                    "log_prob": text.log_probs,
                    "unsteered_log_prob": text.unsteered_log_probs,
                    "kl": text.kl,
                }
            )
            for side, text in (("steered", self.steered), ("unsteered", self.unsteered))
        ]
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> str:
        """Return one line: lengths and perplexities."""
        return (
            f"SteeredStream: {len(self.steered.tokens)} steered tokens (perplexity "
            f"{self.steered.perplexity:.3g} unsteered), {len(self.unsteered.tokens)} unsteered "
            f"({self.unsteered.perplexity:.3g})"
        )


def stream(
    session: Session,
    prompt: Any,
    recipe: Any,
    *,
    max_new_tokens: int = 40,
    on_token: Callable[[SideToken], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    stop: str | Sequence[str] = (),
    changes: int = 12,
    saes: Sequence[str] | None = None,
    policy: TokenPolicy | None = None,
    **sampling: Any,
) -> SteeredStream:
    """Continue a prompt with and without a recipe, in one batch.

    Parameters
    ----------
    session
        The session.
    prompt
        Text, a conversation, or `Tokens` of one row.
    recipe
        Anything `Recipe.of` understands.
    max_new_tokens
        Most tokens to add to each.
    on_token
        Called with each new token of either text.
    cancel
        Asked before each token and at every edited site; True ends both texts, which keep what
        they have.
    stop
        Strings that end a text.
    changes
        How many changed features to report; 0 for none.
    saes
        SAEs to look for changes in; by default all that the edits reach.
    policy
        Token policy.
    **sampling
        Settings of `Sampling`; the recipe's own where not given. Both texts use the same seed.

    Returns
    -------
    SteeredStream

    Raises
    ------
    TokenError
        The prompt is not one row, or fills the context.
    InputError
        A setting is out of range or the recipe does not fit.
    Cancelled
        Cancelled before the prompt was read.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    tokens = session.tokens(prompt, policy)
    if len(tokens) != 1:
        raise TokenError(f"stream continues one prompt, got {len(tokens)}")
    ids: list[int] = tokens.ids[0, tokens.mask[0]].tolist()
    if len(ids) >= session.model.n_ctx:
        raise TokenError(f"the prompt's {len(ids)} tokens fill the context")
    made = Recipe.of(recipe, session)
    settings = dataclasses.replace(made.sampling, **sampling)
    writing = _Writing(
        session, made, ids, settings, [stop] if isinstance(stop, str) else list(stop)
    )
    writing.run(max_new_tokens, on_token, cancel)
    found = None
    if changes and not (cancel is not None and cancel()):
        text = ids + writing.new[_STEERED]
        found = changed_features(session, made, text, len(ids), saes=saes, k=changes)
    return SteeredStream(
        provenance=session.model.provenance(tokens.policy, saes=made.saes, seed=settings.seed),
        prompt=str(session.tokenizer.decode(ids, skip_special_tokens=True)),
        prompt_ids=np.array(ids, dtype=np.int64),
        recipe=made,
        steered=writing.text(_STEERED),
        unsteered=writing.text(_UNSTEERED),
        changes=found,
        settings={**dataclasses.asdict(settings), "max_new_tokens": max_new_tokens},
    ).bound_to(session)


class _Writing:
    """The two texts as they grow."""

    def __init__(
        self,
        session: Session,
        recipe: Recipe,
        ids: list[int],
        sampling: Sampling,
        stops: Sequence[str],
    ) -> None:
        self.session, self.recipe, self.ids = session, recipe, ids
        self.sampling, self.stops = sampling, list(stops)
        self.new: list[list[int]] = [[], []]
        self.figures: list[list[tuple[float, float, float]]] = [[], []]
        self.reasons: list[StopReason | None] = [None, None]
        self._figures = (0.0, 0.0, 0.0)

    def run(
        self,
        most: int,
        on_token: Callable[[SideToken], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        empty = Recipe()
        recipes = [self.recipe, empty, empty]
        compiled = compile_recipes(self.session, recipes, [self.ids] * 3, cancel=cancel)
        rows = CachedRows(self.session.model, [self.ids] * 3, **compiled.options)
        chain, ends = filters(self.sampling), end_tokens(self.session.model)
        seed = self.sampling.seed
        generators = [torch.Generator().manual_seed(seed) for _ in (_STEERED, _UNSTEERED)]
        try:
            while None in self.reasons:
                if cancel is not None and cancel():
                    return
                kept = rows.kept.tolist()
                logits = {row: rows.logits[at].cpu() for at, row in enumerate(kept)}
                fed: dict[int, int] = {}
                for side in (_STEERED, _UNSTEERED):
                    if self.reasons[side] is None:
                        fed[side] = self._next(side, logits, generators[side], chain)
                        self._take(side, fed[side], ends, most, on_token)
                if _STEERED in fed:
                    fed[_READING] = fed[_STEERED]
                going = torch.tensor([self._goes_on(row) for row in kept])
                if not bool(going.any()):
                    return
                rows.keep(going)
                rows.feed(torch.tensor([fed[row] for row in rows.kept.tolist()]))
        except Cancelled:
            return

    def _goes_on(self, row: int) -> bool:
        return self.reasons[_STEERED if row == _READING else row] is None

    def _next(
        self, side: int, logits: dict[int, torch.Tensor], generator: torch.Generator, chain: Any
    ) -> int:
        own = logits[side]
        plain = logits[_READING] if side == _STEERED else own
        seen = [self.ids + self.new[side]]
        token = int(pick_tokens(own[None], seen, self.sampling, [generator], chain)[0])
        kl = float(kl_divergence(own, plain)) if side == _STEERED else 0.0
        self._figures = (
            float(own.log_softmax(-1)[token]),
            float(plain.log_softmax(-1)[token]),
            kl,
        )
        return token

    def _take(
        self,
        side: int,
        token: int,
        ends: frozenset[int],
        most: int,
        on_token: Callable[[SideToken], None] | None,
    ) -> None:
        if token in ends:
            self.reasons[side] = "eos"
            return
        self.new[side].append(token)
        self.figures[side].append(self._figures)
        if on_token is not None:
            own, plain, kl = self._figures
            on_token(
                SideToken(
                    side="steered" if side == _STEERED else "unsteered",
                    index=len(self.new[side]) - 1,
                    token_id=token,
                    token=self.session.model.token_string(token),
                    log_prob=own,
                    unsteered_log_prob=plain,
                    kl=kl,
                )
            )
        if any(mark in self.completion(side) for mark in self.stops):
            self.reasons[side] = "stop"
        elif len(self.new[side]) >= most:
            self.reasons[side] = "length"
        elif len(self.ids) + len(self.new[side]) >= self.session.model.n_ctx:
            self.reasons[side] = "context"

    def completion(self, side: int) -> str:
        decode = self.session.tokenizer.decode
        before = str(decode(self.ids, skip_special_tokens=True))
        return str(decode(self.ids + self.new[side], skip_special_tokens=True))[len(before) :]

    def text(self, side: int) -> SideText:
        completion = self.completion(side)
        cuts = [completion.find(mark) for mark in self.stops if mark in completion]
        figures = np.array(self.figures[side], dtype=np.float64).reshape(-1, 3)
        strings = self.session.model.token_string
        return SideText(
            completion=completion[: min(cuts)] if cuts else completion,
            tokens=tuple(strings(token) for token in self.new[side]),
            token_ids=np.array(self.new[side], dtype=np.int64),
            log_probs=figures[:, 0],
            unsteered_log_probs=figures[:, 1],
            kl=figures[:, 2],
            stopped=self.reasons[side] or "cancelled",
        )
