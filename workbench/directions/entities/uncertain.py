"""Features that tell right answers from wrong ones before they are given.

At the last token of a prompt, features are compared between prompts answered correctly and
wrongly, by Welch's t-test per entity type; over types the smallest statistic counts (Ferrando et
al. 2024, section 7). Prompts that were refused do not take part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from workbench.directions.detection import auroc, auroc_interval
from workbench.directions.entities.matching import matches, rule_for
from workbench.directions.entities.prompts import EntityPrompt, PromptTokens, tokenise
from workbench.directions.entities.records import Entity
from workbench.directions.entities.scoring import EntityCodes, choose_saes, read_entities
from workbench.directions.entities.styles import PromptStyle
from workbench.errors import InputError
from workbench.features.refs import FeatureRef, FeatureSet
from workbench.model.generate_many import generate_many
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.session import Session

__all__ = ["UncertaintyStudy", "uncertainty", "welch"]

_ROWS = 256


def welch(
    codes: sparse.csr_matrix, first: Bool[np.ndarray, " rows"], second: Bool[np.ndarray, " rows"]
) -> Float[np.ndarray, " d_sae"]:
    """Return Welch's t statistic of each column, first group against second.

    Parameters
    ----------
    codes
        One row per prompt.
    first, second
        The groups; at least two rows each.

    Returns
    -------
    ndarray
        0 where a column does not vary in either group.

    Raises
    ------
    InputError
        A group has fewer than two rows.
    """
    sums = []
    for rows in (first, second):
        n = int(rows.sum())
        if n < 2:
            raise InputError(f"a t-test needs at least two prompts in each group, got {n}")
        part = codes[rows]
        mean = np.asarray(part.mean(0)).ravel()
        square = np.asarray(part.multiply(part).mean(0)).ravel()
        variance = np.maximum(square - mean**2, 0) * n / (n - 1)
        sums.append((mean, variance / n))
    (mean_a, error_a), (mean_b, error_b) = sums
    spread = np.sqrt(error_a + error_b)
    found: np.ndarray = np.divide(
        mean_a - mean_b, spread, out=np.zeros_like(spread), where=spread > 1e-12
    )
    return found


@storable
@dataclass(frozen=True, kw_only=True)
class UncertainAnswer:
    """One prompt and its answer.

    Parameters
    ----------
    entity, type
        About whom.
    question
        The prompt.
    text
        The greedy answer.
    correct
        Whether it is right.
    split
        ``"train"`` or ``"test"``.
    """

    entity: str
    type: str
    question: str
    text: str
    correct: bool
    split: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class UncertaintyStudy(Result):
    """Features that tell wrong answers from right ones at the prompt's last token.

    Parameters
    ----------
    answers
        The prompts that were not refused.
    refused
        How many were.
    types
        Types with right and wrong answers; the others do not take part.
    features
        The features with the largest smallest t statistic over types, per SAE and side, best
        first.
    sides
        ``"uncertain"`` (stronger before wrong answers) or ``"certain"``.
    statistics
        That t statistic, on training prompts.
    aurocs, low, high
        Wrong from right (right from wrong for certain ones) on test prompts of all types, with
        its 95% interval.
    """

    answers: tuple[UncertainAnswer, ...] = field(repr=False)
    refused: int
    types: tuple[str, ...]
    features: tuple[str, ...]
    sides: tuple[str, ...]
    statistics: Float[np.ndarray, " feature"] = field(repr=False)
    aurocs: Float[np.ndarray, " feature"] = field(repr=False)
    low: Float[np.ndarray, " feature"] = field(repr=False)
    high: Float[np.ndarray, " feature"] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per feature."""
        import pandas as pd

        return pd.DataFrame(
            {
                "feature": self.features,
                "side": self.sides,
                "t": self.statistics,
                "auroc": self.aurocs,
                "low": self.low,
                "high": self.high,
            }
        )

    def of_side(self, side: str) -> FeatureSet:
        """Return the features of one side, best first."""
        pairs = zip(self.features, self.sides, strict=True)
        return FeatureSet.of([feature for feature, mine in pairs if mine == side])

    def summary(self) -> str:
        """Return one line: how many answers were right, and the best feature."""
        right = sum(answer.correct for answer in self.answers)
        head = f"UncertaintyStudy: {right} of {len(self.answers)} answers right"
        if not self.features:
            return f"{head}; no feature tells"
        return f"{head}; best {self.features[0]} ({self.sides[0]}), AUROC {self.aurocs[0]:.3f}"


