"""How a model is asked about entities, and how its answers are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.directions.entities.records import Entity
from workbench.errors import InputError, unknown
from workbench.results import storable

if TYPE_CHECKING:
    from workbench.model.model import Model

__all__ = ["CHAT", "NAME", "PLAIN", "PromptStyle", "attributes_by_type", "style_of"]

NAME = "{entity}"
"""Where a template holds the name."""


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
