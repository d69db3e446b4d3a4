"""What comes next, with and without a recipe: quick enough to follow a slider."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from workbench.errors import InputError, TokenError
from workbench.model.generate_rows import CachedRows
from workbench.results import Result
from workbench.steering.compiled import Cancelled, compile_recipes
from workbench.steering.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from workbench.model import TokenPolicy
    from workbench.session import Session

__all__ = ["NextTokens", "Preview", "kl_divergence"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NextTokens(Result):
    """The distribution of the next token before and after steering.

    Parameters
    ----------
    token_ids, tokens
        The most likely tokens of either, by falling larger probability.
    before, after
        Their probabilities in the unsteered and in the steered model.
    kl
        KL(after ‖ before) over the whole vocabulary, nats.
    prompt
        The prompt as text.
    recipe
        What was changed.
    """

    token_ids: Int[np.ndarray, " token"]
    tokens: tuple[str, ...]
    before: Float[np.ndarray, " token"]
    after: Float[np.ndarray, " token"]
    kl: float
    prompt: str
    recipe: Recipe = field(default_factory=Recipe)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per token: ``token``, ``token_id``, ``before``, ``after``, ``change``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "token": self.tokens,
                "token_id": self.token_ids,
                "before": self.before,
                "after": self.after,
                "change": self.after - self.before,
            }
        )

    def summary(self) -> str:
        """Return one line: the likeliest token before and after, and how far apart they are."""
        first, then = int(self.before.argmax()), int(self.after.argmax())
        return (
            f"NextTokens: {self.tokens[first]!r} {self.before[first]:.0%} → "
            f"{self.tokens[then]!r} {self.after[then]:.0%}, KL {self.kl:.3f} nats"
        )


def kl_divergence(
    after: Float[torch.Tensor, "*row d_vocab"], before: Float[torch.Tensor, "*row d_vocab"]
) -> Float[torch.Tensor, "*row"]:
    """Return KL(after ‖ before) of distributions given by their logits, in nats."""
    p, q = after.double().log_softmax(-1), before.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)


class Preview:
    """The next token of one prompt under one recipe after another.

    The prompt is read once without steering; of that, whatever precedes the first edited position
    is used again. A request that comes while another is running replaces it: the older one ends
    with `Cancelled` at the next edited site.

    Parameters
    ----------
    session
        The session.
    prompt
        Text, a conversation, or `Tokens` of one row.
    policy
        Token policy.

    Raises
    ------
    TokenError
        The prompt is not one row.
    """

    def __init__(self, session: Session, prompt: Any, *, policy: TokenPolicy | None = None) -> None:
        tokens = session.tokens(prompt, policy)
        if len(tokens) != 1:
            raise TokenError(f"a preview continues one prompt, got {len(tokens)}")
        self.session = session
        self.ids: list[int] = tokens.ids[0, tokens.mask[0]].tolist()
        self.text = str(session.tokenizer.decode(self.ids, skip_special_tokens=True))
        unsteered = CachedRows(session.model, [self.ids])
        self.logits = unsteered.logits[0].cpu()
        self._prefix = unsteered.as_prefix()
        self._latest = 0
        self._counting = threading.Lock()

    def next_tokens(
        self,
        recipe: Any,
        k: int = 10,
        *,
        cancel: Callable[[], bool] | None = None,
    ) -> NextTokens:
        """Return the next token's distribution before and after a recipe.

        Parameters
        ----------
        recipe
            Anything `Recipe.of` understands.
        k
            Most likely tokens taken from each of the two.
        cancel
            True ends the run; so does a newer request to this preview.

        Raises
        ------
        Cancelled
            A newer request came, or `cancel` said so.
        InputError
            The recipe does not fit, or `k` is below 1.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        with self._counting:
            self._latest += 1
            mine = self._latest

        def stale() -> bool:
            return mine != self._latest or (cancel is not None and cancel())

        made = Recipe.of(recipe, self.session)
        compiled = compile_recipes(self.session, [made], [self.ids], cancel=stale)
        if stale():
            raise Cancelled("stopped")
        after = self.logits
        if compiled.row_edits:
            rows = CachedRows(
                self.session.model, [self.ids], prefix=self._prefix, **compiled.options
            )
            after = rows.logits[0].cpu()
        return self._result(made, after, k)

    def _result(self, recipe: Recipe, after: torch.Tensor, k: int) -> NextTokens:
        model = self.session.model
        p, q = after.double().softmax(-1), self.logits.double().softmax(-1)
        k = min(k, len(p))
        chosen = torch.cat([q.topk(k).indices, p.topk(k).indices]).unique()
        order = torch.maximum(p[chosen], q[chosen]).argsort(descending=True, stable=True)
        chosen = chosen[order]
        return NextTokens(
            provenance=model.provenance(saes=recipe.saes),
            token_ids=chosen.numpy(),
            tokens=tuple(model.token_string(token) for token in chosen.tolist()),
            before=q[chosen].numpy(),
            after=p[chosen].numpy(),
            kl=float(kl_divergence(after, self.logits)),
            prompt=self.text,
            recipe=recipe,
        ).bound_to(self.session)
