"""Descriptions of features with their scores, and what making them would cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, unknown
from workbench.features.describe.questions import Score
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.features.lists import FeatureLists

__all__ = ["CostEstimate", "Description", "Descriptions"]

_LONGEST_LABEL = 100


@storable
@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """One feature's description.

    Parameters
    ----------
    feature
        The feature, written ``sae/index``.
    text
        The description, empty where there is none. Untrusted text.
    scores
        How well it predicts the feature.
    problem
        Why there is no description; None where there is one.
    """

    feature: str
    text: str
    scores: tuple[Score, ...] = ()
    problem: str | None = None

    @property
    def label(self) -> str:
        """The description cut to 100 characters at a word."""
        line = " ".join(self.text.split())
        if len(line) <= _LONGEST_LABEL:
            return line
        cut = line[: _LONGEST_LABEL - 1]
        return (cut.rsplit(" ", 1)[0] if " " in cut else cut) + "…"

    def score(self, kind: str) -> Score:
        """Return one of its scores.

        Raises
        ------
        InputError
            It has no such score.
        """
        for one in self.scores:
            if one.kind == kind:
                return one
        raise InputError(unknown("score", kind, [one.kind for one in self.scores]))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Descriptions(Result):
    """Descriptions of features, scored.

    Parameters
    ----------
    descriptions
        In the order asked for.
    described_by, scored_by
        What made the descriptions, and what answered the questions.
    settings
        The settings as plain data.
    calls, prompt_tokens, completion_tokens
        Calls of the endpoint in this run, and the tokens it counted; 0 without an endpoint.
    """

    descriptions: tuple[Description, ...]
    described_by: str
    scored_by: str
    settings: Mapping[str, Any]
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __len__(self) -> int:
        return len(self.descriptions)

    def __getitem__(self, feature: str | FeatureRef) -> Description:
        name = str(FeatureRef.parse(feature))
        for one in self.descriptions:
            if one.feature == name:
                return one
        raise InputError(unknown("feature", name, [one.feature for one in self.descriptions]))

    @property
    def features(self) -> FeatureSet:
        """The features described."""
        return FeatureSet.of([one.feature for one in self.descriptions])

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per feature.

        Returns
        -------
        DataFrame
            ``feature``, ``description``, one column per score, ``unanswered`` (texts without a
            usable answer), ``problem``, ``described_by``, ``scored_by``.
        """
        import pandas as pd

        kinds = tuple(self.settings.get("scores", ()))
        rows = []
        for one in self.descriptions:
            values = {score.kind: score.value for score in one.scores}
            rows.append(
                {
                    "feature": one.feature,
                    "description": one.text,
                    **{kind: values.get(kind, float("nan")) for kind in kinds},
                    "unanswered": sum(score.unanswered for score in one.scores),
                    "problem": one.problem,
                    "described_by": self.described_by,
                    "scored_by": self.scored_by,
                }
            )
        columns = ["feature", "description", *kinds, "unanswered", "problem"]
        return pd.DataFrame(rows, columns=[*columns, "described_by", "scored_by"])

    def to_lists(
        self,
        lists: FeatureLists,
        *,
        overwrite: bool = False,
        at_least: Mapping[str, float] | None = None,
    ) -> FeatureSet:
        """Write the descriptions as labels, with how they were made and scored as notes.

        Parameters
        ----------
        lists
            Where to, usually ``session.lists``.
        overwrite
            Whether to replace labels that are there.
        at_least
            Score to the least value that a description needs, such as ``{"detection": 0.7}``.

        Returns
        -------
        FeatureSet
            The features labelled.

        Raises
        ------
        InputError
            A score in `at_least` was not measured. Nothing has been written then.
        """
        needed = dict(at_least or {})
        for kind in needed:
            if kind not in self.settings["scores"]:
                raise InputError(unknown("score", kind, self.settings["scores"]))
        written = []
        for one in self.descriptions:
            known = {score.kind: score.value for score in one.scores}
            good = all(known.get(kind, float("nan")) >= least for kind, least in needed.items())
            if not one.text or not good:
                continue
            if lists.label(one.feature) is not None and not overwrite:
                continue
            measured = ", ".join(f"{kind} {value:.2f}" for kind, value in known.items())
            note = f"{one.text}\n\ndescribed by {self.described_by}"
            if measured:
                note += f"; {measured}, answered by {self.scored_by}"
            lists.annotate(one.feature, label=one.label, note=note)
            written.append(one.feature)
        return FeatureSet.of(written)

    def summary(self) -> str:
        """Return one line: how many, made how, mean scores."""
        found = [one for one in self.descriptions if one.text]
        parts = [f"{len(found)} of {len(self.descriptions)} features described"]
        for kind in self.settings.get("scores", ()):
            values = [
                score.value
                for one in found
                for score in one.scores
                if score.kind == kind and score.value == score.value
            ]
            if values:
                parts.append(f"mean {kind} {sum(values) / len(values):.2f}")
        return f"Descriptions by {self.described_by}: {', '.join(parts)}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CostEstimate(Result):
    """What describing and scoring would take.

    Parameters
    ----------
    features, done
        Features asked for, and how many of them are done already.
    looked_at
        Features whose contexts were gathered for the estimate; the rest is taken to be like them.
    label_calls, score_calls
        Calls of the labeller and of the scorer still to make.
    prompt_tokens, completion_tokens
        Tokens of these calls where they go to an endpoint: prompts at 4 characters a token, and
        the most tokens of the replies.
    price
        In the unit of the endpoint's prices; None where these are not known.
    by_score
        Calls of each score.
    """

    features: int
    done: int
    looked_at: int
    label_calls: int
    score_calls: int
    prompt_tokens: int
    completion_tokens: int
    price: float | None
    by_score: Mapping[str, int]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per kind of call: ``what``, ``calls``."""
        import pandas as pd

        rows: Iterable[tuple[str, int]] = [
            ("description", self.label_calls),
            *self.by_score.items(),
        ]
        return pd.DataFrame(list(rows), columns=["what", "calls"])

    def summary(self) -> str:
        """Return one line: calls, tokens, price."""
        price = "" if self.price is None else f", at most about {self.price:,.2f} in its currency"
        return (
            f"CostEstimate: {self.features - self.done} of {self.features} features to do, "
            f"{self.label_calls:,} descriptions and {self.score_calls:,} questions, about "
            f"{self.prompt_tokens:,} prompt and at most {self.completion_tokens:,} completion "
            f"tokens for the endpoint{price}"
        )
