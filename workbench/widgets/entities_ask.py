"""What the entity view asks of the session behind a study: reading, pushed answers, attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from workbench.errors import InputError, unknown
from workbench.features.refs import FeatureRef

if TYPE_CHECKING:
    from workbench.directions.entities.entity_study import EntityStudy
    from workbench.directions.entities.pushes import Push
    from workbench.directions.entities.records import Entity
    from workbench.model.tokens import Tokens

__all__ = ["Question", "Strengths", "answers", "asked", "attention", "push_of", "pushed", "reading"]

Strengths = tuple[float, float]
"""Strength towards known and towards unknown, as a factor on the activation's norm."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A text as the model is given it.

    Parameters
    ----------
    text
        The question, or any sentence.
    tokens
        Its one row.
    first, last
        Tokens of the name; both -1 where the text is not about an entity of the study.
    entity
        The entity, None for typed text.
    attribute
        What is asked about it.
    """

    text: str
    tokens: Tokens
    first: int = -1
    last: int = -1
    entity: Entity | None = None
    attribute: str = ""


def asked(study: EntityStudy, text: str) -> Question:
    """Tokenise a text as the study's own questions are, and find the entity it asks about.

    Parameters
    ----------
    study
        Bound to a session.
    text
        One of the study's questions, or anything else.

    Raises
    ------
    InputError
        The text is empty, or no session stands behind the study.
    """
    from workbench.directions.entities.prompts import question_prompt, tokenise
    from workbench.directions.entities.styles import attributes_by_type

    model = study.require_session().model
    if not text.strip():
        raise InputError("there is nothing to read: the text is empty")
    if text in study.questions_asked:
        entity = study.knowledge[study.questions_asked.index(text)].entity
        about = attributes_by_type(study.style, (item.entity for item in study.knowledge))
        prompt = question_prompt(study.style, entity, about[entity.type], seed=study.seed)
        made = tokenise(model, study.style, [prompt])
        return Question(
            text=text,
            tokens=made.tokens,
            first=int(made.first[0]),
            last=int(made.last[0]),
            entity=entity,
            attribute=prompt.attribute,
        )
    policy = dataclasses.replace(model.policy, chat=study.style.chat)
    return Question(text=text, tokens=model.tokens([text], policy))


def reading(study: EntityStudy, question: Question, features: Sequence[str]) -> dict[str, Any]:
    """Return the activation of recognition features at each token of a text.

    Returns
    -------
    dict
        ``tokens``, ``special``, ``values`` [feature, token], ``gaps`` (tokens carry no spaces),
        ``entity`` (its place in the study, None for typed text) and ``name`` (first and last
        token of its name, or None).
    """
    session = study.require_session()
    refs = [FeatureRef.parse(feature) for feature in features]
    sites = {ref.sae: session.saes[ref.sae].site for ref in refs}
    if any(site is None for site in sites.values()):
        raise InputError("an SAE of these features is not attached to a site")
    ran = session.model.run(question.tokens, capture=[site for site in sites.values() if site])
    width = int(question.tokens.mask[0].sum())
    values = np.zeros((len(refs), width), dtype=np.float32)
    for row, ref in enumerate(refs):
        acts = session.saes[ref.sae].encode_features(ran[cast(Any, sites[ref.sae])][0], [ref.index])
        values[row] = acts.detach().float().cpu().numpy()[:width, 0]
    tokens = question.tokens.strings[0]
    about = None
    if question.entity is not None:
        about = study.questions_asked.index(question.text)
    return {
        "tokens": list(tokens),
        "special": question.tokens.special[0].numpy()[:width],
        "values": values,
        "gaps": " " in question.text and not any(" " in token for token in tokens),
        "entity": about,
        "name": None if about is None else [question.first, question.last],
    }


def push_of(study: EntityStudy, name: str) -> Push:
    """Return a push of the study, or make one from its name, such as ``+a/1 −b/2``.

    Raises
    ------
    InputError
        A part of the name has no sign or is no feature of the session's SAEs.
    """
    from workbench.directions.entities.pushes import Push

    if study.steering is not None and name in study.steering.pushes:
        return study.steering.pushes[name]
    signed: dict[str, list[FeatureRef]] = {"+": [], "-": []}
    for part in name.replace("\N{MINUS SIGN}", "-").split():
        if part[0] not in signed:
            raise InputError(f"a push is written +feature or -feature, got {part!r}")
        signed[part[0]].append(FeatureRef.parse(part[1:]))
    session = study.require_session()
    for ref in (*signed["+"], *signed["-"]):
        if ref.sae not in session.saes:
            raise InputError(unknown("SAE", ref.sae, session.saes))
        if not 0 <= ref.index < session.saes[ref.sae].d_sae:
            raise InputError(f"{ref} is not a feature: {ref.sae} has {session.saes[ref.sae].d_sae}")
    return Push.of_features(session, signed["+"], signed["-"], towards="")


def pushed(study: EntityStudy, names: tuple[str, str], strengths: Strengths) -> Push | None:
    """Add two pushes, each times its strength; None where neither has one.

    At one site the two are added to each other; at different sites each is added at its own, and
    the strength is a factor on the activation's norm there.
    """
    from workbench.directions.entities.pushes import Push

    vectors: dict[str, np.ndarray] = {}
    layers = []
    for name, strength in zip(names, strengths, strict=True):
        if not name or not strength:
            continue
        one = push_of(study, name)
        layers.append(one.layer)
        for site, vector in one.vectors.items():
            vectors[site] = vectors.get(site, 0) + np.float32(strength) * vector
    if not vectors:
        return None
    said = " ".join(f"{s:g} · ({n})" for n, s in zip(names, strengths, strict=True) if n and s)
    deepest = max((layer for layer in layers if layer is not None), default=None)
    return Push(name=said, towards="", vectors=vectors, layer=deepest)


def answers(
    study: EntityStudy,
    question: Question,
    pushes: Sequence[Push | None],
    since: int,
    cancel: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Answer a question greedily under each push, in one batched generation.

    Parameters
    ----------
    study
        Says how answers are read.
    question
        What is asked.
    pushes
        None for the model as it is.
    since
        First token that is pushed, up to the end of the question.
    cancel
        Asked before each token.

    Returns
    -------
    list of dict
        ``text``, ``refused``, ``correct`` (None where no answer is right) each.
    """
    from workbench.directions.entities.matching import matches, rule_for
    from workbench.directions.entities.pushes import row_edits
    from workbench.model.generate_many import generate_many

    count, model = len(pushes), study.require_session().model
    tokens, style = question.tokens, study.style
    length = int(tokens.mask[0].sum())
    if not 0 <= since < length:
        raise InputError(f"token {since} is not one of 0 to {length - 1}")
    rows = _repeated(tokens, count)
    steered: dict[str, Any] = {}
    if any(push is not None for push in pushes):
        steered = {
            "row_edits": row_edits(list(pushes), [1.0] * count, [since] * count),
            "edit_keys": [id(push) for push in pushes],
            "edited_from": [None if push is None else since for push in pushes],
        }
    made = generate_many(
        model,
        rows,
        max_new_tokens=style.answer_tokens,
        stop=style.stop,
        cancel=cancel,
        **steered,
    )
    true: tuple[str, ...] = ()
    if question.entity is not None:
        true = question.entity.attributes.get(question.attribute, ())
    rule = None if question.entity is None else rule_for(question.entity.type, question.attribute)
    return [
        {
            "text": row.completion,
            "refused": style.refused(row.completion),
            "correct": matches(row.completion, true, rule) if true and rule else None,
        }
        for row in made
    ]


