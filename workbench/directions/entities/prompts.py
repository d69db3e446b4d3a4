"""Questions about entities, and where in their tokens the entity's name stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.directions.entities.records import Entity
from workbench.errors import InputError, TokenError, unknown
from workbench.model.tokens import TokenPolicy, Tokens
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = [
    "CHAT",
    "PLAIN",
    "EntityPrompt",
    "PromptStyle",
    "PromptTokens",
    "attributes_by_type",
    "question_prompt",
    "style_of",
    "tokenise",
]

NAME = "{entity}"


@storable
@dataclass(frozen=True, kw_only=True)
class PromptStyle:
    """How a model is asked about an entity, and how its answers are read.

    Parameters
    ----------
    name
        What the style is called.
    chat
        Whether a prompt is one user message in the model's chat template.
    question
        Template of a question, with ``{entity}``, ``{type}`` and ``{attribute}``.
    questions
        Templates of particular types and attributes, which come before `question`: type to
        attribute to templates, of which one is drawn per entity.
    completions
        Templates of sentences that end where the value is due, in the same form; they cannot be
        refused. Used for uncertainty directions.
    refusal_openings
        An answer that begins with one of these words refuses.
    refusal_phrases
        An answer that says one of these, in any case, refuses.
    check
        Template of the question whether the model knows the entity; None to ask an ordinary
        question and look at how the answer opens.
    yes, no
        Texts of one token each whose logits are compared after `check` (with their leading space
        where the answer follows directly).
    answer_tokens
        Longest answer, in tokens.
    stop
        Strings that end an answer.
    max_density
        Features firing on this share of general tokens or more are dropped; None drops none.
    """

    name: str
    chat: bool
    question: str
    questions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    completions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    refusal_openings: tuple[str, ...] = ()
    refusal_phrases: tuple[str, ...] = ()
    check: str | None = None
    yes: tuple[str, ...] = (" Yes", " yes", "Yes")
    no: tuple[str, ...] = (" No", " no", "No")
    answer_tokens: int = 32
    stop: tuple[str, ...] = ()
    max_density: float | None = 0.02

    def __post_init__(self) -> None:
        templates = [
            self.question,
            *([self.check] if self.check else []),
            *(
                text
                for table in (self.questions, self.completions)
                for by_attribute in table.values()
                for texts in by_attribute.values()
                for text in texts
            ),
        ]
        for template in templates:
            if NAME not in template:
                raise InputError(f"the template {template!r} does not hold {NAME}")

    def templates(self, entity_type: str, attribute: str) -> tuple[str, ...]:
        """Return the templates of a question about an attribute."""
        return self.questions.get(entity_type, {}).get(attribute) or (self.question,)

    def refused(self, answer: str) -> bool:
        """Say whether an answer refuses.

        Parameters
        ----------
        answer
            What the model wrote.
        """
        words = answer.split()
        first = words[0].rstrip(",.;:!?") if words else ""
        if first and first in self.refusal_openings:
            return True
        lowered = " ".join(words).lower().replace("’", "'")
        return any(phrase.lower() in lowered for phrase in self.refusal_phrases)


_REFUSALS = (
    "i don't know",
    "i do not know",
    "i'm not familiar",
    "i am not familiar",
    "i'm not aware",
    "i am not aware",
    "i'm not sure",
    "i am not sure",
    "i'm sorry",
    "i am sorry",
    "i cannot",
    "i can't",
    "i could not find",
    "i couldn't find",
    "i do not have",
    "i don't have",
    "i have no information",
    "unable to find",
    "unable to provide",
    "no information about",
    "not publicly available",
    "does not exist",
    "doesn't exist",
    "is fictional",
    "not a real",
    "please provide more",
    "could you provide more",
    "need more context",
    "need more information",
)

PLAIN = PromptStyle(
    name="plain",
    chat=False,
    question="What is the {attribute} of the {type} '{entity}'? "
    "The {attribute} of the {type} '{entity}' is",
    refusal_phrases=(*_REFUSALS, "not known", "unknown", "unclear"),
    check="Are you sure you know the {type} '{entity}'? Answer:",
)
"""The base prompt of Ferrando et al. (2024), for models without a chat template."""

CHAT = PromptStyle(
    name="chat",
    chat=True,
    question="What is the {attribute} of the {type} '{entity}'?",
    refusal_phrases=_REFUSALS,
    check="Are you sure you know the {type} '{entity}'? Answer yes or no.",
)
"""The same question as one user message."""


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


def style_of(model: Model, style: PromptStyle | Mapping[str, Any] | str | None) -> PromptStyle:
    """Settle how a model is asked.

    Parameters
    ----------
    model
        The model.
    style
        A style, its fields, ``"plain"`` or ``"chat"``; None for chat where the tokenizer has a
        chat template.

    Raises
    ------
    InputError
        There is no such style, or the fields do not make one.
    """
    if isinstance(style, PromptStyle):
        return style
    if isinstance(style, Mapping):
        try:
            return PromptStyle(**style)
        except TypeError as error:
            raise InputError(f"these are not the fields of a prompt style: {error}") from error
    if style is None:
        return CHAT if getattr(model.tokenizer, "chat_template", None) else PLAIN
    named = {"plain": PLAIN, "chat": CHAT}
    if style not in named:
        raise InputError(unknown("prompt style", str(style), named))
    return named[style]


def attributes_by_type(
    style: PromptStyle, entities: Iterable[Entity]
) -> dict[str, tuple[str, ...]]:
    """Say what entities of each type can be asked about, known and unknown ones alike.

    Parameters
    ----------
    style
        Its questions name attributes, which come first.
    entities
        Their attributes count for types without questions in the style.

    Returns
    -------
    dict
        Attributes by type; ``("background",)`` where no entity of the type has any.
    """
    found: dict[str, dict[str, None]] = {}
    for entity in entities:
        own = style.questions.get(entity.type) or entity.attributes
        found.setdefault(entity.type, {}).update(dict.fromkeys(own))
    return {kind: tuple(names) or ("background",) for kind, names in found.items()}


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
