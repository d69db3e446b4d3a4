"""What ablating a feature does to the predictions in a context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.features.dashboard import Context
from workbench.features.geometry import locate
from workbench.features.refs import FeatureRef
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = ["Ablation", "NextToken", "ablate"]


@storable
@dataclass(frozen=True, kw_only=True)
class NextToken:
    """A next token's probability with and without a feature.

    Parameters
    ----------
    token, token_id
        The token. Untrusted text.
    before, after
        Its probability as the model is, and with the feature ablated.
    """

    token: str
    token_id: int
    before: float
    after: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Ablation(Result):
    """A context's predictions with a feature ablated, beside those without.

    Parameters
    ----------
    feature
        The feature, written ``sae/index``.
    tokens
        The context's tokens. Untrusted text.
    loss
        Loss with the feature ablated minus loss as it is, in nats, at each token of the context;
        NaN at a first token that nothing precedes.
    next_tokens
        After each token, the next tokens whose probability changes most, by falling change.
    """

    feature: str
    tokens: tuple[str, ...]
    loss: Float[np.ndarray, " pos"]
    next_tokens: tuple[tuple[NextToken, ...], ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per token and next token.

        Returns
        -------
        DataFrame
            Columns ``position``, ``token``, ``loss`` (change at that token), ``next``, ``before``,
            ``after`` (probabilities of the next token).
        """
        import pandas as pd

        rows = [
            (position, token, float(self.loss[position]), one.token, one.before, one.after)
            for position, token in enumerate(self.tokens)
            for one in self.next_tokens[position]
        ]
        return pd.DataFrame(rows, columns=["position", "token", "loss", "next", "before", "after"])

    def summary(self) -> str:
        """Return one line: the feature and the largest change of loss."""
        known = self.loss[~np.isnan(self.loss)]
        most = known[np.abs(known).argmax()] if len(known) else float("nan")
        return f"Ablation of {self.feature}: {len(self.tokens)} tokens, loss {most:+.3g} at most"


def ablate(
    session: Session, ref: str | FeatureRef, context: Context, *, next_tokens: int = 5
) -> Ablation:
    """Measure what ablating a feature in a context does to the loss and to the next tokens.

    The tokens shown are run by themselves (after BOS where the token policy has one), once as they
    are and once with the feature set to zero at every token and the SAE's error kept.

    Parameters
    ----------
    session
        The session.
    ref
        The feature.
    context
        The tokens.
    next_tokens
        How many next tokens to name after each token.

    Raises
    ------
    SaeError, InputError
        There is no such feature, or `next_tokens` is negative.
    """
    if next_tokens < 0:
        raise InputError(f"next_tokens must not be negative, got {next_tokens}")
    sae, number = locate(session, ref)
    model = session.model
    ids = [int(token) for token in context.token_ids]
    bos = model.tokenizer.bos_token_id
    added = int(bool(model.policy.bos) and bos is not None and ids[0] != bos)
    tokens = model.tokens([[bos] * added + ids])
    edit = sae.splice("keep", edit=torch.zeros_like, features=[number])
    clean = _log_probabilities(model.run(tokens, logits=True).logits)
    ablated = _log_probabilities(model.run(tokens, edits=edit.edits(), logits=True).logits)
    following = tokens.ids[0, 1:, None].to(clean.device)
    change = (clean[:-1].gather(1, following) - ablated[:-1].gather(1, following))[:, 0]
    before, after = clean[added:].exp(), ablated[added:].exp()
    most = (after - before).abs().topk(min(next_tokens, before.shape[-1]), dim=-1).indices
    told = zip(
        most.tolist(), before.gather(1, most).tolist(), after.gather(1, most).tolist(), strict=True
    )
    loss = np.concatenate([[np.nan] * (1 - added), change.cpu().numpy()]).astype(np.float32)
    return Ablation(
        provenance=model.provenance(tokens.policy, saes=[sae.name]),
        feature=str(FeatureRef(sae.name, number)),
        tokens=context.tokens,
        loss=loss,
        next_tokens=tuple(
            tuple(
                NextToken(token=model.token_string(one), token_id=one, before=p, after=q)
                for one, p, q in zip(*row, strict=True)
            )
            for row in told
        ),
    ).bound_to(session)


def _log_probabilities(logits: Tensor | None) -> Float[Tensor, "pos d_vocab"]:
    assert logits is not None  # noqa: S101 - asked for
    return logits[0].float().log_softmax(-1)