def attention(
    study: EntityStudy, question: Question, pushes: Sequence[Push | None], span: tuple[int, int]
) -> Float[np.ndarray, "push layer head"]:
    """Return attention from the last position to a name, per head and push, in one pass.

    Parameters
    ----------
    study
        Bound to a session.
    question
        What is asked.
    pushes
        None for the model as it is.
    span
        First and last token of the name, over which attention is summed; pushes act from its last
        token on.
    """
    from workbench.directions.entities.pushes import pass_edits

    model, count = study.require_session().model, len(pushes)
    first, last = span
    sites = [f"pattern.{layer}" for layer in range(model.n_layers)]
    rows = _repeated(question.tokens, count)
    edits = pass_edits(list(pushes), [1.0] * count, rows.last * 0 + last)
    ran = model.run(rows, capture=sites, edits=edits)
    at = int(rows.last[0])
    by_layer = [ran[site][:, :, at, first : last + 1].float().sum(-1).cpu() for site in sites]
    return np.stack([layer.numpy() for layer in by_layer], axis=1).astype(np.float32)


def _repeated(tokens: Tokens, count: int) -> Tokens:
    return dataclasses.replace(
        tokens,
        ids=tokens.ids.repeat(count, 1),
        mask=tokens.mask.repeat(count, 1),
        special=tokens.special.repeat(count, 1),
        strings=tokens.strings * count,
    )
