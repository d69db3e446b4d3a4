"""Questions about entities, and where in their tokens the entity's name stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.directions.entities.records import Entity
from workbench.directions.entities.styles import NAME, PromptStyle
from workbench.errors import TokenError
from workbench.model.tokens import TokenPolicy, Tokens

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["EntityPrompt", "PromptTokens", "question_prompt", "tokenise"]


@dataclass(frozen=True, kw_only=True)
class EntityPrompt:
    """A prompt about an entity.

    Parameters
    ----------
    entity
        Whom it is about.
    attribute
        What is asked; empty where nothing particular is.
    text
        The prompt, or what the user says.
    start, end
        Where the name stands in it, in characters: the first time.
    """

    entity: Entity
    attribute: str
    text: str
    start: int
    end: int

    @classmethod
    def of(cls, entity: Entity, template: str, attribute: str = "") -> EntityPrompt:
        """Fill in a template."""
        said = template.replace("{attribute}", attribute.replace("_", " ")).replace(
            "{type}", entity.type
        )
        start = said.index(NAME)
        text = said.replace(NAME, entity.name)
        return cls(
            entity=entity, attribute=attribute, text=text, start=start, end=start + len(entity.name)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptTokens:
    """Tokenised prompts, with the place of the name.

    Parameters
    ----------
    tokens
        The rows.
    first, last
        Position of the first and last token of the name in each row.
    """

    tokens: Tokens
    first: Int[Tensor, " rows"]
    last: Int[Tensor, " rows"]

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self) -> PromptTokens:
        """Drop what follows each name: causal models do not see it there."""
        at = torch.arange(self.tokens.ids.shape[1])
        kept = self.tokens.mask & (at[None] <= self.last[:, None])
        width = int(self.last.max()) + 1
        tokens = dataclasses.replace(
            self.tokens,
            ids=self.tokens.ids[:, :width],
            mask=kept[:, :width],
            special=(self.tokens.special | ~kept)[:, :width],
            strings=tuple(
                row[: int(end) + 1] for row, end in zip(self.tokens.strings, self.last, strict=True)
            ),
        )
        return dataclasses.replace(self, tokens=tokens)

    def take(self, rows: Sequence[int]) -> PromptTokens:
        """Keep some rows, in the order given."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        tokens = self.tokens
        width = max(1, int(tokens.mask[index].sum(1).max()))
        return PromptTokens(
            tokens=dataclasses.replace(
                tokens,
                ids=tokens.ids[index, :width],
                mask=tokens.mask[index, :width],
                special=tokens.special[index, :width],
                strings=tuple(tokens.strings[row] for row in index.tolist()),
            ),
            first=self.first[index],
            last=self.last[index],
        )


def question_prompt(
    style: PromptStyle,
    entity: Entity,
    attributes: str | Sequence[str],
    *,
    seed: int = 0,
) -> EntityPrompt:
    """Ask about an entity: the attribute, among several, and the wording are drawn.

    Parameters
    ----------
    style
        How.
    entity
        About whom.
    attributes
        About what, or what to draw from.
    seed
        The same seed, entity and attributes give the same question.
    """
    rng = Random(f"question {seed} {entity.type} {entity.name} {attributes}")
    if isinstance(attributes, str):
        attribute = attributes
    else:
        attribute = attributes[rng.randrange(len(attributes))]
    templates = style.templates(entity.type, attribute)
    return EntityPrompt.of(entity, templates[rng.randrange(len(templates))], attribute)


def tokenise(model: Model, style: PromptStyle, prompts: Sequence[EntityPrompt]) -> PromptTokens:
    """Tokenise prompts and find the tokens of each name.

    Parameters
    ----------
    model
        The model, whose token policy decides the BOS token.
    style
        Whether the chat template goes round them.
    prompts
        The prompts.

    Returns
    -------
    PromptTokens

    Raises
    ------
    TokenError
        A name cannot be found in its prompt's tokens, or a prompt is too long.
    """
    policy = dataclasses.replace(model.policy, chat=style.chat)
    tokens = model.tokens([prompt.text for prompt in prompts], policy)
    first, last = [], []
    for row, prompt in enumerate(prompts):
        ids = tokens.ids[row, tokens.mask[row]].tolist()
        begin, end = _name_tokens(model, policy, prompt, ids)
        first.append(begin)
        last.append(end)
    return PromptTokens(tokens=tokens, first=torch.tensor(first), last=torch.tensor(last))


def _name_tokens(
    model: Model, policy: TokenPolicy, prompt: EntityPrompt, ids: list[int]
) -> tuple[int, int]:
    tokenizer: Any = model.tokenizer
    text, shift = prompt.text, 0
    if policy.chat:
        text = str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt.text}],
                tokenize=False,
                add_generation_prompt=True,
            )
        )
        # Templates strip what they are given.
        content = prompt.text.strip()
        shift = text.index(content) - (len(prompt.text) - len(prompt.text.lstrip()))
    try:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    except NotImplementedError as error:
        raise TokenError(
            "finding a name among tokens needs a fast tokenizer (one that gives character offsets)"
        ) from error
    start, end = prompt.start + shift, prompt.end + shift
    inside = [
        at for at, (a, b) in enumerate(encoded["offset_mapping"]) if a < end and b > start and a < b
    ]
    # The rows differ from this reading by BOS tokens at the front only.
    offset = len(ids) - len(encoded["input_ids"])
    tail = ids[max(offset, 0) :]
    if not inside or tail != list(encoded["input_ids"])[max(-offset, 0) :]:
        raise TokenError(
            f"the name {prompt.entity.name!r} cannot be found among the tokens of {prompt.text!r}"
        )
    return inside[0] + offset, inside[-1] + offset
