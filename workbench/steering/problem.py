"""A steering problem: prompts that hold one concept, to be taken to another, and how to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.session import Session

__all__ = ["Contrast", "SteeringExample", "SteeringProblem", "last_token_acts"]


class SteeringExample(Protocol):
    """A prompt to be steered; the layout of the demo world's steering tasks.

    Attributes
    ----------
    prompt : str
        Text, or what the user says where `chat` is true.
    chat : bool
        Whether it goes through the chat template.
    source, target : str
        The concept that holds, and the one to steer to.
    hits, misses : sequence of str
        The first of these words in the continuation tells whether steering succeeded.
    """

    @property
    def prompt(self) -> str: ...  # noqa: D102
    @property
    def chat(self) -> bool: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def hits(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def misses(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """Labelled prompts of one target: what a method learns from.

    Parameters
    ----------
    target
        The concept to steer to.
    positives
        Token ids of prompts at whose end the target holds.
    negatives
        Token ids of prompts at whose end it does not.
    """

    target: str
    positives: tuple[tuple[int, ...], ...]
    negatives: tuple[tuple[int, ...], ...]

    def acts(
        self, session: Session, site: str
    ) -> tuple[Float[torch.Tensor, "positive d"], Float[torch.Tensor, "negative d"]]:
        """Return the last tokens' activations of both classes at a site."""
        both = last_token_acts(session, [*self.positives, *self.negatives], site)
        return both[: len(self.positives)], both[len(self.positives) :]


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringProblem:
    """Prompts to learn from, to choose strengths on, and to be scored on.

    Parameters
    ----------
    name
        What it is called.
    train
        Labelled prompts methods learn from.
    choose
        Prompts strengths are chosen on.
    test
        Held-out prompts.
    min_new_tokens
        Tokens before which a continuation must not end, for prompts that are complete texts.
    """

    name: str
    train: Sequence[SteeringExample]
    choose: Sequence[SteeringExample]
    test: Sequence[SteeringExample]
    min_new_tokens: int = 0

    @property
    def targets(self) -> tuple[str, ...]:
        """Concepts that prompts are steered to."""
        return tuple(dict.fromkeys(e.target for e in (*self.choose, *self.test)))

    def ids(self, session: Session, examples: Sequence[SteeringExample]) -> list[list[int]]:
        """Return the token ids of examples, chat template included."""
        rows = []
        for example in examples:
            given: Any = example.prompt
            if example.chat:
                given = [{"role": "user", "content": example.prompt}]
            rows.append(session.tokens(given).ids[0].tolist())
        return rows

    def contrast(self, session: Session, target: str) -> Contrast:
        """Return what methods learn a target from: training prompts where it holds or does not.

        Raises
        ------
        InputError
            One of the two classes is empty.
        """
        holds = [e for e in self.train if e.source == target]
        others = [e for e in self.train if e.source != target]
        if not holds or not others:
            raise InputError(
                f"{self.name}: {len(holds)} training prompts where {target} holds and "
                f"{len(others)} where it does not; expected some of both"
            )
        return Contrast(
            target=target,
            positives=tuple(tuple(ids) for ids in self.ids(session, holds)),
            negatives=tuple(tuple(ids) for ids in self.ids(session, others)),
        )

    def hit(self, example: SteeringExample, completion: str) -> float:
        """Return 1 where the first telling word of a continuation is one of the target's."""
        hits = {word.lower() for word in example.hits}
        misses = {word.lower() for word in example.misses}
        for word in completion.split():
            bare = word.strip(".,;:!?\"'()").lower()
            if bare in hits:
                return 1.0
            if bare in misses:
                return 0.0
        return 0.0


def last_token_acts(
    session: Session, prompts: Sequence[Sequence[int]], site: str, *, batch_size: int = 64
) -> Float[torch.Tensor, "prompt d"]:
    """Return the activation of each prompt's last token at a site, float32 on the CPU."""
    parts = []
    for start in range(0, len(prompts), batch_size):
        rows = prompts[start : start + batch_size]
        tokens = session.model.tokenizing.from_ids(rows, session.policy)
        acts = session.run(tokens, capture=[site])[site]
        places = torch.arange(len(tokens), device=acts.device)
        parts.append(acts[places, tokens.last.to(acts.device)].float().cpu())
    return torch.cat(parts)
