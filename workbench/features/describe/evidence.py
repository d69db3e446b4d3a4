"""What is known of a feature: contexts to describe it from, and others to score that on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Integer

from workbench.features import geometry
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.features.describe.settings import DescribeSettings
    from workbench.features.index.contexts import Context
    from workbench.features.index.queries import FeatureIndex
    from workbench.session import Session

__all__ = ["Evidence", "Excerpt", "TokenEffects", "gather", "readable"]

TokenEffects = tuple[tuple[str, float], ...]
"""Tokens with the direct effect of one unit of the feature on their logits."""

_LOGITS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Excerpt:
    """Some tokens of one document.

    Parameters
    ----------
    tokens, token_ids
        The tokens, as a person reads them and as ids. Untrusted text.
    values
        Activation of the feature at each; NaN at special tokens, whose activation is not counted.
    document, column
        Number of the document, and position of the first token in its row.
    quantile
        Interval of activations it stands for, 0 the lowest; -1 where the feature does not fire or
        the excerpt was not drawn from an interval.
    """

    tokens: tuple[str, ...]
    token_ids: Integer[np.ndarray, " pos"]
    values: Float[np.ndarray, " pos"]
    document: int
    column: int
    quantile: int = -1

    @property
    def text(self) -> str:
        """The tokens joined."""
        return "".join(self.tokens)

    @property
    def largest(self) -> float:
        """Largest activation, 0 where the feature does not fire."""
        return float(np.nan_to_num(self.values).max(initial=0.0))

    def marks(self, share: float) -> Bool[np.ndarray, " pos"]:
        """Tokens at `share` of the largest activation and more."""
        values = np.nan_to_num(self.values)
        return np.asarray((values >= share * self.largest) & (values > 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What a labeller sees of a feature, and what scores are measured on.

    Parameters
    ----------
    feature
        The feature.
    density, maximum
        Fraction of counted tokens on which it fires, and its largest activation.
    train
        Contexts to describe it from, by falling activation.
    positives
        Other contexts in which it fires, from every quantile of its activations; they share no
        token of the corpus with `train`.
    negatives
        Contexts in which it does not fire.
    raises, lowers
        Tokens whose logits it moves most.
    """

    feature: FeatureRef
    density: float
    maximum: float
    train: tuple[Excerpt, ...]
    positives: tuple[Excerpt, ...]
    negatives: tuple[Excerpt, ...]
    raises: TokenEffects
    lowers: TokenEffects

    @property
    def lacks(self) -> str | None:
        """Why there is nothing to go by; None where there is."""
        if not self.maximum:
            return "dead: it fires nowhere in the index"
        if not self.train:
            return "too few activations to describe it from"
        return None


def gather(
    session: Session, index: FeatureIndex, ref: FeatureRef, settings: DescribeSettings
) -> Evidence:
    """Collect a feature's contexts and logit effects.

    Half of the sampled activations of each quantile at most, and at most `settings.test` in all,
    are kept for scoring; the labeller sees the strongest contexts and ones drawn with probability
    proportional to their activation from what is left.

    Raises
    ------
    SaeError, InputError
        There is no such feature.
    """
    profile = index.profile(ref)
    sae, number = geometry.locate(session, ref)
    raises, lowers, _ = geometry.logit_effects(session.model, sae, number, k=_LOGITS)
    train: tuple[Excerpt, ...] = ()
    positives: tuple[Excerpt, ...] = ()
    if not profile.dead:
        tests = _tests(index, ref, settings)
        positives = tuple(_cut(session, one, settings, place) for one, place in tests)
        train = _train(session, index, ref, settings, [one for one, _ in tests])
    half = settings.context_tokens // 2
    silent = index.silent(ref, settings.negatives, width=half, seed=settings.seed)
    return Evidence(
        feature=ref,
        density=profile.density,
        maximum=0.0 if profile.dead else float(profile.max),
        train=train,
        positives=positives,
        negatives=tuple(_quiet(session, one) for one in silent),
        raises=tuple((effect.token, effect.value) for effect in raises),
        lowers=tuple((effect.token, effect.value) for effect in lowers),
    )


