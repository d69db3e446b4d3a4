"""Baselines that read the text and not the model's inside: bag of words, and asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float

from workbench.directions.methods.base import ConceptData, Found, Method, UnavailableError
from workbench.errors import InputError, TokenError

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = ["BagOfWords", "PromptBaseline", "plain_text"]

Judge = Callable[[str, Sequence[str]], Sequence[float]]


def plain_text(text: Any) -> str:
    """Write a text, or the messages of a conversation, as one string."""
    if isinstance(text, str):
        return text
    return "\n".join(str(message.get("content", "")) for message in text)


@dataclass(frozen=True, kw_only=True)
class BagOfWords(Method):
    """Logistic regression on word counts (AxBench, appendix).

    Parameters
    ----------
    penalty
        Inverse strength C of the L2 penalty.
    """

    name: ClassVar[str] = "bag_of_words"
    title: ClassVar[str] = "Bag of words"

    penalty: float = 1.0

    def fit(self, data: ConceptData) -> Found:
        """Count the training texts' words and weigh them."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        counter = CountVectorizer()
        try:
            counts = counter.fit_transform([plain_text(text) for text in data.acts.texts])
        except ValueError as error:
            raise UnavailableError(f"the training texts have no words to count: {error}") from error
        model = LogisticRegression(C=self.penalty, max_iter=2000).fit(counts, data.positive)

        def score(texts: Sequence[Any]) -> Float[np.ndarray, " text"]:
            found = counter.transform([plain_text(text) for text in texts])
            return np.asarray(model.decision_function(found), dtype=np.float64)

        return Found(score=score, details={"words": len(counter.vocabulary_)})


@dataclass(frozen=True, kw_only=True)
class PromptBaseline(Method):
    """Ask whether a text shows the concept.

    With a `judge` (any callable, an LLM behind an endpoint for one) its scores are taken. Without
    one the session's own model is asked: the score is the log-probability of the first answer minus
    that of the second. A model whose tokenizer lacks the question's words cannot be asked.

    Parameters
    ----------
    judge
        Gets the concept's label and texts, returns one score per text, larger for more.
    template
        The question; ``{text}`` and ``{concept}`` are filled in.
    answers
        The two answers, each one token.
    batch_size
        Texts per pass.
    """

    name: ClassVar[str] = "prompt"
    title: ClassVar[str] = "Prompt"

    judge: Judge | None = None
    template: str = (
        "{text}\n\nQuestion: Does the text above show this concept: {concept}? Answer Yes or No."
        "\nAnswer:"
    )
    answers: tuple[str, str] = (" Yes", " No")
    batch_size: int = 16

    def __post_init__(self) -> None:
        if "{text}" not in self.template or "{concept}" not in self.template:
            raise InputError("the template needs {text} and {concept}")

    def fit(self, data: ConceptData) -> Found:
        """Check that the question can be asked; there is nothing to train."""
        if self.judge is not None:
            judge = self.judge

            def judged(texts: Sequence[Any]) -> Float[np.ndarray, " text"]:
                found = np.asarray(judge(data.label, [plain_text(text) for text in texts]))
                if found.shape != (len(texts),):
                    raise InputError(
                        f"the judge gave shape {found.shape} for {len(texts)} texts, expected one "
                        "score per text"
                    )
                return found.astype(np.float64)

            return Found(score=judged, details={"judge": _name_of(judge)})
        yes, no = self._answers(data.session)
        self._check_words(data.session)

        def asked(texts: Sequence[Any]) -> Float[np.ndarray, " text"]:
            return self._ask(data.session, data.label, texts, yes, no)

        return Found(score=asked, details={"judge": f"{data.session.model.name} itself"})

    def _answers(self, session: Session) -> tuple[int, int]:
        try:
            yes, no = (session.model.single_token(answer) for answer in self.answers)
        except TokenError as error:
            raise UnavailableError(f"the model cannot answer: {error}") from error
        if yes == no or session.tokenizer.unk_token_id in (yes, no):
            raise UnavailableError(
                f"the tokenizer of {session.model.name} has no words for the answers {self.answers}"
            )
        return yes, no

    def _check_words(self, session: Session) -> None:
        question = self.template.replace("{text}", "").replace("{concept}", "")
        tokenizer = session.tokenizer
        ids = tokenizer(question, add_special_tokens=False)["input_ids"]
        lost = ids.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0
        if lost:
            raise UnavailableError(
                f"{lost} of the question's {len(ids)} tokens are unknown to the tokenizer of "
                f"{session.model.name}; pass PromptBaseline(judge=...) or a template it can read"
            )

    def _ask(
        self, session: Session, concept: str, texts: Sequence[Any], yes: int, no: int
    ) -> Float[np.ndarray, " text"]:
        # Not str.format: texts may hold braces.
        questions = [
            self.template.replace("{concept}", concept).replace("{text}", plain_text(text))
            for text in texts
        ]
        parts = []
        for ran in session.model.stream(questions, batch_size=self.batch_size, logits="last"):
            if ran.logits is None:
                raise UnavailableError("the model gave no logits")
            log_probs = ran.logits[:, 0].float().log_softmax(-1)
            parts.append((log_probs[:, yes] - log_probs[:, no]).cpu())
        return torch.cat(parts).double().numpy()


def _name_of(judge: Judge) -> str:
    return str(getattr(judge, "__name__", type(judge).__name__))
