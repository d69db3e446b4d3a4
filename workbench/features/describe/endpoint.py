"""Describing and scoring by a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, WorkbenchError
from workbench.features.describe import prompts

if TYPE_CHECKING:
    from workbench.features.describe.evidence import Evidence
    from workbench.features.describe.questions import Question

__all__ = ["Endpoint"]

_ANSWER_TOKENS = 24
_SIMULATED_TOKENS = 4


class Endpoint:
    """A chat model behind any OpenAI-compatible endpoint; labeller and scorer in one.

    Needs the `openai` package. Safe to use from several threads.

    Parameters
    ----------
    model
        Name of the model there.
    base_url
        Where the endpoint is; None for the client's own choice (``OPENAI_BASE_URL``).
    api_key
        Key; None for the client's own choice (``OPENAI_API_KEY``). Never stored.
    temperature
        0 takes the most likely reply.
    max_retries, timeout
        How often a failed call is tried again, and seconds to wait for one.
    description_tokens
        Most tokens of the reply with a description, reasoning included.
    price_in, price_out
        Price of a million prompt and completion tokens, for the estimate of the cost.

    Raises
    ------
    InputError
        The `openai` package is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: float = 0.0,
        max_retries: int = 3,
        timeout: float = 60.0,
        description_tokens: int = 500,
        price_in: float | None = None,
        price_out: float | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise InputError(
                "an endpoint needs the openai package: pip install openai; or pass a Python "
                "function as labeller or scorer"
            ) from error
        try:
            self._client = openai.OpenAI(
                base_url=base_url, api_key=api_key, max_retries=max_retries, timeout=timeout
            )
        except openai.OpenAIError as error:
            raise InputError(f"the endpoint cannot be set up: {error}") from error
        self._failures: tuple[type[Exception], ...] = (openai.OpenAIError,)
        self.model = model
        self.temperature = temperature
        self.description_tokens = description_tokens
        self.price_in, self.price_out = price_in, price_out
        self._lock = threading.Lock()
        self.calls = self.prompt_tokens = self.completion_tokens = 0

    @property
    def name(self) -> str:
        """What results call it."""
        return f"{self.model} at {self._client.base_url.host}"

    @property
    def identity(self) -> str:
        """What a resumed run must agree in."""
        return f"{self.model} {self._client.base_url} {self.temperature}"

    def describe(self, evidence: Evidence) -> str:
        """Describe a feature.

        Raises
        ------
        InputError
            The reply holds no description.
        WorkbenchError
            The endpoint failed.
        """
        reply = self._ask(prompts.label_messages(evidence), self.description_tokens)
        return prompts.description_of(reply)

    def answer(self, question: Question) -> list[Any]:
        """Answer a question; None for each text without a usable answer.

        Raises
        ------
        WorkbenchError
            The endpoint failed.
        """
        reply = self._ask(prompts.score_messages(question), self.reply_tokens(question))
        return prompts.read_answers(question, reply)

    @staticmethod
    def reply_tokens(question: Question) -> int:
        """Most tokens a reply to a question takes."""
        if question.kind == "simulation":
            tokens = sum(len(excerpt.tokens) for excerpt in question.excerpts)
            return _ANSWER_TOKENS + _SIMULATED_TOKENS * tokens
        return _ANSWER_TOKENS + _SIMULATED_TOKENS * len(question.excerpts)

    def _ask(self, messages: Any, max_tokens: int) -> str:
        try:
            reply = self._client.chat.completions.create(
                model=self.model,
                messages=messages,
                temperature=self.temperature,
                max_tokens=max_tokens,
            )
        except self._failures as error:
            raise WorkbenchError(
                f"{self.name} failed: {error}. What was done so far is kept; the same call goes on "
                "from there"
            ) from error
        with self._lock:
            self.calls += 1
            if reply.usage is not None:
                self.prompt_tokens += reply.usage.prompt_tokens
                self.completion_tokens += reply.usage.completion_tokens
        return (reply.choices[0].message.content or "") if reply.choices else ""