def uncertainty(
    session: Session,
    entities: Sequence[Entity],
    *,
    style: PromptStyle,
    completions: bool = False,
    saes: Sequence[str] | None = None,
    k: int = 10,
    test: float = 0.4,
    seed: int = 0,
) -> UncertaintyStudy:
    """Find features that tell whether the answer to come is wrong.

    Parameters
    ----------
    session
        Model and SAEs.
    entities
        About whom; every attribute is asked. Entities given as unknown have no right answer: each
        of their type's attributes is asked, and what is not refused is wrong.
    style
        How to ask.
    completions
        Ask by sentences to be completed (`PromptStyle.completions`), which cannot be refused.
    saes
        Which SAEs.
    k
        Features per side.
    test
        Share of entities the figures are measured on.
    seed
        Seed of wordings and of the split.

    Raises
    ------
    InputError
        No type has two right and two wrong answers in training and one of each in test.
    """
    prompts = _prompts(entities, style, completions, seed)
    # Sentences to be completed are plain text, whatever questions are.
    how = _plain(style) if completions else style
    made = tokenise(session.model, how, prompts)
    texts = generate_many(
        session.model,
        made.tokens,
        max_new_tokens=style.answer_tokens,
        stop=style.stop or (("\n", ".") if completions else ()),
        max_rows=_ROWS,
    )
    rng = np.random.default_rng(seed)
    names = sorted({(p.entity.type, p.entity.name) for p in prompts})
    held_out = {names[i] for i in rng.permutation(len(names))[: round(test * len(names))]}
    answers, kept = [], []
    for at, prompt in enumerate(prompts):
        text = texts[at].completion
        if not completions and style.refused(text):
            continue
        entity = prompt.entity
        values = entity.attributes.get(prompt.attribute, ())
        rule = rule_for(entity.type, prompt.attribute)
        kept.append(at)
        answers.append(
            UncertainAnswer(
                entity=entity.name,
                type=entity.type,
                question=prompt.text,
                text=text,
                correct=matches(text, values, rule),
                split="test" if (entity.type, entity.name) in held_out else "train",
            )
        )
    chosen = choose_saes(session, saes)
    at_end = PromptTokens(tokens=made.tokens, first=made.first, last=made.tokens.last)
    codes = read_entities(session, at_end.take(kept), chosen).codes
    return _tell(session, answers, len(prompts) - len(kept), codes, k, seed)


def _tell(
    session: Session,
    answers: Sequence[UncertainAnswer],
    refused: int,
    codes: Mapping[str, EntityCodes],
    k: int,
    seed: int,
) -> UncertaintyStudy:
    right = np.array([answer.correct for answer in answers])
    kinds = np.array([answer.type for answer in answers])
    train = np.array([answer.split == "train" for answer in answers])
    types = tuple(
        kind
        for kind in dict.fromkeys(kinds.tolist())
        if all(
            int(((kinds == kind) & (right == side) & part).sum()) >= least
            for side in (True, False)
            for part, least in ((train, 2), (~train, 1))
        )
    )
    if not types:
        counts = {
            str(kind): (int(right[kinds == kind].sum()), int((~right[kinds == kind]).sum()))
            for kind in dict.fromkeys(kinds.tolist())
        }
        raise InputError(
            "no type has enough right and wrong answers (two of each in training, one of each in "
            f"test); found (right, wrong) by type: {counts}"
        )
    counted = np.isin(kinds, types)
    rows: list[tuple[str, str, float, float, float, float]] = []
    for name, code in codes.items():
        matrix = code.matrix()
        by_type = np.stack(
            [
                welch(
                    matrix,
                    train & (kinds == kind) & ~right,
                    train & (kinds == kind) & right,
                )
                for kind in types
            ]
        )
        for side, statistic in (("uncertain", by_type.min(0)), ("certain", (-by_type).min(0))):
            for index in np.argsort(-statistic, kind="stable")[:k]:
                if statistic[index] <= 0:
                    continue
                scored = counted & ~train
                wanted = ~right if side == "uncertain" else right
                area = auroc(code.column(int(index))[scored], wanted[scored])
                positive = int(wanted[scored].sum())
                low, high = auroc_interval(area, positive, int(scored.sum()) - positive)
                ref = str(FeatureRef(name, int(index)))
                rows.append((ref, side, float(statistic[index]), area, low, high))
    rows.sort(key=lambda row: -row[2])
    best = [
        row for side in ("uncertain", "certain") for row in [r for r in rows if r[1] == side][:k]
    ]
    best.sort(key=lambda row: -row[2])
    columns = list(zip(*best, strict=True)) if best else [()] * 6
    return UncertaintyStudy(
        provenance=session.model.provenance(saes=tuple(codes), seed=seed),
        answers=tuple(answers),
        refused=refused,
        types=types,
        features=tuple(columns[0]),
        sides=tuple(columns[1]),
        statistics=np.array(columns[2], dtype=np.float64),
        aurocs=np.array(columns[3], dtype=np.float64),
        low=np.array(columns[4], dtype=np.float64),
        high=np.array(columns[5], dtype=np.float64),
    ).bound_to(session)


def _plain(style: PromptStyle) -> PromptStyle:
    return dataclasses.replace(style, chat=False)


def _prompts(
    entities: Sequence[Entity], style: PromptStyle, completions: bool, seed: int
) -> list[EntityPrompt]:
    table = style.completions if completions else style.questions
    attributes: dict[str, dict[str, None]] = {}
    for entity in entities:
        attributes.setdefault(entity.type, {}).update(dict.fromkeys(entity.attributes))
    rng = np.random.default_rng(seed)
    prompts = []
    for entity in entities:
        asked = entity.attributes or attributes[entity.type]
        for attribute in asked:
            templates = table.get(entity.type, {}).get(attribute, ())
            if completions and not templates:
                raise InputError(
                    f"the style has no completions for {entity.type}.{attribute}; give some, or "
                    "ask questions"
                )
            options = templates or (style.question,)
            prompts.append(
                EntityPrompt.of(entity, options[int(rng.integers(len(options)))], attribute)
            )
    if not prompts:
        raise InputError("there is nothing to ask: no entity has attributes")
    return prompts
