"""Questions that put a description to the test, and what the answers are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from workbench.features.refs import FeatureRef
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.features.describe.evidence import Evidence, Excerpt
    from workbench.features.describe.settings import DescribeSettings, ScoreKind

__all__ = ["Question", "Score", "Trial", "score", "trials"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """Some texts to be judged by a description alone.

    Parameters
    ----------
    kind
        ``"detection"``: does the feature fire in the text? ``"fuzzing"``: are the marked tokens
        those on which it fires? ``"simulation"``: how strongly does it fire on each token?
        ``"steering"``: was the text written with the feature switched on?
    feature
        The feature.
    description
        The description.
    excerpts
        The texts. Their activations are hidden (NaN).
    marks
        For fuzzing, the marked tokens of each text.
    """

    kind: ScoreKind
    feature: FeatureRef
    description: str
    excerpts: tuple[Excerpt, ...]
    marks: tuple[Bool[np.ndarray, " pos"], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One text with the right answer.

    Parameters
    ----------
    excerpt
        The text, activations included.
    marks
        Tokens marked for fuzzing; empty otherwise.
    truth
        Whether "yes" is right; for simulation always true.
    """

    excerpt: Excerpt
    marks: Bool[np.ndarray, " marked"]
    truth: bool


@storable
@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How well a description predicts a feature.

    Parameters
    ----------
    kind
        Detection, fuzzing, simulation or steering.
    value
        Balanced accuracy, 0.5 for guessing; for simulation the Pearson correlation of predicted
        and true activations over all tokens, 0 where the prediction is constant. NaN where nothing
        could be asked or nothing was answered.
    trials
        Texts asked about.
    unanswered
        Of these, texts without a usable answer; they are not part of `value`.
    right_yes, right_no
        Shares of the positive and of the negative texts that were told right; NaN for simulation.
    by_quantile
        `right_yes`, or the correlation, in each quantile of activation from the lowest; NaN where
        there is none. Empty for steering.
    """

    kind: str
    value: float
    trials: int
    unanswered: int
    right_yes: float
    right_no: float
    by_quantile: tuple[float, ...]


def trials(kind: ScoreKind, evidence: Evidence, settings: DescribeSettings) -> tuple[Trial, ...]:
    """Make the texts of one score, in random order.

    Parameters
    ----------
    kind
        Detection, fuzzing or simulation; steering makes its texts itself.
    evidence
        The feature's contexts.
    settings
        How many tokens are marked, and the seed.
    """
    seeds = {"detection": 3, "fuzzing": 4, "simulation": 5}
    rng = np.random.default_rng([settings.seed, evidence.feature.index, seeds[kind]])
    none = np.zeros(0, dtype=bool)
    made: list[Trial] = []
    if kind == "fuzzing":
        made = _marked(evidence, settings, rng)
    else:
        made = [Trial(excerpt=one, marks=none, truth=True) for one in evidence.positives]
        if kind == "detection":
            made += [Trial(excerpt=one, marks=none, truth=False) for one in evidence.negatives]
    return tuple(made[place] for place in rng.permutation(len(made)).tolist())


def _marked(
    evidence: Evidence, settings: DescribeSettings, rng: np.random.Generator
) -> list[Trial]:
    right = [
        Trial(excerpt=one, marks=one.marks(settings.mark), truth=True) for one in evidence.positives
    ]
    right = [trial for trial in right if trial.marks.any()]
    if not right:
        return []
    sizes = [int(trial.marks.sum()) for trial in right]
    active = settings.fuzzing_negatives == "active"
    sources = evidence.positives if active else evidence.negatives
    wrong = []
    for place, excerpt in enumerate(sources):
        places = np.flatnonzero(~excerpt.marks(settings.mark) & ~np.isnan(excerpt.values))
        size = min(sizes[place % len(sizes)], len(places))
        if not size:
            continue
        marks = np.zeros(len(excerpt.tokens), dtype=bool)
        marks[rng.choice(places, size, replace=False)] = True
        wrong.append(Trial(excerpt=excerpt, marks=marks, truth=False))
    return [*right, *wrong]


def hidden(excerpt: Excerpt) -> Excerpt:
    """Return the text without what a scorer must not know."""
    return dataclasses.replace(
        excerpt, values=np.full(len(excerpt.tokens), np.nan, dtype=np.float32), quantile=-1
    )


def score(
    kind: ScoreKind,
    asked: Sequence[Trial],
    answers: Sequence[Any],
    settings: DescribeSettings,
) -> Score:
    """Compare answers with the truth.

    Parameters
    ----------
    kind
        Which score.
    asked
        The texts.
    answers
        One per text: a number, of which 0.5 and more means yes; for simulation one number per
        token; None where there was no usable answer.
    settings
        Number of quantiles.
    """
    answered = [
        (trial, answer) for trial, answer in zip(asked, answers, strict=True) if answer is not None
    ]
    lost = len(asked) - len(answered)
    nan = float("nan")
    if kind == "simulation":
        value = _correlation(answered)
        by = tuple(
            _correlation([pair for pair in answered if pair[0].excerpt.quantile == place])
            for place in range(settings.quantiles)
        )
        return Score(
            kind=kind,
            value=value,
            trials=len(asked),
            unanswered=lost,
            right_yes=nan,
            right_no=nan,
            by_quantile=by,
        )
    said = [(trial, float(answer) >= 0.5) for trial, answer in answered]
    yes = _share([told for trial, told in said if trial.truth])
    no = _share([not told for trial, told in said if not trial.truth])
    by = tuple(
        _share([told for trial, told in said if trial.truth and trial.excerpt.quantile == place])
        for place in range(settings.quantiles)
    )
    return Score(
        kind=kind,
        value=(yes + no) / 2,
        trials=len(asked),
        unanswered=lost,
        right_yes=yes,
        right_no=no,
        by_quantile=() if kind == "steering" else by,
    )


def _share(told: Sequence[bool]) -> float:
    return sum(told) / len(told) if told else float("nan")


def _correlation(answered: Sequence[tuple[Trial, Any]]) -> float:
    if not answered:
        return float("nan")
    true = np.concatenate([trial.excerpt.values for trial, _ in answered]).astype(np.float64)
    said = np.concatenate([np.asarray(answer, dtype=np.float64) for _, answer in answered])
    return _pearson(said[~np.isnan(true)], true[~np.isnan(true)])


def _pearson(said: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"]) -> float:
    """Pearson correlation; 0 for a constant prediction, NaN where there is nothing to predict."""
    if len(true) < 2 or np.ptp(true) == 0:
        return float("nan")
    if np.ptp(said) == 0:
        return 0.0
    return float(np.corrcoef(said, true)[0, 1])
