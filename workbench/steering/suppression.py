"""Taking a concept out: unlearning by negative clamps, posterior suppression, and full masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from workbench.errors import InputError
from workbench.features.refs import FeatureSet
from workbench.steering.intervention import Intervention, PosteriorTable
from workbench.steering.recipe import Recipe
from workbench.steering.targets import Feature

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = [
    "clamp_negative",
    "concept_features",
    "full_masking",
    "posterior_suppression",
    "posterior_table",
    "range_masking",
    "unlearning_features",
    "zero_ablation",
]


def _token_codes(session: Session, texts: Sequence[Any], sae_name: str) -> sparse.csr_matrix:
    """Return the codes of all tokens of texts, special ones left out."""
    sae = session.saes[sae_name]
    if sae.site is None:
        raise InputError(f"SAE {sae_name} is not attached to a site")
    if not len(texts):
        raise InputError("got no texts")
    parts = []
    for start in range(0, len(texts), 64):
        tokens = session.tokens(list(texts[start : start + 64]))
        acts = session.run(tokens, capture=[sae.site])[sae.site]
        real = (tokens.mask & ~tokens.special).to(acts.device)
        codes = sae.encode(acts[real])
        parts.append(
            sparse.csr_matrix(
                (
                    codes.values.float().cpu().numpy(),
                    codes.indices.cpu().numpy(),
                    codes.offsets.cpu().numpy(),
                ),
                shape=(codes.n_tokens, sae.d_sae),
            )
        )
    return sparse.vstack(parts).tocsr()


def _rates(codes: sparse.csr_matrix) -> Float[np.ndarray, " d_sae"]:
    rates: np.ndarray = np.asarray((codes > 0).mean(0)).ravel()
    return rates


def unlearning_features(
    session: Session,
    sae: str,
    forget: Sequence[Any],
    retain: Sequence[Any],
    *,
    most_retain_rate: float = 0.01,
    k: int = 10,
) -> FeatureSet:
    """Rank features for unlearning (Farrell et al. 2024, section 3; SAEBench).

    Features that fire on at most `most_retain_rate` of the retain texts' tokens, by how often they
    fire on the forget texts' tokens.

    Parameters
    ----------
    session
        The session.
    sae
        The SAE.
    forget, retain
        Texts.
    most_retain_rate
        As published 0.1% or 1%.
    k
        How many features, as published 10 or 20.

    Returns
    -------
    FeatureSet
        At most `k`, those that never fire on the forget texts left out.

    Raises
    ------
    InputError
        No feature qualifies.
    """
    there, here = (_rates(_token_codes(session, texts, sae)) for texts in (forget, retain))
    score = np.where(here <= most_retain_rate, there, -1.0)
    order = [int(i) for i in np.argsort(-score, kind="stable")[:k] if score[i] > 0]
    if not order:
        raise InputError(
            f"no feature of {sae} fires on the forget texts and on at most "
            f"{most_retain_rate:.2%} of the retain texts' tokens"
        )
    return FeatureSet.of(f"{sae}/{index}" for index in order)


def concept_features(
    session: Session,
    sae: str,
    positives: Sequence[Any],
    negatives: Sequence[Any],
    *,
    k: int = 10,
) -> FeatureSet:
    """Return the features whose mean activation rises most, in its own standard deviations."""
    there, here = (_token_codes(session, texts, sae) for texts in (positives, negatives))
    means = [np.asarray(codes.mean(0)).ravel() for codes in (there, here)]
    second = np.asarray(sparse.vstack([there, here]).power(2).mean(0)).ravel()
    spread = np.sqrt(np.maximum(second - ((means[0] + means[1]) / 2) ** 2, 1e-12))
    score = (means[0] - means[1]) / spread
    order = [int(i) for i in np.argsort(-score, kind="stable")[:k] if score[i] > 0]
    if not order:
        raise InputError(f"no feature of {sae} is more active on the positive texts")
    return FeatureSet.of(f"{sae}/{index}" for index in order)


def clamp_negative(features: FeatureSet, value: float = -25.0) -> Recipe:
    """Set features to a negative value wherever they are active (Farrell et al. 2024).

    Parameters
    ----------
    features
        What to clamp.
    value
        In units of activation, below zero; published −25 … −200 for Gemma's scale.

    Raises
    ------
    InputError
        The value is not negative.
    """
    if value >= 0:
        raise InputError(f"the value must be below zero, got {value}")
    items = tuple(
        Intervention(
            target=Feature(ref=str(ref)), what="clamp_active", strength=value, unit="absolute"
        )
        for ref in features
    )
    return Recipe(interventions=items, name=f"clamp to {value:g}")


def zero_ablation(features: FeatureSet) -> Recipe:
    """Ablate features: the published negative control of unlearning."""
    return Recipe.from_features(features, "ablate", name="zero ablation")


full_masking = zero_ablation
"""Full masking of a concept is ablation of its features."""


def posterior_table(
    positive: Float[np.ndarray, " token"],
    negative: Float[np.ndarray, " token"],
    *,
    bins: int = 16,
) -> PosteriorTable:
    """Estimate P(concept | activation) from activations on tokens with and without the concept.

    Histograms over quantiles of the active tokens' activations, inactive ones in a bin of their
    own, with equal priors: ``p₊ / (p₊ + p₋)``, half a count added to each bin.

    Parameters
    ----------
    positive, negative
        A feature's activation at each token.
    bins
        Bins of active tokens.

    Raises
    ------
    InputError
        There are no tokens of a kind.
    """
    if not len(positive) or not len(negative):
        raise InputError("the posterior needs tokens with the concept and tokens without it")
    active = np.concatenate([positive[positive > 0], negative[negative > 0]])
    edges = np.array([np.nextafter(0.0, 1.0)])
    if len(active):
        inner = np.quantile(active, np.linspace(0, 1, bins + 1)[1:-1])
        edges = np.unique(np.concatenate([edges, inner]))
    counts = [
        np.bincount(np.digitize(values, edges), minlength=len(edges) + 1) + 0.5
        for values in (positive, negative)
    ]
    shares = [count / count.sum() for count in counts]
    posterior = shares[0] / (shares[0] + shares[1])
    return PosteriorTable(
        edges=tuple(float(edge) for edge in edges), posterior=tuple(float(p) for p in posterior)
    )


def posterior_suppression(
    session: Session,
    features: FeatureSet,
    positives: Sequence[Any],
    negatives: Sequence[Any],
    *,
    bins: int = 16,
) -> Recipe:
    """Shrink features by how likely the concept is at their activation: ``f(1 − P(c | f))``.

    After arXiv:2508.15094 (formulas from a secondary description, therefore under a name of our
    own).

    Parameters
    ----------
    session
        The session.
    features
        What to shrink.
    positives, negatives
        Texts with the concept and without it.
    bins
        See `posterior_table`.
    """
    items = []
    for name in features.saes:
        codes = [_token_codes(session, texts, name).tocsc() for texts in (positives, negatives)]
        for index in features.of_sae(name):
            columns = [np.asarray(code[:, [index]].todense()).ravel() for code in codes]
            table = posterior_table(*columns, bins=bins)
            items.append(
                Intervention(target=Feature(ref=f"{name}/{index}"), what="suppress", table=table)
            )
    return Recipe(interventions=tuple(items), name="posterior suppression")


def range_masking(
    session: Session,
    features: FeatureSet,
    positives: Sequence[Any],
    *,
    width: float = 2.0,
) -> Recipe:
    """Zero features where their activation is within μ ± τσ of its values on the concept.

    μ and σ are over the tokens of the concept's texts on which the feature is active.

    Parameters
    ----------
    session
        The session.
    features
        What to mask.
    positives
        Texts with the concept.
    width
        τ.
    """
    items = []
    for name in features.saes:
        codes = _token_codes(session, positives, name).tocsc()
        for index in features.of_sae(name):
            values = _active(np.asarray(codes[:, [index]].todense()).ravel())
            mean, spread = (float(values.mean()), float(values.std())) if len(values) else (0, 0)
            items.append(
                Intervention(
                    target=Feature(ref=f"{name}/{index}"),
                    what="mask_range",
                    low=mean - width * spread,
                    high=mean + width * spread,
                )
            )
    return Recipe(interventions=tuple(items), name=f"range masking τ={width:g}")


def _active(values: Float[np.ndarray, " token"]) -> Float[np.ndarray, " active"]:
    fires: Bool[np.ndarray, " token"] = values > 0
    return values[fires]
