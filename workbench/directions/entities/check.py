"""Does the model say that it knows the entity? The yes/no question, with and without pushes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions.entities.prompts import EntityPrompt, tokenise
from workbench.directions.entities.pushes import Push, pass_edits
from workbench.errors import InputError, TokenError
from workbench.results import Result, storable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.model.model import Model
    from workbench.session import Session

__all__ = ["KnowledgeCheck", "check_knowledge", "chosen_pushes"]

_BATCH = 64


@storable
@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One entity under one push.

    Parameters
    ----------
    entity, type, label
        Which entity.
    towards
        ``"known"``, ``"unknown"``, or empty for no push.
    difference
        Logit of yes minus logit of no, in nats.
    """

    entity: str
    type: str
    label: str
    towards: str
    difference: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KnowledgeCheck(Result):
    """Logit of yes minus logit of no after the question whether the model knows an entity.

    Where several spellings stand for one answer, their logits are joined by logsumexp.

    Parameters
    ----------
    question
        The template asked, or ``"ordinary question"`` where the style has none: then `yes` and
        `no` are openings of answers and of refusals.
    yes, no
        The tokens.
    rows
        One per entity and push.
    """

    question: str
    yes: tuple[str, ...]
    no: tuple[str, ...]
    rows: tuple[CheckRow, ...] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per entity and push."""
        import pandas as pd

        names = [f.name for f in dataclasses.fields(CheckRow)]
        return pd.DataFrame([[getattr(r, n) for n in names] for r in self.rows], columns=names)

    def means(self) -> pd.DataFrame:
        """Return the mean difference and the share of yes, by label and push.

        Returns
        -------
        DataFrame
            ``label``, ``towards``, ``n``, ``difference`` (nats), ``error`` (standard error of the
            mean), ``yes`` (share above 0).
        """
        table = self.to_pandas()
        grouped = table.groupby(["label", "towards"], sort=False)["difference"]
        found = grouped.agg(n="count", difference="mean", error="sem").reset_index()
        found["yes"] = grouped.apply(lambda values: float((values > 0).mean())).to_numpy()
        return found

    def summary(self) -> str:
        """Return one line."""
        parts = [
            f"{label}{f' pushed towards {towards}' if towards else ''} {difference:+.1f}"
            for label, towards, difference in self.means()[
                ["label", "towards", "difference"]
            ].to_numpy()
        ]
        return "KnowledgeCheck, logit yes − no: " + "; ".join(parts)


def chosen_pushes(study: EntityStudy) -> list[tuple[Push, float]]:
    """Return the pushes and strengths the study's sweep chose."""
    if study.steering is None:
        return []
    return [
        (study.steering.pushes[name], strength) for name, strength in study.steering.chosen.values()
    ]


def check_knowledge(
    session: Session,
    study: EntityStudy,
    pushes: Sequence[tuple[Push, float]] | None = None,
    *,
    most: int = 100,
) -> KnowledgeCheck:
    """Ask about test entities whether the model knows them, with and without pushes.

    Parameters
    ----------
    session
        The model.
    study
        Whose entities, and whose style.
    pushes
        Pushes and strengths; those the study's sweep chose where None.
    most
        Most entities of each label.

    Raises
    ------
    TokenError
        None of the spellings of yes, or of no, is one token.
    InputError
        There are no test entities.
    """
    style = study.style
    yes, no = (_tokens(session.model, texts) for texts in (style.yes, style.no))
    asked = [
        (label, prompt)
        for label in ("known", "unknown")
        for prompt in study.questions("test", label, most)
    ]
    if not asked:
        raise InputError("the study has no test entities to ask about")
    if style.check is not None:
        asked = [(label, EntityPrompt.of(p.entity, style.check)) for label, p in asked]
    conditions: list[tuple[Push | None, float]] = [(None, 0.0)]
    conditions += chosen_pushes(study) if pushes is None else list(pushes)
    rows = []
    for push, strength in conditions:
        values = _differences(session, study, [p for _, p in asked], push, strength, yes, no)
        rows += [
            CheckRow(
                entity=prompt.entity.name,
                type=prompt.entity.type,
                label=label,
                towards="" if push is None else push.towards,
                difference=float(value),
            )
            for (label, prompt), value in zip(asked, values, strict=True)
        ]
    return KnowledgeCheck(
        provenance=study.provenance,
        question=style.check or "ordinary question",
        yes=tuple(session.model.token_string(token) for token in yes),
        no=tuple(session.model.token_string(token) for token in no),
        rows=tuple(rows),
    ).bound_to(session)


def _differences(
    session: Session,
    study: EntityStudy,
    prompts: Sequence[EntityPrompt],
    push: Push | None,
    strength: float,
    yes: Sequence[int],
    no: Sequence[int],
) -> Float[np.ndarray, " prompts"]:
    made = tokenise(session.model, study.style, prompts)
    parts: list[Tensor] = []
    for start in range(0, len(prompts), _BATCH):
        part = made.take(range(start, min(start + _BATCH, len(prompts))))
        edits = pass_edits([push] * len(part), [strength] * len(part), part.last)
        out = session.model.run(part.tokens, edits=edits, logits="last").logits
        if out is None:
            raise InputError("the pass gave no logits")
        logits = out[:, 0].float().cpu()
        parts.append(logits[:, list(yes)].logsumexp(-1) - logits[:, list(no)].logsumexp(-1))
    return torch.cat(parts).numpy()


def _tokens(model: Model, texts: Sequence[str]) -> list[int]:
    """Ids of the spellings that are one token."""
    found = []
    for text in texts:
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] != model.tokenizer.unk_token_id:
            found.append(int(ids[0]))
    if not found:
        raise TokenError(f"none of {tuple(texts)} is one token; give other spellings in the style")
    return list(dict.fromkeys(found))
