"""The demo world's entities and questions as plain data, for studies of what a model knows.

Known names are those training text states facts about, with these facts as attributes. Unknown
names are held-out combinations of the same parts, which training never shows.
"""

from __future__ import annotations

from typing import Any

from workbench.demo import world
from workbench.demo.drafting import join, words
from workbench.demo.kinds import entity_chat, facts

__all__ = ["entity_rows", "prompt_style"]

_STAND_IN = "Nameless"


def entity_rows(n: int = 100, seed: int = 0) -> list[dict[str, Any]]:
    """Return known entities with their attributes and unknown names, in the published layout.

    Parameters
    ----------
    n
        Of each type, so many known ones and as many unknown ones.
    seed
        Seed of the unknown names.

    Raises
    ------
    InputError
        If a type has fewer.
    """
    rows: list[dict[str, Any]] = []
    for kind in world.TYPES:
        chosen = (*world.known(kind)[:n], *world.unknown_entities(kind, "test", n, seed))
        for entity in chosen:
            row: dict[str, Any] = {
                "entity": entity.name,
                "entity_type": kind,
                "attributes": [
                    {"attribute_type": name, "attribute_value": value}
                    for name, value in entity.attributes.items()
                ],
            }
            # Nothing is true of an unknown name, so that no answer could be right. Whether a known
            # one is known to the model is for the model to show.
            rows.append(row if entity.known else {**row, "known": False})
    return rows


def prompt_style() -> dict[str, Any]:
    """Return how the demo model is asked and how its answers are read, as plain data.

    Its dictionaries are small (some 20 of 1,000 features fire at a token), so that a feature fires
    on two in a hundred tokens by chance alone, and the demo's own recognition features on up to
    26%; features are dropped from 30% on, not from 2%.
    """
    return {
        "name": "demo",
        "chat": True,
        "question": "What is the {attribute} of {entity}?",
        "questions": _written(entity_chat.QUESTIONS),
        "completions": _written(
            {
                kind: {name: tuple(_opened(w) for w in texts) for name, texts in by_name.items()}
                for kind, by_name in facts.WORDINGS.items()
            }
        ),
        "refusal_openings": entity_chat.REFUSAL_OPENINGS,
        "yes": ("The", "It"),
        "no": entity_chat.REFUSAL_OPENINGS,
        "answer_tokens": 16,
        "max_density": 0.3,
    }


def _opened(wording: str) -> str:
    """Cut a wording before the value, with the name for a pronoun."""
    return wording.split("{^fact}", maxsplit=1)[0].replace("{E}", "{N}")


def _written(
    templates: dict[str, dict[str, tuple[str, ...]]],
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Write templates as they are read: capital at the beginning, no space before full stops."""

    def one(template: str) -> str:
        tokens = list(words(template.replace("{N}", _STAND_IN)))
        tokens[0] = tokens[0][:1].upper() + tokens[0][1:]
        return join(tokens).replace(_STAND_IN, "{entity}")

    return {
        kind: {name: tuple(one(text) for text in texts) for name, texts in by_name.items()}
        for kind, by_name in templates.items()
    }
