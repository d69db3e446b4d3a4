"""The largest activation of a feature or direction: what strengths in units of "max" multiply."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.features.refs import FeatureRef
from workbench.model.generate_many import generate_many
from workbench.saes.per_feature import FeatureStatistics

if TYPE_CHECKING:
    from workbench.model import Model, Tokens
    from workbench.session import Session

__all__ = ["firing_rates", "largest_activations", "own_texts", "typical_norms"]

N_TEXTS = 64
N_TOKENS = 48

_TEXTS: weakref.WeakKeyDictionary[Any, Tokens] = weakref.WeakKeyDictionary()
_STATISTICS: weakref.WeakKeyDictionary[Any, FeatureStatistics] = weakref.WeakKeyDictionary()


def own_texts(model: Model) -> Tokens:
    """Texts the model writes by itself: what it takes for usual, with no corpus at hand.

    Returns
    -------
    Tokens
        64 continuations of at most 48 tokens of the empty text (of a new line where the token
        policy has no BOS), sampled at temperature 1 with seeds 0 … 63. Written once per model.
    """
    if model not in _TEXTS:
        prompt = "" if model.policy.bos else "\n"
        made = generate_many(
            model,
            [prompt],
            n=N_TEXTS,
            temperature=1.0,
            max_new_tokens=min(N_TOKENS, model.n_ctx - 2),
        )
        rows = [[*made.prompt_ids[0].tolist(), *row.token_ids.tolist()] for row in made]
        _TEXTS[model] = model.tokenizing.from_ids(rows, model.policy)
    return _TEXTS[model]


def largest_activations(session: Session, features: Sequence[str | FeatureRef]) -> dict[str, float]:
    """Return the largest activation of each feature.

    Taken from the opened feature index where that holds the SAE, else measured on `own_texts`.

    Parameters
    ----------
    session
        The session.
    features
        The features.

    Returns
    -------
    dict
        By written form, all above zero.

    Raises
    ------
    InputError
        A feature was never active, so that multiples of its largest activation mean nothing.
    """
    found: dict[str, float] = {}
    index = session.opened_index
    for feature in features:
        ref = FeatureRef.parse(feature)
        value = None
        if index is not None and ref.sae in index.saes:
            value = float(index.statistics_row(ref).get("max") or 0.0)
        if not value:
            value = float(_measured(session, ref.sae)[ref.index])
        if value <= 0:
            raise InputError(
                f"feature {ref} is never active on {N_TEXTS} texts the model wrote, so strengths "
                "in units of its largest activation mean nothing; give unit='absolute' or 'norm', "
                "or reference=..."
            )
        found[str(ref)] = value
    return found


def firing_rates(session: Session, sae_name: str) -> Float[np.ndarray, " d_sae"]:
    """Return how often each feature of an SAE fires on the tokens of `own_texts`."""
    found = _statistics(session, sae_name)
    return found.count.double().cpu().numpy() / max(found.n_tokens, 1)


def _measured(session: Session, sae_name: str) -> Float[Tensor, " d_sae"]:
    return _statistics(session, sae_name).maximum.clamp(min=0)


def _statistics(session: Session, sae_name: str) -> FeatureStatistics:
    sae = session.saes[sae_name]
    if sae not in _STATISTICS:
        tokens = own_texts(session.model)
        if sae.site is None:
            raise InputError(f"SAE {sae_name} is not attached to a site")
        ran = session.model.run(tokens, capture=[sae.site])
        codes = sae.encode(ran[sae.site])
        _STATISTICS[sae] = codes.statistics((tokens.mask & ~tokens.special).to(codes.device))
    return _STATISTICS[sae]


def typical_norms(session: Session, sites: Sequence[str]) -> Mapping[str, float]:
    """Return the median norm of the activation at each site over the tokens of `own_texts`."""
    model = session.model
    tokens = own_texts(model)
    ran = model.run(tokens, capture=sites)
    real = tokens.mask & ~tokens.special
    return {
        site: float(torch.linalg.vector_norm(ran[site].float()[real], dim=-1).median())
        for site in (model.sites.resolve(name).name for name in sites)
    }
