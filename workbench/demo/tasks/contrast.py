"""Contrast pairs: agreement, indirect objects, greater-than, docstrings, recall, refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from workbench.demo import world
from workbench.demo.drafting import Draft, Split, held_out, join, pick, pick_with, words
from workbench.demo.kinds import agreement, code, entity_chat, facts, givers, requests, years
from workbench.demo.tasks.base import (
    ContrastPair,
    Task,
    chat_text,
    marked,
    new_draft,
    prefix,
    twice,
)

# Where the verb in question is due, by structure.
_DUE = {
    "simple": None,
    "across_pp": "clause.after_prepositional",
    "within_rc": "clause.within_relative",
    "across_rc": "clause.after_relative",
}


def _agreement(structure: str) -> Callable[[Random, Split], ContrastPair]:
    def draw(rng: Random, split: Split) -> ContrastPair:
        while True:
            sentence = agreement.plan(rng, structure, split)
            # "who" clauses repeat the subject's number in their own verb.
            if structure != "across_rc" or "who" not in sentence.frame:
                break
        s, d = int(rng.random() * 2), int(rng.random() * 2)
        clean, patch = twice(
            rng,
            lambda draft: agreement.compose(draft, sentence, s, d),
            lambda draft: agreement.compose(draft, sentence, 1 - s, d),
        )
        due = _DUE[structure]
        at = marked(clean, due or agreement.NUMBERS[s])
        plural = "one of the {D}" in sentence.frame or d == 1
        return ContrastPair(
            clean_prefix=prefix(clean, at),
            patch_prefix=prefix(patch, at),
            clean_answer=f" {clean.tokens[at + 1]}",
            patch_answer=f" {patch.tokens[at + 1]}",
            case=f"{'plural' if s else 'singular'}_subject_{'plural' if plural else 'singular'}"
            "_distractor",
        )

    return draw


def giver_names(rng: Random, split: Split, *, new: bool) -> tuple[str, str]:
    """Two names whose pair belongs to the split, or two that training never has as givers."""
    options = givers.NEW_NAMES if new else givers.NAMES
    while True:
        a, b = pick(rng, options), pick(rng, options)
        if a != b and (new or givers.pair_fits(a, b, split)):
            return a, b


def _givers(*, new: bool) -> Callable[[Random, Split], ContrastPair]:
    def draw(rng: Random, split: Split) -> ContrastPair:
        a, b = giver_names(rng, split, new=new)
        frame = pick(rng, givers.FRAMES)
        thing = pick_with(rng, split, "gift", frame, givers.THINGS)
        first = rng.random() < 0.5
        giver, receiver = (a, b) if first else (b, a)
        clean, patch = twice(
            rng,
            lambda draft: givers.sentence(draft, frame, a, b, giver, thing),
            lambda draft: givers.sentence(draft, frame, a, b, receiver, thing),
        )
        at = marked(clean, "name.recipient_due")
        return ContrastPair(
            clean_prefix=prefix(clean, at),
            patch_prefix=prefix(patch, at),
            clean_answer=f" {receiver}",
            patch_answer=f" {giver}",
            case="abab" if first else "abba",
        )

    return draw


def _greater_than(rng: Random, split: Split) -> ContrastPair:
    # Late enough and early enough that years fit between the two and after the later one.
    while True:
        event = pick(rng, years.EVENTS)
        early, late = sorted((rng.randrange(years.FIRST, 88), rng.randrange(years.FIRST, 88)))
        if late - early >= 10 and all(years.fits(event, y, split) for y in (early, late)):
            break
    frame, century = pick(rng, years.FRAMES), pick(rng, years.CENTURIES)
    clean, patch = twice(
        rng,
        lambda draft: years.prefix(draft, frame, event, century, late),
        lambda draft: years.prefix(draft, frame, event, century, early),
    )
    after = rng.randrange(late + 1, 100)
    between = rng.randrange(early + 1, late + 1)
    return ContrastPair(
        clean_prefix=join(clean.tokens),
        patch_prefix=join(patch.tokens),
        clean_answer=f" {after:02d}",
        patch_answer=f" {between:02d}",
        case=f"from_{late // 10 * 10:02d}",
    )


def signature_prefix(
    draft: Draft, function: str, arguments: Sequence[str], described: Sequence[str], method: bool
) -> None:
    """Write a function whose docstring is about to describe its last argument.

    ``described`` are the arguments the docstring has named so far.
    """
    code.signature(draft, function, arguments, method)
    code.describe(draft, described, len(described))
    draft.raw(":param")


def arguments_of(rng: Random, split: Split) -> list[str]:
    """Names of three or four arguments whose last two belong to the split."""
    while True:
        arguments = rng.sample(code.ARGUMENTS, 3 + int(rng.random() * 2))
        if code.fits(arguments, split):
            return arguments


def _docstring(rng: Random, split: Split) -> ContrastPair:
    others: list[str] = []
    while not others:
        arguments = arguments_of(rng, split)
        others = [
            other
            for other in code.ARGUMENTS
            if other not in arguments and code.fits([*arguments[:-1], other], split)
        ]
    other = pick(rng, others)
    changed = [*arguments[:-1], other]
    function, method = pick(rng, code.FUNCTIONS), rng.random() < 0.5
    clean, patch = twice(
        rng,
        lambda draft: signature_prefix(draft, function, arguments, arguments[:-1], method),
        lambda draft: signature_prefix(draft, function, changed, arguments[:-1], method),
    )
    return ContrastPair(
        clean_prefix=join(clean.tokens),
        patch_prefix=join(patch.tokens),
        clean_answer=f" {arguments[-1]}",
        patch_answer=f" {other}",
        case=f"{len(arguments)}_arguments",
    )


def _recall(rng: Random, split: Split) -> ContrastPair:
    while True:
        entity_type = pick(rng, world.TYPES)
        a, b = world.draw_known(entity_type, rng), world.draw_known(entity_type, rng)
        attribute = pick(rng, tuple(a.attributes))
        values = a.attributes[attribute], b.attributes[attribute]
        # Years are two tokens, the first of them nearly always the same.
        if values[0] == values[1] or any(len(words(v)) > 1 for v in values):
            continue
        wording = pick(rng, facts.WORDINGS[entity_type][attribute])
        fitting = all(wording in facts.wordings(e, attribute, split) for e in (a, b))
        if fitting and len(a.words) == len(b.words):
            break
    drafts = []
    for entity in (a, b):
        draft = new_draft(Random(0))
        draft.write(
            wording,
            E=entity.name,
            N=entity.name,
            V=entity.attributes[attribute],
            fact=f"attribute.{entity_type}.{attribute}",
        )
        drafts.append(draft)
    at = marked(drafts[0], f"attribute.{entity_type}.{attribute}")
    return ContrastPair(
        clean_prefix=prefix(drafts[0], at),
        patch_prefix=prefix(drafts[1], at),
        clean_answer=f" {values[0]}",
        patch_answer=f" {values[1]}",
        case=f"{entity_type}.{attribute}",
    )


def question_text(entity: world.Entity, question: str) -> str:
    """Write a question about an entity."""
    draft = new_draft(Random(0))
    draft.write(question, N=entity.name)
    return join(draft.tokens)


def _refusal(rng: Random, split: Split) -> ContrastPair:
    while True:
        entity_type = pick(rng, world.TYPES)
        known = world.draw_known(entity_type, rng)
        unknown = world.draw_unknown(entity_type, split, rng)
        attribute = pick(rng, tuple(known.attributes))
        options = entity_chat.questions(known, attribute, split)
        if options and len(known.words) == len(unknown.words):
            break
    question = pick(rng, options)
    # Answers open in several ways; these two are the commonest of each kind.
    return ContrastPair(
        clean_prefix=chat_text(question_text(unknown, question)),
        patch_prefix=chat_text(question_text(known, question)),
        clean_answer=" I",
        patch_answer=" It",
        case=f"{entity_type}.{attribute}",
    )


def request_text(frame: str, verb: str, thing: str) -> str:
    """Write a request."""
    draft = new_draft(Random(0))
    draft.write(frame, v=verb, o=thing)
    return join(draft.tokens)


def _harm(rng: Random, split: Split) -> ContrastPair:
    wanted = split == "test"
    while True:
        verb = pick(rng, tuple(requests.VERBS))
        harmful, harmless = (pick(rng, objects) for objects in requests.VERBS[verb])
        fitting = all(held_out("request", verb, o) == wanted for o in (harmful, harmless))
        if fitting and len(words(harmful)) == len(words(harmless)):
            break
    frame = pick(rng, requests.FRAMES)
    return ContrastPair(
        clean_prefix=chat_text(request_text(frame, verb, harmful)),
        patch_prefix=chat_text(request_text(frame, verb, harmless)),
        clean_answer=" No",
        patch_answer=" Sure",
        case=verb.replace(" ", "_"),
    )


_NUMBERS = agreement.NUMBERS
TASKS = (
    *(
        Task(
            name=f"agreement_{structure}",
            description=f"subject-verb agreement, {text}",
            draw=_agreement(structure),
            concepts=_NUMBERS if due is None else (*_NUMBERS, due),
        )
        for (structure, due), text in zip(
            _DUE.items(),
            (
                "simple, with a distractor before the subject",
                "across a prepositional phrase",
                "within an object relative clause",
                "across an object relative clause",
            ),
            strict=True,
        )
    ),
    Task(
        name="ioi",
        description="indirect object: the name that was not repeated is due",
        draw=_givers(new=False),
        concepts=("name.repeated", "name.recipient_due"),
    ),
    Task(
        name="ioi_new_names",
        description="as ioi, with names that never occur in such sentences in training",
        draw=_givers(new=True),
        concepts=("name.repeated", "name.recipient_due"),
    ),
    Task(
        name="greater_than",
        description="the later year must be greater; the clean answer fits both prefixes, the "
        "patch answer only the patch",
        draw=_greater_than,
        concepts=("year.end_due",),
    ),
    Task(
        name="docstring",
        description="the argument that is not described yet is due",
        draw=_docstring,
        concepts=("code.argument_left",),
    ),
    Task(
        name="entity_recall",
        description="an attribute of one known entity or of another of its type",
        draw=_recall,
        concepts=(
            "entity.known",
            *(f"entity.{t}.known" for t in world.TYPES),
            *(f"attribute.{t}.{a}" for t, named in facts.WORDINGS.items() for a in named),
        ),
    ),
    Task(
        name="entity_refusal",
        description="the same question about an unknown (clean) and a known entity",
        draw=_refusal,
        concepts=(
            "chat.known_entity",
            "chat.unknown_entity",
            "entity.known",
            "entity.unknown",
            *(f"entity.{t}.{s}" for t in world.TYPES for s in ("known", "unknown")),
        ),
    ),
    Task(
        name="harm_refusal",
        description="the same verb with an object that makes it harmful (clean) or harmless",
        draw=_harm,
        concepts=("request.harmful", "request.benign"),
    ),
)
