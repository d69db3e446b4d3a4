"""One feature on a text somebody typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.errors import SaeError

if TYPE_CHECKING:
    from workbench.features.dashboard import Dashboard

__all__ = ["TriedText", "try_text"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TriedText:
    """A text and one feature's values on it.

    Parameters
    ----------
    text
        The text.
    tokens, token_ids
        Its tokens, as a person reads them and as ids.
    special
        True at tokens that are not the text's own (BOS, template).
    values
        Activation of the feature at each token.
    """

    text: str
    tokens: tuple[str, ...]
    token_ids: Int[np.ndarray, " pos"]
    special: Bool[np.ndarray, " pos"]
    values: Float[np.ndarray, " pos"]

    @property
    def largest(self) -> float:
        """Largest value away from special tokens, 0 where there is none."""
        return float(np.max(self.values[~self.special], initial=0.0))

    @property
    def word_level(self) -> bool:
        """Whether the tokens carry no spaces although the text has them: then views add gaps."""
        own = [t for t, special in zip(self.tokens, self.special, strict=True) if not special]
        return " " in self.text and not any(" " in token for token in own)

    def packed(self) -> dict[str, Any]:
        """Return it as a view is sent it."""
        return {
            "text": self.text,
            "tokens": self.tokens,
            "ids": self.token_ids,
            "special": self.special,
            "values": np.asarray(self.values, np.float32),
            "largest": self.largest,
            "gaps": self.word_level,
        }


def try_text(session: Any, dashboard: Dashboard, text: str) -> TriedText:
    """Run the model on a text up to the feature's site and encode that feature.

    Parameters
    ----------
    session
        The session the feature belongs to.
    dashboard
        The feature; the text is tokenised under the policy its corpus was.
    text
        The text.

    Raises
    ------
    TokenError
        The text is empty or too long.
    SaeError
        The feature's SAE is not attached.
    """
    from workbench.model.tokens import TokenPolicy

    ref, policy = dashboard.ref, dict(dashboard.provenance.token_policy)
    sae = session.saes[ref.sae]
    if sae.site is None:
        raise SaeError(f"SAE {sae.name!r} is not attached to a model; use session.attach(...)")
    tokens = session.tokens(text, TokenPolicy(**policy) if policy else None)
    ran = session.run(tokens, capture=[sae.site], logits=False)
    values = sae.encode_features(ran[sae.site], [ref.index])[0, :, 0]
    return TriedText(
        text=text,
        tokens=tuple(tokens.strings[0]),
        token_ids=tokens.ids[0].cpu().numpy(),
        special=tokens.special[0].cpu().numpy(),
        values=values.detach().float().cpu().numpy(),
    )
