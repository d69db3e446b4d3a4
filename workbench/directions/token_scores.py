"""Scores of a direction on every token of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from workbench.errors import InputError
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from workbench.directions.direction import Direction
    from workbench.model.tokens import Chat, TokenPolicy, Tokens
    from workbench.session import Session

__all__ = ["TokenScores", "score_texts"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TokenScores(Result):
    """A direction's score on every token of texts.

    Parameters
    ----------
    name, site, method
        The direction's.
    tokens
        Each text's tokens as a person reads them.
    values
        Scores ``h · vector + bias``, all texts' tokens one after another, in units of the
        activation.
    special
        True at tokens that are not the text's own; they do not count in `pooled`.
    scale
        The direction's calibration, None where it has none.
    """

    name: str
    site: str
    method: str
    tokens: tuple[tuple[str, ...], ...]
    values: Float[np.ndarray, " token"] = field(repr=False)
    special: Bool[np.ndarray, " token"] = field(repr=False)
    scale: float | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def bounds(self) -> np.ndarray:
        """Where each text's tokens begin in `values`, and where the last one's end."""
        return np.cumsum([0, *(len(row) for row in self.tokens)])

    def row(self, text: int) -> Float[np.ndarray, " pos"]:
        """Return the scores of one text's tokens.

        Raises
        ------
        InputError
            There is no such text.
        """
        if not 0 <= text < len(self):
            raise InputError(f"text {text} is not one of 0 to {len(self) - 1}")
        start, end = self.bounds[text : text + 2]
        return self.values[start:end]

    @property
    def pooled(self) -> Float[np.ndarray, " text"]:
        """Largest score of each text over its own tokens; NaN for a text of special tokens only."""
        counted = np.where(self.special, -np.inf, self.values)
        best = np.maximum.reduceat(counted, self.bounds[:-1])
        return np.where(np.isfinite(best), best, np.nan)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per token: ``text``, ``position``, ``token``, ``score``, ``special``."""
        import pandas as pd

        lengths = [len(row) for row in self.tokens]
        return pd.DataFrame(
            {
                "text": np.repeat(np.arange(len(self)), lengths),
                "position": np.concatenate([np.arange(length) for length in lengths]),
                "token": [token for row in self.tokens for token in row],
                "score": self.values,
                "special": self.special,
            }
        )

    def summary(self) -> str:
        """Return one line: what was scored on how many texts."""
        return (
            f"Scores of {self.name!r} at {self.site} on {len(self)} texts, "
            f"{int((~self.special).sum()):,} tokens"
        )


def score_texts(
    session: Session,
    direction: Direction,
    texts: str | Sequence[str] | Chat | Sequence[Chat] | Tokens,
    *,
    policy: TokenPolicy | None = None,
    batch_size: int = 32,
) -> TokenScores:
    """Score every token of texts with a direction.

    Parameters
    ----------
    session
        Session whose model reads the texts.
    direction
        The direction; it must belong to the session's model.
    texts
        One text or conversation, or several.
    policy
        Token policy; the session's own where None.
    batch_size
        Texts per pass.

    Returns
    -------
    TokenScores

    Raises
    ------
    InputError
        The direction belongs to another model.
    """
    model = session.model
    direction.check(model)
    tokens = model.tokens(texts, policy)
    unit = direction.to_torch(model.device)
    parts = []
    for ran in model.stream(tokens, batch_size=batch_size, capture=[direction.site]):
        acts = ran[direction.site].float()
        if acts.shape[-1] != direction.d:  # heads side by side
            acts = acts.flatten(2)
        scores = acts @ unit + direction.bias
        parts.append(scores[ran.tokens.mask.to(scores.device)].cpu().numpy())
    return TokenScores(
        provenance=model.provenance(tokens.policy),
        name=direction.name,
        site=direction.site,
        method=direction.method,
        tokens=tokens.strings,
        values=np.concatenate(parts),
        special=tokens.special[tokens.mask].numpy(),
        scale=direction.scale,
    ).bound_to(session)
