"""Measuring unlearning: accuracy on what is to be forgotten against what is to be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float

from workbench.errors import InputError
from workbench.results import Result, storable
from workbench.steering.compiled import compile_recipes
from workbench.steering.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from workbench.session import Session

__all__ = ["Question", "Unlearning", "UnlearningScore", "measure_unlearning"]


class Question(Protocol):
    """A fact to complete; the layout of the demo world's unlearning task.

    Attributes
    ----------
    prompt, answer : str
        A text, and the word that follows.
    subset : str
        ``"forget"`` or ``"retain"``.
    choices : sequence of str
        Possible answers, the right one among them; may be empty.
    """

    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def answer(self) -> str: ...  # noqa: D102
    @property
    def subset(self) -> str: ...  # noqa: D102
    @property
    def choices(self) -> Sequence[str]: ...  # noqa: D102


@storable
@dataclass(frozen=True, kw_only=True, eq=False)
class UnlearningScore:
    """One recipe.

    Parameters
    ----------
    name
        Its name.
    recipe
        What was changed.
    right
        For each question, whether the answer is the most likely next token.
    chosen
        Whether it is the likeliest of the choices; NaN where a question has none.
    log_prob
        Log-probability of the answer's first token, nats.
    """

    name: str
    recipe: Recipe
    right: Bool[np.ndarray, " question"]
    chosen: Float[np.ndarray, " question"]
    log_prob: Float[np.ndarray, " question"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Unlearning(Result):
    """Recipes of unlearning on the same questions, the unsteered model first.

    Parameters
    ----------
    scores
        One per recipe; the first is the unsteered model.
    forget
        True at the questions that are to be forgotten.
    prompts, answers
        The questions.
    """

    scores: tuple[UnlearningScore, ...]
    forget: Bool[np.ndarray, " question"]
    prompts: tuple[str, ...]
    answers: tuple[str, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per recipe.

        ``forget`` and ``retain`` are accuracies, ``forget_kept`` and ``retain_kept`` their shares
        of the unsteered model's, ``forget_choice`` and ``retain_choice`` multiple choice.
        """
        import pandas as pd

        start = self.scores[0]
        rows = []
        for score in self.scores:
            row: dict[str, Any] = {"recipe": score.name}
            for name, where in (("forget", self.forget), ("retain", ~self.forget)):
                row[name] = float(score.right[where].mean())
                row[f"{name}_kept"] = row[name] / max(float(start.right[where].mean()), 1e-9)
                row[f"{name}_choice"] = float(np.nanmean(score.chosen[where]))
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self) -> go.Figure:
        """Draw retain against forget accuracy, as shares of the start."""
        import plotly.graph_objects as go

        from workbench.plots import styled

        table = self.to_pandas()
        figure = go.Figure(
            go.Scatter(
                x=table["forget_kept"],
                y=table["retain_kept"],
                text=table["recipe"],
                mode="markers+text",
                textposition="bottom center",
            )
        )
        return styled(
            figure,
            title="Forget against retain",
            x="forget accuracy, share of start",
            y="retain accuracy, share of start",
        )

    def summary(self) -> str:
        """Return one line."""
        kinds = f"{int(self.forget.sum())} to forget, {int((~self.forget).sum())} to retain"
        return f"Unlearning: {len(self.scores) - 1} recipes on {kinds}"


def measure_unlearning(
    session: Session,
    recipes: Mapping[str, Any],
    questions: Sequence[Question],
    *,
    batch_size: int = 64,
) -> Unlearning:
    """Ask questions under each recipe and without any.

    Parameters
    ----------
    session
        The session.
    recipes
        Recipes, or what `Recipe.of` understands, by name.
    questions
        Facts to complete, of both subsets.
    batch_size
        Prompts per pass.

    Returns
    -------
    Unlearning

    Raises
    ------
    InputError
        A subset is empty, or an answer gives no tokens.
    """
    forget = np.array([question.subset == "forget" for question in questions])
    if not forget.any() or forget.all():
        raise InputError("questions of both subsets are needed, 'forget' and 'retain'")
    scores = []
    for name, given in {"unsteered": None, **recipes}.items():
        recipe = Recipe.of(given, session)
        logits = _last_logits(session, recipe, [q.prompt for q in questions], batch_size)
        scores.append(_score(session, name, recipe, logits, questions))
    return Unlearning(
        provenance=session.model.provenance(
            saes=dict.fromkeys(name for score in scores for name in score.recipe.saes)
        ),
        scores=tuple(scores),
        forget=forget,
        prompts=tuple(question.prompt for question in questions),
        answers=tuple(question.answer for question in questions),
    ).bound_to(session)


def _last_logits(
    session: Session, recipe: Recipe, prompts: Sequence[str], batch_size: int
) -> Float[torch.Tensor, "question d_vocab"]:
    parts = []
    for start in range(0, len(prompts), batch_size):
        tokens = session.tokens(list(prompts[start : start + batch_size]))
        ids = [tokens.ids[i, tokens.mask[i]].tolist() for i in range(len(tokens))]
        compiled = compile_recipes(session, [recipe] * len(ids), ids)
        logits = session.run(tokens, edits=compiled.edits(tokens), logits="last").logits
        if logits is None:
            raise RuntimeError("a run for logits gave none")
        parts.append(logits[:, 0].float().cpu())
    return torch.cat(parts)


def _first_token(session: Session, word: str) -> int:
    ids = session.tokenizer(" " + word.strip(), add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError(f"the answer {word!r} gives no tokens")
    return int(ids[0])


def _score(
    session: Session,
    name: str,
    recipe: Recipe,
    logits: Float[torch.Tensor, "question d_vocab"],
    questions: Sequence[Question],
) -> UnlearningScore:
    answers = torch.tensor([_first_token(session, question.answer) for question in questions])
    chosen = np.full(len(questions), np.nan)
    for number, question in enumerate(questions):
        if question.choices:
            options = [_first_token(session, word) for word in question.choices]
            best = options[int(logits[number, options].argmax())]
            chosen[number] = float(best == int(answers[number]))
    log_probs = logits.log_softmax(-1).gather(1, answers[:, None])[:, 0]
    return UnlearningScore(
        name=name,
        recipe=recipe,
        right=(logits.argmax(-1) == answers).numpy(),
        chosen=chosen,
        log_prob=log_probs.double().numpy(),
    )
