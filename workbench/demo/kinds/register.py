"""Letters in formal or informal register: the same things said in one of two ways.

The greeting shows the register; later words must keep to it.  Held out: combinations of two
sentences, and of greeting and first sentence.
"""

from __future__ import annotations

import re
from itertools import pairwise

from workbench.demo.drafting import Draft, Split, held_out, pick
from workbench.demo.kinds.base import Kind
from workbench.demo.lexicon import FIRST_NAMES
from workbench.demo.names import LAST

REGISTERS = ("formal", "informal")
# A choice is written {formal/informal}.
SENTENCES = (
    "we {received/got} your note {when}",
    "we {received/got} the {thing} and {require/need} your help",
    "please {inform/tell} us about the {thing} {when}",
    "I {require/need} the {thing} {when}",
    "you may {contact/call} us {when} and {request/pick} a new {thing}",
    "we will {commence/start} the work {when}",
    "the {thing} will {arrive/come} {when} , so please {inform/tell} the others",
    "the meeting will {conclude/end} {when}",
    "I {purchased/bought} a {thing} and {received/got} a free lamp",
    "we must {examine/check} the {thing} {when}",
    "the {thing} was {sufficient/enough} for all of us",
    "I will {assist/help} you with the {thing}",
    "the old {thing} was {repaired/fixed} {when} and {returned/brought} to us",
    "my brother {resides/lives} {where} and will {assist/help} you",
    "we {regret/hate} the delay of the {thing}",
)
GREETINGS = {
    "formal": (
        "dear Professor {L} ,",
        "dear Mister {L} ,",
        "dear Madam {L} ,",
        "esteemed Doctor {L} ,",
        "to the attention of Doctor {L} :",
    ),
    "informal": (
        "hey {F} ,",
        "hi {F} ,",
        "hello my friend {F} ,",
        "yo {F} ,",
        "what's up {F} ?",
    ),
}
CLOSINGS = {
    "formal": ("yours faithfully", "with kind regards", "yours sincerely"),
    "informal": ("cheers", "see you soon", "take care buddy"),
}
THINGS = ("report", "invoice", "letter", "parcel", "ticket", "contract", "form", "machine")
CONCEPTS = {
    f"register.{r}": f"the letter is {r}, so its next words or closing must be; "
    "at every full stop of the letter before the closing"
    for r in REGISTERS
}


def _template(sentence: str, side: int) -> str:
    return re.sub(r"\{([a-z]+)/([a-z]+)\}", rf"\{side}", sentence)


# sentence -> (formal template, informal template).
TEMPLATES = {s: (_template(s, 1), _template(s, 2)) for s in SENTENCES}


def letter(draft: Draft, split: Split, register: str, n: int) -> None:
    """Write a letter of ``n`` sentences in one register, with greeting and closing."""
    rng = draft.rng
    wanted = split == "test"
    side = REGISTERS.index(register)
    while True:
        greeting = pick(rng, GREETINGS[register])
        chosen = [pick(rng, SENTENCES) for _ in range(n)]
        keys = [greeting, *chosen]
        if len(set(keys)) < len(keys):
            continue
        outs = [held_out("letter", a, b) for a, b in pairwise(keys)]
        if all(outs) if wanted else not any(outs):
            break
    slots = {"L": LAST, "F": FIRST_NAMES, "thing": THINGS}
    draft.write(greeting, **slots)
    for sentence in chosen:
        draft.write(TEMPLATES[sentence][side], **slots)
        draft.put((".",))
        draft.mark(f"register.{register}")
    draft.write(pick(rng, CLOSINGS[register]))
    draft.put((".",))


def write(draft: Draft, split: Split) -> None:
    """Write a letter of one or two sentences in either register."""
    rng = draft.rng
    letter(draft, split, pick(rng, REGISTERS), 1 if split == "test" else 1 + (rng.random() < 0.6))


KIND = Kind(name="letters", weight=2.0, write=write, concepts=CONCEPTS)