def readable(session: Session, ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Return tokens that make the decoded text when joined.

    Tokenizers of whole words put the spaces between tokens only when they decode. Tokens that are
    not found in the decoded text (stray bytes) stay as a person reads them.
    """
    numbers = [int(token) for token in ids]
    names = tuple(session.model.token_string(token) for token in numbers)
    text, done, made = str(session.tokenizer.decode(numbers)), 0, []
    for name in names:
        at = text.find(name, done)
        # Only white space may lie between one token and the next.
        if at < 0 or text[done:at].strip():
            return names
        made.append(text[done : at + len(name)])
        done = at + len(name)
    return tuple(made)


def _tests(
    index: FeatureIndex, ref: FeatureRef, settings: DescribeSettings
) -> list[tuple[Context, int]]:
    half, seed = settings.context_tokens // 2, settings.seed
    per = math.ceil(settings.test / settings.quantiles)
    groups = index.groups(ref, settings.quantiles, 2 * per, kind="quantile", width=half, seed=seed)
    rng = np.random.default_rng([seed, ref.index, 1])
    taken: list[tuple[Context, int]] = []
    for place, group in enumerate(reversed(groups)):
        most = min(per, (len(group.contexts) + 1) // 2)
        for slot in rng.permutation(len(group.contexts))[:most].tolist():
            context = group.contexts[slot]
            if not _overlaps(context, [one for one, _ in taken]):
                taken.append((context, place))
    return taken[: settings.test]


def _train(
    session: Session,
    index: FeatureIndex,
    ref: FeatureRef,
    settings: DescribeSettings,
    tests: Sequence[Context],
) -> tuple[Excerpt, ...]:
    half, seed = settings.context_tokens // 2, settings.seed
    chosen: list[Context] = []
    top = index.contexts(ref, settings.train + len(tests), width=half)
    for context in top:
        if len(chosen) < (settings.train + 1) // 2 and not _overlaps(context, [*tests, *chosen]):
            chosen.append(context)
    pool = index.sample(ref, n=10 * settings.train, width=half, seed=seed)
    strength = np.array([abs(context.value) for context in pool])
    # Drawn without replacement, as likely as strong (Efraimidis and Spirakis 2006).
    rng = np.random.default_rng([seed, ref.index, 2])
    order = np.argsort(-np.log(rng.random(len(pool))) / np.maximum(strength, 1e-12))
    for slot in order.tolist():
        if len(chosen) >= settings.train:
            break
        if not _overlaps(pool[slot], [*tests, *chosen]):
            chosen.append(pool[slot])
    chosen.sort(key=lambda context: -context.value)
    return tuple(_cut(session, context, settings, -1) for context in chosen)


def _overlaps(context: Context, others: Sequence[Context]) -> bool:
    stop = context.start + len(context.token_ids)
    return any(
        (context.start < other.start + len(other.token_ids) and other.start < stop)
        or np.array_equal(context.token_ids, other.token_ids)
        for other in others
    )


def _cut(session: Session, context: Context, settings: DescribeSettings, quantile: int) -> Excerpt:
    """At most `context_tokens` tokens: a stretch around a token has one more where it is whole."""
    stop = min(len(context.token_ids), settings.context_tokens)
    return _excerpt(session, context, 0, stop, quantile)


def _quiet(session: Session, context: Context) -> Excerpt:
    """Keep the part of a stretch in which the feature is known not to fire."""
    known = (context.values == 0) | context.special
    low = high = context.at
    while low > 0 and known[low - 1]:
        low -= 1
    while high + 1 < len(known) and known[high + 1]:
        high += 1
    return _excerpt(session, context, low, high + 1, -1)


def _excerpt(session: Session, context: Context, low: int, high: int, quantile: int) -> Excerpt:
    return Excerpt(
        tokens=readable(session, context.token_ids[low:high]),
        token_ids=context.token_ids[low:high],
        values=context.values[low:high],
        document=context.document,
        column=context.column - context.at + low,
        quantile=quantile,
    )
